"""Rows of diskcache's table, many at a time: one statement writes them while other threads go on.

diskcache adds one entry at a time, with a look-up each, and every one of these statements waits for Python's lock. Its
triggers keep its counters right.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from emdsl.store.parts import Entry

RAW = 1  # diskcache's mode for bytes
AT_ONCE = 200  # entries in one statement, of four variables each: older SQLite takes 999
BULK_KIB = 128 * 1024  # of memory, and of entries in the write-ahead log
_COLUMNS = "key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value"
_ROW = f"(?, 1, ?, NULL, ?, 0, NULL, 0, {RAW}, NULL, ?)"
_SHARED_ROW = f"(?, 1, ?, NULL, ?, 0, 1, 0, {RAW}, NULL, ?)"  # with its mark: see `shared`


def connect(path: Path, busy_s: float, *, bulk: bool = False) -> sqlite3.Connection:
    """Open a store to write; committed entries survive a crash. Raises sqlite3.Error.

    `bulk` is for very many entries: keys are random, so that each transaction touches the whole index.
    """
    database = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
    database.execute("PRAGMA synchronous = FULL")
    if bulk:
        database.execute(f"PRAGMA cache_size = -{BULK_KIB}")
        database.execute(f"PRAGMA wal_autocheckpoint = {BULK_KIB // 4}")  # pages of 4 KiB
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing; raises sqlite3.Error, also if another program holds the store for too long."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # on a full disk, SQLite has rolled back by itself
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def insert(database: sqlite3.Connection, entries: Iterable[Entry], *, shared: bool = False) -> int:
    """Add entries whose keys are not there; return how many are new. Raises sqlite3.Error.

    `shared`: the store of a team has them too.
    """
    left, new, now = iter(entries), 0, time.time()
    while part := list(islice(left, AT_ONCE)):
        values: list[object] = []
        for key, entry in part:
            values += (key, now, now, entry)
        rows = ", ".join([_SHARED_ROW if shared else _ROW] * len(part))
        sql = f"INSERT OR IGNORE INTO Cache ({_COLUMNS}) VALUES {rows}"  # noqa: S608 - constants and question marks
        new += database.execute(sql, values).rowcount
    return new
