"""Settled rows to typed columns: the table of an experiment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from emdsl.experiment import ASK
from emdsl.logprobs import LabelWeights
from emdsl.outcomes.column_values import (
    cell_value,
    clean,
    column_values,
    enum_names,
    json_value,
    kind_of,
    of_kind,
    text_of,
)
from emdsl.outcomes.people import Judged, judged
from emdsl.outcomes.sql import has_value_column, name, simulated_column, struct_names, value_column
from emdsl.reply_format import column_of, share
from emdsl.value import LabelledMap, Missing, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO

    from emdsl.annotation import Annotation
    from emdsl.experiment import Axis, Column, Experiment, Step
    from emdsl.outcome import Outcome, Result
    from emdsl.query import Response
    from emdsl.value import Level, Value

_TYPES = {
    "double": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "time": pa.timestamp("us", tz="UTC"),
}
_SQL = {"double": "DOUBLE", "text": "VARCHAR", "bool": "BOOLEAN", "int": "BIGINT", "time": "TIMESTAMPTZ"}


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its SQL type, its comment, and the function that turns a batch of rows into an array."""

    name: str
    sql: str
    comment: str
    array: Callable[[Batch], Any]


class Batch:
    """Some rows, with the results and responses of each step, extracted once for all columns."""

    __slots__ = ("judged", "responses", "results", "rows")

    def __init__(self, rows: list[Outcome], experiment: Experiment) -> None:
        self.rows = rows
        self.results = {s.name: [r.results[s.name] for r in rows] for s in experiment.steps}
        self.responses = {n: [x.response for x in results] for n, results in self.results.items()}
        self.judged: dict[str, list[Judged]] = {}  # by annotation


def fields_of(experiment: Experiment, run: str) -> list[Field]:
    """Return the columns of an experiment's table; answers of `run` are not cached."""
    fields: list[Field] = []
    for position, axis in enumerate(experiment.axes):
        fields += _axis_fields(axis, position)
    fields.append(_plain("sample", "int", "sample number, from 0", lambda r: r.sample))
    for step in experiment.steps:
        fields += _step_fields(step, run)
    for column in experiment.columns:
        fields += _let_fields(column)
    for annotation in experiment.annotations:
        fields += annotation_fields(annotation)
    fields.append(
        _plain(simulated_column(experiment), "bool", "whether any answer of this row is simulated", _simulated)
    )
    return fields


def twin(fields: Sequence[Field]) -> str:
    """Return a message about two columns whose names differ in upper and lower case only, or ""."""
    seen: dict[str, str] = {}
    for field in fields:
        if (first := seen.setdefault(field.name.lower(), field.comment)) is not field.comment:
            return f"two columns of the results would have the name `{field.name}`: {first} and {field.comment}"
    return ""


def batch(fields: list[Field], experiment: Experiment, rows: list[Outcome]) -> Any:
    """Return rows as an Arrow table."""
    columns = Batch(rows, experiment)
    return pa.table([f.array(columns) for f in fields], names=[f.name for f in fields])


def joined(fields: list[Field], experiment: Experiment, rows: list[Outcome], more: Mapping[str, list[Any]]) -> Any:
    """Return some columns of rows as an Arrow table, beside columns of plain values; None for no rows."""
    if not rows:
        return None
    table = batch(fields, experiment, rows)
    for called, values in more.items():
        table = table.append_column(called, pa.array(values))
    return table


def concatenated(batches: list[Any]) -> Any:
    """Concatenate Arrow tables without copying them."""
    return pa.concat_tables(batches)


def table_writer(file: IO[bytes], like: Any) -> Any:
    """Return a writer of Arrow tables to a file, of the columns of one of them."""
    return pa.ipc.new_stream(file, like.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))


def tables_in(file: IO[bytes]) -> Iterator[Any]:
    """Yield the tables of a `table_writer`."""
    for part in pa.ipc.open_stream(file):
        yield pa.Table.from_batches([part])


