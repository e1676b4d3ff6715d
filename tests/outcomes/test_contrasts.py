"""Contrasts with baselines, scales, families and clusters, through a study, against statsmodels and scipy."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from measured import measured
from statsmodels.genmod.families import Binomial, Poisson
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from emdsl.study.tables import interval_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emdsl.experiment import Experiment

    Row = dict[str, Any]

QUESTIONS = [f"q{i}" for i in range(12)]
MEASURES = {
    "numbers": "contrast(rate(v < 30), k, versus: 0, correct: holm, family: main) by data",
    "labels": "contrast(mean(v), data, versus: none, correct: holm, family: main)",
    "texts": 'contrast(mean(v), style, versus: "long") by k',
    "flags": "contrast(rate(v < 30), style is short, style is long, equivalent: 0.2)",
    "ratio": "contrast(rate(v < 30), k, versus: 8, scale: ratio, equivalent: 1.2, correct: bh)",
    "odds": "contrast(rate(v < 30 given v < 80), k, versus: 0, scale: odds, correct: bh) by data",
    "means": "contrast(mean(v), k, versus: 0, scale: ratio)",
    "nested": "contrast(contrast(rate(v < 30), k, versus: 0), data is a, data is none)",
    "turned": "contrast(contrast(mean(v), data is a, data is none), k, versus: 0)",
    "nested_odds": "contrast(contrast(rate(v < 30), k == 32, k == 0), style is short, style is long, scale: odds)",
    "cells": "contrast(at_least(v < 25, 2), k, versus: 0)",
    "pairs": "contrast(mean(v), k, versus: 0, interval: wald(0.9, cluster: none))",
    "crossed": "contrast(mean(v), k, versus: 0, interval: wald(0.95, cluster: [q, sample]))",
    "halves": f"contrast(mean(v), q in {QUESTIONS[:5]}, q in {QUESTIONS[5:]})",
    "two": "contrast(mean(v), q is q0, q is q1)",
    "empty": "contrast(rate(v < 30 given k > 0), k, versus: 0)",
}
STUDY = f"""
experiment e {{
  for k in [0, 8, 32]
  for data in {{ a: "x", b: "y", none: "z" }}
  for style in ["short", "long"]
  for q in {QUESTIONS}
  samples = 3
  ask a from "sim/subject" with "{{k}} {{data}} {{style}} {{q}}"
  judge v with score("{{k}} {{data}} {{style}} {{q}} {{sample}}")
  {"  ".join(f"measure m_{name} = {call}{chr(10)}" for name, call in MEASURES.items())}
}}
""".replace("'", '"')


def reply(k: str, data: str, style: str, q: str, sample: str) -> str:
    """Return a score with effects of all axes, and of questions on them; some cannot be read."""
    own = random.Random(f"{k} {data} {style} {q} {sample}")
    if own.random() < 0.05:
        return "nothing"
    question, effect = random.Random(q).gauss(0, 1), random.Random(f"{q} {k}").gauss(0, 1)
    value = 40 + 12 * question + 5 * effect - int(k) / 4 * (data == "x") + 4 * (style == "long") + 12 * own.gauss(0, 1)
    return str(round(max(0, min(100, value))))


@pytest.fixture(scope="module")
def loaded() -> tuple[Experiment, dict[str, list[Row]]]:
    """Return the study with the rows of its tables."""
    study, tables, notices = measured(STUDY, reply)
    assert not notices
    return study, tables


def kept(rows: list[Row], **where: Any) -> list[Row]:
    return [r for r in rows if r["v"] is not None and all(r[k] == x for k, x in where.items())]


def low(row: Row) -> float:
    return float(row["v"] < 30)


def score(row: Row) -> float:
    return float(row["v"])


DESIGNS: dict[int, list[tuple[float, ...]]] = {  # the regressors of each side, by the number of sides
    2: [(1, 1), (1, 0)],
    4: [(1, 1, 1, 1), (1, 0, 1, 0), (1, 1, 0, 0), (1, 0, 0, 0)],
}


def fitted(
    sides: Sequence[list[Row]], of: Callable[[Row], float], family: Any = None, cluster: tuple[str, ...] = ("q",)
) -> tuple[float, float, int]:
    """Return the last coefficient of a saturated regression with its cluster-robust error, and the number of clusters.

    Of two sides it is the effect of being on the first, of four the interaction. Without its correction for the number
    of regressors, (N - 1) / (N - K).
    """
    design = DESIGNS[len(sides)]
    rows = [r for side in sides for r in side]
    x = np.array([d for d, side in zip(design, sides, strict=True) for _ in side], dtype=float)
    names = [" ".join(str(r[c]) for c in cluster) for r in rows]
    kwds = {"groups": np.unique(names, return_inverse=True)[1], "use_correction": False}
    fit = GLM(np.array([of(r) for r in rows]), x, family=family).fit(cov_type="cluster", cov_kwds=kwds)
    n = len(set(names))
    return float(fit.params[-1]), float(fit.bse[-1]) * math.sqrt(n / (n - 1)), n


def check(
    row: Row, value: float, error: float, clusters: int, *, log: bool = False, level: float = 0.95, freedom: float = 0
) -> None:
    """Check a row against a coefficient: value, error, interval and p-value, of a ratio on its logarithm."""
    t = scipy.stats.t(max(clusters - 1, freedom))
    ends = value - t.ppf(0.5 + level / 2) * error, value + t.ppf(0.5 + level / 2) * error
    back = np.exp if log else float
    assert row["contrast"] == pytest.approx(back(value), rel=1e-6, abs=1e-9)
    assert row["se"] == pytest.approx(error, rel=1e-6)
    assert (row["low"], row["high"]) == pytest.approx((back(ends[0]), back(ends[1])), rel=1e-6)
    assert row["p"] == pytest.approx(2 * t.sf(abs(value) / error), rel=1e-5)
    assert row["clusters"] == clusters


def test_each_level_against_a_number(loaded: Any) -> None:
    """A row for each level but the baseline, in each group; the level is the last of the groups."""
    _, tables = loaded
    rows = tables["m_numbers"]
    assert [(r["data"], r["k"]) for r in rows] == [(d, k) for d in ("a", "b", "none") for k in (8, 32)]
    assert list(rows[0])[:3] == ["data", "k", "contrast"]
    for row in rows:
        sides = [kept(tables["e"], data=row["data"], k=k) for k in (row["k"], 0)]
        check(row, *fitted(sides, low))
        assert (row["n_first"], row["n_second"]) == tuple(map(len, sides))
        assert row["design_effect"] == pytest.approx((row["se"] / row["se_pairs"]) ** 2)


def test_each_level_against_a_label_or_a_text(loaded: Any) -> None:
    """`none` is a label here, and texts are levels."""
    _, tables = loaded
    assert [r["data"] for r in tables["m_labels"]] == ["a", "b"]
    for row in tables["m_labels"]:
        check(row, *fitted([kept(tables["e"], data=d) for d in (row["data"], "none")], score))
    assert [(r["k"], r["style"]) for r in tables["m_texts"]] == [(k, "short") for k in (0, 8, 32)]
    for row in tables["m_texts"]:
        check(row, *fitted([kept(tables["e"], k=row["k"], style=s) for s in ("short", "long")], score))


def test_ratios_and_odds(loaded: Any) -> None:
    """By Poisson and logistic regressions with robust errors: the delta method on the logarithm."""
    _, tables = loaded
    for row in tables["m_ratio"]:
        check(row, *fitted([kept(tables["e"], k=k) for k in (row["k"], 8)], low, Poisson()), log=True)
    for row in tables["m_means"]:
        check(row, *fitted([kept(tables["e"], k=k) for k in (row["k"], 0)], score, Poisson()), log=True)
    for row in tables["m_odds"]:
        sides = [kept(tables["e"], k=k, data=row["data"]) for k in (row["k"], 0)]
        some = [[r for r in side if r["v"] < 80] for side in sides]
        check(row, *fitted(some, low, Binomial()), log=True)


def test_differences_in_differences(loaded: Any) -> None:
    """By the interaction of a regression, on either scale, whichever of the two has the baseline."""
    _, tables = loaded
    for name, of in (("nested", low), ("turned", score)):
        assert [r["k"] for r in tables[f"m_{name}"]] == [8, 32]
        for row in tables[f"m_{name}"]:
            sides = [kept(tables["e"], data=d, k=k) for d in ("a", "none") for k in (row["k"], 0)]
            check(row, *fitted(sides, of))
            first, second = (np.mean([of(r) for r in sides[i]]) for i in (0, 1))
            if name == "nested":
                assert row["first"] == pytest.approx(first - second)
                assert row["n_first"] == len(sides[0]) + len(sides[1])
    (row,) = tables["m_nested_odds"]
    sides = [kept(tables["e"], style=s, k=k) for s in ("short", "long") for k in (32, 0)]
    check(row, *fitted(sides, low, Binomial()), log=True)


def test_shares_of_cells_are_compared_by_cells(loaded: Any) -> None:
    """A cell is one value: whether at least two of its draws hold."""
    _, tables = loaded
    for row in tables["m_cells"]:
        sides = []
        for k in (row["k"], 0):
            cells: dict[tuple[str, ...], list[bool]] = {}
            for r in kept(tables["e"], k=k):
                cells.setdefault((r["data"], r["style"], r["q"]), []).append(r["v"] < 25)
            sides.append([{"q": q, "y": float(sum(held) >= 2)} for (_, _, q), held in cells.items()])
        check(row, *fitted(sides, lambda r: float(r["y"])))
        assert row["n_units"] == 72


def test_pairs_without_clusters(loaded: Any) -> None:
    """A pair shares all axes but the compared one, and the sample; `se_pairs` is the same."""
    _, tables = loaded
    for row in tables["m_pairs"]:
        sides = [kept(tables["e"], k=k) for k in (row["k"], 0)]
        check(row, *fitted(sides, score, cluster=("data", "style", "q", "sample")), level=0.9)
        assert row["se_pairs"] == row["se"]
        assert (row["clustered_by"], row["design_effect"], row["n_units"]) == (None, None, row["clusters"])


def test_two_ways_that_cross(loaded: Any) -> None:
    """V1 + V2 - V12, at least V12, with Satterthwaite's degrees of freedom; three samples are three clusters."""
    _, tables = loaded
    for row in tables["m_crossed"]:
        sides = [kept(tables["e"], k=k) for k in (row["k"], 0)]
        value, by_q, _ = fitted(sides, score)
        by_sample, both = (fitted(sides, score, cluster=c)[1] for c in (("sample",), ("q", "sample")))
        variance = max(by_q**2 + by_sample**2 - both**2, both**2)
        freedom = variance**2 / (by_q**4 / 11 + by_sample**4 / 2)
        check(row, value, math.sqrt(variance), 3, freedom=freedom)
        assert row["clustered_by"] == "q and sample"


