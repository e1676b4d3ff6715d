"""The columns of tables, measures and macros, each with its contents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.measure_specs import RESULT_COLUMNS
from emdsl.errors import UsageError
from emdsl.experiment import CORRECTED_COLUMNS
from emdsl.outcomes.comments import meaning
from emdsl.source import listed, near

if TYPE_CHECKING:
    from collections.abc import Sequence

Line = tuple[str, str, str, str]  # relation, column, type and contents


def described(lines: Sequence[Line], relation: str | None = None) -> list[Line]:
    """Return the columns of one table or measure, or of all, with their contents by their comments.

    A database of an older version lacks those of measures, whose contents are the same sentences of the glossary.

    Args:
        lines: All columns, as `emdsl.outcomes.database.schema_of` returns them.
        relation: The table or measure; None for all.

    Raises:
        UsageError: There is no such table or measure.
    """
    relations = list(dict.fromkeys(line[0] for line in lines))
    if relation is not None and relation not in relations:
        hint = near(relation, relations) or listed("relation", "relations", relations)
        raise UsageError(f"unknown table or measure `{relation}`; {hint}")
    of_tables = {column: contents for _, column, _, contents in lines if contents}  # a measure's groups are axes
    chosen = [line for line in lines if relation in (None, line[0])]
    return [(of, c, type_, contents or _meaning(c) or of_tables.get(c, "")) for of, c, type_, contents in chosen]


def _meaning(column: str) -> str:
    """Return what a column of measures holds; "" for any other column."""
    return meaning(column) if column in {*RESULT_COLUMNS, *CORRECTED_COLUMNS} else ""
