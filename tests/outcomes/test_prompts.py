"""Rendered prompts and drawn rows in SQL, beside the results: those that were sent, each text once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
from support import outcomes, program, run
from told import LOAD, RUBRICS, Told

from emdsl.outcomes import loading
from emdsl.outcomes.prompts import add_prompts, schema_of_prompts
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import Row

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.experiment import Experiment
    from emdsl.outcome import Outcome

STUDY = """
dataset facts { file = "facts.jsonl", columns = { id: "id", text: "text", sure: "sure" } }
let fixed = [r for r in facts if r.position < 2]
experiment e {
  for k in { none: 0, two: 2, three: 3 }
  for place in ["first", "second"]
  samples = 2
  let shots = draw(facts, k, seed: [place, sample])
  let constant = fixed
  let texts = join([s.text for s in shots], " / ")
  ask answer from "sim/subject" with "{place} {texts}"
  when k is two { judge v with score(answer) }
}
"""


def loaded(folder: Path, study: str = STUDY) -> tuple[duckdb.DuckDBPyConnection, Experiment, list[Outcome]]:
    """Run a study, and return a database with its tables and prompts, the experiment and its rows."""
    rows = [{"id": f"f{i}", "text": f'fact "{i}" é\ud800', "sure": i / 2 if i else None} for i in range(6)]
    (folder / "facts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    found, store = program(RUBRICS + study, folder), MemoryStore()
    run(found, store, Told(lambda *_: 50), folder=folder)
    (only,) = found.experiments
    connection = duckdb.connect(":memory:")
    loading._fill(connection, LOAD, [(only, collect(Rows(only), store, {}))])
    connection.execute("SET search_path = 's'")
    add_prompts(connection, only, collect(Rows(only), store, {}))
    return connection, only, outcomes(only, store)


def told(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query, in an order of their own."""
    return sorted(connection.execute(sql).fetchall(), key=repr)


def test_the_prompts_and_the_draws_are_those_of_the_rows(tmp_path: Path) -> None:
    """Every known request is there with its messages, every drawn row with its columns, and nothing twice."""
    connection, only, rows = loaded(tmp_path)
    place = [{a.name: a.levels[i] for a, i in zip(only.axes, row.cell, strict=True)} for row in rows]
    at = [(p["k"].label, p["k"].value, p["place"].value, row.sample) for p, row in zip(place, rows, strict=True)]
    asked = [
        (*a, name, r.query.key.hex(), r.query.prompt.messages[0].text.replace("\ud800", "?"),
         [{"role": "user", "content": r.query.prompt.messages[0].text.replace("\ud800", "?")}])
        for a, row in zip(at, rows, strict=True) for name, r in row.results.items() if r.query is not None
    ]  # fmt: skip
    assert len(asked) == 12 + 4
    assert told(connection, "FROM e_prompts") == sorted(asked, key=repr)
    assert told(connection, "SELECT count(*) FROM e JOIN e_prompts AS p ON p.key = v_key AND p.step = 'v'") == [(4,)]
    drawn = []
    for a, row in zip(at, rows, strict=True):
        shots = row.frame["shots"]
        assert isinstance(shots, tuple)
        for i, shot in enumerate(shots, 1):
            assert isinstance(shot, Row)
            columns: dict[str, str | None] = {"id": f"f{shot.position}", "text": f'fact "{shot.position}" é?'}
            columns["sure"] = f"{shot.position / 2:g}" if shot.position else None
            drawn.append((*a, "shots", i, "facts", shot.position, columns))
    assert len(drawn) == 4 * (2 + 3)
    assert told(connection, "FROM e_draws") == sorted(drawn, key=repr)
    assert told(connection, 'SELECT count(*) FROM temp."e rows"') == [(6,)]
    n_prompts = len({text for *_, text, _ in asked})
    assert told(connection, 'SELECT count(*) FROM temp."e prompts"') == [(n_prompts,)]


def test_the_columns_are_described(tmp_path: Path) -> None:
    """A column that an axis has the name of is called after its table."""
    connection, only, _ = loaded(tmp_path)
    schema = schema_of_prompts(connection, only)
    assert [c for _, c, _, _ in schema] == [
        "k", "k_value", "place", "sample", "step", "key", "text", "messages",
        "k", "k_value", "place", "sample", "list", "draws_place", "dataset", "position", "columns",
    ]  # fmt: skip
    assert {c: text for _, c, _, text in schema}["draws_place"] == "place in the list, from 1"
    assert all(text for *_, text in schema)


def test_axes_with_both_names_of_a_column_leave_a_third(tmp_path: Path) -> None:
    """The description has the same names as the table."""
    axes = 'for text in ["t"]\n  for prompts_text in ["u"]\n  samples = 2'
    connection, only, _ = loaded(tmp_path, STUDY.replace("samples = 2", axes))
    contents = {c: text for _, c, _, text in schema_of_prompts(connection, only)}
    assert contents["prompts_prompts_text"] == "text of all messages"
    assert (contents["text"], contents["prompts_text"]) == ("axis text", "axis prompts_text")
    found = told(connection, "SELECT prompts_prompts_text FROM e_prompts WHERE step = 'answer'")
    assert found[0][0].startswith("first ")
