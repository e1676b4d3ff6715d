"""What a run would do: distinct requests of each step that are needed, stored, and left to run, and why."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.experiment import ASK
from emdsl.frame import EvalFault, Frame, MissingInput
from emdsl.price import FREE, price_of
from emdsl.query import Usage
from emdsl.run.budget import least_usd
from emdsl.run.estimate import MAX_RENDERED, Estimate, Learned, Reach
from emdsl.run.reasons import UNREAD
from emdsl.run.walk import Walk, chunks, resolve
from emdsl.value import INVALID, NOT_NEEDED, NOT_OBTAINED, SPLIT_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from emdsl.digest import Digest
    from emdsl.experiment import Experiment, Step
    from emdsl.outcome import Outcome, Result
    from emdsl.price import Price
    from emdsl.query import Head, Model, Query, Response
    from emdsl.run.reasons import Comparison, Reason
    from emdsl.store.store import Store

MOST_EXAMPLES = 5
Recipe = int  # the hash of what a request is made from, where its inputs are not known yet


@dataclass(slots=True)
class Sums:
    """Answers of one price, together."""

    price: Price | None
    n: int = 0
    n_unknown: int = 0  # neither charged by their provider, nor counted and priced
    charged_usd: float = 0.0  # as their provider says
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    all_input_tokens: int = 0  # charged or not
    all_cached_tokens: int = 0

    def take(self, usage: Usage) -> None:
        """Count an answer."""
        self.n += 1
        self.all_input_tokens += usage.input_tokens or 0
        self.all_cached_tokens += usage.cached_tokens or 0
        if usage.cost_usd is not None:
            self.charged_usd += usage.cost_usd
        elif self.price is None or (
            self.price is not FREE and (usage.input_tokens is None or usage.output_tokens is None)
        ):
            self.n_unknown += 1
        else:
            self.input_tokens += usage.input_tokens or 0
            self.output_tokens += usage.output_tokens or 0
            self.cached_tokens += usage.cached_tokens or 0
            self.written_tokens += usage.written_tokens or 0

    @property
    def usage(self) -> Usage:
        """What is not charged, as one answer."""
        return Usage(
            input_tokens=self.input_tokens, output_tokens=self.output_tokens, cached_tokens=self.cached_tokens,
            written_tokens=self.written_tokens,
        )  # fmt: skip

    @property
    def usd(self) -> Decimal:
        """What they cost, as far as that is known."""
        cost = self.price.plain.cost(self.usage) if self.price is not None else None
        return (cost or Decimal(0)) + Decimal(repr(self.charged_usd))


@dataclass(slots=True)
class Money:
    """What stored answers cost: those of this run, and those that it found. Summed by price, and priced once."""

    _sums: dict[tuple[int, bool], Sums] = field(default_factory=dict)
    _models: dict[int, tuple[Model, Price | None]] = field(default_factory=dict)  # kept: known by identity

    def take(self, model: Model, usage: Usage, *, fresh: bool) -> None:
        """Count an answer."""
        known = self._models.get(id(model))
        if known is None:
            known = self._models[id(model)] = model, price_of(model)
        price = known[1]
        if price is not None and price.above:
            price = price.at(usage.input_tokens or 0)
        sums = self._sums.get((id(price), fresh))
        if sums is None:
            sums = self._sums[id(price), fresh] = Sums(price)
        sums.take(usage)

    def _of(self, *, fresh: bool) -> list[Sums]:
        return [s for (_, f), s in self._sums.items() if f is fresh]

    @property
    def spent_usd(self) -> Decimal:
        """What answers of this run cost."""
        return sum((s.usd for s in self._of(fresh=True)), Decimal(0))

    @property
    def saved_usd(self) -> Decimal:
        """What those cost that it found."""
        return sum((s.usd for s in self._of(fresh=False)), Decimal(0))

    @property
    def prefix_usd(self) -> Decimal:
        """What the provider's cache of prefixes has saved this run."""
        return sum((s.price.plain.saved(s.usage) for s in self._of(fresh=True) if s.price is not None), Decimal(0))

    @property
    def n_unknown(self) -> int:
        """Answers of this run whose cost is not known."""
        return sum(s.n_unknown for s in self._of(fresh=True))

    @property
    def input_tokens(self) -> int:
        """Tokens of input of this run."""
        return sum(s.all_input_tokens for s in self._of(fresh=True))

    @property
    def cached_tokens(self) -> int:
        """Of these, those that a cache of prefixes served."""
        return sum(s.all_cached_tokens for s in self._of(fresh=True))


