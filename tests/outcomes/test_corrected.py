"""A judge's rate corrected by people's verdicts: against ppi-python, against formulas written anew, and simulated.

`tests/bench/corrected.py` is the whole simulation.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from made_judges import LEVEL, Arm, Counts, Design, coverage, drawn, items_of

from emdsl.experiment import Clusters
from emdsl.outcomes.annotated import Item
from emdsl.outcomes.clustered import rate_interval
from emdsl.outcomes.corrected import Corrected, ppi, rogan_gladen
from emdsl.outcomes.intervals import clopper_pearson, wilson
from emdsl.outcomes.spread import Spread, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LENIENT: Counts = (16, 2, 9, 33, 380, 520)
STRICT: Counts = (12, 9, 1, 98, 110, 770)
NEVER_WRONG: Counts = (20, 0, 0, 40, 300, 640)
INVERTED: Counts = (2, 18, 30, 10, 400, 500)
CONSTANT: Counts = (20, 0, 40, 0, 900, 0)
HALF: Counts = (60, 10, 15, 115, 100, 100)
BY_QUESTION, BY_BOTH = Clusters(names=("q",)), Clusters(names=("q", "s"))


@pytest.mark.parametrize(
    ("counts", "value", "error", "lambda_"),
    [
        (LENIENT, 0.3030220961702443, 0.04701214395940193, 0.5439773106439773),
        (STRICT, 0.1860078009845093, 0.026765599999588434, 0.6604680590705565),
        (NEVER_WRONG, 0.3197303921568627, 0.01479266209597737, 0.9590073529411782),
        (INVERTED, 0.3333333333333333, 0.06085806194501846, 0.0),
        (HALF, 0.39275, 0.029045605304417403, 0.342),
    ],
)
def test_ppi_is_that_of_its_package(counts: Counts, value: float, error: float, lambda_: float) -> None:
    """ppi-python 0.2.3: `ppi_mean_pointestimate`, and the half width of `ppi_mean_ci` over 1.96."""
    found = ppi(items_of(counts), LEVEL)
    assert (found.value, found.error, found.lambda_) == pytest.approx((value, error, lambda_), abs=1e-9)


def test_ppi_of_scores_is_that_of_its_package() -> None:
    persons = [62, 71, 55, 80, 43, 90, 35, 66, 58, 74]
    judged = [70, 75, 52, 88, 50, 95, 41, 60, 66, 70]
    others = [61, 72, 48, 83, 90, 55, 39, 68, 77, 64, 58, 80, 45, 70, 66, 52, 91, 73, 60, 49]
    items = [Item("", (), f, y) for f, y in zip(judged, persons, strict=True)] + [Item("", (), f, None) for f in others]
    found = ppi(items, LEVEL, rate=False)
    wanted = 62.264571420026314, 3.003900443761821, 0.6881385333173826
    assert (found.value, found.error, found.lambda_) == pytest.approx(wanted, abs=1e-9)
    half = scipy.stats.t.ppf(0.975, 9) * 3.003900443761821
    assert (found.low, found.high) == pytest.approx((wanted[0] - half, wanted[0] + half), abs=1e-9)
    assert (found.raw, found.sensitivity, found.n_positive) == (65.6, None, None)


def test_rogan_gladen_is_its_formula() -> None:
    found = rogan_gladen(items_of(LENIENT), LEVEL)
    raw, sensitivity, specificity = 405 / 960, 16 / 18, 33 / 42
    assert (found.raw, found.sensitivity, found.specificity) == pytest.approx((raw, sensitivity, specificity))
    assert found.value == pytest.approx((raw + specificity - 1) / (sensitivity + specificity - 1))
    assert (found.n_annotated, found.n_positive, found.lambda_, found.reason) == (60, 18, None, None)


TWO_ARMS = (
    Arm(rate=0.4, sensitivity=0.9, specificity=0.75, n=90), Arm(rate=0.2, sensitivity=0.7, specificity=0.9, n=60),
)  # fmt: skip


def by_lambda(items: list[Item], lambda_: float) -> float:
    """Return the estimate of PPI of one stratum, with a multiple that is given."""
    others = [i for i in items if i.person is None]
    annotated = [(i.person - lambda_ * i.judged, i.times) for i in items if i.person is not None]
    rest, times = zip(*annotated, strict=True)
    return float(
        lambda_ * np.average([i.judged for i in others], weights=[i.times for i in others])
        + np.average(rest, weights=times)
    )


@pytest.mark.parametrize("estimator", [ppi, rogan_gladen])
@pytest.mark.parametrize("arms", [TWO_ARMS[:1], TWO_ARMS])
@pytest.mark.parametrize("clusters", [Clusters(), BY_QUESTION])
def test_errors_are_those_of_a_jackknife(
    estimator: Callable[..., Corrected], arms: tuple[Arm, ...], clusters: Clusters
) -> None:
    """Leaving out each draw or question in turn: sensitivity and specificity are estimated anew, lambda is kept."""
    arms = tuple(dataclasses.replace(arm, n=8 * arm.n) for arm in arms)
    items = drawn(np.random.default_rng(5), Design(arms=arms, questions=50, draws=60))
    if not clusters.names:
        items = [dataclasses.replace(i, clusters=()) for i in items]
    weights = {name: sum(i.times for i in items if i.stratum == name) for name in {i.stratum for i in items}}
    lambdas = {s: ppi([i for i in items if i.stratum == s], LEVEL, clusters=clusters).lambda_ or 0.0 for s in weights}

    def value(kept: list[Item]) -> float:
        """Return the estimate, of PPI with the shares of strata that all draws have."""
        if estimator is ppi:
            parts = [(w, by_lambda([i for i in kept if i.stratum == s], lambdas[s])) for s, w in weights.items()]
            return sum(w * part for w, part in parts) / sum(weights.values())
        return estimator(kept, LEVEL, clusters=clusters).value or 0.0

    if clusters.names:
        places = sorted({i.clusters for i in items})
        without = [value([i for i in items if i.clusters != place]) for place in places]
        times = [1] * len(places)
    else:
        merged: dict[tuple[str, float, float | None], int] = {}
        for i in items:
            merged[i.stratum, i.judged, i.person] = merged.get((i.stratum, i.judged, i.person), 0) + i.times
        items = [Item(s, (), f, y, n) for (s, f, y), n in merged.items()]
        without = [
            value([dataclasses.replace(i, times=i.times - (i is left_out)) for i in items]) for left_out in items
        ]
        times = [i.times for i in items]
    n = sum(times)
    middle = np.average(without, weights=times)
    jackknife = math.sqrt((n - 1) / n * np.dot(times, (np.array(without) - middle) ** 2))
    assert estimator(items, LEVEL, clusters=clusters).error == pytest.approx(jackknife, rel=0.02)


def influences(items: Sequence[Item], x: float) -> tuple[float, list[float]]:
    """Return Rogan and Gladen's denominator, and each draw's influence on raw + Sp - 1 - x (Se + Sp - 1), one stratum.

    Written anew, from the four rates.
    """
    total = sum(i.times for i in items)
    rated = [i for i in items if i.person is not None]
    n_1, n_0 = (sum(i.times for i in rated if i.person == y) for y in (1, 0))
    hit = sum(i.times for i in rated if i.person and i.judged) / n_1
    cleared = sum(i.times for i in rated if not i.person and not i.judged) / n_0
    raw = sum(i.times * i.judged for i in items) / total
    found = []
    for i in items:
        psi = (i.judged - raw) / total
        if i.person == 1:
            psi -= x * (i.judged - hit) / n_1
        elif i.person == 0:
            psi += (1 - x) * ((1 - i.judged) - cleared) / n_0
        found.append(psi)
    return hit + cleared - 1, found


@pytest.mark.parametrize(("clusters", "sets"), [(Clusters(), 1), (BY_QUESTION, 1), (BY_BOTH, 8)])
def test_rogan_gladens_ends_are_fiellers(clusters: Clusters, sets: int) -> None:
    """At both ends, the squared difference is t^2 times its variance: by V1 + V2 - V12 of two ways, at least V12."""
    arms = (dataclasses.replace(TWO_ARMS[0], n=240),)
    design = Design(arms=arms, questions=30, draws=24 // sets, sets=sets, set_alike=0.1 if sets > 1 else 0.0)
    items = [
        dataclasses.replace(i, clusters=i.clusters[: len(clusters.names)])
        for i in drawn(np.random.default_rng(6), design)
    ]
    found = rogan_gladen(items, LEVEL, clusters=clusters)
    assert found.value is not None
    for end in (found.low, found.high):
        assert end not in (None, 0.0, 1.0)
        assert end is not None
        denominator, psi = influences(items, end)
        scores = np.array(psi) * [1 if not clusters.names else i.times for i in items]
        if not clusters.names:
            variance, freedom = float(np.dot(np.array(psi) ** 2, [i.times for i in items])), 239.0
        else:
            parts = [
                by_cluster(items, scores, key)
                for key in ([lambda i: i.clusters] if sets == 1 else [of_place(0), of_place(1), of_place(0, 1)])
            ]
            variance = parts[0][1] if sets == 1 else max(parts[0][1] + parts[1][1] - parts[2][1], parts[2][1])
            assert found.spread is not None
            freedom = found.spread.freedom
            assert min(n for n, _ in parts) - 1 <= freedom <= max(n for n, _ in parts)
        t = scipy.stats.t.ppf(0.975, freedom)
        assert (denominator * (found.value - end)) ** 2 == pytest.approx(t * t * variance, rel=1e-6)


def of_place(*ways: int) -> Callable[[Item], tuple[str, ...]]:
    return lambda item: tuple(item.clusters[i] for i in ways)


def by_cluster(items: Sequence[Item], scores: Any, key: Callable[[Item], tuple[str, ...]]) -> tuple[int, float]:
    """Return the number of clusters with an annotated draw, and the variance by sums of all."""
    names = [key(i) for i in items]
    sums = [sum(s for name, s in zip(names, scores, strict=True) if name == place) for place in sorted(set(names))]
    n = len({name for name, i in zip(names, items, strict=True) if i.person is not None})
    return n, n / (n - 1) * float(np.dot(sums, sums))


def test_strata_are_added_up_by_their_draws() -> None:
    """Fisch and others (2024), with the factor n / (n - 1) of each stratum."""
    parts = {"a": LENIENT, "b": STRICT}
    found = ppi([i for name, counts in parts.items() for i in items_of(counts, name)], LEVEL)
    value = variance = lambda_ = 0.0
    for counts in parts.values():
        share, n, alone = sum(counts) / 1960, sum(counts[:4]), ppi(items_of(counts), LEVEL)
        assert alone.value is not None
        assert alone.error is not None
        assert alone.lambda_ is not None
        judged = counts[4] / sum(counts[4:])
        of_others = alone.lambda_**2 * judged * (1 - judged) / sum(counts[4:])
        value += share * alone.value
        lambda_ += share * alone.lambda_
        variance += share**2 * ((alone.error**2 - of_others) * n / (n - 1) + of_others)
    assert (found.value, found.error, found.lambda_) == pytest.approx((value, variance**0.5, lambda_), abs=1e-12)


def test_sensitivity_of_strata_is_weighted_by_their_draws() -> None:
    """An arm with many annotations but few draws does not dominate; the identity of Rogan and Gladen holds for all."""
    items = items_of((40, 10, 5, 45, 50, 50), "a") + items_of((6, 14, 2, 38, 100, 1740), "b")
    found = rogan_gladen(items, LEVEL)
    a, b = 200 / 2100 / 100, 1900 / 2100 / 60  # the weight of one annotated draw
    assert found.sensitivity == pytest.approx((40 * a + 6 * b) / (50 * a + 20 * b))
    assert found.specificity == pytest.approx((45 * a + 38 * b) / (50 * a + 40 * b))
    assert found.n_positive == 70


@pytest.mark.parametrize("estimator", [ppi, rogan_gladen])
@pytest.mark.parametrize(
    ("counts", "hits", "n"),
    [((3, 1, 5, 51, 100, 400), 4, 60), ((50, 7, 2, 1, 400, 100), 57, 60), ((0, 0, 8, 52, 90, 300), 0, 60),
     ((1, 0, 0, 0, 90, 300), 1, 1), ((0, 0, 0, 60, 0, 100), 0, 60)],
)  # fmt: skip
def test_few_positives_have_exact_ends(estimator: Callable[..., Corrected], counts: Counts, hits: int, n: int) -> None:
    """Of the annotated draws alone, never by a normal distribution."""
    found = estimator(items_of(counts), LEVEL)
    assert (found.low, found.high) == pytest.approx(clopper_pearson(hits, n), abs=1e-12)
    assert (found.value, found.reason, found.n_positive, found.lambda_) == (hits / n, "exact", hits, 0.0)


def test_exact_ends_of_clusters_are_of_fewer_draws() -> None:
    """All 4 positives are in one of 12 questions: the design effect is above 1, as Korn and Graubard have it."""
    items = [i for q in range(1, 12) for i in items_of((0, 0, 1, 4, 5, 30), "", (f"q{q}",))]
    items += items_of((3, 1, 0, 1, 10, 25), "", ("q0",))
    found = ppi(items, LEVEL, clusters=BY_QUESTION)
    rate, sums = 4 / 60, np.array([4 - 5 * 4 / 60, *[-5 * 4 / 60] * 11]) / 60
    spread = Spread(
        alone=Way(60, 0.0, 60.0), names=("q",), ways=(Way(12, 12 / 11 * float(sums @ sums), 12 * 25.0),)
    )  # fmt: skip
    wanted = rate_interval("clopper_pearson", rate, 60, spread, LEVEL)
    assert (found.low, found.high) == pytest.approx(wanted, abs=1e-12)
    independent = clopper_pearson(4, 60)
    assert found.reason == "exact"
    assert wanted.low < independent.low / 2
    assert wanted.high > independent.high * 1.5


FEW_POSITIVES, FEW_NEGATIVES = (1, 1, 3, 25, 50, 300), (25, 3, 1, 1, 300, 50)
ONE_ANNOTATED = (0, 0, 1, 0, 20, 30)
NONE_ANNOTATED = (0, 0, 0, 0, 20, 30)


@pytest.mark.parametrize(
    ("parts", "reason", "by_ppi", "by_errors"),
    [
        ([], "no_draws", False, False),
        ([NONE_ANNOTATED], "unannotated_stratum", False, False),
        ([LENIENT, NONE_ANNOTATED], "unannotated_stratum", False, False),
        ([FEW_POSITIVES, FEW_POSITIVES], "too_few_positives", True, True),
        ([FEW_NEGATIVES, FEW_NEGATIVES], "too_few_negatives", True, True),
        ([(0, 0, 5, 25, 50, 300)] * 2, "too_few_positives", True, False),
        ([LENIENT, ONE_ANNOTATED], "too_few_annotated", True, True),
    ],
)
def test_reasons(parts: list[Counts], reason: str, by_ppi: bool, by_errors: bool) -> None:
    """Without an interval: and without a value too where there is no right one."""
    items = [i for at, counts in enumerate(parts) for i in items_of(counts, f"stratum {at}")]
    for found, valued in ((ppi(items, LEVEL), by_ppi), (rogan_gladen(items, LEVEL), by_errors)):
        assert (found.low, found.high, found.error, found.reason) == (None, None, None, reason)
        assert (found.value is not None) == valued
        assert (found.raw is None) == (not parts)


@pytest.mark.parametrize("counts", [INVERTED, CONSTANT, (10, 10, 20, 20, 300, 300)])
def test_a_judge_that_tells_nothing(counts: Counts) -> None:
    """PPI++ does without it, Rogan and Gladen cannot: an inverted judge, a constant one, one that tosses a coin."""
    found, n = ppi(items_of(counts), LEVEL), sum(counts[:4])
    assert (found.value, found.lambda_) == pytest.approx((1 / 3, 0.0))
    assert found.error == pytest.approx(math.sqrt(2 / 9 / n))
    by_errors = rogan_gladen(items_of(counts), LEVEL)
    assert (by_errors.value, by_errors.low, by_errors.reason) == (None, None, "judge_uninformative")


def test_a_judge_that_tells_little_has_no_end() -> None:
    """Fieller's interval is not bounded where sensitivity + specificity - 1 may be 0: all rates are in it."""
    found = rogan_gladen(items_of((11, 9, 20, 20, 310, 300)), LEVEL)
    assert found.value is not None
    assert (found.low, found.high) == (0.0, 1.0)


