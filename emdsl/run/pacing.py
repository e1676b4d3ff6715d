"""How fast one account may be asked, how long to wait before a request is sent again, and when to give up.

The number of requests in flight grows until the server says "slow down", as in TCP: quickly at first, by one a round
trip later; it falls once for all requests that were under way then. What a server announces of its limits, and what
the program sets (`rpm`, `tpm`), holds ahead of that.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from emdsl.providers.limits import Limit, Limits

FIRST_S = 0.5
LONGEST_S = 60.0
START = 16  # requests in flight at first
FALL = 0.7  # to this share of them at "slow down"
PAUSE_S = 1.0  # waits from which all requests of an account wait, not the one alone
FROZEN_S = 1.0  # without growth after a server failed
MINUTE_S = 60.0
LONGEST_TOLD_S = 120.0  # that is waited for an allowance without being refused: a day's is no pace
MAX_ODD = 3  # refusals in a row after which an account that has answered before is not asked any more
ODD_PAUSE_S = 1.0  # after the first of them; after the second twice that
MEAN_OF = 32  # requests over which the mean of tokens runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Bounds of retrying: by the total of waiting, in seconds, and where wanted by count."""

    max_wait_s: float = 600.0
    max_retries: int | None = None

    def wait(self, attempt: int, waited_s: float, least_s: float, rng: random.Random) -> float | None:
        """Return the seconds to wait after failed attempt number `attempt` (from 0), or None to give up.

        `least_s` is what the server asked for: never less is waited. Otherwise the wait doubles from
        0.5 s to 60 s, with jitter, so that clients that failed together do not come back together.
        """
        if self.max_retries is not None and attempt >= self.max_retries:
            return None
        backoff = min(LONGEST_S, FIRST_S * 2 ** min(attempt, 20)) * rng.uniform(0.5, 1.0)
        wait = least_s + backoff * 0.1 if least_s > 0 else backoff
        return wait if waited_s + wait <= self.max_wait_s else None


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request under way: its number, and the tokens that it is taken for."""

    number: int
    tokens: float


class Allowance:
    """What is left of one of a server's limits, as it was told last, and as time goes by.

    Some servers fill it up steadily, some all at once at the end of a window. Which of the two is not told: steadily is
    assumed, until a server that had something left by this says otherwise.
    """

    def __init__(self) -> None:
        self._told: Limit | None = None
        self._at = 0.0
        self._counted = 0.0  # of what was sent in all, what it says is taken off
        self._number = -1
        self.windowed = False

    def told(self, limit: Limit, number: int, counted: float, now: float) -> None:
        """Take in what a reply says; one to a request before the last one's says nothing new.

        `counted` is what was sent in all, less what is under way: that may reach the server after this reply was
        written, whenever it was sent.
        """
        if number < self._number:
            return
        self._told, self._at, self._number, self._counted = limit, now, number, counted

    def refused(self, wait_s: float) -> None:
        """Take in a "slow down": where it asks to wait for the end of a window, there are windows."""
        if self._told is not None and self._told.remaining < 1 and wait_s >= 0.5 * self._told.reset_s > 0:
            self.windowed = True

    def delay(self, amount: float, spent: float, now: float) -> float:
        """Return the seconds until so much may be sent."""
        told = self._told
        if told is None:
            return 0.0
        amount = min(amount, told.limit)
        since = now - self._at
        used = spent - self._counted
        if since >= told.reset_s:  # as at the beginning; the next reply tells more
            return 0.0 if told.limit - used >= amount else max(MINUTE_S - since, 0.0)
        if self.windowed:
            return 0.0 if told.remaining - used >= amount else told.reset_s - since
        rate = max(told.limit - told.remaining, 1.0) / told.reset_s
        left = min(told.limit, told.remaining + rate * since) - used
        return 0.0 if left >= amount else (amount - left) / rate


class Bucket:
    """An allowance of the program: so much a minute, spread evenly."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / MINUTE_S
        self._most = max(1.0, self._rate)
        self._left = self._most
        self._at = now

    def delay(self, amount: float, now: float) -> float:
        """Return the seconds until so much may be sent; what is more than a second's share goes as one."""
        self._left = min(self._most, self._left + self._rate * (now - self._at))
        self._at = now
        return max(0.0, (min(amount, self._most) - self._left) / self._rate)

    def spend(self, amount: float) -> None:
        """Take so much; it can be owed."""
        self._left -= amount


