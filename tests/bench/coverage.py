"""How often intervals by clusters hold the truth, and how often contrasts find what is not there: `make stress`.

Made-up studies, given to the project's own functions: some minutes. Exits 1 if a promise does not hold.
"""

from __future__ import annotations

import sys
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import scipy.special
import scipy.stats
from made_clusters import (
    LEVEL,
    Crossed,
    Design,
    Floats,
    Pair,
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
    variance,
    width,
)
from promises import report

from emdsl.compiler.clusters import ENOUGH_SETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ProcessPoolExecutor

    from promises import Line

STUDIES = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
RESAMPLED, RESAMPLES = 200, 499  # studies with a bootstrap, which takes long
DESIGNS = [
    Design(clusters=clusters, draws=draws, rate=rate, alike=alike, equal=equal)
    for equal, clusters, draws, rate, alike in product(
        (True, False), (8, 16, 32, 48), (3, 10), (0.02, 0.1, 0.3), (0.0, 0.1, 0.3)
    )
]
COVERS, LEAST, MAX_BELOW, MAX_WIDTH = 0.93, 0.88, 4, 1.25
CONTRAST = "contrast(rate(v < 30), side == 1, side == 0)"
FALSE = (0.04, 0.06)  # positives at 5 %
FEW = 0.02, 0.3  # rate and correlation, at which most questions have no hit: a t test finds less than it may
CROSSED = [
    (rate, question, shared)
    for rate in (0.02, 0.1, 0.3)
    for question, shared in ((0.3, 0.0), (0.3, 0.05), (0.3, 0.15), (0.05, 0.15), (0.1, 0.3))
]
CROSSED_COVER, CROSSED_AT_MOST = 0.92, 0.985  # the latter without an effect of sets, for rates that are not rare
RARE = 0.02
MILD = 0.5  # standard deviation of the logarithm of scores that are not very skewed
MEANS_COVER, MEDIANS_COVER = 0.90, 0.93


def exact(hits: Floats, n: Floats) -> Pair:
    """Return Clopper and Pearson's interval."""
    tail = (1 - LEVEL) / 2
    low = np.where(hits > 1e-12, scipy.special.betaincinv(np.maximum(hits, 1e-9), n - hits + 1, tail), 0)
    high = np.where(n - hits > 1e-12, scipy.special.betaincinv(hits + 1, np.maximum(n - hits, 1e-9), 1 - tail), 1)
    return low, high


