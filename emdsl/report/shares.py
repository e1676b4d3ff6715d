"""Stacked shares that add to 100 %: labels by group, and what becomes of the draws of each measure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from emdsl.report.figure import (
    TOLD,
    Chart,
    Group,
    Spec,
    Table,
    category,
    key_of,
    level_axis,
    notes_of,
    number,
    panels_of,
    shade,
    trimmed,
)
from emdsl.report.styles import MAX_COLORS, QUIET, REST, Style, keyed

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBER = 2.6  # the width of a share as a number, in sizes of type
_LIGHT = {"#CC79A7", "#E69F00", "#56B4E9", REST}  # colors on which black is read


def shares(table: Table, style: Style) -> Chart:
    """Draw the shares of labels as one bar for each group, which ends at 100 %; the label is the last group."""
    table = trimmed(table)
    *groups, label = table.groups
    n = len(groups)
    totals: dict[str, float] = {}
    texts = label.texts
    for row in table.rows:
        totals[texts[key_of(row[n])]] = totals.get(texts[key_of(row[n])], 0.0) + (row[n + 1] or 0.0)
    labels, rest = _folded(list(texts.values()), totals)
    wide = max((g for g in groups if len(g.levels) > 1), key=lambda g: len(g.levels), default=None)
    others = [g for g in groups if len(g.levels) > 1 and g is not wide]
    panels = panels_of(table, others, colored=False)
    bar_texts = wide.texts if wide is not None else {}
    at = groups.index(wide) if wide is not None else 0
    data: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row, mark in zip(table.rows, panels.marks, strict=True):
        facet = mark.get("facet", "")
        if panels.facets is not None and facet not in panels.facets.levels:
            continue
        name = texts[key_of(row[n])]
        part = name if name in labels else rest
        bar = bar_texts[key_of(row[at])] if wide is not None else table.name
        share, _, _, count = row[n + 1 :]
        d = data.setdefault((facet, bar, part), mark | {
            "level": bar, "part": part, "n": count, "value": None, "place": [*labels, rest].index(part)})  # fmt: skip
        if share is not None:
            d["value"] = (d["value"] or 0.0) + share
    for (_, bar, part), d in data.items():
        d["told"] = f"{bar}, {part}: " + ("no value" if d["value"] is None else f"{d['value']:.1%}, n = {d['n']}")
    bars = list(bar_texts.values()) if wide is not None else [table.name]
    parts = [*labels, *([rest] if rest else [])]
    title = wide.name if wide is not None else None
    return _stacked(style, table.title, bars, parts, list(data.values()), label.name, title,
                    notes_of([table], panels), panels.facets, named=wide is not None)  # fmt: skip


def _folded(labels: list[str], totals: dict[str, float]) -> tuple[list[str], str]:
    """Return the labels that have a color, in their order, and the name of all others together."""
    if len(labels) <= MAX_COLORS:
        return labels, ""
    kept = set(sorted(labels, key=lambda x: -totals.get(x, 0.0))[: MAX_COLORS - 1])
    return [x for x in labels if x in kept], f"{len(labels) - len(kept)} others"


def dropped(rows: Sequence[tuple[str, str, int]], style: Style, title: str = "") -> Chart:
    """Draw the shares of kept and dropped draws of each measure, from rows of measure, reason or `kept`, and number."""
    rows = [(keyed(measure), keyed(reason), n) for measure, reason, n in rows]
    totals: dict[str, int] = {}
    reasons: dict[str, float] = {}
    for measure, reason, n in rows:
        totals[measure] = totals.get(measure, 0) + n
        reasons[reason] = reasons.get(reason, 0.0) + n
    parts, rest = _folded(list(reasons), reasons)
    found: dict[tuple[str, str], float] = {}
    for measure, reason, n in rows:
        key = measure, reason if reason in parts else rest
        found[key] = found.get(key, 0.0) + n
    data = [{"level": m, "part": p, "n": totals[m], "value": n / totals[m], "place": [*parts, rest].index(p),
             "told": f"{m}, {p}: {n:,.0f} of {totals[m]:,} draws"} for (m, p), n in found.items()]  # fmt: skip
    return _stacked(style, title, list(totals), [*parts, *([rest] if rest else [])], data, "", None, [], None)


def _stacked(
    style: Style, title: str, bars: Sequence[str], parts: Sequence[str], data: list[dict[str, Any]], legend_title: str,
    axis_title: str | None, notes: Sequence[str], facets: Group | None, *, named: bool = True,
) -> Chart:  # fmt: skip
    unit = style.unit
    y: Spec = {"field": "level", "type": "nominal", "title": axis_title,
               "scale": {"domain": list(bars), "paddingInner": 0.22, "paddingOuter": 0.1},
               "axis": level_axis(style, bars, min(0.32 * style.width, 26 * style.size), ticks=False, domain=False,
                                  **({} if named else {"labels": False}))}  # fmt: skip
    x: Spec = {"field": "value", "type": "quantitative", "stack": "zero", "title": "share",
               "scale": {"domain": [0, 1], "nice": False}, "axis": {"format": "%", "values": [0, 0.25, 0.5, 0.75, 1]},
               }  # fmt: skip
    shown = shade(Group(name=legend_title, levels=tuple(parts)), style, shapes=False, below=True)
    palette = list(shown["color"]["scale"]["range"])
    if parts and parts[-1].endswith(" others"):
        palette[-1] = REST
    shown["color"] |= {"field": "part", "scale": {"domain": list(parts), "range": palette}}
    light = [p for p, c in zip(parts, palette, strict=False) if c in _LIGHT]
    on_light = " || ".join(f"datum.part == {_text(p)}" for p in light) or "false"
    here = [{"filter": "datum.value !== null"}]
    black = [p for p, c in zip(parts, palette, strict=False) if c == "currentColor"]  # of the page: it may be white
    unread = " && ".join(f"datum.part != {_text(p)}" for p in black) or "true"
    fits = f"datum.value >= {NUMBER * style.size / (0.55 * style.width):.3f} && {unread} ? 1 : 0"
    edge = {} if style.inline else {"stroke": "white", "strokeWidth": 0.5 * unit}
    middle = x | {"bandPosition": 0.5, "title": ""}
    ends: Spec = {"type": "text", "align": "left", "dx": 4 * unit, "fontSize": style.size}
    layers: list[Spec] = [
        {"transform": here, "mark": {"type": "bar", **edge},
         "encoding": {"y": y, "x": x, "order": number("place"), **shown, **TOLD}},
        {"transform": here, "mark": {"type": "text", "fontSize": style.size * 0.95, "opacity": {"expr": fits}},
         "encoding": {"y": y, "x": middle, "order": number("place"),
                      "detail": category("part"),
                      "text": number("value", format=".0%"),
                      "color": {"condition": {"test": on_light, "value": "black"}, "value": "white"}}},
        {"transform": [{"filter": "datum.value !== null"}, {"aggregate": [{"op": "max", "field": "n", "as": "n"}],
                                                           "groupby": ["level", *(["facet"] if facets else [])]}],
         "mark": ends, "encoding": {"y": y, "x": {"value": "width"},
                                    "text": number("n", format=",")}},
        {"transform": [{"filter": "datum.value === null && datum.place == 0"}],
         "mark": ends | {"color": QUIET, "text": "no value"}, "encoding": {"y": y, "x": {"value": 0}}},
    ]  # fmt: skip
    notes = [*(n for n in notes if not n.startswith("n = ")), "at the right: n"]
    return Chart(
        title=title, layers=layers, data=data, style=style, notes=notes, facets=facets,
        labelled=True, height=max(2.6 * style.size, 2.1 * style.size * len(bars)), least_panel=22 * style.size,
    )  # fmt: skip


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
