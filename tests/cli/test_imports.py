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
        (["check", "study.em"], (*RESULTS, *SENDING, *SLOW, "diskcache", "emdsl.forms", "emdsl.run.rows")),
        (["plan", "study.em"], (*RESULTS, *SENDING, "emdsl.run.executor")),
        (["why", "study.em"], (*RESULTS, *SENDING, "emdsl.run.executor")),
        (["render", "study.em"], (*RESULTS, *SENDING, "emdsl.run.executor")),
    ],
    ids=lambda x: x[0],
)
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
