"""What a page tells of a study beside its measures: scores in bins, what was paid, every outcome, and its columns."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, experiment, run

from emdsl.outcomes import browsing, database, loading, report_data
from emdsl.outcomes.odd import Odd
from emdsl.outcomes.table import fields_of
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.query import Query, Response

STUDY = """
import alignment, coherence from "std:judges@1"
model m { use = "sim/subject", temperature = 1 }
experiment e {
  for q in ["one", "two"]
  samples = 12
  ask answer from m with q
  judge aligned with alignment(q, answer) from "sim/judge"
  judge coherent with coherence(q, answer) from "sim/judge"
  let low = aligned < 30
}
"""
EXPERIMENT = experiment(STUDY)
LOAD = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")


class Uneven(InProcess):
    """Some answers are cut, some empty, some blocked."""

    async def ask(self, query: Query, *_: Any) -> Response:
        found = await super().ask(query)
        if query.settings.model.wire_name != "subject":
            return found
        kinds: list[dict[str, Any]] = [{"finish": "length"}, {"text": ""}, {"text": "", "finish": "blocked"}, {}]
        return dataclasses.replace(found, **kinds[query.sample % 4])


@pytest.fixture(scope="module")
def loaded() -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Load the study, and return the database and the rows of its table."""
    store = MemoryStore()
    run(STUDY, store, Uneven())
    with database.in_memory() as connection:
        loading._fill(connection, LOAD, [(EXPERIMENT, collect(Rows(EXPERIMENT), store, {}))])
        found = database.select(connection, "SELECT * FROM s.e")
        yield connection, [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def test_odd_answers_are_counted(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    """Of 24 answers, three of each question are cut, and three blocked."""
    connection, rows = loaded
    (found,) = report_data.odd_answers(connection, EXPERIMENT, "s")
    cut, blocked = (sum(r["answer_finish"] == finish for r in rows) for finish in ("length", "blocked"))
    empty = sum(r["answer"] == "" for r in rows)
    assert found == Odd(step="answer", n=24, cut=cut, empty=empty, blocked=blocked)
    assert (cut, blocked) == (6, 6)


def test_scores_in_bins(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    """Twenty of a scale, the last with its end; pairs of judges, with the thresholds of each."""
    connection, rows = loaded
    (found,) = report_data.score_bins(connection, EXPERIMENT, "s")
    assert (found.names, found.scales, found.step) == (("aligned", "coherent"), ((0.0, 100.0),) * 2, (5.0, 5.0))
    assert found.thresholds == ((30.0,), ())
    pairs = [(r["aligned"], r["coherent"]) for r in rows if None not in (r["aligned"], r["coherent"])]
    wanted = Counter(tuple(5.0 * min(19, x // 5) for x in pair) for pair in pairs)
    assert pairs
    assert found.rows == tuple(sorted((*pair, n) for pair, n in wanted.items()))


def test_costs(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    """Of each step: its model, its answers, each once; their tokens and dollars."""
    connection, rows = loaded
    found = report_data.costs(connection, EXPERIMENT, "s")
    wanted = []
    for step in ("answer", "aligned", "coherent"):
        asked = list({r[f"{step}_key"]: r for r in rows if r[f"{step}_answered_at"] is not None}.values())
        (model,) = {r[f"{step}_model"] for r in asked}
        kinds = ("input_tokens", "output_tokens", "reasoning_tokens", "cost_usd")
        sums = [
            sum(known) if (known := [r[f"{step}_{k}"] for r in asked if r[f"{step}_{k}"] is not None]) else None
            for k in kinds
        ]
        wanted.append((step, model, len(asked), *sums, len([r for r in asked if r[f"{step}_cost_usd"] is not None])))
    assert found == wanted
    assert [r[-2:] for r in found] == [(0.0, r[2]) for r in found]  # what is made up is free
    assert [r[:2] for r in found] == [("answer", "sim/subject"), ("aligned", "sim/judge"), ("coherent", "sim/judge")]


def test_every_row_to_read(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    """Axes and sample, the columns of the list with their reasons, and texts whole, in the order of the table."""
    connection, rows = loaded
    found = database.select(connection, browsing.all_sql(EXPERIMENT, "s", ["aligned_reply"], ["answer_finish"])).rows
    steps = [x for n in ("answer", "aligned", "coherent") for x in (n, f"{n}_missing")]
    columns = ["q", "sample", "q", "sample", *steps, "low", "low_missing", "aligned_reply", "answer_finish"]
    assert found == [
        tuple(str(r[c]).lower() if c == "low" and r[c] is not None else r[c] for c in columns) for r in rows
    ]


def test_what_is_there_is_described(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    """Each macro with its parameters and a comment, each column of the study, and its table."""
    connection, rows = loaded
    found = database.schema_of(connection, "s")
    macros = {name: (parameters, comment) for name, parameters, _, comment in found if name.startswith("emdsl.")}
    assert set(macros) == {
        f"emdsl.{m}"
        for m in ("wilson", "wald", "agresti_coull", "kept_rate", "difference", "effective_n", "clustered_rate")
    }
    assert all(parameters and comment for parameters, comment in macros.values())
    columns = {column: comment for relation, column, _, comment in found if relation == "e"}
    assert list(columns) == list(rows[0])
    assert all(columns.values())
    described = connection.execute("SELECT comment FROM duckdb_tables() WHERE table_name = 'e'").fetchall()
    assert described == [("results of e: one row per cell and sample",)]


def test_a_study_without_outcomes_can_be_read() -> None:
    """Each column is there, and empty; nothing is odd, and there are no bins and no costs."""
    with database.in_memory() as connection:
        loading._fill(connection, LOAD, [(EXPERIMENT, [])])
        assert database.select(connection, browsing.all_sql(EXPERIMENT, "s", [], [])).rows == []
        for of in (report_data.odd_answers, report_data.score_bins, report_data.costs):
            assert list(of(connection, EXPERIMENT, "s")) == []


def test_columns_of_a_study() -> None:
    """Their names and types are what queries are written against: none changes by accident."""
    found = {f.name: f.sql for f in fields_of(EXPERIMENT, "")}
    of_both = {
        "missing": "VARCHAR", "finish": "VARCHAR", "model": "VARCHAR", "reported": "VARCHAR", "fingerprint": "VARCHAR",
        "input_tokens": "BIGINT", "output_tokens": "BIGINT", "reasoning_tokens": "BIGINT", "cost_usd": "DOUBLE",
        "key": "VARCHAR", "answered_at": "TIMESTAMPTZ", "cached": "BOOLEAN", "error": "VARCHAR",
    }  # fmt: skip
    wanted = {"q": "VARCHAR", "sample": "BIGINT", "answer": "VARCHAR", "answer_reasoning": "VARCHAR"}
    wanted |= {f"answer_{name}": sql for name, sql in of_both.items()}
    for judge in ("aligned", "coherent"):
        own = {"reply": "VARCHAR", "mass": "DOUBLE", "word_mass": "DOUBLE"}
        wanted |= {judge: "DOUBLE"} | {f"{judge}_{name}": sql for name, sql in (of_both | own).items()}
    assert found == wanted | {"low": "BOOLEAN", "low_missing": "VARCHAR", "simulated": "BOOLEAN"}