def test_clusters_that_are_compared(loaded: Any) -> None:
    """Of five questions with seven others the five count; one with another has none, and speaks of these two."""
    study, tables = loaded
    (row,) = tables["m_halves"]
    sides = [[r for r in kept(tables["e"]) if (r["q"] in QUESTIONS[:5]) is x] for x in (True, False)]
    value, error, n = fitted(sides, score)
    check(row, value, error * math.sqrt(5 / 4 * (n - 1) / n), 5)
    assert (n, row["clustered_by"]) == (12, "q")
    (row,) = tables["m_two"]
    sides = [kept(tables["e"], q=q) for q in ("q0", "q1")]
    check(row, *fitted(sides, score, cluster=("k", "data", "style", "sample")))
    assert row["clustered_by"] is None
    (two,) = (m for m in study.measures if m.name == "m_two")
    assert interval_of(two, [row]) == "95 % wald, these items only"


def test_equivalence_is_two_tests(loaded: Any) -> None:
    """The larger p-value of two one-sided tests, of a ratio between the margin and its inverse."""
    _, tables = loaded
    for name, log, margin in (("flags", False, 0.2), ("ratio", True, math.log(1.2))):
        for row in tables[f"m_{name}"]:
            value, t = math.log(row["contrast"]) if log else row["contrast"], scipy.stats.t(11)
            wanted = max(t.sf((value + margin) / row["se"]), t.cdf((value - margin) / row["se"]))
            assert row["p_equivalent"] == pytest.approx(wanted, rel=1e-6)
    ((flags,), ratios) = tables["m_flags"], tables["m_ratio"]
    assert flags["p_equivalent"] < 0.05 < max(r["p_equivalent"] for r in ratios)


