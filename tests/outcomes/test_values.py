"""Outcomes, value by value: a small study counted by hand, single formulas, and what is said of odd answers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support import experiment, run

from emdsl import outcome
from emdsl.errors import OutcomesError
from emdsl.files import locked
from emdsl.outcome import Result
from emdsl.outcomes import column_values, database, load_ids, loading, store_table, table
from emdsl.outcomes.bootstrap import _seed
from emdsl.outcomes.column_values import of_kind, text_of
from emdsl.outcomes.comparisons import Compared, Sides
from emdsl.outcomes.computed import _within
from emdsl.outcomes.draws import part_sql
from emdsl.outcomes.intervals import agresti_coull, clopper_pearson, rate_sql, wald, wilson
from emdsl.outcomes.odd import Odd
from emdsl.outcomes.spread import Spread, Way
from emdsl.outcomes.sql import name, struct_names
from emdsl.outcomes.table import _value, fields_of
from emdsl.query import Response, Usage
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import INVALID, LabelledMap, Level, Missing, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emdsl.outcome import Outcome
    from emdsl.outcomes.intervals import Interval
    from emdsl.value import Value

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
  measure shift = contrast(mean(sample), side == 2, side == 1, interval: bootstrap(0.9, cluster: k)) by m
  measure most = at_least(sample < k - 1, 1, interval: bootstrap(0.9, cluster: k)) by m
  measure rising = slope(rate(sample < k), k) by m
  measure flat = contrast(mean(k), side == 2, side == 1)
}
"""
EXPERIMENT = experiment(STUDY)
LOAD = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
FEW = (
    "2 of 2 groups have fewer than 20 clusters (minimum 2): too few to resample, so their intervals use Student's "
    "quantiles"
)
ALIKE = "2 of 2 groups have no interval, as their clusters do not differ"
SAID = [f"measure `shift`: {ALIKE}", f"measure `most`: {FEW}"]


def rows_of(store: MemoryStore) -> list[list[Outcome]]:
    return list(collect(Rows(EXPERIMENT), store, {}))


@pytest.fixture(scope="module")
def answered() -> MemoryStore:
    """Return the answers to all of the study."""
    store = MemoryStore()
    run(STUDY, store)
    return store


@pytest.fixture(scope="module")
def loaded(answered: MemoryStore) -> Iterator[Any]:
    """Return a database that holds the study; what is said of it is checked."""
    with database.in_memory() as connection:
        assert loading._fill(connection, LOAD, [(EXPERIMENT, rows_of(answered))]) == SAID
        connection.execute("SET search_path = 's'")
        yield connection


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT k, count FROM early ORDER BY k", [(1, 12), (2, 12)]),
        (
            "SELECT m, k, first, second, contrast FROM apart ORDER BY m, k",
            [(m, k, k / 2, k / 4, k / 4) for m in ("one", "other") for k in (1, 2)],
        ),
        ("SELECT rate, low < rate, high > rate, round(se, 3) FROM few", [(0.25, True, True, 0.078)]),
        ("SELECT contrast, se, se_pairs FROM shift ORDER BY m", [(0.0, 0.0, 0.0)] * 2),
        ("SELECT at_least, clusters FROM most ORDER BY m", [(0.5, 2)] * 2),
        ("SELECT m, round(slope, 9) FROM rising ORDER BY m", [("one", 0.25), ("other", 0.25)]),
        ("SELECT contrast, low, high, se FROM flat", [(0.0, None, None, 0.0)]),
    ],
    ids=["a range holds its end", "a contrast by two axes", "resampled ends", "errors by clusters and by pairs",
         "cells by clusters", "a slope of each group", "no interval without width"],
)  # fmt: skip
def test_a_study_counted_by_hand(loaded: Any, sql: str, wanted: list[tuple[object, ...]]) -> None:
    """`0..2` holds 2, each group of a contrast has its own totals, and resampled ends enclose the rate."""
    assert database.select(loaded, sql).rows == wanted


def test_what_a_row_adds_to_a_measure(loaded: Any) -> None:
    """Its groups, its value, and why it is dropped, by its place in the table; of a contrast for both sides."""
    (measure,) = (m for m in EXPERIMENT.measures if m.name == "apart")
    rows = database.select(loaded, "SELECT m, k, side, sample FROM s.e").rows
    for place, (m, k, side, sample) in enumerate(rows):
        found = database.select(loaded, part_sql(EXPERIMENT, measure, "s", place))
        assert found.rows == [(place, m, k, sample < k * side, None)]


def test_a_model_is_shown_by_its_use() -> None:
    """As a value, a model is the text that says which one it is, not its name in the program."""
    assert [text_of(level.value) for level in EXPERIMENT.axes[0].levels] == ["sim/subject", "sim/judge"]


def test_columns_of_rows_are_told_apart() -> None:
    """A struct takes `Q` for `q`: the later one has a number that is free."""
    row = Row("d", 0, {"q": "a", "Q": "b", "Q_2": "c", "r": "d"})
    assert struct_names([Level(None, row), Level(None, "no row")]) == {"q": "q", "Q": "Q_2", "Q_2": "Q_2_2", "r": "r"}


