"""Figures: measures of a study, and their scores, as charts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from emdsl.errors import NotDrawable
from emdsl.outcomes import database
from emdsl.outcomes.draws import by_columns
from emdsl.outcomes.figure_data import measured_rates
from emdsl.outcomes.level_order import in_order
from emdsl.report import charts
from emdsl.source import one_of
from emdsl.study.baseline import with_baseline
from emdsl.study.score_figures import Maker, draw_matrix, draw_scores, masked, score_kinds
from emdsl.study.tables import chosen_measure, heading_of, interval_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from altair import TopLevelMixin

    from emdsl.experiment import Experiment, Measure
    from emdsl.outcomes.database import SqlResult
    from emdsl.study.compiled import Compiled

FORMATS, KINDS, STYLES = charts.FORMATS, charts.KINDS, charts.STYLES
NO_DIFFERENCE = {"difference": 0.0, "ratio": 1.0, "odds": 1.0}
LINELESS = (charts.HEAT, charts.SHARES, charts.SCATTER, charts.MATRIX)
_RATES = ("rate", "at_least", "shares", "dose", "components")
NEEDS = {
    charts.CURVE: "its `by` needs an axis of numbers",
    charts.HEAT: "its `by` needs two axes, one of them with three levels",
    charts.BARS: "a ratio has no bar from 0",
    charts.SHARES: "it is not made by `shares`",
    charts.SCATTER: "it needs two scores of each draw, or two measures with the same `by`",
    charts.MATRIX: "it needs two judges with scores",
    **dict.fromkeys((charts.HISTOGRAM, charts.BOX, charts.STRIP), "it reads no score"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a figure looks, in the words of a user: see `emdsl.report.styles.style_of`.

    Without a width, a figure of one panel is one column wide, and one of several panels two.
    """

    style: str | None = None
    width: str | None = None
    font: str | None = None
    title: str | None = None  # in place of the names of the measures; marks of simulated numbers stay
    lines: Sequence[charts.Line] = ()  # across the axis of values


def figure(
    study: Compiled, measures: Sequence[str], kind: str | None, *, style: str | None, width: str | None,
    font: str | None, title: str | None, lines: Mapping[float, str],
) -> TopLevelMixin:  # fmt: skip
    """Return measures of a loaded study as an Altair chart; raises as `draw` does."""
    drawn = tuple(charts.Line(at=float(at), label=label) for at, label in lines.items())
    return charts.altair_of(
        draw(study, measures, kind, Look(style=style, width=width, font=font, title=title, lines=drawn))[0]
    )


def line_of(text: str) -> charts.Line:
    """Return the reference line of a text `VALUE` or `VALUE=LABEL`; raises NotDrawable."""
    at, _, label = text.partition("=")
    try:
        value = float(at)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NotDrawable(f"expected a line such as `0.5` or `0.5=chance`, not `{text}`", parameter="line")
    return charts.Line(at=value, label=" ".join(label.split()))


def draw(
    study: Compiled, measures: Sequence[str] = (), kind: str | None = None, look: Look | None = None
) -> tuple[charts.Chart, bool]:
    """Return measures of a loaded study as a figure, and whether any answer in it is simulated.

    Args:
        study: The compiled study.
        measures: Their names; by default the first measure.
        kind: One of KINDS; by default the one that fits best.
        look: Style, width, font, title and reference lines.

    Raises:
        UnknownMeasure: There is no such measure.
        NotDrawable: The measures have too few values, or no figure of this kind, or a word of `look` is unknown.
    """
    look = look or Look()
    style = charts.style_of(look.style, look.width, look.font)
    make, simulated = _prepared(study, measures, kind, look.lines)
    drawn = make(style)
    if look.width is None and drawn.facets is not None:
        drawn = make(charts.style_of(look.style, "2col", look.font))
    if look.title is not None:
        marks = [m for m in ("SIMULATED", "incomplete") if m in drawn.title]
        drawn = replace(drawn, title=f"{look.title} ({', '.join(marks)})".strip() if marks else look.title)
    return drawn, simulated


