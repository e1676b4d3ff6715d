"""Each verb imports what it needs, and no more: start-up is paid at every call."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import SHOTS, SHOTS_STUDY, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

RESULTS = ("duckdb", "pyarrow", "numpy", "pandas", "altair")
SENDING = ("aiohttp", "pydantic", "uvloop")
SLOW = ("lark", "asyncio", "ssl", "rich", "yaml", "importlib.resources", "importlib.metadata", "difflib")
READING = ("emdsl.judge", "emdsl.forms")  # of replies
PATTERNS = ("re2", "emdsl.compiler.text_functions")  # of answers, in a study that reads some
CODE = """
import sys
sys.argv = ["emdsl", *sys.argv[1:]]
from emdsl.cli.main import main
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("call", "never"),
    [
        (["--help"], (*RESULTS, *SENDING, *SLOW, "pathlib", "dataclasses", "emdsl.source", "emdsl.cli.options")),
        (["check", "study.em"], (*RESULTS, *SENDING, *SLOW, *PATTERNS, "diskcache", "emdsl.forms", "emdsl.run.rows")),
        (["plan", "study.em"], (*RESULTS, *SENDING, *READING, "lark", "asyncio", "ssl", "urllib.request",
                                "emdsl.run.executor")),
        (["runs"], (*RESULTS, *SENDING, *SLOW, "diskcache", "emdsl.run.executor")),
        (["why", "study.em"], (*RESULTS, *SENDING, "emdsl.run.executor")),
        (["render", "study.em"], (*RESULTS, *SENDING, "emdsl.run.executor")),
    ],
    ids=lambda x: x[0],
)  # fmt: skip
def test_a_verb_imports_no_more_than_it_needs(tmp_path: Path, call: list[str], never: tuple[str, ...]) -> None:
    """A study that has no results yet needs no database, and what sends nothing needs no connections."""
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CODE, *call], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not set(never) & set(done.stderr.splitlines()[-1].split())


UNTIL_THE_FIRST_REQUEST = """
import os, sys
from emdsl.run.dispatcher import Dispatcher

def first(*_):
    print(*sorted(sys.modules), file=sys.stderr, flush=True)
    os._exit(0)

Dispatcher._start = first
"""


def test_the_first_request_waits_for_no_database(tmp_path: Path) -> None:
    """DuckDB and Arrow are imported while requests are under way, and what reads replies when the first one comes."""
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", UNTIL_THE_FIRST_REQUEST + CODE, "run", "study.em"], cwd=tmp_path,
        env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    imported = set(done.stderr.splitlines()[-1].split())
    assert "aiohttp" in imported, done.stderr
    assert not {*RESULTS, "lark", "yaml", "genai_prices"} & imported
