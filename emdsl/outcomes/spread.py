"""How a measure's figure varies, by units and by clusters: sums of influences, computed in SQL.

The influence of a draw is how much it moves the figure. Sums of influences over a cluster, squared and added up,
give the cluster-robust variance of any figure that is smooth in its draws; two ways of clustering give V1 + V2 - V12,
at least V12. Source: Cochran (1977), Sampling Techniques, ch. 6, for ratios; Cameron, Gelbach and Miller (2011),
"Robust inference with multiway clustering", for two ways; Woodruff (1952), JASA 47, for quantiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.experiment import MIN_CROSSED, MIN_DETECTED, WEIGHTS
from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.outcomes.draws import (
    DOSE,
    OTHER,
    PLACE,
    SIDE,
    UNIT,
    VALUE,
    groups_of,
    ways_of,
)
from emdsl.outcomes.measure_views import (
    CENTRE,
    FIRSTS,
    FIRSTS_OF,
    LEVELS,
    MEANS,
    NUMBERS,
    SECONDS,
    SECONDS_OF,
    SQUARES,
    placed_in,
    values_sql,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.experiment import Measure

SPREAD = 1e-12  # a smaller standard error counts as 0
_ROUNDING = SPREAD**2  # a smaller variance is none


@dataclass(frozen=True, slots=True)
class Way:
    """One way to group draws: the number of groups with a kept draw, the variance, the sum of squared sizes."""

    n: int
    variance: float
    sizes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How one group of a measure varies.

    `alone` is by its units: the draws, or the pairs of a contrast. `names` are the clusters that are used, `ways` each
    of them, `both` their combinations if there are two.
    """

    alone: Way
    names: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()
    both: Way | None = None

    @property
    def variance(self) -> float:
        """The variance of the figure; of two ways at least that of their combinations."""
        if self.both is not None:
            return max(sum(w.variance for w in self.ways) - self.both.variance, self.both.variance)
        return (self.ways[0] if self.ways else self.alone).variance

    @property
    def error(self) -> float | None:
        """The standard error, or None for fewer than two units."""
        return math.sqrt(self.variance) if self.n > 1 and math.isfinite(self.variance) else None

    @property
    def n(self) -> int:
        """The number of clusters, or of units; of two ways, the smaller one."""
        return min(w.n for w in self.ways) if self.ways else self.alone.n

    @property
    def freedom(self) -> float:
        """The degrees of freedom of the variance, at least 1: clusters less one, of two ways between those of both.

        Source, for two ways: Satterthwaite (1946), "An approximate distribution of estimates of variance components".
        """
        parts = sum(w.variance**2 / (w.n - 1) for w in self.ways) if self.both is not None and self.n > 1 else 0.0
        return max(self.n - 1.0, self.variance**2 / parts if parts > 0 else 1.0, 1.0)

    @property
    def design_effect(self) -> float | None:
        """The variance over that of independent units; None without clusters, or if units do not vary."""
        varies = self.ways and self.n > 1 and self.alone.variance > _ROUNDING
        return self.variance / self.alone.variance if varies else None


def spreads(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, draws: str, relation: str
) -> dict[int, Spread]:
    """Return the spread of each group with a kept draw, by its place in the `relation` with the measure's figures."""
    ways = ways_of(measure)
    keys: list[tuple[str, ...]] = [(UNIT,) if measure.function == "contrast" else (), *((w,) for w in ways)]
    keys += [ways] if len(ways) == 2 else []
    select(f"CREATE OR REPLACE TEMP TABLE scored AS {_scored_sql(measure, draws, relation)}")
    found = [_way_rows(select, key) for key in keys]
    assert measure.interval is not None
    clusters = measure.interval.clusters
    read = {node.name for node in walk(measure.sides) if isinstance(node, ast.Ref)}
    least = [_clusters_of_a_side(select, way) for way in ways] if measure.function == "contrast" else []
    result = {}
    for place, alone in found[0].items():
        compared = {i for i, found_least in enumerate(least) if clusters.names[i] in read and found_least[place] < 2}
        used = [i for i in range(len(ways)) if i not in compared]
        by_way = [found[1 + i][place] for i in used]
        if least:
            by_way = [_of_smaller_side(way, least[i][place]) for i, way in zip(used, by_way, strict=True)]
        result[place] = _spread(
            alone, by_way, found[3][place] if len(used) == 2 else None, tuple(clusters.names[i] for i in used),
            detected=clusters.detected,
        )  # fmt: skip
    return result


