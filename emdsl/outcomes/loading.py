"""Loading: settled rows and measures of a study into the database, whole or not at all."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import OutcomesError
from emdsl.files import PRIVATE_FOLDER, Busy, locked, replacing
from emdsl.outcomes import database
from emdsl.outcomes.database import FILE, WRITTEN, connected, first_line
from emdsl.outcomes.draws import (
    PLACE,
    conflict_notice,
    conflicts_sql,
    draws_sql,
    group_columns,
    rows_sql,
    shared_sql,
    unshared_sql,
)
from emdsl.outcomes.level_order import order_sql
from emdsl.outcomes.load_ids import REPAIRED, check_name, known_loads, note_last, note_load
from emdsl.outcomes.macros import macros_sql
from emdsl.outcomes.measure_views import is_computed, view_sql
from emdsl.outcomes.people import not_drawn_sql, progress_notices, progress_sql
from emdsl.outcomes.sql import is_inner, literal, name, simulated_column
from emdsl.outcomes.table import Field, batch, concatenated, fields_of, table_writer, tables_in, twin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from typing import IO

    from emdsl.experiment import Experiment, Measure
    from emdsl.outcome import Outcome
    from emdsl.outcomes.computed import Computed
    from emdsl.outcomes.database import Connection

LOCK_S = 60.0  # how long a load waits for its turn
PART = 32_768  # rows that are given to DuckDB at once
INSERT_MEMORY = "300MB"  # of DuckDB while rows are inserted: it would keep all of them until the end
INSERT_LOG = "256MB"  # of its log, until it writes the rows to the tables: its default of 16 MB leaves holes
STORAGE = 64  # the number of the format that we write, in a file's header
_STUDIES = """
CREATE SCHEMA IF NOT EXISTS emdsl;
CREATE TABLE IF NOT EXISTS emdsl.studies (
  study VARCHAR PRIMARY KEY, file VARCHAR, program VARCHAR, store_last BIGINT, store_count BIGINT,
  run VARCHAR, loaded_at TIMESTAMPTZ, simulated BOOLEAN);
ALTER TABLE emdsl.studies ADD COLUMN IF NOT EXISTS store_removals BIGINT;
ALTER TABLE emdsl.studies ADD COLUMN IF NOT EXISTS store_id BIGINT;
ALTER TABLE emdsl.studies ADD COLUMN IF NOT EXISTS store_key BIGINT;
ALTER TABLE emdsl.studies ADD COLUMN IF NOT EXISTS notices VARCHAR[];
COMMENT ON TABLE emdsl.studies IS 'the studies (.em files) in this database, a schema for each';
"""


Chunk = Any  # rows to load: a list of Outcome, or an Arrow table of `Staged`


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A study to load: its schema and file, and what its rows were made from."""

    study: str
    file: str
    program: str
    store_state: tuple[
        int, int, int, int, int
    ]  # of the store: its id, removals, last row, number of entries, key of the last one
    run: str


class Staged:
    """Rows of one experiment, kept in a file until they are loaded."""

    def __init__(self, file: IO[bytes], experiment: Experiment, run: str) -> None:
        self._file, self._experiment = file, experiment
        self._fields = fields_of(experiment, run)
        self._writer: Any = None

    def add(self, rows: list[Outcome]) -> None:
        """Add settled rows."""
        table = batch(self._fields, self._experiment, rows)
        self._writer = self._writer or table_writer(self._file, table)
        self._writer.write_table(table)

    def tables(self) -> Iterator[Any]:
        """Yield the rows as Arrow tables; no more can be added."""
        if self._writer is not None:
            self._writer.close()
            self._file.seek(0)
            yield from tables_in(self._file)


