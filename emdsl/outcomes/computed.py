"""What SQL cannot compute of a measure: intervals and p-values, stored in its relation at each load."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.experiment import DOSE_COLUMNS, MIN_DETECTED
from emdsl.outcomes.clustered import clipped, effective, rate_interval, score_interval, student_interval
from emdsl.outcomes.comparisons import Compared, Sides
from emdsl.outcomes.draws import PLACE, REASON, VALUE
from emdsl.outcomes.intervals import Interval, clopper_pearson, quantile_of, wilson
from emdsl.outcomes.measure_views import (
    CORRECTED_SQL,
    CURVE_SQL,
    MEANS,
    NUMBERS,
    atoms_sql,
    combinations_sql,
    doses_sql,
    placed_in,
    ratings_sql,
)
from emdsl.outcomes.spread import SPREAD, Spread, discordant, spreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.experiment import Measure
    from emdsl.outcomes.components import Source

Row = dict[str, Any]  # columns of one group, by name


@dataclass(frozen=True, slots=True)
class Computed:
    """The computed columns of a measure by the place of its groups, and a notice or ""."""

    rows: list[tuple[int, Row]]
    notice: str = ""


COLUMNS = {
    "low": "DOUBLE", "high": "DOUBLE", "se": "DOUBLE", "clusters": "BIGINT", "clustered_by": "VARCHAR",
    "design_effect": "DOUBLE", "se_pairs": "DOUBLE", "p": "DOUBLE", "p_holm": "DOUBLE", "p_bh": "DOUBLE",
    "p_equivalent": "DOUBLE", "source": "VARCHAR", "components": "DOUBLE", "variance": "DOUBLE", "levels": "BIGINT",
    "se_twice": "DOUBLE", "se_nested": "DOUBLE",
    "agreement": "DOUBLE", "contrast": "DOUBLE", "first": "DOUBLE", "second": "DOUBLE",
    "dose": "DOUBLE", "reason": "VARCHAR", "rate": "DOUBLE", **CORRECTED_SQL,
    **{c: CURVE_SQL if c == "curve" else "DOUBLE" for c in DOSE_COLUMNS},
}  # fmt: skip


def computed(select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, draws: str, relation: str) -> Computed:
    """Return what is computed for the groups of a measure, whose figures are in a relation."""
    if measure.function == "components":
        return Computed(_components(select, measure, draws, relation))
    if measure.metric:
        return _alphas(select, measure, draws, relation)
    if "dose" in (measure.function, measure.of):
        from emdsl.outcomes.dose_rows import dose_contrasts, dose_rows  # noqa: PLC0415 - numpy is imported only if needed

        doses = doses_sql(measure, draws, relation)
        return Computed((dose_rows if measure.function == "dose" else dose_contrasts)(select, measure, doses))
    if measure.via:
        from emdsl.outcomes.corrected_rows import corrected_rows  # noqa: PLC0415 - few studies have verdicts of people

        return Computed(*corrected_rows(select, measure, draws, relation))
    assert measure.interval is not None
    found = spreads(select, measure, draws, relation)
    match measure.function:
        case "rate":
            rows = _rates(select, measure, found, relation)
        case "contrast":
            rows = _contrasts(select, measure, found, relation)
        case "shares":
            rows = _shares(select, measure, found, relation)
        case "sd" | "correlation":
            rows = _transformed(select, measure, found, relation)
        case "quantile":
            rows = _quantiles(select, measure, found, draws, relation)
        case _:
            rows = _figures(select, measure, found, relation)
    notices = []
    if measure.interval.method == "bootstrap":
        notices = _bootstrapped(select, measure, found, draws, rows)
    return Computed(list(rows.items()), _notice(measure, notices))


def _notice(measure: Measure, parts: list[str]) -> str:
    return f"measure `{measure.name}`: {'; '.join(parts)}" if parts else ""


def _of_spread(spread: Spread) -> Row:
    """Return the columns that say what an interval rests on."""
    return {
        "se": spread.error, "clusters": spread.n, "clustered_by": " and ".join(spread.names) or None,
        "design_effect": spread.design_effect,
    }  # fmt: skip


def _rates(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, found: dict[int, Spread], relation: str
) -> dict[int, Row]:
    assert measure.interval is not None
    level = measure.interval.level
    rows: dict[int, Row] = {}
    for place, rate, hits, n, low, high in select(f"SELECT {PLACE}, rate, hits, n, low, high FROM {relation}"):
        spread = found.get(place)
        if spread is None:
            continue
        if not spread.names and not measure.equal:
            ends = clopper_pearson(hits, n, level) if measure.interval.method == "clopper_pearson" else (low, high)
            rows[place] = _of_spread(spread) | {"low": ends[0], "high": ends[1]}
            continue
        interval = rate_interval(measure.interval.method, rate, n, spread, level) if spread.n > 1 else (None, None)
        rows[place] = _of_spread(spread) | {"low": interval[0], "high": interval[1]}
    return rows


def _shares(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, found: dict[int, Spread], relation: str
) -> dict[int, Row]:
    """Return intervals that hold for all labels of a group together: each at a higher level, after Bonferroni."""
    assert measure.interval is not None
    level = 1 - (1 - measure.interval.level) / len(measure.labels)
    rows: dict[int, Row] = {}
    for place, share, n in select(f"SELECT {PLACE}, shares, n FROM {relation}"):
        if (spread := found.get(place)) is None:
            continue
        ends: tuple[float | None, float | None] = None, None
        if not spread.names:
            ends = wilson(share * n, n, quantile_of(level))
        elif spread.n > 1:
            ends = rate_interval("wilson", share, n, spread, level)
        rows[place] = _of_spread(spread) | {"low": ends[0], "high": ends[1]}
    return rows


def _transformed(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, found: dict[int, Spread], relation: str
) -> dict[int, Row]:
    """Return intervals on a scale on which the figure is about normal.

    That of a standard deviation is its logarithm, that of a correlation Fisher's z: Fisher (1915), Biometrika 10. For
    8 to 48 clusters of normal values both cover 92 to 95 %; the spread of lognormal values is covered in 66 to 81 %.
    """
    assert measure.interval is not None
    rows: dict[int, Row] = {}
    for place, value in select(f"SELECT {PLACE}, {measure.function} FROM {relation}"):
        if (spread := found.get(place)) is None:
            continue
        low: float | None = None
        high: float | None = None
        sound = value is not None and (value > 0 if measure.function == "sd" else abs(value) < 1 - SPREAD)
        if sound and spread.error is not None and spread.error >= SPREAD:
            to, back, slope = (
                (math.log, math.exp, 1 / value)
                if measure.function == "sd"
                else (math.atanh, math.tanh, 1 / (1 - value * value))
            )
            ends = student_interval(to(value), spread.error * slope, spread.freedom, measure.interval.level)
            low, high = back(ends.low), back(ends.high)
        rows[place] = _of_spread(spread) | {"low": low, "high": high}
    return rows


def _figures(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, found: dict[int, Spread], relation: str
) -> dict[int, Row]:
    """Return intervals by Student's distribution: of means, shares of cells, slopes and agreements."""
    assert measure.interval is not None
    rows: dict[int, Row] = {}
    sql = f"SELECT {PLACE}, {measure.function}, n, low, high, se FROM {relation}"
    for place, value, n, low, high, error in select(sql):
        spread = found.get(place)
        if spread is None:
            continue
        rows[place] = _of_spread(spread)
        if spread.names or measure.equal:
            rows[place] |= dict(zip(("low", "high"), _student(measure, value, n, spread), strict=True))
        else:  # all three are by one formula: that of independent draws
            rows[place] |= {"low": low, "high": high, "se": error}
    return rows


