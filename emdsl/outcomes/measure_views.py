"""Measures to SQL: for each group a figure with the number of its draws, and the interval of independent draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.experiment import CORRECTED_COLUMNS, DOSE_COLUMNS
from emdsl.outcomes.draws import (
    DOSE,
    EQUAL,
    KEPT,
    OPEN,
    OTHER,
    PLACE,
    REASON,
    SIDE,
    SIMULATED,
    UNIT,
    VALUE,
    cells_sql,
    group_columns,
    grouped,
    groups_of,
    listed,
    same_group,
    ways_of,
)
from emdsl.outcomes.intervals import alpha_sql, kappa_sql, mean_sql, ranks_sql, rate_sql, t_sql
from emdsl.outcomes.level_order import order_sql
from emdsl.outcomes.sql import inner, literal, name

if TYPE_CHECKING:
    from emdsl.experiment import Measure

_ALWAYS = ("contrast", "dose", "sd", "correlation", "shares", "components")
COMPUTED = ("clopper_pearson", "bootstrap")  # intervals that SQL cannot compute
TOO_FEW = "too_few"  # the reason for a cell that an `at_least` drops
_NO_INTERVAL = ("NULL::DOUBLE AS low", "NULL::DOUBLE AS high", "NULL::DOUBLE AS se")
FIRSTS_OF, SECONDS_OF = ((inner(f"mean of {x}"), inner(f"spread of {x}")) for x in ("first", "second"))
CORRECTED_SQL = dict.fromkeys(CORRECTED_COLUMNS, "DOUBLE") | {
    "annotated": "BIGINT", "positive": "BIGINT", "reason": "VARCHAR",
}  # fmt: skip
CURVE_SQL = "STRUCT(dose DOUBLE, rate DOUBLE, low DOUBLE, high DOUBLE)[]"
LEVELS = inner("levels")  # number of levels that weigh the same
CENTRE, SQUARES = inner("centre"), inner("squares")  # of the doses of a slope
FIRSTS, SECONDS = inner("firsts"), inner("seconds")  # labels of an agreement with their numbers
N_SIDES = 4  # maximum, of a contrast
MEANS, NUMBERS = (tuple(inner(f"{word} {i}") for i in range(1, N_SIDES + 1)) for word in ("mean", "number"))


def is_computed(measure: Measure) -> bool:
    """Whether SQL cannot compute a part of a measure: see `computed.py`."""
    interval = measure.interval
    return (
        measure.function in _ALWAYS
        or bool(measure.via)
        or (interval is not None and (bool(interval.cluster) or bool(measure.equal) or interval.method in COMPUTED))
    )


def view_sql(measure: Measure, draws: str, *, parts: bool = False) -> str:
    """Return the SELECT of a measure's relation.

    Within one group, rows whose asks share their keys are one draw and count once: at k = 0 three datasets share one
    answer, and an interval over three copies would be too narrow.

    Args:
        measure: The measure.
        draws: The SELECT of its draws.
        parts: Whether to add the columns that `spread_sql` reads.
    """
    groups = groups_of(measure)
    match measure.function:
        case "contrast":
            sql = contrast_sql(draws, measure, groups)
        case "at_least":
            sql = at_least_sql(draws, measure, groups)
        case "slope":
            sql = slope_sql(draws, measure, groups, parts=parts)
        case _:
            figures = ",\n  ".join(_figures(measure, parts=parts))
            sql = (
                f"WITH draws AS (\n{_weighted(measure, draws, groups)}\n)\n"
                f"SELECT\n  {listed(groups)}{figures}\nFROM draws {grouped(groups)}"
            )
    if not groups:
        return sql
    by = ", ".join(groups)
    shown = "".join(f"{g} AS {name(column)}, " for g, column in zip(groups, group_columns(measure), strict=True))
    return f"SELECT {shown}* EXCLUDE ({by})\nFROM (\n{sql}\n)\nORDER BY {order_sql(measure, groups)}"


def _weighted(measure: Measure, draws: str, groups: list[str]) -> str:
    """Return the draws of a measure; where levels weigh the same, with the weight of each kept draw."""
    if not measure.equal:
        return draws
    of = f"{listed(groups)}{EQUAL}"
    weight = f"CASE WHEN {REASON} IS NULL THEN 1.0 / count(*) {KEPT} OVER (PARTITION BY {of}) END"
    return f"SELECT *, {weight} AS weight FROM (\n{draws}\n)"


def _macro_mean(value: str) -> list[str]:
    """Return the mean of the levels' means, as the figure of the measure, and the number of levels."""
    return [f"fsum(weight * {value}::DOUBLE ORDER BY {value}) / fsum(weight)", f"fsum(weight) AS {LEVELS}"]


