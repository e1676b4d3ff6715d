"""What was taken out of a store: moved aside, never thrown away, and counted, so that who relied on it looks again.

The count is read without diskcache, by those who take the short way.
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


class Standing(NamedTuple):
    """Which store, how often entries were taken out of it, its last row, and how many entries it holds."""

    store: int
    removals: int
    last: int
    n: int
    key: int = 0  # of the last row, its first bytes as a number: a copy that was put back has another there

    def holds(self, before: Standing) -> bool:
        """Whether all that was stored before may still be: the same store, nothing taken out, nothing older put back.

        What stands at the last row of before is compared by `still_there`.
        """
        return self[:2] == before[:2] and self.last >= before.last and self.n >= before.n


def prepare(folder: Path) -> None:
    """See that removals are counted; raises StoreError for the store of a newer emdsl, and sqlite3.Error."""
    with _database(folder) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Removed'").fetchone():
            database.executescript(_TABLES)


def known_format(database: sqlite3.Connection, folder: Path) -> None:
    """Raise StoreError for the store of a newer emdsl: neither read nor changed."""
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Emdsl'").fetchone():
        found = database.execute("SELECT value FROM Emdsl WHERE name = 'format'").fetchone()
        if found is None or not isinstance(found[0], int) or found[0] > FORMAT:
            raise StoreError(f"{folder} was made by a newer emdsl (its format is {found and found[0]}): upgrade emdsl")


def standing(folder: Path) -> Standing | None:
    """Return where a store stands; None where there is none, or it cannot be read."""
    path = folder / DATABASE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)) as database:
            known_format(database, folder)
            return standing_of(database)
    except (sqlite3.Error, StoreError, KeyError, TypeError, ValueError):
        return None


def standing_of(database: sqlite3.Connection) -> Standing:
    """Return where a store that is open stands; raises sqlite3.Error, KeyError, TypeError and ValueError."""
    found = {bytes(_plain(k)).decode(): v for k, v in database.execute("SELECT name, value FROM Emdsl").fetchall()}
    last = database.execute("SELECT COALESCE(MAX(rowid), 0) FROM Cache").fetchone()[0]
    n = database.execute("SELECT value FROM Settings WHERE key = 'count'").fetchone()[0]
    return Standing(int(found["store"]), int(found["removals"]), int(last), int(n), _key_at(database, int(last)))


def still_there(folder: Path, before: Standing) -> bool:
    """Whether the entry that was the last one is where it was: in a copy of the store that was put back it is not."""
    try:
        with closing(sqlite3.connect(f"{(folder / DATABASE).resolve().as_uri()}?mode=ro", uri=True)) as database:
            return _key_at(database, before.last) == before.key
    except sqlite3.Error:
        return False


def _key_at(database: sqlite3.Connection, row: int) -> int:
    found = database.execute("SELECT key FROM Cache WHERE rowid = ?", (row,)).fetchone()
    return int.from_bytes(bytes(found[0])[:7], "big") if found and isinstance(found[0], bytes) else 0


def _plain(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


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