def page_charts(experiment: Experiment, measure: Measure, result: SqlResult) -> list[tuple[str, charts.Chart]]:
    """Return the figures of a measure in a report, each with its kind: none if it has fewer than two values."""
    table = curves_of(measure, result) or with_baseline(table_of(measure, result), experiment)
    return [(kind, charts.chart_of(table, kind)) for kind in charts.kinds_of(table)]


def _prepared(
    study: Compiled, measures: Sequence[str], kind: str | None, lines: Sequence[charts.Line]
) -> tuple[Maker, bool]:
    """Return what draws some measures in a style, with their data, and whether any answer in it is simulated."""
    if kind is not None and kind not in KINDS:
        raise NotDrawable(f"expected {one_of(tuple(KINDS))}, not `{kind}`", parameter="kind")
    chosen = [chosen_measure(study.program, name) for name in dict.fromkeys(measures or (None,))]
    if kind == charts.MATRIX and len(chosen) == 1 and not lines:
        return draw_matrix(study, chosen[0][0])
    with study.tables() as (connection, _):
        results = {m.name: database.measure_rows(connection, study.name, m.name) for _, m in chosen}
    tables = [_table(study, e, m, results[m.name], kind if len(chosen) == 1 else charts.DOTS) for e, m in chosen]
    if len(tables) > 1:
        plain = kind in (charts.FOREST, charts.SCATTER)
        tables = [t if plain else with_baseline(t, e) for t, (e, _) in zip(tables, chosen, strict=True)]
        return _together(tables, kind, lines), any(t.simulated for t in tables)
    (table,), ((experiment, measure),) = tables, chosen
    fits = [*charts.fitting(table), *score_kinds(experiment, measure)]
    if kind is None and not charts.fitting(table):
        raise NotDrawable(_nothing(measure, results[measure.name], fits))
    wanted = kind or fits[0]
    if wanted not in fits:
        raise NotDrawable(_unfit(measure, results[measure.name], wanted, fits), parameter="kind")
    if lines and wanted in LINELESS:
        raise NotDrawable(f"a figure of kind `{wanted}` has no axis of values for a line", parameter="line")
    if wanted in score_kinds(experiment, measure):
        return draw_scores(study, experiment, measure, wanted, lines, incomplete=table.incomplete)
    if wanted not in (charts.FOREST, charts.SHARES):
        table = with_baseline(table, experiment)
    return partial(_chart, table, wanted, lines), table.simulated


def _chart(table: charts.Table, kind: str, lines: Sequence[charts.Line], style: charts.Style) -> charts.Chart:
    return charts.chart_of(table, kind, style, lines)


def _table(
    study: Compiled, experiment: Experiment, measure: Measure, result: SqlResult | None, kind: str | None
) -> charts.Table:
    if result is None:
        raise NotDrawable(f"measure `{measure.name}` was left out; `emdsl show {study.file}` shows why")
    if kind in (None, charts.CURVE):
        curves = curves_of(measure, result)
        if curves is not None:
            return replace(curves, extra=replace(curves.extra, measured=_measured(study, experiment, measure)))
    return table_of(measure, result)


def _nothing(measure: Measure, result: SqlResult | None, fits: Sequence[str]) -> str:
    if measure.function == "dose" and result is not None and result.rows:
        reason = result.rows[0][result.columns.index("reason")] or "no draw is kept"
        return f"measure `{measure.name}` has no curve: {reason}"
    other = f"; `--kind` {one_of(fits)} draws its scores" if fits else ""
    return f"measure `{measure.name}` has fewer than two values: there is nothing to draw{other}"


def _unfit(measure: Measure, result: SqlResult | None, kind: str, fits: Sequence[str]) -> str:
    if not fits:
        return _nothing(measure, result, fits)
    because = NEEDS.get(kind, "it has no value")
    return f"measure `{measure.name}` cannot be drawn as `{kind}`: {because}; what fits: {', '.join(fits)}"


