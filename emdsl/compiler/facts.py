"""What an experiment's statements say, as far as the rules of `check` need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.compiler.check import Facts
from emdsl.compiler.reads import free_names
from emdsl.lang import ast
from emdsl.lang.nodes import nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.compiler.expr import Compiler
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.grid import Grid
    from emdsl.compiler.resolve import Scope
    from emdsl.experiment import Experiment
    from emdsl.source import Span


@dataclass(slots=True)
class Parts:
    """The statements of an experiment by what they are; a step comes with the conditions it stands under."""

    settings: list[ast.Setting] = field(default_factory=list)
    fors: list[ast.For] = field(default_factory=list)
    skips: list[ast.Skip] = field(default_factory=list)
    grids: list[ast.Grid] = field(default_factory=list)
    sets: list[ast.SetRule] = field(default_factory=list)
    lets: list[ast.Let] = field(default_factory=list)
    steps: list[tuple[ast.Ask | ast.Judge, tuple[ast.Expr, ...]]] = field(default_factory=list)
    measures: list[ast.Measure] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """An experiment's statements with what became of them; `matched` are the `set`s that hold in some cell."""

    decl: ast.Experiment
    parts: Parts
    blocks: tuple[Parts, ...]
    scope: Scope
    grid: Grid
    axis_spans: Mapping[str, Span]
    reached: Callable[..., frozenset[str]]
    matched: frozenset[Span]


def facts_of(written: Statements) -> Facts:
    """Return what the rules of `check` need to know of the statements."""
    under = {s.name.text: bool(c) for s, c in written.parts.steps}
    conditional: dict[str, Span] = {}
    for measure in written.parts.measures:
        if any(isinstance(n, ast.Given) for n in nodes(measure.value)):
            continue
        for node in nodes(measure.value):
            if isinstance(node, ast.Ref) and under.get(node.name):
                conditional.setdefault(node.name, node.span)
    reasoning: dict[str, Span] = {}
    finish: set[str] = set()
    for node in nodes(written.decl.body):
        match node:
            case ast.Field(value=ast.Ref(name=name), name=ast.Name(text="reasoning")) if name in under:
                reasoning.setdefault(name, node.span)
            case ast.Field(value=ast.Ref(name=name), name=ast.Name(text="finish")):
                finish.add(name)
    sets = {r.span for r in written.parts.sets} - written.matched
    read_in = [part for s, c in written.parts.steps for part in (*_step_parts(s), *c)]
    read_in += [x for r in written.parts.sets for x in (r.value, r.condition)]
    read_in += [m.value for m in written.parts.measures]
    read_in += [f.levels for parts in (written.parts, *written.blocks) for f in parts.fors]
    read = written.reached(*read_in)
    return Facts(
        reasoning_read=reasoning, finish_read=frozenset(finish), conditional=conditional,
        unread_axes=tuple((n, written.axis_spans[n]) for n in written.axis_spans if not {n} & read
                          and not _zipped_with(written, n) & read),
        unmatched_sets=tuple(sorted(sets, key=lambda x: x.start))
    )  # fmt: skip


def _zipped_with(written: Statements, name: str) -> set[str]:
    """Return the names that one `for` binds together with a name."""
    fors = [f for parts in (written.parts, *written.blocks) for f in parts.fors]
    return {n.text for f in fors for n in f.names if name in (x.text for x in f.names)} - {name}


def _step_parts(step: ast.Ask | ast.Judge) -> tuple[Any, ...]:
    prompt = step.prompt if isinstance(step, ast.Ask) else step.rubric
    return (step.model, prompt, *(s.value for s in step.settings))


def check_sides(experiment: Experiment, decls: list[ast.Measure], compiler: Compiler, faults: Faults) -> None:
    """The sides of a contrast hold in some cells each, and in none both."""
    for measure, decl in zip(experiment.measures, decls, strict=True):
        if measure.sides is None:
            continue
        names = free_names(measure.sides[0]) | free_names(measure.sides[1])
        axes = tuple(i for i, n in enumerate(a.name for a in experiment.axes) if n in names)
        sides = [compiler.expr(x) for x in measure.sides]
        frames = (experiment.frame(axes, levels, 0) for levels in experiment.projected(axes))
        held = [tuple(side(frame) is True for side in sides) for frame in frames]
        for i, side in enumerate(measure.sides):
            if not any(h[i] for h in held):
                faults.error("E848", "no cell is on this side of the contrast", side.span)
        if any(all(h) for h in held):
            faults.error("E848", "some cells are on both sides of this contrast", decl.value.span,
                               help="make the sides exclude each other")  # fmt: skip
