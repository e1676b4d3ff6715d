"""The dose-response fit: floor, ceiling, k50 and slope of a rate over doses, with clustered intervals.

Values of one cluster are alike, so the binomial likelihood, which treats them as independent, is right about its
maximum only. An interval inverts the profile of the likelihood: twice the loss of its logarithm, divided by the
parameter's design effect (variance between clusters, over the one of independent values), is compared with the square
of Student's quantile on C - 1. Wald's intervals of k50 cover too little, because a free ceiling and slope leave a ridge
in the likelihood: tests/bench/dose.py has the coverage of both.

Sources: Varin, Reid and Firth (2011), "An overview of composite likelihood methods", 2.3, for the scaled profile;
Cameron and Miller (2015), "A practitioner's guide to cluster-robust inference", for CR1 and Student's quantiles;
Rao and Scott (1984), "On chi-squared tests for multiway contingency tables with cell proportions estimated from survey
data", for the test of fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from emdsl.outcomes.distributions import f_tail, t_quantile, t_tails
from emdsl.outcomes.dose_law import (
    CEILING,
    FLOOR,
    K50,
    SLOPES,
    Array,
    Counts,
    Flags,
    derivatives,
    inside,
    likelihood,
    log_doses,
    maximize,
    rates_at,
    starts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MIN_DOSES = 4  # as many as parameters: with fewer, nothing is estimated
ALPHA = 0.05  # of the tests of trend and of fit
_EDGE = 1e-7  # closer to its limit, a parameter is at it
N_VALUES = 25  # of a parameter in its profile
N_BETWEEN = 9  # more of them between two, where the profile passes the limit
_N_RATIOS = 401  # values of log k50, and of the ratio of two


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A parameter and its interval; `reason` tells why one of them is missing.

    An interval without `low` or `high` is open there: the likelihood does not fall, as far as it was searched.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The change of the rate for each doubling of 1 + dose, with its interval and the p-value of no monotone trend.

    All are None for one dose or one cluster, and if the clusters do not differ.
    """

    slope: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The k50 of one fit over the k50 of another, its interval and the p-value of equal ones; or the `reason`."""

    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Maximum:
    """The largest likelihood: its point (floor, ceiling, log k50, log slope) and logarithm.

    `free` marks parameters that are neither given nor at a limit. `model` is the covariance of independent values,
    `cover` the one between clusters (sandwich, CR1), the product of `influence`, a row for each cluster. The design
    effect is the mean over all directions of the free parameters, and at least 1. `pool` has points of large
    likelihood.
    """

    point: Array
    best: float
    changes: Flags
    free: Flags
    model: Array
    influence: Array
    design_effect: float
    pool: Array

    @property
    def cover(self) -> Array:
        """The covariance between clusters."""
        return np.asarray(self.influence.T @ self.influence)

    def scale(self, j: int) -> float:
        """The design effect of parameter j; of a rate, the mean one if that is larger.

        Few hits at a small rate tell little about how they cluster, and the other doses tell more.
        """
        if self.model[j, j] <= 0:
            return self.design_effect
        own = float(self.cover[j, j] / self.model[j, j])
        return max(own, self.design_effect) if j in (FLOOR, CEILING) else own


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DoseFit:
    """A fit. `p_fit` is the p-value of the law against one free rate for each dose; a small one says it does not fit.

    It is None if there are no more doses than parameters. `maximum` is None if nothing was estimated.
    """

    counts: Counts
    level: float
    floor: Estimate
    ceiling: Estimate
    k50: Estimate
    slope: Estimate
    trend: Trend
    p_fit: float | None = None
    maximum: Maximum | None = None

    @property
    def fits(self) -> bool:
        """Whether the rates do not contradict the law."""
        return self.p_fit is None or self.p_fit >= ALPHA

    def band(self, doses: Sequence[float]) -> list[tuple[float, float, float]]:
        """Return the rate, low and high at each dose, each interval for itself; nothing without a fit or intervals.

        Wilson's interval with the effective n of the fitted rate (delta method), and the floor's interval at dose 0.
        """
        if self.maximum is None or len(self.counts.clusters) < 2:
            return []
        rates, by = derivatives(self.maximum.point[None], log_doses(np.array(doses, dtype=np.float64)))
        cover = np.einsum("jk,kl,jl->j", by[0], self.maximum.cover, by[0])
        model = np.einsum("jk,kl,jl->j", by[0], self.maximum.model, by[0]) * self.maximum.design_effect
        t = _student(len(self.counts.clusters), self.level)
        return [
            self._at_0() if dose == 0 else (float(rate), *_wilson(float(rate), float(variance), t))
            for dose, rate, variance in zip(doses, rates[0], np.maximum(cover, model), strict=True)
        ]

    def _at_0(self) -> tuple[float, float, float]:
        floor = self.floor
        assert floor.value is not None
        return floor.value, 0.0 if floor.low is None else floor.low, 1.0 if floor.high is None else floor.high


def fit(rows: Iterable[tuple[str, float, float, float]], level: float = 0.95, slope: float | None = None) -> DoseFit:
    """Return the fit of rows of cluster, dose, hits and number of values.

    A rate that falls with the dose has a ceiling below its floor.

    Args:
        rows: Any number for a cluster and dose; they are added up. Clusters need not have all doses.
        level: The level of all intervals.
        slope: The slope if it is known. The interval of k50 is far narrower then, and wrong if the slope is.

    Raises:
        ValueError: for a negative dose, hits that are not within 0 and n, or a slope out of SLOPES.
    """
    counts = counts_of(rows)
    if slope is not None and not SLOPES[0] <= slope <= SLOPES[1]:
        raise ValueError(f"slope must be within {SLOPES[0]} and {SLOPES[1]}")
    trend = trend_of(counts, level)
    missing = _not_estimated(counts, MIN_DOSES - (slope is not None))
    if not missing:
        try:
            return _estimated(counts, level, slope, trend)
        except np.linalg.LinAlgError:
            missing = "the doses are too far apart for a fit"
    none = Estimate(reason=missing)
    return DoseFit(counts=counts, level=level, floor=none, ceiling=none, k50=none, slope=none, trend=trend)


def _estimated(counts: Counts, level: float, slope: float | None, trend: Trend) -> DoseFit:
    maximum = _maximum(counts, None if slope is None else math.log(slope))
    floor, ceiling, k50, steepness = (_estimate(counts, maximum, j, level) for j in range(4))
    outside = _outside(counts, k50)
    if outside:
        k50 = Estimate(reason=outside)
    if trend.p is not None and trend.p >= ALPHA:
        ceiling = k50 = steepness = Estimate(reason="no trend over the doses")
    return DoseFit(
        counts=counts, level=level, floor=floor, ceiling=ceiling, k50=k50, slope=steepness, trend=trend,
        p_fit=_p_fit(counts, maximum), maximum=maximum,
    )  # fmt: skip


def counts_of(rows: Iterable[tuple[str, float, float, float]]) -> Counts:
    """Return the counts of rows as `fit` takes them; rows without values are left out."""
    kept = [row for row in rows if row[3] > 0]
    if any(dose < 0 or not 0 <= hits <= n for _, dose, hits, n in kept):
        raise ValueError("doses must be at least 0, and hits within 0 and n")
    clusters = {name: i for i, name in enumerate(sorted({name for name, *_ in kept}))}
    doses = {dose: j for j, dose in enumerate(sorted({float(dose) for _, dose, *_ in kept}))}
    hits_of, n_of = np.zeros((len(clusters), len(doses))), np.zeros((len(clusters), len(doses)))
    for name, dose, hits, n in kept:
        hits_of[clusters[name], doses[float(dose)]] += hits
        n_of[clusters[name], doses[float(dose)]] += n
    return Counts(clusters=tuple(clusters), doses=np.array(list(doses), dtype=np.float64), hits_of=hits_of, n_of=n_of)


def trend_of(counts: Counts, level: float) -> Trend:
    """Return the weighted regression of the rate on log2(1 + dose), with an error between clusters and t(C - 1)."""
    n_clusters = len(counts.clusters)
    if n_clusters < 2 or len(counts.doses) < 2:
        return Trend()
    z = np.log2(1 + counts.doses)
    z = z - (counts.n @ z) / counts.n.sum()
    spread = float(counts.n @ z**2)
    slope = float(counts.hits @ z) / spread
    expected = counts.hits.sum() / counts.n.sum() + slope * z
    influence = (counts.hits_of - counts.n_of * expected) @ z / spread
    error = math.sqrt(float(influence @ influence) * n_clusters / (n_clusters - 1))
    if error < _EDGE * max(abs(slope), _EDGE):
        return Trend()
    half = _student(len(counts.clusters), level) * error
    return Trend(slope=slope, low=slope - half, high=slope + half, p=t_tails(slope / error, n_clusters - 1))


def ratio(first: DoseFit, second: DoseFit) -> Ratio:
    """Return the contrast of two k50; clusters of one name are paired.

    It inverts the profile of the likelihood of both fits together, scaled as an interval of one, where the variance
    between clusters is the one of the differences of their influences. Degrees of freedom are C - 1 of all clusters,
    C - 2 if no cluster is in both. The level is the first fit's.
    """
    one, two = first.maximum, second.maximum
    if one is None or two is None or first.k50.value is None or second.k50.value is None:
        return Ratio(reason=first.k50.reason or second.k50.reason)
    differences = dict(zip(first.counts.clusters, one.influence[:, K50], strict=True))
    df = len({*first.counts.clusters, *second.counts.clusters}) - (
        2 if differences.keys().isdisjoint(second.counts.clusters) else 1
    )
    value = first.k50.value / second.k50.value
    independent = float(one.model[K50, K50] + two.model[K50, K50])
    if df < 1 or independent <= 0:
        return Ratio(ratio=value, reason="an interval needs at least 2 clusters")
    for name, influence in zip(second.counts.clusters, two.influence[:, K50], strict=True):
        differences[name] = differences.get(name, 0.0) - influence
    scale = sum(d * d for d in differences.values()) / independent
    if scale < _EDGE:
        return Ratio(ratio=value, reason="the clusters do not differ")
    x, lost_first = _losses(first.counts, one)
    y, lost_second = _losses(second.counts, two)
    apart = np.append(np.linspace(x[0] - y[-1], x[-1] - y[0], _N_RATIOS), [math.log(value), 0.0])
    apart.sort()
    lost = np.array([(np.interp(y + by, x, lost_first) ** 2 + lost_second**2).min() for by in apart])
    t = t_quantile(0.5 + first.level / 2, df)
    low, high = _ends(apart, lost, math.log(value), t * t * scale)
    at_0 = float(lost[np.searchsorted(apart, 0.0)])
    return Ratio(ratio=value, low=_exp(low), high=_exp(high), p=t_tails(math.sqrt(at_0 / scale), df))


def _losses(counts: Counts, maximum: Maximum) -> tuple[Array, Array]:
    """Return values of log k50, and the root of twice the loss of the likelihood's logarithm at each."""
    x, lost = _profile(counts, maximum, K50)
    finer = np.unique(np.append(np.linspace(x[0], x[-1], _N_RATIOS), maximum.point[K50]))
    return finer, np.interp(finer, x, np.sqrt(lost))


