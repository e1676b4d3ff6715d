"""Rows: one cell and sample each, and how far its steps have come.

A row holds the frame in which its expressions find their names. Steps are settled one by one; what a step's
request reads is known by then. Requests that many rows share are rendered and hashed once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.experiment import ASK
from emdsl.frame import EvalFault, MissingInput, RowFrame
from emdsl.judge import read_text, weights_of
from emdsl.outcome import Outcome, Result
from emdsl.query import Query, Response
from emdsl.reasoning import split
from emdsl.run.order import arranged, first_ask, order_of
from emdsl.run.probes import Probes
from emdsl.value import (
    BLOCKED,
    FAILED,
    INVALID,
    NO_ANSWER,
    NO_LOGPROBS,
    NO_REASONING,
    NOT_ASKED,
    NOT_NEEDED,
    NOT_OBTAINED,
    NULL,
    SPLIT_NUMBER,
    UNDECIDED,
    UNREADABLE,
    LabelledMap,
    Missing,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from emdsl.digest import Digest, KeyState
    from emdsl.experiment import Cell, Experiment, Step
    from emdsl.prompt import Message, Prompt
    from emdsl.query import Head
    from emdsl.store.store import Store

SAMPLE_BLOCK = 5  # samples of every cell before the next ones: what stops early is a smaller, balanced study
MIN_TRAIL = 8  # messages from which a prompt's beginning is worth remembering
KEPT_PROMPTS = 512  # rendered prompts remembered; rows that share one come close together
CHUNK = 512  # rows looked up together


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run is restricted to: fewer samples, and some levels of some axes, by position."""

    samples: int | None = None
    only: Mapping[int, frozenset[int]] = field(default_factory=dict)

    def takes(self, cell: Cell) -> bool:
        """Whether a cell is among those selected."""
        return all(cell[axis] in levels for axis, levels in self.only.items())


