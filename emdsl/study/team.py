"""The store of a team, as a project uses it: opened with the copies of this machine, and its errors explained."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from emdsl.errors import StoreAway, StoreError, UsageError
from emdsl.redact import without_password

if TYPE_CHECKING:
    from emdsl.store.disk import DiskStore
    from emdsl.store.postgres import PostgresStore
    from emdsl.store.postgres_budgets import PostgresLedger
    from emdsl.store.removals import StoreVersion
    from emdsl.store.store import AnyClaims
    from emdsl.store.team import TeamStore

SCHEMES = ("postgresql://", "postgres://")


def is_team_url(name: str) -> bool:
    """Whether a name of a store is a URL of a PostgreSQL server."""
    return name.lower().startswith(SCHEMES)


def server_store(url: str, *, read_only: bool) -> PostgresStore:
    """Open the store of a team itself; raises UsageError, SetupError and StoreError."""
    if not is_team_url(url):
        raise UsageError(
            f"`{without_password(url)}` is not a URL of PostgreSQL, such as postgresql://ada@db.lab/answers",
            parameter="store",
        )
    from emdsl.store.postgres import PostgresStore

    return PostgresStore(url, read_only=read_only)


def team_store(url: str, local: DiskStore, *, send: bool) -> TeamStore:
    """Open the store of a team with the copies of this machine, which it closes.

    Args:
        url: Of the team's store.
        local: The store of this machine.
        send: Answers may be stored: those of this machine that the team lacks are sent first.

    Raises:
        StoreAway: The server does not answer.
        StoreError: The server refuses a connection, a role or a version.
    """
    from emdsl.store.team import TeamStore

    server = None
    try:
        server = server_store(url, read_only=not send)
        return TeamStore(server, local, send=send)
    except BaseException as error:
        if server is not None:
            server.close()
        local.close()
        if isinstance(error, StoreAway):
            raise _explained(error) from error
        raise


def team_claims(url: str, here: AnyClaims, run: str) -> AnyClaims:
    """Return the claims of a run on the server of a team; `here` are those of this machine."""
    from emdsl.store.postgres_claims import PostgresClaims
    from emdsl.store.team import TeamClaims

    try:
        return TeamClaims(PostgresClaims(url, run), here)
    except BaseException:
        here.close()
        raise


def team_ledger(url: str, budget: str, claims: AnyClaims) -> PostgresLedger:
    """Return the ledger of a run that spends a budget of a team; its purse ends with its claims."""
    from emdsl.store.postgres_budgets import PostgresLedger
    from emdsl.store.team import TeamClaims

    assert isinstance(claims, TeamClaims)  # the project has a team
    return PostgresLedger(url, budget, claims.owner)


def team_version(url: str) -> StoreVersion | None:
    """Return the version of the store of a team; None if it cannot be read."""
    try:
        with closing(server_store(url, read_only=True)) as server:
            return server.state()
    except StoreError:
        return None


def team_in_use(url: str) -> bool:
    """Whether a run uses the store of a team right now, on any machine."""
    from emdsl.store.postgres_claims import live_owners

    return bool(live_owners(url))


def _explained(error: StoreAway) -> StoreAway:
    return StoreAway(
        f"{error}. To work with the copies of this machine: `emdsl run --offline`, or `--store local` with any verb"
    )
