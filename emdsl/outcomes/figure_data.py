"""The data of figures of single scores: bins, quartiles and samples of a measure's draws, and correlations of judges.

All of it is bounded, however many rows there are: SQL counts, and what is drawn one by one are the draws with the
smallest digests, which are the same each time and blind to their group and value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from emdsl.experiment import ASK
from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.outcomes import database
from emdsl.outcomes.draws import (
    DOSE,
    DRAW,
    LABEL,
    OTHER,
    REASON,
    SIMULATED,
    VALUE,
    draws_sql,
    groups_of,
    listed,
    rows_sql,
    same_group,
    shared_sql,
)
from emdsl.outcomes.level_order import in_order
from emdsl.outcomes.report_data import N_BINS
from emdsl.outcomes.sql import inner, name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.experiment import Experiment, Measure, Step

MAX_POINTS = 3_000  # of a figure, in all groups together
MIN_POINTS = 30  # of each group, if there are many
OF_NUMBERS = ("mean", "quantile", "sd")
_DRAWN = inner("figure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A number of a draw: how it is written, its name, the ends of its scale and the thresholds of the study."""

    node: ast.Expr
    name: str
    steps: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedScores:
    """Rows of scores that start with their groups, with the levels of each group in order."""

    groups: tuple[tuple[str, tuple[Any, ...]], ...]
    rows: tuple[tuple[Any, ...], ...]
    simulated: bool
    n: int  # of all draws with a value
    step: float = 0.0  # the width of a bin


def scored_steps(experiment: Experiment) -> list[Step]:
    """Return the judges, and the asks with a format, that give a number on a scale."""
    return [s for s in experiment.steps if s.reply_format is not None and s.reply_format.scale is not None]


def score_of(experiment: Experiment, measure: Measure) -> Score | None:
    """Return the number that a measure is about: what it averages, or the score that its condition compares."""
    if measure.value is not None and (measure.of or measure.function) in OF_NUMBERS:
        known = _scores_in(experiment, (measure.value,))
        plain = [s for s in known if s.node == measure.value or _name(s.node) == _name(measure.value)]
        if len(plain) == 1 and _name(measure.value):
            return plain[0]
        return Score(node=measure.value, name=_name(measure.value) or f"value of {measure.name}")
    found = _scores_in(experiment, (measure.value,))
    return found[0] if found else None


def score_pair(experiment: Experiment, measure: Measure) -> tuple[Score, Score] | None:
    """Return two scores of each draw: those that a measure reads, in the order of the study; else the first others."""
    read = _scores_in(experiment, (measure.value, measure.other, measure.condition, *measure.others))
    more = [_score(experiment, s) for s in scored_steps(experiment) if not s.draw]
    both = list({s.name: s for s in (*read, *more)}.values())[:2]
    return (both[0], both[1]) if len(both) == 2 else None


def _scores_in(experiment: Experiment, parts: Sequence[ast.Expr | None]) -> list[Score]:
    steps = {s.name: s for s in scored_steps(experiment)}
    found: dict[str, Score] = {}
    for part in parts:
        if part is None:
            continue
        for node in walk(experiment.inlined(part)):
            if isinstance(node, ast.Ref) and node.name in steps:
                score = _score(experiment, steps[node.name])
                found.setdefault(score.name, score)
    return list(found.values())


def _score(experiment: Experiment, step: Step) -> Score:
    assert step.reply_format is not None
    assert step.reply_format.scale is not None
    low, high = (float(x) for x in step.reply_format.scale)
    span = step.span
    node: ast.Expr = ast.Ref(name=step.name, span=span)
    shown = step.name
    if step.readings:
        node, shown = ast.Field(value=node, name=ast.Name(text="score", span=span), span=span), f"{step.name}.score"
    return Score(node=node, name=shown, steps=(step.name,), scale=(low, high),
                 thresholds=tuple(experiment.thresholds.get(shown, ())))  # fmt: skip


def _name(node: ast.Expr) -> str:
    match node:
        case ast.Ref(name=called):
            return called
        case ast.Field(value=ast.Ref(name=of), name=field):
            return f"{of}.{field.text}"
        case _:
            return ""


