"""What rows are compared by: yes/no conditions of measures, thresholds and labels, verdicts, and texts of answers."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from emdsl.annotation import REASONS
from emdsl.errors import UsageError
from emdsl.experiment import ASK, Interval, Measure
from emdsl.lang import ast
from emdsl.lang.canonical import canonical
from emdsl.outcomes.browsing import columns_of as listed_columns
from emdsl.outcomes.draws import row_values_sql
from emdsl.outcomes.sql import columns_of, literal, name
from emdsl.source import near
from emdsl.value import UNSETTLED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.experiment import Clusters, Experiment

YES, NO = "true", "false"
TEXT = "text"  # the texts of all answers
_OPEN = sorted({*UNSETTLED, *REASONS} - {"disagreement"})  # what another run, or a person, may still change
CONDITIONS = ("rate", "at_least", "count", "dose")  # measures of a condition


class Condition(NamedTuple):
    """One way to compare rows: its name in URLs, its text for people, and as a rate if it is a yes/no condition."""

    id: str
    text: str
    rate: Measure | None = None


def is_condition(measure: Measure) -> bool:
    """Whether the value of a measure is a condition."""
    return (measure.of or measure.function) in CONDITIONS and measure.value is not None


def condition_text(measure: Measure) -> str:
    """Return the condition of a measure in the words of the study."""
    assert measure.value is not None
    given = f" given {canonical(measure.condition)}" if measure.condition is not None else ""
    return canonical(measure.value) + given


def holds_sql(experiment: Experiment, measure: Measure) -> str:
    """Return in SQL whether the condition of a measure holds in a row: true, false, or the reason why it is dropped."""
    value, _, reason = row_values_sql(measure, columns_of(experiment))
    return f"COALESCE({reason}, CASE WHEN {value} THEN '{YES}' ELSE '{NO}' END)"


def conditions_of(experiment: Experiment) -> list[Condition]:
    """Return the ways to compare rows of an experiment: yes/no conditions first, then verdicts, then texts."""
    shown = {c.name: c.written for c in experiment.columns if c.written}
    found: dict[str, Condition] = {}
    for measure in filter(is_condition, experiment.measures):
        text = condition_text(measure)
        for column, written in shown.items():
            text = text.replace(column, f"({written})")
        found.setdefault(text, Condition(f"m.{measure.name}", text, _rate(measure, experiment.clusters)))
    for condition in (*_thresholds(experiment), *_labels(experiment)):
        found.setdefault(condition.text, condition)
    verdicts = [Condition(f"v.{c.name}", c.name) for c in listed_columns(experiment) if c.reason and c.kind != "text"]
    return [*found.values(), *verdicts, Condition(TEXT, "text of the answer")]


def condition_of(experiment: Experiment, called: str) -> Condition:
    """Return a way to compare rows by its name in URLs; a threshold `t.STEP.NUMBER` may have any number.

    Raises:
        UsageError: The experiment has no condition of this name.
    """
    conditions = conditions_of(experiment)
    chosen = next((c for c in conditions if c.id == called or not called), None)
    if chosen is None and called.startswith("t."):
        step, _, number = called.removeprefix("t.").partition(".")
        scored = next((s for s in experiment.steps if s.name == step and _is_scored(s.name, experiment)), None)
        if scored is not None and _is_number(number):
            return _threshold(experiment, step, Decimal(number))
    if chosen is None:
        hint = near(called, [c.id for c in conditions])
        raise UsageError(f"`{experiment.name}` has no condition `{called}`{f'; {hint}' if hint else ''}")
    return chosen


def state_sql(experiment: Experiment, condition: Condition) -> str:
    """Return in SQL the text that tells rows apart: the verdict, a digest of texts, or the reason why it is missing."""
    if condition.rate is not None:
        return holds_sql(experiment, condition.rate)
    if condition.id == TEXT:
        asks = [s.name for s in experiment.steps if s.kind == ASK]
        parts = [f"COALESCE({name(f'{a}_missing')}, hash({name(a)})::VARCHAR)" for a in asks]
        return f"concat_ws(' ', {', '.join(parts) or literal('')})"
    column, reason = _verdict(experiment, condition)
    return f"COALESCE({name(column)}::VARCHAR, {name(reason)})"


def verdict_sql(experiment: Experiment, condition: Condition) -> tuple[str, str]:
    """Return two SQL expressions: the verdict as people read it, NULL if it is missing, and the reason."""
    if condition.rate is not None:
        state = holds_sql(experiment, condition.rate)
        return f"CASE WHEN {state} IN ('{YES}', '{NO}') THEN {state} END", state
    if condition.id == TEXT:
        ask = next((s.name for s in experiment.steps if s.kind == ASK), None)
        return (f"left({name(ask)}, 60)", name(f"{ask}_missing")) if ask else ("NULL", "NULL")
    column, reason = _verdict(experiment, condition)
    return name(column), name(reason)


def unsettled_sql(experiment: Experiment, condition: Condition) -> str:
    """Return in SQL whether the state of a row is not known yet: pending, failed, or not judged by people."""
    reasons = ", ".join(literal(r) for r in _OPEN)
    if condition.rate is not None:
        return f"{holds_sql(experiment, condition.rate)} IN ({reasons})"
    if condition.id == TEXT:
        asks = [f"{s.name}_missing" for s in experiment.steps if s.kind == ASK]
    else:
        asks = [_verdict(experiment, condition)[1]]
    return " OR ".join(f"COALESCE({name(c)} IN ({reasons}), FALSE)" for c in asks) or "FALSE"


def _verdict(experiment: Experiment, condition: Condition) -> tuple[str, str]:
    wanted = condition.id.removeprefix("v.")
    return next((c.name, c.reason) for c in listed_columns(experiment) if c.name == wanted)


def _rate(measure: Measure, clusters: Clusters) -> Measure:
    """Return the condition of a measure as a rate of all rows, whatever its groups and its function are."""
    own = measure.interval
    interval = Interval(
        method="wilson", level=own.level if own is not None else 0.95,
        clusters=own.clusters if own is not None and own.clusters.written else clusters,
    )  # fmt: skip
    return dataclasses.replace(
        measure, function="rate", of="", interval=interval, sides=(), versus="", baseline=None, scale="difference",
        equivalent=None, pair=(), other=None, others=(), effect=None, correct="", family="", slope="", steepness=None,
        equal="", via="", person=None, strata=(), labels=(), factors=(), least=1, among=None, by=(), levels=(),
    )  # fmt: skip


def _thresholds(experiment: Experiment) -> Iterator[Condition]:
    """Yield the thresholds of scores: those of the program, else the middle of the scale."""
    for step in experiment.steps:
        if not _is_scored(step.name, experiment):
            continue
        assert step.reply_format is not None
        assert step.reply_format.scale is not None
        low, high = map(float, step.reply_format.scale)
        for number in experiment.thresholds.get(step.name, ()) or ((low + high) / 2,):
            yield _threshold(experiment, step.name, Decimal(f"{number:g}"))


def _threshold(experiment: Experiment, step: str, number: Decimal) -> Condition:
    span = experiment.span
    value = ast.Compare(
        op="<", left=ast.Ref(name=step, span=span), right=ast.Literal(value=number, span=span), span=span
    )
    return Condition(f"t.{step}.{number}", canonical(value), _made(experiment, value, (step,), (step,)))


def _labels(experiment: Experiment) -> Iterator[Condition]:
    """Yield whether a verdict, what an answer is read as, or the verdict of people, is one of its labels."""
    for step in experiment.steps:
        if step.kind != ASK:
            for label in step.labels:
                yield _label(experiment, step.name, "", label, (step.name,), (step.name,))
        elif any(r.name == "label" for r in step.readings):
            for label in step.labels:
                yield _label(experiment, step.name, "label", label, (step.name,), (step.name,))
    for annotation in experiment.annotations:
        for label in annotation.choices:
            yield _label(experiment, annotation.name, "", label, (annotation.name,), (annotation.ask,))


def _label(
    experiment: Experiment, of: str, field: str, label: str, reads: tuple[str, ...], steps: tuple[str, ...]
) -> Condition:
    span = experiment.span
    value: ast.Expr = ast.Ref(name=of, span=span)
    if field:
        value = ast.Field(value=value, name=ast.Name(text=field, span=span), span=span)
    test = ast.Is(value=value, label=ast.Name(text=label, span=span), negated=False, span=span)
    text = f"{of}{f'.{field}' if field else ''} is {label}"
    return Condition(f"l.{of}.{label}", text, _made(experiment, test, reads, steps))


def _made(experiment: Experiment, value: ast.Expr, reads: tuple[str, ...], steps: Iterable[str]) -> Measure:
    """Return a rate that no program names; `steps` are those that it reads itself."""
    by_name = {s.name: s for s in experiment.steps}
    pending, behind = list(steps), set[str]()
    while pending:
        step = pending.pop()
        if step not in behind:
            behind.add(step)
            pending += (*by_name[step].needs, *by_name[step].condition_needs)
    return Measure(
        name="condition", function="rate", value=value, condition=None, by=(),
        interval=Interval(method="wilson", level=0.95, clusters=experiment.clusters),
        asks=tuple(s.name for s in experiment.steps if s.name in behind and s.kind == ASK),
        steps=tuple(s.name for s in experiment.steps if s.name in behind), reads=reads,
        span=experiment.span, whole=experiment.whole,
    )  # fmt: skip


def _is_scored(step: str, experiment: Experiment) -> bool:
    chosen = next(s for s in experiment.steps if s.name == step)
    return chosen.kind != ASK and chosen.reply_format is not None and chosen.reply_format.scale is not None


def _is_number(text: str) -> bool:
    try:
        return len(text) < 20 and math.isfinite(float(text))
    except ValueError:
        return False
