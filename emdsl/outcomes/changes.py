"""Changes of results: two versions of an experiment, row beside row, in one connection."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.lang import ast
from emdsl.outcomes.computed import computed
from emdsl.outcomes.conditions import condition_text, holds_sql, is_condition
from emdsl.outcomes.database import Error, select
from emdsl.outcomes.draws import PLACE, SIDE, by_columns, draws_sql, group_columns
from emdsl.outcomes.measure_views import MEANS, view_sql
from emdsl.outcomes.spread import SPREAD
from emdsl.outcomes.sql import columns_of, field_reasons, inner, inner_column, literal, name
from emdsl.value import UNSETTLED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.experiment import Experiment, Measure, Step
    from emdsl.outcomes.database import Connection

BEFORE, AFTER = "before", "after"  # the schemas of both versions
PAIRED = ("rate", "mean", "at_least")  # measures whose change has an interval
NUMERIC = frozenset(("BIGINT", "DOUBLE"))
STATE, SCORES, FORMER, FORMER_SCORES = map(inner, ("state", "scores", "former state", "former scores"))
MEAN_AFTER, MEAN_BEFORE = (inner_column(x) for x in MEANS[:2])  # of a contrast of both versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """How often one verdict became another; `examples` are the rows that moved furthest, with their scores."""

    of: str
    before: str
    after: str
    n: int
    compared: int  # rows with a verdict in both
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row: its coordinate, and the scores that its verdict rests on."""

    row: dict[str, Any]
    scores: dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One group of a measure: its figure before and after, and the change, with both ends of its interval if any."""

    measure: str
    group: dict[str, Any]
    before: float | None
    after: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    clusters: int | None = None
    clustered_by: str | None = None

    @property
    def change(self) -> float | None:
        """The figure after, less the one before."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def strength(self) -> float:
        """The change in half widths of its interval: over 1, the interval excludes 0; 0 without an interval."""
        if self.low is None or self.high is None or self.change is None:
            return 0.0
        return 2 * abs(self.change) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Two versions of an experiment, in the schemas BEFORE and AFTER: only rows that both have.

    Rows are matched by their coordinate. `rows` are their numbers: in both, in the first alone, in the second alone.
    `coordinate` are the axes that both have, and `sample`; `scores` the columns of numbers that both have; `left_out`
    the measures that one of the two has no relation of.
    """

    connection: Connection
    before: Experiment
    after: Experiment
    rows: tuple[int, int, int]
    coordinate: tuple[str, ...]
    scores: frozenset[str]
    left_out: frozenset[str]

    def flips(self, limit: int) -> Iterator[Flips]:
        """Yield the changes of each verdict, with at most `limit` rows of each: of judges' labels and of conditions."""
        apart = (
            f"list_sum(list_transform(range(1, len({SCORES}) + 1), lambda i: abs({SCORES}[i] - {FORMER_SCORES}[i])))"
        )
        for of, before, after, scores in (*self._labels(), *self._conditions()):
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE judged AS {self._joined(before, after, scores)}")
            ((compared,),) = self._select("SELECT count(*) FROM temp.judged")
            for was, now, n in self._select(
                f"SELECT {FORMER}, {STATE}, count(*) FROM temp.judged WHERE {FORMER} <> {STATE} "
                f"GROUP BY {FORMER}, {STATE} ORDER BY 3 DESC, 1, 2"
            ):
                rows = self._select(
                    f"SELECT * EXCLUDE ({FORMER}, {STATE}) FROM temp.judged WHERE {FORMER} = {literal(was)} "
                    f"AND {STATE} = {literal(now)} ORDER BY {apart} DESC NULLS LAST, {self._keys()} LIMIT {limit}"
                )
                examples = tuple(
                    Example(row=dict(zip(self.coordinate, place, strict=True)),
                            scores=dict(zip(scores, zip(old, new, strict=True), strict=True)))
                    for *place, old, new in rows
                )  # fmt: skip
                yield Flips(of=of, before=was, after=now, n=n, compared=compared, examples=examples)

    def moved(self) -> Iterator[Moved]:
        """Yield the groups of each measure that both versions have."""
        olds = {m.name: m for m in self.before.measures}
        for new in self.after.measures:
            old = olds.get(new.name)
            if old is None or old.function != new.function or by_columns(old) != by_columns(new):
                continue
            if new.name in self.left_out:
                continue
            yield from self._paired(old, new) if _is_paired(old, new) else self._values(old, new)

    @property
    def _tables(self) -> tuple[str, str]:
        return f"{BEFORE}.{name(self.before.name)}", f"{AFTER}.{name(self.after.name)}"

    @property
    def _same(self) -> str:
        return " AND ".join(f"a.{name(k)} IS NOT DISTINCT FROM b.{name(k)}" for k in self.coordinate)

    def _keys(self, of: str = "") -> str:
        return ", ".join(f"{of}{name(k)}" for k in self.coordinate)

    def _select(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    # ---------------------------------------------------------------- verdicts

    def _labels(self) -> Iterator[tuple[str, str, str, list[str]]]:
        """Yield each judge or answer that is read as a label: its name, and twice the label, or why it is missing."""
        olds = {s.name: s for s in self.before.steps}
        for step in self.after.steps:
            old = olds.get(step.name)
            if old is not None and old.kind == step.kind and _has_labels(step) and _has_labels(old):
                column, shown = (f"{step.name}_label", f"{step.name}.label") if step.readings else (step.name,) * 2
                label = f"COALESCE({name(column)}, {name(f'{column}_missing')})"
                yield shown, label, label, []

    def _conditions(self) -> Iterator[tuple[str, str, str, list[str]]]:
        """Yield each condition of measures: its text, its value before and after in SQL, the scores that it reads."""
        olds, seen = {m.name: m for m in self.before.measures}, set[tuple[str, str]]()
        for new in self.after.measures:
            old = olds.get(new.name)
            if old is None or not (is_condition(old) and is_condition(new)):
                continue
            texts = condition_text(old), condition_text(new)
            if texts not in seen:
                seen.add(texts)
                before = _columns_read(self.before, old)
                scores = [n for n in _columns_read(self.after, new) if n in before and n in self.scores]
                shown = texts[1] if texts[0] == texts[1] else f"measure {new.name}"
                yield shown, holds_sql(self.before, old), holds_sql(self.after, new), scores

    def _joined(self, before: str, after: str, scores: list[str]) -> str:
        """Return the SELECT of the rows with a verdict in both: coordinate, verdicts, and scores before and after."""
        listed = f"[{', '.join(map(name, scores))}]::DOUBLE[]"
        opened = ", ".join(literal(x) for x in sorted(UNSETTLED))
        one, other = (
            f"SELECT {self._keys()}, {state} AS {STATE}, {listed} AS {SCORES} FROM {table} "
            f"WHERE {STATE} NOT IN ({opened})"
            for state, table in zip((before, after), self._tables, strict=True)
        )
        return (
            f"SELECT {self._keys('b.')}, a.{STATE} AS {FORMER}, b.{STATE}, a.{SCORES} AS {FORMER_SCORES}, b.{SCORES} "
            f"FROM ({one}) AS a JOIN ({other}) AS b ON {self._same}"
        )

    # ---------------------------------------------------------------- measures

    def _paired(self, old: Measure, new: Measure) -> Iterator[Moved]:
        """Yield the groups of a measure with the interval of their change."""
        assert new.interval is not None
        nested = new.function == "contrast"
        groups = group_columns(new)
        for row in self.contrasted(old, new):
            varies = (row.get("se") or 0.0) >= SPREAD
            yield Moved(
                measure=new.name, group={c: row[c] for c in groups},
                before=row["second" if nested else MEAN_BEFORE], after=row["first" if nested else MEAN_AFTER],
                low=row["low"] if varies else None, high=row["high"] if varies else None,
                level=new.interval.level, clusters=row.get("clusters"), clustered_by=row.get("clustered_by"),
            )  # fmt: skip

    def contrasted(self, old: Measure, new: Measure, *, clusters: str = AFTER) -> Iterator[dict[str, Any]]:
        """Yield each group of a measure with the contrast of both versions, the second less the first, by column.

        A row of one version and the same row of the other are a pair. Both are in the cluster that the row of the
        version `clusters` is in, which is the one whose clusters the second measure has.
        """
        assert new.interval is not None
        names = {n: n if n in self.coordinate else inner_column(inner(f"cluster {n}")) for n in new.interval.cluster}
        shared = dataclasses.replace(new.interval.clusters, names=tuple(names.values()))
        schemas = self._clustered({n: x for n, x in names.items() if n != x}, clusters)
        nested = new.function == "contrast"
        axes = tuple(n for n in self.coordinate if n != "sample" and (not nested or n in {*old.pair} & {*new.pair}))
        contrast = dataclasses.replace(
            new, function="contrast", of=new.of if nested else new.function, pair=axes, correct="", family="",
            equivalent=None, interval=dataclasses.replace(new.interval, method="wald", clusters=shared),
        )  # fmt: skip
        parts = []
        # units are numbered within each schema: as both have the same rows, one number is one coordinate
        for experiment, measure, schema, first in ((self.after, new, AFTER, 1), (self.before, old, BEFORE, 2)):
            own = dataclasses.replace(
                measure, function="contrast", of=contrast.of, pair=axes, interval=contrast.interval
            )
            side = f"{SIDE} + {2 * (first - 1)}" if nested else first
            alike = dataclasses.replace(experiment, axes=tuple(sorted(experiment.axes, key=lambda a: a.name)))
            parts.append(f"SELECT * REPLACE ({side} AS {SIDE}) FROM ({draws_sql(alike, own, schemas[schema])})")
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE drawn AS {' UNION ALL BY NAME '.join(parts)}")
        # each draw has its side: of these only the number is read
        contrast = dataclasses.replace(contrast, sides=(ast.Literal(value=True, span=new.span),) * (4 if nested else 2))
        draws = "SELECT * FROM temp.drawn"
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE changed AS SELECT row_number() OVER () AS {PLACE}, * "
            f"FROM ({view_sql(contrast, draws, parts=True)})"
        )
        found = dict(computed(self._select, contrast, draws, "temp.changed").rows)
        figures = select(self.connection, "FROM temp.changed")
        for values in figures.rows:
            row = dict(zip(figures.columns, values, strict=True))
            row |= found.get(row[inner_column(PLACE)], {})
            for own_name, column in names.items():
                row["clustered_by"] = row["clustered_by"] and row["clustered_by"].replace(column, own_name)
            yield row

    def _clustered(self, columns: Mapping[str, str], of: str) -> dict[str, str]:
        """Return the schemas of both versions, with the clusters of the one in columns that both have.

        A `let` may be missing in the other version, or have other values there.
        """
        schemas = {BEFORE: BEFORE, AFTER: AFTER}
        if not columns:
            return schemas
        owner = (self.before if of == BEFORE else self.after).name
        listed = ", ".join(f"b.{name(own_name)} AS {name(column)}" for own_name, column in columns.items())
        for schema, called in zip(schemas, (self.before.name, self.after.name), strict=True):
            schemas[schema] = f"{schema}_clustered"
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schemas[schema]}")
            self.connection.execute(
                f"CREATE OR REPLACE VIEW {schemas[schema]}.{name(called)} AS SELECT a.*, {listed} "
                f"FROM {schema}.{name(called)} AS a JOIN {of}.{name(owner)} AS b ON {self._same}"
            )
        return schemas

    def _values(self, old: Measure, new: Measure) -> Iterator[Moved]:
        """Yield the groups of a measure whose change has no interval."""
        columns = by_columns(new)
        shown = "".join(f"b.{name(c)}, " for c in columns)
        level = "COALESCE(TRY_CAST({0} AS DOUBLE)::VARCHAR, {0}::VARCHAR)".format  # 8 and 8.0 are one
        pairs = ((level(f"a.{name(c)}"), level(f"b.{name(c)}")) for c in columns)
        same = " AND ".join(f"{a} IS NOT DISTINCT FROM {b}" for a, b in pairs) or "TRUE"
        for *group, before, after in self._select(
            f"SELECT {shown}a.{name(new.function)}::DOUBLE, b.{name(new.function)}::DOUBLE "
            f"FROM {BEFORE}.{name(old.name)} AS a JOIN {AFTER}.{name(new.name)} AS b ON {same}"
        ):
            yield Moved(measure=new.name, group=dict(zip(columns, group, strict=True)), before=before, after=after)


