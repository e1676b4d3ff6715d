"""Compressed bodies are undone as they come."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest
import zstandard

from emdsl.errors import Unavailable
from emdsl.providers.compression import PIECE, Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = b"0" * 600_000 + bytes(range(256)) * 40
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip in two members": lambda c: gzip.compress(c[:5000]) + gzip.compress(c[5000:]),
    "deflate": zlib.compress,
    "deflate without a header": lambda c: zlib.compress(c, wbits=-15),
    "zstd": zstandard.compress,
    "zstd in two frames": lambda c: zstandard.compress(c[:5000]) + zstandard.compress(c[5000:]),
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_is_unpacked_in_small_pieces(encoding: str, size: int) -> None:
    """A body that unpacks to a thousand times its size never stands in memory, and may come byte by byte."""
    packed = PACKED[encoding](PLAIN)
    unpacker = Unpacker(encoding.partition(" ")[0])
    pieces = [p for i in range(0, len(packed), size) for p in unpacker.feed(packed[i : i + size])]
    unpacker.end()
    assert b"".join(pieces) == PLAIN
    assert encoding.startswith("zstd") or max(map(len, pieces)) <= PIECE


@pytest.mark.parametrize("encoding", PACKED)
def test_a_cut_body_is_an_error(encoding: str) -> None:
    """At any byte, also if no byte of the content is missing."""
    packed = PACKED[encoding](PLAIN)
    for size in (1, len(packed) // 2, len(packed) - 1):
        unpacker = Unpacker(encoding.partition(" ")[0])
        assert PLAIN.startswith(b"".join(unpacker.feed(packed[:size])))
        with pytest.raises(Unavailable, match="is not valid"):
            unpacker.end()


def test_nothing_was_cut_of_an_empty_body() -> None:
    """Some servers declare an encoding of no content."""
    unpacker = Unpacker("gzip")
    assert b"".join(unpacker.feed(b"")) == b""
    unpacker.end()
