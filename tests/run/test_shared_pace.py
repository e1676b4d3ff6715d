"""Several processes at one pace: together they send what one process may, never more, and none is left out."""

from __future__ import annotations

import heapq
import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from support import THOROUGH

from emdsl.providers.limits import Limit, Limits
from emdsl.query import Model
from emdsl.run.lanes import Lane
from emdsl.run.leased_pace import LeasedController, LeasedPace
from emdsl.run.requests import Request
from emdsl.run.shared_pace import SharedPace, fair
from emdsl.service import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.run.pacing import Ticket

TICK_S = 0.02  # between two reports of a process


def model(**settings: Any) -> Model:
    return Model(name="m", use="openai/m", service=SERVICES["openai"], wire_name="m", **settings)


class Worker:
    """A process with requests of one model, which it sends as its leases allow."""

    def __init__(self, asked: Model, left: int, clock: Callable[[], float]) -> None:
        self.pace = LeasedPace()
        (controller,) = self.pace.controllers(asked, 1)
        assert isinstance(controller, LeasedController)
        controller.clock = clock
        self.controller = controller
        self.lane = Lane(asked, (controller,))
        self.lane.ready.extend(Request(None, "e", {}, 40) for _ in range(left))  # type: ignore[arg-type]  # no query is read
        self.connections = 0
        self.alive = True


class Simulated:
    """Processes, their reports and leases with delays, and a server: a simulation of events."""

    def __init__(
        self, seed: int, asked: Model, left: list[int], *, connections: int, server_limit: float = math.inf,
        per_s: float = 0.0,
    ) -> None:  # fmt: skip
        self.rng, self.now, self.asked = random.Random(seed), 0.0, asked
        self.shared = SharedPace(connections, lambda: self.now)
        self.workers = [Worker(asked, n, lambda: self.now) for n in left]
        self.server_limit, self.per_s, self.remaining, self.filled_at = server_limit, per_s, 20.0, 0.0
        self.in_flight = self.most = self.n_throttled = self.answered = 0
        self.sent: list[float] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._n = 0
        self.wakes = 0
        for i in range(len(left)):
            self.shared.join(i)
            self.at(self.rng.random() * TICK_S, lambda i=i: self.tick(i))  # type: ignore[misc]  # `i` of this loop
        self.at(0, self.lease)

    def at(self, delay_s: float, event: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._events, (self.now + delay_s, self._n, event))

    def run(self, until_s: float = 600.0) -> None:
        while self._events and self.now < until_s and any(w.alive for w in self.workers):
            self.now, _, event = heapq.heappop(self._events)
            event()

    def tick(self, i: int) -> None:
        worker = self.workers[i]
        if not worker.alive:
            return
        reports = worker.pace.report([worker.lane])
        self.at(self.rng.random() / 500, lambda: self.hear(i, reports))
        if worker.lane.ready or worker.controller.in_flight:
            self.at(TICK_S, lambda: self.tick(i))
        else:
            worker.alive = False
            self.at(0.003, lambda: self.leave(i))

    def leave(self, i: int) -> None:
        self.shared.leave(i)
        self.lease()

    def kill(self, i: int) -> None:
        self.workers[i].alive = False
        self.in_flight -= self.workers[i].controller.in_flight
        self.leave(i)

    def hear(self, i: int, reports: list[dict[str, Any]]) -> None:
        if self.workers[i].alive:
            self.shared.hear(i, reports)
            self.lease()

    def lease(self) -> None:
        for i, leases in self.shared.leases().items():
            self.at(0.001, lambda i=i, leases=leases: self.take(i, leases))  # type: ignore[misc]  # those of this loop
        self.wakes += 1
        if self.shared.wake_s < math.inf:
            self.at(self.shared.wake_s + 1e-4, lambda n=self.wakes: self.wake(n))  # type: ignore[misc]  # the last one

    def wake(self, n: int) -> None:
        if n == self.wakes:
            self.lease()

    def take(self, i: int, leases: list[dict[str, Any]]) -> None:
        connections = self.workers[i].pace.take(leases)
        if connections is not None:
            self.workers[i].connections = connections
        self.send(i)

    def send(self, i: int) -> None:
        worker = self.workers[i]
        while worker.alive and worker.lane.ready and worker.controller.in_flight < worker.connections:
            delay_s, _ = worker.lane.account(self.now)
            if delay_s > 0:
                if delay_s < math.inf:
                    self.at(delay_s, lambda: self.send(i))
                return
            request = worker.lane.ready.popleft()
            ticket = worker.controller.send(request.chars)
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            self.sent.append(self.now)
            refused = self.in_flight > self.server_limit or self.spent()
            self.at(0.02 + self.rng.random() / 20, lambda r=request, t=ticket, no=refused: self.end(i, r, t, no))  # type: ignore[misc]  # those of this loop

    def spent(self) -> bool:
        """Count a request at a server that announces its limit; whether nothing is left."""
        if not self.per_s:
            return False
        self.remaining = min(60 * self.per_s, self.remaining + self.per_s * (self.now - self.filled_at))
        self.filled_at = self.now
        if self.remaining < 1:
            return True
        self.remaining -= 1
        return False

    def end(self, i: int, request: Request, ticket: Ticket, refused: bool) -> None:
        worker = self.workers[i]
        if not worker.alive:
            return
        self.in_flight -= 1
        if self.per_s:
            limit = Limit(60 * self.per_s, self.remaining, 60 - self.remaining / self.per_s)
            worker.controller.update(ticket, Limits(requests=limit))
        if refused:
            self.n_throttled += 1
            worker.controller.throttled(ticket, 0.0)
            worker.lane.ready.append(request)
        else:
            self.answered += 1
            worker.controller.answered(50)
        self.send(i)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(100 if THOROUGH else 5))
