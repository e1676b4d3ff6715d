"""Measures to views: a rate, mean or count for each group, with how many draws stand behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.outcomes.intervals import mean_sql, rate_sql
from emdsl.outcomes.sql import Columns, columns_of, literal, name, to_sql

if TYPE_CHECKING:
    from emdsl.experiment import Experiment, Measure

_OPEN = ("failed", "not_asked")  # what makes a group incomplete


def view_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT behind a measure's relation.

    Within one group, outcomes whose asks share their keys are one draw, and count once: at k = 0 three
    datasets share one answer, and an interval over three copies would be too narrow.
    """
    columns = columns_of(experiment)
    names, groups = _by(measure, columns)
    draws = _draws_sql(experiment, measure, schema, columns, list(zip(names, groups, strict=True)))
    by = ", ".join(name(n) for n in names)
    figures = ",\n  ".join(_figures(measure))
    head = f"{by},\n  " if by else ""
    tail = f"\nGROUP BY {by}\nORDER BY {by}" if by else ""
    return f"WITH draws AS (\n{draws}\n)\nSELECT\n  {head}{figures}\nFROM draws{tail}"


def conflicts_sql(experiment: Experiment, measure: Measure, schema: str) -> str:
    """Return the SELECT that counts draws which a measure would count twice, with unlike values."""
    columns = columns_of(experiment)
    names, groups = _by(measure, columns)
    draws = _draws_sql(experiment, measure, schema, columns, list(zip(names, groups, strict=True)))
    keys = ", ".join([*(name(n) for n in names), "draw"])
    return f"SELECT count(*) FROM (SELECT {keys} FROM (\n{draws}\n) GROUP BY {keys} HAVING count(*) > 1)"


def _by(measure: Measure, columns: Columns) -> tuple[list[str], list[str]]:
    names, groups = [], []
    for path in measure.by:
        names.append("_".join(path))
        groups.append(name(path[0]) if len(path) == 1 else f"{name(columns.axes[path[0]])}.{name(path[1])}")
    return names, groups


def _draws_sql(
    experiment: Experiment, measure: Measure, schema: str, columns: Columns, by: list[tuple[str, str]]
) -> str:
    """Return the SELECT of distinct draws: group, draw, value, whether kept, and why dropped."""
    value = to_sql(measure.value, columns) if measure.value is not None else "TRUE"
    condition = to_sql(measure.condition, columns) if measure.condition is not None else "TRUE"
    reasons = [name(f"{n}_missing") for n in measure.reads]
    why = f"COALESCE({', '.join([*reasons, literal('missing')])})"
    draw = "[" + ", ".join(f"COALESCE({name(f'{a}_key')}, 'row ' || rowid)" for a in measure.asks) + "]"
    if not measure.asks:
        draw = "['row ' || rowid]"
    opened = " OR ".join(
        f"COALESCE({name(f'{s}_missing')} IN ({', '.join(map(literal, _OPEN))}), FALSE)" for s in measure.steps
    )
    group = "".join(f"{sql} AS {name(n)}, " for n, sql in by)
    return (
        f"  SELECT DISTINCT {group}{draw} AS draw, value, reason, open, simulated FROM (\n"
        f"    SELECT *,\n"
        f"      {value} AS value,\n"
        f"      CASE WHEN ({condition}) IS NULL OR (({condition}) AND ({value}) IS NULL) THEN {why}\n"
        f"           WHEN NOT ({condition}) THEN 'not_given' END AS reason,\n"
        f"      {opened or 'FALSE'} AS open\n"
        f"    FROM {name(schema)}.{name(experiment.name)})"
    ).replace("SELECT *,\n", "SELECT *, rowid,\n")


def _figures(measure: Measure) -> list[str]:
    kept = "FILTER (reason IS NULL)"
    hits, n = f"count(*) {kept[:-1]} AND value)", f"count(*) {kept}"
    common = [
        f"{n} AS n",
        "count(*) AS n_planned",
        "count(*) - count(*) FILTER (reason IS NULL) AS n_dropped",
        "histogram(reason) FILTER (reason IS NOT NULL) AS dropped",
        "NOT bool_or(open) AS complete",
        "bool_or(simulated) AS simulated",
    ]
    if measure.function == "count":
        return [f"{hits} AS count", *common]
    assert measure.interval is not None
    if measure.function == "mean":
        value = "(CASE WHEN reason IS NULL THEN value END)"
        low, high = mean_sql(measure.interval.level, value)
        return [
            f"avg({value}) AS mean",
            f"{low} AS low",
            f"{high} AS high",
            f"stddev_samp({value}) AS sd",
            *common,
        ]
    low, high = rate_sql(measure.interval.method, measure.interval.level, f"({hits})", f"({n})")
    rate = f"CASE WHEN {n} > 0 THEN ({hits})::DOUBLE / ({n}) END"
    return [f"{rate} AS rate", f"{low} AS low", f"{high} AS high", f"{hits} AS hits", *common]
