"""Why a request is left: the edit that it comes from, and where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import program, run

from emdsl.run.planner import Planner
from emdsl.run.reasons import PreviousProgram, Reason, middle
from emdsl.run.rows import Rows, Selection
from emdsl.run.symbolic import requests_digest, symbolic_requests
from emdsl.store.store import MemoryStore
from emdsl.study.counts import grouped

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from emdsl.experiment import Experiment

STUDY = """em 1
model subject { use = "sim/subject", temperature = 1 }
let think = "Think step by step."
prompt chat(style, q) {
  when style != "" { system style }
  user "{q} {think}"
}
rubric rating(answer) from "sim/judge" {
  scale = 0..100
  user "Rate 0 to 100: {answer}"
}
experiment e {
  for style in { none: "", terse: "Be brief." }
  for q in ["one", "two"]
  samples = 5
  ask answer from subject with chat(style, q)
  judge rated with rating(answer)
  when rated < 50 { judge again with rating("twice {answer}") }
  measure low = rate(rated < 30)
}
"""


def reasons(old: str, new: str, folder: Path) -> list[tuple[str, int]]:
    """Return why what is left of a study is left, after it was run as it was."""
    store = MemoryStore()
    before = program(old, folder)
    run(before, store)
    after = program(new, folder)
    found = []
    for experiment in after.experiments:
        count = Planner(Rows(experiment), comparison=PreviousProgram(after, before).of(experiment)).plan(store)
        assert sum(count.reasons.values()) == sum(len(s.pending) for s in count.steps)
        found += [(f"{text} @{place.partition(':')[2]}", n) for text, place, n in grouped(count.reasons)]
    return found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", []),
        ("samples = 5", "samples = 8", [("more samples 5 -> 8 @15", 12)]),
        ('["one", "two"]', '["one", "two", "three", "four"]', [("new values q = three, four @14", 20)]),
        ('terse: "Be brief."', 'terse: "Be brief!"', [("prompt text changed (1 character) @13", 10)]),
        ('terse: "Be brief."', 'terse: "Be brief.", long: "Tell all."', [("new value style = long @13", 10)]),
        ("temperature = 1", "temperature = 0.7", [("temperature 1 -> 0.7 @2", 20)]),
        ("temperature = 1", "temperature = 1, max_tokens = 9", [("max_tokens unset -> 9 @2", 20)]),
        ('"sim/subject"', '"sim/judge"', [("model sim/subject -> sim/judge @2", 20)]),
        ("step by step", "step-by-step", [("prompt text changed (4 characters) @3", 20)]),
        ("Rate 0 to", "Rate from 0 to", [("prompt text changed (5 characters) @10", 20)]),
        ("temperature = 1", "temperature = 0.7, top_p = 0.9", [("temperature 1 -> 0.7 (and top_p) @2", 20)]),
        (
            'model subject { use = "sim/subject", temperature = 1 }',
            '# 1 of 2\nmodel subject { use = "sim/subject", temperature = 0 }',
            [("temperature 1 -> 0 @3", 20)],
        ),
        ("terse:", "brief:", []),
        ("measure low", "judge new with rating(q)\n  measure low", [("new judge new @19", 2)]),
        ("rated < 30", "rated < 40", []),
        ("let think", "# a comment\nlet think", []),
        ("experiment e", "experiment renamed", []),
        ("samples = 5", "seed = 3", []),
    ],
    ids=lambda x: str(x)[:40],
)
def test_an_edit_is_told_as_what_it_is(old: str, new: str, said: list[tuple[str, int]], tmp_path: Path) -> None:
    """By its kind, its place, and the number of requests that come of it."""
    assert old in STUDY
    assert reasons(STUDY, STUDY.replace(old, new) if old else STUDY, tmp_path) == said


def test_a_condition_that_admits_more(tmp_path: Path) -> None:
    """What was not needed before is said to have been so."""
    ((text, n),) = reasons(STUDY, STUDY.replace("rated < 50", "rated < 100"), tmp_path)
    assert text == "the condition of `again` holds now @18"
    assert n > 0


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("rated < 30", "rated < 40", True),
        ("experiment e", "experiment renamed", True),
        ("samples = 5", "samples = 6", False),
        ("Rate 0 to", "Rate from 0 to", False),
        ("step by step", "step-by-step", False),
        ("for q in", "for question in", False),
    ],
)
def test_a_plan_is_another_when_its_requests_are(old: str, new: str, same: bool, tmp_path: Path) -> None:
    """Whatever is stored: judges are compared by made-up answers."""
    text = STUDY.replace(old, new)
    if "question" in new:
        text = text.replace("chat(style, q)\n  judge", "chat(style, question)\n  judge")
        same = True  # a name is in no request
    (one,), (other,) = program(STUDY, tmp_path).experiments, program(text, tmp_path).experiments
    assert (requests_digest(Rows(one)) == requests_digest(Rows(other))) == same


def test_what_a_restricted_run_left_out_is_said_so(tmp_path: Path) -> None:
    """It was never asked: not the same as asked and not answered."""
    found = program(STUDY, tmp_path)
    (experiment,) = found.experiments
    taken = Selection(samples=2)
    store = MemoryStore()
    run(found, store, selection=taken)
    for interrupted, said in ((False, "without an answer"), (True, "stopped first")):
        before = PreviousProgram(found, found, {"e": Selection()}, interrupted=interrupted)
        assert said in next(iter(_planned(experiment, store, before))).what
    ((reason, n),) = _planned(experiment, store, PreviousProgram(found, found, {"e": taken})).items()
    assert reason.what == "left out by --samples, --only or --pilot in the last run"
    assert n == 12


def _planned(experiment: Experiment, store: MemoryStore, before: PreviousProgram) -> Counter[Reason]:
    return Planner(Rows(experiment), comparison=before.of(experiment)).plan(store).reasons


def test_a_second_experiment_is_new(tmp_path: Path) -> None:
    """The one that stays is not taken for it."""
    more = STUDY + STUDY.partition("experiment e")[2].join(["experiment f", ""]).replace("low", "lower").replace(
        "one", "1"
    )
    assert {text.partition(" @")[0] for text, _ in reasons(STUDY, more, tmp_path)} == {"new experiment f"}


def test_an_edited_dataset_is_named(tmp_path: Path) -> None:
    """The file stands in place of a line; a comment that was edited too is no place."""
    text = """em 1