@dataclass(slots=True)
class StepCount:
    """Requests of one step. `recipes` are those whose inputs are not known yet, so that it is an upper bound;
    `maybe` those whose condition is not decided yet."""  # noqa: D205, D209 - two sentences of one thought

    step: Step
    stored: set[Digest] = field(default_factory=set)
    ready: set[Digest] = field(default_factory=set)
    recipes: set[Recipe] = field(default_factory=set)
    maybe: set[Recipe] = field(default_factory=set)
    fresh: set[Digest] = field(default_factory=set)  # of those stored, what the run itself has asked
    probes: set[Digest] = field(default_factory=set)  # to be sent before its requests are: see run/probes.py
    unread: set[Digest] = field(default_factory=set)  # replies that could not be read, and were asked for once more
    split: set[Digest] = field(default_factory=set)  # that hold no score, for the judge writes numbers digit by digit
    cut: int = 0  # stored answers that `max_tokens` has ended
    empty: int = 0  # stored answers without a text, that are not blocked
    blocked: int = 0
    splitters: set[str] = field(default_factory=set)  # those judges
    n_rows: int = 0  # that read an answer of this step, or will: more than there are requests where some are shared
    n_decided: int = 0
    n_held: int = 0
    invalid: Counter[str] = field(default_factory=Counter)  # why rows were not asked: what raised in their prompts
    unknown: int = 0  # rows whose request cannot be made, for a dataset is not here
    estimate: Estimate = field(default_factory=Estimate)  # of what is left to run
    money: Money = field(default_factory=Money)  # of what is stored

    @property
    def cached(self) -> int:
        """How many are stored."""
        return len(self.stored)

    @property
    def to_run(self) -> int:
        """How many are known to be left."""
        return len(self.ready) + len(self.recipes)

    @property
    def at_most(self) -> int:
        """How many are left if every condition that is not decided yet holds."""
        return self.to_run + len(self.maybe)

    @property
    def expected(self) -> int | None:
        """How many will be left, by how often the condition held so far; None where it was never decided."""
        if not self.maybe:
            return self.to_run
        if not self.n_decided:
            return None
        return self.to_run + round(len(self.maybe) * self.n_held / self.n_decided)

    @property
    def needed(self) -> int:
        """How many there are in all, at most."""
        return self.cached + self.at_most

    def as_json(self) -> dict[str, Any]:
        """Return the counts as the CLI contract names them."""
        to_run: Any = {"expected": self.expected, "at_most": self.at_most} if self.maybe else self.to_run
        return (
            {
                "name": self.step.name,
                "kind": self.step.kind,
                "needed": self.needed,
                "cached": self.cached,
                "to_run": to_run,
            }
            | self.estimate.as_json()
            | ({"unknown": self.unknown} if self.unknown else {})
            | ({"probes": len(self.probes)} if self.probes else {})
            | ({"asked_again": len(self.unread)} if self.unread else {})
            | ({"split_number": len(self.split)} if self.split else {})
        )


@dataclass(slots=True)
class ExperimentCount:
    """Counts of one experiment; cells and samples as selected."""

    experiment: Experiment
    cells: int
    samples: int
    steps: list[StepCount]
    models: dict[tuple[str, Any], Model] = field(default_factory=dict)  # those that would be asked
    heads: dict[int, tuple[Head, Step]] = field(default_factory=dict)  # by which those are asked
    budget: Decimal | None = None  # of the whole run
    others: Sequence[ExperimentCount] = ()  # of experiments before, that may share requests: money counts once
    least_usd: Decimal = Decimal(0)  # what the requests known by now cost at least
    comparison: Comparison | None = None  # with what ran last
    reasons: Counter[Reason] = field(default_factory=Counter)  # of the requests that are ready to be asked
    learned: Learned = field(default_factory=Learned)
    only: Mapping[int, frozenset[int]] = field(default_factory=dict)  # levels that were selected, by axis
    runs: Counter[str] = field(default_factory=Counter)  # that have paid for what is stored
    probed: dict[Digest, bool] = field(default_factory=dict)  # probes with an answer, and whether this run asked them
    by: tuple[int, ...] = ()  # axes by which requests are counted too
    by_levels: dict[tuple[int, ...], list[int]] = field(default_factory=dict)  # stored, and left to run at most
    examples: list[tuple[Step, Outcome]] = field(default_factory=list)  # a few of what is left, to be named
    on_open: Callable[[Step, Outcome, Query | None], None] | None = None  # sees each request that is left

    @property
    def beyond_budget(self) -> str:
        """What is to be said where the budget cannot reach; nothing where it may."""
        budget = self.experiment.budget
        if budget is None or self.least_usd <= budget:
            return ""
        return beyond(self.least_usd, Decimal(budget))

    @property
    def at_most(self) -> int:
        """Requests left to run, at most."""
        return sum(s.at_most for s in self.steps)


