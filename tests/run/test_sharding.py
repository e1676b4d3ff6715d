"""Shards: every row in one of them, alike first requests together, and about as many rows in each."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from support import experiment

from emdsl.run.rows import Rows, Selection
from emdsl.run.sharding import Shard
from emdsl.study.workers_plan import packed, unpacked

if TYPE_CHECKING:
    from emdsl.experiment import Experiment

LONG = "word " * 1_000  # characters of a prefix that is worth keeping together


def study(axes: str, prompt: str, *, samples: int = 1, model: str = '"sim/subject"') -> str:
    """Return an experiment with one ask and a judge that reads one of the axes."""
    return f"""
let long = "{LONG}"
model warm {{ use = "sim/subject", temperature = 1 }}
model cold {{ use = "sim/subject", temperature = 0 }}
rubric rating(answer) from "sim/judge" {{
  scale = 0..10
  user "Rate {{answer}}"
}}
experiment e {{
  {axes}
  samples = {samples}
  ask answer from {model} with "{prompt}"
  judge rated with rating(answer)
}}
"""


Place = tuple[tuple[int, ...], int]


def shards(found: Experiment, of: int, selection: Selection | None = None) -> list[list[Place]]:
    """Return the selected rows of each shard."""
    return [[(r.cell, r.sample) for r in Rows(found, selection, Shard(i, of)).selected()] for i in range(of)]


def made_up(random_: random.Random) -> Experiment:
    """Return a random experiment: some axes, skips, samples and a prompt that reads some of them."""
    names = "abc"[: random_.randint(1, 3)]
    axes = [f"for {n} in 1..{random_.randint(1, 12)}" for n in names]
    if random_.random() < 0.3:
        axes.append("for who in [warm, cold]")
    if len(names) > 1 and random_.random() < 0.4:
        axes.append("skip when a > b + 1")
    read = [n for n in names if random_.random() < 0.7]
    parts = [f"{{{n}}}" for n in read] + random_.choice([[], ["{long}"], ["{long}", "{sample}"]])
    random_.shuffle(parts)
    model = "who" if "who" in axes[-1] or any("who" in a for a in axes) else '"sim/subject"'
    return experiment(study("\n".join(axes), " ".join(["q", *parts]), samples=random_.choice([1, 2, 7]), model=model))


@pytest.mark.parametrize("seed", range(25))
def test_every_row_is_in_one_shard(seed: int) -> None:
    """Of random experiments and selections: shards are parts of the rows in their order, and know their rows."""
    random_ = random.Random(seed)
    found, of = made_up(random_), random_.randint(2, 5)
    selection = None
    if seed % 3 == 0:
        selection = Selection(samples=random_.randint(1, 3), only={0: frozenset({0, random_.randint(0, 5)})})
    whole = Rows(found, selection)
    rows = [(r.cell, r.sample) for r in whole.selected()]
    place = {at: i for i, at in enumerate(rows)}
    parts = shards(found, of, selection)
    assert sorted(at for part in parts for at in part) == sorted(rows)
    for i, part in enumerate(parts):
        shard = Rows(found, selection, Shard(i, of))
        assert [place[at] for at in part] == sorted(place[at] for at in part)
        assert shard.n_rows(found.n_cells) == len(part)
        assert {at for at in rows if shard.takes_at(*at)} == set(part)
        assert sorted((r.cell, r.sample) for group in shard.groups() for r in group) == sorted(part)
    every = [(r.cell, r.sample) for i in range(of) for r in Rows(found, selection, Shard(i, of)).everything()]
    assert sorted(every) == sorted((r.cell, r.sample) for r in whole.everything())


GRIDS = {
    "many prompts": ("for a in 1..50\nfor b in 1..9", "{a} {b}", 3, '"sim/subject"'),
    "one prompt": ("for a in 1..2", "q", 400, '"sim/subject"'),
    "one prompt of two models": ("for who in [warm, cold]", "q", 200, "who"),
    "one request": ("for a in 1..300", "q", 1, '"sim/subject"'),
    "few prefixes": ("for a in 1..3\nfor b in 1..90", "{a} {long} {b}", 2, '"sim/subject"'),
    "many prefixes": ("for b in 1..7\nfor a in 1..80", "{a} {long} {b}", 2, '"sim/subject"'),
    "skipped": ("for a in 1..90\nfor b in 1..90\nskip when a > b", "{a} {b}", 1, '"sim/subject"'),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("of", [2, 3, 8])
def test_shards_are_balanced(name: str, of: int) -> None:
    """No shard has 10 % more rows than the mean, however few prompts there are."""
    axes, prompt, samples, model = GRIDS[name]
    sizes = [len(part) for part in shards(experiment(study(axes, prompt, samples=samples, model=model)), of)]
    assert max(sizes) <= 1.1 * sum(sizes) / of


def owners(parts: list[list[Place]], found: Experiment, names: str) -> dict[object, set[int]]:
    """Return the shards in which each combination of levels is."""
    axes = [i for i, axis in enumerate(found.axes) if axis.name in names]
    owned = defaultdict[object, set[int]](set)
    for i, part in enumerate(parts):
        for cell, _ in part:
            owned[tuple(cell[axis] for axis in axes)].add(i)
    return owned


@pytest.mark.parametrize(("name", "together"), [("many prefixes", "a"), ("many prompts", "ab"), ("skipped", "ab")])
def test_prompts_that_begin_alike_are_in_one_shard(name: str, together: str) -> None:
    """Rows that share a long prefix are together, and those of short prompts if they make the same request."""
    axes, prompt, samples, model = GRIDS[name]
    found = experiment(study(axes, prompt, samples=samples, model=model))
    assert all(len(where) == 1 for where in owners(shards(found, 3), found, together).values())


def test_equal_first_requests_are_in_one_shard() -> None:
    """An axis that the first request does not read changes nothing, and each sample is a request of its own."""
    found = experiment(study("for c in 1..20\nfor a in 1..2", "{a}", samples=40))
    parts = shards(found, 2)
    owned = defaultdict[object, set[int]](set)
    for i, part in enumerate(parts):
        for cell, sample in part:
            owned[cell[1], sample].add(i)
    assert all(len(where) == 1 for where in owned.values())


def test_large_and_sparse_grids_are_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours that are gathered into few buckets may be uneven: then they are scattered."""
    monkeypatch.setattr("emdsl.run.sharding.MAX_BUCKETS", 8)
    found = experiment(study("for a in 1..60\nfor b in 1..60\nskip when a + b > 62 or b > 3 and a > 2", "{a} {b}"))
    sizes = [len(part) for part in shards(found, 4)]
    assert max(sizes) <= 1.1 * sum(sizes) / 4


@pytest.mark.parametrize("seed", range(8))
def test_a_shard_makes_no_row_that_a_planner_has_found_complete(seed: int) -> None:
    """The note is about the rows of all shards, in their order; it goes to a worker as a short text."""
    random_ = random.Random(seed)
    found = made_up(random_)
    selection = Selection(samples=random_.choice([None, 1, 3]))
    every = [(r.cell, r.sample) for r in Rows(found, selection).selected()]
    note = bytearray(random_.random() < 0.2 for _ in every)
    wanted = {place for place, is_open in zip(every, note, strict=True) if is_open}
    seen = list[Place]()
    for i in range(3):
        rows = Rows(found, selection, Shard(i, 3))
        selected = [(r.cell, r.sample) for r in rows.selected()]
        rows.incomplete = unpacked(packed(note))
        mine = {(r.cell, r.sample) for group in rows.groups() for r in group}
        assert mine == wanted & set(selected)
        seen += mine
    assert sorted(seen) == sorted(wanted)
    assert unpacked(packed(None)) is None
    assert len(packed(bytearray(200_000)) or "") < 500


def test_a_shard_is_one_of_several() -> None:
    """Its number is below their number."""
    with pytest.raises(ValueError, match="shard 2 of 2"):
        Shard(2, 2)
