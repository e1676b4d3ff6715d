"""Parts that readers of rows share: messages, the axis over some rows, and fields that a study does not use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.migrate.writing import shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from emdsl.migrate.document import Document, Row
    from emdsl.migrate.draft import Draft


class Odd(Exception):
    """Why a row cannot be carried over."""


def is_message(value: Any) -> bool:
    """Whether a value is a message of a conversation: a role, and a text."""
    return (
        isinstance(value, dict)
        and value.get("role") in ("system", "user", "assistant")
        and isinstance(value.get("content"), str)
    )


def axis(name: str, rows: list[Row], document: Document) -> str:
    """Return the axis over rows of a dataset: all, or those at some places."""
    if len(rows) == len(document.rows):
        return f"for q in {name}"
    return f"for q in [row for row in {name} if {_where(rows, document)}]"


def _where(rows: list[Row], document: Document) -> str:
    """Return the shorter condition: the places of these rows, or of all others."""
    places = [r.position for r in rows]
    others = [r.position for r in document.rows if r.position not in set(places)]
    if len(others) < len(places):
        return f"row.position not in [{', '.join(map(str, others))}]"
    return f"row.position in [{', '.join(map(str, places))}]"


def is_repeated(row: Row, ids: set[str]) -> bool:
    """Whether an earlier row has the id of this one; adds it to the ids."""
    id_ = row.fields.get("id")
    if id_ in (None, ""):
        return False
    repeated = str(id_) in ids
    ids.add(str(id_))
    return repeated


def row_name(row: Row, noun: str) -> str:
    """Return the name of a row in the list of omitted rows: its id, or its number from 1."""
    id_ = row.fields.get("id")
    return f"{noun} `{shown(id_)}`" if id_ not in (None, "") else f"{noun} {row.position + 1}"


def fields_left_out(document: Document, draft: Draft, known: Collection[str], noun: str) -> None:
    """List the fields of rows that a study does not use."""
    counts: dict[str, int] = {}
    for row in document.rows:
        for field, value in row.fields.items():
            if field not in known and value not in (None, "", (), {}):
                counts[field] = counts.get(field, 0) + 1
    for field, n in counts.items():
        draft.leave_out(f"`{shown(field)}` of {n} {noun}{'s' if n > 1 else ''}", "the study does not use it")
