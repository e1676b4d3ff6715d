"""`emdsl query`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.errors import FileMissing, OutcomesError, UsageError
from emdsl.files import read_whole
from emdsl.outcomes import database
from emdsl.study.formats import FORMATS, format_of, short_cell, text_in
from emdsl.study.project import open_project
from emdsl.study.schema import described
from emdsl.study.screen import Table, counted

if TYPE_CHECKING:
    from emdsl.study.compiled import Compiled
    from emdsl.study.project import Project

MAX_SQL = 2**20  # bytes of a file of SQL


@click.command("query")
@click.argument("sql", required=False)
@options.with_options(options.CACHE)
@options.option("--study", metavar="FILE", help="The study.  [default: the one that was loaded last]")
@options.option("--format", "form", type=click.Choice(FORMATS), help="[default: table, or by the suffix of -o]")
@options.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@options.option("--spreadsheet", is_flag=True, help="In CSV, put ' before cells that look like formulas.")
@options.option(
    "--schema",
    is_flag=True,
    help="List tables, measures and macros with their columns, or those of one: --schema NAME.",
)
@options.option("--live", is_flag=True, help="Include the answers of a run in progress; needs --study FILE.")
@options.option("--prompts", is_flag=True, help="Add tables of prompts and drawn rows; needs --study FILE.")
@options.option("--sim", "simulate", is_flag=True, help="Query the results of `run --sim`.")
def command(
    sql: str | None, cache: Path | None, study: str | None, form: str | None, output: Path | None, schema: bool,
    live: bool, prompts: bool, simulate: bool, spreadsheet: bool,
) -> int:  # fmt: skip
    """Query the results with SQL (DuckDB): one table for each experiment, and one for each measure.

    SQL is a query, or a file that ends in .sql.

    \b
    Examples:
      emdsl query "FROM study LIMIT 5"
      emdsl query "SELECT k, avg(aligned) FROM study GROUP BY k" -o aligned.csv
      emdsl query --schema
      emdsl query --schema study
    """
    sql = _of_file(sql)
    file = Path(study) if study is not None and Path(study).exists() else None
    project = open_project(file or Path(), cache, None, simulate=simulate)
    wanted = project.study(file) if file is not None else study
    chosen_form = form or (format_of(output) if output else "table")
    if chosen_form == "parquet" and output is None:
        raise UsageError("--format parquet needs -o FILE")
    if spreadsheet and chosen_form != "csv":
        raise UsageError("--spreadsheet needs --format csv")
    if sql is None and not schema:
        raise UsageError("expected SQL, such as 'FROM NAME LIMIT 5', or --schema")
    if (live or prompts) and not (file is not None and file.is_file()):
        raise UsageError(f"{'--live' if live else '--prompts'} needs --study FILE")
    with ExitStack() as stack:
        folder = project.cache
        if live and file is not None:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            _load_now(project, file, folder)
        connection, chosen = stack.enter_context(database.opened(folder, wanted))
        compiled = _with_prompts(project, file, connection) if prompts and file is not None else None
        if chosen is not None and not console.settings.quiet:
            console.say(f"-- study {chosen}{database.simulated_mark(connection, chosen)}", err=True)
        if chosen_form == "parquet" and output is not None:
            database.write_parquet(connection, sql or "", output)
            return 0
        if schema and chosen is not None:
            columns = ("relation", "column", "type", "contents")
            more = _schema_of_prompts(compiled, connection) if compiled is not None else []
            rows = [*more, *database.schema_of(connection, chosen)]
            result = database.SqlResult(columns, described(rows, sql))
        else:
            result = database.select(connection, sql or "")
    if chosen_form == "table" and output is None:
        _show(result)
    elif output is None:
        console.say(text_in(result, chosen_form, spreadsheet=spreadsheet), nl=False)
    else:
        _write(output, text_in(result, chosen_form, spreadsheet=spreadsheet))
    return 0


def _show(result: database.SqlResult) -> None:
    some = result.rows[:100]
    numeric = [c for i, c in enumerate(result.columns) if any(isinstance(r[i], int | float) for r in some)]
    rows = [[short_cell(v) for v in row] for row in result.rows]
    console.show([Table(result.columns, rows, numeric=numeric, hides="select columns by name, or use --format csv")])
    if not console.settings.quiet:
        console.say(f"({counted(len(result.rows), 'row')})", err=True)


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutcomesError(f"cannot write {output}: {error.strerror}") from error


def _of_file(sql: str | None) -> str | None:
    if sql is None or not sql.lower().endswith(".sql") or len(sql.split()) != 1:
        return sql
    try:
        return read_whole(Path(sql), MAX_SQL).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise FileMissing(f"cannot read {sql}: {reason}") from None


def _load_now(project: Project, file: Path, folder: Path) -> None:
    """Load all stored answers into a separate folder."""
    from emdsl.study.compiled import compile_study  # noqa: PLC0415 - only `--live` compiles a study
    from emdsl.study.refresh import load_apart  # noqa: PLC0415 - only `--live` compiles a study

    load_apart(compile_study(project, file), folder)


def _with_prompts(project: Project, file: Path, connection: database.Connection) -> Compiled:
    """Add the prompts of a study to its open tables."""
    from emdsl.study.compiled import compile_study  # noqa: PLC0415 - only `--prompts` and `--live` compile a study
    from emdsl.study.prompts import load_prompts  # noqa: PLC0415 - only `--prompts` renders rows

    study = compile_study(project, file)
    load_prompts(study, connection)
    return study


def _schema_of_prompts(study: Compiled, connection: database.Connection) -> list[tuple[str, str, str, str]]:
    from emdsl.outcomes.prompts import schema_of_prompts  # noqa: PLC0415 - only `--prompts` needs it

    return [row for e in study.program.experiments for row in schema_of_prompts(connection, e)]
