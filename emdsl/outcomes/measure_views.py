"""Measures to SQL views: a rate, mean or count for each group, with the number of its draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.outcomes.intervals import alpha_sql, kappa_sql, mean_sql, newcombe_sql, ranks_sql, rate_sql, t_sql
from emdsl.outcomes.sql import (
    Columns,
    columns_of,
    inner,
    literal,
    name,
    row_field,
    row_fields,
    simulated_column,
    to_sql,
)

if TYPE_CHECKING:
    from emdsl.experiment import Experiment, Measure
    from emdsl.lang import ast

_OPEN = ("failed", "not_asked")  # reasons that make a group incomplete
DRAW, VALUE, OTHER, SIDE, UNIT, REASON, OPEN, SIMULATED = map(
    inner, ("key", "value", "other", "side", "unit", "reason", "open", "simulated")
)
WAYS = (inner("cluster"), inner("other cluster"))  # of a bootstrap
DOSE = inner("dose")  # of a slope
COMPUTED = ("clopper_pearson", "bootstrap")  # intervals that SQL cannot compute
TOO_FEW = "too_few"  # the reason for a cell that an `at_least` drops


def is_computed(measure: Measure) -> bool:
    """Whether SQL cannot compute a part of a measure: see `computed.py`."""
    return measure.holm or (measure.interval is not None and measure.interval.method in COMPUTED)


def view_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT of a measure's relation.

    Within one group, rows whose asks share their keys are one draw and count once: at k = 0 three datasets share one
    answer, and an interval over three copies would be too narrow.
    """
    draws = _draws_sql(experiment, measure, schema)
    groups = groups_of(measure)
    match measure.function:
        case "contrast":
            sql = contrast_sql(draws, measure, groups)
        case "at_least":
            sql = at_least_sql(draws, measure, groups)
        case "slope":
            sql = slope_sql(draws, measure, groups)
        case _:
            figures = ",\n  ".join(_figures(measure))
            sql = f"WITH draws AS (\n{draws}\n)\nSELECT\n  {_listed(groups)}{figures}\nFROM draws {_grouped(groups)}"
    if not groups:
        return sql
    by = ", ".join(groups)
    shown = "".join(f"{g} AS {name(column)}, " for g, column in zip(groups, by_columns(measure), strict=True))
    return f"SELECT {shown}* EXCLUDE ({by})\nFROM (\n{sql}\n)\nORDER BY {by}"


def by_columns(measure: Measure) -> list[str]:
    """Return the column names of a measure's groups in its relation."""
    return ["_".join(path) for path in measure.by]


def groups_of(measure: Measure) -> list[str]:
    """Return the column names of a measure's groups within its query, which no name of a study can hide."""
    return [inner(f"group {i}") for i in range(len(measure.by))]


