"""Rows of an experiment to browse: which ones, in which order, and what is shown of them, as SQL."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from emdsl.errors import UsageError
from emdsl.experiment import ASK
from emdsl.outcomes.draws import PLACE, placed
from emdsl.outcomes.sql import has_value_column, literal, name, value_column
from emdsl.outcomes.table import axis_values
from emdsl.source import near
from emdsl.value import Row, render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from emdsl.experiment import Axis, Cell, Experiment
    from emdsl.value import Level

PAGE = 100  # rows
CUT = 240  # characters of a text in the list
PLACES = ("question", "answer", "reasoning", "reply")  # of a text that is searched
ANY = "*"  # any reason
MAX_CAUSES = 30  # of failures of a step
_IDS = r"\b(?:req|request|chatcmpl|msg)[-_][0-9A-Za-z]{6,}|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\b[0-9a-fA-F]{16,}\b"


class Column(NamedTuple):
    """A column of the list: its name, its kind (`axis`, `text`, `number` or `label`), and the column of its reason."""

    name: str
    kind: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which rows are listed, in which order. All conditions hold together.

    Attributes:
        levels: Of axes, the positions of the levels.
        equal: Values of columns, as text.
        reasons: Reasons why columns are missing, `*` for any.
        low: Smallest values of columns.
        high: Largest values of columns.
        below: Numbers that are larger than the values of columns.
        text: A text that some of `places` hold, upper or lower case.
        places: Where the text is looked for: `question`, `answer`, `reasoning`, `reply`.
        where: A condition in SQL.
        sort: A column, `-COLUMN` for the largest first; "" for the order of the table.
        answers: Keys of answers, in hex: rows with all answers of any of these; None for all rows.
    """

    levels: Mapping[str, frozenset[int]] = field(default_factory=dict)
    equal: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    below: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    places: tuple[str, ...] = PLACES
    where: str = ""
    sort: str = ""
    answers: Sequence[tuple[str, ...]] | None = None


def columns_of(experiment: Experiment) -> list[Column]:
    """Return the columns of the list."""
    columns = [Column(a.name, "axis") for a in experiment.axes] + [Column("sample", "number")]
    for step in experiment.steps:
        form = step.reply_format if step.kind != ASK else None
        kind = "text" if step.kind == ASK else "number" if form is not None and form.scale is not None else "label"
        columns.append(Column(step.name, kind, f"{step.name}_missing"))
        kinds = {"double": "number"}
        columns += [
            Column(f"{step.name}_{r.name}", kinds.get(r.kind, "label"), f"{step.name}_{r.name}_missing")
            for r in step.readings
        ]
    columns += [
        Column(c.name, "number" if c.kind == "double" else "label", f"{c.name}_missing") for c in experiment.columns
    ]
    return columns + [Column(a.name, "label", f"{a.name}_missing") for a in experiment.annotations]


def keys_of(experiment: Experiment, *, judges: bool = False) -> list[str]:
    """Return the columns with the keys of the answers of a row, and of its verdicts."""
    return [f"{s.name}_key" for s in experiment.steps if judges or s.kind == ASK]


def _parts(experiment: Experiment, more: Sequence[str]) -> str:
    parts = []
    for column in columns_of(experiment):
        of = name(column.name)
        parts.append(f"left({of}::VARCHAR, {CUT}) AS {of}" if column.kind in ("text", "label") else of)
        parts += [name(column.reason)] if column.reason else []
    return ", ".join([*parts, *map(name, more)])


def rows_sql(
    experiment: Experiment, schema: str, chosen: Filter, offset: int, limit: int = PAGE, more: Sequence[str] = ()
) -> str:
    """Return the SELECT of some rows: all columns of the list, each with its reason after it, and `more` columns."""
    parts, table, where, order = (
        _parts(experiment, more),
        _table(experiment, schema),
        _where(experiment, chosen),
        _order(experiment, chosen),
    )
    page = f"LIMIT {int(limit)} OFFSET {int(offset)}"
    if not order or not has_rowid(experiment):
        return f"SELECT {parts} FROM {table}{where}{order} {page}"
    # texts are read of the rows that are shown, and not of all that are sorted
    return f"SELECT {parts} FROM {table} WHERE rowid IN (SELECT rowid FROM {table}{where}{order} {page}){order}"


def bounds_sql(experiment: Experiment, schema: str) -> str:
    """Return the SELECT of the first row number, and the one after the last; NULL without rows."""
    return f"SELECT min(rowid), max(rowid) + 1 FROM {_table(experiment, schema)}"


