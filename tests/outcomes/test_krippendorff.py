"""Krippendorff's alpha: against published values, and against its formula with whole matrices, by loops."""

from __future__ import annotations

import itertools
import math
import random
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from told import Loaded, loaded

from emdsl.outcomes.krippendorff import alpha, alpha_interval, ratings_of

if TYPE_CHECKING:
    from pathlib import Path

METRICS = ("nominal", "ordinal", "interval")
# Krippendorff (2011), "Computing Krippendorff's alpha-reliability", section C: 4 observers, 12 units, missing values
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
Unit = tuple[str | None, list[Any], int]


def units_of(observers: tuple[tuple[Any, ...], ...]) -> list[Unit]:
    """Return the units with two ratings or more."""
    rated = [[r for r in unit if r is not None] for unit in zip(*observers, strict=True)]
    return [(None, ratings, 1) for ratings in rated if len(ratings) > 1]


def by_loops(units: list[Unit], metric: str) -> float | None:
    """Return alpha by sections C and D of the same paper: a whole matrix of coincidences, distances one by one."""
    values = sorted({v for _, ratings, _ in units for v in ratings})
    observed = dict.fromkeys(itertools.product(values, values), 0.0)
    for _, ratings, n in units:
        for one, other in itertools.permutations(ratings, 2):
            observed[one, other] += n / (len(ratings) - 1)
    count: dict[Any, float] = {v: sum(observed[v, w] for w in values) for v in values}

    def distance(one: Any, other: Any) -> float:
        if metric == "nominal":
            return float(one != other)
        if metric == "interval":
            return float((one - other) ** 2)
        low, high = sorted((one, other))
        return (sum(count[v] for v in values if low <= v <= high) - (count[low] + count[high]) / 2) ** 2

    pairs = list(itertools.product(values, values))
    total = math.fsum(count.values())
    expected = sum(count[one] * count[other] * distance(one, other) for one, other in pairs)
    return 1 - (total - 1) * sum(observed[p] * distance(*p) for p in pairs) / expected if expected else None


