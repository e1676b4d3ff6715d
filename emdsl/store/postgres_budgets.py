"""Budgets of a team: one row each, locked by whoever draws from it or settles, and a purse for each process.

A budget is never exceeded: its spending and the money in purses are at most its limit. The purse of a process whose
session has ended counts as spent, since nobody knows how much of it was.
"""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from emdsl.errors import StoreAway, StoreError
from emdsl.store.postgres_connection import Address, psycopg
from emdsl.store.postgres_schema import FORMAT, known_format
from emdsl.store.team import kept

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARE = 4  # a process draws at most this part of the remaining money, unless one request needs more
_LOCK = "SELECT FROM emdsl.budgets WHERE name = %(budget)s FOR UPDATE"
_BURY = """
WITH dead AS (
  DELETE FROM emdsl.purses p WHERE budget = %(budget)s AND owner NOT IN (SELECT id FROM emdsl.live_owners)
  RETURNING p.usd)
UPDATE emdsl.budgets SET spent_usd = spent_usd + (SELECT sum(usd) FROM dead)
WHERE name = %(budget)s AND EXISTS (SELECT FROM dead)
"""
_DRAW = """
WITH held AS (
  SELECT coalesce(sum(usd), 0) AS usd, coalesce(sum(usd) FILTER (WHERE owner = %(owner)s), 0) AS own
  FROM emdsl.purses WHERE budget = %(budget)s),
budget AS (
  SELECT limit_usd - spent_usd - held.usd AS free, limit_usd - spent_usd - held.own AS most
  FROM emdsl.budgets, held WHERE name = %(budget)s),
drawn AS (
  SELECT CASE WHEN free >= %(least)s THEN greatest(%(least)s, least(%(wanted)s, free / %(share)s))
    WHEN most >= %(least)s THEN 0 END AS usd FROM budget),
put AS (
  INSERT INTO emdsl.purses AS p (budget, owner, usd)
  SELECT %(budget)s, %(owner)s, usd FROM drawn WHERE usd IS NOT NULL
  ON CONFLICT (budget, owner) DO UPDATE SET usd = p.usd + excluded.usd)
SELECT usd FROM drawn
"""
_SETTLE = """
WITH purse AS (
  UPDATE emdsl.purses SET usd = greatest(usd - %(spent)s - %(returned)s, 0)
  WHERE budget = %(budget)s AND owner = %(owner)s RETURNING 1)
UPDATE emdsl.budgets SET spent_usd = spent_usd + %(spent)s
WHERE name = %(budget)s AND EXISTS (SELECT FROM purse) RETURNING 1
"""
_LIST = """
SELECT b.name, b.limit_usd, b.spent_usd + coalesce(sum(p.usd) FILTER (WHERE o.id IS NULL), 0), b.made_by,
  coalesce(array_agg(p.role ORDER BY o.id) FILTER (WHERE o.id IS NOT NULL AND p.usd > 0), '{}'),
  coalesce(array_agg(o.machine ORDER BY o.id) FILTER (WHERE o.id IS NOT NULL AND p.usd > 0), '{}'),
  coalesce(array_agg(o.run ORDER BY o.id) FILTER (WHERE o.id IS NOT NULL AND p.usd > 0), '{}'),
  coalesce(array_agg(p.usd ORDER BY o.id) FILTER (WHERE o.id IS NOT NULL AND p.usd > 0), '{}')
FROM emdsl.budgets b LEFT JOIN emdsl.purses p ON p.budget = b.name LEFT JOIN emdsl.live_owners o ON o.id = p.owner
GROUP BY b.name ORDER BY b.name
"""


class Held(NamedTuple):
    """Money that a run has drawn from a budget, and neither spent nor given back."""

    role: str
    machine: str
    run: str
    usd: Decimal


class TeamBudget(NamedTuple):
    """A budget of a team in US dollars; `spent_usd` has the purses of processes that have died."""

    name: str
    limit_usd: Decimal
    spent_usd: Decimal
    made_by: str
    held: tuple[Held, ...]

    @property
    def left_usd(self) -> Decimal:
        """US dollars that can be drawn now."""
        return self.limit_usd - self.spent_usd - sum((h.usd for h in self.held), Decimal(0))


