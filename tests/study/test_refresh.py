"""Tables that an older version of emdsl has made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
from support import emdsl

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
