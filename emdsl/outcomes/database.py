"""The database of results, read: a schema for each study. The door to DuckDB."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from emdsl.errors import OutcomesError
from emdsl.outcomes.draws import PLACE, placed
from emdsl.outcomes.load_ids import DATABASE, last_study
from emdsl.outcomes.sql import literal, name, simulated_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from emdsl.experiment import Experiment

FILE = DATABASE
NO_QUERY = "not a query: start with SELECT or FROM"
Connection = duckdb.DuckDBPyConnection
Error = duckdb.Error
CONFIG: Mapping[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",  # nothing is downloaded at run time
    "autoload_known_extensions": "true",  # what is built in
}
# of a file: what clients of the last two years read, which are older than the one that writes it
WRITTEN = {**CONFIG, "storage_compatibility_version": "v1.0.0"}


@dataclass(frozen=True, slots=True)
class SqlResult:
    """The result of a SELECT: column names, and rows of Python values."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def connected(path: Path, config: Mapping[str, Any] = CONFIG, *, read_only: bool = False) -> Connection:
    """Open a database file; the connection is a context manager that closes it.

    A read-only one has DuckDB's own configuration: else nobody in the same process, such as a notebook, could read the
    file at the same time.
    """
    if not read_only:
        return duckdb.connect(str(path), config=dict(config))
    connection = duckdb.connect(str(path), read_only=True)
    connection.execute("SET autoinstall_known_extensions = false")
    return connection


@contextmanager
def opened(folder: Path, study: str | None = None) -> Iterator[tuple[Connection, str | None]]:
    """Open the database read-only, with a study on the search path: the one named, or the last run or shown.

    Raises OutcomesError if there is none.
    """
    path = folder / FILE
    if not path.exists():
        raise OutcomesError(
            f"no results in {folder} yet: load them with `emdsl run FILE`, or choose another folder with --cache"
        )
    try:
        database = connected(path, read_only=True)
    except Error as error:
        raise OutcomesError(f"{path} cannot be read: {first_line(error)}") from error
    try:
        studies = [r[0] for r in database.execute("SELECT study FROM emdsl.studies ORDER BY loaded_at DESC").fetchall()]
        if study is not None and study not in studies:
            loaded = ", ".join(studies) or "nothing"
            raise OutcomesError(f"`{study}` is not loaded in {path}: load it with `emdsl run`. Loaded: {loaded}")
        last = last_study(folder)
        chosen = study or (last if last in studies else studies[0] if studies else None)
        if chosen is not None:
            database.execute(f"SET search_path = {literal(name(chosen))}")
        with interruptible():
            yield database, chosen
    except Error as error:
        raise OutcomesError(_message(error)) from error
    finally:
        database.close()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for an interrupt during a query, as elsewhere in Python: DuckDB has RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from None


@contextmanager
def in_memory() -> Iterator[Connection]:
    """Open a database that ends with the block."""
    with duckdb.connect(":memory:", config=dict(CONFIG)) as connection:
        yield connection


@contextmanager
def attached(files: Mapping[str, Path]) -> Iterator[Connection]:
    """Open an empty database in memory, with database files attached read-only, each under a name.

    Raises OutcomesError with DuckDB's message for any of its errors.
    """
    try:
        with in_memory() as connection, interruptible():
            for called, path in files.items():
                connection.execute(f"ATTACH {literal(str(path))} AS {name(called)} (READ_ONLY)")
            yield connection
    except Error as error:
        raise OutcomesError(_message(error)) from error


def completeness(database: Connection, study: str, experiment: Experiment) -> tuple[int, int, bool]:
    """Return the number of rows of an experiment, of rows without an answer, and whether any is simulated."""
    made_up = name(simulated_column(experiment))
    missing = " OR ".join(f"{name(f'{s.name}_missing')} IN ('not_asked', 'failed')" for s in experiment.steps)
    rows, incomplete, simulated = select(
        database,
        f"SELECT count(*), count(*) FILTER ({missing or 'FALSE'}), COALESCE(bool_or({made_up}), FALSE) "
        f"FROM {name(study)}.{name(experiment.name)}",
    ).rows[0]
    return rows, incomplete, simulated


def schema_of(database: Connection, study: str) -> list[tuple[str, str, str, str]]:
    """Return the columns of a study's schema, and the macros: relation, column, type and comment."""
    return (
        database.execute(
            "SELECT c.table_name, c.column_name, c.data_type, COALESCE(c.comment, '') FROM duckdb_columns() AS c "
            "LEFT JOIN duckdb_tables() AS t USING (schema_name, table_name) "
            "WHERE c.schema_name = ? ORDER BY t.table_name IS NULL, c.table_name, c.column_index",
            [study],
        ).fetchall()
        + database.execute(
            "SELECT DISTINCT 'emdsl.' || function_name, list_aggregate(parameters, 'string_agg', ', '), function_type, "
            "COALESCE(comment, '') FROM duckdb_functions() WHERE schema_name = 'emdsl' ORDER BY 1"
        ).fetchall()
    )