def test_an_axis_of_labels_is_an_enum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless two labels are one in UTF-8, or there are very many: then it is plain text."""

    def sql(*labels: str) -> list[str]:
        axis: Any = SimpleNamespace(name="x", levels=tuple(Level(x, i) for i, x in enumerate(labels)))
        return [f"{field.name} {field.sql}" for field in table._axis_fields(axis, 0)]

    assert sql("a", "b's") == ["x ENUM ('a', 'b''s')", "x_value BIGINT"]
    assert sql("b", "a", "b") == ["x ENUM ('b', 'a')", "x_value BIGINT"]  # a dependent axis has a label twice
    assert sql("\ud800", "\ud801") == ["x VARCHAR", "x_value BIGINT"]
    monkeypatch.setattr(column_values, "MAX_ENUM", 1)
    assert sql("a") == ["x ENUM ('a')", "x_value BIGINT"]
    assert sql("a", "b") == ["x VARCHAR", "x_value BIGINT"]


def test_completeness(answered: MemoryStore) -> None:
    """Rows, those that lack an answer, and whether any answer is made up: before a run, and after it."""
    with database.in_memory() as connection:
        found = []
        for store in (MemoryStore(), answered):
            loading._fill(connection, LOAD, [(EXPERIMENT, rows_of(store))])
            found.append(database.completeness(connection, "s", EXPERIMENT)[:2])
        assert database.completeness(connection, "s", EXPERIMENT)[2]
        assert database.n_samples(connection, "s", EXPERIMENT) == 4
    assert found == [(32, 32), (32, 0)]


def test_rows_are_gathered_to_parts(answered: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part goes to DuckDB as soon as it is large enough; the last one holds the rest."""
    monkeypatch.setattr(loading, "PART", 12)
    chunks = [[row] for rows in rows_of(answered) for row in rows]
    parts = loading._parts(fields_of(EXPERIMENT, ""), EXPERIMENT, chunks)
    assert [part.num_rows for part in parts] == [12, 12, 8]


def test_loads_are_known_of_the_file_that_is_there(tmp_path: Path) -> None:
    """Not of another one that has taken its place."""
    (tmp_path / load_ids.DATABASE).write_bytes(b"1")
    load_ids.note_load(tmp_path, "s", "run 1", known={"t": "run 0"})
    assert load_ids.known_loads(tmp_path) == {"t": "run 0", "s": "run 1"}
    assert [load_ids.load_id(tmp_path, study) for study in ("s", "t", "u")] == ["run 1", "run 0", None]
    (tmp_path / load_ids.DATABASE).write_bytes(b"12")
    assert (load_ids.known_loads(tmp_path), load_ids.load_id(tmp_path, "s")) == ({}, None)


def test_what_is_in_memory_is_in_no_file() -> None:
    """A database that ends with its block leaves nothing behind."""
    with database.in_memory() as connection:
        found = connection.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchall()
    assert found == [(None,)]


def test_one_load_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load waits for the one before it, and says so where that takes too long."""
    monkeypatch.setattr(loading, "LOCK_S", 0.0)
    study = loading.Load(study="s", file="s.em", program="00", store_state=(0, 0, 0, 0, 0), run="r")
    with locked(tmp_path / f"{database.FILE}.lock", wait_s=0), pytest.raises(OutcomesError, match="another load of"):
        loading.load(tmp_path, study, [])
    assert loading.load(tmp_path, study, []) == []


def test_a_rehearsal_tells_which_measures_cannot_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them, where it is written; a table that cannot be made is told alone."""
    assert list(loading.faults(EXPERIMENT)) == []
    monkeypatch.setattr(loading, "view_sql", lambda *_, **__: "SELECT nope")
    found = [(measure, said.partition(":")[0]) for measure, said in loading.faults(EXPERIMENT)]
    assert found == [(m.name, f"`{m.name}` cannot be computed") for m in EXPERIMENT.measures]
    monkeypatch.setattr(loading, "_create", lambda d, *_: d.execute("SELECT nope"))
    ((measure, said),) = loading.faults(EXPERIMENT)
    assert (measure, said.partition(":")[0]) == ("", "the table of `e` cannot be created")


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


def probability(measure: str, sides: tuple[float, float], n: int, variance: float) -> float | None:
    """Return the p-value of a contrast of two sides, with n draws each and n units of some variance."""
    (found,) = (m for m in EXPERIMENT.measures if m.name == measure)
    return Compared(
        value=sides[0] - sides[1], measure=found, sides=Sides(sides, (n, n)),
        spread=Spread(alone=Way(n=n, variance=variance, sizes=n)),
    ).p  # fmt: skip


@pytest.mark.parametrize(
    ("sides", "n", "variance", "wanted"),
    [((0.5, 0.0), 5, 0.0, 2 / 2**5), ((0.0, 0.0), 5, 0.0, 1.0), ((0.5, 0.0), 1, math.nan, None)],
    ids=["all five are larger", "no difference", "one unit"],
)
def test_means_whose_units_are_alike_are_tested_by_signs(
    sides: tuple[float, float], n: int, variance: float, wanted: float | None
) -> None:
    """Of five units, all signs are turned alike two times in 32; one unit has no probability."""
    assert probability("shift", sides, n, variance) == wanted


