"""As fast as a server allows and no faster: windows, episodes, allowances, several accounts, prefixes."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S, Bounds, Slowdown, within
from support import THOROUGH, InProcess, program, run

from emdsl.errors import HookError, Rejected, Throttled, Unavailable
from emdsl.providers.limits import Limit, Limits
from emdsl.query import Model
from emdsl.run.executor import Executor
from emdsl.run.lanes import Lane
from emdsl.run.pacing import RateController
from emdsl.run.requests import Request
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.service import SERVICES
from emdsl.store.claims import Claims
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.query import Query, Response
    from emdsl.run.progress import Report


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def grown(pace: RateController, n: int) -> float:
    """Answer `n` requests, as many at once as may be."""
    while n > 0:
        some = min(n, int(pace.limit) - pace.in_flight)
        for _ in range(some):
            pace.send(0)
        for _ in range(some):
            pace.answered(None)
        n -= some
    return pace.limit


def test_it_starts_slowly_and_falls_once_an_episode() -> None:
    """Doubling a round trip at first; at "slow down" once for all that were under way; then by one a round trip."""
    pace = RateController(most=500, clock=Clock())
    assert pace.limit == 16
    assert grown(pace, 16) == 32
    assert grown(pace, 32) == 64
    tickets = [pace.send(0) for _ in range(64)]
    for ticket in tickets[:40]:
        pace.throttled(ticket, 0.0)
    assert pace.limit == pytest.approx(64 * 0.7), "forty refusals of one episode"
    for _ in tickets[40:]:
        pace.answered(None)
    before = pace.limit
    assert grown(pace, int(pace.limit)) < before + 1.1, "grows by one a round trip from here"
    pace.throttled(pace.send(0), 0.0)
    assert pace.limit < before, "a request sent since is another episode"


def test_it_keeps_to_the_most_and_never_to_none() -> None:
    """A hundred episodes leave one request; ten thousand answers no more than allowed."""
    pace = RateController(most=20, clock=Clock())
    assert grown(pace, 1000) == 20
    for _ in range(100):
        pace.throttled(pace.send(0), 0.0)
    assert pace.limit == 1


def test_a_failing_server_pauses_growth_only() -> None:
    """5xx is no "slow down"."""
    clock = Clock()
    pace = RateController(most=500, clock=clock)
    pace.send(0)
    pace.failed(server=True)
    assert grown(pace, 16) == 16
    clock.now = 2.0
    assert grown(pace, 16) > 16


@pytest.mark.parametrize(("wait_s", "delay"), [(7.0, 7.0), (0.2, 0.0)])
def test_all_wait_where_one_is_told_to_for_long(wait_s: float, delay: float) -> None:
    """A wait of a second or more is of the account; a shorter one of the request alone."""
    pace = RateController(most=10, clock=Clock())
    pace.throttled(pace.send(0), wait_s)
    assert pace.delay(0, 0.0) == delay


def test_what_is_announced_holds() -> None:
    """Nothing is left: as much as fills up by then; and all of it at the time that was told."""
    clock = Clock()
    pace = RateController(most=100, clock=clock)
    ticket = pace.send(0)
    pace.update(ticket, Limits(requests=Limit(60, 0, 60)))
    pace.answered(None)
    assert pace.delay(0, 0.0) == pytest.approx(1.0), "one a second fills up"
    assert pace.delay(0, 1.0) == 0
    assert pace.delay(0, 61.0) == 0
    pace.update(pace.send(0), Limits(requests=Limit(60, 30, 30)))
    for _ in range(30):
        pace.send(0)
    pace.in_flight = 0
    assert pace.delay(0, 0.0) > 0, "what was sent since is spent"
    pace.update(ticket, Limits(requests=Limit(60, 60, 1)))
    assert pace.delay(0, 0.0) > 0, "an older reply says nothing new"


def test_tokens_are_counted_by_what_answers_were() -> None:
    """The mean of tokens in and out decides when the next request fits."""
    pace = RateController(most=100, clock=Clock())
    ticket = pace.send(400)
    pace.update(ticket, Limits(tokens=Limit(6_000, 50, 60)))
    pace.answered(200)
    assert pace.delay(400, 0.0) == pytest.approx((200 - 50) / (5_950 / 60))


@pytest.mark.parametrize(
    ("rpm", "tpm", "chars", "expected"), [(60, None, 0, 60), (None, 6_000, 396, 60), (None, None, 0, 0)]
)
def test_the_programs_own_limits(rpm: int | None, tpm: int | None, chars: int, expected: int) -> None:
    """`rpm` and `tpm` are spread evenly over each minute."""
    clock = Clock()
    pace = RateController(most=1000, rpm=rpm, tpm=tpm, clock=clock)
    n = 0
    while clock.now < 120 and expected:
        delay = pace.delay(chars, clock.now)
        if delay > 0:
            clock.now += delay
            continue
        pace.send(chars)
        pace.answered(None)
        n += 1
    assert n == pytest.approx(2 * expected, abs=2)


def simulate(*, windowed: bool, per_minute: int, minutes: float, latency_s: float = 0.5) -> tuple[int, int]:
    """Let a pace meet a server that announces its limit, in made-up time; return answers and refusals."""
    clock, rng = Clock(), random.Random(1)
    pace = RateController(most=200, clock=clock)
    left, at = float(per_minute), 0.0
    events: list[tuple[float, int, Any]] = []
    answered = refused = n = 0

    def refill() -> float:
        nonlocal left, at
        if windowed:
            while clock.now >= at + 60:
                at, left = at + 60, float(per_minute)
            return at + 60 - clock.now
        left, at = min(per_minute, left + (clock.now - at) * per_minute / 60), clock.now
        return (per_minute - left) * 60 / per_minute

    def arrive(ticket: Any) -> None:
        nonlocal left, n
        reset_s = refill()
        ok = left >= 1
        left -= ok
        wait_s = 0.0 if ok else (reset_s if windowed else (1 - left) * 60 / per_minute)
        told = Limits(requests=Limit(per_minute, int(left), reset_s))
        n += 1
        heapq.heappush(
            events, (clock.now + latency_s * rng.uniform(0.3, 1), n, lambda: reply(ticket, told, ok, wait_s))
        )

    def reply(ticket: Any, told: Limits, ok: bool, wait_s: float) -> None:
        nonlocal answered, refused
        pace.update(ticket, told)
        if ok:
            answered += 1
            pace.answered(None)
        else:
            refused += 1
            pace.throttled(ticket, wait_s)

    while clock.now < minutes * 60:
        delay = pace.delay(0, clock.now)
        if delay == 0:
            ticket = pace.send(0)
            n += 1
            heapq.heappush(events, (clock.now + latency_s * rng.uniform(0.1, 0.5), n, partial(arrive, ticket)))
        elif not events or delay < events[0][0] - clock.now:
            assert delay < math.inf
            clock.now += delay + 1e-6
        else:
            clock.now, _, event = heapq.heappop(events)
            event()
    return answered, refused


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("latency_s", [0.05, 0.5, 5.0])
def test_an_announced_limit_is_used_up_and_kept(windowed: bool, latency_s: float) -> None:
    """300 requests a minute: over 90 % of them used in ten minutes, under 1 % refused."""
    answered, refused = simulate(windowed=windowed, per_minute=300, minutes=10, latency_s=latency_s)
    assert answered > 0.9 * 3000
    assert refused < 0.01 * (answered + refused)


STUDY = """
model fast { use = "openai-api/a/fast", url = "http://127.0.0.1:1/v1", revision = "1" }
model slow { use = "openai-api/a/slow", url = "http://127.0.0.1:1/v1", revision = "1" }
experiment e {
  for m in [slow, fast]
  for q in 1..100
  ask answer from m with "question {q}"
}
"""


class Odd(InProcess):
    """Answers as a test says: `act` returns seconds to wait, or raises."""

    def __init__(self, act: Callable[[Query, int], float], accounts: int = 1) -> None:
        super().__init__()
        self.act = act
        self.n_accounts = accounts
        self.by: Counter[tuple[str, int]] = Counter()
        self.done: list[str] = []
        self.started: list[str] = []
        self.flying: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def accounts(self, _: Model) -> int:
        return self.n_accounts

    async def ask(self, query: Query, *of: Any) -> Response:
        name = query.settings.model.wire_name
        self.by[name, of[0]] += 1
        self.flying[name] += 1
        self.started.append(query.prompt.messages[-1].text)
        self.most[name] = max(self.most[name], self.flying[name])
        try:
            await asyncio.sleep(self.act(query, of[0]))
            return await super().ask(query, *of)
        finally:
            self.flying[name] -= 1
            self.done.append(name)


def execute(text: str, provider: Any, *, connections: int = 16, max_wait_s: float = 5.0) -> tuple[Report, MemoryStore]:
    """Run a program in memory; return the report, and what is stored."""
    store = MemoryStore()
    walks = [Rows(e) for e in program(text).experiments]

    async def main() -> Report:
        policy = RetryPolicy(max_wait_s=max_wait_s)
        return await Executor(walks, store, provider, connections=connections, retry_policy=policy, run="r").run()

    return asyncio.run(asyncio.wait_for(main(), HANG_S)), store


def test_requests_wait_for_a_server_that_is_down_and_nothing_spins() -> None:
    """Of two accounts one is down for good, the other for half a second: nothing fails, nothing is sent before."""
    up_at = time.monotonic() + 0.5
    looks = Counter[int]()

    class Down(Odd):
        def usable(self, _: Model, account: int) -> bool:
            looks[account] += 1
            return account == 1 and time.monotonic() >= up_at

    provider = Down(lambda *_: 0.0, accounts=2)
    report, store = execute(STUDY.replace("1..100", "1..10"), provider)
    assert not report.failures
    assert len(store.answers) == report.sent == provider.n
    assert {account for _, account in provider.by} == {1}
    assert time.monotonic() >= up_at
    assert looks[0] < 20 + 4 * report.sent, "a look at each dispatch, and some while it waits"


def test_a_slow_model_holds_up_its_own_requests_only() -> None:
    """Half the connections stay with the fast one, which is done long before, though the slow one comes first."""
    provider = Odd(lambda q, _: 0.2 if q.settings.model.wire_name == "slow" else 0.001)
    report, store = execute(STUDY, provider)
    assert len(store.answers) == 200
    assert not report.failures
    last_fast = max(i for i, name in enumerate(provider.done) if name == "fast")
    assert provider.done[:last_fast].count("slow") < 30


def test_a_throttled_model_holds_up_its_own_requests_only() -> None:
    """Its requests wait without a connection; what waits too long is given up, and said."""

    def act(query: Query, _: int) -> float:
        if query.settings.model.wire_name == "slow":
            raise Throttled("slow down", wait_s=100.0)
        return 0.0

    report, store = execute(STUDY, Odd(act))
    assert len(store.answers) == 100
    assert len(report.failures) == 100
    assert all("asks to wait 100 s" in f or f.endswith("slow down") for f in report.failures.values())
    assert report.sent < 150, "once it is known, nothing more is sent"


def test_a_dead_server_is_given_up_before_all_is_asked() -> None:
    """Sixteen requests in a row that were asked again as long as allowed; the rest are not tried one by one."""

    def act(query: Query, _: int) -> float:
        if query.settings.model.wire_name == "slow":
            raise Unavailable("connection refused")
        return 0.0

    with within(20):
        report, store = execute(STUDY, Odd(act), max_wait_s=0.6)
    assert len(store.answers) == 100
    assert len(report.failures) == 100
    assert any("as 16 requests before" in f for f in report.failures.values())


def test_accounts_are_used_side_by_side() -> None:
    """Two keys share the work; one that is out of credit leaves it to the other."""
    provider = Odd(lambda *_: 0.01, accounts=2)
    execute(STUDY, provider)
    assert min(provider.by["fast", 0], provider.by["fast", 1]) > 30

    def broke(_: Query, account: int) -> float:
        if account == 0:
            raise Rejected("out of credit: 402", status=402, for_all=True)
        return 0.001

    report, store = execute(STUDY, Odd(broke, accounts=2))
    assert not report.failures
    assert len(store.answers) == 200
    assert report.sent <= 200 + 2 * 16


def test_a_key_that_fails_fast_does_not_draw_the_requests() -> None:
    """It has few under way for it fails at once; what comes to nothing there is asked by the key that works."""

    def act(_: Query, account: int) -> float:
        if account == 0:
            raise Unavailable("503")
        return 0.02

    report, store = execute(STUDY, Odd(act, accounts=2), max_wait_s=1.5)
    assert not report.failures
    assert len(store.answers) == 200


@pytest.mark.parametrize("wait_s", [3600.0, 0.5])
def test_a_key_that_must_wait_for_long_leaves_its_work_to_the_other(wait_s: float) -> None:
    """Longer than `--max-wait`, or a while: the other key goes on meanwhile."""

    def act(_: Query, account: int) -> float:
        if account == 0:
            raise Throttled("slow down", wait_s=wait_s)
        return 0.005

    report, store = execute(STUDY, Odd(act, accounts=2), max_wait_s=20)
    assert not report.failures
    assert len(store.answers) == 200


def test_models_with_keys_and_limits_of_their_own_have_lanes_of_their_own() -> None:
    """The same model at the same place, under two keys: one that is refused stops its own requests."""
    text = (
        STUDY.replace("a/slow", "a/fast")
        .replace('revision = "1" }', 'revision = "1", key = env.A }', 1)
        .replace('revision = "1" }', 'revision = "1", key = env.B, temperature = 1, parallel = 2 }', 1)
    )

    def act(query: Query, _: int) -> float:
        if dict(query.settings.params):
            raise Rejected("401", status=401, for_all=True)
        return 0.0

    report, store = execute(text, Odd(act))
    assert (len(store.answers), len(report.failures)) == (100, 100)
    assert report.sent <= 102


def test_a_first_request_in_trouble_holds_up_no_other() -> None:
    """Those that share its beginning wait for it while it is asked, and not while it fails."""

    def act(query: Query, _: int) -> float:
        if query.prompt.messages[-1].text == "one" and query.sample == 0:
            raise Unavailable("500")
        return 0.001

    start = time.monotonic()
    done: list[float] = []

    class Timed(Odd):
        async def ask(self, query: Query, *of: Any) -> Response:
            found = await super().ask(query, *of)
            done.append(time.monotonic() - start)
            return found

    report, store = execute(LONG.replace("SERVICE", "vllm/m"), Timed(act), max_wait_s=3)
    assert len(report.failures) == 3
    assert len(store.answers) == 21
    Bounds(Slowdown()).check("a request beside it", 1.5, wall_s=max(done))


def test_a_row_that_cannot_go_on_ends_the_run() -> None:
    """What its next step raises is raised by the run; nothing waits for ever."""
    walks = [Rows(e) for e in program(STUDY).experiments]

    def broken(*_: Any) -> None:
        raise HookError("f is not pure")

    async def main() -> None:
        executor = Executor(
            walks, MemoryStore(), Odd(lambda *_: 0.001), connections=4, retry_policy=RetryPolicy(max_wait_s=1), run="r"
        )
        executor._advance = broken  # type: ignore[method-assign,assignment]  # as a hook on an answer would
        await executor.run()

    with pytest.raises(HookError, match="not pure"):
        asyncio.run(asyncio.wait_for(main(), HANG_S))


def test_without_credit_nothing_more_is_sent() -> None:
    """A refusal that holds for all is told for all, and the other model goes on."""

    def act(query: Query, _: int) -> float:
        if query.settings.model.wire_name == "slow":
            raise Rejected("401 no access", status=401, for_all=True)
        return 0.001

    report, store = execute(STUDY, Odd(act))
    assert len(store.answers) == 100
    assert set(report.failures.values()) == {"openai-api/a/slow: 401 no access"}
    assert report.sent <= 100 + 16


def test_a_bad_request_is_of_that_request_alone() -> None:
    """One that is too long is refused; the next is sent."""

    def act(query: Query, _: int) -> float:
        if query.prompt.messages[-1].text.endswith("7"):
            raise Rejected("400 too long", status=400)
        return 0.0

    report, store = execute(STUDY, Odd(act))
    assert len(report.failures) == 20
    assert len(store.answers) == 180


def test_parallel_is_of_a_model() -> None:
    """`parallel` in a model bounds its own requests in flight."""
    provider = Odd(lambda *_: 0.005)
    execute(STUDY.replace('revision = "1" }', 'revision = "1", parallel = 3 }', 1), provider)
    assert provider.most["fast"] <= 3
    assert provider.most["slow"] > 3


LONG = """
let demos = [for_ for for_ in 1..K]
prompt shots(n, q) {
  each d in [x for x in 1..40] { user "demonstration {d} of {n}: WORDS" }
  user q
}
model m { use = "SERVICE", revision = "1", max_tokens = 10 }
experiment e {
  for q in ["one", "two", "three", "four"]
  for n in [1, 2, 3]
  samples = 2
  ask answer from m with shots(n, q)
}
""".replace("let demos = [for_ for for_ in 1..K]\n", "").replace("WORDS", "word " * 40)


def test_what_shares_a_beginning_goes_together_and_the_first_alone() -> None:
    """Questions behind the same demonstrations come together; no second one starts before the first is done."""
    running: Counter[str] = Counter()
    warm: set[str] = set()
    early: list[str] = []
    order: list[str] = []
    marked: set[int] = set()

    class Watching(Odd):
        async def ask(self, query: Query, *of: Any) -> Response:
            beginning = query.prompt.messages[0].text
            order.append(beginning)
            marked.add(query.shared)
            if beginning not in warm and running[beginning]:
                early.append(beginning)
            running[beginning] += 1
            found = await super().ask(query, *of)
            running[beginning] -= 1
            warm.add(beginning)
            return found

    provider = Watching(lambda *_: 0.005)
    report, store = execute(LONG.replace("SERVICE", "vllm/m"), provider)
    assert not report.failures
    assert len(store.answers) == 24
    assert not early
    assert order.index(order[-1]) > 0
    assert marked == {40}, "each is marked at the end of what is shared"


def test_two_runs_do_not_wait_for_each_others_first(tmp_path: Path) -> None:
    """Each has claimed what the other means to send first: nobody waits for ever, and nothing is sent twice."""
    text = LONG.replace("SERVICE", "vllm/m")
    texts = (text, text.replace('["one", "two", "three", "four"]', '["four", "three", "two", "one"]'))
    providers = [Odd(lambda *_: 0.01) for _ in texts]
    (tmp_path / "answers").mkdir()
    store = MemoryStore()
    claims = [Claims(tmp_path / "answers", f"r{i}") for i in range(2)]

    async def main() -> None:
        runs = [
            Executor([Rows(e) for e in program(t).experiments], store, p, connections=2,
                     retry_policy=RetryPolicy(max_wait_s=5), run="r", claims=c).run()
            for t, p, c in zip(texts, providers, claims, strict=True)
        ]  # fmt: skip
        await asyncio.gather(*runs)

    asyncio.run(asyncio.wait_for(main(), HANG_S))
    sent = [key for p in providers for key in p.keys]
    assert len(sent) == len(set(sent)) == len(store.answers) == 24
    for c in claims:
        c.close()


def test_where_no_cache_is_kept_nothing_waits() -> None:
    """A provider without a cache of prefixes is asked all at once."""
    provider = Odd(lambda *_: 0.005)
    execute(LONG.replace("SERVICE", "ollama/m"), provider)
    assert provider.most["m"] == 16


def test_the_order_of_rows_follows_the_prompt() -> None:
    """The axis that changes the beginning changes slowly, wherever it stands; short prompts come as written."""
    walk = Rows(program(LONG.replace("SERVICE", "vllm/m")).experiments[0])
    cells = [row.cell for row in walk.selected() if row.sample == 0]
    assert [n for _, n in cells] == sorted(n for _, n in cells)
    short = Rows(program(LONG.replace("SERVICE", "vllm/m").replace("word word", "")).experiments[0])
    assert [row.cell for row in short.selected() if row.sample == 0] == list(short.experiment.cells())


GROUPS = """
model a { use = "vllm/a", revision = "1" }
model b { use = "vllm/b", revision = "1" }
experiment e {
  for m in [a, b]
  for t in [0, 1]
  for q in 1..5
  skip when m is a and q == 3
  samples = 7
  ask answer from m with "q{q}" { temperature = t }
  judge v with r(answer) from b
}
rubric r(x) { scale = 0..10
 user x }
