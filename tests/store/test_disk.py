"""The store on disk: nothing evicted, nothing unpickled, nothing believed that does not match its digest."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import shutil
import sqlite3
import stat
from pathlib import Path

import diskcache
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdsl.digest import digest_bytes
from emdsl.errors import StoreError
from emdsl.prompt import Message, Prompt
from emdsl.query import Model, Query, RequestSettings, Response, Usage
from emdsl.service import SERVICES
from emdsl.store.codec import Corrupt, decode, encode, ingredients
from emdsl.store.disk import DiskStore
from emdsl.store.insertion import connect
from emdsl.store.removals import move_to_trash, purge, store_version, trash_entries, trash_removals

MODEL = Model(name="m", use="sim/m", service=SERVICES["sim"], wire_name="m")
HEAD = RequestSettings(MODEL, (("temperature", 1),))
PROMPT = Prompt((Message("user", "hi"),))
STATE = HEAD.key_state().add(PROMPT.messages).close()


def query(sample: int) -> Query:
    return Query(HEAD, PROMPT, sample, STATE.key(0, sample))


def put(store: DiskStore, n: int, text: str = "answer") -> list[Response]:
    async def main() -> list[Response]:
        return await asyncio.gather(
            *[store.put(query(i), Response(text=f"{text} {i}", finish="stop")) for i in range(n)]
        )

    return asyncio.run(main())


text = st.text(st.characters(exclude_categories=()))
count = st.none() | st.integers(0, 2**40)


@given(
    st.builds(
        Response,
        text=text,
        finish=st.sampled_from(["stop", "length", "blocked"]),
        reasoning=st.none() | text,
        model=st.none() | text,
        usage=st.builds(Usage, input_tokens=count, output_tokens=count),
        logprobs=st.none()
        | st.lists(
            st.lists(st.tuples(text, st.floats(-50, 0) | st.just(-math.inf)), min_size=1).map(tuple),
            min_size=1,
            max_size=3,
        ).map(tuple),
        answered_at=st.floats(0, 2e9),
        run=text,
    )
)
def test_every_response_comes_back_as_it_was(response: Response) -> None:
    """Lone surrogates, CRLF, empty and long texts: what was paid for is what is read."""
    entry = encode(query(0), response)
    assert decode(entry) == response
    assert ingredients(entry)["sample"] == 0


@pytest.mark.parametrize("where", [0, 2, 5, 40, -1])
@pytest.mark.parametrize("length", [10, 4000])
def test_a_flipped_bit_is_never_believed(where: int, length: int) -> None:
    """A damaged entry is refused, wherever the damage is."""
    entry = bytearray(encode(query(0), Response(text="x" * length, finish="stop")))
    entry[where] ^= 1
    with pytest.raises(Corrupt):
        decode(bytes(entry))


def test_answers_survive(tmp_path: Path) -> None:
    """What is acknowledged is there for the next opener."""
    store = DiskStore(tmp_path / "a")
    put(store, 1000)
    store.close()
    again = DiskStore(tmp_path / "a")
    found = again.get_many(query(i).key for i in range(1100))
    assert {k: r.text for k, r in found.items()} == {query(i).key: f"answer {i}" for i in range(1000)}
    again.close()


def test_what_came_first_stays(tmp_path: Path) -> None:
    """A second answer to one query is not stored: the first is adopted."""
    store = DiskStore(tmp_path / "a")
    put(store, 3, "first")
    assert [r.text for r in put(store, 3, "second")] == ["first 0", "first 1", "first 2"]
    store.close()


def test_diskcache_reads_what_we_write_in_bulk(tmp_path: Path) -> None:
    """Our own SQL writes rows as diskcache does: its API finds each of them, and its counters are true."""
    store = DiskStore(tmp_path)
    put(store, 700)
    put(store, 900, "later")  # 700 of these keys are taken
    store.close()
    with diskcache.Cache(str(tmp_path)) as cache:
        assert len(cache) == 900
        assert cache.volume() > 0
        assert cache.check() == []
        assert {decode(cache.get(query(i).key)).text for i in range(900)} == {
            f"answer {i}" if i < 700 else f"later {i}" for i in range(900)
        }
        assert cache.add(b"a key of its own", b"x")
        assert len(cache) == 901
    columns = "raw, expire_time, access_count, tag, size, mode, filename"
    with sqlite3.connect(tmp_path / "cache.db") as database:
        assert len(database.execute(f"SELECT DISTINCT {columns} FROM Cache").fetchall()) == 1
        assert database.execute("SELECT count(*) FROM Cache WHERE store_time <> access_time").fetchone() == (0,)


@pytest.mark.parametrize("value", [b"not ours", "a text", 7, None])
def test_a_damaged_entry_that_nobody_has_read_is_replaced(tmp_path: Path, value: object) -> None:
    """It was damaged after the run looked for it: it goes to the trash, and the new answer takes its place."""
    put(DiskStore(tmp_path), 3)
    with sqlite3.connect(tmp_path / "cache.db") as database:
        database.execute("UPDATE Cache SET value = ? WHERE key = ?", (value, query(1).key))
    store = DiskStore(tmp_path)
    assert [r.text for r in put(store, 5, "new")] == ["answer 0", "new 1", "answer 2", "new 3", "new 4"]
    assert len(store.get_many(query(i).key for i in range(5))) == 5
    store.close()
    assert [n for _, why, _, n in trash_removals(tmp_path) if why == "damaged"] == [1]


def test_a_full_disk_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite takes a transaction back by itself then, so that it cannot be taken back once more."""

    def full(path: Path, busy_s: float) -> sqlite3.Connection:
        database = connect(path, busy_s)
        database.execute("PRAGMA max_page_count = 30")
        return database

    monkeypatch.setattr("emdsl.store.disk.connect", full)
    store = DiskStore(tmp_path)
    with pytest.raises(StoreError, match="is full or failing"):
        put(store, 400, "x" * 4_000)
    store.close()


