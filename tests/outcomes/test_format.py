"""The file that outcomes are in: one that DuckDB clients of the last two years open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
from support import SHOTS, SHOTS_STUDY, emdsl

from emdsl.outcomes.database import STORAGE

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
    assert "was written for newer clients only" in done.stdout + done.stderr
    assert storage(database) == STORAGE
