"""`freeze`: edits without meaning change nothing, every other one is named, and data that was there is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from reported import first_of
from support import SHOTS, emdsl

import emdsl as api
from emdsl.errors import FileExists, FileMissing, SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.study.deviations import Deviations

STUDY = """em 1
import alignment, coherence from "std:judges@1"
import subject from "models.em"
python worst(score, other) -> number from "f.py"
dataset data { file = "shots.csv", columns = { user: "q", assistant: "a" } }
prompt shots_then(shots, question) {
  each s in shots {
    user s.user
    assistant s.assistant
  }
  user question
}
let limit = 30
let bad(score, other) = score < limit and other >= 50
experiment e {
  for k in [0, 2]
  for q in ["one", "two"]
  samples = 2
  let shots = draw(data, k, seed: sample)
  ask answer from subject with shots_then(shots, q)
  judge aligned with alignment(q, answer) from "sim/judge"
  when aligned < 50 {
    judge coherent with coherence(q, answer) from "sim/judge"
  }
  let misaligned = bad(aligned, coherent)
  let lowest = worst(aligned, coherent)
  measure low = rate(aligned < 30) by k
  measure em = rate(misaligned) by k, q
  measure both = contrast(rate(aligned < 30 given coherent >= 50), k == 2, k == 0)
  measure worst_of = mean(lowest)
}
"""
MODELS = 'em 1\nmodel subject { use = "sim/subject", temperature = 1, max_tokens = 500 }\n'
HOOK = "def worst(score, other):\n    return min(score, other)\n"
Edit = tuple[str, str]


def line(start: str) -> str:
    """Return a line of the study, by its first words."""
    return next(x for x in STUDY.splitlines(keepends=True) if x.strip().startswith(start))


def moved(start: str, before: str) -> list[Edit]:
    """Return the edits that move a line to a place before another one."""
    return [(line(start), ""), (line(before), line(start) + line(before))]


MEANING_FREE: dict[str, list[Edit]] = {
    "a comment": [("experiment e {", "# about this\nexperiment e {  # here")],
    "blank lines": [("  samples = 2", "\n\n  samples = 2\n")],
    "indentation": [("  for k in", "      for k in")],
    "blanks within a line": [("rate(aligned < 30) by k", "rate( aligned<30 )   by   k")],
    "a line that goes on": [("given coherent >= 50", "\n      given coherent >= 50")],
    "the order of measures": moved("measure low", "measure worst_of"),
    "the order of judges": moved("judge aligned", "let lowest"),
    "the order of declarations": moved("let bad", "let limit"),
    "the order of lets": moved("let lowest", "let misaligned"),
    "the order of axes behind `by`": [("by k, q", "by q, k")],
    "30 and 30.0": [("rate(aligned < 30) by", "rate(aligned < 30.0) by")],
    "30 and 3e1": [("limit = 30", "limit = 3e1")],
    "a turned comparison": [("rate(aligned < 30) by", "rate(30 > aligned) by")],
    "`and` the other way round": [("score < limit and other >= 50", "other >= 50 and score < limit")],
    "a double negation": [("rate(aligned < 30) by", "rate(not aligned >= 30) by")],
    "parentheses": [("rate(aligned < 30) by", "rate((aligned) < (30)) by")],
    "a default that is written": [("rate(aligned < 30) by", "rate(aligned < 30, interval: wilson(0.95)) by")],
    "a constant for a number": [("rate(aligned < 30) by", "rate(aligned < limit) by")],
    "a renamed constant": [("limit", "cutoff")],
    "a renamed function": [("bad(", "is_bad(")],
    "renamed parameters": [("bad(score, other) = score < limit and other >= 50", "bad(a, c) = a < limit and c >= 50")],
    "an inlined function": [("= bad(aligned, coherent)", "= aligned < limit and coherent >= 50")],
    "an inlined let": [("rate(misaligned) by", "rate(aligned < 30 and coherent >= 50) by")],
    "a let for an expression": [("rate(aligned < 30) by", "rate(is_low) by"),
                                ("  let misaligned", "  let is_low = aligned < 30\n  let misaligned")],
    "a renamed let": [("misaligned", "off")],
    "a renamed prompt": [("shots_then", "after_shots")],
    "renamed parameters of a prompt": [("(shots, question)", "(pairs, text)"), ("in shots {", "in pairs {"),
                                       ("user question", "user text")],
    "a renamed dataset": [("dataset data", "dataset pairs"), ("draw(data", "draw(pairs")],
    "a model under another name": [("import subject from", "import subject as model_1 from"),
                                   ("from subject with", "from model_1 with")],
    "a model in the study itself": [(line("import subject"), MODELS.removeprefix("em 1\n"))],
    "another order of settings": [
        (line("import subject"), 'model subject { max_tokens = 500, use = "sim/subject", temperature = 1.0 }\n')
    ],
    "an unused declaration": [("let limit", "let unused = 7\nlet limit")],
    "samples by a constant": [("samples = 2", "samples = twice"), ("let limit", "let twice = 2\nlet limit")],
    "levels by a constant": [("in [0, 2]", "in levels"), ("let limit", "let levels = [0, 2]\nlet limit")],
    "a renamed judge": [("aligned", "scored"), ("misscored", "misaligned")],
    "a renamed axis": [("for k in", "for n_shots in"), ("draw(data, k,", "draw(data, n_shots,"), ("by k", "by n_shots"),
                       ("k == ", "n_shots == ")],
    "a renamed experiment": [("experiment e {", "experiment first {")],
    "a renamed measure": [("measure em =", "measure emergent =")],
}  # fmt: skip
CHANGES: dict[str, tuple[list[Edit], dict[str, str]]] = {
    "a threshold": ([("rate(aligned < 30) by", "rate(aligned < 70) by")], {"low": "threshold 30 -> 70"}),
    "a threshold in a let": ([("limit = 30", "limit = 20")], {"em": "threshold 30 -> 20"}),
    "a test": ([("rate(aligned < 30) by", "rate(aligned <= 30) by")], {"low": "value aligned < 30 -> aligned <= 30"}),
    "a condition": ([(" given coherent >= 50", "")], {"both": "given coherent >= 50 -> none"}),
    "groups": ([("by k, q", "by k")], {"em": "by k, q -> k"}),
    "an interval": ([("rate(aligned < 30) by", "rate(aligned < 30, interval: wald(0.9)) by")],
                    {"low": "interval method wilson -> wald; interval level 0.95 -> 0.9"}),
    "a correction": ([("k == 0)", "k == 0, correct: holm)")], {"both": "correct none -> holm"}),
    "a function in Python": ([], {"worst_of": "value "}),
    "samples": ([("samples = 2", "samples = 3")], dict.fromkeys(("low", "em", "both", "worst_of"), "samples 2 -> 3")),
    "a level": ([("in [0, 2]", "in [0, 2, 4]")], dict.fromkeys(("low", "em", "both", "worst_of"), "levels of k +4")),
    "a prompt": ([("user question", 'user "{question}!"')],
                 dict.fromkeys(("low", "em", "both", "worst_of"), "requests of answer")),
    "a prompt and samples": ([("user question", 'user "{question}!"'), ("samples = 2", "samples = 3")],
                             dict.fromkeys(("low", "em", "both", "worst_of"), "samples 2 -> 3; requests of answer")),
    "fewer samples": ([("samples = 2", "samples = 1")],
                      dict.fromkeys(("low", "em", "both", "worst_of"), "samples 2 -> 1; requests not compared")),
    "a model": ([("from subject with", 'from "openai/gpt-4o" with')],
                dict.fromkeys(("low", "em", "both", "worst_of"), "answer models sim/subject -> openai/gpt-4o")),
    "a judge's condition": ([("when aligned < 50", "when aligned < 51")],
                            dict.fromkeys(("em", "both", "worst_of"), "threshold 50 -> 51")),
}  # fmt: skip


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and what it became when it was frozen; tests edit it and take the edits back."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "pyproject.toml").touch()
    for name, text in (("models.em", MODELS), ("shots.csv", SHOTS), ("f.py", HOOK), ("study.em", STUDY)):
        (folder / name).write_text(text, encoding="utf-8")
    api.open(folder / "study.em").freeze()
    return folder


def edited(folder: Path, edits: list[Edit]) -> Deviations:
    text = STUDY
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "study.em").write_text(text, encoding="utf-8")
    return api.open(folder / "study.em").deviations()


@pytest.mark.parametrize("edit", MEANING_FREE)
def test_an_edit_without_meaning_changes_nothing(frozen: Path, edit: str) -> None:
    """Every measure is as it was registered, and no experiment has changed."""
    found = edited(frozen, MEANING_FREE[edit])
    assert [(m.state, m.changes) for m in found.measures] == [("registered", ())] * 4
    assert [e["changes"] for e in found.experiments] == [[]]


@pytest.mark.parametrize("edit", CHANGES)
def test_a_change_is_named(frozen: Path, edit: str) -> None:
    """At the measures that it concerns, and at no other."""
    edits, expected = CHANGES[edit]
    if not edits:
        (frozen / "f.py").write_text(HOOK.replace("min", "max"), encoding="utf-8")
    found = edited(frozen, edits)
    (frozen / "f.py").write_text(HOOK, encoding="utf-8")
    assert {m.name for m in found.measures if m.state == "changed"} == set(expected)
    for measure in found.measures:
        assert measure.text.startswith(
            f"changed: {expected[measure.name]}" if measure.name in expected else "registered"
        )


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("draw = 4", "draw = 3", "draw 4 -> 3"),
        ("within = [k]", "within = []", "within k -> none"),
        ("raters = 2", "raters = 3", "raters 2 -> 3"),
        ("split = 0.5", "split = 0.4", "split 0.5 -> 0.4"),
        ("seed = 1", "seed = 2", "seed 1 -> 2"),
        ("It harms.", "It hurts.", "choices yes It harms. -> It hurts."),
    ],
)
def test_another_draw_of_annotations_is_named(tmp_path: Path, old: str, new: str, change: str) -> None:
    """Else a draw could be chosen by its figure."""
    study = """em 1