def table_bytes(table: Any) -> bytes:
    """Return an Arrow table as bytes for another process."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table_of_bytes(data: bytes) -> Any:
    """Return the Arrow table of `table_bytes`."""
    return pa.ipc.open_stream(data).read_all()


def of_rows(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Any:
    """Return rows of plain values as an Arrow table; None for no rows."""
    if not rows:
        return None
    columns = [[clean(v) if isinstance(v, str) else v for v in column] for column in zip(*rows, strict=True)]
    return pa.table([pa.array(c) for c in columns], names=list(names))


def _plain(name: str, kind: str, comment: str, get: Callable[[Outcome], Any]) -> Field:
    return _field(name, kind, comment, lambda batch: [get(r) for r in batch.rows])


def _field(name: str, kind: str, comment: str, values_of: Callable[[Batch], list[Any]]) -> Field:
    pa_type = _TYPES[kind]
    text = kind == "text"

    def array(batch: Batch) -> Any:
        values = values_of(batch)
        if not text:
            return pa.array(values, pa_type)
        try:
            return pa.array(values, pa_type)
        except UnicodeEncodeError:  # a lone surrogate: the store keeps it, a database cannot
            return pa.array([clean(v) for v in values], pa_type)

    return Field(name, _SQL[kind], comment, array)


# ---------------------------------------------------------------- axes


def _axis_fields(axis: Axis, position: int) -> list[Field]:
    labelled = has_value_column(axis.levels)
    values = [x.value for x in axis.levels]
    if not labelled:
        kind = kind_of(values)
        held = pa.array([cell_value(v, kind) for v in values], _TYPES[kind])
        return [_taken(axis.name, _SQL[kind], f"axis {axis.name}", held, position)]
    shown = [clean(x.shown) or "" for x in axis.levels]
    sql = "VARCHAR"
    if names := enum_names(axis):
        sql = "ENUM (" + ", ".join("'" + s.replace("'", "''") + "'" for s in names) + ")"
    fields = [_taken(axis.name, sql, f"axis {axis.name}: label of the level", pa.array(shown), position)]
    held_sql, held = _value_column(axis.levels)
    fields.append(_taken(value_column(axis.name), held_sql, f"axis {axis.name}: value of the level", held, position))
    return fields


def axis_values(levels: Sequence[Level]) -> list[Any]:
    """Return what the column of an axis has for each of its levels."""
    if has_value_column(levels := tuple(levels)):
        return [clean(x.shown) or "" for x in levels]
    return list(column_values([x.value for x in levels]))


def _taken(name: str, sql: str, comment: str, held: Any, position: int) -> Field:
    def array(batch: Batch) -> Any:
        return held.take(pa.array([r.cell[position] for r in batch.rows], pa.int32()))

    return Field(name, sql, comment, array)


def _value_column(levels: Sequence[Level]) -> tuple[str, Any]:
    """Return the type and the array of the values of labels: a struct for dataset rows."""
    values = [x.value for x in levels]
    if not all(isinstance(v, Row) for v in values):
        kind = kind_of(values)
        return _SQL[kind], pa.array([cell_value(v, kind) for v in values], _TYPES[kind])
    called = struct_names(levels)
    columns = list(called)
    kinds = {c: kind_of([v.columns[c] for v in values if v.columns.get(c) is not None] or [""]) for c in columns}
    parts = [
        pa.array(
            [cell_value(x, kinds[c]) if (x := v.columns.get(c)) is not None else None for v in values],
            _TYPES[kinds[c]],
        )
        for c in columns
    ]
    inner = ", ".join(f"{name(called[c])} {_SQL[kinds[c]]}" for c in columns)
    return f"STRUCT({inner})", pa.StructArray.from_arrays(parts, names=list(called.values()))


# ---------------------------------------------------------------- steps


def _step_fields(step: Step, run: str) -> list[Field]:
    n = step.name

    def plain(name: str, kind: str, comment: str, get: Callable[[Result], Any]) -> Field:
        return _field(name, kind, comment, lambda batch: [get(x) for x in batch.results[n]])

    def came(name: str, kind: str, comment: str, get: Callable[[Response], Any]) -> Field:
        return _field(
            name, kind, comment, lambda batch: [get(x) if x is not None else None for x in batch.responses[n]]
        )

    judged = step.reply_format if step.kind != ASK else None
    kind = "double" if judged is not None and judged.scale is not None else "text"
    shape = judged.shape if judged is not None else ()
    verdict = "verdict, as JSON" if shape else "score" if kind == "double" else "label"
    comment = {"ask": "answer", "judge": f"the judge's {verdict}"}[step.kind]
    fields = [
        plain(n, kind, comment, _value),
        plain(f"{n}_missing", "text", f"reason why `{n}` is missing", lambda x: _reason(x.value)),
    ]
    for part in shape:
        kind = {"number": "double", "bool": "bool"}.get(part.kind, "text")
        fields.append(plain(f"{n}_{part.name}", kind, f"field `{part.name}` of the verdict", partial(_part, part.name)))
    for read in step.readings:
        comment = f"`{read.name}` that the answer was read as"
        why = f"reason why `{n}.{read.name}` is missing"
        fields += [
            plain(f"{n}_{read.name}", read.kind, comment, partial(_read_value, read.name)),
            plain(f"{n}_{read.name}_missing", "text", why, _read_reason),
        ]
    if step.kind == ASK:
        fields.append(plain(f"{n}_reasoning", "text", "reasoning of the answer", _reasoning))
    else:
        fields.append(came(f"{n}_reply", "text", "the judge's reply", attrgetter("text")))
    if step.weighs:
        mass, words = attrgetter("weights.mass"), attrgetter("weights.word_mass")
        values = "begins a label" if step.reply_format and step.reply_format.choices else "is a number within the scale"
        fields += [
            plain(f"{n}_mass", "double", f"probability that the first token {values}", partial(_weight, mass)),
            plain(
                f"{n}_word_mass",
                "double",
                "probability that the first token begins a declared word",
                partial(_weight, words),
            ),
            *(
                plain(
                    f"{n}_{column_of(share(label))}",
                    "double",
                    f"probability of `{label}` among all labels",
                    partial(_share, label),
                )
                for label in step.labels
            ),
        ]
    if step.again:
        fields.append(
            plain(f"{n}_tries", "int", "number of earlier replies that could not be read", lambda x: len(x.bad_replies))
        )
    return [
        *fields,
        came(f"{n}_finish", "text", "finish reason: stop, length, blocked, tool or other", attrgetter("finish")),
        plain(f"{n}_model", "text", "requested model", _requested),
        came(f"{n}_reported", "text", "model reported by the server", attrgetter("model")),
        came(f"{n}_fingerprint", "text", "fingerprint reported by the server", attrgetter("fingerprint")),
        came(f"{n}_input_tokens", "int", "input tokens, as counted by the provider", attrgetter("usage.input_tokens")),
        came(f"{n}_output_tokens", "int", "output tokens, reasoning included", attrgetter("usage.output_tokens")),
        came(
            f"{n}_reasoning_tokens", "int", "reasoning tokens, part of the output", attrgetter("usage.reasoning_tokens")
        ),
        plain(f"{n}_cost_usd", "double", "cost in US dollars, if known", attrgetter("cost_usd")),
        plain(f"{n}_key", "text", "key of the request", _key),
        came(f"{n}_answered_at", "time", "time of the answer", lambda x: round(x.answered_at * 1e6)),
        came(f"{n}_cached", "bool", "whether the answer was stored before the last run", lambda x: x.run != run),
        plain(f"{n}_error", "text", "error of a failed request", lambda x: clean(x.error) or None),
    ]


def _value(result: Result) -> Any:
    value = result.value
    if isinstance(value, LabelledMap):
        return json.dumps(json_value(value), ensure_ascii=False)
    return None if isinstance(value, Missing) else value


def _part(part: str, result: Result) -> Any:
    return result.value.get(part) if isinstance(result.value, LabelledMap) else None


def _read_value(part: str, result: Result) -> Any:
    if isinstance(result.value, Missing) or isinstance(result.reading, Missing):
        return None
    return result.reading.get(part) if isinstance(result.reading, LabelledMap) else result.reading


def _read_reason(result: Result) -> str | None:
    return _reason(result.value) or _reason(result.reading)


def _weight(get: Callable[[Result], float], result: Result) -> float | None:
    return get(result) if result.weights is not None else None


def _share(label: str, result: Result) -> float | None:
    """Return the probability of a label: None where the verdict, or what an answer is read as, is missing."""
    unread = isinstance(result.value, Missing) or isinstance(result.reading, Missing)
    if unread or not isinstance(result.weights, LabelWeights):
        return None
    return result.weights.share(label)


def _requested(result: Result) -> str | None:
    return result.query.settings.model.use if result.query is not None else None


def _reasoning(result: Result) -> str | None:
    return result.reasoning


def _reason(value: Value) -> str | None:
    return value.reason if isinstance(value, Missing) else None


def _key(result: Result) -> str | None:
    return result.query.key.hex() if result.query is not None else None


def _simulated(row: Outcome) -> bool:
    answers = ((r.query, r.response) for r in row.results.values() if r.response is not None)
    return any(r.simulated or (q is not None and q.settings.model.simulated) for q, r in answers)


# ---------------------------------------------------------------- lets


def _let_fields(column: Column) -> list[Field]:
    def value(r: Outcome) -> Any:
        held = of_kind(r.frame[column.name], column.kind)
        if isinstance(held, Missing):
            return None
        if column.kind == "double":
            return float(held)
        return text_of(held) if column.kind == "text" else held

    def reason(r: Outcome) -> str | None:
        return _reason(of_kind(r.frame[column.name], column.kind))

    comment = f"`{column.written}` of a measure" if column.written else f"let {column.name}"
    return [
        _plain(column.name, column.kind, comment, value),
        _plain(f"{column.name}_missing", "text", f"reason why `{column.name}` is missing", reason),
    ]


# ---------------------------------------------------------------- annotations


def annotation_fields(annotation: Annotation) -> list[Field]:
    """Return the columns of people's verdicts: see `emdsl.outcomes.people`, which removes those that were not drawn."""

    def field(name: str, kind: str, comment: str, get: Callable[[Judged], Any]) -> Field:
        def values(batch: Batch) -> list[Any]:
            if annotation.name not in batch.judged:
                batch.judged[annotation.name] = [judged(annotation, x) for x in batch.results[annotation.ask]]
            return [get(x) for x in batch.judged[annotation.name]]

        return _field(name, kind, comment, values)

    n = annotation.name
    return [
        field(n, "text", "verdict of people on a drawn row, as measures use it", attrgetter("label")),
        field(f"{n}_missing", "text", f"reason why `{n}` is missing", attrgetter("reason")),
        field(f"{n}_verdict", "text", "verdict of people, also on rows that measures leave out", attrgetter("verdict")),
        field(f"{n}_raters", "int", "number of people who judged the row", attrgetter("raters")),
        field(f"{n}_shown", "text", "digest of what people see of the row", attrgetter("shown")),
        field(f"{n}_order", "text", "place of the answer in the draw: the smallest are drawn", attrgetter("order")),
    ]
