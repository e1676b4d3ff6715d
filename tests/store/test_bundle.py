"""A study in one file: whole or refused, under a passphrase too."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from store.test_disk import put, query

from emdsl.digest import digest_bytes
from emdsl.errors import StoreError
from emdsl.store.bundle import CANARY, Bundle, Manifest, is_encrypted, write_bundle
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = b"em 1\n"


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    found = DiskStore(tmp_path / "answers")
    put(found, 20)
    return found


def written(tmp_path: Path, store: DiskStore, passphrase: str | None = None) -> Path:
    path = tmp_path / "study.emcache"
    manifest = Manifest(study="s", file="s.em", n_entries=20, files={"s.em": digest_bytes(PROGRAM).hex()})
    keys = [query(i).key for i in range(20)]
    write_bundle(path, manifest, store.entries(keys), {"s.em": PROGRAM}, passphrase)
    return path


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_there_and_back(tmp_path: Path, store: DiskStore, passphrase: str | None) -> None:
    """Another store takes the entries as they are."""
    path = written(tmp_path, store, passphrase)
    assert is_encrypted(path) == (passphrase is not None)
    assert (CANARY.encode() in path.read_bytes()) == (passphrase is None)
    bundle = Bundle(path, passphrase)
    bundle.verify()
    assert bundle.content("s.em") == PROGRAM
    other = DiskStore(tmp_path / "other")
    assert other.adopt(bundle.entries()) == (20, 0)
    assert other.adopt(bundle.entries()) == (0, 20)
    keys = [query(i).key for i in range(20)]
    assert other.get_many(keys) == store.get_many(keys)
    other.close()


def test_another_passphrase_opens_nothing(tmp_path: Path, store: DiskStore) -> None:
    """And says so."""
    with pytest.raises(StoreError, match="another passphrase"):
        Bundle(written(tmp_path, store, "one"), "two")


@pytest.mark.parametrize("where", [0.01, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("how", ["cut", "flip"])
def test_what_is_not_whole_is_refused(tmp_path: Path, store: DiskStore, where: float, how: str) -> None:
    """Wherever it is cut, or a byte is changed: nothing of it is taken in."""
    path = written(tmp_path, store)
    content = bytearray(path.read_bytes())
    at = int(len(content) * where)
    if how == "cut":
        path.write_bytes(content[:at])
    else:
        content[at] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(StoreError):
        _read(path)


def _read(path: Path) -> None:
    bundle = Bundle(path)
    bundle.verify()
    assert bundle.content("s.em") == PROGRAM


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """Bundles are stored, never packed: what claims to unpack to more than it is is none."""
    path = tmp_path / "bomb.emcache"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "0" * 10_000_000)
    with pytest.raises(StoreError, match="packed"):
        Bundle(path)
