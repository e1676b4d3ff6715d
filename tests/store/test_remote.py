"""Remotes in a folder and on a web server: found by key, checked on arrival, never half, never paid for again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from speed import within
from store.test_disk import put, query
from web_folder import served

from emdsl.digest import digest_bytes
from emdsl.errors import SetupError, StoreAway, StoreError, UsageError
from emdsl.store.attached import attach, catalog_of, open_remote, read_through
from emdsl.store.catalog import BUSY_S
from emdsl.store.disk import DiskStore
from emdsl.store.packs import BLOCK_ENTRIES
from emdsl.store.remote import Remote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emdsl.store.read_through import ReadThroughStore

N = 300
KEYS = [query(i).key for i in range(N)]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> DiskStore:
    store = DiskStore(tmp_path_factory.mktemp("full") / "answers")
    put(store, N)
    return store


def stored(tmp_path: Path, n: int) -> DiskStore:
    store = DiskStore(tmp_path / "more" / "answers")
    put(store, n)
    return store


@contextmanager
def remote_of(cache: Path, url: Path | str, passphrase: str | None = None) -> Iterator[Remote]:
    remote = open_remote("lab", str(url), cache, {}, passphrase=passphrase, create=True)
    yield remote
    remote.close()


def push(cache: Path, url: Path, store: DiskStore, keys: list[bytes] = KEYS, passphrase: str | None = None) -> int:
    with remote_of(cache, url, passphrase) as remote:
        remote.begin(encrypt=passphrase is not None)
        held = remote.find(keys)
        entries = dict(store.entries(keys))
        return sum(remote.push((k, entries[k]) for k in keys if k not in held))


@pytest.fixture
def packs(tmp_path: Path, full: DiskStore) -> Path:
    assert push(tmp_path / "pusher", tmp_path / "packs", full) == N
    return tmp_path / "packs"


@contextmanager
def reading(cache: Path, url: Path | str, *, sends: bool = True, keeps: bool = True) -> Iterator[ReadThroughStore]:
    cache.mkdir(exist_ok=True)
    attach(cache, {"lab": str(url)})
    store = read_through(DiskStore(cache / "answers"), cache, {}, keeps=keeps, sends=sends)
    yield store
    store.close()


def pulled(cache: Path, url: Path | str) -> tuple[list[bytes], list[str]]:
    """Return the keys of all answers of a remote, and the errors of refused packs."""
    keys, refused = list[bytes](), list[str]()
    with remote_of(cache, url) as remote:
        remote.refresh()
        for _, entries in remote.pull(remote.packs()):
            if isinstance(entries, StoreError):
                refused.append(str(entries))
            else:
                keys += [key for key, _ in entries]
    return keys, refused


def test_missing_answers_come_by_their_key(tmp_path: Path, packs: Path, full: DiskStore) -> None:
    """Only the blocks that hold them are fetched, once; they are kept, and what no remote has stays missing."""
    with served(packs) as web:
        with reading(tmp_path / "b", web.url) as store:
            assert store.get_many(KEYS[:10]) == full.get_many(KEYS[:10])
            requests, sent = web.requests, web.sent
            assert store.get_many([*KEYS[:BLOCK_ENTRIES], query(N).key]).keys() == set(KEYS[:BLOCK_ENTRIES])
            assert (web.requests, web.sent) == (requests, sent)
            assert dict(store.entries([KEYS[-1], KEYS[0]])).keys() == {KEYS[-1], KEYS[0]}
            assert sent < web.sent < sum(f.stat().st_size for f in packs.rglob("*.pack")) * 0.6
        kept = DiskStore(tmp_path / "b" / "answers", read_only=True)
        assert set(kept.stored(KEYS)) > {*KEYS[:BLOCK_ENTRIES], KEYS[-1]}
        kept.close()
        with reading(tmp_path / "b", web.url) as store:
            requests = web.requests
            assert len(store.get_many(KEYS[:BLOCK_ENTRIES])) == BLOCK_ENTRIES
            assert web.requests == requests, "nothing is missing, so nothing is looked up"


def test_a_cache_that_cannot_be_written_holds_them_in_memory(tmp_path: Path, packs: Path) -> None:
    """They are fetched once, and the store stays as it was."""
    with served(packs) as web, reading(tmp_path / "b", web.url, keeps=False) as store:
        assert len(store.get_many(KEYS[:10])) == 10
        requests = web.requests
        assert len(store.get_many(KEYS[:10])) == 10
        assert (web.requests, store.stored(KEYS)) == (requests, [])


def test_a_web_server_without_ranges(tmp_path: Path, packs: Path) -> None:
    """The server of Python's library sends whole files: then whole packs are kept."""
    with served(packs) as web, reading(tmp_path / "b", web.url) as store:
        web.ranges = False
        assert len(store.get_many(KEYS[:200])) == 200
        requests = web.requests
        assert len(store.get_many(KEYS)) == N
        assert web.requests <= requests + 1


