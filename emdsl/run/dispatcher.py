"""Dispatch: which request is sent next, by which account, and when."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from emdsl.run.affinity import Affinity
from emdsl.run.budget import NEVER
from emdsl.run.lanes import Lane, Lanes
from emdsl.run.pacing import RateController
from emdsl.run.prefixes import Prefixes
from emdsl.run.requests import State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from emdsl.providers.provider import Provider
    from emdsl.query import Model, Response
    from emdsl.run.budget import Budgets, Reserved
    from emdsl.run.control import RunControl
    from emdsl.run.pacing import Ticket
    from emdsl.run.requests import Request


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request in flight."""

    request: Request
    lane: Lane
    account: int
    ticket: Ticket
    reserved: Reserved
    started: float = 0.0  # by the monotonic clock

    @property
    def controller(self) -> RateController:
        """The controller of its account."""
        return self.lane.controllers[self.account]


class Dispatcher:
    """The lanes of all models: requests that wait for their turn, and those in flight."""

    def __init__(
        self,
        provider: Provider,
        budgets: Budgets,
        control: RunControl,
        *,
        connections: int,
        send: Callable[[Attempt], Coroutine[None, None, None]],
        fail: Callable[[Request, str], None],
        drop: Callable[[Request], None],
        controllers: Callable[[Model, int], tuple[RateController, ...]] | None = None,
    ) -> None:
        """Prepare lanes without requests.

        Args:
            provider: knows the accounts of a model.
            budgets: of the experiments and of the run.
            control: of the run.
            connections: maximum requests in flight.
            send: sends an attempt, and calls `finish` with it.
            fail: gets a request whose model cannot be used, and the error.
            drop: gets a request that no budget can pay.
            controllers: makes those of so many accounts of a model; None if no other process shares them.
        """
        self.lanes = Lanes()
        self.tasks: set[asyncio.Task[None]] = set()  # attempts in flight
        self._provider = provider
        self._budgets = budgets
        self._control = control
        self.connections = control.progress.connections = connections
        self._send, self._fail, self._drop = send, fail, drop
        self._controllers = controllers or self._own_controllers
        self._prefixes = Prefixes()
        self._timer: asyncio.TimerHandle | None = None
        self._dispatching = False

    def note(self, request: Request) -> None:
        """Find the requests that share a long beginning with this one; requests come in the order of their rows."""
        self._prefixes.note(request)

    def queue(self, request: Request) -> None:
        """Let a claimed request wait for its turn."""
        if not self._prefixes.waits(request):
            self._lane(request.query.settings.model).queue(request)

    def release_followers(self, request: Request) -> None:
        """Queue the requests that waited for this one to fill the provider's cache of prefixes."""
        for follower in self._prefixes.release(request):
            self.queue(follower)

    def dispatch(self) -> None:
        """Send all requests that may be sent now, and come back when the next one may."""
        if self._dispatching:  # called by `fail` or `drop` below
            return
        self._dispatching = True
        with self._control.guarded:
            while self._control.progress.in_flight < self.connections and not self._control.draining.is_set():
                chosen = self.lanes.choose(time.monotonic())
                if isinstance(chosen, float):
                    self._come_back(chosen)
                    break
                self._start(*chosen)
        self._dispatching = False

    def finish(self, attempt: Attempt, response: Response | None, *, maybe_billed: bool) -> None:
        """Free an attempt's slot, and give back its reserved money, so that requests which wait for it may go on."""
        request = attempt.request
        if request.state is State.IN_FLIGHT:
            request.state = State.WAITING
        self._control.progress.in_flight -= 1
        attempt.lane.end(request)
        request.kind.end(attempt.started, time.monotonic())
        self._budgets.settle(attempt.reserved, request.query, response, maybe_billed=maybe_billed)
        if self._budgets.limited:
            self.retry_budgets()

    def retry_budgets(self) -> None:
        """Let the requests that wait for money try again: some was given back, or a budget was changed."""
        for lane in self.lanes.all.values():
            lane.put_back(lane.awaiting_budget)
            lane.awaiting_budget.clear()

    def spend_on(self) -> None:
        """Go on with the requests that waited for money from a ledger."""
        self.retry_budgets()
        self.dispatch()

    def resize(self, connections: int) -> None:
        """Change the maximum of requests in flight; those in flight are finished."""
        self.connections = self._control.progress.connections = connections
        for lane in self.lanes.all.values():
            for controller in lane.controllers:
                controller.resize(self._most(lane.model))
        self.dispatch()

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _lane(self, model: Model) -> Lane:
        lane = self.lanes.all.get(model.lane)
        if lane is None:
            n = self._provider.accounts(model)
            affinity = Affinity(n) if model.serve is not None and n > 1 else None  # replicas have caches, API keys not
            usable = partial(self._provider.usable, model)
            lane = self.lanes.all[model.lane] = Lane(model, self._controllers(model, n), usable, affinity)
        return lane

    def _own_controllers(self, model: Model, n: int) -> tuple[RateController, ...]:
        return tuple(RateController(most=self._most(model), rpm=model.rpm, tpm=model.tpm) for _ in range(n))

    def _most(self, model: Model) -> int:
        """Return the maximum of requests in flight to a model by one account."""
        return min(self.connections, model.parallel or self.connections)

    def _come_back(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._control.progress.paused_s = delay_s if delay_s < math.inf else 0.0
        if delay_s < math.inf:
            self._timer = asyncio.get_running_loop().call_later(delay_s + 0.0005, self.dispatch)

    def _start(self, lane: Lane, account: int) -> None:
        """Send the first request of a lane, if a budget can pay for it."""
        request = lane.line.popleft()
        if lane.closed:
            self._fail(request, lane.closed)
            return
        reserved = self._budgets.reserve(request.query, request.payers) if self._budgets.limited else ()
        if reserved is None:
            lane.awaiting_budget.append(request)
            return
        if reserved is NEVER:
            self._drop(request)
            return
        progress, again, now = self._control.progress, request.n_sent > 0, time.monotonic()
        request.state = State.IN_FLIGHT
        request.n_sent += 1
        request.kind.begin(now, again=again)
        progress.in_flight += 1
        progress.sent += 1
        progress.retried += again
        ticket = lane.send(request, account)
        task = asyncio.create_task(self._send(Attempt(request, lane, account, ticket, reserved, now)))
        self.tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Forget an attempt that has ended. Its own error aborts the run, which would wait for its answer."""
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._control.abort(error)
