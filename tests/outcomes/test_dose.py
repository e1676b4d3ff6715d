"""The dose-response fit: its maximum, intervals, tests and band against scipy, statsmodels and simulated truth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import minimize
from simulated import CEILING, DOSES, FLOOR, HALF, dosed, hill, ranks
from speed import within_cpu
from statsmodels.regression.linear_model import WLS

from emdsl.outcomes.distributions import f_tail
from emdsl.outcomes.dose import ALPHA, Estimate, fit, ratio
from emdsl.sim.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = tuple[str, float, float, float]
BOUNDS = [(1e-9, 1 - 1e-9), (1e-9, 1 - 1e-9), (math.log(2 / 8), math.log(32 * 8)), (math.log(0.25), math.log(8))]


def study(seed: int, samples: int = 10, icc: float = 0.15, n_questions: int = 48, **law: float) -> list[Row]:
    rng = np.random.default_rng(seed)
    return dosed(rng, hill(**law), DOSES, samples, icc, ranks(rng, n_questions))


def exact(law: Callable[[float], float], doses: Sequence[float] = DOSES, n: float = 1e6) -> list[Row]:
    """Rates right on the law, on average over clusters that differ by a tenth."""
    return [(f"q{i}", k, n * law(k) * (1.1 if i % 2 else 0.9), n) for k in doses for i in range(8)]


def rate(point: Any, k: float) -> float:
    """The law, written as in the issue."""
    floor, ceiling, half, slope = float(point[0]), float(point[1]), math.exp(point[2]), math.exp(point[3])
    return floor + (ceiling - floor) * (k**slope / (k**slope + half**slope) if k else 0.0)


def summed(rows: list[Row]) -> list[tuple[float, float, float]]:
    """Dose, hits and n of all clusters together."""
    return [(k, sum(r[2] for r in rows if r[1] == k), sum(r[3] for r in rows if r[1] == k)) for k in DOSES]


def smallest(rows: list[Row], fixed: dict[int, float]) -> float:
    """The smallest loss that scipy finds from some starts, with some parameters fixed."""
    totals = summed(rows)

    def loss(point: Any) -> float:
        return -sum(hits * math.log(rate(point, k)) + (n - hits) * math.log1p(-rate(point, k)) for k, hits, n in totals)

    bounds = [(fixed[j], fixed[j]) if j in fixed else b for j, b in enumerate(BOUNDS)]
    best = math.inf
    for start in ((0.05, 0.4, math.log(8), 0.0), (0.05, 0.9, math.log(40), -0.5)):
        at = [fixed.get(j, x) for j, x in enumerate(start)]
        best = min(best, minimize(loss, at, (), "L-BFGS-B", bounds=bounds, options={"ftol": 1e-12}).fun)
    return best


def numeric_covariances(point: Any, rows: list[Row]) -> tuple[Any, Any]:
    """The covariance of independent values and the sandwich, from numeric derivatives of each cluster's likelihood."""
    step = 1e-5
    names = sorted({r[0] for r in rows})
    scores, information = np.zeros((len(names), 4)), np.zeros((4, 4))
    for name, k, hits, n in rows:
        p = rate(point, k)
        by = np.array([(rate(point + d, k) - rate(point - d, k)) / (2 * step) for d in step * np.eye(4)])
        scores[names.index(name)] += by * (hits - n * p) / (p * (1 - p))
        information += n * np.outer(by, by) / (p * (1 - p))
    model = np.linalg.inv(information)
    n = len(names)
    return model, model @ (scores.T @ scores) @ model * n / (n - 1)


def test_the_law_is_the_one_of_the_simulator() -> None:
    for k in (0, 1, 8, 100):
        assert rate((FLOOR, CEILING, math.log(HALF), 0.0), k) == pytest.approx(Truth().misaligned(k), abs=1e-12)
        assert hill()(k) == pytest.approx(Truth().misaligned(k), abs=1e-12)


@pytest.mark.parametrize("slope", [0.7, 1.0, 2.5])
def test_exact_rates_have_their_parameters(slope: float) -> None:
    """Rising, and falling: then the ceiling is below the floor."""
    for floor, ceiling in ((0.02, 0.4), (0.7, 0.1)):

        def law(k: float, floor: float = floor, ceiling: float = ceiling) -> float:
            return rate((floor, ceiling, math.log(8), math.log(slope)), k)

        done = fit(exact(law))
        values = [e.value for e in (done.floor, done.ceiling, done.k50, done.slope)]
        assert values == pytest.approx([floor, ceiling, 8, slope], rel=1e-4)
        assert done.fits
        assert [at for at, *_ in done.band([0, 3, 8])] == pytest.approx([law(0), law(3), law(8)], rel=1e-5)


def test_the_maximum_is_the_one_of_scipy() -> None:
    rows = study(0, samples=3)
    done = fit(rows)
    assert done.maximum is not None
    assert -done.maximum.best == pytest.approx(smallest(rows, {}), abs=1e-5)


