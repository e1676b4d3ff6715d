"""A plan in chunks finds what rows find one by one, whatever is stored, kept or made late."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from support import program

from emdsl.outcome import Result
from emdsl.query import Response, Usage
from emdsl.reasoning import _TAGS, split
from emdsl.run import rows as rows_module
from emdsl.run.passes import settle_from_store
from emdsl.run.planner import Planner
from emdsl.run.reasons import PreviousProgram
from emdsl.run.rows import Rows, Selection, settle, settle_answer
from emdsl.store.codec import encode
from emdsl.store.disk import DiskStore
from emdsl.store.store import MemoryStore
from emdsl.value import SPLIT_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.experiment import Program, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.run.count import ExperimentCount
    from emdsl.store.store import Store

HEAD = """em 1
model a {
  use = "openai-api/lab/a", url = "http://127.0.0.1:1/v1", revision = "1", price = { input: $1, output: $1000 }
  max_tokens = 100
}
model b { use = "openai-api/lab/b", url = "http://127.0.0.1:1/v1", revision = "1", max_tokens = 50 }
model j { use = "openai-api/lab/j", url = "http://127.0.0.1:1/v1", revision = "1", max_tokens = 9 }
rubric rating(answer) from j {
  scale = 0..9
  user "Rate {answer}"
}
rubric tough(q, answer) from j {
  scale = 0..100
  system "You judge."
  user "Rate {answer} of {q}"
}
rubric kind(answer) from j {
  choices = ["yes", "no"], refusal = "REFUSAL"
  user "Kind {answer}?"
}
rubric shaped(answer) from j {
  shape = { good: bool, n: 0..5 }
  user "Shape {answer}"
}
"""
STUDIES = {
    "conditions": """
experiment e {
  for q in ["one", "two", "three"]
  for unread in [1, 2]
  samples = 7
  ask answer from a with "{q}"
  judge rated with rating(answer)
  when rated < 5 { judge again with rating("again {answer}") }
}
""",
    "lets, models, judges of judges": """
experiment e {
  for m in [a, b]
  for k in [1, 2, 3]
  skip when k == 2 and m is b
  samples = 6
  let s = "k is {k} and {sample}"
  ask answer from m with "Q {s}"
  ask more from a with "What of {answer} {k}?"
  judge r with tough(s, more)
  judge rr with rating("{r} of {answer}")
  let bad = r > 50 and rr < 3
  set answer.temperature = 0.5 when k == 3
  measure x = rate(bad) by k
}
""",
    "labels, fields, unreadable replies": """
experiment e {
  for k in [1, 2, 3, 4]
  samples = 5
  when k > 2 { ask answer from a with "A {k}" }
  ask other from b with "B {k} {sample}"
  judge n with kind(other)
  when n is "yes" { ask third from a with "C {other}" }
  judge t with shaped(other) { again = 2 }
  when t.good { judge w with rating("{third}") }
}
""",
    "weighted scores with a probe": """
import alignment from "std:judges@1"
experiment e {
  for q in ["x", "y"]
  samples = 30
  ask answer from a with "{q}"
  judge aligned with alignment(q, answer) from "sim/judge"
  judge whole with tough(q, answer)
}
""",
    "two experiments that share requests": """
experiment e {
  for q in ["one", "two"]
  samples = 3
  ask answer from a with "{q}"
  judge rated with rating(answer) { again = 1 }
}
experiment f {
  for q in ["one", "two", "three"]
  samples = 4
  ask answer from a with "{q}"
  judge rated with rating(answer) { samples = 2 }
  ask third from a with "{q}" { replicate = 1 }
}
""",
    "equal requests of many cells": """
experiment e {
  for q in ["one", "two"]
  for style in { plain: "", same: "", other: "Be brief." }
  samples = 4
  ask answer from a with "{q}{style}"
  judge rated with tough(q, answer)
  judge free with rating(q)
  ask after from b with "{free} {q}"
}
""",
    "prompts with a long prefix": """
