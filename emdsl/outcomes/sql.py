"""Expressions of measures to SQL, by the evaluator's rules: an expression that reads a missing value is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.experiment import ASK
from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.reply_format import column_of, share
from emdsl.value import ABSENT, ENGINE_REASONS, UNSETTLED, Row, render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.experiment import Experiment
    from emdsl.value import Level

_FIELDS = {"reasoning": "reasoning", "finish": "finish", "tokens": "output_tokens", "cost": "cost_usd"}


def name(text: str) -> str:
    """Return a quoted identifier."""
    return '"' + text.replace('"', '""') + '"'


def inner(text: str) -> str:
    """Return a quoted identifier that no axis, let, step, label or measure can have, as it contains a blank.

    Every name that a query defines itself is one of these, beside the columns of the study.
    """
    return name(f"draw {text}")


def inner_column(quoted: str) -> str:
    """Return the name of such a column in a result, without its quotes."""
    return quoted[1:-1]


def is_inner(column: str) -> bool:
    """Whether a column is one of those."""
    return column.startswith("draw ")


def literal(text: str) -> str:
    """Return a quoted text; a lone surrogate, which SQL does not support, is replaced."""
    return "'" + text.encode("utf-8", "replace").decode().replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Columns:
    """The column names of an experiment's table."""

    axes: Mapping[str, str]  # axis to the column of its value
    rows: frozenset[str]  # axes of dataset rows
    steps: frozenset[str]
    reasoned: frozenset[str]  # steps and lets, which have a column with the reason of a missing value
    reasons: Mapping[tuple[str, str], str]  # of steps and fields that are verdicts: the column with that reason
    words: frozenset[str]
    fields: Mapping[str, Mapping[str, str]]  # of axes of rows: column of the dataset to field of the struct
    paths: Mapping[tuple[str, ...], str]  # fields of records, which have a column of their own


def row_field(column: str, field: str, fields: Mapping[str, str]) -> str:
    """Return a column of a dataset row in SQL, never mistaken for a column of a table with the axis' name."""
    return f"struct_extract({name(column)}, {literal(fields.get(field, field))})"


def row_fields(parts: Iterable[ast.Expr], columns: Columns) -> list[str]:
    """Return the columns of dataset rows that expressions read, in SQL: their values may be missing."""
    columns_read: dict[str, None] = {}
    for node in (x for part in parts for x in walk(part)):
        match node:
            case ast.Field(value=ast.Ref(name=of)) if of in columns.rows:
                columns_read[to_sql(node, columns)] = None
            case _:
                pass
    return list(columns_read)


def field_reasons(parts: Iterable[ast.Expr], columns: Columns) -> list[str]:
    """Return the columns with the reasons why fields that expressions read are missing, of verdicts and answers."""
    fields = (x for part in parts for x in walk(part) if isinstance(x, ast.Field))
    return list(dict.fromkeys(c for x in fields if (c := reason_column(x, columns)) is not None))


def struct_names(levels: Iterable[Level]) -> dict[str, str]:
    """Return the field names of dataset columns in a struct, which ignores case."""
    fields: dict[str, str] = {}
    taken: set[str] = set()
    for column in dict.fromkeys(c for x in levels if isinstance(x.value, Row) for c in x.value.columns):
        fresh, n = column, 2
        while fresh.lower() in taken:
            fresh, n = f"{column}_{n}", n + 1
        taken.add(fresh.lower())
        fields[column] = fresh
    return fields


def columns_of(experiment: Experiment) -> Columns:
    """Return the column names of an experiment's table."""
    return Columns(
        axes={a.name: value_column(a.name) if has_value_column(a.levels) else a.name for a in experiment.axes},
        rows=frozenset(a.name for a in experiment.axes if all(isinstance(x.value, Row) for x in a.levels)),
        steps=frozenset(s.name for s in experiment.steps),
        reasoned=frozenset(_reasoned(experiment)),
        reasons=_field_reasons(experiment),
        words=experiment.words,
        fields={a.name: struct_names(a.levels) for a in experiment.axes},
        paths={c.path: c.name for c in experiment.columns if c.path},
    )


def _field_reasons(experiment: Experiment) -> dict[tuple[str, str], str]:
    """Return by step and field the column with the reason why it is missing."""
    reasons = {(s.name, part.name): f"{s.name}_{part.name}_missing" for s in experiment.steps for part in s.readings}
    weighing = [s for s in experiment.steps if s.weighs]
    reasons |= {
        (s.name, share(x)): f"{s.name}_{'label_' if s.kind == ASK else ''}missing" for s in weighing for x in s.labels
    }
    judges = ((s, s.reply_format) for s in experiment.steps if s.kind != ASK)
    return reasons | {(s.name, part.name): f"{s.name}_missing" for s, f in judges if f for part in f.shape}


def reason_column(node: ast.Expr, columns: Columns) -> str | None:
    """Return the column with the reason why a verdict is missing, of its name or its field; None for anything else."""
    match node:
        case ast.Ref(name=of) if of in columns.reasoned:
            return f"{of}_missing"
        case ast.Field(value=ast.Ref(name=of), name=field):
            return columns.reasons.get((of, field.text))
        case _:
            return None


def simulated_column(experiment: Experiment) -> str:
    """Return the name of the column for simulated rows, distinct from all names of the study."""
    names = {n.lower() for n in (*(a.name for a in experiment.axes), *_reasoned(experiment))}
    return "simulated" if "simulated" not in names else "any_simulated"


