"""The requests of a plan, counted by step: cached, pending, and those that are known only after an answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.run.estimate import Estimate
from emdsl.run.spending import Money
from emdsl.run.token_stats import TokenStats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.digest import Digest
    from emdsl.experiment import Experiment, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Model, RequestSettings
    from emdsl.run.reasons import Reason

MAX_DIGITS = 12  # of an amount in a message


@dataclass(slots=True)
class StepCount:
    """Distinct requests of one step; how many symbolic requests will be distinct is an upper bound."""

    step: Step
    stored: set[Digest] = field(default_factory=set)
    pending: set[Digest] = field(default_factory=set)
    symbolic: set[int] = field(default_factory=set)  # requests that read answers which are not stored
    undecided: set[int] = field(default_factory=set)  # the same, of those whose condition reads such an answer too
    fresh: set[Digest] = field(default_factory=set)  # of those stored, the requests of this run
    probes: set[Digest] = field(default_factory=set)  # to be sent before its requests are: see run/probes.py
    bad_replies: set[Digest] = field(default_factory=set)  # replies that could not be read, and were requested again
    split: set[Digest] = field(default_factory=set)  # without a score: the judge writes numbers digit by digit
    splitters: set[str] = field(default_factory=set)  # these judges
    cut: int = 0  # stored answers that reached `max_tokens`
    empty: int = 0  # stored answers without a text, that are not blocked
    blocked: int = 0
    n_rows: int = 0  # with a request of this step: more than there are requests where rows share one
    n_decided: int = 0
    n_held: int = 0
    invalid: Counter[str] = field(default_factory=Counter)  # errors of prompts, by message
    unknown: int = 0  # rows whose request depends on a dataset that is not here
    estimate: Estimate = field(default_factory=Estimate)  # of the pending requests
    money: Money = field(default_factory=Money)  # of the stored answers

    @property
    def cached(self) -> int:
        """Stored answers."""
        return len(self.stored)

    @property
    def n_pending(self) -> int:
        """Requests to send, without those whose condition is undecided."""
        return len(self.pending) + len(self.symbolic)

    @property
    def at_most(self) -> int:
        """Requests to send if every undecided condition holds."""
        return self.n_pending + len(self.undecided)

    @property
    def expected(self) -> int | None:
        """Requests to send if the condition holds as often as so far; None if it was never decided."""
        if not self.undecided:
            return self.n_pending
        if not self.n_decided:
            return None
        return self.n_pending + round(len(self.undecided) * self.n_held / self.n_decided)

    @property
    def needed(self) -> int:
        """All requests, at most."""
        return self.cached + self.at_most

    def as_json(self) -> dict[str, Any]:
        """Return the counts under the names of the CLI contract."""
        pending: Any = {"expected": self.expected, "at_most": self.at_most} if self.undecided else self.n_pending
        return (
            {
                "name": self.step.name,
                "kind": self.step.kind,
                "needed": self.needed,
                "cached": self.cached,
                "pending": pending,
            }
            | self.estimate.as_json()
            | ({"unknown": self.unknown} if self.unknown else {})
            | ({"probes": len(self.probes)} if self.probes else {})
            | ({"requested_again": len(self.bad_replies)} if self.bad_replies else {})
            | ({"split_number": len(self.split)} if self.split else {})
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way of one model's pending requests, with the likely cost of both; None for an unknown price."""

    model: Model
    by_batch: bool
    online_usd: Decimal | None
    batch_usd: Decimal | None
    why: str = ""  # of `auto`
    hit_rate: float | None = None  # of the provider's prefix cache, measured: `online_usd` is less by that


@dataclass(slots=True)
class ExperimentCount:
    """Counts of one experiment; cells and samples as selected."""

    experiment: Experiment
    cells: int
    samples: int  # of each cell, or the largest number if they differ
    steps: list[StepCount]
    only: Mapping[int, frozenset[int]] = field(default_factory=dict)  # selected levels, by axis
    by: tuple[int, ...] = ()  # axes by which requests are counted too
    pilot: int = 0  # rows, if only a pilot is selected
    rows: int = 0
    compared: bool = False  # with the program that ran last: there are `reasons`
    models: dict[tuple[Any, ...], Model] = field(default_factory=dict)  # of the requests to send
    heads: dict[int, tuple[RequestSettings, Step]] = field(default_factory=dict)  # of the requests to send
    ways: tuple[Way, ...] = ()  # of the models with a batch API
    least: dict[Any, Decimal] = field(default_factory=dict)  # the least cost of the pending requests, by Model.way
    reasons: Counter[Reason] = field(default_factory=Counter)  # of the pending requests
    runs: Counter[str] = field(default_factory=Counter)  # that paid for the stored answers
    probed: dict[Digest, bool] = field(default_factory=dict)  # probes with an answer: whether this run sent them
    by_levels: dict[tuple[int, ...], list[int]] = field(default_factory=dict)  # stored, and to send at most
    examples: list[tuple[Step, Outcome]] = field(default_factory=list)  # of requests to send
    tokens: TokenStats = field(default_factory=TokenStats)  # of the stored answers of all experiments of the program

    @property
    def least_usd(self) -> Decimal:
        """The least cost of the pending requests: half of that of each that goes by a batch."""
        halved = {way.model.way for way in self.ways if way.by_batch}
        return sum((usd / 2 if way in halved else usd for way, usd in self.least.items()), Decimal(0))

    @property
    def beyond_budget(self) -> str:
        """The error if the budget is less than the least cost; empty if it may be enough."""
        budget = self.experiment.budget
        if budget is None or self.least_usd <= budget:
            return ""
        return beyond(self.least_usd, Decimal(budget))

    @property
    def at_most(self) -> int:
        """Requests to send, at most."""
        return sum(s.at_most for s in self.steps)


def beyond(least: Decimal, budget: Decimal) -> str:
    """Return the error that a budget is too small, with as many digits as tell the amounts apart."""
    digits = next((n for n in range(2, MAX_DIGITS) if round(least, n) > budget), MAX_DIGITS)
    return f"the pending requests cost at least ${least:.{digits}f}, and the budget is ${budget:f}"
