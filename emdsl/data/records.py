"""Record, a row of every reader; DataError, what is wrong with a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """A row as read: texts, exact numbers, true, false, None, tuples and dicts; `place` is for messages."""

    fields: dict[str, Any]
    place: str  # "row 3 (line 5)"


class DataError(Exception):
    """A file that cannot be read; the text names the file, the row and what was expected."""

    def __init__(self, message: str, *, help: str = "", missing: bool = False, column: str = "") -> None:
        super().__init__(message)
        self.help = help
        self.missing = missing  # the file does not exist
        self.column = column  # the path of a column that no row has
