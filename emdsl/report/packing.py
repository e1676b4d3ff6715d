"""JSON records packed by column for a page: each text and each number once, compressed, as text that HTML can hold.

`view/static/unpacked.js` is the other side. A column has a code for each record, into its entries: scalars, and shapes
of objects and lists, whose parts are columns of their own. Codes are numbered by first appearance.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FEW = 64  # entries that are kept as JSON
BLOCK = 16 * 2**20  # characters of texts that are compressed together: JavaScript has no strings of any length
MAX_EXACT = 2**53  # of whole numbers in JavaScript
LEVEL = 12  # of Zstandard: 19 saves 8 % and takes five times as long
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{0,18}[1-9])?")  # of these, those that are `repr` of a float
_DIGITS = frozenset("-0123456789")  # that a number begins with
_BOOLS = (("=", False), ("=", True))  # not equal to 0 and 1
_TEXT, _NUMBER_REF, _NUMBER_TEXT, _JSON = range(4)
UNSAFE = {"\0": "À", "\n": "Á", "\r": "Â", "<": "Ã"}  # the rest of ASCII is kept within a script


def encoded(data: bytes) -> str:
    """Return compressed bytes as text: 7 bits for each character, those that HTML would change replaced by others."""
    packed = zstandard.ZstdCompressor(level=LEVEL, threads=-1).compress(data)
    groups = -(-len(packed) // 7)
    padded = packed + bytes(7 * groups - len(packed))
    sevens = [int.from_bytes(padded[i::7]) for i in range(7)]  # the first bytes of all groups, the second ones ...

    def masked(number: int, mask: int) -> int:
        return number & int.from_bytes(bytes([mask]) * groups)

    letters = bytearray(8 * groups)
    for i in range(8):
        high = masked(sevens[i - 1], 2**i - 1) << (7 - i) if i else 0
        low = masked(sevens[i] >> (i + 1), 2 ** (7 - i) - 1) if i < 7 else 0
        letters[i::8] = (high | low).to_bytes(groups)
    text = letters[: -(-8 * len(packed) // 7)].decode("latin-1")
    for unsafe, safe in UNSAFE.items():
        text = text.replace(unsafe, safe)
    return text


class Column:
    """The values of a part of records, each a JSON value, by the numbers of their records."""

    __slots__ = ("_shapes", "codes", "entries", "parts")

    def __init__(self) -> None:
        self.codes = array("I")
        self.entries: dict[Any, int] = {}
        self.parts: dict[str | int, Column] = {}
        self._shapes: dict[Any, list[Column]] = {}  # the parts of each shape, in its order

    @classmethod
    def of(cls, values: Sequence[Any]) -> Column:
        """Return the column of some values, one for each record: faster than one by one."""
        column = cls()
        kinds = set(map(type, values))
        if kinds <= {str, int, type(None)}:
            column.entries = {value: code for code, value in enumerate(dict.fromkeys(values))}
            column.codes = array("I", map(column.entries.__getitem__, values))
        else:
            for record, value in enumerate(values):
                column.add(record, value)
        return column

    @classmethod
    def list_of(cls, parts: Sequence[Column], n: int) -> Column:
        """Return the column of n lists with these parts."""
        return cls._whole(("[", len(parts)), dict(enumerate(parts)), n)

    @classmethod
    def object_of(cls, parts: Mapping[str, Column], n: int) -> Column:
        """Return the column of n objects with these parts."""
        return cls._whole(("{", *parts), parts, n)

    @classmethod
    def _whole(cls, shape: tuple[Any, ...], parts: Mapping[Any, Column], n: int) -> Column:
        column = cls()
        column.entries, column.parts, column.codes = {shape: 0}, dict(parts), array("I", bytes(4 * n))
        return column

    def or_missing(self, reasons: Sequence[str | None]) -> Column:
        """Return the column of these scalars, where a reason replaces some by an object with it."""
        if all(reason is None for reason in reasons):
            return self
        shape = self.entries.setdefault(("{", "missing"), len(self.entries))
        gone = (shape if reason is not None else code for code, reason in zip(self.codes, reasons, strict=True))
        self.codes = array("I", gone)
        self.parts["missing"] = Column.of(reasons)
        return self

    def add(self, record: int, value: Any) -> None:
        """Add the value of a record, after those of all records before it."""
        kind = type(value)
        key: Any = value
        if kind is dict:
            key = ("{", *value)
            self._add_parts(record, key, value, value.values())
        elif kind is list:
            key = ("[", len(value))
            self._add_parts(record, key, range(len(value)), value)
        elif kind is bool:
            key = _BOOLS[value]
        elif kind is float:
            key = value if math.isfinite(value) else None
        elif kind is not str and kind is not int and value is not None:
            self.add(record, _plain(value))
            return
        self._note(record, key)

    def _note(self, record: int, key: Any) -> None:
        if len(self.codes) < record:
            self.pad(record)
        self.codes.append(self.entries.setdefault(key, len(self.entries)))

    def pad(self, record: int) -> None:
        """Give a code to the records before one that lack this part: nothing reads it."""
        codes = self.codes
        codes.extend([codes[-1] if codes else 0] * (record - len(codes)))

    def _add_parts(self, record: int, shape: Any, names: Iterable[str | int], values: Iterable[Any]) -> None:
        parts = self._shapes.get(shape)
        if parts is None:
            parts = self._shapes[shape] = [self.parts.setdefault(name, Column()) for name in names]
        for part, value in zip(parts, values, strict=True):
            kind = type(value)
            key = value
            if kind is bool:
                key = _BOOLS[value]
            elif kind is float and value - value == 0:  # finite
                pass
            elif kind is not str and kind is not int and value is not None:
                part.add(record, value)
                continue
            codes, entries = part.codes, part.entries  # as `_note`, without the call
            if len(codes) < record:
                part.pad(record)
            code = entries.get(key)
            if code is None:
                code = entries[key] = len(entries)
            codes.append(code)


class Packed:
    """Tables of records with one set of texts and numbers."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask = mask
        self._texts: dict[str, int] = {}
        self._numbers: dict[float, int] = {}
        self._bytes = bytearray()
        self._places: dict[bytes, int] = {}

    def text(self, text: str) -> int:
        """Return the number of a text."""
        return self._texts.setdefault(text, len(self._texts))

    def integers(self, values: Sequence[int]) -> list[int]:
        """Keep numbers from 0, and return what finds them: place, count, bytes of each, whether they are steps."""
        n, most = len(values), max(values, default=0)
        width = 1 if most < 2**8 else 2 if most < 2**16 else 4
        steps = width > 1  # what appears for the first time is one more than the last
        whole = array({1: "B", 2: "H", 4: "I"}[width], _steps(values, 2 ** (8 * width)) if steps else values)
        return [self._keep(whole.tobytes(), width), n, width, int(steps)]

    def floats(self, values: Sequence[float]) -> list[int]:
        """Keep numbers of 8 bytes, and return what finds them: place and count."""
        return [self._keep(array("d", values).tobytes(), 8), len(values)]

    def column(self, column: Column, n: int) -> dict[str, Any]:
        """Keep a column of n records, and return what describes it."""
        entries = list(column.entries)
        codes = column.codes
        if len(codes) < n:
            codes.extend([0] * (n - len(codes)))
        shown: dict[str, Any] = {}
        if len(entries) > 1:
            shown["codes"] = self.integers(codes)
        if len(entries) <= FEW and all(type(e) is not str or len(e) < 2 * FEW for e in entries):
            shown["entries"] = [_json(e) for e in entries]
        else:
            literals: list[Any] = []
            shown["refs"] = self.integers([self._ref(e, literals) for e in entries])
            if literals:
                shown["entries"] = literals
        if column.parts:
            shown["parts"] = {str(name): self.column(part, n) for name, part in column.parts.items()}
        return shown

    def _ref(self, entry: Any, literals: list[Any]) -> int:
        """Return the reference to a value: its number in its table, and in the last two bits which table."""
        if type(entry) is str:
            if (
                entry[:1] in _DIGITS
                and entry != "-0"
                and _NUMBER.fullmatch(entry)
                and repr(float(entry)).removesuffix(".0") == entry
            ):
                return self._number(float(entry)) << 2 | _NUMBER_TEXT
            return self.text(entry) << 2 | _TEXT
        if type(entry) is float or (type(entry) is int and abs(entry) <= MAX_EXACT):
            return self._number(float(entry)) << 2 | _NUMBER_REF
        literals.append(_json(entry))
        return (len(literals) - 1) << 2 | _JSON

    def _number(self, value: float) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    def _keep(self, content: bytes, width: int) -> int:
        """Keep an array by its bytes of equal weight, which are alike; return its place."""
        planes = b"".join(content[i::width] for i in range(width))
        place = self._places.get(planes)
        if place is None:
            place = self._places[planes] = len(self._bytes)
            self._bytes += planes
        return place

    def finish(self, tables: dict[str, Any]) -> tuple[str, list[str]]:
        """Return the tables with all columns, and the blocks of texts, both encoded and without secrets."""
        blocks: list[list[str]] = []
        size = BLOCK
        for text in map(self._mask, self._texts):
            if size >= BLOCK:
                blocks.append([])
                size = 0
            blocks[-1].append(text)
            size += len(text)
        head = {
            "tables": tables, "numbers": self.floats(list(self._numbers)),
            "texts": [self.integers([_units(t) for t in block]) for block in blocks],
        }  # fmt: skip
        shown = self._mask(json.dumps(head, ensure_ascii=False, separators=(",", ":"))).encode("utf-8", "replace")
        columns = encoded(len(shown).to_bytes(4, "little") + shown + self._bytes)
        return columns, [encoded("".join(block).encode("utf-8", "replace")) for block in blocks]


def _plain(value: Any) -> Any:
    """Return a value as one of those that JSON has."""
    if isinstance(value, Mapping):
        return {str(k): v for k, v in value.items()}
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return float(value) if isinstance(value, Decimal) else str(value)


def _steps(values: Sequence[int], modulus: int) -> list[int]:
    before = [0, *values]
    return [(b - a) % modulus for a, b in zip(before, values, strict=False)]


def _json(entry: Any) -> Any:
    """Return a scalar as itself, and a shape as the keys of an object or the length of a list, in a list."""
    if type(entry) is not tuple:
        return entry
    kind, *rest = entry
    return [rest[0]] if kind in "=[" else [rest]


def _units(text: str) -> int:
    """Return the length of a text in JavaScript."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
