"""The store on disk: diskcache, with every default that loses data turned off. The door to diskcache.

One writer thread owns the connection that writes, and commits whatever has arrived as one transaction, so
that an answer is acknowledged only after `synchronous=FULL` has put it on the disk. Readers have read-only
connections of their own.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diskcache

from emdsl.errors import StoreError
from emdsl.store.codec import Corrupt, decode, encode
from emdsl.store.place import claim_host, on_network
from emdsl.store.removals import Standing, known_format, prepare, set_aside, standing_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.digest import Digest
    from emdsl.query import Query, Response

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
LOOKED_UP = 500  # keys in one SELECT
PAGE = 2_000  # entries read at once where all are
BUSY_S = 60.0  # how long another process may hold the database
_RAW = 1  # diskcache's mode for bytes


class _BytesOnly(diskcache.Disk):  # type: ignore[misc]  # diskcache ships no types
    """Keys and values are bytes, and nothing is ever unpickled or read from a named file."""

    def put(self, key: Any) -> tuple[Any, bool]:
        if type(key) is not bytes:
            raise TypeError("keys of the store are bytes")
        return sqlite3.Binary(key), True

    def get(self, key: Any, raw: Any) -> bytes:
        if not raw or type(key) is not bytes:
            raise StoreError("the store holds a key that emdsl did not write")
        return key

    def store(self, value: Any, read: Any, key: Any = diskcache.UNKNOWN) -> tuple[int, int, None, Any]:
        if read or type(value) is not bytes:
            raise TypeError("values of the store are bytes")
        return 0, _RAW, None, sqlite3.Binary(value)

    def remove(self, file_path: Any) -> None:
        """Remove no file: ours has none, and a planted name could lie anywhere."""

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes:
        if mode != _RAW or filename is not None or read or type(value) is not bytes:
            raise StoreError("the store holds an entry that emdsl did not write; it is not opened")
        return value


class DiskStore:
    """Answers in a folder; see `Store`. `read_only` never creates or changes anything."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.network = on_network(folder if folder.exists() else folder.parent)
        self.corrupt: set[Digest] = set()
        self._waiting: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._failed: StoreError | None = None
        self._writer: threading.Thread | None = None
        self._cache: Any = None
        self._is: tuple[int, int] | None = None  # the file that is open
        path = folder / diskcache.core.DBNAME
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
        """Return the answers that are stored, by key; a damaged one is left out and told in `corrupt`."""
        found: dict[Digest, Response] = {}
        for key, entry in self.entries(keys):
            try:
                found[key] = decode(entry)
            except Corrupt:
                self.corrupt.add(key)
        return found

    def entries(self, keys: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """Yield stored entries as bytes, in no order. Raises StoreError for one that emdsl did not write."""
        if self._reader is None:
            return
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), LOOKED_UP):
            chunk = wanted[start : start + LOOKED_UP]
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT key, mode, filename, value FROM Cache WHERE raw = 1 AND key IN ({marks})"
            try:
                rows = self._reader.execute(sql, chunk).fetchall()
            except sqlite3.Error as error:
                raise StoreError(_why(self.folder, error)) from error
            for key, mode, filename, value in rows:
                if mode != _RAW or filename is not None or type(value) is not bytes:
                    self.corrupt.add(key)  # planted or damaged: never unpickled, never opened
                    continue
                yield key, value

    def each(self) -> Iterator[tuple[Digest, bytes | None]]:
        """Yield every entry in the order in which they were stored; None for one that emdsl did not write."""
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
                ours = raw == 1 and mode == _RAW and filename is None and type(value) is bytes and type(key) is bytes
                yield (key if type(key) is bytes else repr(key).encode()), (value if ours else None)
            if not rows:
                return

    def damage(self) -> str:
        """Return what SQLite finds wrong with the database as a whole; nothing where it is sound."""
        if self._reader is None:
            return ""
        try:
            found = self._reader.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            return str(error)
        said = found[0].decode() if isinstance(found[0], bytes) else str(found[0])
        return "" if said == "ok" else said

    def adopt(self, entries: Iterable[tuple[Digest, bytes]]) -> tuple[int, int]:
        """Take in entries of another store; what is here already stays. Returns how many were new, and how many not."""
        new = old = 0
        waiting = iter(entries)
        try:
            while part := list(islice(waiting, MAX_BATCH)):
                bad = [k for k, present in self.entries(k for k, _ in part) if _damaged(present)]
                bad += self.corrupt.intersection(k for k, _ in part)
                if bad:
                    set_aside(self.folder, dict.fromkeys(bad), "damaged")
                with self._cache.transact():
                    for key, entry in part:
                        added = self._cache.add(key, entry)
                        new, old = new + added, old + (not added)
        except (sqlite3.Error, diskcache.Timeout) as error:
            raise StoreError(_why(self.folder, error)) from error
        return new, old

    def state(self) -> Standing:
        """Return numbers that change whenever entries come or go."""
        if self._reader is None:
            return Standing(0, 0, 0, 0)
        try:
            return standing_of(self._reader)
        except KeyError:  # read only, and never opened by this emdsl to write
            return Standing(0, 0, 0, 0)
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise StoreError(_why(self.folder, error)) from error

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """Store an answer; the future holds what is stored, which is what came first."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Response] = loop.create_future()
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="emdsl-store", daemon=True)
            self._writer.start()
        self._waiting.put(_Put(query, response, future, loop))
        return future

    def close(self) -> None:
        """Write what is waiting, and close; safe to call twice."""
        if self._writer is not None:
            self._waiting.put(None)
            self._writer.join()
            self._writer = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    # -------------------------------------------------------------- the writer thread

    def _write(self) -> None:
        try:
            while (first := self._waiting.get()) is not None:
                batch, ends = self._batch(first)
                self._commit(batch)
                if ends:
                    break
        finally:
            with suppress(sqlite3.Error):
                self._cache.close()  # this thread's connection

    def _batch(self, first: _Put) -> tuple[list[_Put], bool]:
        """Return whatever has arrived by now, and whether the end was among it."""
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
            if item is None:
                return batch, True
            batch.append(item)
        return batch, False

    def _commit(self, batch: list[_Put]) -> None:
        stored: list[tuple[_Put, Response]] = []
        try:
            if self._failed:
                raise self._failed  # noqa: TRY301 - told to all who wait, as any other failure
            if damaged := [item.key for item in batch if item.key in self.corrupt]:
                set_aside(self.folder, damaged, "damaged")  # never believed, and never thrown away
            entries = [encode(item.query, item.response) for item in batch]  # off the event loop
            with self._cache.transact():  # waits BUSY_S for another writer, then gives up
                for item, entry in zip(batch, entries, strict=True):
                    if self._cache.add(item.key, entry):
                        stored.append((item, item.response))
                    else:
                        stored.append((item, decode(self._cache.get(item.key))))
            if _identity(self.folder / diskcache.core.DBNAME) != self._is:  # SQLite writes to a file that is gone
                raise StoreError(  # noqa: TRY301 - as above
                    f"{self.folder} was removed or replaced during the run: the answers in it are not there any more. "
                    "Put it back, if it was moved, and run again"
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._failed = self._failed or (
                error if isinstance(error, StoreError) else StoreError(_why(self.folder, error))
            )
            failed = self._failed
            _settle(batch[0].loop, [(item.future, None, failed) for item in batch])
            return
        self.corrupt.difference_update(item.key for item in batch)
        _settle(batch[0].loop, [(item.future, response, None) for item, response in stored])


def _damaged(entry: bytes) -> bool:
    try:
        decode(entry)
    except Corrupt:
        return True
    return False


class _Put:
    """An answer that waits to be written."""

    __slots__ = ("future", "key", "loop", "query", "response")

    def __init__(
        self, query: Query, response: Response, future: asyncio.Future[Response], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.key, self.query, self.response, self.future, self.loop = query.key, query, response, future, loop


def _settle(
    loop: asyncio.AbstractEventLoop,
    done: list[tuple[asyncio.Future[Response], Response | None, StoreError | None]],
) -> None:
    """Wake the loop once for a whole batch."""

    def settle() -> None:
        for future, response, error in done:
            if future.done():  # cancelled: the answer is stored all the same
                continue
            if error is not None:
                future.set_exception(error)
            elif response is not None:
                future.set_result(response)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)


def _opened(folder: Path, *, network: bool = False) -> Any:
    """Return the cache with our settings, whatever an earlier opener left; raises StoreError if they do not hold."""
    settings = SETTINGS | ({"sqlite_journal_mode": "delete"} if network else {})  # no shared memory over a network
    cache = diskcache.Cache(str(folder), timeout=BUSY_S, disk=_BytesOnly, **settings)
    prepare(folder)
    for name, wanted in settings.items():
        if cache.reset(name, update=False) != wanted:
            raise StoreError(f"{folder}: the store's `{name}` is not {wanted!r}: another program has changed it")
    return cache


def _reader(path: Path) -> sqlite3.Connection:
    """Return a connection that only reads, also from a folder that cannot be written."""
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
    """Return which file a path names now; None for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(PermissionError):  # another's folder, that we may write to
        folder.chmod(0o700)


def _why(folder: Path, error: Exception) -> str:
    text = str(error)
    if "readonly" in text or isinstance(error, PermissionError):
        return f"{folder} cannot be written: {text}. Answers stored so far are safe; choose another place with --cache"
    if "full" in text or "disk I/O" in text:
        return (
            f"the disk that holds {folder} is full, or fails ({text}). "
            "Answers stored so far are safe; make room and run again"
        )
    if "locked" in text or isinstance(error, diskcache.Timeout):
        return f"{folder} is in use by another program for more than {BUSY_S:.0f} s"
    if "not a database" in text or "malformed" in text:
        return f"{folder} is damaged: {text}. Move it away, or restore it from a copy"
    return f"{folder} cannot be used: {text}"
