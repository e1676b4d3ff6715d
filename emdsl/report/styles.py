"""Sizes, fonts and colors of figures: for a paper, a slide, or a page of a report. The one place that has them.

Colors are those of Okabe and Ito (2008), "Color universal design"; shapes distinguish groups as well. A pixel of a
figure is a point (1/72 in), so that type in a PDF has the size that a LaTeX document gives its own.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emdsl.errors import NotDrawable

if TYPE_CHECKING:
    from collections.abc import Iterable

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
MAX_COLORS = len(PALETTE)
QUIET = "#767676"  # reference lines, notes, what has no value: 4.5 : 1 on white, 4.3 : 1 on the report's dark page
EMPTY = "#88888833"  # a cell or a bar without a value
REST = "#A9A9A9"  # a share of all further labels
FONTS = {
    "sans": "Helvetica, Arial, sans-serif",
    "serif": "Latin Modern Roman, CMU Serif, STIX Two Text, Times New Roman, Times, Liberation Serif, serif",
}
STYLES = ("paper", "slide")
WIDTHS = {"paper": {"1col": 234.0, "2col": 486.0}, "slide": {"1col": 432.0, "2col": 888.0}}  # pt: 3.25 in, 6.75 in ...
_POINTS = {"cm": 72 / 2.54, "mm": 72 / 25.4, "in": 72.0, "pt": 1.0}
MIN_WIDTH, MAX_WIDTH = 100.0, 2_000.0  # pt
_CHAR, _WIDE_CHAR = 0.54, 0.6  # width of a character in sizes of type: of names in Helvetica, and in other fonts


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How large a figure is, and its type: `size` is that of labels, `width` that of the whole figure, both in points.

    The ink of an `inline` figure follows the page that it is part of: light, dark, or printed.
    """

    name: str
    size: float
    width: float
    font: str
    inline: bool = False

    @property
    def unit(self) -> float:
        """What marks and lines are multiplied by: 1 for type of 8 points."""
        return self.size / 8

    def chars(self, width: float) -> int:
        """Return the number of characters that a width has room for."""
        return max(4, int(width / self.long("x")))

    def long(self, text: str) -> float:
        """Return the width of a text, estimated."""
        return wide(text) * self.size * (_CHAR if "Arial" in self.font else _WIDE_CHAR)


PAPER = Style(name="paper", size=8, width=WIDTHS["paper"]["1col"], font=FONTS["sans"])
PAGE = Style(name="page", size=12, width=448, font="system-ui, Helvetica, Arial, sans-serif", inline=True)
WIDE_PAGE = replace(PAGE, width=700)  # for several panels; the narrower one fits a phone, and two fit a screen


def style_of(name: str | None = None, width: str | None = None, font: str | None = None) -> Style:
    """Return a style by the words of a user.

    Args:
        name: `paper` (type of 8 points) or `slide` (18 points); by default `paper`.
        width: `1col` or `2col`, columns of a page or halves of a slide, or a length: `9cm`, `85mm`, `3.5in`, `240pt`.
        font: `sans`, `serif`, or the name of an installed font.

    Raises:
        NotDrawable: The style, the width or the font is unknown.
    """
    named = name or "paper"
    if named not in WIDTHS:
        raise NotDrawable(f"expected a style `paper` or `slide`, not `{named}`", parameter="style")
    style = replace(PAPER, name=named, size=8.0 if named == "paper" else 18.0, width=WIDTHS[named]["1col"])
    if width is not None:
        style = replace(style, width=_points(width, WIDTHS[named]))
    if font is not None:
        family = FONTS.get(font, font).strip()
        if not re.fullmatch(r"[\w ,.'\-]+", family):
            raise NotDrawable(f"expected `sans`, `serif` or the name of a font, not `{font}`", parameter="font")
        style = replace(style, font=family)
    return style


def _points(width: str, columns: dict[str, float]) -> float:
    if width in columns:
        return columns[width]
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(cm|mm|in|pt)\s*", width)
    if match is None:
        raise NotDrawable(
            f"expected a width such as `1col`, `2col`, `9cm` or `3.5in`, not `{width}`", parameter="width"
        )
    points = float(match[1]) * _POINTS[match[2]]
    if not MIN_WIDTH <= points <= MAX_WIDTH:
        raise NotDrawable(
            f"expected a width from {MIN_WIDTH:.0f}pt to {MAX_WIDTH:.0f}pt, not `{width}`", parameter="width"
        )
    return points


