"""Figures of scores: histogram, box, strip, scatter of two scores or two measures, and correlations of judges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emdsl.report.figure import (
    TOLD,
    Chart,
    Group,
    Line,
    Panels,
    Spec,
    Table,
    category,
    cut,
    ends_text,
    key_of,
    label_expr,
    level_axis,
    line_notes,
    n_note,
    notes_of,
    number,
    panels_of,
    reference,
    shade,
    title_of,
    told,
    without_shape,
)
from emdsl.report.styles import EMPTY, PALETTE, QUIET, Style, distinct, plain, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.outcomes.report_data import Bins

MAX_LABELS = 14  # of points
DEEP = "#D55E00"  # thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of draws by group; each row starts with its groups.

    Rows go on, of a histogram with the lower end of a bin, its share in its group and the group's n; of a box with low
    whisker, quartiles, high whisker, mean, n and the number of scores beyond the whiskers; of a strip with a score and
    the group's n; of a scatter with both scores.
    """

    name: str
    title: str
    groups: tuple[Group, ...]
    rows: tuple[tuple[Any, ...], ...]
    scales: tuple[tuple[float, float] | None, ...]
    names: tuple[str, ...]  # of the scores
    thresholds: tuple[tuple[float, ...], ...] = ((), ())
    step: float = 0.0
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """Return its rows as panels take them: without numbers."""
        rows = tuple((*r[: len(self.groups)], 1.0, None, None, None) for r in self.rows)
        return Table(name=self.name, what="", interval="", groups=self.groups, rows=rows, simulated=False,
                     incomplete=False)  # fmt: skip


def _thresholds(values: Sequence[float], style: Style, channel: str) -> list[Spec]:
    if not values:
        return []
    mark = {"type": "rule", "strokeDash": [4 * style.unit, 3 * style.unit], "strokeWidth": style.unit, "color": DEEP}
    return [{"data": {"values": [{"at": t} for t in values]}, "mark": mark,
             "encoding": {channel: number("at")}}]  # fmt: skip


def threshold_note(scores: Scores) -> list[str]:
    """Return what a dashed line of thresholds is, or nothing."""
    found = [
        f"{n} {', '.join(f'{t:g}' for t in ts)}" for n, ts in zip(scores.names, scores.thresholds, strict=False) if ts
    ]
    return [f"dashed: thresholds of the study, {'; '.join(found)}"] if found else []


def histogram(scores: Scores, style: Style, lines: Sequence[Line] = ()) -> Chart:
    """Draw how scores are spread in each group, as shares, so that groups of unlike size compare."""
    panels = panels_of(scores.table(), [g for g in scores.groups if len(g.levels) > 1], colored=False)
    n = len(scores.groups)
    data = []
    facet_n: dict[str, int] = {}
    for row, mark in zip(scores.rows, panels.marks, strict=True):
        start, share, count = row[n:]
        facet = mark.get("facet", "")
        if panels.facets is not None and facet not in panels.facets.levels:
            continue
        facet_n[facet] = count
        shown = f"{scores.names[0]} {start:g} to {start + scores.step:g}: {share:.1%} of {count:,}"
        data.append(mark | {"from": start, "to": start + scores.step, "share": share, "told": shown})
    facets = panels.facets
    if facets is not None:
        with_n = {f: f"{f} (n\u00a0=\u00a0{facet_n[f]:,})" for f in facets.levels}
        facets = Group(name=facets.name, levels=tuple(with_n.values()))
        data = [d | {"facet": with_n[d["facet"]]} for d in data]
    scale: Spec = {"domain": list(scores.scales[0])} if scores.scales[0] is not None else {"zero": False}
    x: Spec = {"field": "from", "type": "quantitative", "title": scores.names[0], "scale": scale,
               "axis": {"grid": False, "tickCount": 5 if facets is None else 3, "labelOverlap": "greedy",
                        "labelSeparation": style.size}}  # fmt: skip
    y: Spec = {"field": "share", "type": "quantitative", "title": "share of draws" if facets is None else "share",
               "axis": {"format": "%", "tickCount": 4}}  # fmt: skip
    bar: Spec = {"mark": {"type": "bar", "color": PALETTE[0], "opacity": 0.85, "binSpacing": 0.5},
                 "encoding": {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"datum": 0}, **TOLD}}  # fmt: skip
    notes = [
        *([f"n = {next(iter(facet_n.values())):,}"] if facets is None and facet_n else []),
        *threshold_note(scores),
    ]
    return Chart(
        title=scores.title, data=data, style=style, facets=facets,
        notes=[*notes, *scores.notes, *panels.notes, *line_notes(lines, panels.facets)],
        layers=[bar, *_thresholds(scores.thresholds[0], style, "x"),
                *reference(lines, style, "x", label=facets is None)],
        ratio=0.45 if facets is None else 0.55, least_panel=13 * style.size,
    )  # fmt: skip


