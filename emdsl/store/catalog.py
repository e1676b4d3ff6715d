"""The keys that a remote holds, in a local database: which block holds a key is found without a request.

It is derived from the indexes of the remote, and may be deleted at any time.
"""

from __future__ import annotations

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
_SHIFT = 16  # bits of the number of a block in a place
_TABLES = """
CREATE TABLE IF NOT EXISTS About (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS Packs (id INTEGER PRIMARY KEY, name TEXT UNIQUE, sha256 BLOB, size INTEGER, n INTEGER);
CREATE TABLE IF NOT EXISTS Blocks (
  pack INTEGER, block INTEGER, start INTEGER, size INTEGER, sha256 BLOB, PRIMARY KEY (pack, block)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS Keys (prefix INTEGER PRIMARY KEY, place INTEGER);
CREATE TABLE IF NOT EXISTS Pulled (
  pack INTEGER PRIMARY KEY, store INTEGER, removals INTEGER, last INTEGER, n INTEGER, key INTEGER
);
"""


class Pack(NamedTuple):
    """A pack of the remote."""

    id: int
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
        database.execute("PRAGMA synchronous = OFF")  # a damaged catalog is made again
        database.executescript(_TABLES)
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

    def note_refreshed(self, at: float) -> None:
        """Note when the remote was read."""
        with self._explained(write=True):
            self._database.execute("INSERT OR REPLACE INTO About VALUES ('refreshed', ?)", (at,))

    def begin(self, about: str) -> None:
        """Forget all, and begin the catalog of a remote."""
        with self._explained(write=True):
            for table in ("About", "Packs", "Blocks", "Keys", "Pulled"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are constants of this function
            self._database.execute("INSERT INTO About VALUES ('remote', ?)", (about,))

    def names(self) -> set[str]:
        """Return the names of the indexes that it holds."""
        with self._explained():
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

    def find(self, keys: Iterable[Digest]) -> dict[Digest, tuple[int, int]]:
        """Return the pack and the block of each key that the remote seems to hold."""
        found, wanted = dict[bytes, tuple[int, int]](), list(keys)
        for start in range(0, len(wanted), LOOKED_UP):
            part = wanted[start : start + LOOKED_UP]
            marks = ",".join(["(?)"] * len(part))
            sql = f"WITH wanted(p) AS (VALUES {marks}) SELECT prefix, place FROM wanted CROSS JOIN Keys ON prefix = p"  # noqa: S608 - marks are question marks
            by_prefix = {prefix_of(key): key for key in part}
            with self._explained():
                rows = self._database.execute(sql, list(by_prefix)).fetchall()
            found |= {by_prefix[p]: (place >> _SHIFT, place & ((1 << _SHIFT) - 1)) for p, place in rows}
        return found

    def blocks(self, pack: int) -> list[Block]:
        """Return the blocks of a pack, in order."""
        sql = "SELECT start, size, sha256 FROM Blocks WHERE pack = ? ORDER BY block"
        with self._explained():
            return [Block(*row) for row in self._database.execute(sql, (pack,)).fetchall()]

    def pack(self, pack: int) -> Pack:
        """Return a pack by its number."""
        with self._explained():
            sql = "SELECT id, sha256, size, n FROM Packs WHERE id = ?"
            return Pack(*self._database.execute(sql, (pack,)).fetchone())

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
