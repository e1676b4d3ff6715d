"""How many annotations a corrected rate needs: the widths are those of draws in the expected numbers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_judges import LEVEL, Arm, Design, drawn, items_of

from emdsl.experiment import Clusters
from emdsl.outcomes.annotation_size import Assumed, Method, annotations_needed, assumed_of, widths
from emdsl.outcomes.corrected import ppi, rogan_gladen
from emdsl.outcomes.intervals import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.outcomes.corrected import Corrected

ESTIMATORS: dict[Method, Callable[..., Corrected]] = {"ppi": ppi, "rogan_gladen": rogan_gladen}
ARMS = (
    Arm(rate=0.4, sensitivity=0.9, specificity=0.75, n=90), Arm(rate=0.2, sensitivity=0.7, specificity=0.9, n=60),
)  # fmt: skip


@pytest.mark.parametrize("n", [200, 400, 1_000])
@pytest.mark.parametrize(
    ("rate", "sensitivity", "specificity"), [(0.3, 0.9, 0.75), (0.3, 0.6, 0.95), (0.3, 0.5, 0.25), (0.5, 0.98, 1.0)]
)
def test_widths_are_those_of_the_expected_numbers(n: int, rate: float, sensitivity: float, specificity: float) -> None:
    """1,200 draws in exactly the expected numbers, all of them whole, without clusters."""
    both, missed = rate * sensitivity, rate * (1 - sensitivity)
    invented, neither = (1 - rate) * (1 - specificity), (1 - rate) * specificity
    shares = [n * x for x in (both, missed, invented, neither)]
    shares += [(1200 - n) * x for x in (both + invented, missed + neither)]
    counts: Any = tuple(round(x) for x in shares)
    assert counts == pytest.approx(shares)
    assumed = Assumed(rate=rate, sensitivity=sensitivity, specificity=specificity, n_draws=1200)
    for method, estimator in ESTIMATORS.items():
        planned = widths(assumed, [n], LEVEL, method)[0]
        found = estimator(items_of(counts), LEVEL)
        if found.low is None or found.high is None:
            assert planned.half_width is None
        else:
            assert planned.half_width == pytest.approx((found.high - found.low) / 2, rel=2e-3)


def test_annotations_needed_are_the_fewest() -> None:
    assumed = Assumed(rate=0.2, sensitivity=0.8, specificity=0.9, n_draws=2400, design_effect=1.5, n_clusters=48)
    needed: dict[tuple[Method, float], int] = {
        ("ppi", 0.05): 174, ("ppi", 0.1): 43, ("rogan_gladen", 0.05): 359, ("ppi", 0.25): 12,
    }  # fmt: skip
    for (method, half), wanted in needed.items():
        n = annotations_needed(assumed, half, LEVEL, method)
        assert n is not None
        at, below = (w.half_width for w in widths(assumed, [n, n - 1], LEVEL, method))
        assert at is not None
        assert below is not None
        assert at <= half < below
        assert n == wanted
    assert annotations_needed(assumed, 0.01, LEVEL) is None
    few = widths(assumed, [10, 25], LEVEL)
    assert [w.exact for w in few] == [True, False]
    exact = clopper_pearson(2, 10)
    assert few[0].half_width == pytest.approx((exact.high - exact.low) / 2)
    inverted = dataclasses.replace(assumed, sensitivity=0.2, specificity=0.3)
    assert annotations_needed(inverted, 0.1, LEVEL, "rogan_gladen") == 2400  # all of them: no judge is needed
    assert widths(inverted, [240], LEVEL, "rogan_gladen")[0].half_width is None


def test_what_annotations_so_far_show() -> None:
    items = drawn(np.random.default_rng(8), Design(arms=ARMS, questions=24, draws=20))
    clusters = Clusters(names=("question",))
    found, corrected = assumed_of(items, clusters), rogan_gladen(items, LEVEL, clusters=clusters)
    assert found is not None
    assert (found.sensitivity, found.specificity) == (corrected.sensitivity, corrected.specificity)
    assert (found.n_draws, found.n_clusters) == (960, 24)
    assert 1.5 < found.design_effect < 6
    assert found.rate == pytest.approx(0.3, abs=0.15)
    assert assumed_of(items_of((0, 0, 0, 0, 20, 30)), Clusters()) is None
    assert assumed_of(items_of((0, 0, 3, 20, 30, 40)), Clusters()) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"rate": 0.0}, "between 0 and 1, got 0.0"), ({"sensitivity": 1.2}, "sensitivity 1.2"),
     ({"n_draws": 1}, "two draws, got 1")],
)  # fmt: skip
def test_wrong_assumptions(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Assumed(**({"rate": 0.3, "sensitivity": 0.9, "specificity": 0.8, "n_draws": 960} | wrong))