def beyond(least: Decimal, budget: Decimal) -> str:
    """Return that what is left costs more than a budget, with as many digits as tell the two apart."""
    digits = next((n for n in range(2, 12) if round(least, n) > budget), 12)
    return f"what is left to ask costs at least ${least:.{digits}f}, and the budget is ${budget:f}"


def plan(walk: Walk, store: Store, count: ExperimentCount | None = None, *, run: str = "") -> ExperimentCount:
    """Return what running one experiment would do, with what the store holds now; `run` has just asked some of it."""
    count = count or start(walk)
    for rows in surveyed(walk, store, count, run=run):
        del rows
    return count


def surveyed(
    walk: Walk, store: Store, count: ExperimentCount, *, skip: int = 0, run: str = ""
) -> Iterator[list[Outcome]]:
    """Yield the selected rows with what is stored settled, each counted; those to `skip` were counted before."""
    for rows in chunks(islice(walk.rows(), skip, None)):
        resolve(walk, rows, store)
        for row in rows:
            note(walk, count, row, run=run)
        yield rows
    finish(count)


def start(walk: Walk, budget: Decimal | None = None) -> ExperimentCount:
    """Return the counts of an experiment before any row was seen."""
    experiment = walk.experiment
    cells = sum(1 for c in experiment.cells() if walk.selection.takes(c)) if walk.selection.only else experiment.n_cells
    steps = [StepCount(s) for s in experiment.steps]
    return ExperimentCount(experiment, cells, walk.samples, steps, only=walk.selection.only, budget=budget)


def started(walks: Sequence[Walk], budget: Decimal | None = None) -> list[ExperimentCount]:
    """Return the counts of all experiments of a program before any row was seen."""
    counts: list[ExperimentCount] = []
    for walk in walks:
        count = start(walk, budget)
        count.others = tuple(counts)
        counts.append(count)
    return counts


def finish(count: ExperimentCount) -> None:
    """Estimate tokens and cost of what is left, now that all that is stored was seen."""
    answers: dict[str, Reach] = {}
    for found in count.steps:
        n_unknown = len(found.recipes) + len(found.maybe)
        expected = found.expected
        share = None if expected is None else (expected - len(found.ready)) / n_unknown if n_unknown else 1.0
        quoted = [answers[need] for need in found.step.needs if need in answers]
        found.estimate.finish(count.learned, found.step.name, quoted, share=share)
        if found.step.kind == ASK:
            answers[found.step.name] = found.estimate.answer


def note(walk: Walk, count: ExperimentCount, row: Outcome, *, run: str = "") -> None:
    """Take in one row whose stored answers are settled; `run` is the run that has just asked."""
    inputs: dict[str, Any] = {}
    for found in count.steps:
        step = found.step
        result = row.results.get(step.name)
        if step.condition is not None and (result is not None or step.name in row.open):
            held = result is None or result.value != NOT_NEEDED
            found.n_decided += 1
            found.n_held += held
        if result is not None:
            _note_split(found, result)
            if result.query is not None:
                _take_probe(walk, count, found, result.query, run)
            if result.response is not None and result.query is not None:
                for earlier in result.earlier:
                    found.unread.add(earlier[0].key)
                    _take(count, found, row, *earlier, run)
                _note_odd(found, result, result.query.key)
                inputs[step.name] = _take(count, found, row, result.query, result.response, run)
            elif result.value == NOT_OBTAINED:
                found.unknown += 1
            elif result.value == INVALID and result.error:
                found.invalid[result.error] += 1
            continue
        try:
            head, _ = walk.head(step, row)
        except MissingInput:  # who is asked depends on rows that are not here
            found.unknown += 1
            continue
        found.n_rows += 1
        query = row.open.get(step.name)
        _note_probe(walk, found, step, head)
        if query is not None:
            _take_probe(walk, count, found, query, run)
            for earlier in (row.unread or {}).get(step.name, ()):
                _take(count, found, row, *earlier, run)
            inputs[step.name] = query.key
            if query.key not in found.ready:
                found.ready.add(query.key)
                _open(count, found, row, query)
            continue
        recipe = hash(
            (
                count.experiment.name,
                step.name,
                tuple([row.cell[i] for i in step.head_axes]),
                tuple([row.cell[i] for i in step.prompt_axes]),
                row.sample if step.prompt_sample else -1,
                step.draw,
                tuple([inputs.get(need, need) for need in step.needs]),
            )
        )
        inputs[step.name] = recipe
        undecided = step.condition is not None and not all(n in row.results for n in step.condition_needs)
        group = found.maybe if undecided else found.recipes
        if recipe not in group:
            group.add(recipe)
            count.models.setdefault((head.model.use, head.model.url), head.model)
            found.estimate.unknown(head, count.learned)
            count.heads.setdefault(id(head), (head, step))
            if len(found.estimate.rendered) < MAX_RENDERED:
                _render(found, row)
            _left(count, found, row, None)


