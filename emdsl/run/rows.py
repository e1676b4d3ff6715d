"""Rows: one cell and sample each, and how far its steps have come.

A row holds the frame in which its expressions find their names. Steps are settled one by one; a step becomes ready
when every answer that its request reads is known. Requests that many rows share are rendered and hashed once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import compress, islice
from typing import TYPE_CHECKING, Any

from emdsl.experiment import ASK
from emdsl.frame import EvalFault, MissingInput, RowFrame
from emdsl.outcome import Outcome, Result
from emdsl.query import Query, Response
from emdsl.run.naming import name_step
from emdsl.run.order import arranged, by_change, changes_of, first_ask
from emdsl.run.probes import Probes
from emdsl.run.sharding import Sharding
from emdsl.value import (
    BLOCKED,
    FAILED,
    INVALID,
    NO_ANSWER,
    NOT_ASKED,
    NOT_NEEDED,
    NOT_OBTAINED,
    NULL,
    SPLIT_NUMBER,
    UNDECIDED,
    UNREADABLE,
    Missing,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import ModuleType

    from emdsl.digest import KeyState
    from emdsl.experiment import Cell, Experiment, Step
    from emdsl.frame import GroupLookup
    from emdsl.prompt import Message, Prompt
    from emdsl.query import RequestSettings
    from emdsl.reasoning import Answer
    from emdsl.run.sharding import Shard
    from emdsl.value import Level

SAMPLE_BLOCK = 5  # samples of every cell before the next ones: a run that stops early is a smaller, balanced study
MIN_TRAIL = 8  # messages from which the hash of a prompt's beginning is worth keeping
MIN_PROMPTS, MAX_PROMPTS = 512, 20_000  # rendered prompts kept: the samples of a cell come block by block
MAX_PROMPT_CHARS = 8_000_000  # of them, if there are more than the least

Variant = tuple[str, tuple[int, ...], tuple[int, ...], int]


@dataclass(frozen=True, slots=True)
class Selection:
    """A part of an experiment: fewer samples, some levels of some axes by position, and of these only a pilot."""

    samples: int | None = None
    only: Mapping[int, frozenset[int]] = field(default_factory=dict)
    pilot: Mapping[Cell, int] | None = None  # its cells, each with its number of samples

    @property
    def all_cells(self) -> bool:
        """Whether every cell is selected."""
        return not self.only and self.pilot is None

    def takes(self, cell: Cell) -> bool:
        """Whether a cell is selected, with at least its first sample."""
        if self.pilot is not None and cell not in self.pilot:
            return False
        return all(cell[axis] in levels for axis, levels in self.only.items())

    def samples_of(self, cell: Cell, samples: range) -> range:
        """Return those of some samples of a selected cell that are selected."""
        return samples if self.pilot is None else range(samples.start, min(samples.stop, self.pilot[cell]))


class Rows:
    """The rows of one experiment, or of one of its shards, and the requests of their steps."""

    def __init__(self, experiment: Experiment, selection: Selection | None = None, shard: Shard | None = None) -> None:
        self.experiment = experiment
        self.selection = selection or Selection()
        self.shard = shard if shard is not None and shard.of > 1 else None
        self.steps = {s.name: s for s in experiment.steps}
        self.probes = Probes(experiment)
        self.group_values: GroupLookup | None = None  # of a pass that reads them
        self.incomplete: bytearray | None = None  # of each selected row, of all shards: whether it needs an answer
        self._heads: dict[tuple[str, tuple[int, ...]], tuple[RequestSettings, KeyState]] = {}
        self._trails: dict[tuple[str, tuple[int, ...]], tuple[tuple[Message, ...], list[KeyState]]] = {}
        self._prompts: OrderedDict[Variant, tuple[RequestSettings, Prompt, KeyState]] = OrderedDict()
        self._prompt_chars = 0  # of these
        self._max_prompts = MAX_PROMPTS if self.samples > SAMPLE_BLOCK else MIN_PROMPTS
        self._last_cell: tuple[Cell | None, dict[str, Level], dict[str, Value]] = (None, {}, {})

    @property
    def samples(self) -> int:
        """Selected samples of each cell."""
        most = self.selection.samples
        return self.experiment.samples if most is None else min(most, self.experiment.samples)

    def selected(self) -> Iterator[Outcome]:
        """Yield the selected rows in balanced order, those whose prompts begin alike together."""
        return self._rows(everything=False)

    def everything(self) -> Iterator[Outcome]:
        """Yield all rows, selected or not, in the same order."""
        return self._rows(everything=True)

    def groups(self) -> list[Iterator[Outcome]]:
        """Return the selected rows in groups, one for each model that answers the first ask.

        Rows that a planner has found complete are left out.
        """
        step = first_ask(self.experiment)
        if step is None or not step.settings_axes:
            return [self._open()]
        by_model: dict[Any, set[tuple[int, ...]]] = {}
        for levels in self.experiment.projected(step.settings_axes):
            try:
                model = step.settings(self.experiment.frame(step.settings_axes, levels)).model
            except MissingInput:  # the model depends on rows of a dataset that is not here: no requests
                continue
            by_model.setdefault(model.lane, set()).add(levels)
        if len(by_model) < 2:
            return [self._open()]
        return [filter(partial(_is_of, step, levels), self._open()) for levels in by_model.values()]

    def _open(self) -> Iterator[Outcome]:
        """Yield the selected rows of this shard but those that a planner of all rows has found complete."""
        if self.incomplete is None:
            yield from self.selected()
            return
        position = 0
        for cell, part in self._parts(everything=False):
            start, position = position, position + len(part)
            if self.incomplete.find(1, start, position) >= 0:
                open_ = list(compress(part, self.incomplete[start:position]))
                yield from self.of_cell(cell, self._in_shard(cell, open_))

    def _rows(self, *, everything: bool) -> Iterator[Outcome]:
        for cell, part in self.parts(everything=everything):
            yield from self.of_cell(cell, part)

    def parts(self, *, everything: bool) -> Iterator[tuple[Cell, Sequence[int]]]:
        """Yield the selected rows, or all, as cells with some of their samples, in the order of rows."""
        for cell, part in self._parts(everything=everything):
            yield cell, self._in_shard(cell, part)

    def _parts(self, *, everything: bool) -> Iterator[tuple[Cell, range]]:
        """Yield the same of all shards."""
        samples = self.experiment.samples if everything else self.samples
        selection = None if everything or self.selection.all_cells else self.selection
        for first in range(0, samples, SAMPLE_BLOCK):
            block = range(first, min(first + SAMPLE_BLOCK, samples))
            cells: Iterable[Cell] = self.experiment.cells()
            if selection is not None:
                cells = filter(selection.takes, cells)
            parts = ((cell, block) for cell in cells) if self._order is None else arranged(cells, self._order, block)
            for cell, part in parts:
                yield cell, self._drawn(cell, part, selection)

    def _drawn(self, cell: Cell, part: range, selection: Selection | None) -> range:
        """Return those of some samples that a cell has, and that are selected."""
        if self.experiment.cell_samples is not None:
            part = range(part.start, min(part.stop, self.experiment.samples_of(cell)))
        return part if selection is None else selection.samples_of(cell, part)

    def _in_shard(self, cell: Cell, samples: Sequence[int]) -> Sequence[int]:
        """Return those of some samples of a cell that are in the shard."""
        return samples if self.shard is None else self._sharding.samples_of(self.shard, cell, samples)

    @cached_property
    def _changes(self) -> dict[int, float] | None:
        return changes_of(self.experiment)

    @cached_property
    def _order(self) -> tuple[int, ...] | None:
        return by_change(self.experiment, self._changes) if self._changes is not None else None

    @cached_property
    def _sharding(self) -> Sharding:
        assert self.shard is not None
        whole = self.selection.all_cells and self.samples == self.experiment.samples
        return Sharding(self.experiment, self._changes, self._selected_cells, whole=whole, of=self.shard.of)

    def _selected_cells(self) -> Iterator[tuple[Cell, int]]:
        """Yield the selected cells of all shards, each with its number of samples."""
        for cell in filter(self.selection.takes, self.experiment.cells()):
            yield cell, len(self._drawn(cell, range(self.samples), self.selection))

    def takes(self, row: Outcome) -> bool:
        """Whether a row is selected."""
        return self.takes_at(row.cell, row.sample)

    def takes_at(self, cell: Cell, sample: int) -> bool:
        """Whether the row of a cell and sample is selected, and in the shard."""
        selection = self.selection
        return (
            sample < self.samples and selection.takes(cell)
            and sample in self._drawn(cell, range(sample + 1), selection)
            and (self.shard is None or self._sharding.of_row(cell, sample) == self.shard.index)
        )  # fmt: skip

    def ends(self) -> list[Outcome]:
        """Return the selected row of the first sample of the first cell, and of the last of the last, of all shards."""
        cells = list(islice(filter(self.selection.takes, self.experiment.cells()), 1))
        cells += deque(filter(self.selection.takes, self.experiment.cells()), maxlen=1)
        samples = [self._drawn(cell, range(self.samples), self.selection) for cell in cells]
        return [self.row(cell, of[end]) for cell, of, end in zip(cells, samples, (0, -1), strict=False)]

    def n_rows(self, n_cells: int) -> int:
        """Return the number of selected rows, of so many selected cells."""
        selection = self.selection
        if self.shard is not None:
            return self._sharding.n_rows[self.shard.index]
        if selection.pilot is not None:
            return sum(selection.pilot.values())
        if self.experiment.cell_samples is None:
            return n_cells * self.samples
        cells = filter(selection.takes, self.experiment.cells())
        return sum(min(self.samples, self.experiment.samples_of(cell)) for cell in cells)

    def row(self, cell: Cell, sample: int) -> Outcome:
        """Return a row with all its steps blocked."""
        return Outcome(cell, sample, self.experiment.steps, self._frame)

    def of_cell(self, cell: Cell, samples: Iterable[int]) -> Iterator[Outcome]:
        """Yield the rows of some samples of a cell."""
        steps, make_frame = self.experiment.steps, self._frame
        for sample in samples:
            yield Outcome(cell, sample, steps, make_frame)

    def _frame(self, row: Outcome) -> RowFrame:
        """Return the frame of a row with the results of its steps so far."""
        cell, levels, values = self._last_cell
        if cell is not row.cell:
            levels = {a.name: a.levels[i] for a, i in zip(self.experiment.axes, row.cell, strict=True)}
            values = self.experiment.constants | {name: level.value for name, level in levels.items()}
            self._last_cell = row.cell, levels, values
        frame = RowFrame(values, self.experiment.lets)
        frame["sample"] = row.sample
        frame.levels = levels
        if self.group_values is not None:
            frame.groups, frame.place = self.group_values, (row.cell, row.sample)
        frame.results = row.results
        for name, result in row.results.items():
            name_step(frame, self.steps[name], result)
        return frame

    def advance(self, row: Outcome) -> list[tuple[Step, Query]]:
        """Settle the steps that need no answer; return those that have become ready, with their requests.

        One pass is enough: a step comes after all steps that it reads.
        """
        ready: list[tuple[Step, Query]] = []
        for step in tuple(row.blocked):
            if step.condition is not None and not self._decided(row, step):
                continue
            if step.needs and not row.has(step.needs):
                continue
            row.blocked.remove(step)
            try:
                query = self.query(step, row)
            except MissingInput as missing:
                settle(row, step, Result(_why_not_asked(missing.missing)))
            except EvalFault as fault:
                if not step.needs:
                    raise  # a fault of the program, whatever the answers
                settle(row, step, Result(INVALID, error=str(fault)))
            else:
                row.ready[step.name] = query
                ready.append((step, query))
        return ready

    @staticmethod
    def _decided(row: Outcome, step: Step) -> bool:
        """Whether a step's condition holds; a step whose condition does not hold is settled."""
        if not row.has(step.condition_needs):
            return False
        value = condition_value(step, row)
        if value is True:
            return True
        row.blocked.remove(step)
        if value is False:
            value = NOT_NEEDED
        elif value not in (NOT_ASKED, NOT_OBTAINED, NULL):
            value = UNDECIDED
        settle(row, step, Result(value))
        return False

    def head(self, step: Step, row: Outcome) -> tuple[RequestSettings, KeyState]:
        """Return the model and parameters of a step's request, and its key up to the messages."""
        return self._head(step, row, step.settings_levels(row.cell))

    def head_at(self, step: Step, levels: tuple[int, ...]) -> RequestSettings:
        """Return the model and parameters of a step's requests, by the levels of its settings' axes."""
        known = self._heads.get((step.name, levels))
        if known is None:
            head = step.settings(self.experiment.frame(step.settings_axes, levels))
            known = self._heads[step.name, levels] = (head, head.key_state())
        return known[0]

    def _head(self, step: Step, row: Outcome, levels: tuple[int, ...]) -> tuple[RequestSettings, KeyState]:
        known = self._heads.get((step.name, levels))
        if known is None:
            head = step.settings(row.frame)
            known = self._heads[step.name, levels] = (head, head.key_state())
        return known

    def query(self, step: Step, row: Outcome) -> Query:
        """Return the request of a step whose inputs are known; raises MissingInput."""
        sample = row.sample if step.kind == ASK else step.draw
        if step.needs:
            head, state = self.head(step, row)
            prompt = step.prompt(row.frame)
            key = state.copy().add(prompt.messages).close().last_key(head.replicate, sample)
            return Query(head, prompt, sample, key)
        head, prompt, state = self._shared(step, row)
        return Query(head, prompt, sample, state.key(head.replicate, sample))

    def _shared(self, step: Step, row: Outcome) -> tuple[RequestSettings, Prompt, KeyState]:
        variant = variant_of(step, row)
        known = self._prompts.get(variant)
        if known is None:
            head, state = self._head(step, row, variant[1])
            prompt = step.prompt(row.frame)
            known = self._prompts[variant] = (head, prompt, self._hashed(variant[:2], state, prompt.messages))
            self._prompt_chars += prompt.chars
            while len(self._prompts) > MIN_PROMPTS and (
                self._prompt_chars > MAX_PROMPT_CHARS or len(self._prompts) > self._max_prompts
            ):
                self._prompt_chars -= self._prompts.popitem(last=False)[1][1].chars
        return known

    def _hashed(self, asked: tuple[str, tuple[int, ...]], state: KeyState, messages: tuple[Message, ...]) -> KeyState:
        """Return the state of a prompt's key; what it has in common with the prompt before is not hashed again."""
        if len(messages) < MIN_TRAIL:
            return state.copy().add(messages).close()
        before, states = self._trails.get(asked, ((), [state]))
        n = 0
        for was, now in zip(before, messages, strict=False):
            if was != now:
                break
            n += 1
        states = states[: n + 1]
        for message in messages[n:]:
            states.append(states[-1].copy().add((message,)))
        self._trails[asked] = messages, states
        return states[-1].copy().close()


