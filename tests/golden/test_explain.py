"""Every diagnostic has a page, and every page is true: its wrong program gives it, its right one does not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from corpus import BY_RUN, examples, found_in, told_by_run, whole
from support import ROOT

from emdsl.lang.explain import pages

if TYPE_CHECKING:
    from pathlib import Path

WRONG, RIGHT = examples("wrong"), examples("right")
MESSAGES = (ROOT / "tests/golden/messages.txt").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^==== (\w+)\n(.*?)(?=^==== )", MESSAGES, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _no_isolation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of W621 is about systems on which a process cannot leave the network."""
    if "W621" in request.node.name:
        monkeypatch.setattr("emdsl.compiler.hooks.isolated", lambda *_: False)


@pytest.mark.parametrize("code", sorted({c for c, _ in WRONG}))
def test_the_wrong_program_gives_the_diagnostic(code: str) -> None:
    """And no other: one fault is told once. `test_messages` compiles them all, and pins what comes out."""
    said = [text for c, text in SECTIONS if c == code]
    assert len(said) == sum(c == code for c, _ in WRONG)
    for text in said:
        assert set(re.findall(r"^(?:error|warning)\[(\w+)\]", text, re.MULTILINE)) == {code}, text


@pytest.mark.parametrize(("code", "snippet"), RIGHT, ids=[c for c, _ in RIGHT])
def test_the_right_program_has_no_fault(code: str, snippet: str, tmp_path: Path) -> None:
    """What a page recommends compiles without an error, and without the diagnostic."""
    shown = found_in(whole(snippet), tmp_path)
    assert not [d for d in shown if d.code == code or d.code[0] == "E"], "\n\n".join(d.render() for d in shown)
    if code in BY_RUN:
        assert code not in told_by_run(whole(snippet), tmp_path, "plan")


def test_every_code_has_a_page() -> None:
    """None is missing, none is left over, and each has an example."""
    used = set()
    for file in (ROOT / "emdsl").rglob("*.py"):
        used |= set(re.findall(r'"([EW]\d{3})"', file.read_text(encoding="utf-8")))
    assert set(pages()) == used
    assert {c for c, _ in WRONG} == used
    assert {c for c, _ in RIGHT} == used
