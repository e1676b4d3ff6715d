"""The command line as scripts and people use it: whole processes, exit codes, JSON."""

from __future__ import annotations

import json
import shlex
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT, clean_environment, emdsl

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
import alignment from "std:judges@1"
experiment e {
  for q in ["one", "two"]
  samples = 3
  ask answer from "sim/subject" with q
  judge aligned with alignment(q, answer) from "sim/judge"
  when aligned < 30 { judge again with alignment(q, answer) from "sim/judge" { max_tokens = 3 } }
  measure low = rate(aligned < 30) by q
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    return tmp_path


def run_json(folder: Path, *args: str, code: int = 0) -> Any:
    return json.loads(emdsl(*args, "--json", cwd=folder, code=code).stdout)


def test_plan_run_and_run_again(folder: Path) -> None:
    """The counts of the contract before, after, and when all is stored."""
    plan = run_json(folder, "plan", "study.em")
    answer, aligned, again = plan["experiments"][0]["steps"]
    assert {k: v for k, v in answer.items() if not k.startswith("est_")} == {
        "name": "answer",
        "kind": "ask",
        "needed": 6,
        "cached": 0,
        "pending": 6,
    }
    assert {k: v for k, v in aligned.items() if not k.startswith("est_")} == {
        "name": "aligned",
        "kind": "judge",
        "needed": 6,
        "cached": 0,
        "pending": 6,
        "probes": 1,
    }
    assert again["pending"] == {"expected": None, "at_most": 6}
    assert not (folder / "cache").exists(), "plan changes nothing"
    emdsl("plan", "study.em", "--exit-code", cwd=folder, code=3)
    first = run_json(folder, "run", "study.em")
    for step in first["experiments"][0]["steps"]:
        assert step["needed"] == step["cached"] + step["answered"] + step["failed"] + step["pending"]
    assert [s["answered"] for s in first["experiments"][0]["steps"][:2]] == [6, 6]
    assert first["requests"] == sum(s["answered"] for s in first["experiments"][0]["steps"]) + first["probes"]
    assert [r["q"] for r in first["experiments"][0]["measures"]["low"]] == ["one", "two"]
    second = run_json(folder, "run", "study.em")
    assert second["requests"] == 0
    assert [s["cached"] for s in second["experiments"][0]["steps"][:2]] == [6, 6]
    assert second["experiments"][0]["measures"] == first["experiments"][0]["measures"]
    emdsl("plan", "study.em", "--exit-code", cwd=folder)


def test_faults_are_one_json_object(folder: Path) -> None:
    """`{"error": [diagnostics]}` on standard output, exit 1, nothing else."""
    (folder / "bad.em").write_text('em 1\nmodel m { use = "gpt-4o" }\nexperiment e { ask a from m with "{x}" }\n')
    found = run_json(folder, "run", "bad.em", code=1)
    assert [(e["code"], e["line"]) for e in found["error"]] == [("E721", 2), ("E310", 3)]
    assert run_json(folder, "plan", "nowhere.em", code=2)["error"][0]["message"].startswith("cannot read `nowhere.em`")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--version"], 0, "emdsl"),
        (["--help"], 0, "Verbs"),
        (["run", "--help"], 0, "--only"),
        (["rnu", "study.em"], 2, "did you mean run"),
        (["run"], 2, "Missing argument"),
        (["run", "study.em", "--nonsense"], 2, "No such option"),
        (["run", "nowhere.em"], 2, "there is no such file"),
        (["run", "."], 2, "folder"),
        (["run", "loop.em"], 2, "loop"),
        (["query", "--study", ".", "SELECT 1"], 2, "folder"),
        (["plan", "study.em", "--only", "x=1"], 2, "unknown axis `x`"),
        (["plan", "study.em", "--only", "q=onee"], 2, "did you mean `one`?"),
        (["query", "SELECT 1"], 1, "no results"),
        (["show", "study.em"], 0, "low"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_calls_and_exit_codes(folder: Path, args: list[str], code: int, said: str) -> None:
    """0 done, 1 error, 2 usage; what is wrong is said, without a traceback."""
    (folder / "loop.em").symlink_to("loop.em")
    done = emdsl(*args, cwd=folder, code=code)
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_outputs_may_be_closed(folder: Path, closed: str) -> None:
    """As some schedulers do; the work is done."""
    command = f"{shlex.quote(sys.executable)} -m emdsl run study.em {closed}"
    done = subprocess.run(
        ["sh", "-c", command], check=False, cwd=folder, env=clean_environment(), capture_output=True, text=True
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert (folder / "cache" / "outcomes.duckdb").exists()


def test_offline_asks_nothing_and_says_what_is_missing(folder: Path) -> None:
    """Exit 3 with the rows that are there; after a run, 0."""
    done = emdsl("run", "study.em", "--offline", cwd=folder, code=3)
    assert "are not in the store" in done.stdout
    assert "incomplete" in done.stdout
    emdsl("run", "study.em", cwd=folder)
    emdsl("run", "study.em", "--offline", cwd=folder)


def test_restricted_runs_are_parts_of_the_whole(folder: Path) -> None:
    """`--samples` and `--only` ask a part; the rest shows as incomplete and is asked later."""
    part = run_json(folder, "run", "study.em", "--samples", "2", "--only", "q=one")
    assert part["experiments"][0]["cells"] == 1
    assert part["experiments"][0]["steps"][0]["answered"] == 2
    shown = emdsl("show", "study.em", cwd=folder).stdout
    assert "incomplete" in shown
    whole = run_json(folder, "run", "study.em")
    assert whole["experiments"][0]["steps"][0]["answered"] == 4


def test_the_cache_is_the_projects_from_any_folder(folder: Path) -> None:
    """The same cache, whichever folder it is called from; `--cache` and EMDSL_CACHE choose another."""
    (folder / ".git").mkdir()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "study.em").write_text(STUDY, encoding="utf-8")
    emdsl("run", "deep/study.em", cwd=folder)
    assert run_json(folder / "deep" / "er", "run", "../study.em")["requests"] == 0
    assert (folder / "cache" / ".gitignore").exists()
    assert emdsl("query", "SELECT count(*) AS n FROM e", "--format", "csv", cwd=folder / "deep").stdout == "n\n6\n"
    other = emdsl(
        "plan", "study.em", "--exit-code", cwd=folder / "deep", env={"EMDSL_CACHE": str(folder / "x")}, code=3
    )
    assert "pending" in other.stdout


def test_query_formats(folder: Path) -> None:
    """table, csv, json, jsonl, markdown, parquet; an error keeps DuckDB's caret."""
    emdsl("run", "study.em", cwd=folder)
    sql = "SELECT q, sample FROM e ORDER BY ALL LIMIT 2"
    assert emdsl("query", sql, "--format", "csv", cwd=folder).stdout == "q,sample\none,0\none,1\n"
    assert json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)[1] == {"q": "one", "sample": 1}
    assert len(emdsl("query", sql, "--format", "jsonl", cwd=folder).stdout.splitlines()) == 2
    assert emdsl("query", sql, "--format", "markdown", cwd=folder).stdout.splitlines()[2] == "| one | 0 |"
    assert "one" in emdsl("query", sql, cwd=folder).stdout
    emdsl("query", sql, "-o", "x.parquet", cwd=folder)
    count = "SELECT count(*) AS n FROM read_parquet('x.parquet')"
    assert emdsl("query", count, "--format", "csv", cwd=folder).stdout == "n\n2\n"
    bad = emdsl("query", "SELECT nothing FROM e", cwd=folder, code=1)
    assert "nothing" in bad.stderr
    assert "^" in bad.stderr
    refused = emdsl("query", "DROP TABLE e", cwd=folder, code=1)
    assert "read-only" in refused.stderr


def test_a_rehearsal_has_a_store_of_its_own(folder: Path) -> None:
    """`--sim` needs no key, replaces every model, and mixes with nothing."""
    text = STUDY.replace('"sim/subject"', "m").replace(' from "sim/judge"', "")
    (folder / "paid.em").write_text(
        text.replace("experiment", 'model m { use = "openrouter/a/b", temperature = 1 }\nexperiment', 1),
        encoding="utf-8",
    )
    missing = emdsl("run", "paid.em", cwd=folder, code=1)
    assert "`OPENROUTER_API_KEY` is not set" in missing.stderr
    assert "`OPENAI_API_KEY` is not set" in missing.stderr
    done = emdsl("run", "paid.em", "--sim", cwd=folder)
    assert "SIMULATED" in done.stdout
    assert (folder / "cache" / "sim" / "outcomes.duckdb").exists()
    assert run_json(folder, "plan", "paid.em")["experiments"][0]["steps"][0]["cached"] == 0
    rows = emdsl("query", "SELECT DISTINCT simulated FROM e", "--sim", "--format", "csv", cwd=folder).stdout
    assert rows.lower() == "simulated\ntrue\n"


def test_a_dry_run_is_a_plan(folder: Path) -> None:
    """The word of other tools for `plan`."""
    done = emdsl("run", "study.em", "--dry-run", cwd=folder)
    assert "pending" in done.stdout
    assert not (folder / "cache").exists()


def test_a_written_plan_has_a_dry_run(folder: Path) -> None:
    """Of its own selection; an outdated one is refused as by a run."""
    emdsl("plan", "study.em", "--samples", "2", "-o", "plan.json", cwd=folder)
    done = emdsl("run", "plan.json", "--dry-run", cwd=folder)
    assert "2 cells x 2 samples" in done.stdout
    assert "Run: emdsl run plan.json" in done.stdout
    assert not (folder / "cache").exists()
    (folder / "study.em").write_text(STUDY.replace('"one"', '"three"'), encoding="utf-8")
    assert "plan again" in emdsl("run", "plan.json", "--dry-run", cwd=folder, code=2).stderr


def test_a_damaged_entry_is_told_and_asked_again(folder: Path) -> None:
    """A flipped byte in the store is never believed."""
    emdsl("run", "study.em", cwd=folder)
    database = sqlite3.connect(folder / "cache" / "answers" / "cache.db")
    database.execute("UPDATE Cache SET value = value || 'x' WHERE rowid = 1")
    database.commit()
    database.close()
    plan = emdsl("plan", "study.em", cwd=folder)
    assert "1 damaged store entries fail their checksum" in plan.stderr
    assert run_json(folder, "run", "study.em")["requests"] == 1
    assert run_json(folder, "run", "study.em")["requests"] == 0


def test_what_is_stored_needs_no_key(folder: Path) -> None:
    """A variable that is not set matters only for steps that must run."""
    text = STUDY.replace("experiment e {", 'model m { use = "sim/subject", key = env.NO_SUCH_KEY }\nexperiment e {')
    (folder / "study.em").write_text(text, encoding="utf-8")
    emdsl("run", "study.em", cwd=folder)
    emdsl("run", "study.em", cwd=folder)


SHIPPED = [f for f in sorted((ROOT / "experiments").glob("*.em")) if "\nexperiment " in f.read_text(encoding="utf-8")]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.name)
def test_every_shipped_experiment_plans(file: Path, tmp_path: Path) -> None:
    """No key, no network, no cache."""
    found = json.loads(emdsl("plan", file, "--json", "--cache", tmp_path / "c", cwd=tmp_path).stdout)
    assert found["requests"] > 0


def test_check_finds_every_fault_of_every_file(folder: Path) -> None:
    """Exit 0 or 1; errors and warnings with their places; nothing is asked, no key is needed."""
    (folder / "bad.em").write_text('em 1\nmodel m { use = "gpt-4o" }\nexperiment e { ask a from m with "{x}" }\n')
    assert emdsl("check", "study.em", cwd=folder).stdout == "1 file: 0 errors, 0 warnings\n"
    found = run_json(folder, "check", "study.em", "bad.em", code=1)
    assert [(d["code"], d["line"]) for d in found["diagnostics"]] == [("E721", 2), ("E310", 3)]
    assert "did you mean" not in emdsl("check", "bad.em", cwd=folder, code=1).stderr
    (folder / "twins.em").write_text(
        'em 1\nexperiment e {\n  for q in [1]\n  for Q in [1]\n  ask a from "sim/subject" with "{q} {Q}"\n}\n'
    )
    assert (
        "two columns of the results would have the name `Q`: axis q and axis Q"
        in emdsl("check", "twins.em", cwd=folder, code=1).stdout
    )
    assert not (folder / "cache").exists()
