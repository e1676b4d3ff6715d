"""An experiment's statements to an Experiment: one pass after the other, each from values to values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emdsl.annotation import REASONS
from emdsl.compiler import settings as tables
from emdsl.compiler.annotations import annotation_types, annotations_of, check_use
from emdsl.compiler.axes import grid_of
from emdsl.compiler.cell_samples import SAMPLES, cell_samples_of, written_by_cell
from emdsl.compiler.check import check
from emdsl.compiler.check_input import check_doses, check_input, check_sides
from emdsl.compiler.check_types import check_statements, checker_of, loose_types, types_of
from emdsl.compiler.clusters import cluster_columns, clusters_of
from emdsl.compiler.columns import Columns, numeric_names, thresholds
from emdsl.compiler.contrasts import check_families
from emdsl.compiler.dry_render import dry_render
from emdsl.compiler.grid import MAX_ROWS, Grid
from emdsl.compiler.groups import check_reads, groups_of
from emdsl.compiler.inline import Inliner
from emdsl.compiler.intervals import IntervalBinder
from emdsl.compiler.label_shares import with_shares
from emdsl.compiler.local_scope import LocalScope, local_scope
from emdsl.compiler.measure_columns import MeasureColumns, measure_columns, shown_levels
from emdsl.compiler.measure_values import MeasureValues
from emdsl.compiler.measures import MeasureBinder
from emdsl.compiler.read_settings import read_settings
from emdsl.compiler.statements import Statements, check_names, statements_of
from emdsl.compiler.steps import steps_of
from emdsl.compiler.types import ANY, Type
from emdsl.experiment import NO_CLUSTERS, Axis, Clusters, Column, Experiment, Measure
from emdsl.lang import ast
from emdsl.source import Label
from emdsl.value import LabelledMap, Row, render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.annotation import Annotation
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.resolve import Resolver
    from emdsl.compiler.scope import Scope

SQL_KINDS = {"number": "double", "score": "double", "bool": "bool", "text": "text", "label": "text",
             "answer": "text", "any": "text"}  # fmt: skip


def build_experiment(decl: ast.Experiment, scope: Scope, resolver: Resolver, faults: Faults) -> Experiment | None:
    """Return the experiment that a declaration makes; None if its faults leave nothing to go on with."""
    started = faults.n_errors
    statements = statements_of(decl, scope, faults)
    check_names(statements, scope, faults)
    check_use(statements, faults)
    if faults.has("E432", decl.span):
        return None
    statements = with_shares(statements)
    by_cell = written_by_cell(statements)
    plain = tuple(s for s in statements.settings if s.name.text != tables.CLUSTER and s is not by_cell)
    settings = read_settings(plain, tables.EXPERIMENT, "experiment", scope, faults)
    seed = settings.get("seed")
    local = local_scope(statements, scope, {} if seed is None else {"seed": seed}, faults)
    check_reads(statements, local, faults)
    annotations = annotations_of(statements, local.axes, seed, scope, resolver.inputs, faults)
    lets = local.compiled_lets(statements.lets, faults)
    grid = grid_of(statements, local, lets, faults)
    if grid is None:
        types = loose_types(local)
        check_statements(statements, types, checker_of(local, types, faults), faults)
        types = {**types, **annotation_types(statements, annotations)}
        lifted = measure_columns(statements.measures, local, types, (), lets, statements.people, faults)
        _measures(lifted, (), annotations, NO_CLUSTERS, faults)
        return None
    axes = tuple(Axis(name=n, levels=tuple(grid.levels[n].met), span=local.axes[n]) for n in grid.names)
    cell_samples = None
    if by_cell is not None:
        cell_samples = cell_samples_of(by_cell, local, lets, axes, grid, faults)
        settings[SAMPLES] = max(cell_samples.numbers.values(), default=1) if cell_samples is not None else 1
    if not _check_size(grid, settings.get(SAMPLES, 1), statements, faults):
        return None
    types = types_of(local, axes, faults)
    before = faults.n_errors
    check_statements(statements, types, checker_of(local, types, faults), faults)
    steps, rules = steps_of(statements, local, resolver, lets, faults)
    clusters = clusters_of(statements, local, types, axes, settings.get(SAMPLES, 1), faults)
    of_measures = {**types, **annotation_types(statements, annotations)}
    lifted = measure_columns(statements.measures, local, of_measures, axes, lets, statements.people, faults)
    measures = _measures(lifted, axes, annotations, clusters, faults)
    if faults.n_errors > before:
        return None
    grid.warn_of_idle_skips()
    compared = _compared(lifted)
    experiment = Experiment(
        name=decl.name.text,
        axes=axes,
        samples=settings.get(SAMPLES, 1),
        cell_samples=cell_samples if cell_samples is not None and cell_samples.axes else None,
        seed=seed,
        parallel=settings.get("parallel"),
        budget=settings.get("budget"),
        clusters=clusters,
        cells=grid.cells,
        projected=grid.projected,
        n_cells=grid.n_cells,
        n_skipped=grid.n_skipped,
        reads_absent=grid.reads_absent,
        steps=steps,
        lets={**lets, **lifted.lets},
        groups=groups_of(local, steps, faults),
        columns=_columns(lifted, numeric_names(compared)),
        annotations=annotations,
        measures=measures,
        drawn=tuple(n for n, x in local.lets.items() if _holds_rows(types[n]) and local.varies(x)),
        words=local.words.union(*(REASONS for _ in annotations)),
        thresholds=thresholds(compared, local.constant),
        conditions={name: step.conditions for name, step in local.steps.items() if step.conditions},
        inlined=Inliner(local=lifted.local).inlined,
        span=decl.name.span,
        whole=decl.span,
    )
    with faults.caught():
        requests = dry_render(experiment)
        if faults.n_errors == started:  # warnings are about programs without errors
            check(experiment, requests, check_input(statements, local, experiment, rules), faults)
            check_sides(experiment, lifted.measures, local.compiler, faults)
            check_doses(experiment, faults)
    return experiment


def _check_size(grid: Grid, samples: int, statements: Statements, faults: Faults) -> bool:
    """Check that a grid has cells, and not too many; return whether it can be gone through."""
    span = statements.decl.name.span
    if grid.n_cells == 0:
        faults.error(
            "E407", "every cell is skipped: no request is left", span,
            labels=tuple(Label(span=s.span, text="skips cells") for s in statements.skips),
            help="narrow the condition of a `skip`",
        )  # fmt: skip
    n_rows = grid.n_cells * samples
    if n_rows > MAX_ROWS:
        faults.error(
            "E422", f"{grid.n_cells:,} cells with {samples:,} samples each are {n_rows:,} rows, more than the "
            f"maximum of {MAX_ROWS:,}", span, help="draw fewer samples, or exclude cells with `skip when`",
        )  # fmt: skip
    return n_rows <= MAX_ROWS


def _measures(
    written: MeasureColumns, axes: tuple[Axis, ...], annotations: tuple[Annotation, ...], clusters: Clusters,
    faults: Faults,
) -> tuple[Measure, ...]:  # fmt: skip
    local, types = written.local, written.types
    binder = MeasureBinder(
        checker=checker_of(local, types, faults),
        faults=faults,
        columns=Columns(types, shown_levels(axes)),
        axes=dict.fromkeys(local.lost, ANY) | {n: types.get(n, ANY) for n in local.axes},
        constant=local.constant,
        intervals=IntervalBinder(
            values=MeasureValues(faults=faults, constant=local.constant),
            clusters=clusters,
            cluster_columns=cluster_columns(local, types),
        ),
        annotations={a.name: a for a in annotations},
        unique={(a.name, c) for a in axes for c in _unique_columns(a)},
        paths=written.paths,
    )
    measures = []
    for decl in written.measures:
        steps = _steps_behind(decl, local, annotations)
        asks = tuple(n for n in steps if isinstance(local.steps[n].decl, ast.Ask))
        measure = binder.measure(decl, asks=asks, steps=steps)
        if measure is not None:
            measures.append(replace(measure, levels=tuple(_levels(measure, path, axes, local) for path in measure.by)))
    return check_families(tuple(measures), faults)


def _levels(
    measure: Measure, path: tuple[str, ...], axes: tuple[Axis, ...], local: LocalScope
) -> Axis | tuple[str, ...] | None:
    """Return the source of the order of a group's values: its axis, or the declared labels of `shares`."""
    if measure.labels and path is measure.by[-1]:
        formats = (*(r.reply_format for r in local.rubrics.values()), *local.formats.values())
        orders = [part.choices for f in formats for part in (f.parts if f.shape else (f,))]
        return next((labels for labels in orders if {*labels} == {*measure.labels}), measure.labels)
    return next((axis for axis in axes if axis.name == path[0]), None)