def conflicts_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT that counts the draws that a measure would count twice, with different values."""
    keys = ", ".join([*groups_of(measure), SIDE, DRAW])
    draws = _draws_sql(experiment, measure, schema)
    return f"SELECT count(*) FROM (SELECT {keys} FROM (\n{draws}\n) GROUP BY {keys} HAVING count(*) > 1)"


def _draws_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT of distinct draws: group, side, draw, values, reason if dropped, whether open, simulated.

    Draws of a contrast have a unit, which pairs them with the other side. A draw that several units share counts once,
    with the first of them.
    """
    columns = columns_of(experiment)
    value, other, reason = _values_sql(measure, columns)
    place = ", ".join(f"{name(a.name)}::VARCHAR" for a in experiment.axes)
    row = f"'row ' || [{place}{', ' if place else ''}sample::VARCHAR]::VARCHAR"
    keys = [f"COALESCE({name(f'{a}_key')}, {row})" for a in measure.asks] or [row]
    draw = f"[{', '.join(keys)}]"
    opened = " OR ".join(
        f"COALESCE({name(f'{s}_missing')} IN ({', '.join(map(literal, _OPEN))}), FALSE)" for s in measure.steps
    )
    paths = [(_group(path, columns), group) for path, group in zip(measure.by, groups_of(measure), strict=True)]
    group = "".join(f"    {sql} AS {called},\n" for sql, called in paths)
    by = ", ".join([*(called for _, called in paths), SIDE, DRAW])
    side, unit, chosen = "NULL", "NULL", ""
    if measure.sides is not None:
        first, second = (to_sql(x, columns) for x in measure.sides)
        side = f"CASE WHEN {first} THEN 1 WHEN {second} THEN 2 END"
        chosen = f"\n  WHERE ({first}) OR ({second})"
    within = ", ".join([*(sql for sql, _ in paths), side, draw])
    coordinate = []
    if measure.function == "contrast":
        coordinate = [*measure.pair, "sample"]
    elif measure.function == "at_least":
        coordinate = [a.name for a in experiment.axes]
    if coordinate:
        shown = ", ".join(f"{name(a)}::VARCHAR" for a in coordinate)
        unit = f"min([{shown}]) OVER (PARTITION BY {within})"
    ways = "".join(
        f"    min({name(axis)}::VARCHAR) OVER (PARTITION BY {within}) AS {called},\n"
        for axis, called in zip(measure.interval.cluster if measure.interval else (), WAYS, strict=False)
    )
    if measure.slope:
        dose = name(columns.axes[measure.slope])
        ways += f"    min({dose}::DOUBLE) OVER (PARTITION BY {within}) AS {DOSE},\n"
    given = f"{REASON} IS DISTINCT FROM 'not_given'"
    return (
        f"  SELECT DISTINCT\n{group}"
        f"    {side} AS {SIDE},\n"
        f"    {unit} AS {UNIT},\n{ways}"
        f"    {draw} AS {DRAW},\n"
        f"    {value} AS {VALUE},\n"
        f"    {other} AS {OTHER},\n"
        f"    {reason} AS {REASON},\n"
        f"    {opened or 'FALSE'} AS {OPEN},\n"
        f"    {name(simulated_column(experiment))} AS {SIMULATED}\n"
        f"  FROM {name(schema)}.{name(experiment.name)}{chosen}\n"
        # a draw that one row keeps is not dropped for another row in which the condition does not hold
        f"  QUALIFY {given} OR NOT bool_or({given}) OVER (PARTITION BY {by})"
    )


def _values_sql(measure: Measure, columns: Columns) -> tuple[str, str, str]:
    """Return in SQL what a row adds to a measure: its value, of an agreement the other, and why it is dropped."""
    value = _rated(measure, measure.value, columns) if measure.value is not None else "TRUE"
    other = _rated(measure, measure.other, columns) if measure.other is not None else "NULL"
    condition = to_sql(measure.condition, columns) if measure.condition is not None else "TRUE"
    missing = f"({value}) IS NULL" + (f" OR ({other}) IS NULL" if measure.other is not None else "")
    reasons = [name(f"{n}_missing") for n in measure.reads]
    parts = [x for x in (measure.value, measure.other, measure.condition) if x is not None]
    if measure.function == "agreement":  # a row without a person's verdict is no disagreement
        rated = row_fields([x for x in (measure.value, measure.other) if x is not None], columns)
        reasons += [f"CASE WHEN NULLIF({f}::VARCHAR, '') IS NULL THEN 'unlabelled' END" for f in rated]
    reasons += [f"CASE WHEN {field} IS NULL THEN 'null' END" for field in row_fields(parts, columns)]
    why = f"COALESCE({', '.join([*reasons, literal('undefined')])})"
    reason = (
        f"CASE WHEN ({condition}) IS NULL OR (({condition}) AND ({missing})) THEN {why}\n"
        f"         WHEN NOT ({condition}) THEN 'not_given' END"
    )
    return value, other, reason