def config(style: Style) -> dict[str, Any]:
    """Return the configuration of Vega-Lite for a style."""
    ink = {"labelColor": "currentColor", "titleColor": "currentColor"} if style.inline else {}
    lines = {"domainColor": "currentColor", "tickColor": "currentColor"} if style.inline else {}
    size, unit = style.size, style.unit
    labels: dict[str, Any] = {"labelFontSize": size, "titleFontSize": size, "titleFontWeight": "normal"} | ink
    return {
        "background": "transparent" if style.inline else "white",
        "font": style.font,
        "padding": round(2 * unit),
        "view": {"stroke": None},
        "title": {
            "fontSize": round(size * 1.1, 1), "anchor": "start", "fontWeight": "normal", "subtitleFontSize": size,
            "subtitleColor": "currentColor" if style.inline else "#555555", "subtitlePadding": 2 * unit,
            "offset": 6 * unit, "frame": "bounds", **({"color": "currentColor"} if style.inline else {}),
        },
        "axis": labels | lines | {
            "gridColor": "#88888855", "gridWidth": 0.5 * unit, "domainWidth": 0.6 * unit, "tickWidth": 0.6 * unit,
            "tickSize": 3 * unit, "labelPadding": 2 * unit, "titlePadding": 4 * unit, "labelLimit": 0,
        },
        # a page has fonts of its own width: a title beside the names of levels could run into them
        **({"axisYDiscrete": {"titleAngle": 0, "titleAlign": "right", "titleBaseline": "bottom", "titleX": -2 * unit,
                              "titleY": -3 * unit}} if style.inline else {}),
        "legend": labels | {
            "symbolSize": 36 * unit * unit, "symbolStrokeWidth": 1.2 * unit, "labelLimit": 0, "offset": 8 * unit,
            "rowPadding": 2 * unit, "columnPadding": 8 * unit, "titlePadding": 3 * unit,
            "gradientThickness": 8 * unit, "titleLimit": 0,
        },
        "header": labels | {"labelPadding": 3 * unit, "labelLimit": 0, "titleLimit": 0},
        "facet": {"spacing": 10 * unit},
        "text": {"font": style.font, "fontSize": size, **({"color": "currentColor"} if style.inline else {})},
    }  # fmt: skip


def plain(value: Any) -> str:
    """Return a level as people read it: 16, not 16.0; no line breaks."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return " ".join(str(value).split()) or '""'


_OF_JAVASCRIPT = frozenset((
    "__proto__", "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString",
    "valueOf", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__",
))  # fmt: skip


def keyed(text: str) -> str:
    """Return a text that Vega can group by: with a space of no width after a name that every object has there."""
    return f"{text}\u200b" if text in _OF_JAVASCRIPT else text


def wide(text: str) -> int:
    """Return the width of a text in characters: those of East Asian scripts, and emoji, take two."""
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def shortened(text: str, most: int) -> str:
    """Return a text of at most some characters: the middle of a longer one is left out, as its ends tell most."""
    if wide(text) <= most:
        return text
    most = max(3, most * len(text) // wide(text))
    head = (most - 1) * 2 // 3
    return f"{text[:head].rstrip()}…{text[len(text) - (most - 1 - head) :].lstrip()}"


def wrapped(text: str, per_line: int, lines: int = 2) -> list[str]:
    """Return a text as at most some lines; what has no room in them is left out of its middle."""
    out: list[str] = []
    while len(out) < lines - 1 and wide(text) > per_line:
        per_line = max(2, per_line * len(text) // wide(text))
        ends = [i for i in range(per_line // 2, per_line + 1) if text[i - 1 : i] in (" ", "/", "-", "_")]
        at = max(ends, default=per_line)
        out.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return [*out, shortened(text, per_line)]


def distinct(texts: Iterable[str], most: int) -> dict[str, str]:
    """Return a short form of each text; where two would be equal, a number tells them apart."""
    short: dict[str, str] = {}
    used: set[str] = set()
    for text in dict.fromkeys(texts):
        form, n = shortened(text, most), 1
        while form in used:
            n += 1
            form = f"{shortened(text, most - len(str(n)) - 1)}~{n}"
        used.add(form)
        short[text] = form
    return short
