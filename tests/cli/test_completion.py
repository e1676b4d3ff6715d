"""Completion in a shell: by the protocol of each, and in bash itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import get_completion_class
from support import clean_environment

from emdsl.cli.completion import register, split_line
from emdsl.cli.main import cli
from emdsl.study.completion import names_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STUDY = """em 1
import doses from "doses.em"
python shout(text) from "hooks.py"
dataset rows { file = "missing.csv" }
model small { use = "openai/gpt-4o-mini-2024-07-18" }
let wish = "one wish, please"
experiment e {
  for model in [small]
  for question in [wish, "hey, you"]
  for k in doses
  for sign in ["it's", "$HOME", "a\\"b"]
  for cot in { off: "", on: "think" }
  for n in 1..3
  for row in rows
  ask answer from model with shout("{question} {k} {cot} {n}")
  measure low = rate(answer == "x") by k
}
"""
CALL = "import sys; sys.argv[0] = 'emdsl'; from emdsl.cli.main import main; main()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    (tmp_path / "doses.em").write_text("em 1\nlet doses = [0, 1.50, 16]\n", encoding="utf-8")
    (tmp_path / "hooks.py").write_text("raise SystemExit('it runs')\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def completed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return what is offered at the end of a line, as it is sent to the shell."""
    monkeypatch.chdir(folder)
    register()

    def offered(line: str, shell: str = "bash") -> list[str]:
        words = line.split(" ")
        place = {"COMP_WORDS": line, "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1)}
        for name, value in (place | {"COMP_LINE": line, "COMP_POINT": str(len(line))}).items():
            monkeypatch.setenv(name, value)
        complete = get_completion_class(shell)
        assert complete is not None
        return [x for x in complete(cli, {}, "emdsl", "_EMDSL_COMPLETE").complete().splitlines() if x]

    return offered


def test_names_are_those_that_the_study_writes_out(folder: Path) -> None:
    """Without its data and its hooks; levels behind names too, also imported ones."""
    names = names_of(folder / "study.em")
    assert names.axes == {
        "model": ["small"], "question": ["one wish, please", "hey, you"], "k": ["0", "1.5", "16"],
        "sign": ["it's", "$HOME", 'a"b'],
        "cot": ["off", "on"], "n": ["1", "2", "3"], "row": [],
    }  # fmt: skip
    assert names.measures == {"low": 'rate(answer == "x")'}
    (folder / "study.em").write_text(STUDY.replace("for cot in {", "for cot of {"), encoding="utf-8")
    assert "k" in names_of(folder / "study.em").axes, "one error hides no other statement"
    assert names_of(folder / "none.em").axes == {}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (
            "emdsl run study.em --only ",
            ["open,model=", "open,question=", "open,k=", "open,sign=", "open,cot=", "open,n=", "open,row="],
        ),
        ("emdsl plan --only cot=", ["plain,off", "plain,on"]),
        ("emdsl run study.em --only cot=off,", ["plain,off,on"]),
        ("emdsl run study.em --only question=he", [r"plain,hey,\ you"]),
        ('emdsl run study.em --only "question=hey, ', ["plain,question=hey, you"]),
        ("emdsl run study.em --only sign=", [r"plain,it\'s", r"plain,\$HOME", r"plain,a\"b"]),
        ("emdsl run study.em --only 'sign=", [r"plain,sign=it'\''s", "plain,sign=$HOME", 'plain,sign=a"b']),
        ('emdsl run study.em --only "sign=', ["plain,sign=it's", r"plain,sign=\$HOME", r"plain,sign=a\"b"]),
        ("emdsl run study.em --only row=", []),
        ("emdsl run none.em --only ", []),
        ("emdsl plot study.em --measure ", ["plain,low"]),
        ("emdsl explain e20", [f"plain,E{n}" for n in range(201, 209)]),
        ("emdsl pl", ["plain,plan", "plain,plot"]),
    ],
)
def test_bash_is_offered_what_fits(
    completed: Callable[..., list[str]], folder: Path, line: str, offered: list[str]
) -> None:
    """Of a study without an error, and of one that has one; a level with blanks stays one word."""
    if "plan" in line:
        (folder / "doses.em").unlink()
        (folder / "hooks.py").unlink()
        line = line.replace("--only", "study.em --only")
    assert completed(line) == offered


def test_zsh_and_fish_get_no_space_behind_an_axis(completed: Callable[..., list[str]]) -> None:
    """Zsh by a type of its own; fish puts none there."""
    assert completed("emdsl run study.em --only co", "zsh") == ["open", "cot=", "_"]
    assert completed("emdsl run study.em --only co", "fish")[0].startswith("plain")
    assert "cot=" in completed("emdsl run study.em --only co", "fish")[-1]


def test_bash_completes(folder: Path) -> None:
    """In bash itself: its function is defined, called as bash calls it, and fills COMPREPLY."""
    environment = clean_environment({"PATH": f"{folder}:{os.environ['PATH']}"})
    script = folder / "emdsl"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{CALL}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    code = """
    eval "$(_EMDSL_COMPLETE=bash_source emdsl)"
    compopt() { :; }
    COMP_LINE="emdsl run study.em --only cot=o" COMP_POINT=31
    _emdsl_completion emdsl
    printf '%s\\n' "${COMPREPLY[@]}"
    COMP_LINE="emdsl run none.em --only " COMP_POINT=25
    _emdsl_completion emdsl
    echo "${#COMPREPLY[@]}"
    complete -p emdsl
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["off", "on", "0", "complete -o nosort -F _emdsl_completion emdsl"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("line", "split"),
    [
        ("a b", (["a"], "b", "", 0)),
        ("a b ", (["a", "b"], "", "", 0)),
        (r"a k=x\ y", (["a"], "k=x y", "", 2)),
        ("a 'k=x y", (["a"], "k=x y", "'", 0)),
        ("a 'k=x y' ", (["a", "k=x y"], "", "", 0)),
    ],
)
def test_lines_are_split_as_bash_splits_them(line: str, split: tuple[list[str], str, str, int]) -> None:
    assert split_line(line) == split
