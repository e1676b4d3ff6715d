"""Planning: how many draws an effect takes, against statsmodels and against studies that are made up."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import power_proportions_2indep
from support import SHOTS, SHOTS_STUDY, emdsl

from emdsl.outcomes.power import (
    Clustering,
    Wanted,
    clustered,
    clustering,
    draws_of_contrast,
    draws_of_means,
    draws_of_rates,
    smallest_effect,
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


@pytest.mark.parametrize("sd", [0.5, 30.0])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_means_have_the_power_that_is_asked_for(sd: float, alpha: float) -> None:
    """As statsmodels' normal power, to the digit."""
    n = draws_of_means(sd, Wanted(effect=sd / 5, power=0.9, alpha=alpha))
    assert NormalIndPower().power(0.2, n, alpha) == pytest.approx(0.9, abs=1e-6)


def test_made_up_studies_find_the_effect_as_often_as_is_said() -> None:
    """2,000 studies of two rates, and of two means whose draws are alike within clusters: 80 % find it."""
    rng = np.random.default_rng(7)
    n = math.ceil(draws_of_rates(0.1, Wanted(effect=0.1)))
    first, second = rng.binomial(n, 0.1, 2_000) / n, rng.binomial(n, 0.2, 2_000) / n
    pooled = (first + second) / 2
    z = (second - first) / np.sqrt(2 * pooled * (1 - pooled) / n)
    assert 0.77 < float((z > 1.96).mean()) < 0.83
    share, clusters = 0.1, 40
    plain = draws_of_means(1.0, Wanted(effect=0.3))
    size = math.ceil(clustered(plain, 400, Clustering(share=share, n=clusters, grows=False)) / clusters)
    assert size > plain / clusters

    def means(shift: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        between = rng.normal(0, math.sqrt(share), (2_000, clusters))
        return between + rng.normal(shift, math.sqrt((1 - share) / size), (2_000, clusters))

    a, b = means(0), means(0.3)
    error = np.sqrt((a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / clusters)
    assert 0.76 < float(((b.mean(axis=1) - a.mean(axis=1)) / error > 1.96).mean()) < 0.84


def test_clusters_are_worth_less_and_may_never_do() -> None:
    """The share of variance between clusters comes back from a variance; too few of them are never enough."""
    share, n, clusters = 0.25, 400, 40
    design = 1 + (n / clusters - 1) * share
    found = clustering(design * 0.01, 0.01, n, clusters, grows=False)
    assert found.share == pytest.approx(share)
    assert clustered(100, n, found) == pytest.approx(clusters * (1 - share) / (clusters / 100 - share))
    assert clustered(200, n, found) == math.inf  # 40 clusters / 0.25 are 160 draws' worth, at most
    assert clustered(200, n, clustering(design * 0.01, 0.01, n, clusters, grows=True)) == pytest.approx(200 * design)
    assert clustered(100, n, clustering(0.01, 0.01, n, clusters, grows=False)) == pytest.approx(100)


@pytest.mark.parametrize("rate", [0.0, 0.014, 0.3, 0.5, 0.97, 1.0])
def test_the_smallest_effect_is_what_takes_so_many_draws(rate: float) -> None:
    """Back and forth; half the effect takes about four times the draws of a contrast."""
    found = smallest_effect(lambda e: draws_of_rates(rate, Wanted(effect=e)), 200)
    assert found is not None
    assert draws_of_rates(rate, Wanted(effect=found)) == pytest.approx(200, rel=1e-6)
    assert draws_of_contrast(0.02, 100, Wanted(effect=0.025)) == pytest.approx(
        4 * draws_of_contrast(0.02, 100, Wanted(effect=0.05))
    )


def test_the_command_and_the_plan_say_it(tmp_path: Path) -> None:
    """Before a run with a rate assumed, after it with what is stored; `plan` warns of what cannot be shown."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    assert "which effect?" in emdsl("power", "study.em", cwd=tmp_path, code=2).stderr
    assert "Not known yet" in emdsl("power", "study.em", "--effect", "0.1", cwd=tmp_path).stdout
    said = emdsl("power", "study.em", "--effect", "0.1", "--rate", "0.1", "--json", cwd=tmp_path).stdout
    found = json.loads(said)["groups"]
    assert [(g["source"], g["needed"], g["samples"]) for g in found] == [("assumed", 199, 100)] * 2  # 2 questions each
    edited = SHOTS_STUDY.replace("rate(aligned < 30)", "rate(aligned < 30, effect: 0.1)")
    (tmp_path / "study.em").write_text(edited, encoding="utf-8")
    assert "cannot show" not in emdsl("plan", "study.em", cwd=tmp_path).stderr  # nothing is known of it
    emdsl("run", "study.em", cwd=tmp_path)
    assert "10 samples cannot show an effect of 0.1; it takes" in emdsl("plan", "study.em", cwd=tmp_path).stderr
    (group, _) = json.loads(emdsl("power", "study.em", "--json", cwd=tmp_path).stdout)["groups"]
    assert group["source"] == "stored"
    rate = max(group["now"], 1 / (group["n"] + 2))
    assert group["needed"] == math.ceil(draws_of_rates(rate, Wanted(effect=0.1)))
    (tmp_path / "study.em").write_text(edited.replace("effect: 0.1", "effect: 0.7"), encoding="utf-8")
    assert "cannot show" not in emdsl("plan", "study.em", cwd=tmp_path).stderr
    assert emdsl("power", "study.em", cwd=tmp_path).stdout.endswith("show it in every group.\n")