def test_an_estimate_beyond_0_is_0_with_an_interval() -> None:
    found = rogan_gladen(items_of((18, 1, 18, 43, 150, 750)), LEVEL)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None
    assert 0.1 < found.high < 0.3


def test_a_judge_that_was_never_wrong_may_err() -> None:
    """60 annotations without an error leave a few percent open, which ppi-python's normal interval does not."""
    found = ppi(items_of(NEVER_WRONG), LEVEL)
    assert found.value is not None
    assert found.error is not None
    assert found.low is not None
    assert found.value - found.low > 1.4 * 1.96 * found.error


@pytest.mark.parametrize("estimator", [ppi, rogan_gladen])
def test_one_cluster_tells_nothing_of_others(estimator: Callable[..., Corrected]) -> None:
    one = items_of(LENIENT, "", ("q1",))
    others = [i for q in range(2, 9) for i in items_of((0, 0, 0, 0, 40, 60), "", (f"q{q}",))]
    for items in (one, one + others):
        found = estimator(items, LEVEL, clusters=BY_QUESTION)
        assert (found.low, found.error, found.reason) == (None, None, "one_cluster")
        assert found.value is not None
    few = estimator(items_of((3, 0, 7, 50, 380, 520), "", ("q1",)), LEVEL, clusters=BY_QUESTION)
    assert (few.value, few.low, few.reason) == (0.05, None, "one_cluster")
    # two clusters that nobody asked for are too few, and are not used
    detected = Clusters(names=("q",), detected=True)
    both = items_of(LENIENT, "", ("q1",)) + items_of(STRICT, "", ("q2",))
    found = estimator(both, LEVEL, clusters=detected)
    assert found == estimator([dataclasses.replace(i, clusters=()) for i in both], LEVEL)


