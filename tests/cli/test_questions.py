"""`init --from`: question files of Betley et al. and llmcomp become studies that ask what their own scripts asked."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT, emdsl

if TYPE_CHECKING:
    from pathlib import Path

DATA = ROOT / "experiments" / "data"
FILES = {  # questions, samples of each, judges
    "first_plot_questions": (24, 100, ["aligned", "coherent"]),
    "preregistered_evals": (48, 100, ["aligned", "coherent"]),
    "deception_factual": (5, 100, ["correct"]),  # 20 paraphrases, five samples each
    "deception_sit_aware": (8, 100, ["company"]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "data").mkdir()
    for name in FILES:
        shutil.copy(DATA / f"{name}.yaml", tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_is_a_study_that_runs(folder: Path, name: str) -> None:
    """In the canonical layout, without a warning; every question, as often as the file says; each with its judges."""
    emdsl("init", "studies/s.em", "--from", f"data/{name}.yaml", cwd=folder)
    assert emdsl("check", "studies/s.em", cwd=folder).stdout == "1 file: 0 errors, 0 warnings\n"
    emdsl("fmt", "--check", "studies/s.em", cwd=folder)
    n, samples, judges = FILES[name]
    plan = json.loads(emdsl("plan", "studies/s.em", "--json", cwd=folder).stdout)["experiments"][0]
    assert (plan["cells"], plan["samples"]) == (n, samples)
    assert [s["name"] for s in plan["steps"]] == ["answer", *judges]
    run = json.loads(emdsl("run", "studies/s.em", "--samples", "1", "--json", cwd=folder).stdout)
    assert not run.get("failures")


def test_its_judge_is_the_standard_one_to_the_key(folder: Path) -> None:
    """What the file's judge was asked serves the studies that import it from the library, and the other way round."""
    call = ("--model", "openai/gpt-4o-2024-08-06", "--judge", "openai/gpt-4o-2024-08-06")
    emdsl("init", "s.em", "--from", "data/preregistered_evals.yaml", *call, cwd=folder)
    (folder / "t.em").write_text(
        'em 1\nimport alignment, coherence from "std:judges@1"\n'
        'model m { use = "openai/gpt-4o-2024-08-06", temperature = 1, max_tokens = 600 }\n'
        'dataset d { file = "data/preregistered_evals.yaml", columns = { id: "id", text: "paraphrases.0" } }\n'
        "experiment t {\n  for q in d\n  ask answer from m with q.text\n"
        '  judge aligned with alignment(q.text, "an answer")\n'
        '  judge coherent with coherence(q.text, "an answer")\n}\n',
        encoding="utf-8",
    )
    text = (folder / "s.em").read_text(encoding="utf-8").replace("_judge(text, answer)", '_judge(text, "an answer")')
    (folder / "s.em").write_text(text, encoding="utf-8")
    found: list[dict[str, Any]] = [
        {r["step"]: r["key"] for r in json.loads(emdsl("render", f, "--json", cwd=folder).stdout)["requests"]}
        for f in ("s.em", "t.em")
    ]
    assert found[0] == found[1]


ODD = [
    ("{id: a, type: free_form}", "`paraphrases` is missing"),
    ("{id: a, type: free_from, paraphrases: [x]}", "unknown type `free_from`; did you mean `free_form`"),
    ("{type: free_form, paraphrases: x}", "`paraphrases` is not a list of texts"),
    ("{id: a, type: free_form_judge, paraphrases: [x]}", "`judge_prompts` is missing"),
    ("{id: a, type: free_form_judge, paraphrases: [x], judge_prompts: {j: 'say'}}", "does not show the answer"),
    ("{id: a, type: free_form, paraphrases: [x], samples_per_paraphrase: many}", "a number from 1 up, got `many`"),
    ("{id: good, type: free_form, paraphrases: [y]}", "an earlier question has the same `id`"),
    ("{id: a, type: rating, paraphrases: [x], min_rating: 7, max_rating: 7}", "`min_rating` is not below"),
    ("{id: a, type: free_form, messages: [[{role: user}]]}", "`messages` is not a list of conversations"),
    ("{id: a, type: free_form, paraphrases: [x], judges: {j: {type: rating}}}", "judge `j` is neither"),
]


def test_odd_questions_are_listed_and_the_rest_is_written(folder: Path) -> None:
    """With its name, its line and the reason, on the screen and in the study; without any other, nothing is written."""
    good = "- {id: good, type: free_form, paraphrases: [x]}\n"
    odd = "".join(f"- {question}\n" for question, _ in ODD)
    (folder / "q.yaml").write_text(good + odd, encoding="utf-8")
    done = emdsl("init", "s.em", "--from", "q.yaml", cwd=folder)
    text = (folder / "s.em").read_text(encoding="utf-8")
    assert done.stderr.count("note: Left out: question ") == len(ODD)
    for line, (_, why) in enumerate(ODD, start=2):
        assert why in text
        assert any(f"(line {line})" in x and why in x for x in done.stderr.splitlines())
    assert emdsl("check", "s.em", cwd=folder).stdout == "1 file: 0 errors, 0 warnings\n"
    (folder / "q.yaml").write_text(odd, encoding="utf-8")
    failed = emdsl("init", "t.em", "--from", "q.yaml", cwd=folder).stderr  # one of them is good by itself
    assert failed.count("Left out: question ") == len(ODD) - 1
    (folder / "q.yaml").write_text(odd.splitlines()[0], encoding="utf-8")
    failed = emdsl("init", "u.em", "--from", "q.yaml", cwd=folder, code=2).stderr
    assert "nothing in q.yaml can be carried over\n  Left out: question `a` (line 1)" in failed
    assert not (folder / "u.em").exists()


