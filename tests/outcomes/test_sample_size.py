"""Planning: how many draws an effect takes, against statsmodels and against studies that are made up."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats
from made_up import held, sizes
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.proportion import power_proportions_2indep
from support import SHOTS, SHOTS_STUDY, emdsl

from emdsl.outcomes.intervals import wilson
from emdsl.outcomes.sample_size import (
    Wanted,
    draws_of_rates,
    exact_draws_of_rates,
    power_of_rates,
    smallest_effect,
    spread_of_clusters,
    spread_of_effects,
    spread_of_means,
)

if TYPE_CHECKING:
    from pathlib import Path

SIZES = [(0.02, 0.05), (0.1, 0.05), (0.3, 0.1), (0.5, 0.1), (0.9, 0.05)]


@pytest.mark.parametrize(("rate", "effect"), SIZES)
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_rates_have_the_power_that_is_asked_for(rate: float, effect: float, power: float) -> None:
    """The power of so many draws, as statsmodels computes it from the pooled test, is what was wanted."""
    n = draws_of_rates(rate, Wanted(effect=effect, power=power))
    other = rate + effect if rate <= 0.5 else rate - effect
    found = power_proportions_2indep(other - rate, rate, n, ratio=1, alpha=0.05, return_results=False)
    assert found == pytest.approx(power, abs=0.003)


@pytest.mark.parametrize("effect", [0.15, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_means_have_the_power_that_is_asked_for(effect: float, alpha: float) -> None:
    """As statsmodels' t test, and back: so many draws show that effect."""
    wanted = Wanted(effect=effect, power=0.9, alpha=alpha)
    n = spread_of_means(1.0).draws(wanted)
    assert TTestIndPower().power(effect, n, alpha) == pytest.approx(0.9, abs=1e-4)
    assert spread_of_means(1.0).shows(n, wanted) == pytest.approx(effect, rel=1e-4)


def test_made_up_studies_find_the_effect_as_often_as_is_said() -> None:
    """Of random designs of each kind; `make stress` makes up more studies, and pilots."""
    assert sizes(20, 2_000) >= 19
    assert held("effects", 60) > 0.8


def test_effects_that_differ_between_clusters_may_never_be_shown() -> None:
    """More draws of the same questions do not lower what lies between them, however large the pilot was."""
    for size in (3, 30, 300):
        error, of_pairs = math.sqrt((0.2 + 1 / size) / 24), math.sqrt((0.2 + 1) / 24 / size)
        found = spread_of_effects(error, of_pairs, 48 * size, 24 * size, 24)
        assert found is not None
        assert found.between == pytest.approx(0.2 / 24)
        assert found.draws(Wanted(effect=0.2)) == math.inf
        assert 0 < found.draws(Wanted(effect=0.3)) < math.inf
    assert spread_of_effects(0.1, 0.1, 48, 24, 24) is None  # one pair of each: between or within is not known


def test_clusters_are_worth_less() -> None:
    """The share of variance between clusters comes back from a standard error; without one there is no clustering."""
    share, n, clusters = 0.25, 400, 12
    error = math.sqrt((share + (1 - share) * clusters / n) / clusters)
    found = spread_of_clusters(1.0, error, n, clusters, grows=False)
    assert (found.between * clusters / 2, found.within / 2) == pytest.approx((share, 1 - share))
    alone = spread_of_clusters(1.0, 1 / math.sqrt(n), n, clusters, grows=False)
    assert (alone.between, alone.within) == pytest.approx((0.0, 2.0))
    growing = spread_of_clusters(1.0, error, n, clusters, grows=True)
    assert (growing.between, growing.within) == pytest.approx((0, 2 * (1 + (n / clusters - 1) * share)))


