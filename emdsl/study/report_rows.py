"""The rows of a report: how each is listed, searched and told, and how it counts, packed for its page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from emdsl.experiment import ASK
from emdsl.outcomes import browsing, database
from emdsl.redact import mask
from emdsl.report.packing import Column, Packed
from emdsl.report.prompts import Prompts
from emdsl.study.browsed import people_columns, people_of
from emdsl.study.one_row import told
from emdsl.study.rendering import query_of, settings_of
from emdsl.study.screen import plain_json
from emdsl.study.story import part, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emdsl.experiment import Experiment, Program
    from emdsl.outcome import Outcome
    from emdsl.query import RequestSettings
    from emdsl.study.coordinates import Coordinates


class Rows:
    """All rows of a program: `see` takes them settled, and `finish` adds what the loaded tables know."""

    def __init__(self, program: Program) -> None:
        self._packed = Packed(mask)
        self._prompts = Prompts(self._packed, mask)
        self._stories = {e.name: Column() for e in program.experiments}
        self._n = {e.name: 0 for e in program.experiments}
        self._settings: dict[int, tuple[RequestSettings, int, bool]] = {}  # by identity, kept alive

    def see(self, experiment: Experiment, rows: list[Outcome]) -> None:
        """Take the next rows of an experiment."""
        stories, n = self._stories[experiment.name], self._n[experiment.name]
        for i, row in enumerate(rows, start=n):
            story = told(experiment, row, whole=False)
            answers: dict[str, str] = {}
            for step, shown in zip(experiment.steps, story["steps"], strict=True):
                query = query_of(row, step)
                if query is not None:
                    node = self._prompts.add(step.name, query.prompt.messages, answers)
                    number, secret = self._setting(query.settings)
                    shown["request"] = [number, node, query.tries, query.sample]
                    if secret or self._prompts.is_masked(node):  # else the page computes the key from the request
                        shown["key"] = query.key.hex()
                value = row.results[step.name].value
                if step.kind == ASK and isinstance(value, str):
                    answers[step.name] = value
            stories.add(i, story)
        self._n[experiment.name] += len(rows)

    def _setting(self, settings: RequestSettings) -> tuple[int, bool]:
        """Return the number of the settings of a request, and whether they contain a secret."""
        known = self._settings.get(id(settings))
        if known is None:
            head = settings.key_head.decode("latin-1")
            known = self._settings[id(settings)] = (settings, len(self._settings), mask(head) != head)
        return known[1:]

    def finish(
        self, connection: Any, schema: str, experiments: Sequence[tuple[Experiment, Coordinates]]
    ) -> tuple[str, list[str]]:
        """Return the tables and the texts, encoded."""
        tables: dict[str, Any] = {}
        for experiment, at in experiments:
            n = self._n[experiment.name]
            columns = {
                "listed": _listed(connection, schema, experiment, at),
                "counted": _counted(connection, schema, experiment, n),
                "story": self._stories[experiment.name],
            }
            tables[experiment.name] = {
                "n": n, "orders": _orders(connection, schema, experiment, at),
                **{called: self._packed.column(column, n) for called, column in columns.items()},
            }  # fmt: skip
        settings = [
            plain_json(settings_of(s)) | {"head": "" if secret else s.key_head.hex(), "replicate": s.replicate}
            for s, _, secret in self._settings.values()
        ]
        return self._packed.finish({"experiments": tables, "prompts": self._prompts.finish(), "settings": settings})


def _listed(connection: Any, schema: str, experiment: Experiment, at: Coordinates) -> Column:
    """Return each row as the list has it: the parts of its name, its cells, the texts that are searched, people."""
    places = browsing.searched(experiment)
    shown = browsing.columns_of(experiment)
    people = people_columns(experiment)
    texts = [c for columns in places.values() for c in columns]
    rows = database.select(connection, browsing.all_sql(experiment, schema, texts, people)).rows
    n = len(rows)
    width = len(experiment.axes) + 1 + sum(2 if c.reason else 1 for c in shown) + len(texts) + len(people)
    values = iter(zip(*rows, strict=True) if rows else [()] * width)
    axes = [next(values) for _ in experiment.axes]
    place = [Column.of(_each(v, partial(at.level_id, i))) for i, v in enumerate(axes)] + [Column.of(next(values))]
    cells = []
    for i, column in enumerate(shown):
        held = next(values)
        cell = Column.of(_each(held, partial(at.text, i)) if column.kind == "axis" else held)
        cells.append(cell.or_missing(next(values)) if column.reason else cell)
    searched = {where: [Column.of(next(values)) for _ in columns] for where, columns in places.items()}
    judged = dict(zip(people, map(Column.of, values), strict=True))
    verdicts = people_of(experiment, judged)
    return Column.object_of({
        "place": Column.list_of(place, n), "cells": Column.list_of(cells, n),
        "texts": Column.object_of({where: Column.list_of(columns, n) for where, columns in searched.items()}, n),
        "people": Column.list_of([Column.object_of(_columns(v, n), n) for v in verdicts], n),
    }, n)  # fmt: skip


def _columns(values: Mapping[str, Any], n: int) -> dict[str, Column]:
    """Return columns as they are, and the column of a value that all records have."""
    return {called: v if isinstance(v, Column) else Column.of([v] * n) for called, v in values.items()}


def _each(values: Sequence[Any], shown: Callable[[Any], Any]) -> list[Any]:
    """Return what is shown of values, each computed once."""
    known = {value: shown(value) for value in dict.fromkeys(values)}
    return [known[value] for value in values]


def _counted(connection: Any, schema: str, experiment: Experiment, n: int) -> Column:
    """Return how each row counts in each measure."""
    measures = []
    for measure, columns, rows in parts_of(connection, experiment, schema):
        if rows and len(rows) == n:
            *group, value, dropped = (Column.of(v) for v in list(zip(*rows, strict=True))[1:])
            groups = Column.object_of(dict(zip(columns, group, strict=True)), n)
            parts = {"group": groups, "value": value, "dropped": dropped}
            measures.append(Column.object_of({"measure": Column.of([measure] * n), **parts}, n))
        else:  # some rows are on no side of a contrast
            by_place = {row[0]: row for row in rows}
            measures.append(Column.of([{"measure": measure, **part(columns, by_place.get(i))} for i in range(n)]))
    return Column.list_of(measures, n)


def _orders(connection: Any, schema: str, experiment: Experiment, at: Coordinates) -> dict[str, list[Any]]:
    """Return the values of axes and labels in the order in which DuckDB sorts them; of axes the names of levels."""
    orders = {}
    for i, column in enumerate(browsing.columns_of(experiment)):
        if column.kind in ("axis", "label"):
            values = [
                v for (v,) in database.select(connection, browsing.order_sql(experiment, schema, column.name)).rows
            ]
            axis = column.kind == "axis"
            orders[column.name] = [at.level_id(i, v) if axis else _shown(v) for v in values]
    return orders


def _shown(value: Any) -> str | None:
    """Return a label as DuckDB writes it as a text."""
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
