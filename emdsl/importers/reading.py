"""Files of other tools, read piece by piece: lines of JSON, and the items of one array of a JSON document.

An entry is a value and its place, `FILE:LINE`. A damaged entry has a NotImported in place of its value. The entries on
later lines are read. Packed files (`.gz`, `.zst`) are unpacked piece by piece.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from emdsl.errors import UsageError
from emdsl.files import CHUNK, PACKED, open_unpacked, read_lines
from emdsl.importers.answer import CannotImport, NotImported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from emdsl.importers.answer import ImportedAnswer

MAX_VALUE = 256 * 2**20  # characters of one value: no entry is this long
DAMAGED = "not valid JSON"
UNKNOWN = "the entry has an unknown format"
CUT = "the file cannot be read to its end"


class Entry(NamedTuple):
    """A value of a file with its place, or why it cannot be read."""

    place: str
    value: Any  # NotImported if it is damaged


def plain_name(path: Path) -> str:
    """Return the name of a file in lower case, without the ending of a packed one."""
    name = path.name.lower()
    return next((name.removesuffix(ending) for ending in PACKED if name.endswith(ending)), name)


def parse(text: str | bytes) -> Any:
    """Parse JSON with exact numbers; raises CannotImport."""
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise CannotImport(DAMAGED) from None


def json_lines(path: Path) -> Iterator[Entry]:
    """Yield the entries of a file of JSON lines; raises UsageError if it cannot be opened."""
    number = 0
    try:
        for number, line in enumerate(read_lines(path), start=1):
            if line.strip():
                yield _parsed(line, f"{path}:{number}")
    except (OSError, ValueError) as error:  # the last: a packed file is cut or damaged
        if not number and isinstance(error, OSError):
            raise unreadable(path, error) from error
        place = f"{path}:{number + 1}"
        yield Entry(place, NotImported(CUT, place))


def _parsed(line: bytes, place: str) -> Entry:
    try:
        return Entry(place, parse(line))
    except CannotImport as damaged:
        return Entry(place, NotImported(str(damaged), place))


def array_items(path: Path, array: tuple[str, ...], header: dict[str, Any]) -> Iterator[Entry]:
    """Yield the items of the array at a path of fields of a JSON document, one in memory at a time.

    Args:
        path: The file.
        array: The names of the fields from the top of the document to the array.
        header: Takes all other fields, in the order of the document. The array is an empty list in it.

    Raises:
        UsageError: The file cannot be opened.
    """
    try:
        file = open_unpacked(path)
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        document = _Document(file)
        try:
            for n, value in enumerate(document.items(array, header), start=1):
                yield Entry(f"{path}:{document.line} (item {n})", value)
        except (OSError, ValueError, RecursionError) as error:
            place = f"{path}:{document.line}"
            reason = DAMAGED if isinstance(error, json.JSONDecodeError) else CUT
            yield Entry(place, NotImported(reason, place))


def unreadable(path: Path, error: OSError) -> UsageError:
    """Return the error of a file that cannot be opened."""
    return UsageError(f"cannot read `{path}`: {error.strerror or error}")


def imported(
    entries: Iterable[Entry], answer_of: Callable[[Any], ImportedAnswer]
) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answer of each entry with its place, or why it has none."""
    for place, value in entries:
        if isinstance(value, NotImported):
            yield value
            continue
        try:
            yield replace(answer_of(value), place=place)
        except CannotImport as reason:
            yield NotImported(str(reason), place)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # an entry may have any shape
            yield NotImported(UNKNOWN, place)


@dataclass(slots=True)
class _Document:
    """A cursor in the text of a JSON document; its methods raise JSONDecodeError for a damaged one."""

    file: IO[bytes]
    line: int = 1  # of the last value that was read, where it begins
    _text: io.TextIOWrapper = field(init=False)
    _buffer: str = ""
    _at: int = 0
    _counted: int = 0  # characters of the buffer whose line ends are counted
    _lines: int = 1

    def __post_init__(self) -> None:
        self._text = io.TextIOWrapper(self.file, "utf-8-sig")

    def items(self, array: tuple[str, ...], header: dict[str, Any]) -> Iterator[Any]:
        """See array_items."""
        name, *rest = array
        self._take("{")
        while self._next() != "}":
            key = self._value()
            self._take(":")
            if key == name and not rest and self._next() == "[":
                header[name] = []
                yield from self._array()
            elif key == name and rest and self._next() == "{":
                yield from self.items(tuple(rest), header.setdefault(name, {}))
            elif isinstance(key, str):
                header[key] = self._value()
            if self._next() != "}":
                self._take(",")
        self._take("}")

    def _array(self) -> Iterator[Any]:
        self._take("[")
        while self._next() != "]":
            self._next()
            self._count()
            yield self._value()
            if self._next() != "]":
                self._take(",")
        self._take("]")

    def _count(self) -> None:
        """Find the line of the next value."""
        self._lines += self._buffer.count("\n", self._counted, self._at)
        self._counted, self.line = self._at, self._lines

    def _next(self) -> str:
        """Return the next character that is not blank, "" at the end."""
        while True:
            while self._at < len(self._buffer):
                if not self._buffer[self._at].isspace():
                    return self._buffer[self._at]
                self._at += 1
            if not self._more(CHUNK):
                return ""

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise json.JSONDecodeError(f"expected `{character}`", self._buffer[self._at : self._at + 1], 0)
        self._at += 1

    def _value(self) -> Any:
        """Read a value; while it is incomplete, read more text and parse it again."""
        self._next()
        while True:
            try:
                value, end = _decode(self._buffer, self._at)
            except json.JSONDecodeError:
                end = len(self._buffer)
                if end - self._at > MAX_VALUE or not self._more(max(CHUNK, end - self._at)):
                    raise
                continue
            if end == len(self._buffer) and self._more(CHUNK):  # a number may go on
                continue
            self._at = end
            return value

    def _more(self, size: int) -> bool:
        """Read more text, and drop the text before the cursor; return whether there was more."""
        self._lines += self._buffer.count("\n", self._counted, self._at)
        part = self._text.read(size)
        self._buffer, self._at, self._counted = self._buffer[self._at :] + part, 0, 0
        return bool(part)


_decode = json.JSONDecoder(parse_float=Decimal).raw_decode
