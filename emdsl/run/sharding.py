"""Shards: the rows of an experiment divided among processes, so that each row is in one of them.

Rows whose prompts begin alike are in one shard, and so are rows that make the same first request. Where that leaves
shards of unequal size, rows are divided by more: by model, by sample, by all axes. Each process finds the same shards
by itself, from the levels of axes alone: no prompt is rendered for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from emdsl.run.order import SAMPLE, first_ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from emdsl.experiment import Cell, Experiment

MAX_BUCKETS = 65_536  # into which the combinations of levels are gathered before they are given to shards
MAX_SHARE = 0.05  # of a shard's rows that one bucket may have, so that shards are balanced
CHUNKS = 32  # parts of each shard that are contiguous in the order of rows
SAME_BEGINNING = 0.5  # share of a prompt that is left unchanged by an axis, from which its levels share a prefix


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of the rows of an experiment."""

    index: int  # from 0
    of: int  # number of shards

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ValueError(f"shard {self.index} of {self.of}")


@dataclass(frozen=True, slots=True)
class _Split:
    """A way to divide rows: by axes, by position from the slowest to the fastest, and by samples."""

    axes: tuple[int, ...]
    samples: bool = False


class Sharding:
    """The shard of each row of an experiment.

    Args:
        experiment: The experiment.
        changes: The share of a prompt that each axis leaves unchanged at its beginning, as of `run/order.py`.
        selected: Returns the selected cells, each with its number of samples; shards have equally many of these rows.
        whole: Whether all rows are selected.
        of: The number of shards.
    """

    def __init__(
        self, experiment: Experiment, changes: Mapping[int, float] | None,
        selected: Callable[[], Iterable[tuple[Cell, int]]], *, whole: bool, of: int,
    ) -> None:  # fmt: skip
        self._experiment = experiment
        self._selected = selected
        self._even = (  # each combination of levels has as many rows
            whole and experiment.cell_samples is None
            and prod(len(axis.levels) for axis in experiment.axes) == experiment.n_cells
        )  # fmt: skip
        best: tuple[int, list[int], tuple[int, ...], _Buckets] | None = None
        for split in _splits(experiment, changes):
            for buckets in self._buckets_of(split):
                weights = self._weights(buckets)
                loads, owners = _dealt(weights, of)
                if best is None or max(loads) < best[0]:
                    best = max(loads), loads, owners, buckets
                if max(weights, default=0) * of <= MAX_SHARE * sum(weights):
                    best = max(loads), loads, owners, buckets
                    break
            else:
                continue
            break
        assert best is not None
        _, self.n_rows, self._owners, self._buckets = best  # `n_rows`: the selected rows of each shard

    def of_row(self, cell: Cell, sample: int) -> int:
        """Return the number of the shard of a row."""
        return self._owners[self._buckets.of(cell, sample)]

    def samples_of(self, shard: Shard, cell: Cell, samples: Sequence[int]) -> Sequence[int]:
        """Return those of some samples of a cell that are in a shard."""
        if not self._buckets.split.samples:
            return samples if self._owners[self._buckets.of(cell, 0)] == shard.index else ()
        return [s for s in samples if self._owners[self._buckets.of(cell, s)] == shard.index]

    def _buckets_of(self, split: _Split) -> Iterator[_Buckets]:
        yield (buckets := _Buckets(self._experiment, split, scattered=False))
        if buckets.width > 1 and not self._even:
            yield _Buckets(self._experiment, split, scattered=True)

    def _weights(self, buckets: _Buckets) -> list[int]:
        """Return the number of selected rows of each bucket."""
        if self._even:
            rows = self._experiment.n_cells * self._experiment.samples
            each = rows // buckets.space
            last = rows - each * buckets.width * (buckets.n - 1)
            return [*[each * buckets.width] * (buckets.n - 1), last]
        counts: Counter[int] = Counter()
        if buckets.split.samples:
            for cell, n in self._selected():
                counts.update([buckets.of(cell, sample) for sample in range(n)])
        else:
            for cell, n in self._selected():
                counts[buckets.of(cell, 0)] += n
        return [counts[i] for i in range(buckets.n)]


class _Buckets:
    """Combinations of levels by number: neighbours together, or scattered where most combinations have no cell."""

    def __init__(self, experiment: Experiment, split: _Split, *, scattered: bool) -> None:
        self.split, self.scattered = split, scattered
        sizes = [len(experiment.axes[axis].levels) for axis in split.axes]
        self._n_samples = experiment.samples if split.samples else 1
        self.space = prod(sizes) * self._n_samples
        self.width = 1 if scattered else -(-self.space // MAX_BUCKETS)
        self.n = min(self.space, _PRIME) if scattered else -(-self.space // self.width)
        stride, strides = self._n_samples, list[int]()
        for size in reversed(sizes):
            strides.insert(0, stride)
            stride *= size
        self._strides = tuple(zip(split.axes, strides, strict=True))

    def of(self, cell: Cell, sample: int) -> int:
        """Return the number of the bucket of a row."""
        number = sample if self.split.samples else 0
        for axis, stride in self._strides:
            number += cell[axis] * stride
        return number % self.n if self.scattered else number // self.width


_PRIME = 65_521  # buckets of scattered combinations


def _splits(experiment: Experiment, changes: Mapping[int, float] | None) -> Iterator[_Split]:
    """Yield the ways to divide rows, from the coarsest to the finest."""
    every = tuple(range(len(experiment.axes)))
    if changes is not None:  # an axis that the prompt does not read changes nothing
        every = tuple(sorted(every, key=lambda axis: changes.get(axis, 2.0)))
    many = experiment.samples > 1
    found: list[_Split] = []
    step = first_ask(experiment)
    if step is not None:
        prompt = tuple(a for a in every if a in step.prompt_axes)
        if changes is not None:
            slow = tuple(a for a in prompt if changes.get(a, 0.0) < SAME_BEGINNING)
            found.append(_Split(slow, many and changes.get(SAMPLE, 1.0) < SAME_BEGINNING))
        requests = prompt + tuple(a for a in every if a in step.settings_axes and a not in prompt)
        found += [_Split(prompt), _Split(requests), *([_Split(requests, samples=True)] if many else [])]
    found += [_Split(every), *([_Split(every, samples=True)] if many else [])]
    yield from dict.fromkeys(found)


def _dealt(weights: Sequence[int], of: int) -> tuple[list[int], tuple[int, ...]]:
    """Deal buckets to shards, some neighbours at a time, each time to the smallest; return its rows, and the owners."""
    loads, owners = [0] * of, list[int]()
    target = sum(weights) / (of * CHUNKS)
    chunk = n = 0
    for weight in weights:
        chunk += weight
        n += 1
        if chunk >= max(target, 1):
            shard = loads.index(min(loads))
            loads[shard] += chunk
            owners += [shard] * n
            chunk = n = 0
    shard = loads.index(min(loads))
    loads[shard] += chunk
    return loads, (*owners, *[shard] * n)
