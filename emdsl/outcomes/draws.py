"""The draws of a measure in SQL: group, side, clusters, value, and the reason if it is dropped."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from emdsl.outcomes.sql import (
    Columns,
    columns_of,
    field_reasons,
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

_OPEN = ("failed", "not_asked", "incomplete")  # reasons that make a group incomplete
DRAW, VALUE, OTHER, SIDE, UNIT, REASON, OPEN, SIMULATED = map(
    inner, ("key", "value", "other", "side", "unit", "reason", "open", "simulated")
)
WAYS = tuple(inner(f"{which} cluster") for which in ("first", "second", "third"))  # or factors of `components`
DOSE = inner("dose")  # of a slope
LEVEL = inner("level")  # of `versus` the level that is compared with the baseline, of `shares` the label
EQUAL = inner("equal")  # what weighs the same
STRATUM = inner("stratum")  # within which rows were drawn for people, of a rate that they correct
KEPT = f"FILTER ({REASON} IS NULL)"
LABEL = ("label",)  # the last group of `shares`
PLACE = inner("place")  # of a row in its table, from 0


def group_columns(measure: Measure) -> list[str]:
    """Return the column names of a measure's groups in its relation."""
    return ["_".join(path) for path in measure.by]


def by_columns(measure: Measure) -> list[str]:
    """Return the columns that tell the rows of a measure's relation apart: its groups, of `components` the source."""
    return [*group_columns(measure), *(["source"] if measure.factors else [])]


def groups_of(measure: Measure) -> list[str]:
    """Return the column names of a measure's groups within its query, which no name of a study can hide."""
    return [inner(f"group {i}") for i in range(len(measure.by))]


def listed(groups: list[str], of: str = "") -> str:
    """Return columns for the start of a SELECT, each with a comma."""
    return "".join(f"{of}{g}, " for g in groups)


def grouped(groups: list[str], of: str = "") -> str:
    """Return the clause that groups by columns; nothing for none."""
    return f"GROUP BY {', '.join(f'{of}{g}' for g in groups)}" if groups else ""


def same_group(groups: list[str], one: str, other: str) -> str:
    """Return the condition that two relations are in one group."""
    return " AND ".join(f"{one}.{g} IS NOT DISTINCT FROM {other}.{g}" for g in groups) or "TRUE"


def conflicts_sql(measure: Measure, draws: str) -> str:
    """Return the SELECT that counts the draws that a measure would count twice, with different values."""
    keys = ", ".join([*groups_of(measure), SIDE, DRAW])
    return f"SELECT count(*) FROM (SELECT {keys} FROM (\n{draws}\n) GROUP BY {keys} HAVING count(*) > 1)"


def conflict_notice(experiment: Experiment, measure: Measure, n: int) -> str:
    """Return the notice about a measure that would count `n` draws twice, with two ways to count each once."""
    by_name = {step.name: step for step in experiment.steps}
    asked = [by_name[name] for name in measure.asks]
    fixed = {i for step in asked for i in (*step.prompt_axes, *step.settings_axes)}
    judged = {i for name in measure.steps for i in by_name[name].prompt_axes if by_name[name] not in asked}
    grouped_by = {path[0] for path in measure.by}
    free = [i for i, a in enumerate(experiment.axes) if i not in fixed and a.name not in grouped_by]
    free.sort(key=lambda i: i not in judged)
    axis = f"`{experiment.axes[free[0]].name}`" if free else "an axis"
    by = f"`by {', '.join(['.'.join(path) for path in measure.by] + [axis.strip('`')])}`" if free else "it after `by`"
    joined = f"a `judge` for each level of {axis}, and a `let` that joins their verdicts"
    if not judged & set(free[:1]):
        joined = f"a `let` for each level of {axis}, and one that joins them"
    return (
        f"measure `{measure.name}` is left out: {n:,} answers count in several rows with different values, so these "
        f"are not independent draws. The rows of one answer differ in {axis}. There are two ways: write {by} for a "
        f"figure of each level, or make one row of all levels, for one figure: {joined}"
    )


