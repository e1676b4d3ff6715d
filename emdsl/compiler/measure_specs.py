"""The functions of measures: one table, which the binder, the checker, the reference and the highlighter read."""

from __future__ import annotations

from dataclasses import dataclass

from emdsl.experiment import DOSE_COLUMNS
from emdsl.lang import ast

METHODS = ("wilson", "wald", "agresti_coull", "clopper_pearson", "bootstrap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument: the field of `Measure` that it sets, and how it is read (a reader of `measures.py`)."""

    field: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSpec:
    """One function: its arguments by position and by name, its intervals (the default first) and its columns."""

    name: str
    signature: str
    positional: tuple[Parameter, ...]
    named: tuple[tuple[str, Parameter], ...] = ()
    optional: bool = False  # whether it can be called without any argument
    intervals: tuple[str, ...] = ()
    columns: tuple[str, ...]  # beside those of every measure
    rest: Parameter | None = None  # of further arguments by position
    weak: bool = False  # whether a name of the program that is equal to its name wins: it is newer than edition 1


COMMON_COLUMNS = ("n", "n_planned", "n_dropped", "dropped", "complete", "simulated", "clusters", "clustered_by",
                  "design_effect")  # fmt: skip
_CONDITION, _NUMBER = Parameter(field="value", kind="condition"), Parameter(field="value", kind="number")
_INNER, _SIDE = Parameter(field="of", kind="inner"), Parameter(field="sides", kind="side")
_LABEL, _OTHER = Parameter(field="value", kind="judgement"), Parameter(field="other", kind="judgement")
_INTERVAL = ("interval", Parameter(field="interval", kind="interval"))
_EFFECT = ("effect", Parameter(field="effect", kind="effect"))
_OF_CONTRAST = (
    ("versus", Parameter(field="versus", kind="level")),
    ("scale", Parameter(field="scale", kind="scale")),
    ("equivalent", Parameter(field="equivalent", kind="margin")),
    ("correct", Parameter(field="correct", kind="correction")),
    ("family", Parameter(field="family", kind="family")),
)
METRICS = ("nominal", "ordinal", "interval")  # of Krippendorff's alpha
SCALES, CORRECTIONS = ("difference", "ratio", "odds"), ("holm", "bh")
SLOPES = (0.25, 8.0)  # of the law of a `dose`: flatter is a line in log k, steeper a step between two doses
_EQUAL = ("equal", Parameter(field="equal", kind="level_axis"))
_VIA = ("via", Parameter(field="via", kind="via"))
VIA = ("ppi", "rogan_gladen")  # corrections by people's verdicts
_AMONG = ("of", Parameter(field="among", kind="whole"))

MEASURES: dict[str, MeasureSpec] = {
    spec.name: spec
    for spec in (
        MeasureSpec(
            name="rate",
            signature="rate(CONDITION given CONDITION, interval: wilson(0.95), equal: AXIS, effect: 0.05, "
            "via: ppi(CONDITION))",
            positional=(_CONDITION,), named=(_INTERVAL, _EQUAL, _EFFECT, _VIA), intervals=METHODS,
            columns=("rate", "low", "high", "hits", "se"),
        ),
        MeasureSpec(
            name="mean", signature="mean(NUMBER given CONDITION, interval: wald(0.95), equal: AXIS, effect: 5)",
            positional=(_NUMBER,), named=(_INTERVAL, _EQUAL, _EFFECT), intervals=("wald", "bootstrap"),
            columns=("mean", "low", "high", "sd", "se"),
        ),
        MeasureSpec(
            name="at_least", signature="at_least(CONDITION given CONDITION, 1, of: 10, interval: wald(0.95))",
            positional=(_CONDITION, Parameter(field="least", kind="whole")), named=(_AMONG, _INTERVAL),
            intervals=("wald", "bootstrap"), columns=("at_least", "low", "high", "sd", "se"),
        ),
        MeasureSpec(
            name="count", signature="count(CONDITION given CONDITION)", positional=(_CONDITION,), optional=True,
            columns=("count",),
        ),
        MeasureSpec(
            name="quantile", signature="quantile(NUMBER given CONDITION, 0.5, interval: ranks(0.95))",
            positional=(_NUMBER, Parameter(field="at", kind="share")), named=(_INTERVAL,), intervals=("ranks",),
            columns=("quantile", "low", "high"),
        ),
        MeasureSpec(
            name="contrast",
            signature="contrast(rate(CONDITION), AXIS is A, AXIS is B, "
            "interval: wald(0.95), scale: ratio, equivalent: 0.05, correct: holm, family: NAME, effect: 0.05)",
            positional=(_INNER, _SIDE, _SIDE), named=(_INTERVAL, *_OF_CONTRAST, _EFFECT),
            intervals=("wald", "bootstrap"),
            columns=("contrast", "low", "high", "first", "second", "n_first", "n_second", "n_pairs", "n_units", "se",
                     "se_pairs", "p", "p_equivalent", "p_holm", "p_bh"),
        ),
        MeasureSpec(
            name="sd", signature="sd(NUMBER given CONDITION, interval: wald(0.95))", positional=(_NUMBER,),
            named=(_INTERVAL,), intervals=("wald",), columns=("sd", "low", "high", "se", "mean"), weak=True,
        ),
        MeasureSpec(
            name="correlation", signature="correlation(NUMBER given CONDITION, NUMBER, interval: wald(0.95))",
            positional=(_NUMBER, Parameter(field="other", kind="number")), named=(_INTERVAL,), intervals=("wald",),
            columns=("correlation", "low", "high", "se"), weak=True,
        ),
        MeasureSpec(
            name="shares", signature="shares(LABEL given CONDITION, interval: wilson(0.95))",
            positional=(Parameter(field="value", kind="label"),), named=(_INTERVAL,), intervals=("wilson",),
            columns=("label", "shares", "low", "high", "hits", "se"), weak=True,
        ),
        MeasureSpec(
            name="components", signature="components(rate(CONDITION), [AXIS, sample])",
            positional=(_INNER, Parameter(field="factors", kind="factors")),
            columns=("source", "components", "variance", "levels", "se", "se_twice", "se_nested"), weak=True,
        ),
        MeasureSpec(
            name="dose", signature="dose(rate(CONDITION), AXIS, slope: 1, interval: wald(0.95))",
            positional=(_INNER, Parameter(field="slope", kind="axis")),
            named=(_INTERVAL, ("slope", Parameter(field="steepness", kind="steepness"))), intervals=("wald",),
            columns=("dose", "low", "high", "reason", *DOSE_COLUMNS), weak=True,
        ),
        MeasureSpec(
            name="slope", signature="slope(rate(CONDITION given CONDITION), AXIS, interval: wald(0.95))",
            positional=(_INNER, Parameter(field="slope", kind="axis")), named=(_INTERVAL,), intervals=("wald",),
            columns=("slope", "low", "high", "intercept", "se"),
        ),
        MeasureSpec(
            name="agreement",
            signature="agreement(JUDGEMENT given CONDITION, JUDGEMENT, metric: interval, interval: wald(0.95))",
            positional=(_LABEL, _OTHER), rest=Parameter(field="others", kind="judgements"),
            named=(_INTERVAL, ("metric", Parameter(field="metric", kind="metric"))), intervals=("wald", "bootstrap"),
            columns=("agreement", "low", "high", "se", "same"),
        ),
    )
}  # fmt: skip
INTERVAL_METHODS = tuple(dict.fromkeys(m for spec in MEASURES.values() for m in spec.intervals))
RESULT_COLUMNS = frozenset((*COMMON_COLUMNS, *(c for spec in MEASURES.values() for c in spec.columns)))


def called_function(node: ast.Expr) -> str:
    """Return the name of the function that is called; an empty text for anything else."""
    return node.function.name if isinstance(node, ast.Call) and isinstance(node.function, ast.Ref) else ""
