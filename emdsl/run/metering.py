"""The requests of a run by step and model: how many are done, and how long one takes.

An executor counts with a few additions for each attempt. Whatever takes longer is computed when somebody looks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.query import Model, Query

PRIOR_N = 20  # requests that a guess counts for, beside those that were seen
PRIOR_SPREAD = 0.5  # of the times of answers: the square of their standard deviation by their mean


@dataclass(slots=True, eq=False)
class StepProgress:
    """One step of a run under way; all in distinct requests but `retried`, its attempts after the first."""

    name: str = ""  # behind that of its experiment, if the run has several
    total: int = 0  # at most
    answered: int = 0
    failed: int = 0
    retried: int = 0
    open_ended: bool = False  # conditions, which are not decided yet, may leave some out
    needs: tuple[int, ...] = ()  # positions of the steps that its requests follow
    share: float = 1.0  # of the requests that wait for other answers, how many the plan expects
    kinds: list[Kind] = field(default_factory=list)  # its requests by model

    @property
    def left(self) -> int:
        """Requests that are neither answered nor failed, at most."""
        return max(self.total - self.answered - self.failed, 0)


@dataclass(slots=True, eq=False)
class Kind:
    """The requests of one step to one model."""

    step: StepProgress = field(default_factory=StepProgress)
    lane: Any = None  # the identity of the model's queue
    use: str = ""
    parallel: int | None = None  # of the model
    planned: float = 0.0  # requests whose prompts the plan knows
    to_follow: float = 0.0  # requests that wait for answers of other steps, at most
    tokens: float = 0.0  # expected output tokens of an answer; 0 if they are unknown
    by_batch: bool = False
    made: int = 0
    followed: int = 0  # of those made, the requests that an answer made ready
    finished: int = 0  # answered, failed, given up, or answered elsewhere
    in_flight: int = 0
    starts_s: float = 0.0  # sum of the times at which the requests in flight were sent
    n_timed: float = 0.0  # answers in `busy_s`
    ended_s: float = 0.0  # seconds in flight of all attempts that have ended
    busy_s: float = 0.0  # of these, where older ones count less
    squares: float = 0.0  # of these

    def begin(self, now: float, *, again: bool) -> None:
        """Count an attempt that is sent now."""
        self.in_flight += 1
        self.starts_s += now
        if again:
            self.step.retried += 1

    def end(self, started: float, now: float) -> None:
        """Count an attempt that has ended."""
        self.in_flight -= 1
        self.starts_s -= started
        took_s = now - started
        self.ended_s += took_s
        self.busy_s += took_s
        self.squares += took_s * took_s

    def answer(self) -> None:
        """Count an answer."""
        self.finished += 1
        self.n_timed += 1.0
        self.step.answered += 1

    def fail(self) -> None:
        """Count a failed request."""
        self.finished += 1
        self.step.failed += 1

    def find(self) -> None:
        """Count a request whose answer another process has stored: it is no request of this run any more."""
        self.finished += 1
        self.step.total -= 1

    def leave(self) -> None:
        """Leave a request to another process of this run, which has answered it."""
        self.made -= 1

    def seconds(self, now: float) -> float | None:
        """Return how long a request is in flight, with its repetitions; None without an answer.

        Early answers are the short ones, so the ages of the requests in flight count too. After a time t, each of the n
        in flight has seen t / mean + (cv^2 - 1) / 2 others end before it, by renewal theory: cv is the standard
        deviation of the times by their mean.
        """
        n = self.n_timed
        if not n:
            return None
        return (self.busy_s + self.ages_s(now)) / (n + self.in_flight * (1 - self.spread()) / 2)

    def spread(self) -> float:
        """Return the square of cv, at most 1; with few answers, about that of other models."""
        n = self.n_timed
        spread = max(self.squares * n / self.busy_s**2 - 1, 0.0) if self.busy_s else 0.0
        return min((spread * n + PRIOR_SPREAD * PRIOR_N) / (n + PRIOR_N), 1.0)

    def ages_s(self, now: float) -> float:
        """Return the sum of the seconds that the requests in flight have taken so far."""
        return max(self.in_flight * now - self.starts_s, 0.0)

    def flown_s(self, now: float) -> float:
        """Return the seconds that all attempts so far were in flight."""
        return self.ended_s + self.ages_s(now)

    def forget(self, share: float) -> None:
        """Let older answers count less."""
        self.n_timed *= share
        self.busy_s *= share
        self.squares *= share

    def ready(self) -> float:
        """Return the number of unfinished requests that nothing has to come before."""
        unmade = max(self.planned - (self.made - self.followed), 0.0)
        return max(self.made + unmade - self.finished, 0.0)


class Meter:
    """The steps of a run. Steps and kinds that no plan has named are added as they come."""

    def __init__(self) -> None:
        self.steps: list[StepProgress] = []
        self.causes: Counter[str] = Counter()  # of failed requests
        self._by_name: dict[tuple[str, str], int] = {}
        self._kinds: dict[tuple[int, Any], Kind] = {}
        self._of_head: dict[tuple[int, int], tuple[Any, Kind]] = {}  # by step and settings, kept with these
        self._planned: list[tuple[int, set[Digest]]] = []  # requests that a plan knows, by step
        self._batched: dict[Digest, int] = {}  # the steps of other requests, by batches
        self._owners: dict[Digest, int] = {}  # the first step of requests that several share

    def kind(self, experiment: str, step: Step, query: Query) -> Kind:
        """Return the kind of a request."""
        known = self._by_name.get((experiment, step.name))
        i = known if known is not None else self.add(experiment, step, step.name)
        if self._owners:
            i = self._owners.get(query.key, i)
        settings = query.settings
        entry = self._of_head.get((i, id(settings)))
        if entry is None or entry[0] is not settings:
            entry = self._of_head[i, id(settings)] = settings, self.kind_of(i, settings.model)
        return entry[1]

    def note(self, query: Query, experiment: str, step: Step) -> None:
        """Keep the step of a request that goes by a batch, unless the plan knows it."""
        i = self._by_name.get((experiment, step.name))
        if i is not None and self._step_of(query.key) is None:
            self._batched[query.key] = i

    def answer(self, key: Digest) -> None:
        """Count the answer to a request by a batch."""
        if (i := self._step_of(key)) is not None:
            self.steps[i].answered += 1

    def fail(self, key: Digest, error: str) -> None:
        """Count the failure of a request by a batch."""
        self.causes[error] += 1
        if (i := self._step_of(key)) is not None:
            self.steps[i].failed += 1

    def _step_of(self, key: Digest) -> int | None:
        known = next((i for i, keys in self._planned if key in keys), None)
        return known if known is not None else self._batched.get(key)

    @property
    def kinds(self) -> list[Kind]:
        """All kinds."""
        return list(self._kinds.values())

    def failures(self, limit: int) -> list[tuple[str, int]]:
        """Return why requests failed, and how many each, most first."""
        return Counter(dict(self.causes)).most_common(limit)

    def add(self, experiment: str, step: Step, name: str) -> int:
        """Add a step under the name that people see; return its position."""
        needs = dict.fromkeys((*step.needs, *step.condition_needs))
        known = [self._by_name[experiment, n] for n in needs if (experiment, n) in self._by_name]
        self._by_name[experiment, step.name] = len(self.steps)
        self.steps.append(StepProgress(name, needs=tuple(known)))
        return len(self.steps) - 1

    def share(self, i: int, shared: set[Digest], own: float) -> None:
        """Leave requests that a step shares with steps before it to these; `own` is the share of the others."""
        for kind in self.steps[i].kinds:
            kind.planned *= own
        for key in shared:
            owner = self._step_of(key)
            assert owner is not None  # a step before it has planned it
            self._owners[key] = owner

    def plan(self, i: int, keys: set[Digest]) -> None:
        """Keep the requests that a plan knows of a step."""
        self._planned.append((i, keys))

    def step_of(self, experiment: str, step: Step) -> int:
        """Return the position of a step."""
        known = self._by_name.get((experiment, step.name))
        return known if known is not None else self.add(experiment, step, step.name)

    def kind_named(self, i: int, lane: str, use: str, parallel: int | None) -> Kind:
        """Return the requests of a step to a model, by the text of its lane, as another process reports it."""
        for kind in self.steps[i].kinds:
            if lane in (kind.lane, repr(kind.lane)):
                return kind
        kind = self._kinds[i, lane] = Kind(self.steps[i], lane, use, parallel)
        self.steps[i].kinds.append(kind)
        return kind

    def named_steps(self) -> list[tuple[str, str, StepProgress]]:
        """Return all steps, each with the names of its experiment and its own."""
        return [(*name, self.steps[i]) for name, i in self._by_name.items()]

    def kind_of(self, i: int, model: Model) -> Kind:
        """Return the requests of a step to a model."""
        kind = self._kinds.get((i, model.lane))
        if kind is None:
            kind = self._kinds[i, model.lane] = Kind(self.steps[i], model.lane, model.use, model.parallel)
            self.steps[i].kinds.append(kind)
        return kind
