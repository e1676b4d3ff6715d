"""Figures of a measure by its groups: curves over numbers, dots, bars and heat maps."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from emdsl.report.figure import (
    TOLD,
    Chart,
    Group,
    Line,
    Panels,
    Spec,
    Table,
    ends_text,
    label_expr,
    level_axis,
    line_notes,
    notes_of,
    number,
    panels_of,
    reference,
    rows_of,
    shade,
    trimmed,
    without_shape,
)
from emdsl.report.styles import EMPTY, QUIET, Style, distinct, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDE = 16.0  # from this ratio of doses on, the x axis is logarithmic
MAX_BANDS = 3  # more bands over each other are mud
MAX_CURVES = 4  # fitted curves in a panel
HERE = "datum.value !== null"


def varied(table: Table, *without: Group) -> list[Group]:
    """Return the groups of a table with several levels, without some."""
    return [g for g in table.groups if len(g.levels) > 1 and g not in without]


def curve(table: Table, style: Style, lines: Sequence[Line] = ()) -> Chart:
    """Draw values over an axis of numbers, with bands or, for many groups, with bars beside each other."""
    dose = max((g for g in table.groups if g.ordered), key=lambda g: len(g.levels))
    at = table.groups.index(dose)
    panels = panels_of(table, varied(table, dose), most=MAX_CURVES if table.smooth else 8)
    groups = panels.color.levels if panels.color is not None else ("",)
    data = rows_of(table, panels)
    doses = sorted({float(d[f"g{at}"]) for d in data if d["value"] is not None})
    step = _least_step(doses, style)
    banded = len(groups) <= MAX_BANDS or table.smooth
    for d in data:
        d["part"] = "value"
        d["dose"] = d[f"g{at}"]
        i = groups.index(d["color"]) if panels.color is not None else 0
        d["aside"] = 0.0 if banded else round((i - (len(groups) - 1) / 2) * min(3 * style.unit, step / len(groups)), 2)
    data = [d for d in data if d["value"] is not None]
    notes = notes_of([table], panels)
    if table.smooth:
        data += _extra(table, _marks_by_group(table, panels), dose.name)
        notes += _k50_notes(table)
    ticks = sorted({float(r[-3]) for r in table.extra.measured}) or (_powers(doses) if table.smooth else doses)
    x, y = _dose_axis(dose.name, ticks, style), _value_axis(table)
    shown = shade(panels.color, style, below=bool(lines))
    unshaped = without_shape(shown)
    aside: Spec = {} if banded else {"xOffset": {"expr": "datum.aside"}}
    of = {"transform": [{"filter": "datum.part == 'value'"}]} if table.smooth else {}
    y_low = {"field": "low", "type": "quantitative", "title": ""}
    unit = style.unit
    interval: Spec = {
        **of, "mark": {"type": "area", "opacity": 0.16},
        "encoding": {"x": x, "y": y_low, "y2": {"field": "high"}, **unshaped},
    } if banded else {
        "mark": {"type": "rule", "strokeWidth": 0.9 * unit, "opacity": 0.75, **aside,
            "x2Offset": aside["xOffset"]},
        "encoding": {"x": x, "y": y_low, "y2": {"field": "high"}, **unshaped},
    }  # fmt: skip
    edges: list[Spec] = []
    if banded and len(groups) > 1:
        edges = [{**of, "mark": {"type": "line", "strokeWidth": 0.5 * unit, "opacity": 0.55},
                  "encoding": {"x": x, "y": {"field": end, "type": "quantitative", "title": ""}, **unshaped}}
                 for end in ("low", "high")]  # fmt: skip
    line: Spec = {**of, "mark": {"type": "line", "strokeWidth": 1.3 * unit, **aside},
                  "encoding": {"x": x, "y": y, **unshaped}}  # fmt: skip
    points: Spec = {"mark": {"type": "point", "filled": True, "size": 22 * unit**2, "opacity": 1, **aside},
                    "encoding": {"x": x, "y": y, **shown, **TOLD}}  # fmt: skip
    layers = [interval, *edges, line, *([] if table.smooth else [points]), *(_marks_of_fit(x, y, shown, style, table))]
    return Chart(
        title=table.title, layers=[*reference(lines, style, "y", label=panels.facets is None), *layers], data=data,
        style=style, notes=[*notes, *line_notes(lines, panels.facets)], facets=panels.facets,
        ratio=0.62 if panels.facets is None else 0.75,
    )  # fmt: skip


def _least_step(doses: Sequence[float], style: Style) -> float:
    """Return the width between the two closest doses of a panel, about."""
    if len(doses) < 2:
        return style.width / 4
    place = _place(doses)
    ends = place(doses[-1]) - place(doses[0])
    return style.width * 0.6 * min(place(b) - place(a) for a, b in pairwise(doses)) / ends


def _place(doses: Sequence[float]) -> Callable[[float], float]:
    """Return the function from a dose to its place on the axis: logarithmic if doses are far apart."""
    reach = [abs(d) for d in doses if d]
    wide = bool(reach) and max(reach) / min(reach) >= WIDE
    least = min(reach, default=1.0)
    return (lambda d: math.copysign(math.log1p(abs(d) / least), d)) if wide else float


def _dose_axis(name: str, ticks: Sequence[float], style: Style) -> Spec:
    reach = [abs(d) for d in ticks if d]
    wide = bool(reach) and max(reach) / min(reach) >= WIDE
    scale: Spec = {"type": "symlog", "constant": min(reach), "nice": False} if wide else {"zero": False, "nice": False}
    scale["padding"] = 5 * style.unit
    axis = {  # `format` alone rounds: 16 to 2e+1
        "values": list(ticks), "grid": False, "labelExpr": "format(datum.value, '~g')", "labelOverlap": "greedy",
        "labelSeparation": style.size * 0.5,
    }  # fmt: skip
    return {"field": "dose", "type": "quantitative", "title": name, "scale": scale, "axis": axis}


def _powers(doses: Sequence[float]) -> list[float]:
    """Return the powers of two within some doses, and 0 if it is one."""
    most, least = max(doses), min(doses)
    powers = [2.0**i for i in range(-20, 40) if least <= 2.0**i <= most and 2.0**i * 2**9 > most]
    return [*([0.0] if least <= 0 else []), *powers]


def _value_axis(table: Table, **more: Any) -> Spec:
    scale: Spec = {"type": "log"} if table.log else {"zero": table.ends is not None and table.ends[0] == 0}
    return {"field": "value", "type": "quantitative", "title": table.what, "scale": scale, **more}


def _marks_by_group(table: Table, panels: Panels) -> dict[tuple[Any, ...], dict[str, str]]:
    """Return the color and the facet of each curve, by its levels without the dose: the last group of a fit."""
    n = len(table.groups) - 1
    return {
        row[:n]: mark
        for row, mark in zip(table.rows, panels.marks, strict=True)
        if panels.facets is None or mark["facet"] in panels.facets.levels
    }


def _extra(table: Table, marks: dict[tuple[Any, ...], dict[str, str]], dose_axis: str) -> list[dict[str, Any]]:
    """Return the measured rates and the k50 of each curve as data; those of groups without a curve have no place."""
    n = len(table.groups) - 1
    rows: list[dict[str, Any]] = []
    for row in (r for r in table.extra.measured if r[:n] in marks):
        dose, rate, count = row[n:]
        told = f"{dose_axis} {dose:g}: measured {rate:.3g}, n = {count}"
        rows.append({"part": "measured", "dose": dose, "value": rate, "n": count, "told": told} | marks[row[:n]])
    doses = [r[n] for r in table.rows]
    for row in (r for r in table.extra.k50 if r[:n] in marks):
        value, low, high, rate = row[n:]
        if rate is not None:
            told = f"k50 {value:.3g}{ends_text(low, high)}"
            rows.append({"part": "k50", "dose": value, "from": max(low if low is not None else min(doses), min(doses)),
                         "to": min(high if high is not None else max(doses), max(doses)), "value": rate,
                         "told": told} | marks[row[:n]])  # fmt: skip
    return rows


def _k50_notes(table: Table) -> list[str]:
    n = len(table.groups) - 1
    shown = []
    for row in table.extra.k50[:4]:
        levels = ", ".join(plain(x) for x in row[:n])
        shown.append(f"{levels + ': ' if levels else ''}{row[n]:.3g}{ends_text(row[n + 1], row[n + 2])}")
    more = f"; {len(table.extra.k50) - 4} more" if len(table.extra.k50) > 4 else ""
    return [f"diamond: k50, {'; '.join(shown)}{more}"] if shown else []


def _marks_of_fit(x: Spec, y: Spec, shown: Spec, style: Style, table: Table) -> list[Spec]:
    """Return the marks of what was measured, and of k50 with its interval."""
    unit = style.unit
    marks: list[Spec] = []
    unshaped = without_shape(shown)
    if table.extra.measured:
        marks.append({
            "transform": [{"filter": "datum.part == 'measured'"}],
            "mark": {"type": "point", "filled": True, "size": 14 * unit**2, "opacity": 0.9},
            "encoding": {"x": x, "y": y, **shown, **TOLD},
        })  # fmt: skip
    if table.extra.k50:
        only = [{"filter": "datum.part == 'k50'"}]
        start = x | {"field": "from"}
        marks += [
            {"transform": only, "mark": {"type": "rule", "strokeWidth": 1.6 * unit},
             "encoding": {"x": start, "x2": {"field": "to"}, "y": y, **unshaped}},
            {"transform": only, "mark": {"type": "point", "filled": True, "size": 45 * unit**2, "opacity": 1,
                                         "shape": "diamond", "stroke": "white", "strokeWidth": 0.6 * unit},
             "encoding": {"x": x, "y": y, **unshaped, **TOLD}},
        ]  # fmt: skip
    return marks


def dots(table: Table, style: Style, lines: Sequence[Line] = ()) -> Chart:
    """Draw each value as a dot with its interval, one row for each level of the largest group."""
    return _by_level(table, style, lines, bars=False)


def bars(table: Table, style: Style, lines: Sequence[Line] = ()) -> Chart:
    """Draw each value as a bar from 0 with its interval; upright if the names of levels have room."""
    return _by_level(table, style, lines, bars=True)


def _by_level(table: Table, style: Style, lines: Sequence[Line], *, bars: bool) -> Chart:
    table = trimmed(table)
    wide = max(table.groups, key=lambda g: len(g.levels), default=Group(name="", levels=("",)))
    panels = panels_of(table, varied(table, wide))
    colors = panels.color.levels if panels.color is not None else ("",)
    data = rows_of(table, panels, {"level": wide} if wide.name else {})
    shown_levels = list(wide.texts.values())
    if not wide.name:
        shown_levels, data = [table.name], [d | {"level": table.name} for d in data]
    panel = style.width if panels.facets is None else max(15 * style.size, style.width / 3)
    band = 0.72 * panel / len(shown_levels)
    longest = max(map(len, shown_levels))
    upright = bars and band >= 1.1 * style.size * len(colors) and longest <= 2.2 * style.chars(band)
    level: Spec = {"field": "level", "type": "nominal", "title": wide.name or None}
    level |= {"scale": {"domain": shown_levels, "paddingInner": 0.25, "paddingOuter": 0.15}}
    room = 0.95 * band if upright else min(0.36 * style.width, 30 * style.size)
    level["axis"] = level_axis(
        style, shown_levels, room, upward=not upright, labelAngle=0, ticks=False, domain=bars
    )  # fmt: skip
    if not wide.name:
        level["axis"]["labels"] = False
    place, value = ("x", "y") if upright else ("y", "x")
    amount = _value_axis(table)
    # `nice` would go on from the padding to the next round number: a rate of -0.1
    amount["scale"] = {"zero": True} if bars else amount["scale"] | {"padding": 5 * style.unit, "nice": False}
    if not upright:
        amount["axis"] = {"tickCount": 6, "labelOverlap": "greedy", "labelSeparation": style.size}
    offset: Spec = {}
    if panels.color is not None:
        offset = {f"{place}Offset": {"field": "color", "type": "nominal", "sort": list(colors),
                                     "scale": {"domain": list(colors)}}}  # fmt: skip
    shown = shade(panels.color, style, shapes=not bars, below=bool(lines))
    unshaped, unit = without_shape(shown), style.unit
    here = {"transform": [{"filter": HERE}]}
    where = {place: level, **offset}
    low = {value: {"field": "low", "type": "quantitative", "title": ""}, f"{value}2": {"field": "high"}}
    rule: Spec = {
        "transform": [{"filter": "datum.value !== null && datum.low !== null && datum.high !== null"}],
        "mark": {"type": "rule", "strokeWidth": (1.0 if bars else 1.4) * unit,
                 **({"color": "currentColor" if style.inline else "#333333"} if bars else {})},
        "encoding": where | low | ({} if bars else unshaped),
    }  # fmt: skip
    body: Spec = {
        **here,
        "mark": {"type": "bar", "opacity": 0.85} if bars else {
            "type": "point", "filled": True, "size": 30 * unit**2, "opacity": 1},
        "encoding": where | {value: amount} | (unshaped if bars else shown) | TOLD,
    }  # fmt: skip
    gone: list[Spec] = []
    if any(d["value"] is None for d in data):
        short = upright and band / len(colors) < 3 * style.size
        text = {"type": "text", "fontSize": style.size * 0.9, "color": QUIET, "text": "\u2013" if short else "none"}
        text |= {"align": "left", "dx": 3 * unit} if not upright else {"baseline": "bottom", "dy": -2 * unit}
        zero = {value: {"value": 0 if not upright else "height"}}
        gone = [{"transform": [{"filter": "datum.value === null"}], "mark": text, "encoding": where | zero}]
    marks = [body, rule] if bars else [rule, body]
    null = [Line(at=table.null)] if table.null is not None and not bars else []
    layers = [
        *reference(null, style, value),
        *marks,
        *gone,
        *reference(lines, style, value, label=panels.facets is None),
    ]
    if bars and table.ends is None:
        layers.append({"data": {"values": [{"at": 0}]}, "mark": {"type": "rule", "strokeWidth": 0.6 * unit},
                       "encoding": {value: number("at")}})  # fmt: skip
    per = style.size * (1.75 if len(colors) == 1 else 1.05 * len(colors) + 0.9)
    least = 3.0 * style.size
    notes = [*notes_of([table], panels), *line_notes(lines, panels.facets)]
    return Chart(
        title=table.title, layers=layers, data=data, style=style, notes=notes, facets=panels.facets,
        height=0 if upright else max(least, per * len(shown_levels)), ratio=0.6 if panels.facets is None else 0.8,
        least_panel=16 * style.size if upright else 12 * style.size, labelled=not upright,
        widest=1e6 if not upright else max(6 * style.size * len(shown_levels) * len(colors), 20 * style.size),
    )  # fmt: skip


def heat(table: Table, style: Style) -> Chart:
    """Draw the values of two crossed groups as a map of colors with numbers; what has no value is gray."""
    table = trimmed(table)
    across, down, *rest = sorted(varied(table), key=lambda g: (not g.ordered, max(map(len, g.texts.values()))))
    panels = panels_of(table, rest, colored=False)
    crossed = {"across": across, "down": down}
    data = rows_of(table, panels, crossed)
    orders = {f: [t for t in _sorted(g) if any(d[f] == t for d in data)] for f, g in crossed.items()}
    held = {
        f: {frozenset(d[f] for d in data if d["facet"] == p) for p in (panels.facets.levels if panels.facets else ())}
        for f in orders
    }  # fmt: skip
    free = tuple(channel for channel, f in (("x", "across"), ("y", "down")) if len(held[f]) > 1)
    cell = min(6.5 * style.size, 0.7 * style.width / max(1, len(orders["across"])))
    low, high, scale, ink = _colors(table)
    form = _format(low, high)
    room = 0.65 * style.size * max((len(f"{d['value']:{form}}") for d in data if d["value"] is not None), default=1)
    longest = max(map(len, orders["across"]))
    turned = longest > 2 * style.chars(0.8 * cell)
    if turned:
        short = distinct(orders["across"], 20)
        x_axis: Spec = {"labelAngle": -40, "grid": False, "labelAlign": "right", "labelExpr": label_expr(short)}
    else:
        x_axis = level_axis(style, orders["across"], 0.8 * cell, labelAngle=0, upward=False)
    x: Spec = {
        "field": "across",
        "type": "ordinal",
        "title": across.name,
        "axis": x_axis | {"ticks": False, "domain": False},
    }
    lines = 1 if len(orders["down"]) > 12 else 2
    y_axis = level_axis(
        style, orders["down"], min(0.36 * style.width, 26 * style.size), lines, ticks=False, domain=False
    )
    y: Spec = {"field": "down", "type": "ordinal", "title": down.name, "axis": y_axis}
    for channel, enc, field in (("x", x, "across"), ("y", y, "down")):
        enc["sort" if channel in free else "scale"] = orders[field] if channel in free else {"domain": orders[field]}
    beside = style.width >= 380 * style.unit
    legend = {"title": table.what, "orient": "right" if beside else "bottom",
              **({} if beside else {"gradientLength": 0.6 * style.width, "direction": "horizontal"})}  # fmt: skip
    here, there = [{"filter": HERE}], [{"filter": "datum.value === null"}]
    rect = {"type": "rect", "stroke": "#88888855", "strokeWidth": 0.5 * style.unit}
    figure = {"type": "text", "fontSize": style.size * (1 if cell > 3 * style.size else 0.9)}
    layers: list[Spec] = [
        {"transform": here, "mark": rect,
         "encoding": {"x": x, "y": y, "color": number("value", scale=scale, legend=legend), **TOLD}},
    ]  # fmt: skip
    if any(d["value"] is None for d in data):
        layers += [
            {"transform": there, "mark": rect | {"color": EMPTY}, "encoding": {"x": x, "y": y, **TOLD}},
            {"transform": there, "mark": figure | {"text": "\u2013", "color": QUIET}, "encoding": {"x": x, "y": y}},
        ]
    if cell >= 0.9 * room:
        layers.append({"transform": here, "mark": figure, "encoding": {
            "x": x, "y": y, "text": {"field": "value", "type": "quantitative", "format": form},
            "color": {"condition": {"test": ink, "value": "black"}, "value": "white"}}})  # fmt: skip
    row_height = style.size * (2.6 if len(orders["down"]) <= 12 else 1.6)
    return Chart(
        title=table.title, layers=layers, data=data, style=style, notes=notes_of([table], panels), facets=panels.facets,
        height=row_height * len(orders["down"]), widest=7.5 * style.size * len(orders["across"]), free=free,
        labelled=True, least_panel=max(12 * style.size, room * len(orders["across"])),
    )  # fmt: skip


def _sorted(group: Group) -> list[str]:
    texts = list(group.texts.items())
    return [t for _, t in (sorted(texts) if group.ordered else texts)]


def _format(low: float, high: float) -> str:
    most = max(abs(low), abs(high))
    return ".2f" if most < 10 else ".1f" if most < 100 else ".0f"


def _colors(table: Table) -> tuple[float, float, Spec, str]:
    """Return the ends of a map's values, its scale of colors, and the test of whether a number on it is black."""
    at = len(table.groups)
    values = [r[at] for r in table.rows if r[at] is not None]
    if table.null is not None:
        if table.log:
            most = max((abs(math.log(v)) for v in values if v > 0), default=1.0) or 1.0
            scale: Spec = {"scheme": "blueorange", "type": "log", "domain": [math.exp(-most), math.exp(most)]}
            return min(values), max(values), scale, f"abs(log(datum.value)) < {0.55 * most!r}"
        most = max(abs(v - table.null) for v in values) or 1.0
        scale = {"scheme": "blueorange", "domain": [table.null - most, table.null + most]}
        return min(values), max(values), scale, f"abs(datum.value - {table.null!r}) < {0.55 * most!r}"
    low, high = min(0.0, *values), max(*values, 0.0) or 1.0
    return low, high, {"scheme": "viridis", "domain": [low, high]}, f"datum.value > {(low + high) / 2!r}"
