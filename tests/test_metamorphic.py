"""A key is what is sent, never how it was written: edits without meaning keep every key, byte for byte."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from programs import renamed
from support import SHOTS, keys

from emdsl.lang.format import format_source
from emdsl.source import Source

if TYPE_CHECKING:
    from pathlib import Path

DECLS = {
    "import": 'import alignment from "std:judges@1"',
    "model": 'model subject { use = "sim/subject", temperature = 1.0, max_tokens = 600 }',
    "other": "model cold from subject { temperature = 0.50 }",
    "data": 'dataset shots { file = "shots.csv", columns = { user: "q", assistant: "a" } }',
    "think": 'let think = """\n  Think {{first}}.\n  """',
    "twice": "let twice(n) = n * 2.0",
    "prompt": "prompt turns(rows, text, suffix) {\n  each row in rows {\n    user      row.user\n"
    '    assistant "{row.assistant}"\n  }\n  user "{text}{suffix}"\n}',
    "rubric": 'rubric tone(text, reply) from "sim/judge" {\n  choices = { bad: "It harms.", good: "It helps." }\n'
    '  temperature = 0\n  user """\n    {text}: {reply}\n    {choices}\n    """\n}',
}  # fmt: skip
STATEMENTS = [
    "for who  in [subject, cold]",
    "for dose in [0, 1, 2]",
    'for cot  in { off: "", on: think }',
    'for ask_ in ["one", "two"]',
    "skip when dose == 0 and cot is on",
    "set answer.max_tokens = 50 when who is cold and dose > 1",
    "samples = 3",
    "let chosen = draw(shots, twice(dose), seed: [7, sample])",
    "ask answer from who with turns(chosen, ask_, cot)",
    "judge verdict with tone(ask_, answer)",
    'when verdict is bad { judge score with alignment(ask_, answer) from "sim/judge" }',
    "measure worse = rate(verdict is bad, interval: wilson(0.90)) by who, dose",
]  # fmt: skip
NAMES = [
    "subject",
    "cold",
    "shots",
    "think",
    "twice",
    "n",
    "turns",
    "rows",
    "row",
    "text",
    "suffix",
    "tone",
    "reply",
    "who",
    "dose",
    "cot",
    "ask_",
    "chosen",
    "answer",
    "verdict",
    "score",
    "worse",
    "e",
    "bad",
    "good",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    return tmp_path


def study(decls: list[str], statements: list[str]) -> str:
    body = "\n".join(f"  {line}" for s in statements for line in s.split("\n"))
    return "em 1\n" + "\n\n".join(decls) + f"\n\nexperiment e {{\n{body}\n}}\n"


PLAIN = study(list(DECLS.values()), STATEMENTS)


def test_names_mean_nothing(folder: Path) -> None:
    """Every local name another one: models, datasets, prompts, parameters, axes, steps, labels."""
    wanted = keys(PLAIN, folder)
    assert len(wanted) > 40
    for seed in range(5):
        rng = random.Random(seed)
        labels = {"bad": "bad", "good": "good"}  # a rubric that shows its labels sends them
        names = {n: labels.get(n, f"{rng.choice('abcxyz')}{i}_{seed}") for i, n in enumerate(NAMES)}
        assert keys(renamed(PLAIN, names), folder) == wanted


def test_order_means_nothing(folder: Path) -> None:
    """Declarations and statements in any order."""
    wanted = keys(PLAIN, folder)
    for seed in range(5):
        rng = random.Random(seed)
        decls, statements = list(DECLS.values()), list(STATEMENTS)
        rng.shuffle(decls)
        rng.shuffle(statements)
        text = study(decls, statements)
        cut = text.index("experiment e")
        moved = "em 1\n" + text[cut:] + text[len("em 1\n") : cut] if seed % 2 else text
        assert keys(moved, folder) == wanted


def test_layout_means_nothing(folder: Path) -> None:
    """Indentation, blank lines, comments, columns, line ends, and what `fmt` makes of it."""
    wanted = keys(PLAIN, folder)
    loose = re.sub(r"^(?=  (?:for|ask|judge|let|measure))", "\t   ", PLAIN, flags=re.MULTILINE)
    loose = loose.replace("samples = 3", "\n# a comment\n\n  samples   =   3   # draws") + "\n\n\n# the end"
    assert keys(loose, folder) == wanted
    assert keys(loose.replace("\n", "\r\n"), folder) == wanted
    assert keys(format_source(Source("x", loose)), folder) == wanted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.0", "1"),
        ("1.0", "1.00"),
        ("0.50", "5e-1"),
        ("600", "6_00"),
        ("n * 2.0", "n + n"),
        ("[0, 1, 2]", "0..2"),
        ("[0, 1, 2]", "[n for n in [0, 1, 2, 3] if n < 3]"),
        ("each row in rows", "each   row   in [r for r in rows]"),
        ('"{row.assistant}"', "row.assistant"),
        ("cot is on", 'cot != ""'),
        ("who is cold", "who is not subject"),
        ("[7, sample]", "[10 - 3, sample]"),
    ],
)
def test_spelling_means_nothing(folder: Path, one: str, other: str) -> None:
    """One value, however it is written or computed."""
    assert one in PLAIN
    assert keys(PLAIN.replace(one, other), folder) == keys(PLAIN, folder)


def test_the_file_means_nothing(folder: Path) -> None:
    """Declarations moved to an imported file in another folder, under other names."""
    wanted = keys(PLAIN, folder)
    library = folder / "lib"
    library.mkdir()
    moved = ["model", "other", "think", "twice", "prompt", "rubric"]
    (library / "parts.em").write_text("em 1\n" + "\n".join(DECLS[m] for m in moved), encoding="utf-8")
    (library / "data.em").write_text(
        "em 1\n" + DECLS["data"].replace('"shots.csv"', '"../shots.csv"'), encoding="utf-8"
    )
    text = study(
        [DECLS["import"], 'import subject, cold, think, twice, turns as layout, tone from "lib/parts.em"',
         'import shots as demos from "lib/data.em"'],
        [s.replace("turns(", "layout(").replace("draw(shots", "draw(demos") for s in STATEMENTS],
    )  # fmt: skip
    assert keys(text, folder) == wanted


# 2 models x 3 doses x 2 cot x 2 questions x 3 samples, less the 12 of dose 0 with cot: 60 requests
@pytest.mark.parametrize(
    ("one", "other", "gained", "lost"),
    [
        ("temperature = 1.0", "temperature = 0.9", 30, 30),  # the other model has its own
        ("temperature = 0.50", "temperature = 0.51", 30, 30),
        ('use = "sim/subject"', 'use = "sim/judge"', 60, 60),  # the other model has it from this one
        ("{text}{suffix}", "{text} {suffix}", 60, 60),
        ("seed: [7, sample]", "seed: [8, sample]", 48, 48),  # dose 0 draws nothing
        ("n * 2.0", "n * 1", 36, 36),  # 2 rows at dose 2 are what 2 rows at dose 1 were
        ("Think", "think", 24, 24),  # cot, doses 1 and 2
        ("max_tokens = 600", "max_tokens = 601", 48, 48),  # all but those with 50
        ("max_tokens = 50 ", "max_tokens = 51 ", 12, 12),
        ("dose > 1", "dose > 0", 12, 12),  # one model, dose 1
        ("samples = 3", "samples = 4", 20, 0),
        ("samples = 3", "samples = 2", 0, 20),
        ("[0, 1, 2]", "[0, 1, 2, 3]", 24, 0),
        ("[0, 1, 2]", "[1, 2]", 0, 12),
        ('"two"', '"three"', 30, 30),
        ('"one", "two"', '"one"', 0, 30),
        ("dose == 0 and cot is on", "dose == 0", 0, 12),
        ("It harms.", "It hurts.", 0, 0),  # what a judge is told changes no answer
        ("wilson(0.90)", "wilson(0.95)", 0, 0),
    ],
)
def test_an_edit_changes_exactly_what_it_reaches(folder: Path, one: str, other: str, gained: int, lost: int) -> None:
    """The other way round: of what an edit changes no key stays, and of all else each one does."""
    assert PLAIN.count(one) == 1
    before, after = set(keys(PLAIN, folder)), set(keys(PLAIN.replace(one, other), folder))
    assert (len(before), len(after - before), len(before - after)) == (60, gained, lost)
