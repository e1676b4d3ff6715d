"""Claims of requests, exact: what is queued, what is in another process, and what is in the store by then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from emdsl.files import Busy
from emdsl.prompt import of_text
from emdsl.query import Model, Query, RequestSettings, Response
from emdsl.run.claiming import ClaimQueue
from emdsl.run.control import RunControl
from emdsl.run.requests import Request, State
from emdsl.service import SERVICES
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.digest import Digest

MODEL = Model(name="m", use="openai/m", service=SERVICES["openai"], wire_name="m")
ANSWER = Response(text="yes", finish="stop")
A, B, C = b"a", b"b", b"c"


class Claiming:
    """Claims that another process holds in part, and everything that a queue does with requests."""

    def __init__(self, elsewhere: Iterable[Digest], *, alone: bool = False, busy: int = 0) -> None:
        self.elsewhere, self.alone, self.busy = set(elsewhere), alone, busy
        self.read: list[list[Digest]] = []
        self.queued: list[Digest] = []
        self.followed: list[Digest] = []
        self.answered: list[Digest] = []
        self.given_back: list[Digest] = []

    def take(self, keys: Iterable[Digest]) -> set[Digest]:
        if self.busy:
            self.busy -= 1
            raise Busy
        return set(keys) - self.elsewhere

    def release(self, keys: Iterable[Digest]) -> None:
        self.given_back += keys

    def check(self) -> None:
        pass

    def queue(self, request: Request) -> None:
        self.queued.append(request.query.key)

    def release_followers(self, request: Request) -> None:
        self.followed.append(request.query.key)

    def dispatch(self) -> None:
        pass


class Reads(MemoryStore):
    """Notes which keys are looked up."""

    def __init__(self, claiming: Claiming, stored: Iterable[Digest]) -> None:
        super().__init__()
        self.claiming = claiming
        self.answers = dict.fromkeys(stored, ANSWER)

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        keys = list(keys)
        self.claiming.read.append(keys)
        return super().get_many(keys)


def request(key: Digest, *, checked: bool = False) -> Request:
    return Request(Query(RequestSettings(MODEL, ()), of_text("hi"), 0, key), "e", {}, 2, store_checked=checked)


def queue_of(claiming: Claiming, stored: Iterable[Digest] = (), *, claims: bool = True) -> ClaimQueue:
    """Return a queue; must be called within an event loop."""
    fake: Any = claiming
    control = RunControl(lambda _: None, lambda _: None, lambda _: None)
    return ClaimQueue(
        Reads(claiming, stored), fake if claims else None, fake, control,
        on_answer=lambda r, _: claiming.answered.append(r.query.key),
    )  # fmt: skip


def test_a_request_in_a_batch_is_not_sent_even_if_its_row_was_read_before() -> None:
    """A batch may be older than the claims of this process, and its row younger than the batch."""

    async def go() -> list[Digest]:
        claiming, dropped = Claiming([], alone=True), list[bytes]()
        queue = queue_of(claiming)
        queue._held, queue._on_held = (lambda keys: {A} & set(keys)), lambda r: dropped.append(r.query.key)
        await claimed(queue, request(A, checked=True), request(B, checked=True))
        assert claiming.queued == [B]
        return dropped

    assert asyncio.run(go()) == [A]


async def claimed(queue: ClaimQueue, *requests: Request) -> None:
    """Add some requests, and let the queue claim them."""
    task = asyncio.create_task(queue.run())
    for one in requests:
        queue.add(one)
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("elsewhere", "stored", "alone", "checked", "read", "queued", "answered", "followed"),
    [
        ([], [], False, False, [A, B, C], [A, B, C], [], []),
        ([B], [], False, False, [A, C], [A, C], [], [B]),
        ([], [B], False, False, [A, B, C], [A, C], [B], []),
        ([A, B, C], [], False, False, None, [], [], [A, B, C]),
        ([], [], True, True, None, [A, B, C], [], []),
        ([], [B], True, False, [A, B, C], [A, C], [B], []),
        ([], [B], False, True, [A, B, C], [A, C], [B], []),
    ],
    ids=["ours", "one elsewhere", "one stored", "all elsewhere", "alone and checked", "alone", "checked"],
)
def test_what_becomes_of_claimed_requests(
    elsewhere: list[Digest], stored: list[Digest], alone: bool, checked: bool, read: list[Digest] | None,
    queued: list[Digest], answered: list[Digest], followed: list[Digest],
) -> None:  # fmt: skip
    """The store is read after the claim, unless no other process can have stored anything since it was read."""
    claiming = Claiming(elsewhere, alone=alone)
    requests = [request(key, checked=checked) for key in (A, B, C)]

    async def main() -> None:
        await claimed(queue_of(claiming, stored), *requests)

    asyncio.run(main())
    assert (claiming.queued, claiming.answered, claiming.followed) == (queued, answered, followed)
    assert claiming.read == ([] if read is None else [read])
    assert claiming.given_back == answered, "what is stored is not claimed any more"
    assert [r.query.key for r in requests if r.state is State.STORED] == answered


def test_without_claims_all_is_ours() -> None:
    """No other process uses the store: what was read is not read again."""
    claiming = Claiming([A])

    async def main() -> None:
        await claimed(queue_of(claiming, claims=False), request(A, checked=True), request(B))

    asyncio.run(main())
    assert (claiming.queued, claiming.read) == ([A, B], [[B]])


def test_a_busy_turn_is_tried_again() -> None:
    """Another process takes claims at this very moment."""
    claiming = Claiming([], busy=3)

    async def main() -> None:
        await claimed(queue_of(claiming), request(A))

    asyncio.run(main())
    assert (claiming.queued, claiming.busy) == ([A], 0)


def test_what_another_process_gives_up_is_taken_over() -> None:
    """A poll finds its answers first; the rest is claimed once its owner is gone."""
    claiming = Claiming([A, B])

    async def main() -> None:
        queue = queue_of(claiming)
        await claimed(queue, request(A), request(B))
        queue.poll()
        assert (claiming.queued, claiming.answered) == ([], [])
        queue._store.answers[A] = ANSWER  # type: ignore[attr-defined]  # a MemoryStore
        claiming.elsewhere = set()
        queue.poll()
        assert (claiming.queued, claiming.answered) == ([B], [A])
        queue.poll()
        assert (claiming.queued, claiming.answered) == ([B], [A]), "nothing is left elsewhere"

    asyncio.run(main())