def _reasoned(experiment: Experiment) -> list[str]:
    """Return the names with a column for the reason of a missing value: steps, `let`s and annotations."""
    steps, lets = [s.name for s in experiment.steps], [c.name for c in experiment.columns]
    return [*steps, *lets, *(a.name for a in experiment.annotations)]


def has_value_column(levels: tuple[object, ...]) -> bool:
    """Whether an axis needs a second column, as its levels have labels beside their values."""
    return any(getattr(level, "label", None) is not None for level in levels)


def value_column(axis: str) -> str:
    """Return the name of the column with the values of an axis' labels."""
    return f"{axis}_value"


def to_sql(node: ast.Expr, columns: Columns) -> str:
    """Return an expression in SQL; the compiler ensures that it is one of these."""
    match node:
        case ast.Ref():
            return name(columns.axes.get(node.name, node.name))
        case ast.Literal():
            if node.value is None:
                return "NULL"
            if isinstance(node.value, bool):
                return "TRUE" if node.value else "FALSE"
            return render(node.value) or "NULL"
        case ast.Text():
            return literal("".join(p for p in node.parts if isinstance(p, str)))
        case ast.Field(value=ast.Ref(name=of), name=field):
            if of in columns.steps:
                return name(f"{of}_{_FIELDS.get(field.text) or column_of(field.text)}")
            return row_field(columns.axes.get(of, of), field.text, columns.fields.get(of, {}))
        case ast.Logic():
            parts = [to_sql(x, columns) for x in node.items]
            missing = " OR ".join(f"({p}) IS NULL" for p in parts)
            joined = f" {node.op.upper()} ".join(f"({p})" for p in parts)
            return f"CASE WHEN {missing} THEN NULL ELSE {joined} END"
        case ast.Not():
            return f"NOT ({to_sql(node.value, columns)})"
        case ast.Compare():
            op = {"==": "=", "!=": "<>"}.get(node.op, node.op)
            return f"({to_sql(node.left, columns)}) {op} ({to_sql(node.right, columns)})"
        case ast.Is():
            return _is(node, columns)
        case ast.Member():
            return _member(node, columns)
        case ast.If():
            condition, yes, no = (to_sql(x, columns) for x in (node.condition, node.yes, node.no))
            return f"CASE WHEN ({condition}) IS NULL THEN NULL WHEN {condition} THEN {yes} ELSE {no} END"
        case ast.Otherwise():
            return f"COALESCE({to_sql(node.value, columns)}, {_unless_open(node, columns)})"
        case ast.Negative():
            return f"-({to_sql(node.value, columns)})"
        case ast.Arithmetic():
            text = f"({to_sql(node.first, columns)})"
            for op, item in node.rest:
                other = f"({to_sql(item, columns)})"
                text = f"({text} {op} {f'NULLIF({other}, 0)' if op == '/' else other})"
            return text
        case _:
            raise TypeError(f"{type(node).__name__} is not an expression of a measure")


def _unless_open(node: ast.Otherwise, columns: Columns) -> str:
    """Return the value after `else`, missing if the value before it may still be answered."""
    other = to_sql(node.other, columns)
    names = dict.fromkeys(x.name for x in walk(node.value) if isinstance(x, ast.Ref) and x.name not in columns.axes)
    reasons = [name(f"{n}_missing") for n in names if n in columns.reasoned]
    if not reasons:
        return other
    return f"CASE WHEN COALESCE({', '.join(reasons)}, '') IN ({_listed(UNSETTLED)}) THEN NULL ELSE {other} END"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(literal(w) for w in sorted(words))


def _member(node: ast.Member, columns: Columns) -> str:
    """Return a test whether a value is in a list; as in a `let`, a list with a missing item is missing."""
    member = f"({to_sql(node.value, columns)}) IN ({_items(node.values, columns)})"
    member = f"NOT ({member})" if node.negated else member
    items = node.values.items if isinstance(node.values, ast.Sequence) else ()
    known = [f"({to_sql(x, columns)}) IS NOT NULL" for x in items if not isinstance(x, ast.Literal | ast.Text)]
    return f"CASE WHEN {' AND '.join(known)} THEN {member} END" if known else member


def _items(node: ast.Expr, columns: Columns) -> str:
    if isinstance(node, ast.Sequence):
        return ", ".join(to_sql(x, columns) for x in node.items)
    if isinstance(node, ast.Range) and isinstance(node.low, ast.Literal) and isinstance(node.high, ast.Literal):
        return f"SELECT unnest(range({to_sql(node.low, columns)}, {to_sql(node.high, columns)} + 1))"
    raise TypeError(f"{type(node).__name__} is not a list of a measure")


def _is(node: ast.Is, columns: Columns) -> str:
    label = node.label.text
    negate = "NOT " if node.negated else ""
    if isinstance(node.value, ast.Ref) and node.value.name in columns.axes:
        return f"{negate}({name(node.value.name)}::VARCHAR = {literal(label)})"
    value = to_sql(node.value, columns)
    if label == "missing":
        return f"{negate}(({value}) IS NULL)"
    same = f"({value})::VARCHAR = {literal(label)}"
    column = reason_column(node.value, columns)
    if column is not None and (label in columns.words or label in ENGINE_REASONS):
        reason = name(column)
        absent = _listed(ABSENT - {label})
        return (
            f"CASE WHEN {reason} IS NULL THEN {negate}({same}) WHEN {reason} IN ({absent}) THEN NULL "
            f"ELSE {negate}({reason} = {literal(label)}) END"
        )
    return f"{negate}({same})"
