"""Krippendorff's alpha of any number of raters, some of whom may be missing, with a bootstrap interval.

Alpha is 1 - Do / De: the mean squared distance of two ratings of one unit, over that of any two ratings. Pairs are
kept, not a matrix of all values: scores with decimals are all different. Source: Krippendorff (2011), "Computing
Krippendorff's alpha-reliability"; for the bootstrap over units Hayes and Krippendorff (2007), Communication Methods and
Measures 1, here over clusters of units; for the jackknife Efron and Stein (1981), Annals of Statistics 9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from emdsl.outcomes.bootstrap import MIN_CLUSTERS, generator, resampled_ends
from emdsl.outcomes.distributions import t_quantile
from emdsl.outcomes.spread import SPREAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Array = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ratings:
    """The ratings of units, as places of `values`, and the unlike pairs of ratings of one unit.

    Clusters are places from 0; each counts `times` as often as it stands here. The weights of the pairs of a unit with
    m ratings are 2 / (m - 1).
    """

    values: tuple[Any, ...]  # in order
    times: Array
    cluster: Places  # of each rating
    rating: Places
    number: Array  # of such ratings
    pair_cluster: Places
    pair: tuple[Places, Places]
    weight: Array


def ratings_of(units: Iterable[tuple[str | None, Sequence[Any], int]]) -> Ratings:
    """Return the ratings of units: cluster, the ratings that are there (two or more), number of equal units.

    A unit without a cluster, None, is one itself.
    """
    kept = list(units)
    values = tuple(sorted({v for _, ratings, _ in kept for v in ratings}))
    place_of = {v: i for i, v in enumerate(values)}
    clusters: dict[Any, int] = {}
    times: list[int] = []
    ratings: dict[tuple[int, int], float] = {}
    pairs: dict[tuple[int, int, int], float] = {}
    for i, (name, unit, n) in enumerate(kept):
        cluster = clusters.setdefault((i,) if name is None else name, len(times))
        if cluster == len(times):
            times.append(n if name is None else 1)
        number = 1 if name is None else n
        places = sorted(place_of[v] for v in unit)
        for place in places:
            ratings[cluster, place] = ratings.get((cluster, place), 0.0) + number
        for one, other in combinations(places, 2):
            if one != other:
                key = cluster, one, other
                pairs[key] = pairs.get(key, 0.0) + 2 * number / (len(unit) - 1)
    rated = np.array(list(ratings), dtype=np.int64).reshape(len(ratings), 2)
    paired = np.array(list(pairs), dtype=np.int64).reshape(len(pairs), 3)
    return Ratings(
        values=values, times=np.array(times, dtype=np.float64), cluster=rated[:, 0].copy(), rating=rated[:, 1].copy(),
        number=np.array(list(ratings.values())), pair_cluster=paired[:, 0].copy(),
        pair=(paired[:, 1].copy(), paired[:, 2].copy()), weight=np.array(list(pairs.values())),
    )  # fmt: skip


def alpha(ratings: Ratings, metric: str) -> float | None:
    """Return alpha by a metric: `nominal`, `ordinal` or `interval`; None if all ratings are one value."""
    return _statistic(ratings, metric)(ratings.times)


def _statistic(ratings: Ratings, metric: str) -> Callable[[Array], float | None]:
    """Return alpha as a function of how often each cluster counts."""
    n_clusters, (one, other) = len(ratings.times), ratings.pair

    def observed(squares: Array | float) -> Array:
        """Return the sum of the squared distances of pairs in each cluster."""
        return np.asarray(np.bincount(ratings.pair_cluster, ratings.weight * squares, n_clusters), dtype=np.float64)

    def counted(times: Array) -> Array:
        """Return the number of ratings of each value."""
        n_of = np.bincount(ratings.rating, ratings.number * times[ratings.cluster], len(ratings.values))
        return np.asarray(n_of, dtype=np.float64)

    if metric == "nominal":
        unlike = observed(1.0)

        def nominal(times: Array) -> float | None:
            n_of = counted(times)
            n = n_of.sum()
            return _alpha(float(times @ unlike), n, float(n * n - n_of @ n_of))

        return nominal
    if metric == "interval":
        scale = np.array(ratings.values, dtype=np.float64)
        scale -= scale.mean() if len(scale) else 0.0
        apart = observed((scale[one] - scale[other]) ** 2)
        powers = [
            np.bincount(ratings.cluster, ratings.number * scale[ratings.rating] ** i, n_clusters) for i in range(3)
        ]

        def interval(times: Array) -> float | None:
            n, total, squares = (float(times @ power) for power in powers)
            expected = 2 * (n * squares - total * total)
            return _alpha(float(times @ apart), n, expected if expected > SPREAD * n * squares else 0.0)

        return interval

    def ordinal(times: Array) -> float | None:
        n_of = counted(times)
        n = n_of.sum()
        # the distance of two ranks is the number of ratings from one to the other, the ends by half
        rank = np.cumsum(n_of) - n_of / 2 - n / 2
        one_value = (n_of > 0).sum() < 2
        apart = float(ratings.weight * times[ratings.pair_cluster] @ (rank[one] - rank[other]) ** 2)
        return _alpha(apart, n, 0.0 if one_value else float(2 * n * (n_of @ rank**2)))

    return ordinal


def _alpha(observed: float, n: float, expected: float) -> float | None:
    """Return 1 - Do / De, from the sums of squared distances of pairs; None without a distance at all."""
    return 1 - (n - 1) * observed / expected if expected > 0 else None


def alpha_interval(
    ratings: Ratings, metric: str, level: float, *, resamples: int, seed: str
) -> tuple[float | None, float | None, float | None]:
    """Return both ends of an interval of alpha, and its standard error; None for fewer than two clusters.

    It is a bootstrap over clusters; under MIN_CLUSTERS of them a jackknife with Student's quantile. None too if
    clusters do not differ. For 8 to 48 clusters of normal scores it covers 93 to 96 %.
    """
    n, statistic = int(ratings.times.sum()), _statistic(ratings, metric)
    value = statistic(ratings.times)
    if n < 2 or value is None:
        return None, None, None
    if n < MIN_CLUSTERS:
        without = [statistic(ratings.times - left_out) for left_out in np.eye(len(ratings.times))]
        if None in without:
            return None, None, None
        left = np.array(without, dtype=np.float64)
        mean = ratings.times @ left / n
        error = math.sqrt((n - 1) / n * float(ratings.times @ (left - mean) ** 2))
        half = t_quantile(0.5 + level / 2, n - 1) * error
        return (None, None, None) if error < SPREAD else (value - half, min(1.0, value + half), error)
    rng = generator(seed)
    drawn = (statistic(rng.multinomial(n, ratings.times / n).astype(np.float64)) for _ in range(resamples))
    found = np.array([x for x in drawn if x is not None])
    if len(found) < 2 or found.std() < SPREAD:
        return None, None, None
    low, high = resampled_ends(found, n, level)
    return low, min(1.0, high), float(found.std(ddof=1))
