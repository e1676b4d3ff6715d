"""Figures: which kinds fit a measure, and figures as SVG, PNG, PDF, Vega-Lite and in notebooks. The door to Altair."""

from __future__ import annotations

import json
import re
from html import escape, unescape
from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.report import group_charts, score_charts
from emdsl.report.figure import Chart, Extra, Group, Line, Spec, Table
from emdsl.report.forest import forest
from emdsl.report.score_charts import Scores, box, histogram, matrix, scatter, scatter_measures, strip
from emdsl.report.shares import dropped, shares
from emdsl.report.styles import PAGE, PAPER, STYLES, WIDE_PAGE, Style, keyed, style_of

try:
    import altair as alt
    import vl_convert
except ImportError as error:
    raise UsageError(f"charts need the package {error.name}: pip install 'emdsl[report]'") from None

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emdsl.outcomes.report_data import Bins

__all__ = [
    "BARS", "BOX", "CURVE", "DOTS", "FOREST", "FORMATS", "HEAT", "HISTOGRAM", "KINDS", "MATRIX", "PAGE", "PAPER",
    "SCATTER", "SHARES", "STRIP", "STYLES", "Chart", "Extra", "Group", "Line", "Scores", "Style", "Table", "altair_of",
    "box", "chart_of", "dropped_chart", "fitting", "forest", "histogram", "inline_svg", "kinds_of", "matrix", "scatter",
    "scatter_measures", "scores_chart", "strip", "style_of", "write",
]  # fmt: skip
FORMATS = (".svg", ".png", ".pdf", ".json")
CURVE, DOTS, BARS, HEAT, FOREST, SHARES = "curve", "dots", "bars", "heat", "forest", "shares"
HISTOGRAM, BOX, STRIP, SCATTER, MATRIX = "histogram", "box", "strip", "scatter", "matrix"
KINDS = {
    CURVE: "values over an axis of numbers, with bands; the fit of a dose with its k50",
    DOTS: "a dot and its interval for each group",
    BARS: "a bar from 0 and its interval for each group",
    HEAT: "a map of two crossed axes",
    FOREST: "contrasts or measures below each other, with their numbers",
    SHARES: "the labels of `shares`, stacked to 100 %",
    HISTOGRAM: "how the scores of each group are spread",
    BOX: "their quartiles",
    STRIP: "single scores",
    SCATTER: "two scores of each draw, or two measures with both intervals",
    MATRIX: "correlations of the judges' scores",
}
_TEXT = re.compile(r'"([A-Za-z_]+)"(?!:)')  # in JSON, and no key
TOO_WIDE = 1.5  # points by which a figure may miss its width


def kinds_of(table: Table) -> list[str]:
    """Return the kinds that a report draws of a measure: the one that fits best, and a map if two groups cross."""
    fits = fitting(table)
    return [k for i, k in enumerate(fits) if i == 0 or (k == HEAT and fits[0] != SHARES)]


def fitting(table: Table) -> list[str]:
    """Return the kinds that fit a measure, the best one first; none if it has fewer than two values."""
    if not table.drawn:
        return [FOREST] if table.null is not None and any(r[len(table.groups)] is not None for r in table.rows) else []
    if table.smooth:
        return [CURVE]
    crossed = [g for g in table.groups if len(g.levels) > 1]
    curved = [CURVE] if any(g.ordered for g in table.groups) else []
    mapped = [HEAT] if len(crossed) > 1 and max(len(g.levels) for g in crossed) > 2 else []
    if table.function == "shares":
        return [SHARES, DOTS, BARS, *mapped]
    from_zero = [] if table.log else [BARS]
    if table.function == "count":
        return [*curved, BARS, DOTS, *mapped]
    if table.null is not None:
        return [*curved, FOREST, DOTS, *from_zero, *mapped]
    return [*curved, DOTS, *from_zero, FOREST, *mapped]


def chart_of(table: Table, kind: str, style: Style = PAGE, lines: Sequence[Line] = ()) -> Chart:
    """Draw a measure as a figure of one kind, by default for the page of a report, where several panels are wider."""
    drawn = _chart_of(table, kind, style, lines)
    several = drawn.facets is not None and len(drawn.facets.levels) > 2
    return _chart_of(table, kind, WIDE_PAGE, lines) if style is PAGE and several else drawn