class Walk:
    """Makes the rows of one experiment, and the requests of their steps."""

    def __init__(self, experiment: Experiment, selection: Selection | None = None) -> None:
        self.experiment = experiment
        self.selection = selection or Selection()
        self.steps = {s.name: s for s in experiment.steps}
        self.probes = Probes(experiment)
        self._heads: dict[tuple[str, tuple[int, ...]], tuple[Head, KeyState]] = {}
        self._trails: dict[tuple[str, tuple[int, ...]], tuple[tuple[Message, ...], list[KeyState]]] = {}
        self._prompts: OrderedDict[tuple[str, tuple[int, ...], tuple[int, ...], int], tuple[Head, Prompt, KeyState]] = (
            OrderedDict()
        )

    @property
    def samples(self) -> int:
        """How many draws of each cell are selected."""
        most = self.selection.samples
        return self.experiment.samples if most is None else min(most, self.experiment.samples)

    def rows(self, *, everything: bool = False) -> Iterator[Outcome]:
        """Yield rows in balanced order, those whose prompts begin alike together.

        `everything` ignores the selection.
        """
        return self._rows(None if everything else self.selection.takes, everything=everything)

    def groups(self) -> list[Iterator[Outcome]]:
        """Return the selected rows in parts that go to one model each, as far as the first ask is concerned."""
        step = first_ask(self.experiment)
        if step is None or not step.head_axes:
            return [self.rows()]
        by_model: dict[Any, set[tuple[int, ...]]] = {}
        for levels in self.experiment.projected(step.head_axes):
            try:
                model = step.head(self.experiment.frame(step.head_axes, levels)).model
            except MissingInput:  # it depends on rows that are not here: nothing is asked there
                continue
            by_model.setdefault(model.lane, set()).add(levels)
        if len(by_model) < 2:
            return [self.rows()]
        return [self._rows(partial(self._goes_to, step.head_axes, levels)) for levels in by_model.values()]

    def _goes_to(self, axes: tuple[int, ...], levels: set[tuple[int, ...]], cell: Cell) -> bool:
        return tuple([cell[a] for a in axes]) in levels and self.selection.takes(cell)

    def _rows(self, takes: Callable[[Cell], bool] | None, *, everything: bool = False) -> Iterator[Outcome]:
        samples = self.experiment.samples if everything else self.samples
        for first in range(0, samples, SAMPLE_BLOCK):
            block = range(first, min(first + SAMPLE_BLOCK, samples))
            cells: Iterable[Cell] = self.experiment.cells()
            if takes is not None and (self.selection.only or takes != self.selection.takes):
                cells = filter(takes, cells)
            if self._order is None:
                for cell in cells:
                    yield from self._block(cell, block)
            else:
                for cell, some in arranged(cells, self._order, block):
                    yield from self._block(cell, some)

    @cached_property
    def _order(self) -> tuple[int, ...] | None:
        return order_of(self.experiment)

    def takes(self, row: Outcome) -> bool:
        """Whether a row is among those selected."""
        return row.sample < self.samples and self.selection.takes(row.cell)

    def row(self, cell: Cell, sample: int) -> Outcome:
        """Return a row at its start."""
        return next(self._block(cell, (sample,)))

    def _block(self, cell: Cell, samples: Iterable[int]) -> Iterator[Outcome]:
        """Yield some rows of one cell."""
        experiment = self.experiment
        levels = {a.name: a.levels[i] for a, i in zip(experiment.axes, cell, strict=True)}
        values: dict[str, Value] = dict(experiment.constants)
        for name, level in levels.items():
            values[name] = level.value
        for sample in samples:
            frame = RowFrame(values, experiment.lets)
            frame["sample"] = sample
            frame.levels = levels
            yield Outcome(cell, sample, frame, experiment.steps)

    def advance(self, row: Outcome) -> list[tuple[Step, Query]]:
        """Settle what needs no answer, and return the steps that have become ready to be asked."""
        ready: list[tuple[Step, Query]] = []
        moved = True
        while moved and row.pending:
            moved = False
            for step in list(row.pending):
                if not self._decided(row, step):
                    continue
                if not all(need in row.results for need in step.needs):
                    continue
                row.pending.remove(step)
                try:
                    query = self.query(step, row)
                except MissingInput as missing:
                    settle(row, step, Result(_absent(missing.missing)))
                    moved = True
                    continue
                except EvalFault as fault:
                    if not step.needs:
                        raise  # a fault of the program: nothing that was answered leads to it
                    settle(row, step, Result(INVALID, error=str(fault)))
                    moved = True
                    continue
                row.open[step.name] = query
                ready.append((step, query))
        return ready

    def _decided(self, row: Outcome, step: Step) -> bool:
        """Whether a step's condition holds; where it is known not to, the step is settled."""
        if step.condition is None:
            return True
        if not all(need in row.results for need in step.condition_needs):
            return False
        try:
            holds = step.condition(row.frame)
        except MissingInput as missing:
            holds = missing.missing
        except EvalFault:
            if not step.condition_needs:
                raise
            holds = INVALID
        if holds is True:
            return True
        row.pending.remove(step)
        missing_value = (
            NOT_NEEDED if holds is False else (holds if holds in (NOT_ASKED, NOT_OBTAINED, NULL) else UNDECIDED)
        )
        settle(row, step, Result(missing_value))
        return False

    def head(self, step: Step, row: Outcome) -> tuple[Head, KeyState]:
        """Return who a step asks and how, and the key up to the messages."""
        levels = tuple(row.cell[i] for i in step.head_axes)
        known = self._heads.get((step.name, levels))
        if known is None:
            head = step.head(row.frame)
            known = self._heads[step.name, levels] = (head, head.key_state())
        return known

    def query(self, step: Step, row: Outcome) -> Query:
        """Return the request of a step whose inputs are known; raises MissingInput."""
        if step.needs:
            head, state = self.head(step, row)
            prompt = step.prompt(row.frame)
            state = state.copy().add(prompt.messages).close()
        else:
            head, prompt, state = self._shared(step, row)
        sample = row.sample if step.kind == ASK else step.draw
        return Query(head, prompt, sample, state.key(head.replicate, sample))

    def _shared(self, step: Step, row: Outcome) -> tuple[Head, Prompt, KeyState]:
        cell = row.cell
        memo = (
            step.name,
            tuple(cell[i] for i in step.head_axes),
            tuple(cell[i] for i in step.prompt_axes),
            row.sample if step.prompt_sample else -1,
        )
        known = self._prompts.get(memo)
        if known is None:
            head, state = self.head(step, row)
            prompt = step.prompt(row.frame)
            known = self._prompts[memo] = (head, prompt, self._hashed(memo[:2], state, prompt.messages))
            if len(self._prompts) > KEPT_PROMPTS:
                self._prompts.popitem(last=False)
        return known

    def _hashed(self, who: tuple[str, tuple[int, ...]], state: KeyState, messages: tuple[Message, ...]) -> KeyState:
        """Return the state of a prompt's key; what it has in common with the prompt before is not hashed again."""
        if len(messages) < MIN_TRAIL:
            return state.copy().add(messages).close()
        before, states = self._trails.get(who, ((), [state]))
        n = 0
        for was, now in zip(before, messages, strict=False):
            if was != now:
                break
            n += 1
        states = states[: n + 1]
        for message in messages[n:]:
            states.append(states[-1].copy().add((message,)))
        self._trails[who] = messages, states
        return states[-1].copy().close()


