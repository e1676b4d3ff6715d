"""Windows: some thousand rows of an experiment that follow each other, which one of several processes makes."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emdsl.experiment import Cell
    from emdsl.outcome import Outcome
    from emdsl.run.rows import Rows


class Window:
    """Rows that follow each other; each process finds the same windows by itself."""

    def __init__(self, rows: Rows, parts: list[tuple[Cell, Sequence[int]]]) -> None:
        self._rows, self._parts = rows, parts

    def rows(self) -> Iterator[Outcome]:
        """Yield its rows."""
        for cell, samples in self._parts:
            yield from self._rows.of_cell(cell, samples)

    def place(self, number: int) -> tuple[Cell, int]:
        """Return the cell and the sample of one of its rows, by number from 0."""
        at = bisect_right(self._ends, number)
        cell, samples = self._parts[at]
        return cell, samples[number - (self._ends[at - 1] if at else 0)]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(samples) for _, samples in self._parts))


def windows(rows: Rows, *, everything: bool, size: int) -> Iterator[Window]:
    """Yield the windows of the selected rows, or of all, in the order of rows; each has `size` rows or a few more."""
    parts: list[tuple[Cell, Sequence[int]]] = []
    n = 0
    for part in rows.parts(everything=everything):
        parts.append(part)
        n += len(part[1])
        if n >= size:
            yield Window(rows, parts)
            parts, n = [], 0
    if parts:
        yield Window(rows, parts)
