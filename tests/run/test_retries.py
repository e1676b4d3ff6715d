"""What follows a failed attempt, exact: how long a request waits, where it is queued, when it fails."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import InProcess, program

from emdsl.errors import ProviderError, Rejected, ServerLost, Throttled, Unavailable
from emdsl.query import Model
from emdsl.run.control import RunControl
from emdsl.run.dispatcher import Attempt
from emdsl.run.executor import Executor
from emdsl.run.lanes import Lane
from emdsl.run.pacing import RateController
from emdsl.run.requests import Request
from emdsl.run.retries import MAX_BAD_REPLIES, MAX_GIVEN_UP, Retries, RetryPolicy
from emdsl.run.rows import Rows
from emdsl.service import SERVICES
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.query import Query, Response

MODEL = Model(name="m", use="openai/m", service=SERVICES["openai"], wire_name="m")


class Ends(random.Random):
    """Draws one end of a range."""

    def __init__(self, *, high: bool) -> None:
        super().__init__(0)
        self.high = high

    def uniform(self, a: float, b: float) -> float:
        return b if self.high else a


@pytest.mark.parametrize(
    ("attempt", "waited_s", "least_s", "low_s", "high_s"),
    [
        (0, 0, 0, 0.25, 0.5),
        (1, 0, 0, 0.5, 1.0),
        (6, 0, 0, 16.0, 32.0),
        (7, 0, 0, 30.0, 60.0),
        (99, 0, 0, 30.0, 60.0),
        (0, 0, 7, 7.025, 7.05),
        (7, 0, 7, 10.0, 13.0),
        (0, 99.5, 0, 0.25, 0.5),
        (0, 99.51, 0, 0.25, None),
        (0, 93.0, 7, None, None),
    ],
)
def test_a_wait_doubles_up_to_a_minute(
    attempt: int, waited_s: float, least_s: float, low_s: float | None, high_s: float | None
) -> None:
    """With jitter; never less than the server asks for, and never beyond the total."""
    policy = RetryPolicy(max_wait_s=100)
    for high, expected in ((False, low_s), (True, high_s)):
        assert policy.wait(attempt, waited_s, least_s, Ends(high=high)) == pytest.approx(expected)


@pytest.mark.parametrize(("attempt", "waits"), [(0, True), (1, True), (2, False), (3, False)])
def test_retries_are_bounded_by_number_too(attempt: int, waits: bool) -> None:
    """`max_retries` are attempts beside the first."""
    policy = RetryPolicy(max_wait_s=1_000, max_retries=2)
    assert (policy.wait(attempt, 0, 0, random.Random(1)) is not None) is waits


class Queue:
    """Stands in for the dispatcher."""

    def __init__(self) -> None:
        self.queued: list[Request] = []
        self.released: list[Request] = []

    def queue(self, request: Request) -> None:
        self.queued.append(request)

    def release_followers(self, request: Request) -> None:
        self.released.append(request)

    def dispatch(self) -> None:
        pass


def after(
    error: ProviderError,
    *,
    accounts: int = 1,
    max_wait_s: float = 100,
    prepare: Callable[[Request, Lane], None] = lambda _, __: None,
) -> tuple[str, Request, Lane]:
    """Let one attempt fail; return what follows (`queued`, `waits`, or the error), its request and its lane."""
    failures: list[str] = []

    async def main() -> tuple[str, Request, Lane]:
        control, queue = RunControl(lambda _: None, lambda _: None, lambda _: None), Queue()
        dispatcher: Any = queue
        policy = RetryPolicy(max_wait_s=max_wait_s)
        retries = Retries(policy, dispatcher, control, fail=lambda _, text: failures.append(text))
        lane = Lane(MODEL, tuple(RateController(most=10) for _ in range(accounts)))
        request = Request(None, "e", {}, 1)  # type: ignore[arg-type]  # its query is not read
        ticket = lane.controllers[0].send(1)
        prepare(request, lane)
        retries.handle(Attempt(request, lane, 0, ticket, ()), error)
        waiting = control.progress.waiting
        retries.cancel()
        assert len(failures) + len(queue.queued) + waiting == 1
        return failures[0] if failures else "queued" if queue.queued else "waits", request, lane

    return asyncio.run(main())


def proven(_: Request, lane: Lane) -> None:
    lane.controllers[0].proven = True


def given_up(_: Request, lane: Lane) -> None:
    lane.controllers[0].given_up = MAX_GIVEN_UP - 1


def denied(_: Request, lane: Lane) -> None:
    lane.controllers[0].denied = MAX_GIVEN_UP - 1


def bad_replies(request: Request, _: Lane) -> None:
    request.bad_replies = MAX_BAD_REPLIES - 1


def doubtful(request: Request, lane: Lane) -> None:
    lane.controllers[0].proven = True
    request.doubts = 2


def switched(request: Request, _: Lane) -> None:
    request.switched_key = True


def nothing(_: Request, __: Lane) -> None:
    pass


FOR_ALL = Rejected("401 no", status=401, for_all=True)


@pytest.mark.parametrize(
    ("error", "accounts", "max_wait_s", "prepare", "follows", "closed"),
    [
        (Throttled("slow"), 1, 100, nothing, "waits", ""),
        (Throttled("slow", wait_s=5), 2, 100, nothing, "queued", ""),
        (Throttled("slow"), 2, 100, nothing, "waits", ""),
        (Unavailable("500"), 1, 100, nothing, "waits", ""),
        (Unavailable("500"), 1, 0, nothing, "500", ""),
        (Unavailable("500"), 2, 0, nothing, "queued", ""),
        (Unavailable("500"), 2, 0, switched, "500", ""),
        (Unavailable("500"), 1, 0, given_up, "500", "500 (as 16 requests before)"),
        (Unavailable("no JSON", status=200), 1, 100, nothing, "waits", ""),
        (Unavailable("no JSON", status=200), 2, 100, bad_replies, "no JSON", ""),
        (Unavailable("no JSON", status=200), 1, 0, given_up, "no JSON", ""),
        (Rejected("400 bad", status=400), 2, 100, nothing, "400 bad", ""),
        (Rejected("403 no", status=403), 1, 100, denied, "403 no", "403 no"),
        (Rejected("400 bad", status=400), 1, 100, denied, "400 bad", ""),
        (FOR_ALL, 1, 100, nothing, "401 no", "401 no"),
        (FOR_ALL, 2, 100, nothing, "queued", "401 no"),
        (FOR_ALL, 1, 100, proven, "queued", ""),
        (FOR_ALL, 1, 100, doubtful, "401 no", ""),
    ],
)
def test_what_follows_an_error(
    error: ProviderError,
    accounts: int,
    max_wait_s: float,
    prepare: Callable[[Request, Lane], None],
    follows: str,
    closed: str,
) -> None:
    """The request is queued again, waits, or fails; and its account is closed, or not."""
    found, _, lane = after(error, accounts=accounts, max_wait_s=max_wait_s, prepare=prepare)
    assert (found, lane.controllers[0].closed) == (follows, closed)


class Dying(InProcess):
    """Replicas of a server that die with all requests in flight when they have read some prompts."""

    def __init__(self, replicas: int, poison: set[str]) -> None:
        super().__init__()
        self.poison, self.deaths = poison, 0
        self.ended = [asyncio.Event() for _ in range(replicas)]

    def accounts(self, _: Model) -> int:
        return len(self.ended)

    async def ask(self, query: Query, account: int = 0, *rest: Any) -> Response:
        ended, prompt = self.ended[account], query.prompt.messages[-1][1]
        await asyncio.sleep(0.01)
        if prompt in self.poison and not ended.is_set():
            self.deaths += 1
            ended.set()
            self.ended[account] = asyncio.Event()
        if ended.is_set():
            raise ServerLost("the server died before it answered", paid=True)
        return await super().ask(query, account, *rest)


@pytest.mark.parametrize("replicas", [1, 3])
def test_requests_beside_one_that_ends_servers_are_answered(replicas: int) -> None:
    """Only those that end a server which does nothing else are given up, after three each."""
    poison = {"question 3", "question 7", "question 25"}
    (study,) = program(
        'experiment e {\n for q in 1..60\n ask answer from "openai/gpt-4o" with "question {q}"\n}'
    ).experiments

    async def run() -> tuple[Dying, Executor]:
        provider = Dying(replicas, poison)
        executor = Executor(
            [Rows(study)], MemoryStore(), provider, connections=20, retry_policy=RetryPolicy(max_wait_s=5), run="r"
        )
        await executor.run()
        return provider, executor

    provider, executor = asyncio.run(asyncio.wait_for(run(), HANG_S))
    failures = executor.report.failures.values()
    assert len(failures) == len(poison)
    assert all(f.endswith("(3 servers died under this request)") for f in failures)
    assert provider.n == 60 - len(poison)
    assert provider.deaths <= 3 * len(poison)


@pytest.mark.parametrize(
    ("error", "bad", "billed", "attempt", "high_priority"),
    [
        (Throttled("slow"), 0, 0, 1, True),
        (Unavailable("500"), 0, 0, 1, True),
        (Unavailable("cut", paid=True), 0, 1, 1, True),
        (Unavailable("no JSON", status=200), 1, 1, 1, True),
        (Rejected("400"), 0, 0, 0, False),
    ],
)
def test_what_is_noted_of_a_request(
    error: ProviderError, bad: int, billed: int, attempt: int, high_priority: bool
) -> None:
    """Replies that were no answers, attempts that may be billed, and that it goes first when it is sent again."""
    _, request, _ = after(error)
    assert (request.bad_replies, request.maybe_billed, request.attempt) == (bad, billed, attempt)
    assert request.high_priority is high_priority


def test_a_wait_beyond_the_bound_closes_the_account() -> None:
    """A limit by day: the error names the time, and the request fails with it."""
    found, _, lane = after(Throttled("slow", wait_s=500), max_wait_s=100)
    assert found == lane.closed
    assert found.startswith("slow (the server asks to wait 500 s, until 20")
    assert found.endswith(": more than --max-wait)")
