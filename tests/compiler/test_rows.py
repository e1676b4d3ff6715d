"""Rows as levels, and places of the data with nothing in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import InProcess, experiment, outcomes, program, run

from emdsl.errors import SourceError
from emdsl.outcomes import database, loading
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import NULL

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """
dataset data {{ file = "{file}" }}
experiment e {{
  for q in data
  ask answer from "sim/subject" with "{text}"
  let n = q.a
  measure m = count(answer.finish == "stop") by q
}}
"""


def levels(text: str, folder: Path, name: str = "d.csv") -> list[str]:
    (folder / name).write_text(text, encoding="utf-8")
    found = experiment(STUDY.format(file=name, text="{q.a} {q.b}"), folder)
    return [x.shown for x in found.axes[0].levels]


def test_the_same_values_in_other_columns_are_other_rows(tmp_path: Path) -> None:
    """`Paris,Dubai` and `Dubai,Paris`; each keeps its name whatever the order of the file."""
    one = levels("a,b\nParis,Dubai\nDubai,Paris\nRome,Oslo\n", tmp_path)
    other = levels("a,b\nRome,Oslo\nDubai,Paris\nParis,Dubai\n", tmp_path)
    assert len(set(one)) == 3
    assert one == [other[2], other[1], other[0]]


def test_equal_rows_are_numbered(tmp_path: Path) -> None:
    """Surveys of small numbers repeat themselves: `x`, `x #2`, `x #3`; the first keeps its name."""
    (alone, _) = levels("a,b\n1,2\n3,4\n", tmp_path)
    assert levels("a,b\n1,2\n1,2\n3,4\n1,2\n", tmp_path)[:2] == [alone, f"{alone} #2"]
    assert levels("a,b\n1,2\n1,2\n3,4\n1,2\n", tmp_path)[3] == f"{alone} #3"


def test_the_same_row_twice_is_one_level_twice(tmp_path: Path) -> None:
    """A list that holds a row two times is a fault, as it was."""
    (tmp_path / "d.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    text = STUDY.format(file="d.csv", text="{q.a}").replace("for q in data", "for q in [data[0], data[0]]")
    with pytest.raises(SourceError, match=r"E405|E508"):
        program(text, tmp_path)


def test_null_is_missing(tmp_path: Path) -> None:
    """`else` stands in for it; a prompt that reads it is not asked, and a measure counts it out by that name."""
    (tmp_path / "d.jsonl").write_text('{"id": "x", "a": null, "b": 1}\n{"id": "y", "a": 2, "b": 3}\n', encoding="utf-8")
    text = """
    dataset data { file = "d.jsonl" }
    experiment e {
      for q in data
      ask answer from "sim/subject" with "{q.a} {q.b}"
      ask other from "sim/subject" with "{k}"
      let k = q.a else "plain"
      let n = q.a
      let m = q.a else 0
      measure big = rate(q.a > 1)
      measure mm = mean(m)
    }
    """
    only, store = experiment(text, tmp_path), MemoryStore()
    provider, _ = run(program(text, tmp_path), store, InProcess())
    rows = outcomes(only, store)
    assert [r.results["answer"].value == NULL for r in rows] == [True, False]
    assert [r.frame["n"] for r in rows] == [NULL, 2]
    assert [r.frame["m"] for r in rows] == [0, 2]
    assert provider.n == 3
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    loading.load(tmp_path, load, [(only, collect(Rows(only), store, {}))])
    with database.opened(tmp_path, "s") as (connection, _):
        (big,) = database.select(connection, "SELECT rate, n, dropped FROM s.big").rows
        table = database.select(connection, "SELECT answer_missing, n_missing FROM s.e ORDER BY q").rows
    assert big == (1.0, 1, {"null": 1})
    assert table == [("null", "null"), (None, None)]


def test_a_level_that_is_missing_is_told(tmp_path: Path) -> None:
    """An axis over a column with nothing in it: where, and how to leave it out."""
    (tmp_path / "d.jsonl").write_text('{"a": null}\n{"a": "x"}\n', encoding="utf-8")
    text = """
    dataset d { file = "d.jsonl" }
    experiment e {
      for q in [r.a for r in d]
      ask a from "sim/subject" with q
    }
    """
    with pytest.raises(SourceError, match="E406"):
        program(text, tmp_path)
    program(text.replace("[r.a for r in d]", "[r.a for r in d if not (r.a is missing)]"), tmp_path)


def test_columns_that_differ_in_case_alone(tmp_path: Path) -> None:
    """`Answer` beside `answer`: both can be loaded, and each is grouped by as itself."""
    (tmp_path / "d.csv").write_text("id,answer,Answer\n1,a,b\n2,a,c\n", encoding="utf-8")
    text = """
    dataset data { file = "d.csv" }
    experiment e {
      for q in data
      ask said from "sim/subject" with "{q.answer} {q.Answer}"
      measure low = count(said.finish == "stop") by q.answer
      measure high = count(said.finish == "stop") by q.Answer
    }
    """
    only, store = experiment(text, tmp_path), MemoryStore()
    run(program(text, tmp_path), store)
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    assert loading.load(tmp_path, load, [(only, collect(Rows(only), store, {}))]) == []
    with database.opened(tmp_path, "s") as (connection, _):
        assert database.select(connection, "SELECT * EXCLUDE (dropped) FROM s.low").rows[0][:2] == ("a", 2)
        assert len(database.select(connection, "FROM s.high").rows) == 2


def test_numbers_past_64_bits_keep_their_digits(tmp_path: Path) -> None:
    """As text where a binary number would round them."""
    text = f'experiment e {{\n for k in [1, {2**64 + 1}]\n ask a from "sim/subject" with "{{k}}"\n}}'
    only, store = experiment(text), MemoryStore()
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    loading.load(tmp_path, load, [(only, collect(Rows(only), store, {}))])
    with database.opened(tmp_path, "s") as (connection, _):
        assert {str(k) for (k,) in database.select(connection, "SELECT k FROM s.e").rows} == {"1", str(2**64 + 1)}
