"""The README is true: its commands run, its output is what they print, its figures and links are there."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from pages import blocks, check_page
from support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)


def test_its_commands_run_and_print_what_it_shows(tmp_path: Path) -> None:
    """In a copy of the checkout, from top to bottom."""
    check_page(README, tmp_path)


def test_it_is_short_and_begins_with_the_two_commands_of_a_newcomer() -> None:
    """What is more than a first look stands in `docs/`."""
    assert len(TEXT.encode()) < 8_500
    first = next(b for b in blocks(TEXT) if b.language == "console")
    assert [line.split("  ")[0] for line in first.body.splitlines()][-2:] == ["$ make quickstart", "$ make test"]


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
    called = set(re.findall(r"(?m)^\$ make ([a-z-]+)", TEXT)) | set(re.findall(r"`make ([a-z-]+)`", TEXT))
    assert called <= set(names)
