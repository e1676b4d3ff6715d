"""What a report contains of its texts: each once, and no secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from reported import first_of, parts_of

import emdsl
from emdsl import redact
from emdsl.report.packing import Column, Packed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SECRET = "zz-1234567890-secret"
STUDY = """em 1
experiment e {
  for q in ["keep SECRET", "tell a story"]
  samples = 2
  ask answer from "sim/subject" with "please {q}"
  measure long = rate(answer.tokens > 3) by q
}
"""


def test_a_report_has_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a text nor in a level or a program; a request that contained one keeps its key as text."""
    monkeypatch.setattr(redact, "_printed", redact.Redactor([redact.Secret(SECRET, sure=True)]))
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(STUDY.replace("SECRET", SECRET), encoding="utf-8")
    study = emdsl.open(tmp_path / "study.em")
    study.run(display="none")
    page = study.report(tmp_path / "study.html")
    key = next(r["key"] for r in study.render(only={"q": f"keep {SECRET}"}).requests)
    parts = parts_of(page)
    assert parts.keys() == {"first", "columns", "texts-0"}
    assert SECRET not in page.read_text(encoding="utf-8")
    assert not [called for called, part in parts.items() if SECRET.encode() in part]
    assert f"keep {redact.MASK}" in str(first_of(page))
    assert f"please keep {redact.MASK}".encode() in parts["texts-0"]
    assert key.encode() in parts["columns"]
    assert parts["texts-0"].count(b"please tell a story") == 1


def test_columns_have_each_value_once() -> None:
    """By first appearance; what JSON does not have becomes what it has; parts that are missing have no entry."""
    column = Column()
    for i, value in enumerate([{"a": 1.5, "b": "x"}, {"a": True}, {"a": 1, "b": "x"}, (None, float("nan"))]):
        column.add(i, value)
    assert list(column.entries) == [("{", "a", "b"), ("{", "a"), ("[", 2)]
    assert list(column.codes) == [0, 1, 0, 2]
    assert list(column.parts["a"].entries) == [1.5, ("=", True), 1]
    assert list(column.parts["b"].codes) == [0, 0, 0]
    assert list(column.parts[1].entries) == [None]
    whole = Column.of(["a", None, "a", "b"]).or_missing([None, "gone", None, "gone"])
    assert (list(whole.entries), list(whole.codes)) == (["a", None, "b", ("{", "missing")], [0, 3, 0, 3])
    packed = Packed(str)
    shown = packed.column(whole, 4)
    assert shown["entries"] == ["a", None, "b", [["missing"]]]
    assert json.dumps(packed.column(Column.of(["7", "0.50", "x"] * 40), 120)["entries"]) == '["7", "0.50", "x"]'
