"""Retries: whether a failed request is sent again, when, by which API key, and when it is given up."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.errors import Rejected, ServerLost, Throttled, Unavailable
from emdsl.run.lanes import BLAMED
from emdsl.run.pacing import MAX_DOUBTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.errors import ProviderError
    from emdsl.run.control import RunControl
    from emdsl.run.dispatcher import Attempt, Dispatcher
    from emdsl.run.requests import Request

FIRST_WAIT_S, MAX_BACKOFF_S = 0.5, 60.0
MAX_GIVEN_UP = 16  # requests of an account given up in a row, none answered between: the server is not there
MAX_LOST = BLAMED + 1  # servers of the run that died under one request, the last one with nothing else in flight
MAX_BAD_REPLIES = 3  # replies to one request that were no answers: each may have been paid for
NOTICE_AFTER_S = 2.0  # without any answer of an account, until the user is told
OK, NO_ACCESS = 200, (401, 403)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Bounds of retrying: the total of waiting, in seconds, and optionally a number of retries."""

    max_wait_s: float = 600.0
    max_retries: int | None = None

    def wait(self, attempt: int, waited_s: float, least_s: float, rng: random.Random) -> float | None:
        """Return the seconds to wait after failed attempt number `attempt` (from 0), or None to give up.

        The wait is never less than `least_s`, which the server asked for. Otherwise it doubles from 0.5 s to 60 s, with
        jitter, so that clients that failed together do not come back together.
        """
        if self.max_retries is not None and attempt >= self.max_retries:
            return None
        backoff = min(MAX_BACKOFF_S, FIRST_WAIT_S * 2 ** min(attempt, 20)) * rng.uniform(0.5, 1.0)
        wait = least_s + backoff * 0.1 if least_s > 0 else backoff
        return wait if waited_s + wait <= self.max_wait_s else None