def n_samples(database: Connection, study: str, experiment: Experiment) -> int:
    """Return the number of samples of each cell that are loaded, answered or not."""
    ((n,),) = select(database, f"SELECT max(sample) + 1 FROM {name(study)}.{name(experiment.name)}").rows
    return int(n)


def places(database: Connection, study: str, experiment: Experiment, where: str) -> list[int]:
    """Return the places, from 0, of the rows for which an SQL condition holds; raises OutcomesError."""
    sql = f"SELECT {PLACE} FROM {placed(experiment, study)} AS {name(experiment.name)} WHERE ({where}) ORDER BY 1"
    return [place for (place,) in select(database, sql).rows]


def simulated_mark(database: Connection, study: str) -> str:
    """Return the mark beside numbers of a study with simulated answers; "" for others."""
    row = database.execute("SELECT simulated FROM emdsl.studies WHERE study = ?", [study]).fetchone()
    return " (SIMULATED)" if row and row[0] else ""


def state(folder: Path, study: str) -> tuple[str, tuple[int, ...]] | None:
    """Return the source of a study's last load: its program, and the version of the store; None if never loaded."""
    if not (folder / FILE).exists():
        return None
    try:
        with connected(folder / FILE, read_only=True) as database:
            row = database.execute(
                "SELECT program, store_id, store_removals, store_last, store_count, store_key FROM emdsl.studies "
                "WHERE study = ?",
                [study],
            ).fetchone()
    except Error:
        return None
    return (row[0], tuple(row[1:])) if row else None


def notices(folder: Path, study: str) -> list[str]:
    """Return what there was to say about the measures of a study when it was loaded."""
    try:
        with connected(folder / FILE, read_only=True) as database:
            row = database.execute("SELECT notices FROM emdsl.studies WHERE study = ?", [study]).fetchone()
    except Error:  # another version of emdsl loaded it
        return []
    return list(row[0] or []) if row else []


def select(database: Connection, sql: str, most: int | None = None, values: Sequence[object] = ()) -> SqlResult:
    """Return the result of a query, or its first rows; raises OutcomesError with DuckDB's message, caret included.

    `values` are those of `$1`, `$2` and so on.
    """
    try:
        cursor = database.execute(sql, list(values)) if values else database.execute(sql)
        if cursor is None or not cursor.description:
            raise OutcomesError(NO_QUERY)
        rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
        return SqlResult(_distinct([c[0] for c in cursor.description]), rows)
    except Error as error:
        raise OutcomesError(_message(error)) from error


def arrow(database: Connection, sql: str) -> Any:
    """Return the result of a query as an Arrow table; raises OutcomesError as `select` does."""
    try:
        relation = database.sql(sql)
        if relation is None:
            raise OutcomesError(NO_QUERY)
        return relation.to_arrow_table()
    except Error as error:
        raise OutcomesError(_message(error)) from error


def _distinct(columns: list[str]) -> tuple[str, ...]:
    """Return column names, each once: objects and tables are read by name."""
    distinct: list[str] = []
    for column in columns:
        fresh, n = column, 1
        while fresh in distinct:
            fresh, n = f"{column}_{n}", n + 1
        distinct.append(fresh)
    return tuple(distinct)


def write_parquet(database: Connection, sql: str, path: Path) -> None:
    """Write the result of a query to a Parquet file."""
    try:
        database.execute(f"COPY ({sql.rstrip().rstrip(';')}) TO {literal(str(path))} (FORMAT parquet)")
    except Error as error:
        raise OutcomesError(_message(error)) from error


def write_csv(database: Connection, sql: str, columns: Mapping[str, str], path: Path) -> int:
    """Write some columns of a query to a CSV file, each under a name; return the number of rows."""
    chosen = ", ".join(f"{name(column)} AS {name(called)}" for column, called in columns.items())
    copy = f"COPY (SELECT {chosen} FROM ({sql})) TO {literal(str(path))} (FORMAT csv, HEADER)"
    try:
        row = database.execute(copy).fetchone()
    except Error as error:
        raise OutcomesError(_message(error)) from error
    return int(row[0]) if row else 0


def measure_rows(database: Connection, study: str, measure: str) -> SqlResult | None:
    """Return the rows of a measure's relation; None if the measure was left out."""
    try:
        return select(database, f"SELECT * FROM {name(study)}.{name(measure)}")
    except OutcomesError as error:
        if "does not exist" in str(error):
            return None
        raise


def _message(error: Error) -> str:
    return str(error).replace("Catalog Error: ", "").replace("Binder Error: ", "").strip()


def first_line(error: Exception) -> str:
    """Return the first line of an error, or its class."""
    return (str(error).splitlines() or [type(error).__name__])[0]