def test_nothing_is_ever_evicted(tmp_path: Path) -> None:
    """diskcache's defaults drop entries over 1 GiB and spill to files; ours must not, whoever opened before."""
    folder = tmp_path / "a"
    store = DiskStore(folder)
    put(store, 10)
    store.close()
    careless = diskcache.Cache(str(folder), size_limit=1000, cull_limit=10, eviction_policy="least-recently-stored")
    careless.close()
    store = DiskStore(folder)
    put(store, 300, "x" * 4000)
    assert len(store.get_many(query(i).key for i in range(300))) == 300
    store.close()
    database = sqlite3.connect(folder / "cache.db")
    settings = dict(database.execute("SELECT key, value FROM Settings"))
    assert settings["eviction_policy"] == "none"
    assert settings["cull_limit"] == 0
    assert settings["sqlite_synchronous"] == 2
    assert database.execute("SELECT count(*) FROM Cache WHERE filename IS NOT NULL").fetchone() == (0,)
    database.close()


class Planted:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (Path("planted"),))


def test_a_planted_pickle_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2025-69872: an entry of another mode, or named file, is told as damaged and not opened."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a"
    store = DiskStore(folder)
    put(store, 3)
    store.close()
    database = sqlite3.connect(folder / "cache.db")
    bomb = pickle.dumps(Planted())
    database.execute("UPDATE Cache SET mode = 4, value = ? WHERE key = ?", (bomb, query(0).key))
    database.execute("UPDATE Cache SET mode = 2, filename = '/etc/passwd', value = NULL WHERE key = ?", (query(1).key,))
    database.commit()
    database.close()
    store = DiskStore(folder)
    assert set(store.get_many(query(i).key for i in range(3))) == {query(2).key}
    assert store.corrupt == {query(0).key, query(1).key}
    store.close()
    assert not Path("planted").exists()


