"""Rows of any data file with a column of questions: the one that --column names, or the only one with a usual name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.migrate.draft import Draft, dataset
from emdsl.migrate.rows import axis, is_repeated, row_name
from emdsl.migrate.writing import shown
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from emdsl.migrate.document import Document, Row
    from emdsl.migrate.draft import Wanted

QUESTIONS = ("question", "prompt", "instruction", "query", "problem", "goal", "behavior")


def read(document: Document, wanted: Wanted) -> Draft:
    """Return the study that asks one column of a file."""
    column = _column(document, wanted.column)
    draft = Draft(wanted=wanted, title=f"The column `{shown(column)}` of {document.name}.")
    draft.choose_models()
    rows: list[Row] = []
    ids = set[str]()
    for row in document.rows:
        if is_repeated(row, ids):
            draft.leave_out(row_name(row, "row"), "an earlier row has the same `id`", row.line)
        elif isinstance(row.fields.get(column), str) and row.fields[column].strip():
            rows.append(row)
        else:
            draft.leave_out(row_name(row, "row"), f"its `{shown(column)}` is not a text", row.line)
    others = [c for c in document.rows[0].fields if c not in (column, "id")]
    if others:
        draft.leave_out(f"other columns ({', '.join(map(shown, others))})", "the study asks, and scores nothing")
    everywhere = all(column in r.fields for r in document.rows)
    columns = {"id": "id"} if all("id" in r.fields for r in document.rows) else {}
    columns["question"] = column if everywhere else f"{column}?"
    draft.blocks.append(dataset("rows", wanted.path(document.path), columns))
    if rows:
        draft.experiments.append([
            f"experiment {wanted.name} {{", draft.called, axis("rows", rows, document), "",
            "ask answer from model with q.question", "}",
        ])  # fmt: skip
    return draft


def _column(document: Document, named: str | None) -> str:
    available = list(document.rows[0].fields)
    if named is not None:
        if named not in available:
            known = near(named, available) or f"available: {one_of(available)}"
            raise UsageError(f"{document.name} has no column `{named}`; {known}")
        return named
    usual = [c for c in available if c.lower() in QUESTIONS and isinstance(document.rows[0].fields[c], str)]
    if len(usual) != 1:
        message = f"{document.name}: name the column that holds the questions with `--column NAME`"
        raise UsageError(f"{message}; available: {one_of(available)}")
    return usual[0]