def _derived(experiment: Experiment, measure: Measure, scores: Sequence[Score], *, whole: bool) -> Measure:
    """Return the mean of scores by the groups of a measure and what it compares; `whole` leaves out its condition."""
    axes = {a.name: a for a in experiment.axes}
    by = [(p, x) for p, x in zip(measure.by, measure.levels, strict=True) if not (measure.labels and p == LABEL)]
    compared = [r.name for r in walk(measure.sides) if isinstance(r, ast.Ref) and r.name in axes]
    for axis in dict.fromkeys([*compared, *([measure.slope] if measure.slope else [])]):
        if (axis,) not in [p for p, _ in by]:
            by.append(((axis,), axes[axis]))
    steps = tuple(dict.fromkeys((*measure.steps, *(x for s in scores for x in s.steps))))
    reads = tuple(dict.fromkeys((*measure.reads, *(x for s in scores for x in s.steps))))
    return replace(
        measure, function="correlation" if len(scores) > 1 else "mean", of="", value=scores[0].node,
        other=scores[1].node if len(scores) > 1 else None, condition=None if whole else measure.condition,
        interval=None,
        sides=(), versus="", baseline=None, labels=(), factors=(), slope="", equal="", via="", person=None, metric="",
        others=(), nominal=False, pair=(), by=tuple(p for p, _ in by), levels=tuple(x for _, x in by), steps=steps,
        reads=reads,
    )  # fmt: skip