def _rows(
    scores: Scores, style: Style
) -> tuple[Panels, list[tuple[dict[str, Any], tuple[Any, ...]]], Spec, Spec, float]:
    """Return panels, rows with their level, the axis of levels, the offset of colors, and the height of a panel."""
    groups, rows, notes = cut(scores.groups, scores.rows)
    scores = replace(scores, groups=groups, rows=tuple(rows))
    table = scores.table()
    wide = max(scores.groups, key=lambda g: len(g.levels), default=Group(name="", levels=("",)))
    panels = panels_of(table, [g for g in scores.groups if len(g.levels) > 1 and g is not wide])
    at = scores.groups.index(wide) if wide in scores.groups else None
    texts, n = wide.texts, len(scores.groups)
    found = []
    for row, mark in zip(scores.rows, panels.marks, strict=True):
        if panels.facets is None or mark["facet"] in panels.facets.levels:
            level = texts[key_of(row[at])] if at is not None else scores.name
            found.append((mark | {"level": level}, row[n:]))
    levels = list(texts.values()) if at is not None else [scores.name]
    colors = panels.color.levels if panels.color is not None else ("",)
    y: Spec = {"field": "level", "type": "nominal", "title": wide.name or None,
               "scale": {"domain": levels, "paddingInner": 0.3, "paddingOuter": 0.2},
               "axis": level_axis(style, levels, min(0.36 * style.width, 30 * style.size), ticks=False, domain=False,
                                  **({} if wide.name else {"labels": False}))}  # fmt: skip
    offset: Spec = {} if panels.color is None else {
        "yOffset": category("color", sort=list(colors), scale={"domain": list(colors)})}  # fmt: skip
    per = style.size * (2.4 if len(colors) == 1 else 1.4 * len(colors) + 0.9)
    panels = replace(panels, notes=(*notes, *panels.notes))
    return panels, found, y, offset, max(4 * style.size, per * len(levels))


def _score_axis(scores: Scores, style: Style, field: str, which: int = 0) -> Spec:
    scale = scores.scales[which]
    return {"field": field, "type": "quantitative", "title": scores.names[which],
            "scale": {"domain": list(scale)} if scale is not None else {"zero": False},
            "axis": {"tickCount": 5, "labelOverlap": "greedy", "labelSeparation": style.size}}  # fmt: skip


def box(scores: Scores, style: Style, lines: Sequence[Line] = ()) -> Chart:
    """Draw quartiles and whiskers of the scores of each group, and their mean."""
    panels, found, y, offset, height = _rows(scores, style)
    data, beyond = [], 0
    ns = []
    for mark, (low, q1, q2, q3, high, mean, n, out) in found:
        beyond += out
        ns.append(n)
        shown = f"{mark['level']}: median {q2:.3g}, quartiles {q1:.3g} and {q3:.3g}, mean {mean:.3g}, n = {n:,}"
        data.append(
            mark | {"low": low, "q1": q1, "q2": q2, "q3": q3, "high": high, "mean": mean, "n": n, "told": shown}
        )
    shown_colors = without_shape(shade(panels.color, style, shapes=False))
    unit, where = style.unit, {"y": y, **offset}
    ink = "currentColor" if style.inline else "black"
    thick = max(4.0, 0.75 * style.size)
    x = _score_axis(scores, style, "low")
    quiet = {"title": ""}
    layers: list[Spec] = [
        {"mark": {"type": "rule", "strokeWidth": unit},
         "encoding": where | shown_colors | {"x": x, "x2": {"field": "high"}}},
        {"mark": {"type": "bar", "size": thick, "opacity": 0.9},
         "encoding": where | shown_colors | {"x": x | {"field": "q1"} | quiet, "x2": {"field": "q3"}, **TOLD}},
        {"mark": {"type": "tick", "thickness": 1.6 * unit, "size": thick * 1.3, "color": ink},
         "encoding": where | {"x": x | {"field": "q2"} | quiet}},
        {"mark": {"type": "point", "filled": True, "shape": "diamond", "size": 14 * unit**2, "color": "white",
                  "stroke": "black", "strokeWidth": 0.6 * unit, "opacity": 1},
         "encoding": where | {"x": x | {"field": "mean"} | quiet}},
        *_thresholds(scores.thresholds[0], style, "x"), *reference(lines, style, "x", label=panels.facets is None),
    ]  # fmt: skip
    notes = [*n_note(ns), "bar: quartiles and median; diamond: mean; line: scores within 1.5 interquartile ranges"]
    if beyond:
        notes.append(f"{beyond:,} scores further out are not drawn")
    return Chart(title=scores.title, layers=layers, data=data, style=style, facets=panels.facets, height=height,
                 labelled=True,
                 notes=[*notes, *threshold_note(scores), *scores.notes, *panels.notes,
                        *line_notes(lines, panels.facets)],
                 least_panel=16 * style.size)  # fmt: skip


