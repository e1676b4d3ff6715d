"""What a plan tells of edited data files: rows and columns, whatever the format."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from speed import within_cpu
from support import emdsl, program

from emdsl.run import history
from emdsl.run.data_edits import _of_rows, data_edits
from emdsl.study.data_parts import data_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Rows = list[dict[str, Any]]

STUDY = """
dataset questions {{ file = "q.{0}" }}
experiment e {{
  for q in questions
  ask answer from "openai/gpt-4o" with "{{q.text}} {{q.id}}"
}}
"""
ROWS = [{"id": f"r{i}", "text": f"question {i}"} for i in range(1, 13)]


def csv(path: Path, rows: Rows) -> None:
    lines = [",".join(rows[0]), *(",".join(map(str, r.values())) for r in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def yaml(path: Path, rows: Rows) -> None:
    path.write_text("".join(f"- id: {r['id']}\n  text: {r['text']}\n" for r in rows), encoding="utf-8")


WRITERS: dict[str, Callable[[Path, Rows], object]] = {
    "csv": csv,
    "yaml": yaml,
    "json": lambda path, rows: path.write_text(json.dumps(rows), encoding="utf-8"),
    "jsonl": lambda path, rows: path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8"),
    "parquet": lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path),
}


def edited(folder: Path, form: str, rows: Rows, study: str = STUDY) -> list[str]:
    """Return the lines that a plan shows after the rows were edited."""
    WRITERS[form](folder / f"q.{form}", ROWS)
    before = program(STUDY.format(form), folder)
    WRITERS[form](folder / f"q.{form}", rows)
    return [str(part) for part in data_parts(data_edits(program(study.format(form), folder), before))]


def changed(row: int, **values: str) -> Rows:
    return [r | values if i == row else r for i, r in enumerate(ROWS, 1)]


@pytest.mark.parametrize("form", WRITERS)
def test_rows_and_columns_are_named(tmp_path: Path, form: str) -> None:
    """A changed value, removed rows and added ones; the number of a removed row is the one that it had."""
    rows = [*changed(7, text="why?")[:2], *changed(7, text="why?")[3:], {"id": "new", "text": "one more"}]
    assert edited(tmp_path, form, rows) == [
        "data edited since the last run:", f"  q.{form}: row 6, column text: changed", f"  q.{form}: row 12: added",
        f"  q.{form}: row 3: removed", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (changed(4, id="a", text="b"), ["row 4, column id: changed", "row 4, column text: changed"]),
        ([*ROWS, *({"id": f"n{i}", "text": f"new {i}"} for i in range(5))], ["rows 13 to 17: added"]),
        ([{"id": "x", "text": "y"}, *ROWS], ["row 1: added"]),
        (ROWS[::-1], ["changed: its rows have another order"]),
        ([*ROWS, ROWS[0] | {"id": "z"}], ["row 13: added"]),
        ([changed(1, text="why?")[0], *ROWS[:0:-1]][::-1], ["row 12, column text: changed"]),
        (
            [ROWS[0], {"id": "x", "text": "y"}, *changed(2, text="z")[1:]],
            ["row 2: added", "row 3, column text: changed"],
        ),
        ([r | {"more": "x"} for r in ROWS], ["changed, but no value that the study reads"]),
        (ROWS, []),
    ],
    ids=[
        "whole row",
        "range",
        "first",
        "order",
        "repeated",
        "order and value",
        "inserted above",
        "another column",
        "nothing",
    ],
)
def test_edits_are_told_apart(tmp_path: Path, rows: Rows, lines: list[str]) -> None:
    """An inserted row is not twelve changed ones."""
    assert [x.strip().removeprefix("q.csv: ") for x in edited(tmp_path, "csv", rows)[1:-1]] == lines


def test_many_edits_are_counted(tmp_path: Path) -> None:
    """The first few are shown."""
    lines = edited(tmp_path, "jsonl", [r | {"text": "new " + r["text"]} for r in ROWS])
    assert len(lines) == 8
    assert lines[-2] == "  and 7 more"


def test_other_columns_cannot_be_compared(tmp_path: Path) -> None:
    """It is said; a column that both versions read is compared alone."""
    other = STUDY.replace('"q.{0}"', '"q.{0}", columns = {{ id: "id", text: "title" }}')
    rows = [{"id": r["id"], "title": r["text"]} for r in changed(2, id="x")]
    assert edited(tmp_path, "csv", rows, other)[1:-1] == ["  q.csv: row 2, column id: changed"]
    none = other.replace('id: "id"', 'id: "name"')
    rows = [{"name": r["id"], "title": r["text"]} for r in ROWS]
    assert edited(tmp_path, "csv", rows, none)[1:-1] == [
        "  q.csv: changed, and so did its columns: rows cannot be compared"
    ]


SIMULATED = STUDY.replace("openai/gpt-4o", "sim/subject")


def test_a_plan_tells_what_it_does_not_use_any_more(tmp_path: Path) -> None:
    """Answers of earlier runs, without those that another study uses; of a part of a study that is unknown."""
    (tmp_path / "pyproject.toml").touch()
    csv(tmp_path / "q.csv", ROWS)
    (tmp_path / "s.em").write_text("em 1\n" + SIMULATED.format("csv"), encoding="utf-8")
    emdsl("run", "s.em", cwd=tmp_path)
    csv(tmp_path / "q.csv", [*ROWS[3:], {"id": "new", "text": "one more"}])
    plan = emdsl("plan", "s.em", cwd=tmp_path).stdout
    assert "q.csv: rows 1 to 3: removed" in plan
    assert "3 cached answers of earlier runs of this study are not used now ($0.00)" in plan

    csv(tmp_path / "other.csv", [ROWS[0], ROWS[2]])
    (tmp_path / "other.em").write_text("em 1\n" + SIMULATED.replace("q.{0}", "other.csv").format(), encoding="utf-8")
    emdsl("run", "other.em", cwd=tmp_path)
    shown = json.loads(emdsl("plan", "s.em", "--json", cwd=tmp_path).stdout)
    assert shown["data_edits"][1] == {"file": "q.csv", "change": "removed", "row": 1}
    assert shown["unused"] == {"answers": 1, "usd": 0.0, "exact": True}, "the other study uses two"
    assert "unused" not in json.loads(emdsl("plan", "s.em", "--json", "--only", "q=r5", cwd=tmp_path).stdout)
    killed = history.Record(run="k", study="other", file="other.em", program="", started_at=time.time())
    history.begin(tmp_path / "cache", tmp_path, killed, {})
    shown = json.loads(emdsl("plan", "s.em", "--json", cwd=tmp_path).stdout)
    assert "unused" not in shown, "nobody knows which answers the killed run has used"
    for copy in (tmp_path / "cache" / "kept").glob("*.csv"):  # as of a file that is too large to be kept
        copy.unlink()
    assert "reason: unknown: no copy of `q.csv` was kept on 20" in emdsl("plan", "s.em", cwd=tmp_path).stdout


def test_a_replaced_file_takes_no_square_of_time() -> None:
    """Nothing of it is like the old one: its rows are added, the old ones removed."""
    old = [(f"text {i % 7}", i % 5) for i in range(6_000)]
    new = [(f"other {i % 7}", i % 5 + 9) for i in range(6_001)]
    with within_cpu(2):
        edits = list(_of_rows("f.csv", ["a", "b"], old, new))
    assert [(e.change, e.row) for e in (edits[0], edits[-1])] == [("added", 1), ("removed", 6_000)]
    assert len(edits) == 12_001