_NO_CLUSTERS = ("NULL::VARCHAR AS clustered_by", "NULL::DOUBLE AS design_effect")
_COUNTS = [
    f"count(*) {KEPT} AS n",
    "count(*) AS n_planned",
    f"count(*) - count(*) {KEPT} AS n_dropped",
    f"histogram({REASON}) FILTER ({REASON} IS NOT NULL) AS dropped",
    f"NOT bool_or({OPEN}) AS complete",
    f"bool_or({SIMULATED}) AS simulated",
    f"count(*) {KEPT} AS clusters",
    *_NO_CLUSTERS,
]
_CELL_COUNTS = [
    "count(v) AS n",
    "count(*) AS n_planned",
    "count(*) - count(v) AS n_dropped",
    f"histogram({literal(TOO_FEW)}) FILTER (v IS NULL) AS dropped",
    "NOT bool_or(opened) AS complete",
    "bool_or(simulated) AS simulated",
    "count(v) AS clusters",
    *_NO_CLUSTERS,
]


def _figures(measure: Measure, *, parts: bool) -> list[str]:
    hits, n = f"count(*) {KEPT[:-1]} AND {VALUE})", f"count(*) {KEPT}"
    if measure.function == "count":
        return [f"{hits} AS count", *_COUNTS]
    level = measure.interval.level if measure.interval is not None else 0.95
    value = f"(CASE WHEN {REASON} IS NULL THEN {VALUE} END)"
    match measure.function:
        case "mean":
            low, high, error = mean_sql(level, value)
            mean, more = f"avg({value} ORDER BY {value})", list[str]()
            if measure.equal:
                mean, *more = _macro_mean(value)
            figures = [*more, f"{mean} AS mean", f"{low} AS low", f"{high} AS high",
                       f"stddev_samp({value} ORDER BY {value}) AS sd", f"{error} AS se"]  # fmt: skip
        case "quantile":
            low, high = ranks_sql(measure.at, level, value)
            figures = [f"quantile_cont({value}, {measure.at!r}) AS quantile", f"{low} AS low", f"{high} AS high"]
        case "agreement":
            figures = _agreement(measure, level, parts=parts)
        case "sd":
            figures = [f"stddev_samp({value} ORDER BY {value}) AS sd", *_NO_INTERVAL,
                       f"avg({value} ORDER BY {value}) AS mean"]  # fmt: skip
        case "correlation":
            a, b = (f"(CASE WHEN {REASON} IS NULL THEN {x}::DOUBLE END)" for x in (VALUE, OTHER))
            figures = [f"CASE WHEN stddev_pop({a}) > 0 AND stddev_pop({b}) > 0 THEN corr({a}, {b}) END AS correlation",
                       *_NO_INTERVAL]  # fmt: skip
            figures += [f"{f}({x}) AS {c}" for x, cs in ((a, FIRSTS_OF), (b, SECONDS_OF))
                        for f, c in zip(("avg", "stddev_pop"), cs, strict=True)]  # fmt: skip
        case "dose":
            figures = ["NULL::DOUBLE AS dose", *_NO_INTERVAL[:2], "NULL::VARCHAR AS reason",
                       *(f"NULL::{CURVE_SQL if c == 'curve' else 'DOUBLE'} AS {c}" for c in DOSE_COLUMNS)]  # fmt: skip
        case "components":
            empty = (
                ("source", "VARCHAR"),
                ("levels", "BIGINT"),
                *((c, "DOUBLE") for c in ("variance", "se", "se_twice", "se_nested")),
            )
            figures = ["NULL::DOUBLE AS components", *(f"NULL::{sql} AS {c}" for c, sql in empty)]
        case "shares":
            figures = [f"CASE WHEN {n} > 0 THEN ({hits})::DOUBLE / ({n}) END AS shares", *_NO_INTERVAL,
                       f"{hits} AS hits"]  # fmt: skip
        case _:
            assert measure.interval is not None
            low, high = rate_sql(measure.interval.method, level, f"({hits})", f"({n})")
            rate, more = f"CASE WHEN {n} > 0 THEN ({hits})::DOUBLE / ({n}) END", []
            error = f"CASE WHEN {n} > 1 THEN sqrt(({hits})::DOUBLE * ({n} - {hits}) / ({n} - 1)) / ({n}) END"
            if measure.equal:
                rate, *more = _macro_mean(value)
            corrected = [f"{rate} AS raw", *(f"NULL::{CORRECTED_SQL[c]} AS {c}" for c in CORRECTED_COLUMNS[1:])]
            if measure.via:
                rate, low, high, error = ("NULL::DOUBLE",) * 4
            figures = [
                *more,
                f"{rate} AS rate",
                f"{low} AS low",
                f"{high} AS high",
                f"{hits} AS hits",
                f"{error} AS se",
                *(corrected if measure.via else []),
            ]
    return [*figures, *_COUNTS]