let word = "a word that comes again and again, and once more "
experiment e {
  for q in ["one", "two"]
  for n in [1, 2, 3]
  samples = 3
  let long = join([word for i in 1..100], "")
  ask answer from "openai/gpt-4o" with "{long} {n} {q}"
  judge rated with rating(answer)
}
""",
}  # fmt: skip


def reply(query: Query) -> Response:
    """Return one of several replies, some of which cannot be read."""
    chance = random.Random(query.key)
    text = query.prompt.messages[-1].text
    logprobs = None
    if text.startswith("Rate"):
        said = chance.choice(["3", "7", "9", "x y", "<think>hm</think> 4", "a 5 or 6"])
    elif text.startswith("Kind"):
        said = chance.choice(["yes", "no", "REFUSAL", "dunno"])
    elif text.startswith("Shape"):
        said = chance.choice(['{"good": true, "n": 3}', '{"good": false, "n": 1}', "bad"])
    elif "number 85" in text or "top_logprobs" in query.params:
        said = "85" if "number 85" in text else str(chance.randint(10, 99))
        logprobs = (((said, -0.1), ("3", -2.0)),)
    else:
        said = chance.choice(["", "<think>deep</think>well", "[x] <b>", f"an answer {query.key.hex()}"])
    return Response(
        text=said, finish=chance.choice(["stop", "stop", "length", "blocked"]), logprobs=logprobs,
        usage=Usage(
            input_tokens=chance.choice([None, 10, 12]), output_tokens=chance.randint(1, 5),
            cost_usd=chance.choice([None, 0.5]),
        ),
        run=chance.choice(["r1", "r2"]),
    )  # fmt: skip


def stored(found: Program, share: float) -> dict[Query, Response]:
    """Return replies to a share of the requests that rows come to, one by one, and to all probes."""
    chance = random.Random(share)
    answers: dict[bytes, tuple[Query, Response] | None] = {}
    for experiment in found.experiments:
        rows = Rows(experiment)
        rows.probes.look_up(MemoryStore())
        answers |= {query.key: (query, reply(query)) for query in rows.probes.queries}
        for row in rows.selected():
            waiting = rows.advance(row)
            while waiting:
                again = []
                for step, query in waiting:
                    answer = answers.setdefault(query.key, (query, reply(query)) if chance.random() < share else None)
                    if answer is not None:
                        more = settle_answer(row, step, answer[1], split(answer[1], query))
                        again += [(step, more)] if more is not None else []
                waiting = again + rows.advance(row)
    return dict(answer for answer in answers.values() if answer is not None)


def alone(rows: Rows, row: Outcome, store: Store) -> None:
    """Settle a row whose frame was made first, answer by answer."""
    assert row.frame["sample"] == row.sample
    rows.probes.look_up(store)
    waiting = rows.advance(row)
    while waiting:
        again = []
        for step, query in waiting:
            response = store.get_many([query.key]).get(query.key)
            if rows.probes.split(step, query):
                settle(row, step, Result(SPLIT_NUMBER, query, response))
            elif response is not None:
                more = settle_answer(row, step, response, split(response, query))
                again += [(step, more)] if more is not None else []
        waiting = again + rows.advance(row)


def one_by_one(rows: Rows, row: Outcome, store: Store) -> None:
    """Settle a row as the loader does, in a chunk of its own."""
    settle_from_store(rows, [row], store)


def plans(
    found: Program, store: Store, settled: Callable[[Rows, Outcome, Store], None] | None, *, some: bool
) -> list[dict[str, Any]]:
    """Return what the plan of each experiment shows: in chunks, or row by row."""
    counts: list[ExperimentCount] = []
    shown = []
    before = program(HEAD.replace("You judge.", "You are a judge.") + "".join(STUDIES["conditions"]))
    for experiment in found.experiments:
        listed: list[Any] = []

        def pending(step: Step, row: Outcome, query: Query | None, listed: list[Any] = listed) -> None:
            listed.append((step.name, row.cell, row.sample, query.key if query is not None else None))

        selection = Selection(2, {0: frozenset([1])}) if some else Selection()
        rows = Rows(experiment, selection)
        planner = Planner(
            rows, budget=None if some else Decimal(5), run="r1", by=(0,) if some else (), on_pending=pending,
            comparison=PreviousProgram(found, before if some else found).of(experiment), previous=counts,
        )  # fmt: skip
        if settled is not None:
            for row in rows.selected():
                settled(rows, row, store)
                planner.add(row)
        counts.append(planner.plan(store))
        shown.append(everything(counts[-1]) | {"listed": listed})
    return shown


def everything(count: ExperimentCount) -> dict[str, Any]:
    """Return all that is counted, in its order."""
    steps = [
        {
            name: getattr(step, name)
            for name in (
                "stored", "pending", "symbolic", "undecided", "fresh", "probes", "bad_replies", "split", "splitters",
                "cut", "empty", "blocked", "n_rows", "n_decided", "n_held", "invalid", "unknown",
            )
        }
        | step.as_json()
        | {"chars": (step.estimate.chars, step.estimate.prefix_chars, step.estimate.rendered, step.estimate.answer)}
        | {"money": (step.money.spent_usd, step.money.saved_usd, step.money.prefix_usd, step.money.n_unknown)}
        for step in count.steps
    ]  # fmt: skip
    return {
        "steps": steps,
        "models": list(count.models),
        "heads": [(step.name, head.params) for head, step in count.heads.values()],
        "least": count.least_usd,
        "reasons": list(count.reasons.items()),
        "runs": list(count.runs.items()),
        "probed": count.probed,
        "by": list(count.by_levels.items()),
        "examples": [(step.name, row.cell, row.sample) for step, row in count.examples],
    }


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("study", list(STUDIES))
def test_chunks_find_what_single_rows_find(
    study: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All counts, keys, reasons and their order: in memory and from the disk, with prompts kept and made again."""
    found = program(HEAD + STUDIES[study])
    answers = stored(found, share)
    memory, disk = MemoryStore(), DiskStore(tmp_path / "answers")
    memory.answers = {query.key: response for query, response in answers.items()}
    disk.adopt((query.key, encode(query, response)) for query, response in answers.items())
    monkeypatch.setattr(disk, "sample", memory.sample)  # lengths of other answers, which are not kept in memory
    for some in (False, True):
        expected = plans(found, memory, alone, some=some)
        assert plans(found, memory, one_by_one, some=some) == expected
        assert plans(found, memory, None, some=some) == expected
        assert plans(found, disk, None, some=some) == expected
        with monkeypatch.context() as patched:
            patched.setattr(rows_module, "MIN_PROMPTS", 1)
            patched.setattr(rows_module, "MAX_PROMPT_CHARS", 1)
            assert plans(found, memory, None, some=some) == expected
    disk.close()


@pytest.mark.parametrize("mark", [*(tag for tags in _TAGS for tag in tags), "<|channel|>", "assistantfinal"])
def test_each_mark_of_reasoning_is_looked_for(mark: str) -> None:
    """A text without the first characters of any mark is not searched for the marks themselves."""
    text = f"analysis hm{mark}yes" if mark == "assistantfinal" else f"{mark}final<|message|>hm{mark}yes"
    assert split(Response(text=text, finish="stop")) != (text, None)
