"""Intervals that SQL cannot compute: made when a study is loaded, and kept in the measure's relation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.outcomes.intervals import clopper_pearson, quantile_of
from emdsl.outcomes.measures import COMPUTED, PLACE, WAYS, atoms_sql
from emdsl.outcomes.resample import FEW, Clusters, clusters_of, interval
from emdsl.outcomes.special import holm, normal_tails

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.experiment import Experiment, Measure

Ends = tuple[int, float | None, float | None, int | None]  # of a group, by its place from 1: low, high, clusters


def ends_of(
    select: Callable[[str], list[tuple[Any, ...]]], experiment: Experiment, measure: Measure, schema: str, relation: str
) -> tuple[list[Ends], str]:
    """Return the intervals of a measure's groups, by their place in its `relation`; and what is to be said of them."""
    assert measure.interval is not None
    if measure.interval.method not in COMPUTED:
        return select(f"SELECT {PLACE}, low, high, clusters FROM {relation}"), ""
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
        ends.append((place, *_within(measure, low, high), clusters.n))
        n_alike += low is None and clusters.n > 1
        if clusters.n < FEW:
            few.append(clusters.n)
    said = []
    if few:
        said.append(
            f"{len(few)} of {len(ends)} groups have fewer than {FEW} clusters (the fewest {min(few)}): resampling says "
            "little of so few, and Student's quantiles are used"
        )
    if n_alike:
        said.append(
            f"{n_alike} of {len(ends)} groups have clusters that do not differ at all: resampling gives them no "
            "interval, which is not to say that they are certain"
        )
    return ends, f"measure `{measure.name}`: {'; '.join(said)}" if said else ""


def corrected(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, relation: str
) -> list[tuple[int, float | None, float | None]]:
    """Return of each contrast the probability of one as large by chance, alone and among all of the measure."""
    assert measure.interval is not None
    rows = select(f"SELECT {PLACE}, contrast, high - contrast FROM {relation}")
    z = quantile_of(measure.interval.level)
    alone = [normal_tails(value / (half / z)) if value is not None and half else None for _, value, half in rows]
    return [(place, p, q) for (place, *_), p, q in zip(rows, alone, holm(alone), strict=True)]


def _within(measure: Measure, low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """Return the ends of an interval where the measure can lie: a rate within 0 and 1, a contrast of rates -1 and 1."""
    if low is None or high is None or "mean" in (measure.function, measure.of):
        return low, high
    least = -1.0 if measure.function == "contrast" else 0.0
    return max(low, least), min(high, 1.0)


def _exact(place: int, hits: int, n: int, level: float) -> Ends:
    if not n:
        return place, None, None, 0
    low, high = clopper_pearson(hits, n, level)
    return place, low, high, n


def _clusters(measure: Measure, atoms: list[tuple[Any, ...]]) -> Clusters:
    """Return the clusters of one group from rows of `atoms_sql`: names of clusters, times, sums, counts."""
    assert measure.interval is not None
    sides = 2 if measure.function == "contrast" else 1
    kept = [a for a in atoms if any(a[-sides:])]  # one without any value is no cluster of this measure
    ways = len(measure.interval.cluster)
    named = [[str(a[i]) for a in kept] for i in range(ways)] if ways == len(WAYS) else []
    return clusters_of([a[-2 * sides :] for a in kept], [a[-2 * sides - 1] for a in kept], named)