def hits_sql(experiment: Experiment, schema: str, chosen: Filter, first: int, end: int) -> str:
    """Return the SELECT of the numbers of the rows of a filter from `first` to before `end`, in order."""
    within = f"rowid >= {int(first)} AND rowid < {int(end)}"
    where = _where(experiment, chosen)
    return f"SELECT rowid FROM {_table(experiment, schema)}{where or ' WHERE TRUE'} AND {within} ORDER BY rowid"


def rows_at_sql(experiment: Experiment, schema: str, more: Sequence[str] = ()) -> str:
    """Return the SELECT of the rows whose numbers are the list `$1`, in their order, with columns as of `rows_sql`."""
    return (
        f"SELECT {_parts(experiment, more)} FROM {_table(experiment, schema)} "
        "WHERE rowid IN (SELECT unnest($1::BIGINT[])) ORDER BY list_position($1::BIGINT[], rowid)"
    )


def sorted_sql(
    experiment: Experiment, schema: str, chosen: Filter, offset: int, limit: int, more: Sequence[str] = ()
) -> str:
    """Return the SELECT of a page of the rows whose numbers are the list `$1`, in the order of a filter."""
    table, order = _table(experiment, schema), _order(experiment, chosen)
    inner = f"SELECT rowid FROM {table} WHERE rowid IN (SELECT unnest($1::BIGINT[])){order}"
    page = f"LIMIT {int(limit)} OFFSET {int(offset)}"
    return f"SELECT {_parts(experiment, more)} FROM {table} WHERE rowid IN ({inner} {page}){order}"


def all_sql(experiment: Experiment, schema: str, texts: Sequence[str], more: Sequence[str]) -> str:
    """Return the SELECT of all rows: axes, sample, the columns of `rows_sql` with whole answers, texts, and more."""
    parts = [*(name(a.name) for a in experiment.axes), "sample"]
    for column in columns_of(experiment):
        of = name(column.name)
        parts.append(f"left({of}::VARCHAR, {CUT})" if column.kind == "label" else of)
        parts += [name(column.reason)] if column.reason else []
    parts += [*(f"{name(c)}::VARCHAR" for c in texts), *map(name, more)]
    return f"SELECT {', '.join(parts)} FROM {placed(experiment, schema)} ORDER BY {PLACE}"


def order_sql(experiment: Experiment, schema: str, column: str) -> str:
    """Return the SELECT of the values of a column, in order."""
    of = name(column)
    return f"SELECT DISTINCT {of} FROM {_table(experiment, schema)} ORDER BY {of} NULLS LAST"


def count_sql(experiment: Experiment, schema: str, chosen: Filter) -> str:
    """Return the SELECT of the number of rows."""
    return f"SELECT count(*) FROM {_table(experiment, schema)}{_where(experiment, chosen)}"


def grid_sql(experiment: Experiment, schema: str, chosen: Filter, axes: Sequence[str], of: str, label: str = "") -> str:
    """Return the SELECT of a heat map: for each pair of levels a mean or a share, its number of values, and of rows.

    Args:
        experiment: The experiment.
        schema: The schema of its study.
        chosen: Which rows count.
        axes: The axes of the map.
        of: The column whose mean is shown, or with a `label` the share of that label among the values.
        label: A label, `true` or `false`; "" for the mean of a number.
    """
    groups = ", ".join(name(_known(experiment, a, "axis")) for a in axes)
    column = name(_known(experiment, of))
    value = f"({column}::VARCHAR = {literal(label)})::INT" if label else f"TRY_CAST({column} AS DOUBLE)"
    return (
        f"SELECT {groups}, avg({value}), count({value}), count(*) "
        f"FROM {_table(experiment, schema)}{_where(experiment, chosen)} GROUP BY {groups} ORDER BY ALL"
    )


class Against(NamedTuple):
    """A judge against people: the SELECT of person's label, judge's verdict and number of rows.

    `threshold` splits a score: it is the first one of the program, else the middle of the scale. Verdicts are `true`
    below it then.
    """

    annotation: str
    judge: str
    threshold: float | None
    sql: str


def against_sql(experiment: Experiment, schema: str) -> Iterator[Against]:
    """Yield each judge against each annotation of the answer that it judges, over the rows that measures use."""
    for annotation in experiment.annotations:
        for step in experiment.steps:
            form = step.reply_format
            if step.kind == ASK or form is None or annotation.ask not in step.needs:
                continue
            threshold = None
            if form.scale is not None:
                low, high = map(float, form.scale)
                threshold = float(next(iter(experiment.thresholds.get(step.name, ())), (low + high) / 2))
            elif not step.labels:
                continue
            person, judge = name(annotation.name), name(step.name)
            verdict = f"({judge} < {threshold!r})" if threshold is not None else judge
            yield Against(annotation.name, step.name, threshold, (
                f"SELECT {person}, {verdict}::VARCHAR, count(*) FROM {_table(experiment, schema)} "
                f"WHERE {person} IS NOT NULL AND {judge} IS NOT NULL GROUP BY ALL ORDER BY ALL"
            ))  # fmt: skip


