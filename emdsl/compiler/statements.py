"""Statements of an experiment by what they are, as written: the first pass over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.compiler import settings as tables
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.read_settings import read_settings
from emdsl.lang import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope
    from emdsl.source import Span

_UNDER_WHEN = ast.Ask | ast.Judge | ast.When | ast.Let | ast.Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenStep:
    """An `ask` or a `judge` with the conditions it stands under; a judge with `samples` is one step a draw."""

    decl: ast.Ask | ast.Judge
    conditions: tuple[ast.Expr, ...]
    draw: int = 0

    @property
    def name(self) -> str:
        """The name of the step: NAME, and of further draws NAME_2, NAME_3 ..."""
        return self.decl.name.text

    @property
    def written_name(self) -> str:
        """The name in the program, the same for all draws."""
        return self.name.removesuffix(f"_{self.draw + 1}") if self.draw else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The axes of one `grid`, those outside of it included; `span` is its name, or the whole."""

    fors: tuple[ast.For, ...]
    skips: tuple[ast.Skip, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The statements of an experiment; `blocks` has one block if there is no `grid`."""

    decl: ast.Experiment
    settings: tuple[ast.Setting, ...]
    blocks: tuple[Block, ...]
    sets: tuple[ast.SetRule, ...]
    lets: tuple[ast.Let, ...]
    steps: tuple[WrittenStep, ...]
    annotations: tuple[ast.Annotate, ...]
    measures: tuple[ast.Measure, ...]

    @property
    def fors(self) -> tuple[ast.For, ...]:
        """Every `for`, each once, in the order of the text."""
        fors = {f.span.start: f for block in self.blocks for f in block.fors}
        return tuple(fors[start] for start in sorted(fors))

    @property
    def people(self) -> frozenset[str]:
        """The names of people's verdicts."""
        return frozenset(a.name.text for a in self.annotations)

    @property
    def skips(self) -> tuple[ast.Skip, ...]:
        """Every `skip`, each once."""
        return tuple({s.span.start: s for block in self.blocks for s in block.skips}.values())

    @property
    def axes(self) -> dict[str, Span]:
        """The names of all axes with their places, in the order of the text."""
        axes: dict[str, Span] = {}
        for name in (n for f in self.fors for n in f.names):
            axes.setdefault(name.text, name.span)
        return axes


def statements_of(decl: ast.Experiment, scope: Scope, faults: Faults) -> Statements:
    """Return the statements of an experiment; one in a place where it cannot stand is an error, and left out."""
    flat = tuple(_with_conditions(decl.body, (), faults))
    body = [stmt for stmt, _ in flat]
    fors = tuple(s for s in body if isinstance(s, ast.For))
    skips = tuple(s for s in body if isinstance(s, ast.Skip))
    blocks = []
    for grid in (s for s in body if isinstance(s, ast.Grid)):
        for stmt in grid.body:
            if not isinstance(stmt, ast.For | ast.Skip):
                faults.error(
                    "E412",
                    "only `for` and `skip` are allowed in a `grid`",
                    stmt.span,
                    help="move it below the `grid` block, where it can use the axes",
                )
        inner_fors = tuple(s for s in grid.body if isinstance(s, ast.For))
        inner_skips = tuple(s for s in grid.body if isinstance(s, ast.Skip))
        span = (grid.name or grid).span
        blocks.append(Block(fors=(*fors, *inner_fors), skips=(*skips, *inner_skips), span=span))
    return Statements(
        decl=decl,
        settings=tuple(s for s in body if isinstance(s, ast.Setting)),
        blocks=tuple(blocks) or (Block(fors=fors, skips=skips, span=decl.name.span),),
        sets=tuple(s for s in body if isinstance(s, ast.SetRule)),
        lets=tuple(s for s in body if isinstance(s, ast.Let)),
        steps=tuple(
            step for stmt, conditions in flat if isinstance(stmt, ast.Ask | ast.Judge)
            for step in _draws(stmt, conditions, scope, faults)
        ),
        annotations=tuple(s for s in body if isinstance(s, ast.Annotate)),
        measures=tuple(s for s in body if isinstance(s, ast.Measure)),
    )  # fmt: skip


def _with_conditions(
    body: tuple[ast.Stmt, ...], conditions: tuple[ast.Expr, ...], faults: Faults
) -> Iterator[tuple[ast.Stmt, tuple[ast.Expr, ...]]]:
    """Yield statements, those under a `when` with its condition."""
    for stmt in body:
        if not isinstance(stmt, ast.When):
            yield stmt, conditions
            continue
        for inner in stmt.body:
            if not isinstance(inner, _UNDER_WHEN):
                faults.error(
                    "E411", "this statement is not allowed in a `when` block", inner.span,
                    help="allowed are `ask`, `judge`, `let` and `measure`; to exclude cells use `skip when`",
                )  # fmt: skip
        allowed = tuple(x for x in stmt.body if isinstance(x, _UNDER_WHEN))
        yield from _with_conditions(allowed, (*conditions, stmt.condition), faults)


def _draws(
    decl: ast.Ask | ast.Judge, conditions: tuple[ast.Expr, ...], scope: Scope, faults: Faults
) -> Iterator[WrittenStep]:
    """Yield a judge with `samples = n` as n steps: NAME, NAME_2, NAME_3 ..."""
    samples = [s for s in decl.settings if s.name.text == "samples"]
    if not isinstance(decl, ast.Judge) or not samples:
        yield WrittenStep(decl=decl, conditions=conditions)
        return
    others = tuple(s for s in decl.settings if s.name.text != "samples")
    n = read_settings(samples, tables.JUDGE, "judge", scope, faults).get("samples", 1)
    for i in range(n):
        name = decl.name if i == 0 else decl.name.replaced(text=f"{decl.name.text}_{i + 1}")
        yield WrittenStep(decl=decl.replaced(name=name, settings=others), conditions=conditions, draw=i)


def check_names(statements: Statements, scope: Scope, faults: Faults) -> None:
    """Every name of an experiment is its own: nothing shadows."""
    first: dict[str, ast.Name] = {}
    per_block = [[n for f in block.fors for n in f.names] for block in statements.blocks]
    for names in per_block:
        once: dict[str, ast.Name] = {}
        for name in names:
            if once.setdefault(name.text, name) is not name:
                faults.doubled(name, once[name.text])
    for name in (n for names in per_block for n in names):  # grids bind the same axes
        first.setdefault(name.text, name)
    names = [*(x.name for x in statements.lets), *(x.name for x in statements.annotations)]
    for name in (*names, *(s.decl.name for s in statements.steps)):
        if first.setdefault(name.text, name) is not name:
            faults.doubled(name, first[name.text])
    for name in first.values():
        if name.text == "sample":
            faults.error(
                "E413", "`sample` is a reserved name: the index of the draw, from 0", name.span,
                help="choose another name; `samples = 50` sets the number of draws",
            )  # fmt: skip
        elif (name.text in BUILTINS and not BUILTINS[name.text].weak) or name.text in ("seed", "missing"):
            faults.error(
                "E204",
                f"`{name.text}` is a built-in name and cannot be redefined",
                name.span,
                help="choose another name",
            )
        elif name.text in scope.names:
            faults.doubled(name, scope.names[name.text].name)
    measures: dict[str, ast.Name] = {}
    for measure in statements.measures:
        if measures.setdefault(measure.name.text, measure.name) is not measure.name:
            faults.doubled(measure.name, measures[measure.name.text])
    if not statements.steps and not scope.module.file.lost:
        name = statements.decl.name
        faults.error("E803", f"the experiment `{name.text}` has no `ask`", name.span,
                     help="add `ask answer from MODEL with PROMPT`")  # fmt: skip