def load(folder: Path, study: Load, experiments: Iterable[tuple[Experiment, Iterable[Chunk]]]) -> list[str]:
    """Replace a study's results, and return notices about its measures.

    A new file is built and renamed over the old one: readers keep the last whole state. Raises OutcomesError.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        with locked(folder / f"{FILE}.lock", wait_s=LOCK_S):
            _remove_leftovers(folder)
            known = known_loads(folder)
            try:
                with replacing(path) as fresh:
                    notices = _copied(path, fresh)
                    with connected(fresh, WRITTEN) as connection, database.interruptible():
                        notices += _fill(connection, study, experiments)
            finally:
                _remove_leftovers(folder)
            note_load(folder, study.study, study.run, known=known)
            note_last(folder, study.study)
            _wal(path).unlink(missing_ok=True)  # what it held was copied: beside the new file it would be another's
    except Busy:
        raise OutcomesError(f"{path} is locked: another load of it takes more than {LOCK_S:.0f} s") from None
    except (OSError, database.Error) as error:
        raise OutcomesError(f"{path} cannot be written: {first_line(error)}") from error
    return notices


def _wal(path: Path) -> Path:
    """Return the path of a database's write-ahead log."""
    return path.with_name(path.name + ".wal")


def _copied(path: Path, fresh: Path) -> list[str]:
    """Copy the database with its write-ahead log; keep aside one that cannot be read, and return a notice of that.

    The file itself stays until the new one takes its place: this load may be given up.
    """
    if not path.exists():
        return []
    if _storage(path) > STORAGE:
        others = "It holds this study alone; load others again with `emdsl show FILE`"
        return [f"{path} is written for newer clients only: {REPAIRED}. {others}"]
    shutil.copyfile(path, fresh)
    if _wal(path).exists():
        shutil.copyfile(_wal(path), _wal(fresh))
    fault = _fault(fresh)
    if not fault:
        return []
    fresh.unlink()
    _wal(fresh).unlink(missing_ok=True)
    broken = path.with_name(path.name + ".broken")
    with replacing(broken) as copy:
        shutil.copyfile(path, copy)
    return [f"{path} cannot be read ({fault}): {REPAIRED}. The old one is kept as {broken.name}"]


def _fault(path: Path) -> str:
    """Return why a database file cannot be used, or an empty text."""
    try:
        with connected(path) as connection:
            # free blocks at its end need not be written
            used = connection.execute("SELECT sum(used_blocks * block_size) FROM pragma_database_size()").fetchone()
    except database.Error as error:
        return first_line(error)
    size = path.stat().st_size
    return f"it is truncated: {size:,} of {used[0]:,} bytes are left" if used and used[0] > size else ""


def _storage(path: Path) -> int:
    """Return the number of the format that a database file is written in; 0 where that cannot be read."""
    with path.open("rb") as file:
        head = file.read(20)
    return int.from_bytes(head[12:20], "little") if head[8:12] == b"DUCK" else 0


def _remove_leftovers(folder: Path) -> None:
    """Remove the new files of loads that were killed or failed; the lock is ours, so none of them is in use."""
    for leftover in folder.glob(f"{FILE}.*.new*"):
        leftover.unlink(missing_ok=True)


def _fill(
    connection: Connection,
    study: Load,
    experiments: Iterable[tuple[Experiment, Iterable[Chunk]]],
) -> list[str]:
    schema, notices, simulated = study.study, list[str](), False
    connection.execute(_STUDIES)
    for statement in macros_sql():
        connection.execute(statement)
    check_name(schema, (s for (s,) in connection.execute("SELECT study FROM emdsl.studies").fetchall()))
    connection.execute(f"DROP SCHEMA IF EXISTS {name(schema)} CASCADE")
    connection.execute(f"CREATE SCHEMA {name(schema)}")
    for experiment, chunks in experiments:
        table = f"{name(schema)}.{name(experiment.name)}"
        fields = fields_of(experiment, study.run)
        _create(connection, table, fields)
        _insert_all(connection, table, _parts(fields, experiment, chunks))
        for annotation in experiment.annotations:
            if update := not_drawn_sql(annotation, table):
                connection.execute(update)
            counts = connection.execute(progress_sql(annotation, table)).fetchone() or (0, 0, 0)
            notices += progress_notices(annotation, *counts)
        connection.execute(
            f"COMMENT ON TABLE {table} IS {literal(f'results of {experiment.name}: one row per cell and sample')}"
        )
        for field in fields:
            connection.execute(f"COMMENT ON COLUMN {table}.{name(field.name)} IS {literal(field.comment)}")
        notices += _measures(connection, experiment, schema)
        _comment(connection, experiment, schema, fields)
        made_up = connection.execute(f"SELECT bool_or({name(simulated_column(experiment))}) FROM {table}").fetchone()
        simulated = simulated or bool(made_up and made_up[0])
    connection.execute(
        "INSERT OR REPLACE INTO emdsl.studies BY NAME SELECT ? AS study, ? AS file, ? AS program, ? AS store_id, "
        "? AS store_removals, ? AS store_last, ? AS store_count, ? AS store_key, ? AS run, now() AS loaded_at, "
        "? AS simulated, ?::VARCHAR[] AS notices",
        [schema, study.file, study.program, *study.store_state, study.run, simulated, notices],
    )
    return notices


