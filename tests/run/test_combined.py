"""The progress of several processes as one: sums, whatever order their reports come in, and nothing of the dead."""

from __future__ import annotations

import json
import random

from support import experiment

from emdsl.run.combined import KIND_COUNTS, Combined, snapshot
from emdsl.run.progress import Progress
from emdsl.run.rows import Rows

STUDY = """
model m { use = "openai/gpt-4o-2024-08-06", max_tokens = 100 }
experiment e {
  for q in 1..30
  ask answer from m with "question {q}"
}
"""


def test_the_sum_is_that_of_one_process_and_what_a_dead_one_had_in_flight_is_to_do_again() -> None:
    study, rng = experiment(STUDY), random.Random(1)
    queries = [query for row in Rows(study).selected() for _, query in Rows(study).advance(row)]
    parts = [Progress() for _ in range(3)]
    whole = Progress()
    combined, now = Combined(whole, [study]), 100.0
    step = study.steps[0]
    for i, query in enumerate(queries):
        part = parts[i % 3]
        kind = part.meter.kind("e", step, query)
        kind.made += 1
        kind.begin(now, again=False)
        part.sent += 1
        part.in_flight += 1
        now += 0.1
        if i < 24:
            kind.end(now - 0.1, now)
            kind.answer()
            part.in_flight -= 1
            part.answered += 1
        if rng.random() < 0.5:
            told = json.loads(json.dumps(snapshot(part, now)))
            combined.hear(i % 3, told, now)
    for i, part in enumerate(parts):
        combined.hear(i, json.loads(json.dumps(snapshot(part, now))), now)
    (kind,) = whole.meter.kinds
    (progress,) = whole.meter.steps
    assert (whole.sent, whole.answered, whole.in_flight) == (30, 24, 6)
    assert (progress.answered, progress.left) == (24, 0)
    for name in KIND_COUNTS:
        own = [getattr(k, name) for p in parts for k in p.meter.kinds]
        assert abs(getattr(kind, name) - sum(own)) < 1e-9
    assert abs(kind.ages_s(now) - sum(k.ages_s(now) for p in parts for k in p.meter.kinds)) < 1e-6
    combined.leave(0)
    assert (whole.sent, whole.answered, whole.in_flight) == (30, 24, 4)
    assert kind.made == 28
    assert kind.in_flight == 4
