"""`choices` that differ by cell, and `p(EXPRESSION)`: the probability of a label that the data name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, experiment, keys, outcomes, program, run

from emdsl.errors import SourceError
from emdsl.lang.canonical import canonical
from emdsl.query import Response
from emdsl.run.rows import Rows
from emdsl.run.symbolic import requests_by_step
from emdsl.store.store import MemoryStore
from emdsl.study.design import design
from emdsl.value import Missing

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.query import Query

ROWS = """[
  {"ask": "one", "options": ["Rome", "Paris"], "key": "Paris", "other": null},
  {"ask": "two", "options": ["Oslo", 7, "Bonn"], "key": 7, "other": "oslo "},
  {"ask": "three", "options": ["A", "B"], "key": "C", "other": "A"}
]"""
STUDY = """
dataset rows {{ file = "rows.json" }}
experiment e {{
  for q in rows
  let shown = q.options
  ask answer from "{}" with q.ask {{ {} }}
  {}
}}
"""
MODEL = "openai/gpt-4o-2024-08-06"


class Says(InProcess):
    """A subject that answers each prompt as a table says: with a text, or with candidates of one token."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__()
        self._said = said

    async def ask(self, query: Query, *_: Any) -> Response:
        said = self._said[query.prompt.messages[0].text]
        if isinstance(said, str):
            return Response(text=said, finish="stop")
        first = tuple((token, math.log(p)) for token, p in said.items())
        return Response(text=next(iter(said)), finish="stop", logprobs=(first,), tokens=(next(iter(said)),))


def values(tmp_path: Path, settings: str, more: str, said: dict[str, Any], *names: str) -> list[Any]:
    """Return the values of some names in the three rows, missing ones by their reason."""
    (tmp_path / "rows.json").write_text(ROWS, encoding="utf-8")
    text, store = STUDY.format("sim/subject", settings, more), MemoryStore()
    compiled = program(text, tmp_path)
    run(compiled, store, Says(said))
    (only,) = compiled.experiments
    rows = sorted(outcomes(only, store), key=lambda row: row.cell)
    found = [[row.frame[name] for row in rows] for name in names]
    return [[x.reason if isinstance(x, Missing) else x for x in column] for column in found]


@pytest.mark.parametrize("choices", ["q.options", "shown", "[x for x in q.options]"])
def test_each_answer_is_read_by_the_labels_of_its_cell(choices: str, tmp_path: Path) -> None:
    """A label of another question is unreadable; a number of the data is a label too."""
    said = {"one": "Answer: paris", "two": "7", "three": "Rome"}
    labels, right = values(tmp_path, f"choices = {choices}", 'let right = answer.label == "{q.key}"', said,
                           "answer.label", "right")  # fmt: skip
    assert labels == ["Paris", "7", "unreadable"]
    assert right == [True, True, "unreadable"]


def test_texts_of_fixed_labels_can_differ(tmp_path: Path) -> None:
    """A map has the same labels in all cells; no answer is read by their texts."""
    said = {"one": "A", "two": "b", "three": "7"}
    (labels,) = values(tmp_path, "choices = { A: q.ask, B: q.key }", "", said, "answer.label")
    assert labels == ["A", "B", "unreadable"]


SAID = {"one": {"Rome": 0.6, "Paris": 0.2}, "two": {"7": 0.5, "Os": 0.25}, "three": {"B": 0.3, "A": 0.1}}
SHARES = [  # an argument of `p`, and its values in the three rows
    ("q.key", [0.25, 2 / 3, "unknown_label"]),
    ("q.options[0]", [0.75, 1 / 3, 0.25]),
    ("q.other", ["null", 1 / 3, 0.25]),  # without its case and blanks
    ('"Par" + "is"', [0.25, "unknown_label", "unknown_label"]),
    ("first", [0.75, 1 / 3, 0.25]),  # a `let` is a name ...
    ("Rome", [0.75, "unknown_label", "unknown_label"]),  # ... and any other word a label
    ('if answer.label == "7" then q.key else "B"', ["unknown_label", 2 / 3, 0.75]),
]


@pytest.mark.parametrize(("argument", "wanted"), SHARES)
def test_the_probability_of_a_label_from_the_data(argument: str, wanted: list[Any], tmp_path: Path) -> None:
    """Among the labels of the cell; a text that is none of them has no probability, which is not 0."""
    more = f"let first = q.options[0]\n  let p = answer.p({argument})"
    (found,) = values(tmp_path, "choices = q.options, read = weighted(top: 5)", more, SAID, "p")
    assert found == [x if isinstance(x, str) else pytest.approx(x) for x in wanted]