def discordant(select: Callable[[str], list[tuple[Any, ...]]]) -> dict[int, tuple[int, int]]:
    """Return how many pairs hold on the first side only, and on the second only, of each group made of such pairs.

    It reads what `spreads` scored last.
    """
    rows = select(
        f"SELECT {PLACE}, count(*) FILTER (first > second), count(*) FILTER (first < second) FROM (SELECT {PLACE}, "
        f"sum(y) FILTER ({SIDE} = 1) AS first, sum(y) FILTER ({SIDE} = 2) AS second, "
        f"count(*) FILTER ({SIDE} = 1) AS a, count(*) FILTER ({SIDE} = 2) AS b FROM temp.scored "
        f"GROUP BY {PLACE}, {UNIT}) GROUP BY {PLACE} HAVING bool_and(a = 1 AND b = 1)"
    )
    return {place: (first, second) for place, first, second in rows}


def _way_rows(select: Callable[[str], list[tuple[Any, ...]]], key: tuple[str, ...]) -> dict[int, Way]:
    """Return one way to group the draws by a key, by place; without a key each draw is a group.

    Equal scores are counted before they are added up: those of a rate have two values. Sums have an order, so that the
    last digit is the same each time.
    """
    by, sizes = ", ".join([PLACE, *key]), "size * size" if key else "times"
    times = f"SELECT {by}, score, count(*) AS times FROM temp.scored GROUP BY {by}, score"
    if key == (UNIT,):  # nearly all are one draw of each side
        times = f"SELECT {by}, score, 1 AS times FROM temp.scored"
    if key:
        times = (
            f"SELECT {PLACE}, sum(score * times ORDER BY score) AS score, sum(times)::DOUBLE AS size, 1 AS times "
            f"FROM ({times}) GROUP BY {by}"
        )
    rows = select(
        f"SELECT {PLACE}, sum(times)::BIGINT, sum(score * score * times ORDER BY score), sum({sizes})::DOUBLE "
        f"FROM ({times}) GROUP BY {PLACE}"
    )
    return {
        place: Way(n, squares * n / (n - 1) if n > 1 and squares is not None else math.nan, sizes)
        for place, n, squares, sizes in rows
    }


def _clusters_of_a_side(select: Callable[[str], list[tuple[Any, ...]]], way: str) -> dict[int, int]:
    """Return the least number of clusters on a side of each contrast: one alone does not vary."""
    rows = select(
        f"SELECT {PLACE}, min(n) FROM (SELECT {PLACE}, {SIDE}, count(DISTINCT {way}) AS n FROM temp.scored "
        f"GROUP BY {PLACE}, {SIDE}) GROUP BY {PLACE}"
    )
    return dict(rows)


def _of_smaller_side(way: Way, n: int) -> Way:
    """Return a way with the number of clusters of the smaller side of a contrast, and its correction for few of them.

    A side of three questions says little about how questions differ, however many the other side has.
    """
    if n >= way.n or not math.isfinite(way.variance):
        return way
    few = n / (n - 1) if n > 1 else math.nan
    return Way(n, way.variance * few * (way.n - 1) / way.n, way.sizes)


def _spread(alone: Way, ways: list[Way], both: Way | None, names: tuple[str, ...], *, detected: bool) -> Spread:
    """Return a spread; clusters that nobody asked for need a minimum number of them."""
    if not ways or (detected and ways[0].n < MIN_DETECTED):
        return Spread(alone=alone)
    if detected and both is not None and ways[1].n < MIN_CROSSED:
        return Spread(alone=alone, names=names[:1], ways=(ways[0],))
    return Spread(alone=alone, names=names, ways=tuple(ways), both=both)


def _scored_sql(measure: Measure, draws: str, relation: str) -> str:
    """Return the SELECT of each kept draw with its place, unit, clusters and influence."""
    groups = groups_of(measure)
    both = f", {VALUE}, {OTHER}"
    more = {"slope": f", {DOSE}", "agreement": both, "correlation": both}.get(measure.function, "")
    ways = "".join(f"{w}, " for w in ways_of(measure))
    return (
        f"WITH draws AS (\n{draws}\n),\n{values_sql(measure, groups, more)}\n"
        f"SELECT {PLACE}, {UNIT}, {ways}{SIDE}, valued.y, "
        f"{_influence(measure)} AS score\n"
        f"FROM valued JOIN {relation} AS figures ON {placed_in(measure, 'valued')}"
    )


