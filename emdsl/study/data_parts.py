"""Edits of data files since the last run, as lines of a plan and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emdsl.run.data_edits import DataEdit
    from emdsl.study.screen import Part

MAX_LINES = 5
MAX_JSON = 1_000
MIN_RUN = 3  # rows one after the other that are shown as a range


def data_parts(edits: Sequence[DataEdit]) -> Iterator[Part]:
    """Yield the edits of data since the last run, as lines."""
    lines = list(_joined(edits))
    if not lines:
        return
    yield "data edited since the last run:"
    yield from (f"  {text}" for text, _ in lines[:MAX_LINES])
    if more := sum(n for _, n in lines[MAX_LINES:]):
        yield f"  and {more:,} more"
    yield ""


def data_json(edits: Sequence[DataEdit]) -> list[dict[str, Any]]:
    """Return the edits for `emdsl plan --json`, at most MAX_JSON."""
    return [
        {"file": e.file, "change": e.change}
        | ({"row": e.row} if e.row is not None else {})
        | ({"column": e.column} if e.column else {})
        | ({"rows": e.rows} if e.rows else {})
        for e in edits[:MAX_JSON]
    ]


def _joined(edits: Sequence[DataEdit]) -> Iterator[tuple[str, int]]:
    """Yield edits as texts, each with its number: rows that were added or removed one after the other are a range."""
    run: list[DataEdit] = []
    for edit in [*edits, None]:
        if run and (edit is None or not _follows(run[-1], edit)):
            first, last = run[0], run[-1]
            if len(run) >= MIN_RUN:
                yield f"{first.file}: rows {first.row:,} to {last.row:,}: {first.change}", len(run)
            else:
                yield from ((e.text, 1) for e in run)
            run = []
        if edit is not None:
            run.append(edit)


def _follows(before: DataEdit, edit: DataEdit) -> bool:
    """Whether an edit is of the next row, as a whole."""
    of_rows = before.row is not None and edit.row == before.row + 1 and not (before.column or edit.column)
    return of_rows and (before.file, before.change) == (edit.file, edit.change)
