"""`components(...)`: against the mean squares of balanced designs, and against the variances that made the data."""

from __future__ import annotations

import itertools
import math
import random
from functools import cache
from typing import Any

import numpy as np
import pytest
from told import Loaded, loaded

from emdsl.outcomes.components import components

STUDY = """
experiment e {
  for model in ["a", "b", "c"]
  for q in ["q{i}" for i in 0..7]
  for k in [0, 4]
  samples = 4
  ask answer from "sim/subject" with "{model}|{q}|{k}"
  judge v with score(answer)
  let high = v > 50
  let topic = if q in ["q0", "q1", "q2"] then "first" else "other"
  measure crossed = components(mean(v), [q, model]) by k
  measure rates = components(rate(high given v > 20), [q, sample])
  measure three = components(mean(v), [q, sample, model]) by k
  measure lets = components(mean(v), [topic])
  measure alone = components(mean(v), q)
  measure one_level = components(mean(v given model is a), [q, model])
  measure none_kept = components(mean(v given v > 100), [q, model]) by k
  measure equal = components(mean(v given v == 50), [q, model])
}
"""


def told(_: str, model: str, question: str, k: str, sample: str, __: int) -> int:
    """Questions differ most, then models, then single draws."""
    level = 50 + random.Random(question).gauss(0, 14) + {"a": -6, "b": 0, "c": 8}[model]
    level += random.Random(f"{question} {model}").gauss(0, 5) + random.Random(f"{model}{question}{k}{sample}").gauss(
        0, 7
    )
    return max(0, min(100, round(level)))


@cache
def study() -> Loaded:
    return loaded(STUDY.replace('["a", "b", "c"]', '{ a: "a", b: "b", c: "c" }'), told)