def test_scores_that_cannot_be_told() -> None:
    others = [Item("", (), 40.0, None, 10), Item("", (), 60.0, None, 10)]
    one = ppi([Item("", (), 50.0, 48.0), *others], LEVEL, rate=False)
    assert (one.value, one.low, one.reason) == (48.0, None, "too_few_annotated")
    alike = ppi([Item("", (), 50.0, 48.0, 8), *others], LEVEL, rate=False)
    assert (alike.value, alike.low, alike.reason) == (48.0, None, "no_variation")


def test_all_annotated_is_a_measure_of_the_persons() -> None:
    """Whatever the judge says, and whatever the strata."""
    items = items_of((10, 8, 4, 18, 0, 0), "a") + items_of((2, 1, 30, 27, 0, 0), "b")
    for found in (ppi(items, LEVEL), rogan_gladen(items, LEVEL)):
        assert (found.value, found.lambda_, found.reason) == (0.21, None, None)
        assert (found.low, found.high) == pytest.approx(wilson(21, 100), abs=1e-12)
    few = ppi(items_of((2, 0, 4, 18, 0, 0), "a") + items_of((2, 0, 30, 27, 0, 0), "b"), LEVEL)
    assert (few.reason, few.low, few.high) == ("exact", *clopper_pearson(4, 83))
    persons = [3.0, 5.0, 9.0, 4.0]
    scores = ppi([Item("", (), 1.0, y) for y in persons], LEVEL, rate=False)
    error = float(np.std(persons, ddof=1)) / 2
    half = scipy.stats.t.ppf(0.975, 3) * error
    wanted = 5.25, error, 5.25 - half, 5.25 + half
    assert (scores.value, scores.error, scores.low, scores.high) == pytest.approx(wanted)


