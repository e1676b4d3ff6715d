"""Whatever the text: a result or a diagnostic, never a traceback, in bounded time and memory.

`PYTHONPATH=.:tests python tests/lang/test_fuzz.py 100000` runs as many cases as it is told, outside the suite.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from programs import derived, laid_out, program
from speed import HANG_S, within
from support import ROOT, THOROUGH, clean_environment

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError
from emdsl.lang.format import format_source
from emdsl.source import Source

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = [p.read_text(encoding="utf-8") for p in sorted((ROOT / "experiments").rglob("*.em"))]
WORDS = (
    "for in if then else not is and given by when judge ask set let grid experiment model env.X raw { } ( ) [ ] "
    '" """ # = == .. , . : $5 1e9 0..3 \\ - / draw( rate( {x} shape = bool samples = 3 contrast( python from "x.py"'
)
PIECES = [*WORDS.split(), "\n", "\r\n", "\u00e9", "\ud800", "\u200b", "\x00"]


def check(text: str) -> None:
    """Compile, show what is said, and format."""
    source = Source("fuzz.em", text, ROOT / "experiments" / "fuzz.em")
    try:
        found = compile_source(source, {}).warnings
    except SourceError as error:
        found = error.diagnostics
        assert found
    for diagnostic in found:
        assert diagnostic.render()
        assert diagnostic.as_json()
    with suppress(SourceError):
        format_source(source)


def case(seed: int) -> str:
    """Return one text: made from the grammar, a program of ours mutated, or a made one mutated."""
    rng = random.Random(seed)
    kind = seed % 3
    if kind == 0:
        return program(seed)
    return mutated(rng.choice(TEXTS) if kind == 1 else laid_out(derived(rng), rng), rng)


def mutated(text: str, rng: random.Random) -> str:
    """Return a text with a few random edits: pieces cut, doubled, swapped and planted."""
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(text) + 1)
        j = min(len(text), i + rng.randint(1, 30))
        text = rng.choice([
            text[:i] + text[j:],
            text[:i] + rng.choice(PIECES) + text[i:],
            text[:i] + " " + rng.choice(PIECES) + " " + text[j:],
            text[:j] + text[i:],
        ])  # fmt: skip
    return text


@pytest.mark.thorough
@settings(max_examples=400 if THOROUGH else 100, deadline=None)
@given(st.integers(0, 2**63))
@example(6836080)  # the path of a dataset with a lone surrogate
def test_no_text_ends_in_a_traceback(seed: int) -> None:
    """A smaller run of what was run 100,000 times."""
    check(case(seed))


@pytest.mark.thorough
@settings(max_examples=100 if THOROUGH else 30, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_heaps_of_pieces_never_end_in_a_traceback(pieces: list[str]) -> None:
    """Words of the language in no order at all."""
    check("em 1\n" + " ".join(pieces))


SIZE = int(os.environ.get("LARGE_BYTES", "65536"))  # `make stress` takes 1 MiB
LARGE = {
    "1,000 brackets": "let a = " + "(" * 1000 + "1" + ")" * 1000,
    "1,000 lists": "let a = " + "[" * 1000 + "1" + "]" * 1000,
    "1,000 maps": "let a = " + "{ a: " * 1000 + "1" + " }" * 1000,
    "1,000 blocks": "experiment e { " + "when true { " * 1000 + "}" * 1000 + " }",
    "1,000 each": "prompt p(a) { " + "each b in a { " * 1000 + "user b" + "}" * 1000 + " }",
    "1,000 ifs": "let a = " + "if true then 1 else " * 1000 + "2",
    "1,000 calls": "let f(x) = x\nlet a = " + "f(" * 1000 + "1" + ")" * 1000,
    "5,000 nots": "let a = " + "not " * 5000 + "true",
    "5,000 minuses": "let a = " + "- " * 5000 + "1",
    "many sums": "let a = " + "1 + " * (SIZE // 4) + "1",
    "many fields": "let a = b" + ".c" * (SIZE // 2),
    "many lets": "\n".join(f"let a{i} = {i}" for i in range(SIZE // 17)),
    "many faults": "lte a = 1\n" * (SIZE // 10),
    "many comments": "# comment\n" * (SIZE // 10),
    "one large text": 'let a = "' + "x{{" * (SIZE // 3) + '"',
    "many braces": "{" * SIZE,
    "many quotes": '"' * SIZE,
    "a long text without end": 'let a = """\n' + "x\n" * (SIZE // 2),
    "a long list": "let a = [" + "1," * (SIZE // 2) + "]",
    "a chain of lets": "\n".join(f"let a{i} = a{i - 1} + 1" if i else "let a0 = 1" for i in range(3000)),
    "a doubling text": 'let a0 = "xxxxxxxx"\n' + "\n".join(f"let a{i} = a{i - 1} + a{i - 1}" for i in range(1, 60)),
    "loops in loops": "let a = [[[z for z in 1..9999] for y in 1..9999] for x in 1..9999]",
    "doubling calls": "let f0(x) = x\n"
    + "\n".join(f"let f{i}(x) = f{i - 1}(f{i - 1}(x))" for i in range(1, 40))
    + "\nlet z = f39(1)",
}  # fmt: skip
LIMIT_S, LIMIT_BYTES = 20, 3 * 2**30  # of 1 MiB, on the reference machine


@pytest.mark.parametrize("name", LARGE)
def test_large_and_deep_texts_are_answered(name: str, tmp_path: Path) -> None:
    """As a process of its own, whose memory is bounded: a result or a clear error, soon."""
    file = tmp_path / "large.em"
    text = LARGE[name]
    experiment = "" if "experiment" in text else '\nexperiment e { ask answer from "sim/subject" with "x" }\n'
    file.write_text("em 1\n" + text + experiment, encoding="utf-8")
    with within(LIMIT_S):
        done = subprocess.run(
            [sys.executable, "-m", "emdsl", "check", file],
            env=clean_environment(), capture_output=True, text=True, timeout=5 * HANG_S, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES)),
        )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert done.stdout or done.stderr


if __name__ == "__main__":
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for n in range(first, first + int(sys.argv[1])):
        try:
            check(case(n))
        except Exception as error:
            print(n, repr(error))
            raise
        if n % 1000 == 0:
            print(n, flush=True)
