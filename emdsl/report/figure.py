"""The rows of a measure as figures take them, and a figure: marks, data, panels and notes for Vega-Lite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emdsl.report.styles import (
    MAX_COLORS,
    PALETTE,
    QUIET,
    SHAPES,
    Style,
    config,
    distinct,
    keyed,
    plain,
    shortened,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_FACETS = 24
MAX_LEVELS = 120  # of a group: rows of a figure as high as a page or two
MIN_PANEL = 12.0  # of a panel's width, in sizes of type
Spec = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An axis of a measure's groups, with its levels in order."""

    name: str
    levels: tuple[Any, ...]

    @property
    def ordered(self) -> bool:
        """Whether all levels are numbers, so that it can be the x axis of a curve."""
        return len(self.levels) > 1 and all(isinstance(x, int | float) and not isinstance(x, bool) for x in self.levels)

    @property
    def texts(self) -> dict[Any, str]:
        """The levels as texts, each unlike the others."""
        texts: dict[Any, str] = {}
        for level in self.levels:
            text, n = keyed(plain(level)), 1
            while text in texts.values():
                n += 1
                text = f"{plain(level)} ({n})"
            texts[key_of(level)] = text
        return texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A reference line at a value, with its label."""

    at: float
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What a fitted curve is drawn with: its k50 with both ends, and the rates that were measured.

    Both start with the groups of a table, without the dose. `k50` goes on with value, low, high and the rate there,
    `measured` with dose, rate and n.
    """

    k50: tuple[tuple[Any, ...], ...] = ()
    measured: tuple[tuple[Any, ...], ...] = ()


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
    extra: Extra = Extra()  # of a smooth one
    function: str = ""
    ends: tuple[float, float] | None = None  # of all values that there can be: (0, 1) for rates
    null: float | None = None  # the value of no difference
    log: bool = False  # whether values are ratios
    notes: tuple[str, ...] = ()  # what a reader has to know

    @property
    def title(self) -> str:
        """Its name, with marks for simulated and incomplete numbers."""
        return title_of([self])

    @property
    def drawn(self) -> bool:
        """Whether it has more than one value to draw."""
        return sum(r[len(self.groups)] is not None for r in self.rows) > 1


def cut(groups: Sequence[Group], rows: Sequence[tuple[Any, ...]]) -> tuple[tuple[Group, ...], list[Any], list[str]]:
    """Return groups with their first MAX_LEVELS levels, the rows that are left, and a note about the others."""
    kept, notes = list(groups), []
    left = list(rows)
    for i, group in enumerate(groups):
        if len(group.levels) > MAX_LEVELS:
            kept[i] = Group(name=group.name, levels=group.levels[:MAX_LEVELS])
            shown = set(map(key_of, kept[i].levels))
            left = [r for r in left if key_of(r[i]) in shown]
            notes.append(f"{len(group.levels) - MAX_LEVELS:,} more of {group.name} have no room")
    return tuple(kept), left, notes


def trimmed(table: Table) -> Table:
    """Return a table whose groups have as many levels as a figure has room for, with a note about the others."""
    groups, rows, notes = cut(table.groups, table.rows)
    return replace(table, groups=groups, rows=tuple(rows), notes=(*table.notes, *notes)) if notes else table


def title_of(tables: Sequence[Table]) -> str:
    """Return the names of measures, with marks for simulated and incomplete numbers."""
    marks = [*(["SIMULATED"] if any(t.simulated for t in tables) else []),
             *(["incomplete"] if any(t.incomplete for t in tables) else [])]  # fmt: skip
    names = ", ".join(t.name for t in tables)
    return f"{names} ({', '.join(marks)})" if marks else names


def key_of(level: Any) -> Any:
    """Return what a level is found by: `true` is unlike 1."""
    return (level,) if isinstance(level, bool) else level


@dataclass(frozen=True, slots=True)
class Panels:
    """Which groups of a table are colors and facets, and of each row both, beside all its levels."""

    color: Group | None
    facets: Group | None
    marks: list[dict[str, str]]
    notes: tuple[str, ...] = ()  # about facets that are left out