def _student(measure: Measure, value: float | None, n: int, spread: Spread) -> tuple[float | None, float | None]:
    assert measure.interval is not None
    level = measure.interval.level
    if value is None or spread.error is None:
        return None, None
    if spread.error < SPREAD:  # clusters that do not differ say nothing about how clusters differ
        return score_interval(value, effective(value, n, spread, level), level) if measure.function == "at_least" else (
            None, None)  # fmt: skip
    interval = student_interval(value, spread.error, spread.freedom, level)
    least = {"at_least": 0.0, "agreement": -1.0}.get(measure.function)
    return interval if least is None else clipped(interval, least)


def _quantiles(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, found: dict[int, Spread], draws: str,
    relation: str,
) -> dict[int, Row]:  # fmt: skip
    """Return intervals of quantiles: the values at both ends of the interval of the share below."""
    assert measure.interval is not None
    level = measure.interval.level
    rows: dict[int, Row] = {}
    shares: dict[int, Interval] = {}
    for place, n, low, high in select(f"SELECT {PLACE}, n, low, high FROM {relation}"):
        if (spread := found.get(place)) is None:
            continue
        rows[place] = _of_spread(spread) | {"low": low, "high": high, "se": None}
        if spread.names:
            rows[place] |= {"low": None, "high": None}
            if spread.n > 1:
                shares[place] = score_interval(measure.at, effective(measure.at, n, spread, level), level)
    if shares:
        for place, low, high in select(_ranks_sql(measure, shares, draws, relation)):
            rows[place] |= {"low": low, "high": high}
    return rows


