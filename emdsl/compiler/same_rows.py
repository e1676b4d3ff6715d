"""Rows of one axis that have one name: which they are, and what to change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from emdsl.value import Level, Row, render

if TYPE_CHECKING:
    from collections.abc import Sequence

ID = "id"
MAX_NAME = 60  # characters of a name of a row
MAX_COPIES = 20  # positions that a message lists
_ANY = "rows are named by their `id` column, or else by their content: give each row its own `id`"


def ways(levels: Sequence[Level], shown: str, written: str) -> tuple[str, str]:
    """Return a note and help for an axis over rows, two of which have the same name.

    Args:
        levels: All levels of the axis.
        shown: The name that two of them have.
        written: The list as the study writes it.
    """
    rows = [x.value for x in levels]
    first = rows[0]
    if not all(isinstance(r, Row) and r.dataset == first.dataset and r.columns.keys() == first.columns.keys()
               for r in rows):  # fmt: skip
        return "", _ANY
    alike = [r.position for x, r in zip(levels, rows, strict=True) if x.shown == shown]
    if alike[0] == alike[1] or render(first.columns.get(ID)) is None:
        return "", "the list holds this row twice: leave one out; for repeated draws set `samples`"
    note = f"rows {alike[0] + 1} and {alike[1] + 1} of `{first.dataset}` have the same `{ID}`"
    others = [c for c in first.columns if c != ID]
    if name := _names(rows, others):
        entries = {ID: name} | {c: c for c in others if c != name}
        return note, f"`{name}` differs in every row: rename it to `{ID}`, e.g. `{_columns(entries)}`"
    copies = _copies(rows)
    if copies and len(copies) == len(rows) - len({x.shown for x in levels}) <= MAX_COPIES and len(written) <= MAX_NAME:
        listed = ", ".join(map(str, copies))
        return note, f"leave out the copies: `[x for x in {written} if not (x.position in [{listed}])]`"
    free = next(n for n in ("item", "group", "key", "number", "row_id") if n not in others)
    entries = {free: ID} | {c: c for c in others}
    return note, f"rename `{ID}`: rows without an `{ID}` are named by their content, e.g. `{_columns(entries)}`"


def _copies(rows: Sequence[Row]) -> list[int]:
    """Return the positions of rows that are equal to an earlier one."""
    seen, copies = set[bytes](), []
    for row in rows:
        if row.content in seen:
            copies.append(row.position)
        seen.add(row.content)
    return copies


def _names(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return the column with the shortest texts that differ in every row; an empty text without such a column."""
    longest = {}
    for column in columns:
        texts = [render(r.columns[column]) or "" for r in rows]
        if len(set(texts)) == len(texts) and all(0 < len(t) <= MAX_NAME for t in texts):
            longest[column] = max(map(len, texts))
    return min(longest, key=lambda c: longest[c], default="")


def _columns(entries: dict[str, str]) -> str:
    shown = (
        f"{c if c.isidentifier() else json.dumps(c)}: {json.dumps(p, ensure_ascii=False)}" for c, p in entries.items()
    )
    return f"columns = {{ {', '.join(shown)} }}"
