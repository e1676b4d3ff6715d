"""Requests go to the replica that has their prompt's beginning in its cache, as long as it has room."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import pytest
from support import experiment

from emdsl.errors import ProviderError, Rejected, Unavailable
from emdsl.prompt import Message, Prompt
from emdsl.query import Model, Query, RequestSettings
from emdsl.run.affinity import BLOCK, SLACK, Affinity, blocks_of
from emdsl.run.lanes import RECHECK_S, Lane
from emdsl.run.pacing import RateController
from emdsl.run.requests import Request
from emdsl.serve import Serve
from emdsl.service import SERVICES

from .fleet import FirstKilobyte, Fleet, Measured, Random, RoundRobin, demonstrations, serve, study

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.experiment import Experiment

MODEL = Model(
    name="m", use="vllm/m", service=SERVICES["vllm"], wire_name="m", revision="1", serve=Serve(replicas=4)
)  # fmt: skip
SETTINGS = RequestSettings(MODEL, ())


def request(*texts: str) -> Request:
    """Return a request with some user messages."""
    prompt = Prompt(tuple(Message("user", text) for text in texts))
    return Request(Query(SETTINGS, prompt, 0, bytes(32)), "e", {}, prompt.chars)


def grid(folder: Path, *, sets: int, questions: int, samples: int = 1) -> tuple[Experiment, int]:
    """Return an ICL grid, and blocks that hold less than a quarter of its demonstration sets."""
    (folder / "demonstrations.csv").write_text(demonstrations(400, 120), encoding="utf-8")
    found = experiment(study(ks=(4, 16, 64), sets=sets, questions=questions, samples=samples), folder)
    return found, sets * 64 * 140 // 64 // 5


def test_prefixes_are_found_in_caches(tmp_path: Path) -> None:
    """Twice as often as by chance, more often than by turns and by hashes of the first kilobyte, and no slower."""
    found, capacity = grid(tmp_path, sets=24, questions=6)
    policies = (None, Random, RoundRobin, FirstKilobyte)
    own, by_chance, by_turns, by_hash = (serve(found, Fleet(capacity), p, connections=64) for p in policies)
    assert all(len(m.store.answers) == m.report.sent == found.n_cells for m in (own, by_chance, by_turns, by_hash))
    assert own.fleet.hit_rate > 0.75
    assert own.fleet.hit_rate >= 2 * by_chance.fleet.hit_rate
    assert own.fleet.hit_rate >= 2 * by_turns.fleet.hit_rate
    assert own.fleet.hit_rate > by_hash.fleet.hit_rate
    assert own.seconds <= 1.15 * min(by_chance.seconds, by_turns.seconds, by_hash.seconds)


def test_a_replica_that_dies_loses_what_it_had_in_flight_and_takes_part_again(tmp_path: Path) -> None:
    """Those requests go to other replicas at once; it gets none while it is down, and its share when it is back."""
    found, capacity = grid(tmp_path, sets=16, questions=8)
    fleet = Fleet(capacity, 4)
    late: Counter[int] = Counter()

    def restart() -> None:
        late.update({i: s.answered for i, s in enumerate(fleet.servers)})
        fleet.start(2)

    done = serve(found, fleet, connections=16, events=[(3.0, lambda: fleet.kill(2)), (6.0, restart)])
    n = found.n_cells
    assert len(done.store.answers) == n
    assert not done.report.failures
    assert 0 < fleet.lost <= 4 * SLACK
    assert (fleet.refused, done.report.sent) == (0, n + fleet.lost)
    after = [s.answered - late[i] for i, s in enumerate(fleet.servers)]
    assert after[2] > 0.5 * sum(after) / 4
    assert done.seconds < 36, "nobody waits for retries"


def test_all_replicas_may_be_down_for_a_while(tmp_path: Path) -> None:
    """Their requests wait for them."""
    found, capacity = grid(tmp_path, sets=2, questions=4)
    fleet = Fleet(capacity, 2)

    def every(act: Any) -> Any:
        return lambda: [act(i) for i in range(2)]

    done: Measured = serve(found, fleet, connections=4, events=[(2.0, every(fleet.kill)), (100.0, every(fleet.start))])
    assert len(done.store.answers) == found.n_cells
    assert done.report.sent == found.n_cells + fleet.lost + fleet.refused
    assert 100 < done.seconds < 130


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        (("a" * 5_000, "x"), ("a" * 5_000, "y"), 0.85),
        (("a" * 5_000 + "x",), ("a" * 5_000 + "y",), 0.85),
        (("a" * 5_000,), ("a" * 5_000, "y"), 0.85),
        (("ab" * 30,) * 100, (*("ab" * 30,) * 99, "c" * 60), 0.85),
        (("a" * 5_000,), ("a" * 5_000,), 0.85),
        (("a" * 5_000, "x"), ("b" * 5_000, "x"), 0.0),
        (("x", "a" * 5_000), ("y", "a" * 5_000), 0.0),
        (("a" * 100,), ("a" * 100,), 0.0),
    ],
    ids=["messages", "within a message", "one goes on", "many messages", "equal", "unlike", "unlike from the start",
         "too short"],
)  # fmt: skip
def test_prompts_that_begin_alike_share_their_first_blocks(
    first: tuple[str, ...], second: tuple[str, ...], share: float
) -> None:
    """As much of the shorter one as is common, but for the rest of a block."""
    (one, ends), (two, _) = (blocks_of(request(*texts).query.prompt) for texts in (first, second))
    n = next((i for i, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), min(len(one), len(two)))
    common = ends[n - 1] if n else 0
    assert share * min(sum(map(len, first)), sum(map(len, second))) <= common
    assert share > 0 or common == 0
    assert not set(one[n:]) & set(two[n:])


def test_a_long_prompt_has_few_blocks() -> None:
    """Blocks grow with what is before them, whatever the messages are."""
    long = "".join(random.Random(1).choices("abcdefgh", k=1_000_000))
    for texts in ((long,), tuple(long[i : i + 100] for i in range(0, len(long), 100))):
        _, ends = blocks_of(request(*texts).query.prompt)
        assert len(ends) < 130
        assert all(BLOCK <= b - a <= max(BLOCK, b // 8) + 100 for a, b in zip((0, *ends), ends, strict=False))


def test_no_replica_takes_more_than_its_share() -> None:
    """However the prefixes are distributed: a replica that is free takes what is too much for another."""
    rng = random.Random(3)
    for _ in range(20):
        n = rng.randint(2, 9)
        affinity, in_flight, line = Affinity(n), [0] * n, deque[Request]()
        flying: list[int] = []
        prefixes = [str(i) * 3_000 for i in range(rng.randint(1, 4))]
        for turn in range(200):
            line.append(request(rng.choice(prefixes), str(turn)))
            while line and len(flying) < 4 * n:
                place, replica = affinity.choose(line, range(n), in_flight, n)
                chosen = line[place]
                del line[place]
                assert in_flight[replica] < math.ceil(SLACK * (len(flying) + 1) / n)
                affinity.placed(chosen, replica)
                in_flight[replica] += 1
                flying.append(replica)
            for _ in range(rng.randint(0, len(flying) // 2)):
                in_flight[flying.pop(rng.randrange(len(flying)))] -= 1


def lane(n: int = 3) -> Lane:
    """Return a lane of n replicas with nothing to send."""
    controllers = tuple(RateController(most=8, clock=lambda: 0.0) for _ in range(n))
    return Lane(MODEL, controllers, affinity=Affinity(n))


def sent(of: Lane, now: float = 0.0) -> tuple[str, int]:
    """Send the next request of a lane; return the end of its prompt, and its replica."""
    delay, replica = of.account(now)
    assert delay == 0.0
    chosen = of.line.popleft()
    of.send(chosen, replica)
    return chosen.query.prompt.messages[-1].text, replica


A, B, C = "a" * 2_000, "b" * 2_000, "c" * 2_000


def test_prefixes_take_turns() -> None:
    """Before a request leaves the replica of its prefix, those behind it are sent to theirs."""
    waiting = lane()
    for prefix in (A, B, C):
        for text in ("1", "2", "3"):
            waiting.queue(request(prefix, prefix[0] + text))
    where = dict(sent(waiting) for _ in range(9))
    assert {name: {where[name + i] for i in "123"} for name in "abc"} == {"a": {0}, "b": {1}, "c": {2}}
    alone = lane()
    for i in range(6):
        alone.queue(request(A, f"a{i}"))
    counts = Counter(replica for _, replica in (sent(alone) for _ in range(6)))
    assert max(counts.values()) == 3, "no more than its bound: a prefix goes where it is as long as it may"


def test_a_small_common_beginning_is_no_reason() -> None:
    """All prompts of a study may begin with the same system message: sets of demonstrations are spread all the same."""
    waiting = lane()
    for name in "abc":
        waiting.queue(request("system " * 100, name * 5_000, name))
    assert sorted(sent(waiting)[1] for _ in range(3)) == [0, 1, 2]
    for controller in waiting.controllers:
        controller.in_flight = 0
    waiting.queue(request("system " * 100, "a" * 5_000, "again"))
    assert sent(waiting) == ("again", 0)


def test_what_is_remembered_of_a_replica_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompts that were sent to it last, and of these the beginnings: as a cache drops them."""
    monkeypatch.setattr("emdsl.run.affinity.MAX_BLOCKS", 20)
    affinity = Affinity(2)
    prompts = [request(name * 6_000) for name in "abcd"]  # 11 blocks each
    for one in prompts:
        affinity.placed(one, 0)
    assert [affinity._homes(one, range(2)) for one in prompts] == [[], [], [0], [0]]
    line = deque([request("c" * 2_000), request("c" * 6_000)])
    assert [affinity._homes(one, range(2)) for one in line] == [[0], [0]]
    assert len(affinity._warm[0]) == 20


