"""Symbolic requests: all that a program can send, whatever is stored, exact."""

from __future__ import annotations

from typing import Any

import pytest
from support import experiment

from emdsl.reply_format import ReplyField, ReplyFormat
from emdsl.run.rows import Rows
from emdsl.run.symbolic import _conditions, _verdicts, requests_digest, stand_in, symbolic_id, symbolic_requests
from emdsl.value import LabelledMap

STUDY = """
rubric rating(answer) from "sim/judge" {
  scale = 0..10
  user "Rate {answer}"
}
experiment e {
  for q in ["one", "two"]
  for twin in [1, 2]
  samples = 2
  ask answer from "sim/subject" with q
  judge rated with rating(answer)
  when rated < 5 { ask again from "sim/subject" with "again {answer}" }
  when q == "two" { ask more from "sim/subject" with "more {q}" }
}
"""


def requests(text: str) -> list[str]:
    """Return the symbolic requests of an experiment: step, question and sample of the row that makes each first."""
    return [f"{step.name} {row.frame['q']} {row.sample}" for row, step, _ in symbolic_requests(Rows(experiment(text)))]


def test_each_distinct_request_comes_once() -> None:
    """Twins share theirs; a condition on an axis is decided, one on a verdict is taken to hold."""
    assert requests(STUDY) == [
        "answer one 0", "rated one 0", "again one 0", "answer one 1", "rated one 1", "again one 1",
        "answer two 0", "more two 0", "rated two 0", "again two 0", "answer two 1", "more two 1", "rated two 1",
        "again two 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("experiment e", "experiment other", True),
        ("for twin in [1, 2]", "for other in [7, 8, 9]", True),
        ("rated < 5", "5 > rated", True),
        ("rated < 5", "rated < 5.001", False),
        ("rated < 5", "rated < 4", False),
        ("Rate {", "Score {", False),
        ("again {answer}", "again {q}", False),
        ('"two"]', '"two", "three"]', False),
        ('q == "two"', 'q == "one"', False),
        ("samples = 2", "samples = 3", False),
    ],
)
def test_a_digest_is_of_requests_and_conditions(old: str, new: str, same: bool) -> None:
    """Names and levels that no request holds are not in it."""
    assert old in STUDY
    # a grid with another number of twins tries its conditions more often: they are compared without it
    text = STUDY if "twin" not in old else STUDY.replace("when rated < 5 {", "when 1 < 2 {")
    one, other = (requests_digest(Rows(experiment(t))) for t in (text, text.replace(old, new)))
    assert (one == other) is same


def test_a_condition_is_known_by_the_verdicts_for_which_it_holds() -> None:
    """101 verdicts of each of the four cells, twice each: all others at one end, then at the other."""
    ((name, bits),) = _conditions(Rows(experiment(STUDY)))
    assert name == "again"
    assert bits == ("11" * 50 + "00" * 51) * 4


def test_a_condition_on_two_verdicts_is_tried_with_both_ends_of_the_other() -> None:
    """Each goes through its verdicts while the other is the lowest, then the highest."""
    text = STUDY.replace("  when rated < 5", "  judge other with rating(q)\n  when rated < 5 and other <= 0")
    ((_, bits),) = _conditions(Rows(experiment(text.replace("for twin in [1, 2]\n", ""))))
    assert bits == ("10" * 50 + "00" * 51 + "10" + "00" * 100) * 2


