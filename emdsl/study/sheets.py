"""Sheets of annotations for spreadsheets: written as CSV, and taken back row by row."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from emdsl.annotation import MAX_NOTE
from emdsl.errors import UsageError
from emdsl.files import read_whole
from emdsl.source import listed, near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from emdsl.annotation import Annotation, Shown, Verdict

csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long answers
COLUMNS = ("row", "question", "answer", "label", "note")
MAX_CELL = 32_000  # characters: spreadsheets cut longer cells
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute such a cell
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown of a drawn row, with its digest and its place in the draw."""

    shown: Shown
    digest: str
    order: str


class Task(Protocol):
    """An annotation with its drawn rows."""

    annotation: Annotation
    rows: tuple[Row, ...]
    by_person: dict[str, dict[str, str]]  # labels by digest and person

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that people choose from."""

    def verdict(self, digest: str, rater: str, label: str | None, note: str) -> Verdict:
        """Return a verdict that is given now."""

    def write(self, verdicts: Sequence[Verdict]) -> None:
        """Write verdicts of one person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetImport:
    """What came of a sheet: new verdicts, rows without a label, and labeled rows that were left out, with reasons."""

    new: int
    empty: int
    left_out: tuple[tuple[int, str], ...] = ()  # the line of each, and why


def sheet_of(rows: Iterable[Row]) -> str:
    """Return rows as CSV, for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([row.digest, _cell(row.shown.question), _cell(row.shown.answer), "", ""])
    return text.getvalue()


def import_sheet(task: Task, path: Path, rater: str, known: Callable[[], set[str]]) -> SheetImport:
    """Write the verdicts of a filled-in sheet on rows that are drawn now.

    Args:
        task: The annotation.
        path: The sheet.
        rater: The person.
        known: Returns the digests of all texts of the study, drawn or not.

    Raises:
        UsageError: The file is not a sheet of this annotation, a label is unknown, or a text is not that of its row.
            None of its verdicts is written.
    """
    drawn = {r.digest: r for r in task.rows}
    labels: dict[str, tuple[int, str, str]] = {}  # line, label and note by row
    others: list[tuple[int, str]] = []
    empty = 0
    for line, cells in _rows(path):
        label, digest = ((cells.get(name) or "").strip() for name in ("label", "row"))
        if not label:
            empty += digest in drawn
            continue
        where = f"{path}:{line}"
        chosen = _label(task, where, label)
        if (row := drawn.get(digest)) is None:
            others.append((line, digest))
            continue
        _check_texts(where, row, cells)
        if digest in labels and labels[digest][1] != chosen:
            raise UsageError(f"{where}: this row has another label in line {labels[digest][0]}: keep one of them")
        labels[digest] = line, chosen, _note(where, cells)
    if others and not labels and not empty:
        raise UsageError(
            f"{path}:{others[0][0]}: this row is not drawn by the annotation `{task.annotation.name}`, "
            "and neither is any other row of the sheet"
        )
    new: list[Verdict] = [
        task.verdict(digest, rater, label, note)
        for digest, (_, label, note) in labels.items()
        if task.by_person.get(digest, {}).get(rater) != label
    ]
    if new:
        task.write(new)
    texts = known() if others else set()
    return SheetImport(new=len(new), empty=empty, left_out=tuple((n, _reason(digest, texts)) for n, digest in others))


def _label(task: Task, where: str, label: str) -> str:
    labels = {known.casefold(): known for known in task.labels}
    if label.casefold() not in labels:
        hint = near(label, task.labels) or listed("label", "labels", task.labels)
        raise UsageError(f"{where}: unknown label `{label}`; {hint}")
    return labels[label.casefold()]


def _note(where: str, cells: dict[str, str]) -> str:
    note = (cells.get("note") or "").strip()
    if len(note) > MAX_NOTE:
        raise UsageError(f"{where}: the note has {len(note):,} characters; {MAX_NOTE:,} are the most")
    return note


def _check_texts(where: str, row: Row, cells: dict[str, str]) -> None:
    """Raise UsageError if a sheet shows another text in a row: its columns were sorted apart, or a text was edited."""
    for column, text in (("question", row.shown.question), ("answer", row.shown.answer)):
        cell = cells.get(column)
        if cell is None:
            continue
        shown, written = _plain(cell), _plain(text)
        cut = len(cell) >= MAX_CELL and written.startswith(shown)
        if shown != written and not cut:
            raise UsageError(
                f"{where}: the {column} is not the one of this row. Restore the texts of the sheet: columns that are "
                "sorted apart would give verdicts to other answers"
            )


def _reason(digest: str, texts: set[str]) -> str:
    if not _DIGEST.fullmatch(digest):
        return f"`{digest[:16]}` in the column `row` names no row of a sheet"
    if digest in texts:
        return "the row is outside of the draw now"
    return "no answer of the study has this text now"


def _plain(text: str) -> str:
    """Return a text without what spreadsheets change: marks before formulas, and blanks."""
    return " ".join(text.lstrip("'").split())


def _cell(text: str) -> str:
    """Return a text as a cell of a sheet: one that begins like a formula gets a mark before it, and lines end alike."""
    marked = f"'{text}" if text.startswith(_FORMULA) else text
    return marked.replace("\r\n", "\n").replace("\r", "\n")  # a lone CR is not quoted, and ends a row


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a sheet with their lines; raises UsageError for any other file."""
    try:
        text = read_whole(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8: save the sheet as CSV (UTF-8)", parameter="import") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)  # spreadsheets of some countries write semicolons
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    if not {"row", "label"} <= set(reader.fieldnames or ()):
        raise UsageError(f"{path} is not a sheet of `emdsl annotate`: it needs the columns `row` and `label`",
                         parameter="import")  # fmt: skip
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.line_num}: {error}", parameter="import") from None
