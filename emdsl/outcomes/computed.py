"""Intervals that SQL cannot compute: made when a study is loaded, and kept in the measure's relation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emdsl.outcomes.intervals import clopper_pearson
from emdsl.outcomes.measures import WAYS, atoms_sql
from emdsl.outcomes.resample import FEW, Clusters, interval

if TYPE_CHECKING:
    import duckdb

    from emdsl.experiment import Experiment, Measure

COMPUTED = ("clopper_pearson", "bootstrap")
Ends = tuple[int, float | None, float | None, int | None]  # of a group, by its place from 1: low, high, clusters


def is_computed(measure: Measure) -> bool:
    """Whether a measure's interval is not made by SQL."""
    return measure.interval is not None and measure.interval.method in COMPUTED


def ends_of(
    database: duckdb.DuckDBPyConnection, experiment: Experiment, measure: Measure, schema: str, relation: str
) -> tuple[list[Ends], str]:
    """Return the intervals of a measure's groups, in the order of its `relation`; and what is to be said of them."""
    assert measure.interval is not None
    if measure.interval.method == "clopper_pearson":
        rows = database.execute(f"SELECT hits, n FROM {relation}").fetchall()
        return [_exact(i, row[0], row[1], measure.interval.level) for i, row in enumerate(rows, start=1)], ""
    found = database.execute(atoms_sql(experiment, measure, schema)).fetchall()
    groups: dict[tuple[int, str], list[tuple[Any, ...]]] = {}
    for place, called, *rest in found:
        groups.setdefault((place, called), []).append(tuple(rest))
    ends: list[Ends] = []
    few: list[int] = []
    for (place, called), atoms in groups.items():
        clusters = _clusters(measure, atoms)
        low, high = interval(
            clusters, measure.interval.level, resamples=measure.interval.resamples,
            seed=f"{measure.interval.seed} {called}",
        )  # fmt: skip
        ends.append((place, low, high, clusters.n))
        if clusters.n < FEW:
            few.append(clusters.n)
    if not few:
        return ends, ""
    return ends, (
        f"measure `{measure.name}`: {len(few)} of {len(ends)} groups have fewer than {FEW} clusters (the fewest "
        f"{min(few)}): resampling says little of so few, and Student's quantiles are used"
    )


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
    sums = np.array([a[-2 * sides :] for a in kept], dtype=np.float64).reshape(len(kept), 2 * sides)
    times = np.array([a[-2 * sides - 1] for a in kept], dtype=np.int64)
    ways = measure.interval.cluster
    if len(ways) < len(WAYS):
        return Clusters(sums=sums, times=times)
    places = tuple(np.unique([str(a[i]) for a in kept], return_inverse=True)[1] for i in range(len(ways)))
    return Clusters(sums=sums, times=times, ways=places)