def shared_sql(measure: Measure, rows: str) -> str:
    """Return the SELECT of whether several rows may be one draw; it is false only if none are."""
    keys = ", ".join([*groups_of(measure), SIDE, DRAW])
    return f"SELECT count(*) > count(DISTINCT hash({keys})) FROM (\n{rows}\n)"


def unshared_sql(rows: str) -> str:
    """Return the SELECT of draws that no two rows share: as `draws_sql`, without the draw's key."""
    return f"SELECT * EXCLUDE ({DRAW}) FROM (\n{rows}\n)"


def draws_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT of distinct draws: group, side, draw, values, reason if dropped, whether open, simulated.

    Draws of a contrast have a unit, which pairs them with the other sides. A draw that several units share counts once,
    with the first of them. With `versus`, the draws of the baseline are there once for each other level.
    """
    groups = groups_of(measure)
    firsts = [UNIT, *ways_of(measure), *([EQUAL] if measure.equal else []), *([DOSE] if measure.slope else []),
              *([STRATUM] if measure.via else [])]  # fmt: skip
    given = f"{REASON} IS DISTINCT FROM 'not_given'"
    return (
        f"  SELECT DISTINCT {listed(groups)}{SIDE}, {', '.join(f'min({x}) OVER same AS {x}' for x in firsts)},\n"
        f"    {DRAW}, {VALUE}, {OTHER}, {REASON}, {OPEN}, {SIMULATED}\n"
        f"  FROM (\n{rows_sql(experiment, measure, schema)}\n)\n"
        f"  WINDOW same AS (PARTITION BY {', '.join([*groups, SIDE, DRAW])})\n"
        # a draw that one row keeps is not dropped for another row in which the condition does not hold
        f"  QUALIFY {given} OR NOT bool_or({given}) OVER same"
    )


def rows_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT of the rows that draws are made of: one for each row of the table, with the key of its draw."""
    columns = columns_of(experiment)
    value, other, reason = row_values_sql(measure, columns)
    key = draw_sql(experiment, measure)
    reasons = ", ".join(map(literal, _OPEN))
    read = (*measure.steps, *(c.name for c in experiment.columns if experiment.groups and c.name in measure.reads))
    opened = " OR ".join(f"COALESCE({name(f'{x}_missing')} IN ({reasons}), FALSE)" for x in read)
    group = "".join(
        f"    {_grouped_by(measure, path, columns)} AS {called},\n"
        for path, called in zip(measure.by, groups_of(measure), strict=True)
    )
    side, unit, chosen = "NULL", "NULL", ""
    table = source = f"{name(schema)}.{name(experiment.name)}"
    if measure.sides:
        sides = [to_sql(x, columns) for x in measure.sides]
        side = f"CASE {' '.join(f'WHEN {x} THEN {i}' for i, x in enumerate(sides, start=1))} END"
        chosen = f"\n  WHERE ({' OR '.join(f'({x})' for x in sides)})"
    if measure.versus:
        assert measure.baseline is not None
        axis, base = name(measure.versus), to_sql(measure.baseline, columns)
        levels = f"(SELECT DISTINCT {axis} AS {LEVEL} FROM {table} WHERE NOT ({base}))"
        source += f"\n    JOIN {levels} ON ({base}) OR {axis} = {LEVEL}"
    if measure.labels:
        labels = ", ".join(f"({literal(x)})" for x in measure.labels)
        source += f"\n    CROSS JOIN (VALUES {labels}) AS labels({LEVEL})"
    if coordinate := _coordinate(experiment, measure):
        unit = UNIT
        source += f"\n    JOIN {_units(coordinate, table)}"
    ways = "".join(
        f"    {name(column)}::VARCHAR AS {called},\n" for column, called in zip(_ways(measure), WAYS, strict=False)
    )
    if measure.equal:
        ways += f"    {name(measure.equal)}::VARCHAR AS {EQUAL},\n"
    if measure.via:
        strata = ", ".join(f"{name(axis)}::VARCHAR" for axis in measure.strata)
        ways += f"    [{strata}]::VARCHAR AS {STRATUM},\n"
    if measure.slope:
        ways += f"    {name(columns.axes[measure.slope])}::DOUBLE AS {DOSE},\n"
    return (
        f"  SELECT\n{group}"
        f"    {side} AS {SIDE},\n"
        f"    {unit} AS {UNIT},\n{ways}"
        f"    {key} AS {DRAW},\n"
        f"    {value} AS {VALUE},\n"
        f"    {other} AS {OTHER},\n"
        f"    {reason} AS {REASON},\n"
        f"    {opened or 'FALSE'} AS {OPEN},\n"
        f"    {name(simulated_column(experiment))} AS {SIMULATED}\n"
        f"  FROM {source}{chosen}"
    )


