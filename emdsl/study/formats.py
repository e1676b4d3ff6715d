"""Results of SQL as text: CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.redact import mask
from emdsl.study.latex import latex
from emdsl.study.screen import plain_json

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.outcomes.database import SqlResult


SUFFIXES = {
    ".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".md": "markdown", ".tex": "latex", ".parquet": "parquet",
}  # fmt: skip
FORMATS = ("table", *SUFFIXES.values())
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # how a formula begins
MAX_CELL = 200  # characters of a cell in a table for people; files hold all


def format_of(output: Path) -> str:
    """Return the format of a file by its suffix; raises UsageError for an unknown one."""
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"expected a file name that ends in {', '.join(SUFFIXES)}, or a --format", parameter="output")
    return SUFFIXES[output.suffix.lower()]


def text_in(result: SqlResult, form: str, *, spreadsheet: bool = False) -> str:
    """Return a result as text in a format; in CSV for a `spreadsheet`, cells that look like formulas are quoted."""
    match form:
        case "json":
            return json.dumps([plain_json(row) for row in _objects(result)], ensure_ascii=False, indent=1) + "\n"
        case "jsonl":
            return "".join(json.dumps(plain_json(row), ensure_ascii=False) + "\n" for row in _objects(result))
        case "markdown":
            lines = ["| " + " | ".join(map(_markdown, result.columns)) + " |", "|" + " --- |" * len(result.columns)]
            lines += ["| " + " | ".join(_markdown(v) for v in row) + " |" for row in result.rows]
            return "\n".join(lines) + "\n"
        case "latex":
            return latex(result.columns, [[short_cell(v) for v in row] for row in result.rows])
        case _:
            return _csv(result, spreadsheet=spreadsheet)


def _objects(result: SqlResult) -> list[dict[str, Any]]:
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def _csv(result: SqlResult, *, spreadsheet: bool) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows:
        cells = (json.dumps(plain_json(v), ensure_ascii=False) if isinstance(v, dict | list) else v for v in row)
        writer.writerow([f"'{v}" if spreadsheet and isinstance(v, str) and v.startswith(FORMULA) else v for v in cells])
    return mask(out.getvalue())


def short_cell(value: Any) -> Any:
    """Return a value as a cell of a table for people: in one line, cut if it is long."""
    text = json.dumps(plain_json(value), ensure_ascii=False) if isinstance(value, dict | list) else value
    if isinstance(text, str):
        text = " ".join(text.split()) if "\n" in text else text
        return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
    return text


def _markdown(value: Any) -> str:
    if value is None:
        return ""
    return mask(str(short_cell(value))).replace("|", "\\|").replace("\n", " ")
