"""`set step.parameter = value when condition`: parameters that differ from cell to cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.compiler import settings as tables
from emdsl.frame import EvalFault, Fn, Frame, MissingInput, fail
from emdsl.source import Diagnostic, Label, Span, listed, near, one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.compiler.expr import Compiler
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.local_scope import LocalScope
    from emdsl.experiment import Experiment
    from emdsl.lang import ast


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRule:
    """A `set`, compiled; it holds for all draws of the `step`."""

    step: str
    parameter: str
    value: Fn
    condition: Fn | None
    axes: frozenset[str]
    span: Span


def set_rules(written: Sequence[ast.SetRule], local: LocalScope, faults: Faults) -> tuple[SetRule, ...]:
    """Return `set` rules; one with a fault is reported and left out."""
    rules = (_rule(rule, local, faults) for rule in written)
    return tuple(r for r in rules if r is not None)


def _rule(rule: ast.SetRule, local: LocalScope, faults: Faults) -> SetRule | None:
    step, *rest = rule.target.names
    span = rule.target.span
    if len(rest) != 1 or step not in local.steps:
        message = f"unknown step `{step}`" if step not in local.steps else "expected `STEP.PARAMETER` after `set`"
        faults.error("E416", message, span if step in local.steps else span.of(step),
                     help=near(step, local.steps) or listed("step", "steps", local.steps))  # fmt: skip
        return None
    if local.steps[step].draw:
        first = local.steps[step].written_name
        faults.error("E416", f"`{step}` is one draw of `{first}` and has no parameters of its own", span,
                     help=f"set the parameter of `{first}`: it applies to all draws")  # fmt: skip
        return None
    parameter = rest[0]
    if parameter not in tables.PARAMS or parameter == "seed":
        faults.error("E202", f"unknown parameter `{parameter}`", span.of(parameter),
                     help=near(parameter, tables.PARAMS) or f"available: {one_of(tables.PARAMS, 30)}")  # fmt: skip
        return None
    reads = local.reads(rule.value, rule.condition)
    unknown = next((n for n in (*local.steps, "sample") if n in reads), None)
    if unknown is not None:
        faults.error("E409", f"a `set` can only use axes, not `{unknown}`", rule.span,
                     note="parameters are fixed before the run",
                     help="use only axes and constants")  # fmt: skip
        return None
    return SetRule(
        step=step, parameter=parameter, value=parameter_reader(parameter, rule.value, local.compiler),
        condition=local.compiler.expr(rule.condition) if rule.condition is not None else None,
        axes=reads & local.axes.keys(), span=rule.span,
    )  # fmt: skip


def parameter_reader(name: str, value: ast.Expr, compiler: Compiler) -> Fn:
    """Return the function that reads a parameter; it raises EvalFault for one of the wrong kind."""
    compiled = compiler.expr(value)
    spec = tables.PARAMS[name]

    def read(frame: Frame) -> Any:
        written = compiled(frame)
        if written is None:
            return None
        try:
            return spec.read(written)
        except tables.Refused as refused:
            raise fail("E520", f"`{name}` must be {refused}", value.span) from None

    return read


def parameters_set(rules: Sequence[SetRule], frame: Frame) -> dict[str, Any]:
    """Return the parameters that rules set in a cell; raises EvalFault if two disagree, whatever their order."""
    decided: dict[str, tuple[Any, SetRule]] = {}
    for rule in rules:
        if rule.condition is not None and rule.condition(frame) is not True:
            continue
        value = rule.value(frame)
        other = decided.get(rule.parameter)
        if other is not None and other[0] != value:
            raise EvalFault(
                Diagnostic(
                    code="E410",
                    message=f"two `set` statements give `{rule.parameter}` different values in the same cell",
                    span=rule.span,
                    labels=(Label(span=other[1].span, text="the other `set`"),),
                    help="make their conditions exclude each other: the order of statements does not matter",
                )
            )
        decided[rule.parameter] = (value, rule)
    return {name: value for name, (value, _) in decided.items()}


def idle_rules(rules: Sequence[SetRule], experiment: Experiment) -> tuple[Span, ...]:
    """Return the rules whose condition holds in no cell, in the order of the text."""
    return tuple(sorted((r.span for r in rules if not _holds_somewhere(r, experiment)), key=lambda s: s.start))


def _holds_somewhere(rule: SetRule, experiment: Experiment) -> bool:
    if rule.condition is None:
        return True
    axes = tuple(i for i, axis in enumerate(experiment.axes) if axis.name in rule.axes)
    for levels in experiment.projected(axes):
        try:
            if rule.condition(experiment.frame(axes, levels)) is True:
                return True
        except MissingInput:
            continue
    return False
