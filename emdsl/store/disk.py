"""The store on disk: diskcache, with every default that loses data turned off. The door to diskcache.

The thread of a `writer` owns the connection that writes, and commits whatever has arrived as one transaction, so that
an answer is acknowledged only after `synchronous=FULL` has put it on the disk. Readers have read-only connections of
their own.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diskcache

from emdsl.errors import StoreError
from emdsl.store.codec import Corrupt, decode, decoded, encode, ingredients, is_sound
from emdsl.store.insertion import RAW, connect, insert, transaction
from emdsl.store.parts import parts
from emdsl.store.place import claim_host, on_network
from emdsl.store.removals import (
    StoreVersion,
    known_format,
    move_to_trash,
    prepare,
    purge,
    still_there,
    trash_entries,
    trash_removals,
    version_of,
)
from emdsl.store.writer import Writer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.query import Query, Response
    from emdsl.store.removals import Trashed
    from emdsl.store.writer import Pending

SETTINGS = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**62,
    "disk_min_file_size": 2**62,  # everything in the database: a named file could lie anywhere
    "statistics": 0,
    "tag_index": 0,
    "sqlite_synchronous": 2,  # FULL
    "sqlite_journal_mode": "wal",
}
MAX_BATCH = 512  # answers in one transaction
ADOPTED = 10_000  # entries of another store in one transaction
LOOKED_UP = 500  # keys in one SELECT
PAGE = 2_000  # entries read at once where all are
BUSY_S = 60.0  # how long another process may hold the database


class _BytesOnly(diskcache.Disk):  # type: ignore[misc]  # diskcache ships no types
    """Keys and values are bytes, and nothing is ever unpickled or read from a named file."""

    def put(self, key: Any) -> tuple[Any, bool]:
        if type(key) is not bytes:
            raise TypeError("keys of the store are bytes")
        return sqlite3.Binary(key), True

    def get(self, key: Any, raw: Any) -> bytes:
        if not raw or type(key) is not bytes:
            raise StoreError("the store contains a key that emdsl did not write")
        return key

    def store(self, value: Any, read: Any, key: Any = diskcache.UNKNOWN) -> tuple[int, int, None, Any]:
        if read or type(value) is not bytes:
            raise TypeError("values of the store are bytes")
        return 0, RAW, None, sqlite3.Binary(value)

    def remove(self, file_path: Any) -> None:
        """Remove no file: our store has none, and a planted name could point anywhere."""

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes:
        if mode != RAW or filename is not None or read or type(value) is not bytes:
            raise StoreError("the store contains an entry that emdsl did not write; it is not opened")
        return value


class DiskStore:
    """A store in a folder; see `AnswerStore`. With `read_only` nothing is created or changed."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.network = on_network(folder if folder.exists() else folder.parent)
        self.corrupt: set[Digest] = set()
        self._cache: Any = None
        self._is: tuple[int, int] | None = None  # the file that is open
        path = folder / diskcache.core.DBNAME
        self._writer = Writer(
            lambda: connect(path, BUSY_S), self._commit, lambda e: StoreError(_why(folder, e)), MAX_BATCH
        )
        if read_only:
            self._reader = _reader(path) if path.exists() else None
            return
        try:
            _private(folder)
            path.touch(mode=0o600)  # before SQLite makes it: its side files take their mode from it
            path.chmod(0o600)
            if self.network:
                claim_host(folder)
            self._cache = _opened(folder, network=self.network)
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            raise StoreError(_why(folder, error)) from error
        self._reader = _reader(path)
        self._is = _identity(path)

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        """Return the stored answers by key, without damaged ones, whose keys are added to `corrupt`."""
        return decoded(self.entries(keys), self.corrupt)

    def entries(self, keys: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """Yield stored entries as bytes, in no order; keys of foreign entries are added to `corrupt`."""
        if self._reader is not None:
            yield from self._entries(self._reader, keys)

    def stored(self, keys: Iterable[Digest]) -> list[Digest]:
        """Return the keys that have an entry, which is not read."""
        stored, wanted = list[bytes](), list(dict.fromkeys(keys))
        if self._reader is None:
            return stored
        for start in range(0, len(wanted), LOOKED_UP):
            chunk = wanted[start : start + LOOKED_UP]
            marks = ",".join(["(?)"] * len(chunk))
            sql = f"WITH wanted(k) AS (VALUES {marks}) SELECT key FROM wanted CROSS JOIN Cache ON key = k AND raw = 1"
            try:
                stored += [key for (key,) in self._reader.execute(sql, chunk)]
            except sqlite3.Error as error:
                raise StoreError(_why(self.folder, error)) from error
        return stored

    def _entries(self, database: sqlite3.Connection, keys: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), LOOKED_UP):
            chunk = wanted[start : start + LOOKED_UP]
            marks = ",".join(["(?)"] * len(chunk))
            sql = (  # faster than IN, which sorts its list first
                f"WITH wanted(k) AS (VALUES {marks}) "
                "SELECT key, mode, filename, value FROM wanted CROSS JOIN Cache ON key = k AND raw = 1"
            )
            try:
                rows = database.execute(sql, chunk).fetchall()
            except sqlite3.Error as error:
                raise StoreError(_why(self.folder, error)) from error
            for key, mode, filename, value in rows:
                if mode != RAW or filename is not None or type(value) is not bytes:
                    self.corrupt.add(key)  # planted or damaged: never unpickled, never opened
                    continue
                yield key, value

    def sample(self, n: int) -> list[tuple[Mapping[str, Any], Response]]:
        """Return at most n of the answers, evenly over the order of storing; damaged ones are left out."""
        if self._reader is None:
            return []
        try:
            (last,) = self._reader.execute("SELECT max(rowid) FROM Cache").fetchone()
            ids = range(1, (last or 0) + 1) if (last or 0) <= n else [1 + i * last // n for i in range(n)]
            sql = f"SELECT mode, filename, value FROM Cache WHERE raw = 1 AND rowid IN ({','.join('?' * len(ids))})"
            rows = self._reader.execute(sql, list(ids)).fetchall()
        except sqlite3.Error:  # a sample is a help for estimates: what is needed is read by its key, and reported
            return []
        answers: list[tuple[Mapping[str, Any], Response]] = []
        for mode, filename, value in rows:
            if mode == RAW and filename is None and type(value) is bytes:
                with suppress(Corrupt):
                    answers.append((ingredients(value), decode(value)))
        return answers

    def each(self) -> Iterator[tuple[Digest, bytes | None]]:
        """Yield all entries in the order of storing; None for one that emdsl did not write."""
        if self._reader is None:
            return
        last = 0
        while True:
            sql = "SELECT rowid, key, raw, mode, filename, value FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT ?"
            try:
                rows = self._reader.execute(sql, (last, PAGE)).fetchall()
            except sqlite3.Error as error:
                raise StoreError(_why(self.folder, error)) from error
            for rowid, key, raw, mode, filename, value in rows:
                last = rowid
                ours = raw == 1 and mode == RAW and filename is None and type(value) is bytes and type(key) is bytes
                yield (key if type(key) is bytes else repr(key).encode()), (value if ours else None)
            if not rows:
                return

    def keys(self) -> Iterator[Digest]:
        """See AnswerStore."""
        if self._reader is None:
            return
        last = 0
        sql = "SELECT rowid, key FROM Cache WHERE raw = 1 AND rowid > ? ORDER BY rowid LIMIT ?"
        while True:
            try:
                rows = self._reader.execute(sql, (last, PAGE)).fetchall()
            except sqlite3.Error as error:
                raise StoreError(_why(self.folder, error)) from error
            if not rows:
                return
            last = rows[-1][0]
            yield from (key for _, key in rows if type(key) is bytes)

    def damage(self) -> str:
        """Return SQLite's description of damage to the whole database, or ""."""
        if self._reader is None:
            return ""
        try:
            (result,) = self._reader.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            return str(error)
        text = result.decode() if isinstance(result, bytes) else str(result)
        return "" if text == "ok" else text

    def adopt(self, entries: Iterable[tuple[Digest, bytes]]) -> tuple[int, int]:
        """Add entries of another store unless a sound one is stored; return how many are new, and how many are not."""
        new = n = 0
        try:
            with closing(connect(self.folder / diskcache.core.DBNAME, BUSY_S, bulk=True)) as database:
                for part in parts(entries, ADOPTED):
                    with transaction(database):
                        added = insert(database, part)
                    if added < len(part) and (bad := self._replaced(dict(part))):
                        move_to_trash(self.folder, bad, "damaged")
                        with transaction(database):
                            added += insert(database, part)
                    new += added
                    n += len(part)
        except sqlite3.Error as error:
            raise StoreError(_why(self.folder, error)) from error
        return new, n - new

    def _replaced(self, arriving: Mapping[Digest, bytes]) -> list[Digest]:
        """Return which stored entries are damaged, and those that arrive in their place are not."""
        damaged = [key for key, entry in self.entries(arriving) if not is_sound(entry)]
        damaged += [key for key in arriving if key in self.corrupt and key not in damaged]
        return [key for key in damaged if is_sound(arriving[key])]

    def state(self) -> StoreVersion:
        """Return the version, which changes whenever entries come or go."""
        if self._reader is None:
            return StoreVersion(0, 0, 0, 0)
        try:
            return version_of(self._reader)
        except KeyError:  # read only, and never opened by this emdsl to write
            return StoreVersion(0, 0, 0, 0)
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise StoreError(_why(self.folder, error)) from error

    def still_holds(self, before: StoreVersion) -> bool:
        """See AnswerStore."""
        return self.state().holds(before) and still_there(self.folder, before)

    def n_bytes(self) -> int:
        """See AnswerStore."""
        return sum(file.stat().st_size for file in self.folder.glob(f"{diskcache.core.DBNAME}*"))

    def move_to_trash(self, keys: Iterable[Digest], why: str, name: str = "") -> int:
        """See AnswerStore."""
        return move_to_trash(self.folder, keys, why, name)

    def trash(self) -> list[Trashed]:
        """See AnswerStore."""
        return trash_removals(self.folder)

    def trash_entries(self, name: str) -> list[tuple[Digest, bytes]]:
        """See AnswerStore."""
        return trash_entries(self.folder, name)

    def purge(self, name: str | None) -> int:
        """See AnswerStore."""
        return purge(self.folder, name)

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """Store an answer; the future holds the stored one: the first of its key."""
        return self._writer.put(query, response)

    def close(self) -> None:
        """Write pending answers and close; safe to call twice."""
        self._writer.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    # -------------------------------------------------------------- in the writer's thread

    def _commit(self, database: sqlite3.Connection, batch: list[Pending]) -> list[Response]:
        if damaged := [item.key for item in batch if item.key in self.corrupt]:
            move_to_trash(self.folder, damaged, "damaged")  # never used, and never deleted at once
        entries = [(item.key, encode(item.query, item.response)) for item in batch]  # off the event loop
        with transaction(database):  # waits BUSY_S for another writer, then gives up
            new = insert(database, entries)
        if _identity(self.folder / diskcache.core.DBNAME) != self._is:  # SQLite writes to a file that is gone
            raise StoreError(
                f"{self.folder} was removed or replaced during the run, and its answers with it. "
                "If it was moved, put it back; then run again"
            )
        responses = [item.response for item in batch] if new == len(batch) else self._stored(database, batch, entries)
        self.corrupt.difference_update(item.key for item in batch)
        return responses

    def _stored(
        self, database: sqlite3.Connection, batch: list[Pending], entries: list[tuple[Digest, bytes]]
    ) -> list[Response]:
        """Return the answers of a batch as they are stored: some keys had one before. Damaged ones are replaced."""
        present = dict(self._entries(database, [key for key, _ in entries]))
        damaged = {k: e for k, e in entries if present.get(k) != e and (k not in present or not is_sound(present[k]))}
        if damaged:
            move_to_trash(self.folder, damaged, "damaged")
            with transaction(database):
                insert(database, damaged.items())
            present |= damaged
        return [
            item.response if present[key] == entry else decode(present[key])
            for item, (key, entry) in zip(batch, entries, strict=True)
        ]


def _opened(folder: Path, *, network: bool = False) -> Any:
    """Open the cache with our settings, whatever another program set; raises StoreError if they cannot be set."""
    settings = SETTINGS | ({"sqlite_journal_mode": "delete"} if network else {})  # no shared memory over a network
    cache = diskcache.Cache(str(folder), timeout=BUSY_S, disk=_BytesOnly, **settings)
    prepare(folder)
    for name, wanted in settings.items():
        if cache.reset(name, update=False) != wanted:
            raise StoreError(f"{folder}: another program changed the store's setting `{name}`; it should be `{wanted}`")
    return cache


def _reader(path: Path) -> sqlite3.Connection:
    """Open a read-only connection, also in a folder that cannot be written."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        try:
            return _connected(uri)
        except sqlite3.OperationalError:
            if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
                raise
            return _connected(f"{uri}&immutable=1")  # nobody can write there: no side files are needed
    except sqlite3.Error as error:
        raise StoreError(_why(path.parent, error)) from error


def _connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
    connection.text_factory = bytes  # a damaged value may have become a text that is no UTF-8
    connection.execute("SELECT 1 FROM Cache LIMIT 1")
    known_format(connection, Path(uri.removeprefix("file://").partition("?")[0]).parent)
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the identity of the file at a path, or None."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(PermissionError):  # another's folder, that we may write to
        folder.chmod(0o700)


def _why(folder: Path, error: Exception) -> str:
    text = str(error)
    if "readonly" in text or isinstance(error, PermissionError):
        return f"{folder} cannot be written: {text}. All stored answers are safe; choose another folder with --cache"
    if "full" in text or "disk I/O" in text:
        return (
            f"the disk of {folder} is full or failing ({text}). "
            "All stored answers are safe; free some space and run again"
        )
    if "locked" in text or isinstance(error, diskcache.Timeout):
        return f"{folder} has been locked by another program for more than {BUSY_S:.0f} s"
    if "not a database" in text or "malformed" in text:
        return f"{folder} is damaged: {text}. Move it away, or restore it from a backup"
    return f"{folder} cannot be used: {text}"
