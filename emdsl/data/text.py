"""Plain text: each line that is not blank is a row with one column, `value`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.data.records import VALUE, Record

if TYPE_CHECKING:
    from emdsl.data.records import File, Layout


def read_text(file: File, layout: Layout) -> list[Record]:
    """Read the lines of a text file; raises DataError."""
    column = layout.names[0] if len(layout.names) == 1 else VALUE
    lines = (line.rstrip("\r") for line in file.text.split("\n"))
    numbered = [(i, line) for i, line in enumerate(lines, start=1) if line.strip()]
    return [Record({column: line}, f"row {n} (line {i})") for n, (i, line) in enumerate(numbered, start=1)]