def test_a_family_is_corrected_together(loaded: Any) -> None:
    """Two measures of six and two contrasts are eight; without a family, each measure stands alone."""
    _, tables = loaded
    family = tables["m_numbers"] + tables["m_labels"]
    wanted = multipletests([r["p"] for r in family], method="holm")[1]
    assert [r["p_holm"] for r in family] == pytest.approx(wanted, rel=1e-9)
    for name in ("ratio", "odds"):
        wanted = multipletests([r["p"] for r in tables[f"m_{name}"]], method="fdr_bh")[1]
        assert [r["p_bh"] for r in tables[f"m_{name}"]] == pytest.approx(wanted, rel=1e-9)


def test_an_empty_side_has_no_figure(loaded: Any) -> None:
    """No draw is at the baseline: nothing is compared, and nothing is made up."""
    _, tables = loaded
    for row in tables["m_empty"]:
        assert (row["contrast"], row["low"], row["high"], row["se"], row["p"]) == (None,) * 5
        assert (row["n_second"], row["n_pairs"], row["clusters"]) == (0, 0, 0)
        assert row["n_first"] > 0


PAIRED = """
experiment e {
  for k in [0, 1]
  for q in ["q0", "q1", "q2", "q3", "q4", "q5"]
  samples = SAMPLES
  ask a from "sim/subject" with "{k} {q}"
  judge v with score("{k} {q} {sample}")
  measure m = contrast(rate(v < 30), k, versus: 0OPTIONS)
}
"""


