"""Packs: some thousand answers in one immutable file, and an index of them. Bytes alone, without a network.

A pack is a row of blocks, each with at most 64 entries as `key size entry`; in an encrypted remote each block is an age
file of its own, so that one of them can be read without the others. The index names its pack by SHA-256, has the size
and the SHA-256 of each block, and of each key its first 8 bytes with the number of its block: the key itself is in the
block. An index takes 11 bytes per answer, a fiftieth of a usual answer.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import TYPE_CHECKING, NamedTuple

from emdsl.digest import digest_bytes
from emdsl.store.parts import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from emdsl.digest import Digest

PACK_ENTRIES = 8192  # entries of a pack, at most
PACK_BYTES = 16 * 2**20  # of entries, from which a pack ends
BLOCK_ENTRIES = 64  # entries of a block, at most
BLOCK_BYTES = 64 * 2**10  # of entries, from which a block ends
PREFIX = 8  # bytes of a key in an index: two of 10^9 keys agree in them with a probability of 3 %
_MARK = b"EI1\n"
_HEAD = struct.Struct(f"<{len(_MARK)}s32sII")  # mark, SHA-256 of the pack, numbers of blocks and of keys
_BLOCK = struct.Struct("<I32s")  # size in bytes, SHA-256
_RECORD = struct.Struct(">32sI")  # key, size of its entry


class Damaged(ValueError):
    """Bytes that are not those of a pack or an index; the text has the reason."""


class Block(NamedTuple):
    """Where a block is in its pack, in bytes, and the SHA-256 of these bytes."""

    start: int
    size: int
    sha256: Digest

    @property
    def end(self) -> int:
        """The byte behind its last one."""
        return self.start + self.size


class Index(NamedTuple):
    """The contents of a pack: `places[i]` is the block of the key that begins with `prefixes[i]`, in key order."""

    pack: Digest
    blocks: tuple[Block, ...]
    prefixes: array[int]
    places: array[int]

    @property
    def size(self) -> int:
        """The size of the pack in bytes."""
        return self.blocks[-1].end if self.blocks else 0


def prefix_of(key: Digest) -> int:
    """Return the first bytes of a key as a signed number, as databases have them."""
    return int.from_bytes(key[:PREFIX], "big", signed=True)


def portions(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield the entries of one pack after the other."""
    return _cut(entries, PACK_ENTRIES, PACK_BYTES)


def pack(entries: Sequence[Entry], sealed: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """Return a pack and its index, not sealed yet; equal entries make equal packs unless `sealed` differs."""
    blocks, records = list[bytes](), list[bytes]()
    prefixes = list[tuple[int, int]]()
    for part in _cut(entries, BLOCK_ENTRIES, BLOCK_BYTES):
        block = sealed(b"".join(_RECORD.pack(key, len(entry)) + entry for key, entry in part))
        prefixes += ((prefix_of(key), len(blocks)) for key, _ in part)
        records.append(_BLOCK.pack(len(block), digest_bytes(block)))
        blocks.append(block)
    content = b"".join(blocks)
    prefixes.sort()
    head = _HEAD.pack(_MARK, digest_bytes(content), len(blocks), len(prefixes))
    keys, places = array("q", (p for p, _ in prefixes)), array("H", (b for _, b in prefixes))
    return content, b"".join((head, *records, _little(keys).tobytes(), _little(places).tobytes()))


def read_index(content: bytes) -> Index:
    """Return an index; raises Damaged."""
    if len(content) < _HEAD.size:
        raise Damaged("it is too short")
    mark, sha256, n_blocks, n_keys = _HEAD.unpack_from(content)
    if mark != _MARK:
        raise Damaged("it is not an index of this version")
    ends = _HEAD.size + n_blocks * _BLOCK.size
    if len(content) != ends + n_keys * (PREFIX + 2):
        raise Damaged("it is incomplete")
    blocks, start = list[Block](), 0
    for size, block_sha256 in _BLOCK.iter_unpack(content[_HEAD.size : ends]):
        blocks.append(Block(start, size, block_sha256))
        start += size
    prefixes, places = array("q"), array("H")
    prefixes.frombytes(content[ends : ends + n_keys * PREFIX])
    places.frombytes(content[ends + n_keys * PREFIX :])
    if n_keys and max(_little(places)) >= n_blocks:
        raise Damaged("it names a block that its pack does not have")
    return Index(sha256, tuple(blocks), _little(prefixes), places)


def entries_of(block: bytes) -> list[Entry]:
    """Return the entries of an open block; raises Damaged."""
    found, at, end = list[Entry](), 0, len(block)
    while at < end:
        if at + _RECORD.size > end:
            raise Damaged("it ends within an entry")
        key, size = _RECORD.unpack_from(block, at)
        at += _RECORD.size + size
        if at > end:
            raise Damaged("it ends within an entry")
        found.append((key, block[at - size : at]))
    return found


def _cut(entries: Iterable[Entry], most: int, size: int) -> Iterator[list[Entry]]:
    part, held = list[Entry](), 0
    for key, entry in entries:
        part.append((key, entry))
        held += len(entry)
        if len(part) == most or held >= size:
            yield part
            part, held = [], 0
    if part:
        yield part


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
