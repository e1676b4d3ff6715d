"""The `let`s with `over` of an experiment: the arguments of each group of rows, and who may read their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.arguments import by_parameter
from emdsl.compiler.callables import HookFunction
from emdsl.compiler.over import too_early
from emdsl.experiment import GroupLet
from emdsl.lang import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.statements import Statements
    from emdsl.experiment import Step
    from emdsl.lang.walk import Tree


def check_reads(statements: Statements, local: LocalScope, faults: Faults) -> None:
    """Report each expression that reads a value of a group before all its rows are answered."""
    groups = frozenset(name for name, let in local.lets.items() if isinstance(let.value, ast.Over))
    if not groups:
        return
    for tree in _early(statements):
        if read := sorted(groups & local.reads(tree)):
            faults.add(too_early(read[0], tree.span).diagnostic)


def _early(statements: Statements) -> Iterator[ast.Expr]:
    for step in statements.steps:
        decl = step.decl
        parts: tuple[Tree, ...] = (decl.prompt if isinstance(decl, ast.Ask) else decl.rubric, decl.model)
        yield from (x for x in parts if isinstance(x, ast.Expr))
        yield from step.conditions
        yield from (s.value for s in decl.settings)
    yield from (s.condition for s in statements.skips)
    yield from (f.levels for f in statements.fors)
    yield from (s.value for s in statements.settings)
    for rule in statements.sets:
        yield rule.value
        if rule.condition is not None:
            yield rule.condition


def groups_of(local: LocalScope, steps: tuple[Step, ...], faults: Faults) -> dict[str, GroupLet]:
    """Return the `let`s with `over` of an experiment."""
    groups: dict[str, GroupLet] = {}
    for name, let in local.lets.items():
        if not isinstance(let.value, ast.Over):
            continue
        with faults.caught():
            groups[name] = _group(let.value, local, steps)
    return groups


def _group(node: ast.Over, local: LocalScope, steps: tuple[Step, ...]) -> GroupLet:
    call = node.call
    assert isinstance(call, ast.Call)
    assert isinstance(call.function, ast.Ref)
    hook = local.file.value(call.function.name)
    assert isinstance(hook, HookFunction)
    varying = {*local.axes, *local.steps, "sample"}
    given = [(a.name, (local.compiler.expr(a.value), not local.reads(a.value) & varying)) for a in call.args]
    args = by_parameter(hook.name, hook.params, len(hook.params), given, call.span)
    over = {axis.name for axis in node.axes}
    return GroupLet(
        axes=tuple(i for i, axis in enumerate(local.axes) if axis in over),
        samples="sample" in over,
        args=tuple(args.values()),
        steps=_behind(local.steps_read(call), steps),
        call=hook.call_all,
    )


def _behind(names: tuple[str, ...], steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Return steps with those that they read, in their order."""
    by_name = {step.name: step for step in steps}
    pending, read = list(names), set[str]()
    while pending:
        name = pending.pop()
        if name not in read and name in by_name:
            read.add(name)
            pending += (*by_name[name].needs, *by_name[name].condition_needs)
    return tuple(step.name for step in steps if step.name in read)
