"""Edits of data files: the rows and columns in which two versions of a study's datasets differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from emdsl.experiment import DataTable, Program
    from emdsl.value import Row

CHANGED, ADDED, REMOVED = "changed", "added", "removed"
MAX_NEAR = 50  # rows in one place that are compared with a new one


@dataclass(frozen=True, slots=True, kw_only=True)
class DataEdit:
    """One edit of a file: of one column in one row, of a row, or of the whole file. Rows are counted from 1.

    A removed row has the number that it had. `rows` is the number of rows of a whole file.
    """

    file: str
    change: str
    row: int | None = None
    column: str = ""
    rows: int = 0
    note: str = ""

    @property
    def text(self) -> str:
        """The edit as people read it."""
        if self.row is None:
            return f"{self.file}: {self.change}" + (f" ({self.rows:,} rows)" if self.rows else "") + self.note
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}: row {self.row:,}{column}: {self.change}"


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one file in one dataset."""

    table: DataTable
    rows: tuple[Row, ...]

    def values(self, paths: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the values of some columns, by their paths in the file."""
        names = [self.table.columns[self.table.paths.index(p)] for p in paths]
        return [tuple([row.columns[n] for n in names]) for row in self.rows]


def data_edits(new: Program, old: Program) -> list[DataEdit]:
    """Return the edits of the data files of a study since a previous version of it, in the order of its datasets."""
    edits: dict[DataEdit, None] = {}  # two datasets may read one file
    before, now = _parts(old), _parts(new)
    for file, parts in now.items():
        key = str(file.resolve())
        if file not in before or old.files.get(key) != new.files.get(key):
            edits |= dict.fromkeys(_of_file(file, parts, before.get(file)))
    kept = {part.table.name for parts in now.values() for part in parts}
    for file, parts in before.items():
        gone = [p for p in parts if p.table.name in kept]
        if file not in now and gone:
            edits[DataEdit(file=file.name, change=REMOVED, rows=len(gone[0].rows))] = None
    return list(edits)


def _of_file(file: Path, parts: list[_Part], before: list[_Part] | None) -> Iterator[DataEdit]:
    if not before:
        yield DataEdit(file=file.name, change=ADDED, rows=len(parts[0].rows))
        return
    edits: list[DataEdit] = []
    comparable = False
    for part in parts:
        old = next((p for p in before if p.table.name == part.table.name), before[0])
        paths = [p for p in part.table.paths if p in old.table.paths]
        if paths:
            comparable = True
            edits += _of_rows(file.name, paths, old.values(paths), part.values(paths))
    if not comparable:
        yield DataEdit(file=file.name, change=CHANGED, note=", and so did its columns: rows cannot be compared")
    elif not edits:
        yield DataEdit(file=file.name, change=CHANGED, note=", but no value that the study reads")
    yield from edits


def _of_rows(file: str, paths: list[str], old: list[tuple[Any, ...]], new: list[tuple[Any, ...]]) -> Iterator[DataEdit]:
    """Compare rows: equal ones are matched wherever they stand, others by a value, or by their place between these."""
    was, now = [repr(r) for r in old], [repr(r) for r in new]
    left_old, left_new = _unmatched(was, now), _unmatched(now, was)
    if not (left_old or left_new):
        if was != now:
            yield DataEdit(file=file, change=CHANGED, note=": its rows have another order")
        return
    matched = _by_value(old, new, left_old, left_new)
    gaps: dict[int, list[int]] = {}  # removed rows by the number of equal rows before them
    used = set(matched.values())
    for n, i in enumerate(left_old):
        if i not in used:
            gaps.setdefault(i - n, []).append(i)
    same_size = len(old) == len(new)
    for n, j in enumerate(left_new):
        near = gaps.get(j - n, [])
        before = matched.get(j)
        if before is None:
            first = islice(near, MAX_NEAR)
            before = next((i for i in first if same_size or len(paths) == 1 or _alike(old[i], new[j])), None)
            if before is None:
                yield DataEdit(file=file, change=ADDED, row=j + 1)
                continue
            near.remove(before)
        for path, a, b in zip(paths, old[before], new[j], strict=True):
            if repr(a) != repr(b):
                yield DataEdit(file=file, change=CHANGED, row=j + 1, column=path)
    for gone in sorted(i for near in gaps.values() for i in near):
        yield DataEdit(file=file, change=REMOVED, row=gone + 1)


def _by_value(
    old: list[tuple[Any, ...]], new: list[tuple[Any, ...]], left_old: list[int], left_new: list[int]
) -> dict[int, int]:
    """Match rows by a value that no other row of its file has in its column, such as an id: new to old positions."""
    matched: dict[int, int] = {}
    for p in range(len(old[0]) if left_old and left_new else 0):
        by_value = _single(old, left_old, p)
        used = set(matched.values())
        for value, j in _single(new, left_new, p).items():
            i = by_value.get(value)
            if i is not None and j not in matched and i not in used:
                matched[j] = i
    return matched


def _single(rows: list[tuple[Any, ...]], left: list[int], p: int) -> dict[str, int]:
    """Return the values in a column that only one row has, with the position of that row if it is in `left`."""
    values = [repr(row[p]) for row in rows]
    n = Counter(values)
    return {values[i]: i for i in left if n[values[i]] == 1}


def _unmatched(rows: list[str], others: list[str]) -> list[int]:
    """Return the positions of rows that the others lack; of equal rows, the last ones are too many."""
    left, positions = Counter(others), list[int]()
    for i, row in enumerate(rows):
        if left[row] > 0:
            left[row] -= 1
        else:
            positions.append(i)
    return positions


def _alike(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Whether two rows are versions of one: they share a value."""
    return any(x == y for x, y in zip(a, b, strict=True))


def _parts(program: Program) -> dict[Path, list[_Part]]:
    """Return each data file of a program with its rows in each dataset that reads it."""
    parts: dict[Path, list[_Part]] = {}
    for table in program.datasets:
        start = 0
        for path, n in zip(table.files, table.counts, strict=True):
            parts.setdefault(path, []).append(_Part(table, table.rows[start : start + n]))
            start += n
    return parts