class ScoreData:
    """The draws of a measure with their scores, on an open connection: what figures count and sample.

    Args:
        connection: The database.
        schema: The schema of the study.
        experiment: The experiment.
        measure: The measure.
        scores: One number of each draw, or two.
        whole: Whether draws for which the measure's `given` is false are kept too.
    """

    def __init__(
        self, connection: database.Connection, schema: str, experiment: Experiment, measure: Measure,
        scores: Sequence[Score], *, whole: bool = False,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._scores = tuple(scores)
        self._derived = _derived(experiment, measure, scores, whole=whole)
        self._groups = groups_of(self._derived)
        rows = rows_sql(experiment, self._derived, schema)
        ((shared,),) = database.select(connection, shared_sql(self._derived, rows)).rows
        draws = draws_sql(experiment, self._derived, schema) if shared else rows
        values = f"{VALUE}::DOUBLE AS y" + (f", {OTHER}::DOUBLE AS y_2" if len(scores) > 1 else "")
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_DRAWN} AS SELECT {listed(self._groups)}{values}, "
            f"md5({DRAW}::VARCHAR) AS digest, {SIMULATED} AS simulated FROM (\n{draws}\n) WHERE {REASON} IS NULL"
        )
        ((self.n, self.simulated),) = database.select(
            connection, f"SELECT count(*), COALESCE(bool_or(simulated), FALSE) FROM {_DRAWN}"
        ).rows

    def histogram(self) -> GroupedScores:
        """Return of each group the bins: lower end, share, and n of the group."""
        low, high = self._scores[0].scale or self._range()
        step = (high - low) / N_BINS
        place = f"greatest(0, least({N_BINS - 1}, floor((y - {low!r}) / {step!r})))"
        of = f"PARTITION BY {', '.join(self._groups)}" if self._groups else ""
        sql = (
            f"SELECT {listed(self._groups)}{low!r} + {step!r} * bin, m / sum(m) OVER ({of}), "
            f"sum(m) OVER ({of})::BIGINT FROM (SELECT {listed(self._groups)}{place} AS bin, count(*) AS m "
            f"FROM {_DRAWN} GROUP BY ALL) ORDER BY bin"
        )
        return self._grouped(sql, step=step)

    def box(self) -> GroupedScores:
        """Return of each group: low whisker, quartiles, high whisker, mean, n, and scores beyond the whiskers."""
        by = f"GROUP BY {', '.join(self._groups)}" if self._groups else ""
        same = same_group(self._groups, "d", "q")
        inside = "y BETWEEN q1 - 1.5 * (q3 - q1) AND q3 + 1.5 * (q3 - q1)"
        shown = listed(self._groups, "q.")
        sql = (
            f"WITH q AS (SELECT {listed(self._groups)}quantile_cont(y, 0.25) AS q1, quantile_cont(y, 0.5) AS q2, "
            f"quantile_cont(y, 0.75) AS q3, avg(y) AS middle, count(*) AS n FROM {_DRAWN} {by})\n"
            f"SELECT {shown}min(y) FILTER ({inside}), q1, q2, q3, max(y) FILTER ({inside}), middle, n, "
            f"count(*) FILTER (NOT ({inside})) FROM {_DRAWN} AS d JOIN q ON {same} "
            f"GROUP BY {shown}q1, q2, q3, middle, n"
        )
        return self._grouped(sql)

    def sample(self) -> GroupedScores:
        """Return scores of each group, at most so many that a figure has MAX_POINTS, each with n of its group."""
        of = f"PARTITION BY {', '.join(self._groups)} " if self._groups else ""
        ((n_groups,),) = database.select(
            self._connection, f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(self._groups) or '1'} FROM {_DRAWN})"
        ).rows
        most = max(MIN_POINTS, MAX_POINTS // max(1, n_groups))
        last = "y_2" if len(self._scores) > 1 else f"count(*) OVER ({of})"
        sql = (
            f"SELECT {listed(self._groups)}y, {last} FROM {_DRAWN} "
            f"QUALIFY row_number() OVER ({of}ORDER BY digest) <= {most} ORDER BY digest LIMIT {4 * MAX_POINTS}"
        )
        return self._grouped(sql)

    def _range(self) -> tuple[float, float]:
        ((low, high),) = database.select(self._connection, f"SELECT min(y), max(y) FROM {_DRAWN}").rows
        if low is None or low == high:
            return (low or 0.0) - 0.5, (low or 0.0) + 0.5
        step = 10.0 ** math.floor(math.log10(high - low)) / 2
        return math.floor(low / step) * step, math.ceil(high / step) * step

    def _grouped(self, sql: str, step: float = 0.0) -> GroupedScores:
        rows = database.select(self._connection, sql).rows
        levels = [in_order(self._derived, i, (r[i] for r in rows)) for i in range(len(self._groups))]
        at = [{(type(x) is bool, x): i for i, x in enumerate(each)} for each in levels]
        rows.sort(key=lambda r: tuple(places[type(x) is bool, x] for places, x in zip(at, r, strict=False)))
        named = ("_".join(p) for p in self._derived.by)
        return GroupedScores(
            groups=tuple(zip(named, levels, strict=True)),
            rows=tuple(rows),
            simulated=self.simulated,
            n=self.n,
            step=step,
        )


def judge_correlations(
    connection: database.Connection, experiment: Experiment, schema: str
) -> tuple[list[str], list[tuple[str, str, float | None, int]], bool]:
    """Return the scores of judges, Pearson's r of each pair with its n, and whether any answer is simulated.

    An answer that several rows share counts once. A pair with fewer than three values, or a constant one, has no r.
    """
    judges = [s for s in scored_steps(experiment) if s.kind != ASK]
    columns = {s.name: name(s.name) for s in judges}
    asks = [name(f"{s.name}_key") for s in experiment.steps if s.kind == ASK]
    table = f"{name(schema)}.{name(experiment.name)}"
    cells: list[tuple[str, str, float | None, int]] = []
    for a, b in combinations(columns, 2):
        both = f"{columns[a]}::DOUBLE AS a, {columns[b]}::DOUBLE AS b"
        once = f"DISTINCT {''.join(f'{k}, ' for k in asks)}" if asks else ""
        kept = f"{columns[a]} IS NOT NULL AND {columns[b]} IS NOT NULL"
        ((r, n),) = database.select(
            connection,
            "SELECT CASE WHEN count(*) > 2 AND stddev_pop(a) > 0 AND stddev_pop(b) > 0 THEN corr(a, b) END, count(*) "
            f"FROM (SELECT {once}{both} FROM {table} WHERE {kept})",
        ).rows
        cells.append((a, b, r, n))
    _, _, simulated = database.completeness(connection, schema, experiment)
    return list(columns), cells, simulated


def measured_rates(
    connection: database.Connection, experiment: Experiment, measure: Measure, schema: str
) -> list[tuple[Any, ...]]:
    """Return for each group and dose of a `dose` the rate of its kept draws, and their number."""
    groups = groups_of(measure)
    sql = (
        f"SELECT {listed(groups)}{DOSE}, avg({VALUE}::DOUBLE), count(*) FROM (\n"
        f"{draws_sql(experiment, measure, schema)}\n) WHERE {REASON} IS NULL "
        f"GROUP BY {listed(groups)}{DOSE} ORDER BY {DOSE}"
    )
    return database.select(connection, sql).rows