@dataclass(slots=True)
class Pace:
    """The pace of one account: a model behind one API key. Times are of `clock`."""

    most: int  # requests in flight
    rpm: int | None = None
    tpm: int | None = None
    clock: Callable[[], float] = time.monotonic
    in_flight: int = 0
    limit: float = field(init=False)
    paused_until: float = 0.0
    closed: str = ""  # why nothing more is sent by this account
    n_throttled: int = 0
    troubles: int = 0  # requests in a row that were not answered
    given_up: int = 0  # the same of those given up
    refused: int = 0  # the same of those refused access
    proven: bool = False  # it has answered once: its key, its model and its address are right
    odd: int = 0  # times in a row that it then said otherwise
    silent_since: float | None = None  # when the first request failed of those since the last answer
    _steady: float = math.inf  # from here on growth is slow
    _number: int = 0
    _busy: int = 0  # the last request that was sent while half of the window was in use
    _episode: int = 0
    _frozen_until: float = 0.0
    _spent: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _allowances: tuple[Allowance, Allowance] = field(default_factory=lambda: (Allowance(), Allowance()))
    _buckets: list[Bucket | None] = field(default_factory=list)
    _mean_tokens: float | None = None

    def __post_init__(self) -> None:
        self.limit = float(min(START, self.most))
        now = self.clock()
        self._buckets = [Bucket(n, now) if n is not None else None for n in (self.rpm, self.tpm)]

    def delay(self, chars: int, now: float) -> float:
        """Return the seconds until a request may be sent; infinite where another must come back first."""
        if self.in_flight >= int(self.limit):
            return math.inf
        found = self.paused_until - now
        for amount, bucket, allowance, spent in zip(
            (1.0, self._tokens(chars)), self._buckets, self._allowances, self._spent, strict=True
        ):
            if bucket is not None:
                found = max(found, bucket.delay(amount, now))
            told = allowance.delay(amount, spent, now)
            found = max(found, told if told <= LONGEST_TOLD_S else 0.0)  # for longer the server must refuse first
        return max(found, 0.0)

    def send(self, chars: int) -> Ticket:
        """Count a request that is sent."""
        tokens = self._tokens(chars)
        self.in_flight += 1
        self._number += 1
        if self.in_flight * 2 >= self.limit:
            self._busy = self._number
        for i, amount in enumerate((1.0, tokens)):
            self._spent[i] += amount
            bucket = self._buckets[i]
            if bucket is not None:
                bucket.spend(amount)
        return Ticket(self._number, tokens)

    def answered(self, tokens: int | None) -> None:
        """Take in an answer, of so many tokens in and out where that is known: there may be room for more."""
        self.in_flight -= 1
        self.troubles = self.given_up = self.refused = self.odd = 0
        self.proven, self.silent_since = True, None
        if tokens is not None:
            mean = self._mean_tokens
            self._mean_tokens = float(tokens) if mean is None else mean + (tokens - mean) / MEAN_OF
        if self._number - self._busy <= self.limit and self.clock() >= self._frozen_until:
            grown = self.limit + (1.0 if self.limit < self._steady else 1.0 / self.limit)
            self.limit = min(grown, float(self.most))

    def throttled(self, ticket: Ticket, wait_s: float, *, pause: bool = False) -> None:
        """Take in a "slow down": all that was under way then is one episode; `pause` keeps to short waits too."""
        self.in_flight -= 1
        self.troubles += 1
        self.n_throttled += 1
        for allowance in self._allowances:
            allowance.refused(wait_s)
        if wait_s >= PAUSE_S or (pause and wait_s > 0):
            self.paused_until = max(self.paused_until, self.clock() + wait_s)
        if ticket.number > self._episode:
            self._episode = self._number
            self.limit = self._steady = max(1.0, self.limit * FALL)

    def failed(self, *, server: bool) -> None:
        """Take in a request that was not answered; where the server is at fault, growth pauses."""
        self.in_flight -= 1
        self.troubles += 1
        if server and self.silent_since is None:
            self.silent_since = self.clock()
        if server:
            self._frozen_until = self.clock() + FROZEN_S

    def doubted(self, ticket: Ticket) -> bool:
        """Take in a refusal of all requests by an account that has answered before; whether it is to be believed.

        One odd reply of a gateway ends no run: a pause, then one request at a time, and the third in a row counts. All
        that was under way is one.
        """
        if not self.proven:
            return True
        if ticket.number > self._episode:
            self._episode = self._number
            self.odd += 1
            self.limit = 1.0
            self.paused_until = max(self.paused_until, self.clock() + ODD_PAUSE_S * self.odd)
        return self.odd >= MAX_ODD

    def slept(self, seconds: float) -> None:
        """Leave out a time in which this process was suspended: nobody waited in it."""
        if self.silent_since is not None:
            self.silent_since += seconds

    def told(self, ticket: Ticket, limits: Limits) -> None:
        """Take in what a reply says of the server's limits."""
        now = self.clock()
        under_way = max(self.in_flight - 1, 0)
        counted = (self._spent[0] - under_way, self._spent[1] - under_way * self._tokens(0))
        for allowance, limit, done in zip(self._allowances, (limits.requests, limits.tokens), counted, strict=True):
            if limit is not None:
                allowance.told(limit, ticket.number, done, now)

    def _tokens(self, chars: int) -> float:
        return self._mean_tokens if self._mean_tokens is not None else chars / 4 + 1
