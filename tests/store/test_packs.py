"""Packs are what their indexes tell of them, and every other byte is noticed."""

from __future__ import annotations

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emdsl.digest import digest_bytes
from emdsl.store.packs import (
    BLOCK_ENTRIES,
    PACK_ENTRIES,
    Damaged,
    entries_of,
    pack,
    portions,
    prefix_of,
    read_index,
)
from emdsl.store.sealing import Seal

entry = st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=80))


@given(st.lists(entry, max_size=200, unique_by=lambda e: e[0]))
@settings(max_examples=30)
def test_each_key_leads_to_its_entry(entries: list[tuple[bytes, bytes]]) -> None:
    """Every key is in the block that its prefix names, and a pack has nothing else."""
    content, raw = pack(entries, bytes)
    index = read_index(raw)
    assert (index.pack, index.size) == (digest_bytes(content), len(content))
    blocks = [entries_of(content[b.start : b.end]) for b in index.blocks]
    assert all(digest_bytes(content[b.start : b.end]) == b.sha256 for b in index.blocks)
    assert [e for block in blocks for e in block] == entries
    assert list(index.prefixes) == sorted(prefix_of(key) for key, _ in entries)
    for prefix, place in zip(index.prefixes, index.places, strict=True):
        assert prefix in {prefix_of(key) for key, _ in blocks[place]}


def test_many_entries_are_cut_into_blocks_and_packs() -> None:
    """By their number and by their bytes, in order; the index of usual answers is a fiftieth of its pack."""
    entries = [(digest_bytes(i.to_bytes(4, "big")), bytes(560)) for i in range(PACK_ENTRIES + 1)]
    first, last = portions(entries)
    assert (len(first), len(last), [*first, *last]) == (PACK_ENTRIES, 1, entries)
    content, index = pack(first, bytes)
    assert len(read_index(index).blocks) == PACK_ENTRIES // BLOCK_ENTRIES
    assert len(index) < len(content) / 50
    large = [(key, bytes(2**20)) for key, _ in entries[:20]]
    assert [len(part) for part in portions(large)] == [16, 4]
    assert len(read_index(pack(large[:3], bytes)[1]).blocks) == 3


def test_damage_is_noticed() -> None:
    """An index that is cut anywhere, or that names a block too many, and a block that is cut."""
    content, index = pack([(digest_bytes(bytes([i])), bytes(10)) for i in range(100)], bytes)
    for end in (0, 10, 43, 44, 100, len(index) - 1):
        with pytest.raises(Damaged):
            read_index(index[:end])
    with pytest.raises(Damaged, match="a block that its pack does not have"):
        read_index(index[:-2] + b"\x07\x00")
    with pytest.raises(Damaged, match="not an index of this version"):
        read_index(b"XX" + index[2:])
    for end in (1, 35, 45, len(content) - 1):
        with pytest.raises(Damaged, match="ends within an entry"):
            entries_of(content[:end])


def test_a_seal_opens_what_it_closed() -> None:
    """Bytes that were changed open to nothing."""
    seal = Seal(str(pyrage.x25519.Identity.generate()))
    closed = seal.close(b"block")
    assert b"block" not in closed
    assert seal.open(closed) == b"block"
    with pytest.raises(Damaged):
        seal.open(closed[:-1] + b"?")
