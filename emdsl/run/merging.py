"""Counts of an experiment from records of its windows: those that one process makes of all rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.experiment import ASK
from emdsl.query import Response, Usage
from emdsl.run.passes import chunks, settle_from_store
from emdsl.run.planner import MAX_EXAMPLES, Planner, note_finish, render_symbolic
from emdsl.run.probes import N_REPLIES, Numbers
from emdsl.run.reasons import Reason
from emdsl.run.recording import ANSWER, KINDS, PENDING, PROBE, AnswerSums

if TYPE_CHECKING:
    from typing import Any

    from emdsl.digest import Digest
    from emdsl.outcome import Outcome
    from emdsl.prompt import Message, Prompt
    from emdsl.query import RequestSettings
    from emdsl.run.count import StepCount
    from emdsl.run.recording import Record
    from emdsl.run.rows import Rows
    from emdsl.run.token_stats import Stratum
    from emdsl.run.windows import Window
    from emdsl.store.store import Store


class NotMergeable(Exception):
    """The meaning of some rows depends on other rows: one process must make them all."""


@dataclass(slots=True)
class Source:
    """The process that makes some of the records, with the meaning of their numbers."""

    groups: list[tuple[StepCount, RequestSettings, Stratum]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    n_events: int = 0


class Merger(Planner):
    """A planner that adds records of windows instead of rows, in the order of rows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.n_windows = 0  # that are added
        self.wants_events = False  # whether the sums of the last record were not enough
        self._incomplete = bytearray()
        self._replies: dict[Digest, set[Digest]] = {}  # evidence of judges' probes, by key
        self._whole: set[Digest] = set()  # of these, the judges that write numbers as one token

    @property
    def walk(self) -> Rows:
        """The rows of the experiment."""
        return self._rows

    def merge(self, record: Record, window: Window, source: Source, store: Store) -> None:
        """Add the record of the next window.

        Raises NotMergeable if how a judge writes numbers may be known from the replies of several windows only.
        """
        self._rows.probes.look_up(store)
        self._add_evidence(record)
        self._incomplete += record.incomplete
        self.n_windows += 1
        for step, levels, stratum in record.groups:
            count = self.count.steps[step // KINDS]
            source.groups.append((count, self._rows.head_at(count.step, levels), stratum))
        source.runs += record.runs
        source.reasons += [Reason(*reason) for reason in record.reasons]
        added = self._merge_sums(record, source)
        self.wants_events = not added and record.plain and not record.has_new
        if not added and record.events is None:
            self._add_rows(window, store)
        else:
            for count, sums in zip(self.count.steps, record.steps, strict=True):
                _add_sums(count, sums)
            if not added:
                self._merge_events(record.each(), window, source, store)
        source.n_events += record.n_events

    def _add_rows(self, window: Window, store: Store) -> None:
        """Add the selected rows of a window, as if there were no record of it."""
        for chunk in chunks(window.rows()):
            settle_from_store(self._rows, chunk, store)
            for row in filter(self._rows.takes, chunk):
                self.add(row)

    def _merge_events(self, events: list[Any], window: Window, source: Source, store: Store) -> None:
        """Add requests one by one, as if their rows were met."""
        for number, event in enumerate(events, source.n_events):
            count, head, stratum = source.groups[event[2]]
            kind = event[0] % KINDS
            if kind == ANSWER:
                if event[3] not in count.stored:
                    count.stored.add(event[3])
                    self._merge_answer(count, head, stratum, event, _Seen(self, window, source, number, event, store))
            elif kind == PENDING:
                if event[3] not in count.pending:
                    count.pending.add(event[3])
                    self._merge_pending(count, head, stratum, event, _Seen(self, window, source, number, event, store))
            elif kind == PROBE:
                self._add_probe_answer(count, head)
            elif event[3] not in (known := _set_of(count, kind)):
                known.add(event[3])
                if count.estimate.add_symbolic(head, stratum):
                    render_symbolic(count, self.row(window, event[1], store))
                self._merge_to_send(count, head, window, event[1])

    def end(self) -> None:
        """Note the findings of the records of all windows in the rows."""
        self._rows.incomplete = self._incomplete
        evidence = self._rows.probes.evidence()
        for key, replies in self._replies.items():
            numbers = Numbers.WHOLE if key in self._whole else evidence[key].numbers
            evidence[key] = replace(evidence[key], numbers=numbers, replies=frozenset(replies))
        self._rows.probes.restore(evidence)

    def row(self, window: Window, number: int, store: Store) -> Outcome:
        """Return a row of a window, settled by stored answers."""
        row = self._rows.row(*window.place(number))
        settle_from_store(self._rows, [row], store)
        return row

    def _merge_sums(self, record: Record, source: Source) -> bool:
        """Add the requests of a record by their sums; return False if they must be added one by one."""
        if not record.plain or record.has_new or self.count.by:
            return False
        keys = record.keys
        for kind, (some, sums) in enumerate(zip(keys, record.sums, strict=True)):
            if some and not (self._are_new(kind, some) and self._are_known(kind % KINDS, sums, source)):
                return False
        answers = [key for some in keys[ANSWER::KINDS] for key in some]
        if len(set(answers)) < len(answers):  # two steps have one request: its money counts once
            return False
        for kind, (some, sums) in enumerate(zip(keys, record.sums, strict=True)):
            if some:
                self._add_sums(kind, some, sums, source)
        return True

    def _are_new(self, kind: int, keys: list[Any]) -> bool:
        """Whether no other process has met any of some requests."""
        count = self.count.steps[kind // KINDS]
        if kind % KINDS != ANSWER:
            return _set_of(count, kind % KINDS).isdisjoint(keys)
        others = self._others[count.step.name]
        return count.stored.isdisjoint(keys) and all(
            o.stored.isdisjoint(keys) and o.pending.isdisjoint(keys) for o in others
        )

    def _are_known(self, kind: int, sums: dict[Any, list[int]], source: Source) -> bool:
        """Whether nothing is to be noted of the first request of a group, nor of some rows."""
        if kind == ANSWER:
            return len({source.runs[run] == self._run for _, run, _ in sums}) == 1
        groups = [source.groups[group] for group in sums]
        return len(self.count.examples) == MAX_EXAMPLES and all(
            id(head) in self.count.heads and count.estimate.takes_sums(head, stratum, symbolic=kind != PENDING)
            for count, head, stratum in groups
        )

    def _add_sums(self, kind: int, keys: list[Any], sums: dict[Any, list[int]], source: Source) -> None:
        _set_of(self.count.steps[kind // KINDS], kind % KINDS).update(keys)
        for at, of in sums.items():
            if kind % KINDS == ANSWER:
                self._add_answers(source, at, AnswerSums(*of))
                continue
            count, head, stratum = source.groups[at]
            if kind % KINDS == PENDING:
                count.estimate.add_sums(head, stratum, n=of[0], chars=of[1])
            else:
                count.estimate.add_symbolic_sums(head, stratum, n=of[0])
        if kind % KINDS == ANSWER and any(self._run and source.runs[run] == self._run for _, run, _ in sums):
            self.count.steps[kind // KINDS].fresh.update(keys)

    def _add_answers(self, source: Source, at: tuple[int, int, bool], of: AnswerSums) -> None:
        group, run, batch = at
        count, head, stratum = source.groups[group]
        name = source.runs[run]
        if count.step.kind == ASK:
            count.cut += 0 if count.step.weighs else of.n_cut
            count.blocked += of.n_blocked
            count.empty += of.n_empty
        self._tokens.add_sums(count.step, head, stratum, of.tokens)
        self.count.runs[name] += of.n
        count.money.add_sums(head.model, of.usage, n=of.n, batch=batch, fresh=bool(self._run) and name == self._run)

    def _add_evidence(self, record: Record) -> None:
        for key, whole, replies in record.evidence:
            seen = self._replies.setdefault(key, set())
            seen.update(replies)
            if len(seen) >= N_REPLIES:
                raise NotMergeable
            if whole:
                self._whole.add(key)

    def _merge_answer(
        self, count: StepCount, head: RequestSettings, stratum: Stratum, event: Any, prompt: _Seen
    ) -> None:
        _, number, _, key, _, _, run, finish, empty, batch, usage = event
        name = prompt.source.runs[run]
        names = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "written_tokens", "cost_usd")
        response = Response(
            text="", finish=finish, usage=Usage(**dict(zip(names, usage, strict=True))), run=name,
            batch="" if batch else None,
        )  # fmt: skip
        fresh = bool(self._run) and name == self._run
        note_finish(count, response, empty=empty)
        self._tokens.add(count.step, head, prompt, response, stratum)
        self.count.runs[name] += 1
        if not self._is_counted(count, key):
            count.money.add(head.model, response, fresh=fresh)
        if self.count.by:
            self._add_by_levels(self._rows.row(*prompt.window.place(number)), 0)
        if fresh:
            count.fresh.add(key)

    def _merge_pending(
        self, count: StepCount, head: RequestSettings, stratum: Stratum, event: Any, prompt: _Seen
    ) -> None:
        _, number, _, key, _, _, least, reason = event
        if self._has_budget and not self._is_counted(count, key):
            way = head.model.way
            self.count.least[way] = self.count.least.get(way, Decimal(0)) + Decimal(least)
        count.estimate.add(head, prompt, stratum)
        if self._comparison is not None:
            self.count.reasons[prompt.source.reasons[reason]] += 1
        self._merge_to_send(count, head, prompt.window, number)

    def _merge_to_send(self, count: StepCount, head: RequestSettings, window: Window, number: int) -> None:
        total = self.count
        if id(head) not in total.heads or len(total.examples) < MAX_EXAMPLES or total.by:
            self._add_to_send(count, self._rows.row(*window.place(number)), head, None)


def _set_of(count: StepCount, kind: int) -> set[Any]:
    """Return the requests of a step that are counted, of one kind."""
    sets: list[set[Any]] = [count.stored, count.pending, count.symbolic, count.undecided]  # in the order of kinds
    return sets[kind]


class _Seen:
    """The prompt of a request that another process has rendered; rendered again where more of it is read."""

    __slots__ = ("_merger", "_number", "_prompt", "_step", "_store", "chars", "link", "number", "source", "window")

    def __init__(self, merger: Merger, window: Window, source: Source, number: int, event: Any, store: Store) -> None:
        self._merger, self._store = merger, store
        self.window, self.source, self.number = window, source, number
        self._step, self._number = event[0] // KINDS, event[1]
        self.chars: int = event[4]
        self.link: tuple[int, int] | None = event[5]
        self._prompt: Prompt | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """See Prompt."""
        return self.prompt.messages

    @property
    def prompt(self) -> Prompt:
        """The prompt itself."""
        if self._prompt is None:
            row = self._merger.row(self.window, self._number, self._store)
            name = self._merger.count.steps[self._step].step.name
            query = row.ready[name] if name in row.ready else row.results[name].query
            assert query is not None
            self._prompt = query.prompt
        return self._prompt

    def common(self, other: _Seen | Prompt) -> int:
        """Return the number of leading characters that two prompts share: of neighbours, their process knows it."""
        if not isinstance(other, _Seen):
            return self.prompt.common(other)
        if other.link is not None and other.link[0] == self.number and other.source is self.source:
            return other.link[1]
        return self.prompt.common(other.prompt)


def _add_sums(count: StepCount, sums: Any) -> None:
    n_rows, n_decided, n_held, unknown, invalid, probes, bad_replies, split, splitters = sums
    count.n_rows += n_rows
    count.n_decided += n_decided
    count.n_held += n_held
    count.unknown += unknown
    count.invalid.update(invalid)
    count.probes.update(probes)
    count.bad_replies.update(bad_replies)
    count.split.update(split)
    count.splitters.update(splitters)
