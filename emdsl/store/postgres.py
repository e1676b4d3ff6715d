"""The store of a team on PostgreSQL: the same entries as on disk, in one table, read and written by many machines.

Each answer is committed before it is acknowledged, and the first of a key stays. Reads reconnect once after a lost
connection. The writer does not: claims end with their connection, and with them the right to send.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.errors import StoreAway, StoreError
from emdsl.store.codec import Corrupt, decode, decoded, encode, ingredients, is_sound
from emdsl.store.parts import chunked, parts
from emdsl.store.postgres_connection import Address, errors, psycopg, rows
from emdsl.store.postgres_schema import FORMAT, known_format, migrate
from emdsl.store.removals import StoreVersion, Trashed
from emdsl.store.writer import Writer
from emdsl.surrogates import as_text

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Mapping
    from typing import LiteralString

    from emdsl.digest import Digest
    from emdsl.query import Query, Response
    from emdsl.store.parts import Entry
    from emdsl.store.writer import Pending

MAX_BATCH = 1_000  # answers in one transaction of the writer
AT_ONCE = 2_000  # entries in one statement or reply
KEYS_AT_ONCE = 50_000  # keys in one reply
STATE = """
SELECT (SELECT value FROM emdsl.about WHERE name = 'store'),
  (SELECT value FROM emdsl.about WHERE name = 'removals'), (SELECT sum(n)::bigint FROM emdsl.counts), last.id, last.key
FROM (VALUES (1)) one LEFT JOIN LATERAL (SELECT id, key FROM emdsl.answers ORDER BY id DESC LIMIT 1) last ON true
"""
SAMPLE = """
SELECT DISTINCT ON (a.id) a.entry FROM (SELECT min(id) AS first, max(id) AS last FROM emdsl.answers) ends,
  generate_series(0, %s - 1) i CROSS JOIN LATERAL (
    SELECT id, entry FROM emdsl.answers WHERE id >= first + (i * (last - first + 1)) / %s ORDER BY id LIMIT 1) a