def turned(first: int, second: int, alike: int) -> Callable[..., str]:
    """Return replies of pairs: so many that hold at k = 1 only, at k = 0 only, and at both."""

    def reply(k: str, q: str, sample: str) -> str:
        place = int(sample) * 6 + int(q[1:])
        only = 1 if place < first else 0 if place < first + second else None
        return "10" if only == int(k) or (only is None and place < first + second + alike) else "90"

    return reply


@pytest.mark.parametrize(
    ("first", "second", "samples", "options", "exact"),
    [
        (5, 1, 1, "", True),  # each question has one pair
        (3, 3, 1, "", True),
        (0, 4, 1, "", True),
        (20, 5, 10, ", interval: wald(0.95, cluster: none)", True),
        (20, 6, 10, ", interval: wald(0.95, cluster: none)", False),  # many pairs that differ
        (5, 1, 10, "", False),  # questions are clusters of ten pairs
        (5, 1, 1, ", scale: odds", True),  # no difference is the same on every scale
    ],
)
def test_few_pairs_that_differ_are_tested_exactly(
    first: int, second: int, samples: int, options: str, exact: bool
) -> None:
    """McNemar's test by statsmodels, up to 25 pairs that differ and as long as they are independent."""
    text = PAIRED.replace("SAMPLES", str(samples)).replace("OPTIONS", options)
    _, tables, _ = measured(text, turned(first, second, 10))
    (row,) = tables["m"]
    assert row["n_pairs"] == row["n_units"] == 6 * samples
    if exact:
        assert row["p"] == pytest.approx(mcnemar([[0, first], [second, 0]], exact=True).pvalue, rel=1e-9)
    else:
        sides = [kept(tables["e"], k=k) for k in (1, 0)]
        check(row, *fitted(sides, low, cluster=("q",) if not options else ("q", "sample")))
