"""Pilots: a small balanced sample of the rows of an experiment, from which the cost of all of them is estimated.

A pilot has every level of every axis several times, and every model with every level of the axes that change its
prompts. Axes with many levels, such as questions, are spread as evenly as possible. Its rows are rows of the study, and
mostly of the first sample: demonstrations that a sample shares are then a prefix of several requests.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from emdsl.experiment import ASK, levels_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.experiment import Cell, Experiment

SEED = 20  # the same study has the same pilot
SHARE = 0.03  # of the rows
PER_MODEL = 30  # rows of each model and its parameters, at least
MIN_ROWS, MAX_ROWS = 60, 400
MAX_SHARE = 0.25  # of the rows, beyond the least number for every level
MIN_EACH = 3  # rows of a level of an axis
MAX_LEVELS = 40  # of an axis whose levels must all occur
MAX_CANDIDATES = 20_000  # cells from which rows are chosen
COMPARED = 24  # candidates compared for each row

Feature = tuple[int, ...]  # an axis with a level, or a model with both


def pilot_rows(experiment: Experiment, samples: int, takes: Callable[[Cell], bool]) -> Mapping[Cell, int]:
    """Return the cells of a pilot, each with its number of samples.

    Args:
        experiment: The experiment.
        samples: Selected samples of each cell.
        takes: Whether a cell is selected.
    """
    chance = random.Random(SEED)  # noqa: S311 - a sample of rows, no secret
    cells, n_rows = _candidates(experiment, samples, takes, chance)
    return _Choice(experiment, cells, samples, chance).rows(n_rows)


def _candidates(
    experiment: Experiment, samples: int, takes: Callable[[Cell], bool], chance: random.Random
) -> tuple[list[Cell], int]:
    """Return some of the selected cells, in random order, and the number of rows of all.

    Of a large grid these are as many as can be kept, and the first cells of each level.
    """
    share = MAX_CANDIDATES / experiment.n_cells if experiment.n_cells else 1.0
    few = [i for i, a in enumerate(experiment.axes) if len(a.levels) <= MAX_LEVELS]
    seen: Counter[tuple[int, int]] = Counter()
    cells, n_rows = [], 0
    for cell in filter(takes, experiment.cells()):
        n_rows += min(samples, experiment.samples_of(cell))
        if share >= 1 or chance.random() < share or any(seen[i, cell[i]] < MIN_EACH for i in few):
            cells.append(cell)
            seen.update((i, cell[i]) for i in few)
    chance.shuffle(cells)
    return cells, n_rows


class _Choice:
    """Rows that are chosen one by one, each the one whose levels are the rarest so far."""

    def __init__(self, experiment: Experiment, cells: list[Cell], samples: int, chance: random.Random) -> None:
        asks = [s for s in experiment.steps if s.kind == ASK] or list(experiment.steps)
        self._models = sorted({a for s in asks for a in s.settings_axes})
        shaping = {a for s in experiment.steps for a in (*s.prompt_axes, *s.settings_axes)}
        self._axes = [i for i, a in enumerate(experiment.axes) if len(a.levels) > 1]
        self._pairs = [i for i in self._axes if i in shaping and i not in self._models]
        self._many = {i for i in self._axes if len(experiment.axes[i].levels) > MAX_LEVELS}
        self._model_of = levels_at(tuple(self._models))
        self._cells, self._samples, self._chance = cells, samples, chance
        self._samples_of = experiment.samples_of
        self._with: dict[Feature, list[Cell]] = {}
        for cell in cells:
            for feature in self._features(cell):
                self._with.setdefault(feature, []).append(cell)
        self._n: Counter[Feature] = Counter()  # chosen rows with a feature
        self._taken: Counter[Cell] = Counter()

    def rows(self, n_rows: int) -> Mapping[Cell, int]:
        """Return the chosen cells, each with its number of samples, of so many rows in all."""
        n_models = len({self._model_of(cell) for cell in self._cells})
        wanted = max(round(SHARE * n_rows), PER_MODEL * n_models, MIN_ROWS)
        wanted = min(wanted, MAX_ROWS, max(round(MAX_SHARE * n_rows), PER_MODEL))
        for feature, least in self._required():
            while self._n[feature] < least and self._choose(self._with[feature]):
                pass
        while self._taken.total() < wanted and self._choose(self._cells):
            pass
        return dict(self._taken)

    def _required(self) -> list[tuple[Feature, int]]:
        """Return the features that must occur, and how often: of a model and a level once, of a level several times."""
        pairs = [f for f in self._with if len(f) > 2 and f[-2] not in self._many]
        levels = [f for f in self._with if len(f) == 2 and f[0] not in self._many]
        return [(f, 1) for f in sorted(pairs)] + [(f, MIN_EACH) for f in sorted(levels)]

    def _features(self, cell: Cell) -> list[Feature]:
        model = self._model_of(cell)
        return [(i, cell[i]) for i in self._axes] + [(*model, i, cell[i]) for i in self._pairs if model]

    def _choose(self, cells: list[Cell]) -> bool:
        """Choose a row of one of some cells; return whether there was one."""
        some = cells if len(cells) <= COMPARED else self._chance.sample(cells, COMPARED)
        open_ = list(filter(self._is_open, some))
        if not open_ and some is not cells:
            open_ = list(filter(self._is_open, cells))
        if not open_:
            return False
        chosen = max(open_, key=self._rarity)
        self._taken[chosen] += 1
        self._n.update(self._features(chosen))
        return True

    def _is_open(self, cell: Cell) -> bool:
        return self._taken[cell] < min(self._samples, self._samples_of(cell))

    def _rarity(self, cell: Cell) -> float:
        rare = sum([1 / (1 + self._n[f]) for f in self._features(cell)])
        return rare - len(self._axes) * self._taken[cell]
