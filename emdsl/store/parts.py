"""Entries in parts, each of which fits into memory and into one transaction, whatever the size of an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.digest import Digest

Entry = tuple["Digest", bytes]
MAX_BYTES = 32 * 2**20  # of the entries of a part, unless one entry is larger


def parts(entries: Iterable[Entry], n: int) -> Iterator[list[Entry]]:
    """Divide entries, in their order, into parts of at most n."""
    part, n_bytes = list[Entry](), 0
    for key, entry in entries:
        if part and (len(part) == n or n_bytes + len(entry) > MAX_BYTES):
            yield part
            part, n_bytes = [], 0
        part.append((key, entry))
        n_bytes += len(entry)
    if part:
        yield part
