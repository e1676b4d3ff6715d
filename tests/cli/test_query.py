"""`query` beyond plain SQL: the schema, macros of the database, LaTeX, and what is stored while a run goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from speed import HANG_S
from support import SHOTS, SHOTS_STUDY, clean_environment, emdsl, simulator

from emdsl.outcomes.intervals import agresti_coull, wald, wilson

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    return tmp_path


def rows(folder: Path, *args: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(emdsl("query", *args, "--format", "json", cwd=folder).stdout)
    return found


def test_the_schema_is_told(folder: Path) -> None:
    """Tables first, then measures, then macros; each column with its type and what it holds."""
    emdsl("run", "study.em", cwd=folder)
    found = rows(folder, "--schema")
    assert found[0]["relation"] == "e"
    assert {"e", "low", "emdsl.wilson", "emdsl.kept_rate"} <= {r["relation"] for r in found}
    comments = {(r["relation"], r["column"]): r["contents"] for r in found}
    assert comments["e", "sample"] == "sample number, from 0"
    assert all(r["contents"] for r in found if r["relation"] in ("e", "low"))
    assert {r["column"] for r in rows(folder, "low", "--schema")} == {
        r["column"] for r in found if r["relation"] == "low"
    }
    with duckdb.connect(str(folder / "cache" / "outcomes.duckdb"), read_only=True) as other:
        columns = other.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE table_name IN ('e', 'low')"
        ).fetchall()
        views = other.execute("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall()
    assert {(t, c): contents for t, c, contents in columns} == {
        k: v for k, v in comments.items() if k[0] in ("e", "low")
    }
    assert [(n, c.partition(":")[0]) for n, c in views] == [("low", "measure low of e")]
    assert "expected SQL" in emdsl("query", cwd=folder, code=2).stderr
    told = emdsl("query", "FROM e", "--schema", cwd=folder, code=2).stderr
    assert "unknown table or measure `FROM e`" in told


def test_macros_are_there_for_any_client(folder: Path) -> None:
    """Another program opens the file, and computes the same intervals and rates."""
    emdsl("run", "study.em", cwd=folder)
    with duckdb.connect(str(folder / "cache" / "outcomes.duckdb"), read_only=True) as other:
        for hits, n in ((0, 7), (3, 10), (10, 10), (123, 400)):
            found = other.execute(
                "SELECT emdsl.wilson($1, $2), emdsl.wald($1, $2), emdsl.agresti_coull($1, $2)", [hits, n]
            ).fetchone()
            assert found is not None
            for mine, ours in zip(found, (wilson, wald, agresti_coull), strict=True):
                assert (float(mine["low"]), float(mine["high"])) == pytest.approx(ours(hits, n), abs=1e-12)
        assert other.execute("SELECT emdsl.wilson(0, 0)").fetchone() is not None
        measured = other.execute("SELECT k, rate, low, high, hits, n FROM study.low ORDER BY k").fetchall()
        by_hand = other.execute(
            "SELECT k, emdsl.kept_rate(aligned < 30, aligned IS NOT NULL) FROM study.e GROUP BY k ORDER BY k"
        ).fetchall()
        assert len(measured) == len(by_hand) == 2
        for (k, rate, low, high, hits, n), (again, kept) in zip(measured, by_hand, strict=True):
            assert k == again
            assert (kept["hits"], kept["n"]) == (hits, n)
            assert (kept["rate"], float(kept["low"]), float(kept["high"])) == pytest.approx((rate, low, high))
        (difference,) = other.execute("SELECT emdsl.difference(8, 10, 2, 10)").fetchone() or ()
        assert difference["contrast"] == pytest.approx(0.6)
        assert difference["low"] < 0.6 < difference["high"]


def test_a_table_for_a_paper(folder: Path) -> None:
    """LaTeX with its special characters escaped, to a file by its ending too."""
    emdsl("run", "study.em", cwd=folder)
    text = emdsl("query", "SELECT 'a_b & 5 %' AS what, 0.25 AS x", "--format", "latex", cwd=folder).stdout
    assert r"a\_b \& 5 \% & 0.25 \\" in text
    assert r"\begin{tabular}{lr}" in text
    emdsl("query", "FROM low", "-o", "t.tex", cwd=folder)
    assert (folder / "t.tex").read_text(encoding="utf-8").count("\n") == 9


def test_what_is_stored_while_a_run_goes_on(folder: Path) -> None:
    """`--live` sees it, the last whole load stays as it was, and nothing blocks."""
    with simulator("--latency", "0.4") as url:
        env = {"EMDSL_SIM_URL": url}
        emdsl("run", "study.em", "--samples", "1", cwd=folder, env=env)
        count = "SELECT count(answer) AS n FROM e"
        assert rows(folder, count) == [{"n": 4}]
        call = [sys.executable, "-m", "emdsl", "run", "study.em", "-j", "4"]
        process = subprocess.Popen(
            call, cwd=folder, env=clean_environment(env), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        seen: set[int] = set()
        while process.poll() is None and not any(4 < n < 40 for n in seen):
            seen.add(rows(folder, count, "--live", "--study", "study.em")[0]["n"])
            time.sleep(0.1)
        assert any(4 < n < 40 for n in seen), "more than before, and not yet all"
        assert rows(folder, count) in ([{"n": 4}], [{"n": 40}]), "never half"
        assert process.wait(HANG_S) == 0
    assert rows(folder, count) == [{"n": 40}]
    for option in ("--live", "--prompts"):
        assert f"{option} needs --study" in emdsl("query", "FROM e", option, cwd=folder, code=2).stderr
