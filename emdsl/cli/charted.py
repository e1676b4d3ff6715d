"""Measures as tables that can be drawn: for `plot`, `report` and the notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.cli import console
from emdsl.cli.results import interval_of
from emdsl.errors import UsageError
from emdsl.outcomes.measures import by_columns

try:
    from emdsl.report import charts
except ImportError as error:
    raise UsageError(f"charts need {error.name}: pip install 'emdsl[report]'") from None

if TYPE_CHECKING:
    from emdsl.experiment import Measure
    from emdsl.outcomes.database import Result


def table_of(measure: Measure, result: Result) -> charts.Table:
    """Return a measure's rows as charts take them."""
    by = by_columns(measure)
    rows = [dict(zip(result.columns, map(_masked, row), strict=True)) for row in result.rows]
    return charts.Table(
        name=measure.name,
        what=measure.function,
        interval=interval_of(measure),
        groups=tuple(charts.Group(name=b, levels=tuple(dict.fromkeys(r[b] for r in rows))) for b in by),
        rows=tuple((*(r[b] for b in by), r[measure.function], r.get("low"), r.get("high"), r["n"]) for r in rows),
        simulated=any(r["simulated"] for r in rows),
        incomplete=any(not r["complete"] for r in rows),
    )


def _masked(value: Any) -> Any:
    """Return a value without API keys: a figure is sent on."""
    return console.mask(value) if isinstance(value, str) else value
