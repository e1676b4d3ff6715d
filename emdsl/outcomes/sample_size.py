"""Sample sizes: the draws needed to detect an effect, and the smallest effect that a number of draws detects.

Two-sided tests between two groups of equal size: Newcombe's interval for rates, Student's test for all else. Sources:
Fleiss, Levin and Paik (2003), Statistical Methods for Rates and Proportions, ch. 4, for rates of many draws; Cohen
(1988), Statistical Power Analysis, for means; Kish (1965), Survey Sampling, for the design effect of clusters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

from emdsl.outcomes.distributions import beta_quantile, chi_square_quantile, t_power
from emdsl.outcomes.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

POWER, ALPHA = 0.8, 0.05
PROMISED = 0.9  # minimum coverage of a range
RANGE = 0.97  # of a variance: more than PROMISED, as its parts are less certain than their sum
MAX_EXACT = 250  # draws of each group, up to which the power of two rates is computed from their counts
_MAX_DRAWS = 1e9  # draws: more than any study has


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An effect to detect: its size, the power (true positives) and alpha (false positives) of the test."""

    effect: float
    power: float = POWER
    alpha: float = ALPHA

    @property
    def quantiles(self) -> tuple[float, float]:
        """The normal quantiles of both errors."""
        normal = NormalDist()
        return normal.inv_cdf(1 - self.alpha / 2), normal.inv_cdf(self.power)


def draws_of_rates(rate: float, wanted: Wanted) -> float:
    """Return the kept draws that each of two groups needs if one of the rates is `rate`; not rounded.

    The other rate is the one closer to one half, where draws vary most, so that the number is not too small.

    >>> round(draws_of_rates(0.1, Wanted(effect=0.1)))
    199
    """
    other = min(1.0, rate + wanted.effect) if rate <= 0.5 else max(0.0, rate - wanted.effect)
    z_alpha, z_beta = wanted.quantiles
    mean = (rate + other) / 2
    apart = abs(other - rate)
    if not apart:
        return math.inf
    spread = z_alpha * math.sqrt(2 * mean * (1 - mean)) + z_beta * math.sqrt(rate * (1 - rate) + other * (1 - other))
    return (spread / apart) ** 2


@lru_cache(maxsize=256)
def exact_draws_of_rates(rate: float, wanted: Wanted) -> float:
    """Return the smallest number of kept draws of each group at which Newcombe's interval separates the rates.

    It sums the probabilities of all pairs of counts. The power of counts goes up and down with their number; the first
    number that reaches the power is returned. Above MAX_EXACT it is `draws_of_rates`, which is as good there.

    >>> exact_draws_of_rates(0.1, Wanted(effect=0.3))
    31
    """
    about = draws_of_rates(rate, wanted)
    if not about < MAX_EXACT:
        return about
    other = min(1.0, rate + wanted.effect) if rate <= 0.5 else max(0.0, rate - wanted.effect)
    first, second = min(rate, other), max(rate, other)
    n = max(2, int(about * 0.7))
    while n < 2 * MAX_EXACT and power_of_rates(first, second, n, wanted.alpha) < wanted.power:
        n += 1
    return n


def power_of_rates(first: float, second: float, n: int, alpha: float) -> float:
    """Return the power of Newcombe's interval to exclude 0 for two rates, first <= second, of n draws each.

    >>> 0.8 <= power_of_rates(0.1, 0.4, 31, 0.05) < 0.85
    True
    """
    z = NormalDist().inv_cdf(1 - alpha / 2)
    ends = [wilson(hits, n, z) for hits in range(n + 1)]

    def apart(a: int, b: int) -> bool:
        return (b - a) / n > math.hypot(b / n - ends[b][0], ends[a][1] - a / n)

    chances, others = _binomial(first, n), _binomial(second, n)
    least = [0.0] * (n + 2)  # of the second group: the probability of this many hits or more
    most = [0.0] * (n + 2)  # and of fewer
    for hits in range(n, -1, -1):
        least[hits] = least[hits + 1] + others[hits]
    for hits in range(n + 1):
        most[hits + 1] = most[hits] + others[hits]
    power, up, down = 0.0, 0, 0
    for hits in range(n + 1):
        while up <= n and not apart(
            hits, up
        ):  # the nearest hits of the other group that are separated, above and below
            up += 1
        while down <= hits and apart(down, hits):
            down += 1
        power += chances[hits] * (least[up] + most[down])
    return power