def others(sizes: Floats, hits: Floats) -> dict[str, Pair]:
    """Return the intervals of other methods: exact with effective numbers, Korn and Graubard's, of the logit."""
    n, t = sizes.sum(axis=1), scipy.stats.t.ppf(0.5 + LEVEL / 2, sizes.shape[1] - 1)
    rate = hits.sum(axis=1) / n
    spread = variance((hits - rate[:, None] * sizes) / n[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.maximum(1, np.where(rate * (1 - rate) > 0, spread / (rate * (1 - rate) / n), 1))
        half = t * np.sqrt(spread) / (rate * (1 - rate))
        ends = [scipy.special.expit(np.log(rate / (1 - rate)) + side * half) for side in (-1, 1)]
    number = n / effect
    by_t = np.minimum(n, number * (scipy.stats.t.ppf(0.5 + LEVEL / 2, n - 1) / t) ** 2)
    alike = ~np.isfinite(ends[0]) | (spread == 0)
    without = np.where(rate == 0, 1 - ((1 - LEVEL) / 2) ** (1 / n), 1)
    return {
        "effective n": exact(rate * number, number), "Korn-Graubard": exact(rate * by_t, by_t),
        "logit-t": (np.where(alike, 0, ends[0]), np.where(alike, without, ends[1])),
    }  # fmt: skip


def bootstrap_t(rng: np.random.Generator, sizes: Floats, hits: Floats) -> Pair:
    """Return the studentized bootstrap interval of each study's rate, over clusters."""
    clusters = sizes.shape[1]
    ends = []
    for n, h in zip(sizes, hits, strict=True):
        rate = h.sum() / n.sum()
        error = np.sqrt(variance(((h - rate * n) / n.sum())[None])[0])
        times = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=RESAMPLES)
        rates = times @ h / (times @ n)
        residuals = h - rates[:, None] * n
        errors = np.sqrt(clusters / (clusters - 1) * (times * residuals**2).sum(axis=1)) / (times @ n)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.nan_to_num((rates - rate) / errors, nan=0.0, posinf=np.inf, neginf=-np.inf)
        low, high = np.quantile(t, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
        ends.append((max(0.0, rate - high * error), min(1.0, rate - low * error)) if error else (rate, rate))
    return both_of(ends)


def of_design(place: int) -> dict[str, tuple[float, float]]:
    """Return coverage and mean width of each method for a design; "" is ours."""
    design, rng = DESIGNS[place], np.random.default_rng([19, place])
    sizes, hits = counts(rng, design, rates_of(rng, design, STUDIES))
    ends = {"": rate_ends(sizes, hits)} | others(sizes, hits)
    ends["bootstrap-t"] = bootstrap_t(rng, sizes[:RESAMPLED], hits[:RESAMPLED])
    return {name: (covered(design.rate, pair), width(pair)) for name, pair in ends.items()}


def rates(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """Rates: 72 designs with clusters of equal sizes, 72 of unequal ones."""
    results = dict(zip(DESIGNS, pool.map(of_design, range(len(DESIGNS)), chunksize=4), strict=True))
    ours = {d: r[""][0] for d, r in results.items()}
    for equal in (True, False):
        part = [c for d, c in ours.items() if d.equal == equal]
        line = (
            f"{'equal' if equal else 'unequal'} clusters: coverage {min(part):.1%} to {max(part):.1%}, "
            f"median {np.median(part):.1%}"
        )
        yield line, min(part) >= LEAST
    below = [d for d in sorted(DESIGNS, key=ours.__getitem__) if ours[d] < COVERS]
    yield f"{len(below)} of {len(DESIGNS)} designs below 93 %", len(below) <= MAX_BELOW
    for d in below:
        sizes = f"{d.draws}" if d.equal else f"1 to {2 * d.draws - 1}"
        yield f"  {ours[d]:.1%}: {d.clusters} clusters of {sizes}, rate {d.rate:.0%}, correlation {d.alike}", True
    ratios = []
    for d, r in results.items():
        if widths := [(w, method) for method, (c, w) in r.items() if method and c >= COVERS]:
            ratios.append((r[""][1] / min(widths)[0], f"{min(widths)[1]} for {d}"))
    line = (
        f"width over the narrowest of four methods that cover, in {len(ratios)} designs: mean "
        f"{np.mean([x[0] for x in ratios]):.3f}, maximum {max(ratios)[0]:.3f} ({max(ratios)[1]})"
    )
    yield line, max(ratios)[0] <= MAX_WIDTH
    for method in list(results[DESIGNS[0]])[1:]:
        found = [r[method][0] for r in results.values()]
        yield f"  {method}: {sum(c < COVERS for c in found)} designs below 93 %, lowest {min(found):.1%}", True


def of_contrast(design: Design) -> tuple[float, float, float]:
    """Return false positives with unrelated and with shared effects, and the coverage of unrelated ones."""
    rng = np.random.default_rng([20, int(100 * design.rate), int(10 * design.alike)])
    measure = a_measure(CONTRAST).measures[0]
    studies = 4 * STUDIES
    shared = rates_of(rng, design, studies)
    sides = [
        [counts(rng, design, shared if same else rates_of(rng, design, studies)) for _ in (0, 1)]
        for same in (False, True)
    ]
    unrelated, paired = (contrasts(measure, (first, second)) for first, second in sides)
    return (
        float(np.mean([c.p < 1 - LEVEL for c in unrelated if c.p is not None])),
        float(np.mean([c.p < 1 - LEVEL for c in paired if c.p is not None])),
        covered(0.0, both_of([c.interval for c in unrelated])),
    )


def differences(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """Contrasts of 48 questions x 10 samples, without a difference: false positives at 5 %."""
    designs = [
        Design(clusters=48, draws=10, rate=rate, alike=alike)
        for rate, alike in product((0.02, 0.05, 0.1, 0.3), (0.0, 0.1, 0.3))
    ]
    for design, (unrelated, shared, covers) in zip(designs, pool.map(of_contrast, designs), strict=True):
        line = (
            f"rate {design.rate:.0%}, correlation {design.alike}: unrelated questions {unrelated:.2%} (intervals cover "
            f"{covers:.1%}), the same questions {shared:.2%}"
        )
        yield line, max(unrelated, shared) <= FALSE[1] and (unrelated >= FALSE[0] or (design.rate, design.alike) == FEW)


def of_crossed(given: tuple[int, float, float, float]) -> list[tuple[float, float]]:
    """Return coverage and width of a rate by questions and sets, of one by questions, and of a contrast by both."""
    sets, rate, question, shared = given
    design = Crossed(questions=48, sets=sets, rate=rate, question=question, set=shared)
    rng = np.random.default_rng([21, *(int(1000 * x) for x in given)])
    studies = STUDIES // 2
    first, second = (hits_of(rng, design, effects_of(rng, design, studies)) for _ in (0, 1))
    by_question = rate_ends(np.full(first.shape[:2], float(sets)), first.sum(axis=2))
    between = both_of([c.interval for c in crossed_contrasts(a_measure(CONTRAST).measures[0], first, second)])
    found = (rate, crossed_ends(first)), (rate, by_question), (0.0, between)
    return [(covered(*x), width(x[1])) for x in found]


def sets(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """48 questions that cross with sets of demonstrations: rates and contrasts by both."""
    given = [(n, *rest) for n in (10, 3) for rest in CROSSED]
    for (n, rate, question, shared), found in zip(given, pool.map(of_crossed, given), strict=True):
        both, by_question, between = found
        line = (
            f"{n} sets, rate {rate:.0%}, shares {question} and {shared}: rate {both[0]:.1%}, wide {both[1]:.3f} "
            f"(by questions alone {by_question[0]:.1%}, {by_question[1]:.3f}), contrast {between[0]:.1%}"
        )
        covers = min(both[0], between[0]) >= CROSSED_COVER
        not_wide = n < ENOUGH_SETS or shared > 0 or rate == RARE or max(both[0], between[0]) <= CROSSED_AT_MOST
        yield line, covers and not_wide


def of_scores(given: tuple[int, float]) -> tuple[float, float, float]:
    """Return the coverage of means and medians of log-normal scores, and of means without clusters."""
    clusters, spread = given
    rng = np.random.default_rng([22, clusters, int(10 * spread)])
    shape = STUDIES // 5, clusters, 10
    logarithms = np.sqrt(0.3) * rng.normal(size=(*shape[:2], 1)) + np.sqrt(0.7) * rng.normal(size=shape)
    values = np.exp(spread * logarithms)
    truth = float(np.exp(spread**2 / 2))
    return (
        covered(truth, _ends("mean(v)", values)), covered(1.0, _ends("quantile(v, 0.5)", values)),
        covered(truth, _ends("mean(v)", values, cluster="none")),
    )  # fmt: skip


def _ends(measure: str, values: Floats, cluster: str = "q") -> Pair:
    return both_of([(row["low"], row["high"]) for row in loaded(measure, values, cluster=cluster)])


def scores(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """Means and medians of skewed scores, 10 draws of each question, a correlation of about 0.3."""
    given = list(product((8, 16, 48), (MILD, 1.0)))
    for (clusters, spread), (mean, median, without) in zip(given, pool.map(of_scores, given), strict=True):
        line = (
            f"{clusters} questions, log-normal with {spread}: mean {mean:.1%} (without clusters {without:.1%}), "
            f"median {median:.1%}"
        )
        yield line, median >= MEDIANS_COVER and (mean >= MEANS_COVER or spread > MILD)


if __name__ == "__main__":
    sys.exit(report(rates, differences, sets, scores))