def _ranks_sql(measure: Measure, shares: dict[int, Interval], draws: str, relation: str) -> str:
    """Return the SELECT of the values at two shares of each group; NULL beyond the values."""
    given = ", ".join(f"({place}, {low!r}::DOUBLE, {high!r}::DOUBLE)" for place, (low, high) in shares.items())
    return (
        f"SELECT figures.{PLACE}, CASE WHEN floor(low * n) >= 1 THEN held[floor(low * n)::INT] END, "
        f"CASE WHEN floor(high * n) + 1 <= n THEN held[(floor(high * n) + 1)::INT] END FROM "
        f"(SELECT figures.{PLACE}, list({VALUE}::DOUBLE ORDER BY {VALUE}::DOUBLE) AS held, count(*) AS n "
        f"FROM ({draws}) AS draws JOIN {relation} AS figures ON {placed_in(measure, 'draws')} WHERE {REASON} IS NULL "
        f"GROUP BY figures.{PLACE}) AS figures JOIN (VALUES {given}) AS shares(place, low, high) "
        f"ON figures.{PLACE} = shares.place"
    )


def _contrasts(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, found: dict[int, Spread], relation: str
) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    n_sides = len(measure.sides)
    columns = ", ".join(f"{MEANS[i - 1]}, {NUMBERS[i - 1]}" for i in range(1, n_sides + 1))
    alone = any(s.n == s.alone.n for s in found.values())  # only then is McNemar's test used
    turned = discordant(select) if measure.of == "rate" and n_sides == 2 and alone else {}
    for place, value, *sides in select(f"SELECT {PLACE}, contrast, {columns} FROM {relation}"):
        if (spread := found.get(place)) is None or value is None:
            rows[place] = {"clusters": 0}
            continue
        compared = Compared(
            value=value, measure=measure, sides=Sides(tuple(sides[::2]), tuple(sides[1::2])), spread=spread,
            discordant=turned.get(place),
        )  # fmt: skip
        low, high = compared.interval
        rows[place] = _of_spread(spread) | {
            "low": low, "high": high, "se": compared.error, "p": compared.p,
            "se_pairs": math.sqrt(spread.alone.variance) if spread.alone.n > 1 else None,
        }  # fmt: skip
        if measure.equivalent is not None:
            rows[place]["p_equivalent"] = compared.p_equivalent
    return rows


def _alphas(select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, draws: str, relation: str) -> Computed:
    """Return Krippendorff's alpha of each group, with its bootstrap interval; of two ways to cluster, by the first."""
    from emdsl.outcomes.bootstrap import MIN_CLUSTERS  # noqa: PLC0415 - numpy is imported only if needed
    from emdsl.outcomes.krippendorff import alpha, alpha_interval, ratings_of  # noqa: PLC0415 - numpy is imported only if needed

    assert measure.interval is not None
    interval = measure.interval
    groups: dict[tuple[int, str], list[tuple[str | None, list[Any], int]]] = {}
    for place, called, cluster, ratings, n in select(ratings_sql(measure, draws, relation)):
        groups.setdefault((place, called), []).append((cluster, ratings, n))
    rows: list[tuple[int, Row]] = []
    few: list[int] = []
    for (place, called), units in groups.items():
        enough = not interval.clusters.detected or len({c for c, *_ in units}) >= MIN_DETECTED
        found = ratings_of((cluster if enough else None, ratings, n) for cluster, ratings, n in units)
        n = int(found.times.sum())
        low, high, error = alpha_interval(
            found, measure.metric, interval.level, resamples=interval.resamples, seed=f"{interval.seed} {called}"
        )
        few += [n] if low is not None and n < MIN_CLUSTERS else []
        rows.append((place, {
            "agreement": alpha(found, measure.metric), "low": low, "high": high, "se": error, "clusters": n,
            "clustered_by": interval.cluster[0] if interval.cluster and enough else None,
        }))  # fmt: skip
    return Computed(rows, _notice(measure, _few_clusters(few, len(groups))))


