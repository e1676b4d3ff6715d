"""Records of windows: the counts of their rows, as bytes for another process.

A `Recorder` makes a record of each window: sums of its rows, and each request that it meets for the first time.
`merging` adds them up.
"""

from __future__ import annotations

import marshal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from emdsl.price_list import price_of
from emdsl.query import Usage
from emdsl.run.budget import least_usd
from emdsl.run.planner import Planner
from emdsl.run.prefixes import beginning
from emdsl.run.probes import Numbers
from emdsl.run.token_stats import Sums

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.experiment import Cell
    from emdsl.outcome import Outcome
    from emdsl.prompt import Prompt
    from emdsl.query import Query, RequestSettings, Response
    from emdsl.run.count import StepCount
    from emdsl.run.probes import Probe
    from emdsl.run.reasons import Reason
    from emdsl.run.states import Symbolic
    from emdsl.run.token_stats import Stratum

ANSWER, PENDING, SYMBOLIC, UNDECIDED, PROBE = range(5)  # kinds of events
KINDS = 5
NEVER = sys.maxsize  # characters from which a provider without a cache of prefixes keeps one


class AnswerSums(NamedTuple):
    """Sums of the answers of a group, whose providers counted all tokens and none named a cost."""

    n: int
    chars: int  # of their prompts
    input_tokens: int
    output_tokens: int
    text_tokens: int  # of the output, without reasoning
    squares: int  # of output tokens
    cached_tokens: int
    written_tokens: int
    n_cut: int
    n_blocked: int
    n_empty: int

    @property
    def tokens(self) -> Sums:
        """The sums from which answers to come are estimated."""
        return Sums(*self[:6])

    @property
    def usage(self) -> Usage:
        """The tokens, as of one answer."""
        return Usage(
            input_tokens=self.input_tokens, output_tokens=self.output_tokens, cached_tokens=self.cached_tokens,
            written_tokens=self.written_tokens,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """The part of one window in the counts of an experiment.

    An event is a tuple: its step and kind as one number, the row in the window, the group of the request, and the
    fields of its kind. Groups, runs and reasons are numbers; new ones come with the record that first has them. The
    sums of a `plain` record are added if no other process has met its keys before; otherwise its events are, or the
    rows are made again.
    """

    steps: list[Any]  # of each step: sums of its rows, and sets of keys
    keys: list[list[Any]]  # of the events, by step and kind: digests, or numbers of symbolic requests
    sums: list[dict[Any, list[int]]]  # of the events, by step and kind, and then by group
    plain: bool
    n_events: int
    events: bytes | None  # marshalled, in the order of rows; None if the sums are expected to be enough
    groups: list[Any]  # new ones: step, levels of its settings, stratum
    runs: list[str]  # new ones
    reasons: list[Any]  # new ones
    incomplete: bytes  # of each row: whether it needs an answer
    evidence: list[Any]  # of judges' probes: key, whether replies show whole numbers, replies that do not

    @property
    def has_new(self) -> bool:
        """Whether it has groups, runs or reasons that no record of its process had before."""
        return bool(self.groups or self.runs or self.reasons)

    def packed(self) -> bytes:
        """Return it as bytes for another process of the same Python."""
        return marshal.dumps([getattr(self, name) for name in self.__slots__])

    @classmethod
    def unpacked(cls, data: bytes) -> Record:
        """Return a record of `packed`; the bytes come from a process of ours."""
        return cls(*marshal.loads(data))  # noqa: S302 - a pipe from a process that this one started

    def each(self) -> list[Any]:
        """Return the events; raises TypeError if it has none."""
        if self.events is None:
            raise TypeError("a record without events")
        events: list[Any] = marshal.loads(self.events)  # noqa: S302 - `packed` wrote them
        return events


class Recorder(Planner):
    """Records the requests of windows of an experiment; each request once, whatever other processes have met."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._steps = {s.step.name: i * KINDS for i, s in enumerate(self.count.steps)}
        self._groups: dict[tuple[int, tuple[int, ...], Stratum], _Group] = {}
        self._runs: dict[str, int] = {}
        self._reasons: dict[Reason, int] = {}
        self._n_known = (0, 0, 0)  # of these, in the records so far
        self._last_group: dict[str, tuple[Cell, _Group]] = {}  # by step
        self._last: dict[tuple[int, str], tuple[int, Prompt]] = {}  # of prompts with a cache of prefixes: event, prompt
        self._n_events = 0  # so far
        self.wants_events = False  # whether the sums of the last record were not enough
        self._with_events = True
        self._row: Outcome | None = None  # that is added
        self._begin()

    def _begin(self) -> None:
        """Begin a window."""
        n = KINDS * len(self.count.steps)
        self._events: list[Any] = []
        self._first = self._n_events
        self._keys: list[list[Any]] = [[] for _ in range(n)]
        self._sums: list[dict[Any, list[int]]] = [{} for _ in range(n)]
        self._plain = True
        self._incomplete = bytearray()
        self._number = 0  # of the next row

    def add(self, row: Outcome) -> None:
        """Add the next row of the window."""
        self._row = row
        super().add(row)
        self._number += 1
        self._incomplete.append(bool(row.ready or row.blocked))

    def skip(self) -> None:
        """Leave out the next row of the window: it is not selected."""
        self._number += 1

    def record(self) -> Record:
        """Return the record of the rows that were added since the last."""
        groups, runs, reasons = self._n_known
        record = Record(
            steps=[_sums(count) for count in self.count.steps], keys=self._keys,
            sums=self._sums, plain=self._plain, n_events=self._n_events - self._first,
            events=marshal.dumps(self._events) if self._with_events else None,
            groups=list(self._groups)[groups:], runs=list(self._runs)[runs:],
            reasons=[(r.what, r.item, r.place) for r in list(self._reasons)[reasons:]],
            incomplete=bytes(self._incomplete), evidence=list(_evidence(self._rows.probes.evidence())),
        )  # fmt: skip
        self._n_known = len(self._groups), len(self._runs), len(self._reasons)
        self._with_events = self.wants_events or not record.plain or record.has_new  # as the next window is likely
        self._begin()
        return record

    def _new_answer(self, count: StepCount, row: Outcome, query: Query, response: Response, *, empty: bool) -> None:
        usage, prompt = response.usage, query.prompt
        into, out, batch = usage.input_tokens, usage.output_tokens, response.batch is not None
        group = self._group(count, row, query.settings)
        kind, link = group.step + ANSWER, None
        if into is not None and out is not None and prompt.chars >= group.least:
            link = self._link(kind, group, query)
        run = self._runs.setdefault(response.run, len(self._runs))
        if into is None or out is None or usage.cost_usd is not None or link or group.stepped:
            self._plain = False
        else:
            of = self._sums[kind].setdefault((group.number, run, batch), [0] * len(AnswerSums._fields))
            of[0] += 1
            of[1] += prompt.chars
            of[2] += into
            of[3] += out
            of[4] += out - (usage.reasoning_tokens or 0)
            of[5] += out * out
            of[6] += usage.cached_tokens or 0
            of[7] += usage.written_tokens or 0
            of[8] += response.finish == "length"
            of[9] += response.finish == "blocked"
            of[10] += empty
        self._keys[kind].append(query.key)
        self._n_events += 1
        if self._with_events:
            self._events.append((
                kind, self._number, group.number, query.key, prompt.chars, link, run, response.finish, empty, batch,
                (into, out, usage.reasoning_tokens, usage.cached_tokens, usage.written_tokens, usage.cost_usd),
            ))  # fmt: skip

    def _new_pending(self, count: StepCount, row: Outcome, query: Query) -> None:
        group, chars = self._group(count, row, query.settings), query.prompt.chars
        kind = group.step + PENDING
        link = least = reason = None
        if group.least < NEVER and (link := self._link(kind, group, query)) is not None:
            self._plain = False
        if self._has_budget:
            least, self._plain = str(least_usd(query)), False
        if self._comparison is not None:
            reason = self._reasons.setdefault(self._reason(count, row, query), len(self._reasons))
            self._plain = False
        sums = self._sums[kind]
        of = sums.get(group.number)
        if of is None:
            of = sums[group.number] = [0, 0]
        of[0] += 1
        of[1] += chars
        self._keys[kind].append(query.key)
        self._n_events += 1
        if self._with_events:
            self._events.append((kind, self._number, group.number, query.key, chars, link, least, reason))

    def _new_symbolic(self, count: StepCount, row: Outcome, state: Symbolic) -> None:
        group = self._group(count, row, state.head)
        kind = group.step + (UNDECIDED if state.undecided else SYMBOLIC)
        sums = self._sums[kind]
        of = sums.get(group.number)
        if of is None:
            of = sums[group.number] = [0]
        of[0] += 1
        self._keys[kind].append(state.id)
        self._n_events += 1
        if self._with_events:
            self._events.append((kind, self._number, group.number, state.id))

    def _add_probe_answer(self, count: StepCount, head: RequestSettings) -> None:
        probe = self._rows.probes.of(count.step, head)
        if probe is not None and probe.response is not None and probe.query.key not in self.count.probed:
            self.count.probed[probe.query.key] = False
            assert self._row is not None
            group = self._group(count, self._row, head)
            self._plain = False
            self._n_events += 1
            if self._with_events:
                self._events.append((group.step + PROBE, self._number, group.number))

    def _group(self, count: StepCount, row: Outcome, head: RequestSettings) -> _Group:
        step = count.step
        cell, group = self._last_group.get(step.name, (None, None))
        if cell is row.cell and group is not None:  # the samples of a cell follow each other
            return group
        key = self._steps[step.name], step.settings_levels(row.cell), self._strata[step.name](row.cell)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _group_of(len(self._groups), key[0], head)
        self._last_group[step.name] = row.cell, group
        return group

    def _link(self, kind: int, group: _Group, query: Query) -> tuple[int, int] | None:
        """Return the event before of the same step and model, and the characters that both prompts begin with.

        None for a short prompt.
        """
        at = kind, query.settings.model.use
        before = self._last.get(at)
        self._last[at] = self._n_events, query.prompt
        if query.prompt.chars < group.least:
            return None
        return (before[0], before[1].common(query.prompt)) if before is not None else (-1, 0)


class _Group(NamedTuple):
    """Requests of one step with one model and one stratum."""

    number: int
    step: int  # its number, times KINDS
    least: int  # characters from which a provider's cache keeps a prefix
    stepped: bool  # whether long requests have another price


def _group_of(number: int, step: int, head: RequestSettings) -> _Group:
    least = beginning(head.model)
    prices = [price_of(head.model, batch=batch) for batch in (False, True)]
    return _Group(number, step, NEVER if least is None else least, any(p is not None and p.above for p in prices))


def _sums(count: StepCount) -> Any:
    """Return the counts of a window for a step, without its events, and set them to zero."""
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