def _is_of(step: Step, levels: set[tuple[int, ...]], row: Outcome) -> bool:
    return step.settings_levels(row.cell) in levels


def variant_of(step: Step, row: Outcome) -> Variant:
    """Return which request of a step a row makes: rows of one variant make one, if they read the same answers."""
    cell = row.cell
    return step.name, step.settings_levels(cell), step.prompt_levels(cell), row.sample if step.prompt_sample else -1


def condition_value(step: Step, row: Outcome) -> Value:
    """Return the value of a step's condition: true, false or missing; raises EvalFault if it reads no answer."""
    try:
        return step.condition(row.frame) if step.condition is not None else True
    except MissingInput as missing:
        return missing.missing
    except EvalFault:
        if not step.condition_needs:
            raise
        return INVALID


def holds(step: Step, row: Outcome) -> bool:
    """Whether a step's condition is true in a row; false also where it has no value."""
    try:
        return condition_value(step, row) is True
    except (EvalFault, KeyError):  # KeyError: it reads a step that the row has not settled
        return False


def settle(row: Outcome, step: Step, result: Result) -> None:
    """Settle a step of a row."""
    row.ready.pop(step.name, None)
    if row.bad_replies is not None:
        result.bad_replies = row.bad_replies.pop(step.name, ())
    row.results[step.name] = result
    if row.has_frame:
        name_step(row.frame, step, result)


