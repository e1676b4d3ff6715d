"""Figures: measures of a study as charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.errors import NotDrawable
from emdsl.outcomes.draws import by_columns
from emdsl.outcomes.level_order import in_order
from emdsl.redact import mask
from emdsl.report import charts
from emdsl.study.tables import chosen_measure, heading_of, interval_of, measure_results

if TYPE_CHECKING:
    from pathlib import Path

    from altair import TopLevelMixin

    from emdsl.experiment import Measure
    from emdsl.outcomes.database import SqlResult
    from emdsl.study.compiled import Compiled

FORMATS = charts.FORMATS


def draw(study: Compiled, measure: str | None = None, kind: str | None = None) -> tuple[TopLevelMixin, bool]:
    """Return a measure of a loaded study as an Altair chart, and whether any of its answers is simulated.

    Args:
        study: The compiled study.
        measure: The measure; by default the first.
        kind: `curve`, `dots` or `heat`; by default a curve over an axis of numbers, else dots.

    Raises:
        UnknownMeasure: There is no such measure.
        NotDrawable: The measure has too few values, or no chart of this kind.
    """
    _, chosen = chosen_measure(study.program, measure)
    result = {m.name: r for m, r in measure_results(study)}[chosen.name]
    if result is None:
        raise NotDrawable(f"measure `{chosen.name}` was left out; `emdsl show {study.file}` shows why")
    table = table_of(chosen, result) if kind == charts.DOTS else curves_of(chosen, result) or table_of(chosen, result)
    kinds = charts.kinds_of(table)
    if not kinds and chosen.function == "dose" and result.rows:
        reason = result.rows[0][result.columns.index("reason")] or "no draw is kept"
        raise NotDrawable(f"measure `{chosen.name}` has no curve: {reason}")
    if not kinds:
        raise NotDrawable(f"measure `{chosen.name}` has fewer than two values: there is nothing to draw")
    if kind == charts.HEAT and kind not in kinds:
        raise NotDrawable(f"measure `{chosen.name}` has no heat map: its `by` needs two axes", parameter="kind")
    if kind == charts.CURVE and kind not in kinds:
        raise NotDrawable(f"measure `{chosen.name}` has no curve: its `by` needs an axis of numbers", parameter="kind")
    if kind not in (None, charts.DOTS, *kinds):
        raise NotDrawable(f"expected `curve`, `dots` or `heat`, not `{kind}`", parameter="kind")
    return charts.chart_of(table, kind or kinds[0]), table.simulated


def write_figure(chart: TopLevelMixin, output: Path) -> None:
    """Write a chart to a file, in the format of its suffix; raises NotDrawable if it cannot be written."""
    try:
        charts.write(chart, output)
    except OSError as error:
        raise NotDrawable(f"cannot write {output}: {error.strerror}", parameter="output") from error


def table_of(measure: Measure, result: SqlResult) -> charts.Table:
    """Return the rows of a measure as charts take them."""
    by = by_columns(measure)
    rows = [dict(zip(result.columns, map(_masked, row), strict=True)) for row in result.rows]
    return charts.Table(
        name=measure.name,
        what=heading_of(measure),
        interval=interval_of(measure, rows),
        groups=_groups(measure, rows),
        rows=tuple((*(r[b] for b in by), r[measure.function], r.get("low"), r.get("high"), r["n"]) for r in rows),
        simulated=any(r["simulated"] for r in rows),
        incomplete=any(not r["complete"] for r in rows),
    )


def curves_of(measure: Measure, result: SqlResult) -> charts.Table | None:
    """Return the fitted curves of a `dose` as charts take them; None for any other measure, and without a fit."""
    if measure.function != "dose":
        return None
    by = by_columns(measure)
    rows = [dict(zip(result.columns, map(_masked, row), strict=True)) for row in result.rows]
    points = [
        (*(r[b] for b in by), p["dose"], p["rate"], p["low"], p["high"], r["n"]) for r in rows for p in r["curve"] or ()
    ]
    doses = tuple(dict.fromkeys(p[len(by)] for p in points))
    return charts.Table(
        name=measure.name, what="rate", interval=interval_of(measure, rows),
        groups=(*_groups(measure, rows), charts.Group(name=measure.slope, levels=doses)), rows=tuple(points),
        simulated=any(r["simulated"] for r in rows), incomplete=any(not r["complete"] for r in rows), smooth=True,
    ) if points else None  # fmt: skip


def _groups(measure: Measure, rows: list[dict[str, Any]]) -> tuple[charts.Group, ...]:
    """Return the groups of a measure's rows, each with its levels in their order."""
    levels = [tuple(dict.fromkeys(r[b] for r in rows)) for b in by_columns(measure)]
    levels[: len(measure.by)] = [in_order(measure, i, values) for i, values in enumerate(levels[: len(measure.by)])]
    return tuple(charts.Group(name=b, levels=x) for b, x in zip(by_columns(measure), levels, strict=True))


def _masked(value: Any) -> Any:
    """Return a value without API keys: figures are shared."""
    return mask(value) if isinstance(value, str) else value
