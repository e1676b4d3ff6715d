"""Progress of a run, and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emdsl.digest import Digest


@dataclass(slots=True)
class Progress:
    """Counts of a run under way; all in distinct requests but `sent` and `waiting`."""

    answered: int = 0
    failed: int = 0
    sent: int = 0  # attempts
    in_flight: int = 0
    again: int = 0  # requests that no plan counts: each follows a reply that could not be read
    waiting: int = 0  # requests that wait for their next attempt
    paused_s: float = 0.0  # until the first throttled model may be used again
    elsewhere: int = 0  # in flight in another process
    draining: bool = False
    last_error: str = ""


@dataclass(slots=True)
class Report:
    """The result of a run: failed requests with their error, by experiment and step too, and how many were sent."""

    failures: dict[Digest, str] = field(default_factory=dict)
    failed: dict[tuple[str, str], set[Digest]] = field(default_factory=dict)
    sent: int = 0
    interrupted: bool = False
    over_budget: set[str] = field(default_factory=set)  # experiments whose budget was not enough; "": the run's
    throttled: int = 0  # attempts that the server throttled
    closed: list[str] = field(default_factory=list)  # API keys that were given up while others went on
