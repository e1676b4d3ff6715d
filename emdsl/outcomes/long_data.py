"""Long data: the draws of a measure with the factors of its study, for models in other tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.outcomes.draws import DRAW, draw_sql, group_sql, row_values_sql
from emdsl.outcomes.level_order import axis_order_sql
from emdsl.outcomes.sql import columns_of, name, to_sql

if TYPE_CHECKING:
    from emdsl.experiment import Experiment, Measure
    from emdsl.outcomes.database import Connection

BINARY = ("rate", "at_least", "dose")  # measures of a condition
MODELLED = (*BINARY, "mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class LongData:
    """The data of a measure and the columns by their part in a mixed model; `shared` rows have the answer of another.

    `categories` are fixed effects with their levels, the baseline first; `numbers` fixed effects that are numbers;
    `random` have a random intercept for each of their levels.
    """

    sql: str
    shared: int
    outcome: str
    binary: bool
    categories: dict[str, list[str]]
    numbers: tuple[str, ...]
    random: tuple[str, ...]


def is_modelled(measure: Measure) -> bool:
    """Whether a mixed model fits a measure: one of rates or means, without a correction by people's verdicts."""
    return (measure.of or measure.function) in MODELLED and not measure.via


def long_data(connection: Connection, experiment: Experiment, measure: Measure, schema: str) -> LongData:
    """Return the data of a measure: a row for each kept draw, once, with its outcome and factors.

    The groups of the measure and the axes that it compares are fixed effects. Its clusters, the other axes and the
    sample are random effects, but an axis that follows from the fixed ones is none. The axis of a slope is a number.
    """
    columns = columns_of(experiment)
    value, _, reason = row_values_sql(measure, columns)
    compared = {r.name for r in walk(measure.sides) if isinstance(r, ast.Ref)}
    groups = {"_".join(p): group_sql(p, columns) for p in measure.by}
    fixed = groups | {a.name: name(a.name) for a in experiment.axes if a.name in compared}
    numbers = {measure.slope: f"{name(columns.axes[measure.slope])}::DOUBLE"} if measure.slope else {}
    clusters = measure.interval.cluster if measure.interval is not None else ()
    table = f"{name(schema)}.{name(experiment.name)}"

    def distinct(*held: str) -> int:
        ((n,),) = connection.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(held)} FROM {table})"
        ).fetchall()
        return int(n)

    known = [*fixed.values(), *numbers.values()] or ["TRUE"]
    free = [a.name for a in experiment.axes if distinct(*known, name(a.name)) > distinct(*known)]
    several = ["sample"] if experiment.samples > 1 else []
    random = {n: name(n) for n in (*clusters, *free, *several) if n not in {*fixed, *numbers}}
    outcome = "outcome" if "outcome" not in {*fixed, *numbers, *random} else "outcome_"
    sides = [to_sql(x, columns) for x in measure.sides]
    where = f" AND ({' OR '.join(f'({x})' for x in sides)})" if sides else ""
    place = ", ".join(name(n) for n in (*(a.name for a in experiment.axes), "sample"))
    draw = draw_sql(experiment, measure)
    within = ", ".join([*fixed.values(), *numbers.values(), draw])
    shown = ", ".join(f"{sql} AS {name(n)}" for n, sql in (fixed | numbers | random).items())
    sql = (
        f"SELECT {shown}{', ' if shown else ''}({value})::DOUBLE AS {name(outcome)}, {draw} AS {DRAW} FROM {table} "
        f"WHERE ({reason}) IS NULL{where} "
        f"QUALIFY row_number() OVER (PARTITION BY {within} ORDER BY {place}) = 1 ORDER BY {place}"
    )
    levels, axes = {}, {a.name: a for a in experiment.axes}
    for column, held in fixed.items():
        first = f"bool_or({sides[-1]}) DESC, " if column in compared else ""
        order = axis_order_sql(axes[column], held) if column in axes else held
        rows = connection.execute(f"SELECT {held}::VARCHAR FROM {table} GROUP BY {held} ORDER BY {first}{order}")
        levels[column] = [text for (text,) in rows.fetchall() if text is not None]
    ((shared,),) = connection.execute(f"SELECT count(*) - count(DISTINCT {DRAW}) FROM ({sql})").fetchall()
    return LongData(
        sql=sql, shared=shared, outcome=outcome, binary=(measure.of or measure.function) in BINARY, categories=levels,
        numbers=tuple(numbers), random=tuple(random),
    )  # fmt: skip