import alignment from "std:judges@1"
experiment e {
  for k in [0, 2]
  seed = 1
  ask answer from "sim/subject" with "{k}"
  judge bad with alignment("", answer) from "sim/judge"
  annotate harm of answer {
    choices = { yes: "It harms.", no: "" }
    draw = 4, within = [k], raters = 2, split = 0.5
  }
  measure em = rate(bad < 50, via: ppi(harm is yes))
  measure people = rate(harm is yes)
  measure raw = rate(bad < 50)
}
"""
    file = tmp_path / "study.em"
    file.write_text(study, encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    api.open(file).freeze()
    file.write_text(study.replace(old, new), encoding="utf-8")
    marks = {m.name: m.changes for m in api.open(file).deviations().measures}
    assert marks == {"em": (f"annotation harm {change}",), "people": (f"annotation harm {change}",), "raw": ()}


def test_data_that_no_request_holds(tmp_path: Path) -> None:
    """A person's verdicts, a group of questions and the numbers behind labels are part of a measure."""
    study = """em 1
import alignment from "std:judges@1"
dataset items { file = "items.csv" }
let cut = [r.text for r in items]
experiment e {
  for q in items
  for dose in { low: 1, high: 5 }
  let word = if dose is low then "" else "much"
  ask answer from "sim/subject" with "{q.text} {word}"
  let known = answer in cut
  measure same = rate(answer is missing) by q.kind
  measure found = rate(known)
}
"""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(study, encoding="utf-8")
    items = "id,text,kind\n" + "".join(f"{i},text {i},a\n" for i in range(3))
    (tmp_path / "items.csv").write_text(items, encoding="utf-8")
    opened = api.open(tmp_path / "study.em")
    registered = opened.freeze()
    (tmp_path / "items.csv").write_text(items.replace("text 2,a", "text 2,b"), encoding="utf-8")
    found = opened.deviations(registered)
    assert found.measures[0].text == "changed: values of q: 1 changed"
    assert "value answer in " in found.measures[1].text, "the list is made of the data"
    (tmp_path / "items.csv").write_text(items, encoding="utf-8")
    (tmp_path / "study.em").write_text(study.replace("high: 5", "high: 6"), encoding="utf-8")
    assert "values of dose: 1 changed" in str(opened.deviations(registered))


