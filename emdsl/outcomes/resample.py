"""Bootstrap intervals: clusters drawn anew, many times, the same to the bit for the same seed. The door to numpy.

A measure is a ratio of sums, so all that is needed of a cluster are its sums: a million outcomes are no more work than
their clusters. Source: Davison and Hinkley (1997), Bootstrap Methods and their Application; for the expansion of
percentiles Hesterberg (2015), "What teachers should know about the bootstrap"; for two ways of clustering Owen (2007),
"The pigeonhole bootstrap"; for few clusters Cameron and Miller (2015), "A practitioner's guide to cluster-robust
inference".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from emdsl.digest import digest
from emdsl.outcomes.special import t_quantile

FEW = 20  # clusters under which resampling says little: Student's quantiles are used
SPREAD = 1e-12  # a standard error below it is none
MAX_DRAWN = 4_000_000  # numbers drawn at once
Sums = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The clusters of one group: for each, sums and counts of the values of one side, or of two.

    `sums` has a column for each side's sum, and one for each side's count. `times` is how often each occurs, where
    equal ones are one row. With `ways`, rows are crossed: each has a place in both, as positions from 0.
    """

    sums: Sums
    times: np.ndarray[tuple[int], np.dtype[np.int64]]
    ways: tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...] = ()

    @property
    def n(self) -> int:
        """How many clusters there are; of two ways, the fewer."""
        if self.ways:
            return min(len(np.unique(way)) for way in self.ways)
        return int(self.times.sum())


def clusters_of(sums: list[tuple[float, ...]], times: list[int], named: list[list[str]]) -> Clusters:
    """Return clusters from rows; `named` gives each row its place in both of two ways, or nothing."""
    width = len(sums[0]) if sums else 2
    return Clusters(
        sums=np.array(sums, dtype=np.float64).reshape(len(sums), width),
        times=np.array(times, dtype=np.int64),
        ways=tuple(np.unique(names, return_inverse=True)[1] for names in named),
    )


def statistic(sums: Sums) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a ratio, or the difference of two, from totals: one for each row."""
    sides = sums.shape[1] // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sums[:, :sides] / sums[:, sides:]
    return ratios[:, 0] if sides == 1 else ratios[:, 0] - ratios[:, 1]


def interval(found: Clusters, level: float, *, resamples: int, seed: str) -> tuple[float | None, float | None]:
    """Return both ends of an interval; None where there are not two clusters, or a side has no value.

    None too where clusters do not differ: resampling the same says nothing of what was not seen.
    """
    n = found.n
    value = float(statistic(_total(found.sums, found.times))[0])
    if n < 2 or not math.isfinite(value) or standard_error(found) < SPREAD:
        return None, None
    if n < FEW:
        half = t_quantile(0.5 + level / 2, n - 1) * standard_error(found)
        return value - half, value + half
    drawn = _resampled(found, resamples, np.random.Generator(np.random.PCG64(_seed(seed))))
    drawn = drawn[np.isfinite(drawn)]  # a resample in which a side is empty says nothing
    if not len(drawn):
        return None, None
    widened = NormalDist().cdf(-math.sqrt(n / (n - 1)) * t_quantile(0.5 + level / 2, n - 1))
    low, high = np.quantile(drawn, [widened, 1 - widened])
    return float(low), float(high)


def _seed(text: str) -> int:
    return int.from_bytes(digest("bootstrap", text)[:16], "big")


def _total(sums: Sums, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Sums:
    return (times.astype(np.float64) @ sums).reshape(1, -1)


def standard_error(found: Clusters) -> float:
    """Return the cluster-robust standard error; of two ways, the sum of both less that of their crossing."""
    if not found.ways:
        return math.sqrt(_variance(found.sums, found.times, found))
    both = 0.0
    for way in found.ways:
        places, where = np.unique(way, return_inverse=True)
        sums = np.zeros((len(places), found.sums.shape[1]))
        np.add.at(sums, where, found.sums)
        both += _variance(sums, np.ones(len(places), dtype=np.int64), found)
    crossed = _variance(found.sums, np.ones(len(found.sums), dtype=np.int64), found)
    return math.sqrt(max(both - crossed, crossed))


def _variance(sums: Sums, times: np.ndarray[tuple[int], np.dtype[np.int64]], found: Clusters) -> float:
    total = _total(found.sums, found.times)
    sides = total.shape[1] // 2
    ratios = total[0, :sides] / total[0, sides:]
    parts = (sums[:, :sides] - ratios * sums[:, sides:]) / total[0, sides:]
    share = parts[:, 0] if sides == 1 else parts[:, 0] - parts[:, 1]
    n = int(times.sum())
    return float((share**2 * times).sum()) * n / max(n - 1, 1)


def _resampled(
    found: Clusters, resamples: int, rng: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    size = max(1, MAX_DRAWN // max(len(found.sums), 1))
    values = []
    for first in range(0, resamples, size):
        some = min(size, resamples - first)
        if found.ways:
            weights = np.ones((some, len(found.sums)))
            for way in found.ways:
                places, where = np.unique(way, return_inverse=True)
                weights *= rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=some)[:, where]
        else:
            n = int(found.times.sum())
            weights = rng.multinomial(n, found.times / n, size=some).astype(np.float64)
        values.append(statistic(weights @ found.sums))
    return np.concatenate(values)