def strip(scores: Scores, style: Style, lines: Sequence[Line] = ()) -> Chart:
    """Draw single scores of each group as small marks, spread over the height of their row."""
    panels, found, y, offset, height = _rows(scores, style)
    data, ns = [], []
    row_height = height / max(1, len(y["scale"]["domain"]))
    colors = len(panels.color.levels) if panels.color is not None else 1
    spread = 0.55 * row_height / colors
    for i, (mark, (score, n)) in enumerate(found):
        ns.append(n)
        apart = round(((i * 0.618034) % 1 - 0.5) * spread, 2)  # the golden ratio: neighbors are far apart
        data.append(mark | {"score": score, "apart": apart, "told": f"{mark['level']}: {score:g}"})
    shown = without_shape(shade(panels.color, style, shapes=False))
    mark = {
        "type": "point",
        "filled": True,
        "size": 9 * style.unit**2,
        "opacity": 0.45,
        "yOffset": {"expr": "datum.apart"},
    }
    layers: list[Spec] = [
        {"mark": mark, "encoding": {"y": y, **offset, "x": _score_axis(scores, style, "score"), **shown, **TOLD}},
        *_thresholds(scores.thresholds[0], style, "x"), *reference(lines, style, "x", label=panels.facets is None),
    ]  # fmt: skip
    return Chart(title=scores.title, layers=layers, data=data, style=style, facets=panels.facets, height=height,
                 labelled=True,
                 notes=[*n_note(ns), *threshold_note(scores), *scores.notes, *panels.notes,
                        *line_notes(lines, panels.facets)],
                 least_panel=16 * style.size)  # fmt: skip


def scatter(scores: Scores, style: Style) -> Chart:
    """Draw two scores of each draw against each other, with the thresholds of both."""
    panels = panels_of(scores.table(), [g for g in scores.groups if len(g.levels) > 1])
    n = len(scores.groups)
    data = []
    for row, mark in zip(scores.rows, panels.marks, strict=True):
        if panels.facets is None or mark["facet"] in panels.facets.levels:
            a, b = row[n:]
            levels = ", ".join(plain(x) for x in row[:n])
            data.append(
                mark | {"x": a, "y": b, "told": f"{levels}: {a:.3g}, {b:.3g}" if levels else f"{a:.3g}, {b:.3g}"}
            )
    point = {"type": "point", "filled": True, "size": 12 * style.unit**2, "opacity": 0.4}
    layers: list[Spec] = [
        {"mark": point, "encoding": {"x": _score_axis(scores, style, "x"), "y": _score_axis(scores, style, "y", 1),
                                    **shade(panels.color, style), **TOLD}},
        *_thresholds(scores.thresholds[0], style, "x"), *_thresholds(scores.thresholds[1], style, "y"),
    ]  # fmt: skip
    return Chart(title=scores.title, layers=layers, data=data, style=style, facets=panels.facets, ratio=1.0,
                 notes=[*threshold_note(scores), *scores.notes, *panels.notes], widest=36 * style.size,
                 least_panel=12 * style.size)  # fmt: skip


