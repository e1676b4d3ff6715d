"""The plan, exact: each state of a step, and what is counted of it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from support import experiment, program

from emdsl.query import Response, Usage
from emdsl.reasoning import split
from emdsl.run.planner import Planner, planners
from emdsl.run.rows import Rows, Selection, settle_answer
from emdsl.run.states import Cached, NotNeeded, Pending, Symbolic, Unknown, state_of
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.experiment import Experiment, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.run.count import ExperimentCount

MODELS = """
model subject {
  use = "openai-api/lab/s", url = "http://127.0.0.1:1/v1", revision = "1", price = { input: $1, output: $1000 }
  max_tokens = 100
}
model judge { use = "openai-api/lab/j", url = "http://127.0.0.1:1/v1", revision = "1", max_tokens = 9 }
rubric rating(answer) from judge {
  scale = 0..9
  user "Rate {answer}"
}
"""
STUDY = (
    MODELS
    + """
experiment e {
  for q in ["one", "two", "three"]
  samples = 2
  ask answer from subject with "{q}"
  judge rated with rating(answer)
  when rated < 5 { judge again with rating("again {answer}") }
}
"""
)


def store_with(found: Experiment, scores: Mapping[str, int | None], *, samples: int = 2) -> MemoryStore:
    """Store the answers of some questions, and their verdicts if there is a score; `again` is never stored."""
    store, rows = MemoryStore(), Rows(found)
    for row in rows.selected():
        question = found.axes[0].levels[row.cell[0]].shown
        if question not in scores or row.sample >= samples:
            continue
        for _ in range(2):
            for step, query in rows.advance(row):
                score = scores[question]
                if step.name in ("again", "last") or (step.name == "rated" and score is None):
                    continue
                text = f"{question} {row.sample}" if step.name == "answer" else str(score)
                reply = Response(
                    text=text, finish="stop", usage=Usage(input_tokens=10, output_tokens=2), run=f"r{row.sample}"
                )
                store.answers[query.key] = reply
                settle_answer(row, step, reply, split(reply, query))
    return store


def counted(count: ExperimentCount) -> dict[str, tuple[int, int, int, int]]:
    """Return by step how many requests are stored, pending, symbolic, undecided."""
    return {s.step.name: (len(s.stored), len(s.pending), len(s.symbolic), len(s.undecided)) for s in count.steps}


@pytest.mark.parametrize(
    ("scores", "expected", "pending"),
    [
        ({}, {"answer": (0, 6, 0, 0), "rated": (0, 0, 6, 0), "again": (0, 0, 0, 6)}, [6, 6, None]),
        ({"one": None}, {"answer": (2, 4, 0, 0), "rated": (0, 2, 4, 0), "again": (0, 0, 0, 6)}, [4, 6, None]),
        ({"one": 3}, {"answer": (2, 4, 0, 0), "rated": (2, 0, 4, 0), "again": (0, 2, 0, 4)}, [4, 4, 6]),
        ({"one": 7}, {"answer": (2, 4, 0, 0), "rated": (2, 0, 4, 0), "again": (0, 0, 0, 4)}, [4, 4, 0]),
        ({"one": 3, "two": 7}, {"answer": (4, 2, 0, 0), "rated": (4, 0, 2, 0), "again": (0, 2, 0, 2)}, [2, 2, 3]),
        ({"one": 7, "two": 7, "three": 7}, {"answer": (6, 0, 0, 0), "rated": (6, 0, 0, 0), "again": (0, 0, 0, 0)},
         [0, 0, 0]),
    ],
    ids=["nothing", "answers of one", "one low", "one high", "one each", "all high"],
)  # fmt: skip
def test_requests_by_state(
    scores: dict[str, int | None], expected: dict[str, tuple[int, int, int, int]], pending: list[int | None]
) -> None:
    """Distinct, by step; `pending` is the expected number of a condition that is not decided everywhere."""
    found = experiment(STUDY)
    count = Planner(Rows(found)).plan(store_with(found, scores))
    assert counted(count) == expected
    assert [s.expected for s in count.steps] == pending
    assert count.at_most == sum(sum(e[1:]) for e in expected.values())
    assert [s.needed for s in count.steps] == [sum(e) for e in expected.values()]
    assert [s.n_rows for s in count.steps] == [sum(e) for e in expected.values()]


def test_an_ask_that_reads_one_verdict_is_drawn_for_each_sample() -> None:
    """One judgement of the question, three answers to it."""
    text = 'experiment e { for q in ["one"]\n samples = 3\n judge rated with rating(q)\n'
    found = experiment(MODELS + text + ' ask last from subject with "{rated}" }')
    steps = {s.step.name: s.at_most for s in Planner(Rows(found)).plan(MemoryStore()).steps}
    assert steps == {"rated": 1, "last": 3}


def test_rows_that_share_a_request_are_counted_once() -> None:
    """Two rows of each cell, whose judge reads no answer: one request, not two."""
    found = experiment(MODELS + 'experiment e { for q in ["one"]\n samples = 2\n judge rated with rating(q) }')
    (step,) = Planner(Rows(found)).plan(MemoryStore()).steps
    assert (step.needed, step.n_rows) == (1, 2)


@pytest.mark.parametrize(
    ("stored", "step", "state"),
    [
        ([], "answer", Pending),
        ([], "rated", Symbolic),
        ([], "again", Symbolic),
        ([None], "answer", Cached),
        ([None], "rated", Pending),
        ([None], "again", Symbolic),
        ([3], "rated", Cached),
        ([3], "again", Pending),
        ([7], "again", NotNeeded),
    ],
)
def test_the_state_of_one_step(stored: list[int | None], step: str, state: type) -> None:
    """By what is settled in its row; a condition that reads what is not known is undecided."""
    found = experiment(STUDY)
    rows = Rows(found)
    row = next(rows.selected())
    store = store_with(found, dict.fromkeys(["one"], *stored) if stored else {})
    Planner(rows).plan(store)  # for the probes
    _settle(rows, row, store)
    got = state_of(rows, row, rows.steps[step], {"answer": b"key"})
    assert type(got) is state
    if isinstance(got, Symbolic):
        assert got.undecided is (step == "again")
        assert got.head.model.name == "judge"


def _settle(rows: Rows, row: Outcome, store: MemoryStore) -> None:
    ready = rows.advance(row)
    while ready:
        for step, query in ready:
            if query.key in store.answers:
                reply = store.answers[query.key]
                settle_answer(row, step, reply, split(reply, query))
        ready = rows.advance(row)


def test_a_condition_may_be_decided_before_its_request_is_known() -> None:
    """It is counted among those that will be sent."""
    again = 'judge again with rating("again {answer}")'
    found = experiment(STUDY.replace(again, again + '\n ask last from subject with "{again}"'))
    rows = Rows(found)
    row = next(rows.selected())
    _settle(rows, row, store_with(found, {"one": 3}))
    state = state_of(rows, row, rows.steps["last"], {"again": b"key"})
    assert isinstance(state, Symbolic)
    assert not state.undecided


def test_a_symbolic_request_is_named_by_what_it_reads() -> None:
    """Two rows whose answers differ have two symbolic requests; equal inputs make one."""
    found = experiment(STUDY)
    rows = Rows(found)
    first, second, *_ = rows.selected()
    step = rows.steps["rated"]
    states = [state_of(rows, r, step, {"answer": key}) for r, key in ((first, b"a"), (second, b"b"), (second, b"a"))]
    ids = [s.id for s in states if isinstance(s, Symbolic)]
    assert ids[0] == ids[2] != ids[1]


def test_a_dataset_that_is_not_here_is_unknown(tmp_path: Any) -> None:
    """Its rows are counted as such; other steps are planned."""
    text = """
