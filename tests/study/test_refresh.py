"""Tables that an older version of emdsl has made."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import duckdb
import pytest
from support import emdsl

import emdsl as emdsl_
from emdsl.errors import OutcomesError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
import alignment from "std:judges@1"
experiment e {
  for q in ["one", "two"]
  ask answer from "sim/subject" with "{q}"
  judge aligned with alignment(q, answer) from "sim/judge"
  measure low = rate(aligned < 30)
}
"""


def test_tables_of_an_older_version_are_made_anew(tmp_path: Path) -> None:
    """Their measures lack columns: nothing but the version tells, as the program and the answers are the same."""
    (tmp_path / "e.em").write_text(STUDY, encoding="utf-8")
    emdsl("run", "e.em", "--display", "none", cwd=tmp_path)
    shown = emdsl("show", "e.em", cwd=tmp_path).stdout
    (file,) = (tmp_path / "cache").rglob("outcomes.duckdb")
    with duckdb.connect(str(file)) as connection:
        ((program,),) = connection.execute("SELECT program FROM emdsl.studies").fetchall()
        assert len(program.split()) == 2
        connection.execute("UPDATE emdsl.studies SET program = split_part(program, ' ', 1)")
        ((kind,),) = connection.execute(
            "SELECT table_type FROM information_schema.tables WHERE table_schema = 'e' AND table_name = 'low'"
        ).fetchall()
        connection.execute(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} e.low")
        connection.execute("CREATE VIEW e.low AS SELECT 0.5 AS rate, 1 AS n")
    assert emdsl("show", "e.em", cwd=tmp_path).stdout == shown


def test_a_read_only_cache_is_read_and_tells_what_to_do_where_it_must_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans and the tables of the last load need no writing; a copy of the cache replays any selection."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "e.em").write_text(STUDY, encoding="utf-8")
    study = emdsl_.open(tmp_path / "e.em")
    study.run(display="none")
    held = tmp_path / "cache"
    shutil.copytree(held, tmp_path / "copy")
    monkeypatch.setattr("os.access", lambda path, _: held not in (path, *path.parents))
    assert study.run(offline=True, display="none").load_error == ""
    assert study.plan().requests == 0
    assert len(study.measure("low")) == 1
    (tmp_path / "e.em").write_text(STUDY.replace("30", "40"), encoding="utf-8")
    why = f"{held} is read-only, and new answers and tables are written there. Copy it"
    run = study.run(only={"q": ["one"]}, offline=True, display="none")
    assert (run.complete, run.cached) == (True, 2)
    assert run.load_error.startswith(why)
    shown = "".join(str(getattr(part, "text", part)) for part in run.parts())
    assert why in shown
    assert "emdsl show" not in shown, "it could not load them either"
    with pytest.raises(StoreError, match=r"is read-only.* With --offline, "):
        study.run(samples=1, display="none")
    with pytest.raises(StoreError, match=r"the same command with --cache COPY$"):  # as `cache merge`, which cannot
        study.project.store(create=True)
    with pytest.raises(OutcomesError, match="is read-only"):
        study.measure("low")
    copy = emdsl_.open(tmp_path / "e.em", cache=tmp_path / "copy")
    assert copy.run(offline=True, display="none").load_error == ""
