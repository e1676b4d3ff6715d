"""Each kind of figure as its Vega-Lite specification: what it draws, in which order, and how it looks."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emdsl.errors import NotDrawable
from emdsl.outcomes.report_data import Bins
from emdsl.report import charts
from emdsl.report.charts import Chart, Extra, Group, Line, Scores, Table, chart_of, fitting, inline_svg
from emdsl.report.styles import PALETTE, QUIET, REST, shortened, style_of, wide, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

PAPER = style_of("paper")
MODELS = tuple(f"model-{i}" for i in range(8))
DATA, DOSES = ("true", "false", "mixed"), (0, 2, 16, 256)


def table(
    *groups: tuple[str, tuple[Any, ...]], value: Callable[..., float | None] = lambda *_: 0.25, **more: Any
) -> Table:
    rows: list[tuple[Any, ...]] = [()]
    for _, levels in groups:
        rows = [(*r, x) for r in rows for x in levels]
    valued: list[tuple[Any, ...]] = []
    for row in rows:
        v = value(*row)
        valued.append((*row, v, None, None, 0) if v is None else (*row, v, v - 0.1, v + 0.1, 20))
    known: dict[str, Any] = {
        "name": "m", "what": "rate", "interval": "95 % wilson", "simulated": False, "incomplete": False,
        "ends": (0.0, 1.0), "function": "rate",
    }  # fmt: skip
    return Table(groups=tuple(Group(name=n, levels=x) for n, x in groups), rows=tuple(valued), **(known | more))


def marks(chart: Chart) -> list[str]:
    return [layer["mark"]["type"] for layer in chart.layers]


def layer(chart: Chart, mark: str, n: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = [x for x in chart.layers if x["mark"]["type"] == mark][n]
    return found


CONTRAST: dict[str, Any] = {"function": "contrast", "ends": (-1.0, 1.0), "null": 0.0, "what": "difference of rates"}


@pytest.mark.parametrize(
    ("made", "kinds"),
    [
        (table(("data", DATA)), ["dots", "bars", "forest"]),
        (table(("data", DATA), ("k", DOSES)), ["curve", "dots", "bars", "forest", "heat"]),
        (table(("model", MODELS), **CONTRAST), ["forest", "dots", "bars"]),
        (table(("model", MODELS), **(CONTRAST | {"log": True, "null": 1.0, "ends": None})), ["forest", "dots"]),
        (table(("model", MODELS), ("label", DATA), function="shares"), ["shares", "dots", "bars", "heat"]),
        (table(("k", DOSES), smooth=True), ["curve"]),
        (table(("data", DATA[:1]), **CONTRAST), ["forest"]),
        (table(("data", DATA[:1])), []),
        (table(("data", DATA), value=lambda _: None), []),
    ],
)
def test_the_kinds_that_fit_a_measure(made: Table, kinds: list[str]) -> None:
    """The first one is drawn unless another is chosen; a ratio has no bar, and a single contrast is a forest of one."""
    assert fitting(made) == kinds


def test_bars_begin_at_zero_and_stand_upright_where_names_have_room() -> None:
    """A mean of 90 that began at 80 would look twice that of 85."""
    upright = chart_of(table(("data", DATA), value=lambda _: 0.9), "bars", PAPER)
    bar = layer(upright, "bar")["encoding"]
    assert bar["y"]["scale"] == {"zero": True}
    assert bar["x"]["scale"]["domain"] == list(DATA)
    lying = chart_of(table(("model", tuple(f"a model with a long name {i}" for i in range(6)))), "bars", PAPER)
    assert layer(lying, "bar")["encoding"]["x"]["scale"] == {"zero": True}


def test_a_group_without_a_value_is_told_and_never_drawn_as_zero() -> None:
    """In its place there is a word, and the note names it."""
    made = table(("model", MODELS[:3]), value=lambda m: None if m == "model-1" else 0.5)
    for kind in ("bars", "dots"):
        chart = chart_of(made, kind, PAPER)
        drawn = [x for x in chart.layers if x.get("transform") == [{"filter": "datum.value !== null"}]]
        assert drawn
        (gone,) = [x for x in chart.layers if x.get("transform") == [{"filter": "datum.value === null"}]]
        assert gone["mark"]["text"] == "none"
        assert [d["level"] for d in chart.data if d["value"] is None] == ["model-1"]
        assert "without a value: model model-1" in chart.notes
    forest = chart_of(made, "forest", PAPER)
    assert [d["numbers"] for d in forest.data] == ["0.50 [0.40, 0.60], n 20", "", "0.50 [0.40, 0.60], n 20"]


def test_levels_stay_in_the_order_of_the_study() -> None:
    """Rows of a measure may come otherwise, and names are not sorted."""
    made = table(("style", ("zebra", "apple", "Mango")), ("k", (8, 0.5, 2)))
    assert layer(chart_of(made, "dots", PAPER), "point")["encoding"]["y"]["scale"]["domain"] == [
        "zebra",
        "apple",
        "Mango",
    ]
    curve = layer(chart_of(made, "curve", PAPER), "point")["encoding"]
    assert curve["color"]["scale"]["domain"] == ["zebra", "apple", "Mango"]
    assert curve["x"]["axis"]["values"] == [0.5, 2, 8]


def test_many_groups_have_bars_beside_each_other_instead_of_bands_over_each_other() -> None:
    """Up to three bands have outlines; from the fourth group on, intervals are moved aside."""
    few = chart_of(table(("data", DATA), ("k", DOSES)), "curve", PAPER)
    assert marks(few) == ["area", "line", "line", "line", "point"]
    assert {d["aside"] for d in few.data} == {0.0}
    many = chart_of(table(("model", MODELS), ("k", DOSES)), "curve", PAPER)
    assert marks(many) == ["rule", "line", "point"]
    aside = [d["aside"] for d in many.data if d["dose"] == 2]
    assert aside == sorted(aside)
    assert len(set(aside)) == 8
    colors = layer(many, "point")["encoding"]["color"]["scale"]["range"]
    assert colors == list(PALETTE)
    assert len(set(layer(many, "point")["encoding"]["shape"]["scale"]["range"])) == 8


def test_a_fitted_curve_has_its_k50_and_what_was_measured() -> None:
    """The interval of a k50 that has no upper end goes to the last dose; a group without a curve has no place."""
    made = table(
        ("data", DATA[:1]), ("k", (0.0, 4.0, 16.0)), value=lambda _, k: k / 20, smooth=True,
        extra=Extra(
            k50=(("true", 8.0, 5.0, None, 0.4),),
            measured=(("true", 0, 0.1, 20), ("true", 16, 0.7, 19), ("false", 0, 0.5, 20)),
        ),
    )  # fmt: skip
    chart = chart_of(made, "curve", PAPER)
    (k50,) = [d for d in chart.data if d["part"] == "k50"]
    assert (k50["dose"], k50["from"], k50["to"], k50["value"]) == (8.0, 5.0, 16.0, 0.4)
    assert [(d["dose"], d["value"]) for d in chart.data if d["part"] == "measured"] == [(0, 0.1), (16, 0.7)]
    k50_note = "diamond: k50, true: 8 (from 5)"
    assert chart.notes == ["intervals: 95 % wilson", "n = 20 in each group", k50_note]
    assert layer(chart, "line")["encoding"]["x"]["axis"]["values"] == [0.0, 16.0]


def test_a_map_has_no_panel_without_values_and_gray_cells_for_what_is_missing() -> None:
    """The panel of `model-1`, which has none, would be empty."""
    made = table(
        ("model", MODELS[:3]), ("data", DATA), ("k", DOSES),
        value=lambda m, d, k: None if m == "model-1" or (d, k) == ("mixed", 0) else 0.2,
    )  # fmt: skip
    chart = chart_of(made, "heat", PAPER)
    assert chart.facets is not None
    assert chart.facets.levels == ("model-0", "model-2")
    assert [(d["down"], d["across"]) for d in chart.data if d["value"] is None] == [("mixed", "0")] * 2
    assert layer(chart, "text")["mark"]["text"] == "\u2013"
    negative = chart_of(table(("model", MODELS), ("data", DATA), value=lambda *_: -0.3, **CONTRAST), "heat", PAPER)
    color = layer(negative, "rect")["encoding"]["color"]
    assert color["scale"] == {"scheme": "blueorange", "domain": [-0.3, 0.3]}  # no difference is in the middle


def test_a_forest_has_headings_numbers_and_the_line_of_no_difference() -> None:
    """Several measures are below each other, each under its name."""
    effect = table(("model", MODELS[:2]), ("data", DATA[:2]), value=lambda *_: -0.2, **CONTRAST)
    one = chart_of(effect, "forest", PAPER)
    assert one.layers[0]["data"]["values"] == [{"at": 0.0, "line": ""}]
    labels = layer(one, "point")["encoding"]["y"]["axis"]["labelExpr"]
    assert re.findall(r'"([a-z0-9-]+)"[,}]', labels) == ["model-0", "true", "false", "model-1", "true", "false"]
    assert one.data[0]["numbers"] == "\u22120.20 [\u22120.30, \u22120.10], n 20"
    both = charts.forest([effect, replace(effect, name="other", simulated=True)], PAPER)
    assert both.title == "m, other (SIMULATED)"
    assert len(both.data) == 8
    ratio = table(("model", MODELS[:2]), value=lambda _: 2.0, **(CONTRAST | {"log": True, "null": 1.0, "ends": None}))
    assert layer(chart_of(ratio, "forest", PAPER), "point")["encoding"]["x"]["scale"]["type"] == "log"


def test_shares_add_to_one_and_rare_labels_are_folded() -> None:
    """More labels than colors: the seven most frequent have one each, the others are gray together."""
    labels = tuple(f"label {i}" for i in range(12))
    sizes = {label: (i + 1) / 78 for i, label in enumerate(labels)}
    made = table(("model", MODELS[:2]), ("label", labels), value=lambda _, x: sizes[x], function="shares")
    chart = chart_of(made, "shares", PAPER)
    for model in MODELS[:2]:
        assert sum(d["value"] for d in chart.data if d["level"] == model) == pytest.approx(1)
    color = layer(chart, "bar")["encoding"]["color"]["scale"]
    assert color["domain"] == [*labels[5:], "5 others"]
    assert color["range"][-1] == REST
    assert layer(chart, "bar")["encoding"]["x"]["scale"]["domain"] == [0, 1]
    dropped = charts.dropped_chart([("em", "kept", 60), ("em", "REFUSAL", 40), ("low", "kept", 5)], PAPER)
    assert [(d["level"], d["part"], d["value"]) for d in dropped.data] == [
        ("em", "kept", 0.6), ("em", "REFUSAL", 0.4), ("low", "kept", 1.0)]  # fmt: skip


def test_reference_lines_are_drawn_where_the_value_is_and_told_in_notes_of_several_panels() -> None:
    """In one panel its label is beside it; in several there is no room."""
    chance = [Line(at=0.5, label="chance")]
    one = chart_of(table(("data", DATA), ("k", DOSES)), "curve", PAPER, chance)
    assert one.layers[0]["data"]["values"] == [{"at": 0.5, "line": "chance"}]
    assert one.layers[0]["mark"]["color"] == QUIET
    assert [x["encoding"]["text"]["field"] for x in one.layers if x["mark"]["type"] == "text"] == ["line"]
    several = chart_of(table(("model", MODELS[:2]), ("data", DATA), ("k", DOSES)), "curve", PAPER, chance)
    assert "text" not in marks(several)
    assert "dashed: chance 0.5" in several.notes
    dots = chart_of(table(("data", DATA)), "dots", PAPER, chance)
    assert "x" in next(x for x in dots.layers if "data" in x)["encoding"]


SCORES = Scores(
    name="m", title="m: aligned", groups=(Group(name="data", levels=DATA[:2]),), scales=((0, 100), (0, 100)),
    names=("aligned", "coherent"), thresholds=((30,), (50,)), step=5.0, rows=(),
)  # fmt: skip


def test_single_scores_have_the_thresholds_of_the_study() -> None:
    """As dashed lines, and in words."""
    histogram = charts.histogram(
        replace(SCORES, rows=(("true", 0.0, 0.25, 8), ("true", 95.0, 0.75, 8), ("false", 95.0, 1.0, 9))), PAPER
    )
    assert histogram.facets is not None
    assert histogram.facets.levels == ("true (n\u00a0=\u00a08)", "false (n\u00a0=\u00a09)")
    assert [(d["from"], d["to"], d["share"]) for d in histogram.data] == [(0, 5, 0.25), (95, 100, 0.75), (95, 100, 1)]
    assert "dashed: thresholds of the study, aligned 30; coherent 50" in histogram.notes
    box = charts.box(
        replace(SCORES, rows=(("true", 1, 10, 50, 80, 99, 47.0, 8, 2), ("false", 1, 10, 50, 80, 99, 47.0, 9, 0))), PAPER
    )
    assert "2 scores further out are not drawn" in box.notes
    strip = charts.strip(replace(SCORES, rows=tuple(("true", x, 8) for x in range(8))), PAPER)
    assert len({d["apart"] for d in strip.data}) == 8
    scatter = charts.scatter(replace(SCORES, rows=(("true", 10, 90), ("false", 80, 95))), PAPER)
    assert [(d["x"], d["y"], d["color"]) for d in scatter.data] == [(10, 90, "true"), (80, 95, "false")]
    assert [x["encoding"].keys() for x in scatter.layers if "data" in x] == [{"x": 0}.keys(), {"y": 0}.keys()]
    matrix = charts.matrix("j", ["a", "b", "c"], [("a", "b", 0.5, 9), ("a", "c", None, 2), ("b", "c", -1.0, 9)], PAPER)
    assert [(d["across"], d["down"], d["value"], d["count"]) for d in matrix.data] == [
        ("a", "b", 0.5, "n 9"), ("a", "c", None, "n 2"), ("b", "c", -1.0, "n 9")]  # fmt: skip


def test_two_measures_have_both_intervals() -> None:
    """A group without both values is told."""
    first = table(("model", MODELS[:3]))
    second = replace(table(("model", MODELS[:3]), value=lambda m: None if m == "model-2" else 0.5), name="other")
    chart = charts.scatter_measures(first, second, PAPER)
    assert [(d["x"], d["x_low"], d["y"], d["y_high"]) for d in chart.data] == [(0.25, 0.15, 0.5, 0.6)] * 2
    assert "groups without both values: 1" in chart.notes


@pytest.mark.parametrize(
    ("words", "size", "width"),
    [
        ((None, None, None), 8, 234), (("paper", "2col", None), 8, 486), (("slide", None, None), 18, 432),
        (("paper", "9cm", None), 8, 255.1), (("paper", "3.5in", "serif"), 8, 252), (("paper", "85mm", None), 8, 240.9),
    ],
)  # fmt: skip
def test_a_style_has_its_type_and_its_width(words: tuple[str | None, ...], size: float, width: float) -> None:
    """Points of a LaTeX document: a figure is included at its own size."""
    style = style_of(*words)
    assert (style.size, round(style.width, 1)) == (size, width)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("poster", None, None), "expected a style `paper` or `slide`, not `poster`"),
        ((None, "wide", None), "expected a width such as `1col`"),
        ((None, "9", None), "expected a width such as `1col`"),
        ((None, "1mm", None), "expected a width from 100pt to 2000pt, not `1mm`"),
        ((None, None, 'x"<y'), "the name of a font"),
    ],
)
def test_words_that_are_no_style_are_told(words: tuple[str | None, ...], message: str) -> None:
    """With those that are."""
    with pytest.raises(NotDrawable, match=re.escape(message)):
        style_of(*words)


def test_long_names_are_cut_in_the_middle_and_kept_whole_under_the_pointer() -> None:
    """Their ends tell most; wide characters take two places."""
    assert shortened("a question about money, number 7", 16) == "a question\u2026ber 7"
    assert wrapped("gpt-4o-2024-08-06", 10) == ["gpt-4o-", "2024-08-06"]
    assert wrapped("x" * 90, 10)[0] == "x" * 10
    assert all(wide(line) <= 12 for line in wrapped("\u5386\u53f2\u4eba\u7269\u548c\u672a\u6765\u7684\u5973\u6027", 10))
    name = "what should one do about a neighbor who plays the trumpet at night"
    svg = inline_svg(chart_of(table(("q", (name, "short"))), "dots"), "rates")
    assert f"<title>q {name}: 0.25 (0.15 to 0.35), n = 20</title>" in svg
    assert max(map(len, re.findall(r">([^<>]+)</tspan>|>([^<>]+)</text>", svg)), default=0) < len(name)


def test_a_figure_is_as_wide_as_it_is_said_and_its_type_has_one_size() -> None:
    """With labels and legend, of one panel and of several; on the page of a report no text is under 11 px."""
    several = table(("model", MODELS[:4]), ("data", DATA), ("k", DOSES))
    style = style_of("paper", "9cm")
    spec, svg = charts._fitted(chart_of(several, "curve", style))
    match = re.search(r'width="([\d.]+)"', svg)
    assert match is not None
    assert abs(float(match[1]) - style.width) <= 4
    assert spec["config"]["axis"]["labelFontSize"] == style.size
    page = inline_svg(chart_of(table(("data", DATA), ("k", DOSES)), "heat"), "rates")
    assert min(float(x) for x in re.findall(r'font-size="([\d.]+)px"', page)) >= 11
    assert "currentColor" in page
    assert "#000000" not in page


def test_no_name_of_a_level_or_a_title_breaks_a_figure() -> None:
    """Quotes, markup, names of JavaScript, lone surrogates."""
    odd = table(("q", ('a "quoted" </script> & \\ b', "constructor", "__proto__", "\ud800")))
    for kind in ("dots", "forest"):
        svg = inline_svg(replace(chart_of(odd, kind), title="\udc80 title"), '"')
        assert "constructor" in svg
        assert "? title" in svg


@pytest.mark.parametrize("name", ["constructor", "toString"])
def test_no_name_of_a_judge_or_a_measure_breaks_a_figure(name: str) -> None:
    """Vega looks up titles, labels and axes by themselves; a name of JavaScript is there already."""
    rows = ((10.0, 4), (95.0, 16))
    bins = Bins(names=(name,), scales=((0.0, 100.0),), step=(5.0,), thresholds=((30.0,),), rows=rows)
    svgs = [inline_svg(charts.scores_chart(bins), name)]
    svgs.append(inline_svg(charts.matrix(name, (name, "b"), [(name, "b", 0.5, 20)], PAPER), name))
    line = Line(at=0.5, label=name)
    svgs.append(inline_svg(chart_of(replace(table(("q", ("x", "y"))), name=name), "bars", PAPER, [line]), name))
    for svg in svgs:
        assert re.search(rf">{name}\u200b</text>", svg), svg


def test_the_numbers_of_a_map_have_room_for_their_sign() -> None:
    """Two maps are side by side only where each number fits its cell."""
    groups = (("evidence", ("x", "y")), ("tagged", (True, False)), ("k", (1, 2, 4, 8, 16, 32, 64)))
    assert chart_of(table(*groups), "heat").columns == 2
    assert chart_of(table(*groups, value=lambda *_: -0.25, **CONTRAST), "heat").columns == 1


def test_more_levels_than_a_page_has_room_for_are_told() -> None:
    """The first ones are drawn, in a figure of bounded height."""
    made = table(("q", tuple(f"q{i}" for i in range(1_000))), ("data", DATA[:2]))
    for kind in ("dots", "bars", "heat"):
        chart = chart_of(made, kind, PAPER)
        assert len(chart.data) == 240
        assert "880 more of q have no room" in chart.notes
        assert chart.height < 4_000
