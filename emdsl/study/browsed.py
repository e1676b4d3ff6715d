"""What a page shows of a study, as JSON: its experiments, the figures of a load, and the cells of its rows.

The viewer's server returns these one by one, and a report contains them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.outcomes import browsing, database
from emdsl.outcomes.draws import by_columns
from emdsl.outcomes.report_data import costs, odd_answers
from emdsl.study.tables import heading_of, interval_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from emdsl.experiment import Experiment, Measure
    from emdsl.outcomes.database import Connection
    from emdsl.study.coordinates import Coordinates

MAX_LEVELS = 500  # of an axis, that a page lists


def experiment_of(experiment: Experiment, at: Coordinates) -> dict[str, Any]:
    """Return an experiment: axes with levels, steps, columns of its rows, annotations."""
    axes = [
        {"name": a.name, "n": len(a.levels), "levels": at.shown(i, MAX_LEVELS)} for i, a in enumerate(experiment.axes)
    ]
    steps = [
        {
            "name": s.name, "kind": s.kind, "labels": list(s.labels),
            "scale": [float(x) for x in s.reply_format.scale] if s.reply_format and s.reply_format.scale else None,
            "thresholds": list(experiment.thresholds.get(s.name, ())),
        }
        for s in experiment.steps
    ]  # fmt: skip
    return {
        "name": experiment.name, "axes": axes, "samples": experiment.samples, "cells": experiment.n_cells,
        "steps": steps, "columns": [c._asdict() for c in browsing.columns_of(experiment)],
        "annotations": [{"name": a.name, "ask": a.ask, "choices": dict(a.choices)} for a in experiment.annotations],
    }  # fmt: skip


def overview_of(experiment: Experiment, schema: str, cursor: Connection) -> dict[str, Any]:
    """Return the figures of an experiment: measures with intervals, missing values by reason, cost, notices."""
    rows, incomplete, simulated = database.completeness(cursor, schema, experiment)
    results = {m.name: database.measure_rows(cursor, schema, m.name) for m in experiment.measures}
    return {
        "name": experiment.name, "rows": rows, "incomplete": incomplete, "simulated": simulated,
        "measures": [_measure(m, results[m.name]) for m in experiment.measures],
        "facets": [
            _facet(column, database.select(cursor, sql).rows)
            for column, sql in browsing.facets_sql(experiment, schema)
        ],
        "costs": [
            dict(zip(("step", "model", "answers", "input", "output", "reasoning", "usd", "priced"), r, strict=True))
            for r in costs(cursor, experiment, schema)
        ],
        "against": [
            {
                "annotation": a.annotation, "judge": a.judge, "threshold": a.threshold,
                "cells": database.select(cursor, a.sql).rows,
            }
            for a in browsing.against_sql(experiment, schema)
        ],
        "notices": [odd.notice for odd in odd_answers(cursor, experiment, schema)],
    }  # fmt: skip


def cells_of(columns: Sequence[browsing.Column], row: Iterable[Any], at: Coordinates) -> list[Any]:
    """Return the values of a row of the list with these columns; a missing one is an object with its reason."""
    cells: list[Any] = []
    values = iter(row)
    for i, column in enumerate(columns):
        value = next(values)
        if column.kind == "axis":
            value = at.text(i, value)
        reason = next(values) if column.reason else None
        cells.append({"missing": reason} if reason is not None else value)
    return cells


def people_columns(experiment: Experiment) -> list[str]:
    """Return the columns that `people_of` reads."""
    return [x for a in experiment.annotations for x in (f"{a.name}_verdict", f"{a.name}_raters")]


def people_of(experiment: Experiment, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the verdicts of people on a row, by the values of its columns."""
    return [
        {"name": a.name, "verdict": values[f"{a.name}_verdict"], "raters": values[f"{a.name}_raters"]}
        for a in experiment.annotations
    ]


def _measure(measure: Measure, result: database.SqlResult | None) -> dict[str, Any]:
    rows = [dict(zip(result.columns, r, strict=True)) for r in result.rows] if result is not None else None
    return {
        "name": measure.name, "function": measure.function, "heading": heading_of(measure), "by": by_columns(measure),
        "axes": [".".join(path) for path in measure.by], "written": " ".join(measure.whole.text.split()),
        "interval": interval_of(measure, rows) if rows else "", "via": measure.via, "rows": rows,
    }  # fmt: skip


def _facet(column: browsing.Column, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    values: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for value, reason, n in rows:
        if reason is not None:
            reasons[reason] = reasons.get(reason, 0) + n
        elif value is not None:
            values[value] = values.get(value, 0) + n
    return {"column": column.name, "values": values, "reasons": reasons}