def _agreement(measure: Measure, level: float, *, parts: bool) -> list[str]:
    n = f"(count(*) {KEPT})"
    if measure.metric:
        same = f"(count(*) {KEPT[:-1]} AND len(list_distinct({VALUE})) = 1))"
        return ["NULL::DOUBLE AS agreement", *_NO_INTERVAL, f"CASE WHEN {n} > 0 THEN {same}::DOUBLE / {n} END AS same"]
    same = f"(count(*) {KEPT[:-1]} AND {VALUE} = {OTHER}))"
    if measure.nominal:
        value, low, high = kappa_sql(VALUE, OTHER, KEPT, level)
        more = [f"histogram({VALUE}::VARCHAR) {KEPT} AS {FIRSTS}", f"histogram({OTHER}::VARCHAR) {KEPT} AS {SECONDS}"]
    else:
        value, low, high = alpha_sql(VALUE, OTHER, KEPT), "NULL::DOUBLE", "NULL::DOUBLE"
        a, b = (f"({x})::DOUBLE" for x in (VALUE, OTHER))
        centre = f"((avg({a}) {KEPT}) + (avg({b}) {KEPT})) / 2"
        spread = f"(var_pop({a}) {KEPT}) + (var_pop({b}) {KEPT}) + power((avg({a}) {KEPT}) - (avg({b}) {KEPT}), 2) / 2"
        more = [f"{centre} AS {CENTRE}", f"({spread}) / 2 AS {SQUARES}"]
    return [f"{value} AS agreement", f"{low} AS low", f"{high} AS high", "NULL::DOUBLE AS se",
            f"CASE WHEN {n} > 0 THEN {same}::DOUBLE / {n} END AS same", *(more if parts else [])]  # fmt: skip


def at_least_sql(draws: str, measure: Measure, groups: list[str]) -> str:
    """Return the SELECT of a share of cells, with the interval of a mean over cells.

    Of a cell with m kept draws, h of which hold, the chance that `least` of `among` drawn at random hold is
    hypergeometric: no draws are thrown away, and none counted twice. Source: Chen et al. (2021), "Evaluating large
    language models trained on code", for pass@k.
    """
    assert measure.interval is not None
    low, high, error = mean_sql(measure.interval.level, "v")
    counts = ", ".join(_CELL_COUNTS)
    return (
        f"WITH draws AS (\n{draws}\n),\n{cells_sql(measure, groups)}\n"
        f"SELECT {listed(groups)}avg(v ORDER BY v) AS at_least, stddev_samp(v ORDER BY v) AS sd, {error} AS se,\n"
        f"  CASE WHEN {low} < 0 THEN 0 ELSE {low} END AS low, CASE WHEN {high} > 1 THEN 1 ELSE {high} END AS high,\n"
        f"  {counts}\nFROM cells {grouped(groups)}"
    )


