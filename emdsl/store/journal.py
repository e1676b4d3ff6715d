"""The journal of batches: which requests were submitted together, to whom, and what has come back.

It lies beside the answers, in a database of its own. What is to be submitted is written and synced before anything is
sent, and no request can be in two open batches: after a crash, any process finds each batch again. A batch is

    planned -> submitting -> running -> collected
                                     -> released     nobody waits for its answers any more; its requests are pending

In `submitting`, its provider may have it already: only the provider's list shows that.
"""

from __future__ import annotations

import enum
import json
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.errors import StoreError
from emdsl.files import PRIVATE, PRIVATE_FOLDER, locked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from emdsl.digest import Digest

JOURNAL = "batches.db"  # within the folder of the store
SHARDS = "batches"  # the folder of requests that are about to be uploaded
LOCK = "lock"  # held while batches are submitted, found again or collected
FORMAT = 1
BUSY_S = 60.0
LOOKED_UP = 500  # keys in one SELECT
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS Batch (name TEXT PRIMARY KEY, state TEXT NOT NULL, fields TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS Head (batch TEXT, head INTEGER, ingredients TEXT, PRIMARY KEY (batch, head)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS Request (
  key BLOB, batch TEXT, head INTEGER, own TEXT, experiment TEXT, most TEXT, result TEXT,
  PRIMARY KEY (batch, key)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS Request_open ON Request (key) WHERE result IS NULL;
PRAGMA user_version = {FORMAT};
COMMIT;
"""
_OWN = ("messages", "sample", "try")  # the ingredients that differ between requests with the same settings


class State(enum.Enum):
    """How far we have come with a batch."""

    PLANNED = "planned"  # written down; nothing was created
    SUBMITTING = "submitting"  # its provider may have it
    RUNNING = "running"  # its provider has it, under `id`
    COLLECTED = "collected"
    RELEASED = "released"


OPEN = (State.PLANNED, State.SUBMITTING, State.RUNNING)
CANCELLED, FORGOTTEN = "cancelled", "forgotten"  # results of requests that their user wants no more


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """One batch. Times are seconds since 1970; `place` is where its model is asked, without any secret."""

    name: str  # ours, which the provider keeps as metadata if it can
    state: State
    place: Mapping[str, Any]
    format: str  # of its requests and replies
    path: str  # of its requests
    study: str
    run: str  # that submitted it
    n: int  # requests
    size: int  # bytes
    sha256: str  # of the file of its requests
    planned_at: float
    shard: str = ""  # the file of its requests within the folder of the store, until it is created
    upload: str = ""  # the provider's id of the uploaded file
    submitted_at: float | None = None  # when its creation was first tried
    tried_at: float | None = None  # when it was last tried
    id: str = ""  # the provider's
    expires_at: float | None = None
    total: int | None = None  # as the provider last reported: of these, `answered` and `failed`
    answered: int = 0
    failed: int = 0
    not_before: float = 0.0  # the provider asked to wait until then
    note: str = ""  # what went wrong last
    cancelling: bool = False
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """One request of a batch, with the ingredients of its key, to be stored with the answer."""

    key: Digest
    ingredients: Mapping[str, Any]
    experiment: str = ""  # whose budget pays
    most_usd: Decimal | None = None  # reserved for it; None without a budget


class Held(Exception):
    """Some of the requests are in another open batch."""


class Ended(Exception):
    """The batch has ended: another process has cancelled or collected it."""


@dataclass(slots=True)
class Journal:
    """The journal in the folder of a store. Raises StoreError."""

    folder: Path
    _database: sqlite3.Connection | None = field(default=None, repr=False)

    @property
    def shards(self) -> Path:
        """The folder of requests that are about to be uploaded."""
        path = self.folder / SHARDS
        path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        return path

    @property
    def exists(self) -> bool:
        """Whether there has ever been a batch."""
        return self._database is not None or (self.folder / JOURNAL).exists()

    def close(self) -> None:
        """Close the database; safe to call twice."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextmanager
    def alone(self, wait_s: float) -> Iterator[None]:
        """Be the only process that submits and collects, during the block; raises Busy after `wait_s`."""
        with locked(self.shards / LOCK, wait_s=wait_s):
            yield

    # -------------------------------------------------------------- reading

    def batches(self, *states: State) -> list[BatchRecord]:
        """Return the batches in these states, or all, in the order of their planning."""
        if not self.exists:
            return []
        rows = self._all("SELECT name, state, fields FROM Batch")
        records = [_record(*row) for row in rows if not states or State(row[1]) in states]
        return sorted(records, key=lambda r: (r.planned_at, r.name))

    def get(self, name: str) -> BatchRecord | None:
        """Return one batch by its name."""
        rows = self._all("SELECT name, state, fields FROM Batch WHERE name = ?", name) if self.exists else []
        return _record(*rows[0]) if rows else None

    def held(self, keys: Iterable[Digest]) -> set[Digest]:
        """Return those keys whose requests are in an open batch: nobody else may send them."""
        if not self.exists:
            return set()
        found: set[Digest] = set()
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            sql = f"SELECT key FROM Request WHERE result IS NULL AND key IN ({marks})"  # noqa: S608 - question marks only
            found.update(key for (key,) in self._all(sql, *part))
        return found

    def all_held(self) -> set[Digest]:
        """Return the keys of all requests in open batches."""
        return {key for (key,) in self._all("SELECT key FROM Request WHERE result IS NULL")} if self.exists else set()

    def holders(self, keys: Iterable[Digest]) -> dict[str, int]:
        """Return the open batches that hold these requests, and how many each."""
        found: dict[str, int] = {}
        for part in _parts(keys) if self.exists else ():
            marks = ",".join("?" * len(part))
            sql = f"SELECT batch FROM Request WHERE result IS NULL AND key IN ({marks})"  # noqa: S608 - question marks only
            for (name,) in self._all(sql, *part):
                found[name] = found.get(name, 0) + 1
        return found

    def requests(self, name: str, keys: Iterable[Digest] | None = None) -> Iterator[BatchRequest]:
        """Yield the open requests of a batch: all, or those with these keys."""
        heads = {
            h: json.loads(text) for h, text in self._all("SELECT head, ingredients FROM Head WHERE batch = ?", name)
        }
        sql = "SELECT key, head, own, experiment, most FROM Request WHERE batch = ? AND result IS NULL"
        parts: Iterable[tuple[Digest, ...]] = _parts(keys) if keys is not None else [()]
        for part in parts:
            more = f" AND key IN ({','.join('?' * len(part))})" if part else ""
            for key, head, own, experiment, most in self._all(sql + more, name, *part):
                yield BatchRequest(
                    key=key, ingredients=_joined(heads[head], json.loads(own)), experiment=experiment,
                    most_usd=Decimal(most) if most is not None else None,
                )  # fmt: skip

    def unknown(self, name: str, keys: Iterable[Digest]) -> set[Digest]:
        """Return those keys that were never in a batch."""
        left = set(keys)
        for part in _parts(list(left)):
            marks = ",".join("?" * len(part))
            sql = f"SELECT key FROM Request WHERE batch = ? AND key IN ({marks})"  # noqa: S608 - question marks only
            left.difference_update(key for (key,) in self._all(sql, name, *part))
        return left

    def given_up(self, name: str) -> set[Digest]:
        """Return the keys of a batch that were cancelled or forgotten."""
        sql = "SELECT key FROM Request WHERE batch = ? AND result IN (?, ?)"
        return {key for (key,) in self._all(sql, name, CANCELLED, FORGOTTEN)} if self.exists else set()

    def counts(self, name: str) -> dict[str, int]:
        """Return the number of a batch's requests by result; those without any as `open`."""
        sql = "SELECT COALESCE(result, 'open'), count(*) FROM Request WHERE batch = ? GROUP BY 1"
        return dict(self._all(sql, name)) if self.exists else {}

    # -------------------------------------------------------------- writing

    def plan(self, record: BatchRecord, requests: Iterable[BatchRequest]) -> None:
        """Write down a batch that is about to be submitted, with its requests, all or nothing.

        Raises:
            Held: One of the requests is in another open batch.
        """
        heads: dict[str, int] = {}
        with self._transaction() as database:
            database.execute("INSERT INTO Batch VALUES (?, ?, ?)", _row(record))
            rows = (self._request_row(record.name, r, heads) for r in requests)
            try:
                database.executemany("INSERT INTO Request VALUES (?, ?, ?, ?, ?, ?, NULL)", rows)
            except sqlite3.IntegrityError as error:
                raise Held from error
            database.executemany("INSERT INTO Head VALUES (?, ?, ?)", ((record.name, n, h) for h, n in heads.items()))

    @staticmethod
    def _request_row(name: str, request: BatchRequest, heads: dict[str, int]) -> tuple[object, ...]:
        own = {k: request.ingredients[k] for k in _OWN if k in request.ingredients}
        head = json.dumps([(k, None if k in _OWN else v) for k, v in request.ingredients.items() if k != "try"])
        most = None if request.most_usd is None else f"{request.most_usd:f}"
        number = heads.setdefault(head, len(heads))
        return request.key, name, number, json.dumps(own), request.experiment, most

    def note(self, record: BatchRecord) -> None:
        """Write down the new state of an open batch.

        Raises:
            Ended: It is not open any more: `emdsl batch cancel --forget` asks nobody.
        """
        ended = (State.COLLECTED.value, State.RELEASED.value)
        with self._transaction() as database:
            name, state, written = _row(record)
            sql = "UPDATE Batch SET state = ?, fields = ? WHERE name = ? AND state NOT IN (?, ?)"
            if database.execute(sql, (state, written, name, *ended)).rowcount == 0:
                raise Ended

    def settle(self, name: str, results: Iterable[tuple[Digest, str]]) -> None:
        """Write down what came of some requests of a batch, by key: they are no longer held."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE Request SET result = ? WHERE batch = ? AND key = ? AND result IS NULL",
                ((result, name, key) for key, result in results),
            )

    def end(self, record: BatchRecord, state: State, rest: str) -> BatchRecord:
        """Close a batch: its requests without a result get `rest` as theirs, and are no longer held."""
        ended = replace(record, state=state, ended_at=time.time())
        with self._transaction() as database:
            name, word, written = _row(ended)
            database.execute("UPDATE Batch SET state = ?, fields = ? WHERE name = ?", (word, written, name))
            database.execute("UPDATE Request SET result = ? WHERE batch = ? AND result IS NULL", (rest, name))
        if record.shard:
            (self.folder / record.shard).unlink(missing_ok=True)
        return ended

    # -------------------------------------------------------------- the database

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            path = self.folder / JOURNAL
            try:
                if not path.exists():  # an existing one may be read where it cannot be written
                    self.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
                    path.touch(mode=PRIVATE)
                database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
                with closing(database.execute("PRAGMA user_version")) as cursor:
                    version = cursor.fetchone()[0]
                if version > FORMAT:
                    database.close()
                    raise StoreError(f"{path} was written by a newer version: upgrade emdsl")
                database.execute("PRAGMA synchronous = FULL")
                if version < FORMAT:
                    database.executescript(_TABLES)
            except (OSError, sqlite3.Error) as error:
                raise StoreError(f"the journal of batches {path} cannot be used: {error}") from error
            self._database = database
        return self._database

    def _all(self, sql: str, *values: object) -> list[Any]:
        try:
            return self._open().execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the journal of batches {self.folder / JOURNAL} cannot be read: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._open()
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"the journal of batches {self.folder / JOURNAL} cannot be written: {error}") from error


def _parts(keys: Iterable[Digest]) -> Iterator[tuple[Digest, ...]]:
    left = iter(keys)
    while part := tuple(islice(left, LOOKED_UP)):
        yield part


def _joined(head: list[tuple[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ingredients of a key in their order: `try` stands behind `sample`."""
    joined: dict[str, Any] = {}
    for name, value in head:
        joined[name] = own[name] if name in _OWN else value
        if name == "sample" and "try" in own:
            joined["try"] = own["try"]
    return joined


def _row(record: BatchRecord) -> tuple[str, str, str]:
    rest = {f.name: getattr(record, f.name) for f in fields(record) if f.name not in ("name", "state")}
    return record.name, record.state.value, json.dumps(rest)


def _record(name: str, state: str, written: str) -> BatchRecord:
    known = {f.name for f in fields(BatchRecord)}
    return BatchRecord(
        name=name, state=State(state), **{k: v for k, v in json.loads(written).items() if k in known}
    )  # fmt: skip
