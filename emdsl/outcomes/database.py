"""The database of outcomes: a schema for each study, loaded whole or not at all. The door to DuckDB."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from emdsl.errors import OutcomesError
from emdsl.files import PRIVATE_FOLDER, private, write_private
from emdsl.outcomes.loads import DATABASE, check_name, known_loads, last_study, note_last, note_load
from emdsl.outcomes.macros import macros_sql
from emdsl.outcomes.measures import PLACE, by_columns, conflicts_sql, is_computed, placed, view_sql
from emdsl.outcomes.sql import literal, name, simulated_column
from emdsl.outcomes.table import Field, batch, fields_of, joined, twin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from emdsl.experiment import Experiment, Measure
    from emdsl.outcome import Outcome
    from emdsl.source import Span

FILE = DATABASE
LOCK_S = 60.0  # how long a load waits for its turn
REPAIRED = "and a new one is made"
PART = 32_768  # rows that are given to DuckDB at once
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",  # nothing is downloaded at run time
    "autoload_known_extensions": "true",  # what is built in
}
# of a file: what clients of the last two years read, which are older than the one that writes it
_WRITTEN = _CONFIG | {"storage_compatibility_version": "v1.0.0"}
STORAGE = 64  # the number of that format, in a file's header
_STUDIES = """
CREATE SCHEMA IF NOT EXISTS emdsl;
CREATE TABLE IF NOT EXISTS emdsl.studies (
  study VARCHAR PRIMARY KEY, file VARCHAR, program VARCHAR, store_last BIGINT, store_count BIGINT,
  run VARCHAR, loaded_at TIMESTAMPTZ, simulated BOOLEAN);
