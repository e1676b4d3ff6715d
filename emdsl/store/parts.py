"""Keys and entries, some at a time: each part fits into memory and into one transaction."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.digest import Digest

T = TypeVar("T")
Entry = tuple["Digest", bytes]
MAX_BYTES = 32 * 2**20  # of the entries of a part, unless one entry is larger


def parts(entries: Iterable[Entry], n: int) -> Iterator[list[Entry]]:
    """Divide entries, in their order, into parts of at most n, and of few bytes."""
    part, n_bytes = list[Entry](), 0
    for key, entry in entries:
        if part and (len(part) == n or n_bytes + len(entry) > MAX_BYTES):
            yield part
            part, n_bytes = [], 0
        part.append((key, entry))
        n_bytes += len(entry)
    if part:
        yield part


def chunked(items: Iterable[T], n: int) -> Iterator[list[T]]:
    """Divide small things, such as keys, into lists of at most n."""
    left = iter(items)
    while chunk := list(islice(left, n)):
        yield chunk
