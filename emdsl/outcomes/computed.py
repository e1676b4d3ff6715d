"""Intervals and corrected probabilities that SQL cannot compute: stored in a measure's relation at each load."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from emdsl.outcomes.bootstrap import MIN_CLUSTERS, Clusters, clusters_of, interval, standard_error
from emdsl.outcomes.distributions import fisher, holm, t_tails
from emdsl.outcomes.intervals import clopper_pearson
from emdsl.outcomes.measure_views import COMPUTED, PLACE, WAYS, atoms_sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.experiment import Experiment, Measure

Ends = tuple[int, float | None, float | None, int | None, float | None]  # of a group: place, low, high, clusters, se


def ends_of(
    select: Callable[[str], list[tuple[Any, ...]]], experiment: Experiment, measure: Measure, schema: str, relation: str
) -> tuple[list[Ends], str]:
    """Return the intervals of a measure's groups, by their place in its `relation`, and a notice or ""."""
    assert measure.interval is not None
    if measure.interval.method not in COMPUTED:
        return select(f"SELECT {PLACE}, low, high, clusters, se FROM {relation}"), ""
    if measure.interval.method == "clopper_pearson":
        rows = select(f"SELECT {PLACE}, hits, n FROM {relation}")
        return [_exact(place, hits, n, measure.interval.level) for place, hits, n in rows], ""
    groups: dict[tuple[int, str], list[tuple[Any, ...]]] = {}
    for place, called, *rest in select(atoms_sql(experiment, measure, schema)):
        groups.setdefault((place, called), []).append(tuple(rest))
    ends: list[Ends] = []
    few: list[int] = []
    n_alike = 0
    for (place, called), atoms in groups.items():
        clusters = _clusters(measure, atoms)
        low, high = interval(
            clusters, measure.interval.level, resamples=measure.interval.resamples,
            seed=f"{measure.interval.seed} {called}",
        )  # fmt: skip
        ends.append((place, *_within(measure, low, high), clusters.n, _error(clusters)))
        n_alike += low is None and clusters.n > 1
        if clusters.n < MIN_CLUSTERS:
            few.append(clusters.n)
    notices = []
    if few:
        notices.append(
            f"{len(few)} of {len(ends)} groups have fewer than {MIN_CLUSTERS} clusters (minimum {min(few)}): "
            "too few to resample, so their intervals use Student's quantiles"
        )
    if n_alike:
        notices.append(
            f"{n_alike} of {len(ends)} groups have identical clusters: resampling gives them no interval, "
            "but their values are not certain"
        )
    return ends, f"measure `{measure.name}`: {'; '.join(notices)}" if notices else ""


def corrected(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, relation: str
) -> list[tuple[int, float | None, float | None]]:
    """Return the p-value of each contrast, alone and corrected for all contrasts of the measure."""
    rows = select(f"SELECT {PLACE}, contrast, se, n_units, first, second, n_first, n_second FROM {relation}")
    alone = [_tested(measure, *row[1:]) for row in rows]
    return [(place, p, q) for (place, *_), p, q in zip(rows, alone, holm(alone), strict=True)]


def _tested(
    measure: Measure, contrast: float | None, se: float | None, n_units: int, first: float, second: float,
    n_first: int, n_second: int,
) -> float | None:  # fmt: skip
    """Return the p-value of one contrast; of an exact test if its units do not differ."""
    if contrast is None or se is None:
        return None
    if se > 0:
        return t_tails(contrast / se, n_units - 1)
    if measure.of == "rate":
        return fisher(round(first * n_first), n_first, round(second * n_second), n_second)
    return 1.0 if contrast == 0 else 2.0 ** (1 - n_units)  # as many signs could have been turned


def _error(clusters: Clusters) -> float | None:
    """Return the standard error of a group, or None where a side has no value."""
    sides = clusters.sums.shape[1] // 2
    if clusters.n < 2 or not (clusters.sums[:, sides:].sum(axis=0) > 0).all():
        return None
    error = standard_error(clusters)
    return error if math.isfinite(error) else None


def _within(measure: Measure, low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """Clip an interval to the range of its measure: 0 to 1 for a rate, -1 to 1 for a contrast of rates."""
    if low is None or high is None or "mean" in (measure.function, measure.of):
        return low, high
    least = -1.0 if measure.function == "contrast" else 0.0
    return max(low, least), min(high, 1.0)


def _exact(place: int, hits: int, n: int, level: float) -> Ends:
    if not n:
        return place, None, None, 0, None
    low, high = clopper_pearson(hits, n, level)
    return place, low, high, n, None


def _clusters(measure: Measure, atoms: list[tuple[Any, ...]]) -> Clusters:
    """Return the clusters of one group from rows of `atoms_sql`: names of clusters, times, sums, counts."""
    assert measure.interval is not None
    sides = 2 if measure.function == "contrast" else 1
    kept = [a for a in atoms if any(a[-sides:])]  # one without any value is no cluster of this measure
    ways = len(measure.interval.cluster)
    named = [[str(a[i]) for a in kept] for i in range(ways)] if ways == len(WAYS) else []
    return clusters_of([a[-2 * sides :] for a in kept], [a[-2 * sides - 1] for a in kept], named)
