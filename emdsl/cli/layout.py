"""Tables that fit a terminal: widths shared out, columns left out by name, or a record a row. No number is split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = 2  # cells between two columns
MIN_TEXT = 12  # cells that a column of text keeps
MAX_RECORDS = 20  # rows that are shown as records
DRAWN = " "  # the name of a column of bars, which is left out first


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are shown, by position, and how wide; `records` shows a row as lines instead."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    records: bool = False


def layout(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    whole: frozenset[str],
    width: int,
    *,
    hides: bool,
    optional: Sequence[str] = (),
) -> Layout:
    """Return how a table fits into `width` cells; values of columns in `whole` are never cut.

    Bars are left out first; then headings are wrapped and columns of text are narrowed. Where that is not enough,
    `optional` columns are left out in their order; then few rows are shown as records, and of many the last columns are
    hidden, if the table `hides`.
    """
    places = list(range(len(columns)))
    values = [max((_longest(row[i]) for row in rows), default=0) for i in places]
    natural = [max(_longest(columns[i]), values[i]) for i in places]
    least = [
        max(_word(columns[i]), values[i]) if columns[i] in whole else min(natural[i], max(MIN_TEXT, _word(columns[i])))
        for i in places
    ]
    if _sum(natural, places) > width:
        places = [i for i in places if columns[i] != DRAWN]
    for name in optional:
        if _sum(least, places) > width:
            places = [i for i in places if columns[i] != name]
    if _sum(least, places) > width:
        if len(rows) <= MAX_RECORDS or not hides:
            return Layout(tuple(places), (), records=True)
        while len(places) > 1 and _sum(least, places) > width:
            places.pop()
    widths = {i: natural[i] for i in places}
    while _sum(widths, places) > width:
        widest = max((i for i in places if widths[i] > least[i]), key=lambda i: widths[i], default=None)
        if widest is None:
            break
        widths[widest] -= 1
    return Layout(tuple(places), tuple(widths[i] for i in places))


def headings(columns: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    """Return the lines of a table's head: names that are wider than their column are wrapped.

    >>> headings(["n", "95 % wilson"], [1, 8])
    [['', '95 %'], ['n', 'wilson']]
    """
    wrapped = [_wrapped(c, w) or [""] for c, w in zip(columns, widths, strict=True)]
    height = max(map(len, wrapped), default=0)
    return [list(line) for line in zip(*([""] * (height - len(w)) + w for w in wrapped), strict=True)]


def records(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return each row as lines `column  value`, under a rule with its number; long values go on below."""
    margin = max((cell_len(c) for c in columns), default=0) + GAP
    lines: list[str] = []
    for number, row in enumerate(rows, start=1):
        head = f"- {number} "
        lines.append(head + "-" * max(0, min(width, 60) - len(head)))
        for column, value in zip(columns, row, strict=True):
            first, *rest = _wrapped(value, max(width - margin, MIN_TEXT)) or [""]
            lines.append(f"{column}{' ' * (margin - cell_len(column))}{first}".rstrip())
            lines += [" " * margin + line for line in rest]
    return lines


def cut(text: str, width: int) -> str:
    """Return a text in one line of at most so many cells."""
    line = " ".join(text.split()) if "\n" in text else text
    if cell_len(line) <= width:
        return line
    while line and cell_len(line) > width - 1:
        line = line[:-1]
    return f"{line.rstrip()}…"


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of at most so many cells, broken between words where it can be."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split(" "):
            fits = f"{line} {word}" if line else word
            if cell_len(fits) <= width:
                line = fits
                continue
            lines += [line] if line else []
            line = word
            while cell_len(line) > width:
                head = line[:width]
                while cell_len(head) > width:
                    head = head[:-1]
                lines.append(head)
                line = line[len(head) :]
        lines.append(line)
    return lines


def _sum(widths: Sequence[int] | dict[int, int], places: Sequence[int]) -> int:
    return sum(widths[i] for i in places) + GAP * max(0, len(places) - 1)


def _longest(text: str) -> int:
    return max(map(cell_len, text.splitlines()), default=0)


def _word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)