def test_a_dropped_answer_does_not_come_back(tmp_path: Path, packs: Path) -> None:
    """Somebody wants another one. One that `gc` removed, or that is damaged, does come back."""
    with reading(tmp_path / "b", packs) as store:
        assert len(store.get_many(KEYS)) == N
        store.move_to_trash(KEYS[:2], "drop: true", "dropped")
        store.move_to_trash(KEYS[2:4], "gc: not used by x.em", "collected")
    with reading(tmp_path / "b", packs) as store:
        assert set(KEYS) - store.get_many(KEYS).keys() == set(KEYS[:2])
        assert store.stored(KEYS[:2]) == [], "nor with the others of its block"


def test_a_remote_that_is_away_stops_a_run_and_nothing_else(tmp_path: Path, packs: Path) -> None:
    """From the start or in the middle: a run would pay again, a plan shows what it has and why the rest is missing."""
    with served(packs) as web, reading(tmp_path / "b", web.url) as store:
        assert len(store.get_many(KEYS[:10])) == 10
        web.breaks_after = 0
        with pytest.raises(StoreAway, match=r"the remote `lab` may hold answers .* Nothing was sent"):
            store.get_many(KEYS)
        assert len(store.get_many(KEYS[:10])) == 10, "what is here is here"
    with reading(tmp_path / "b", web.url, sends=False) as store:
        assert len(store.get_many(KEYS)) == BLOCK_ENTRIES
        assert "cannot be reached: no connection" in store.away["lab"]
    with reading(tmp_path / "b", web.url) as store, pytest.raises(StoreAway):
        store.get_many(KEYS)


def test_a_push_that_is_cut_shows_nothing_half(tmp_path: Path, packs: Path, full: DiskStore) -> None:
    """A pack without its index does not count, one that no list names does, and the next push heals all."""
    with remote_of(tmp_path / "pusher", packs) as remote:
        remote.begin(encrypt=False)
    (index,), listed = (packs / "index").iterdir(), (packs / "packs.json").read_bytes()
    index.rename(tmp_path / index.name)
    assert pulled(tmp_path / "b", packs) == ([], [])
    assert push(tmp_path / "other", packs, full) == N, "the pack is there, and is not doubled"
    assert len(list((packs / "packs").iterdir())) == len(list((packs / "index").iterdir())) == 1
    (packs / "packs.json").write_text('{"emdsl_remote": 1, "indexes": []}')
    assert pulled(tmp_path / "b", packs) == (KEYS, []), "where files can be listed, the list is the truth"
    with served(packs) as web:
        assert pulled(tmp_path / "web", web.url) == ([], [])
        assert push(tmp_path / "pusher", packs, full) == 0
        assert (packs / "packs.json").read_bytes() == listed
        assert pulled(tmp_path / "web", web.url) == (KEYS, [])


def test_a_changed_pack_is_refused(tmp_path: Path, packs: Path, full: DiskStore) -> None:
    """By its name, whole and in parts; nothing of it is stored. So is a changed or cut index."""
    (pack,), (index,) = (packs / "packs").iterdir(), (packs / "index").iterdir()
    content, sound = bytearray(pack.read_bytes()), index.read_bytes()
    content[-20] ^= 1
    pack.write_bytes(content)
    keys, refused = pulled(tmp_path / "b", packs)
    assert (keys, len(refused)) == ([], 1)
    assert refused[0].startswith(f"packs/{pack.name} of {packs} is damaged or was changed")
    with reading(tmp_path / "b", packs) as store:
        assert len(store.get_many(KEYS[:10])) == 10, "their block is as it was written"
        with pytest.raises(StoreError, match=f"packs/{pack.name} .* Nothing of it is stored"):
            store.get_many(KEYS)
        assert KEYS[-1] not in store.stored(KEYS)
    pack.unlink()
    assert "is missing, although its index is there" in pulled(tmp_path / "b", packs)[1][0]
    for changed in (sound[:-1], sound[:100], sound + b"x", b""):
        index.write_bytes(changed)
        with pytest.raises(StoreError, match=f"index/{index.name} .* its SHA-256 is not its name"):
            pulled(tmp_path / "c", packs)
    cut = packs / "index" / f"{digest_bytes(sound[:-1]).hex()}.idx"
    index.rename(cut)
    cut.write_bytes(sound[:-1])
    with pytest.raises(StoreError, match="it is incomplete"):
        pulled(tmp_path / "c", packs)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("emdsl.json", b"<html>", "is not a remote of emdsl"),
        ("emdsl.json", b'{"emdsl_remote": 2}', "newer version"),
        ("packs.json", b'{"indexes": 3}', "cannot be read"),
        ("packs.json", b'{"emdsl_remote": 1, "indexes": ["../../x"]}', "is not an index"),
        ("packs.json", b'{"emdsl_remote": 2, "indexes": []}', "newer version"),
    ],
)
def test_a_web_server_with_something_else(tmp_path: Path, packs: Path, name: str, content: bytes, error: str) -> None:
    """A page, a list that cannot be read, and the remote of a newer version."""
    (packs / name).write_bytes(content)
    with served(packs) as web, pytest.raises(StoreError, match=error):
        pulled(tmp_path / "b", web.url)


