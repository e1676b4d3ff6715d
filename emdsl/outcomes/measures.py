"""Measures to views: a rate, mean or count for each group, with how many draws stand behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.outcomes.intervals import mean_sql, rate_sql
from emdsl.outcomes.sql import Columns, columns_of, literal, name, to_sql

if TYPE_CHECKING:
    from emdsl.experiment import Experiment, Measure

_OPEN = ("failed", "not_asked")  # what makes a group incomplete
# names that no axis can have: the columns of a draw stand beside those of its group
DRAW, VALUE, REASON, OPEN, SIMULATED = (name(f"draw {x}") for x in ("key", "value", "reason", "open", "simulated"))


def view_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT behind a measure's relation.

    Within one group, outcomes whose asks share their keys are one draw, and count once: at k = 0 three
    datasets share one answer, and an interval over three copies would be too narrow.
    """
    by = ", ".join(name("_".join(path)) for path in measure.by)
    figures = ",\n  ".join(_figures(measure))
    head = f"{by},\n  " if by else ""
    tail = f"\nGROUP BY {by}\nORDER BY {by}" if by else ""
    return f"WITH draws AS (\n{_draws_sql(experiment, measure, schema)}\n)\nSELECT\n  {head}{figures}\nFROM draws{tail}"


def conflicts_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT that counts draws which a measure would count twice, with unlike values."""
    keys = ", ".join([*(name("_".join(path)) for path in measure.by), DRAW])
    draws = _draws_sql(experiment, measure, schema)
    return f"SELECT count(*) FROM (SELECT {keys} FROM (\n{draws}\n) GROUP BY {keys} HAVING count(*) > 1)"


def _draws_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT of distinct draws: group, draw, value, why dropped, whether open, whether simulated."""
    columns = columns_of(experiment)
    value = to_sql(measure.value, columns) if measure.value is not None else "TRUE"
    condition = to_sql(measure.condition, columns) if measure.condition is not None else "TRUE"
    reasons = [name(f"{n}_missing") for n in measure.reads]
    why = f"COALESCE({', '.join([*reasons, literal('undefined')])})"
    keys = [f"COALESCE({name(f'{a}_key')}, 'row ' || rowid)" for a in measure.asks] or ["'row ' || rowid"]
    opened = " OR ".join(
        f"COALESCE({name(f'{s}_missing')} IN ({', '.join(map(literal, _OPEN))}), FALSE)" for s in measure.steps
    )
    group = "".join(f"    {_group(path, columns)} AS {name('_'.join(path))},\n" for path in measure.by)
    by = ", ".join([*(name("_".join(path)) for path in measure.by), DRAW])
    given = f"{REASON} IS DISTINCT FROM 'not_given'"
    return (
        f"  SELECT DISTINCT\n{group}"
        f"    [{', '.join(keys)}] AS {DRAW},\n"
        f"    {value} AS {VALUE},\n"
        f"    CASE WHEN ({condition}) IS NULL OR (({condition}) AND ({value}) IS NULL) THEN {why}\n"
        f"         WHEN NOT ({condition}) THEN 'not_given' END AS {REASON},\n"
        f"    {opened or 'FALSE'} AS {OPEN},\n"
        f"    {name('simulated')} AS {SIMULATED}\n"
        f"  FROM {name(schema)}.{name(experiment.name)}\n"
        # a draw that one row keeps is not dropped for another row in which the condition does not hold
        f"  QUALIFY {given} OR NOT bool_or({given}) OVER (PARTITION BY {by})"
    )


def _group(path: tuple[str, ...], columns: Columns) -> str:
    return name(path[0]) if len(path) == 1 else f"{name(columns.axes[path[0]])}.{name(path[1])}"


def _figures(measure: Measure) -> list[str]:
    kept = f"FILTER ({REASON} IS NULL)"
    hits, n = f"count(*) {kept[:-1]} AND {VALUE})", f"count(*) {kept}"
    common = [
        f"{n} AS n",
        "count(*) AS n_planned",
        f"count(*) - count(*) FILTER ({REASON} IS NULL) AS n_dropped",
        f"histogram({REASON}) FILTER ({REASON} IS NOT NULL) AS dropped",
        f"NOT bool_or({OPEN}) AS complete",
        f"bool_or({SIMULATED}) AS simulated",
    ]
    if measure.function == "count":
        return [f"{hits} AS count", *common]
    assert measure.interval is not None
    if measure.function == "mean":
        value = f"(CASE WHEN {REASON} IS NULL THEN {VALUE} END)"
        low, high = mean_sql(measure.interval.level, value)
        return [
            f"avg({value} ORDER BY {value}) AS mean",
            f"{low} AS low",
            f"{high} AS high",
            f"stddev_samp({value} ORDER BY {value}) AS sd",
            *common,
        ]
    low, high = rate_sql(measure.interval.method, measure.interval.level, f"({hits})", f"({n})")
    rate = f"CASE WHEN {n} > 0 THEN ({hits})::DOUBLE / ({n}) END"
    return [f"{rate} AS rate", f"{low} AS low", f"{high} AS high", f"{hits} AS hits", *common]
