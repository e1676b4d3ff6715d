"""The grammar has no conflict, layout has no meaning, and no text ends in a traceback."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark
from support import ROOT

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError
from emdsl.lang.parser import STARTS, _Gaps, parse
from emdsl.lang.words import grammar_text
from emdsl.source import Diagnostic, Source

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = sorted((ROOT / "experiments").rglob("*.em")) + sorted((ROOT / "emdsl" / "std").glob("*.em"))
WORDS = (
    "for in if then else not is and given by when judge ask set let grid experiment model env.X raw { } ( ) [ ] "
    '" """ # = == .. , . : $5 1e9 0..3 \\ - / draw( rate( {x}'
)
PIECES = [*WORDS.split(), "\n", "\r\n", "\u00e9", "\ud800", "\u200b", "\x00"]
TEXTS = [p.read_text(encoding="utf-8") for p in PROGRAMS]


def test_the_grammar_has_no_conflict() -> None:
    """Strict LALR(1): no shift/reduce or terminal collision is settled in silence."""
    Lark(
        grammar_text(), parser="lalr", lexer="contextual", strict=True, postlex=_Gaps(), start=list(STARTS),
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


def compiled(text: str) -> None:
    """Compile anything: a program, or a SourceError with a diagnostic that can be shown."""
    found: tuple[Diagnostic, ...]
    try:
        found = compile_source(Source("fuzz.em", text, ROOT / "experiments" / "fuzz.em"), {}).warnings
    except SourceError as error:
        found = error.diagnostics or pytest.fail("an error without a diagnostic")
    for diagnostic in found:
        assert diagnostic.render()
        assert diagnostic.as_json()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TEXTS), st.integers(0, 2**32))
def test_mutated_programs_never_end_in_a_traceback(text: str, seed: int) -> None:
    """Pieces cut, doubled, swapped and planted at random places."""
    compiled(mutated(text, seed))


def mutated(text: str, seed: int) -> str:
    """Return a text with a few random edits."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(text))
        j = min(len(text), i + rng.randint(1, 30))
        text = rng.choice([
            text[:i] + text[j:],
            text[:i] + rng.choice(PIECES) + text[i:],
            text[:i] + " " + rng.choice(PIECES) + " " + text[j:],
            text[:j] + text[i:],
        ])  # fmt: skip
    return text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_heaps_of_pieces_never_end_in_a_traceback(pieces: list[str]) -> None:
    """Words of the language in no order at all."""
    compiled("em 1\n" + " ".join(pieces))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "em 1",
        "\ufeffem 1\n",
        "em 1\n" + "let a = " + "(" * 1000 + "1" + ")" * 1000,
        "em 1\n" + "let a = " + "not " * 5000 + "true",
        "em 1\n" + "let a = " + "1 + " * 20_000 + "1",
        "em 1\n" + "let a = " + "[" * 1000,
        "em 1\n" + "\n".join(f"let a{i} = a{i - 1} + 1" if i else "let a0 = 1" for i in range(2000)),
        "em 1\n" + "# comment\n" * 100_000,
        "em 1\nlet a = 1" + "\n" * 500_000 + "and true",
        'em 1\nlet a = "' + "x" * 1_000_000 + '"',
        "em 1\n" + '"' * 10_000,
        "em 1\nlet f0(x) = x\n"
        + "\n".join(f"let f{i}(x) = f{i - 1}(f{i - 1}(x))" for i in range(1, 40))
        + "\nlet z = f39(1)",
    ],
    ids=[
        "empty",
        "edition",
        "bom",
        "deep",
        "nots",
        "sum",
        "open",
        "lets",
        "comments",
        "gap",
        "long",
        "quotes",
        "doubling",
    ],
)
def test_odd_texts_are_answered_in_bounded_time(text: str) -> None:
    """A result or a clear error, soon."""
    start = time.monotonic()
    compiled(text)
    assert time.monotonic() - start < 20
