"""How many draws an effect takes, and which effect so many draws show: before they are paid for.

Two-sided tests between two groups of equal size. Sources: Fleiss, Levin and Paik (2003), Statistical Methods for Rates
and Proportions, ch. 4, for rates; Cohen (1988), Statistical Power Analysis, for means; Kish (1965), Survey Sampling,
for what draws of one cluster are worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POWER, ALPHA = 0.8, 0.05
_MOST = 1e9  # draws; more is never


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An effect to be shown: its size, how often it is to be found where it is there, how often where it is not."""

    effect: float
    power: float = POWER
    alpha: float = ALPHA

    @property
    def quantiles(self) -> tuple[float, float]:
        """The normal quantiles of both errors."""
        normal = NormalDist()
        return normal.inv_cdf(1 - self.alpha / 2), normal.inv_cdf(self.power)


def draws_of_rates(rate: float, wanted: Wanted) -> float:
    """Return the kept draws that each of two groups needs, one of whose rates is `rate`; not rounded.

    The other rate lies towards one half, where draws vary most: the answer is not too small for an effect that way.

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


def draws_of_means(sd: float, wanted: Wanted) -> float:
    """Return the kept draws that each of two groups needs whose values have the standard deviation `sd`.

    >>> round(draws_of_means(30, Wanted(effect=5)))
    565
    """
    return 2 * (sd * sum(wanted.quantiles) / wanted.effect) ** 2


def draws_of_contrast(error: float, n: float, wanted: Wanted) -> float:
    """Return the kept draws of both sides together, where `n` of them gave a contrast the standard error `error`."""
    return n * (error * sum(wanted.quantiles) / wanted.effect) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """How alike draws of one cluster are: `share` of the variance lies between the `n` clusters."""

    share: float
    n: int
    grows: bool  # whether more samples are more clusters


def clustering(variance: float, independent: float, n_draws: float, n_clusters: int, *, grows: bool) -> Clustering:
    """Return it from a cluster-robust variance of an estimate, and that of as many independent draws."""
    size = n_draws / max(n_clusters, 1)
    design = max(1.0, variance / independent) if independent > 0 else 1.0
    share = min(1.0, (design - 1) / (size - 1)) if size > 1 else 0.0
    return Clustering(share=share, n=n_clusters, grows=grows)


def clustered(n_needed: float, n_draws: float, found: Clustering) -> float:
    """Return how many draws are needed where draws of one cluster resemble each other; infinite for never.

    With C clusters of m draws each and the share r of the variance between them, the variance of a mean is that of
    C m / (1 + (m - 1) r) independent draws: more draws of the same clusters come to C / r at most.
    """
    if found.grows:
        return n_needed * (1 + (n_draws / max(found.n, 1) - 1) * found.share)
    left = found.n / n_needed - found.share if n_needed else 1.0
    size = (1 - found.share) / left if left > 0 else math.inf
    return found.n * max(size, n_needed / found.n)


def smallest_effect(needed: Callable[[float], float], n: float) -> float | None:
    """Return the smallest effect that `n` draws show, by bisection; None where they show none up to the greatest.

    `needed` gives the draws that an effect takes; it falls as the effect grows.
    """
    low, high = 0.0, 1.0
    while needed(high) > n:
        low, high = high, high * 2
        if high > _MOST:
            return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if needed(middle) <= n else (middle, high)
    return high