def _components(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, draws: str, relation: str
) -> list[tuple[int, Row]]:
    """Return a row for each source of variance of each group."""
    from emdsl.outcomes.components import components  # noqa: PLC0415 - few studies need it

    atoms: dict[int, list[tuple[tuple[str, ...], float, float, int]]] = {}
    for place, *levels, total, squares, n in select(combinations_sql(measure, draws, relation)):
        atoms.setdefault(place, []).append((tuple(map(str, levels)), total, squares, n))
    rows: list[tuple[int, Row]] = []
    for place, combinations in atoms.items():
        parts = components(measure.factors, combinations)
        rows += [
            (place, {
                "source": source.name, "components": source.share, "variance": source.variance,
                "levels": source.n_levels, "se": parts.error, "se_twice": source.error_twice,
                "se_nested": source.error_nested,
                "design_effect": parts.design_effect,
            })
            for source in sorted(parts.sources, key=_by_variance)
        ]  # fmt: skip
    return rows


def _by_variance(source: Source) -> tuple[bool, float]:
    """Return the place of a source among the others: the largest first, those that are not known last."""
    return source.variance is None, -(source.variance or 0.0)


def _bootstrapped(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, found: dict[int, Spread], draws: str,
    rows: dict[int, Row],
) -> list[str]:  # fmt: skip
    """Replace intervals by those of a bootstrap where it has one; return notices about the others."""
    from emdsl.outcomes.bootstrap import MIN_CLUSTERS, clusters_of, interval  # noqa: PLC0415 - numpy is imported only if needed

    assert measure.interval is not None
    n_sides, n_ways = max(1, len(measure.sides)), len(measure.interval.cluster)
    groups: dict[tuple[int, str], list[tuple[Any, ...]]] = {}
    for place, called, *rest in select(atoms_sql(measure, draws)):
        groups.setdefault((place, called), []).append(tuple(rest))
    few: list[int] = []
    alike: list[Row] = []
    for (place, called), atoms in groups.items():
        spread = found[place]
        if n_ways and not spread.names:
            continue
        used = _merged(atoms, 2 * n_sides) if len(spread.names) < n_ways else atoms
        named = [[str(a[i]) for a in used] for i in range(n_ways)] if len(spread.names) == 2 else []
        times = [a[-2 * n_sides - 1] for a in used]
        sums = [a[-2 * n_sides :] for a in used]
        clusters = clusters_of(sums, times, named)
        low, high = interval(
            clusters, measure.interval.level, error=spread.error, n=spread.n,
            resamples=measure.interval.resamples, seed=f"{measure.interval.seed} {called}",
        )  # fmt: skip
        if low is None or high is None:
            alike.append(rows.get(place, {}))
            continue
        if spread.n < MIN_CLUSTERS:
            few.append(spread.n)
        rows[place] |= dict(zip(("low", "high"), _within(measure, low, high), strict=True))
    notices = _few_clusters(few, len(groups))
    if default := sum(row.get("low") is not None for row in alike):
        notices.append(
            f"{default} of {len(groups)} groups have no bootstrap interval, as their clusters do not differ: "
            "they have the default interval"
        )
    if none := len(alike) - default:
        notices.append(f"{none} of {len(groups)} groups have no interval, as their clusters do not differ")
    return notices


def _merged(atoms: list[tuple[Any, ...]], n_sums: int) -> list[tuple[Any, ...]]:
    """Return atoms of two ways of clustering as those of the first one."""
    sums: dict[Any, list[float]] = {}
    for atom in atoms:
        whole = sums.setdefault(atom[0], [0.0] * n_sums)
        for i, x in enumerate(atom[-n_sums:]):
            whole[i] += x
    return [(first, 1, *whole) for first, whole in sums.items()]


def _few_clusters(few: list[int], n_groups: int) -> list[str]:
    """Return what to say about groups with few clusters, given the number of each."""
    from emdsl.outcomes.bootstrap import MIN_CLUSTERS  # noqa: PLC0415 - numpy is imported only if needed

    if not few:
        return []
    least = f"{len(few)} of {n_groups} groups have fewer than {MIN_CLUSTERS} clusters (minimum {min(few)})"
    return [f"{least}: too few to resample, so their intervals use Student's quantiles"]


def _within(measure: Measure, low: float, high: float) -> tuple[float, float]:
    """Clip an interval to the range of its measure: 0 to 1 for a rate, -1 to 1 for a contrast of rates."""
    if "mean" in (measure.function, measure.of):
        return low, high
    return clipped(Interval(low, high), -1.0 if measure.function == "contrast" else 0.0)