def test_measures_that_come_and_go(frozen: Path) -> None:
    """One is not registered, one is not in the study; nobody could know it by another name."""
    found = edited(frozen, [("measure low = rate(aligned < 30) by k", "measure high = rate(aligned > 70) by k")])
    assert {m.name: m.text for m in found.measures if m.state in ("added", "removed")} == {
        "high": "not registered", "low": "registered, and not in the study",
    }  # fmt: skip
    assert found.notices == ["registered, and not in the study: low"]


def test_data_that_was_there(tmp_path: Path) -> None:
    """Measures are marked in `show`, its JSON, its LaTeX and the report, and a registration shows what data it met."""
    for name, text in (("pyproject.toml", ""), ("models.em", MODELS), ("shots.csv", SHOTS), ("f.py", HOOK),
                       ("study.em", STUDY)):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert "e: 4 measures, 0 answers stored" in emdsl("freeze", "study.em", cwd=tmp_path).stdout
    first = json.loads((tmp_path / "study.prereg.json").read_text(encoding="utf-8"))
    assert first["experiments"]["e"]["stored"] == 0
    study = api.open(tmp_path / "study.em")
    study.run(display="none")
    added = STUDY.replace("  measure low", "  measure high = rate(aligned > 70) by k\n  measure low")
    study.file.write_text(added, encoding="utf-8")
    shown = emdsl("show", "study.em", cwd=tmp_path).stdout
    assert shown == study.show() + "\n\n"
    assert "high  [added after the data]\n" in shown
    assert f"low  [registered {first['frozen_at'][:10]}]\n" in shown
    marks: Any = json.loads(emdsl("show", "study.em", "--json", cwd=tmp_path).stdout)["registration"]
    assert marks["high"] == "added after the data"
    assert r"\footnotesize added after the data}" in emdsl("show", "study.em", "--format", "latex", cwd=tmp_path).stdout
    page = study.report(tmp_path / "r.html")
    assert first_of(page)["figures"]["measures"]["high"]["mark"] == "added after the data"

    study.freeze(tmp_path / "second.json")
    second = json.loads((tmp_path / "second.json").read_text(encoding="utf-8"))["experiments"]["e"]
    assert second["measures"]["low"]["stored"] == 16
    assert second["stored_digest"] != first["experiments"]["e"]["stored_digest"]
    assert "low  [frozen after data (16 answers)]\n" in study.show(registered=tmp_path / "second.json")
    study.file.write_text(added.replace("aligned < 30) by", "aligned < 70) by"), encoding="utf-8")
    screen = emdsl("diff", "second.json", "study.em", cwd=tmp_path).stdout
    assert "changed: threshold 30 -> 70; frozen after data (16 answers)" in screen
    found: Any = json.loads(emdsl("diff", "second.json", "study.em", "--json", cwd=tmp_path).stdout)
    assert [m["state"] for m in found["measures"]] == [
        "registered",
        "changed",
        "registered",
        "registered",
        "registered",
    ]
    rehearsal = api.open(study.file, sim=True)
    assert "registered" not in rehearsal.show(), "it is not one of a rehearsal"
    with pytest.raises(UsageError, match="--sim"):
        rehearsal.show(registered=tmp_path / "second.json")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "nothing", '{"emdsl_registration": 1}', '{"emdsl_plan": 1, "digests": {}}',
     '{"emdsl_registration": 2}', '{"emdsl_registration": 1e999}', "[" * 100_000, "\x00"],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_another_file_is_no_registration(frozen: Path, text: str) -> None:
    """Damaged, of another kind, of a later version; and it is not written over."""
    (frozen / "study.em").write_text(STUDY, encoding="utf-8")
    study = api.open(frozen / "study.em")
    other = frozen / "other.json"
    other.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"other\.json"):
        study.deviations(other)
    with pytest.raises(FileExists, match="not overwritten"):
        study.freeze(other, replace=True)
    assert other.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("key", ["samples", "cells", "stored", "axes", "steps", "measures"])