def _rated(measure: Measure, node: ast.Expr, columns: Columns) -> str:
    """Return a value in SQL; in an agreement an empty text of the data is missing."""
    sql = to_sql(node, columns)
    empty = measure.function == "agreement" and measure.nominal and row_fields([node], columns) == [sql]
    return f"NULLIF({sql}::VARCHAR, '')" if empty else sql


def part_sql(experiment: Experiment, measure: Measure, schema: str, place: int) -> str:
    """Return the SELECT of one row's share in a measure: its group, its value, and the reason if it is dropped.

    It selects nothing if the row is on neither side of a contrast.
    """
    columns = columns_of(experiment)
    value, _, reason = _values_sql(measure, columns)
    group = "".join(
        f"{_group(p, columns)} AS {name(c)}, " for p, c in zip(measure.by, by_columns(measure), strict=True)
    )
    sides = " OR ".join(f"({to_sql(x, columns)})" for x in measure.sides or ())
    return (
        f"SELECT {group}{value} AS {VALUE}, {reason} AS {REASON} FROM {placed(experiment, schema)} "
        f"WHERE {PLACE} = {place}" + (f" AND ({sides})" if sides else "")
    )


PLACE = inner("place")  # of a row in its table, from 0


def placed(experiment: Experiment, schema: str) -> str:
    """Return a table with the place of each row; `rowid` may be the name of an axis."""
    return f"(SELECT row_number() OVER () - 1 AS {PLACE}, * FROM {name(schema)}.{name(experiment.name)})"


def _group(path: tuple[str, ...], columns: Columns) -> str:
    return name(path[0]) if len(path) == 1 else row_field(columns.axes[path[0]], path[1], columns.fields[path[0]])


KEPT = f"FILTER ({REASON} IS NULL)"
_COUNTS = [
    f"count(*) {KEPT} AS n",
    "count(*) AS n_planned",
    f"count(*) - count(*) {KEPT} AS n_dropped",
    f"histogram({REASON}) FILTER ({REASON} IS NOT NULL) AS dropped",
    f"NOT bool_or({OPEN}) AS complete",
    f"bool_or({SIMULATED}) AS simulated",
    f"count(*) {KEPT} AS clusters",
]


def _figures(measure: Measure) -> list[str]:
    hits, n = f"count(*) {KEPT[:-1]} AND {VALUE})", f"count(*) {KEPT}"
    if measure.function == "count":
        return [f"{hits} AS count", *_COUNTS]
    assert measure.interval is not None
    level = measure.interval.level
    value = f"(CASE WHEN {REASON} IS NULL THEN {VALUE} END)"
    match measure.function:
        case "mean":
            low, high, error = mean_sql(level, value)
            figures = [f"avg({value} ORDER BY {value}) AS mean", f"{low} AS low", f"{high} AS high",
                       f"stddev_samp({value} ORDER BY {value}) AS sd", f"{error} AS se"]  # fmt: skip
        case "quantile":
            low, high = ranks_sql(measure.at, level, value)
            figures = [f"quantile_cont({value}, {measure.at!r}) AS quantile", f"{low} AS low", f"{high} AS high"]
        case "agreement":
            figures = _agreement(measure, level)
        case _:
            low, high = rate_sql(measure.interval.method, level, f"({hits})", f"({n})")
            rate = f"CASE WHEN {n} > 0 THEN ({hits})::DOUBLE / ({n}) END"
            figures = [f"{rate} AS rate", f"{low} AS low", f"{high} AS high", f"{hits} AS hits", "NULL::DOUBLE AS se"]
    return [*figures, *_COUNTS]


def _agreement(measure: Measure, level: float) -> list[str]:
    n = f"(count(*) {KEPT})"
    same = f"(count(*) {KEPT[:-1]} AND {VALUE} = {OTHER}))"
    if measure.nominal:
        value, low, high = kappa_sql(VALUE, OTHER, KEPT, level)
    else:
        value, low, high = alpha_sql(VALUE, OTHER, KEPT), "NULL::DOUBLE", "NULL::DOUBLE"
    return [f"{value} AS agreement", f"{low} AS low", f"{high} AS high",
            f"CASE WHEN {n} > 0 THEN {same}::DOUBLE / {n} END AS same"]  # fmt: skip


