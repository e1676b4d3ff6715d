"""The exact words of every diagnostic, with its caret: `UPDATE_GOLDEN=1 pytest tests/golden` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from corpus import BY_RUN, CASES, examples, found_in, split, told_by_run, whole

if TYPE_CHECKING:
    import pytest

    from emdsl.source import Diagnostic

GOLDEN = Path(__file__).parent / "messages.txt"
MIN_PROGRAMS = 150


def shown(title: str, found: tuple[Diagnostic, ...]) -> str:
    return f"==== {title}\n\n" + "\n\n".join(d.render() for d in found) + "\n\n"


def test_every_message_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What, where, why, what to do: of each page's wrong program, and of each program with faults."""
    parts = []
    for code, snippet in examples("wrong"):
        monkeypatch.setattr("emdsl.compiler.hooks.isolated", lambda *_, code=code: code != "W621")
        text = snippet if code in ("E101", "E102") else whole(snippet)
        if code in BY_RUN:
            told = told_by_run(text, tmp_path)
            parts.append(f"==== {code}\n\n{told[told.index('error[') :]}\n")
        else:
            parts.append(shown(code, found_in(text, tmp_path)))
    for i, case in enumerate(CASES, start=1):
        text, wanted = split(case)
        parts.append(shown(f"faults.em {i}: {' '.join(c for _, c in wanted)}", found_in(text, tmp_path)))
    assert len(parts) >= MIN_PROGRAMS
    text = "".join(parts).replace(str(tmp_path), "FOLDER").replace(os.path.relpath(tmp_path), "FOLDER")
    text = text.replace(tmp_path.name, "PROJECT")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
