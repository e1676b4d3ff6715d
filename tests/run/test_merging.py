"""Records of windows, made by several processes: their counts are those of one process, in every part."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TypeVar

import pytest
import windowed
from support import THOROUGH, program

from emdsl.run.merging import Merger
from emdsl.run.planner import Planner, finish_all, plan_all
from emdsl.run.rows import Rows, Selection

P = TypeVar("P", bound=Planner)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(400 if THOROUGH else 12))
def test_counts_of_windows_are_those_of_all_rows(seed: int) -> None:
    """Of random studies with random answers, by random processes: equal requests meet in several of them."""
    random_ = random.Random(seed)
    found = program(windowed.made_up(random_))
    store = windowed.filled(found, random_, random_.choice([0.0, 0.3, 0.9, 1.0]))
    selection = random_.choice([None, None, Selection(samples=2), Selection(only={0: frozenset({0, 2})})])
    size = random_.choice([3, 8, 20])
    budget = random_.choice([None, Decimal(10)])
    by = random_.choice([(), (0,)])

    def made(kind: type[P]) -> tuple[list[Rows], list[P]]:
        walks = [Rows(e, selection) for e in found.experiments]
        planners = list[P]()
        for walk in walks:
            planners.append(kind(walk, budget=budget, run="r1", by=by, previous=[p.count for p in planners]))
        return walks, planners

    walks, alone = made(Planner)
    expected = windowed.told(plan_all(alone, store))
    shared, mergers = made(Merger)
    windowed.in_windows(mergers, shared, store, random_, size, budget=budget, run="r1", by=by)
    assert windowed.told(finish_all(mergers, store)) == expected
    assert [w.incomplete for w in shared] == [w.incomplete for w in walks]