def settle(row: Outcome, step: Step, result: Result) -> None:
    """Take in how a step of a row ended."""
    name, value = step.name, result.value
    row.open.pop(name, None)
    if row.unread is not None:
        result.earlier = row.unread.pop(name, ())
    row.results[name] = result
    frame = row.frame
    frame[name] = value
    if step.kind != ASK:
        for part in step.reading.shape if step.reading is not None else ():
            frame[f"{name}.{part.name}"] = value.get(part.name) if isinstance(value, LabelledMap) else value
        if step.weighs:
            weights = result.weights
            none = value if isinstance(value, Missing) else NO_LOGPROBS
            frame[f"{name}.mass"] = weights.mass if weights is not None else none
            frame[f"{name}.word_mass"] = weights.word_mass if weights is not None else none
        return
    response = result.response
    if response is None:
        for field_ in ("reasoning", "finish", "tokens", "logprobs"):
            frame[f"{name}.{field_}"] = value
        return
    frame[f"{name}.reasoning"] = result.reasoning if result.reasoning is not None else NO_REASONING
    frame[f"{name}.finish"] = response.finish
    tokens = response.usage.output_tokens
    frame[f"{name}.tokens"] = tokens if tokens is not None else Missing("not_reported")
    frame[f"{name}.logprobs"] = response.logprobs or Missing("not_reported")


def answered(row: Outcome, step: Step, response: Response) -> Query | None:
    """Take in what came back to a step: settle it, or return the request that is open now, for this reply is unread."""
    query = row.open.get(step.name)
    value: Value
    weights = None
    text, reasoning = split(response, query)
    if response.finish == "blocked":
        value = BLOCKED
    elif step.reading is None:
        value = text
    else:
        value = read_text(response, text, step.reading)
        weights = weights_of(response, text, step.reading) if step.weighs else None
    if value == UNREADABLE and query is not None and query.tries < step.again:
        row.unread = row.unread or {}
        row.unread[step.name] = (*row.unread.get(step.name, ()), (query, response))
        row.open[step.name] = again = query.again()
        return again
    settle(row, step, Result(value, query, response, reasoning=reasoning, weights=weights))
    return None


def failed(row: Outcome, step: Step, error: str) -> None:
    """Settle a step whose query failed for good."""
    settle(row, step, Result(FAILED, row.open.get(step.name), None, error))


def leave(walk: Walk, row: Outcome, failures: Mapping[Digest, str]) -> None:
    """Settle all that is still open: as failed where its query failed, else as not asked."""
    while row.open or row.pending:
        for step in walk.experiment.steps:
            query = row.open.get(step.name)
            if query is None:
                continue
            if query.key in failures:
                failed(row, step, failures[query.key])
            else:
                settle(row, step, Result(NOT_ASKED, query))
        if row.pending:
            walk.advance(row)


def chunks(rows: Iterable[Outcome], size: int = CHUNK) -> Iterator[list[Outcome]]:
    """Yield rows in lists of at most `size`."""
    left = iter(rows)
    while chunk := list(islice(left, size)):
        yield chunk


def resolve(walk: Walk, rows: list[Outcome], store: Store) -> None:
    """Settle every step of some rows whose answer is stored, wave by wave; the rest stays open."""
    walk.probes.look_up(store)
    ready = [(row, step, query) for row in rows for step, query in walk.advance(row)]
    while ready:
        known = store.get_many(query.key for _, _, query in ready)
        walk.probes.see(ready, known)
        moved: dict[int, Outcome] = {}
        anew: list[tuple[Outcome, Step, Query]] = []
        for row, step, query in ready:
            response = known.get(query.key)
            if walk.probes.split(step, query):
                settle(row, step, Result(SPLIT_NUMBER, query, response))
            elif response is None:
                continue
            elif (again := answered(row, step, response)) is not None:
                anew.append((row, step, again))
                continue
            moved[id(row)] = row
        ready = anew + [(row, step, query) for row in moved.values() for step, query in walk.advance(row)]


def collect(
    walk: Walk,
    store: Store,
    failures: Mapping[Digest, str],
    on_row: Callable[[Outcome], None] = lambda _: None,
) -> Iterator[list[Outcome]]:
    """Yield every row of an experiment, selected or not, with all its steps settled.

    `on_row` sees a selected row before what is not stored is given up.
    """
    for rows in chunks(walk.rows(everything=True)):
        resolve(walk, rows, store)
        for row in rows:
            if walk.takes(row):
                on_row(row)
            leave(walk, row, failures)
        yield rows


def _absent(missing: Missing) -> Missing:
    """Return why a step that reads a missing value is not asked."""
    return missing if missing in (NOT_ASKED, NOT_OBTAINED, NULL) else NO_ANSWER