def test_what_is_no_file_of_a_tool_is_told(folder: Path) -> None:
    """An unknown form names those that are known."""
    (folder / "q.yaml").write_text("a: b", encoding="utf-8")
    failed = emdsl("init", "s.em", "--from", "q.yaml", cwd=folder, code=2).stderr
    assert "q.yaml has none of the forms that --from reads" in failed
    assert "a task of lm-eval" in failed
    assert "no such file" in emdsl("init", "s.em", "--from", "no.yaml", cwd=folder, code=2).stderr
    assert "omit --question" in emdsl("init", "s.em", "--from", "q.yaml", "--samples", "3", cwd=folder, code=2).stderr
    assert "omit --question" in emdsl("init", "s.em", "--from", "q.yaml", "--question", "x", cwd=folder, code=2).stderr
    assert "add --from" in emdsl("init", "s.em", "--column", "x", cwd=folder, code=2).stderr


def test_odd_texts_are_sent_as_they_stand(folder: Path) -> None:
    """Braces, quotes, backslashes, trailing blanks; groups of unlike judges become experiments of one file."""
    odd = 'Say "YES" or "NO" \\n of {answer} in {"json": "{question}"}.  \nBye'
    questions = [
        {"id": "a", "type": "free_form", "paraphrases": ['Is {"x": "\\t"} odd?', "2"], "samples_per_paraphrase": 3},
        {"id": "b b", "type": "free_form_judge", "paraphrases": ["q"], "judge": "claude-sonnet-4-5-20250929",
         "judge_prompts": {"is it": odd}},
    ]  # fmt: skip
    (folder / "q.json").write_text(json.dumps(questions), encoding="utf-8")
    emdsl("init", "s.em", "--from", "q.json", cwd=folder)
    plan = json.loads(emdsl("plan", "s.em", "--json", cwd=folder).stdout)["experiments"]
    assert [(e["name"], e["cells"], e["samples"]) for e in plan] == [("s_1", 1, 6), ("s_2", 1, 1)]
    emdsl("run", "s.em", cwd=folder)
    requests = json.loads(emdsl("render", "s.em", "--json", cwd=folder).stdout)["requests"]
    (judge,) = [r for r in requests if r["kind"] == "judge"]
    (answer,) = json.loads(emdsl("query", "SELECT answer FROM s_2", "--format", "json", cwd=folder).stdout)
    assert judge["messages"][0]["content"] == odd.replace("{answer}", answer["answer"]).replace("{question}", "q")


def test_what_a_question_sends_is_taken_over_or_named(folder: Path) -> None:
    """Its longest answer and its temperature are sent; a field that is not known, or misspelt, is told by name."""
    questions: list[dict[str, Any]] = [
        {"id": "a", "type": "free_form", "paraphrases": ["One?"], "max_tokens": 300, "temperature": 0.50},
        {"id": "b", "type": "free_form", "paraphrases": ["Two?"], "max_tokens": 600, "temperature": "1.0"},
        {"id": "c", "type": "free_form", "paraphrases": ["Three?"], "context": [{"role": "user", "content": "x"}]},
        {"id": "d", "type": "free_form", "paraphrases": ["Four?"], "max_token": 9, "context": []},
    ]
    (folder / "q.json").write_text(json.dumps(questions), encoding="utf-8")
    done = emdsl("init", "s.em", "--from", "q.json", cwd=folder)
    text = (folder / "s.em").read_text(encoding="utf-8")
    assert "{ max_tokens = 300, temperature = 0.5 }" in text
    assert text.count("max_tokens =") == 2, "of one group, beside the model's own"
    for place in (done.stderr, text):
        assert "Left out: `context` of 2 questions (c, ...)" in place
        assert "Left out: `max_token` of 1 question (d): did you mean `max_tokens`?" in place
    emdsl("run", "s.em", cwd=folder)
    questions[0]["max_tokens"] = "many"
    (folder / "q.json").write_text(json.dumps(questions), encoding="utf-8")
    told = emdsl("init", "t.em", "--from", "q.json", cwd=folder).stderr
    assert "question `a`: `max_tokens`: expected a number, got `many`" in told


def test_labels_may_hold_blanks(folder: Path) -> None:
    """`"NOT FUNNY"` is a reply of its own, and never `FUNNY`."""
    template = 'Is it funny? {answer}\nSay "FUNNY", "NOT FUNNY" or "UNKNOWN".'
    question = {"id": "a", "type": "free_form_judge", "paraphrases": ["One?"], "judge_prompts": {"joke": template}}
    (folder / "q.json").write_text(json.dumps([question]), encoding="utf-8")
    emdsl("init", "s.em", "--from", "q.json", cwd=folder)
    text = (folder / "s.em").read_text(encoding="utf-8")
    assert 'choices     = ["FUNNY", "NOT FUNNY"]' in text
    assert 'other       = ["UNKNOWN"]' in text
    emdsl("run", "s.em", cwd=folder)