def test_a_catalog_is_made_again(tmp_path: Path, packs: Path, full: DiskStore) -> None:
    """If it is damaged, if it is gone, and if packs are gone."""
    cache = tmp_path / "b"
    assert pulled(cache, packs) == (KEYS, [])
    catalog_of(cache, str(packs)).write_bytes(b"SQLite format 3\0" + bytes(2000))
    assert pulled(cache, packs) == (KEYS, [])
    catalog_of(cache, str(packs)).unlink()
    assert pulled(cache, packs) == (KEYS, [])
    for path in [*(packs / "index").iterdir()]:
        path.unlink()
    with reading(cache, packs) as store:
        assert store.get_many(KEYS) == {}


def test_the_first_answer_stored_counts(
    tmp_path: Path, packs: Path, full: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process stores its own answer while the remote's is fetched: all read that of the store."""
    other = DiskStore(tmp_path / "b" / "answers")
    (own,) = full.get_many(KEYS[1:2]).values()
    fetch = Remote.fetch

    def fetched(remote: Remote, places: dict[bytes, tuple[int, int]]) -> dict[bytes, bytes]:
        entries = fetch(remote, places)
        other.adopt([(key, entries[KEYS[1]]) for key in places if key == KEYS[0]])
        return entries

    monkeypatch.setattr(Remote, "fetch", fetched)
    with reading(tmp_path / "b", packs) as store:
        assert store.get_many(KEYS[:3]) == full.get_many(KEYS[:3]) | {KEYS[0]: own}
        assert store.get_many(KEYS[:3]) == full.get_many(KEYS[:3]) | {KEYS[0]: own}
    other.close()


def begun_again(remote: Remote, cache: Path, packs: Path, *, complete: bool) -> None:
    """Begin the catalog of a remote again, as another process does if a pack is gone."""
    with remote_of(cache, packs) as other:
        other._catalog.begin((packs / "emdsl.json").read_text())
        if complete:
            other.refresh()


@pytest.mark.parametrize("complete", [True, False])
def test_a_catalog_that_another_process_begins_again(
    tmp_path: Path, packs: Path, full: DiskStore, complete: bool
) -> None:
    """Numbers of packs are never used again, and nothing counts as missing before the catalog is complete."""
    two = push(tmp_path / "pusher", packs, stored(tmp_path, N + 20), [query(N + i).key for i in range(20)])
    assert two == 20
    cache = tmp_path / "b"
    with remote_of(cache, packs) as remote:
        remote.refresh()
        places, listed = remote.find(KEYS), remote.packs()
        begun_again(remote, cache, packs, complete=complete)
        assert {k: remote.fetch(places)[k] for k in KEYS} == dict(full.entries(KEYS))
        assert {p.id for p in remote.packs()}.isdisjoint(p.id for p in listed)
        begun_again(remote, cache, packs, complete=complete)
        assert remote.find(KEYS).keys() == set(KEYS)
        listed = remote.packs()
        begun_again(remote, cache, packs, complete=complete)
        arrived = list(remote.pull(listed))
        assert sum(len(entries) for _, entries in arrived if not isinstance(entries, StoreError)) == N + 20
        remote.note_pulled([pack.id for pack, _ in arrived], full.state())
        assert remote.unpulled(lambda _: True) == []
        begun_again(remote, cache, packs, complete=True)
        remote.note_pulled([listed[0].id], full.state())
        assert len(remote.unpulled(lambda _: True)) == 2, "a pack of now has another number"
        catalog_of(cache, str(packs)).unlink()
        with remote_of(cache, packs) as other:
            other.refresh()
            assert {p.id for p in other.packs()}.isdisjoint(p.id for p in remote.packs()), "of a new file, too"


def test_a_catalog_that_other_processes_refresh_is_complete(
    tmp_path: Path, packs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their refreshes while keys are looked up only add keys: no lookup is repeated."""
    with remote_of(tmp_path / "b", packs) as remote, remote_of(tmp_path / "b", packs) as other:
        remote.refresh()
        catalog, refreshed = remote._catalog, list[float]()
        since = catalog._since

        def looked() -> tuple[bool, int | None]:
            other.refresh()
            refreshed.append(catalog.refreshed_at())
            return since()

        monkeypatch.setattr(catalog, "_since", looked)
        assert remote.find(KEYS).keys() == set(KEYS)
        before, after = refreshed
        assert before < after


def test_a_damaged_catalog_of_an_earlier_version_is_made_again(tmp_path: Path, packs: Path) -> None:
    """At once: the damage shows while its tables are made, under a lock."""
    path = catalog_of(tmp_path / "b", str(packs))
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript("CREATE TABLE Keys (prefix INTEGER PRIMARY KEY, place INTEGER); CREATE TABLE About (x);")
    content = bytearray(path.read_bytes())
    content[-100:] = b"\xff" * 100
    content[4096:4104] = b"\xff" * 8
    path.write_bytes(content)
    with within(BUSY_S / 4):
        assert pulled(tmp_path / "b", packs) == (KEYS, [])
    assert path.stat().st_size > len(content), "its file is used, not the memory of one process"


def test_a_pack_that_is_gone_while_its_catalog_is_read(tmp_path: Path, packs: Path) -> None:
    """Its answers are missing, and no damage is reported."""
    cache = tmp_path / "b"
    with remote_of(cache, packs) as remote:
        remote.refresh()
        places, listed = remote.find(KEYS), remote.packs()
        for path in [*(packs / "index").iterdir()]:
            path.unlink()
        begun_again(remote, cache, packs, complete=True)
        assert remote.fetch(places) == {}
        ((_, error),) = remote.pull(listed)
        assert "was removed meanwhile" in str(error)


def test_the_catalog_of_an_earlier_version_is_made_again(tmp_path: Path, packs: Path) -> None:
    """Its numbers could be used twice."""
    path = catalog_of(tmp_path / "b", str(packs))
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE About (name TEXT PRIMARY KEY, value);"
            "CREATE TABLE Packs (id INTEGER PRIMARY KEY, name TEXT UNIQUE, sha256 BLOB, size INTEGER, n INTEGER);"
            "INSERT INTO Packs VALUES (1, 'x.idx', x'00', 1, 1); INSERT INTO About VALUES ('refreshed', 9e9);"
        )
    assert pulled(tmp_path / "b", packs) == (KEYS, [])
    with closing(sqlite3.connect(path)) as database:
        (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'Packs'").fetchone()
        assert "AUTOINCREMENT" in sql
        assert database.execute("SELECT count(*) FROM Packs").fetchone() == (1,)


@pytest.mark.thorough(only="each use of a passphrase takes a second, by design")
def test_an_encrypted_remote_shows_sizes_alone(tmp_path: Path, full: DiskStore) -> None:
    """Neither keys nor answers nor their number; each needs the passphrase, and one push decides for all."""
    packs, cache = tmp_path / "packs", tmp_path / "b"
    assert push(tmp_path / "pusher", packs, full, KEYS[:100], "correct horse") == 100
    assert push(tmp_path / "pusher", packs, full, KEYS, "correct horse") == N - 100
    shown = b"".join(path.read_bytes() for path in packs.rglob("*") if path.is_file())
    assert not any(key[:8] in shown or key[:8][::-1] in shown for key in KEYS)
    assert b"answer 7" not in shown
    with reading(cache, packs) as store, pytest.raises(SetupError, match="set its passphrase as EMDSL_PASSPHRASE"):
        store.get_many(KEYS)
    attach(cache, {"lab": str(packs)})
    store = read_through(
        DiskStore(cache / "answers"), cache, {"EMDSL_PASSPHRASE": "correct horse"}, keeps=True, sends=True
    )
    assert store.get_many(KEYS) == full.get_many(KEYS)
    store.close()
    with remote_of(tmp_path / "c", packs, "wrong") as remote, pytest.raises(StoreError, match="wrong passphrase"):
        remote.refresh()


@pytest.mark.thorough(only="each use of a passphrase takes a second, by design")
def test_a_remote_that_was_begun_anew(tmp_path: Path, packs: Path, full: DiskStore) -> None:
    """Its catalog is begun anew, too."""
    assert pulled(tmp_path / "b", packs) == (KEYS, [])
    shutil.rmtree(packs)
    push(tmp_path / "pusher", packs, full, KEYS[:5], "correct horse")
    with remote_of(tmp_path / "b", packs, "correct horse") as remote:
        remote.refresh()
        assert remote.find(KEYS).keys() == set(KEYS[:5])


def test_encryption_is_decided_once(tmp_path: Path, packs: Path, full: DiskStore) -> None:
    """Packs that everybody can read stay so."""
    with pytest.raises(UsageError, match="is not encrypted"):
        push(tmp_path / "pusher", packs, full, KEYS, "correct horse")
    assert "identity" not in json.loads((packs / "emdsl.json").read_bytes())