class PostgresLedger:
    """The ledger of a run that spends one budget of its team, under whatever name the run gives it.

    Raises StoreAway once the connection or the claims of the run are lost, and StoreError.
    """

    def __init__(self, url: str, budget: str, owner: int) -> None:
        """Open a connection; `owner` is the number of the run's claims, with which its purse ends."""
        self._address = Address(url)
        self._turn = threading.Lock()
        self._of = {"budget": budget, "owner": owner, "share": SHARE}
        self._connection = self._address.connect()

    async def draw(self, budget: str, least: Decimal, wanted: Decimal) -> Decimal | None:  # noqa: ARG002 - a run spends one budget of its team
        """Move money into the purse of this run, between `least` and `wanted`.

        Returns 0 if others hold money that they may give back; None if less than `least` is left even then.
        """
        rows = await asyncio.to_thread(self._changed, _DRAW, {"least": least, "wanted": wanted})
        if not rows:
            raise StoreError(f"the budget `{self._of['budget']}` of {self._address.name} was removed")
        drawn: Decimal | None = rows[0][0]
        return drawn

    async def settle(self, budget: str, spent: Decimal, returned: Decimal) -> None:  # noqa: ARG002 - a run spends one budget of its team
        """Count money of the purse as spent, and give some back."""
        if not await asyncio.to_thread(self._changed, _SETTLE, {"spent": spent, "returned": returned}):
            raise kept(StoreAway(
                f"the connection of this run to {self._address.name} was lost, and its money counts as spent; "
                "run again when the server is back"
            ))  # fmt: skip

    def close(self) -> None:
        """End the connection; the purse ends with the claims of the run."""
        with self._turn:
            self._connection.close()

    def _changed(self, sql: str, amounts: dict[str, Decimal]) -> list[tuple[Any, ...]]:
        """Lock the budget, count the purses of the dead, and run a statement: in one round trip, and one transaction.

        While the row is locked, the server waits for no message of ours.
        """
        values = self._of | amounts
        try:
            with self._turn, self._connection.pipeline(), self._connection.transaction():
                self._connection.execute(_LOCK, values)
                self._connection.execute(_BURY, values)
                cursor = self._connection.execute(sql, values)
            return cursor.fetchall()
        except psycopg.Error as error:
            if error.sqlstate is None:  # not of the server: this connection is of no use any more
                self._connection.close()
            self._connection.note_end(error)
            failure = self._address.failure(error, self._connection)
            raise (kept(failure) if isinstance(failure, StoreAway) else failure) from error


def budgets(url: str) -> list[TeamBudget]:
    """Return the budgets of a team; raises StoreError."""
    rows = _run(url, _LIST, (), read_only=True)
    return [
        TeamBudget(name, limit, spent, made_by, tuple(map(Held, roles, machines, runs, usd)))
        for name, limit, spent, made_by, roles, machines, runs, usd in rows
    ]


def add_budget(url: str, name: str, limit_usd: Decimal) -> bool:
    """Make a budget; return whether its name is new. Raises StoreError."""
    sql = "INSERT INTO emdsl.budgets (name, limit_usd) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING 1"
    return bool(_run(url, sql, (name, limit_usd)))


def set_budget(url: str, name: str, limit_usd: Decimal) -> bool:
    """Change the limit of a budget; return whether it exists. Raises StoreError."""
    return bool(_run(url, "UPDATE emdsl.budgets SET limit_usd = %s WHERE name = %s RETURNING 1", (limit_usd, name)))


def _run(url: str, sql: str, values: Sequence[object], *, read_only: bool = False) -> list[tuple[Any, ...]]:
    address = Address(url)
    connection = address.connect(read_only=read_only)
    try:
        if known_format(connection, address.name) != FORMAT:
            if read_only:
                return []
            raise StoreError(f"{address.name} has no tables of this version: open the store first")
        return connection.execute(sql.encode(), values).fetchall()
    except psycopg.Error as error:
        raise address.failure(error, connection) from error
    finally:
        connection.close()
