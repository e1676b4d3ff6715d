"""Connections to PostgreSQL: each wait for a server has an end, and no message shows a password.

The door to psycopg, with the other files of the store on PostgreSQL.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from emdsl.errors import SetupError, StoreAway, StoreError
from emdsl.redact import Redactor, Secret
from emdsl.source import near

try:
    import psycopg as psycopg  # noqa: PLC0414 - the other files of the store import it from here
    from psycopg import conninfo
    from psycopg import errors as errors  # noqa: PLC0414 - as part of psycopg for those files
except ImportError:
    raise SetupError("a store on PostgreSQL needs the package psycopg: pip install 'emdsl[postgres]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import LiteralString

logging.getLogger("psycopg").setLevel(logging.CRITICAL + 1)  # its errors come as exceptions, which we explain
OLDEST = 13  # of PostgreSQL's versions: random identifiers without an extension
STATEMENT_S, LOCK_S = 120, 60  # how long a statement may take, and wait for another session
SILENCE_S = 15.0  # of a server that owes a reply, before another connection finds out whether it is frozen
# A cut link ends our side after 11 s, and the server's side, with its claims, only then: after 35 s.
_CLIENT = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 11_000,  # ms
    "client_encoding": "utf8",
    "fallback_application_name": "emdsl",
}
_SESSION = {
    "statement_timeout": f"{STATEMENT_S}s",
    "lock_timeout": f"{LOCK_S}s",
    "tcp_keepalives_idle": 15,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 4,
    "TimeZone": "UTC",
}
_HINTS = re.compile(  # libpq's, which add nothing to ours
    r" This probably means the server terminated abnormally before or while processing the request\.?"
    r"| Is the server running on that host and accepting TCP/IP connections\?"
    r"| Is the server running locally and accepting connections on that socket\?"
)
_ANSWERED = re.compile(r"FATAL|fe_sendauth|certificate|SSL|invalid")  # a server, or libpq before it calls one
_AWAY = re.compile(  # of those errors that a server reports when it cannot be used right now
    r"starting up|shutting down|in recovery mode|not yet accepting|too many (?:clients|connections)|connection slots"
    r"|terminating connection|server closed"
)


class Session(psycopg.Connection):
    """A connection that ends if its server is frozen: stopped, on a paused machine, or with a disk that hangs.

    The kernel of such a server keeps the link alive, and no timeout of a statement ends: the server would do that.
    It remembers why it has ended: errors of later calls report only that it has.
    """

    is_frozen: Callable[[], bool] = staticmethod(lambda: False)
    ended_by: psycopg.Error | None = None

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for a reply; raises OperationalError, on a closed connection, if the server is frozen."""
        handled = sys.exc_info()[1]
        try:
            return super().wait(self._watched(gen), *args, **kwargs)
        except psycopg.Error as error:
            self.note_end(error, handled)
            raise

    def note_end(self, error: psycopg.Error, handled: BaseException | None = None) -> None:
        """Remember an error if the connection has ended by it.

        Args:
            error: The error, or one that came of it while it was handled: a pipeline that cannot be left has its own.
            handled: An earlier error, which is not of this call.
        """
        first = error
        while isinstance(first.__context__, psycopg.Error) and first.__context__ is not handled:
            first = first.__context__
        if self.ended_by is None and (self.closed or isinstance(first, errors.AdminShutdown | errors.CrashShutdown)):
            self.ended_by = first

    def _watched(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        heard = time.monotonic()
        try:
            waits_for = next(gen)
            while True:
                ready = yield waits_for
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > SILENCE_S:
                    if self.is_frozen():
                        self.close()
                        raise psycopg.OperationalError("the server answers nothing: it is frozen or overloaded")
                    heard = time.monotonic()
                waits_for = gen.send(ready)
        except StopIteration as end:
            return end.value


class Address:
    """Where a store is, with a password that only the connection sees."""

    def __init__(self, url: str) -> None:
        """Read a URL of PostgreSQL; raises StoreError."""
        self._parameters = _parsed(url)
        host = self._parameters.get("host") or "localhost"
        name = self._parameters.get("dbname") or self._parameters.get("service")
        if not name:
            raise StoreError("the URL of the store names no database: postgresql://USER@HOST/DATABASE")
        self.name = f"postgresql://{host}/{name}"
        password = str(self._parameters.get("password") or "")
        self._redactor = Redactor([Secret(password, sure=True)] if password else [])

    def __repr__(self) -> str:
        return f"Address({self.name})"

    def connect(self, *, read_only: bool = False) -> Session:
        """Open a session that commits each statement; raises StoreAway and StoreError."""
        session = _SESSION | ({"default_transaction_read_only": "on"} if read_only else {})
        options = " ".join(f"-c {name}={value}" for name, value in session.items())
        parameters: dict[str, Any] = _CLIENT | self._parameters
        parameters["options"] = f"{options} {self._parameters.get('options') or ''}".strip()
        try:
            connection = Session.connect(**parameters, autocommit=True)
            connection.is_frozen = lambda: _is_frozen(connection, parameters)
            if not read_only:  # acknowledged is on the server's disk, whatever the database's default
                connection.execute(
                    "SELECT set_config('synchronous_commit', 'on', false) "
                    "WHERE current_setting('synchronous_commit') = 'off'"
                )
        except psycopg.Error as error:
            raise self.failure(error) from None  # psycopg's error may hold the password of the URL
        if connection.info.server_version < OLDEST * 10_000:
            version = connection.info.server_version // 10_000
            connection.close()
            raise StoreError(f"{self.name} is PostgreSQL {version}; a store needs {OLDEST} or newer")
        return connection

    def failure(self, error: Exception, connection: psycopg.Connection | None = None) -> StoreError:
        """Return the error that a user reads: StoreAway if the server cannot be reached or the connection is lost."""
        if isinstance(connection, Session) and connection.ended_by is not None:
            error = connection.ended_by
        text = self._redactor.mask(_HINTS.sub("", " ".join(str(error).split())))
        lost = connection is not None and connection.closed
        if lost or isinstance(error, errors.AdminShutdown | errors.CrashShutdown | errors.CannotConnectNow):
            return StoreAway(f"the connection to {self.name} was lost ({text}); run again when the server is back")
        if isinstance(error, errors.InsufficientPrivilege | errors.ReadOnlySqlTransaction):
            return StoreError(
                f"the role `{self._role(connection)}` may not do this with {self.name}: {text}. "
                "An admin of the store can give it a role: GRANT emdsl_writer TO ..., or emdsl_reader, emdsl_admin"
            )
        if isinstance(error, errors.DiskFull):
            return StoreError(
                f"the disk of {self.name} is full. All stored answers are safe; run again after it has space"
            )
        if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
            return StoreAway(f"{self.name} did not answer in time ({text}); run again when it is less busy")
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            return self._no_connection(text)
        return StoreError(f"{self.name} cannot be used: {text}")

    def _no_connection(self, text: str) -> StoreError:
        if not _ANSWERED.search(text) or _AWAY.search(text):
            return StoreAway(f"{self.name} cannot be reached ({text}); run again when the server is back")
        if "password" in text or "authentication" in text:
            return StoreError(f"{self.name} refuses the role or its password ({text}); correct the URL of the store")
        hint = ". Let the server use TLS, or choose another `sslmode` in the URL" if "support SSL" in text else ""
        return StoreError(f"{self.name} cannot be opened: {text}{hint}")

    def _role(self, connection: psycopg.Connection | None) -> str:
        return connection.info.user if connection is not None and not connection.closed else "?"


def _is_frozen(connection: psycopg.Connection, parameters: dict[str, Any]) -> bool:
    """Whether the server of a connection gives another one no answer, not even a refusal."""
    info = connection.info
    here = {"host": info.host, "port": info.port} | ({"hostaddr": info.hostaddr} if "hostaddr" in parameters else {})
    try:
        psycopg.connect(**parameters | here).close()
    except errors.ConnectionTimeout:
        return True
    except psycopg.Error:
        return False
    return False


def _parsed(url: str) -> dict[str, Any]:
    """Return the parameters of a URL. An error shows no part of it: a password may be in any of them."""
    address = url.partition("://")[2].partition("?")[0]
    if not url.startswith(("postgresql://", "postgres://")):
        raise StoreError("the URL of the store must be like postgresql://USER:PASSWORD@HOST/DATABASE")
    wrong = "the URL of the store is not valid: a password with one of @ / : ? # % must be percent-encoded, @ as %40"
    if address.count("@") > 1 or "@" in address.partition("/")[2]:
        raise StoreError(wrong)
    _check_options(url)
    try:
        parameters = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise StoreError(wrong) from None
    ports = str(parameters.get("port") or "").split(",")
    if any(port and not port.isdigit() for port in ports) or "@" in unquote(str(parameters.get("host") or "")):
        raise StoreError(wrong)
    return parameters


def _check_options(url: str) -> None:
    """Raise StoreError for an option of a URL that PostgreSQL does not know.

    Its name is shown if it is nearly one that PostgreSQL knows: any other may be a part of a password.
    """
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()} | {"ssl"}
    address, _, query = url.partition("?")
    if "@" in query and "@" not in address:  # a password with `?`
        return
    for written in query.split("&") if query else ():
        name = unquote(written.partition("=")[0])
        if name and name not in known:  # PostgreSQL takes a `&` at the end
            hint = near(name, known)
            raise StoreError(
                f"the URL of the store has an unknown parameter `{name}`; {hint}" if hint else
                "the URL of the store has a parameter after `?` that PostgreSQL does not know. In a password, write & "
                "as %26 and ? as %3F"
            )  # fmt: skip


def rows(
    connection: psycopg.Connection, sql: LiteralString, values: tuple[object, ...] = (), *, patient: bool = False
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement; `patient` gives it all the time that it needs. Raises psycopg.Error."""
    while True:
        try:
            if not patient:
                return connection.cursor(binary=True).execute(sql, values).fetchall()
            with connection.transaction():
                connection.execute("SET LOCAL statement_timeout = 0")
                return connection.cursor(binary=True).execute(sql, values).fetchall()
        except errors.DeadlockDetected:  # two wrote the same keys in different orders, and the other one goes first
            continue
