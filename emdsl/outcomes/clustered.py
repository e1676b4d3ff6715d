"""Intervals of figures whose draws are alike within clusters.

A rate has an interval of a smaller number of draws, its effective number. Simulated over 144 designs (8 to 48
clusters of 3 or 10 draws, rates of 2 to 30 %, intra-class correlations of 0 to 0.3, equal and unequal sizes), it
covers 90.7 % or more, and less than 93 % in four, all with 8 or 16 clusters of about 10 draws and a correlation of 0.3:
at a rate of 10 % with 8 clusters (equal 91.9 %, unequal 90.7 %) and 16 (unequal, 91.6 %), at 30 % with 8 (unequal,
92.4 %). See `tests/bench/coverage.py`. Sources: Korn and Graubard
(1998), Survey Methodology 24, for effective numbers with Student's quantile; Dean and Pagano (2015), Journal of
Survey Statistics and Methodology 3, for a comparison; Kish (1965), Survey Sampling, for the design effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.outcomes.distributions import t_quantile
from emdsl.outcomes.intervals import Interval, agresti_coull, clopper_pearson, exact_low, quantile_of, wilson

if TYPE_CHECKING:
    from emdsl.outcomes.spread import Spread

ASSUMED = 0.3  # intra-class correlation of many clusters, as long as there are few events
HALF_ASSUMED = 60  # clusters at which half of ASSUMED is used: with few, Student's quantile is wide enough
WEIGHT = 2  # of that assumption, in events


def effective(rate: float, n: int, spread: Spread, level: float) -> float:
    """Return the effective number of draws of a rate, with the quantile of Student's distribution in it.

    The number is n / F. Where there are events, F is the design effect, at least 1, times (t / z)^2, with t on the
    degrees of freedom of the clusters. Few events say nothing about how alike draws are: then F is a mean,
    weighted by events, of that and the design effect of an assumed intra-class correlation.
    """
    events = min(rate, 1 - rate) * n
    independent = rate * (1 - rate) / n
    observed = max(1.0, spread.variance / independent) if independent > 0 else 1.0
    t = t_quantile(0.5 + level / 2, spread.freedom) / quantile_of(level)
    assumed = 1 + sum(max(0.0, w.sizes / n - 1) * ASSUMED * w.n / (w.n + HALF_ASSUMED) for w in spread.ways)
    return n / max(1.0, (WEIGHT * assumed + events * t * t * observed) / (WEIGHT + events))


def score_interval(rate: float, n: float, level: float) -> Interval:
    """Return Wilson's interval of a rate, its outer end at least as far as Clopper and Pearson's.

    The outer end is the one towards the nearer of 0 and 1, where Wilson's interval is too short for few events.
    """
    low, high = wilson(rate * n, n, quantile_of(level))
    if rate <= 0.5:
        return Interval(min(low, exact_low(rate * n, n, level)), high)
    return Interval(low, max(high, 1 - exact_low((1 - rate) * n, n, level)))


def rate_interval(method: str, rate: float, n: int, spread: Spread, level: float) -> Interval:
    """Return the interval of a rate by a method, for clusters."""
    number = effective(rate, n, spread, level)
    match method:
        case "wald" if error := spread.error:
            return clipped(student_interval(rate, error, spread.freedom, level), 0.0)
        case "agresti_coull":
            return agresti_coull(rate * number, number, quantile_of(level))
        case "clopper_pearson":
            return clopper_pearson(rate * number, number, level)
        case _:
            return score_interval(rate, number, level)


def student_interval(value: float, error: float, freedom: float, level: float) -> Interval:
    """Return the interval of a figure by Student's distribution."""
    half = t_quantile(0.5 + level / 2, freedom) * error
    return Interval(value - half, value + half)


def clipped(interval: Interval, least: float) -> Interval:
    """Return an interval within `least` and 1."""
    return Interval(max(least, interval.low), min(1.0, interval.high))