def test_a_replica_that_is_down_loses_its_prefixes_and_its_troubles() -> None:
    """Its requests go to others, and stay with them when it is back."""
    waiting, down = lane(2), set[int]()
    waiting.usable = lambda i: i not in down
    waiting.queue(request(A, "a1"))
    assert sent(waiting) == ("a1", 0)
    waiting.controllers[0].failed(server=True)
    down.add(0)
    waiting.queue(request(A, "a2"))
    assert sent(waiting) == ("a2", 1)
    down.clear()
    for name in ("a3", "a4"):
        waiting.queue(request(A, name))
    assert sent(waiting) == ("a3", 1), "the prefix is there"
    assert waiting.controllers[0].troubles == 0
    down |= {0, 1}
    assert waiting.account(0.0) == (RECHECK_S, 0)


def test_a_replica_that_fails_gets_one_request_a_second() -> None:
    """It fails fast, so that it always has room; as long as others are well, it draws no more than trials."""
    waiting = lane(2)
    waiting.controllers[0].failed(server=True)  # at 0.0
    waiting.controllers[0].in_flight = 0
    for prefix in (A, B, C, A + B):
        waiting.queue(request(prefix, "x"))
    assert [sent(waiting, 0.5)[1] for _ in range(2)] == [1, 1]
    assert sent(waiting, 1.5)[1] == 0
    assert sent(waiting, 1.5)[1] == 1


