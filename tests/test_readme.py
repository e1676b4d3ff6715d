"""The README is true: its commands run, its output is what they print, its help texts are up to date."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import ROOT, clean_environment, emdsl, run

from emdsl.cli.main import VERBS
from emdsl.compiler.compile import compile_source
from emdsl.source import Source

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def test_generated_parts_are_up_to_date(tmp_path: Path) -> None:
    """Help texts and the example come from the code, by cog."""
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "README.md"],
        cwd=ROOT, capture_output=True, text=True, check=False, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, f"run `cog -r README.md`\n{done.stdout}{done.stderr}"


MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)


def test_every_verb_stands_in_it() -> None:
    """What can be called is described; its first block is the two commands of a newcomer."""
    for verb in VERBS:
        assert f"$ emdsl {verb}" in README
    assert [x.split("  ")[0] for x in CONSOLE[0].splitlines()][-2:] == ["$ make quickstart", "$ make test"]


def test_every_make_target_is_described_and_can_be_made() -> None:
    """Each stands in the head of the Makefile, or is a part of one that does; `make -n` knows what it takes."""
    assert TARGETS is not None
    names = TARGETS[1].split()
    described = set(re.findall(r"^# make ([\w-]+)", MAKEFILE, re.MULTILINE))
    assert described <= set(names)
    assert set(names) - described == {"lint", "clean", "bench-scale"}
    for name in names:
        done = subprocess.run(["make", "-n", name], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    called = set(re.findall(r"(?m)^\$ make ([a-z-]+)", README)) | set(re.findall(r"`make ([a-z-]+)`", README))
    assert called <= set(names)


def test_its_commands_run_and_print_what_it_shows(tmp_path: Path) -> None:
    """In a copy of the checkout, from top to bottom."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    (tmp_path / "pyproject.toml").touch()
    for block in CONSOLE[1:]:
        first, *shown = block.rstrip("\n").split("\n")
        calls = [first] if shown and not shown[0].startswith("$ ") else block.rstrip("\n").split("\n")
        for call in calls:
            words = shlex.split(call.removeprefix("$ "), comments=True)
            assert words[0] == "emdsl"
            done = emdsl(*words[1:], cwd=tmp_path)
            if words[1:] == ["run", "experiments/quickstart.em"]:
                again = json.loads(emdsl(*words[1:], "--json", cwd=tmp_path).stdout)
                assert again["requests"] == 0, "what is stored is not asked again"
            if len(calls) == 1 and shown:
                assert done.stdout.rstrip("\n") == "\n".join(shown)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_its_python_runs(block: str, tmp_path: Path) -> None:
    """In a copy of the checkout; what it draws is there afterwards."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    (tmp_path / "pyproject.toml").touch()
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "81 requests are left" in done.stdout
    assert (tmp_path / "low_by_question.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize("block", re.findall(r"```em\n(.*?)```", README, re.DOTALL), ids=lambda b: b.split("\n")[0])
def test_its_programs_run(block: str) -> None:
    """As they stand, to the last answer; a declaration alone gets an edition and an experiment."""
    if not block.startswith("em "):
        block = f'em 1\n{block}\nexperiment e {{ ask answer from "sim/subject" with "x" }}\n'
    found = compile_source(Source("README.md", block, ROOT / "README.md"), {})
    provider, report = run(found)
    assert provider.n > 0
    assert not report.failures
