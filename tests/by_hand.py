"""Shipped studies whose answers a test writes by hand, stored under the keys of their requests and loaded in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
from support import ROOT

from emdsl.compiler.compile import compile_source
from emdsl.outcomes import database, loading
from emdsl.query import Response
from emdsl.run.passes import settle_from_store
from emdsl.run.rows import Rows, Selection
from emdsl.source import Source
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.experiment import Experiment
    from emdsl.outcome import Outcome

    Written = Callable[[str, Mapping[str, str]], str]

LOAD = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
Row = dict[str, Any]


@dataclass(frozen=True)
class Filled:
    """A study over hand-written answers: the rows of each measure, the notices of the load, and the answers."""

    measures: dict[str, list[Row]]
    notices: list[str]
    store: MemoryStore


def study(name: str, *edits: tuple[str, str]) -> Experiment:
    """Compile the only experiment of a file of `experiments/`, with some texts replaced."""
    file = ROOT / "experiments" / name
    text = file.read_text(encoding="utf-8")
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (only,) = compile_source(Source(file.name, text, file), {}).experiments
    return only


def pending(only: Experiment, store: MemoryStore) -> tuple[list[Outcome], list[tuple[Outcome, str]]]:
    """Return the rows of the first samples, settled from a store, and each row with its steps that lack an answer."""
    walk = Rows(only, Selection(samples=1))
    rows = list(walk.selected())
    settle_from_store(walk, rows, store)
    return rows, [(row, step) for row in rows for step in row.ready]


def filled(only: Experiment, written: Written) -> Filled:
    """Store an answer for each request of the first samples, and load the rows.

    Args:
        only: The experiment.
        written: Returns the answer of a step in a cell, by the name of the step and the labels of the levels. Two
            cells that share a request must get the same one.
    """
    store = MemoryStore()
    rows, missing = pending(only, store)
    while missing:
        for row, step in missing:
            labels = {a.name: a.levels[i].shown for a, i in zip(only.axes, row.cell, strict=True)}
            answer = Response(text=written(step, labels), finish="stop")
            assert store.answers.setdefault(row.ready[step].key, answer).text == answer.text, (step, labels)
        rows, missing = pending(only, store)
    with duckdb.connect(":memory:") as connection:
        notices = loading._fill(connection, LOAD, [(only, [rows])])
        measures = {}
        for measure in only.measures:
            result = database.measure_rows(connection, "s", measure.name)
            assert result is not None
            measures[measure.name] = [dict(zip(result.columns, r, strict=True)) for r in result.rows]
    return Filled(measures, notices, store)