class Retries:
    """Sends failed requests again, as long as that can help."""

    def __init__(
        self,
        policy: RetryPolicy,
        dispatcher: Dispatcher,
        control: RunControl,
        *,
        fail: Callable[[Request, str], None],
    ) -> None:
        self._policy = policy
        self._dispatcher = dispatcher
        self._control = control
        self._fail = fail
        self._rng = random.Random()  # noqa: S311 - jitter, not secrets
        self._timers: dict[Request, asyncio.TimerHandle] = {}
        self._noticed: set[int] = set()  # accounts that the user was told of, by identity

    def cancel(self) -> None:
        """Send nothing again."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._control.progress.waiting = 0

    def handle(self, attempt: Attempt, error: ProviderError) -> None:
        """Queue a request whose attempt has failed again, now or after a wait, or let it fail."""
        match error:
            case Throttled():
                self._handle_throttled(attempt, error)
            case ServerLost():
                self._handle_lost(attempt, error)
            case Unavailable():
                attempt.controller.failed(server=True)
                attempt.request.bad_replies += error.status == OK
                attempt.request.maybe_billed += error.status == OK or error.paid
                if error.status == OK or not self._move(attempt, error):
                    self._retry(attempt, error)
            case _:
                self._handle_refused(attempt, error)

    def _handle_throttled(self, attempt: Attempt, error: Throttled) -> None:
        lane, controller = attempt.lane, attempt.controller
        several = len(lane.controllers) > 1
        controller.throttled(attempt.ticket, error.wait_s, pause=several)
        if error.wait_s > self._policy.max_wait_s:
            until = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + error.wait_s))
            controller.close(
                f"{error} (the server asks to wait {error.wait_s:,.0f} s, until {until}: more than --max-wait)"
            )
        if several and error.wait_s > 0 and not lane.closed:  # another API key need not wait
            self._dispatcher.queue(attempt.request)
        else:
            self._retry(attempt, error)

    def _handle_lost(self, attempt: Attempt, error: ServerLost) -> None:
        """Queue a request again whose server has died, unless servers seem to die of it."""
        request = attempt.request
        attempt.controller.lost()
        request.lost += error.paid
        request.maybe_billed += error.paid
        self._control.progress.last_error = f"{attempt.lane.model.use}: {error}"
        if request.lost >= MAX_LOST:
            self._fail(request, f"{error} ({MAX_LOST} servers died under this request)")
        elif not self._control.draining.is_set():
            request.high_priority = True
            self._dispatcher.queue(request)

    def _handle_refused(self, attempt: Attempt, error: ProviderError) -> None:
        """Handle an error that no wait ends; an account that refuses all requests is closed."""
        lane, controller = attempt.lane, attempt.controller
        controller.failed(server=False)
        controller.denied += error.status in NO_ACCESS
        for_all = isinstance(error, Rejected) and error.for_all
        if for_all and not controller.believes_refusal(attempt.ticket):
            self._doubt(attempt, error)
            return
        if for_all or controller.denied >= MAX_GIVEN_UP:
            controller.close(str(error))
            if not lane.closed:  # another API key may work
                self._dispatcher.queue(attempt.request)
                return
        self._fail(attempt.request, str(error))

    def _doubt(self, attempt: Attempt, error: ProviderError) -> None:
        """Send a request again that an account refuses as if it refused all, though it has answered some before."""
        request = attempt.request
        self._control.progress.last_error = f"{attempt.lane.model.use}: {error}"
        request.doubts += 1
        if self._control.draining.is_set():
            return
        if request.doubts >= MAX_DOUBTS:
            self._fail(request, str(error))
        else:
            request.high_priority = False  # behind the others: they show whether it is refused alone
            self._dispatcher.queue(request)

    def _move(self, attempt: Attempt, error: Unavailable) -> bool:
        """Let another replica take a request at once whose replica has failed; False if as many have failed before.

        A request that brings down each server that gets it must not bring them down again and again.
        """
        request, lane = attempt.request, attempt.lane
        if lane.affinity is None or request.moved >= len(lane.controllers) - 1 or lane.closed:
            return False
        self._control.progress.last_error = f"{lane.model.use}: {error}"
        if not self._control.draining.is_set():
            request.moved += 1
            request.high_priority = True
            self._dispatcher.queue(request)
        return True

    def _retry(self, attempt: Attempt, error: Throttled | Unavailable) -> None:
        """Send a request again after a wait, or give it up."""
        request, lane, controller = attempt.request, attempt.lane, attempt.controller
        self._control.progress.last_error = f"{lane.model.use}: {error}"
        self._dispatcher.release_followers(request)  # they need not wait for the retries of the first
        if self._control.draining.is_set():
            return
        if lane.closed:
            self._fail(request, lane.closed)
            return
        now = time.monotonic()
        request.refused_at = now if request.refused_at is None else request.refused_at
        silent_s = now - controller.silent_since if controller.silent_since is not None else 0.0
        self._notice(attempt, error, silent_s)
        wait_s = self._policy.wait(request.attempt, now - request.refused_at, error.wait_s, self._rng)
        if wait_s is None or request.bad_replies >= MAX_BAD_REPLIES:
            self._give_up(attempt, error, silent_s)
        else:
            self._schedule(request, wait_s)

    def _notice(self, attempt: Attempt, error: ProviderError, silent_s: float) -> None:
        """Tell the user once that an account does not answer."""
        controller = attempt.controller
        if silent_s < NOTICE_AFTER_S or controller.proven or id(controller) in self._noticed:
            return
        self._noticed.add(id(controller))
        self._control.notice(
            f"{attempt.lane.model.use}: {error}; retrying for up to {self._policy.max_wait_s:,.0f} s "
            "(--max-wait); Ctrl-C stops"
        )

    def _give_up(self, attempt: Attempt, error: Throttled | Unavailable, silent_s: float) -> None:
        """Let a request fail, or try it with another API key; an account that never answers is closed."""
        request, lane, controller = attempt.request, attempt.lane, attempt.controller
        controller.given_up += isinstance(error, Unavailable) and error.status != OK
        if controller.given_up >= MAX_GIVEN_UP:
            controller.close(f"{error} (as {MAX_GIVEN_UP} requests before)")
        elif silent_s >= max(self._policy.max_wait_s, NOTICE_AFTER_S) and not controller.in_flight:
            # the other requests of this account have waited as long
            controller.close(f"{error} (no answer for {silent_s:,.0f} s)")
        other_works = any(c is not controller and not c.closed and not c.troubles for c in lane.controllers)
        if other_works and not request.switched_key and request.bad_replies < MAX_BAD_REPLIES:
            request.switched_key, request.attempt, request.refused_at = True, 0, None
            self._dispatcher.queue(request)
        else:
            self._fail(request, str(error))

    def _schedule(self, request: Request, wait_s: float) -> None:
        request.attempt += 1
        request.high_priority = True
        self._control.progress.waiting += 1
        loop = asyncio.get_running_loop()
        # A timer may fire early, by its resolution: never before the server's time.
        self._timers[request] = loop.call_at(loop.time() + wait_s + 0.002, self._resend, request)
        self._control.show()

    def _resend(self, request: Request) -> None:
        self._timers.pop(request, None)
        self._control.progress.waiting -= 1
        self._dispatcher.queue(request)
        self._dispatcher.dispatch()