@cache
def _judge() -> ModuleType:
    from emdsl import judge  # noqa: PLC0415 - its patterns take 5 ms, and a first plan reads no reply

    return judge


def settle_answer(
    row: Outcome, step: Step, response: Response, answer: Answer, *, splits: bool = False
) -> Query | None:
    """Settle a step by its reply; return the request to send next if a judge's reply cannot be read.

    `splits`: its model writes numbers digit by digit, so that its first token is no score.
    """
    query = row.ready.get(step.name)
    value: Value = answer.text
    reading: Value = None
    weights = None
    if response.finish == "blocked":
        value = BLOCKED
    elif step.reply_format is not None:
        reply_format = step.reply_format if step.format_by_cell is None else step.format_by_cell(row.frame)
        reading = SPLIT_NUMBER if splits else _judge().read(response, answer.text, reply_format)
        if step.weighs and not splits:
            weights = _judge().token_weights(response, answer.text, reply_format)
        if step.kind != ASK:
            value, reading = reading, None
    if value == UNREADABLE and query is not None and query.tries < step.again:
        row.bad_replies = row.bad_replies or {}
        row.bad_replies[step.name] = (*row.bad_replies.get(step.name, ()), (query, response))
        row.ready[step.name] = again = query.again()
        return again
    settle(row, step, Result(value, query, response, reasoning=answer.reasoning, reading=reading, weights=weights))
    return None


def settle_failure(row: Outcome, step: Step, error: str) -> None:
    """Settle a step whose request failed for good."""
    settle(row, step, Result(FAILED, row.ready.get(step.name), None, error))


def _why_not_asked(missing: Missing) -> Missing:
    """Return the value of a step that reads a missing value."""
    return missing if missing in (NOT_ASKED, NOT_OBTAINED, NULL) else NO_ANSWER