def values_sql(measure: Measure, groups: list[str], more: str = "") -> str:
    """Return the SQL of `valued`: each kept draw or cell with group, side, unit, clusters and its value `y`."""
    keys = f"{listed(groups)}{SIDE}, {UNIT}{''.join(f', {w}' for w in ways_of(measure))}{more}"
    if "at_least" in (measure.function, measure.of):
        return f"{cells_sql(measure, groups)},\nvalued AS (SELECT {keys}, v AS y FROM cells WHERE v IS NOT NULL)"
    y = "NULL" if measure.other is not None else f"{VALUE}::DOUBLE"
    if measure.equal:
        of = f"{listed(groups)}{EQUAL}"
        y += f" AS y, 1.0 / count(*) OVER (PARTITION BY {of}) AS weight, avg({VALUE}::DOUBLE) OVER (PARTITION BY {of})"
        return f"valued AS (SELECT {keys}, {y} AS middle FROM draws WHERE {REASON} IS NULL)"
    return f"valued AS (SELECT {keys}, {y} AS y FROM draws WHERE {REASON} IS NULL)"


def contrast_sql(draws: str, measure: Measure, groups: list[str]) -> str:
    """Return the SELECT of a contrast: its sides and counts, without interval.

    A contrast of contrasts has four sides; `first` and `second` are then the contrasts between two of them each.
    """
    n_sides = len(measure.sides)
    counted = "cells" if measure.of == "at_least" else "draws"
    counts = ", ".join(_CELL_COUNTS if measure.of == "at_least" else _COUNTS)
    ordered = "" if measure.of == "rate" else " ORDER BY y"  # a sum of whole numbers has no rounding
    sides = ", ".join(
        f"avg(y{ordered}) FILTER ({SIDE} = {i}) AS {MEANS[i - 1]}, count(y) FILTER ({SIDE} = {i}) AS {NUMBERS[i - 1]}"
        for i in range(1, n_sides + 1)
    )
    first, second = MEANS[0], MEANS[1]
    n_first, n_second = NUMBERS[0], NUMBERS[1]
    if n_sides == 4:
        first, second = between(measure.scale, MEANS[0], MEANS[1]), between(measure.scale, MEANS[2], MEANS[3])
        n_first, n_second = f"{NUMBERS[0]} + {NUMBERS[1]}", f"{NUMBERS[2]} + {NUMBERS[3]}"
        whole = f"{first} - ({second})" if measure.scale == "difference" else f"({first}) / nullif({second}, 0)"
    else:
        whole = between(measure.scale, first, second)
    if measure.of == "dose":  # see `dose_rows.py`
        whole = first = second = "NULL::DOUBLE"
    tested = " NULL::DOUBLE AS p_equivalent," if measure.equivalent is not None else ""
    tested += f" NULL::DOUBLE AS p_{measure.correct}," if measure.correct else ""
    tested += " NULL::VARCHAR AS reason," if measure.of == "dose" else ""
    every = " AND ".join(f"bool_or({SIDE} = {i})" for i in range(1, n_sides + 1))
    found, paired = (same_group(groups, "totals", x) for x in ("sides", "pairs"))
    return (
        f"WITH draws AS (\n{draws}\n),\n{values_sql(measure, groups)},\n"
        f"totals AS (SELECT {listed(groups)}{counts} FROM {counted} {grouped(groups)}),\n"
        f"sides AS (SELECT {listed(groups)}{sides} FROM valued {grouped(groups)}),\n"
        f"pairs AS (SELECT {listed(groups)}count(*) AS n_units, count(*) FILTER (paired) AS n_pairs\n"
        f"  FROM (SELECT {listed(groups)}{UNIT}, {every} AS paired FROM valued GROUP BY {listed(groups)}{UNIT}) "
        f"{grouped(groups)})\n"
        f"SELECT {listed(groups, 'totals.')}{whole} AS contrast, NULL::DOUBLE AS low, NULL::DOUBLE AS high,\n"
        f"  {first} AS first, {second} AS second, COALESCE({n_first}, 0) AS n_first, "
        f"COALESCE({n_second}, 0) AS n_second,\n"
        f"  COALESCE(n_pairs, 0) AS n_pairs, NULL::DOUBLE AS se, COALESCE(n_units, 0) AS n_units,\n"
        f"  n, n_planned, n_dropped, dropped, complete, simulated, clusters, clustered_by, design_effect,\n"
        f"  NULL::DOUBLE AS se_pairs, NULL::DOUBLE AS p,{tested}\n"
        f"  {', '.join(f'{MEANS[i - 1]}, {NUMBERS[i - 1]}' for i in range(1, n_sides + 1))}\n"
        f"FROM totals LEFT JOIN sides ON {found} LEFT JOIN pairs ON {paired}"
    )


