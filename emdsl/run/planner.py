"""What a run would do: distinct requests of each step that are needed, stored, and left to run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.frame import MissingInput
from emdsl.run.budget import least_usd
from emdsl.run.walk import Walk, chunks, resolve
from emdsl.value import INVALID, NOT_NEEDED, NOT_OBTAINED

if TYPE_CHECKING:
    from emdsl.digest import Digest
    from emdsl.experiment import Experiment, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Model
    from emdsl.store.store import Store


@dataclass(slots=True)
class StepCount:
    """Requests of one step. `recipes` are those whose inputs are not known yet, so that it is an upper bound;
    `maybe` those whose condition is not decided yet."""  # noqa: D205, D209 - two sentences of one thought

    step: Step
    stored: set[Digest] = field(default_factory=set)
    ready: set[Digest] = field(default_factory=set)
    recipes: set[Any] = field(default_factory=set)
    maybe: set[Any] = field(default_factory=set)
    fresh: set[Digest] = field(default_factory=set)  # of those stored, what the run itself has asked
    n_decided: int = 0
    n_held: int = 0
    invalid: Counter[str] = field(default_factory=Counter)  # why rows were not asked: what raised in their prompts
    unknown: int = 0  # rows whose request cannot be made, for a dataset is not here

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
        return {
            "name": self.step.name,
            "kind": self.step.kind,
            "needed": self.needed,
            "cached": self.cached,
            "to_run": to_run,
        } | ({"unknown": self.unknown} if self.unknown else {})


@dataclass(slots=True)
class ExperimentCount:
    """Counts of one experiment; cells and samples as selected."""

    experiment: Experiment
    cells: int
    samples: int
    steps: list[StepCount]
    models: dict[str, Model] = field(default_factory=dict)  # those that would be asked
    least_usd: Decimal = Decimal(0)  # what the requests known by now cost at least

    @property
    def beyond_budget(self) -> str:
        """What is to be said where the budget cannot reach; nothing where it may."""
        budget = self.experiment.budget
        if budget is None or self.least_usd <= budget:
            return ""
        return f"what is left to ask costs at least ${self.least_usd:.2f}, and the budget is ${budget}"

    @property
    def at_most(self) -> int:
        """Requests left to run, at most."""
        return sum(s.at_most for s in self.steps)


def plan(walk: Walk, store: Store) -> ExperimentCount:
    """Return what running one experiment would do, with what the store holds now."""
    count = start(walk)
    for rows in chunks(walk.rows()):
        resolve(walk, rows, store)
        for row in rows:
            note(walk, count, row)
    return count


def start(walk: Walk) -> ExperimentCount:
    """Return the counts of an experiment before any row was seen."""
    experiment = walk.experiment
    cells = sum(1 for c in experiment.cells() if walk.selection.takes(c)) if walk.selection.only else experiment.n_cells
    return ExperimentCount(experiment, cells, walk.samples, [StepCount(s) for s in experiment.steps])


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
            if result.response is not None and result.query is not None:
                found.stored.add(result.query.key)
                if run and result.response.run == run:
                    found.fresh.add(result.query.key)
                inputs[step.name] = result.query.key
            found.unknown += result.value == NOT_OBTAINED
            if result.value == INVALID and result.error:
                found.invalid[result.error] += 1
            continue
        try:
            head, _ = walk.head(step, row)
        except MissingInput:  # who is asked depends on rows that are not here
            found.unknown += 1
            continue
        count.models.setdefault(f"{head.model.use} {head.model.url}", head.model)
        if step.name in row.open:
            key = row.open[step.name].key
            if key not in found.ready:
                count.least_usd += least_usd(row.open[step.name])
            found.ready.add(key)
            inputs[step.name] = key
            continue
        recipe = (
            step.name,
            tuple(row.cell[i] for i in step.head_axes),
            tuple(row.cell[i] for i in step.prompt_axes),
            row.sample if step.prompt_sample else -1,
            step.draw,
            tuple(inputs.get(need, need) for need in step.needs),
        )
        inputs[step.name] = recipe
        undecided = step.condition is not None and not all(n in row.results for n in step.condition_needs)
        (found.maybe if undecided else found.recipes).add(recipe)
