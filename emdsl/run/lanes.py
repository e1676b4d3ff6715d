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

BLAMED = 2  # servers that died under a request, from which on it is sent to one that does nothing else
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
    blamed: deque[Request] = field(default_factory=deque)  # servers died under each of them: one may be the cause
    tried: Request | None = None  # the one of these that is in flight
    reserved: int | None = None  # the account that they are sent to, alone
    awaiting_budget: list[Request] = field(default_factory=list)  # until reserved money is given back

    @property
    def line(self) -> deque[Request]:
        """The requests of which the first is sent next."""
        if self.blamed and self.tried is None:
            account = self._reserve()
            if account is None or not self.controllers[account].in_flight:
                return self.blamed
        return self.continuing or self.ready

    @property
    def n_waiting(self) -> int:
        """Number of requests that may be sent now, as far as accounts allow it."""
        return len(self.continuing) + len(self.ready) + bool(self.blamed and self.tried is None)

    def queue(self, request: Request) -> None:
        """Let a request wait for its turn."""
        self._line_of(request).append(request)

    def put_back(self, requests: list[Request]) -> None:
        """Let requests that were taken out wait again, before all others."""
        for request in reversed(requests):
            self._line_of(request).appendleft(request)

    def _line_of(self, request: Request) -> deque[Request]:
        if request.lost >= BLAMED:
            return self.blamed
        return self.continuing if request.high_priority else self.ready

    def _reserve(self) -> int | None:
        """Return the account of blamed requests, which gets no others; None if no account is up."""
        account = self.reserved
        if account is None or self.controllers[account].closed or not self.usable(account):
            up = [i for i, c in enumerate(self.controllers) if not c.closed and self.usable(i)]
            self.reserved = min(up, key=lambda i: self.controllers[i].in_flight, default=None)
        return self.reserved

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
        affinity = self.affinity if self.affinity is not None and not self.closed else None
        if affinity is not None:
            self._look(affinity)
        line = self.line
        if line is self.blamed and self.reserved is not None:
            return self.controllers[self.reserved].delay(line[0].chars, now), self.reserved
        if not self.blamed and self.tried is None:
            self.reserved = None
        if affinity is not None:
            return self._replica(affinity, now)
        chars = line[0].chars
        if len(self.controllers) == 1 and not self.controllers[0].closed and self.usable(0) and self.reserved is None:
            return self.controllers[0].delay(chars, now), 0
        if self.closed:
            return 0.0, 0  # its requests fail at once
        open_ = [i for i, c in enumerate(self.controllers) if not c.closed and i != self.reserved]
        if not open_:
            return math.inf, 0  # until the blamed requests have been tried
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
        if request.lost >= BLAMED:
            self.tried = request
        return self.controllers[account].send(request.chars)

    def end(self, request: Request) -> None:
        """Note that a request is not in flight any more."""
        if self.tried is request:
            self.tried = None

    def _replica(self, affinity: Affinity, now: float) -> tuple[float, int]:
        """Return the seconds until a request may be sent, and the replica that sends it; make it the first."""
        controllers = self.controllers
        up = [i for i in range(len(controllers)) if i not in self.down and i != self.reserved]
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
                    affinity.forget(i, [*self.continuing, *self.ready, *self.blamed])
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