def test_the_limits_of_one_process_hold_for_all(seed: int) -> None:
    rng = random.Random(seed)
    left = [rng.choice([0, 1, 50, 200]) for _ in range(rng.randint(1, 6))]
    connections, parallel = rng.choice([1, 3, 40, 100]), rng.choice([None, 1, 7])
    run = Simulated(seed, model(parallel=parallel), left, connections=connections)
    run.run()
    assert run.answered == sum(left), "no process is left without a slot for good"
    assert run.most <= min(connections, parallel or connections)
    assert run.in_flight == 0


def test_a_process_that_dies_frees_its_slots() -> None:
    run = Simulated(1, model(), [2_000, 500], connections=30)
    run.at(1.0, lambda: run.kill(0))
    run.run()
    assert not run.workers[1].lane.ready
    assert run.most <= 30
    assert run.now < 1.0 + 500 * 0.045 / 30 * 1.2, "it has all slots then"


@pytest.mark.parametrize("rpm", [60, 1200])
def test_a_limited_rate_is_one_for_all_and_is_used(rpm: int) -> None:
    n = rpm // 4
    run = Simulated(2, model(rpm=rpm), [n // 2, n - n // 2], connections=64)
    run.run()
    assert run.answered == n
    burst = max(1.0, rpm / 60)
    for i, start in enumerate(run.sent):
        within = sum(1 for t in run.sent[i:] if t < start + 5)
        assert within <= burst + 5 * rpm / 60 + 1
    assert run.now < 15 * 1.1 + 0.2, "15 seconds are needed"


def test_a_rate_that_a_server_announces_is_shared() -> None:
    run = Simulated(3, model(), [300, 300], connections=64, per_s=10)
    run.run(until_s=20.0)
    assert run.n_throttled < 30, "the first requests, which were under way before any reply announced it"
    assert 0.9 * (20 + 20 * 10) < run.answered <= 20 + 20 * 10 + 1


def test_throttling_slows_all_down_once_an_episode() -> None:
    one = Simulated(4, model(), [800], connections=200, server_limit=40)
    several = Simulated(4, model(), [200] * 4, connections=200, server_limit=40)
    for run in (one, several):
        run.run()
        assert run.answered == 800
    assert several.n_throttled < 2 * one.n_throttled + 20
    assert several.now < 1.3 * one.now + 0.5


def test_a_closed_account_is_closed_for_all() -> None:
    run = Simulated(5, model(), [500, 500], connections=10)
    run.at(0.5, lambda: run.workers[0].controller.close("no credit"))
    run.run(until_s=1.0)
    assert [w.controller.closed for w in run.workers] == ["no credit", "no credit"]


def test_nobody_gets_more_than_wanted_while_another_lacks() -> None:
    assert fair([5, 5, 5], 5) == [2, 2, 1]
    assert fair([9, 5], 1) == [1, 0]
    assert fair([1, 100, 100], 21) == [1, 10, 10]
    assert fair([1, 2], 9) == [4, 5]
    assert fair([0, 0], 3) == [2, 1]
    assert fair([], 3) == []
