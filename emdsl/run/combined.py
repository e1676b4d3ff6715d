"""The progress of several processes as one: each sends all its counts now and then, and the differences are added."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from emdsl.experiment import Experiment, Step
    from emdsl.run.metering import Kind
    from emdsl.run.progress import Progress

COUNTS = ("answered", "failed", "sent", "retried", "found", "again")
STATES = ("in_flight", "waiting", "elsewhere")  # a process that ends has none
STEP_COUNTS = ("total", "answered", "failed", "retried")
KIND_COUNTS = ("made", "followed", "finished", "n_timed", "ended_s", "busy_s", "squares")


def snapshot(progress: Progress, now: float) -> dict[str, Any]:
    """Return the counts of a process as JSON; `now` is the time by its monotonic clock, in seconds."""
    return {
        "counts": [getattr(progress, c) for c in COUNTS], "states": [getattr(progress, s) for s in STATES],
        "paused_s": progress.paused_s, "last_error": progress.last_error,
        "steps": [
            [experiment, name, [getattr(step, c) for c in STEP_COUNTS], [_of_kind(kind, now) for kind in step.kinds]]
            for experiment, name, step in progress.meter.named_steps()
        ],
    }  # fmt: skip


def _of_kind(kind: Kind, now: float) -> list[Any]:
    counts = [getattr(kind, c) for c in KIND_COUNTS]
    return [repr(kind.lane), kind.use, kind.parallel, counts, kind.in_flight, kind.ages_s(now)]


class Combined:
    """The progress of a run in several processes, which are known by their numbers."""

    def __init__(self, progress: Progress, experiments: Iterable[Experiment]) -> None:
        """Add to the counts of a run; `experiments` are those of its study."""
        self.progress = progress
        self._steps: dict[tuple[str, str], Step] = {(e.name, s.name): s for e in experiments for s in e.steps}
        self._parts: dict[int, _Part] = {}

    def hear(self, worker: int, message: Mapping[str, Any], now: float) -> None:
        """Add the counts of a process; `now` is the time by the monotonic clock of this one, in seconds."""
        progress, part = self.progress, self._parts.setdefault(worker, _Part())
        _add(progress, COUNTS, message["counts"], part.counts)
        _add(progress, STATES, message["states"], part.states)
        part.counts, part.states, part.paused_s = message["counts"], message["states"], message["paused_s"]
        progress.paused_s = max([p.paused_s for p in self._parts.values()])
        progress.last_error = message["last_error"] or progress.last_error
        for experiment, name, counts, kinds in message["steps"]:
            i = progress.meter.step_of(experiment, self._steps[experiment, name])
            _add(progress.meter.steps[i], STEP_COUNTS, counts, part.steps.get((experiment, name)))
            part.steps[experiment, name] = counts
            for lane, use, parallel, of_kind, in_flight, ages_s in kinds:
                place = i, lane
                if place not in part.kinds:
                    part.kinds[place] = _KindPart(progress.meter.kind_named(i, lane, use, parallel))
                part.kinds[place].hear(of_kind, in_flight, ages_s, now)

    def leave(self, worker: int) -> None:
        """Take a process out that has ended: its unfinished requests are still pending."""
        part = self._parts.pop(worker, None)
        if part is None:
            return
        _add(self.progress, STATES, [0] * len(STATES), part.states)
        self.progress.paused_s = max([p.paused_s for p in self._parts.values()], default=0.0)
        for kind in part.kinds.values():
            kind.leave()


@dataclass(slots=True)
class _Part:
    """The last counts of one process."""

    counts: Sequence[int] = ()
    states: Sequence[int] = ()
    paused_s: float = 0.0
    steps: dict[tuple[str, str], Sequence[int]] = field(default_factory=dict)
    kinds: dict[tuple[int, str], _KindPart] = field(default_factory=dict)


@dataclass(slots=True)
class _KindPart:
    """The part of one process of the requests of one step to one model."""

    kind: Kind
    counts: Sequence[float] = ()
    in_flight: int = 0
    starts_s: float = 0.0  # by the clock of this process

    def hear(self, counts: Sequence[float], in_flight: int, ages_s: float, now: float) -> None:
        """Take new counts; the clocks of two machines differ, ages do not."""
        _add(self.kind, KIND_COUNTS, counts, self.counts)
        starts_s = in_flight * now - ages_s
        self.kind.in_flight += in_flight - self.in_flight
        self.kind.starts_s += starts_s - self.starts_s
        self.counts, self.in_flight, self.starts_s = counts, in_flight, starts_s

    def leave(self) -> None:
        """Take out unfinished requests."""
        made, _, finished, *_ = self.counts
        self.kind.made -= int(made - finished)
        self.kind.in_flight -= self.in_flight
        self.kind.starts_s -= self.starts_s


def _add(counted: object, names: Sequence[str], now: Sequence[float], before: Sequence[float] | None) -> None:
    for name, new, old in zip(names, now, before or [0] * len(names), strict=True):
        if new != old:
            setattr(counted, name, getattr(counted, name) + new - old)
