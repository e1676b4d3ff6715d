"""Intervals by clusters hold the truth about as often as they say: a small part of `tests/bench/coverage.py`.

It calls the functions of a load for many made-up studies at once; here, a load of some of them in SQL is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_clusters import (
    Crossed,
    Design,
    Floats,
    a_measure,
    both_of,
    contrasts,
    counts,
    covered,
    crossed_contrasts,
    crossed_ends,
    effects_of,
    hits_of,
    loaded,
    rate_ends,
    rates_of,
)

from emdsl.outcomes.intervals import wilson

STUDIES = 400
CONTRAST = "contrast(rate(v < 30), side == 1, side == 0)"
CROSSED = "[q, sample]"


def scores(sizes: Floats, hits: Floats) -> Floats:
    """Return scores of 0 for hits and 100 for misses, missing beyond the size of a cluster."""
    place = np.arange(sizes.max())
    return np.where(place < hits[..., None], 0.0, np.where(place < sizes[..., None], 100.0, np.nan))


def ends_of(rows: list[dict[str, Any]]) -> Any:
    return both_of([(r["low"], r["high"]) for r in rows])


@pytest.mark.parametrize("equal", [True, False])
def test_rates(equal: bool) -> None:
    """Each design covers; draws that are taken as independent do not."""
    rng = np.random.default_rng(19)
    designs = [
        Design(clusters=c, draws=d, rate=p, alike=a, equal=equal)
        for c, d, p, a in ((8, 10, 0.1, 0.3), (8, 3, 0.3, 0.1), (16, 10, 0.02, 0.1), (48, 10, 0.1, 0.3),
                           (48, 3, 0.02, 0.3), (48, 10, 0.3, 0.3))
    ]  # fmt: skip
    found = []
    for design in designs:
        sizes, hits = counts(rng, design, rates_of(rng, design, STUDIES))
        found.append(covered(design.rate, rate_ends(sizes, hits)))
    assert min(found) >= 0.88
    assert np.mean(found) >= 0.95
    pooled = both_of([wilson(h, n) for h, n in zip(hits.sum(axis=1), sizes.sum(axis=1), strict=True)])
    assert covered(designs[-1].rate, pooled) < 0.75


def test_rates_as_loaded() -> None:
    rng, design = np.random.default_rng(20), Design(clusters=8, draws=3, rate=0.3, alike=0.2, equal=False)
    sizes, hits = counts(rng, design, rates_of(rng, design, 30))
    rows = loaded("rate(v < 30)", scores(sizes, hits))
    assert [r["n"] for r in rows] == sizes.sum(axis=1).tolist()
    assert np.allclose(ends_of(rows), rate_ends(sizes, hits), atol=1e-12)


@pytest.mark.parametrize(("few", "most"), [(2, 0.05), (4, 0.12)])
def test_few_clusters_against_many_find_little(few: int, most: float) -> None:
    """As loaded; with the degrees of freedom of all 48 questions, 2 differed from the others in 38 % of studies."""
    rng = np.random.default_rng(23)
    rates = rng.beta(1.35, 7.65, (STUDIES, 48, 1))  # 0.15 on average, correlation 0.1
    values = np.where(rng.random((STUDIES, 48, 5)) < rates, 0.0, 100.0)
    narrow = (np.arange(48) < few)[None, :, None]
    rows = loaded(CONTRAST, np.where(narrow, np.nan, values), np.where(narrow, values, np.nan))
    assert np.mean([r["p"] < 0.05 for r in rows]) < most


def test_contrasts_find_nothing_where_there_is_nothing() -> None:
    """Questions whose effects differ between the sides made a test of independent pairs find 22 to 26 %."""
    rng, design = np.random.default_rng(21), Design(clusters=48, draws=10, rate=0.1, alike=0.3)
    first, second = (counts(rng, design, rates_of(rng, design, 4 * STUDIES)) for _ in (0, 1))
    found = contrasts(a_measure(CONTRAST).measures[0], (first, second))
    assert 0.035 < np.mean([c.p < 0.05 for c in found if c.p is not None]) < 0.065
    assert 0.935 < covered(0.0, both_of([c.interval for c in found])) < 0.965


def test_contrasts_as_loaded() -> None:
    rng, design = np.random.default_rng(22), Design(clusters=12, draws=4, rate=0.3, alike=0.2)
    first, second = (counts(rng, design, rates_of(rng, design, 20)) for _ in (0, 1))
    rows = loaded(CONTRAST, scores(*second), scores(*first))
    found = contrasts(a_measure(CONTRAST).measures[0], (first, second))
    assert np.allclose(ends_of(rows), both_of([c.interval for c in found]), atol=1e-12)
    assert [r["p"] for r in rows] == pytest.approx([c.p for c in found], abs=1e-12)


@pytest.mark.parametrize(("question", "shared"), [(0.3, 0.0), (0.1, 0.3)])
def test_sets_that_all_questions_share(question: float, shared: float) -> None:
    """48 questions after each of 10 sets: intervals by both cover, by questions alone only if sets do not matter."""
    rng = np.random.default_rng(23)
    design = Crossed(questions=48, sets=10, rate=0.3, question=question, set=shared)
    first, second = (hits_of(rng, design, effects_of(rng, design, STUDIES)) for _ in (0, 1))
    ends = crossed_ends(first)
    assert 0.92 <= covered(0.3, ends) <= 0.985
    compared = crossed_contrasts(a_measure(CONTRAST).measures[0], first, second)
    assert 0.92 <= covered(0.0, both_of([c.interval for c in compared])) <= 0.985
    by_question = rate_ends(np.full(first.shape[:2], 10.0), first.sum(axis=2))
    assert (covered(0.3, by_question) < 0.7) == (shared > 0)
    rows = loaded("rate(v < 30)", 100 * (1 - first[:10]), cluster=CROSSED)
    assert np.allclose(ends_of(rows), [e[:10] for e in ends], atol=1e-12)
    rows = loaded(CONTRAST, *(100 * (1 - x[:10]) for x in (second, first)), cluster=CROSSED)
    assert [r["p"] for r in rows] == pytest.approx([c.p for c in compared[:10]], abs=1e-12)


def test_scores_are_skewed() -> None:
    """The mean of log-normal scores, and their median by the interval of the share below it."""
    rng, shape = np.random.default_rng(24), (STUDIES // 2, 16, 6)
    values = np.exp(0.5 * (np.sqrt(0.3) * rng.normal(size=(*shape[:2], 1)) + np.sqrt(0.7) * rng.normal(size=shape)))
    assert covered(np.exp(0.125), ends_of(loaded("mean(v)", values))) >= 0.9
    assert covered(1.0, ends_of(loaded("quantile(v, 0.5)", values))) >= 0.92
    assert covered(np.exp(0.125), ends_of(loaded("mean(v)", values, cluster="none"))) < 0.85
