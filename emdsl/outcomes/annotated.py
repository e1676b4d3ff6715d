"""Draws with a judge's verdict, some of them annotated by a person: the input of corrections of the judge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from emdsl.experiment import MIN_CROSSED, MIN_DETECTED
from emdsl.outcomes.spread import Spread, Way

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emdsl.experiment import Clusters

MIN_EVENTS = 5  # positives, negatives or errors among the annotated draws: fewer are not approximately normal
Reason = Literal[
    "no_draws", "unannotated_stratum", "judge_uninformative", "exact", "too_few_positives", "too_few_negatives",
    "too_few_annotated", "one_cluster", "no_variation",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One draw, or `times` equal ones: the judge's verdict, and the person's if the draw is annotated.

    Verdicts are 0 or 1 for a rate, numbers for a mean. The annotated draws of a stratum are a random part of it.
    """

    stratum: str
    clusters: tuple[str, ...]  # its levels, in the order of the names of the clusters
    judged: float
    person: float | None
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The draws of one stratum: their share of all, the numbers with and without annotation, and means of verdicts."""

    share: float
    n: int
    n_others: int
    person: float  # of the annotated draws
    judged: float  # of the same
    judged_others: float
    judged_all: float
    covariance: float  # of both verdicts, over n
    variance: float  # of the judge's verdicts of all draws, over their number less one


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All draws of a group; `mean` is that of the persons' verdicts, each stratum by its share."""

    items: tuple[Item, ...]
    strata: dict[str, Stratum]
    clusters: Clusters
    rate: bool
    n: int  # annotated
    n_draws: int
    raw: float
    mean: float
    n_positive: int | None
    n_errors: int | None  # annotated draws on which judge and person differ; None unless both are 0 or 1
    sensitivity: float | None
    specificity: float | None

    @property
    def scarce(self) -> Reason | None:
        """Why the annotated draws of a rate are too few for an approximately normal interval; None if they are not."""
        if self.n_positive is None or min(self.n_positive, self.n - self.n_positive) >= MIN_EVENTS:
            return None
        return "too_few_positives" if self.n_positive < MIN_EVENTS else "too_few_negatives"

    @property
    def rare(self) -> bool:
        """Whether the judge and the person differ too rarely to estimate how often they do."""
        return self.n_errors is not None and self.n_errors < MIN_EVENTS

    def few(self, stratum: Stratum) -> float:
        """Return the factor of an annotated draw's influence that corrects for the estimated mean of its stratum.

        With one stratum it is 1, as in ppi-python.
        """
        return math.sqrt(stratum.n / (stratum.n - 1)) if len(self.strata) > 1 and stratum.n > 1 else 1.0


def sample_of(items: Iterable[Item], clusters: Clusters, *, rate: bool) -> Sample:
    """Return the draws with the sums that both estimators need; means without draws are NaN.

    Raises:
        ValueError: If an item has a verdict that is not 0 or 1 for a rate, or more or fewer clusters than names.
    """
    kept = tuple(item for item in items if item.times > 0)
    by_stratum: dict[str, list[Item]] = {}
    for item in kept:
        if len(item.clusters) != len(clusters.names):
            raise ValueError(f"an item has {len(item.clusters)} clusters, expected {len(clusters.names)}")
        if rate and item.person is not None and item.person not in (0, 1):
            raise ValueError(f"a person's verdict of a rate is 0 or 1, got {item.person!r}")
        by_stratum.setdefault(item.stratum, []).append(item)
    n_draws = sum(item.times for item in kept)
    strata = {name: _stratum(group, n_draws) for name, group in by_stratum.items()}
    binary = rate and all(item.judged in (0, 1) for item in kept)
    counts = {(person, judged): 0 for person in (0, 1) for judged in (0, 1)}
    weighted = dict.fromkeys(counts, 0.0)
    for item in kept if binary else ():
        if item.person is not None:
            stratum, place = strata[item.stratum], (int(item.person), int(item.judged))
            counts[place] += item.times
            weighted[place] += item.times * stratum.share / stratum.n
    return Sample(
        items=kept,
        strata=strata,
        clusters=clusters,
        rate=rate,
        n=sum(s.n for s in strata.values()),
        n_draws=n_draws,
        raw=sum(s.share * s.judged_all for s in strata.values()),
        mean=sum(s.share * s.person for s in strata.values()),
        n_positive=round(sum(s.n * s.person for s in strata.values() if s.n)) if rate else None,
        n_errors=counts[0, 1] + counts[1, 0] if binary else None,
        sensitivity=_share_of(weighted[1, 1], weighted[1, 0]),
        specificity=_share_of(weighted[0, 0], weighted[0, 1]),
    )


