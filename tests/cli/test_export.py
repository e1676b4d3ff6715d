"""`export`: outcomes as files that anybody reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import duckdb
import yaml
from support import SHOTS, SHOTS_STUDY, emdsl

from emdsl.digest import digest_bytes

if TYPE_CHECKING:
    from pathlib import Path


def test_a_study_as_files(tmp_path: Path) -> None:
    """Tables, the program, a manifest with every digest, a citation; whole or not at all."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    emdsl("run", "study.em", "--samples", "4", cwd=tmp_path)
    done = emdsl("export", "study.em", "-o", "out/part", cwd=tmp_path)
    assert "24 of 40 rows incomplete" in done.stdout
    emdsl("run", "study.em", cwd=tmp_path)
    assert "40 rows, complete" in emdsl("export", "study.em", "-o", "out/whole", cwd=tmp_path).stdout
    out = tmp_path / "out" / "whole"
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert found == {
        "CITATION.cff", "README.md", "manifest.json", "program/shots.csv", "program/study.em", "tables/e.parquet",
        "tables/low.parquet",
    }  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"] == {f: digest_bytes((out / f).read_bytes()).hex() for f in found - {"manifest.json"}}
    assert manifest["simulated"] is True
    assert {m["use"] for m in manifest["models"]} == {"sim/subject", "sim/judge"}
    assert manifest["experiments"][0]["complete"] is True
    with duckdb.connect() as other:
        rows = other.execute(f"SELECT count(*), count(aligned) FROM '{out}/tables/e.parquet'").fetchone()
        assert rows is not None
        assert rows[0] == 40
        assert other.execute(f"SELECT sum(n_planned) FROM '{out}/tables/low.parquet'").fetchone() == (40,)
    cited = yaml.safe_load((out / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["title"] == "study"
    emdsl("check", out / "program" / "study.em", cwd=tmp_path)
    assert "exists; choose another name" in emdsl("export", "study.em", "-o", "out/whole", cwd=tmp_path, code=2).stderr
    assert not list((tmp_path / "out").glob("*.new"))
