"""What every store promises, as a table of properties; `test_conformance.py` tries each with each kind of store.

A new kind of store is one more row of KINDS. A property is a function of a kind and an empty place for its store.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pg
import psycopg
import pytest
from store.test_disk import query

from emdsl.digest import digest_bytes
from emdsl.errors import StoreError
from emdsl.files import Busy
from emdsl.query import Response
from emdsl.store.attached import attach, open_remote, read_through
from emdsl.store.claims import Claims
from emdsl.store.codec import encode, encode_with
from emdsl.store.copying import copy_entries
from emdsl.store.disk import DiskStore
from emdsl.store.postgres import PostgresStore
from emdsl.store.postgres_claims import PostgresClaims
from emdsl.store.removals import StoreVersion
from emdsl.store.team import TeamClaims, TeamStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from emdsl.store.store import AnswerStore, AnyClaims, Store

DAMAGED = b"E1j" + b"x" * 60


class Kind(ABC):
    """A kind of store at a place: how to make one, open it, damage it, and claim its requests."""

    @abstractmethod
    def place(self, folder: Path) -> str:
        """Return a place where there is no store yet."""

    @abstractmethod
    def open(self, place: str, *, read_only: bool = False) -> AnswerStore:
        """Open the store; without `read_only` it is made if it is missing."""

    @abstractmethod
    def claims(self, place: str, run: str) -> AnyClaims:
        """Return the claims of a run."""

    @abstractmethod
    def damage(self, place: str, keys: Iterable[bytes], value: bytes = DAMAGED) -> None:
        """Write a value in place of entries, as no store would."""

    @abstractmethod
    def backup(self, place: str, folder: Path) -> str:
        """Return the place of a copy; nobody has the store open."""

    @abstractmethod
    def of_a_newer_emdsl(self, place: str) -> None:
        """Give the store a version of its format that this emdsl does not know."""


class Disk(Kind):
    def place(self, folder: Path) -> str:
        return str(folder / "answers")

    def open(self, place: str, *, read_only: bool = False) -> AnswerStore:
        return DiskStore(Path(place), read_only=read_only)

    def claims(self, place: str, run: str) -> AnyClaims:
        return Claims(Path(place), run)

    def damage(self, place: str, keys: Iterable[bytes], value: bytes = DAMAGED) -> None:
        with closing(sqlite3.connect(Path(place) / "cache.db")) as database, database:
            database.executemany("UPDATE Cache SET value = ? WHERE key = ?", [(value, k) for k in keys])

    def backup(self, place: str, folder: Path) -> str:
        shutil.copytree(place, folder / "backup")
        return str(folder / "backup")

    def of_a_newer_emdsl(self, place: str) -> None:
        with closing(sqlite3.connect(Path(place) / "cache.db")) as database, database:
            database.execute("UPDATE Emdsl SET value = 99 WHERE name = 'format'")


class Postgres(Kind):
    def place(self, folder: Path) -> str:  # noqa: ARG002 - other kinds need one
        return pg.emptied_database()

    def open(self, place: str, *, read_only: bool = False) -> AnswerStore:
        return PostgresStore(place, read_only=read_only)

    def claims(self, place: str, run: str) -> AnyClaims:
        return PostgresClaims(place, run)

    def damage(self, place: str, keys: Iterable[bytes], value: bytes = DAMAGED) -> None:
        with psycopg.connect(place) as database:
            database.execute("UPDATE emdsl.answers SET entry = %s WHERE key = ANY (%s)", (value, list(keys)))

    def backup(self, place: str, folder: Path) -> str:  # noqa: ARG002 - a server has a place of its own
        backup = "backup"
        pg.server().sql(f"DROP DATABASE IF EXISTS {backup}")
        pg.server().sql(f"CREATE DATABASE {backup} TEMPLATE {place.rpartition('/')[2]}")
        return pg.server().url(backup)

    def of_a_newer_emdsl(self, place: str) -> None:
        pg.server().sql("UPDATE emdsl.about SET value = 99 WHERE name = 'format'", place.rpartition("/")[2])


class Team(Postgres):
    """A server with copies on this machine. A place is the folder of the copies, a blank, and the URL."""

    def place(self, folder: Path) -> str:
        return f"{folder / 'copies'} {super().place(folder)}"

    def open(self, place: str, *, read_only: bool = False) -> AnswerStore:
        copies, _, url = place.rpartition(" ")
        return TeamStore(super().open(url, read_only=read_only), DiskStore(Path(copies)), send=not read_only)

    def claims(self, place: str, run: str) -> AnyClaims:
        copies, _, url = place.rpartition(" ")
        Path(copies).mkdir(exist_ok=True)
        return TeamClaims(PostgresClaims(url, run), Claims(Path(copies), run))

    def damage(self, place: str, keys: Iterable[bytes], value: bytes = DAMAGED) -> None:
        """Damage both: a copy alone is not missed."""
        copies, _, url = place.rpartition(" ")
        super().damage(url, keys, value)
        Disk().damage(copies, keys, value)

    def backup(self, place: str, folder: Path) -> str:
        """Copy the server's store, for another machine."""
        return f"{folder / 'other'} {super().backup(place.rpartition(' ')[2], folder)}"

    def of_a_newer_emdsl(self, place: str) -> None:
        super().of_a_newer_emdsl(place.rpartition(" ")[2])


