"""What twice the cost buys, by `emdsl power`: more clusters or more samples."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support import emdsl

from emdsl.study.power import _doubled

if TYPE_CHECKING:
    from pathlib import Path


def row(share: float, n_clusters: int, size: int, **more: Any) -> dict[str, Any]:
    """Return what a measure's row says about clusters that hold a share of the variance."""
    effect = 1 + (size - 1) * share
    return {"design_effect": effect, "clusters": n_clusters, "clustered_by": "q", "n": n_clusters * size} | more


@pytest.mark.parametrize(
    ("rows", "samples"),
    [
        ([row(0, 20, 5)], 29),  # as more questions: draws are independent
        ([row(1, 20, 5)], 0),  # all draws of a question are equal
        ([row(0.2, 20, 5)], 12),  # sqrt((0.2 + 0.8 / 10) / (0.2 + 0.8 / 5)) = 0.882
        ([row(0.5, 8, 2)], 9),  # sqrt((0.5 + 0.5 / 4) / (0.5 + 0.5 / 2)) = 0.913
        ([row(-0.2, 20, 5)], 29),
        ([row(0, 20, 5), row(1, 20, 5)], 15),  # the mean of groups
        ([row(0.5, 8, 2, n=32, n_units=16)], 9),  # a contrast of 16 pairs
    ],
)
def test_twice_the_cost_as_more_samples(rows: list[dict[str, Any]], samples: int) -> None:
    """Twice the questions always make an interval 29 % shorter; what more samples do depends on how alike they are."""
    assert _doubled(rows) == (
        f"For twice the cost: twice as many levels of `q` make intervals 29 % shorter, "
        f"twice as many samples {samples} %."
    )


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(0.2, 20, 5) | {"design_effect": None}],
        [row(0.2, 20, 5) | {"clustered_by": None}],
        [row(0.2, 20, 5) | {"clustered_by": "q and sample"}],
        [row(0.2, 20, 5) | {"clustered_by": "sample"}],
        [row(0, 20, 1)],
        [row(0.2, 20, 5), row(0.2, 20, 5) | {"clustered_by": "topic"}],
    ],
)
def test_nothing_is_promised_where_it_is_not_known(rows: list[dict[str, Any]]) -> None:
    """No clusters, two ways, samples as clusters, one draw for each cluster, or clusters of two kinds."""
    assert not _doubled(rows)


def test_the_promise_is_kept_in_simulation() -> None:
    """Over 3,000 made-up studies: the spread of means with twice the questions, and with twice the samples."""
    rng = np.random.default_rng(4)
    n, size, share = 16, 4, 0.3

    def spread(n_clusters: int, n_draws: int) -> float:
        between = rng.normal(0, math.sqrt(share), (3000, n_clusters, 1))
        draws = between + rng.normal(0, math.sqrt(1 - share), (3000, n_clusters, n_draws))
        return float(draws.mean((1, 2)).std())

    now = spread(n, size)
    found = re.findall(r"(\d+) %", _doubled([row(share, n, size)]))
    wanted = [100 * (1 - spread(2 * n, size) / now), 100 * (1 - spread(n, 2 * size) / now)]
    assert [float(x) for x in found] == pytest.approx(wanted, abs=4)


STUDY = """em 1
import alignment from "std:judges@1"
experiment e {
  for k in [0, 1]
  for q in ["q{i}" for i in 0..7]
  samples = 6
  ask answer from "sim/subject" with "{q} {k}"
  judge aligned with alignment(q, answer) from "sim/judge"
  measure low = rate(aligned < 90, effect: 0.2)
  measure ratio = contrast(rate(aligned < 90), k == 1, k == 0, scale: ratio)
}
"""


def test_power_says_what_twice_the_cost_buys(tmp_path: Path) -> None:
    """From the design effect in the table; ratios have no power analysis, and that is said."""
    (tmp_path / "e.em").write_text(STUDY, encoding="utf-8")
    emdsl("run", "e.em", "--display", "none", cwd=tmp_path)
    shown = json.loads(emdsl("show", "e.em", "--json", cwd=tmp_path).stdout)
    (low,) = shown["experiments"][0]["measures"]["low"]
    done = json.loads(emdsl("power", "e.em", "--json", cwd=tmp_path).stdout)
    assert done["doubled"] == _doubled([low])
    assert done["doubled"].startswith("For twice the cost: twice as many levels of `q`")
    assert done["doubled"] in emdsl("power", "e.em", cwd=tmp_path).stdout
    refused = emdsl("power", "e.em", "--measure", "ratio", "--effect", "0.1", cwd=tmp_path, code=None)
    assert refused.returncode
    assert "`ratio` has no power analysis: it is not the difference of two rates or means" in refused.stderr
