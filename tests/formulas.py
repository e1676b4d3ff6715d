"""Published formulas of figures and their intervals, in plain Python and scipy: none of emdsl's code.

Each takes the values of its clusters, a list for each of them: `[[3, 4], [2]]` are three draws in two clusters. The
variance of a figure is that of sums of influences by cluster: Cochran (1977), "Sampling Techniques", ch. 6; Miller
(2024), "Adding Error Bars to Evals", whose clustered standard error is this one without the factor m / (m - 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import scipy.stats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Clusters = list[list[float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, both ends of its 95 % interval and its standard error."""

    value: float
    low: float
    high: float
    se: float


def one_each(values: Sequence[float]) -> Clusters:
    """Return independent draws: each is a cluster."""
    return [[value] for value in values]


def variance(clusters: Clusters, influence: Callable[[float], float]) -> float:
    """Return the variance of a figure by m clusters: m / (m - 1) times the sum of their squared influences."""
    m = len(clusters)
    return m / (m - 1) * math.fsum(math.fsum(map(influence, values)) ** 2 for values in clusters)


def quantile(clusters: Clusters, level: float = 0.95) -> float:
    """Return Student's two-sided quantile, with a degree of freedom less than clusters."""
    return float(scipy.stats.t.ppf(0.5 + level / 2, len(clusters) - 1))


def mean(clusters: Clusters) -> Figure:
    """Return the arithmetic mean, with Student's interval."""
    values = [y for cluster in clusters for y in cluster]
    center = math.fsum(values) / len(values)
    se = math.sqrt(variance(clusters, lambda y: (y - center) / len(values)))
    half = quantile(clusters) * se
    return Figure(center, center - half, center + half, se)


def difference(first: Clusters, second: Clusters) -> Figure:
    """Return the mean of the second draws minus that of the first; each cluster has draws of both."""
    values = [[y for cluster in side for y in cluster] for side in (first, second)]
    a, b = (math.fsum(side) / len(side) for side in values)
    sums = [
        [math.fsum((y - b) / len(values[1]) for y in two) - math.fsum((y - a) / len(values[0]) for y in one)]
        for one, two in zip(first, second, strict=True)
    ]
    se = math.sqrt(variance(sums, lambda total: total))
    half = quantile(sums) * se
    return Figure(b - a, b - a - half, b - a + half, se)


def standard_deviation(clusters: Clusters) -> Figure:
    """Return the standard deviation with n - 1; its interval is Student's on the logarithm, by the delta method."""
    values = [y for cluster in clusters for y in cluster]
    n, center = len(values), math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((y - center) ** 2 for y in values) / (n - 1))
    se = math.sqrt(variance(clusters, lambda y: ((y - center) ** 2 * n / (n - 1) - sd**2) / (2 * sd * n)))
    factor = math.exp(quantile(clusters) * se / sd)
    return Figure(sd, sd / factor, sd * factor, se)


def wilson(p: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a rate: Wilson (1927), JASA 22."""
    z = float(scipy.stats.norm.ppf(0.5 + level / 2))
    center, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (center - half) / (1 + z * z / n)), min(1.0, (center + half) / (1 + z * z / n))


def rate(clusters: Clusters, level: float = 0.95) -> Figure:
    """Return a rate, with Wilson's interval of its effective number of draws: Korn and Graubard (1998).

    The number is n over the design effect and over (t / z)^2. Few events say nothing about how alike draws are: two of
    them are assumed, with the design effect of an intra-class correlation of 0.3 m / (m + 60), m the number of clusters
    (`docs/concepts.md`). The outer end, towards 0 or 1, is at least that of Clopper and Pearson (1934).
    """
    values = [y for cluster in clusters for y in cluster]
    n, m, p = len(values), len(clusters), math.fsum(values) / len(values)
    spread = variance(clusters, lambda y: (y - p) / n)
    observed = max(1.0, spread * n / (p * (1 - p))) if 0 < p < 1 else 1.0
    ratio = quantile(clusters, level) / float(scipy.stats.norm.ppf(0.5 + level / 2))
    assumed = 1 + max(0.0, math.fsum(len(c) ** 2 for c in clusters) / n - 1) * 0.3 * m / (m + 60)
    events = min(p, 1 - p) * n
    effective = n / max(1.0, (2 * assumed + events * ratio**2 * observed) / (2 + events))
    low, high = wilson(p, effective, level)
    hits, misses, tail = p * effective, (1 - p) * effective, (1 - level) / 2
    if p <= 0.5:
        low = min(low, float(scipy.stats.beta.ppf(tail, hits, misses + 1))) if hits else 0.0
    else:
        high = max(high, float(scipy.stats.beta.ppf(1 - tail, hits + 1, misses))) if misses else 1.0
    return Figure(p, low, high, math.sqrt(spread))