class WithRemotes(Disk):
    """A store on disk with a remote behind it, which has answers to other requests."""

    def open(self, place: str, *, read_only: bool = False) -> AnswerStore:
        cache = Path(place).parent
        packs = cache / "packs"
        if not packs.exists():
            with closing(open_remote("lab", str(packs), cache, {}, create=True)) as remote:
                remote.begin(encrypt=False)
                assert sum(remote.push([(digest_bytes(b"another"), encode_with({}, answer("another")))])) == 1
        attach(cache, {"lab": str(packs)})
        return read_through(super().open(place, read_only=read_only), cache, {}, keeps=not read_only, sends=True)


KINDS: dict[str, Kind] = {"disk": Disk(), "postgres": Postgres(), "team": Team(), "remotes": WithRemotes()}
ON_A_SERVER = ("postgres", "team")


def answer(text: str) -> Response:
    return Response(text=text, finish="stop", answered_at=1.0)


def put(store: Store, texts: dict[int, str]) -> dict[int, str]:
    """Store answers at once, by the numbers of their queries; return the acknowledged texts."""

    async def main() -> list[Response]:
        return await asyncio.gather(*[store.put(query(i), answer(text)) for i, text in texts.items()])

    return {i: response.text for i, response in zip(texts, asyncio.run(main()), strict=True)}


def texts(store: Store, numbers: Iterable[int]) -> dict[int, str]:
    """Return the texts that are stored, by the numbers of their queries."""
    by_key = {query(i).key: i for i in numbers}
    return {by_key[key]: response.text for key, response in store.get_many(by_key).items()}


def entry(number: int, text: str) -> tuple[bytes, bytes]:
    return query(number).key, encode(query(number), answer(text))


@contextmanager
def opened(kind: Kind, place: str) -> Iterator[AnswerStore]:
    store = kind.open(place)
    try:
        yield store
    finally:
        store.close()


# ------------------------------------------------------------------ of every store, in memory too


def first_answers_stay(store: Store) -> None:
    """The first answer of a key is stored, and whoever brings a later one gets it."""
    assert texts(store, range(3)) == {}
    assert put(store, {0: "a", 1: "b"}) == {0: "a", 1: "b"}
    assert put(store, {1: "c", 2: "d"}) == {1: "b", 2: "d"}
    assert texts(store, range(4)) == {0: "a", 1: "b", 2: "d"}
    assert store.get_many([]) == {}


def one_key_twice_at_once(store: Store) -> None:
    """Of two answers of one key that arrive together, both who wait get the first."""

    async def main() -> list[Response]:
        return await asyncio.gather(*[store.put(query(i % 3), answer(f"{i}")) for i in range(9)])

    assert [r.text for r in asyncio.run(main())] == ["0", "1", "2"] * 3


def every_text_comes_back(store: Store) -> None:
    """Lone surrogates, zeros, nothing at all, and a megabyte."""
    all_texts = dict(enumerate(["", "\ud800", "\x00", "ä\r\n", "x" * 2**20]))
    assert put(store, all_texts) == all_texts
    assert texts(store, all_texts) == all_texts