def _binomial(rate: float, n: int) -> list[float]:
    """Return the probability of each number of hits in n draws."""
    if rate in (0.0, 1.0):
        return [float(hits == round(rate * n)) for hits in range(n + 1)]
    log_hit, log_miss, log_all = math.log(rate), math.log1p(-rate), math.lgamma(n + 1)
    return [
        math.exp(log_all - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_hit + (n - k) * log_miss)
        for k in range(n + 1)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The parts of the variance of a difference, from which the number of draws follows.

    `within` is divided by the number of draws; `between` clusters, whose levels or effects differ, it does not shrink.
    `n` draws have this many `units`, of which `lost` are no degrees of freedom; units grow with the draws (`grows`),
    but for named clusters.
    """

    between: float
    within: float
    n: float
    units: float
    lost: int
    grows: bool

    def power(self, draws: float, effect: float, alpha: float) -> float:
        """Return the power of a t test to detect an effect with this number of draws."""
        variance = self.between + self.within / draws
        freedom = (self.units * draws / self.n if self.grows else self.units) - self.lost
        if freedom < 1:
            return 0.0
        return t_power(effect / math.sqrt(variance), freedom, alpha) if variance > 0 else 1.0

    def draws(self, wanted: Wanted) -> float:
        """Return the fewest draws that detect the effect with the wanted power, not rounded; infinite if none do.

        >>> round(spread_of_means(30).draws(Wanted(effect=5)))
        566
        """
        if self.power(_MAX_DRAWS, wanted.effect, wanted.alpha) < wanted.power:
            return math.inf
        low, high = 0.0, _MAX_DRAWS
        while high - low > max(1e-3, high * 1e-9):
            middle = math.sqrt(max(low, 1.0) * high) if high > 2 * max(low, 1.0) else (low + high) / 2
            enough = self.power(middle, wanted.effect, wanted.alpha) >= wanted.power
            low, high = (low, middle) if enough else (middle, high)
            if high <= 1:
                break
        return high

    def shows(self, draws: float, wanted: Wanted) -> float | None:
        """Return the smallest effect that this number of draws detects with the wanted power; None if there is none."""
        low, high = 0.0, 1.0
        while self.power(draws, high, wanted.alpha) < wanted.power:
            low, high = high, high * 2
            if high > _MAX_DRAWS:
                return None
        for _ in range(50):
            middle = (low + high) / 2
            enough = self.power(draws, middle, wanted.alpha) >= wanted.power
            low, high = (low, middle) if enough else (middle, high)
        return high


def spread_of_means(sd: float) -> Spread:
    """Return the spread of a difference of two independent groups of equal standard deviation; draws per group."""
    return Spread(between=0.0, within=2 * sd * sd, n=1.0, units=2.0, lost=2, grows=True)


def spread_of_clusters(variance: float, error: float, n: float, n_clusters: int, *, grows: bool) -> Spread:
    """Return the spread of a difference of two groups whose draws are correlated within clusters; draws per group.

    `variance` is that of all draws, `error` the standard error of the group's mean by its clusters. With C clusters of
    m draws each and the share r of the variance between them, the variance of a mean is that of C m / (1 + (m - 1) r)
    independent draws. Source: Kish (1965).
    """
    size = n / n_clusters
    design = error**2 * n / variance if variance > 0 else 1.0
    share = min(1.0, max(0.0, (design - 1) / (size - 1))) if size > 1 else 0.0
    within, between = 2 * variance * (1 - share), 2 * variance * share / n_clusters
    if grows:
        within, between = 2 * variance * (1 + (size - 1) * share), 0.0
    return Spread(between=between, within=within, n=n, units=2.0 * n_clusters, lost=2, grows=grows)


def spread_of_pairs(error: float, n: float, n_units: int) -> Spread:
    """Return the spread of a contrast of paired draws; draws of both sides together."""
    return Spread(between=0.0, within=error**2 * n, n=n, units=float(n_units), lost=1, grows=True)


def spread_of_effects(error: float, of_pairs: float, n: float, n_units: int, n_clusters: int) -> Spread | None:
    """Return the spread of a contrast whose effect differs between clusters; None if each cluster has one pair.

    `error` is the standard error by clusters, `of_pairs` that by pairs. With m pairs in each of C clusters, s the
    variance of the effect between clusters, and v of the difference of one pair, their squares are (s + v / m) / C and
    (s + v) / (C m).
    """
    size = n_units / n_clusters
    if size <= 1:
        return None
    by_cluster, by_pair = error**2 * n_clusters, of_pairs**2 * n_units
    one = max(0.0, by_pair - by_cluster) / (1 - 1 / size)
    between = max(0.0, by_cluster - one / size)
    return Spread(
        between=between / n_clusters, within=one * n / n_units, n=n, units=float(n_clusters), lost=1, grows=False
    )


def variance_ends(freedom: float) -> tuple[float, float]:
    """Return the factors from an estimated variance to both ends of a confidence interval at level RANGE.

    >>> [round(x, 2) for x in variance_ends(23)]
    [0.57, 2.13]
    """
    tail = (1 - RANGE) / 2
    return freedom / chi_square_quantile(1 - tail, freedom), freedom / chi_square_quantile(tail, freedom)


def rate_ends(rate: float, n: int) -> tuple[float, float]:
    """Return both ends of an exact confidence interval of a rate of n draws, at level PROMISED.

    Source: Clopper and Pearson (1934).
    """
    hits, tail = round(rate * n), (1 - PROMISED) / 2
    low = beta_quantile(tail, hits, n - hits + 1) if hits else 0.0
    high = beta_quantile(1 - tail, hits + 1, n - hits) if hits < n else 1.0
    return low, high


def smallest_effect(needed: Callable[[float], float], n: float) -> float | None:
    """Return the smallest effect that `n` draws detect, by bisection; None if there is none.

    `needed` returns the draws for an effect, fewer for a larger one.
    """
    low, high = 0.0, 1.0
    while needed(high) > n:
        low, high = high, high * 2
        if high > _MAX_DRAWS:
            return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if needed(middle) <= n else (middle, high)
    return high