@pytest.mark.parametrize(("seed", "j"), [(5, 0), (5, 1), (5, 2), (5, 3)])
def test_intervals_end_where_the_scaled_profile_does(seed: int, j: int) -> None:
    """The profile by scipy, the design effect by numeric derivatives, Student's quantile by scipy."""
    rows = study(seed, slope=2.0)
    done = fit(rows)
    assert done.maximum is not None
    model, cover = numeric_covariances(done.maximum.point, rows)
    scale = cover[j, j] / model[j, j]
    if j < 2:
        scale = max(scale, np.trace(cover @ np.linalg.inv(model)) / 4)
    limit = scipy.stats.t.ppf(0.975, 47) ** 2 * scale
    estimate = (done.floor, done.ceiling, done.k50, done.slope)[j]
    for end in (estimate.low, estimate.high):
        assert end is not None
        lost = 2 * (smallest(rows, {j: math.log(end) if j > 1 else end}) + done.maximum.best)
        assert lost == pytest.approx(limit, rel=0.02)


def test_the_trend_is_the_clustered_regression_of_statsmodels() -> None:
    rows = study(1, icc=0.3, n_questions=12)[:-3]  # not balanced
    rows = [(name, k, hits, n) for name, k, hits, n in rows if (name, k) != ("q3", 8.0)]
    z = np.array([[1.0, math.log2(1 + k)] for _, k, _, _ in rows])
    model = WLS([hits / n for _, _, hits, n in rows], z, weights=[n for *_, n in rows])
    names = sorted({r[0] for r in rows})
    groups = np.array([names.index(r[0]) for r in rows])
    result = model.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}, use_t=True)
    error = result.bse[1] * math.sqrt(12 / 11)
    trend = fit(rows).trend
    assert trend.slope == pytest.approx(result.params[1], rel=1e-9)
    assert trend.p == pytest.approx(2 * scipy.stats.t.sf(result.params[1] / error, 11), rel=1e-6)
    assert trend.low == pytest.approx(result.params[1] - scipy.stats.t.ppf(0.975, 11) * error, rel=1e-6)


def test_the_tail_of_f_is_the_one_of_scipy() -> None:
    for f, df1, df2 in ((0.1, 1, 5), (2.5, 2, 94), (1.0, 1.7, 80.3), (30.0, 5, 10)):
        assert f_tail(f, df1, df2) == pytest.approx(scipy.stats.f.sf(f, df1, df2), rel=1e-9)


def test_the_test_of_fit_is_pearsons_for_independent_values() -> None:
    """Over many clusters without correlation, the design effect is 1, and the statistic is chi-square."""
    rows = study(4, samples=4, icc=0.0, n_questions=3000, slope=2.0)
    done = fit(rows)
    assert done.maximum is not None
    x2 = 0.0
    for k, hits, n in summed(rows):
        p = rate(done.maximum.point, k)
        x2 += (hits - n * p) ** 2 / (n * p * (1 - p))
    assert done.p_fit == pytest.approx(scipy.stats.chi2.sf(x2, 2), abs=0.03)


def test_rates_that_rise_and_fall_do_not_fit() -> None:
    rng = np.random.default_rng(1)
    rows = dosed(rng, lambda k: {4: 0.15, 8: 0.35, 16: 0.2}.get(int(k), 0.05), DOSES, 10, 0.15, ranks(rng, 48))
    done = fit(rows)
    assert done.p_fit is not None
    assert done.p_fit < 0.001
    assert not done.fits


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (exact(hill(), DOSES[:3]), "a fit needs at least 4 doses"),
        ([], "a fit needs at least 4 doses"),
        (exact(lambda _: 0.0), "the rate is the same at every dose"),
        ([(name, k, n, n) for name, k, _, n in exact(hill())], "the rate is the same at every dose"),
        (exact(hill(half=1.5)), "the estimate is not above 2, the smallest dose over 0"),
        (exact(hill(half=40.0)), "the estimate is not below 32, the largest dose"),
        (
            [(f"q{i}", k, 5.0 + (i + j * j) % 3, 20.0) for i in range(9) for j, k in enumerate(DOSES)],
            "no trend over the doses",
        ),
    ],
)
def test_k50_is_missing_with_a_reason(rows: list[Row], reason: str) -> None:
    assert fit(rows).k50 == Estimate(reason=reason)
    assert ratio(fit(rows), fit(study(1))).reason == reason


def test_intervals_are_missing_with_a_reason() -> None:
    """Of one cluster, of clusters without variation; and a slope that is given has none."""
    one = fit([("q", *row[1:]) for row in exact(hill())])
    assert one.k50.value == pytest.approx(8, rel=1e-3)
    assert one.k50.reason == one.floor.reason == "an interval needs at least 2 clusters"
    assert one.k50.low is None
    assert one.trend.p is None
    assert one.band([8]) == []
    alike = fit([(name, k, hill()(k) * 50, 50) for k in DOSES for name in "abc"])
    assert (alike.k50.low, alike.k50.high, alike.k50.reason) == (None, None, "the clusters do not differ")
    given = fit(study(1), slope=1.0)
    assert given.slope == Estimate(value=1.0, reason="given, not estimated")
    assert fit(exact(hill(), DOSES[::2]), slope=1.0).k50.value == pytest.approx(8, rel=1e-3)


