"""Forest plots: contrasts, or several measures, below each other with their numbers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.report.figure import (
    TOLD,
    Chart,
    Line,
    Spec,
    Table,
    category,
    ends_text,
    level_axis,
    notes_of,
    reference,
    tall,
    title_of,
    told,
)
from emdsl.report.styles import PALETTE, QUIET, Style, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ROWS = 120


@dataclass(frozen=True, slots=True)
class _Layout:
    """The rows of a plot from above: their texts by their place, the headings among them, and the data."""

    texts: dict[str, str]
    data: list[dict[str, Any]]


def forest(tables: Sequence[Table], style: Style, lines: Sequence[Line] = ()) -> Chart:
    """Draw all values of some measures as points with intervals, and write them at the right.

    The measures share one scale.
    """
    first = tables[0]
    layout = _layout(tables)
    cut = len(layout.texts) - MAX_ROWS
    order = list(layout.texts)[:MAX_ROWS]
    data = [d for d in layout.data if d["level"] in set(order)]
    bold = {"condition": {"test": "datum.value[0] == 'h'", "value": "bold"}, "value": "normal"}
    axis_y = level_axis(style, {p: layout.texts[p] for p in order}, 0.36 * style.width, ticks=False, domain=False,
                        labelFontWeight=bold)  # fmt: skip
    y: Spec = {
        "field": "level", "type": "nominal", "title": None, "scale": {"domain": order}, "axis": axis_y,
    }  # fmt: skip
    scale: Spec = {"padding": 6 * style.unit, "nice": False} | ({"type": "log"} if first.log else {"zero": False})
    axis: Spec = {"format": "~g", "labelOverlap": "greedy", "labelSeparation": style.size, "tickCount": 5}
    if first.log:
        axis["values"] = _log_ticks([d[end] for d in data for end in ("value", "low", "high") if d[end]])
    x: Spec = {"field": "value", "type": "quantitative", "title": first.what, "scale": scale, "axis": axis}
    unit = style.unit
    here = [{"filter": "datum.value !== null"}]
    quiet = {"color": QUIET, "fontSize": style.size * 0.95}
    text: Spec = {"type": "text", "align": "left", "dx": 6 * unit, "fontSize": style.size}
    null = [Line(at=first.null)] if first.null is not None else []
    layers: list[Spec] = [
        *reference(null, style, "x"),
        {"transform": [{"filter": "datum.value !== null && datum.low !== null && datum.high !== null"}],
         "mark": {"type": "rule", "strokeWidth": 1.4 * unit, "color": PALETTE[0]},
         "encoding": {"y": y, "x": {"field": "low", "type": "quantitative", "title": ""}, "x2": {"field": "high"}}},
        {"transform": here,
         "mark": {"type": "point", "shape": "square", "filled": True, "size": 28 * unit**2, "opacity": 1,
                  "color": PALETTE[0]},
         "encoding": {"y": y, "x": x, **TOLD}},
        {"transform": here, "mark": text,
         "encoding": {"y": y, "x": {"value": "width"}, "text": category("numbers")}},
        {"transform": [{"filter": "datum.value === null && datum.told"}],
         "mark": text | quiet | {"text": "no value"}, "encoding": {"y": y, "x": {"value": "width"}}},
        *reference(lines, style, "x"),
    ]  # fmt: skip
    notes = notes_of(tables)
    if cut > 0:
        notes.append(f"{cut:,} more rows have no room")
    return Chart(
        title=title_of(tables), layers=layers, data=data, style=style, notes=notes,
        height=max(3.0 * style.size, (2.4 if tall(axis_y) else 1.75) * style.size * len(order)), labelled=True,
    )  # fmt: skip


def _layout(tables: Sequence[Table]) -> _Layout:
    layout = _Layout({}, [])
    several = len(tables) > 1
    most = max((abs(r[len(t.groups)]) for t in tables for r in t.rows if r[len(t.groups)] is not None), default=1.0)
    for table in tables:
        at = len(table.groups)
        single = several and len(table.rows) == 1
        nested = sum(len(g.levels) > 1 for g in table.groups) > 1
        if several and not single and not nested:
            layout.texts[f"h{len(layout.texts)}"] = table.name
        varied = [i for i, g in enumerate(table.groups) if len(g.levels) > 1]
        outer, last = varied[:-1], varied[-1] if varied else None
        within = ""
        for row in table.rows:
            under = ", ".join(_level(table, row, i) for i in outer)
            if under != within:
                within = under
                layout.texts[f"h{len(layout.texts)}"] = f"{table.name}: {under}" if several else under
            place = f"r{len(layout.texts)}"
            levels = _level(table, row, last) if last is not None else ", ".join(plain(x) for x in row[:at])
            layout.texts[place] = table.name if single or not levels else levels
            value, low, high, n = row[at:]
            numbers = "" if value is None else f"{_number(value, most)}{_ends(low, high, most)}, n {n:,}"
            layout.data.append({"level": place, "measure": table.name, "value": value, "low": low, "high": high, "n": n,
                                "numbers": numbers, "told": f"{table.name}: {told(table, row)}"})  # fmt: skip
    return layout


def _level(table: Table, row: Sequence[Any], i: int) -> str:
    """Return a level as a row's name; a number or a truth value means little without its axis."""
    group, level = table.groups[i], row[i]
    return plain(level) if isinstance(level, str) else f"{group.name} {plain(level)}"


def _number(value: float, most: float) -> str:
    """Return a number with three digits or so of the largest one."""
    text = f"{value:.{0 if most >= 100 else 1 if most >= 10 else 2 if most >= 0.1 else 3}f}"
    return (text if float(text) else text.lstrip("-")).replace("-", "\u2212")


def _ends(low: float | None, high: float | None, most: float) -> str:
    if low is None or high is None:
        return ends_text(low, high)
    return f" [{_number(low, most)}, {_number(high, most)}]"


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers within some values, on a logarithmic scale: few, and 1 among them."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    decades = range(-12, 13)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [round(m * 10.0**e, 12) for e in decades for m in steps if low <= m * 10.0**e <= high]
        if len(ticks) <= 6:
            break
    return ticks or [1.0]
