"""Record, a row of every reader; File and Layout, what a reader is given; DataError, what is wrong with a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl import files

if TYPE_CHECKING:
    from pathlib import Path

VALUE = "value"  # the column of rows that are not objects
ID = "id"  # the column that names a row


@dataclass(frozen=True, slots=True)
class Record:
    """A row as read: texts, exact numbers, true, false, None, tuples and dicts; `place` is for messages."""

    fields: dict[str, Any]
    place: str  # "row 3 (line 5)"


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows lie in a file, as far as its dataset declares it."""

    rows: str = ""  # the path of the rows within the file
    names: tuple[str, ...] = ()  # of the columns, for rows that are lists
    delimiter: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file: its name for messages, its path, and its unpacked content."""

    name: str
    place: Path
    content: bytes
    budget: Budget

    @property
    def text(self) -> str:
        """Its text; raises DataError for another encoding than UTF-8."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            wide = self.content.startswith((b"\xff\xfe", b"\xfe\xff"))
            packed = self.place.suffix.lower() in files.PACKED
            convert = f"iconv -f {'UTF-16' if wide else 'WINDOWS-1252'} -t UTF-8 '{self.name}' > 'utf8-{self.name}'"
            if wide:
                help_ = f"it is UTF-16; convert it: `{convert}`"
            else:
                help_ = f"save it as UTF-8; a file of Excel for Windows: `{convert}`"
            message = f"`{self.name}` is not UTF-8 text (byte {error.start})"
            raise DataError(message, help="save it as UTF-8" if packed else help_) from error


@dataclass(slots=True)
class Budget:
    """Bytes that the files of one dataset may still take, unpacked."""

    left: int = field(default_factory=lambda: MAX_UNPACKED)

    def spend(self, size: int, name: str) -> None:
        """Take bytes away; raises DataError when too few are left."""
        self.left -= size
        if self.left < 0:
            raise DataError(f"`{name}` unpacks to more than the maximum of {MAX_UNPACKED // 2**20:,} MiB")


MAX_UNPACKED = 2**30  # bytes of all files of a dataset: a few kilobytes can hold one value a billion times


class DataError(Exception):
    """A file that cannot be read; the text names the file, the row and what was expected."""

    def __init__(
        self,
        message: str,
        *,
        help: str = "",
        missing: bool = False,
        folder: bool = False,
        column: str = "",
        setting: str = "",
    ) -> None:
        super().__init__(message)
        self.help = help
        self.missing = missing  # the file does not exist
        self.folder = folder  # it is a folder
        self.column = column  # the path of a column that no row has
        self.setting = setting  # the setting that is wrong
