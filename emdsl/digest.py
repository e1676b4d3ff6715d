"""The one file that hashes. The formulas stand in ARCHITECTURE.md; golden tests pin them.

A digest is a SHA-256 over a tagged, typed, length-delimited encoding: never over joined text, never over
a float, a `repr` or a library's dump. The key of a query is built so that queries which share a prefix of
messages, or differ in the sample alone, share the work: the head comes first, then messages from left to
right, each followed (not preceded) by its lengths, and the sample index last. Read from the right, every
part says how long it is; so unequal queries have unequal encodings.
"""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _hashlib import HASH
    from collections.abc import Iterable

Digest = bytes  # 32 bytes; people see 64 hex digits

SCHEME = 1  # the version of every formula below: raising it makes all keys new


def digest(kind: str, *fields: Any) -> Digest:
    """Name a value by what it holds; `kind` keeps unlike things with like fields apart.

    Fields are None, bool, int, Decimal, str, bytes, and tuples, lists or str-keyed dicts of these.
    Raises TypeError for anything else, floats above all.
    """
    return hashlib.sha256(_encoded((kind, *fields))).digest()


def digest_bytes(content: bytes) -> Digest:
    """Name the bytes of a file or a stored entry: a plain SHA-256, as `sha256sum` prints it."""
    return hashlib.sha256(content).digest()


def digest_parts(parts: Iterable[bytes]) -> Digest:
    """Name bytes that come in parts, as `digest_bytes` names them in one: of a file that is too large to hold."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.digest()


def _encoded(value: Any) -> bytes:
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: Any, parts: list[bytes]) -> None:
    match value:
        case str():
            _add_sized(b"s", value.encode("utf-8", "surrogatepass"), parts)
        case None:
            parts.append(b"n")
        case bool():
            parts.append(b"t" if value else b"f")
        case int() | Decimal():
            _add_sized(b"d", _number(value), parts)
        case bytes():
            _add_sized(b"b", value, parts)
        case tuple() | list():
            parts.append(b"l" + len(value).to_bytes(8, "big"))
            for item in value:
                _encode(item, parts)
        case dict():
            parts.append(b"m" + len(value).to_bytes(8, "big"))
            if not all(isinstance(key, str) for key in value):
                raise TypeError("a dict has texts as keys")
            for key in sorted(value):
                _encode(key, parts)
                _encode(value[key], parts)
        case _:
            raise TypeError(f"a {type(value).__name__} has no canonical form")


def _add_sized(tag: bytes, content: bytes, parts: list[bytes]) -> None:
    parts += (tag, len(content).to_bytes(8, "big"), content)


def _number(value: int | Decimal) -> bytes:
    """One spelling for each number: `1`, `1.0` and `1.00` are the same bytes, and so are `0` and `-0`."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError(f"{value} is no exact number")
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)  # finite
        whole = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
        while exponent < 0 and whole % 10 == 0:
            whole, exponent = whole // 10, exponent + 1
        if exponent < 0:
            return f"{whole}e{exponent}".encode()
        value = whole * 10**exponent
    return str(value).encode()


def key_head(head: Any) -> bytes:
    """Return the bytes with which the key of a query begins, before its messages."""
    encoded = _encoded(("emdsl", SCHEME, "query", head))
    return encoded + len(encoded).to_bytes(8, "big")


def integrity(text: str) -> str:
    """Name the text of a script as a Content-Security-Policy does."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class KeyState:
    """A key half made: the head of a query, and the messages so far. Cheap to copy at any point."""

    __slots__ = ("_n_messages", "_state")

    def __init__(self, head: Any) -> None:
        self._state: HASH = hashlib.sha256(key_head(head))
        self._n_messages = 0

    def copy(self) -> KeyState:
        """Return an independent state to go on from."""
        other = object.__new__(KeyState)
        other._state, other._n_messages = self._state.copy(), self._n_messages
        return other

    def add(self, messages: Iterable[tuple[str, str]]) -> KeyState:
        """Take in messages, (role, text) each; return self."""
        for role, text in messages:
            role_bytes = role.encode("utf-8", "surrogatepass")
            text_bytes = text.encode("utf-8", "surrogatepass")
            tail = len(text_bytes).to_bytes(8, "big") + len(role_bytes).to_bytes(8, "big")
            self._state.update(text_bytes)
            self._state.update(role_bytes + tail)
            self._n_messages += 1
        return self

    def close(self) -> KeyState:
        """End the messages; return self, ready for `key`."""
        self._state.update(self._n_messages.to_bytes(8, "big"))
        return self

    def key(self, replicate: int, sample: int, tries: int = 0) -> Digest:
        """Return the key of one sample; the state can serve any number of them.

        `tries` is how often the same request was answered before, and the answer could not be read.
        """
        return _ended(self._state.copy(), replicate, sample, tries)

    def last_key(self, replicate: int, sample: int, tries: int = 0) -> Digest:
        """Return the key of one sample, as `key` does; the state can serve no other."""
        return _ended(self._state, replicate, sample, tries)


def _ended(state: HASH, replicate: int, sample: int, tries: int) -> Digest:
    if replicate:
        state.update(b"stream" + replicate.to_bytes(8, "big"))
    if tries:
        state.update(b"try" + tries.to_bytes(8, "big"))
    state.update(sample.to_bytes(8, "big"))
    return state.digest()