def test_rates_whose_units_are_alike_are_tested_by_their_table() -> None:
    """None of five, and five of five: two of the 252 tables are as unlike."""
    assert probability("apart", (0.0, 1.0), 5, 0.0) == pytest.approx(2 / 252)


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [(True, "bool", True), (1, "bool", INVALID), (0.5, "double", 0.5), (math.inf, "double", INVALID),
     ("x", "double", INVALID), ("x", "text", "x"), (Missing("failed"), "bool", Missing("failed"))],
)  # fmt: skip
def test_a_value_of_another_kind_is_none(value: Value, kind: str, wanted: Value) -> None:
    """A function in Python may give what its column cannot hold; why a value is missing stays."""
    assert of_kind(value, kind) == wanted


def test_a_verdict_costs_all_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies that could not be read were paid for; where one cost is not known, neither is the sum."""
    monkeypatch.setattr(outcome, "cost_usd", lambda _, response: response.usage.cost_usd)
    query: Any = SimpleNamespace(settings=SimpleNamespace(model=None))
    half, quarter, unknown = (
        (query, Response(text="a", finish="stop", usage=Usage(cost_usd=x))) for x in (0.5, 0.25, None)
    )
    assert Result(1.0, *half, bad_replies=(quarter, quarter)).cost_usd == 1.0
    assert Result(1.0, *half, bad_replies=(unknown,)).cost_usd is None
    assert Result(1.0).cost_usd is None


def test_values_of_rows_are_one_struct() -> None:
    """Of the columns that any row has; a value that is not there has no say in a column's type."""
    none: dict[str, Any] = {"n": None, "t": None, "x": None}
    found: list[dict[str, Any]] = [{"n": 1, "t": "a", "x": 0.5}, none, {"n": 3}]
    levels = [Level(str(i), Row("d", i, columns)) for i, columns in enumerate(found)]
    sql, held = table._value_column(levels)
    assert sql == 'STRUCT("n" BIGINT, "t" VARCHAR, "x" DOUBLE)'
    assert held.to_pylist() == [none | columns for columns in found]


def test_a_verdict_of_fields_is_shown_as_json() -> None:
    """With the letters that it has."""
    assert _value(Result(LabelledMap((("why", "\u00e9"), ("bad", True))))) == '{"why": "\u00e9", "bad": true}'


@pytest.mark.parametrize("interval", [wilson, wald, agresti_coull, clopper_pearson])
@pytest.mark.parametrize(("hits", "n"), [(11, 10), (-1, 10), (0, 0)])
def test_what_is_no_rate_has_no_interval(hits: int, n: int, interval: Callable[[int, int], Interval]) -> None:
    """More hits than draws, fewer than none, and hits of nothing are refused."""
    with pytest.raises(ValueError, match=f"{hits} of {n} is not a rate"):
        interval(hits, n)


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
    notice = Odd(step="a", n=1_234, cut=1, empty=2, blocked=3).notice
    assert notice.startswith("1,234 answers of `a`: 1 truncated (finish `length`), 2 empty, 3 blocked; exclude")
    assert Odd(step="a", n=9, blocked=3).notice == "9 answers of `a`: 3 blocked"
    assert Odd(step="a", n=9).notice == ""


@pytest.mark.parametrize(
    ("model", "charged", "price", "cost"),
    [
        ("openai/x", None, (1.0, 2.0), 5e-5),
        ("openai/x", 0.25, (1.0, 2.0), 0.25),
        ("openai/x", None, None, None),
        ("sim/x", 0.25, (1.0, 2.0), 0.0),
    ],
)
def test_an_entry_costs_its_tokens(
    model: str, charged: float | None, price: tuple[float, float] | None, cost: float | None
) -> None:
    """Where a provider does not say what it charged, the price of its tokens says it; what is made up is free."""
    response = Response(text="a", finish="stop", usage=Usage(input_tokens=10, output_tokens=20, cost_usd=charged))
    row = store_table.row(b"k", 1, response, {"model": model}, None, price)
    assert dict(zip(store_table.COLUMNS, row, strict=True))["cost_usd"] == (cost and pytest.approx(cost))


def test_a_name_may_hold_quotes() -> None:
    """A file's name is that of its schema."""
    assert name('a"b') == '"a""b"'


def test_entries_are_chosen_by_a_condition() -> None:
    """Their keys, and how many of each study and model; never by more than one condition."""
    response = Response(text="a", finish="stop")
    rows = [store_table.row(key, 1, response, {"model": f"openai/{key.decode()}"}, "s", None) for key in (b"x", b"y")]
    with store_table.opened(rows) as found:
        assert found.keys("model = 'openai/x'") == [b"x"]
        assert found.counted("text = 'a'") == [("s", "openai/x", 1), ("s", "openai/y", 1)]
        for where in (" ", "true; DROP TABLE entries", "true) --"):
            with pytest.raises(OutcomesError, match="--where takes one SQL condition"):
                found.keys(where)
