"""Outcomes, value by value: a small study counted by hand, single formulas, and what is said of odd answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from support import experiment, run

from emdsl.errors import OutcomesError
from emdsl.outcomes import database, entries
from emdsl.outcomes.computed import _within
from emdsl.outcomes.intervals import agresti_coull, rate_sql, wilson
from emdsl.outcomes.odd import Odd
from emdsl.outcomes.resample import _seed
from emdsl.outcomes.table import _text, fields_of
from emdsl.query import Response, Usage
from emdsl.run.walk import Walk, collect
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from emdsl.outcome import Outcome

STUDY = """
model one { use = "sim/subject" }
model other { use = "sim/judge" }
experiment e {
  for m in [one, other]
  for k in [1, 2]
  for side in [1, 2]
  samples = 4
  ask a from m with "{k} {side}"
  measure early = count(sample in 0..2) by k
  measure apart = contrast(rate(sample < k * side), side == 2, side == 1) by m, k
  measure few = rate(sample < 1, interval: bootstrap(0.9, resamples: 100))
  measure average = mean(sample)
}
"""
EXPERIMENT = experiment(STUDY)
LOAD = database.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")


def rows_of(store: MemoryStore) -> list[list[Outcome]]:
    return list(collect(Walk(EXPERIMENT), store, {}))


@pytest.fixture(scope="module")
def answered() -> MemoryStore:
    """Return the answers to all of the study."""
    store = MemoryStore()
    run(STUDY, store)
    return store


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT k, count FROM early ORDER BY k", [(1, 12), (2, 12)]),
        (
            "SELECT m, k, first, second, contrast FROM apart ORDER BY m, k",
            [(m, k, k / 2, k / 4, k / 4) for m in ("one", "other") for k in (1, 2)],
        ),
        ("SELECT rate, low < rate, high > rate FROM few", [(0.25, True, True)]),
    ],
    ids=["a range holds its end", "a contrast by two axes", "resampled ends"],
)
def test_a_study_counted_by_hand(answered: MemoryStore, sql: str, wanted: list[tuple[object, ...]]) -> None:
    """`0..2` holds 2, each group of a contrast has its own totals, and resampled ends enclose the rate."""
    with database.in_memory() as connection:
        assert database._fill(connection, LOAD, [(EXPERIMENT, rows_of(answered))]) == []
        connection.execute("SET search_path = 's'")
        assert database.select(connection, sql).rows == wanted


def test_a_model_is_shown_by_its_use() -> None:
    """As a value, a model is the text that says which one it is, not its name in the program."""
    assert [_text(level.value) for level in EXPERIMENT.axes[0].levels] == ["sim/subject", "sim/judge"]


def test_completeness(answered: MemoryStore) -> None:
    """Rows, those that lack an answer, and whether any answer is made up: before a run, and after it."""
    with database.in_memory() as connection:
        found = []
        for store in (MemoryStore(), answered):
            database._fill(connection, LOAD, [(EXPERIMENT, rows_of(store))])
            found.append(database.completeness(connection, "s", EXPERIMENT)[:2])
        assert database.completeness(connection, "s", EXPERIMENT)[2]
    assert found == [(32, 32), (32, 0)]


def test_rows_are_gathered_to_parts(answered: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part goes to DuckDB as soon as it is large enough; the last one holds the rest."""
    monkeypatch.setattr(database, "PART", 12)
    chunks = [[row] for rows in rows_of(answered) for row in rows]
    parts = database._parts(fields_of(EXPERIMENT, ""), EXPERIMENT, chunks)
    assert [part.num_rows for part in parts] == [12, 12, 8]


def test_a_query_that_fails_is_an_error_of_outcomes() -> None:
    """What DuckDB does not understand is told in its own words, from `arrow` too."""
    with database.in_memory() as connection, pytest.raises(OutcomesError, match="nope"):
        database.arrow(connection, "SELECT nope")


@pytest.mark.parametrize(
    ("measure", "wanted"),
    [("few", (0.0, 1.0)), ("apart", (-1.0, 1.0)), ("average", (-1.2, 1.2))],
    ids=["rate", "contrast of rates", "mean"],
)
def test_intervals_end_where_the_measure_does(measure: str, wanted: tuple[float, float]) -> None:
    """A rate lies within 0 and 1, a contrast of rates within -1 and 1, a mean anywhere."""
    (found,) = (m for m in EXPERIMENT.measures if m.name == measure)
    assert _within(found, -1.2, 1.2) == wanted


@pytest.mark.parametrize(("hits", "n"), [(11, 10), (-1, 10), (0, 0)])
def test_what_is_no_rate_has_no_interval(hits: int, n: int) -> None:
    """More hits than draws, fewer than none, and hits of nothing are refused."""
    with pytest.raises(ValueError, match=f"{hits} of {n} is no rate"):
        wilson(hits, n)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (1, 1), (20, 1000)])
def test_agresti_coull_in_sql_is_that_in_python(hits: int, n: int) -> None:
    """One formula, in two languages."""
    low, high = rate_sql("agresti_coull", 0.95, str(hits), str(n))
    found = duckdb.execute(f"SELECT {low}, {high}").fetchone()
    assert found == pytest.approx(tuple(agresti_coull(hits, n)), abs=1e-12)


def test_the_seed_of_a_bootstrap_is_pinned() -> None:
    """The same seed resamples alike in every version: published intervals stay as they are."""
    assert _seed("7") == 292164166325067882536555954567150306874


def test_odd_answers_are_listed() -> None:
    """Of each kind how many, separated by commas."""
    said = Odd(step="a", n=9, cut=1, empty=2).said
    assert said.startswith("of 9 answers of `a`: 1 cut (finish `length`), 2 empty;")


def test_an_entry_costs_its_tokens() -> None:
    """Where a provider does not say what it charged, the price of both kinds of tokens says it."""
    response = Response(text="a", finish="stop", usage=Usage(input_tokens=10, output_tokens=20))
    row = entries.row(b"k", 1, response, {"model": "openai/x"}, None, (1.0, 2.0))
    assert dict(zip(entries.COLUMNS, row, strict=True))["cost_usd"] == pytest.approx(5e-5)
