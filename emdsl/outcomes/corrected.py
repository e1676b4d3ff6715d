"""Rates and means of a judge's verdicts, corrected by people's verdicts about a random part of the draws.

Both estimators are the mean of the persons' verdicts, plus a multiple of a difference: the mean of the judge's verdicts
of all draws less that of the annotated ones. The multiple of PPI++ is the slope of the person's verdict on the judge's;
its lambda is that slope times the share of draws that are not annotated. The multiple of Rogan and Gladen is
1 / (sensitivity + specificity - 1).

The interval of PPI++ for a rate is the score interval of an effective number of draws, as in `clustered`: Student's
covers only 90 to 92 % at a rate of 10 % with 60 or 120 annotations. The interval of Rogan and Gladen is Fieller's, with
the same quantiles: the score interval covers up to 99 %, as a low sensitivity makes both the value and its error large.
Of a judge with fewer than 5 errors among the annotated draws, both have half an error of each kind more: otherwise 60
annotations without an error would make it perfect, and intervals of 95 % cover 86 to 94 %.

Simulated with 2,000 studies in each of 90 cells (a lenient and a strict judge, 24 and 48 questions and independent
draws, rates of 10 to 50 %, 60, 120 and 240 annotations of 960 draws), PPI++ covers 93.6 to 97.3 %, Rogan and Gladen
92.8 to 97.0 %, the judge's own rate 0 to 69 %. See `tests/bench/corrected.py`.

Sources: Angelopoulos, Duchi and Zrnic (2023), "PPI++: Efficient prediction-powered inference", arXiv 2311.01453; Fisch
and others (2024), "Stratified prediction-powered inference", arXiv 2406.04291; Rogan and Gladen (1978), American
Journal of Epidemiology 107, pp. 71-76; Cochran (1977), Sampling Techniques, ch. 12, for two-phase samples; Korn and
Graubard (1998), Survey Methodology 24, for effective numbers of draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.experiment import NO_CLUSTERS
from emdsl.outcomes.annotated import Item, mean_of, sample_of, spread_of
from emdsl.outcomes.clustered import rate_interval, score_interval, student_interval
from emdsl.outcomes.distributions import t_quantile
from emdsl.outcomes.intervals import Interval, clopper_pearson, quantile_of, wilson
from emdsl.outcomes.spread import SPREAD, Spread, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emdsl.experiment import Clusters
    from emdsl.outcomes.annotated import Reason, Sample, Stratum

JEFFREYS = 0.5  # added errors of each kind, of a judge with fewer than MIN_EVENTS: Jeffreys' prior
N_HALVINGS = 30  # of [0, 1]: to 1e-9
MIN_OF_STRATUM = 2  # annotated draws of a stratum that has others: one does not vary


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A corrected rate or mean with both ends of its interval, and the figures behind it.

    `raw` is the mean of the judge's verdicts. `lambda_` is the multiple of PPI++, the mean of strata by their number of
    draws: None for Rogan and Gladen and if all draws are annotated, 0 if the judge is not used. Sensitivity,
    specificity and `n_positive`, the annotated draws with the person's verdict 1, are None for means. `spread` has the
    clusters and the degrees of freedom. `reason` tells why the value or the interval is missing, or has another method:

    - `exact`: fewer than MIN_EVENTS annotated positives or negatives in one stratum, or of all draws: the value is the
      annotated draws' rate alone, the interval Clopper and Pearson's.
    - `too_few_positives`, `too_few_negatives`: the same in several strata; a value without an interval.
    - `unannotated_stratum`: no value. `no_draws`: no value.
    - `judge_uninformative`: sensitivity + specificity is not above 1: no value by Rogan and Gladen.
    - `too_few_annotated`: a stratum with one annotated draw among others; `one_cluster`: all annotated draws are in one
      cluster; `no_variation`: the figure does not vary. A value without an interval.
    """

    value: float | None
    low: float | None
    high: float | None
    error: float | None
    raw: float | None
    sensitivity: float | None
    specificity: float | None
    n_annotated: int
    n_positive: int | None
    lambda_: float | None
    reason: Reason | None
    spread: Spread | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ratio:
    """An estimate that is a ratio: its denominator, and the influences of a draw of each item on both parts."""

    denominator: float
    of_numerator: list[float]
    of_denominator: list[float]

    def at(self, x: float) -> list[float]:
        """Return the influences on the numerator less x times the denominator."""
        return [u - x * v for u, v in zip(self.of_numerator, self.of_denominator, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """An estimate and the influence of one draw of each item.

    `doubt` is variance that too few errors do not show: intervals count it, the standard error does not.
    """

    value: float
    influences: list[float]
    doubt: float
    lambda_: float | None = None
    ratio: _Ratio | None = None


def ppi(items: Iterable[Item], level: float, *, rate: bool = True, clusters: Clusters = NO_CLUSTERS) -> Corrected:
    """Return the rate or mean by PPI++, stratified, with the multiple lambda that makes its variance least.

    Without clusters and with one stratum, value and standard error are those of the package ppi-python. A judge's
    verdict may be any number, for a rate too.

    Args:
        items: The draws of one group, annotated or not.
        level: The level of the interval, in (0, 1).
        rate: Whether the persons' verdicts are 0 or 1; the value is then clipped to [0, 1].
        clusters: The names of the clusters, as many as each item has levels.

    Raises:
        ValueError: If an item has a verdict that is not 0 or 1 for a rate, or more or fewer clusters than names.
    """
    return _corrected(sample_of(items, clusters, rate=rate), level, _ppi)


def rogan_gladen(items: Iterable[Item], level: float, *, clusters: Clusters = NO_CLUSTERS) -> Corrected:
    """Return (raw + specificity - 1) / (sensitivity + specificity - 1), clipped to [0, 1]: a rate only.

    The variance is by the delta method; the annotated draws are part of all draws, and their covariance counts.
    Sensitivity and specificity weigh each stratum by its draws. Arguments and errors are those of `ppi`, and both
    verdicts are 0 or 1.

    Raises:
        ValueError: As `ppi`, or if a judge's verdict is not 0 or 1.
    """
    sample = sample_of(items, clusters, rate=True)
    if any(item.judged not in (0, 1) for item in sample.items):
        raise ValueError("Rogan and Gladen's estimator needs judge's verdicts of 0 or 1")
    return _corrected(sample, level, _rogan_gladen)


def _corrected(sample: Sample, level: float, estimator: Callable[[Sample], _Estimate | None]) -> Corrected:
    """Return the corrected figure by an estimator, or by the annotated draws alone if that cannot be used."""
    if not sample.items:
        return _result(sample, reason="no_draws")
    if any(s.n == 0 for s in sample.strata.values()):
        return _result(sample, reason="unannotated_stratum")
    if all(s.n_others == 0 for s in sample.strata.values()) or (sample.scarce and len(sample.strata) == 1):
        return _of_persons(sample, level)
    estimate = estimator(sample)
    if estimate is None:
        return _result(sample, reason=sample.scarce or "judge_uninformative")
    value = min(1.0, max(0.0, estimate.value)) if sample.rate else estimate.value
    spread = spread_of(sample, estimate.influences)
    reason = sample.scarce or _unknown(sample, spread)
    if reason:
        return _result(sample, value, lambda_=estimate.lambda_, reason=reason, spread=spread)
    assert spread.error is not None
    if estimate.ratio:
        ends = _ratio_ends(sample, estimate, estimate.ratio, spread, level)
    elif sample.rate:
        ends = _score_ends(sample, value, spread, estimate.doubt, level)
    else:
        ends = student_interval(value, spread.error, spread.freedom, level)
    return _result(sample, value, ends, lambda_=estimate.lambda_, spread=spread)


def _unknown(sample: Sample, spread: Spread) -> Reason | None:
    """Return why the variance is unknown, or None."""
    if any(s.n < MIN_OF_STRATUM and s.n_others for s in sample.strata.values()):
        return "too_few_annotated"
    if spread.error is None:
        return "one_cluster" if spread.ways else "too_few_annotated"
    return "no_variation" if not sample.rate and spread.error < SPREAD else None


def _result(
    sample: Sample,
    value: float | None = None,
    ends: tuple[float, float] | None = None,
    *,
    lambda_: float | None = None,
    reason: Reason | None = None,
    spread: Spread | None = None,
) -> Corrected:
    """Return a figure; its standard error is known if its ends are."""
    return Corrected(
        value=value,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        error=spread.error if spread and ends else None,
        raw=sample.raw if sample.items else None,
        sensitivity=sample.sensitivity,
        specificity=sample.specificity,
        n_annotated=sample.n,
        n_positive=sample.n_positive,
        lambda_=lambda_,
        reason=reason,
        spread=spread,
    )


def _of_persons(sample: Sample, level: float) -> Corrected:
    """Return the figure of the annotated draws alone, as a measure of the persons' verdicts has it.

    It is right if all draws are annotated, or if there is one stratum.
    """
    value = mean_of((item.person, item.times) for item in sample.items if item.person is not None)
    spread = spread_of(
        sample, [0.0 if item.person is None else (item.person - value) / sample.n for item in sample.items], alone=True
    )
    lambda_ = None if sample.n == sample.n_draws else 0.0
    if spread.error is None and (spread.ways or not sample.rate):
        return _result(sample, value, lambda_=lambda_, reason=_unknown(sample, spread), spread=spread)
    if not sample.rate:
        if spread.error is None or spread.error < SPREAD:
            return _result(sample, value, reason="no_variation", spread=spread)
        return _result(sample, value, student_interval(value, spread.error, spread.freedom, level), spread=spread)
    exact = sample.scarce is not None
    if spread.ways:
        ends = rate_interval("clopper_pearson" if exact else "wilson", value, sample.n, spread, level)
    elif exact:
        ends = clopper_pearson(value * sample.n, sample.n, level)
    else:
        ends = wilson(value * sample.n, sample.n, quantile_of(level))
    return _result(sample, value, ends, lambda_=lambda_, reason="exact" if exact else None, spread=spread)


def _ppi(sample: Sample) -> _Estimate:
    """Return PPI++ of each stratum, added up by their shares.

    As in ppi-python, lambda is cov(y, f) / ((1 + n / N) var(f)), clipped to [0, 1], with N draws that are not
    annotated.
    """
    multiples = {name: _lambda(s) for name, s in sample.strata.items()}
    value = lambda_ = doubt = 0.0
    for name, s in sample.strata.items():
        multiple = multiples[name]
        rest = s.person - multiple * s.judged
        value += s.share * (rest + (multiple * s.judged_others if multiple else 0.0))
        lambda_ += s.share * multiple
        missed, invented = (1 - rest) ** 2, (multiple + rest) ** 2
        doubt += s.share**2 * JEFFREYS * (missed + invented) / (s.n * sample.n)

    def influence(item: Item) -> float:
        s, multiple = sample.strata[item.stratum], multiples[item.stratum]
        if item.person is None:
            return s.share * multiple * (item.judged - s.judged_others) / s.n_others
        return s.share * (item.person - s.person - multiple * (item.judged - s.judged)) / s.n * sample.few(s)

    return _Estimate(
        value=value, influences=[influence(item) for item in sample.items], doubt=doubt if sample.rare else 0.0,
        lambda_=lambda_,
    )  # fmt: skip


def _lambda(s: Stratum) -> float:
    if not s.n_others or s.variance <= 0:
        return 0.0
    return min(1.0, max(0.0, s.covariance / ((1 + s.n / s.n_others) * s.variance)))


def _rogan_gladen(sample: Sample) -> _Estimate | None:
    """Return Rogan and Gladen's estimate; None for a judge that guesses, and without positives or negatives."""
    sensitivity, specificity = sample.sensitivity, sample.specificity
    if sensitivity is None or specificity is None or sensitivity + specificity - 1 < SPREAD:
        return None
    denominator = sensitivity + specificity - 1
    value = (sample.raw + specificity - 1) / denominator

    shifts = {(1.0, f): ((f - sensitivity) / sample.mean, 0.0) for f in (0.0, 1.0)} | {
        (0.0, f): (0.0, (1 - f - specificity) / (1 - sample.mean)) for f in (0.0, 1.0)
    }  # by the verdicts of person and judge: how an annotated draw moves sensitivity and specificity
    middles = {name: [0.0, 0.0] for name in sample.strata}  # with one stratum, they are 0
    for item in sample.items if len(middles) > 1 else ():
        if item.person is not None:
            part = item.times / sample.strata[item.stratum].n
            for i, x in enumerate(shifts[item.person, item.judged]):
                middles[item.stratum][i] += part * x
    numerator, denominators = [], []
    for item in sample.items:
        s, of_sensitivity, of_specificity = sample.strata[item.stratum], 0.0, 0.0
        if item.person is not None:
            weight, middle = s.share / s.n * sample.few(s), middles[item.stratum]
            of_sensitivity, of_specificity = (
                weight * (x - m) for x, m in zip(shifts[item.person, item.judged], middle, strict=True)
            )
        numerator.append((item.judged - s.judged_all) / sample.n_draws + of_specificity)
        denominators.append(of_sensitivity + of_specificity)
    ratio = _Ratio(denominator=denominator, of_numerator=numerator, of_denominator=denominators)
    doubt = sum(s.share**2 * 2 * JEFFREYS / (s.n * sample.n) for s in sample.strata.values()) / denominator**2
    return _Estimate(
        value=value, influences=[x / denominator for x in ratio.at(value)], doubt=doubt if sample.rare else 0.0,
        ratio=ratio,
    )  # fmt: skip


def _score_ends(sample: Sample, value: float, spread: Spread, doubt: float, level: float) -> Interval:
    """Return the score interval of the number of draws that vary as much as the estimate, with Student's quantile.

    The variance of one draw is that of the annotated draws, so an estimate of 0 has an interval too. The design effect
    is at least 1, as in `clustered.effective`.
    """
    variance = max(spread.variance, spread.alone.variance) + doubt
    widening = t_quantile(0.5 + level / 2, spread.freedom) / quantile_of(level)
    number = min(float(sample.n_draws), sample.mean * (1 - sample.mean) / variance / widening**2)
    return score_interval(value, number, level) if number >= 1 else Interval(0.0, 1.0)


def _ratio_ends(sample: Sample, estimate: _Estimate, ratio: _Ratio, spread: Spread, level: float) -> Interval:
    """Return the range of x in [0, 1] where the numerator does not differ significantly from x times the denominator.

    The variance of that difference is quadratic in x, so three points determine it. Of an estimate beyond [0, 1], the
    interval is no narrower than that of as many draws. Source: Fieller (1954), Journal of the Royal Statistical
    Society B 16, pp. 175-185.
    """
    at_points = [spread_of(sample, ratio.at(x)) for x in (0.0, 0.5, 1.0)]
    t, square = t_quantile(0.5 + level / 2, spread.freedom), ratio.denominator**2

    def unlike(x: float) -> bool:
        at_x = _through(at_points, x)
        variance = max(at_x.variance, at_x.alone.variance) / square + estimate.doubt
        return (estimate.value - x) ** 2 > t * t * variance

    value = min(1.0, max(0.0, estimate.value))
    ends = Interval(end_of(value, 0.0, unlike), end_of(value, 1.0, unlike))
    if value == estimate.value:
        return ends
    others = _score_ends(sample, value, spread, estimate.doubt, level)
    return Interval(min(ends.low, others.low), max(ends.high, others.high))


def _through(at_points: list[Spread], x: float) -> Spread:
    """Return the spread at x of a figure with quadratic variances, from those at 0, 1/2 and 1."""
    weights = (1 - x) * (1 - 2 * x), 4 * x * (1 - x), x * (2 * x - 1)

    def way(ways: Iterable[Way]) -> Way:
        at = list(ways)
        return Way(at[0].n, sum(w * v.variance for w, v in zip(weights, at, strict=True)), at[0].sizes)

    return Spread(
        alone=way(s.alone for s in at_points),
        names=at_points[0].names,
        ways=tuple(way(ways) for ways in zip(*(s.ways for s in at_points), strict=True)),
        both=way(s.both for s in at_points if s.both) if at_points[0].both else None,
    )


def end_of(inside: float, outside: float, beyond: Callable[[float], bool]) -> float:
    """Return where an interval that holds `inside` ends, by bisection; `outside` if that is part of it."""
    if not beyond(outside):
        return outside
    for _ in range(N_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
    return inside
