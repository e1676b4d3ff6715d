"""What `emdsl power` promises, against studies that are made up: part of `make stress`.

200 random designs with known components: the number of samples that is printed is the smallest that finds the effect
in 80 % of 10,000 studies, within 1. And from pilot studies, the range that is printed holds that number. Rates that are
measured on the simulator cover its ground truth.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
from sim.test_truth import coverage

from emdsl.outcomes.intervals import wilson
from emdsl.outcomes.sample_size import (
    PROMISED,
    Spread,
    Wanted,
    exact_draws_of_rates,
    rate_ends,
    spread_of_clusters,
    spread_of_effects,
    spread_of_means,
    spread_of_pairs,
    variance_ends,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DESIGNS, STUDIES, RIGHT = 200, 10_000, 195
PILOTS, HOLDS = 2_000, PROMISED
SEEDS, COVERS = 24, (0.93, 0.97)  # of the simulator, and of how many cells an interval of 95 % is to cover the truth
POWER, ALPHA, Z = 0.8, 0.05, 1.959963984540054
KINDS = ("rate", "mean", "clusters", "pairs", "effects")
Sizes = np.ndarray[Any, np.dtype[np.float64]]


def found_by_t(means: Sizes, lost: int, freedom: float, variances: Sizes) -> float:
    """Return how often estimates with these standard errors, squared, are told apart from 0."""
    assert lost in (1, 2)
    return float((np.abs(means) > scipy.stats.t.ppf(1 - ALPHA / 2, freedom) * np.sqrt(variances)).mean())


def of_two(rng: np.random.Generator, n: int, shift: float, sd: float, studies: int) -> float:
    """Return how often two groups of n normal values are told apart, by the pooled t test."""
    first, second = rng.normal(0, sd, (studies, n)), rng.normal(shift, sd, (studies, n))
    variances = (first.var(axis=1, ddof=1) + second.var(axis=1, ddof=1)) / n
    return found_by_t(second.mean(axis=1) - first.mean(axis=1), 2, 2 * n - 2, variances)


def of_one(rng: np.random.Generator, n: int, shift: float, sd: float, studies: int) -> float:
    """Return how often the mean of n normal values is told from 0."""
    values = rng.normal(shift, sd, (studies, n))
    return found_by_t(values.mean(axis=1), 1, n - 1, values.var(axis=1, ddof=1) / n)


def of_rates(rng: np.random.Generator, n: int, first: float, second: float, studies: int) -> float:
    """Return how often Newcombe's interval tells two rates apart."""
    ends = np.array([wilson(hits, n, Z) for hits in range(n + 1)])
    a, b = rng.binomial(n, first, studies), rng.binomial(n, second, studies)
    up = (b - a) / n > np.hypot(b / n - ends[b, 0], ends[a, 1] - a / n)
    down = (a - b) / n > np.hypot(a / n - ends[a, 0], ends[b, 1] - b / n)
    return float((up | down).mean())


def design(rng: np.random.Generator, kind: str) -> tuple[float, Callable[[int, int], float]]:
    """Return the samples that a random design is said to take, and what finds its power by so many studies."""
    effect = float(rng.uniform(0.3, 1.2))
    wanted = Wanted(effect=effect)
    if kind == "rate":
        rate, apart = float(rng.uniform(0.02, 0.5)), float(rng.uniform(0.15, 0.4))
        other = min(1.0, rate + apart)
        needed = exact_draws_of_rates(rate, Wanted(effect=apart))
        return needed, lambda n, studies: of_rates(rng, n, rate, other, studies)
    if kind == "mean":
        needed = spread_of_means(1.0).draws(wanted)
        return needed, lambda n, studies: of_two(rng, max(n, 2), effect, 1.0, studies)
    if kind == "pairs":
        needed = spread_of_pairs(math.sqrt(1 / 10), 20, 10).draws(wanted) / 2
        return needed, lambda n, studies: of_one(rng, max(n, 2), effect, 1.0, studies)
    clusters, share = int(rng.integers(6, 40)), float(rng.uniform(0.02, 0.3))
    if kind == "clusters":
        spread = spread_of_clusters(
            1.0, math.sqrt((share + (1 - share) / 5) / clusters), clusters * 5, clusters, grows=False
        )

        def found(n: int, studies: int) -> float:
            return of_two(rng, clusters, effect / 2, math.sqrt(share + (1 - share) / max(n, 1)), studies)

        return spread.draws(Wanted(effect=effect / 2)) / clusters, found
    return effects(clusters, share).draws(Wanted(effect=effect / 2)) / 2 / clusters, lambda n, studies: of_one(
        rng, clusters, effect / 2, math.sqrt(share + 1 / max(n, 1)), studies
    )