dataset gone { file = "gone.csv", obtain = "write to me", columns = { q: "q" } }
experiment e {
  for k in [0, 1]
  ask answer from "sim/subject" with draw(gone, 1, seed: 0)[0].q
  ask other from "sim/subject" with "{k}"
  ask last from "sim/subject" with "{answer}"
}
"""
    found = experiment(text, tmp_path)
    count = Planner(Rows(found)).plan(MemoryStore())
    assert [(s.unknown, len(s.pending), len(s.symbolic)) for s in count.steps] == [(2, 0, 0), (0, 2, 0), (2, 0, 0)]
    rows = Rows(found)
    row = next(rows.selected())
    rows.advance(row)
    assert state_of(rows, row, rows.steps["answer"], {}) == Unknown()


def test_rows_that_are_added_are_not_added_again() -> None:
    """A plan that goes on behind some rows is the plan of all; so is one of rows that somebody else went through."""
    found = experiment(STUDY)
    store = store_with(found, {"one": 3, "two": None})
    whole = Planner(Rows(found)).plan(store)
    for n in (0, 1, 4, 6):
        rows = Rows(found)
        planner = Planner(rows)
        for row, _ in zip(rows.selected(), range(n), strict=False):
            _settle(rows, row, store)
            planner.add(row)
        count = planner.plan(store)
        assert counted(count) == counted(whole)
        assert [s.as_json() for s in count.steps] == [s.as_json() for s in whole.steps]
    assert counted(planner.finish()) == counted(whole)


def test_what_was_selected_is_planned() -> None:
    """Cells, samples and levels as selected; requests of the rest are not counted."""
    found = experiment(STUDY)
    only = {0: frozenset({1, 2})}
    count = Planner(Rows(found, Selection(samples=1, only=only))).plan(MemoryStore())
    assert (count.cells, count.samples, count.only) == (2, 1, only)
    assert counted(count)["answer"] == (0, 2, 0, 0)


def test_counts_by_level_and_each_request_that_is_left() -> None:
    """Stored and to be sent, by the levels of an axis; `on_pending` gets each distinct request once, in order."""
    found = experiment(STUDY)
    listed: list[tuple[str, int, bool]] = []

    def on_pending(step: Step, row: Outcome, query: Query | None) -> None:
        listed.append((step.name, row.cell[0], query is not None))

    planner = Planner(Rows(found, Selection(samples=1)), by=(0,), on_pending=on_pending)
    count = planner.plan(store_with(found, {"one": 3, "two": None}))
    assert count.by_levels == {(0,): [2, 1], (1,): [1, 2], (2,): [0, 3]}
    assert listed == [
        ("again", 0, True), ("rated", 1, True), ("again", 1, False), ("answer", 2, True), ("rated", 2, False),
        ("again", 2, False),
    ]  # fmt: skip
    assert [(s.name, r.cell) for s, r in count.examples] == [(name, (cell,)) for name, cell, _ in listed[:5]]
    assert sorted(m.name for m in count.models.values()) == ["judge", "subject"]


def test_answers_of_this_run_are_fresh_and_cost_money() -> None:
    """Those of other runs were saved; 10 tokens at $1 and 2 at $1000 a million each."""
    found = experiment(STUDY)
    count = Planner(Rows(found), run="r1").plan(store_with(found, {"one": None, "two": None}))
    answer = count.steps[0]
    assert (len(answer.stored), len(answer.fresh)) == (4, 2)
    assert (answer.money.spent_usd, answer.money.saved_usd) == (Decimal("0.00402"), Decimal("0.00402"))
    assert dict(count.runs) == {"r0": 2, "r1": 2}


def test_money_of_a_shared_request_counts_once() -> None:
    """Of two experiments with equal requests, the first pays; each counts its requests."""
    one, other = program(
        STUDY + STUDY[STUDY.index("experiment e") :].replace("experiment e", "experiment f")
    ).experiments
    store = store_with(one, {"one": None})
    counts = [p.plan(store) for p in planners([Rows(one), Rows(other)], budget=Decimal(1))]
    assert [c.steps[0].money.saved_usd for c in counts] == [Decimal("0.00402"), 0]
    assert [counted(c)["answer"] for c in counts] == [(2, 4, 0, 0)] * 2
    assert counts[0].least_usd == 0, "three letters are no token that must be paid"


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [("", "stop", (0, 1, 0)), ("x", "length", (1, 0, 0)), ("", "blocked", (0, 0, 1)), ("x", "stop", (0, 0, 0))],
)
def test_odd_answers_are_counted(text: str, finish: Any, expected: tuple[int, int, int]) -> None:
    """Cut, empty, blocked: each request once, though three rows read it."""
    found = experiment('experiment e { for q in ["a"]\n for twin in [1, 2, 3]\n ask answer from "sim/subject" with q }')
    rows, store = Rows(found), MemoryStore()
    ((_, query),) = rows.advance(next(rows.selected()))
    store.answers[query.key] = Response(text=text, finish=finish)
    (step,) = Planner(Rows(found)).plan(store).steps
    assert (step.cut, step.empty, step.blocked) == expected
    assert (step.cached, step.n_rows) == (1, 3)


@pytest.mark.parametrize(
    ("own", "whole", "least_usd"), [("", None, "0"), ("budget = $1", None, "0.0001"), ("", Decimal(1), "0.0001")]
)
def test_the_least_cost_is_counted_under_a_budget(own: str, whole: Decimal | None, least_usd: str) -> None:
    """100 tokens of 32 bytes at $1 a million, once for both rows; without any budget it is not computed."""
    found = experiment(MODELS + f'experiment e {{ for q in ["{"x" * 3_200}"]\n for twin in [1, 2]\n {own}\n'
                       " ask answer from subject with q }")  # fmt: skip
    assert Planner(Rows(found), budget=whole).plan(MemoryStore()).least_usd == Decimal(least_usd)


def test_prompts_without_a_value_are_counted_by_their_error() -> None:
    """Those of the rows whose answers are known; they are no requests."""
    found = experiment(STUDY.replace("when rated < 5", 'ask last from subject with ["a"][rated]\n  when rated < 5'))
    count = Planner(Rows(found)).plan(store_with(found, {"one": 7}))
    last = next(s for s in count.steps if s.step.name == "last")
    assert list(last.invalid.values()) == [2]
    assert (len(last.pending), len(last.symbolic), last.n_rows) == (0, 4, 4)