def _together(tables: Sequence[charts.Table], kind: str | None, lines: Sequence[charts.Line]) -> Maker:
    """Return what draws several measures in one figure."""
    names = ", ".join(f"`{t.name}`" for t in tables)
    if sum(r[len(t.groups)] is not None for t in tables for r in t.rows) < 2:
        raise NotDrawable(f"measures {names} have fewer than two values: there is nothing to draw")
    same_groups = len({tuple(g.name for g in t.groups) for t in tables}) == 1
    one_scale = len({(t.null, t.log, t.ends) for t in tables}) == 1
    joined = _joined(tables) if one_scale and same_groups else None
    fits = [charts.FOREST] if one_scale else []
    if joined is not None:
        by_group = [k for k in charts.fitting(joined) if k in (charts.CURVE, charts.DOTS, charts.BARS, charts.HEAT)]
        fits = [*fits, *by_group] if tables[0].null is not None else [*by_group, *fits]
    if same_groups and len(tables) == 2:
        fits.append(charts.SCATTER)
    if not fits:
        raise NotDrawable(f"measures {names} have unlike scales and unlike `by`: draw each by itself")
    wanted = kind or fits[0]
    if wanted not in fits:
        raise NotDrawable(
            f"measures {names} cannot be drawn together as `{wanted}`; what fits: {', '.join(fits)}", parameter="kind"
        )
    if wanted == charts.SCATTER:
        return lambda style: charts.scatter_measures(tables[0], tables[1], style, lines)
    if wanted == charts.FOREST or joined is None:
        return lambda style: charts.forest(tables, style, lines)
    return partial(_chart, joined, wanted, lines)


def _joined(tables: Sequence[charts.Table]) -> charts.Table:
    """Return measures with the same groups as one table, in which the measure is a group."""
    first = tables[0]
    groups = [
        charts.Group(name=g.name, levels=tuple(dict.fromkeys(x for t in tables for x in t.groups[i].levels)))
        for i, g in enumerate(first.groups)
    ]
    at = len(groups)
    whats, intervals = (tuple(dict.fromkeys(x)) for x in zip(*((t.what, t.interval) for t in tables), strict=True))
    return replace(
        first, name=", ".join(t.name for t in tables), what=" / ".join(whats),
        interval="; ".join(i for i in intervals if i),
        groups=(*groups, charts.Group(name="measure", levels=tuple(t.name for t in tables))),
        rows=tuple((*r[:at], t.name, *r[at:]) for t in tables for r in t.rows), function="",
        simulated=any(t.simulated for t in tables), incomplete=any(t.incomplete for t in tables),
        notes=tuple(dict.fromkeys(n for t in tables for n in t.notes)),
    )  # fmt: skip


def write_figure(chart: charts.Chart, output: Path) -> None:
    """Write a figure to a file, in the format of its suffix; raises NotDrawable if it cannot be written."""
    try:
        charts.write(chart, output)
    except OSError as error:
        raise NotDrawable(f"cannot write {output}: {error.strerror}", parameter="output") from error


def table_of(measure: Measure, result: SqlResult) -> charts.Table:
    """Return the rows of a measure as figures take them."""
    by = by_columns(measure)
    rows = [dict(zip(result.columns, map(masked, row), strict=True)) for row in result.rows]
    of_contrast = measure.function == "contrast"
    ratio = of_contrast and (measure.scale != "difference" or measure.of == "dose")
    rates = _RATES if measure.function != "dose" else ()  # a `dose` is a k50
    ends = (
        (0.0, 1.0)
        if measure.function in rates
        else (-1.0, 1.0)
        if measure.function in ("agreement", "correlation")
        else None
    )
    if of_contrast and not ratio and measure.of in _RATES:
        ends = (-1.0, 1.0)
    if measure.function == "count":
        ends = (0.0, float("inf"))
    values = [(*(r[b] for b in by), r[measure.function], r.get("low"), r.get("high"), r["n"]) for r in rows]
    return charts.Table(
        name=measure.name, what=_what(measure), interval=interval_of(measure, rows), groups=_groups(measure, rows),
        rows=tuple(_positive(v) if ratio else v for v in values), simulated=any(r["simulated"] for r in rows),
        incomplete=any(not r["complete"] for r in rows), function=measure.function, ends=ends, log=ratio,
        null=(1.0 if ratio else 0.0) if of_contrast else None,
        notes=tuple(["a ratio of 0 has no place on the axis"] if ratio and any(v[-4] == 0 for v in values) else []),
    )  # fmt: skip


