"""`measure` statements: which function of which columns, and by which axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emdsl.compiler.columns import computable, folded, walk
from emdsl.compiler.kinds import NUMBERS, TEXTS
from emdsl.compiler.resolve import FOREIGN_NAMES
from emdsl.compiler.settings import INTERVAL_METHODS, INTERVALS
from emdsl.compiler.settings import MEASURE_FUNCTIONS as SIGNATURES
from emdsl.experiment import Interval, Measure
from emdsl.lang import ast
from emdsl.source import near, one_of
from emdsl.value import is_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.kinds import Type
    from emdsl.compiler.types import Checker
    from emdsl.value import Value

FUNCTIONS = tuple(SIGNATURES)
MAX_WHOLE = 1_000_000
EFFECTS = ("rate", "mean", "contrast")  # functions whose power is known
FIGURES = frozenset(
    [
        *FUNCTIONS,
        "first",
        "second",
        "n_pairs",
        "n_units",
        "se",
        "se_pairs",
        "low",
        "high",
        "hits",
        "n",
        "n_planned",
        "n_dropped",
        "dropped",
        "complete",
        "simulated",
        "sd",
        "clusters",
        "p",
        "p_holm",
        "intercept",
    ]
)


def build_measure(
    decl: ast.Measure,
    checker: Checker,
    faults: Faults,
    *,
    axes: Mapping[str, Type],
    asks: tuple[str, ...],
    steps: tuple[str, ...],
    columns: Mapping[str, Type],
    constant: Callable[[str], Value],
    levels: Mapping[str, frozenset[str]],
) -> Measure | None:
    """Return a measure; None where its faults, which are told, leave nothing to compute."""
    before = len(faults.errors)
    call = _function(decl, faults)
    if call is None:
        return None
    name = _named(call)
    reader = _Reader(checker, faults, columns, constant, levels, axes)
    found = reader.arguments(call, name)
    by = tuple(p.names for p in decl.by if _by(p, axes, faults))
    for path, taken in ((p, "_".join(p.names)) for p in decl.by):
        if taken.lower() in FIGURES:
            faults.error(
                "E846", f"`{taken}` is a column of every measure", path.span, help="give the axis another name"
            )
    for name_ in found.interval.cluster if found.interval is not None else ():
        if (name_,) in by:
            faults.error("E843", f"`{name_}` stands behind `by`: each group would be one cluster", decl.value.span)
    if found.slope and (found.slope,) in by:
        faults.error("E844", f"`{found.slope}` stands behind `by`: in each group it is one number", decl.value.span)
    sides = reader.sides(found.sides, axes, {p[0] for p in by}) if found.sides else None
    if len(faults.errors) > before:
        return None
    tested = {n.name for x in found.sides for n in walk(x) if isinstance(n, ast.Ref)}
    value, condition, other = (reader.replaced(x) for x in (found.value, found.condition, found.other))
    read = (value, condition, other)
    named = {n.name for x in read if x is not None for n in walk(x) if isinstance(n, ast.Ref)}
    return Measure(
        name=decl.name.text, function=name, value=value, condition=condition, interval=found.interval, by=by,
        of=found.of, sides=sides, pair=tuple(n for n in axes if n not in tested and (n,) not in by),
        other=other, nominal=found.nominal, at=found.at, least=found.least, among=found.among, holm=found.holm,
        slope=found.slope, effect=found.effect,
        asks=asks, steps=steps, reads=tuple(n for n in columns if n in named and n not in axes and n != "sample"),
        span=decl.name.span,
        whole=decl.span,
    )  # fmt: skip


def _function(decl: ast.Measure, faults: Faults) -> ast.Call | None:
    """Return the call that a measure is, or None where it is none of a known function."""
    call = decl.value
    name = _named(call)
    if isinstance(call, ast.Call) and name in FUNCTIONS:
        return call
    hint = (
        FOREIGN_NAMES.get(name) or near(name, FUNCTIONS) if name else "write `measure NAME = rate(CONDITION) by AXIS`"
    )
    faults.error("E841", f"a measure is one of {one_of(FUNCTIONS)}", call.span, help=hint)
    return None


def _named(node: ast.Expr) -> str:
    """Return the name of the function that is called, or nothing."""
    return node.function.name if isinstance(node, ast.Call) and isinstance(node.function, ast.Ref) else ""


@dataclass(slots=True, kw_only=True)
class _Arguments:
    """What a measure's call says."""

    value: ast.Expr | None = None
    condition: ast.Expr | None = None
    interval: Interval | None = None
    of: str = ""
    sides: tuple[ast.Expr, ...] = ()
    other: ast.Expr | None = None
    nominal: bool = True
    at: float = 0.5
    holm: bool = False
    effect: float | None = None
    slope: str = ""
    least: int = 1
    among: int | None = None