@pytest.mark.parametrize(("metric", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_the_published_one(metric: str, published: float) -> None:
    """To the three digits that are printed."""
    assert alpha(ratings_of(units_of(OBSERVERS)), metric) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_alpha_is_its_formula(metric: str) -> None:
    """Over random units of two to four raters, of few values and of many; equal units count once and many times."""
    for seed in range(40):
        rng = random.Random(seed)
        values = [round(rng.gauss(50, 20), 3) for _ in range(rng.choice([1, 2, 3, 7, 40]))]
        units: list[Unit] = [
            (rng.choice([None, "a", "b", "c"]), [rng.choice(values) for _ in range(rng.choice([2, 2, 3, 4]))],
             rng.choice([1, 1, 5]))
            for _ in range(rng.choice([1, 2, 5, 30]))
        ]  # fmt: skip
        wanted, found = by_loops(units, metric), alpha(ratings_of(units), metric)
        assert found == (None if wanted is None else pytest.approx(wanted, abs=1e-9)), seed


def test_ranks_alone_matter_to_the_ordinal_metric() -> None:
    """Any growing function of the ratings leaves it as it is; a line leaves the interval metric as it is."""
    units = units_of(OBSERVERS)
    bent: list[Unit] = [(c, [math.exp(v) for v in ratings], n) for c, ratings, n in units]
    moved: list[Unit] = [(c, [1000 - 7 * v for v in ratings], n) for c, ratings, n in units]
    assert alpha(ratings_of(bent), "ordinal") == pytest.approx(alpha(ratings_of(units), "ordinal"))
    assert alpha(ratings_of(bent), "interval") != pytest.approx(alpha(ratings_of(units), "interval"))
    for metric in METRICS:
        assert alpha(ratings_of(moved), metric) == pytest.approx(alpha(ratings_of(units), metric))


@pytest.mark.parametrize("metric", METRICS)
def test_few_clusters_have_a_jackknife(metric: str) -> None:
    """Each cluster left out once, by loops; Student's quantile on one less than clusters; at most 1."""
    rng = random.Random(5)
    units: list[Unit] = [
        (f"c{c}", [max(0, min(9, level + rng.randint(-2, 2))) for _ in range(3)], 1)
        for c, level in enumerate([1, 3, 5, 7, 8, 2, 4])
        for _ in range(3)
    ]
    value = by_loops(units, metric)
    left = [by_loops([u for u in units if u[0] != f"c{c}"], metric) for c in range(7)]
    assert value is not None
    error = math.sqrt(6 * float(np.var([x for x in left if x is not None])))
    half = scipy.stats.t.ppf(0.95, 6) * error
    found = alpha_interval(ratings_of(units), metric, 0.9, resamples=100, seed="")
    assert found == pytest.approx((value - half, min(1, value + half), error))


@pytest.mark.parametrize("metric", METRICS)
def test_many_clusters_have_a_bootstrap(metric: str) -> None:
    """The quantiles of resampled clusters, drawn here by other random numbers; the same for the same seed."""
    rng = random.Random(6)
    units: list[Unit] = []
    for c in range(40):
        level = rng.choice([1, 3, 5, 7])
        units += [(f"c{c}", [max(0, level + rng.choice([-1, 0, 0, 0, 2])) for _ in range(2)], 1) for _ in range(2)]
    ratings = ratings_of(units)
    low, high, error = alpha_interval(ratings, metric, 0.95, resamples=1000, seed="x")
    drawn = []
    for _ in range(300):
        again = [(f"{i}", u[1], 1) for i in range(40) for c in [rng.randrange(40)] for u in units[2 * c : 2 * c + 2]]
        drawn.append(by_loops([(name, ratings, n) for name, ratings, n in again], metric))
    spread = float(np.std([x for x in drawn if x is not None]))
    assert error == pytest.approx(spread, rel=0.15)
    assert (low, high) == pytest.approx(
        tuple(np.quantile([x for x in drawn if x is not None], [0.0204, 0.9796])), abs=0.6 * spread
    )
    assert alpha_interval(ratings, metric, 0.95, resamples=1000, seed="x") == (low, high, error)
    assert alpha_interval(ratings, metric, 0.95, resamples=1000, seed="y") != (low, high, error)


def test_units_without_clusters_are_clusters() -> None:
    """Equal units are one row that counts for all of them: the same interval as with a name for each."""
    rated: list[list[int]] = [[1, 1]] * 9 + [[1, 2]] * 3 + [[2, 2]] * 5
    one = ratings_of([(None, [1, 1], 9), (None, [1, 2], 3), (None, [2, 2], 5)])
    each = ratings_of([(str(i), ratings, 1) for i, ratings in enumerate(rated)])
    assert len(one.times) == 3
    for metric in METRICS:
        found = [alpha_interval(x, metric, 0.95, resamples=100, seed="") for x in (one, each)]
        assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize(
    "units",
    [
        [],
        [("a", [1, 2], 3)],
        [("a", [1, 1], 1), ("b", [1, 1], 1)],
        [(str(i), [1, 1] if i % 2 else [2, 2], 1) for i in range(30)],
        [(str(i), [1, 1] if i % 2 else [2, 2], 1) for i in range(6)],
    ],
)
def test_clusters_that_do_not_differ_have_no_interval(units: list[Unit]) -> None:
    """None at all, one cluster, one value, perfect agreement: no interval without width."""
    for metric in METRICS:
        assert alpha_interval(ratings_of(units), metric, 0.95, resamples=100, seed="") == (None, None, None)


STUDY = """
experiment e {
  for model in ["a", "b"]
  for q in ["q{i}" for i in 0..24]
  samples = 2
  ask answer from "sim/subject" with "{model}|{q}"
  judge v with score(answer) { samples = 4 }
  judge r with kind(answer) { samples = 3 }
  measure scores = agreement(v, v_2, v_3, v_4) by model
  measure ranks = agreement(v given r is good, v_2, v_3, metric: ordinal)
  measure labels = agreement(r, r_2, r_3, interval: bootstrap(0.9, resamples: 500)) by model
  measure conditions = agreement(v < 40, v_2 < 40, v_3 < 40, interval: bootstrap(0.95, cluster: none))
  measure two = agreement(v, v_2, metric: interval)
  measure usual = agreement(v, v_2)
  measure few = agreement(v given q in ["q0", "q1", "q2", "q3", "q4", "q5"], v_2, v_3)
  measure four = agreement(v given q in ["q0", "q1", "q2", "q3"], v_2, v_3)
  measure one = agreement(v given sample == 0, v_2, v_3) by q
}
"""


def told(rubric: str, model: str, question: str, sample: str, draw: int) -> Any:
    rng = random.Random(f"{rubric} {model} {question} {sample} {draw}")
    if rng.random() < 0.2:
        return "what?"
    level = random.Random(f"{question} {sample}").randrange(10, 90)
    if rubric == "kind":
        return ["good", "bad", "odd"][(level // 30 + (rng.random() < 0.2)) % 3]
    return max(0, min(100, 10 * round((level + rng.gauss(0, 12)) / 10)))


@cache
def study() -> Loaded:
    return loaded(STUDY, told)


@pytest.mark.parametrize(
    ("measure", "columns", "metric", "level"),
    [
        ("scores", ("v", "v_2", "v_3", "v_4"), "interval", 0.95),
        ("ranks", ("v", "v_2", "v_3"), "ordinal", 0.95),
        ("labels", ("r", "r_2", "r_3"), "nominal", 0.9),
        ("conditions", ("v", "v_2", "v_3"), "nominal", 0.95),
        ("two", ("v", "v_2"), "interval", 0.95),
    ],
)
def test_agreement_of_several_judges(measure: str, columns: tuple[str, ...], metric: str, level: float) -> None:
    """Rows with two verdicts count, others are dropped; the interval rests on questions, or on rows."""
    for found in study().measures[measure]:
        rows = [r for r in study().table if found.get("model") in (None, r["model"])]
        planned = len(rows)
        if measure == "ranks":
            rows = [r for r in rows if r["r"] == "good"]
        raw = [(r["q"], [r[c] for c in columns if r[c] is not None]) for r in rows]
        if measure == "conditions":
            raw = [(q, [x < 40 for x in ratings]) for q, ratings in raw]
        units: list[Unit] = [(q, ratings, 1) for q, ratings in raw if len(ratings) > 1]
        assert found["agreement"] == pytest.approx(by_loops(units, metric))
        assert (found["n"], found["n_planned"], found["n_dropped"]) == (len(units), planned, planned - len(units))
        assert sum(found["dropped"].values()) == found["n_dropped"]
        assert found["same"] == pytest.approx(sum(len(set(u[1])) == 1 for u in units) / len(units))
        alone = measure == "conditions"
        assert (found["clustered_by"], found["clusters"]) == (None, len(units)) if alone else ("q", 25)
        assert found["low"] < found["agreement"] < found["high"] <= 1
        errors = (found["agreement"] - found["low"]) / found["se"], (found["high"] - found["agreement"]) / found["se"]
        quantile = scipy.stats.norm.ppf(0.5 + level / 2)
        assert all(0.6 * quantile < e < 1.6 * quantile for e in errors)


def test_two_scores_with_a_metric_agree_as_without() -> None:
    """`metric: interval` of two judges is the alpha that two scores have; the interval is the bootstrap's."""
    (metric,), (usual,) = study().measures["two"], study().measures["usual"]
    assert metric["agreement"] == pytest.approx(usual["agreement"])
    assert (metric["low"], metric["high"]) == pytest.approx((usual["low"], usual["high"]), abs=1.8 * usual["se"])
    assert metric["se"] == pytest.approx(usual["se"], rel=0.25)


def test_few_questions() -> None:
    """Six have Student's quantile, and that is said; under five, nothing is clustered, as for other measures."""
    (few,), (four,) = study().measures["few"], study().measures["four"]
    assert (few["clusters"], few["clustered_by"]) == (6, "q")
    assert few["high"] == pytest.approx(min(1, few["agreement"] + scipy.stats.t.ppf(0.975, 5) * few["se"]))
    said = (
        "1 of 1 groups have fewer than 20 clusters (minimum 6): too few to resample, so their intervals use Student's"
    )
    assert any(n.startswith(f"measure `few`: {said}") for n in study().notices)
    assert (four["clusters"], four["clustered_by"]) == (four["n"], None)


def test_groups_of_one_question_rest_on_their_rows() -> None:
    """`by q` leaves no cluster; one unit has an agreement and no interval, none has neither."""
    rows = study().measures["one"]
    assert {r["clustered_by"] for r in rows} == {None}
    assert {r["n"] for r in rows} <= {0, 1, 2}
    assert all(r["low"] is None for r in rows if r["n"] < 2)
    assert all(r["agreement"] is None for r in rows if r["n"] == 0)


ANNOTATED = """
dataset data { file = "q.csv" }
experiment e {
  for q in data
  samples = 2
  ask answer from "sim/subject" with "{q.q}"
  judge r with kind(answer)
  measure people = agreement(r, q.first, q.second)
}
"""


def test_people_who_have_not_labelled_an_answer(tmp_path: Path) -> None:
    """An empty cell is no label: two of three are enough, and what is dropped for lack of a second is `unlabelled`."""
    people = [("good", "bad"), ("bad", ""), ("", ""), ("odd", "odd"), ("", "good"), ("good", "good")]
    lines = [f"q{i},{first},{second}" for i, (first, second) in enumerate(people)]
    (tmp_path / "q.csv").write_text("\n".join(["q,first,second", *lines]) + "\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    replies = {"q0": "good", "q1": "bad", "q2": "good", "q3": "what?", "q4": "what?", "q5": "bad"}
    found = loaded(ANNOTATED, lambda _, q, *__: replies[q], tmp_path)
    units: list[Unit] = []
    for (_, reply), labels in zip(replies.items(), people, strict=True):
        given = [x for x in (reply, *labels) if x not in ("", "what?")]
        units += [(None, given, 2)] if len(given) > 1 else []
    (row,) = found.measures["people"]
    assert row["agreement"] == pytest.approx(by_loops(units, "nominal"))
    assert (row["n"], row["n_planned"], row["dropped"]) == (8, 12, {"unlabelled": 2, "unreadable": 2})