def between(scale: str, first: str, second: str) -> str:
    """Return what separates two rates or means in SQL, on a scale; NULL where it does not exist."""
    if scale == "ratio":
        return f"{first} / nullif({second}, 0)"
    if scale == "odds":
        return f"({first} / nullif(1 - {first}, 0)) / nullif({second} / nullif(1 - {second}, 0), 0)"
    return f"{first} - {second}"


def slope_sql(draws: str, measure: Measure, groups: list[str], *, parts: bool) -> str:
    """Return the SELECT of a least-squares slope, with an interval that holds for unequal spread.

    The variance is n / (n - 2) sum((x - mean x)^2 e^2) / sum((x - mean x)^2)^2 with residuals e: HC1. Source: White
    (1980), Econometrica 48; MacKinnon and White (1985), Journal of Econometrics 29.
    """
    assert measure.interval is not None
    by, y = listed(groups), f"(CASE WHEN {REASON} IS NULL THEN {VALUE}::DOUBLE END)"
    same, again = same_group(groups, "draws", "fit"), same_group(groups, "fit", "spread")
    error = "sqrt(n * 1.0 / (n - 2) * errors) / sxx"
    half = f"{t_sql(measure.interval.level, 'n - 2')} * {error}"
    known = "CASE WHEN n > 2 AND sxx > 0 THEN"
    counts = ", ".join(_COUNTS)
    more = f", centre AS {CENTRE}, sxx AS {SQUARES}" if parts else ""
    return (
        f"WITH draws AS (\n{draws}\n),\n"
        f"fit AS (SELECT {by}regr_slope({y}, {DOSE}) AS slope, regr_intercept({y}, {DOSE}) AS intercept,\n"
        f"  regr_avgx({y}, {DOSE}) AS centre, regr_sxx({y}, {DOSE}) AS sxx, {counts}\n"
        f"  FROM draws {grouped(groups)}),\n"
        f"spread AS (SELECT {listed(groups, 'fit.')}"
        f"sum(power(({DOSE} - centre) * ({y} - intercept - slope * {DOSE}), 2)) AS errors\n"
        f"  FROM draws JOIN fit ON {same} {grouped(groups, 'fit.')})\n"
        f"SELECT {listed(groups, 'fit.')}CASE WHEN sxx > 0 THEN slope END AS slope,\n"
        f"  {known} slope - {half} END AS low, {known} slope + {half} END AS high,\n"
        f"  CASE WHEN sxx > 0 THEN intercept END AS intercept, {known} {error} END AS se,\n"
        f"  n, n_planned, n_dropped, dropped, complete, simulated, clusters, clustered_by, design_effect{more}\n"
        f"FROM fit JOIN spread ON {again}"
    )


def combinations_sql(measure: Measure, draws: str, relation: str) -> str:
    """Return the SELECT of each combination of factors: its place, levels, sum, sum of squares and number of values."""
    ways = ", ".join(ways_of(measure))
    return (
        f"WITH draws AS (\n{draws}\n),\n{values_sql(measure, groups_of(measure))}\n"
        f"SELECT {PLACE}, {ways}, sum(valued.y ORDER BY valued.y), sum(valued.y * valued.y ORDER BY valued.y),\n"
        f"  count(*) FROM valued JOIN {relation} AS figures ON {placed_in(measure, 'valued')}\n"
        f"GROUP BY {PLACE}, {ways} ORDER BY {PLACE}, {ways}"
    )


