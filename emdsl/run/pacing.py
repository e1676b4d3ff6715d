"""How fast requests are sent by one account: concurrency, rate limits, and pauses.

The number of requests in flight grows until the server throttles, as in TCP: quickly at first, by one a round trip
later; it falls once for all requests that were in flight then. The limits that a server announces, and those that the
program sets (`rpm`, `tpm`), hold ahead of that.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.providers.limits import Limit, Limits

START = 16  # requests in flight at first
FALL = 0.7  # to this share of them when the server throttles
PAUSE_S = 1.0  # waits from which all requests of an account wait, not one request alone
FROZEN_S = 1.0  # without growth after a server failed
MINUTE_S = 60.0
MAX_LIMIT_WAIT_S = 120.0  # for an announced limit, before the server has throttled: a limit by day is no rate
MAX_DOUBTS = 3  # refusals in a row that close an account which has answered before
DOUBT_PAUSE_S = 1.0  # after the first of them; after the second twice that
MEAN_OF = 32  # requests over which the mean of tokens runs


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request in flight: its number, and the tokens that it is expected to take."""

    number: int
    tokens: float


class ServerLimit:
    """The rest of one rate limit of a server: as it was last announced, and refilled since.

    Some servers refill steadily, some all at once at the end of a window, and none says which. Steadily is assumed,
    until a server throttles that should have had something left.
    """

    def __init__(self) -> None:
        self._announced: Limit | None = None
        self._at = 0.0
        self._counted = 0.0  # of all that was sent, the part that the announcement accounts for
        self._number = -1
        self.windowed = False

    def update(self, limit: Limit, number: int, counted: float, now: float) -> None:
        """Use the limit that a reply announces, unless a reply to a later request has announced it.

        `counted` is all that was sent, less the requests in flight: they may reach the server after this reply was
        written, whenever they were sent.
        """
        if number < self._number:
            return
        self._announced, self._at, self._number, self._counted = limit, now, number, counted

    def refused(self, wait_s: float) -> None:
        """Use a throttled reply: if it asks to wait for the end of a window, the limit has windows."""
        if (
            self._announced is not None
            and self._announced.remaining < 1
            and wait_s >= 0.5 * self._announced.reset_s > 0
        ):
            self.windowed = True

    def delay(self, amount: float, spent: float, now: float) -> float:
        """Return the seconds until so much may be sent."""
        announced = self._announced
        if announced is None:
            return 0.0
        amount = min(amount, announced.limit)
        since = now - self._at
        used = spent - self._counted
        if since >= announced.reset_s:  # as at the beginning; the next reply tells more
            return 0.0 if announced.limit - used >= amount else max(MINUTE_S - since, 0.0)
        if self.windowed:
            return 0.0 if announced.remaining - used >= amount else announced.reset_s - since
        rate = max(announced.limit - announced.remaining, 1.0) / announced.reset_s
        left = min(announced.limit, announced.remaining + rate * since) - used
        return 0.0 if left >= amount else (amount - left) / rate