ALTER TABLE emdsl.studies ADD COLUMN IF NOT EXISTS store_removals BIGINT;
ALTER TABLE emdsl.studies ADD COLUMN IF NOT EXISTS store_id BIGINT;
ALTER TABLE emdsl.studies ADD COLUMN IF NOT EXISTS store_key BIGINT;
COMMENT ON TABLE emdsl.studies IS 'which .em files are loaded: each is a schema of this database';
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One study to be loaded: its schema, its file, and what its rows were made from."""

    study: str
    file: str
    program: str
    store_state: tuple[int, int, int, int, int]  # which store, removals, last row, entries, the last one's key
    run: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a SELECT gave: column names, and rows of Python values."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def load(folder: Path, study: Load, experiments: Iterable[tuple[Experiment, Iterable[list[Outcome]]]]) -> list[str]:
    """Put a study's outcomes in place of its earlier ones, and return what is to be said of its measures.

    A new file is built and renamed over the old one: readers keep the last whole state. Raises OutcomesError.
    """
    path = folder / FILE
    fresh = folder / f"{FILE}.{os.getpid()}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        with _turn(folder):
            _clear(folder, fresh)
            notices = _copied(path, fresh)
            with duckdb.connect(str(fresh), config=_WRITTEN) as database:
                notices += _fill(database, study, experiments)
            fresh.chmod(0o600)
            wal = path.with_name(path.name + ".wal")
            known = known_loads(folder)
            fresh.replace(path)
            note_load(folder, study.study, study.run, known=known)
            note_last(folder, study.study)
            wal.unlink(missing_ok=True)  # what it held was copied: beside the new file it would be another's
    except (OSError, duckdb.Error) as error:
        raise OutcomesError(f"{path} cannot be written: {_first_line(error)}") from error
    finally:
        fresh.unlink(missing_ok=True)
        fresh.with_name(fresh.name + ".wal").unlink(missing_ok=True)
    return notices


def _copied(path: Path, fresh: Path) -> list[str]:
    """Copy the database with what is not checkpointed yet; one that cannot be opened is kept aside, and said.

    The file itself stays until the new one takes its place: this load may be given up.
    """
    if not path.exists():
        return []
    wal = path.with_name(path.name + ".wal")
    if _storage(path) > STORAGE:
        return [f"{path} was written for newer clients only: a new one is made; `emdsl show` loads other studies anew"]
    shutil.copyfile(path, fresh)
    if wal.exists():
        shutil.copyfile(wal, fresh.with_name(fresh.name + ".wal"))
    try:
        with duckdb.connect(str(fresh), config=_CONFIG) as database:
            # free blocks at its end need not be written
            found = database.execute("SELECT sum(used_blocks * block_size) FROM pragma_database_size()").fetchone()
        if found and found[0] > fresh.stat().st_size:
            raise duckdb.IOException(f"it is cut: of {found[0]:,} bytes {fresh.stat().st_size:,} are there")
    except duckdb.Error as error:
        fresh.unlink()
        fresh.with_name(fresh.name + ".wal").unlink(missing_ok=True)
        broken = path.with_name(path.name + ".broken")
        write_private(broken, b"")
        shutil.copyfile(path, broken)
        return [f"{path} could not be read ({_first_line(error)}); it is now {broken.name}, {REPAIRED}"]
    return []


def _storage(path: Path) -> int:
    """Return the number of the format that a database file is written in; 0 where that cannot be read."""
    with path.open("rb") as file:
        head = file.read(20)
    return int.from_bytes(head[12:20], "little") if head[8:12] == b"DUCK" else 0


def _clear(folder: Path, fresh: Path) -> None:
    """Remove what loads that were killed have left; ours is the only one at work."""
    for left in folder.glob(f"{FILE}.*.new*"):
        left.unlink(missing_ok=True)
    fresh.unlink(missing_ok=True)


def _fill(
    database: duckdb.DuckDBPyConnection,
    study: Load,
    experiments: Iterable[tuple[Experiment, Iterable[list[Outcome]]]],
) -> list[str]:
    schema, notices, simulated = study.study, list[str](), False
    database.execute(_STUDIES)
    for statement in macros_sql():
        database.execute(statement)
    check_name(schema, (s for (s,) in database.execute("SELECT study FROM emdsl.studies").fetchall()))
    database.execute(f"DROP SCHEMA IF EXISTS {name(schema)} CASCADE")
    database.execute(f"CREATE SCHEMA {name(schema)}")
    for experiment, chunks in experiments:
        table = f"{name(schema)}.{name(experiment.name)}"
        fields = fields_of(experiment, study.run)
        _create(database, table, fields)
        _insert_all(database, table, _parts(fields, experiment, chunks))
        database.execute(
            f"COMMENT ON TABLE {table} IS {literal(f'outcomes of {experiment.name}: a row per cell and sample')}"
        )
        for field in fields:
            database.execute(f"COMMENT ON COLUMN {table}.{name(field.name)} IS {literal(field.comment)}")
        notices += _measures(database, experiment, schema)
        found = database.execute(f"SELECT bool_or({name(simulated_column(experiment))}) FROM {table}").fetchone()
        simulated = simulated or bool(found and found[0])
    database.execute(
        "INSERT OR REPLACE INTO emdsl.studies BY NAME SELECT ? AS study, ? AS file, ? AS program, ? AS store_id, "
        "? AS store_removals, ? AS store_last, ? AS store_count, ? AS store_key, ? AS run, now() AS loaded_at, "
        "? AS simulated",
        [schema, study.file, study.program, *study.store_state, study.run, simulated],
    )
    return notices


def _insert_all(database: duckdb.DuckDBPyConnection, table: str, parts: Iterable[Any]) -> None:
    """Insert Arrow tables one after the other, each while the next is made: DuckDB lets Python go on meanwhile."""

    def insert(part: Any) -> None:
        database.register("part", part)
        database.execute(f"INSERT INTO {table} SELECT * FROM part")
        database.unregister("part")

    with ThreadPoolExecutor(max_workers=1) as worker:
        under_way: Future[None] | None = None
        for part in parts:
            if under_way is not None:
                under_way.result()
            under_way = worker.submit(insert, part)
        if under_way is not None:
            under_way.result()


def _create(database: duckdb.DuckDBPyConnection, table: str, fields: list[Field]) -> None:
    columns = ", ".join(f"{name(f.name)} {f.sql}" for f in fields)
    database.execute(f"CREATE TABLE {table} ({columns})")


def rehearse(experiment: Experiment) -> Iterator[tuple[Span, str]]:
    """Make an experiment's table and measures empty, in memory; yield what cannot be made, and where it is written."""
    with duckdb.connect(":memory:", config=_CONFIG) as database:
        database.execute('CREATE SCHEMA "rehearsal"')
        fields = fields_of(experiment, "")
        if said := twin(fields):
            yield experiment.span, said
            return
        try:
            _create(database, f'"rehearsal".{name(experiment.name)}', fields)
        except duckdb.Error as error:
            yield experiment.span, f"the table of `{experiment.name}` cannot be made: {_first_line(error)}"
            return
        for measure in experiment.measures:
            try:
                _measure(database, experiment, measure, "rehearsal")
                database.execute(f'SELECT * FROM "rehearsal".{name(measure.name)}').fetchall()
            except duckdb.Error as error:
                yield measure.span, f"`{measure.name}` cannot be computed: {_first_line(error)}"


def _measures(database: duckdb.DuckDBPyConnection, experiment: Experiment, schema: str) -> list[str]:
    notices = []
    for measure in experiment.measures:
        try:
            found = database.execute(conflicts_sql(experiment, measure, schema)).fetchone()
            said = "" if found and found[0] else _measure(database, experiment, measure, schema)
        except duckdb.Error as error:
            notices.append(f"measure `{measure.name}` is left out, for it cannot be computed: {_first_line(error)}")
            continue
        if found and found[0]:
            notices.append(
                f"measure `{measure.name}` is left out: {found[0]} answers serve several of its outcomes with "
                "unlike values, so that they are no independent draws; add the axis that tells them apart to `by`"
            )
        elif said:
            notices.append(said)
    return notices


