"""`for` and `skip` to the grid of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.compiler.faults import Silent
from emdsl.compiler.free_names import free_names
from emdsl.compiler.grid import Block, Grid, SkipRule, Source
from emdsl.compiler.infer import Checker
from emdsl.compiler.ordering import circle, in_order
from emdsl.compiler.types import ANY
from emdsl.frame import EvalFault
from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.source import Diagnostic, Label, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.statements import Statements
    from emdsl.frame import Fn
    from emdsl.source import Span


def grid_of(statements: Statements, local: LocalScope, lets: Mapping[str, Fn], faults: Faults) -> Grid | None:
    """Return the cells of an experiment; None if the faults of its axes, which are reported, leave none."""
    pass_ = _Axes(local, faults)
    before = faults.n_errors
    blocks = []
    for block in statements.blocks:
        sources = [pass_.source(f) for f in block.fors]
        complete = [s for s in sources if s is not None]
        if len(complete) < len(sources):
            return None  # reported, or lost for a syntax error
        ordered = _in_order(complete, faults)
        skips = [pass_.skip(s) for s in block.skips]
        if ordered is not None:
            blocks.append(Block(sources=ordered, skips=tuple(s for s in skips if s is not None)))
    _check_same_axes(statements, faults)
    if faults.n_errors > before:
        return None
    try:
        return Grid(tuple(local.axes), tuple(blocks), local.constants, lets, faults, statements.decl.name.span)
    except EvalFault as fault:
        faults.add(fault.diagnostic)
    except Silent:
        pass
    except KeyError as error:
        if str(error.args[0]) not in local.lost:
            raise
    return None


@dataclass(frozen=True, slots=True)
class _Axes:
    local: LocalScope
    faults: Faults

    def source(self, stmt: ast.For) -> Source | None:
        """Return an axis, or several zipped; None for a fault, which is reported."""
        reads = self._reads(stmt.levels, "list values that are known before the run")
        if reads is None or not self._is_known(stmt.levels):
            return None
        return Source(
            names=tuple(n.text for n in stmt.names), levels=self.local.compiler.expr(stmt.levels), reads=reads,
            span=stmt.span, list_span=stmt.levels.span, written=_written(stmt), item_spans=_item_spans(stmt.levels),
        )  # fmt: skip

    def skip(self, stmt: ast.Skip) -> SkipRule | None:
        """Return a `skip`; None for a fault, which is reported."""
        reads = self._reads(stmt.condition, "use axes and constants only")
        if reads is None or not self._is_known(stmt.condition):
            return None
        return SkipRule(condition=self.local.compiler.expr(stmt.condition), reads=reads, span=stmt.condition.span)

    def _reads(self, node: ast.Expr, instead: str) -> tuple[str, ...] | None:
        """Return the axes that a list or a condition of the grid reads; it cannot read an answer."""
        reads = self.local.reads(node)
        step = next((s for n, s in self.local.steps.items() if n in reads), None)
        if step is not None:
            direct = (x for x in walk(node) if isinstance(x, ast.Ref) and x.name == step.name)
            place = next(direct, node).span  # the expression itself if it reads the step through a `let`
            self.faults.error(
                "E401", f"the grid cannot depend on `{step.name}`: its cells are fixed before the run", place,
                labels=(Label(span=step.decl.name.span, text="known only during the run"),),
                help=f"{instead}; to run a step only after certain answers, write `when CONDITION {{ ask ... }}`",
            )  # fmt: skip
            return None
        if "sample" in reads:
            self.faults.error("E401", "the grid cannot depend on `sample`: all samples share the same cells", node.span,
                              help=f"{instead}; to run a step in some samples only, write "
                              "`when sample == 0 { ask ... }`")  # fmt: skip
            return None
        return tuple(sorted(n for n in reads if n in self.local.axes))

    def _is_known(self, node: ast.Expr) -> bool:
        """Check the names of an expression; the axes have no types yet."""
        before = self.faults.n_errors
        Checker(self.local.file, self.faults, dict.fromkeys(self.local.names, ANY)).infer(node)
        return self.faults.n_errors == before and not (free_names(node) & self.local.lost - self.local.names)


def _in_order(sources: list[Source], faults: Faults) -> tuple[Source, ...] | None:
    """Return sources so that each comes after those it reads; None if they go in a circle."""
    by_name = {name: i for i, source in enumerate(sources) for name in source.names}
    needs = {i: {by_name[r] for r in source.reads if r in by_name} for i, source in enumerate(sources)}
    if members := [sources[i] for i in circle(needs)]:
        labels = tuple(Label(span=s.span, text="and this one") for s in members[1:])
        faults.add(Diagnostic(
            code="E402", message="these axes depend on each other", span=members[0].span, labels=labels,
            help="give one of them levels that do not use the other",
        ))  # fmt: skip
        return None
    return tuple(sources[i] for i in in_order(needs))


def _check_same_axes(statements: Statements, faults: Faults) -> None:
    """Every `grid` of an experiment binds the same axes."""
    first, *others = statements.blocks
    names = {n.text for f in first.fors for n in f.names}
    for block in others:
        unlike = names ^ {n.text for f in block.fors for n in f.names}
        if unlike:
            faults.error(
                "E408", f"these grids have different axes: {one_of(unlike)}", block.span,
                labels=(Label(span=first.span, text="the other grid"),),
                help="give every grid the same axes; `for k in [0]` adds an axis with one level",
            )  # fmt: skip


def _written(stmt: ast.For) -> tuple[tuple[str | None, ...], ...]:
    """Return the names that stand in a list of levels, a tuple for each level; none for another expression."""
    if not isinstance(stmt.levels, ast.Sequence):
        return ()
    groups = [x.items if len(stmt.names) > 1 and isinstance(x, ast.Sequence) else (x,) for x in stmt.levels.items]
    if any(len(g) != len(stmt.names) for g in groups):
        return ()
    return tuple(tuple(x.name if isinstance(x, ast.Ref) else None for x in g) for g in groups)


def _item_spans(levels: ast.Expr) -> tuple[Span, ...]:
    match levels:
        case ast.Sequence():
            return tuple(x.span for x in levels.items)
        case ast.Map():
            return tuple(e.label.span for e in levels.entries)
        case _:
            return ()