@pytest.mark.parametrize(
    ("error", "moved", "follows"),
    [
        (Unavailable("connection lost"), 0, "queued"),
        (Unavailable("500", status=500), 1, "queued"),
        (Unavailable("connection lost"), 2, "waits"),
        (Unavailable("no JSON", status=200), 0, "waits"),
        (Rejected("400", status=400), 0, "400"),
    ],
)
def test_what_a_replica_did_not_answer_another_takes_at_once(error: ProviderError, moved: int, follows: str) -> None:
    """Until all have had it: what brings each server down must not do so without end."""
    from .test_retries import after  # noqa: PLC0415 - its table of errors is for accounts without replicas

    def prepare(request: Request, of: Lane) -> None:
        request.moved, of.affinity = moved, Affinity(3)

    found, tried, _ = after(error, accounts=3, prepare=prepare)
    assert found == follows
    assert (tried.moved, tried.attempt) == (moved + (follows == "queued"), int(follows == "waits"))


def test_api_keys_have_no_caches_of_their_own(tmp_path: Path) -> None:
    """Without `serve`, accounts are used as they are free."""
    (tmp_path / "demonstrations.csv").write_text(demonstrations(400, 120), encoding="utf-8")
    text = study(ks=(64,), sets=4, questions=6, samples=1).replace(", serve = { replicas: 8 }", "")
    assert "serve" not in text
    found = experiment(text, tmp_path)
    fleet = Fleet(10_000, 4)
    serve(found, fleet, connections=8)
    assert max(s.answered for s in fleet.servers) - min(s.answered for s in fleet.servers) <= 2
    assert fleet.hit_rate < 0.5