def panels_of(table: Table, rest: Sequence[Group], *, colored: bool = True, most: int = MAX_COLORS) -> Panels:
    """Choose the group of the colors, which has few levels, and that of the facets: all others, combined."""
    marks: list[dict[str, str]] = [{} for _ in table.rows]
    at = {g.name: i for i, g in enumerate(table.groups)}
    few = [g for g in rest if len(g.levels) <= most] if colored else []
    color = None
    if few:
        texts = few[-1].texts
        for row, mark in zip(table.rows, marks, strict=True):
            mark["color"] = texts[key_of(row[at[few[-1].name]])]
        color = Group(name=few[-1].name, levels=tuple(texts.values()))
        rest = [g for g in rest if g is not few[-1]]
    if not rest:
        return Panels(color, None, marks)
    named = [(at[g.name], g.texts) for g in rest]
    for row, mark in zip(table.rows, marks, strict=True):
        mark["facet"] = " / ".join(texts[key_of(row[i])] for i, texts in named)
    n = len(table.groups)
    drawn = {m["facet"] for m, r in zip(marks, table.rows, strict=True) if r[n] is not None}
    facets = [f for f in _in_order(rest, marks) if f in drawn]
    kept = Group(name=" / ".join(g.name for g in rest), levels=tuple(facets[:MAX_FACETS]))
    more = len(facets) - len(kept.levels)
    return Panels(color, kept, marks, (f"{more:,} more panels have no room",) if more else ())


def _in_order(rest: Sequence[Group], marks: list[dict[str, str]]) -> list[str]:
    """Return the facets that there are, in the order of the levels that they combine."""
    orders = [{text: i for i, text in enumerate(g.texts.values())} for g in rest]
    if len(rest) == 1:
        return sorted({m["facet"] for m in marks}, key=lambda f: orders[0][f])
    return list(dict.fromkeys(m["facet"] for m in marks))


