"""The order of rows: those whose prompts share a prefix come together, for a provider's cache of prefixes."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

from emdsl.experiment import ASK
from emdsl.frame import EvalFault, MissingInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from emdsl.experiment import Cell, Experiment, Step
    from emdsl.prompt import Prompt

MIN_CHARS = 4_096  # of a prefix that is worth a wait
MAX_SORTED = 200_000  # cells of a grid that is sorted
MAX_TRIED = 400  # combinations of levels from which prompts are compared
PAIRS = 3  # prompts compared for each axis
SAMPLE = -1  # in an order of axes: where samples change


def first_ask(experiment: Experiment) -> Step | None:
    """Return the step that starts a row."""
    return next((s for s in experiment.steps if s.kind == ASK and not s.needs), None)


def changes_of(experiment: Experiment) -> dict[int, float] | None:
    """Return the share of a prompt that is unchanged at its beginning when one axis, or SAMPLE, alone changes.

    None if prompts are short. Axes that the prompt does not read are left out.
    """
    step = first_ask(experiment)
    if step is None or experiment.n_cells > MAX_SORTED:
        return None
    tried = list(itertools.islice(experiment.projected(step.prompt_axes), MAX_TRIED))
    if not tried or max(_length(experiment, step, levels) for levels in (tried[0], tried[-1])) < MIN_CHARS:
        return None
    shared = {axis: _shared(experiment, step, tried, i) for i, axis in enumerate(step.prompt_axes)}
    if step.prompt_sample and experiment.samples > 1:
        pairs = [(_prompt(experiment, step, t, 0), _prompt(experiment, step, t, 1)) for t in tried[-PAIRS:]]
        shared[SAMPLE] = _mean(pairs)
    return shared


def order_of(experiment: Experiment) -> tuple[int, ...] | None:
    """Return the axes from the slowest to the fastest, with SAMPLE for samples; None for the order as written."""
    changes = changes_of(experiment)
    return by_change(experiment, changes) if changes is not None else None


def by_change(experiment: Experiment, changes: Mapping[int, float]) -> tuple[int, ...]:
    """Return the axes from the slowest to the fastest, with SAMPLE for samples.

    An axis that keeps the beginning of the prompt changes fast; an axis that changes it, slowly.
    """
    axes = (*range(len(experiment.axes)), SAMPLE)
    return tuple(sorted(axes, key=lambda a: changes.get(a, 2.0)))  # an axis that the prompt does not read: fastest


def arranged(cells: Iterable[Cell], order: tuple[int, ...], block: range) -> Iterator[tuple[Cell, range]]:
    """Yield cells in an order of axes, each with the samples that come with it."""
    at = order.index(SAMPLE)
    slow, fast = order[:at], order[at + 1 :]
    cells = sorted(cells, key=lambda c: tuple([c[a] for a in slow + fast]))
    if not fast:
        yield from ((cell, block) for cell in cells)
        return
    for _, group in itertools.groupby(cells, key=lambda c: tuple([c[a] for a in slow])):
        alike = list(group)
        for sample in block:
            yield from ((cell, range(sample, sample + 1)) for cell in alike)


def _shared(experiment: Experiment, step: Step, tried: list[tuple[int, ...]], at: int) -> float:
    """Return the share of a prompt that is unchanged at its beginning when one axis alone changes."""
    seen: dict[tuple[int, ...], tuple[int, ...]] = {}
    pairs = []
    for levels in reversed(tried):  # long prompts tend to come last
        rest = levels[:at] + levels[at + 1 :]
        other = seen.setdefault(rest, levels)
        if other is not levels:
            pairs.append((_prompt(experiment, step, other, 0), _prompt(experiment, step, levels, 0)))
            if len(pairs) == PAIRS:
                break
    return _mean(pairs)


def _mean(pairs: list[tuple[Prompt | None, Prompt | None]]) -> float:
    shares = [one.common(other) / max(one.chars, other.chars, 1) for one, other in pairs if one and other]
    return sum(shares) / len(shares) if shares else 0.0


def _length(experiment: Experiment, step: Step, levels: tuple[int, ...]) -> int:
    prompt = _prompt(experiment, step, levels, 0)
    return prompt.chars if prompt is not None else 0


def _prompt(experiment: Experiment, step: Step, levels: tuple[int, ...], sample: int) -> Prompt | None:
    with suppress(MissingInput, EvalFault, KeyError):
        return step.prompt(experiment.frame(step.prompt_axes, levels, sample))
    return None