dataset rows { file = "rows.csv" }
let texts = [r.q for r in rows]
experiment e {
  for i in [0, 1]
  ask answer from "sim/subject" with texts[i]
}
"""
    (tmp_path / "rows.csv").write_text("q\none\ntwo\n", encoding="utf-8")
    before = program(text, tmp_path)
    store = MemoryStore()
    run(before, store)
    (tmp_path / "rows.csv").write_text("q\none\nsix\n", encoding="utf-8")
    after = program(text.replace("em 1\n", "em 1\n# said\n"), tmp_path)
    ((reason, n),) = _planned(after.experiments[0], store, PreviousProgram(after, before)).items()
    assert (reason.what, reason.place, n) == ("prompt text changed (3 characters)", "rows.csv", 1)


def test_recipes_of_steps_that_are_not_asked(tmp_path: Path) -> None:
    """A step that a condition on an axis leaves out, and one whose dataset is not here, end nothing."""
    text = """em 1
dataset gone { file = "gone.csv", obtain = "ask me", columns = { q: "q" } }
experiment e {
  for k in [0, 1]
  when k == 1 { ask follow from "sim/subject" with "{k}" }
  ask other from "sim/subject" with draw(gone, 1, seed: 0)[0].q
  ask last from "sim/subject" with follow else "none"
}
"""
    (experiment,) = program(text, tmp_path).experiments
    assert len(list(symbolic_requests(Rows(experiment)))) == 3


@pytest.mark.parametrize(("threshold", "same"), [(50, True), (51, False), (49, False)])
def test_a_plan_knows_its_conditions(tmp_path: Path, threshold: int, same: bool) -> None:
    """A `when` that reads a verdict is compared by the verdicts for which it holds."""
    text = STUDY.replace("when rated < 50", f"let bad = rated < {threshold}\n  when bad")
    (one,), (other,) = program(STUDY, tmp_path).experiments, program(text, tmp_path).experiments
    assert (requests_digest(Rows(one)) == requests_digest(Rows(other))) == same


def test_middle() -> None:
    """What two texts do not have in common, also where they repeat themselves."""
    assert middle("aaa", "aaaa") == ("", "a")
    assert middle("", "x") == ("", "x")
    assert middle("same", "same") == ("", "")
