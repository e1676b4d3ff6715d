"""Requests that wait to be sent, by model: a slow model delays its own requests only."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.query import Model
    from emdsl.run.affinity import Affinity
    from emdsl.run.pacing import RateController, Ticket
    from emdsl.run.requests import Request

RECHECK_S = 0.25  # until an account that is not usable is looked at again


@dataclass(slots=True)
class Lane:
    """The requests of one model. Its accounts are used side by side, each at its own rate.

    An account is an API key, or a replica of a served model.
    """

    model: Model
    controllers: tuple[RateController, ...]
    usable: Callable[[int], bool] = lambda _: True  # whether the server of an account is up
    affinity: Affinity | None = None  # of replicas, each with a cache of prefixes
    down: set[int] = field(default_factory=set)  # replicas that are not used, as of the last look
    continuing: deque[Request] = field(default_factory=deque)  # of rows that were begun: they go first, in order
    ready: deque[Request] = field(default_factory=deque)
    awaiting_budget: list[Request] = field(default_factory=list)  # until reserved money is given back

    @property
    def line(self) -> deque[Request]:
        """The requests of which the first is sent next."""
        return self.continuing or self.ready

    def queue(self, request: Request) -> None:
        """Let a request wait for its turn."""
        (self.continuing if request.high_priority else self.ready).append(request)

    def put_back(self, requests: list[Request]) -> None:
        """Let requests that were taken out wait again, before all others."""
        for request in reversed(requests):
            (self.continuing if request.high_priority else self.ready).appendleft(request)

    @property
    def in_flight(self) -> int:
        """Number of its requests in flight."""
        return sum([c.in_flight for c in self.controllers])

    @property
    def closed(self) -> str:
        """Why no account can be used any more; empty while one can."""
        return self.controllers[0].closed if all(c.closed for c in self.controllers) else ""

    def account(self, now: float) -> tuple[float, int]:
        """Return the seconds until the first request may be sent, and the account that sends it.

        With replicas, a request whose prompt has its beginning in the cache of one becomes the first.
        """
        if self.affinity is not None and not self.closed:
            return self._replica(self.affinity, now)
        chars = self.line[0].chars
        if len(self.controllers) == 1 and not self.controllers[0].closed and self.usable(0):
            return self.controllers[0].delay(chars, now), 0
        open_ = [i for i, c in enumerate(self.controllers) if not c.closed]
        if not open_:
            return 0.0, 0  # its requests fail at once
        states = [
            (self.controllers[i].delay(chars, now), self.controllers[i].troubles, self.controllers[i].in_flight, i)
            for i in open_
            if self.usable(i)
        ]
        if len(states) < len(open_):  # no event reports that a server is up again
            states.append((RECHECK_S, 0, 0, open_[0]))
        delay, _, _, account = min(states)  # one that fails fast has few in flight: that must not draw more
        return delay, account

    def send(self, request: Request, account: int) -> Ticket:
        """Count a request that is sent now."""
        if self.affinity is not None:
            self.affinity.placed(request, account)
        return self.controllers[account].send(request.chars)

    def _replica(self, affinity: Affinity, now: float) -> tuple[float, int]:
        """Return the seconds until a request may be sent, and the replica that sends it; make it the first."""
        controllers = self.controllers
        self._look(affinity)
        up = [i for i in range(len(controllers)) if i not in self.down]
        line = self.line
        delays = [controllers[i].delay(line[0].chars, now) for i in up]
        trusted = [i for i in up if not controllers[i].suspect(now)]
        ready = [i for i, delay in zip(up, delays, strict=True) if delay <= 0 and (i in trusted or not trusted)]
        if not ready:
            untried = len(trusted) < len(controllers)  # no event reports that a server is up again
            return min([d for d in delays if d > 0] + [RECHECK_S] * untried, default=math.inf), 0
        place, replica = affinity.choose(line, ready, [c.in_flight for c in controllers], len(up))
        if place:
            request = line[place]
            del line[place]
            line.appendleft(request)
        return 0.0, replica

    def _look(self, affinity: Affinity) -> None:
        """Find out which replicas are down, and which are up again."""
        for i, controller in enumerate(self.controllers):
            if controller.closed or not self.usable(i):
                if i not in self.down:
                    self.down.add(i)
                    affinity.forget(i, [*self.continuing, *self.ready])
            elif i in self.down:
                self.down.discard(i)
                controller.restart()


class Lanes:
    """All lanes of a run."""

    def __init__(self) -> None:
        self.all: dict[Any, Lane] = {}

    def choose(self, now: float) -> tuple[Lane, int] | float:
        """Return the lane that sends next and its account, or the seconds until one may.

        Of the lanes that may send, it is the one with the fewest requests in flight: models share the connections.
        """
        best: tuple[int, Lane, int] | None = None
        least = math.inf
        for lane in self.all.values():
            if not lane.line:
                continue
            delay, account = lane.account(now)
            if delay > 0:
                least = min(least, delay)
            elif best is None or lane.in_flight < best[0]:
                best = lane.in_flight, lane, account
        return least if best is None else (best[1], best[2])
