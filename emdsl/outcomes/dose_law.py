"""The law of a rate over doses, and its maximum likelihood: many fits at once.

    rate(k) = floor + (ceiling - floor) * k^slope / (k^slope + k50^slope),    rate(0) = floor

This is Hill's equation, a logistic curve in log k. A point of the law is a row (floor, ceiling, log k50, log slope).
For a given k50 and slope the logarithm of the likelihood is concave in the other two, so that a grid of both finds the
maximum. Sources: Hill (1910), "The possible effects of the aggregation of the molecules of haemoglobin"; McCullagh and
Nelder (1989), Generalized Linear Models, 2.5, for Fisher's scoring; Marquardt (1963), "An algorithm for least-squares
estimation of nonlinear parameters", for its damping.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

FLOOR, CEILING, K50, SLOPE = range(4)
SLOPES = (0.25, 8.0)  # limits: flatter is a line in log k, steeper a step between two doses
REACH = 8.0  # k50 is searched up to so many times beyond the positive doses
N_K50 = 33  # values of k50 in a grid
START_SLOPES = (0.35, 0.7, 1.0, 1.5, 2.5, 5.0)
_LEAST = 1e-9  # probability, where one is divided by
_MAX_STEPS = 60
_GIVEN_UP = 1e8  # damping


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """Hits and values of each cluster (row) at each dose (column, ascending)."""

    clusters: tuple[str, ...]
    doses: Array
    hits_of: Array
    n_of: Array

    @property
    def hits(self) -> Array:
        """The hits at each dose."""
        return np.asarray(self.hits_of.sum(axis=0))

    @property
    def n(self) -> Array:
        """The number of values at each dose."""
        return np.asarray(self.n_of.sum(axis=0))

    @property
    def logs(self) -> Array:
        """The logarithm of each dose."""
        return log_doses(self.doses)

    @property
    def rates(self) -> Array:
        """The rate at each dose."""
        return np.asarray(self.hits / self.n)

    @property
    def box(self) -> tuple[Array, Array]:
        """The smallest and the largest values of a point."""
        positive = self.doses[self.doses > 0]
        least, most = math.log(positive[0] / REACH), math.log(positive[-1] * REACH)
        return np.array([0.0, 0.0, least, math.log(SLOPES[0])]), np.array([1.0, 1.0, most, math.log(SLOPES[1])])


def log_doses(doses: Array) -> Array:
    """Return the logarithm of each dose; minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(doses))


def inside(rates: Array) -> Array:
    """Return rates that are far enough from 0 and 1 to divide by."""
    return np.clip(rates, _LEAST, 1 - _LEAST)


def rates_at(points: Array, logs: Array) -> Array:
    """Return the rate of each point (row) at each dose (column).

    >>> np.round(rates_at(np.array([[0.02, 0.40, math.log(8.0), 0.0]]), np.array([-math.inf, math.log(8.0)])), 4)
    array([[0.02, 0.21]])
    """
    return derivatives(points, logs)[0]


def derivatives(points: Array, logs: Array) -> tuple[Array, Array]:
    """Return the rates, and their derivatives by the four parameters in a third dimension."""
    floor, ceiling, k50, log_slope = (points[:, i, None] for i in range(4))
    slope = np.exp(log_slope)
    z = np.clip(slope * (logs - k50), -700.0, 700.0)
    share = 1 / (1 + np.exp(-z))
    by_z = (ceiling - floor) * share * (1 - share)
    rates = floor + (ceiling - floor) * share
    return rates, np.stack([1 - share, share, -slope * by_z, z * by_z], axis=2)


def likelihood(rates: Array, counts: Counts) -> Array:
    """Return the logarithm of the binomial likelihood of each row of rates."""
    safe = np.clip(rates, 1e-12, 1 - 1e-12)
    return np.asarray((counts.hits * np.log(safe) + (counts.n - counts.hits) * np.log1p(-safe)).sum(axis=1))


def maximize(points: Array, free: Flags, counts: Counts, gain: float = 1e-9) -> tuple[Array, Array]:
    """Return the points of the largest likelihood with its logarithm, from a start for each.

    Args:
        points: The starts, one a row.
        free: For each point, which of its parameters change.
        counts: The data.
        gain: A point is done when a step gains less than this.
    """
    low, high = counts.box
    logs = counts.logs
    points = np.clip(points, low, high)
    best = likelihood(rates_at(points, logs), counts)
    damping, live = np.full(len(points), 1e-4), np.arange(len(points))
    for _ in range(_MAX_STEPS):
        if not len(live):
            break
        step = _step(points[live], free[live], counts, damping[live])
        tried = np.clip(points[live] + step, low, high)
        value = likelihood(rates_at(tried, logs), counts)
        better = value >= best[live]
        gained = value - best[live]
        points[live[better]], best[live[better]] = tried[better], value[better]
        damping[live] = np.where(better, np.maximum(damping[live] / 10, 1e-10), damping[live] * 10)
        live = live[~((better & (gained < gain)) | (damping[live] > _GIVEN_UP))]
    return points, best


def _step(points: Array, free: Flags, counts: Counts, damping: Array) -> Array:
    """Return a damped step of Fisher's scoring; 0 in parameters that are fixed or leave the box."""
    low, high = counts.box
    rates, by = derivatives(points, counts.logs)
    rates = inside(rates)
    weights = 1 / (rates * (1 - rates))
    slopes = np.einsum("bj,bjk->bk", (counts.hits - counts.n * rates) * weights, by)
    information = np.einsum("bj,bjk,bjl->bkl", counts.n * weights, by, by)
    fixed = ~free | ((points <= low) & (slopes < 0)) | ((points >= high) & (slopes > 0))
    slopes = np.where(fixed, 0.0, slopes)
    information = np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, information)
    diagonal = np.arange(4)
    information[:, diagonal, diagonal] *= 1 + damping[:, None]
    information[:, diagonal, diagonal] += 1e-9 + fixed
    step = np.linalg.solve(information, slopes[:, :, None])[:, :, 0]
    step[:, K50:] = np.clip(step[:, K50:], -1.0, 1.0)  # one step never jumps over a dose or two
    return np.asarray(step)


def starts(counts: Counts, log_slope: float | None) -> tuple[Array, Array]:
    """Return the profile over k50, points with their heights: the best for each of N_K50 values of k50.

    With `log_slope` the slope is that one; without it is free too.
    """
    low, high = counts.box
    slopes = np.log(START_SLOPES) if log_slope is None else np.array([log_slope])
    k50, slope = np.meshgrid(np.linspace(low[K50], high[K50], N_K50), slopes, indexing="ij")
    ends = np.broadcast_to(counts.rates[[0, -1]], (k50.size, 2))
    points = np.column_stack([ends, k50.ravel(), slope.ravel()])
    rates_free = np.broadcast_to([True, True, False, False], points.shape)
    points, heights = maximize(points, rates_free, counts, gain=1e-3)
    best = points.reshape(*k50.shape, 4)[np.arange(N_K50), heights.reshape(k50.shape).argmax(axis=1)]
    return maximize(best, np.broadcast_to([True, True, False, log_slope is None], best.shape), counts)
