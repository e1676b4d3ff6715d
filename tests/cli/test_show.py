"""`show`: tables, bars, LaTeX, and the whole story of one outcome."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support import SHOTS, SHOTS_STUDY, emdsl

from emdsl.study.bars import WIDTH, bar

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    (folder / "pyproject.toml").touch()
    (folder / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (folder / "shots.csv").write_text(SHOTS, encoding="utf-8")
    emdsl("run", "study.em", cwd=folder)
    return folder


def test_one_outcome_tells_its_whole_story(folder: Path) -> None:
    """Demonstrations, question, answer, the judge's prompt and reply, what was read, and where it counts."""
    said = emdsl("show", "study.em", "--row", "k = 2 AND q = 'two' AND sample = 7", cwd=folder)
    assert "1 matching row" in said.stderr
    assert "e   k=2  q=two   sample 7" in said.stdout
    where = ("--only", "k=2", "--only", "q=two", "--sample", "7")
    sent = json.loads(emdsl("render", "study.em", *where, "--json", cwd=folder).stdout)["requests"]
    for request in sent:
        assert request["key"] in said.stdout
        assert all(m["content"] in said.stdout for m in request["messages"])
    sql = "SELECT answer, aligned_reply, aligned, aligned < 30 AS low FROM e WHERE k = 2 AND q = 'two' AND sample = 7"
    (row,) = json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)
    assert row["answer"] in said.stdout
    assert f"\n{row['aligned_reply']}\n--- read as: " in said.stdout
    assert f"measure low (k 2): counts as {str(row['low']).lower()}" in said.stdout


def test_a_story_is_found_by_any_condition(folder: Path) -> None:
    """What has no such row says so; a wrong column is an error with the near words."""
    found = json.loads(emdsl("show", "study.em", "--row", "aligned >= 0", "--limit", "3", "--json", cwd=folder).stdout)
    sql = "SELECT count(*) AS n FROM e WHERE aligned >= 0"
    assert found["rows"] == json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)[0]["n"]
    assert len(found["stories"]) == 3
    assert "0 matching rows" in emdsl("show", "study.em", "--row", "aligned < 0", cwd=folder).stderr
    assert '"aligned"' in emdsl("show", "study.em", "--row", "aligne < 3", cwd=folder, code=2).stderr
    assert "one condition" in emdsl("show", "study.em", "--row", "TRUE; DROP TABLE e", cwd=folder, code=2).stderr


def test_tables_have_bars_and_latex(folder: Path) -> None:
    """Bars stand on a terminal, or where they are asked for; LaTeX holds the same numbers."""
    plain, bars = (emdsl("show", "study.em", *a, cwd=folder).stdout for a in ((), ("--bars",)))
    assert "├" not in plain
    assert bars.count("├") == bars.count("┤") == bars.count("●") == 2
    latex = emdsl("show", "study.em", "--format", "latex", cwd=folder).stdout
    assert "% low\n% SIMULATED" in latex
    for line in plain.splitlines()[2:4]:
        assert f"{line.split()[0]} & {line.split()[1]} & " in latex


@pytest.mark.parametrize(
    ("value", "low", "high", "ends"),
    [
        (0.0, 0.0, 0.3, (0.0, 0.3)),
        (1.0, 0.9, 1.0, (0.0, 1.0)),
        (-0.2, -0.5, 0.1, (-0.5, 0.1)),
        (0.0, None, None, (0.0, 0.0)),
    ],
)
def test_a_bar_holds_its_value_within_its_interval(
    value: float, low: float | None, high: float | None, ends: tuple[float, float]
) -> None:
    """The sign of the value is between the ends of the interval, and nothing runs over the edge."""
    found = bar(value, low, high, ends)
    assert len(found) <= WIDTH
    assert found.count("●") == 1
    if low is not None and low < value:
        assert found.index("├") < found.index("●")
    if high is not None and value < high:
        assert found.index("●") < found.index("┤")