class _Reader:
    """Reads and checks the arguments of measures."""

    def __init__(
        self, checker: Checker, faults: Faults, columns: Mapping[str, Type], constant: Callable[[str], Value],
        levels: Mapping[str, frozenset[str]], axes: Mapping[str, Type],
    ) -> None:  # fmt: skip
        self._axes = axes
        self._checker = checker
        self._faults = faults
        self._columns = columns
        self._constant = constant
        self._levels = levels

    def replaced(self, node: ast.Expr | None) -> ast.Expr | None:
        """Return an expression with the names of constants replaced by their values."""
        return folded(node, self._constant) if node is not None else None

    def arguments(self, call: ast.Call, name: str) -> _Arguments:
        """Return what stands between the brackets; faults are told."""
        methods = INTERVALS[name]
        found = _Arguments(interval=Interval(method=methods[0], level=0.95) if methods else None)
        by_position = [a.value for a in call.args if a.name is None]
        most = {"quantile": 2, "contrast": 3, "agreement": 2, "at_least": 2, "slope": 2}.get(name, 1)
        for arg in call.args:
            if arg.name is not None and arg.name.text == "interval" and methods:
                found.interval = self._interval(arg.value, name) or found.interval
            elif arg.name is not None and arg.name.text == "correct" and name == "contrast":
                found.holm = self._holm(arg.value)
            elif arg.name is not None and arg.name.text == "effect" and name in EFFECTS:
                found.effect = self._effect(arg.value)
            elif arg.name is not None and arg.name.text == "of" and name == "at_least":
                found.among = self._whole(arg.value, 1)
            elif arg.name is not None or any(arg.value is x for x in by_position[most:]):
                shown = f"`{arg.name.text}`" if arg.name else f"more than {most} value{'' if most == 1 else 's'}"
                self._faults.error("E213", f"`{name}` takes no {shown}" if arg.name else f"`{name}` takes not {shown}",
                                   arg.span, help=f"it is `{SIGNATURES[name]}`")  # fmt: skip
        if len(by_position) < most and not (name == "count" and not by_position):
            self._faults.error("E212", f"`{name}` takes what it is of", call.span, help=f"write `{SIGNATURES[name]}`")
            return found
        if len(by_position) > most:
            return found
        match name:
            case "contrast":
                self._contrast(by_position, found)
                if found.holm and found.interval is not None and found.interval.method != "wald":
                    self._faults.error("E843", "`holm` corrects probabilities of a `wald` contrast", call.span,
                                       help="write `interval: wald(0.95), correct: holm`")  # fmt: skip
            case "agreement":
                self._agreement(by_position, found)
            case "quantile":
                self._of(by_position[0], name, found)
                found.at = self._share(by_position[1])
            case "slope":
                self._inner(by_position[0], name, found)
                found.slope = self._number_axis(by_position[1])
            case "at_least":
                self._of(by_position[0], name, found)
                found.least = self._whole(by_position[1], 1)
                if found.among is not None and found.least > found.among:
                    self._faults.error("E843", f"at least {found.least} of {found.among} is never so", call.span)
            case _:
                self._of(by_position[0] if by_position else None, name, found)
        return found

    def _of(self, value: ast.Expr | None, name: str, found: _Arguments) -> None:
        """Take in what a function is of, with its condition."""
        if isinstance(value, ast.Given):
            found.condition, value = value.condition, value.event
            self._checker.condition(found.condition)
            self._computed(found.condition)
        found.value = value
        if value is None:
            return
        before = len(self._faults.errors)
        if name in ("rate", "count", "at_least"):
            self._checker.condition(value)
        else:
            kind = self._checker.infer(value)
            if kind.kind not in ("number", "score", "any"):
                self._faults.error(
                    "E842", f"`{name}` takes a number, not {kind}", value.span,
                    help="`rate(...)` counts how often a condition holds" if kind.kind == "bool" else "",
                )  # fmt: skip
        if len(self._faults.errors) == before:
            self._computed(value)

    def _contrast(self, values: list[ast.Expr], found: _Arguments) -> None:
        self._inner(values[0], "contrast", found)
        found.sides = tuple(values[1:]) if found.of else ()

    def _inner(self, inner: ast.Expr, outer: str, found: _Arguments) -> None:
        """Take in the `rate` or `mean` that a contrast or a slope is of."""
        name = _named(inner)
        if not isinstance(inner, ast.Call) or name not in ("rate", "mean"):
            self._faults.error("E847", f"a {outer} is of a `rate(...)` or a `mean(...)`", inner.span,
                               help=f"write `{SIGNATURES[outer]}`")  # fmt: skip
            return
        inside = self.arguments(replace(inner, args=tuple(a for a in inner.args if a.name is None)), name)
        for arg in inner.args:
            if arg.name is not None:
                self._faults.error("E213", f"a {outer} has an interval of its own: `{arg.name.text}` stands outside",
                                   arg.span, help=f"write `{SIGNATURES[outer]}`")  # fmt: skip
        found.of, found.value, found.condition = name, inside.value, inside.condition

    def _holm(self, node: ast.Expr) -> bool:
        if not (isinstance(node, ast.Ref) and node.name == "holm"):
            self._faults.error("E843", "contrasts are corrected by `holm`", node.span, help="write `correct: holm`")
            return False
        return True

    def _number_axis(self, node: ast.Expr) -> str:
        """Return the axis over which a slope is: one of numbers."""
        if isinstance(node, ast.Ref) and node.name in self._axes and self._axes[node.name].kind in ("number", "any"):
            return node.name
        known = [n for n, t in self._axes.items() if t.kind == "number"]
        self._faults.error("E844", "a slope is over an axis of numbers", node.span,
                           help=f"there are {one_of(known)}" if known else "there is none")  # fmt: skip
        return ""

    def sides(
        self, sides: tuple[ast.Expr, ...], axes: Mapping[str, Type], by: set[str]
    ) -> tuple[ast.Expr, ast.Expr] | None:
        """Return both sides of a contrast: conditions on axes alone, which `by` does not take apart."""
        for side in sides:
            self._checker.condition(side)
            for node in walk(side):
                if isinstance(node, ast.Ref) and (node.name not in axes or node.name in by):
                    why = "stands behind `by` too" if node.name in by else "is no axis"
                    self._faults.error("E848", f"the sides of a contrast are told by axes: `{node.name}` {why}",
                                       node.span, help="write `contrast(rate(...), AXIS is A, AXIS is B)`")  # fmt: skip
                    return None
            self._computed(side)
        first, second = (folded(x, self._constant) for x in sides)
        if first == second:
            self._faults.error("E848", "both sides of this contrast are the same", sides[1].span)
        return first, second

    def _agreement(self, values: list[ast.Expr], found: _Arguments) -> None:
        if isinstance(values[0], ast.Given):
            found.condition, values = values[0].condition, [values[0].event, values[1]]
            self._checker.condition(found.condition)
            self._computed(found.condition)
        kinds = [self._checker.infer(v) for v in values]
        for value in values:
            self._computed(value)
        first, second = ("number" if k.kind in NUMBERS else "text" if k.kind in TEXTS else k.kind for k in kinds)
        if "any" not in (first, second) and (first != second or first not in ("number", "text", "bool")):
            self._faults.error("E849", f"{kinds[0]} and {kinds[1]} cannot agree", values[1].span,
                               help="compare two scores, two labels or two conditions")  # fmt: skip
        if values[0] == values[1]:
            self._faults.error(
                "E849", "a judgement always agrees with itself", values[1].span,
                help="compare it with another: `judge NAME with RUBRIC(...) { samples = 2 }`",
            )  # fmt: skip
        found.value, found.other = values
        found.nominal = first != "number"

    def _interval(self, node: ast.Expr, name: str) -> Interval | None:
        """Return an interval: its method with the level, and what a bootstrap draws anew."""
        function = node.function if isinstance(node, ast.Call) else node
        method = function.name if isinstance(function, ast.Ref) else ""
        if method not in INTERVALS[name]:
            known = one_of(INTERVALS[name])
            if method in INTERVAL_METHODS:
                self._faults.error("E843", f"`{method}` is no interval of a {name}", node.span, help=f"it has {known}")
            else:
                help_ = near(method, INTERVALS[name])
                self._faults.error("E843", f"an interval of a {name} is {known}", node.span, help=help_)
            return None
        if not isinstance(node, ast.Call):
            return Interval(method=method, level=0.95)
        level: object = None
        given: dict[str, ast.Expr] = {}
        for arg in node.args:
            if arg.name is None and level is None and isinstance(arg.value, ast.Literal):
                level = arg.value.value
            elif arg.name is not None and method == "bootstrap" and arg.name.text in ("cluster", "resamples", "seed"):
                given[arg.name.text] = arg.value
            else:
                help_ = "write `bootstrap(0.95, cluster: AXIS, resamples: 1000, seed: 0)`"
                self._faults.error("E213", f"`{method}` takes no such argument", arg.span,
                                   help=help_ if method == "bootstrap" else f"write `{method}(0.95)`")  # fmt: skip
        if not is_exact(level) or not 0 < float(str(level)) < 1:
            help_ = f"write `{method}(0.95)`"
            self._faults.error("E843", "the level of an interval lies between 0 and 1", node.span, help=help_)
            return None
        return Interval(
            method=method, level=float(str(level)),
            cluster=self._clusters(given["cluster"]) if "cluster" in given else (),
            resamples=self._whole(given["resamples"], 100) if "resamples" in given else 1_000,
            seed=self._whole(given["seed"], 0) if "seed" in given else 0,
        )  # fmt: skip

    def _clusters(self, node: ast.Expr) -> tuple[str, ...]:
        """Return the axes whose levels are drawn anew as a whole: one, or two that cross."""
        items = node.items if isinstance(node, ast.Sequence) else (node,)
        names = [x.name for x in items if isinstance(x, ast.Ref) and (x.name in self._axes or x.name == "sample")]
        if len(names) < len(items) or not 1 <= len(set(names)) == len(names) <= 2:
            self._faults.error(
                "E843", "clusters are the levels of an axis, or of `sample`, or of two that cross", node.span,
                help=f"the axes are {one_of([*self._axes, 'sample'])}",
            )  # fmt: skip
            return ()
        return tuple(names)

    def _whole(self, node: ast.Expr, low: int) -> int:
        value: Any = getattr(folded(node, self._constant), "value", None)
        if type(value) is not int or not low <= value <= MAX_WHOLE:
            self._faults.error("E843", f"a whole number from {low} to {MAX_WHOLE:,} stands here", node.span)
            return low
        return value

    def _effect(self, node: ast.Expr) -> float | None:
        value: Any = getattr(folded(node, self._constant), "value", None)
        if not is_exact(value) or value <= 0:
            self._faults.error("E843", "an effect is a difference above 0, in the unit of the measure", node.span,
                               help="write `effect: 0.05`")  # fmt: skip
            return None
        return float(value)

    def _share(self, node: ast.Expr) -> float:
        value: Any = getattr(folded(node, self._constant), "value", None)
        if not is_exact(value) or not 0 <= value <= 1:
            self._faults.error("E843", "which quantile? a number from 0 to 1", node.span, help="0.5 is the median")
            return 0.5
        return float(value)

    def _computed(self, node: ast.Expr) -> None:
        computable(folded(node, self._constant), self._columns, self._levels, self._faults)


def _by(path: ast.Path, axes: Mapping[str, Type], faults: Faults) -> bool:
    name = path.names[0]
    if path.names == ("sample",):
        return True
    if name not in axes:
        faults.error(
            "E844",
            f"no axis is called `{name}`",
            path.span,
            help=near(name, axes) or (f"the axes are {one_of(axes)}" if axes else "there is none: add `for`"),
        )
        return False
    if len(path.names) == 1:
        return True
    found = axes[name]
    if len(path.names) == 2 and found.kind == "row" and path.names[1] in found.names and path.names[1] != "position":
        return True
    faults.error("E844", f"`{'.'.join(path.names)}` is no column of an axis", path.span,
                 help=near(path.names[-1], found.names))  # fmt: skip
    return False
