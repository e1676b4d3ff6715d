"""Screens as data: lines, asides and tables. A terminal prints it, a page or a notebook holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.redact import mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_CHARS = 50  # of a value within a line
MAX_LISTED = 8  # values in one line


@dataclass(frozen=True, slots=True)
class Aside:
    """A line for standard error: a note or a warning beside the result; an `important` one is never hidden."""

    text: str
    important: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `numeric` columns are right-aligned.

    A narrow terminal leaves out `optional` columns, in their order, and of a table that `hides` the last ones. `hides`
    says how to see them.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numeric: Sequence[str] = ()
    hides: str = ""
    optional: Sequence[str] = ()

    @property
    def cells(self) -> list[list[str]]:
        """The values as texts."""
        return [[cell(v) for v in row] for row in self.rows]

    def __str__(self) -> str:
        """Return the table with all of its columns, a row a line."""
        from rich.cells import cell_len  # noqa: PLC0415 - 20 ms that a verb without a table should not cost

        lines = [[" ".join(v.split("\n")) for v in line] for line in ([*self.columns], *self.cells)]
        widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(aligned(line, widths, [c in self.numeric for c in self.columns]) for line in lines)


Part = str | Aside | Table


def text_of(parts: Iterable[Part]) -> str:
    """Return the parts for standard output as one text: no blank lines at its end, no secret of the environment."""
    return mask("\n".join(str(part) for part in parts if not isinstance(part, Aside)).rstrip("\n"))


def aligned(line: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    """Return the values of one line of a table, padded to their columns' widths in terminal cells."""
    from rich.cells import cell_len  # noqa: PLC0415 - 20 ms that a verb without a table should not cost

    padded = (
        " " * (w - cell_len(v)) + v if r else v + " " * (w - cell_len(v))
        for v, w, r in zip(line, widths, right, strict=True)
    )
    return "  ".join(padded).rstrip()


def cell(value: Any) -> str:
    """Return a value as a cell of a table."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.4g}" if value == value else "nan"  # noqa: PLR0124 - NaN alone differs from itself
        case _:
            return str(value)


def short(text: str) -> str:
    """Return a text in one line, cut if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 1] + "…"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: `1 cell`, `2 cells`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def plain_json(value: Any) -> Any:
    """Return a value as JSON can hold it: keys are texts, no NaN, and no API key in any text."""
    match value:
        case None | bool() | int():
            return value
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case dict():
            return {str(k): plain_json(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain_json(v) for v in value]
        case _:
            return mask(str(value)).encode("utf-8", "replace").decode()