def placed_in(measure: Measure, rows: str) -> str:
    """Return the condition that draws, by the name of their relation, are of a group of `figures`."""
    return " AND ".join(
        f"{rows}.{g} IS NOT DISTINCT FROM figures.{name(c)}"
        for g, c in zip(groups_of(measure), group_columns(measure), strict=True)
    ) or "TRUE"  # fmt: skip


def called_sql(groups: list[str]) -> str:
    """Return the name of a group in SQL, the same whichever other groups there are: a part of a seed."""
    return f"[{', '.join(f'{g}::VARCHAR' for g in groups)}]::VARCHAR" if groups else "''"


def ratings_sql(measure: Measure, draws: str, relation: str) -> str:
    """Return the SELECT of place, name of the group, cluster, list of ratings, and number of equal draws."""
    groups, ways = groups_of(measure), ways_of(measure)
    cluster = ways[0] if ways else "NULL"
    return (
        f"SELECT {PLACE}, {called_sql(groups)}, {cluster}, {VALUE}, count(*) FROM ({draws}) AS draws "
        f"JOIN {relation} AS figures ON {placed_in(measure, 'draws')} "
        f"WHERE {REASON} IS NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 4"
    )


def doses_sql(measure: Measure, draws: str, relation: str) -> str:
    """Return the SELECT of hits and kept draws by place, side, cluster and dose.

    Without clusters each draw is one: the number of a draw is its cluster.
    """
    ways = ways_of(measure)
    cluster = ways[0] if ways else "(row_number() OVER ())::VARCHAR"
    return (
        f"WITH draws AS (\n{draws}\n),\n{values_sql(measure, groups_of(measure), f', {DOSE}')},\n"
        f"named AS (SELECT {PLACE}, COALESCE({SIDE}, 1) AS side, {cluster} AS cluster, {DOSE} AS dose,\n"
        f"  valued.y FROM valued "
        f"JOIN {relation} AS figures ON {placed_in(measure, 'valued')})\n"
        f"SELECT {PLACE}, side, cluster, dose, sum(y), count(*) FROM named WHERE dose >= 0 "
        f"GROUP BY {PLACE}, side, cluster, dose ORDER BY {PLACE}, side, cluster, dose"
    )


def atoms_sql(measure: Measure, draws: str) -> str:
    """Return the SELECT of the units of a bootstrap: group, its name, clusters, multiplicity, sums and counts by side.

    Groups are numbered in the order of the measure's relation. Draws without clusters are distinguished by their value
    only: equal ones are one row.
    """
    groups = groups_of(measure)
    ways = ways_of(measure)
    ranked = f"dense_rank() OVER (ORDER BY {order_sql(measure, groups)})" if groups else "1"
    sides = range(1, len(measure.sides) + 1) if measure.sides else (None,)
    unit = () if ways else (UNIT,) if measure.sides else ()
    when = ["TRUE" if s is None else f"{SIDE} = {s}" for s in sides]
    sums = ", ".join(
        [f"COALESCE(sum(y) FILTER ({w}), 0)::DOUBLE" for w in when] + [f"count(y) FILTER ({w})::DOUBLE" for w in when]
    )
    # groups without a kept draw keep their number
    source = (
        f"(SELECT place, called, {SIDE}, {UNIT}{''.join(f', {w}' for w in ways)}, y FROM valued JOIN "
        f"(SELECT {listed(groups)}{ranked} AS place, {called_sql(groups)} AS called FROM (SELECT DISTINCT "
        f"{', '.join(groups) or '1'} FROM draws)) AS numbered ON {same_group(groups, 'valued', 'numbered')})"
    )
    head = f"WITH draws AS (\n{draws}\n),\n{values_sql(measure, groups)}"
    keys = ", ".join([*ways, *unit])
    if keys:
        by = f"place, called, {keys}"
        return f"{head}\nSELECT {by}, 1 AS times, {sums}\nFROM {source} GROUP BY {by} ORDER BY {by}"
    return (
        f"{head}\nSELECT place, called, count(*) AS times, y AS s, 1.0::DOUBLE AS n\n"
        f"FROM {source} GROUP BY place, called, s ORDER BY place, called, s"
    )
