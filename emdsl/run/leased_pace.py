"""The pace of one of several processes that share accounts: it leases slots and permits from `shared_pace`.

A lease of an account has slots, which bound its requests in flight, and, where the rate is limited, permits, of which
each request takes one. A process reports the requests that it sent, and their outcomes, since the last report.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from emdsl.run.pacing import RateController, Ticket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.providers.limits import Limit, Limits
    from emdsl.query import Model
    from emdsl.run.lanes import Lane


class LeasedController(RateController):
    """The part of an account's rate that this process has leased: none before the first lease."""

    __slots__ = (
        "_answered", "_epoch", "_epoch_from", "_failed", "_lease", "_limits", "_limits_of", "_permitted", "_sent",
        "_throttled", "_tokens_of", "permits",
    )  # fmt: skip

    def __init__(self) -> None:
        """Make it without a lease."""
        super().__init__(most=0)
        self._limited = False  # until a lease has a rate
        self.permits = 0  # requests that the rate allows this process
        self._lease = 0  # number of the last lease
        self._epoch = 0  # how often the account has slowed down
        self._epoch_from = 0  # the last request that was sent before
        self._limits: Limits | None = None  # that the newest of the replies announces
        self._limits_of = -1  # the number of its request
        self._clear()

    def _clear(self) -> None:
        self._sent = self._permitted = self._answered = self._tokens_of = 0
        self._failed = [0, 0]  # by a fault of the server, by another one
        self._throttled: list[tuple[bool, float, bool]] = []  # of this epoch, wait in seconds, pause

    def delay(self, chars: int, now: float) -> float:  # noqa: ARG002 - a lease counts requests of average size
        """See RateController; infinite where a lease must come first."""
        if self.in_flight >= int(self.limit) or (self._limited and self.permits < 1):
            return math.inf
        return max(self.paused_until - now, 0.0)

    def send(self, chars: int) -> Ticket:  # noqa: ARG002 - a lease counts requests of average size
        """See RateController."""
        self._sent += 1
        if self._limited:
            self.permits -= 1
            self._permitted += 1
        return Ticket(self.begin(), 0.0)

    def answered(self, tokens: int | None) -> None:
        """See RateController."""
        super().answered(None)
        self._answered += 1
        self._tokens_of += tokens or 0

    def throttled(self, ticket: Ticket, wait_s: float, *, pause: bool = False) -> None:
        """See RateController; this process slows down before the others do."""
        super().throttled(ticket, wait_s, pause=pause)
        self._throttled.append((ticket.number > self._epoch_from, wait_s, pause))

    def failed(self, *, server: bool) -> None:
        """See RateController."""
        super().failed(server=server)
        self._failed[0 if server else 1] += 1

    def update(self, ticket: Ticket, limits: Limits) -> None:
        """See RateController."""
        if ticket.number >= self._limits_of:
            self._limits, self._limits_of = limits, ticket.number

    def resize(self, most: int) -> None:
        """See RateController: the leases follow by themselves."""

    def take(self, lease: dict[str, Any]) -> None:
        """Use a lease."""
        self._lease, self.most = lease["lease"], lease["slots"]
        if not self.doubts:
            self.limit = float(self.most)
        self._limited = lease["rated"]
        self.permits = self.permits + lease["permits"] if self._limited else 0
        self.paused_until = max(self.paused_until, self.clock() + lease["pause_s"])
        self.proven = self.proven or lease["proven"]
        if lease["epoch"] != self._epoch:
            self._epoch, self._epoch_from, self._episode = lease["epoch"], self._number, self._number
        if lease["closed"]:
            self.close(lease["closed"])

    def report(self, ready: int, chars: int) -> dict[str, Any]:
        """Return the events since the last report; permits that no request needs are given back."""
        returned, self.permits = (self.permits, 0) if not ready else (0, self.permits)
        report = {
            "lease": self._lease, "epoch": self._epoch, "in_flight": self.in_flight, "ready": ready, "chars": chars,
            "returned": returned, "sent": self._sent, "permitted": self._permitted,
            "answered": self._answered, "tokens": self._tokens_of, "failed": self._failed,
            "throttled": self._throttled, "closed": self.closed, "proven": self.proven,
            "limits": [_as_json(self._limits.requests), _as_json(self._limits.tokens)] if self._limits else None,
        }  # fmt: skip
        self._limits = None
        self._clear()
        return report


class LeasedPace:
    """The accounts of one process, by lane."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, int], LeasedController] = {}
        self._last: dict[tuple[str, int], dict[str, Any]] = {}
        self._connections = 0  # number of their last lease

    def controllers(self, model: Model, n: int) -> tuple[RateController, ...]:
        """Return the controllers of the accounts of a model."""
        made = tuple(LeasedController() for _ in range(n))
        self._accounts |= {(repr(model.lane), i): controller for i, controller in enumerate(made)}
        return made

    def take(self, leases: Iterable[dict[str, Any]]) -> int | None:
        """Use leases; return the new maximum of all requests in flight, None if that is as before."""
        connections = None
        for lease in leases:
            if "lane" not in lease:
                self._connections, connections = lease["lease"], lease["slots"]
            elif (account := self._accounts.get((lease["lane"], lease["account"]))) is not None:
                account.take(lease)
        return connections

    def report(self, lanes: Iterable[Lane]) -> list[dict[str, Any]]:
        """Return the reports of the accounts that have changed, the one of the connections last."""
        reports: list[dict[str, Any]] = []
        in_flight = can_send = 0
        for lane in lanes:
            name, ready = repr(lane.model.lane), lane.n_waiting
            chars = lane.line[0].chars if lane.line else 0
            model = lane.model
            for i in range(len(lane.controllers)):
                account = self._accounts[name, i]
                report = account.report(ready, chars)
                in_flight += account.in_flight
                can_send += max(min(ready, int(account.limit) - account.in_flight), 0)
                if report != self._last.get((name, i)) or _has_news(report):
                    self._last[name, i] = report
                    reports.append({
                        "lane": name, "account": i, "parallel": model.parallel, "rpm": model.rpm, "tpm": model.tpm,
                    } | report)  # fmt: skip
        whole: dict[str, Any] = {"lease": self._connections, "in_flight": in_flight, "ready": can_send}
        if whole != self._last.get(("", 0)):
            self._last["", 0] = whole
            reports.append(whole)
        return reports


def _has_news(report: dict[str, Any]) -> bool:
    """Whether a report counts events, which are no state."""
    counted = ("sent", "returned", "answered", "throttled", "limits")
    return any(report[c] for c in counted) or any(report["failed"])


def _as_json(limit: Limit | None) -> list[float] | None:
    return [limit.limit, limit.remaining, limit.reset_s] if limit is not None else None