def _share_of(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None


def _stratum(items: Sequence[Item], n_draws: int) -> Stratum:
    """Return one stratum of `n_draws` in all."""
    annotated = [(item.person, item.judged, item.times) for item in items if item.person is not None]
    others = [(item.judged, item.times) for item in items if item.person is None]
    n, n_others = sum(times for *_, times in annotated), sum(times for _, times in others)
    person = mean_of((p, times) for p, _, times in annotated)
    judged = mean_of((f, times) for _, f, times in annotated)
    judged_all = mean_of((item.judged, item.times) for item in items)
    squares = sum(item.times * (item.judged - judged_all) ** 2 for item in items)
    return Stratum(
        share=(n + n_others) / n_draws,
        n=n,
        n_others=n_others,
        person=person,
        judged=judged,
        judged_others=mean_of(others),
        judged_all=judged_all,
        covariance=mean_of(((p - person) * (f - judged), times) for p, f, times in annotated),
        variance=squares / (n + n_others - 1) if n + n_others > 1 else 0.0,
    )


def mean_of(values: Iterable[tuple[float, int]]) -> float:
    """Return the mean of values, each with its number; NaN without values."""
    total, n = 0.0, 0
    for value, times in values:
        total += value * times
        n += times
    return total / n if n else math.nan


def spread_of(sample: Sample, influences: Sequence[float], *, alone: bool = False) -> Spread:
    """Return how a figure varies, by sums of influences over draws and over clusters.

    The number of draws and of clusters, and so the degrees of freedom, are those with annotations. `alone`: it is the
    figure of the annotated draws, with the factor for few of them; PPI++ has none without clusters.
    """
    n = sample.n if alone else sample.n - len(sample.strata) + 1
    squares = sum(item.times * x * x for item, x in zip(sample.items, influences, strict=True))
    few = n / (n - 1) if alone and n > 1 else 1.0
    by_draw = Way(n, squares * few if n > 1 else math.nan, float(sample.n))
    ways = _ways(sample)
    if not ways:
        return Spread(alone=by_draw)
    by_cluster = [_way(sample, influences, (i,)) for i in ways]
    return Spread(
        alone=by_draw,
        names=tuple(sample.clusters.names[i] for i in ways),
        ways=tuple(by_cluster),
        both=_way(sample, influences, ways) if len(ways) > 1 else None,
    )


def _ways(sample: Sample) -> tuple[int, ...]:
    """Return the positions of the clusters that are used: as in `spread`, detected ones need a minimum number."""
    ways = tuple(range(len(sample.clusters.names)))
    if not sample.clusters.detected or not ways:
        return ways
    numbers = [len({item.clusters[i] for item in sample.items}) for i in ways]
    if numbers[0] < MIN_DETECTED:
        return ()
    return ways[:1] if len(ways) > 1 and numbers[1] < MIN_CROSSED else ways


def _way(sample: Sample, influences: Sequence[float], key: tuple[int, ...]) -> Way:
    """Return the clusters with an annotated draw by a key, with the variance by the sums of all clusters."""
    sums: dict[tuple[str, ...], float] = {}
    sizes: dict[tuple[str, ...], int] = {}
    for item, x in zip(sample.items, influences, strict=True):
        place = tuple(item.clusters[i] for i in key)
        sums[place] = sums.get(place, 0.0) + item.times * x
        if item.person is not None:
            sizes[place] = sizes.get(place, 0) + item.times
    n = len(sizes)
    variance = sum(x * x for x in sums.values()) * n / (n - 1) if n > 1 else math.nan
    return Way(n, variance, float(sum(m * m for m in sizes.values())))