def _insert_all(connection: Connection, table: str, parts: Iterable[Any]) -> None:
    """Insert Arrow tables one by one, each while the next is made: DuckDB releases Python meanwhile."""

    def insert(part: Any) -> None:
        connection.register("part", part)
        connection.execute(f"INSERT INTO {table} SELECT * FROM part")
        connection.unregister("part")

    connection.execute(f"SET memory_limit = '{INSERT_MEMORY}'; SET checkpoint_threshold = '{INSERT_LOG}'")
    with ThreadPoolExecutor(max_workers=1) as worker:
        running: Future[None] | None = None
        for part in parts:
            if running is not None:
                running.result()
            running = worker.submit(insert, part)
        if running is not None:
            running.result()
    connection.execute("RESET memory_limit")  # measures may need more


def _create(connection: Connection, table: str, fields: list[Field]) -> None:
    columns = ", ".join(f"{name(f.name)} {f.sql}" for f in fields)
    connection.execute(f"CREATE TABLE {table} ({columns})")


def faults(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Make an experiment's table and measures in memory, empty; yield the measure and the error of each that fails.

    The measure is "" where the table itself cannot be made.
    """
    with database.in_memory() as connection:
        connection.execute('CREATE SCHEMA "rehearsal"')
        fields = fields_of(experiment, "")
        if clash := twin(fields):
            yield "", clash
            return
        try:
            _create(connection, f'"rehearsal".{name(experiment.name)}', fields)
        except database.Error as error:
            yield "", f"the table of `{experiment.name}` cannot be created: {first_line(error)}"
            return
        for measure in experiment.measures:
            try:
                draws = draws_sql(experiment, measure, "rehearsal")
                if is_computed(measure):
                    _store(connection, "rehearsal", measure, _figures(connection, measure, draws, 0), 0)
                else:
                    connection.execute(view_sql(measure, draws)).fetchall()
            except database.Error as error:
                yield measure.name, f"`{measure.name}` cannot be computed: {first_line(error)}"


def _measures(connection: Connection, experiment: Experiment, schema: str) -> list[str]:
    """Create the relations of an experiment's measures; return notices about those with a fault."""
    notices: list[str] = []
    found: dict[int, Computed] = {}
    for number, measure in enumerate(experiment.measures):
        try:
            draws, n_conflicts = _draws(connection, experiment, measure, schema)
            if n_conflicts:
                notices.append(conflict_notice(experiment, measure, n_conflicts))
            elif is_computed(measure):
                found[number] = _figures(connection, measure, draws, number)
                notices += [found[number].notice] if found[number].notice else []
            else:
                connection.execute(f"CREATE VIEW {_relation(schema, measure)} AS {view_sql(measure, draws)}")
        except database.Error as error:
            notices.append(f"measure `{measure.name}` cannot be computed and is left out: {first_line(error)}")
    if found:
        from emdsl.outcomes.corrections import correct  # noqa: PLC0415 - most studies have no contrast

        correct([(experiment.measures[i], c.rows) for i, c in found.items()])
    for number, computed in found.items():
        _store(connection, schema, experiment.measures[number], computed, number)
    connection.execute("DROP TABLE IF EXISTS temp.drawn; DROP TABLE IF EXISTS temp.scored")
    return notices


def _comment(connection: Connection, experiment: Experiment, schema: str, fields: list[Field]) -> None:
    """Say in the database what the relations of measures and their columns hold."""
    from emdsl.outcomes.comments import measure_comments  # noqa: PLC0415 - the glossary is read for a load alone

    of_table, statements = {f.name: f.comment for f in fields}, list[str]()
    columns: dict[str, list[str]] = {}
    sql = "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = ? ORDER BY table_oid, column_index"
    for relation, column in connection.execute(sql, [schema]).fetchall():
        columns.setdefault(relation, []).append(column)
    for measure in experiment.measures:
        if measure.name in columns:  # it could be computed
            kind, relation = "TABLE" if is_computed(measure) else "VIEW", _relation(schema, measure)
            statements += measure_comments(experiment, measure, relation, kind, columns[measure.name], of_table)
    if statements:
        connection.execute("; ".join(["BEGIN", *statements, "COMMIT"]))


def _draws(connection: Connection, experiment: Experiment, measure: Measure, schema: str) -> tuple[str, int]:
    """Return the SELECT of a measure's draws, and how many would count twice with different values.

    Draws that are read several times are put into a temporary table.
    """
    rows, draws = rows_sql(experiment, measure, schema), draws_sql(experiment, measure, schema)
    (shared,) = connection.execute(shared_sql(measure, rows)).fetchone() or (True,)
    if is_computed(measure):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE drawn AS {draws if shared else unshared_sql(rows)}")
        draws = "SELECT * FROM temp.drawn"
    n_conflicts = 0
    if shared:
        (n_conflicts,) = connection.execute(conflicts_sql(measure, draws)).fetchone() or (0,)
    return draws, n_conflicts


def _relation(schema: str, measure: Measure) -> str:
    return f"{name(schema)}.{name(measure.name)}"


def _figures(connection: Connection, measure: Measure, draws: str, number: int) -> Computed:
    """Put the figures of a measure into a temporary table, and return what SQL cannot compute of them."""
    from emdsl.outcomes.computed import computed  # noqa: PLC0415 - only a load needs it

    ordered = order_sql(measure, [name(column) for column in group_columns(measure)])
    place = f"row_number() OVER ({f'ORDER BY {ordered}' if ordered else ''})"
    table = f"temp.found_{number}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE found_{number} AS SELECT {place} AS {PLACE}, * "
        f"FROM ({view_sql(measure, draws, parts=True)}) ORDER BY {PLACE}"
    )
    return computed(lambda sql: connection.execute(sql).fetchall(), measure, draws, table)