def facets_sql(experiment: Experiment, schema: str) -> Iterator[tuple[Column, str]]:
    """Yield for each column with few values the SELECT of its labels and reasons with their numbers."""
    for column in columns_of(experiment):
        if column.reason:
            value = f"left({name(column.name)}::VARCHAR, {CUT})" if column.kind == "label" else "NULL"
            yield (
                column,
                (
                    f"SELECT {value}, {name(column.reason)}, count(*) FROM {_table(experiment, schema)} "
                    "GROUP BY ALL ORDER BY 3 DESC LIMIT 60"
                ),
            )


def failures_sql(experiment: Experiment, schema: str) -> Iterator[tuple[str, str]]:
    """Yield for each step the SELECT of the causes of its failures, with their numbers of requests and of rows."""
    for step in experiment.steps:
        yield (
            step.name,
            (
                f"SELECT {_cause(step.name)}, count(DISTINCT {name(f'{step.name}_key')}), count(*) "
                f"FROM {_table(experiment, schema)} WHERE {name(f'{step.name}_missing')} = 'failed' "
                f"AND {name(f'{step.name}_error')} IS NOT NULL GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {MAX_CAUSES}"
            ),
        )


def cause_condition(step: str, cause: str) -> str:
    """Return the condition of the rows whose step failed for a cause of `failures_sql`."""
    return f"{_cause(step)} = {literal(cause)}"


def _cause(step: str) -> str:
    """Return the error of a step without ids of requests, which differ from one to the next."""
    return f"regexp_replace({name(f'{step}_error')}, {literal(_IDS)}, '...', 'g')"


def row_sql(experiment: Experiment, schema: str, cell: Cell, sample: int, columns: Sequence[str]) -> str:
    """Return the SELECT of some columns of one row."""
    chosen = ", ".join(map(name, columns)) or "1"
    return f"SELECT {chosen} FROM {_table(experiment, schema)} WHERE {_at(experiment, cell, sample)} LIMIT 1"


def keyed_sql(experiment: Experiment, schema: str, condition: str, most: int) -> str:
    """Return the SELECT of the first rows where a condition holds: axes, sample, and the keys of all steps."""
    columns = [*(a.name for a in experiment.axes), "sample", *keys_of(experiment, judges=True)]
    return (
        f"SELECT {', '.join(map(name, columns))} FROM {_table(experiment, schema)} WHERE {condition} LIMIT {int(most)}"
    )


def key_condition(experiment: Experiment, key: str) -> str:
    """Return the condition that a row has a request whose key begins with some hex digits."""
    columns = map(name, keys_of(experiment, judges=True))
    return "(" + " OR ".join(f"starts_with({c}, {literal(key)})" for c in columns) + ")"


def place_sql(experiment: Experiment, schema: str, cell: Cell, sample: int) -> str:
    """Return the SELECT of the place of a row in its table, from 0."""
    return f"SELECT {PLACE} FROM {placed(experiment, schema)} WHERE {_at(experiment, cell, sample)} LIMIT 1"


def _at(experiment: Experiment, cell: Cell, sample: int) -> str:
    parts = [
        f"{name(axis.name)} IS NOT DISTINCT FROM {_sql(axis_values(axis.levels)[i])}"
        for axis, i in zip(experiment.axes, cell, strict=True)
    ]
    return " AND ".join([*parts, f"sample = {int(sample)}"])


def _table(experiment: Experiment, schema: str) -> str:
    return f"{name(schema)}.{name(experiment.name)}"


def _order(experiment: Experiment, chosen: Filter) -> str:
    if not chosen.sort:
        return ""
    column = _known(experiment, chosen.sort.removeprefix("-"))
    ties = ", rowid" if has_rowid(experiment) else ""  # so that pages fit together
    return f" ORDER BY {name(column)}{' DESC' if chosen.sort.startswith('-') else ''} NULLS LAST{ties}"


def has_rowid(experiment: Experiment) -> bool:
    """Whether `rowid` is DuckDB's, and not a name of the study."""
    return "rowid" not in {c.name.lower() for c in columns_of(experiment)}


def level_sql(experiment: Experiment, axis: str, positions: Iterable[int]) -> str:
    """Return the condition that a row has one of some levels of an axis."""
    values = axis_values({a.name: a for a in experiment.axes}[axis].levels)
    parts = [f"{name(axis)} IS NOT DISTINCT FROM {_sql(values[i])}" for i in sorted(positions)]
    return " OR ".join(parts) or "FALSE"


