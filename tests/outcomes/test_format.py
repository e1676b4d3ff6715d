"""The file that outcomes are in: one that DuckDB clients of the last two years open."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import duckdb
from support import SHOTS, SHOTS_STUDY, emdsl

from emdsl.outcomes.loading import STORAGE

if TYPE_CHECKING:
    from pathlib import Path


def storage(path: Path) -> int:
    """Return the number of the format, by DuckDB's own header."""
    return int.from_bytes(path.read_bytes()[12:20], "little")


def test_older_clients_can_open_it(tmp_path: Path) -> None:
    """A new file has the format of DuckDB 1.0, and one of a newer format is made anew by the next load."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    emdsl("run", "study.em", "--samples", "1", cwd=tmp_path)
    database = tmp_path / "cache" / "outcomes.duckdb"
    assert storage(database) == STORAGE == 64
    database.unlink()
    with duckdb.connect(str(database), config={"storage_compatibility_version": "latest"}) as newer:
        newer.execute("CREATE TABLE t AS SELECT 1 AS x")
    assert storage(database) > STORAGE
    done = emdsl("run", "study.em", cwd=tmp_path)
    assert "is written for newer clients only" in done.stdout + done.stderr
    assert storage(database) == STORAGE


def test_a_file_that_is_cut_is_made_anew(tmp_path: Path) -> None:
    """The outcomes come from the store again, whole; what is left of the file is kept aside."""
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    emdsl("run", "study.em", "--samples", "1", cwd=tmp_path)
    database = tmp_path / "cache" / "outcomes.duckdb"
    os.truncate(database, database.stat().st_size // 2)
    done = emdsl("run", "study.em", cwd=tmp_path)
    assert "outcomes.duckdb.broken" in done.stderr
    assert json.loads(emdsl("query", "SELECT count(*) AS n FROM e", "--format", "json", cwd=tmp_path).stdout) == [
        {"n": 40}
    ]


def test_studies_that_differ_in_case_alone_are_told_before_anything_is_asked(tmp_path: Path) -> None:
    """A database takes `Study` for `study`: nothing is paid for before that is known."""
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    for name in ("study", "Study"):
        (tmp_path / f"{name}.em").write_text(SHOTS_STUDY.replace("one", name), encoding="utf-8")
    emdsl("run", "study.em", "--samples", "1", cwd=tmp_path)
    for verb in ("plan", "run"):
        done = emdsl(verb, "Study.em", cwd=tmp_path, code=1)
        assert "`Study` and `study` differ in upper and lower case only" in done.stderr
    assert "answered" not in done.stdout