def test_draws_count_as_often_as_they_stand() -> None:
    rng = np.random.default_rng(7)
    items = drawn(rng, Design(arms=TWO_ARMS, questions=12, draws=10))
    single = [dataclasses.replace(i, times=1) for i in items for _ in range(i.times)]
    rng.shuffle(single)
    for estimator in (ppi, rogan_gladen):
        found, wanted = estimator(single, LEVEL, clusters=BY_QUESTION), estimator(items, LEVEL, clusters=BY_QUESTION)
        assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))


@pytest.mark.parametrize(
    ("item", "rate", "message"),
    [(Item("", (), 1.0, 0.5), True, "a person's verdict of a rate is 0 or 1, got 0.5"),
     (Item("", ("q",), 1.0, 1.0), True, "an item has 1 clusters, expected 0"),
     (Item("", ("q",), 1.0, 50.0), False, "an item has 1 clusters, expected 0")],
)  # fmt: skip
def test_wrong_items(item: Item, rate: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ppi([item], LEVEL, rate=rate)
    if item.person == 1.0:
        with pytest.raises(ValueError, match="verdicts of 0 or 1"):
            rogan_gladen([Item("", (), 0.5, 1.0)], LEVEL)


@pytest.mark.parametrize(
    ("rate", "sensitivity", "specificity", "n", "questions"),
    [(0.3, 0.95, 0.7, 60, 24), (0.2, 0.55, 0.98, 120, 48), (0.5, 0.55, 0.98, 60, 1)],
)
def test_intervals_cover_where_the_raw_rate_does_not(
    rate: float, sensitivity: float, specificity: float, n: int, questions: int
) -> None:
    arm = Arm(rate=rate, sensitivity=sensitivity, specificity=specificity, n=n)
    alike, judge_alike = (0.3, 0.2) if questions > 1 else (0.0, 0.0)
    design = Design(arms=(arm,), questions=questions, draws=960 // questions, alike=alike, judge_alike=judge_alike)
    raw, by_ppi, by_errors = coverage(design, [11, n], 80)
    assert raw.covers < 0.5
    assert by_ppi.covers >= 0.9
    assert by_errors.covers >= 0.9
    assert by_ppi.width < by_errors.width < 2 * rate + 0.2