class TokenBucket:
    """A rate limit of the program: so much a minute, spread evenly."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / MINUTE_S
        self._most = max(1.0, self._rate)
        self._left = self._most
        self._at = now

    def delay(self, amount: float, now: float) -> float:
        """Return the seconds until so much may be sent; more than the share of a second is sent as one."""
        self._left = min(self._most, self._left + self._rate * (now - self._at))
        self._at = now
        return max(0.0, (min(amount, self._most) - self._left) / self._rate)

    def spend(self, amount: float) -> None:
        """Take so much; the rest may become negative."""
        self._left -= amount


@dataclass(slots=True)
class RateController:
    """The rate of one account: a model behind one API key. Times are of `clock`."""

    most: int  # requests in flight
    rpm: int | None = None
    tpm: int | None = None
    clock: Callable[[], float] = time.monotonic
    in_flight: int = 0
    limit: float = field(init=False)
    paused_until: float = 0.0
    closed: str = ""  # why the account is not used any more
    n_throttled: int = 0
    unsent: int = 0  # requests whose share of the rate is spent, and that other processes have not sent yet
    troubles: int = 0  # requests in a row without an answer
    given_up: int = 0  # the same of those given up
    denied: int = 0  # the same of those refused access
    proven: bool = False  # it has answered once: its key, its model and its address are right
    doubts: int = 0  # refusals in a row of an account that is proven
    silent_since: float | None = None  # when the first request failed of those since the last answer
    _steady: float = math.inf  # from here on growth is slow
    _number: int = 0
    _busy: int = 0  # the last request that was sent while half of the window was in use
    _episode: int = 0
    _frozen_until: float = 0.0
    _spent: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _server_limits: tuple[ServerLimit, ServerLimit] = field(default_factory=lambda: (ServerLimit(), ServerLimit()))
    _buckets: list[TokenBucket | None] = field(default_factory=list)
    _mean_tokens: float | None = None
    _limited: bool = False  # by the program, or by an announcement of the server

    def __post_init__(self) -> None:
        self.limit = float(min(START, self.most))
        now = self.clock()
        self._buckets = [TokenBucket(n, now) if n is not None else None for n in (self.rpm, self.tpm)]
        self._limited = any(b is not None for b in self._buckets)

    def delay(self, chars: int, now: float) -> float:
        """Return the seconds until a request may be sent; infinite where another must come back first."""
        return math.inf if self.in_flight >= int(self.limit) else self.rate_delay(chars, now)

    @property
    def rated(self) -> bool:
        """Whether the program, or an announcement of the server, limits its rate."""
        return self._limited

    def rate_delay(self, chars: int, now: float) -> float:
        """Return the seconds until the rate allows a request, however many are in flight."""
        delay = self.paused_until - now
        if not self._limited:
            return max(delay, 0.0)
        for amount, bucket, server_limit, spent in zip(
            (1.0, self._tokens(chars)), self._buckets, self._server_limits, self._spent, strict=True
        ):
            if bucket is not None:
                delay = max(delay, bucket.delay(amount, now))
            wait_s = server_limit.delay(amount, spent, now)
            delay = max(delay, wait_s if wait_s <= MAX_LIMIT_WAIT_S else 0.0)
        return max(delay, 0.0)

    def send(self, chars: int) -> Ticket:
        """Count a request that is sent now."""
        tokens = self.spend(chars)
        return Ticket(self.begin(), tokens)

    def spend(self, chars: int, n: int = 1) -> float:
        """Take the share of so many requests from the rate, and return the tokens of one; a negative `n` returns it."""
        tokens = self._tokens(chars)
        for i, amount in enumerate((1.0, tokens)):
            self._spent[i] += n * amount
            bucket = self._buckets[i]
            if bucket is not None:
                bucket.spend(n * amount)
        return tokens

    def begin(self) -> int:
        """Count a request in flight, whose share of the rate is spent; return its number."""
        self.in_flight += 1
        self._number += 1
        if self.in_flight * 2 >= self.limit:
            self._busy = self._number
        return self._number

    @property
    def newest(self) -> Ticket:
        """The ticket of the last request that was sent."""
        return Ticket(self._number, 0.0)

    def answered(self, tokens: int | None) -> None:
        """Count an answer, of so many tokens if that is known; the limit may grow."""
        self.in_flight -= 1
        self.troubles = self.given_up = self.denied = self.doubts = 0
        self.proven, self.silent_since = True, None
        if tokens is not None:
            mean = self._mean_tokens
            self._mean_tokens = float(tokens) if mean is None else mean + (tokens - mean) / MEAN_OF
        if self._number - self._busy <= self.limit and self.clock() >= self._frozen_until:
            grown = self.limit + (1.0 if self.limit < self._steady else 1.0 / self.limit)
            self.limit = min(grown, float(self.most))

    def throttled(self, ticket: Ticket, wait_s: float, *, pause: bool = False) -> None:
        """Count a throttled request: all requests in flight are one episode; `pause` pauses for short waits too."""
        self.in_flight -= 1
        self.troubles += 1
        self.n_throttled += 1
        for server_limit in self._server_limits:
            server_limit.refused(wait_s)
        if wait_s >= PAUSE_S or (pause and wait_s > 0):
            self.paused_until = max(self.paused_until, self.clock() + wait_s)
        if ticket.number > self._episode:
            self._episode = self._number
            self.limit = self._steady = max(1.0, self.limit * FALL)

    def failed(self, *, server: bool) -> None:
        """Count a request without an answer; after a fault of the server, growth pauses."""
        self.in_flight -= 1
        self.troubles += 1
        if server and self.silent_since is None:
            self.silent_since = self.clock()
        if server:
            self._frozen_until = self.clock() + FROZEN_S

    def lost(self) -> None:
        """Count a request whose server has died: it says nothing about the next server."""
        self.in_flight -= 1

    def believes_refusal(self, ticket: Ticket) -> bool:
        """Count a refusal of all requests; whether the account is really closed.

        One odd reply of a gateway ends no run: for an account that has answered before, it means a pause, then one
        request at a time, and the third refusal in a row counts. All requests in flight are one refusal.
        """
        if not self.proven:
            return True
        if ticket.number > self._episode:
            self._episode = self._number
            self.doubts += 1
            self.limit = 1.0
            self.paused_until = max(self.paused_until, self.clock() + DOUBT_PAUSE_S * self.doubts)
        return self.doubts >= MAX_DOUBTS

    def close(self, why: str) -> None:
        """Send nothing more by this account."""
        self.closed = self.closed or why

    def suspect(self, now: float) -> bool:
        """Return whether its server has failed and not answered since: it gets one request a second as a trial."""
        return self.troubles > 0 and (self.in_flight > 0 or now < self._frozen_until)

    def restart(self) -> None:
        """Start as at the beginning: its server has been started again."""
        self.troubles = self.given_up = self.denied = self.doubts = 0
        self.silent_since, self.paused_until, self._frozen_until = None, 0.0, 0.0
        self.limit, self._steady = float(min(START, self.most)), math.inf

    def resize(self, most: int) -> None:
        """Change the maximum of requests in flight; an account that was never throttled starts as at the beginning."""
        self.most = most
        if self._steady == math.inf and not self.doubts:
            self.limit = max(self.limit, START)
        self.limit = min(self.limit, float(most))

    def skip(self, seconds: float) -> None:
        """Leave out a time in which this process was suspended."""
        if self.silent_since is not None:
            self.silent_since += seconds

    def update(self, ticket: Ticket, limits: Limits) -> None:
        """Use the limits that a reply announces."""
        now = self.clock()
        others = max(self.in_flight - 1, 0) + self.unsent
        counted = (self._spent[0] - others, self._spent[1] - others * self._tokens(0))
        for server_limit, limit, done in zip(
            self._server_limits, (limits.requests, limits.tokens), counted, strict=True
        ):
            if limit is not None:
                self._limited = True
                server_limit.update(limit, ticket.number, done, now)

    def _tokens(self, chars: int) -> float:
        return self._mean_tokens if self._mean_tokens is not None else chars / 4 + 1