"""
PURGE = """
WITH gone AS (DELETE FROM emdsl.trash WHERE %s::text IS NULL OR name = %s RETURNING 1) SELECT count(*) FROM gone
"""
NOT_RESTORED = """
SELECT count(*) FROM emdsl.trash t WHERE name = %s AND NOT EXISTS (SELECT FROM emdsl.answers a WHERE a.key = t.key)
"""
ENTRIES = "SELECT key, entry FROM emdsl.answers WHERE key = ANY (%b)"
INSERT = (
    "WITH added AS (INSERT INTO emdsl.answers (key, entry) SELECT * FROM unnest(%b::bytea[], %b::bytea[]) "
    "ON CONFLICT (key) DO NOTHING RETURNING 1) SELECT count(*) FROM added"
)
ADOPT = "SELECT emdsl.adopt(%b, %b)"
MOVE_DAMAGED = "SELECT emdsl.move_damaged(%b, %b)"
MOVE = "SELECT emdsl.move_to_trash(%b, %s, %s)"


class PostgresStore:
    """A store in the schema `emdsl` of a database; see `AnswerStore`. With `read_only` nothing is made or changed."""

    network = False

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Open a store; its tables are made, or brought up to date, unless it is opened to read.

        Args:
            url: postgresql://USER:PASSWORD@HOST/DATABASE.
            read_only: make and change nothing; a database without tables is an empty store.

        Raises:
            StoreAway: The server cannot be reached.
            StoreError: The URL, the password or the role's rights are wrong, or a newer emdsl has made the tables.
        """
        self.address = Address(url)
        self.corrupt: set[Digest] = set()
        self._read_only = read_only
        self._turn = threading.RLock()  # of those who use the connection
        self._connection: psycopg.Connection | None = self.address.connect(read_only=read_only)
        try:
            self._empty = not self._prepared(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._writer = Writer(self.address.connect, self._commit, self.address.failure, MAX_BATCH)

    def _prepared(self, connection: psycopg.Connection) -> bool:
        """Return whether there are tables, after they are made if they may be."""
        name, format_ = self.address.name, None
        try:
            format_ = known_format(connection, name)
            if format_ == FORMAT or (self._read_only and format_ == 0):
                return format_ == FORMAT
            if self._read_only:
                raise StoreError(
                    f"{name} was written by an older version: an admin of the store runs emdsl with it once"
                )
            migrate(connection, name)
        except errors.InsufficientPrivilege as error:
            if format_ is None:
                raise self.address.failure(error, connection) from error
            raise StoreError(
                f"{name} has no tables of this version, and the role `{connection.info.user}` may not make them: "
                "somebody who may, such as the owner of the database, runs emdsl with this store once"
            ) from error
        except psycopg.Error as error:
            raise self.address.failure(error, connection) from error
        return True

    # -------------------------------------------------------------- answers

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        """Return the stored answers by key, without damaged ones, whose keys are added to `corrupt`."""
        return decoded(self.entries(keys), self.corrupt)

    def entries(self, keys: Iterable[Digest]) -> Iterator[Entry]:
        """See AnswerStore."""
        for chunk in chunked(dict.fromkeys(keys), AT_ONCE):
            yield from self._read(ENTRIES, (chunk,))

    def stored(self, keys: Iterable[Digest]) -> list[Digest]:
        """See AnswerStore."""
        found: list[Digest] = []
        for chunk in chunked(dict.fromkeys(keys), KEYS_AT_ONCE):
            found += [k for (k,) in self._read("SELECT key FROM emdsl.answers WHERE key = ANY (%b)", (chunk,))]
        return found

    def keys(self) -> Iterator[Digest]:
        """See AnswerStore."""
        sql = "SELECT id, key FROM emdsl.answers WHERE id > %s ORDER BY id LIMIT %s"
        yield from (key for _, key in self._pages(sql, KEYS_AT_ONCE))

    def each(self) -> Iterator[tuple[Digest, bytes | None]]:
        """See AnswerStore; answers that others store meanwhile may be left out."""
        sql = "SELECT id, key, entry FROM emdsl.answers WHERE id > %s ORDER BY id LIMIT %s"
        yield from ((key, entry) for _, key, entry in self._pages(sql, AT_ONCE))

    def sample(self, n: int) -> list[tuple[Mapping[str, Any], Response]]:
        """Return at most n of the answers, evenly over the order of storing; damaged ones are left out."""
        answers: list[tuple[Mapping[str, Any], Response]] = []
        for (entry,) in self._read(SAMPLE, (n, n)):
            with suppress(Corrupt):
                answers.append((ingredients(entry), decode(entry)))
        return answers

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """Store an answer; the future holds the stored one: the first of its key."""
        self._check_writable()
        return self._writer.put(query, response)

    def adopt(self, entries: Iterable[Entry]) -> tuple[int, int]:
        """See AnswerStore; an answer from the trash keeps the name of whoever paid for it."""
        new = n = 0
        for part in parts(entries, AT_ONCE):
            added = int(self._change(ADOPT, _columns(part)))
            if added < len(part):
                arriving = dict(part)
                present = self.entries(arriving)
                if damaged := [(k, entry) for k, entry in present if not is_sound(entry) and is_sound(arriving[k])]:
                    self._change(MOVE_DAMAGED, _columns(damaged))
                    added += int(self._change(ADOPT, _columns(part)))
                    self.corrupt.difference_update(k for k, _ in damaged)
            new += added
            n += len(part)
        return new, n - new

    # -------------------------------------------------------------- the whole store

    def state(self) -> StoreVersion:
        """See AnswerStore."""
        for store, removals, n, last, key in self._read(STATE):
            return StoreVersion(store, removals, last or 0, n, _number(key))
        return StoreVersion(0, 0, 0, 0)

    def still_holds(self, before: StoreVersion) -> bool:
        """See AnswerStore."""
        if not self.state().holds(before):
            return False
        return _number(self._one("SELECT key FROM emdsl.answers WHERE id = %s", (before.last,))) == before.key

    def damage(self) -> str:
        """Return a description of damage to the whole table, or ""."""
        sql = "SELECT (SELECT count(*) FROM emdsl.answers), (SELECT sum(n)::bigint FROM emdsl.counts)"
        try:
            counts = self._read(sql, patient=True)
        except StoreAway:
            raise
        except StoreError as error:
            return str(error)
        for n, counted in counts:
            if n != counted:
                return (
                    f"it has {n:,} answers, and {counted:,} were counted: rows were lost or added without its triggers"
                )
        return ""

    def n_bytes(self) -> int:
        """See AnswerStore; it is the size of the tables of answers and of the trash, with their indexes."""
        sql = "SELECT pg_total_relation_size('emdsl.answers') + pg_total_relation_size('emdsl.trash')"
        return sum(n for (n,) in self._read(sql))

    # -------------------------------------------------------------- the trash

    def move_to_trash(self, keys: Iterable[Digest], why: str, name: str = "") -> int:
        """See AnswerStore; the table `trash` has the role that did it."""
        return int(self._change(MOVE, (list(dict.fromkeys(keys)), as_text(why), as_text(name)), patient=True))

    def trash(self) -> list[Trashed]:
        """See AnswerStore."""
        removals = self._read(
            "SELECT name, why, extract(epoch FROM max(at))::float8, count(*) FROM emdsl.trash "
            "GROUP BY name, why ORDER BY max(at) DESC, max(id) DESC"
        )
        return [Trashed(*row) for row in removals]

    def trash_entries(self, name: str) -> list[Entry]:
        """See AnswerStore."""
        return [
            (k, e)
            for k, e in self._read("SELECT key, entry FROM emdsl.trash WHERE name = %s ORDER BY id", (as_text(name),))
        ]

    def purge(self, name: str | None) -> int:
        """See AnswerStore. Only an admin purges answers that are not restored; others get a StoreError."""
        name = None if name is None else as_text(name)
        if self._one("SELECT has_table_privilege('emdsl.trash', 'DELETE')"):
            return int(self._change(PURGE, (name, name), patient=True))
        if name is None:
            raise StoreError(f"only an admin of {self.address.name} deletes the trash permanently")
        restored = int(self._change("SELECT emdsl.purge_restored(%s)", (name,)))
        if n := self._one(NOT_RESTORED, (name,)):
            raise StoreError(
                f"only an admin of {self.address.name} deletes answers permanently: "
                f"{n:,} of removal `{name}` stay in the trash"
            )
        return restored

    def close(self) -> None:
        """Write pending answers and close; safe to call twice."""
        self._writer.close()
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # -------------------------------------------------------------- statements

    def _one(self, sql: LiteralString, values: tuple[object, ...] = ()) -> Any:
        """Return the first value that a statement returns, or None."""
        return next((row[0] for row in self._read(sql, values)), None)

    def _read(
        self, sql: LiteralString, values: tuple[object, ...] = (), *, patient: bool = False
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that changes nothing; after a lost connection it is sent again, once."""
        if self._empty:
            return []
        with self._turn:
            try:
                return rows(self._open(), sql, values, patient=patient)
            except psycopg.Error as error:
                if self._connection is None or not self._connection.closed:
                    raise self.address.failure(error, self._connection) from error
            self._connection = self.address.connect(read_only=self._read_only)
            try:
                known_format(self._connection, self.address.name)
                return rows(self._connection, sql, values, patient=patient)
            except psycopg.Error as error:
                raise self.address.failure(error, self._connection) from error

    def _change(self, sql: LiteralString, values: tuple[object, ...], *, patient: bool = False) -> Any:
        """Return the value of a statement that changes the store."""
        self._check_writable()
        with self._turn:
            try:
                return rows(self._open(), sql, values, patient=patient)[0][0]
            except psycopg.Error as error:
                raise self.address.failure(error, self._connection) from error

    def _check_writable(self) -> None:
        if self._read_only:
            raise StoreError(f"{self.address.name} is open to read alone")

    def _open(self) -> psycopg.Connection:
        if self._connection is None:
            raise StoreError(f"{self.address.name} is closed")
        return self._connection

    def _pages(self, sql: LiteralString, at_once: int) -> Iterator[tuple[Any, ...]]:
        """Yield rows by their ids, which are their first column."""
        last = 0
        while page := self._read(sql, (last, at_once)):
            last = page[-1][0]
            yield from page

    # -------------------------------------------------------------- in the writer's thread

    def _commit(self, connection: psycopg.Connection, batch: list[Pending]) -> list[Response]:
        try:
            entries = [(item.key, encode(item.query, item.response)) for item in batch]  # off the event loop
            new = _insert(connection, entries)
            responses = [p.response for p in batch] if new == len(batch) else _stored(connection, batch, entries)
        except psycopg.Error as error:
            raise self.address.failure(error, connection) from error
        self.corrupt.difference_update(item.key for item in batch)
        return responses


def _stored(connection: psycopg.Connection, batch: list[Pending], entries: list[Entry]) -> list[Response]:
    """Return the answers of a batch as they are stored: some keys had one before. Damaged ones are replaced."""
    keys = list({key for key, _ in entries})
    while True:
        present: dict[bytes, bytes] = dict(rows(connection, ENTRIES, (keys,)))
        damaged = [(k, present[k]) for k, e in entries if k in present and present[k] != e and not is_sound(present[k])]
        if len(present) == len(keys) and not damaged:
            break
        if damaged:  # never used, and never deleted at once
            rows(connection, MOVE_DAMAGED, _columns(damaged))
        _insert(connection, entries)
    return [
        item.response if present[key] == entry else decode(present[key])
        for item, (key, entry) in zip(batch, entries, strict=True)
    ]


def _insert(connection: psycopg.Connection, entries: list[Entry]) -> int:
    """Add entries whose keys are not there; return how many are new."""
    new = 0
    for part in parts(entries, AT_ONCE):
        new += rows(connection, INSERT, _columns(part))[0][0]
    return new


def _columns(entries: list[Entry]) -> tuple[list[bytes], list[bytes]]:
    return [key for key, _ in entries], [entry for _, entry in entries]


def _number(key: bytes | None) -> int:
    return int.from_bytes(key[:7], "big") if key else 0
