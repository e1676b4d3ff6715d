"""One pace for each account that several processes use: its real controller, of which each process has a lease.

Slots are divided by need, max-min fair, and no process gets one before another has given it up: the requests in flight
of all never exceed the limit of the account, nor the connections of the run. Permits of a limited rate go to those
that have requests to send, one after the other. A process that is throttled slows the account down for all.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.providers.limits import Limit, Limits
from emdsl.run.pacing import RateController, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

OLD = Ticket(-1, 0.0)  # of a request that was sent before its account slowed down


@dataclass(slots=True)
class _Share:
    """The part of one process: its leases, and the state of its last report."""

    given: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])  # leases it may use: number and slots
    in_flight: int = 0
    ready: int = 0
    chars: int = 0  # of the request that it sends next
    permits: int = 0  # that it has, or that are on the way to it
    granted: int = 0  # permits since its last lease
    leased: tuple[Any, ...] = ()  # the terms of its last lease

    @property
    def slots(self) -> int:
        """Slots of its last lease."""
        return self.given[-1][1]

    @property
    def wanted(self) -> int:
        """Slots that it could use now."""
        return self.in_flight + self.ready

    @property
    def held(self) -> int:
        """Slots that it may be using: a lease counts until the process has reported that it has a later one."""
        return max(self.in_flight, *[slots for _, slots in self.given])

    def change(self, slots: int) -> None:
        """Lease so many slots from now on."""
        self.given.append((self.given[-1][0] + 1, slots))

    def hear(self, report: Mapping[str, Any]) -> None:
        """Take the state of a report."""
        self.given = [lease for lease in self.given if lease[0] >= report["lease"]] or self.given[-1:]
        self.in_flight, self.ready = report["in_flight"], report["ready"]


def fair(wanted: list[int], total: int) -> list[int]:
    """Divide a total max-min fair: nobody gets more than wanted while another lacks; the rest goes to all alike."""
    parts, left = [0] * len(wanted), max(total, 0)
    lacking = [i for i, n in enumerate(wanted) if n > 0]
    while left and lacking:
        each = min(left // len(lacking), *[wanted[i] - parts[i] for i in lacking])
        if not each:  # fewer than those who lack: the first of them, so that a process with one slot has all it needs
            lacking = lacking[:left]
            each = 1
        for i in lacking:
            parts[i] += each
        left -= each * len(lacking)
        lacking = [i for i in lacking if parts[i] < wanted[i]]
    for i in range(len(wanted)):
        parts[i] += left // len(wanted) + (i < left % len(wanted))
    return parts


def divide(shares: Iterable[_Share], limit: int) -> None:
    """Divide slots by need. A process loses slots only where another one cannot send for want of them."""
    shares = list(shares)
    goals = fair([s.wanted for s in shares], limit)
    room = limit - sum([s.held for s in shares])
    for share, goal in zip(shares, goals, strict=True):
        held = share.held
        slots = min(goal, held + max(room, 0))
        if slots > share.slots:
            room -= max(slots - held, 0)
            share.change(slots)
    if room < 0 or any(s.slots < min(g, s.wanted) for s, g in zip(shares, goals, strict=True)):
        for share, goal in zip(shares, goals, strict=True):
            if goal < share.slots:
                share.change(goal)


class _Account:
    """One account with its controller, and the shares of all processes."""

    def __init__(self, controller: RateController, parallel: int | None) -> None:
        self.controller, self.parallel = controller, parallel
        self.shares: dict[int, _Share] = {}
        self._epoch = 0  # how often it has slowed down
        self._last = -1  # the process that got the last permit

    def hear(self, worker: int, report: Mapping[str, Any]) -> None:
        """Count the report of one process: first its requests, then their outcomes."""
        controller, share = self.controller, self.shares.setdefault(worker, _Share())
        share.hear(report)
        share.chars = report["chars"]
        spent = report["permitted"] + report["returned"]
        share.permits, controller.unsent = share.permits - spent, controller.unsent - spent
        if report["returned"]:
            controller.spend(share.chars, -report["returned"])
        if unpermitted := report["sent"] - report["permitted"]:  # before its rate was known to be limited
            controller.spend(share.chars, unpermitted)
        for _ in range(report["sent"]):
            controller.begin()
        for _ in range(report["answered"]):
            controller.answered(report["tokens"] // report["answered"] or None)
        for server, n in zip((True, False), report["failed"], strict=True):
            for _ in range(n):
                controller.failed(server=server)
        for new, wait_s, pause in report["throttled"]:
            self._slow_down(wait_s, pause=pause, new=new and report["epoch"] == self._epoch)
        if report["limits"] is not None:
            requests, tokens = (Limit(*limit) if limit is not None else None for limit in report["limits"])
            controller.update(controller.newest, Limits(requests=requests, tokens=tokens))
        if report["closed"]:
            controller.close(report["closed"])

    def _slow_down(self, wait_s: float, *, pause: bool, new: bool) -> None:
        """Count a throttled request; `new` is one that was sent since the account has slowed down."""
        before = self.controller.limit
        self.controller.throttled(self.controller.newest if new else OLD, wait_s, pause=pause)
        self._epoch += self.controller.limit < before

    def leave(self, worker: int) -> None:
        """Take a process out, whose requests in flight get no answer; its permits count as used."""
        share = self.shares.pop(worker, None)
        if share is not None:
            self.controller.unsent -= share.permits
            for _ in range(share.in_flight):
                self.controller.failed(server=False)

    def grant(self, now: float) -> float:
        """Grant the permits that the rate allows, in turn; return the seconds until more are allowed, if wanted."""
        controller = self.controller
        if not controller.rated or controller.closed:
            return math.inf
        while lacking := [i for i, s in self.shares.items() if min(s.ready, s.slots) > s.permits]:
            worker = next((i for i in lacking if i > self._last), lacking[0])
            share = self.shares[worker]
            delay_s = controller.rate_delay(share.chars, now)
            if delay_s > 0:
                return delay_s
            controller.spend(share.chars)
            controller.unsent += 1
            share.permits += 1
            share.granted += 1
            self._last = worker
        return math.inf

    def lease(self, share: _Share, now: float) -> dict[str, Any] | None:
        """Return the lease of a process, None if it is as before."""
        controller = self.controller
        terms = (share.given[-1], controller.rated, self._epoch, controller.proven, controller.closed,
                 controller.paused_until)  # fmt: skip
        if terms == share.leased and not share.granted:
            return None
        share.leased, permits, share.granted = terms, share.granted, 0
        return {
            "lease": share.given[-1][0], "slots": share.slots, "rated": controller.rated, "permits": permits,
            "pause_s": max(controller.paused_until - now, 0.0), "epoch": self._epoch, "proven": controller.proven,
            "closed": controller.closed,
        }  # fmt: skip


class SharedPace:
    """The accounts and the connections of a run in several processes, which are known by their numbers."""

    def __init__(self, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Make it for so many requests in flight at most."""
        self.connections = connections
        self._clock = clock
        self._accounts: dict[tuple[str, int], _Account] = {}
        self._whole: dict[int, _Share] = {}  # of the connections
        self.wake_s = math.inf  # until leases can be more without a report

    def join(self, worker: int) -> None:
        """Let a process take part."""
        self._whole[worker] = _Share()

    def leave(self, worker: int) -> None:
        """Take a process out that has ended; its requests in flight get no answer."""
        self._whole.pop(worker, None)
        for account in self._accounts.values():
            account.leave(worker)

    def resize(self, connections: int) -> None:
        """Change the maximum of requests in flight."""
        self.connections = connections
        for account in self._accounts.values():
            account.controller.resize(self._most(account.parallel))

    def hear(self, worker: int, reports: Iterable[Mapping[str, Any]]) -> None:
        """Take the reports of a process; see `leased_pace`."""
        for report in reports:
            if "lane" not in report:
                self._whole[worker].hear(report)
                continue
            name = report["lane"], report["account"]
            account = self._accounts.get(name)
            if account is None:
                controller = RateController(
                    most=self._most(report["parallel"]), rpm=report["rpm"], tpm=report["tpm"], clock=self._clock
                )
                account = self._accounts[name] = _Account(controller, report["parallel"])
            account.hear(worker, report)

    def leases(self) -> dict[int, list[dict[str, Any]]]:
        """Return the leases that have changed, by process; and see `wake_s`."""
        now, changed = self._clock(), dict[int, list[dict[str, Any]]]()
        self.wake_s = math.inf
        divide(self._whole.values(), self.connections)
        for worker, share in self._whole.items():
            if share.given[-1] != share.leased:
                share.leased = share.given[-1]
                changed.setdefault(worker, []).append({"lease": share.given[-1][0], "slots": share.slots})
        for (lane, i), account in self._accounts.items():
            divide(account.shares.values(), int(account.controller.limit))
            self.wake_s = min(self.wake_s, account.grant(now))
            for worker, share in account.shares.items():
                lease = account.lease(share, now)
                if lease is not None:
                    changed.setdefault(worker, []).append({"lane": lane, "account": i} | lease)
        return changed

    def _most(self, parallel: int | None) -> int:
        return min(self.connections, parallel or self.connections)