def at_least_sql(draws: str, measure: Measure, groups: list[str]) -> str:
    """Return the SELECT of a share of cells, with the interval of a mean over cells.

    Of a cell with m kept draws, h of which hold, the chance that `least` of `among` drawn at random hold is
    hypergeometric: no draws are thrown away, and none counted twice. Source: Chen et al. (2021), "Evaluating large
    language models trained on code", for pass@k.
    """
    assert measure.interval is not None
    by = _listed(groups)
    low, high, error = mean_sql(measure.interval.level, "v")
    return (
        f"WITH draws AS (\n{draws}\n),\n{cells_sql(measure, groups)}\n"
        f"SELECT {by}avg(v ORDER BY v) AS at_least, stddev_samp(v ORDER BY v) AS sd, {error} AS se,\n"
        f"  CASE WHEN {low} < 0 THEN 0 ELSE {low} END AS low, CASE WHEN {high} > 1 THEN 1 ELSE {high} END AS high,\n"
        f"  count(v) AS n, count(*) AS n_planned, count(*) - count(v) AS n_dropped,\n"
        f"  histogram({literal(TOO_FEW)}) FILTER (v IS NULL) AS dropped, NOT bool_or(opened) AS complete,\n"
        f"  bool_or(simulated) AS simulated, count(v) AS clusters\n"
        f"FROM cells {_grouped(groups)}"
    )


def cells_sql(measure: Measure, groups: list[str]) -> str:
    """Return the SQL that groups draws to cells, each with its chance `v`, missing if too few draws are kept."""
    ways = "".join(f", min({w}) AS {w}" for w in _ways(measure))
    return (
        f"counted AS (SELECT {_listed(groups)}{UNIT}, count(*) {KEPT} AS m, "
        f"count(*) {KEPT[:-1]} AND {VALUE}) AS h,\n"
        f"  bool_or({OPEN}) AS opened, bool_or({SIMULATED}) AS simulated{ways}\n"
        f"  FROM draws GROUP BY {_listed(groups)}{UNIT}),\n"
        f"cells AS (SELECT *, {_chance(measure)} AS v FROM counted)"
    )


def _chance(measure: Measure) -> str:
    if measure.among is None:
        return f"CASE WHEN m > 0 THEN (h >= {measure.least})::INT::DOUBLE END"
    n, chosen = measure.among, "(lgamma({0} + 1) - lgamma({1} + 1) - lgamma({0} - {1} + 1))".format
    share = f"exp({chosen('h', 'i')} + {chosen('(m - h)', f'({n} - i)')} - {chosen('m', str(n))})"
    one = f"CASE WHEN {n} - i <= m - h THEN {share} ELSE 0.0 END"
    total = f"list_sum(list_transform(range({measure.least}, least({n}, h) + 1), lambda i: {one}))"
    return f"CASE WHEN m >= {n} THEN least(1.0, COALESCE({total}, 0.0)) END"


def _ways(measure: Measure) -> tuple[str, ...]:
    return WAYS[: len(measure.interval.cluster)] if measure.interval is not None else ()