MISSING = [  # what came back, and the reason of every probability
    ({"Well": 0.9, "A": 0.01}, "no_mass"),
    ("B", "no_logprobs"),
]


@pytest.mark.parametrize(("said", "reason"), MISSING)
def test_without_a_verdict_there_is_no_probability(said: Any, reason: str, tmp_path: Path) -> None:
    """The reason is that of the label."""
    (found,) = values(tmp_path, "choices = q.options, read = weighted(top: 5)", "let p = answer.p(q.key)",
                      dict.fromkeys(("one", "two", "three"), said), "p")  # fmt: skip
    assert found[:2] == [reason, reason]


def test_fixed_labels_take_a_computed_one_too(tmp_path: Path) -> None:
    """Of an ask and of a judge; a word is a label of them, as before."""
    said = {"one": {"Rome": 0.5, "Paris": 0.5}, "two": {"Paris": 0.9}, "three": {"Rome": 0.9, "Paris": 0.1}}
    more = "let p = answer.p(q.key)\n  let rome = answer.p(Rome)"
    found = values(tmp_path, 'choices = ["Rome", "Paris"], read = weighted(top: 5)', more, said, "p", "rome")
    assert found == [[0.5, "unknown_label", "unknown_label"], [0.5, 0.0, 0.9]]
    text = """
    rubric r(a) from "sim/judge" {
      choices = ["YES", "NO"]
      read = weighted(top: 5)
      user a
    }
    experiment e {
      for wanted in ["YES", "NO"]
      judge v with r("x")
      let p = v.p("" + wanted)
      measure m = mean(p) by wanted
    }
    """
    store = MemoryStore()
    run(text, store)
    first, second = sorted(outcomes(experiment(text), store), key=lambda row: row.cell)
    assert (first.frame["p"], second.frame["p"]) == (first.frame["v.p(YES)"], first.frame["v.p(NO)"])
    assert canonical(experiment(text).inlined(program_let(text))) == 'v.p("" + wanted)'


def program_let(text: str) -> Any:
    """Return the value of a measure that reads the `let`."""
    (measure,) = experiment(text).measures
    return measure.value


def test_labels_by_cell_are_in_no_key(tmp_path: Path) -> None:
    """They are not sent to a real model: an answer that is read later was paid for already."""
    (tmp_path / "rows.json").write_text(ROWS, encoding="utf-8")
    plain = keys(STUDY.format(MODEL, "max_tokens = 4", ""), tmp_path)
    assert keys(STUDY.format(MODEL, "max_tokens = 4, choices = q.options", ""), tmp_path) == plain


def test_the_simulator_answers_with_the_labels_of_the_cell(tmp_path: Path) -> None:
    """What changes its answer is in its key, cell by cell."""
    (tmp_path / "rows.json").write_text(ROWS, encoding="utf-8")
    (only,) = program(STUDY.format("sim/subject", "choices = q.options", ""), tmp_path).experiments
    walk = Rows(only)
    sent = [query.params["sim"]["choices"] for row in walk.selected() for _, query in walk.advance(row)]
    assert sent == [("Rome", "Paris"), ("Oslo", "7", "Bonn"), ("A", "B")]


def test_a_row_without_labels_is_not_asked(tmp_path: Path) -> None:
    """`null` in the data: no labels, so that no answer could be read."""
    (tmp_path / "rows.json").write_text(ROWS.replace('["A", "B"]', "null"), encoding="utf-8")
    text = STUDY.format(MODEL, "choices = q.options", "")
    assert len(keys(text, tmp_path)) == 2
    with pytest.raises(SourceError, match="`choices` must be a map"):
        program(text.replace("q.options }", "q.key }"), tmp_path)


def test_a_registration_has_the_labels_as_written(tmp_path: Path) -> None:
    """Another expression is another design, a renamed axis is none."""
    (tmp_path / "rows.json").write_text(ROWS, encoding="utf-8")
    text = STUDY.format(MODEL, "choices = q.options", "")
    replies = []
    for study, names in (
        (text, {}),
        (text.replace("for q", "for row").replace("q.", "row."), {"row": "q"}),
        (text.replace("= q.options }", "= shown }"), {}),  # a `let` is written out
        (text.replace("= q.options }", "= [x for x in q.options] }"), {}),
    ):
        (only,) = program(study, tmp_path).experiments
        steps = design(only, requests_by_step(Rows(only)), names)["steps"]
        replies.append(steps["answer"]["reply"]["choices"])
    assert replies == ["q.options"] * 3 + ["[x for x in q.options]"]