def test_a_slope_that_is_given_narrows_k50() -> None:
    free, given = fit(study(3)).k50, fit(study(3), slope=1.0).k50
    assert free.low is not None
    assert given.low is not None
    assert given.high is not None
    assert free.low < given.low < HALF < given.high < (free.high or math.inf)


def test_no_hits_at_dose_0_have_an_interval() -> None:
    """The floor is 0, and its interval is not."""
    done = fit([(name, k, hits if k else 0.0, n) for name, k, hits, n in study(2)])
    assert done.floor.value == done.floor.low == 0.0
    assert done.floor.high is not None
    assert 0.003 < done.floor.high < 0.06
    assert done.band([0]) == [(0.0, 0.0, done.floor.high)]


@pytest.mark.parametrize("row", [("q", -1.0, 1.0, 2.0), ("q", 1.0, 3.0, 2.0), ("q", 1.0, -1.0, 2.0)])
def test_impossible_rows_are_refused(row: Row) -> None:
    with pytest.raises(ValueError, match="doses must be at least 0, and hits within 0 and n"):
        fit([row])


def test_an_impossible_slope_is_refused() -> None:
    with pytest.raises(ValueError, match="slope must be within"):
        fit(study(1), slope=10.0)


def test_the_band_is_the_delta_method_where_that_is_good() -> None:
    """Of many values, where Wilson's interval is symmetrical."""
    rows = study(6, samples=400, slope=2.0)
    done = fit(rows)
    assert done.maximum is not None
    _, cover = numeric_covariances(done.maximum.point, rows)
    for k, (at, low, high) in zip((4.0, 8.0, 20.0), done.band([4.0, 8.0, 20.0]), strict=True):
        steps = 1e-5 * np.eye(4)
        by = [(rate(done.maximum.point + d, k) - rate(done.maximum.point - d, k)) / 2e-5 for d in steps]
        half = scipy.stats.t.ppf(0.975, 47) * math.sqrt(np.array(by) @ cover @ np.array(by))
        assert at == pytest.approx(rate(done.maximum.point, k), rel=1e-9)
        assert high - low == pytest.approx(2 * half, rel=0.02)


def test_the_ratio_of_many_values_is_walds() -> None:
    """Of different clusters; and of the same ones, whose influences are paired."""
    first, second = study(7, samples=3000, icc=0.01, slope=2.0), study(8, samples=3000, icc=0.01, slope=2.0, half=9.0)
    for other, df in ((second, 47), ([(f"other {name}", k, hits, n) for name, k, hits, n in second], 94)):
        one, two = fit(first), fit(other)
        assert one.maximum is not None
        assert two.maximum is not None
        result = ratio(one, two)
        influence = one.maximum.influence[:, 2], two.maximum.influence[:, 2]
        squares = (influence[0] - influence[1]) ** 2 if df == 47 else influence[0] ** 2 + influence[1] ** 2
        error = math.sqrt(squares.sum())
        assert result.ratio == pytest.approx((one.k50.value or 0) / (two.k50.value or 1), rel=1e-9)
        assert result.low is not None
        assert result.high is not None
        assert math.log(result.high / result.low) == pytest.approx(2 * scipy.stats.t.ppf(0.975, df) * error, rel=0.05)


def test_a_ratio_turned_around_is_its_inverse() -> None:
    one, two = fit(study(1, slope=2.0)), fit(study(2, slope=2.0, half=12.0))
    there, back = ratio(one, two), ratio(two, one)
    assert there.p == pytest.approx(back.p, rel=1e-3)
    assert there.ratio == pytest.approx(1 / (back.ratio or 1))
    assert there.low == pytest.approx(1 / (back.high or 1), rel=1e-2)
    assert there.high == pytest.approx(1 / (back.low or 1), rel=1e-2)
    assert ratio(one, one).reason == "the clusters do not differ"


def test_simulated_studies_are_covered() -> None:
    """Few studies here, and 1,000 of each kind in tests/bench/dose.py. A fit is to take less than 0.2 s."""
    studies = [study(100 + seed, samples=3 + seed % 8, icc=(0.0, 0.15, 0.3)[seed % 3]) for seed in range(32)]
    with within_cpu(0.2 * len(studies)):
        fits = [fit(rows) for rows in studies]
    intervals = [f.k50 for f in fits if f.k50.value is not None]
    assert len(intervals) >= 24
    assert sum((e.low or 0) <= HALF <= (e.high or math.inf) for e in intervals) >= 0.9 * len(intervals)
    assert sum((f.p_fit or 0) < ALPHA for f in fits) <= 5
    assert all((f.trend.p or 1) < ALPHA for f in fits)