def rows_of(table: Table, panels: Panels, fields: Mapping[str, Group] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a table as the data of a figure: levels, color, facet, numbers, and all of it as a text.

    Each of `fields` is the level of a group as a text.
    """
    data = []
    n = len(table.groups)
    named = {field: (table.groups.index(g), g.texts) for field, g in (fields or {}).items()}
    for row, mark in zip(table.rows, panels.marks, strict=True):
        value, low, high, count = row[n:]
        levels = {f"g{i}": x if x is None or isinstance(x, int | float) else str(x) for i, x in enumerate(row[:n])}
        levels |= {field: texts[key_of(row[i])] for field, (i, texts) in named.items()}
        data.append(levels | mark | {"value": value, "low": low, "high": high, "n": count, "told": told(table, row)})
    kept = set(panels.facets.levels) if panels.facets is not None else None
    return [d for d in data if kept is None or d["facet"] in kept]


def told(table: Table, row: Sequence[Any]) -> str:
    """Return a row as a text: its levels, its value with the interval, and n."""
    n = len(table.groups)
    value, low, high, count = row[n:]
    levels = ", ".join(f"{g.name} {plain(x)}" for g, x in zip(table.groups, row, strict=False))
    figure = "no value" if value is None else f"{value:.3g}{ends_text(low, high)}"
    return f"{levels}: {figure}, n = {count}" if levels else f"{figure}, n = {count}"


def ends_text(low: float | None, high: float | None) -> str:
    """Return an interval in words, after a blank; without an interval, an empty text."""
    if low is None or high is None:
        return f" (from {low:.3g})" if low is not None else f" (up to {high:.3g})" if high is not None else ""
    return f" ({low:.3g} to {high:.3g})"


def notes_of(tables: Sequence[Table], panels: Panels | None = None) -> list[str]:
    """Return what a reader has to know: intervals, n, groups without a value, facets left out."""
    intervals = dict.fromkeys(t.interval for t in tables if t.interval and t.function != "shares")
    notes = [f"intervals: {'; '.join(intervals)}"] if intervals else []
    kept = [r[len(t.groups) :] for t in tables for r in t.rows]
    notes += n_note([n for value, _, _, n in kept if value is not None and n is not None])
    gone: dict[str, None] = {}
    for table in (t for t in tables if not t.smooth):
        named = table.groups[:-1] if table.function == "shares" else table.groups  # its label is in the same bar
        for row in (r for r in table.rows if r[len(table.groups)] is None):
            levels = ", ".join(f"{g.name} {plain(x)}" for g, x in zip(named, row, strict=False))
            gone[" ".join([*([table.name] if len(tables) > 1 or not levels else []), levels])] = None
    if gone:
        more = f"; {len(gone) - 3:,} more" if len(gone) > 3 else ""
        notes.append(f"without a value: {'; '.join(shortened(g.strip(), 60) for g in list(gone)[:3])}{more}")
    notes += panels.notes if panels is not None else ()
    return [*notes, *dict.fromkeys(n for t in tables for n in t.notes)]


def n_note(ns: Sequence[int]) -> list[str]:
    """Return the number of draws in each group, as a note; nothing for no groups."""
    if not ns:
        return []
    few, many = min(ns), max(ns)
    each = " in each group" if len(ns) > 1 else ""
    return [f"n = {few:,}{each}" if few == many else f"n = {few:,} to {many:,}{each}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure: its marks over its data, in one panel or in one for each facet, with a title and notes.

    A panel is `height` points high, or `ratio` of its width; it is at most `widest` points wide.
    """

    title: str
    layers: list[Spec]
    data: list[dict[str, Any]]
    style: Style
    notes: Sequence[str] = ()
    facets: Group | None = None
    height: float = 0.0
    ratio: float = 0.0
    widest: float = 1e6
    least_panel: float = 0.0
    free: tuple[str, ...] = ()  # the axes whose levels differ among panels
    labelled: bool = False  # whether names of levels are at the left: a legend below may begin under them

    @property
    def columns(self) -> int:
        """How many panels are side by side."""
        if self.facets is None:
            return 1
        room = int(self.style.width / max(self.least_panel, MIN_PANEL * self.style.size))
        return max(1, min(4, room, len(self.facets.levels)))

    @property
    def first_width(self) -> float:
        """A width of a panel that is about right."""
        return max(20.0, min(self.widest, self.style.width / self.columns - 5 * self.style.size))

    def spec(self, width: float) -> Spec:
        """Return the specification, with panels of a width in points."""
        style = self.style
        height = round(self.height or width * self.ratio, 1)
        panel: Spec = {"width": round(width, 1), "height": height, "layer": self.layers}
        per_line = style.chars(style.width)
        title: Spec = {"text": wrapped(self.title, per_line, 3)}
        notes = "; ".join(self.notes)
        if notes:
            title["subtitle"] = _lines(notes, int(per_line * 1.05))
        whole: Spec = panel
        if self.facets is not None:
            room = int(style.chars(width) * 1.1)
            header: Spec = {"labelExpr": label_expr({f: wrapped(f, room, 3) for f in self.facets.levels})}
            facet = {
                "field": "facet", "type": "nominal", "title": wrapped(self.facets.name, per_line), "header": header,
                "sort": list(self.facets.levels),
            }  # fmt: skip
            whole = {"facet": facet, "columns": self.columns, "spec": panel}
            if self.free:
                whole["resolve"] = {"scale": dict.fromkeys(self.free, "independent")}
        theme = config(style)
        theme["legend"]["layout"] = {"bottom": {"anchor": "end" if self.labelled else "start", "bounds": "flush"}}
        schema = "https://vega.github.io/schema/vega-lite/v6.json"
        data = {"values": self.data}
        return {"$schema": schema, "title": title, "data": data, **whole, "config": theme}


def _lines(text: str, per_line: int) -> list[str]:
    lines = [""]
    for word in text.replace(" = ", "\u00a0=\u00a0").split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > per_line:
            lines.append("")
        lines[-1] = f"{lines[-1]} {shortened(word, per_line)}".strip()
    return lines


def label_expr(texts: Mapping[str, str | Sequence[str]]) -> str:
    """Return the expression that turns a level into its label, of one line or several."""
    labels = {keyed(place): keyed(x) if isinstance(x, str) else list(map(keyed, x)) for place, x in texts.items()}
    return f"{json.dumps(labels, ensure_ascii=False)}[datum.value] || (datum.label)"


def level_axis(
    style: Style, texts: Mapping[str, str] | Sequence[str], room: float, lines: int = 2, **more: Any
) -> Spec:
    """Return an axis of levels, or of places with their texts, whose labels have a width and some lines.

    Labels of several lines are in the middle of their row only if they are moved up: `upward` does so.
    """
    named = texts if isinstance(texts, Mapping) else {t: t for t in texts}
    short = {place: wrapped(t, style.chars(room), lines) for place, t in named.items()}
    height = style.size * 1.1
    axis: Spec = {"grid": False, "labelLineHeight": height}
    if more.pop("upward", True):
        for n in sorted({len(x) for x in short.values()} - {1}):
            tall = json.dumps([keyed(t) for t, x in short.items() if len(x) == n], ensure_ascii=False)
            axis["labelOffset"] = {
                "condition": {"test": f"indexof({tall}, datum.value) >= 0", "value": -height * (n - 1) / 2},
                "value": 0,
            }
    return axis | {"labelExpr": label_expr({t: x if len(x) > 1 else x[0] for t, x in short.items()}), **more}


def tall(axis: Spec) -> bool:
    """Whether a label of an axis has several lines."""
    return "labelOffset" in axis


def shade(color: Group | None, style: Style, *, shapes: bool = True, below: bool = False) -> Spec:
    """Return the encoding of colors and shapes. Its one legend is beside the panels; a wide one is `below` them."""
    if color is None:
        return {"color": {"value": PALETTE[0]}}
    domain = list(color.levels)
    longest = max(map(len, domain))
    beside = not below and style.width >= 380 * style.unit and longest <= 14
    room = style.chars(style.width)
    most = max(6, min(longest, room // 4 if beside else room - 4))
    short = distinct(domain, most)
    legend: Spec = {
        **({} if shapes else {"symbolType": "square"}), "title": color.name, "symbolOpacity": 1,
        "orient": "right" if beside else "bottom",
        "labelExpr": label_expr(short),
    }  # fmt: skip
    if not beside:
        per_row = max(1, int(style.width / (max(map(style.long, short.values())) + 2.6 * style.size)))
        rows = -(-len(domain) // per_row)
        legend |= {"columns": -(-len(domain) // rows), "titleOrient": "top" if rows > 1 else "left"}
        if style.inline:  # a browser may have a wider font
            legend["titlePadding"] = 3 * style.unit + 0.15 * style.long(color.name)
    palette = [c if c != "#000000" or not style.inline else "currentColor" for c in PALETTE]
    colors = {"domain": domain, "range": [palette[i % len(palette)] for i in range(len(domain))]}
    shown: Spec = {"color": {"field": "color", "type": "nominal", "scale": colors, "legend": legend, "sort": domain}}
    if shapes:
        scale = {"domain": domain, "range": [SHAPES[i % len(SHAPES)] for i in range(len(domain))]}
        shown["shape"] = {"field": "color", "type": "nominal", "scale": scale, "legend": legend, "sort": domain}
    return shown


def without_shape(shown: Spec) -> Spec:
    """Return an encoding without its shapes, which lines and bars have no use for."""
    return {k: v for k, v in shown.items() if k != "shape"}


def line_notes(lines: Sequence[Line], facets: Group | None) -> list[str]:
    """Return what reference lines are, in figures of several panels, where their labels have no room."""
    named = [f"{line.label} {line.at:g}" for line in lines if line.label]
    return [f"dashed: {', '.join(named)}"] if named and facets is not None else []


def reference(lines: Sequence[Line], style: Style, channel: str, *, label: bool = True) -> list[Spec]:
    """Return the marks of reference lines across an axis of values, `x` or `y`, each with its label."""
    if not lines:
        return []
    unit = style.unit
    data = {"values": [{"at": line.at, "line": line.label} for line in lines]}
    at = {channel: {"field": "at", "type": "quantitative"}}
    rule = {"mark": {"type": "rule", "strokeDash": [4 * unit, 3 * unit], "strokeWidth": 0.9 * unit, "color": QUIET}}
    marks = [{"data": data, **rule, "encoding": at}]
    if label and any(line.label for line in lines):
        place: Spec = {"align": "center", "baseline": "bottom", "dy": -2 * unit}
        if channel == "y":
            place = {"align": "left", "dx": 2 * unit}
        mark = {"type": "text", "fontSize": style.size, "color": "currentColor" if style.inline else "#444444", **place}
        other = {"x": {"value": "width"}} if channel == "y" else {"y": {"value": 0}}
        marks.append(
            {"data": data, "mark": mark, "encoding": at | other | {"text": {"field": "line", "type": "nominal"}}}
        )
    return marks


def number(field: str, **more: Any) -> Spec:
    """Return the encoding of a field of numbers."""
    return {"field": field, "type": "quantitative", **more}


def category(field: str, **more: Any) -> Spec:
    """Return the encoding of a field of texts."""
    return {"field": field, "type": "nominal", **more}


TOLD: Spec = {"description": category("told"), "tooltip": category("told")}