def atoms_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT of the units of a bootstrap: group, its name, clusters, multiplicity, sums and counts by side.

    Groups are numbered in the order of the measure's relation. Draws without clusters are distinguished by their value
    only: equal ones are one row.
    """
    groups = groups_of(measure)
    ways = _ways(measure)
    number = f"(CASE WHEN {REASON} IS NULL THEN {VALUE}::DOUBLE END)"
    shown = f"[{', '.join(f'{g}::VARCHAR' for g in groups)}]::VARCHAR" if groups else "''"
    ranked = f"dense_rank() OVER (ORDER BY {', '.join(groups)})" if groups else "1"
    head = f"WITH draws AS (\n{_draws_sql(experiment, measure, schema)}\n)"
    if measure.function == "at_least":
        head += f",\n{cells_sql(measure, groups)}"
        rows, number, side = "cells", "v", "NULL"
    else:
        rows, side = "draws", SIDE
    sides = (1, 2) if measure.function == "contrast" else (None,)
    unit = () if ways else (UNIT,) if measure.function == "contrast" else ()
    sums = (
        ", ".join(
            f"COALESCE(sum({number}) FILTER ({'TRUE' if s is None else f'side = {s}'}), 0)::DOUBLE" for s in sides
        )
        + ", "
        + ", ".join(f"count({number}) FILTER ({'TRUE' if s is None else f'side = {s}'})::DOUBLE" for s in sides)
    )
    keys = [*ways, *unit]
    source = f"(SELECT *, {ranked} AS place, {shown} AS called, {side} AS side FROM {rows})"
    if keys:
        grouped = f"place, called, {', '.join(keys)}"
        return f"{head}\nSELECT {grouped}, 1 AS times, {sums}\nFROM {source} GROUP BY {grouped} ORDER BY {grouped}"
    return (
        f"{head}\nSELECT place, called, count(*) AS times, {number} AS s, 1.0::DOUBLE AS n\n"
        f"FROM {source} WHERE {number} IS NOT NULL GROUP BY place, called, s ORDER BY place, called, s"
    )


def contrast_sql(draws: str, measure: Measure, groups: list[str]) -> str:
    """Return the SELECT of a contrast: both sides, their difference, and its interval over paired units.

    With r = the side's rate or mean, N its kept draws, and in unit u the sum s and the count n of kept values,
    the difference of two ratios has the variance U / (U - 1) * sum over units of
    ((s1 - r1 n1) / N1 - (s2 - r2 n2) / N2) squared: units are what the two sides have in common, so that a
    question that is hard for both widens nothing. It is an interval for these questions, not for a population of
    questions, of which these are a sample. Source: Cochran (1977), Sampling Techniques, ch. 6; Miller
    (2024), "Adding error bars to evals". The quantile is Student's on U - 1. With one unit there is no interval. Where
    units do not differ at all, a contrast of rates has the score interval of two independent rates, one of means none.
    """
    assert measure.interval is not None
    by = _listed(groups)
    number = f"(CASE WHEN {REASON} IS NULL THEN {VALUE}::DOUBLE END)"
    sums = ", ".join(
        f"COALESCE(sum({number}) FILTER ({SIDE} = {i}), 0) AS s{i}, count({number}) FILTER ({SIDE} = {i}) AS n{i}"
        for i in (1, 2)
    )
    totals = ", ".join(
        f"avg({number} ORDER BY {number}) FILTER ({SIDE} = {i}) AS {word}, "
        f"count({number}) FILTER ({SIDE} = {i}) AS n_{word}"
        for i, word in ((1, "first"), (2, "second"))
    )
    share = "(s1 - first * n1) / n_first - (s2 - second * n2) / n_second"
    error = f"sqrt(sum(power({share}, 2) ORDER BY {UNIT}) * count(*) / (count(*) - 1.0))"
    level = measure.interval.level
    low, high = "first - second - half", "first - second + half"
    if measure.of == "rate":
        low, high = f"greatest(-1.0, {low})", f"least(1.0, {high})"
        score_low, score_high = newcombe_sql(level)
        low, high = (f"CASE WHEN se = 0 THEN {x} ELSE {y} END" for x, y in ((score_low, low), (score_high, high)))
    else:
        low, high = (f"CASE WHEN se > 0 THEN {x} END" for x in (low, high))
    same = " AND ".join(f"found.{g} IS NOT DISTINCT FROM totals.{g}" for g in groups) or "TRUE"
    return (
        f"WITH draws AS (\n{draws}\n),\n"
        f"totals AS (SELECT {by}{totals},\n  {', '.join(_COUNTS)}\n  FROM draws {_grouped(groups)}),\n"
        f"units AS (SELECT {by}{UNIT}, {sums} FROM draws GROUP BY {by}{UNIT}),\n"
        f"halves AS (SELECT {_listed(groups, 'found.')}"
        f"count(*) FILTER (n1 > 0 AND n2 > 0) AS n_pairs, count(*) AS n_units,\n"
        f"  CASE WHEN count(*) > 1 THEN {error} END AS se, {t_sql(level, 'n_units - 1')} * se AS half\n"
        f"  FROM units AS found JOIN totals ON {same} WHERE n1 > 0 OR n2 > 0 {_grouped(groups, 'found.')})\n"
        f"SELECT {_listed(groups, 'totals.')}first - second AS contrast, {low} AS low,\n  {high} AS high,\n"
        f"  first, second, n_first, n_second, COALESCE(n_pairs, 0) AS n_pairs, se, COALESCE(n_units, 0) AS n_units,\n  "
        f"n, n_planned, n_dropped, dropped, complete, simulated, clusters\n"
        f"FROM totals LEFT JOIN halves AS found ON {same}"
    )


def slope_sql(draws: str, measure: Measure, groups: list[str]) -> str:
    """Return the SELECT of a least-squares slope, with an interval that holds for unequal spread.

    The variance is n / (n - 2) sum((x - mean x)^2 e^2) / sum((x - mean x)^2)^2 with residuals e: HC1. Source: White
    (1980), Econometrica 48; MacKinnon and White (1985), Journal of Econometrics 29.
    """
    assert measure.interval is not None
    by, y = _listed(groups), f"(CASE WHEN {REASON} IS NULL THEN {VALUE}::DOUBLE END)"
    same = " AND ".join(f"draws.{g} IS NOT DISTINCT FROM fit.{g}" for g in groups) or "TRUE"
    again = " AND ".join(f"fit.{g} IS NOT DISTINCT FROM spread.{g}" for g in groups) or "TRUE"
    error = "sqrt(n * 1.0 / (n - 2) * errors) / sxx"
    half = f"{t_sql(measure.interval.level, 'n - 2')} * {error}"
    known = "CASE WHEN n > 2 AND sxx > 0 THEN"
    counts = ", ".join(_COUNTS)
    return (
        f"WITH draws AS (\n{draws}\n),\n"
        f"fit AS (SELECT {by}regr_slope({y}, {DOSE}) AS slope, regr_intercept({y}, {DOSE}) AS intercept,\n"
        f"  regr_avgx({y}, {DOSE}) AS centre, regr_sxx({y}, {DOSE}) AS sxx, {counts}\n"
        f"  FROM draws {_grouped(groups)}),\n"
        f"spread AS (SELECT {_listed(groups, 'fit.')}"
        f"sum(power(({DOSE} - centre) * ({y} - intercept - slope * {DOSE}), 2)) AS errors\n"
        f"  FROM draws JOIN fit ON {same} {_grouped(groups, 'fit.')})\n"
        f"SELECT {_listed(groups, 'fit.')}CASE WHEN sxx > 0 THEN slope END AS slope,\n"
        f"  {known} slope - {half} END AS low, {known} slope + {half} END AS high,\n"
        f"  CASE WHEN sxx > 0 THEN intercept END AS intercept, {known} {error} END AS se,\n"
        f"  n, n_planned, n_dropped, dropped, complete, simulated, clusters\n"
        f"FROM fit JOIN spread ON {again}"
    )


def _listed(groups: list[str], of: str = "") -> str:
    return "".join(f"{of}{g}, " for g in groups)


def _grouped(groups: list[str], of: str = "") -> str:
    return f"GROUP BY {', '.join(f'{of}{g}' for g in groups)}" if groups else ""