def _not_estimated(counts: Counts, min_doses: int) -> str:
    if len(counts.doses) < min_doses:
        return f"a fit needs at least {min_doses} doses"
    if counts.hits.sum() in (0, counts.n.sum()):
        return "the rate is the same at every dose"
    return ""


def _outside(counts: Counts, k50: Estimate) -> str:
    """Return on which side of the doses k50 lies, or ""."""
    assert k50.value is not None
    least, most = counts.doses[counts.doses > 0][[0, -1]]
    if k50.value <= least:
        return f"the estimate is not above {least:g}, the smallest dose over 0"
    if k50.value >= most:
        return f"the estimate is not below {most:g}, the largest dose"
    return ""


def _maximum(counts: Counts, log_slope: float | None) -> Maximum:
    changes = np.array([True, True, True, log_slope is None])
    pool, heights = starts(counts, log_slope)
    point, best = maximize(pool[[heights.argmax()]], changes[None], counts)
    low, high = counts.box
    free = changes & (point[0] > low + _EDGE) & (point[0] < high - _EDGE)
    rates, by = derivatives(point, counts.logs)
    weights = 1 / inside(rates[0]) / (1 - inside(rates[0]))
    scores = (counts.hits_of - counts.n_of * rates[0]) * weights @ by[0]
    information = (by[0].T * (counts.n * weights)) @ by[0]
    model, i = np.zeros((4, 4)), np.ix_(free, free)
    model[i] = np.linalg.pinv(information[i], rcond=1e-13, hermitian=True)
    n = len(counts.clusters)
    influence = scores @ model * math.sqrt(n / max(n - 1, 1))
    rank = float(np.trace(model @ information))
    effect = float(np.trace(influence.T @ influence @ information)) / rank if rank > 0.5 else 1.0
    return Maximum(
        point=point[0], best=float(best[0]), changes=changes, free=free, model=model, influence=influence,
        design_effect=max(1.0, effect), pool=pool,
    )  # fmt: skip