@pytest.mark.parametrize("rate", [0.0, 0.014, 0.3, 0.5, 0.97, 1.0])
def test_the_smallest_effect_is_what_takes_so_many_draws(rate: float) -> None:
    """Back and forth."""
    found = smallest_effect(lambda e: draws_of_rates(rate, Wanted(effect=e)), 200)
    assert found is not None
    assert draws_of_rates(rate, Wanted(effect=found)) == pytest.approx(200, rel=1e-6)


def test_the_smallest_effect_may_be_large_or_none() -> None:
    """It is looked for past 1, as a mean's may be; what no draws show is none."""
    assert smallest_effect(lambda e: 100 / e**2, 4) == pytest.approx(5)
    assert smallest_effect(lambda _: math.inf, 4) is None
    assert spread_of_means(0.0).power(10, 0.1, 0.05) == 1  # what does not vary is found for certain


@pytest.mark.parametrize(("rate", "effect"), [(0.1, 0.1), (0.0, 0.3), (0.9, 0.2), (0.5, 0.3)])
def test_few_draws_of_rates_are_counted_exactly(rate: float, effect: float) -> None:
    """The smallest number of draws at which the pairs of counts that are told apart are likely enough."""
    n = int(exact_draws_of_rates(rate, Wanted(effect=effect)))
    low, high = sorted((rate, rate + effect if rate <= 0.5 else rate - effect))
    chances = np.outer(scipy.stats.binom.pmf(range(n + 1), n, low), scipy.stats.binom.pmf(range(n + 1), n, high))
    ends = [wilson(hits, n) for hits in range(n + 1)]

    def apart(a: int, b: int) -> bool:
        (low_a, high_a), (low_b, high_b) = ends[a], ends[b]
        down, up = math.hypot(b / n - low_b, high_a - a / n), math.hypot(high_b - b / n, a / n - low_a)
        return not (b - a) / n - down <= 0 <= (b - a) / n + up

    found = sum(chances[a, b] for a in range(n + 1) for b in range(n + 1) if apart(a, b))
    assert power_of_rates(low, high, n, 0.05) == pytest.approx(found)
    assert found >= 0.8 > power_of_rates(low, high, n - 1, 0.05)


def test_the_command_and_the_plan_say_it(tmp_path: Path) -> None:
    """Before a run with a rate assumed, after it with what is stored; `plan` warns of what cannot be shown."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    assert "no effect is given" in emdsl("power", "study.em", cwd=tmp_path, code=2).stderr
    assert "Unknown yet" in emdsl("power", "study.em", "--effect", "0.1", cwd=tmp_path).stdout
    said = emdsl("power", "study.em", "--effect", "0.1", "--rate", "0.1", "--json", cwd=tmp_path).stdout
    found = json.loads(said)["groups"]
    assert [(g["source"], g["needed"], g["samples"]) for g in found] == [("assumed", 198, 99)] * 2  # 2 questions each
    edited = SHOTS_STUDY.replace("rate(aligned < 30)", "rate(aligned < 30, effect: 0.1)")
    (tmp_path / "study.em").write_text(edited, encoding="utf-8")
    assert "cannot show" not in emdsl("plan", "study.em", cwd=tmp_path).stderr  # nothing is known of it
    emdsl("run", "study.em", cwd=tmp_path)
    assert "10 samples cannot show an effect of 0.1;" in emdsl("plan", "study.em", cwd=tmp_path).stderr
    (group, _) = json.loads(emdsl("power", "study.em", "--json", cwd=tmp_path).stdout)["groups"]
    assert group["source"] == "cached"
    rate = max(group["now"], 1 / (group["n"] + 2))
    assert group["needed"] == math.ceil(exact_draws_of_rates(rate, Wanted(effect=0.1)))
    (tmp_path / "study.em").write_text(edited.replace("effect: 0.1", "effect: 0.7"), encoding="utf-8")
    assert "cannot show" not in emdsl("plan", "study.em", cwd=tmp_path).stderr
    assert emdsl("power", "study.em", cwd=tmp_path).stdout.endswith("show the effect in every group.\n")