def scatter_measures(first: Table, second: Table, style: Style, lines: Sequence[Line] = ()) -> Chart:
    """Draw two measures of the same groups against each other, with both intervals."""
    n = len(first.groups)
    panels = panels_of(first, [g for g in first.groups if len(g.levels) > 1])
    others = {tuple(map(key_of, r[:n])): r[n:] for r in second.rows}
    single = [g for g in first.groups if len(g.levels) > 1]
    data, gone = [], 0
    for row, mark in zip(first.rows, panels.marks, strict=True):
        other = others.get(tuple(map(key_of, row[:n])))
        if other is None or other[0] is None or row[n] is None:
            gone += 1
            continue
        if panels.facets is not None and mark["facet"] not in panels.facets.levels:
            continue
        name = " / ".join(plain(x) for g, x in zip(first.groups, row, strict=False) if g in single)
        value, low, high, count = row[n:]
        text = f"{told(first, row)}; {second.name} {other[0]:.3g}{ends_text(other[1], other[2])}, n = {other[3]}"
        data.append(mark | {
            "x": value, "x_low": low, "x_high": high, "y": other[0], "y_low": other[1], "y_high": other[2], "n": count,
            "label": shortened(name, 22), "told": text})  # fmt: skip
    unit = style.unit
    shown = shade(panels.color, style)
    plain_colors = without_shape(shown)
    ticks = {"tickCount": 5, "labelOverlap": "greedy", "labelSeparation": style.size}
    x = {
        "field": "x",
        "type": "quantitative",
        "title": f"{first.name}: {first.what}",
        "axis": ticks,
        "scale": {"zero": first.ends is not None and first.ends[0] == 0},
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "title": f"{second.name}: {second.what}",
        "axis": {"tickCount": 5},
        "scale": {"zero": second.ends is not None and second.ends[0] == 0},
    }
    rule = {"type": "rule", "strokeWidth": 0.8 * unit, "opacity": 0.6}
    layers: list[Spec] = [
        {"mark": rule, "transform": [{"filter": "datum.x_low !== null && datum.x_high !== null"}],
         "encoding": {"x": x | {"field": "x_low"}, "x2": {"field": "x_high"}, "y": y, **plain_colors}},
        {"mark": rule, "transform": [{"filter": "datum.y_low !== null && datum.y_high !== null"}],
         "encoding": {"x": x, "y": y | {"field": "y_low"}, "y2": {"field": "y_high"}, **plain_colors}},
        {"mark": {"type": "point", "filled": True, "size": 30 * unit**2, "opacity": 1},
         "encoding": {"x": x, "y": y, **shown, **TOLD}},
    ]  # fmt: skip
    if len(data) <= MAX_LABELS and panels.facets is None and (panels.color is None or len(single) > 1):
        layers.append({"mark": {"type": "text", "align": "left", "baseline": "bottom", "dx": 3 * unit, "dy": -2 * unit,
                                "fontSize": style.size * 0.95},
                       "encoding": {"x": x, "y": y, "text": category("label")}})  # fmt: skip
    notes = notes_of([replace(t, rows=(), notes=()) for t in (first, second)])
    notes += [*n_note([d["n"] for d in data]), *panels.notes]
    if gone:
        notes.append(f"groups without both values: {gone:,}")
    drawn = [*reference(lines, style, "y", label=panels.facets is None), *layers]
    return Chart(title=title_of([first, second]), layers=drawn, data=data, style=style,
                 facets=panels.facets, ratio=0.85, notes=notes, widest=46 * style.size,
                 least_panel=12 * style.size)  # fmt: skip