STORES: tuple[Callable[[Store], None], ...] = (first_answers_stay, one_key_twice_at_once, every_text_comes_back)


# ------------------------------------------------------------------ of every store that lasts


def what_is_acknowledged_is_there_for_the_next_opener(kind: Kind, at: str, folder: Path) -> None:
    """Answers survive the end of the process that stored them, in the order of storing."""
    with opened(kind, at) as store:
        for start in (0, 100, 200):
            put(store, {i: f"answer {i}" for i in range(start, start + 100)})
    with opened(kind, at) as store:
        assert texts(store, range(310)) == {i: f"answer {i}" for i in range(300)}
        assert list(store.keys()) == [query(i).key for i in range(300)]
        assert [key for key, _ in store.each()] == list(store.keys())
        assert store.damage() == ""
        assert store.n_bytes() > 300 * 100


def entries_are_the_same_bytes_everywhere(kind: Kind, at: str, folder: Path) -> None:
    """What one store writes, another one reads: by `entries`, `each` and `adopt`."""
    brought = [entry(i, "x" * i) for i in range(0, 1_500, 50)]
    keys = [key for key, _ in brought]
    with opened(kind, at) as store:
        assert store.adopt(iter(brought)) == (30, 0)
        assert store.adopt([*brought, entry(1, "more")]) == (1, 30)
        assert store.adopt([]) == (0, 0)
        assert dict(store.entries([*keys, *keys, query(2).key])) == dict(brought)
        assert list(store.each()) == [*brought, entry(1, "more")]
        assert sorted(store.stored([*keys, *keys, query(2).key])) == sorted(keys)
        assert store.stored([]) == []
        assert put(store, {0: "later", 3: "new"}) == {0: "", 3: "new"}


def a_sample_is_spread_over_all(kind: Kind, at: str, folder: Path) -> None:
    """With the ingredients of each key; of few answers it has all."""
    with opened(kind, at) as store:
        assert store.sample(5) == []
        put(store, dict.fromkeys(range(200), "a"))
        assert sorted(of["sample"] for of, _ in store.sample(500)) == list(range(200))
        some = sorted(of["sample"] for of, _ in store.sample(10))
        assert 5 <= len(some) <= 10
        assert some[0] < 40
        assert some[-1] >= 160


def a_damaged_entry_is_never_believed(kind: Kind, at: str, folder: Path) -> None:
    """It is no answer, goes to the trash, and the next answer takes its place: by `put` and by `adopt`."""
    with opened(kind, at) as store:
        put(store, dict.fromkeys(range(6), "old"))
    kind.damage(at, [query(i).key for i in (1, 2, 3)])
    with opened(kind, at) as store:
        assert dict(store.each())[query(1).key] == DAMAGED
        assert put(store, {1: "new"}) == {1: "new"}  # it was damaged after the run looked for it
        assert texts(store, range(6)) == {0: "old", 1: "new", 4: "old", 5: "old"}
        assert store.corrupt == {query(2).key, query(3).key}
        assert put(store, {0: "new", 2: "new"}) == {0: "old", 2: "new"}
        assert store.adopt([entry(i, "adopted") for i in range(4)]) == (1, 3)
        assert texts(store, range(6)) == {0: "old", 1: "new", 2: "new", 3: "adopted", 4: "old", 5: "old"}
        assert {(removed.why, removed.name) for removed in store.trash()} == {("damaged", "")}
        assert sum(removed.entries for removed in store.trash()) == 3
        assert store.state().removals == 3


