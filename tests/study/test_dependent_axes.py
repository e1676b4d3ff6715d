"""An axis whose labels have another value for each level of an earlier axis: a label is one level for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support import emdsl

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
experiment e {
  for q in ["one", "two", "three"]
  for remark in { plain: "", agrees: "So is {q}.", denies: "Never {q}." }
  samples = 2
  ask answer from "sim/subject" with "{q} {remark}"
  measure simulated = rate(answer == "") by remark
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "s.em").write_text(STUDY, encoding="utf-8")
    return tmp_path


def plan(folder: Path, *options: str) -> Any:
    (found,) = json.loads(emdsl("plan", "s.em", "--json", *options, cwd=folder).stdout)["experiments"]
    return found


def test_a_label_selects_its_level_in_every_cell(folder: Path) -> None:
    """Not only in the first one; an unknown label names each known one once."""
    assert plan(folder, "--only", "remark=agrees")["cells"] == 3
    assert plan(folder, "--only", "remark=agrees,plain", "--only", "q=two")["cells"] == 2
    said = emdsl("plan", "s.em", "--only", "remark=x", cwd=folder, code=2).stderr
    assert "`remark` has no level `x`; it has `plain`, `agrees`, `denies`" in said


def test_counts_and_tables_have_one_row_for_a_label(folder: Path) -> None:
    """In the declared order."""
    names = ["plain", "agrees", "denies"]
    assert "e   9 cells x 2 samples   q 3  remark 3\n" in emdsl("plan", "s.em", cwd=folder).stdout
    rows = plan(folder, "--by", "remark")["by"]
    assert rows == [{"remark": name, "cached": 0, "pending": 6} for name in names]
    done = json.loads(emdsl("run", "s.em", "--json", cwd=folder).stdout)["experiments"][0]
    assert [(r["remark"], r["n"]) for r in done["measures"]["simulated"]] == [(name, 6) for name in names]


def test_a_registration_compares_all_cells_of_a_label(folder: Path) -> None:
    """More samples change no request of the registered ones."""
    emdsl("freeze", "s.em", cwd=folder)
    (folder / "s.em").write_text(STUDY.replace("samples = 2", "samples = 3"), encoding="utf-8")
    said = emdsl("diff", "s.prereg.json", "s.em", cwd=folder, code=None).stdout
    assert "samples 2 -> 3" in said
    assert "requests" not in said


def test_an_edited_level_has_its_reason_in_every_cell(folder: Path) -> None:
    """Each cell is compared with the one of the same labels."""
    emdsl("run", "s.em", "--display", "none", cwd=folder)
    (folder / "s.em").write_text(STUDY.replace("So is {q}.", "So it is {q}."), encoding="utf-8")
    reasons = plan(folder)["why"]
    assert reasons == [{"reason": "prompt text changed (3 characters)", "place": "s.em:4", "requests": 6}]
