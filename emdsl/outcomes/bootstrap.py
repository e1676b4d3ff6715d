"""Bootstrap intervals: clusters resampled many times, bit for bit the same for the same seed.

A measure is a ratio of sums, so only the sums of each cluster are needed: a million rows are no more work than their
clusters. Source: Davison and Hinkley (1997), Bootstrap Methods and their Application; for the expansion of
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
from emdsl.experiment import WEIGHTS
from emdsl.outcomes.distributions import t_quantile
from emdsl.outcomes.spread import SPREAD

MIN_CLUSTERS = 20  # with fewer, resampling is unreliable and Student's quantiles are used
MAX_DRAWN = 4_000_000  # random numbers at once
Sums = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The clusters of one group: for each, sums and counts of the values of one side, or of two.

    `sums` has a column for each side's sum, and one for each side's count. `times` is the multiplicity of each row.
    With `ways`, rows are crossed: each has a place in both, as positions from 0.
    """

    sums: Sums
    times: np.ndarray[tuple[int], np.dtype[np.int64]]
    ways: tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...] = ()


def clusters_of(sums: list[tuple[float, ...]], times: list[int], named: list[list[str]]) -> Clusters:
    """Return clusters from rows; `named` holds the names of each row's clusters in both of two ways, or is empty."""
    width = len(sums[0]) if sums else 2
    return Clusters(
        sums=np.array(sums, dtype=np.float64).reshape(len(sums), width),
        times=np.array(times, dtype=np.int64),
        ways=tuple(np.unique(names, return_inverse=True)[1] for names in named),
    )


def statistic(sums: Sums) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the ratio of each row of totals; of two sides the difference, of four that of two differences."""
    sides = sums.shape[1] // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sums[:, :sides] / sums[:, sides:]
    weighted: np.ndarray[tuple[int], np.dtype[np.float64]] = ratios @ np.array(WEIGHTS[sides], dtype=np.float64)
    return weighted


def interval(
    clusters: Clusters, level: float, *, error: float | None, n: int, resamples: int, seed: str
) -> tuple[float | None, float | None]:
    """Return both ends of an interval; None for fewer than two clusters, or a side without values.

    None too for identical clusters: resampling them shows no variation.

    Args:
        clusters: What is resampled.
        level: The level of the interval.
        error: The standard error of the figure by these clusters.
        n: The number of clusters; of two ways, the smaller one.
        resamples: The number of resamples.
        seed: Equal seeds give equal intervals.
    """
    value = float(statistic((clusters.times.astype(np.float64) @ clusters.sums).reshape(1, -1))[0])
    if n < 2 or not math.isfinite(value) or error is None or error < SPREAD:
        return None, None
    if n < MIN_CLUSTERS:
        half = t_quantile(0.5 + level / 2, n - 1) * error
        return value - half, value + half
    drawn = _resampled(clusters, resamples, generator(seed))
    drawn = drawn[np.isfinite(drawn)]  # without resamples in which a side is empty
    if not len(drawn):
        return None, None
    return resampled_ends(drawn, n, level)


def resampled_ends(drawn: np.ndarray[tuple[int], np.dtype[np.float64]], n: int, level: float) -> tuple[float, float]:
    """Return the expanded percentiles of a figure's resamples, of n clusters."""
    widened = NormalDist().cdf(-math.sqrt(n / (n - 1)) * t_quantile(0.5 + level / 2, n - 1))
    low, high = np.quantile(drawn, [widened, 1 - widened])
    return float(low), float(high)


def generator(seed: str) -> np.random.Generator:
    """Return random numbers, the same for equal seeds on all machines."""
    return np.random.Generator(np.random.PCG64(_seed(seed)))


def _seed(text: str) -> int:
    return int.from_bytes(digest("bootstrap", text)[:16], "big")


def _resampled(
    clusters: Clusters, resamples: int, rng: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    size = max(1, MAX_DRAWN // max(len(clusters.sums), 1))
    values = []
    for first in range(0, resamples, size):
        some = min(size, resamples - first)
        if clusters.ways:
            weights = np.ones((some, len(clusters.sums)))
            for way in clusters.ways:
                places, where = np.unique(way, return_inverse=True)
                weights *= rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=some)[:, where]
        else:
            n = int(clusters.times.sum())
            weights = rng.multinomial(n, clusters.times / n, size=some).astype(np.float64)
        values.append(statistic(weights @ clusters.sums))
    return np.concatenate(values)