def test_a_large_grid_is_tried_at_fewer_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 101 cells on: 21 verdicts of each."""
    for most, n in ((4, 101), (3, 21)):
        monkeypatch.setattr("emdsl.run.symbolic.MAX_FINE_CELLS", most)
        ((_, bits),) = _conditions(Rows(experiment(STUDY)))
        assert len(bits) == 4 * 2 * n


@pytest.mark.parametrize(
    ("reply_format", "fine", "n", "ends"),
    [
        (None, True, 1, ("an answer", "an answer")),
        (ReplyFormat(scale=(0.0, 10.0)), True, 101, (0.0, 10.0)),
        (ReplyFormat(scale=(-1.0, 1.0)), False, 21, (-1.0, 1.0)),
        (ReplyFormat(choices=("yes", "no", "maybe")), True, 3, ("yes", "maybe")),
    ],
)
def test_the_verdicts_that_are_tried(
    reply_format: ReplyFormat | None, fine: bool, n: int, ends: tuple[Any, Any]
) -> None:
    """From the lowest to the highest, or each choice."""
    step = Rows(experiment(STUDY)).steps["rated"]
    object.__setattr__(step, "reply_format", reply_format)
    verdicts = _verdicts(step, fine=fine)
    assert (len(verdicts), (verdicts[0], verdicts[-1])) == (n, ends)


SHAPE = (
    ReplyField(name="fine", kind="bool"),
    ReplyField(name="score", kind="number", scale=(2.0, 5.0)),
    ReplyField(name="word", kind="label", choices=("a", "b")),
    ReplyField(name="why", kind="text"),
)


@pytest.mark.parametrize(
    ("reply_format", "value"),
    [
        (ReplyFormat(scale=(3.0, 9.0)), 3.0),
        (ReplyFormat(choices=("yes", "no")), "yes"),
        (ReplyFormat(shape=SHAPE), LabelledMap((("fine", True), ("score", 2.0), ("word", "a"), ("why", "")))),
    ],
    ids=["scale", "choices", "shape"],
)
def test_a_stand_in_is_of_the_right_kind(reply_format: ReplyFormat, value: Any) -> None:
    """A judge's is a verdict that it could give."""
    rows = Rows(experiment(STUDY))
    row = next(rows.selected())
    query = rows.query(rows.steps["answer"], row)
    step = rows.steps["rated"]
    object.__setattr__(step, "reply_format", reply_format)
    assert stand_in(step, query).value == value


def test_a_stand_in_of_an_answer_names_its_request() -> None:
    """Its text and its reasoning differ where the request differs."""
    rows = Rows(experiment(STUDY))
    queries = [rows.query(rows.steps["answer"], row) for row in rows.selected()]
    results = [stand_in(rows.steps["answer"], query) for query in queries]
    assert [r.value for r in results] == [f"the answer of {q.key.hex()}" for q in queries]
    assert len({r.value for r in results}) == 4


@pytest.mark.parametrize(
    ("cell", "sample", "inputs", "same"),
    [
        ((0, 0), 0, {"answer": b"a"}, True),
        ((0, 1), 1, {"answer": b"a"}, True),
        ((1, 0), 0, {"answer": b"a"}, True),
        ((0, 0), 0, {"answer": b"b"}, False),
        ((0, 0), 0, {"answer": 7}, False),
        ((0, 0), 0, {}, False),
        ((0, 0), 0, {"answer": b"a", "other": b"b"}, True),
    ],
    ids=["itself", "a twin", "another cell", "another answer", "a symbolic answer", "unknown", "more"],
)
def test_a_symbolic_id_is_of_what_a_request_reads(
    cell: tuple[int, ...], sample: int, inputs: dict[str, bytes | int], same: bool
) -> None:
    """The judge reads the answer alone: rows with one answer have one judgement."""
    rows = Rows(experiment(STUDY))
    step = rows.steps["rated"]
    one = symbolic_id("e", step, rows.row((0, 0), 0), {"answer": b"a"})
    assert (symbolic_id("e", step, rows.row(cell, sample), inputs) == one) is same
    assert symbolic_id("f", step, rows.row((0, 0), 0), {"answer": b"a"}) != one


@pytest.mark.parametrize(
    ("step", "cell", "sample", "same"),
    [
        ("more", (1, 1), 0, True),
        ("more", (1, 0), 1, False),
        ("more", (0, 0), 0, False),
        ("rated", (1, 0), 1, True),
        ("rated", (0, 0), 1, True),
    ],
)
def test_a_symbolic_id_is_of_the_axes_in_its_prompt(step: str, cell: tuple[int, ...], sample: int, same: bool) -> None:
    """An ask is drawn anew for each sample; a judge is not."""
    rows = Rows(experiment(STUDY))
    one, other = (symbolic_id("e", rows.steps[step], rows.row(*at), {}) for at in (((1, 0), 0), (cell, sample)))
    assert (one == other) is same