def conditions_sql(experiment: Experiment, chosen: Filter) -> str:
    """Return the conditions of a filter without those on levels; "" for none."""
    return _where(experiment, replace(chosen, levels={})).removeprefix(" WHERE ")


def _known(experiment: Experiment, column: str, kind: str = "") -> str:
    """Return the name of a column of the list; raises UsageError for any other name."""
    names = [c.name for c in columns_of(experiment) if kind in ("", c.kind)]
    if column not in names:
        raise UsageError(f"unknown {kind or 'column'} `{column}`; {near(column, names) or ''}".rstrip("; "))
    return column


def _where(experiment: Experiment, chosen: Filter) -> str:
    parts: list[str] = []
    for axis, positions in chosen.levels.items():
        parts.append(level_sql(experiment, _known(experiment, axis, "axis"), positions))
    reasons = {c.name: c.reason for c in columns_of(experiment) if c.reason}
    for column, value in chosen.equal.items():
        parts.append(f"{name(_known(experiment, column))}::VARCHAR = {literal(value)}")
    for column, reason in chosen.reasons.items():
        held = name(reasons.get(_known(experiment, column), column))
        parts.append(f"{held} IS NOT NULL" if reason == ANY else f"{held} = {literal(reason)}")
    parts += [f"{name(_known(experiment, c))} >= {float(x)!r}" for c, x in chosen.low.items()]
    parts += [f"{name(_known(experiment, c))} <= {float(x)!r}" for c, x in chosen.high.items()]
    parts += [f"{name(_known(experiment, c))} < {float(x)!r}" for c, x in chosen.below.items()]
    if chosen.text:
        parts.append(_holds(experiment, chosen.text, chosen.places))
    if chosen.answers is not None:
        parts.append(has_answers(experiment, chosen.answers))
    if chosen.where.strip():
        parts.append(f"\n{chosen.where}\n")
    return " WHERE " + " AND ".join(f"({p})" for p in parts) if parts else ""


def searched(experiment: Experiment) -> dict[str, list[str]]:
    """Return for each of PLACES the columns whose texts are searched."""
    columns: dict[str, list[str]] = {place: [] for place in PLACES}
    columns["question"] += [a.name for a in experiment.axes]
    columns["question"] += [value_column(a.name) for a in experiment.axes if has_value_column(a.levels)]
    for step in experiment.steps:
        if step.kind == ASK:
            columns["answer"].append(step.name)
            columns["reasoning"].append(f"{step.name}_reasoning")
        else:
            columns["reply"].append(f"{step.name}_reply")
    return columns


def _holds(experiment: Experiment, text: str, places: tuple[str, ...]) -> str:
    """Return the condition that some texts of a row hold a text."""
    parts = [_levels_hold(axis, text) for axis in experiment.axes] if "question" in places else []
    within = [p for p in places if p != "question"]  # levels are few: they are searched once
    columns = [name(c) for place, held in searched(experiment).items() if place in within for c in held]
    # RE2 with a literal pattern: twice as fast as ILIKE
    parts += [f"regexp_matches({c}::VARCHAR, {literal(text)}, 'il')" for c in columns]
    return " OR ".join(filter(None, parts)) or "FALSE"


def _levels_hold(axis: Axis, text: str) -> str:
    """Return the condition that the level of a row holds a text; "" if no level does.

    The text is looked for in the levels, which are few, and not in each row.
    """
    wanted, values = text.lower(), axis_values(axis.levels)
    held = [v for v, level in zip(values, axis.levels, strict=True) if wanted in _level_text(level).lower()]
    texts = ", ".join(sorted({_sql(v) for v in held if v is not None}))
    parts = [f"{name(axis.name)} IN ({texts})"] if texts else []
    return " OR ".join([*parts, *([f"{name(axis.name)} IS NULL"] if None in held else [])])


def _level_text(level: Level) -> str:
    """Return all texts of a level, with a line break between them."""
    values = level.value.columns.values() if isinstance(level.value, Row) else [level.value]
    return "\n".join([level.shown, *(render(v) or "" for v in values)])


def has_answers(experiment: Experiment, answers: Sequence[tuple[str, ...]]) -> str:
    """Return the condition that a row has all answers of any of some sets, by their keys."""
    columns = ", ".join(map(name, keys_of(experiment)))
    single = ", ".join(literal(keys[0]) for keys in answers if len(keys) == 1)
    parts = [f"{name(c)} IN ({single})" for c in keys_of(experiment)] if single else []
    parts += [" AND ".join(f"{literal(k)} IN ({columns})" for k in keys) for keys in answers if len(keys) > 1]
    return " OR ".join(f"({p})" for p in parts) or "FALSE"


def _sql(value: Any) -> str:
    """Return a value of an axis' column in SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return literal(value) if isinstance(value, str) else f"{value!r}"
