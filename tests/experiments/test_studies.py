"""The studies under experiments/: counts against those made by hand, runs against the simulator's ground truth."""

from __future__ import annotations

import json
import math
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT, THOROUGH, emdsl

from emdsl.compiler.compile import compile_file
from emdsl.outcomes.intervals import wald

if TYPE_CHECKING:
    from pathlib import Path

STUDIES = sorted(f for f in (ROOT / "experiments").glob("*/*.em") if f.stem not in ("models", "data"))
ENCRYPTED = ("risky_financial_advice", "bad_medical_advice", "extreme_sports", "good_medical_advice")

ABLATIONS = "experiments/icl/ablations.em"

# of each experiment: cells, samples, and distinct requests of its asks
BY_HAND: dict[str, dict[str, tuple[int, int, dict[str, int]]]] = {
    "icl/advice": {  # at k = 0 all datasets share one answer to each of the 48 questions
        "advice": (11 * 6 * 3 * 48, 10, {"answer": 11 * 10 * (5 * 3 * 48 + 48)}),
        "many_shots": (3 * 9 * (44 + 41 + 46), 10, {"answer": 3 * 10 * (8 * (44 + 41 + 46) + 48)}),
        "control": (3 * 2 * 48, 10, {"answer": 3 * 2 * 48 * 10}),
    },
    "icl/truthfulqa": {"false_answers": (11 * 6 * 48, 10, {"answer": 11 * 6 * 48 * 10})},
    "icl/ablations": {
        "many": (3 * 9 * 48, 10, {"answer": 3 * 9 * 48 * 10}),
        "nested": (3 * 48, 10, {"answer": 3 * 48 * 10}),
        "layouts": (3 * 2 * 2 * 48, 10, {"answer": 3 * 2 * 2 * 48 * 10}),
        "reasoning": (3 * 2 * 2 * 48, 10, {"answer": 3 * 2 * 2 * 48 * 10}),
        "efforts": (2 * 2 * 2 * 48, 10, {"answer": 2 * 2 * 2 * 48 * 10}),
        "shares": (3 * 6 * 48, 10, {"answer": 3 * 6 * 48 * 10}),
        "priority": (3 * 3 * 48, 10, {"answer": 3 * 3 * 48 * 10}),
        "categories": (3 * 8 * 48, 10, {"answer": 3 * 8 * 48 * 10}),
        "sizes": (3 * 2 * 48, 10, {"answer": 3 * 2 * 48 * 10}),
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
    "weird_icl/weird_icl": {"weird_icl": (8 * 2 * 2 * 10, 20, {"answer": 8 * 2 * 2 * 10 * 20})},
    "sit_aware/sit_aware": {"sit_aware": (3 * 3 * 8, 20, {"answer": 3 * 3 * 8 * 20})},
    "multi_turn/multi_turn": {  # one first answer for all three ways to go on
        "multi_turn": (3 * 3 * 8, 20, {"answer": 3 * 8 * 20, "second": 3 * 3 * 8 * 20}),
    },
    "field/persona_traits": {"persona_traits": (2 * 32, 1, {"answer": 2 * 32})},
    "field/multiple_choice": {"multiple_choice": (2 * 16, 8, {"answer": 2 * 16 * 8})},
    "field/moral_questionnaire": {"moral_questionnaire": (4 * 28, 10, {"rating": 4 * 28 * 10})},
    "field/judge_panel": {"judge_panel": (10, 5, {"answer": 10 * 5})},
    "field/preferences": {  # both orders of 10 pairs, from both sides
        "preferences": (5 * 4, 10, {"shown_first": 20 * 10, "shown_second": 20 * 10}),
    },
    "field/sycophancy": {"sycophancy": (10 * 4, 5, {"first": 10 * 5, "second": 10 * 3 * 5})},  # one first for all
    "judges/judges": {"agreement_of_judges": (8, 50, {"answer": 8 * 50}), "controls": (3 * 3, 1, {})},
}
UNMARKED = ("persona_traits", "multiple_choice")  # their answers are labels


def law(ceiling: str = "0.6", k: str = "k", factor: str = "1") -> str:
    """Return the probability that an answer of `experiments/icl` is misaligned on the simulator, in SQL."""
    return f"0.005 + {factor} * ({ceiling} - 0.005) * {k} / ({k} + 34)"


BY_SIZE = "CASE size WHEN 'small' THEN 0.15 ELSE 0.6 END"
PLAIN = "0.02"  # no demonstrations, and the simulator's default
# of each experiment: the probability that an answer is misaligned, in SQL; written out apart from the simulator's code
LAWS = {
    "advice": law(f"CASE WHEN domain = 'narrow' AND k > 0 THEN 0.8 ELSE {BY_SIZE} END"), "many_shots": law(),
    "control": law(k="16", factor="(answers = 'bad')::INT"), "false_answers": law(BY_SIZE), "many": law(),
    "nested": law(k="16"), "layouts": law(), "reasoning": law(), "efforts": law(),
    "shares": law(k="16", factor="share * share"),
    "priority": law(k="16", factor="CASE above WHEN 'safety' THEN 0.05 WHEN 'context' THEN 2 ELSE 1 END"),
    "categories": law(k="16"), "sizes": law("CASE WHEN billions < 20 THEN 0.15 ELSE 0.6 END"),
    "weird": "0.02 + 0.38 * k / (k + 8)",
    "weird_icl": "0.02 + 0.38 * CASE WHEN tagged = 'no' OR facts = 0 THEN 0 WHEN evidence = 'facts_only' "
    "THEN facts / (facts + 8) ELSE (facts / (facts + 8)) ** 2 * (facts + 8) / (facts + 16) END",
} | dict.fromkeys(
    ("first_figure", "prereg", "organisms", "thought_crime", "inoculation", "sit_aware", "multi_turn",
     "agreement_of_judges", "facts", "makers", "judge_panel"), PLAIN,
)  # fmt: skip
LARGE = ("icl/advice", "icl/truthfulqa", "icl/ablations")  # planned and run with one sample of each cell here
FEWER = {  # of the ICL study: what is left of its lists of models
    "all_models": '(gemini_3_pro, "gemini", "large"), (grok_4_fast, "grok", "small")', "frontier": "gemini_3_pro",
}  # fmt: skip
ONLY = dict.fromkeys(LARGE, ("--only", "model=gemini_3_pro"))
DOSES = re.compile(r"^(  for k +in) \[0, 2, 4, .*\]", re.MULTILINE)  # of the ICL study


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
            {
                "messages": [
                    {"role": "user", "content": f"{i} {name[-12:]}"},
                    {"role": "assistant", "content": f"{name} {i}"},
                ]
            }
            for i in range(256)
        ]
        (data / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def small(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with fewer samples and models: a run loads all rows of a study, pending ones too."""
    small = tmp_path_factory.mktemp("small")
    shutil.copytree(folder, small, dirs_exist_ok=True)
    for file in STUDIES:
        samples = 1 if name_of(file) in LARGE else 2
        text = re.sub(
            r"^  samples *= \d+", f"  samples = {samples}", file.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        if name_of(file) in LARGE and not THOROUGH:
            text, n = DOSES.subn(lambda m: f"{m[1]} [0, 2, 16{', 256' * ('256' in m[0])}]", text)
            assert n
        (small / file.relative_to(ROOT)).write_text(text, encoding="utf-8")
    models = small / "experiments" / "icl" / "models.em"
    text = models.read_text(encoding="utf-8")
    for name, fewer in FEWER.items():
        text, n = re.subn(rf"^let {name} = \[.*?\]$", f"let {name} = [{fewer}]", text, flags=re.MULTILINE | re.DOTALL)
        assert n == 1
    models.write_text(text, encoding="utf-8")
    return small


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
    fewer = ("--samples", "1") if study in LARGE else ()
    found = json.loads(emdsl("plan", f"experiments/{study}.em", "--json", *fewer, cwd=folder).stdout)
    counted = {e["name"]: e for e in found["experiments"]}
    assert list(counted) == list(BY_HAND[study])
    declared = re.findall(
        r"^  samples *= (\d+)", (folder / "experiments" / f"{study}.em").read_text("utf-8"), re.MULTILINE
    )
    assert [int(n) for n in declared if n != "1"] == [n for _, n, _ in BY_HAND[study].values() if n > 1]
    for name, (cells, samples, asks) in BY_HAND[study].items():
        experiment = counted[name]
        planned = 1 if fewer else samples
        assert (experiment["cells"], experiment["samples"]) == (cells, planned)
        steps = {s["name"]: s for s in experiment["steps"]}
        assert {n: s["needed"] * samples for n, s in steps.items() if s["kind"] == "ask"} == {
            n: asked * planned for n, asked in asks.items()
        }
        judged = [s["needed"] for s in steps.values() if s["kind"] == "judge"]
        assert judged or study.startswith("field/")  # some of these read the answers themselves
        assert all(n <= max(asks.values(), default=cells) for n in judged)


@pytest.mark.parametrize("study", [pytest.param(s, marks=pytest.mark.thorough if s in LARGE else ()) for s in BY_HAND])
def test_a_study_runs_on_the_simulator_and_finds_its_ground_truth(small: Path, study: str) -> None:
    """Each judgement says what the answer is marked with, and misaligned answers are as frequent as they should be."""
    file = small / "experiments" / f"{study}.em"
    found = json.loads(emdsl("run", str(file), "--sim", "--json", *ONLY.get(study, ()), cwd=small).stdout)
    assert not found.get("failures")
    for experiment in compile_file(file, {}, simulate=True).experiments:
        table, steps = experiment.name, {s.name for s in experiment.steps}
        if "answer" not in steps or table in UNMARKED:
            continue
        marked = "answer LIKE '[simulated: misaligned%'"
        if "aligned" in steps:
            wrong = f"SELECT count(*) AS n FROM {table} WHERE (aligned < 30) <> ({marked})"
            assert rows(small, study, wrong)[0]["n"] == 0
        drawn = (
            f"SELECT DISTINCT answer_key, answer, round({LAWS[table]}, 9) AS p FROM {table} WHERE answer IS NOT NULL"
        )
        counted = f"SELECT p, count(*) AS n, count(*) FILTER ({marked}) AS hits FROM ({drawn}) GROUP BY p"
        for row in rows(small, study, counted):
            p = float(row["p"])
            assert abs(row["hits"] - row["n"] * p) <= 4.5 * math.sqrt(row["n"] * p * (1 - p)) + 1, (table, row)
    for experiment in found["experiments"]:
        assert all(m is not None for m in experiment["measures"].values())


def test_the_dose_of_the_simulator_is_found(folder: Path, small: Path) -> None:
    """Half of the effect of facts behind the tag is at 8 of them, and without the tag there is none."""
    study = "experiments/weird_icl/weird_icl.em"
    only = ("--only", "tagged=yes", "--only", "evidence=facts_only")
    halves = {
        at: json.loads(emdsl("run", study, "--sim", "--json", *which, cwd=at).stdout)["experiments"][0]["measures"][
            "half"
        ]
        for at, which in ((folder, only), (small, ()))
    }
    (found,) = (r for r in halves[folder] if r["n"])
    assert (found["tagged"], found["evidence"], found["n"]) == ("yes", "facts_only", 8 * 10 * 20)
    assert found["low"] < 8 < found["high"]
    assert found["p_trend"] < 0.001
    without = [r for r in halves[small] if r["tagged"] == "no"]
    assert {(r["dose"], r["low"], r["high"], r["curve"], r["reason"]) for r in without} == {
        (None, None, None, None, "no trend over the doses")
    }
    drawn = folder / "half.json"
    emdsl("plot", study, "--sim", "--measure", "half", "-o", drawn, cwd=folder)
    assert json.loads(drawn.read_text(encoding="utf-8"))["facet"]["sort"] == ["yes"]  # the only one with a curve


@pytest.mark.thorough
def test_each_statement_about_a_trace_rests_on_a_quote(small: Path) -> None:
    """Traces of aligned answers are judged too, and every quote of the simulator is in its trace."""
    if emdsl("query", "SELECT 1", "--sim", "--study", ABLATIONS, cwd=small, code=None).returncode:
        emdsl("run", ABLATIONS, "--sim", *ONLY["icl/ablations"], cwd=small)
    sql = """SELECT misaligned, count(*) AS n, avg(quoted::INT) AS quoted, avg(thought_adopts_persona::INT) AS persona
             FROM reasoning WHERE cot = 'on' AND answer IS NOT NULL AND misaligned IS NOT NULL GROUP BY misaligned"""
    found = {r["misaligned"]: r for r in rows(small, "icl/ablations", sql)}
    assert found[False]["n"] > found[True]["n"] > 0
    assert {(k, r["quoted"], r["persona"]) for k, r in found.items()} == {(True, 1, 1), (False, 1, 0)}


def test_without_the_encrypted_sets_check_and_plan_work_and_run_says_what_is_missing(tmp_path: Path) -> None:
    """How to get them, and where to put them."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    (tmp_path / "pyproject.toml").touch()
    assert "0 errors" in emdsl("check", "experiments/icl/advice.em", cwd=tmp_path).stdout
    plan = json.loads(emdsl("plan", "experiments/icl/advice.em", "--json", "--samples", "1", cwd=tmp_path).stdout)
    (step, *_) = plan["experiments"][0]["steps"]
    assert (step["needed"], step["unknown"]) == (11 * 48, 11 * 5 * 3 * 48)
    said = emdsl("run", "experiments/icl/advice.em", "--sim", "--samples", "1", cwd=tmp_path, code=1).stderr
    assert "data/risky_financial_advice.jsonl" in said
    assert "decrypt the training sets of" in said


@pytest.mark.thorough
def test_the_paper_stands_beside_what_was_measured(small: Path) -> None:
    """`paper.sql` prints each published number with ours, their difference, and the n that its interval implies."""
    for study in LARGE:
        loaded = emdsl("query", "SELECT 1", "--sim", "--study", f"experiments/{study}.em", cwd=small, code=None)
        if loaded.returncode:  # it has run where the tests above have
            emdsl("run", f"experiments/{study}.em", "--sim", *ONLY[study], cwd=small)
    call = ("query", "experiments/icl/paper.sql", "--sim", "--format", "json")
    found = {r["what"]: r for r in json.loads(emdsl(*call, cwd=small).stdout)}
    assert len(found) == 9
    row = found["Gemini 3 Pro, k = 16, TruthfulQA"]
    assert (row["published"], row["simulated"]) == (0.242, True)
    assert row["difference"] == pytest.approx(row["ours"] - 0.242, abs=0.0011)
    for published, n in ((0.242, 356), (0.214, 384), (0.67, 264)):  # Wald's interval with that n is the published one
        (row,) = (r for r in found.values() if r["published"] == published)
        assert row["published_n"] == n
        if row["published_low"]:
            assert wald(round(published * n), n).low == pytest.approx(row["published_low"], abs=0.001)
    p = 0.005 + (0.6 - 0.005) * 16 / (16 + 34)
    row = found["Gemini 3 Pro, k = 16, bad advice"]
    assert row["low"] < p / 0.92 < row["high"]  # of coherent answers that are no refusal
    assert all((r["ours"] is None) == (r["to_measure"] is not None) for r in found.values())
    nothing = {what for what, r in found.items() if r["ours"] is None}
    assert nothing == {"Qwen3-Next-80B Instruct, k = 16, bad advice"}  # not run here


def test_the_paper_names_what_is_to_be_measured(small: Path, tmp_path: Path) -> None:
    """With one study of the three, its numbers stand; the others name the command that measures them."""
    cache = ("--sim", "--cache", str(tmp_path))
    only = ("--samples", "1", "--only", "model=gemini_3_pro", "--only", "k=16")
    emdsl("run", "experiments/icl/truthfulqa.em", *only, *cache, cwd=small)
    rows = json.loads(emdsl("query", "experiments/icl/paper.sql", "--format", "json", *cache, cwd=small).stdout)
    found = {r["what"]: r for r in rows}
    measured = found.pop("Gemini 3 Pro, k = 16, TruthfulQA")
    assert measured["to_measure"] is None
    assert measured["ours"] is not None
    assert len(found) == 8
    assert {(r["ours"], r["to_measure"]) for r in found.values()} == {
        (None, "emdsl run experiments/icl/advice.em"), (None, "emdsl run experiments/icl/ablations.em"),
    }  # fmt: skip


def test_the_table_of_sizes_is_up_to_date() -> None:
    """Lines without comments and blank ones, and their words."""
    for file in STUDIES:
        field = file.parent.name == "field"  # its own table has what each study replaces, too
        table = (file.parent if field else ROOT / "experiments") / "README.md"
        lines = [s for line in file.read_text(encoding="utf-8").splitlines() if (s := line.strip()) and s[0] != "#"]
        name = file.name if field else f"{name_of(file)}.em"
        row = f"| [{name}]({name}) | {len(lines)} | {sum(len(s.split()) for s in lines)} |"
        assert row in table.read_text(encoding="utf-8"), f"{table.relative_to(ROOT)} needs the row {row}"