"""


@pytest.mark.parametrize("text", [GROUPS, LONG.replace("SERVICE", "vllm/m"), STUDY])
def test_groups_are_all_rows_once(text: str) -> None:
    """Whatever a model is asked comes in one group, and each row in one of them."""
    walk = Rows(program(text).experiments[0])
    rows = sorted((row.cell, row.sample) for row in walk.selected())
    found = [[(row.cell, row.sample) for row in group] for group in walk.groups()]
    assert sorted(x for group in found for x in group) == rows
    models = {
        i: {walk.head(walk.experiment.steps[0], walk.row(*x))[0].model.use for x in g} for i, g in enumerate(found)
    }
    assert all(len(m) == 1 for m in models.values())
    assert len(found) == len({next(iter(m)) for m in models.values()})


@pytest.mark.thorough
def test_all_of_it_at_once() -> None:
    """Faults of every kind, several models, dependents: each answer once, nothing lost, few requests too many."""
    rng = random.Random(5)
    faults = 0

    def act(_: Query, __: int) -> float:
        nonlocal faults
        draw = rng.random()
        if draw < 0.25:
            faults += 1
            raise Throttled("slow down", wait_s=0.01) if draw < 0.2 else Unavailable("500")
        return rng.random() / 500

    text = GROUPS.replace("1..5", "1..25" if THOROUGH else "1..8")
    provider = Odd(act)
    report, store = execute(text, provider, connections=32, max_wait_s=300)
    assert not report.failures
    assert len(set(provider.keys)) == len(provider.keys) == len(store.answers)
    assert report.sent == provider.n + faults
    again, _ = run(text, store, InProcess())
    assert again.n == 0


ONE = STUDY.replace("[slow, fast]", "[fast]")


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emdsl.run.pacing.DOUBT_PAUSE_S", 0.02)


@pytest.mark.parametrize("status", [302, 401, 402, 404])
@pytest.mark.parametrize("at", [20, 90])
def test_one_odd_refusal_after_answers_ends_nothing(status: int, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that says 401 once, in the middle of a run, has 100 of 100 answered."""
    quick(monkeypatch)
    n = 0

    def act(*_: Any) -> float:
        nonlocal n
        n += 1
        if n in (at, at + 1):
            raise Rejected(f"{status} no", status=status, for_all=True)
        return 0.001

    report, store = execute(ONE, Odd(act))
    assert (len(store.answers), report.failures) == (100, {})
    assert report.sent == 102


