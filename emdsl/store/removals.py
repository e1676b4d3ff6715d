"""What was taken out of a store: moved aside, never thrown away, and counted, so that who relied on it looks again.

The count is read without diskcache, by those who take the short way.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

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


def prepare(folder: Path) -> None:
    """See that removals are counted; raises StoreError for the store of a newer emdsl, and sqlite3.Error."""
    with _database(folder) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Removed'").fetchone():
            database.executescript(_TABLES)


def known_format(database: sqlite3.Connection, folder: Path) -> None:
    """Raise StoreError for the store of a newer emdsl: neither read nor changed."""
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Emdsl'").fetchone():
        found = database.execute("SELECT value FROM Emdsl WHERE name = 'format'").fetchone()
        if found is None or found[0] > FORMAT:
            raise StoreError(f"{folder} was made by a newer emdsl (its format is {found and found[0]}): upgrade emdsl")


def removals(folder: Path) -> tuple[int, int] | None:
    """Return which store this is, and how often entries were taken out; None where that cannot be read."""
    path = folder / DATABASE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)) as database:
            found = dict(database.execute("SELECT name, value FROM Emdsl").fetchall())
        return int(found["store"]), int(found["removals"])
    except (sqlite3.Error, KeyError, TypeError, ValueError):
        return None


def set_aside(folder: Path, keys: Iterable[Digest], why: str, batch: str = "") -> int:
    """Move entries out of the store, to be asked again; return how many there were. Raises sqlite3.Error."""
    now, n = time.time(), 0
    with _database(folder) as database:
        database.execute("BEGIN IMMEDIATE")
        for key in keys:
            moved = database.execute(
                "INSERT INTO Removed SELECT ?, ?, ?, key, value FROM Cache WHERE raw = 1 AND key = ?",
                (batch, why, now, key),
            )
            n += moved.rowcount
            database.execute("DELETE FROM Cache WHERE raw = 1 AND key = ?", (key,))
        database.execute("COMMIT")
    return n


def batches(folder: Path) -> list[tuple[str, str, float, int]]:
    """Return what was set aside: batch, why, when, how many; last first."""
    with _database(folder, write=False) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Removed'").fetchone():
            return []
        found = database.execute(
            "SELECT batch, why, max(at), count(*) FROM Removed GROUP BY batch, why ORDER BY max(at) DESC"
        ).fetchall()
    return [(str(b), str(w), float(at), int(n)) for b, w, at, n in found]


def set_aside_entries(folder: Path, batch: str) -> list[tuple[Digest, bytes]]:
    """Return the entries of a batch."""
    with _database(folder) as database:
        return database.execute("SELECT key, value FROM Removed WHERE batch = ?", (batch,)).fetchall()


def forget(folder: Path, batch: str | None) -> int:
    """Let go of what was set aside, of one batch or of all; return how many entries."""
    with _database(folder) as database:
        if batch is None:
            return database.execute("DELETE FROM Removed").rowcount
        return database.execute("DELETE FROM Removed WHERE batch = ?", (batch,)).rowcount


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
