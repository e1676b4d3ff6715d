"""Studies that are made up, cluster by cluster, and what the project's own functions say about each of them.

Arrays have a row for each study, then a column for each cluster: questions, and sets where both cross.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import scipy.stats
from made_rows import made_table
from support import experiment

from emdsl.outcomes import loading
from emdsl.outcomes.clustered import rate_interval
from emdsl.outcomes.comparisons import Compared, Sides
from emdsl.outcomes.spread import Spread, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.experiment import Measure

Floats = np.ndarray[Any, np.dtype[np.float64]]
Pair = tuple[Floats, Floats]
LEVEL = 0.95
STUDY = """
rubric score(answer) from "sim/judge" {{ scale = 0..100, user "score {{answer}}" }}
experiment e {{
  for study in 1..{studies}
  for side in 0..{last_side}
  for q in 1..{questions}
  samples = {samples}
  cluster = {cluster}
  ask answer from "sim/subject" with "{{study}} {{side}} {{q}}"
  judge v with score(answer)
  measure m = {measure} by study
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Clusters of draws: a rate, their intra-class correlation `alike`, sizes that are equal or from 1 to 2 m - 1."""

    clusters: int
    draws: int  # of a cluster, on average
    rate: float
    alike: float
    equal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """Questions that cross with sets: a draw for both, the rate, and the shares of the variance of its probit."""

    questions: int
    sets: int
    rate: float
    question: float
    set: float


def rates_of(rng: np.random.Generator, design: Design, studies: int) -> Floats:
    """Return the rate of each cluster, from a beta distribution."""
    shape = studies, design.clusters
    if not design.alike:
        return np.full(shape, design.rate)
    total = 1 / design.alike - 1
    return rng.beta(design.rate * total, (1 - design.rate) * total, size=shape)


def counts(rng: np.random.Generator, design: Design, rates: Floats) -> Pair:
    """Return the number of draws of each cluster, and that of hits."""
    least, most = (design.draws, design.draws) if design.equal else (1, 2 * design.draws - 1)
    sizes = rng.integers(least, most, size=rates.shape, endpoint=True)
    return sizes.astype(float), rng.binomial(sizes, rates).astype(float)


def hits_of(rng: np.random.Generator, design: Crossed, effects: Pair) -> Floats:
    """Return the hits of studies with the effects of their questions and sets, of shape (studies, questions, sets)."""
    question, shared = effects[0][:, :, None], effects[1][:, None, :]
    rest = 1 - design.question - design.set
    probit = scipy.stats.norm.ppf(design.rate) + design.question**0.5 * question + design.set**0.5 * shared
    hits: Floats = (rng.random(probit.shape) < scipy.stats.norm.cdf(probit / rest**0.5)).astype(float)
    return hits


def effects_of(rng: np.random.Generator, design: Crossed, studies: int) -> Pair:
    """Return the effects of questions and sets, of mean 0 and variance 1."""
    return rng.normal(size=(studies, design.questions)), rng.normal(size=(studies, design.sets))


def variance(sums: Floats) -> Floats:
    """Return the variance of each study's figure by influences that are summed over clusters."""
    n = sums.shape[1]
    total: Floats = n / (n - 1) * (sums**2).sum(axis=1)
    return total


def by_clusters(n: float, variance: float, sizes: float, clusters: int) -> Spread:
    """Return the spread of a group of n draws that is clustered in one way."""
    return Spread(alone=Way(int(n), 0.0, n), names=("q",), ways=(Way(clusters, variance, sizes),))


def by_both(influences: Floats) -> list[Spread]:
    """Return the spread of each study by questions and sets that cross, from the influences of their pairs."""
    studies, questions, sets = influences.shape
    n = questions * sets
    ways = variance(influences.sum(axis=2)), variance(influences.sum(axis=1)), variance(influences.reshape(studies, n))
    return [
        Spread(
            alone=Way(n, pairs, n), names=("q", "sample"), both=Way(n, pairs, n),
            ways=(Way(questions, first, questions * sets**2), Way(sets, second, sets * questions**2)),
        )
        for first, second, pairs in zip(*(w.tolist() for w in ways), strict=True)
    ]  # fmt: skip


def rate_ends(sizes: Floats, hits: Floats) -> Pair:
    """Return both ends of the default interval of each study's rate."""
    n, clusters = sizes.sum(axis=1), sizes.shape[1]
    rates = hits.sum(axis=1) / n
    spread = variance((hits - rates[:, None] * sizes) / n[:, None]).round(15)
    columns = np.column_stack([rates, n, spread, (sizes**2).sum(axis=1)])
    distinct, places = np.unique(columns, axis=0, return_inverse=True)  # with few events, many studies are the same
    ends = [
        rate_interval("wilson", rate, int(m), by_clusters(m, v, squares, clusters), LEVEL)
        for rate, m, v, squares in distinct.tolist()
    ]
    return both_of(np.array(ends)[places.ravel()])


def crossed_ends(hits: Floats) -> Pair:
    """Return both ends of the interval of each study's rate, by questions and sets."""
    n = hits[0].size
    rates = hits.mean(axis=(1, 2))
    spreads = by_both((hits - rates[:, None, None]) / n)
    return both_of([rate_interval("wilson", r, n, s, LEVEL) for r, s in zip(rates.tolist(), spreads, strict=True)])


def contrasts(measure: Measure, sides: tuple[Pair, Pair]) -> list[Compared]:
    """Return the contrast of each study between sides, each with the sizes and hits of the clusters that pair them."""
    (sizes, hits), (sizes_2, hits_2) = sides
    n, n_2 = sizes.sum(axis=1), sizes_2.sum(axis=1)
    first, second = hits.sum(axis=1) / n, hits_2.sum(axis=1) / n_2
    influences = (hits - first[:, None] * sizes) / n[:, None] - (hits_2 - second[:, None] * sizes_2) / n_2[:, None]
    spreads = [by_clusters(m, v, 0.0, sizes.shape[1]) for m, v in zip(n, variance(influences).tolist(), strict=True)]
    return _compared(measure, first, second, int(n[0]), spreads)


def crossed_contrasts(measure: Measure, first: Floats, second: Floats) -> list[Compared]:
    """Return the contrast of each study between the hits of two sides, by questions and sets."""
    n, means = first[0].size, (first.mean(axis=(1, 2)), second.mean(axis=(1, 2)))
    influences = (first - second - (means[0] - means[1])[:, None, None]) / n
    return _compared(measure, *means, n, by_both(influences))


def _compared(measure: Measure, first: Floats, second: Floats, n: int, spreads: Sequence[Spread]) -> list[Compared]:
    return [
        Compared(value=a - b, measure=measure, sides=Sides((a, b), (n, n)), spread=s)
        for a, b, s in zip(first.tolist(), second.tolist(), spreads, strict=True)
    ]


def both_of(ends: Any) -> Pair:
    """Return the lower ends and the upper ends; a missing one is NaN, which covers nothing."""
    found = np.array(ends, dtype=float)
    return found[:, 0], found[:, 1]


def covered(truth: float, ends: Pair) -> float:
    """Return the share of intervals that hold the truth."""
    return float(((ends[0] <= truth + 1e-12) & (truth - 1e-12 <= ends[1])).mean())


def width(ends: Pair) -> float:
    """Return the mean width of intervals."""
    return float((ends[1] - ends[0]).mean())


def a_measure(text: str, *, cluster: str = "q", shape: tuple[int, int, int] = (1, 6, 3)) -> Any:
    """Return the experiment with one measure by study; its shape is studies, questions and samples."""
    studies, questions, samples = shape
    return experiment(
        STUDY.format(
            studies=studies, last_side=int("side" in text), questions=questions, samples=samples, cluster=cluster,
            measure=text,
        )
    )  # fmt: skip


def loaded(text: str, *sides: Floats, cluster: str = "q") -> list[dict[str, Any]]:
    """Return the rows of a measure of `v` by study, as a load computes them.

    Args:
        text: The measure.
        sides: The values `v` of each side, of shape (studies, questions, samples); NaN is missing.
        cluster: The clusters.
    """
    study, q, sample = (x.ravel() for x in np.indices(sides[0].shape))
    found = a_measure(text, cluster=cluster, shape=sides[0].shape)
    parts = [
        pa.table({
            "study": study + 1, "side": np.full(study.shape, i), "q": q + 1, "sample": sample,
            "v": pa.array(v.ravel(), from_pandas=True),
        })
        for i, v in enumerate(sides)
    ]  # fmt: skip
    with duckdb.connect(":memory:") as connection:
        connection.register("given", pa.concat_tables(parts))
        key = "concat_ws(' ', study, side, q, sample) AS answer_key"
        made_table(connection, found, "s", f"SELECT *, {key}, FALSE AS simulated FROM given")
        notices = loading._measures(connection, found, "s")
        assert not notices, notices
        result = connection.execute("SELECT * FROM s.m ORDER BY study")
        columns = [c[0] for c in result.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
