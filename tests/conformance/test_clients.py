"""DuckDB clients of the last two years read what a run leaves: every table, measure and macro."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import SHOTS, SHOTS_STUDY, clean_environment, emdsl

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = ("1.2.2", "1.4.4")
READ = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as database:
    names = database.execute(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema <> 'main' ORDER BY ALL"
    ).fetchall()
    counts = {f"{s}.{t}": database.execute(f'SELECT count(*) FROM "{s}"."{t}"').fetchone()[0] for s, t in names}
    kept = database.execute("SELECT emdsl.kept_rate(aligned < 30, aligned IS NOT NULL) FROM study.e").fetchone()[0]
print(json.dumps([duckdb.__version__, counts, kept["n"]]))
"""


@pytest.mark.parametrize("version", CLIENTS)
def test_an_older_client_reads_the_outcomes(version: str, tmp_path: Path) -> None:
    """It opens the file, and finds as many rows in each relation as the installed one."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    emdsl("run", "study.em", cwd=tmp_path)
    client = tmp_path / "client"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target",
         str(client), f"duckdb=={version}"],
        check=True, env=os.environ | {"PYTHONPATH": ""},
    )  # fmt: skip
    found = {}
    for name, path in (("older", str(client)), ("installed", "")):
        done = subprocess.run(
            [sys.executable, "-c", READ, "cache/outcomes.duckdb"], cwd=tmp_path, capture_output=True, text=True,
            check=True, env=clean_environment({"PYTHONPATH": path}),
        )  # fmt: skip
        found[name] = json.loads(done.stdout)
    assert found["older"][0] == version != found["installed"][0]
    assert found["older"][1:] == found["installed"][1:]
    assert found["older"][2] == 38  # of 40 draws, 2 have no score