def _measure(database: duckdb.DuckDBPyConnection, experiment: Experiment, measure: Measure, schema: str) -> str:
    """Make a measure's relation: a view, or a table where SQL cannot make its interval; return what is to be said."""
    relation, sql = f"{name(schema)}.{name(measure.name)}", view_sql(experiment, measure, schema)
    if not is_computed(measure):
        database.execute(f"CREATE VIEW {relation} AS {sql}")
        return ""
    from emdsl.outcomes.computed import corrected, ends_of  # noqa: PLC0415 - numpy waits for who needs it

    ordered = ", ".join(map(name, by_columns(measure)))
    place = f"row_number() OVER ({f'ORDER BY {ordered}' if ordered else ''})"
    database.execute(
        f"CREATE OR REPLACE TEMP TABLE found AS SELECT {place} AS {PLACE}, * FROM ({sql}) ORDER BY {PLACE}"
    )

    def rows(query: str) -> list[tuple[Any, ...]]:
        return database.execute(query).fetchall()

    ends, said = ends_of(rows, experiment, measure, schema, "temp.found")
    _temporary(database, "ends", "place BIGINT, low DOUBLE, high DOUBLE, clusters BIGINT, se DOUBLE", ends)
    of_clusters = measure.interval is not None and bool(measure.interval.cluster)
    more, joined = ", found.se AS se_pairs" if measure.function == "contrast" and of_clusters else "", ""
    if measure.holm:
        kept = "place BIGINT, p DOUBLE, p_holm DOUBLE"
        _temporary(database, "tested", kept, corrected(rows, measure, "temp.found"))
        more += ", tested.p, tested.p_holm"
        joined = f" LEFT JOIN temp.tested AS tested ON found.{PLACE} = tested.place"
    database.execute(
        f"CREATE TABLE {relation} AS SELECT found.* EXCLUDE ({PLACE}) REPLACE (ends.low AS low, ends.high AS high, "
        f"ends.se AS se, COALESCE(ends.clusters, 0) AS clusters){more} FROM temp.found AS found "
        f"LEFT JOIN temp.ends AS ends ON found.{PLACE} = ends.place{joined} ORDER BY found.{PLACE}"
    )
    return said


