"""How many annotations a corrected rate needs: the expected width of its interval, from the judge's errors.

Annotated draws are a random part of all draws, so that the variance has two parts: that of the rate if all N draws were
annotated, and that of the n annotated ones among them,

    V(n) = s^2 D / N + e^2 (1 / n - 1 / N),

with s^2 = p (1 - p) of the rate p, the design effect D of the clusters, and e^2 the variance that the judge does not
explain: s^2 (1 - r^2) for PPI++, with the correlation r of judge and person, (p Se (1 - Se) + (1 - p) Sp (1 - Sp)) /
(Se + Sp - 1)^2 for Rogan and Gladen. Sources: Cochran (1977), Sampling Techniques, ch. 12, for two-phase samples with
regression, which PPI++ is; Angelopoulos, Duchi and Zrnic (2023), arXiv 2311.01453, sec. 6; Rogan and Gladen (1978),
American Journal of Epidemiology 107; Kish (1965), Survey Sampling, for the design effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from emdsl.outcomes.annotated import MIN_EVENTS, sample_of, spread_of
from emdsl.outcomes.clustered import score_interval
from emdsl.outcomes.corrected import JEFFREYS, end_of
from emdsl.outcomes.distributions import t_quantile
from emdsl.outcomes.intervals import clopper_pearson, quantile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from emdsl.experiment import Clusters
    from emdsl.outcomes.annotated import Item, Sample

Method = Literal["ppi", "rogan_gladen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """The assumptions about a group: the persons' rate, the judge's errors, the draws and their clusters.

    `n_clusters` is the number of clusters, None without clusters. Raises ValueError unless 0 < rate < 1, sensitivity
    and specificity are in [0, 1], and there are two draws or more.
    """

    rate: float
    sensitivity: float
    specificity: float
    n_draws: int
    design_effect: float = 1.0  # of all draws
    n_clusters: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 < self.rate < 1:
            raise ValueError(f"a rate of annotations lies between 0 and 1, got {self.rate}")
        if not (0 <= self.sensitivity <= 1 and 0 <= self.specificity <= 1):
            raise ValueError(f"not in [0, 1]: sensitivity {self.sensitivity}, specificity {self.specificity}")
        if self.n_draws < 2:
            raise ValueError(f"expected at least two draws, got {self.n_draws}")

    @property
    def informed(self) -> float:
        """Sensitivity + specificity - 1 (Youden's index): 0 for a judge that guesses."""
        return self.sensitivity + self.specificity - 1

    @property
    def raw(self) -> float:
        """The expected rate of the judge's verdicts."""
        return self.rate * self.sensitivity + (1 - self.rate) * (1 - self.specificity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """The expected half width of the interval with `n` annotations; `exact`: with fewer than 5 positives or negatives.

    `half_width` is None if the interval does not exist: Rogan and Gladen's for a judge that guesses.
    """

    n: int
    half_width: float | None
    exact: bool


def assumed_of(items: Iterable[Item], clusters: Clusters) -> Assumed | None:
    """Return the estimates from the annotations so far; the design effect is that of the judge's verdicts.

    None without an annotated positive and negative, or with a stratum without annotations. Raises ValueError as
    `corrected.ppi`.
    """
    sample = sample_of(items, clusters, rate=True)
    if not sample.items or any(s.n == 0 for s in sample.strata.values()):
        return None
    if sample.sensitivity is None or sample.specificity is None:
        return None
    return _assumed(sample, sample.mean, sample.sensitivity, sample.specificity)


def assumed(
    items: Iterable[Item], clusters: Clusters, *, rate: float, sensitivity: float, specificity: float
) -> Assumed | None:
    """Return given figures, with the draws and clusters of a group; None for fewer than two draws.

    Raises ValueError as `Assumed`.
    """
    sample = sample_of(items, clusters, rate=True)
    return _assumed(sample, rate, sensitivity, specificity) if sample.n_draws > 1 else None


def _assumed(sample: Sample, rate: float, sensitivity: float, specificity: float) -> Assumed:
    influences = [(i.judged - sample.strata[i.stratum].judged_all) / sample.n_draws for i in sample.items]
    spread = spread_of(sample, influences)
    levels = [len({i.clusters[at] for i in sample.items}) for at in range(len(spread.ways))]
    return Assumed(
        rate=rate, sensitivity=sensitivity, specificity=specificity, n_draws=sample.n_draws,
        design_effect=max(1.0, spread.design_effect or 1.0), n_clusters=min(levels, default=None),
    )  # fmt: skip


def widths(assumed: Assumed, numbers: Sequence[int], level: float, method: Method = "ppi") -> list[Width]:
    """Return the expected half width for each number of annotations, at most all draws.

    Args:
        assumed: The rate, the judge's errors and the draws.
        numbers: Numbers of annotations, from 1.
        level: The level of the interval, in (0, 1).
        method: The estimator.

    >>> judge = Assumed(rate=0.3, sensitivity=0.9, specificity=0.8, n_draws=960)
    >>> [round(w.half_width, 3) for w in widths(judge, [60, 120, 240], 0.95)]
    [0.094, 0.067, 0.049]
    """
    return [_width(assumed, min(n, assumed.n_draws), level, method) for n in numbers]


def annotations_needed(assumed: Assumed, half_width: float, level: float, method: Method = "ppi") -> int | None:
    """Return the fewest annotations whose interval is expected to be this narrow; None if all draws are too few.

    Arguments are those of `widths`, and `half_width`, in (0, 1).

    >>> annotations_needed(Assumed(rate=0.3, sensitivity=0.9, specificity=0.8, n_draws=960), 0.05, 0.95)
    228
    """

    def enough(n: int) -> bool:
        reached = _width(assumed, n, level, method).half_width
        return reached is not None and reached <= half_width

    first = min(assumed.n_draws, math.ceil(MIN_EVENTS / min(assumed.rate, 1 - assumed.rate)))  # that is not exact
    for least, most in ((1, first - 1), (first, assumed.n_draws)):
        if least <= most and enough(most):
            return _least(enough, least, most)
    return None


def _least(enough: Callable[[int], bool], least: int, most: int) -> int:
    """Return the least number that is enough, by bisection."""
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle + 1, most)
    return least


def _width(assumed: Assumed, n: int, level: float, method: Method) -> Width:
    """Return the half width with n annotations, by the intervals of `corrected` at the expected numbers."""
    rate = assumed.rate
    if n < assumed.n_draws and n * min(rate, 1 - rate) < MIN_EVENTS - 1e-9:
        low, high = clopper_pearson(n * rate, n, level)  # few annotations share no cluster
        return Width(n=n, half_width=(high - low) / 2, exact=True)
    if method == "rogan_gladen" and assumed.informed <= 0 and n < assumed.n_draws:
        return Width(n=n, half_width=None, exact=False)
    t = t_quantile(0.5 + level / 2, _freedom(assumed, n))
    if method == "rogan_gladen" and n < assumed.n_draws:
        low, high = _ratio_ends(assumed, n, t)
        return Width(n=n, half_width=(high - low) / 2, exact=False)
    variance = rate * (1 - rate)
    total = variance * assumed.design_effect / assumed.n_draws + _open(assumed, n)
    number = min(float(assumed.n_draws), variance / total / (t / quantile_of(level)) ** 2)
    low, high = score_interval(rate, number, level) if number >= 1 else (0.0, 1.0)
    return Width(n=n, half_width=(high - low) / 2, exact=False)


def _rare(assumed: Assumed, n: int) -> bool:
    """Whether too few errors of the judge are expected to show how often it errs."""
    p = assumed.rate
    return n * (p * (1 - assumed.sensitivity) + (1 - p) * (1 - assumed.specificity)) < MIN_EVENTS


def _open(assumed: Assumed, n: int) -> float:
    """Return the part of the variance of PPI++ that comes from draws without annotation."""
    p, raw = assumed.rate, assumed.raw
    covariance = p * (1 - p) * assumed.informed
    slope = max(0.0, covariance / (raw * (1 - raw))) if 0 < raw < 1 else 0.0
    part = 1 / n - 1 / assumed.n_draws
    multiple = slope * (1 - n / assumed.n_draws)
    rest = p - multiple * raw
    doubt = JEFFREYS * ((1 - rest) ** 2 + (multiple + rest) ** 2) / n**2 if part and _rare(assumed, n) else 0.0
    return max(0.0, p * (1 - p) - slope * covariance) * part + doubt


def _ratio_ends(assumed: Assumed, n: int, t: float) -> tuple[float, float]:
    """Return Fieller's interval of Rogan and Gladen's estimate at the expected numbers.

    The variance at x is that of raw + Sp - 1 - x (Se + Sp - 1); the annotated draws are part of all draws.
    """
    p, of_all = assumed.rate, 1 / assumed.n_draws
    hits, clears = (x * (1 - x) for x in (assumed.sensitivity, assumed.specificity))
    whole = assumed.informed**2 * p * (1 - p) * assumed.design_effect + p * hits + (1 - p) * clears
    doubt = 2 * JEFFREYS / n**2 if _rare(assumed, n) else 0.0

    def unlike(x: float) -> bool:
        of_annotated = x * x * hits / (n * p) + (1 - x) ** 2 * clears / (n * (1 - p))
        variance = (whole - 2 * x * hits - 2 * (1 - x) * clears) * of_all + of_annotated + doubt
        return (assumed.informed * (p - x)) ** 2 > t * t * variance

    return end_of(p, 0.0, unlike), end_of(p, 1.0, unlike)


def _freedom(assumed: Assumed, n: int) -> float:
    """Return the expected degrees of freedom: clusters with an annotation less one, or annotations less one."""
    if assumed.n_clusters is None:
        return max(1.0, n - 1.0)
    return max(1.0, assumed.n_clusters * (1 - (1 - 1 / assumed.n_clusters) ** n) - 1)
