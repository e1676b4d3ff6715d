"""`emdsl query`: SQL over outcomes."""

from __future__ import annotations

import csv
import io
import json
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.latex import latex
from emdsl.errors import OutcomesError, UsageError
from emdsl.files import read_whole
from emdsl.outcomes import database

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "latex", "parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # what one begins with
MAX_SQL = 2**20  # bytes of a file of SQL
MAX_CELL = 200  # characters of a cell in a table for people; files hold all


@click.command("query")
@click.argument("sql", required=False)
@session.with_options(session.CACHE)
@session.option("--study", metavar="FILE", help="The .em file whose tables are meant.  [default: the last loaded]")
@session.option("--format", "form", type=click.Choice(FORMATS), help="[default: table, or by the ending of -o]")
@session.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@session.option(
    "--spreadsheet", is_flag=True, help="In CSV, put ' before cells that a spreadsheet would take for a formula."
)
@session.option("--schema", is_flag=True, help="List tables, measures and macros with their columns; needs no SQL.")
@session.option(
    "--live", is_flag=True, help="Query what is stored by now, a run under way included; needs --study FILE."
)
@session.option("--sim", "simulate", is_flag=True, help="Query the outcomes of `run --sim`.")
def command(
    sql: str | None, cache: Path | None, study: str | None, form: str | None, output: Path | None, schema: bool,
    live: bool, simulate: bool, spreadsheet: bool,
) -> int:  # fmt: skip
    """Query outcomes with SQL: a table for each experiment, and one for each measure.

    SQL is a query, or a file of one that ends in .sql.
    """
    sql = _of_file(sql)
    near_path = Path(study) if study is not None and Path(study).exists() else Path()
    here = session.open_session(near_path, cache, None, simulate=simulate)
    wanted = here.study(Path(study)) if study is not None and Path(study).exists() else study
    chosen_form = form or (_by_ending(output) if output else "table")
    if chosen_form == "parquet" and output is None:
        raise UsageError("--format parquet needs -o FILE")
    if spreadsheet and chosen_form != "csv":
        raise UsageError("--spreadsheet is for --format csv")
    if (sql is None) == (not schema):
        raise UsageError("give SQL, such as 'FROM NAME LIMIT 5', or --schema")
    if live and not (study is not None and Path(study).is_file()):
        raise UsageError("--live needs --study FILE: the program whose outcomes are loaded")
    with ExitStack() as stack:
        folder = here.cache if not live else stack.enter_context(_live(here, Path(str(study)), simulate=simulate))
        connection, chosen = stack.enter_context(database.opened(folder, wanted))
        if chosen is not None:
            console.say(f"-- study {chosen}{database.simulated_mark(connection, chosen)}", err=True)
        if chosen_form == "parquet":
            assert output is not None
            database.write_parquet(connection, sql or "", output)
            return 0
        if schema and chosen is not None:
            columns = ("relation", "column", "type", "what it holds")
            result = database.Result(columns, list(database.schema_of(connection, chosen)))
        else:
            result = database.select(connection, sql or "")
    if chosen_form == "table" and output is None:
        console.show_table(
            result.columns, [[_short(v) for v in row] for row in result.rows], numeric=_numeric(result), hides=True
        )
        console.say(f"({len(result.rows):,} row{'' if len(result.rows) == 1 else 's'})", err=True)
        return 0
    text = _text(result, chosen_form, guarded=spreadsheet)
    if output is None:
        console.say(text, nl=False)
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutcomesError(f"cannot write {output}: {error.strerror}") from error
    return 0


def _of_file(sql: str | None) -> str | None:
    if sql is None or not sql.lower().endswith(".sql") or len(sql.split()) != 1:
        return sql
    try:
        return read_whole(Path(sql), MAX_SQL).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {sql}: {getattr(error, 'strerror', None) or 'it is no text in UTF-8'}") from None


@contextmanager
def _live(here: session.Session, file: Path, *, simulate: bool) -> Iterator[Path]:
    """Load what is stored by now into a database that ends with the block; nothing else is touched."""
    from emdsl.cli.results import load_apart  # noqa: PLC0415 - only who asks for it compiles a program

    with TemporaryDirectory() as folder:
        load_apart(here, file, Path(folder), simulate=simulate)
        yield Path(folder)


def _by_ending(output: Path) -> str:
    endings = {
        ".csv": "csv",
        ".json": "json",
        ".jsonl": "jsonl",
        ".md": "markdown",
        ".tex": "latex",
        ".parquet": "parquet",
    }
    if output.suffix.lower() not in endings:
        raise UsageError(f"-o takes a file that ends in {', '.join(endings)}, or a --format")
    return endings[output.suffix.lower()]


def _numeric(result: database.Result) -> list[str]:
    return [c for i, c in enumerate(result.columns) if any(isinstance(r[i], int | float) for r in result.rows[:100])]


def _short(value: Any) -> Any:
    text = json.dumps(console.plain_json(value), ensure_ascii=False) if isinstance(value, dict | list) else value
    if isinstance(text, str):
        text = " ".join(text.split()) if "\n" in text else text
        return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
    return text


def _text(result: database.Result, form: str, *, guarded: bool = False) -> str:
    if form == "json":
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        return json.dumps(console.plain_json(rows), ensure_ascii=False, indent=1) + "\n"
    if form == "jsonl":
        return "".join(
            json.dumps(console.plain_json(dict(zip(result.columns, row, strict=True))), ensure_ascii=False) + "\n"
            for row in result.rows
        )
    if form == "markdown":
        lines = ["| " + " | ".join(map(_markdown, result.columns)) + " |", "|" + " --- |" * len(result.columns)]
        lines += ["| " + " | ".join(_markdown(v) for v in row) + " |" for row in result.rows]
        return "\n".join(lines) + "\n"
    if form == "latex":
        return latex(result.columns, [[_short(v) for v in row] for row in result.rows])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows:
        cells = (
            json.dumps(console.plain_json(v), ensure_ascii=False) if isinstance(v, dict | list) else v for v in row
        )
        writer.writerow([f"'{v}" if guarded and isinstance(v, str) and v.startswith(FORMULA) else v for v in cells])
    return console.mask(out.getvalue())


def _markdown(value: Any) -> str:
    if value is None:
        return ""
    return console.mask(str(_short(value))).replace("|", "\\|").replace("\n", " ")