def matrix(
    title: str, judges: Sequence[str], cells: Sequence[tuple[str, str, float | None, int]], style: Style,
    notes: Sequence[str] = (),
) -> Chart:  # fmt: skip
    """Draw the correlations of judges' scores, each with its n; only below the diagonal, as both halves are equal."""
    data = [
        {"across": a, "down": b, "value": r, "n": n, "count": f"n {n:,}",
         "told": f"{a}, {b}: " + ("no value" if r is None else f"r = {r:.3f}") + f", n = {n:,}"}
        for a, b, r, n in cells
    ]  # fmt: skip
    cell = min(9 * style.size, 0.66 * style.width / max(1, len(judges) - 1))
    room = style.chars(cell)
    turned = max(map(len, judges)) > 2 * room
    short = distinct(judges, 20)
    x_axis = {"labelAngle": -40, "labelAlign": "right", "labelExpr": label_expr(short), "grid": False} if turned else (
        level_axis(style, judges, cell, labelAngle=0, upward=False))  # fmt: skip
    x: Spec = {"field": "across", "type": "ordinal", "title": None, "scale": {"domain": list(judges[:-1])},
               "axis": x_axis | {"ticks": False, "domain": False}}  # fmt: skip
    y: Spec = {"field": "down", "type": "ordinal", "title": None, "scale": {"domain": list(judges[1:])},
               "axis": level_axis(style, judges, 0.3 * style.width, ticks=False, domain=False)}  # fmt: skip
    here, there = [{"filter": "datum.value !== null"}], [{"filter": "datum.value === null"}]
    rect = {"type": "rect", "stroke": "#88888855", "strokeWidth": 0.5 * style.unit}
    color: Spec = {"field": "value", "type": "quantitative", "scale": {"scheme": "blueorange", "domain": [-1, 1]},
                   "legend": {"title": "Pearson's r", "orient": "right", "tickCount": 5}}  # fmt: skip
    ink = {"condition": {"test": "abs(datum.value) < 0.6", "value": "black"}, "value": "white"}
    text: Spec = {"type": "text", "fontSize": style.size}
    layers: list[Spec] = [
        {"transform": here, "mark": rect, "encoding": {"x": x, "y": y, "color": color, **TOLD}},
        {"transform": there, "mark": rect | {"color": EMPTY}, "encoding": {"x": x, "y": y, **TOLD}},
        {"transform": there, "mark": text | {"text": "\u2013", "color": QUIET}, "encoding": {"x": x, "y": y}},
        {"transform": here, "mark": text | {"dy": -0.55 * style.size},
         "encoding": {"x": x, "y": y, "color": ink, "text": number("value", format=".2f")}},
        {"transform": here, "mark": text | {"dy": 0.6 * style.size, "fontSize": style.size * 0.9},
         "encoding": {"x": x, "y": y, "color": ink, "text": category("count")}},
    ]  # fmt: skip
    return Chart(title=title, layers=layers, data=data, style=style, notes=notes,
                 height=3.2 * style.size * (len(judges) - 1), widest=cell * (len(judges) - 1))  # fmt: skip


def bins_chart(bins: Bins, style: Style) -> Chart:
    """Draw how many rows have which score: bars for one judge, a map of colors for two, with the study's thresholds."""
    if len(bins.names) == 1:
        total = sum(n for _, n in bins.rows)
        rows = tuple((x, n / total, int(n)) for x, n in bins.rows)
        scores = Scores(name=bins.names[0], title="", groups=(), rows=tuple((x, s, int(total)) for x, s, _ in rows),
                        scales=bins.scales, names=bins.names, thresholds=bins.thresholds,
                        step=bins.step[0])  # fmt: skip
        return histogram(scores, style)
    data = [{"x": x, "x2": x + bins.step[0], "y": y, "y2": y + bins.step[1], "n": n,
             "told": f"{bins.names[0]} from {x:g}, {bins.names[1]} from {y:g}: {n:,} rows"}
            for x, y, n in bins.rows]  # fmt: skip
    axes = [number(f, title=name, scale={"domain": list(ends)}, axis={"tickCount": 5})
            for f, name, ends in zip("xy", bins.names, bins.scales, strict=True)]  # fmt: skip
    color = {
        "field": "n",
        "type": "quantitative",
        "scale": {"type": "log", "scheme": "viridis"},
        "legend": {"title": "rows"},
    }
    layers: list[Spec] = [
        {"mark": {"type": "rect"},
         "encoding": {"x": axes[0], "x2": {"field": "x2"}, "y": axes[1], "y2": {"field": "y2"}, "color": color} | TOLD},
        *_thresholds(bins.thresholds[0], style, "x"), *_thresholds(bins.thresholds[1], style, "y"),
    ]  # fmt: skip
    return Chart(title="", layers=layers, data=data, style=style, ratio=1.0, widest=26 * style.size)
