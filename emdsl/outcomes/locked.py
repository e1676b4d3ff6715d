"""Queries of a page: a read-only database without files, settings or endless queries, whoever wrote the SQL."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING

import duckdb

from emdsl.errors import OutcomesError
from emdsl.outcomes.database import Connection, Error, SqlResult, first_line, select

if TYPE_CHECKING:
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


def fetch(cursor: Connection, sql: str, *, most: int = MAX_ROWS, limit_s: float = LIMIT_S) -> SqlResult:
    """Return the first rows of a SELECT.

    Args:
        cursor: A cursor of `Locked`.
        sql: One SELECT.
        most: Return at most this many rows.
        limit_s: The time limit in seconds.

    Raises:
        OutcomesError: The text is not one SELECT, it is wrong, or it took too long.
    """
    check_select(sql)
    timer = threading.Timer(limit_s, cursor.interrupt)
    timer.daemon = True
    timer.start()
    try:
        return select(cursor, sql, most=most)
    except OutcomesError as error:
        if isinstance(error.__cause__, duckdb.InterruptException):
            raise OutcomesError(f"the query was stopped: it takes more than {limit_s:g} s, or nobody waits") from error
        raise
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
