"""The paired difference of a yes/no condition between two sides: levels of an axis, or two versions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.experiment import ASK
from emdsl.outcomes.changes import AFTER, BEFORE, MEAN_AFTER, MEAN_BEFORE, Beside
from emdsl.outcomes.spread import SPREAD
from emdsl.outcomes.sql import inner, name

if TYPE_CHECKING:
    from emdsl.experiment import Experiment, Measure
    from emdsl.outcomes.database import Connection
    from emdsl.outcomes.pairs import Pairs, Side

ROWS, COMPLETE = inner("rows"), inner("complete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The rate of the second side less that of the first, over the coordinates with a verdict on both.

    The ends of its interval, its p-value and what they rest on are those of a `contrast`. An answer that several rows
    share counts once: `n_first` and `n_second` are the numbers of draws. Two versions without a flip have no interval.
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    level: float
    p: float | None
    n_first: int
    n_second: int
    clusters: int
    clustered_by: str | None
    simulated: bool


def paired_difference(connection: Connection, pairs: Pairs) -> Difference | None:
    """Return the paired difference of two sides; None if no coordinate has a verdict on both. Raises DuckDB's errors.

    Args:
        connection: A database that can hold tables, with those of both sides attached. It is used for one comparison.
        pairs: The two sides, each with a yes/no condition. Conditions of the filter on verdicts would select by the
            outcome: it has levels alone.
    """
    rates = [_rate(side) for side in pairs.sides]
    rates[1] = dataclasses.replace(rates[1], interval=rates[0].interval)  # of two versions, the clusters of the first
    connection.execute(f"CREATE TEMP TABLE complete AS {pairs.complete_sql()}")
    ((n,),) = connection.execute("SELECT count(*) FROM temp.complete").fetchall()
    if not n:
        return None
    for schema, side, rate in zip((BEFORE, AFTER), pairs.sides, rates, strict=True):
        _hold(connection, schema, side, rate, pairs)
    before, after = (side.experiment for side in pairs.sides)
    beside = Beside(
        connection=connection, before=before, after=after, rows=(n, 0, 0), coordinate=tuple(pairs.coordinate),
        scores=frozenset(), left_out=frozenset(),
    )  # fmt: skip
    (row,) = beside.contrasted(rates[0], rates[1], clusters=BEFORE)
    assert rates[1].interval is not None
    # two versions may have the same answers: then no answer of another sample would turn either
    varies = pairs.sides[0].level is not None or (row["se"] or 0.0) >= SPREAD
    return Difference(
        first=row[MEAN_BEFORE], second=row[MEAN_AFTER], difference=row["contrast"],
        low=row["low"] if varies else None, high=row["high"] if varies else None,
        level=rates[1].interval.level, p=row["p"], n_first=row["n_second"], n_second=row["n_first"],
        clusters=row["clusters"], clustered_by=row["clustered_by"], simulated=bool(row["simulated"]),
    )  # fmt: skip


def _rate(side: Side) -> Measure:
    """Return the condition of a side as a rate, without the clusters that the compared axis takes apart."""
    rate = side.condition.rate
    assert rate is not None
    assert rate.interval is not None
    clusters = rate.interval.clusters
    if side.level is not None:
        clusters = dataclasses.replace(clusters, names=tuple(n for n in clusters.names if n != side.level[0]))
    return dataclasses.replace(rate, interval=dataclasses.replace(rate.interval, clusters=clusters))


def _hold(connection: Connection, schema: str, side: Side, rate: Measure, pairs: Pairs) -> None:
    """Make the table of a side with the complete coordinates alone, without texts that the condition does not read."""
    cast = ", ".join(f"{pairs.cast(k)} AS {name(k)}" for k, kind in pairs.coordinate.items() if kind)
    skipped = _texts(side.experiment, rate)
    same = " AND ".join(
        f"{pairs.cast(k, f'{ROWS}.')} IS NOT DISTINCT FROM {COMPLETE}.{name(k)}" for k in pairs.coordinate
    )
    columns = f"* {f'EXCLUDE ({skipped}) ' if skipped else ''}{f'REPLACE ({cast})' if cast else ''}"
    connection.execute(f"CREATE SCHEMA {schema}")
    connection.execute(
        f"CREATE TABLE {schema}.{name(side.experiment.name)} AS SELECT {columns} FROM {side.source} AS {ROWS} "
        f"SEMI JOIN temp.complete AS {COMPLETE} ON {same}"
    )


def _texts(experiment: Experiment, rate: Measure) -> str:
    """Return the columns of long texts that a condition does not read, in SQL."""
    read = {*rate.reads, *(f"{r}_reasoning" for r in rate.reads)}
    texts: list[str] = []
    for step in experiment.steps:
        texts += [step.name, f"{step.name}_reasoning"] if step.kind == ASK else [f"{step.name}_reply"]
    return ", ".join(name(t) for t in texts if t not in read)