def test_a_damaged_entry_is_requested_again_and_replaced(tmp_path: Path) -> None:
    """A flipped byte is told, not believed; the new answer takes its place."""
    store = DiskStore(tmp_path / "a")
    put(store, 2)
    store.close()
    database = sqlite3.connect(tmp_path / "a" / "cache.db")
    (value,) = database.execute("SELECT value FROM Cache WHERE key = ?", (query(0).key,)).fetchone()
    database.execute("UPDATE Cache SET value = ? WHERE key = ?", (value[:-2] + b"!}", query(0).key))
    database.commit()
    database.close()
    store = DiskStore(tmp_path / "a")
    assert set(store.get_many([query(0).key, query(1).key])) == {query(1).key}
    assert store.corrupt == {query(0).key}
    put(store, 1, "again")
    assert store.get_many([query(0).key])[query(0).key].text == "again 0"
    store.close()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """Folder 0700, files 0600."""
    store = DiskStore(tmp_path / "a")
    put(store, 1)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    for file in (tmp_path / "a").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    store.close()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """What it is and what to do, not a traceback."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cache.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="damaged"):
        DiskStore(tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    assert DiskStore(tmp_path / "a", read_only=True).get_many([query(0).key]) == {}
    assert not (tmp_path / "a").exists()


def test_replacing_a_planted_row_deletes_no_file(tmp_path: Path) -> None:
    """A planted absolute name is neither read nor removed when its entry is asked again."""
    victim = tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    store = DiskStore(tmp_path / "a")
    put(store, 1)
    store.close()
    database = sqlite3.connect(tmp_path / "a" / "cache.db")
    database.execute("UPDATE Cache SET mode = 2, filename = ?, value = NULL", (str(victim),))
    database.commit()
    database.close()
    store = DiskStore(tmp_path / "a")
    assert store.get_many([query(0).key]) == {}
    put(store, 1, "again")
    assert store.get_many([query(0).key])[query(0).key].text == "again 0"
    store.close()
    assert victim.read_text(encoding="utf-8") == "mine"


def test_what_is_damaged_is_set_aside_and_counted(tmp_path: Path) -> None:
    """It is asked again, its bytes stay for whoever wants to know, and who relied on the store looks again."""
    folder = tmp_path / "answers"
    store = DiskStore(folder)
    put(store, 3)
    store.close()
    before = store_version(folder)
    with sqlite3.connect(folder / "cache.db") as database:
        database.execute("UPDATE Cache SET value = ? WHERE key = ?", (b"E1j" + b"x" * 60, query(1).key))
    store = DiskStore(folder)
    assert set(store.get_many([query(i).key for i in range(3)])) == {query(0).key, query(2).key}
    put(store, 3, "again")
    assert store.get_many([query(1).key])[query(1).key].text == "again 1"
    store.close()
    assert before is not None
    after = store_version(folder)
    assert after is not None
    assert after[:2] == (before.store, 1)
    assert not after.holds(before)
    assert [(why, n) for _, why, _, n in trash_removals(folder)] == [("damaged", 1)]


def test_set_aside_and_put_back(tmp_path: Path) -> None:
    """Nothing is thrown away in one step; what was asked again since then stays."""
    folder = tmp_path / "answers"
    store = DiskStore(folder)
    put(store, 4)
    assert move_to_trash(folder, [query(0).key, query(1).key, b"?" * 32], "a bad day", "b1") == 2
    assert len(store.get_many([query(i).key for i in range(4)])) == 2
    put(store, 1, "again")
    assert store.adopt(trash_entries(folder, "b1")) == (1, 1)
    assert purge(folder, "b1") == 2
    found = store.get_many([query(i).key for i in range(4)])
    assert [found[query(i).key].text for i in range(4)] == ["again 0", "answer 1", "answer 2", "answer 3"]
    assert store.damage() == ""
    store.close()


def test_a_store_of_a_newer_emdsl_is_refused(tmp_path: Path) -> None:
    """It says which way out there is."""
    folder = tmp_path / "answers"
    DiskStore(folder).close()
    with sqlite3.connect(folder / "cache.db") as database:
        database.execute("UPDATE Emdsl SET value = 99 WHERE name = 'format'")
    with pytest.raises(StoreError, match="newer version"):
        DiskStore(folder)


def test_diskcache_counts_what_is_set_aside(tmp_path: Path) -> None:
    """Its own tables agree with ours: `count` is the number of rows."""
    folder = tmp_path / "answers"
    store = DiskStore(folder)
    put(store, 5)
    move_to_trash(folder, [query(0).key], "why", "b")
    assert store.state().n == 4
    assert len(list(store.each())) == 4
    store.close()


@pytest.mark.parametrize("value", [99, "v2", None, b"\x00"])
def test_a_format_that_is_not_known_is_neither_read_nor_changed(tmp_path: Path, value: object) -> None:
    """Not by the long way, and not by the short one."""
    folder = tmp_path / "answers"
    store = DiskStore(folder)
    put(store, 1)
    store.close()
    with sqlite3.connect(folder / "cache.db") as database:
        database.execute("UPDATE Emdsl SET value = ? WHERE name = 'format'", (value,))
    for read_only in (True, False):
        with pytest.raises(StoreError):
            DiskStore(folder, read_only=read_only)
    with pytest.raises(StoreError):
        purge(folder, None)
    assert store_version(folder) is None


@pytest.mark.parametrize(
    "fields", [{"answered_at": 1e300}, {"answered_at": float("nan")}, {"elapsed_s": -1}, {"finish": ["stop"]}]
)
def test_fields_that_no_answer_has_are_damage(fields: dict[str, object]) -> None:
    """Whatever its digest says: what reads it later would end in a fault of its own."""
    entry = encode(query(0), Response(text="a", finish="stop", answered_at=1.0))
    plain = json.loads(entry[35:]) | fields
    forged = json.dumps(plain).encode()
    with pytest.raises(Corrupt):
        decode(b"E1j" + digest_bytes(forged) + forged)


def test_a_sound_entry_of_another_store_mends_a_damaged_one(tmp_path: Path) -> None:
    """`merge` and `import` take it in, and set the damaged one aside."""
    store, other = DiskStore(tmp_path / "a"), DiskStore(tmp_path / "b")
    for each in (store, other):
        put(each, 3)
    with sqlite3.connect(tmp_path / "a" / "cache.db") as database:
        database.execute("UPDATE Cache SET value = ? WHERE key = ?", (b"E1j" + b"x" * 60, query(1).key))
    sound = [(key, entry) for key, entry in other.each() if entry is not None]
    assert store.adopt(sound) == (1, 2)
    assert len(store.get_many(query(i).key for i in range(3))) == 3
    store.close()
    other.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_gone_acknowledges_nothing(tmp_path: Path, replaced: bool) -> None:
    """SQLite goes on writing to a file that was removed: such an answer would be lost, and is never called stored."""
    folder = tmp_path / "answers"
    store = DiskStore(folder)
    put(store, 1)
    folder.rename(tmp_path / "moved")
    if replaced:
        DiskStore(folder).close()
    with pytest.raises(StoreError, match="was removed or replaced during the run"):
        put(store, 2)
    store.close()


def test_equal_numbers_of_other_kinds_are_no_counts() -> None:
    """Equal token counts are one object; 1.0 and true equal 1, and count nothing."""
    for written, counted in (("1", 1), ("1.0", None), ("true", None), ("1", 1)):
        fields = f'"text":"a","finish":"stop","usage":[{written},{written},null,null,null]'
        plain = f'{{{fields},"answered_at":1.0,"elapsed_s":1.0,"run":"r"}}'.encode()
        usage = decode(b"E1j" + digest_bytes(plain) + plain).usage
        assert (usage.input_tokens, usage.output_tokens) == (counted, counted)
