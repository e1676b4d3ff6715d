"""Claims of a team: a row per key with its owner, who is alive while its session holds an advisory lock.

When a process ends, however it ends, PostgreSQL ends its session and frees the lock: its claims are free at once, and
no clock matters. A process whose connection was lost has no claims any more, and learns it from the next call.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from emdsl.errors import StoreError
from emdsl.files import Busy
from emdsl.store.postgres_connection import Address, errors, psycopg
from emdsl.store.postgres_schema import FORMAT, LOCKS, known_format

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.digest import Digest

BEGINNING = -1  # the lock of those that become owners: one after the other, so that each sees the others
TAKE = """
WITH dead AS MATERIALIZED (SELECT id FROM emdsl.owners EXCEPT SELECT id FROM emdsl.live_owners),
open AS (
  SELECT k FROM unnest(%b::bytea[]) k LEFT JOIN emdsl.claims c ON c.key = k
  WHERE c.owner IS NULL OR c.owner = %s OR c.owner IN (SELECT id FROM dead) ORDER BY k)
INSERT INTO emdsl.claims AS c (key, owner) SELECT k, %s FROM open
ON CONFLICT (key) DO UPDATE SET owner = excluded.owner
  WHERE c.owner = excluded.owner OR c.owner IN (SELECT id FROM dead)
RETURNING key
"""
RELEASE = """
DELETE FROM emdsl.claims WHERE key IN (
  SELECT key FROM emdsl.claims WHERE owner = %s AND key = ANY (%b) ORDER BY key FOR UPDATE)
"""


class LiveOwner(NamedTuple):
    """A process that uses a store."""

    owner: int
    run: str
    role: str
    machine: str
    pid: int


class PostgresClaims:
    """The claims of one process on the store of a team, until `close`; see `AnyClaims`.

    Raises StoreAway once its connection is lost, and StoreError.
    """

    def __init__(self, url: str, run: str) -> None:
        """Become an owner of claims, with a number of its own, on a store whose tables exist."""
        self._address = Address(url)
        self._released: set[Digest] = set()
        self._connection = self._address.connect()
        try:
            self.owner = self._begin(run)
            self._met = bool(self._connection.execute(
                "SELECT FROM emdsl.live_owners WHERE id <> %s LIMIT 1", (self.owner,)
            ).fetchall())  # fmt: skip
        except psycopg.Error as error:
            failure = self._address.failure(error, self._connection)
            self._connection.close()
            raise failure from error
        except BaseException:
            self._connection.close()
            raise

    def _begin(self, run: str) -> int:
        if known_format(self._connection, self._address.name) != FORMAT:
            raise StoreError(f"{self._address.name} has no tables of this version: open the store first")
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, BEGINNING))
            row = self._connection.execute(
                "INSERT INTO emdsl.owners (run, machine, pid) VALUES (%s, %s, %s) RETURNING id",
                (run, socket.gethostname(), os.getpid()),
            ).fetchone()
            assert row is not None
            self._connection.execute("SELECT pg_advisory_lock(%s, %s)", (LOCKS, row[0]))
        self._connection.execute("SELECT emdsl.forget_dead()")
        return int(row[0])

    @property
    def alone(self) -> bool:
        """Whether no other process has used this store since this one began: then no answer has come."""
        if not self._met:
            try:
                row = self._connection.execute("SELECT last_value FROM emdsl.owners_id_seq").fetchone()
            except psycopg.Error as error:
                raise self._address.failure(error, self._connection) from error
            self._met = row is None or row[0] != self.owner
        return not self._met

    def take(self, keys: Iterable[Digest]) -> set[Digest]:
        """Claim keys, and return those that no other process has claimed. Raises Busy, StoreAway and StoreError.

        Keys that were released before become free for others now.
        """
        wanted = sorted(set(keys))  # in one order for all: nobody waits for somebody who waits for them
        released = list(self._released.difference(wanted))
        if not wanted and not released:
            self.check()
            return set()
        won: set[Digest] = set()
        try:
            if released:  # a transaction of its own, so that nobody waits for it and is waited for
                self._connection.execute(RELEASE, (self.owner, released))
            if wanted:
                cursor = self._connection.cursor(binary=True).execute(TAKE, (wanted, self.owner, self.owner))
                won.update(key for (key,) in cursor.fetchall())
        except errors.DeadlockDetected as error:
            raise Busy(f"{self._address.name}: another process claims the same requests") from error
        except psycopg.Error as error:
            raise self._address.failure(error, self._connection) from error
        self._released.clear()
        return won

    def release(self, keys: Iterable[Digest]) -> None:
        """Release keys that are stored or given up; others see it when the next claims are taken."""
        self._released.update(keys)

    def check(self) -> None:
        """Raise StoreAway if the connection, and so the claims, are known to be lost; it costs no round trip."""
        if not self._connection.lock.acquire(blocking=False):
            return  # a statement of another thread is under way, and notices it
        try:
            for _ in range(2):  # the end of a stream comes after the last of its data
                self._connection.pgconn.consume_input()
        except psycopg.Error as error:
            self._connection.close()
            self._connection.note_end(error)
            raise self._address.failure(error, self._connection) from error
        finally:
            self._connection.lock.release()
        if self._connection.closed:
            raise self._address.failure(psycopg.OperationalError("the connection is closed"), self._connection)

    def close(self) -> None:
        """Release all claims; safe to call twice."""
        with suppress(psycopg.Error):  # a lost connection has released them
            self._connection.execute("DELETE FROM emdsl.claims WHERE owner = %s", (self.owner,))
            self._connection.execute("DELETE FROM emdsl.owners WHERE id = %s", (self.owner,))
        self._connection.close()


def live_owners(url: str) -> list[LiveOwner]:
    """Return the processes that use a store right now; raises StoreAway and StoreError."""
    address = Address(url)
    connection = address.connect(read_only=True)
    try:
        if known_format(connection, address.name) == 0:
            return []
        rows = connection.execute("SELECT id, run, role, machine, pid FROM emdsl.live_owners ORDER BY id").fetchall()
    except psycopg.Error as error:
        raise address.failure(error, connection) from error
    finally:
        connection.close()
    return [LiveOwner(*row) for row in rows]
