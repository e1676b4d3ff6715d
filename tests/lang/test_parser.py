"""The grammar has no conflict, layout has no meaning, and no text ends in a traceback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lark import Lark
from support import ROOT

from emdsl.lang.lark_grammar import STARTS, _LineEnds
from emdsl.lang.parser import parse
from emdsl.lang.words import grammar_text
from emdsl.source import Source

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = sorted((ROOT / "experiments").rglob("*.em")) + sorted((ROOT / "emdsl" / "std").glob("*.em"))


def test_the_grammar_has_no_conflict() -> None:
    """Strict LALR(1): no shift/reduce or terminal collision is settled in silence."""
    Lark(
        grammar_text(), parser="lalr", lexer="contextual", strict=True, postlex=_LineEnds(), start=list(STARTS),
        propagate_positions=True, maybe_placeholders=True,
    )  # fmt: skip


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_layout_has_no_meaning(path: Path) -> None:
    """Other indentation, blank lines and comments give the same tree."""
    text = path.read_text(encoding="utf-8")
    plain, faults = parse(Source("a.em", text))
    assert not faults
    loose = re.sub(r"^(?!.*\"\"\")(?=[a-z])", "      ", _outside_texts(text), flags=re.MULTILINE)
    loose = loose.replace("\n", "\n\n# a comment\n", 1) + "\n\n# the end"
    other, faults = parse(Source("b.em", loose.replace("\0", "\n")))
    assert not faults
    assert other.decls == plain.decls


def _outside_texts(text: str) -> str:
    """Return a text whose line ends inside long texts are hidden from `^`."""
    return re.sub(r'"""(?:[^"]|"(?!""))*"""', lambda m: m[0].replace("\n", "\0"), text)
