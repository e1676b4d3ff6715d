"""Requests that wait to be sent, by whom they are asked of: a slow model holds up its own only."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from emdsl.query import Model
    from emdsl.run.pacing import Pace


class Waiting(Protocol):
    """What waits in a lane."""

    @property
    def chars(self) -> int:
        """How long its messages are."""


Item = TypeVar("Item", bound=Waiting)


@dataclass(slots=True)
class Lane(Generic[Item]):
    """The requests of one model. Its API keys are used side by side, each at a pace of its own."""

    model: Model
    paces: tuple[Pace, ...]
    ready: deque[Item] = field(default_factory=deque)
    poor: list[Item] = field(default_factory=list)  # those that wait for money to be given back

    @property
    def in_flight(self) -> int:
        """How many of its requests are under way."""
        return sum([p.in_flight for p in self.paces])

    @property
    def closed(self) -> str:
        """Why no account can go on; nothing while one can."""
        return self.paces[0].closed if all(p.closed for p in self.paces) else ""

    def account(self, now: float) -> tuple[float, int]:
        """Return the seconds until the first one may be sent, and by which account."""
        chars = self.ready[0].chars
        open_ = [(p.delay(chars, now), p.troubles, p.in_flight, i) for i, p in enumerate(self.paces) if not p.closed]
        if not open_:
            return 0.0, 0  # it is told so at once
        delay, _, _, account = min(open_)  # one that fails fast has few in flight: that must not draw more
        return delay, account


class Lanes(Generic[Item]):
    """All lanes of a run."""

    def __init__(self) -> None:
        self.all: dict[Any, Lane[Item]] = {}

    def choose(self, now: float) -> tuple[Lane[Item], int] | float:
        """Return the lane that sends next, and by which account; else the seconds until one may.

        Of those that may send, the one with fewest requests under way: models share the connections evenly.
        """
        best: tuple[int, Lane[Item], int] | None = None
        least = math.inf
        for lane in self.all.values():
            if not lane.ready:
                continue
            delay, account = lane.account(now)
            if delay > 0:
                least = min(least, delay)
            elif best is None or lane.in_flight < best[0]:
                best = lane.in_flight, lane, account
        return least if best is None else (best[1], best[2])