def _note_odd(found: StepCount, result: Result, key: Digest) -> None:
    """Take in an answer that is cut, empty or blocked, once for each request."""
    response = result.response
    if response is not None and found.step.kind == ASK and key not in found.stored:
        found.cut += response.finish == "length"
        found.blocked += response.finish == "blocked"
        found.empty += result.value == ""


def _note_probe(walk: Walk, found: StepCount, step: Step, head: Head) -> None:
    """Take in that a judge's probe must be answered before its requests are sent."""
    probe = walk.probes.of(step, head)
    if probe is not None and probe.response is None and not probe.split:
        found.probes.add(probe.query.key)


def _note_split(found: StepCount, result: Result) -> None:
    """Take in a verdict that is missing for its judge writes numbers digit by digit."""
    if result.value == SPLIT_NUMBER and result.query is not None:
        found.split.add(result.query.key)
        found.splitters.add(result.query.head.model.use)


def _take_probe(walk: Walk, count: ExperimentCount, found: StepCount, query: Query, run: str) -> None:
    """Take in once what the answer to a judge's probe cost, where it has one."""
    probe = walk.probes.of(found.step, query.head)
    if probe is None or probe.response is None or probe.query.key in count.probed:
        return
    fresh = bool(run) and probe.response.run == run
    count.probed[probe.query.key] = fresh
    if not any(probe.query.key in c.probed for c in count.others):
        found.money.take(query.head.model, probe.response.usage, fresh=fresh)


def _open(count: ExperimentCount, found: StepCount, row: Outcome, query: Query) -> None:
    """Take in a request that is ready to be asked, seen for the first time."""
    model = query.head.model
    count.models.setdefault((model.use, model.url), model)
    count.heads.setdefault(id(query.head), (query.head, found.step))
    if (count.experiment.budget is not None or count.budget is not None) and not _counted(count, found, query.key):
        count.least_usd += least_usd(query)
    found.estimate.known(query, count.learned)
    if count.comparison is not None:
        count.reasons[UNREAD if query.tries else count.comparison.reason(row, found.step, query)] += 1
    _left(count, found, row, query)


def _take(count: ExperimentCount, found: StepCount, row: Outcome, query: Query, response: Response, run: str) -> Digest:
    """Take in a stored answer; return its key."""
    key, fresh = query.key, bool(run) and response.run == run
    found.n_rows += 1
    if key not in found.stored:
        found.stored.add(key)
        count.learned.take(found.step.name, query, response)
        count.runs[response.run] += 1
        if not _counted(count, found, key):
            found.money.take(query.head.model, response.usage, fresh=fresh)
        _by(count, row, 0)
    if fresh:
        found.fresh.add(key)
    return key


def _counted(count: ExperimentCount, found: StepCount, key: Digest) -> bool:
    """Whether another step, or an experiment before, has the same request: its money counts once."""
    return any(key in s.stored or key in s.ready for c in (*count.others, count) for s in c.steps if s is not found)


def _render(found: StepCount, row: Outcome) -> None:
    """Note how long a request is without the answers that it will quote."""
    frame = Frame(parent=row.frame)
    for need in found.step.needs:
        if need not in row.results:
            frame[need] = frame[f"{need}.reasoning"] = ""
    with suppress(MissingInput, EvalFault, TypeError, KeyError):
        found.estimate.rendered.append(found.step.prompt(frame).chars)


def _left(count: ExperimentCount, found: StepCount, row: Outcome, query: Query | None) -> None:
    if len(count.examples) < MOST_EXAMPLES:
        count.examples.append((found.step, row))
    if count.by:
        _by(count, row, 1)
    if count.on_open is not None:
        count.on_open(found.step, row, query)


def _by(count: ExperimentCount, row: Outcome, column: int) -> None:
    if count.by:
        levels = tuple(row.cell[i] for i in count.by)
        count.by_levels.setdefault(levels, [0, 0])[column] += 1