def _units(coordinate: tuple[str, ...], table: str) -> str:
    """Return what joins the number of its unit to each row: units are numbered in the order of their coordinates."""
    parts = [inner(f"coordinate {i}") for i in range(len(coordinate))]
    selected = ", ".join(f"{name(c)} AS {part}" for c, part in zip(coordinate, parts, strict=True))
    order = ", ".join(f"{part}::VARCHAR" for part in parts)
    same = " AND ".join(f"{name(c)} IS NOT DISTINCT FROM {part}" for c, part in zip(coordinate, parts, strict=True))
    distinct = f"(SELECT DISTINCT {selected} FROM {table})"
    return f"(SELECT row_number() OVER (ORDER BY {order}) AS {UNIT}, * FROM {distinct}) ON {same}"


def draw_sql(experiment: Experiment, measure: Measure) -> str:
    """Return what names the draw of a row in SQL: the keys of its asks, or the row itself where they are missing."""
    place = ", ".join(f"{name(a.name)}::VARCHAR" for a in experiment.axes)
    row = f"'row ' || [{place}{', ' if place else ''}sample::VARCHAR]::VARCHAR"
    keys = [f"COALESCE({name(f'{a}_key')}, {row})" for a in measure.asks] or [row]
    return keys[0] if len(keys) == 1 else f"[{', '.join(keys)}]"


def _coordinate(experiment: Experiment, measure: Measure) -> tuple[str, ...]:
    """Return the columns that make the unit of a draw: what it has in common with the other sides, or its cell."""
    if "at_least" in (measure.function, measure.of):
        return tuple(a.name for a in experiment.axes if not measure.of or a.name in measure.pair)
    return (*measure.pair, "sample") if measure.function == "contrast" else ()


def _grouped_by(measure: Measure, path: tuple[str, ...], columns: Columns) -> str:
    made = (measure.versus,) if measure.versus else LABEL if measure.labels else None
    return LEVEL if path == made and path in measure.by[-1:] else group_sql(path, columns)


def row_values_sql(measure: Measure, columns: Columns) -> tuple[str, str, str]:
    """Return in SQL what a row adds to a measure: its value, of an agreement the other, and why it is dropped."""
    value = _rated(measure, measure.value, columns) if measure.value is not None else "TRUE"
    value = f"({value})::VARCHAR = {LEVEL}" if measure.labels else value
    other = _rated(measure, measure.other, columns) if measure.other is not None else "NULL"
    if measure.person is not None:  # of most rows it is missing, and they count
        other = to_sql(measure.person, columns)
    if measure.metric:
        value, other = _ratings(measure, value, other, columns), "NULL"
    condition = to_sql(measure.condition, columns) if measure.condition is not None else "TRUE"
    missing = f"({value}) IS NULL" + (
        f" OR ({other}) IS NULL" if measure.other is not None and not measure.metric else ""
    )
    raters = [x for x in (measure.value, measure.other, *measure.others) if x is not None]
    parts = [*raters, *([measure.condition] if measure.condition is not None else [])]
    reasons = [name(f"{n}_missing") for n in measure.reads] + [name(c) for c in field_reasons(parts, columns)]
    if measure.function == "agreement":  # a row without a person's verdict is no disagreement
        rated = row_fields(raters, columns)
        reasons += [f"CASE WHEN NULLIF({f}::VARCHAR, '') IS NULL THEN 'unlabelled' END" for f in rated]
    reasons += [f"CASE WHEN {field} IS NULL THEN 'null' END" for field in row_fields(parts, columns)]
    why = f"COALESCE({', '.join([*reasons, literal('undefined')])})"
    reason = (
        f"CASE WHEN ({condition}) IS NULL OR (({condition}) AND ({missing})) THEN {why}\n"
        f"         WHEN NOT ({condition}) THEN 'not_given' END"
    )
    return value, other, reason