def _influence(measure: Measure) -> str:
    """Return how much a draw moves the figure, in SQL, from the columns of its group."""
    match measure.function:
        case "rate" | "mean" if measure.equal:
            alike = measure.interval is not None and measure.equal in measure.interval.cluster
            # levels that are a sample of others differ from their mean, levels that are all there are do not
            return (
                f"valued.weight * (valued.y - {f'figures.{measure.function}' if alike else 'valued.middle'}) / {LEVELS}"
            )
        case "rate" | "mean" | "at_least" | "shares":
            return f"(valued.y - figures.{measure.function}) / n"
        case "sd":
            squared = "power(valued.y - mean, 2) * n / nullif(n - 1, 0)"
            return f"({squared} - power(figures.sd, 2)) / (2 * nullif(figures.sd, 0) * n)"
        case "correlation":
            return _correlation_influence()
        case "quantile":
            return f"((valued.y <= figures.quantile)::INT - {measure.at!r}) / n"
        case "slope":
            return f"({DOSE} - {CENTRE}) * (valued.y - intercept - slope * {DOSE}) / nullif({SQUARES}, 0)"
        case "agreement" if measure.nominal:
            return _kappa_influence()
        case "agreement":
            return _alpha_influence()
        case _:
            return _contrast_influence(measure)


def _contrast_influence(measure: Measure) -> str:
    """Return the influence on the difference, or on the logarithm of a ratio."""
    sides = []
    for i, weight in enumerate(WEIGHTS[len(measure.sides)], start=1):
        scale = {"difference": "1", "ratio": f"nullif({MEANS[i - 1]}, 0)"}.get(
            measure.scale, f"nullif({MEANS[i - 1]} * (1 - {MEANS[i - 1]}), 0)"
        )
        sides.append(f"WHEN {i} THEN {weight} * (valued.y - {MEANS[i - 1]}) / {scale} / {NUMBERS[i - 1]}")
    return f"CASE {SIDE} {' '.join(sides)} END"


def _correlation_influence() -> str:
    """Return the influence on Pearson's correlation, by standard scores."""
    a, b = (
        f"(({value}::DOUBLE - {mean}) / nullif({spread}, 0))"
        for value, (mean, spread) in ((VALUE, FIRSTS_OF), (OTHER, SECONDS_OF))
    )
    return f"({a} * {b} - correlation * ({a} * {a} + {b} * {b}) / 2) / n"


def _kappa_influence() -> str:
    """Return the influence on Cohen's kappa (po - pe) / (1 - pe), by its derivative in po and pe."""
    n, agreement = "n::DOUBLE", f"({VALUE} = {OTHER})::INT"
    a, b = f"{FIRSTS}[{OTHER}::VARCHAR]", f"{SECONDS}[{VALUE}::VARCHAR]"
    expected = (
        f"list_sum(list_transform(map_keys({FIRSTS}), lambda k: {FIRSTS}[k]::DOUBLE * COALESCE({SECONDS}[k], 0))) "
        f"/ ({n} * {n})"
    )
    of_expected = f"((COALESCE({a}, 0) + COALESCE({b}, 0)) / {n} - 2 * ({expected}))"
    return (
        f"(({agreement} - same) * (1 - ({expected})) - (1 - same) * {of_expected}) / {n} "
        f"/ nullif(power(1 - ({expected}), 2), 0)"
    )


def _alpha_influence() -> str:
    """Return the influence on Krippendorff's alpha 1 - Do / De, by its derivative in Do and De."""
    a, b, n = f"{VALUE}::DOUBLE", f"{OTHER}::DOUBLE", "n::DOUBLE"
    scale = f"(4 * {n} / (2 * {n} - 1))"
    expected = f"nullif({scale} * {SQUARES}, 0)"
    of_expected = f"{scale} * ((power({a} - {CENTRE}, 2) + power({b} - {CENTRE}, 2)) / 2 - {SQUARES})"
    observed = f"((1 - agreement) * {expected})"
    parts = f"(power({a} - {b}, 2) - {observed}) / {expected}", f"{observed} * ({of_expected}) / power({expected}, 2)"
    return f"(-{parts[0]} + {parts[1]}) / {n}"