def _estimate(counts: Counts, maximum: Maximum, j: int, level: float) -> Estimate:
    value = float(maximum.point[j])
    low = high = None
    reason = ""
    if not maximum.changes[j]:
        reason = "given, not estimated"
    elif len(counts.clusters) < 2:
        reason = "an interval needs at least 2 clusters"
    elif maximum.scale(j) < _EDGE:
        reason = "the clusters do not differ"
    else:
        limit = _student(len(counts.clusters), level) ** 2 * maximum.scale(j)
        low, high = _ends(*_profile(counts, maximum, j, limit), value, limit)
        if j in (FLOOR, CEILING):
            low, high = 0.0 if low is None else low, 1.0 if high is None else high
    if j in (FLOOR, CEILING):
        return Estimate(value=value, low=low, high=high, reason=reason)
    return Estimate(value=math.exp(value), low=_exp(low), high=_exp(high), reason=reason)


def _profile(counts: Counts, maximum: Maximum, j: int, limit: float | None = None) -> tuple[Array, Array]:
    """Return values of parameter j, ascending, and twice the loss of the likelihood's logarithm at each.

    The maximum is among them. With `limit`, more of them are where the loss passes it.
    """
    low, high = counts.box
    values = np.linspace(low[j], high[j], N_VALUES)
    if j in (FLOOR, CEILING):
        values = np.sin(np.linspace(0, math.pi / 2, N_VALUES)) ** 2
    values = np.unique(np.append(values, maximum.point[j]))
    lost = _lost(counts, maximum, j, values)
    if limit is None:
        return values, lost
    passed = np.flatnonzero(np.diff(lost > limit))
    more = np.concatenate([values[:0], *(np.linspace(values[i], values[i + 1], N_BETWEEN)[1:-1] for i in passed)])
    lost = np.concatenate([lost, _lost(counts, maximum, j, more)])
    values = np.concatenate([values, more])
    order = np.argsort(values)
    return values[order], lost[order]