def _chart_of(table: Table, kind: str, style: Style, lines: Sequence[Line]) -> Chart:
    match kind:
        case "curve":
            return group_charts.curve(table, style, lines)
        case "heat":
            return group_charts.heat(table, style)
        case "bars":
            return group_charts.bars(table, style, lines)
        case "forest":
            return forest([table], style, lines)
        case "shares":
            return shares(table, style)
        case _:
            return group_charts.dots(table, style, lines)


def scores_chart(bins: Bins, style: Style = PAGE) -> Chart:
    """Draw how often scores lie where: bars for one judge, a map for two, with the thresholds of the study."""
    return score_charts.bins_chart(bins, style)


def dropped_chart(rows: Sequence[tuple[str, str, int]], style: Style = PAGE) -> Chart:
    """Draw the shares of kept and dropped draws of each measure, from rows of measure, reason or `kept`, and number."""
    return dropped(rows, style)


def _fitted(chart: Chart) -> tuple[Spec, str]:
    """Return the specification of a figure that is as wide as its style says, and its SVG.

    Axes, legends and labels have a width that only the renderer knows: the panels get what they leave.
    """
    width = chart.first_width
    for _ in range(4):
        spec: Spec = json.loads(_readable(json.dumps(chart.spec(width), ensure_ascii=False)))
        svg: str = vl_convert.vegalite_to_svg(spec)
        missed = chart.style.width - _width(svg)
        least = 5 * chart.style.size
        better = max(least, min(chart.widest, width + missed / chart.columns))
        if abs(better - width) * chart.columns <= TOO_WIDE:
            break
        width = better
    return spec, svg


def _readable(text: str) -> str:
    """Return a specification that Vega can read: without lone surrogates, and without names of JavaScript as texts.

    Vega looks up each text by itself: a title or a label `constructor` breaks a figure.
    """
    return _TEXT.sub(lambda m: f'"{keyed(m[1])}"', text.encode("utf-8", "replace").decode())


def _width(svg: str) -> float:
    match = re.search(r'width="([\d.]+)"', svg)
    assert match is not None
    return float(match[1])


def inline_svg(chart: Chart, label: str) -> str:
    """Render a figure as SVG inside a page, with a label for screen readers, and each mark's text under the pointer."""
    svg = _fitted(chart)[1]
    svg = re.sub(r'(<(?:path|text|line|rect) aria-label="([^"]*)"[^>]*?)(?:/>|></path>)', _titled, svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)


def _titled(match: re.Match[str]) -> str:
    name = match[1][1:].split(" ", 1)[0]
    return f"{match[1]}><title>{escape(unescape(match[2]))}</title></{name}>"


def altair_of(chart: Chart) -> alt.TopLevelMixin:
    """Return a figure as an Altair chart, which notebooks show."""
    spec, _ = _fitted(chart)
    del spec["$schema"], spec["config"]["legend"]["layout"]  # which Vega has, and the schema of Vega-Lite lacks
    drawn: alt.TopLevelMixin = alt.Chart.from_dict(spec)
    return drawn


def image(chart: alt.TopLevelMixin) -> str:
    """Return an Altair chart as SVG."""
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg


def write(chart: Chart, path: Path) -> None:
    """Write a figure to a file whose suffix is one of FORMATS; raises OSError."""
    spec, svg = _fitted(chart)
    match path.suffix.lower():
        case ".svg":  # a unit of the figure is a point
            data = re.sub(
                r'(<svg [^>]*?)width="([\d.]+)" height="([\d.]+)"', r'\1width="\2pt" height="\3pt"', svg, count=1
            ).encode()
        case ".png":
            data = vl_convert.vegalite_to_png(spec, ppi=300)
        case ".pdf":
            data = vl_convert.vegalite_to_pdf(spec)
        case _:
            data = (json.dumps(spec, indent=1) + "\n").encode()
    path.write_bytes(data)