def the_trash_gives_back(kind: Kind, at: str, folder: Path) -> None:
    """Nothing is deleted in one step; an answer that was requested again stays."""
    with opened(kind, at) as store:
        put(store, {i: f"old {i}" for i in range(6)})
        assert store.trash() == []
        assert store.move_to_trash([query(0).key, query(1).key, b"?" * 32, query(0).key], "a bad day", "b1") == 2
        assert store.move_to_trash([query(2).key], "another", "b2") == 1
        assert store.move_to_trash([], "nothing", "b3") == 0
        assert texts(store, range(6)) == {i: f"old {i}" for i in (3, 4, 5)}
        assert [(t.name, t.why, t.entries) for t in store.trash()] == [("b2", "another", 1), ("b1", "a bad day", 2)]
        assert all(1.6e9 < t.at < 1e11 for t in store.trash())
        put(store, {0: "again"})
        assert sorted(store.trash_entries("b1")) == sorted([entry(0, "old 0"), entry(1, "old 1")])
        assert store.trash_entries("b9") == []
        assert store.adopt(store.trash_entries("b1")) == (1, 1)
        assert store.purge("b1") == 2
        assert texts(store, range(6)) == {0: "again"} | {i: f"old {i}" for i in (1, 3, 4, 5)}
        assert store.purge(None) == 1
        assert store.trash() == []
        assert store.damage() == ""
        assert len(list(store.each())) == store.state().n == 5


def the_version_follows(kind: Kind, at: str, folder: Path) -> None:
    """It changes with each answer and removal, not by reading; answers that come later keep what was before."""
    with opened(kind, at) as store:
        empty = store.state()
        assert empty.n == empty.removals == 0
        put(store, dict.fromkeys(range(5), "a"))
        five = store.state()
        assert (five.n, five.store) == (5, empty.store)
        assert five != empty
        put(store, dict.fromkeys(range(5), "b"))
        texts(store, range(9))
        assert store.state()[:4] == five[:4]
        put(store, {5: "a"})
        assert store.state() != five
        for before in (empty, five, store.state()):
            assert store.still_holds(before)
        assert not store.still_holds(five._replace(store=five.store + 1))
        assert not store.still_holds(StoreVersion(five.store, 0, five.last + 100, 5))
        store.move_to_trash([query(5).key], "why", "b")
        assert not store.still_holds(five)
        assert store.still_holds(store.state())
    with opened(kind, at) as store:
        assert store.state().removals == 1


def a_restored_backup_is_noticed(kind: Kind, at: str, folder: Path) -> None:
    """It holds what it has, and not what came after it; not even once it has as many answers again."""
    with opened(kind, at) as store:
        put(store, dict.fromkeys(range(5), "a"))
        old = store.state()
    backup = kind.backup(at, folder)
    with opened(kind, at) as store:
        put(store, dict.fromkeys(range(5, 10), "a"))
        new = store.state()
    with opened(kind, backup) as store:
        assert store.still_holds(old)
        assert not store.still_holds(new)
        put(store, dict.fromkeys(range(20, 30), "a"))
        assert store.still_holds(old)
        assert not store.still_holds(new)


def who_reads_makes_nothing(kind: Kind, at: str, folder: Path) -> None:
    """A store that is not there is empty, and is not made by looking."""
    for _ in range(2):
        store = kind.open(at, read_only=True)
        assert store.get_many([query(0).key]) == {}
        assert list(store.each()) == []
        assert list(store.keys()) == []
        assert store.stored([query(0).key]) == []
        assert store.sample(3) == []
        assert store.state() == StoreVersion(0, 0, 0, 0)
        assert store.damage() == ""
        store.close()
        store.close()
    with opened(kind, at) as writer:
        put(writer, {0: "a"})
        reader = kind.open(at, read_only=True)
        assert texts(reader, range(2)) == {0: "a"}
        assert reader.state() == writer.state()
        put(writer, {1: "b"})
        assert texts(reader, range(2)) == {0: "a", 1: "b"}  # what others store meanwhile
        reader.close()


def a_newer_store_is_refused(kind: Kind, at: str, folder: Path) -> None:
    """It is neither read nor changed."""
    with opened(kind, at) as store:
        put(store, {0: "a"})
    kind.of_a_newer_emdsl(at)
    for read_only in (True, False):
        with pytest.raises(StoreError, match="newer version: upgrade emdsl"):
            kind.open(at, read_only=read_only)


