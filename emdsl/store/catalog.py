"""The keys that a remote holds, in a local database: which block holds a key is found without a request.

It is derived from the indexes of the remote, and may be deleted at any time. Several processes share its file: each of
them may begin the catalog again while others use numbers of packs that they have read before. So no number is ever used
for two packs, and keys are missing only if the catalog was complete while they were looked up.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from emdsl.errors import StoreError
from emdsl.files import PRIVATE, PRIVATE_FOLDER
from emdsl.store.packs import Block, prefix_of
from emdsl.store.removals import StoreVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.store.packs import Index

LOOKED_UP = 500  # keys in one SELECT
BUSY_S = 60.0
VERSION = 1  # of the tables; a file with another one is made again
_SHIFT = 16  # bits of the number of a block in a place
_FIRST_BITS = 46  # of the number before the first pack: with the number of a block, it fits into 63 bits
_TABLES = {
    "About": "(name TEXT PRIMARY KEY, value)",
    "Packs": "(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, sha256 BLOB, size INTEGER, n INTEGER)",
    "Blocks": (
        "(pack INTEGER, block INTEGER, start INTEGER, size INTEGER, sha256 BLOB, PRIMARY KEY (pack, block)) "
        "WITHOUT ROWID"
    ),
    "Keys": "(prefix INTEGER PRIMARY KEY, place INTEGER)",
    "Pulled": "(pack INTEGER PRIMARY KEY, store INTEGER, removals INTEGER, last INTEGER, n INTEGER, key INTEGER)",
}


class Pack(NamedTuple):
    """A pack of the remote."""

    id: int  # of no other pack, ever
    sha256: Digest
    size: int  # in bytes
    n: int  # entries


class Catalog:
    """The packs, blocks and keys of one remote; in memory if its file cannot be written. Methods raise StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            path.touch(mode=PRIVATE)
            try:
                self._database = self._opened(str(path))
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged
                path.write_bytes(b"")
                self._database = self._opened(str(path))
        except (OSError, sqlite3.Error):
            self._database = self._opened(":memory:")

    def _opened(self, path: str) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA synchronous = OFF")  # a damaged catalog is made again
            if _version(database) != VERSION:
                _make(database)
        except sqlite3.Error:
            database.close()  # its lock would keep the next one waiting
            raise
        return database

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def about(self) -> str:
        """Return the description of the remote that the catalog is of, or ""."""
        with self._explained():
            row = self._database.execute("SELECT value FROM About WHERE name = 'remote'").fetchone()
        return str(row[0]) if row else ""

    def refreshed_at(self) -> float:
        """Return when the remote was read, in seconds since 1970; 0 if it never was."""
        with self._explained():
            row = self._database.execute("SELECT value FROM About WHERE name = 'refreshed'").fetchone()
        return float(row[0]) if row else 0.0

    def note_refreshed(self, at: float, names: set[str]) -> bool:
        """Note when the remote was read, which has these indexes; False if another process has forgotten some since."""
        with self._explained(write=True):
            complete = names <= self._names()
            if complete:
                self._database.execute("INSERT OR REPLACE INTO About VALUES ('refreshed', ?)", (at,))
        return complete

    def begin(self, about: str) -> None:
        """Forget all, and begin the catalog of a remote; it is complete once `note_refreshed` was called."""
        with self._explained(write=True):
            for table in _TABLES:
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are constants of this file
            self._database.execute("INSERT INTO About VALUES ('remote', ?)", (about,))

    def names(self) -> set[str]:
        """Return the names of the indexes that it holds."""
        with self._explained():
            return self._names()

    def _names(self) -> set[str]:
        return {str(name) for (name,) in self._database.execute("SELECT name FROM Packs").fetchall()}

    def add(self, name: str, index: Index) -> None:
        """Add the keys of an index; a key that another pack holds stays there."""
        with self._explained(write=True):
            row = (name, index.pack, index.size, len(index.prefixes))
            added = self._database.execute("INSERT OR IGNORE INTO Packs VALUES (NULL, ?, ?, ?, ?)", row)
            if not added.rowcount:
                return
            pack = added.lastrowid or 0
            blocks = ((pack, i, *block) for i, block in enumerate(index.blocks))
            self._database.executemany("INSERT INTO Blocks VALUES (?, ?, ?, ?, ?)", blocks)
            places = ((p, pack << _SHIFT | b) for p, b in zip(index.prefixes, index.places, strict=True))
            self._database.executemany("INSERT OR IGNORE INTO Keys VALUES (?, ?)", places)

    def find(self, keys: Iterable[Digest]) -> dict[Digest, tuple[int, int]] | None:
        """Return the pack and the block of each key that the remote seems to hold.

        None if the catalog was not complete all the time: another process makes it again. A refresh by another process
        only adds keys.
        """
        complete, first = self._since()
        found, wanted = dict[bytes, tuple[int, int]](), list(keys)
        for start in range(0, len(wanted), LOOKED_UP):
            part = wanted[start : start + LOOKED_UP]
            marks = ",".join(["(?)"] * len(part))
            sql = f"WITH wanted(p) AS (VALUES {marks}) SELECT prefix, place FROM wanted CROSS JOIN Keys ON prefix = p"  # noqa: S608 - marks are question marks
            by_prefix = {prefix_of(key): key for key in part}
            with self._explained():
                rows = self._database.execute(sql, list(by_prefix)).fetchall()
            found |= {by_prefix[p]: (place >> _SHIFT, place & ((1 << _SHIFT) - 1)) for p, place in rows}
        return found if complete and self._since() == (True, first) else None

    def _since(self) -> tuple[bool, int | None]:
        """Return whether the catalog is complete, and the number of its first pack: a new one if begun again."""
        sql = "SELECT EXISTS (SELECT * FROM About WHERE name = 'refreshed'), (SELECT min(id) FROM Packs)"
        with self._explained():
            complete, first = self._database.execute(sql).fetchone()
        return bool(complete), first

    def pack(self, number: int) -> tuple[Pack, list[Block]] | None:
        """Return a pack by its number, with its blocks in order; None if the catalog was begun again since."""
        sql = (
            "SELECT id, Packs.sha256, Packs.size, n, start, Blocks.size, Blocks.sha256 "
            "FROM Packs JOIN Blocks ON pack = id WHERE id = ? ORDER BY block"
        )
        with self._explained():
            rows = self._database.execute(sql, (number,)).fetchall()
        return (Pack(*rows[0][:4]), [Block(*row[4:]) for row in rows]) if rows else None

    def packs(self) -> list[Pack]:
        """Return all packs."""
        with self._explained():
            return [Pack(*row) for row in self._database.execute("SELECT id, sha256, size, n FROM Packs ORDER BY id")]

    def pulled(self) -> dict[int, StoreVersion]:
        """Return the packs whose entries all came into a store, with a version of the store that held them."""
        with self._explained():
            rows = self._database.execute("SELECT pack, store, removals, last, n, key FROM Pulled").fetchall()
        return {pack: StoreVersion(*version) for pack, *version in rows}

    def note_pulled(self, packs: Iterable[int], version: StoreVersion) -> None:
        """Note packs whose entries are all in a store of this version."""
        with self._explained(write=True):
            sql = "INSERT OR REPLACE INTO Pulled VALUES (?, ?, ?, ?, ?, ?)"
            self._database.executemany(sql, ((pack, *version) for pack in packs))

    @contextmanager
    def _explained(self, *, write: bool = False) -> Iterator[None]:
        try:
            if not write:
                yield
                return
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except (sqlite3.Error, TypeError) as error:
            raise StoreError(f"{self._path} is damaged ({error}): delete it, it is made again") from error


def _make(database: sqlite3.Connection) -> None:
    """Make the tables, in place of those of another version."""
    database.execute("BEGIN IMMEDIATE")
    if _version(database) != VERSION:  # another process may have come first
        for table, columns in _TABLES.items():
            database.execute(f"DROP TABLE IF EXISTS {table}")
            database.execute(f"CREATE TABLE {table} {columns}")
        # another process may still hold numbers of a file that was damaged or deleted
        first = secrets.randbits(_FIRST_BITS)
        database.execute("DELETE FROM sqlite_sequence")
        database.execute("INSERT INTO sqlite_sequence VALUES ('Packs', ?)", (first,))
        database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)
