"""Records of windows: what their rows add to the counts of an experiment, as bytes for another process.

A `Recorder` makes a record of each window: sums of its rows, and each request that it meets for the first time.
`merging` adds them up.
"""

from __future__ import annotations

import marshal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.run.budget import least_usd
from emdsl.run.planner import Planner
from emdsl.run.prefixes import beginning
from emdsl.run.probes import Numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.outcome import Outcome
    from emdsl.prompt import Prompt
    from emdsl.query import Query, RequestSettings, Response
    from emdsl.run.count import StepCount
    from emdsl.run.probes import Probe
    from emdsl.run.reasons import Reason
    from emdsl.run.states import Symbolic
    from emdsl.run.token_stats import Stratum

ANSWER, PENDING, SYMBOLIC, PROBE = range(4)  # kinds of events
KINDS = 4
NEVER = sys.maxsize  # characters from which a provider without a cache of prefixes keeps one


@dataclass(frozen=True, slots=True)
class Record:
    """What one window adds to the counts of an experiment.

    An event is a tuple: its step and kind as one number, the row in the window, the group of the request, and what its
    kind has more. Steps, groups, runs and reasons are numbers; new ones come with the record that first has them.
    """

    steps: list[Any]  # of each step: sums, errors, and sets of keys
    events: list[Any]
    groups: list[Any]  # new ones: step, levels of its settings, stratum
    runs: list[str]  # new ones
    reasons: list[Any]  # new ones
    incomplete: bytes  # of each row: whether it needs an answer
    evidence: list[Any]  # of judges' probes: key, how numbers are written as far as replies show it, replies

    def packed(self) -> bytes:
        """Return it as bytes for another process of the same Python."""
        return marshal.dumps([
            self.steps, self.events, self.groups, self.runs, self.reasons, self.incomplete, self.evidence,
        ])  # fmt: skip

    @classmethod
    def unpacked(cls, data: bytes) -> Record:
        """Return a record of `packed`; the bytes come from a process of ours."""
        return cls(*marshal.loads(data))  # noqa: S302 - a pipe from a process that this one started


class Recorder(Planner):
    """Records the requests of windows of an experiment; each request once, whatever other processes have met."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._steps = {s.step.name: i * KINDS for i, s in enumerate(self.count.steps)}
        self._events: list[Any] = []
        self._groups: dict[tuple[int, tuple[int, ...], Stratum], int] = {}
        self._runs: dict[str, int] = {}
        self._reasons: dict[Reason, int] = {}
        self._n_known = (0, 0, 0)  # of these, in the records so far
        self._least: dict[int, tuple[RequestSettings, int]] = {}  # by identity, kept with the settings
        self._last: dict[tuple[int, str], tuple[int, Prompt]] = {}  # of prompts with a cache of prefixes: event, prompt
        self._n_events = 0  # in the records so far
        self._row: Outcome | None = None  # that is added
        self._incomplete = bytearray()

    def add(self, row: Outcome) -> None:
        """Add a row of the window."""
        self._row = row
        super().add(row)
        self._incomplete.append(bool(row.ready or row.blocked))

    def record(self) -> Record:
        """Return the record of the rows that were added since the last."""
        groups, runs, reasons = self._n_known
        record = Record(
            steps=[_sums(count) for count in self.count.steps], events=self._events,
            groups=list(self._groups)[groups:], runs=list(self._runs)[runs:],
            reasons=[(r.what, r.item, r.place) for r in list(self._reasons)[reasons:]],
            incomplete=bytes(self._incomplete), evidence=list(_evidence(self._rows.probes.evidence())),
        )  # fmt: skip
        self._n_known = len(self._groups), len(self._runs), len(self._reasons)
        self._n_events += len(self._events)
        self._events, self._incomplete = [], bytearray()
        return record

    def _new_answer(self, count: StepCount, row: Outcome, query: Query, response: Response, *, empty: bool) -> None:
        usage, step, link = response.usage, self._steps[count.step.name], None
        if usage.input_tokens is not None and usage.output_tokens is not None and self._is_long(query):
            link = self._link(step + ANSWER, query)
        self._events.append((
            step + ANSWER, len(self._incomplete), self._group(step, count, row), query.key, query.prompt.chars, link,
            self._runs.setdefault(response.run, len(self._runs)), response.finish, empty, response.batch is not None,
            (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.cached_tokens,
             usage.written_tokens, usage.cost_usd),
        ))  # fmt: skip

    def _new_pending(self, count: StepCount, row: Outcome, query: Query) -> None:
        step, reason = self._steps[count.step.name], None
        if self._comparison is not None:
            reason = self._reasons.setdefault(self._reason(count, row, query), len(self._reasons))
        self._events.append((
            step + PENDING, len(self._incomplete), self._group(step, count, row), query.key, query.prompt.chars,
            self._link(step + PENDING, query), str(least_usd(query)) if self._has_budget else None, reason,
        ))  # fmt: skip

    def _new_symbolic(self, count: StepCount, row: Outcome, state: Symbolic) -> None:
        step = self._steps[count.step.name]
        self._events.append((
            step + SYMBOLIC, len(self._incomplete), self._group(step, count, row), state.id, state.undecided,
        ))  # fmt: skip

    def _add_probe_answer(self, count: StepCount, head: RequestSettings) -> None:
        probe = self._rows.probes.of(count.step, head)
        if probe is not None and probe.response is not None and probe.query.key not in self.count.probed:
            self.count.probed[probe.query.key] = False
            step = self._steps[count.step.name]
            assert self._row is not None
            self._events.append((step + PROBE, len(self._incomplete), self._group(step, count, self._row)))

    def _group(self, step: int, count: StepCount, row: Outcome) -> int:
        key = step, count.step.settings_levels(row.cell), self._strata[count.step.name](row.cell)
        return self._groups.setdefault(key, len(self._groups))

    def _is_long(self, query: Query) -> bool:
        """Whether a provider's cache may keep the beginning of a prompt."""
        return query.prompt.chars >= self._least_of(query.settings)

    def _least_of(self, head: RequestSettings) -> int:
        known = self._least.get(id(head))
        if known is None:
            least = beginning(head.model)
            known = self._least[id(head)] = head, NEVER if least is None else least
        return known[1]

    def _link(self, kind: int, query: Query) -> tuple[int, int] | None:
        """Return the event before of the same step and model, and the characters that both prompts begin with.

        None for a short prompt.
        """
        if self._least_of(query.settings) == NEVER:
            return None
        at = kind, query.settings.model.use
        before = self._last.get(at)
        self._last[at] = self._n_events + len(self._events), query.prompt
        if not self._is_long(query):
            return None
        return (before[0], before[1].common(query.prompt)) if before is not None else (-1, 0)


def _sums(count: StepCount) -> Any:
    """Return what a window adds to a step beside its events, and begin anew."""
    sums = (
        count.n_rows, count.n_decided, count.n_held, count.unknown, dict(count.invalid), list(count.probes),
        list(count.bad_replies), list(count.split), list(count.splitters),
    )  # fmt: skip
    count.n_rows = count.n_decided = count.n_held = count.unknown = 0
    for some in (count.invalid, count.probes, count.bad_replies, count.split, count.splitters):
        some.clear()
    return sums


def _evidence(evidence: Mapping[Digest, Probe]) -> Iterator[Any]:
    for key, probe in evidence.items():
        if probe.response is None and (probe.numbers is not None or probe.replies):
            yield key, probe.numbers is Numbers.WHOLE, list(probe.replies)