def beside(connection: Connection, before: Experiment, after: Experiment, places: tuple[str, str]) -> Beside | str:
    """Return two versions of an experiment side by side, or why their rows cannot be matched.

    Args:
        connection: A database that can hold views.
        before: The experiment in one version.
        after: The same in the other version.
        places: The quoted schemas of their tables.
    """
    axes = [{a.name: a for a in e.axes} for e in (before, after)]
    for i, which in enumerate(("first", "second")):
        alone = [n for n, a in axes[i].items() if n not in axes[1 - i] and len(a.levels) > 1]
        if alone:
            return f"only the {which} has the axis `{alone[0]}`, so that rows cannot be matched"
    types, left_out = [], set[str]()
    for experiment, schema, place in ((before, BEFORE, places[0]), (after, AFTER, places[1])):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for measure in experiment.measures:
            try:
                connection.execute(f"CREATE VIEW {schema}.{name(measure.name)} AS FROM {place}.{name(measure.name)}")
            except Error:
                left_out.add(measure.name)
        described = connection.execute(f"DESCRIBE {place}.{name(experiment.name)}").fetchall()
        types.append({column: kind for column, kind, *_ in described})
    shared = [n for n in axes[1] if n in axes[0]]
    kinds = {n: "DOUBLE" if {t[n] for t in types} <= NUMERIC else "VARCHAR" for n in shared}
    replaced = ", ".join(f"{name(n)}::{kind} AS {name(n)}" for n, kind in kinds.items() if types[0][n] != types[1][n])
    coordinate = (*shared, "sample")
    tables = [
        f"(SELECT *{f' REPLACE ({replaced})' if replaced else ''} FROM {place}.{name(e.name)})"
        for e, place in zip((before, after), places, strict=True)
    ]
    same = " AND ".join(f"a.{name(k)} IS NOT DISTINCT FROM b.{name(k)}" for k in coordinate)
    counts = []
    for i, (experiment, schema) in enumerate(((before, BEFORE), (after, AFTER))):
        view = f"{schema}.{name(experiment.name)}"
        connection.execute(
            f"CREATE VIEW {view} AS SELECT a.* FROM {tables[i]} AS a SEMI JOIN {tables[1 - i]} AS b ON {same}"
        )
        counts += connection.execute(
            f"SELECT (SELECT count(*) FROM {tables[i]}), (SELECT count(*) FROM {view})"
        ).fetchall()
    (first, both), (second, _) = counts
    return Beside(
        connection=connection, before=before, after=after, rows=(both, first - both, second - both),
        coordinate=coordinate, left_out=frozenset(left_out),
        scores=frozenset(n for n, kind in types[0].items() if kind == types[1].get(n) == "DOUBLE"),
    )  # fmt: skip


def _columns_read(experiment: Experiment, measure: Measure) -> list[str]:
    """Return the columns of steps and `let`s that a measure reads: `aligned`, `answer_score`."""
    parts = [x for x in (measure.value, measure.condition) if x is not None]
    reasons = field_reasons(parts, columns_of(experiment))
    return [*measure.reads, *(column.removesuffix("_missing") for column in reasons)]


def _has_labels(step: Step) -> bool:
    return step.reply_format is not None and bool(step.reply_format.choices)


def _is_paired(old: Measure, new: Measure) -> bool:
    """Whether the change of a measure is a contrast: of rates or means, or of contrasts of these."""
    if old.equal or new.equal:
        return False
    alike = (old.of, old.scale, old.versus, len(old.sides)) == (new.of, new.scale, new.versus, len(new.sides))
    nested = new.function == "contrast" and new.of in PAIRED and new.scale == "difference" and len(new.sides) == 2
    return new.function in PAIRED or (alike and nested)
