"""Measures, scores and dropped draws as Vega-Lite charts, and charts as SVG, PNG, PDF. The door to Altair.

Colors are those of Okabe and Ito (2008), "Color universal design"; shapes distinguish groups as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError

try:
    import altair as alt
    import vl_convert
except ImportError as error:
    raise UsageError(f"charts need the package {error.name}: pip install 'emdsl[report]'") from None

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emdsl.outcomes.report_data import Bins

PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"]
MAX_COLORS = len(PALETTE)
MAX_FACETS = 24
WIDE = 16.0  # from this ratio of doses on, the x axis is logarithmic
FORMATS = (".svg", ".png", ".pdf", ".json")
CURVE, DOTS, HEAT = "curve", "dots", "heat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An axis of a measure's groups, with its levels in order."""

    name: str
    levels: tuple[Any, ...]

    @property
    def ordered(self) -> bool:
        """Whether all levels are numbers, so that it can be the x axis of a curve."""
        return len(self.levels) > 1 and all(isinstance(x, int | float) and not isinstance(x, bool) for x in self.levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a measure: in each its groups, in the order of `groups`, then value, low, high and n."""

    name: str
    what: str  # rate, mean, contrast ...
    interval: str  # `95 % wilson`, or ""
    groups: tuple[Group, ...]
    rows: tuple[tuple[Any, ...], ...]
    simulated: bool
    incomplete: bool  # whether any group lacks answers that another run may add
    smooth: bool = False  # whether its rows are points of fitted curves, not values of their own

    @property
    def title(self) -> str:
        """Its name, with marks for simulated and incomplete numbers."""
        marks = [*(["SIMULATED"] if self.simulated else []), *(["incomplete"] if self.incomplete else [])]
        return f"{self.name} ({', '.join(marks)})" if marks else self.name

    @property
    def drawn(self) -> bool:
        """Whether it has more than one value to draw."""
        return sum(r[len(self.groups)] is not None for r in self.rows) > 1


def kinds_of(table: Table) -> list[str]:
    """Return the kinds of charts of a measure: a curve or dots, and a heat map of values if two groups cross."""
    if not table.drawn:
        return []
    if table.smooth:
        return [CURVE]
    found = [CURVE if any(g.ordered for g in table.groups) else DOTS]
    crossed = [g for g in table.groups if len(g.levels) > 1]
    return [*found, HEAT] if len(crossed) > 1 and max(len(g.levels) for g in crossed) > 2 else found


def chart_of(table: Table, kind: str) -> alt.TopLevelMixin:
    """Draw a measure as a chart of one kind."""
    groups = list(table.groups)
    levels = [dict(zip([g.name for g in groups], r, strict=False)) for r in table.rows]
    marks: list[dict[str, str]] = [
        {} for _ in levels
    ]  # of each row the color and the facet, beside all names of groups
    if kind == CURVE:
        dose = max((g for g in groups if g.ordered), key=lambda g: len(g.levels))
        color, facets = _color_and_facets(levels, marks, [g for g in groups if g is not dose and len(g.levels) > 1])
        drawn = _curve(table, dose, color)
    elif kind == HEAT:
        across, down, *rest = sorted(
            (g for g in groups if len(g.levels) > 1), key=lambda g: (not g.ordered, -len(g.levels))
        )
        facets = _facets(levels, marks, rest)
        drawn = _heat(table, across, down)
    else:
        wide = max(groups, key=lambda g: len(g.levels), default=Group(name="", levels=("",)))
        color, facets = _color_and_facets(levels, marks, [g for g in groups if g is not wide and len(g.levels) > 1])
        drawn = _dots(table, wide, color)
    places = {g.name: f"g{i}" for i, g in enumerate(groups)}
    data = []
    for row, by_group, mark in zip(table.rows, levels, marks, strict=True):
        value, low, high, n = row[len(groups) :]
        plain = {places[name]: _plain(level) for name, level in by_group.items()}
        data.append(plain | mark | {"value": value, "low": low, "high": high, "n": n})
    data = [d for d in data if d["value"] is not None]
    if facets is None:
        return drawn.properties(data=alt.InlineData(values=data), title=table.title)
    return drawn.facet(
        facet=alt.Facet("facet:N", title=facets.name, sort=list(facets.levels)),
        columns=min(3, len(facets.levels)),
        data=alt.InlineData(values=data),
    ).properties(title=table.title)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else str(value)


def _color_and_facets(
    levels: list[dict[str, Any]], marks: list[dict[str, str]], rest: list[Group]
) -> tuple[Group | None, Group | None]:
    """Choose the group of the colors and the group of the facets, and add both to the marks."""
    few = [g for g in rest if len(g.levels) <= MAX_COLORS]
    if not few:
        return None, _facets(levels, marks, rest)
    chosen = few[-1]
    for by_group, mark in zip(levels, marks, strict=True):
        mark["color"] = str(by_group[chosen.name])
    color = Group(name=chosen.name, levels=tuple(map(str, chosen.levels)))
    return color, _facets(levels, marks, [g for g in rest if g is not chosen])


def _facets(levels: list[dict[str, Any]], marks: list[dict[str, str]], rest: list[Group]) -> Group | None:
    """Return the facets, one for each combination of the remaining groups, at most MAX_FACETS."""
    if not rest:
        return None
    for by_group, mark in zip(levels, marks, strict=True):
        mark["facet"] = " / ".join(str(by_group[g.name]) for g in rest)
    return Group(
        name=" / ".join(g.name for g in rest),
        levels=tuple(dict.fromkeys(m["facet"] for m in marks))[:MAX_FACETS],
    )


def _colors(group: Group | None) -> dict[str, Any]:
    if group is None:
        return {"color": alt.value(PALETTE[0])}
    domain = list(group.levels)
    legend = alt.Legend(title=group.name, symbolOpacity=1, symbolStrokeWidth=0)
    return {
        "color": alt.Color("color:N", scale=alt.Scale(domain=domain, range=PALETTE), legend=legend, sort=domain),
        "shape": alt.Shape("color:N", scale=alt.Scale(domain=domain, range=SHAPES), legend=legend, sort=domain),
    }


def _of(table: Table, group: Group) -> str:
    return f"g{[g.name for g in table.groups].index(group.name)}"


def _curve(table: Table, dose: Group, color: Group | None) -> alt.LayerChart | alt.FacetChart:
    doses = _ticks(dose.levels) if table.smooth else sorted(dose.levels)
    reach = [abs(d) for d in doses if d]
    wide = bool(reach) and max(reach) / min(reach) >= WIDE
    scale = alt.Scale(type="symlog", constant=min(reach)) if wide else alt.Scale(zero=False)
    axis = alt.Axis(values=doses, grid=False, labelExpr="format(datum.value, '~g')")  # `format` rounds: 16 to 2e+1
    x = alt.X(f"{_of(table, dose)}:Q", title=dose.name, scale=scale, axis=axis)
    shown = _colors(color)
    y = alt.Y("value:Q", title=_titled(table))
    lines = {k: v for k, v in shown.items() if k != "shape"}
    band = alt.Chart().mark_area(opacity=0.18).encode(x=x, y=alt.Y("low:Q", title=""), y2="high:Q", **lines)
    line = alt.Chart().mark_line(strokeWidth=1.6).encode(x=x, y=y, **lines)
    if table.smooth:
        return alt.layer(band, line).properties(width=300, height=200)
    points = alt.Chart().mark_point(filled=True, size=36, opacity=1).encode(x=x, y=y, **shown)
    return alt.layer(band, line, points).properties(width=300, height=200)


def _ticks(doses: Sequence[float]) -> list[float]:
    """Return the powers of two within some doses, and 0 if it is one."""
    most, least = max(doses), min(doses)
    powers = [2.0**i for i in range(-20, 40) if least <= 2.0**i <= most and 2.0**i * 2**7 > most]
    return [*([0.0] if least <= 0 else []), *powers]


def _dots(table: Table, wide: Group, color: Group | None) -> alt.LayerChart | alt.FacetChart:
    offset = {"yOffset": alt.YOffset("color:N", sort=list(color.levels))} if color is not None else {}
    field = f"{_of(table, wide)}:N" if wide.name else alt.value(0)
    y = (
        alt.Y(field, title=wide.name, sort=[str(x) for x in wide.levels], axis=alt.Axis(labelLimit=320))
        if wide.name
        else field
    )
    shown = _colors(color)
    lines = {k: v for k, v in shown.items() if k != "shape"}
    rule = (
        alt.Chart().mark_rule(strokeWidth=1.6).encode(y=y, x=alt.X("low:Q", title=""), x2="high:Q", **lines, **offset)
    )
    points = alt.Chart().mark_point(filled=True, size=48, opacity=1)
    dots = points.encode(y=y, x=alt.X("value:Q", title=_titled(table)), **shown, **offset)
    rows = len(wide.levels) * (len(color.levels) if color is not None else 1)
    return alt.layer(rule, dots).properties(width=320, height=max(40, min(18 * rows + 12, 900)))


def _heat(table: Table, across: Group, down: Group) -> alt.LayerChart | alt.FacetChart:
    def axis(of: type[alt.X | alt.Y], group: Group) -> Any:
        levels = sorted(group.levels) if group.ordered else [str(x) for x in group.levels]
        return of(f"{_of(table, group)}:O", title=group.name, sort=levels, axis=alt.Axis(labelLimit=320, grid=False))

    x, y = axis(alt.X, across), axis(alt.Y, down)
    low, high = _ends(table)
    middle = (low + high) / 2
    cells = alt.Chart().mark_rect(stroke="#88888855", strokeWidth=0.5)
    color = alt.Color(
        "value:Q", scale=alt.Scale(scheme="viridis", domain=[low, high]), legend=alt.Legend(title=_titled(table))
    )
    numbers = alt.Chart().mark_text(fontSize=9)
    ink = alt.condition(alt.datum.value > middle, alt.value("black"), alt.value("white"))
    return alt.layer(
        cells.encode(x=x, y=y, color=color),
        numbers.encode(x=x, y=y, text=alt.Text("value:Q", format=".2f"), color=ink),
    ).properties(width=max(120, 38 * len(across.levels)), height=max(40, 22 * len(down.levels)))


def _ends(table: Table) -> tuple[float, float]:
    values = [r[len(table.groups)] for r in table.rows if r[len(table.groups)] is not None]
    return min(0.0, *values), max(*values, 0.0) or 1.0


def _titled(table: Table) -> str | list[str]:
    """Return the title of an axis of values: two lines if the interval has clusters, which are longer than an axis."""
    method, *clusters = table.interval.split(", ", 1)
    if clusters:
        return [f"{table.what} ({method},", f"{clusters[0]})"]
    return f"{table.what} ({method})" if method else table.what


def scores_chart(bins: Bins) -> alt.TopLevelMixin:
    """Draw a histogram of scores: bars for one judge, a heat map for two, with the thresholds of the study."""
    scales = [alt.Scale(domain=list(ends)) for ends in bins.scales]
    first = alt.X("x:Q", bin=alt.Bin(binned=True, step=bins.step[0]), title=bins.names[0], scale=scales[0])
    lines = [
        alt.Chart(alt.InlineData(values=[{"at": t} for t in bins.thresholds[0]]))
        .mark_rule(strokeDash=[4, 3], strokeWidth=1.4, color="#D55E00")
        .encode(x="at:Q")
    ]
    if len(bins.names) == 1:
        data = [{"x": x, "x2": x + bins.step[0], "n": n} for x, n in bins.rows]
        drawn = alt.Chart(alt.InlineData(values=data)).mark_bar(color=PALETTE[0])
        counted = drawn.encode(x=first, x2="x2:Q", y=alt.Y("n:Q", title="rows"))
        return alt.layer(counted, *lines).properties(width=300, height=120)
    data = [{"x": x, "x2": x + bins.step[0], "y": y, "y2": y + bins.step[1], "n": n} for x, y, n in bins.rows]
    second = alt.Y("y:Q", bin=alt.Bin(binned=True, step=bins.step[1]), title=bins.names[1], scale=scales[1])
    color = alt.Color("n:Q", scale=alt.Scale(type="log", scheme="viridis"), legend=alt.Legend(title="rows"))
    drawn = (
        alt.Chart(alt.InlineData(values=data)).mark_rect().encode(x=first, x2="x2:Q", y=second, y2="y2:Q", color=color)
    )
    lines.append(
        alt.Chart(alt.InlineData(values=[{"at": t} for t in bins.thresholds[1]]))
        .mark_rule(strokeDash=[4, 3], strokeWidth=1.4, color="#D55E00")
        .encode(y="at:Q")
    )
    return alt.layer(drawn, *lines).properties(width=260, height=260)


def dropped_chart(rows: Sequence[tuple[str, str, int]]) -> alt.TopLevelMixin:
    """Draw the shares of kept and dropped draws of each measure, from rows of measure, reason or `kept`, and number."""
    reasons = list(dict.fromkeys(r for _, r, _ in rows))
    colors = [PALETTE[0], *(PALETTE[1:] * (len(reasons) // len(PALETTE[1:]) + 1))][: len(reasons)]
    data = [{"measure": m, "reason": r, "n": n, "place": reasons.index(r)} for m, r, n in rows]
    drawn: alt.TopLevelMixin = (
        alt.Chart(alt.InlineData(values=data))
        .mark_bar(stroke="#ffffff", strokeWidth=0.6)
        .encode(
            y=alt.Y(
                "measure:N", title="", sort=list(dict.fromkeys(m for m, _, _ in rows)), axis=alt.Axis(labelLimit=320)
            ),
            x=alt.X("n:Q", title="share of draws", stack="normalize", axis=alt.Axis(format="%")),
            color=alt.Color("reason:N", scale=alt.Scale(domain=reasons, range=colors), legend=alt.Legend(title="")),
            order="place:Q",
        )
        .properties(width=420, height=max(40, 24 * len({m for m, _, _ in rows})))
    )
    return drawn


_PAPER: dict[str, Any] = {
    "background": "white", "font": "Helvetica, Arial, sans-serif",
    "view": {"stroke": None}, "title": {"fontSize": 11, "anchor": "start", "fontWeight": "normal"},
    "axis": {"labelFontSize": 9, "titleFontSize": 10, "titleFontWeight": "normal", "gridOpacity": 0.35},
    "legend": {"labelFontSize": 9, "titleFontSize": 9, "titleFontWeight": "normal"},
    "header": {"labelFontSize": 9, "titleFontSize": 9, "titleFontWeight": "normal"},
}  # fmt: skip
_INK = {"labelColor": "currentColor", "titleColor": "currentColor"}


def _spec(chart: alt.TopLevelMixin, *, page: bool) -> dict[str, Any]:
    spec: dict[str, Any] = chart.to_dict()
    if page:
        spec = json.loads(json.dumps(spec).replace('"#000000"', '"currentColor"'))
    config = {k: dict(v) if isinstance(v, dict) else v for k, v in _PAPER.items()}
    if page:  # the ink follows the page: light, dark, or paper
        config["background"] = "transparent"
        config["title"] |= {"color": "currentColor"}
        config["axis"] |= _INK | {"domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "#888888"}
        config["legend"] |= _INK
        config["header"] |= _INK
    return spec | {"config": config}


def inline_svg(chart: alt.TopLevelMixin, label: str) -> str:
    """Render a chart as SVG inside a page, with a label for screen readers."""
    svg: str = vl_convert.vegalite_to_svg(_spec(chart, page=True))
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)


def image(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG."""
    svg: str = vl_convert.vegalite_to_svg(_spec(chart, page=False))
    return svg


def write(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write a chart to a file whose suffix is one of FORMATS; raises OSError."""
    spec = _spec(chart, page=False)
    match path.suffix.lower():
        case ".svg":
            data = vl_convert.vegalite_to_svg(spec).encode()
        case ".png":
            data = vl_convert.vegalite_to_png(spec, ppi=300)
        case ".pdf":
            data = vl_convert.vegalite_to_pdf(spec)
        case _:
            data = (json.dumps(spec, indent=1) + "\n").encode()
    path.write_bytes(data)
