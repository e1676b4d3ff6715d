"""Queries of a page: a read-only database without files, settings or endless queries, whoever wrote the SQL."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb

from emdsl.errors import OutcomesError
from emdsl.outcomes.database import Connection, Error, SqlResult, first_line, select
from emdsl.outcomes.sql import literal, name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LIMIT_S = 10.0  # of one query
RELEASE_S = 3.0  # how long a former instance of the file may be held
MAX_ROWS = 10_000  # of one result
_SETTINGS = """
SET autoinstall_known_extensions = false;
SET enable_external_access = false;
SET memory_limit = '4GB';
SET lock_configuration = true;
"""  # the last one makes the others final


class Locked:
    """The database of results, to be read by SQL that may come from a link."""

    def __init__(self, path: Path) -> None:
        """Open a database file; raises OutcomesError.

        Until `close`, no other connection of this process can open the file: its settings are final.
        """
        self.path: Path | None = path
        end = time.monotonic() + RELEASE_S
        while True:
            try:
                self._connection = duckdb.connect(str(path), read_only=True)
                self._connection.execute(_SETTINGS)
            except Error as error:
                if "has been locked" not in str(error) or time.monotonic() > end:
                    raise OutcomesError(f"{path} cannot be read: {first_line(error)}") from error
                self._connection.close()  # of a former instance, which an error may still hold
                gc.collect()
                time.sleep(0.02)
            else:
                return

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def cursor(self) -> Connection:
        """Return a connection of its own; another thread can interrupt it."""
        return self._connection.cursor()


class LockedPair(Locked):
    """Several databases of results under names of their own, to be read in the same way."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Open database files by their names; raises OutcomesError."""
        self.path = None
        self._connection = duckdb.connect(":memory:")
        try:
            for called, path in files.items():
                self._connection.execute(f"ATTACH {literal(str(path))} AS {name(called)} (READ_ONLY)")
            self._connection.execute(_SETTINGS)
        except Error as error:
            self.close()
            raise OutcomesError(f"the results cannot be read: {first_line(error)}") from error


def fetch(
    cursor: Connection, sql: str, *, most: int = MAX_ROWS, limit_s: float = LIMIT_S, values: Sequence[object] = ()
) -> SqlResult:
    """Return the first rows of a SELECT.

    Args:
        cursor: A cursor of `Locked`.
        sql: One SELECT.
        most: Return at most this many rows.
        limit_s: The time limit in seconds.
        values: Those of `$1`, `$2` and so on.

    Raises:
        OutcomesError: The text is not one SELECT, it is wrong, or it took too long.
    """
    check_select(sql)
    with _limited(cursor, limit_s):
        return select(cursor, sql, most=most, values=values)


def fetch_numbers(cursor: Connection, sql: str, *, limit_s: float = LIMIT_S) -> list[Any]:
    """Return the columns of a SELECT of whole numbers, each as an array of NumPy; the rest as of `fetch`."""
    check_select(sql)
    with _limited(cursor, limit_s):
        return list(cursor.execute(sql).fetchnumpy().values())


@contextmanager
def _limited(cursor: Connection, limit_s: float) -> Iterator[None]:
    """Interrupt what a cursor does in the block after a time; raise its errors as OutcomesError."""
    timer = threading.Timer(limit_s, cursor.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OutcomesError, Error) as error:
        cause = error.__cause__ if isinstance(error, OutcomesError) else error
        if isinstance(cause, duckdb.InterruptException):
            raise OutcomesError(f"the query was stopped: it takes more than {limit_s:g} s, or nobody waits") from error
        if isinstance(error, OutcomesError):
            raise
        raise OutcomesError(str(error).strip()) from error
    finally:
        timer.cancel()


def check_select(sql: str) -> None:
    """Raise OutcomesError for anything but one SELECT."""
    try:
        statements = duckdb.extract_statements(sql)
    except Error as error:
        raise OutcomesError(str(error).strip()) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise OutcomesError("expected one SELECT, or one condition in SQL")