def _store(connection: Connection, schema: str, measure: Measure, computed: Computed, number: int) -> None:
    """Create the relation of a measure from its figures and what was computed of them."""
    from emdsl.outcomes.computed import COLUMNS  # noqa: PLC0415 - only a load needs it

    table = f"temp.found_{number}"
    columns = [str(c[0]) for c in connection.execute(f"SELECT * FROM {table} LIMIT 0").description or ()]
    present = {c for _, row in computed.rows for c in row}
    kept = [c for c in COLUMNS if c in columns and c in present]
    rows = [(place, *(row.get(c) for c in kept)) for place, row in computed.rows]
    _temporary(connection, "computed", ", ".join(["place BIGINT", *(f"{c} {COLUMNS[c]}" for c in kept)]), rows)
    shown = [f"{_computed_sql(c)} AS {c}" if c in kept else f"found.{name(c)}" for c in columns if not is_inner(c)]
    connection.execute(
        f"CREATE TABLE {_relation(schema, measure)} AS SELECT {', '.join(shown)} FROM {table} AS found "
        f"LEFT JOIN temp.computed AS computed ON found.{PLACE} = computed.place ORDER BY found.{PLACE}, computed.rowid"
    )
    connection.execute(f"DROP TABLE {table}")


def _computed_sql(column: str) -> str:
    return f"COALESCE(computed.{column}, 0)" if column == "clusters" else f"computed.{column}"


def _temporary(connection: Connection, called: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Create a small table of this connection alone."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {called} ({columns})")
    if rows:  # a column at a time: `executemany` takes a millisecond a row
        values = ", ".join(["unnest(?)"] * len(rows[0]))
        connection.execute(f"INSERT INTO temp.{called} SELECT {values}", [list(c) for c in zip(*rows, strict=True)])


def _parts(fields: list[Field], experiment: Experiment, chunks: Iterable[Chunk]) -> Iterator[Any]:
    """Yield rows as Arrow tables of at least PART rows: large enough for DuckDB, and the rows can go."""
    waiting: list[Any] = []
    n = 0
    for rows in chunks:
        waiting.append(batch(fields, experiment, rows) if isinstance(rows, list) else rows)
        n += len(rows)
        if n >= PART:
            yield concatenated(waiting)
            waiting, n = [], 0
    if waiting:
        yield concatenated(waiting)