def _unique_columns(axis: Axis) -> Iterator[str]:
    """Yield the columns of rows or records that tell the levels of an axis apart: to group by one is to group by it."""
    rows = [
        x.value.columns if isinstance(x.value, Row) else dict(x.value.entries)
        for x in axis.levels if isinstance(x.value, Row | LabelledMap)
    ]  # fmt: skip
    for column in rows[0] if rows else ():
        values = {render(r.get(column)) for r in rows}
        if len(values) == len(rows):
            yield column


def _steps_behind(decl: ast.Measure, local: LocalScope, annotations: tuple[Annotation, ...]) -> tuple[str, ...]:
    """Return the steps that a measure rests on: a judgement's draws are those of the answers it reads."""
    steps: set[str] = set()
    read = local.reads(decl.value)
    pending = [*local.steps_read(decl.value), *(a.ask for a in annotations if a.name in read)]
    while pending:
        name = pending.pop()
        if name not in steps:
            steps.add(name)
            step = local.steps[name]
            prompt = step.decl.prompt if isinstance(step.decl, ast.Ask) else step.decl.rubric
            pending += local.steps_read(prompt, step.conditions)
    return tuple(n for n in local.steps if n in steps)


def _columns(measures: MeasureColumns, numeric: frozenset[str]) -> tuple[Column, ...]:
    """Return the `let`s that results show."""
    local, types, columns = measures.local, measures.types, list[Column]()
    paths = {let: path for path, let in measures.paths.items()}
    for name, let in local.lets.items():
        kind = SQL_KINDS.get(types[name].kind)
        kind = "double" if types[name].kind == "any" and name in numeric else kind
        if let.params is None and kind is not None and local.varies(let):
            written = measures.written.get(name, "")
            columns.append(Column(name=name, kind=kind, written=written, path=paths.get(name, ())))
    return tuple(columns)


def _holds_rows(type_: Type) -> bool:
    return type_.kind == "list" and type_.item is not None and type_.item.kind == "row"


def _compared(measures: MeasureColumns) -> list[Any]:
    """Return every expression in which a score may be compared with a number."""
    lets, steps = measures.local.lets.values(), measures.local.steps.values()
    return [*(x.value for x in lets), *(c for s in steps for c in s.conditions), *(m.value for m in measures.measures)]