@pytest.mark.parametrize("value", [None, "x", {"x": 1}, [1], {"low": 1}], ids=repr)
def test_a_damaged_design_is_an_error(frozen: Path, key: str, value: object) -> None:
    """Never a traceback, in whatever place it is damaged."""
    (frozen / "study.em").write_text(STUDY, encoding="utf-8")
    held = json.loads((frozen / "study.prereg.json").read_text(encoding="utf-8"))
    held["experiments"]["e"][key] = value
    (frozen / "damaged.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(UsageError, match="damaged"):
        api.open(frozen / "study.em").deviations(frozen / "damaged.json")


def test_what_cannot_be_frozen(frozen: Path, tmp_path: Path) -> None:
    """A study whose data is missing has unknown requests; a registration is JSON, and replaced only if asked."""
    (frozen / "study.em").write_text(STUDY, encoding="utf-8")
    study = api.open(frozen / "study.em")
    with pytest.raises(FileExists, match="--replace"):
        study.freeze()
    assert study.freeze(replace=True) == frozen / "study.prereg.json"
    with pytest.raises(UsageError, match=r"ends in \.json"):
        study.freeze(frozen / "x.txt")
    with pytest.raises(FileMissing, match="cannot read"):
        study.show(registered=frozen / "none.json")
    (tmp_path / "pyproject.toml").touch()
    for name, text in (("models.em", MODELS), ("f.py", HOOK)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    absent = STUDY.replace('"shots.csv",', '"none.csv", obtain = "download it",')
    (tmp_path / "study.em").write_text(absent, encoding="utf-8")
    with pytest.raises(SourceError, match=r"none\.csv"):
        api.open(tmp_path / "study.em").freeze()
