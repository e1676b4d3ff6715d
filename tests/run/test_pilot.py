"""A pilot is a small balanced sample of a study's rows, the same each time, and its answers are those of the study."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

import pytest
from support import ROOT, experiment, run

from emdsl.experiment import Program
from emdsl.run.pilot import MAX_ROWS, pilot_rows
from emdsl.run.planner import Planner
from emdsl.run.rows import Rows, Selection
from emdsl.store.store import MemoryStore
from emdsl.study.selection import selections

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emdsl.experiment import Cell, Experiment

SETTINGS = 'url = "http://127.0.0.1:1/v1", revision = "1", price = { input: $1, output: $4 }, max_tokens = 500'
STUDY = f"""
dataset facts {{ file = "TruthfulQA.csv", columns = {{ user: "Question", assistant: "Best Answer" }} }}
model a {{ use = "openai-api/lab/a", {SETTINGS} }}
model b {{ use = "openai-api/lab/b", {SETTINGS} }}
model c {{ use = "openai-api/lab/c", {SETTINGS} }}
rubric score(answer) from a {{
  scale = 0..9
  user "Rate {{answer}}"
}}
prompt shots_then(cot, shots, q) {{
  when cot != "" {{ system cot }}
  each s in shots {{
    user s.user
    assistant s.assistant
  }}
  user "Question {{q}}"
}}
experiment e {{
  for model in [a, b, c]
  for k in [0, 2, 4, 8, 16]
  for cot in {{ off: "", on: "Think." }}
  for q in 1..QUESTIONS
  SKIP
  samples = SAMPLES
  let shots = draw(facts, k, seed: sample)
  ask answer from model with shots_then(cot, shots, q)
  judge rated with score(answer)
}}
"""


def study(folder: Path, questions: int = 48, samples: int = 10, skip: str = "") -> Experiment:
    """Return a study of 3 models, 5 k and 2 cot."""
    (folder / "TruthfulQA.csv").write_bytes((ROOT / "experiments" / "data" / "TruthfulQA.csv").read_bytes())
    text = STUDY.replace("QUESTIONS", str(questions)).replace("SAMPLES", str(samples)).replace("SKIP", skip)
    return experiment(text, folder)


def pilot(found: Experiment) -> Mapping[Cell, int]:
    """Return the pilot of a whole study."""
    return pilot_rows(found, found.samples, lambda _: True)


def levels(rows: Mapping[Cell, int], *axes: int) -> Counter[tuple[int, ...]]:
    """Count rows by the levels of some axes."""
    counted: Counter[tuple[int, ...]] = Counter()
    for cell, n in rows.items():
        counted[tuple(cell[a] for a in axes)] += n
    return counted


def test_every_level_and_model_occurs_as_often_as_the_others(tmp_path: Path) -> None:
    """400 of 14,400 rows: each model a third, each k of a model a fifteenth, each question 8 or 9 times."""
    found = study(tmp_path)
    rows = pilot(found)
    assert sum(rows.values()) == MAX_ROWS
    for axes, (each, least, most) in {
        (0,): (3, 132, 134), (1,): (5, 78, 82), (2,): (2, 198, 202), (3,): (48, 8, 9), (0, 1): (15, 26, 27),
        (0, 2): (6, 65, 69), (0, 3): (144, 2, 3),
    }.items():  # fmt: skip
        counted = levels(rows, *axes)
        assert len(counted) == each
        assert least <= min(counted.values()) <= max(counted.values()) <= most, (axes, counted)
    assert set(rows.values()) == {1}, "cells come before samples"
    assert rows == pilot(found), "and again the same"


@pytest.mark.parametrize(
    ("questions", "samples", "n"),
    [(1, 1, 30), (2, 1, 30), (4, 1, 30), (4, 4, 90), (48, 1, 90), (48, 2, 90), (48, 10, 400), (400, 10, 400)],
)
def test_the_size(tmp_path: Path, questions: int, samples: int, n: int) -> None:
    """3 % of the rows, with 30 rows of each model, and no more than a quarter or 400; at least every level 3 times."""
    found = study(tmp_path, questions, samples)
    rows = pilot(found)
    assert sum(rows.values()) == pytest.approx(n, abs=4)
    assert all(n <= samples for n in rows.values())


def test_a_pilot_of_a_part(tmp_path: Path) -> None:
    """Only of the selected levels, of the cells that are not skipped, and of the first samples."""
    found = study(tmp_path, skip="skip when k == 16 and cot is on")
    (selection,) = selections(_program(found), 2, ["model=b", "q=1,2,3"], pilot=True)
    assert selection.pilot is not None
    cells = set(found.cells())
    assert {c[0] for c in selection.pilot} == {1}
    assert {c[3] for c in selection.pilot} == {0, 1, 2}
    assert all(c in cells for c in selection.pilot)
    assert {(c[1], c[2]) for c in selection.pilot} == set(product(range(5), range(2))) - {(4, 1)}
    assert max(selection.pilot.values()) <= 2
    rows = [(r.cell, r.sample) for r in Rows(found, selection).selected()]
    assert sorted(rows) == sorted((c, s) for c, n in selection.pilot.items() for s in range(n))
    walk = Rows(found, selection)
    assert all(walk.takes_at(*row) for row in rows)
    assert sum(walk.takes(row) for row in Rows(found).everything()) == len(rows)


def test_several_rows_share_their_demonstrations(tmp_path: Path) -> None:
    """So that the hits of a cache of prefixes are known: each set of demonstrations begins several prompts."""
    found = study(tmp_path)
    walk = Rows(found, Selection(samples=1, pilot=pilot(found)))
    of_16 = [walk.advance(row)[0][1].prompt for row in walk.selected() if row.cell[0] == 0 and row.cell[1:3] == (4, 0)]
    assert len(of_16) >= 10
    assert all(len(one.messages) == 33 and one.common_messages(of_16[0]) >= 32 for one in of_16)


def test_its_answers_are_answers_of_the_study(tmp_path: Path) -> None:
    """Judges too: nothing of it is pending when the study is planned, and nothing is when it is run again."""
    found = study(tmp_path, 4, 1)
    rows, store = pilot(found), MemoryStore()
    selection = Selection(samples=max(rows.values()), pilot=rows)
    provider, report = run(_program(found), store, selection=selection)
    n = sum(rows.values())
    assert (report.sent, len(store.answers)) == (2 * n, 2 * n)
    count = Planner(Rows(found)).plan(store)
    assert [s.cached for s in count.steps] == [n, n]
    assert [s.at_most for s in count.steps] == [120 - n] * 2
    assert count.steps[0].estimate.n_answers == n
    again = Planner(Rows(found, selection)).plan(store)
    assert (again.pilot, again.at_most, again.cells) == (n, 0, len(rows))
    assert provider.n == 2 * n


def test_a_large_grid_is_sampled(tmp_path: Path) -> None:
    """Every level of every short axis is there, and models are as frequent as each other."""
    rows = pilot(study(tmp_path, questions=2_000, samples=1))
    assert sum(rows.values()) == MAX_ROWS
    assert len(levels(rows, 0, 1, 2)) == 30
    assert len(levels(rows, 3)) > 350, "questions differ"


def _program(found: Experiment) -> Program:
    return Program(
        name="e", experiments=(found,), warnings=(), digest=b"", files={}, links={}, sources={}, variables={}
    )
