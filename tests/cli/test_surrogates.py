"""Text that is not UTF-8, wherever it comes from: an error with what to do, or an escape; never a traceback."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from support import emdsl

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError, UsageError
from emdsl.source import Source
from emdsl.study.project import open_project

if TYPE_CHECKING:
    from pathlib import Path

ODD = os.fsdecode(b"\xff")
STUDY = """em 1
dataset d { file = "d.json" }
experiment e {
  for q in d
  ask answer from "sim/subject" with "{q.t}"
  let n = words(answer)
  measure m = mean(n) by q
}
"""


@pytest.mark.parametrize(
    "call",
    [
        ["check", f"{ODD}.em"],
        ["cache", "restore", ODD],
        ["export", "study.em", "-o", ODD],
        [ODD],
    ],
    ids=lambda call: call[0],
)
def test_an_argument_that_is_not_text_is_refused(tmp_path: Path, call: list[str]) -> None:
    """Databases and records could not hold it."""
    done = emdsl(*call, cwd=tmp_path, code=2)
    assert "is not text in UTF-8: rename the file, or correct the argument" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """By whatever way a path comes in."""
    (tmp_path / ODD).mkdir()
    for near, cache in ((tmp_path / ODD, None), (tmp_path / f"{ODD}.em", None), (tmp_path, tmp_path / ODD)):
        with pytest.raises(UsageError, match=r"\\udcff.* is not text in UTF-8: rename the file or its folder"):
            open_project(near, cache)


@pytest.mark.parametrize(
    "text",
    [
        'em 1\nlet a = "x\ud800"\n',
        "em 1\n# \udfff\n",
        "\ud800",
        "em 1\nexperiment \ud800 { }",
        "em 1\nlet a = \udc80\n",
    ],
)
def test_half_a_character_in_a_program_is_an_error(text: str) -> None:
    """It is the first one; what follows reads a text without halves."""
    with pytest.raises(SourceError) as caught:
        compile_source(Source("s.em", text), {})
    first = next(d for d in caught.value.diagnostics if d.code == "E122")
    assert "is half of a character (a lone surrogate)" in first.message
    assert all(d.render().encode() for d in caught.value.diagnostics)


def test_half_a_character_in_data_passes(tmp_path: Path) -> None:
    """Its request has a key as before; files hold its escape, results a `?`."""
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    (tmp_path / "d.json").write_text('[{"t": "a\\ud800b"}, {"t": "c"}]', encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    emdsl("freeze", "study.em", "--sim", "-o", "f.json", cwd=tmp_path)
    frozen = (tmp_path / "f.json").read_text(encoding="utf-8")
    assert "a\ud800b" in json.dumps(json.loads(frozen), ensure_ascii=False), "the escape is that of JSON"
    emdsl("run", "study.em", "--sim", cwd=tmp_path)
    assert "a?b" in emdsl("query", "--sim", "SELECT q FROM e", cwd=tmp_path).stdout
