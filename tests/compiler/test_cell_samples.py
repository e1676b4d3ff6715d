"""`samples` by cell: rows, keys, selections, pilots and tables if cells have different numbers of draws."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from support import experiment, program
from told import loaded

from emdsl.run.pilot import pilot_rows
from emdsl.run.planner import Planner
from emdsl.run.rows import Rows, Selection
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.experiment import Experiment

TEXTS = (["a"], ["b0", "b1", "b2", "b3", "b4", "b5", "b6"], ["c0", "c1"])
ROWS = "".join(json.dumps({"texts": texts, "n": len(texts)}) + "\n" for texts in TEXTS)
STUDY = """
dataset data { file = "rows.jsonl" }
experiment e {
  for q in data
  for t in ["x", "y"]
  samples = SAMPLES
  let text = q.texts[sample]
  ask answer from "sim/subject" with "{t} PROMPT"
  judge v with kind(answer)
  let has = matches(answer, "^x b")
  measure m = rate(has) by q.n
  measure shares_of = shares(v)
}
"""
KIND = 'rubric kind(answer) from "sim/judge" { choices = { good: "g", bad: "b" }, user "kind|{answer}" }\n'


def study(folder: Path, samples: str, prompt: str = "{text}") -> Experiment:
    (folder / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    return experiment(KIND + STUDY.replace("SAMPLES", samples).replace("PROMPT", prompt), folder)


def keys(found: Experiment, selection: Selection | None = None) -> dict[tuple[tuple[int, ...], int], Digest]:
    rows = Rows(found, selection)
    return {(row.cell, row.sample): query.key for row in rows.selected() for _, query in rows.advance(row)}


def test_each_cell_has_its_own_number_of_rows(tmp_path: Path) -> None:
    """From its levels alone: a text for each sample, and no sample without one."""
    found = study(tmp_path, "len(q.texts)")
    assert found.samples == 7
    assert Counter(cell[0] for cell, _ in keys(found)) == {0: 2, 1: 14, 2: 4}
    assert keys(found) == keys(study(tmp_path, "q.n")) == keys(study(tmp_path, "if q.n > 1 then q.n else 1"))


def test_the_keys_are_those_of_a_fixed_number(tmp_path: Path) -> None:
    """A row that both studies have is one request: an answer is never paid for twice."""
    by_cell, fixed = (keys(study(tmp_path, n, "text of {q.n}")) for n in ("q.n", "7"))
    assert len(by_cell) == 20
    assert len(fixed) == 42
    assert by_cell.items() <= fixed.items()


def test_selections_take_what_a_cell_has(tmp_path: Path) -> None:
    """`--samples`, `--only`, a pilot, and the first and last row."""
    found = study(tmp_path, "q.n")
    assert Counter(cell[0] for cell, _ in keys(found, Selection(samples=2))) == {0: 2, 1: 4, 2: 4}
    assert set(keys(found, Selection(only={0: frozenset({2})}))) == {((2, t), n) for t in (0, 1) for n in (0, 1)}
    rows = Rows(found)
    assert [(row.cell, row.sample) for row in rows.ends()] == [((0, 0), 0), ((2, 1), 1)]
    assert [rows.takes_at((0, 0), n) for n in (0, 1)] == [True, False]
    pilot = pilot_rows(found, found.samples, lambda _: True)
    assert all(n <= found.samples_of(cell) for cell, n in pilot.items())
    assert len(keys(found, Selection(samples=7, pilot=pilot))) == sum(pilot.values())


def test_a_plan_counts_rows(tmp_path: Path) -> None:
    """Of all cells, of some, and of the first samples."""
    found = study(tmp_path, "q.n")
    for selection, n in ((None, 20), (Selection(samples=2), 10), (Selection(only={0: frozenset({1})}), 14)):
        count = Planner(Rows(found, selection)).plan(MemoryStore())
        assert count.rows == count.steps[0].needed == n


def test_tables_have_the_rows_of_each_cell(tmp_path: Path) -> None:
    """`n_planned` of a group is the sum of its cells."""
    (tmp_path / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    text = STUDY.replace("SAMPLES", "q.n").replace("PROMPT", "{text}")
    found = loaded(text, lambda _, answer, *__: "good" if answer.startswith("x") else "bad", tmp_path)
    assert {r["q_n"]: (r["n"], r["n_planned"], r["rate"]) for r in found.measures["m"]} == {
        1: (2, 2, 0), 7: (14, 14, 0.5), 2: (4, 4, 0)
    }  # fmt: skip
    assert {r["label"]: r["shares"] for r in found.measures["shares_of"]} == {"good": 0.5, "bad": 0.5, "odd": 0}
    assert len(found.table) == 20


def test_a_number_without_axes_is_one_number(tmp_path: Path) -> None:
    """A `let` that is the same in every cell; a dataset that is missing has one row of no request."""
    found = experiment('experiment e {\n  let n = 2 + 1\n  samples = n\n  ask a from "sim/subject" with "x"\n}')
    assert (found.samples, found.cell_samples) == (3, None)
    absent = program(
        """
        dataset gone { file = "gone.jsonl", obtain = "ask the authors" }
        experiment e {
          for q in [1, 2]
          samples = q + 1
          ask a from "sim/subject" with "{q}"
        }
        """,
        tmp_path,
    )
    assert [absent.experiments[0].samples_of(c) for c in absent.experiments[0].cells()] == [2, 3]