def _ratings(measure: Measure, value: str, other: str, columns: Columns) -> str:
    """Return the list of the ratings that are there, missing for fewer than two: alpha needs no more."""
    others = [_rated(measure, x, columns) for x in measure.others]
    kind = "VARCHAR" if measure.nominal else "DOUBLE"
    ratings = f"[{', '.join(f'({x})::{kind}' for x in (value, other, *others))}]"
    there = f"list_filter({ratings}, lambda r: r IS NOT NULL)"
    return f"CASE WHEN len({there}) > 1 THEN {there} END"


def _rated(measure: Measure, node: ast.Expr, columns: Columns) -> str:
    """Return a value in SQL; in an agreement an empty text of the data is missing."""
    sql = to_sql(node, columns)
    empty = measure.function == "agreement" and measure.nominal and row_fields([node], columns) == [sql]
    return f"NULLIF({sql}::VARCHAR, '')" if empty else sql


def part_sql(experiment: Experiment, measure: Measure, schema: str, place: int) -> str:
    """Return the SELECT of one row's share in a measure: as `parts_sql`, for the row at a place."""
    return f"{parts_sql(experiment, measure, schema)} AND {PLACE} = {place}"


def parts_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT of the share of each row in a measure: place, group, value, and the reason if it is dropped.

    Rows on no side of a contrast are not selected.
    """
    columns = columns_of(experiment)
    value, _, reason = row_values_sql(dataclasses.replace(measure, labels=()), columns)
    by = [p for p in measure.by if not (measure.labels and p == LABEL)]
    group = "".join(f"{group_sql(p, columns)} AS {name('_'.join(p))}, " for p in by)
    sides = " OR ".join(f"({to_sql(x, columns)})" for x in measure.sides)
    return (
        f"SELECT {PLACE}, {group}{value} AS {VALUE}, {reason} AS {REASON} FROM {placed(experiment, schema)} "
        f"WHERE ({sides or 'TRUE'})"
    )


def placed(experiment: Experiment, schema: str) -> str:
    """Return a table with the place of each row; `rowid` may be the name of an axis."""
    return f"(SELECT row_number() OVER () - 1 AS {PLACE}, * FROM {name(schema)}.{name(experiment.name)})"


def group_sql(path: tuple[str, ...], columns: Columns) -> str:
    """Return what a path of `by` is in a row, in SQL: an axis, a field of a record, or a column of a dataset row."""
    if path in columns.paths:
        return name(columns.paths[path])
    return name(path[0]) if len(path) == 1 else row_field(columns.axes[path[0]], path[1], columns.fields[path[0]])


def ways_of(measure: Measure) -> tuple[str, ...]:
    """Return the columns of a measure's clusters among its draws."""
    return WAYS[: len(_ways(measure))]


def _ways(measure: Measure) -> tuple[str, ...]:
    return measure.factors or (measure.interval.cluster if measure.interval is not None else ())


def cells_sql(measure: Measure, groups: list[str]) -> str:
    """Return the SQL that groups draws to cells, each with its chance `v`, missing if too few draws are kept."""
    keys = f"{listed(groups)}{SIDE}, {UNIT}"
    ways = "".join(f", min({w}) AS {w}" for w in ways_of(measure))
    return (
        f"counted AS (SELECT {keys}, count(*) {KEPT} AS m, count(*) {KEPT[:-1]} AND {VALUE}) AS h,\n"
        f"  bool_or({OPEN}) AS opened, bool_or({SIMULATED}) AS simulated{ways}\n"
        f"  FROM draws GROUP BY {keys}),\n"
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
