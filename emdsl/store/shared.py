"""Which answers of a store on disk the store of a team has too, and the version of that store when it was last seen.

diskcache's column `tag`, which nothing else uses, is 1 for a shared answer: the mark comes and goes with its row. All
other answers are still to be sent to the team.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from emdsl.errors import StoreError
from emdsl.store.insertion import RAW, connect, insert, transaction
from emdsl.store.removals import DATABASE, StoreVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from emdsl.digest import Digest

PAGE = 500  # entries at once
BUSY_S = 60.0  # how long another process may hold the database
_SEEN = ("team_store", "team_removals", "team_last", "team_n", "team_key")
_INDEX = "CREATE INDEX IF NOT EXISTS Emdsl_unshared ON Cache (rowid) WHERE tag IS NULL"


def last_seen(folder: Path) -> StoreVersion | None:
    """Return the version of the team's store that was last seen from here; None before the first time."""
    with opened(folder) as database:
        rows = database.execute("SELECT name, value FROM Emdsl WHERE name LIKE 'team_%'")
        found = {str(name): int(value) for name, value in rows}
    return StoreVersion(*(found[name] for name in _SEEN)) if len(found) == len(_SEEN) else None


def note_seen(folder: Path, version: StoreVersion) -> None:
    """Keep the version of the team's store; marks of another store are removed."""
    with opened(folder) as database, transaction(database):
        database.execute(_INDEX)
        row = database.execute("SELECT value FROM Emdsl WHERE name = ?", _SEEN[:1]).fetchone()
        if row is None or row[0] != version.store:
            database.execute("UPDATE Cache SET tag = NULL WHERE tag IS NOT NULL")
        database.executemany("INSERT OR REPLACE INTO Emdsl VALUES (?, ?)", zip(_SEEN, version, strict=True))


def add_shared(database: sqlite3.Connection, entries: Iterable[tuple[Digest, bytes]]) -> None:
    """Add answers of the team; those that are here already stay. Raises sqlite3.Error."""
    with transaction(database):
        insert(database, entries, shared=True)


def copy(folder: Path, entries: Iterable[tuple[Digest, bytes]]) -> None:
    """Add answers of the team, as `add_shared`."""
    with opened(folder) as database:
        add_shared(database, entries)


def set_shared(folder: Path, keys: Iterable[Digest], *, shared: bool) -> None:
    """Mark answers as shared with the team, or as still to be sent."""
    with opened(folder) as database, transaction(database):
        database.executemany(
            "UPDATE Cache SET tag = ? WHERE raw = 1 AND key = ?", [(1 if shared else None, key) for key in keys]
        )


def unshared(folder: Path) -> Iterator[list[tuple[Digest, bytes]]]:
    """Yield the answers that the team does not have yet, in the order of storing, some at a time."""
    last = 0
    sql = (
        "SELECT rowid, key, value FROM Cache INDEXED BY Emdsl_unshared WHERE tag IS NULL AND rowid > ? AND raw = 1 "
        "AND mode = ? AND filename IS NULL AND typeof(key) = 'blob' AND typeof(value) = 'blob' ORDER BY rowid LIMIT ?"
    )
    with opened(folder) as database:
        while rows := database.execute(sql, (last, RAW, PAGE)).fetchall():
            last = rows[-1][0]
            yield [(key, value) for _, key, value in rows]


def shared_keys(folder: Path) -> Iterator[list[Digest]]:
    """Yield the keys of shared answers, some at a time."""
    last, sql = 0, "SELECT rowid, key FROM Cache WHERE tag = 1 AND rowid > ? ORDER BY rowid LIMIT ?"
    with opened(folder) as database:
        while rows := database.execute(sql, (last, PAGE)).fetchall():
            last = rows[-1][0]
            yield [key for _, key in rows]


def connect_to(folder: Path) -> sqlite3.Connection:
    """Open the store in a folder to write, for its caller to close; raises sqlite3.Error."""
    return connect(folder / DATABASE, BUSY_S)


def why(folder: Path, error: Exception) -> StoreError:
    """Return the error that a user reads."""
    return StoreError(
        f"{folder} cannot be used as the copy of a team's store: {error}. All acknowledged answers are on the server, "
        "or here; free some space if the disk is full, and run again"
    )


@contextmanager
def opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the store in a folder to write."""
    try:
        with closing(connect_to(folder)) as database:
            yield database
    except sqlite3.Error as error:
        raise why(folder, error) from error
