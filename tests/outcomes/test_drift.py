"""Answers that are compared, and come of unlike versions of a model, or lie long apart: it is told, with a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, program, run

from emdsl.outcomes import database, loading, store_table
from emdsl.outcomes.drift import drifts
from emdsl.query import Response
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.query import Query

DAY = 86_400.0
STUDY = """
experiment e {
  for style in ["none", "terse"]
  for q in ["one", "two"]
  samples = 4
  ask answer from "sim/subject" with "{style} {q}"
  measure short = rate(answer == "4") by style
  measure effect = contrast(rate(answer == "4"), style == "none", style == "terse")
}
"""


class Moving(InProcess):
    """Says who it is by the sample or the style, and answers on other days."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    async def ask(self, query: Query, *_: Any) -> Response:
        late = query.prompt.messages[0].text.startswith("terse") if "side" in self.kind else query.sample > 1
        return Response(
            text=str(query.sample),
            finish="stop",
            model="m-2" if late and "version" in self.kind else "m-1",
            fingerprint="f2" if late and "print" in self.kind else "f1",
            answered_at=1.7e9 + (40 * DAY if late and "days" in self.kind else DAY * query.sample),
        )


@pytest.mark.parametrize(
    ("kind", "said", "drop"),
    [
        ("same", [], 0),
        ("version", ["in 4 cells, answers of `answer` by sim/subject report different versions (m-1, m-2)"], 8),
        ("print", ["in 4 cells, answers of `answer` by sim/subject report different fingerprints (f1, f2)"], 8),
        ("days", ["in 4 cells, answers of `answer` by sim/subject are more than 30 days apart (2023-11-14"], 8),
        (
            "version side",
            ["in 2 pairs of `effect`, answers of `answer` by sim/subject report different versions (m-1, m-2)"],
            8,
        ),
    ],
)
def test_drift_is_told_with_the_drop_that_ends_it(tmp_path: Path, kind: str, said: list[str], drop: int) -> None:
    """In cells, and between what a contrast compares; the condition chooses the older answers, and no other."""
    (found,) = program(STUDY).experiments
    store = MemoryStore()
    run(STUDY, store, Moving(kind))
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    loading.load(tmp_path, load, [(found, collect(Rows(found), store, {}))])
    with database.opened(tmp_path, "s") as (connection, _):
        told = list(drifts(connection, found, "s"))
    assert len(told) == len(said)
    for drift, wanted in zip(told, said, strict=True):
        assert wanted in drift.notice
        rows = [
            store_table.row(key, 1, r, {"model": "sim/subject", "sample": 0}, "s", None)
            for key, r in store.answers.items()
        ]
        with store_table.opened(rows) as table:
            assert len(table.keys(drift.drop)) == drop