def _temporary(database: duckdb.DuckDBPyConnection, called: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Make a small table of this connection alone."""
    database.execute(f"CREATE OR REPLACE TEMP TABLE {called} ({columns})")
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        database.executemany(f"INSERT INTO temp.{called} VALUES ({marks})", rows)


def _parts(fields: list[Field], experiment: Experiment, chunks: Iterable[list[Outcome]]) -> Iterator[Any]:
    """Yield rows as Arrow tables of a size that DuckDB likes; the rows themselves live shortly."""
    waiting: list[Any] = []
    n = 0
    for rows in chunks:
        waiting.append(batch(fields, experiment, rows))
        n += len(rows)
        if n >= PART:
            yield joined(waiting)
            waiting, n = [], 0
    if waiting:
        yield joined(waiting)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Hold the right to load; a process that dies gives it back."""
    with open(folder / f"{FILE}.lock", "a", opener=private) as lock:
        end = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise OutcomesError(f"another load of {folder / FILE} takes more than {LOCK_S:.0f} s") from None
                time.sleep(0.05)
        yield


@contextmanager
def opened(folder: Path, study: str | None = None) -> Iterator[tuple[duckdb.DuckDBPyConnection, str | None]]:
    """Open the database to read, with a study on the search path: the one named, or the last loaded.

    Raises OutcomesError where there is none.
    """
    path = folder / FILE
    if not path.exists():
        raise OutcomesError(
            f"there are no outcomes in {folder} yet; `emdsl run FILE` makes them, and --cache names another folder"
        )
    try:
        database = duckdb.connect(str(path), read_only=True, config=_CONFIG)
    except duckdb.Error as error:
        raise OutcomesError(f"{path} cannot be read: {_first_line(error)}") from error
    try:
        known = [r[0] for r in database.execute("SELECT study FROM emdsl.studies ORDER BY loaded_at DESC").fetchall()]
        if study is not None and study not in known:
            raise OutcomesError(
                f"`{study}` is not loaded in {path}; `emdsl run` loads it. Loaded are: {', '.join(known)}"
            )
        last = last_study(folder)
        chosen = study or (last if last in known else known[0] if known else None)
        if chosen is not None:
            database.execute(f"SET search_path = {literal(name(chosen))}")
        yield database, chosen
    except duckdb.Error as error:
        raise OutcomesError(_said(error)) from error
    finally:
        database.close()


@contextmanager
def in_memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database that ends with the block."""
    with duckdb.connect(":memory:", config=_CONFIG) as connection:
        yield connection


def completeness(database: duckdb.DuckDBPyConnection, study: str, experiment: Experiment) -> tuple[int, int, bool]:
    """Return the rows of an experiment, how many of them lack an answer, and whether any is made up."""
    made_up = name(simulated_column(experiment))
    missing = " OR ".join(f"{name(f'{s.name}_missing')} IN ('not_asked', 'failed')" for s in experiment.steps)
    rows, incomplete, simulated = select(
        database,
        f"SELECT count(*), count(*) FILTER ({missing or 'FALSE'}), COALESCE(bool_or({made_up}), FALSE) "
        f"FROM {name(study)}.{name(experiment.name)}",
    ).rows[0]
    return rows, incomplete, simulated


def schema_of(database: duckdb.DuckDBPyConnection, study: str) -> list[tuple[str, str, str, str]]:
    """Return what a study's schema holds, and the macros: relation, column, type and comment."""
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


def n_samples(database: duckdb.DuckDBPyConnection, study: str, experiment: Experiment) -> int:
    """Return how many draws of each cell are loaded, answered or not."""
    ((found,),) = select(database, f"SELECT max(sample) + 1 FROM {name(study)}.{name(experiment.name)}").rows
    return int(found)


def places(database: duckdb.DuckDBPyConnection, study: str, experiment: Experiment, where: str) -> list[int]:
    """Return which rows of an experiment, from 0, a condition in SQL holds for; raises OutcomesError."""
    sql = f"SELECT {PLACE} FROM {placed(experiment, study)} AS {name(experiment.name)} WHERE ({where}) ORDER BY 1"
    return [place for (place,) in select(database, sql).rows]


def simulated_mark(database: duckdb.DuckDBPyConnection, study: str) -> str:
    """Return what is to be said beside numbers of a study that holds simulated answers; nothing for others."""
    found = database.execute("SELECT simulated FROM emdsl.studies WHERE study = ?", [study]).fetchone()
    return " (SIMULATED)" if found and found[0] else ""


def state(folder: Path, study: str) -> tuple[str, tuple[int, ...]] | None:
    """Return what a study was last loaded from: its program, and the state of the store; None if never."""
    if not (folder / FILE).exists():
        return None
    try:
        with duckdb.connect(str(folder / FILE), read_only=True, config=_CONFIG) as database:
            found = database.execute(
                "SELECT program, store_id, store_removals, store_last, store_count, store_key FROM emdsl.studies "
                "WHERE study = ?",
                [study],
            ).fetchone()
    except duckdb.Error:
        return None
    return (found[0], tuple(found[1:])) if found else None


def select(database: duckdb.DuckDBPyConnection, sql: str) -> Result:
    """Return what a query gives; raises OutcomesError with DuckDB's own words, caret included."""
    try:
        found = database.execute(sql)
        if found is None or not found.description:
            raise OutcomesError("this is no query: write SELECT ... or FROM ...")
        return Result(_unlike([c[0] for c in found.description]), found.fetchall())
    except duckdb.Error as error:
        raise OutcomesError(_said(error)) from error


def arrow(database: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """Return what a query gives as an Arrow table; raises OutcomesError as `select` does."""
    try:
        found = database.sql(sql)
        if found is None:
            raise OutcomesError("this is no query: write SELECT ... or FROM ...")
        return found.to_arrow_table()
    except duckdb.Error as error:
        raise OutcomesError(_said(error)) from error


def _unlike(columns: list[str]) -> tuple[str, ...]:
    """Return column names, each once: objects and tables are read by name."""
    found: list[str] = []
    for column in columns:
        fresh, n = column, 1
        while fresh in found:
            fresh, n = f"{column}_{n}", n + 1
        found.append(fresh)
    return tuple(found)


def write_parquet(database: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    """Write what a query gives to a Parquet file."""
    try:
        database.execute(f"COPY ({sql.rstrip().rstrip(';')}) TO {literal(str(path))} (FORMAT parquet)")
    except duckdb.Error as error:
        raise OutcomesError(_said(error)) from error


def measure_rows(database: duckdb.DuckDBPyConnection, study: str, measure: str) -> Result | None:
    """Return the rows of a measure's relation, or None where it was left out."""
    try:
        return select(database, f"SELECT * FROM {name(study)}.{name(measure)}")
    except OutcomesError as error:
        if "does not exist" in str(error):
            return None
        raise


def _said(error: duckdb.Error) -> str:
    return str(error).replace("Catalog Error: ", "").replace("Binder Error: ", "").strip()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