def _lost(counts: Counts, maximum: Maximum, j: int, values: Array) -> Array:
    """Return twice the loss at each value of parameter j, the others at their best; started from the best known."""
    points = np.repeat(np.vstack([maximum.pool, maximum.point])[None], len(values), axis=0)
    points[:, :, j] = values[:, None]
    heights = likelihood(rates_at(points.reshape(-1, 4), counts.logs), counts).reshape(points.shape[:2])
    others = maximum.changes & (np.arange(4) != j)
    best = points[np.arange(len(values)), heights.argmax(axis=1)]
    height = maximize(best, np.broadcast_to(others, best.shape), counts, gain=1e-6)[1]
    return np.maximum(0.0, 2 * (maximum.best - height))


def _ends(values: Array, lost: Array, at: float, limit: float) -> tuple[float | None, float | None]:
    """Return where the loss passes the limit below and above its minimum, interpolated in its root; None if nowhere."""
    roots, most = np.sqrt(lost), math.sqrt(limit)

    def end(side: Flags) -> float | None:
        x, y = values[side], roots[side]
        order = np.argsort(np.abs(x - at))
        x, y = x[order], y[order]
        outside = np.flatnonzero(y > most)
        if not len(outside):
            return None
        i = outside[0]
        return float(np.interp(most, y[i - 1 : i + 1], x[i - 1 : i + 1])) if i else at

    return end(values <= at), end(values >= at)


def _p_fit(counts: Counts, maximum: Maximum) -> float | None:
    """Return the p-value of Pearson's statistic, with the second-order correction of Rao and Scott for clusters."""
    n_clusters, n_doses = len(counts.clusters), len(counts.doses)
    if n_clusters < 2 or n_doses <= maximum.free.sum():
        return None
    rates, by = derivatives(maximum.point[None], counts.logs)
    rate = inside(rates[0])
    weights = counts.n / (rate * (1 - rate))
    residuals = (counts.hits_of - counts.n_of * rate) / counts.n
    rest = np.eye(n_doses) - by[0] @ maximum.model @ (by[0].T * weights)
    spread = np.sqrt(weights)[:, None] * (rest @ (residuals.T @ residuals) @ rest.T) * np.sqrt(weights)
    total = float(np.trace(spread)) * n_clusters / (n_clusters - 1)
    if total < _EDGE:
        return None
    df = float(np.trace(spread)) ** 2 / float((spread**2).sum())
    return f_tail(float(weights @ (counts.rates - rate) ** 2) / total, df, df * (n_clusters - 1))


@lru_cache(maxsize=64)
def _student(n_clusters: int, level: float) -> float:
    return t_quantile(0.5 + level / 2, max(1, n_clusters - 1))


def _wilson(rate: float, variance: float, t: float) -> tuple[float, float]:
    """Return Wilson's interval of a rate whose variance is known, with its effective n."""
    if variance <= 0:
        return rate, rate
    inverse = t * t * variance / max(rate * (1 - rate), _EDGE)
    middle = (rate + inverse / 2) / (1 + inverse)
    half = math.sqrt(inverse * rate * (1 - rate) + inverse * inverse / 4) / (1 + inverse)
    return max(0.0, middle - half), min(1.0, middle + half)


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)
