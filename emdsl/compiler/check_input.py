"""Input of the rules of `check` beside the requests: facts about the statements of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from emdsl.compiler.free_names import free_names
from emdsl.compiler.set_rules import idle_rules
from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.source import Label
from emdsl.value import is_exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.compiler.expr import Compiler
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.set_rules import SetRule
    from emdsl.compiler.statements import Statements
    from emdsl.experiment import Experiment
    from emdsl.source import Span

MAX_DOSE = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInput:
    """Facts about an experiment's statements that a rule needs, with their places."""

    reasoning_read: dict[str, Span] = field(default_factory=dict)  # by ask
    finish_read: frozenset[str] = frozenset()  # steps whose `finish` is read
    # steps under a `when` that measures without a `given` read: the place, and the condition
    conditional: dict[str, tuple[Span, str]] = field(default_factory=dict)
    last_messages: dict[str, tuple[str, Span | None]] = field(default_factory=dict)  # by step: its prompt, and where
    idle_sets: tuple[Span, ...] = ()
    unread_axes: tuple[tuple[str, Span], ...] = ()


def check_input(
    statements: Statements, local: LocalScope, experiment: Experiment, rules: Sequence[SetRule]
) -> CheckInput:
    """Return what the rules of `check` need to know of the statements."""
    reasoning: dict[str, Span] = {}
    finish: set[str] = set()
    for node in walk(statements.decl.body):
        match node:
            case ast.Field(value=ast.Ref(name=name), name=ast.Name(text="reasoning")) if name in local.steps:
                reasoning.setdefault(name, node.span)
            case ast.Field(value=ast.Ref(name=name), name=ast.Name(text="finish")):
                finish.add(name)
    return CheckInput(
        reasoning_read=reasoning, finish_read=frozenset(finish), conditional=_conditional(statements, local),
        idle_sets=idle_rules(rules, experiment), unread_axes=_unread_axes(statements, local),
        last_messages=_last_messages(local),
    )  # fmt: skip


def _conditional(statements: Statements, local: LocalScope) -> dict[str, tuple[Span, str]]:
    """Return the conditional steps that measures without a `given` read, where, and when they run."""
    steps: dict[str, tuple[Span, str]] = {}
    for measure in statements.measures:
        nodes = tuple(walk(measure.value))
        if any(isinstance(n, ast.Given) for n in nodes):
            continue
        for node in nodes:
            if isinstance(node, ast.Ref) and node.name in local.steps and local.steps[node.name].conditions:
                steps.setdefault(node.name, (node.span, _joined(local.steps[node.name].conditions)))
    return steps


def _joined(conditions: tuple[ast.Expr, ...]) -> str:
    """Return conditions that hold together as one, as written."""
    texts = [" ".join(c.span.text.split()) for c in conditions]
    if len(texts) > 1:
        texts = [f"({t})" if isinstance(c, ast.Logic) else t for c, t in zip(conditions, texts, strict=True)]
    return " and ".join(texts)


def _last_messages(local: LocalScope) -> dict[str, tuple[str, Span | None]]:
    """Return the prompt of each step that calls one by name, and its last message unless that depends on a value."""
    messages: dict[str, tuple[str, Span | None]] = {}
    for name, step in local.steps.items():
        called = step.decl.prompt if isinstance(step.decl, ast.Ask) else step.decl.rubric
        function = called.function if isinstance(called, ast.Call) else None
        if isinstance(function, ast.Ref) and function.name in local.file.names and function.name not in local.names:
            decl, _ = local.file.origin(ast.Name(text=function.name, span=function.span))
            if isinstance(decl, ast.Prompt | ast.Rubric):
                last = decl.body[-1] if decl.body else None
                messages[name] = f"`{decl.name.text}`", last.span if isinstance(last, ast.Say) else None
    return messages


def _unread_axes(statements: Statements, local: LocalScope) -> tuple[tuple[str, Span], ...]:
    """Return the axes that nothing reads, nor one that is zipped with them."""
    reads: set[str] = set()
    for step in statements.steps:
        prompt = step.decl.prompt if isinstance(step.decl, ast.Ask) else step.decl.rubric
        settings = tuple(s.value for s in step.decl.settings)
        reads |= local.reads(step.decl.model, prompt, settings, step.conditions)
    reads |= local.reads(*(x for r in statements.sets for x in (r.value, r.condition)))
    reads |= local.reads(*(m.value for m in statements.measures), *(f.levels for f in statements.fors))
    for stmt in statements.fors:
        names = {n.text for n in stmt.names}
        if names & reads:
            reads |= names
    return tuple((name, span) for name, span in local.axes.items() if name not in reads)


def check_doses(experiment: Experiment, faults: Faults) -> None:
    """The doses of a `dose` are 0 or more, and finite where they are computed with; those of a `slope` are numbers."""
    levels = {a.name: a.levels for a in experiment.axes}
    for measure in experiment.measures:
        absent = (x.shown for x in levels.get(measure.slope, ()) if x.value is not None and not is_exact(x.value))
        for level in islice(absent, 1):
            faults.error("E844", f"`{measure.slope}` has the level `{level:.24}`, which is not a number", measure.whole,
                         help="give the axis numbers only, or another axis to the measure")  # fmt: skip
        if "dose" not in (measure.function, measure.of):
            continue
        wrong = (x.shown for x in levels[measure.slope] if is_exact(x.value) and not 0 <= x.value <= MAX_DOSE)
        for level in islice(wrong, 1):
            faults.error(
                "E844", f"`{measure.slope}` has the level `{level:.24}`: a dose is a number from 0 to {MAX_DOSE:g}",
                measure.whole, help="use `slope(...)` for the change per unit of any axis of numbers",
            )  # fmt: skip


def check_sides(experiment: Experiment, decls: Sequence[ast.Measure], compiler: Compiler, faults: Faults) -> None:
    """The sides of a contrast hold in some cells each, and in none both; several clusters that it names are on each."""
    for measure, decl in zip(experiment.measures, decls, strict=True):
        if not measure.sides:
            continue
        read = free_names(measure.sides)
        axes = tuple(i for i, a in enumerate(experiment.axes) if a.name in read)
        sides = [compiler.expr(x) for x in measure.sides]
        places = list(experiment.projected(axes))
        held = [tuple(side(experiment.frame(axes, p, 0)) is True for side in sides) for p in places]
        for i, side in enumerate(measure.sides):
            if not any(h[i] for h in held):
                other = side.items[0] if isinstance(side, ast.Logic) and len(measure.sides) > 2 else None
                labels = (Label(span=other.span, text="together with this side"),) if other is not None else ()
                faults.error("E848", "no cell is on this side of the contrast", side.span, labels=labels,
                             help="correct the condition")  # fmt: skip
        if any(sum(h) > 1 for h in held):
            faults.error("E848", "some cells are on both sides of this contrast", decl.value.span,
                         help="make the sides exclude each other")  # fmt: skip
        named = measure.interval.cluster if measure.interval is not None and measure.interval.clusters.written else ()
        for at, name in enumerate(experiment.axes[i].name for i in axes):
            sizes = [len({p[at] for p, h in zip(places, held, strict=True) if h[i]}) for i in range(len(sides))]
            if name in named and 1 in sizes:
                faults.error(
                    "E843", f"`{name}` cannot be the cluster of this contrast: a side has one level of it",
                    decl.value.span, help="choose another cluster, or leave `cluster:` out",
                )  # fmt: skip
