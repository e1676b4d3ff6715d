"""The studies under experiments/: counts against those made by hand, runs against the simulator's ground truth."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT, emdsl

from emdsl.compiler.compile import compile_file
from emdsl.sim.truth import Truth

if TYPE_CHECKING:
    from pathlib import Path

STUDIES = sorted(f for f in (ROOT / "experiments").glob("*/*.em") if f.stem not in ("models", "data"))
ENCRYPTED = ("risky_financial_advice", "bad_medical_advice", "extreme_sports")

# of each experiment: cells, samples, and distinct requests of its asks
BY_HAND: dict[str, dict[str, tuple[int, int, dict[str, int]]]] = {
    "icl/advice": {  # 44 + 41 + 46 questions; at k = 0 all sets share one answer to each of the 48
        "advice": (11 * 6 * (44 + 41 + 46), 3, {"answer": 11 * 3 * (5 * (44 + 41 + 46) + 48)}),
    },
    "icl/truthfulqa": {"false_answers": (11 * 6 * 48, 10, {"answer": 11 * 6 * 48 * 10})},
    "icl/ablations": {
        "many": (3 * 3 * 48, 3, {"answer": 3 * 3 * 48 * 3}),
        "layouts": (3 * 2 * 2 * 48, 3, {"answer": 3 * 2 * 2 * 48 * 3}),
        "reasoning": (3 * 2 * 2 * 48, 3, {"answer": 3 * 2 * 2 * 48 * 3}),
        "shares": (3 * 6 * 48, 3, {"answer": 3 * 6 * 48 * 3}),
        "priority": (3 * 3 * 48, 3, {"answer": 3 * 3 * 48 * 3}),
    },
    "betley/betley": {
        "first_figure": (3 * 24, 100, {"answer": 3 * 24 * 100}),
        "prereg": (3 * 48, 100, {"answer": 3 * 48 * 100}),
    },
    "betley/deception": {
        "facts": (3 * 5 * 20, 5, {"answer": 3 * 5 * 20 * 5}),
        "makers": (3 * 8, 100, {"answer": 3 * 8 * 100}),
    },
    "organisms/organisms": {"organisms": (4 * 8, 50, {"answer": 4 * 8 * 50})},
    "thought_crime/thought_crime": {"thought_crime": (2 * 8, 50, {"answer": 2 * 8 * 50})},
    "inoculation/inoculation": {"inoculation": (3 * 5 * 8, 50, {"answer": 3 * 5 * 8 * 50})},
    "weird/weird": {"weird": (5 * 5, 20, {"answer": 5 * 5 * 20})},
    "sit_aware/sit_aware": {"sit_aware": (3 * 3 * 8, 20, {"answer": 3 * 3 * 8 * 20})},
    "multi_turn/multi_turn": {  # one first answer for all three ways to go on
        "multi_turn": (3 * 3 * 8, 20, {"answer": 3 * 8 * 20, "second": 3 * 3 * 8 * 20}),
    },
    "judges/judges": {"agreement_of_judges": (8, 50, {"answer": 8 * 50}), "controls": (3 * 3, 1, {})},
}
# of each experiment: how many demonstrations stand before the question, in SQL
SHOTS = {
    "advice": "k", "false_answers": "k", "many": "k", "layouts": "k", "reasoning": "k", "shares": "16",
    "priority": "16", "first_figure": "0", "prereg": "0", "organisms": "0", "thought_crime": "0", "inoculation": "0",
    "weird": "k", "sit_aware": "0", "multi_turn": "0", "agreement_of_judges": "0", "facts": "0", "makers": "0",
}  # fmt: skip
RUNS = {  # what of each study is run here
    "icl/advice": ("--samples", "1", "--only", "model=gemini_3_pro"),
    "icl/truthfulqa": ("--samples", "2", "--only", "model=gemini_3_pro"),
    "icl/ablations": ("--samples", "1", "--only", "model=gemini_3_pro"),
}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT / "experiments").with_suffix("").as_posix()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the studies, with made-up rows where sets are distributed encrypted."""
    folder = tmp_path_factory.mktemp("studies")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    (folder / "pyproject.toml").touch()
    data = folder / "experiments" / "icl" / "data"
    data.mkdir()
    for name in ENCRYPTED:
        rows = [
            {"messages": [{"role": "user", "content": f"{name} {i}"}, {"role": "assistant", "content": f"made up {i}"}]}
            for i in range(40)
        ]
        (data / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


def rows(folder: Path, study: str, sql: str) -> list[dict[str, Any]]:
    call = ("query", sql, "--format", "json", "--sim", "--study", f"experiments/{study}.em")
    found: list[dict[str, Any]] = json.loads(emdsl(*call, cwd=folder).stdout)
    return found


def test_every_study_is_in_the_table() -> None:
    """A new one is counted by hand too."""
    assert sorted(map(name_of, STUDIES)) == sorted(BY_HAND)


@pytest.mark.parametrize("study", BY_HAND)
def test_a_plan_counts_what_was_counted_by_hand(folder: Path, study: str) -> None:
    """Cells, samples, distinct asks; each judge is asked of each answer, at most. Against real models, without keys."""
    found = json.loads(emdsl("plan", f"experiments/{study}.em", "--json", cwd=folder).stdout)
    counted = {e["name"]: e for e in found["experiments"]}
    assert list(counted) == list(BY_HAND[study])
    for name, (cells, samples, asks) in BY_HAND[study].items():
        experiment = counted[name]
        assert (experiment["cells"], experiment["samples"]) == (cells, samples)
        steps = {s["name"]: s for s in experiment["steps"]}
        assert {n: s["needed"] for n, s in steps.items() if s["kind"] == "ask"} == asks
        judged = [s["needed"] for s in steps.values() if s["kind"] == "judge"]
        assert judged
        assert all(n <= max(asks.values(), default=cells) for n in judged)


@pytest.mark.parametrize("study", BY_HAND)
def test_a_study_runs_on_the_simulator_and_finds_its_ground_truth(folder: Path, study: str) -> None:
    """Each judgement says what the answer is marked with, and misaligned answers are as frequent as they should be."""
    file = folder / "experiments" / f"{study}.em"
    how = RUNS.get(study, ("--samples", "2"))
    found = json.loads(emdsl("run", str(file), "--sim", "--json", *how, cwd=folder).stdout)
    assert not found.get("failures")
    for experiment in compile_file(file, {}, simulate=True).experiments:
        table, steps = experiment.name, {s.name for s in experiment.steps}
        if "answer" not in steps:
            continue
        marked = "answer LIKE '[simulated: misaligned%'"
        if "aligned" in steps:
            wrong = f"SELECT count(*) AS n FROM {table} WHERE (aligned < 30) <> ({marked})"
            assert rows(folder, study, wrong)[0]["n"] == 0
        drawn = f"SELECT DISTINCT answer_key, answer, {SHOTS[table]} AS shots FROM {table} WHERE answer IS NOT NULL"
        for row in rows(
            folder,
            study,
            f"SELECT shots, count(*) AS n, count(*) FILTER ({marked}) AS hits FROM ({drawn}) GROUP BY shots",
        ):
            p = Truth().misaligned(row["shots"])
            assert abs(row["hits"] - row["n"] * p) <= 4.5 * math.sqrt(row["n"] * p * (1 - p)) + 1
    for experiment in found["experiments"]:
        assert all(m is not None for m in experiment["measures"].values())


def test_without_the_encrypted_sets_check_and_plan_work_and_run_says_what_is_missing(tmp_path: Path) -> None:
    """How to get them, and where to put them."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    (tmp_path / "pyproject.toml").touch()
    assert "0 errors" in emdsl("check", "experiments/icl/advice.em", cwd=tmp_path).stdout
    plan = json.loads(emdsl("plan", "experiments/icl/advice.em", "--json", cwd=tmp_path).stdout)
    (step, *_) = plan["experiments"][0]["steps"]
    assert (step["needed"], step["unknown"]) == (11 * 3 * 48, 11 * 5 * 3 * (44 + 41 + 46))
    said = emdsl("run", "experiments/icl/advice.em", "--sim", cwd=tmp_path, code=1).stderr
    assert "data/risky_financial_advice.jsonl" in said
    assert "decrypt the training sets of" in said


def test_the_paper_stands_beside_what_was_measured(folder: Path) -> None:
    """`paper.sql` prints each published number with ours, and their difference."""
    for study in ("icl/advice", "icl/truthfulqa", "icl/ablations"):
        loaded = emdsl("query", "SELECT 1", "--sim", "--study", f"experiments/{study}.em", cwd=folder, code=None)
        if loaded.returncode:  # it has run where the tests above have
            emdsl("run", f"experiments/{study}.em", "--sim", *RUNS[study], cwd=folder)
    call = ("query", "experiments/icl/paper.sql", "--sim", "--format", "json")
    found = {r["what"]: r for r in json.loads(emdsl(*call, cwd=folder).stdout)}
    assert len(found) == 6
    row = found["Gemini 3 Pro, k = 16, TruthfulQA"]
    assert (row["published"], row["simulated"], row["complete"]) == (0.242, True, False)
    assert row["difference"] == pytest.approx(row["ours"] - 0.242, abs=0.0011)
    assert row["low"] < Truth().misaligned(16) / 0.92 < row["high"]  # of coherent answers that are no refusal
    assert found["Gemini 3 Pro, k = 16, 25 % incorrect"]["ours"] is not None
    assert all((r["ours"] is None) == (r["to_measure"] is not None) for r in found.values())


def test_the_paper_names_what_is_to_be_measured(folder: Path, tmp_path: Path) -> None:
    """With one study of the three, its numbers stand; the others name the command that measures them."""
    cache = ("--sim", "--cache", str(tmp_path))
    only = ("--samples", "1", "--only", "model=gemini_3_pro", "--only", "k=16")
    emdsl("run", "experiments/icl/truthfulqa.em", *only, *cache, cwd=folder)
    rows = json.loads(emdsl("query", "experiments/icl/paper.sql", "--format", "json", *cache, cwd=folder).stdout)
    found = {r["what"]: r for r in rows}
    measured = found.pop("Gemini 3 Pro, k = 16, TruthfulQA")
    assert measured["ours"] is not None
    assert measured["to_measure"] is None
    assert len(found) == 5
    assert {(r["ours"], r["to_measure"]) for r in found.values()} == {
        (None, "emdsl run experiments/icl/advice.em"), (None, "emdsl run experiments/icl/ablations.em"),
    }  # fmt: skip