def anova(values: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return the variance components of values of shape (a, b, n): expected mean squares of two crossed random factors.

    Source: Searle, Casella and McCulloch (1992), Variance Components, 4.3.
    """
    a, b, n = values.shape
    mean, rows, columns, cells = values.mean(), values.mean((1, 2)), values.mean((0, 2)), values.mean(2)
    ms_a = b * n * ((rows - mean) ** 2).sum() / (a - 1)
    ms_b = a * n * ((columns - mean) ** 2).sum() / (b - 1)
    ms_ab = n * ((cells - rows[:, None] - columns[None, :] + mean) ** 2).sum() / ((a - 1) * (b - 1))
    ms_e = ((values - cells[:, :, None]) ** 2).sum() / (a * b * (n - 1))
    return {
        "q": (ms_a - ms_ab) / (b * n),
        "model": (ms_b - ms_ab) / (a * n),
        "q x model": (ms_ab - ms_e) / n,
        "draw": ms_e,
    }


@pytest.mark.parametrize("k", [0, 4])
def test_components_are_those_of_mean_squares(k: int) -> None:
    """In a balanced design, to the last digits: variances, shares, the error of the mean and what doubling buys."""
    values = np.array([[[r["v"] for r in study().table if (r["q"], r["model"], r["k"]) == (f"q{i}", m, k)]
                        for m in "abc"] for i in range(8)])  # fmt: skip
    wanted = anova(values)
    assert min(wanted.values()) > 0, "a negative component tests something else"
    rows = {r["source"]: r for r in study().measures["crossed"] if r["k"] == k}
    assert list(rows) == sorted(wanted, key=lambda s: -wanted[s]), "the largest source comes first"
    assert {s: r["variance"] for s, r in rows.items()} == pytest.approx(wanted)
    assert {s: r["components"] for s, r in rows.items()} == pytest.approx(
        {s: v / sum(wanted.values()) for s, v in wanted.items()}
    )
    assert {s: r["levels"] for s, r in rows.items()} == {"q": 8, "model": 3, "q x model": 24, "draw": 96}

    def error(n_q: int = 8, n_model: int = 3, n_draws: int = 4) -> float:
        parts = wanted["q"] / n_q + wanted["model"] / n_model + wanted["q x model"] / (n_q * n_model)
        return math.sqrt(parts + wanted["draw"] / (n_q * n_model * n_draws))

    assert [r["se"] for r in rows.values()] == pytest.approx([error()] * 4)
    twice = {"q": error(n_q=16), "model": error(n_model=6), "draw": error(n_draws=8), "q x model": None}
    assert {s: r["se_twice"] for s, r in rows.items()} == pytest.approx(twice)
    effect = error() ** 2 / (sum(wanted.values()) / 96)
    assert [r["design_effect"] for r in rows.values()] == pytest.approx([effect] * 4)
    assert {(r["n"], r["n_planned"], r["complete"]) for r in rows.values()} == {(96, 96, True)}


def test_levels_of_their_own() -> None:
    """Models of its own for each question: 24 of them where there were 3, so that their variance counts a 24th."""
    rows = {r["source"]: r for r in study().measures["crossed"] if r["k"] == 0}
    variance = {s: r["variance"] for s, r in rows.items()}
    nested = variance["q"] / 8 + (variance["model"] + variance["q x model"]) / 24 + variance["draw"] / 96
    assert rows["model"]["se_nested"] == pytest.approx(math.sqrt(nested))


def test_components_of_a_made_up_world() -> None:
    """Over 60 made-up studies of unequal size the mean estimates are the variances that made them."""
    truth = {"q": 9.0, "model": 2.0, "q x model": 4.0, "draw": 6.0}
    rng = np.random.default_rng(3)
    found: dict[str, list[float]] = {name: [] for name in truth}
    for _ in range(60):
        q, model = rng.normal(0, 3, 30), rng.normal(0, math.sqrt(2), 12)
        rows = []
        for i, j in itertools.product(range(30), range(12)):
            n = int(rng.choice([0, 1, 2, 5]))
            values = 70 + q[i] + model[j] + rng.normal(0, 2) + rng.normal(0, math.sqrt(6), n)
            if n:
                rows.append(((str(i), str(j)), float(values.sum()), float((values**2).sum()), n))
        for source in components(("q", "model"), rows).sources:
            found[source.name].append(source.variance or 0.0)
    for name, variance in truth.items():
        mean, error = float(np.mean(found[name])), float(np.std(found[name])) / math.sqrt(60)
        assert abs(mean - variance) < 3.5 * error, name
        assert error < 0.1 * variance


@pytest.mark.parametrize("k", [0, 4])
def test_three_factors_with_one_draw_each(k: int) -> None:
    """What all three share cannot be told from single draws; the rest adds up to the variance of two unlike draws."""
    rows = {r["source"]: r for r in study().measures["three"] if r["k"] == k}
    assert set(rows) == {
        "q",
        "sample",
        "model",
        "q x sample",
        "q x model",
        "sample x model",
        "q x sample x model",
        "draw",
    }
    whole = rows["q x sample x model"]
    assert (whole["variance"], whole["components"], whole["levels"]) == (None, None, 96)
    assert sum(r["components"] for r in rows.values() if r is not whole) == pytest.approx(1)
    draws = {(r["q"], r["model"], r["sample"]): r["v"] for r in study().table if r["k"] == k}
    apart = [
        (a - b) ** 2 / 2
        for (x, a), (y, b) in itertools.combinations(draws.items(), 2)
        if all(i != j for i, j in zip(x, y, strict=True))
    ]
    known = sum(r["variance"] for r in rows.values() if r["variance"] is not None)
    assert known == pytest.approx(float(np.mean(apart)), rel=0.02)  # components below 0 are 0


def test_a_rate_a_let_and_one_factor() -> None:
    """Sources may be `sample` and a `let`; the draws that a `given` leaves out are not there."""
    rows = study().measures["rates"]
    kept = [r for r in study().table if r["v"] > 20]
    assert {r["n"] for r in rows} == {len(kept)} != {192}
    hits = np.array([float(r["v"] > 50) for r in kept])
    assert sum(r["variance"] for r in rows) == pytest.approx(float(hits.var()), rel=0.1)
    assert [r["source"] for r in study().measures["lets"]] in (["draw", "topic"], ["topic", "draw"])
    one = {r["source"]: r for r in study().measures["alone"]}
    scores: dict[str, list[float]] = {}
    for row in study().table:
        scores.setdefault(row["q"], []).append(row["v"])
    within = float(np.mean([np.var(x, ddof=1) for x in scores.values()]))
    assert one["draw"]["variance"] == pytest.approx(within)
    between = float(np.var([np.mean(x) for x in scores.values()], ddof=1)) - within / 24
    assert one["q"]["variance"] == pytest.approx(between)


@pytest.mark.parametrize("measure", ["none_kept", "equal"])
def test_what_cannot_be_told_apart_is_missing(measure: str) -> None:
    """No draw at all, or values that do not vary: no number."""
    for row in study().measures[measure]:
        assert (row["variance"], row["components"], row["se"], row["se_twice"], row["design_effect"]) == (None,) * 5
        assert (row["n"] == 0) == (measure == "none_kept")


def test_a_factor_with_one_level_is_unknown() -> None:
    """The others are those of a study without it."""
    rows = {r["source"]: r for r in study().measures["one_level"]}
    assert set(rows) == {"q", "model", "draw"}
    assert (rows["model"]["variance"], rows["model"]["se_twice"], rows["model"]["levels"]) == (None, None, 1)
    values = np.array(
        [[r["v"] for r in study().table if (r["q"], r["model"]) == (f"q{i}", "a")] for i in range(8)], dtype=float
    )
    within = float(values.var(1, ddof=1).mean())
    assert rows["draw"]["variance"] == pytest.approx(within)
    assert rows["q"]["variance"] == pytest.approx(float(values.mean(1).var(ddof=1)) - within / 8)
    assert rows["q"]["se"] == pytest.approx(math.sqrt(rows["q"]["variance"] / 8 + within / 64))