def test_a_key_that_is_withdrawn_is_given_up_after_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first it is asked by one request at a time: a few are sent, not all."""
    quick(monkeypatch)
    n = 0

    def act(*_: Any) -> float:
        nonlocal n
        n += 1
        if n > 50:
            raise Rejected("401 no", status=401, for_all=True)
        return 0.001

    report, store = execute(ONE, Odd(act))
    assert len(store.answers) == 50
    assert len(report.failures) == 50
    assert report.sent <= 50 + 16 + 4


def test_a_request_that_is_always_refused_so_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the server calls it: the others are answered."""
    quick(monkeypatch)

    def act(query: Query, _: int) -> float:
        if query.prompt.messages[0].text == "question 70":
            raise Rejected("404 no", status=404, for_all=True)
        return 0.001

    report, store = execute(ONE, Odd(act), connections=4)
    assert len(store.answers) == 99
    assert len(report.failures) == 1
    assert report.sent <= 102


def test_a_server_that_is_down_is_told_soon_and_given_up_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request at a time, and yet one bound for all; it is said while it is waited for."""
    monkeypatch.setattr("emdsl.run.retries.NOTICE_AFTER_S", 0.2)
    said: list[str] = []

    def down(*_: Any) -> float:
        raise Unavailable("no connection to http://127.0.0.1:1: Connection refused")

    async def main() -> Report:
        walks = [Rows(e) for e in program(ONE.replace('revision = "1"', 'revision = "1", parallel = 1')).experiments]
        return await Executor(
            walks, MemoryStore(), Odd(down), connections=4, retry_policy=RetryPolicy(max_wait_s=1), run="r",
            on_notice=said.append,
        ).run()  # fmt: skip

    with within(10):
        report = asyncio.run(asyncio.wait_for(main(), HANG_S))
    assert len(report.failures) == 100
    (line,) = said
    assert line == (
        "openai-api/a/fast: no connection to http://127.0.0.1:1: Connection refused; retrying for up to 1 s "
        "(--max-wait); Ctrl-C stops"
    )


def test_a_time_in_which_the_process_was_suspended_is_no_waiting() -> None:
    """A laptop that slept for an hour has not waited for a server."""
    executor = Executor([], MemoryStore(), Odd(lambda *_: 0), connections=1, retry_policy=RetryPolicy(), run="r")
    pace = RateController(most=1)
    pace.send(1)
    pace.failed(server=True)
    before = pace.silent_since
    model = Model(name="m", use="a/b", service=SERVICES["openai"], wire_name="b")
    executor._dispatcher.lanes.all["x"] = Lane(model, (pace,))
    request = Request(None, "e", {}, 1, refused_at=5.0)  # type: ignore[arg-type]  # its query is not looked at
    executor._requests[b"k" * 32] = request
    executor._skip(3_600.0)
    assert before is not None
    assert (pace.silent_since, request.refused_at) == (before + 3_600.0, 3_605.0)


@pytest.mark.parametrize("connections", [1, 2, 4])
def test_a_refused_request_stands_back_behind_the_others(connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time, too: three refusals in a row of one request are no three refusals."""
    quick(monkeypatch)

    def act(query: Query, _: int) -> float:
        if query.prompt.messages[0].text == "question 50":
            raise Rejected("401 no", status=401, for_all=True)
        return 0.001

    report, store = execute(ONE, Odd(act), connections=connections)
    assert (len(store.answers), len(report.failures)) == (99, 1)


def test_without_patience_one_failure_is_one_failure() -> None:
    """`--max-wait 0` gives up a request at once, and not its account."""

    def act(query: Query, _: int) -> float:
        if query.prompt.messages[0].text == "question 1":
            raise Unavailable("500")
        return 0.001

    report, store = execute(ONE, Odd(act), connections=1, max_wait_s=0)
    assert (len(store.answers), len(report.failures)) == (99, 1)
