"""The executor against faults, limits and interruptions."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import InProcess, experiment, outcomes, program, run

from emdsl.errors import Rejected, StoreError, Throttled, Unavailable
from emdsl.run.executor import Executor
from emdsl.run.progress import INTERRUPT, Progress
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from emdsl.query import Query, Response

STUDY = """
import alignment from "std:judges@1"
experiment e {
  for x in 1..20
  samples = 5
  ask answer from "sim/subject" with "hi {x}"
  judge aligned with alignment("hi", answer) from "sim/judge"
}
"""


class Faulty(InProcess):
    """Fails some requests first, each in its way."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.rng, self.faults = share, random.Random(1), 0

    async def ask(self, query: Query, *_: Any) -> Response:
        if self.rng.random() < self.share:
            self.faults += 1
            await asyncio.sleep(0)
            raise self.rng.choice([Throttled("slow down", wait_s=0.001), Unavailable("500"), Unavailable("cut")])
        return await super().ask(query, *_)


def test_faults_that_pass_lose_nothing_and_repeat_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer for each request, whatever failed before it."""
    monkeypatch.setattr("emdsl.run.retries.FIRST_WAIT_S", 0.001)
    store = MemoryStore()
    provider = Faulty(0.3)
    _, report = run(STUDY, store, provider)
    assert not report.failures
    assert provider.faults > 20
    assert sorted(provider.keys) == sorted(answers_but_probes(store))
    assert report.sent == len(store.answers) + provider.faults


def answers_but_probes(store: MemoryStore) -> set[bytes]:
    """Return the keys of all answers but that of the judge's probe."""
    walk = Rows(experiment(STUDY))
    walk.probes.look_up(store)
    return set(store.answers) - set(walk.probes.answers)


class Refusing(InProcess):
    """Refuses one question for good."""

    async def ask(self, query: Query, *_: Any) -> Response:
        if "hi 7" in query.prompt.messages[0].text:
            raise Rejected("400 no such thing", status=400)
        return await super().ask(query, *_)


def test_a_query_that_fails_for_good_is_counted_and_not_stored() -> None:
    """The rest goes on; what failed has a reason, and its judgements say that there was no answer."""
    store = MemoryStore()
    _, report = run(STUDY, store, Refusing())
    assert len(report.failures) == 5
    assert set(report.failures.values()) == {"sim/subject: 400 no such thing"}
    assert not set(report.failures) & set(store.answers)
    found = outcomes(experiment(STUDY), store)
    assert sum(o.results["aligned"].response is not None for o in found) == 95
    again, _ = run(STUDY, store)
    assert again.asked == {"subject": 5, "judge": 5}


class NoAccess(InProcess):
    """Has no access to the subject."""

    async def ask(self, query: Query, *_: Any) -> Response:
        if query.settings.model.wire_name == "subject":
            self.asked["refused"] += 1
            raise Rejected("401 bad key", status=401, for_all=True)
        return await super().ask(query, *_)


def test_what_one_request_is_refused_for_is_not_tried_with_all() -> None:
    """A wrong API key costs a few requests, not a hundred."""
    provider, report = run(STUDY, provider=NoAccess())
    assert provider.asked["refused"] <= 16
    assert len(report.failures) == 100


class Counting(InProcess):
    """Watches how many requests are in flight."""

    now = most = 0

    async def ask(self, query: Query, *_: Any) -> Response:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002)
        self.now -= 1
        return await super().ask(query, *_)


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    """`-j` bounds all of one process."""
    provider, _ = run(STUDY, provider=Counting())
    assert 8 < provider.most <= 16


def test_draining_keeps_what_is_in_flight_and_starts_nothing() -> None:
    """The first Ctrl-C: every request that was sent is answered and stored."""
    store, provider = MemoryStore(), Counting()

    async def main() -> bool:
        walks = [Rows(e) for e in program(STUDY).experiments]
        executor = Executor(walks, store, provider, connections=4, retry_policy=RetryPolicy(), run="r")
        running = asyncio.create_task(executor.run())
        await asyncio.sleep(0.02)
        executor.drain(INTERRUPT)
        return (await running).interrupted

    assert asyncio.run(main())
    assert 0 < len(store.answers) < 200
    assert sorted(provider.keys) == sorted(answers_but_probes(store))


class Full(MemoryStore):
    """A disk that is full after a while."""

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        if len(self.answers) >= 20:
            future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            future.set_exception(StoreError("the disk is full"))
            return future
        return super().put(query, response)


def test_a_store_that_cannot_write_stops_the_asking() -> None:
    """What cannot be kept is not paid for."""
    provider, progress = Counting(), Progress()
    walks = [Rows(experiment(STUDY))]
    executor = Executor(
        walks, Full(), provider, connections=16, retry_policy=RetryPolicy(), run="r", progress=progress
    )  # fmt: skip
    with pytest.raises(StoreError, match="full"):
        asyncio.run(executor.run())
    assert provider.n <= 20 + 2 * 16
    assert progress.stopping == "the disk is full", "people read the cause while requests are in flight"


@pytest.mark.parametrize(("attempt", "least_s"), [(0, 0.0), (3, 0.0), (50, 0.0), (0, 12.5)])
def test_waits_are_bounded_and_never_shorter_than_told(attempt: int, least_s: float) -> None:
    """Retry-After is the least; the rest doubles up to a minute."""
    wait_s = RetryPolicy().wait(attempt, 0.0, least_s, random.Random(0))
    assert wait_s is not None
    assert least_s <= wait_s <= max(60.0, least_s * 1.2)


def test_giving_up() -> None:
    """By the total of waiting, and by count where wanted."""
    rng = random.Random(0)
    assert RetryPolicy(max_wait_s=10).wait(0, 9.9, 1.0, rng) is None
    assert RetryPolicy(max_retries=2).wait(2, 0.0, 0.0, rng) is None


@pytest.mark.parametrize("output", ["on_progress", "on_notice"])
def test_an_output_that_fails_ends_the_run_and_keeps_its_answers(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run drains, with the answers in flight, and raises the first error; before, it waited forever."""
    monkeypatch.setattr("emdsl.run.retries.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("emdsl.run.retries.NOTICE_AFTER_S", 0.0)
    calls = []

    def fail(shown: Any) -> None:
        calls.append(shown)
        raise RuntimeError(f"no output {len(calls)}")

    store = MemoryStore()
    outputs: dict[str, Any] = {output: fail}
    executor = Executor(
        [Rows(experiment(STUDY))], store, Faulty(0.3), connections=4, retry_policy=RetryPolicy(), run="r", **outputs
    )

    async def limited() -> None:
        await asyncio.wait_for(executor.run(), HANG_S)

    with pytest.raises(RuntimeError, match=r"^no output 1$"):
        asyncio.run(limited())
    assert 1 <= executor.progress.answered == len(store.answers) < 100
    assert executor.report.interrupted


def test_an_attempt_that_breaks_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of our own outside of what is guarded must not be lost with its task."""
    store = MemoryStore()
    executor = Executor(
        [Rows(experiment(STUDY))], store, InProcess(), connections=4, retry_policy=RetryPolicy(), run="r"
    )

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(executor._dispatcher, "finish", broken)

    async def limited() -> None:
        await asyncio.wait_for(executor.run(), HANG_S)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(limited())
    assert 1 <= len(store.answers) <= 4
