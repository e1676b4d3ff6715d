"""Krippendorff's alpha of any number of raters, some of whom may be missing, with a bootstrap interval.

Source: Krippendorff (2011), "Computing Krippendorff's alpha-reliability"; for the bootstrap over units Hayes and
Krippendorff (2007), Communication Methods and Measures 1, here over clusters of units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emdsl.outcomes.bootstrap import generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
METRICS = ("nominal", "ordinal", "interval")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coincidences:
    """How often two ratings of one unit are a pair of values: a matrix for each cluster, of shape (C, V, V).

    `values` are the V values in order. A cluster counts `times` as often as it stands here.
    """

    values: tuple[Any, ...]
    matrices: Array
    times: Array

    @property
    def total(self) -> Array:
        """The coincidences of all clusters, of shape (V, V)."""
        return np.tensordot(self.times, self.matrices, axes=1)


def coincidences(units: Iterable[tuple[str | None, Sequence[Any], int]]) -> Coincidences:
    """Return the coincidences of units: cluster, the ratings that are there (two or more), number of equal units.

    A unit without a cluster, None, is one itself.
    """
    kept = list(units)
    values = sorted({v for _, ratings, _ in kept for v in ratings})
    places = {v: i for i, v in enumerate(values)}
    clusters: dict[Any, Array] = {}
    times: dict[Any, float] = {}
    for i, (cluster, ratings, n) in enumerate(kept):
        name = (i,) if cluster is None else cluster
        matrix = clusters.setdefault(name, np.zeros((len(values), len(values))))
        counts = np.zeros(len(values))
        for rating in ratings:
            counts[places[rating]] += 1
        times[name] = n if cluster is None else 1
        matrix += (1 if cluster is None else n) * (np.outer(counts, counts) - np.diag(counts)) / (len(ratings) - 1)
    shape = (len(clusters), len(values), len(values))
    return Coincidences(
        values=tuple(values), matrices=np.array(list(clusters.values())).reshape(shape),
        times=np.array(list(times.values()), dtype=np.float64),
    )  # fmt: skip


def alpha(matrix: Array, values: tuple[Any, ...], metric: str) -> float | None:
    """Return alpha, 1 - Do / De, of a matrix of coincidences; None if all ratings are one value."""
    n_of = matrix.sum(axis=1)
    n = n_of.sum()
    distances = _distances(n_of, values, metric)
    expected = float(n_of @ distances @ n_of)
    if expected <= 0:
        return None
    return 1 - float((n - 1) * (matrix * distances).sum()) / expected


def _distances(n_of: Array, values: tuple[Any, ...], metric: str) -> Array:
    """Return the squared distances of all pairs of values."""
    if metric == "nominal":
        return 1 - np.eye(len(values))
    # the distance of two ranks is the number of ratings from one to the other, the ends by half
    numbers = np.array(values, dtype=np.float64) if metric == "interval" else np.cumsum(n_of) - n_of / 2
    return np.asarray((numbers[:, None] - numbers[None, :]) ** 2)


def alpha_interval(
    found: Coincidences, metric: str, level: float, *, resamples: int, seed: str
) -> tuple[float | None, float | None]:
    """Return both ends of the bootstrap interval of alpha, over clusters; None for fewer than two clusters.

    None too if no resample has two values.
    """
    n = int(found.times.sum())
    if n < 2:
        return None, None
    rng = generator(seed)
    drawn = []
    for _ in range(resamples):
        weights = rng.multinomial(n, found.times / n).astype(np.float64)
        value = alpha(np.tensordot(weights, found.matrices, axes=1), found.values, metric)
        if value is not None:
            drawn.append(value)
    if not drawn:
        return None, None
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