def effects(clusters: int, between: float) -> Spread:
    """Return the spread of a clustered contrast with these components, and 1 as the variance of one pair."""
    error, of_pairs = math.sqrt((between + 1 / 5) / clusters), math.sqrt((between + 1) / clusters / 5)
    found = spread_of_effects(error, of_pairs, clusters * 10, clusters * 5, clusters)
    assert found is not None
    return found


def is_right(needed: float, found: Callable[[int, int], float], studies: int) -> bool:
    """Whether a number of samples is the smallest with the power, within 1 and what so many studies can tell."""
    near = 3 * math.sqrt(POWER * (1 - POWER) / studies)
    if not math.isfinite(needed):
        return found(1_000_000, studies) < POWER + near
    n = math.ceil(needed - 1e-6)
    return found(n + 1, studies) >= POWER - near and (n <= 2 or found(n - 2, studies) < POWER + near)


def sizes(n_designs: int, studies: int, seed: int = 7) -> int:
    """Return for how many of so many random designs the printed number is right."""
    rng = np.random.default_rng(seed)
    return sum(is_right(*design(rng, KINDS[i % len(KINDS)]), studies) for i in range(n_designs))


def held(kind: str, n_pilots: int, seed: int = 11) -> float:
    """Return how often the range by a pilot study holds the number that the true components give."""
    rng, wanted, hits = np.random.default_rng(seed), Wanted(effect=0.3), 0
    clusters, size, between = 24, 10, 0.05
    truth = {
        "rate": exact_draws_of_rates(0.2, wanted), "mean": spread_of_means(1.0).draws(wanted),
        "effects": effects(clusters, between).draws(wanted),
    }[kind]  # fmt: skip
    for _ in range(n_pilots):
        if kind == "rate":
            ends = rate_ends(float(rng.binomial(60, 0.2)) / 60, 60)
            found = [exact_draws_of_rates(r, wanted) for r in ends]
        elif kind == "mean":
            sd = float(rng.normal(0, 1, 40).std(ddof=1))
            found = [spread_of_means(sd * math.sqrt(x)).draws(wanted) for x in variance_ends(39)]
        else:
            pairs = rng.normal(rng.normal(0, math.sqrt(between), (clusters, 1)), 1.0, (clusters, size))
            error = math.sqrt(float(pairs.mean(axis=1).var(ddof=1)) / clusters)
            of_pairs = math.sqrt(float(pairs.var(ddof=1)) / pairs.size)
            spreads = [
                spread_of_effects(error * math.sqrt(x), of_pairs, 2 * pairs.size, pairs.size, clusters)
                for x in variance_ends(clusters - 1)
            ]
            found = [s.draws(wanted) for s in spreads if s is not None]
        hits += min(found) - 1 <= truth <= max(found) + 1
    return hits / n_pilots


if __name__ == "__main__":
    right = sizes(DESIGNS, STUDIES)
    print(f"power: {right} of {DESIGNS} designs take as many samples as is said, within 1")
    shares = {kind: held(kind, PILOTS if kind == "rate" else PILOTS // 4) for kind in ("rate", "mean", "effects")}
    print("power: the range of a pilot study holds the truth in", {k: f"{v:.1%}" for k, v in shares.items()})
    covered, walds, n = coverage(range(SEEDS))
    print(f"simulator: Wilson's 95 % intervals cover the truth in {covered} of {n} cells, Wald's in {walds}")
    unlike = not COVERS[0] <= covered / n <= COVERS[1] or walds >= covered
    sys.exit(right < RIGHT or min(shares.values()) < HOLDS or unlike)
