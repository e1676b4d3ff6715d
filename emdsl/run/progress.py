"""Progress of a run, and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emdsl.run.metering import Meter

if TYPE_CHECKING:
    from decimal import Decimal

    from emdsl.digest import Digest
    from emdsl.run.budget import Budgets
    from emdsl.store.journal import BatchRecord


INTERRUPT = "interrupt"  # the cause of a stop: Ctrl-C, or a notebook's button


@dataclass(slots=True)
class Progress:
    """Counts of a run under way; all in distinct requests but `sent`, `retried` and `waiting`."""

    answered: int = 0
    failed: int = 0
    sent: int = 0  # attempts
    retried: int = 0  # attempts after the first one of a request
    found: int = 0  # requests that a plan counted, whose answers other processes have stored since
    in_flight: int = 0
    again: int = 0  # requests that no plan counts: each follows a reply that could not be read
    waiting: int = 0  # requests that wait for their next attempt
    paused_s: float = 0.0  # until the first throttled model may be used again
    elsewhere: int = 0  # in flight in another process
    stopping: str = ""  # why nothing more is sent: INTERRUPT, another signal, an error; empty while the run goes on
    last_error: str = ""
    batches: str = ""  # how far the open batches are
    meter: Meter = field(default_factory=Meter)  # by step and model
    connections: int = 0  # maximum requests in flight
    budgets: Budgets | None = None

    @property
    def draining(self) -> bool:
        """Whether nothing more is sent."""
        return bool(self.stopping)

    def stop(self, cause: str) -> None:
        """Note that nothing more is sent, and why; the first cause counts."""
        self.stopping = self.stopping or cause


@dataclass(slots=True)
class Report:
    """The result of a run: failed requests with their error, by experiment and step too, and how many were sent."""

    failures: dict[Digest, str] = field(default_factory=dict)
    failed: dict[tuple[str, str], set[Digest]] = field(default_factory=dict)
    sent: int = 0
    interrupted: bool = False
    over_budget: set[str] = field(default_factory=set)  # experiments whose budget was not enough; "": the run's
    budget: Decimal | None = None  # of the whole run in the end, in US dollars
    throttled: int = 0  # attempts that the server throttled
    closed: list[str] = field(default_factory=list)  # API keys that were given up while others went on
    batches: list[BatchRecord] = field(default_factory=list)  # still open, with requests that this run waits for
    n_in_batches: int = 0  # of its requests, in these
    n_later: int = 0  # that the budget may cover when some of these have ended

    def add(self, other: Report) -> None:
        """Add the report of a later part of the same run."""
        self.failures |= other.failures
        for step, keys in other.failed.items():
            self.failed.setdefault(step, set()).update(keys)
        self.sent = max(self.sent, other.sent)  # a count that goes on
        self.interrupted = self.interrupted or other.interrupted
        self.over_budget = self.over_budget | other.over_budget
        self.budget = other.budget
        self.throttled += other.throttled
        self.closed += [c for c in other.closed if c not in self.closed]