def _positive(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row of a ratio as a logarithmic axis takes it: a value or an end that is 0 has no place on it."""
    *levels, value, low, high, n = row
    kept = value if value is not None and value > 0 else None
    ends = (low, high) if kept is not None and low is not None and low > 0 else (None, None)
    return (*levels, kept, *ends, n)


def _what(measure: Measure) -> str:
    """Return what the values of a measure are: `difference of rates`."""
    if measure.function != "contrast":
        return {"dose": "k50", "shares": "share"}.get(measure.function, heading_of(measure))
    of = "k50" if measure.of == "dose" else f"{measure.of}s" if measure.of in ("rate", "mean") else measure.of
    scale = "ratio" if measure.of == "dose" else {"odds": "odds ratio"}.get(measure.scale, measure.scale)
    return f"{scale} of {of}"


def curves_of(measure: Measure, result: SqlResult) -> charts.Table | None:
    """Return the fitted curves of a `dose` as figures take them; None for any other measure, and without a fit."""
    if measure.function != "dose":
        return None
    by = by_columns(measure)
    rows = [dict(zip(result.columns, map(masked, row), strict=True)) for row in result.rows]
    points = [
        (*(r[b] for b in by), p["dose"], p["rate"], p["low"], p["high"], r["n"]) for r in rows for p in r["curve"] or ()
    ]
    if not points:
        return None
    doses = tuple(dict.fromkeys(p[len(by)] for p in points))
    k50 = tuple(
        (*(r[b] for b in by), r["dose"], r["low"], r["high"], _rate_at(r["curve"], r["dose"]))
        for r in rows if r["dose"] is not None and r["curve"]
    )  # fmt: skip
    gone = [r for r in rows if not r["curve"]]
    notes = [
        f"no curve: {', '.join(str(r[b]) for b in by) or measure.name} ({r['reason'] or 'no draw is kept'})"
        for r in gone[:3]
    ]
    return charts.Table(
        name=measure.name, what="rate", interval=interval_of(measure, rows),
        groups=(*_groups(measure, rows), charts.Group(name=measure.slope, levels=doses)), rows=tuple(points),
        simulated=any(r["simulated"] for r in rows), incomplete=any(not r["complete"] for r in rows), smooth=True,
        extra=charts.Extra(k50=k50), function="dose", ends=(0.0, 1.0), notes=tuple(notes),
    )  # fmt: skip


def _rate_at(curve: Sequence[dict[str, float]], dose: float) -> float | None:
    """Return the rate of a fitted curve at a dose, between its points; None outside of them."""
    for left, right in pairwise(curve):
        if left["dose"] <= dose <= right["dose"]:
            share = (dose - left["dose"]) / ((right["dose"] - left["dose"]) or 1.0)
            return left["rate"] + share * (right["rate"] - left["rate"])
    return None


def _groups(measure: Measure, rows: list[dict[str, Any]]) -> tuple[charts.Group, ...]:
    """Return the groups of a measure's rows, each with its levels in their order."""
    levels = [tuple(dict.fromkeys(r[b] for r in rows)) for b in by_columns(measure)]
    levels[: len(measure.by)] = [in_order(measure, i, values) for i, values in enumerate(levels[: len(measure.by)])]
    return tuple(charts.Group(name=b, levels=x) for b, x in zip(by_columns(measure), levels, strict=True))


def _measured(study: Compiled, experiment: Experiment, measure: Measure) -> tuple[tuple[Any, ...], ...]:
    """Return the measured rate of each group and dose of a `dose`, with its n."""
    with study.tables() as (connection, _):
        return tuple(tuple(map(masked, r)) for r in measured_rates(connection, experiment, measure, study.name))
