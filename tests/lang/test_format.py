"""One layout: idempotent, no comment lost, no meaning changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import comments, program
from support import ROOT, THOROUGH, emdsl, keys

from emdsl.errors import SourceError
from emdsl.lang.format import format_source
from emdsl.lang.parser import parse
from emdsl.source import Source

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = [*(ROOT / "experiments").glob("*.em"), *(ROOT / "emdsl" / "std").glob("*.em")]


def formatted(text: str) -> str:
    return format_source(Source("x.em", text))


def check(text: str) -> None:
    """A formatted program is the same program, with the same comments, and stays as it is."""
    before = parse(Source("x.em", text))[0]
    shown = formatted(text)
    after, faults = parse(Source("y.em", shown))
    assert not faults
    assert after.decls == before.decls
    assert comments(shown) == comments(text)
    assert formatted(shown) == shown
    assert not [line for line in shown.split("\n") if line != line.rstrip() and '"' not in shown]


@pytest.mark.thorough
@settings(max_examples=120 if THOROUGH else 40, deadline=None)
@given(st.integers(0, 2**63))
def test_programs_made_from_the_grammar_keep_meaning_and_comments(seed: int) -> None:
    """Random derivations in random layouts."""
    text = program(seed)
    if parse(Source("x.em", text))[1]:
        return  # it holds a text that the grammar admits and the language does not: a label with a placeholder, say
    check(text)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_ours_are_formatted(path: Path) -> None:
    """What ships is in the one layout."""
    text = path.read_text(encoding="utf-8")
    assert formatted(text) == text


CASES = {
    "blanks": ("em 1\nlet   a=1+2 *-3", "em 1\nlet a = 1 + 2 * -3\n"),
    "columns": (
        'em 1\nmodel m {\n  use="sim/subject" # who\n  temperature = 1   # how\n}',
        'em 1\nmodel m {\n  use         = "sim/subject"  # who\n  temperature = 1              # how\n}\n',
    ),
    "one line": ('em 1\nmodel m {use="a",temperature=1}', 'em 1\nmodel m { use = "a", temperature = 1 }\n'),
    "opened": (
        'em 1\nmodel m { use = "a",\n temperature = 1 }',
        'em 1\nmodel m {\n  use         = "a"\n  temperature = 1\n}\n',
    ),
    "axes": (
        "em 1\nexperiment e{\nfor a in [1]\nfor long in [2]\n}",
        "em 1\nexperiment e {\n  for a    in [1]\n  for long in [2]\n}\n",
    ),
    "carried": (
        "em 1\nexperiment e {\nmeasure m = rate(a)\n# why\nby b }",
        "em 1\nexperiment e {\n  measure m = rate(a)\n      # why\n      by b\n}\n",
    ),
    "margin": ('em 1\nlet a = """\n        x\n          y\n\n        """', 'em 1\nlet a = """\n  x\n    y\n\n  """\n'),
    "lists": ("em 1\nlet a = [\n1,\n  [2,\n3],\n]", "em 1\nlet a = [\n  1,\n  [2,\n    3],\n]\n"),
    "windows": ("\ufeffem 1\r\nlet a = 1\r\n", "em 1\nlet a = 1\n"),
    "statement commas": (
        "em 1\nexperiment e {\nfor a, b in [(1, 2)]\nmeasure m = rate(x) by a, b }",
        "em 1\nexperiment e {\n  for a, b in [(1, 2)]\n  measure m = rate(x) by a, b\n}\n",
    ),
    "clusters": (
        "em 1\nexperiment e {\nsamples=3\ncluster=[ q,sample ]\n}",
        "em 1\nexperiment e {\n  samples = 3\n  cluster = [q, sample]\n}\n",
    ),
    "contrasts": (
        "em 1\nexperiment e {\nmeasure m=contrast( contrast(rate(x),k,versus:none),d,versus:1 )\n}",
        "em 1\nexperiment e {\n  measure m = contrast(contrast(rate(x), k, versus: none), d, versus: 1)\n}\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), CASES.values(), ids=CASES)
def test_the_layout(text: str, wanted: str) -> None:
    """Blanks, columns, margins, carried lines."""
    assert formatted(text) == wanted
    check(text)


def test_what_does_not_parse_is_left_alone() -> None:
    """A fault is told; no text comes back."""
    with pytest.raises(SourceError):
        formatted("em 1\nlet a = = 1")


def test_the_keys_stay(tmp_path: Path) -> None:
    """A study asks the same before and after."""
    text = (ROOT / "experiments" / "quickstart.em").read_text(encoding="utf-8").replace("  ", "     ")
    assert keys(text) == keys(formatted(text))


def test_the_verb(tmp_path: Path) -> None:
    """`fmt` rewrites, `--check` and `--diff` only look, and standard input comes back on standard output."""
    file = tmp_path / "a b.em"
    file.write_text("em 1\nlet a=1\n", encoding="utf-8")
    file.chmod(0o640)
    assert "would change" in emdsl("fmt", "--check", file, cwd=tmp_path, code=1).stdout
    assert "+let a = 1" in emdsl("fmt", "--diff", file, cwd=tmp_path).stdout
    assert file.read_text(encoding="utf-8") == "em 1\nlet a=1\n"
    emdsl("fmt", file, cwd=tmp_path)
    assert file.read_text(encoding="utf-8") == "em 1\nlet a = 1\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert emdsl("fmt", "--check", file, cwd=tmp_path).stdout == ""
    assert "E133" in emdsl("fmt", "-", cwd=tmp_path, code=1, stdin="em 1\nlet a = )\n").stderr
    assert emdsl("fmt", "-", cwd=tmp_path, stdin="em 1\nlet a=2").stdout == "em 1\nlet a = 2\n"
