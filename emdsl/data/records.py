"""What every reader gives back, and how it says what is wrong with a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One row as read: texts, exact numbers, true, false, None, tuples and dicts; `place` is for messages."""

    fields: dict[str, Any]
    place: str  # "row 3 (line 5)"


class DataError(Exception):
    """A file that is not as it should be: which file, which row, what was expected."""

    def __init__(self, message: str, *, help: str = "", missing: bool = False, column: str = "") -> None:
        super().__init__(message)
        self.help = help
        self.missing = missing  # the file is not there
        self.column = column  # the path that leads nowhere