def two_at_once_agree(kind: Kind, at: str, folder: Path) -> None:
    """Of two that store the same keys in opposite orders, both go on, and each key has one answer."""
    n, results = 3_000, dict[str, tuple[int, int]]()
    brought = {name: [entry(i, name) for i in range(n)] for name in "ab"}
    with opened(kind, at) as one, opened(kind, at) as two:

        def adopt(name: str, store: AnswerStore) -> None:
            results[name] = store.adopt(brought[name][:: 1 if name == "a" else -1])

        threads = [threading.Thread(target=adopt, args=args) for args in (("a", one), ("b", two))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results["a"][0] + results["b"][0] == n
        assert len(texts(one, range(n))) == one.state().n == n


def copies_carry_missing_sound_entries(kind: Kind, at: str, folder: Path) -> None:
    """There and back between it and a store on disk; a damaged entry stays where it is, and one of the target mends."""
    with opened(kind, at) as store, closing(DiskStore(folder / "there")) as there:
        put(store, {i: f"{i}" for i in range(30)})
        put(there, dict.fromkeys(range(20, 40), "own"))
        kind.damage(at, [query(3).key])
        seen: list[int] = []
        copied = copy_entries(store, there, seen.append)
        assert copied == (19, 10, 1)
        with closing(DiskStore(folder / "empty")) as empty:
            assert copy_entries(store, empty) == (29, 0, 1)
            assert list(empty.keys()) == [query(i).key for i in range(30) if i != 3]
        assert seen[-1] == 30
        assert list(there.keys()) == [query(i).key for i in (*range(20, 40), *range(3), *range(4, 20))]
        assert copy_entries(there, store) == (10, 29, 0)
        assert texts(store, range(40)) == texts(there, range(40)) | {i: f"{i}" for i in range(20, 30)}
        put(there, {3: "sound"})
        assert query(3).key in store.corrupt  # it was read, so that a copy replaces it
        assert copy_entries(there, store, keys=[query(3).key]) == (1, 0, 0)
        assert texts(store, [3]) == {3: "sound"}


def two_never_own_one_claim(kind: Kind, at: str, folder: Path) -> None:
    """What another process has claimed is not ours until it releases it, or ends."""
    a, b, c = (bytes([i]) * 32 for i in range(3))
    with opened(kind, at):
        first = kind.claims(at, "first")
        assert first.alone
        assert first.take([a, b]) == {a, b}
        assert first.take([a, a]) == {a}
        second = kind.claims(at, "second")
        assert not first.alone
        assert not second.alone
        assert second.take([a, b, c]) == {c}
        first.release([a])
        assert second.take([a]) == set()
        assert first.take([]) == set()
        assert second.take([a, b]) == {a}
        first.close()
        assert second.take([a, b]) == {a, b}
        second.close()
        third = kind.claims(at, "third")
        assert third.alone
        assert third.take([a, b, c]) == {a, b, c}
        kind.claims(at, "fourth").close()
        assert not third.alone  # one that came and went may have answered what was looked for in vain
        third.close()


def owners_may_begin_at_once(kind: Kind, at: str, folder: Path) -> None:
    """Each sees the others, whoever is first; of the claims of all, no two are the same."""
    keys, won = [bytes([i]) * 32 for i in range(40)], list[set[bytes]]()
    begun: list[AnyClaims] = []
    kind.open(at).close()
    start = threading.Barrier(8)

    def begin(number: int) -> None:
        start.wait()
        claims = kind.claims(at, f"run{number}")
        begun.append(claims)
        while True:
            try:
                won.append(claims.take(keys[number : number + 30]))
                break
            except Busy:
                continue

    threads = [threading.Thread(target=begin, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 8
    assert sum(map(len, won)) == len(set().union(*won)) == 37
    assert not any(claims.alone for claims in begun)
    for claims in begun:
        claims.close()


LASTING: tuple[Callable[[Kind, str, Path], None], ...] = (
    what_is_acknowledged_is_there_for_the_next_opener,
    entries_are_the_same_bytes_everywhere,
    a_sample_is_spread_over_all,
    a_damaged_entry_is_never_believed,
    the_trash_gives_back,
    the_version_follows,
    a_restored_backup_is_noticed,
    who_reads_makes_nothing,
    a_newer_store_is_refused,
    copies_carry_missing_sound_entries,
    two_never_own_one_claim,
)
HEAVY: tuple[Callable[[Kind, str, Path], None], ...] = (two_at_once_agree, owners_may_begin_at_once)
