"""Removals: entries go to the trash, never away at once, and are counted, so that a changed store is noticed.

The count is read without diskcache, for start-up.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from emdsl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from emdsl.digest import Digest

DATABASE = "cache.db"
FORMAT = 1  # of the store, as below; one of a higher number is a newer emdsl's
BUSY_S = 60.0
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS Emdsl (name TEXT PRIMARY KEY, value INTEGER);
INSERT OR IGNORE INTO Emdsl VALUES ('removals', 0), ('format', 1), ('store', abs(random()));
CREATE TRIGGER IF NOT EXISTS Emdsl_removal AFTER DELETE ON Cache BEGIN
  UPDATE Emdsl SET value = value + 1 WHERE name = 'removals';
END;
CREATE TABLE IF NOT EXISTS Removed (batch TEXT, why TEXT, at REAL, key BLOB, value BLOB);
COMMIT;
"""


class StoreVersion(NamedTuple):
    """The identity of a store, the number of removals, its last row, and the number of entries."""

    store: int
    removals: int
    last: int
    n: int
    key: int = 0  # of the last row, its first bytes as a number: a restored backup has another one there

    def holds(self, before: StoreVersion) -> bool:
        """Whether all earlier entries may still be stored: same store, no removals, no older backup.

        `still_there` compares the last row of the earlier version.
        """
        return self[:2] == before[:2] and self.last >= before.last and self.n >= before.n


class Trashed(NamedTuple):
    """Answers in the trash that were moved there together."""

    name: str
    why: str
    at: float  # seconds since the epoch
    entries: int


def prepare(folder: Path) -> None:
    """Create the tables that count removals; raises StoreError for the store of a newer version, and sqlite3.Error."""
    with _database(folder) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Removed'").fetchone():
            database.executescript(_TABLES)


def known_format(database: sqlite3.Connection, folder: Path) -> None:
    """Raise StoreError for the store of a newer version: it is neither read nor changed."""
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Emdsl'").fetchone():
        row = database.execute("SELECT value FROM Emdsl WHERE name = 'format'").fetchone()
        if row is None or not isinstance(row[0], int) or row[0] > FORMAT:
            raise StoreError(f"{folder} was written by a newer version: upgrade emdsl")


def store_version(folder: Path) -> StoreVersion | None:
    """Return the version of a store; None if it is missing or cannot be read."""
    path = folder / DATABASE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)) as database:
            known_format(database, folder)
            return version_of(database)
    except (sqlite3.Error, StoreError, KeyError, TypeError, ValueError):
        return None


def version_of(database: sqlite3.Connection) -> StoreVersion:
    """Return the version of an open store; raises sqlite3.Error, KeyError, TypeError and ValueError."""
    counts = {bytes(_plain(k)).decode(): v for k, v in database.execute("SELECT name, value FROM Emdsl").fetchall()}
    last = database.execute("SELECT COALESCE(MAX(rowid), 0) FROM Cache").fetchone()[0]
    n = database.execute("SELECT value FROM Settings WHERE key = 'count'").fetchone()[0]
    return StoreVersion(int(counts["store"]), int(counts["removals"]), int(last), int(n), _key_at(database, int(last)))


def still_there(folder: Path, before: StoreVersion) -> bool:
    """Whether the last entry of an earlier version is still in its row: in a restored backup it is not."""
    try:
        with closing(sqlite3.connect(f"{(folder / DATABASE).resolve().as_uri()}?mode=ro", uri=True)) as database:
            return _key_at(database, before.last) == before.key
    except sqlite3.Error:
        return False


def _key_at(database: sqlite3.Connection, row: int) -> int:
    last = database.execute("SELECT key FROM Cache WHERE rowid = ?", (row,)).fetchone()
    return int.from_bytes(bytes(last[0])[:7], "big") if last and isinstance(last[0], bytes) else 0


def _plain(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def move_to_trash(folder: Path, keys: Iterable[Digest], why: str, name: str = "") -> int:
    """Move entries to the trash, so that they are requested again; return their number. Raises sqlite3.Error."""
    now, n = time.time(), 0
    with _database(folder) as database:
        database.execute("BEGIN IMMEDIATE")
        for key in keys:
            moved = database.execute(
                "INSERT INTO Removed SELECT ?, ?, ?, key, value FROM Cache WHERE raw = 1 AND key = ?",
                (name, why, now, key),
            )
            n += moved.rowcount
            database.execute("DELETE FROM Cache WHERE raw = 1 AND key = ?", (key,))
        database.execute("COMMIT")
    return n


def trash_removals(folder: Path) -> list[Trashed]:
    """Return the removals in the trash, last first."""
    with _database(folder, write=False) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Removed'").fetchone():
            return []
        rows = database.execute(
            "SELECT batch, why, max(at), count(*) FROM Removed GROUP BY batch, why ORDER BY max(at) DESC"
        ).fetchall()
    return [Trashed(str(b), str(w), float(at), int(n)) for b, w, at, n in rows]


def trash_entries(folder: Path, name: str) -> list[tuple[Digest, bytes]]:
    """Return the entries of a removal in the trash."""
    with _database(folder) as database:
        return database.execute("SELECT key, value FROM Removed WHERE batch = ?", (name,)).fetchall()


def purge(folder: Path, name: str | None) -> int:
    """Permanently delete one removal in the trash, or all; return the number of entries."""
    with _database(folder) as database:
        if name is None:
            return database.execute("DELETE FROM Removed").rowcount
        return database.execute("DELETE FROM Removed WHERE batch = ?", (name,)).rowcount


@contextmanager
def _database(folder: Path, *, write: bool = True) -> Iterator[sqlite3.Connection]:
    path = folder / DATABASE
    try:
        if write:
            opened = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        else:
            uri = f"{path.resolve().as_uri()}?mode=ro" + ("" if os.access(folder, os.W_OK) else "&immutable=1")
            opened = sqlite3.connect(uri, uri=True, timeout=BUSY_S)
        with closing(opened) as database:
            if write:
                database.execute("PRAGMA synchronous = FULL")
            known_format(database, folder)
            yield database
    except sqlite3.Error as error:
        raise StoreError(f"{folder} cannot be {'changed' if write else 'read'}: {error}") from error
