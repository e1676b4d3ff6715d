"""A team's store: copies on this machine, removals that are repeated, and answers that wait for their server."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from emdsl.errors import StoreAway, StoreError
from emdsl.prompt import Message, Prompt
from emdsl.query import Model, Query, RequestSettings, Response
from emdsl.service import SERVICES
from emdsl.store import shared
from emdsl.store.disk import DiskStore
from emdsl.store.shared import unshared
from emdsl.store.team import TeamStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from emdsl.digest import Digest


HEAD = RequestSettings(Model(name="m", use="sim/m", service=SERVICES["sim"], wire_name="m"), ())
PROMPT = Prompt((Message("user", "hi"),))
STATE = HEAD.key_state().add(PROMPT.messages).close()


def query(sample: int) -> Query:
    return Query(HEAD, PROMPT, sample, STATE.key(0, sample))


def put(store: DiskStore | TeamStore, numbers: range, word: str = "answer") -> None:
    async def main() -> None:
        await asyncio.gather(*[store.put(query(i), Response(text=f"{word} {i}", finish="stop")) for i in numbers])

    asyncio.run(main())


class Server(DiskStore):
    """A store that may be away."""

    away = False

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """Store an answer, or refuse it."""
        if not self.away:
            return super().put(query, response)
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        future.set_exception(StoreAway("the server cannot be reached"))
        return future

    def entries(self, keys: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """Read entries, or refuse it."""
        if self.away:
            raise StoreAway("the server cannot be reached")
        return super().entries(keys)


class Team:
    """A server, and machines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def server(self) -> Server:
        return Server(self.folder / "server")

    def open(self, machine: str, *, send: bool = True) -> tuple[TeamStore, Server]:
        server, local = self.server(), DiskStore(self.folder / machine, read_only=not send)
        return TeamStore(server, local, send=send), server

    def texts(self, machine: str, n: int = 10) -> dict[int, str]:
        """Return the answers that a machine reads with its server."""
        store, _ = self.open(machine)
        return _texts(store, n)

    def offline(self, machine: str, n: int = 10) -> dict[int, str]:
        """Return the answers that a machine has by itself."""
        return _texts(DiskStore(self.folder / machine, read_only=True), n)


def _texts(store: Any, n: int) -> dict[int, str]:
    found = store.get_many([query(i).key for i in range(n)])
    store.close()
    return {i: found[query(i).key].text for i in range(n) if query(i).key in found}


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def many(texts: range, word: str = "answer") -> dict[int, str]:
    return {i: f"{word} {i}" for i in texts}


def stored(team: Team, machine: str, n: int, word: str = "answer") -> None:
    store, _ = team.open(machine)
    put(store, range(n), word)
    store.close()


def test_what_is_stored_or_read_is_copied(team: Team) -> None:
    stored(team, "a", 5)
    assert team.offline("a") == many(range(5))
    assert team.offline("b") == {}
    assert team.texts("b") == team.offline("b") == many(range(5))
    assert not list(unshared(team.folder / "a"))
    reader, _ = team.open("c", send=False)  # a plan: no folder is made
    assert _texts(reader, 10) == many(range(5))
    assert not (team.folder / "c").exists()


def test_answers_without_a_server_are_kept_and_sent_by_the_next_run(team: Team) -> None:
    store, server = team.open("a")
    put(store, range(2))
    server.away = True

    async def late() -> list[Any]:
        puts = [store.put(query(i), Response(text=f"answer {i}", finish="stop")) for i in range(2, 5)]
        return await asyncio.gather(*puts, return_exceptions=True)

    errors = asyncio.run(late())
    assert all(isinstance(e, StoreAway) and "kept on this machine" in str(e) for e in errors)
    store.close()
    assert team.offline("a") == many(range(5))
    assert _texts(team.server(), 10) == many(range(2))
    store, _ = team.open("a", send=False)  # a plan sends nothing
    store.close()
    assert _texts(team.server(), 10) == many(range(2))
    store, _ = team.open("a")
    assert (store.n_sent, store.n_known) == (3, 0)
    store.close()
    assert _texts(team.server(), 10) == many(range(5))
    store, _ = team.open("a")
    assert (store.n_sent, store.n_known) == (0, 0)
    store.close()


def test_answers_on_their_way_at_the_end_are_kept(team: Team) -> None:
    """The loop of an interrupted run is closed before the server has replied."""
    store, server = team.open("a")

    async def put_and_leave() -> None:
        server.away = True
        store.put(query(0), Response(text="answer 0", finish="stop"))

    asyncio.run(put_and_leave())
    store.close()
    assert team.offline("a") == many(range(1))
    assert team.texts("b") == many(range(1)) if team.texts("a") else False


def test_the_first_answer_of_the_team_is_used_everywhere(team: Team) -> None:
    own = DiskStore(team.folder / "a")
    put(own, range(3), "own")
    own.close()
    stored(team, "b", 2)
    assert team.texts("a") == team.offline("a") == many(range(2)) | {2: "own 2"}
    assert team.texts("b") == team.offline("b") == many(range(2)) | {2: "own 2"}
    local = DiskStore(team.folder / "a")
    (removal,) = local.trash()
    assert (removal.entries, removal.why) == (2, "another machine of the team had an answer")
    local.close()


def test_removals_are_repeated_on_every_machine(team: Team) -> None:
    stored(team, "a", 4)
    assert team.texts("b") == many(range(4))
    store, _ = team.open("b", send=False)
    assert store.move_to_trash([query(3).key, query(0).key], "drop", "r1") == 2
    store.close()
    assert team.texts("a") == team.offline("a") == team.offline("b") == many(range(1, 3))
    store, server = team.open("b")
    assert [t.name for t in store.trash()] == ["r1"]
    assert store.adopt(store.trash_entries("r1")) == (2, 0)
    assert store.purge("r1") == 2
    assert not server.trash()
    store.close()
    assert team.texts("a") == team.offline("b") == many(range(4))


def test_a_restored_backup_of_the_server_gets_the_answers_of_all_machines(team: Team) -> None:
    stored(team, "a", 2)
    shutil.copytree(team.folder / "server", team.folder / "backup")
    stored(team, "a", 5)
    shutil.rmtree(team.folder / "server")
    shutil.move(team.folder / "backup", team.folder / "server")
    assert team.texts("a") == team.offline("a") == many(range(5))
    assert _texts(team.server(), 10) == many(range(5))


def test_another_server_gets_what_this_machine_has(team: Team) -> None:
    stored(team, "a", 3)
    shutil.rmtree(team.folder / "server")
    store, _ = team.open("a")
    assert (store.n_sent, store.n_known) == (3, 0)
    assert store.fetch() == (0, 3)
    store.close()
    assert _texts(team.server(), 10) == many(range(3))


def test_a_damaged_copy_is_read_from_the_server_and_replaced(team: Team) -> None:
    stored(team, "a", 3)
    with sqlite3.connect(team.folder / "a" / "cache.db") as database:
        database.execute("UPDATE Cache SET value = CAST('damaged' AS BLOB) WHERE rowid = 2")
    store, _ = team.open("a")
    assert dict(store.entries([query(1).key])).keys() == {query(1).key}
    assert not store.corrupt
    store.close()
    assert team.texts("a") == team.offline("a") == many(range(3))


def test_a_full_disk_under_the_copies_tells_where_the_answers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are on the server, or waiting here: nothing paid is lost."""

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(shared, "connect", full)
    with pytest.raises(
        StoreError, match=r"database or disk is full\. All acknowledged answers are on the server, or here"
    ):
        list(shared.unshared(tmp_path))
