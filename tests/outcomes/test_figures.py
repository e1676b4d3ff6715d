"""Contrasts, quantiles and agreement: the SQL against the same figures computed by hand, row by row."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
import scipy.stats
from support import InProcess, program, run

from emdsl.outcomes import database, loading
from emdsl.query import Response
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import Missing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emdsl.query import Query

Z = statistics.NormalDist().inv_cdf(0.975)
STUDY = """
rubric score(answer, n) from "sim/judge" {
  scale = 0..100
  user "{n} {answer}"
}
rubric label(answer, n) from "sim/judge" {
  choices = ["good", "bad", "odd"]
  user "{n} {answer}"
}
experiment e {
  for side in { left: 1, right: 2 }
  for group in ["g", "h"]
  for q in 1..6
  samples = 4
  ask answer from "sim/subject" with "{side} {group} {q}"
  judge v with score(answer, 1)
  judge w with score(answer, 2)
  judge a with label(answer, 3)
  judge b with label(answer, 4)
  measure m = contrast(rate(v < 40 given w > 20), side is left, side is right) by group
  measure n = contrast(mean(v), side is left, side is right)
  measure o = quantile(v given w > 20, 0.25) by group
  measure p = agreement(a, b) by group
  measure r = agreement(v, w) by side
  measure s = contrast(mean(v given side is left), side is left, side is right)
}
"""


class Varied(InProcess):
    """Scores and labels that depend on the question, and on chance; some replies say nothing."""

    async def ask(self, query: Query, *_: Any) -> Response:
        rng = random.Random(query.key)
        text = query.prompt.messages[0].text
        if query.settings.model.wire_name == "subject":
            return Response(text=f"{text} {rng.random()}", finish="stop")
        if text[0] in "34":
            return Response(text=rng.choice(["good", "bad", "odd", "good", "neither nor"]), finish="stop")
        hard = 10 * int(text.split()[3])
        return Response(text=rng.choice([str(min(100, hard + rng.randint(0, 50))), "?"]), finish="stop")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return every measure's rows, and every outcome as its coordinates and values."""
    folder: Path = tmp_path_factory.mktemp("figures")
    (found,) = program(STUDY).experiments
    store = MemoryStore()
    run(STUDY, store, Varied())
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    assert not loading.load(folder, load, [(found, collect(Rows(found), store, {}))])
    measures = {}
    with database.opened(folder, "s") as (connection, _):
        for measure in found.measures:
            result = database.measure_rows(connection, "s", measure.name)
            assert result is not None
            measures[measure.name] = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    rows = []
    for outcome in (o for chunk in collect(Rows(found), store, {}) for o in chunk):
        values = {k: None if isinstance(outcome.frame[k], Missing) else outcome.frame[k] for k in "vwab"}
        at = {x.name: x.levels[i].shown for x, i in zip(found.axes, outcome.cell, strict=True)}
        rows.append({**at, "sample": outcome.sample, **values})
    assert len(rows) == 96
    return measures, rows


def close(found: float | None, wanted: float | None) -> None:
    assert found is not None
    assert wanted is not None
    assert math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)


def contrast(kept: Sequence[tuple[str, Any, float]]) -> tuple[float, float, int]:
    """Return a difference, half its interval and its pairs, from (side, unit, value)."""
    mean = {s: statistics.fmean(x for t, _, x in kept if t == s) for s in ("left", "right")}
    n = Counter(s for s, _, _ in kept)
    shares: dict[Any, float] = defaultdict(float)
    for side, unit, value in kept:
        shares[unit] += (value - mean[side]) / n[side] * (1 if side == "left" else -1)
    sides = defaultdict(set)
    for side, unit, _ in kept:
        sides[unit].add(side)
    variance = sum(x * x for x in shares.values()) * len(shares) / (len(shares) - 1)
    quantile = float(scipy.stats.t.ppf(0.975, len(shares) - 1))
    return mean["left"] - mean["right"], quantile * math.sqrt(variance), sum(len(s) == 2 for s in sides.values())


def test_contrasts(loaded: Any) -> None:
    """Paired by question and sample; what is missing or not given is left out; the interval is the paired one."""
    measures, rows = loaded
    for row in measures["m"]:
        mine = [r for r in rows if r["group"] == row["group"]]
        kept = [
            (r["side"], (r["q"], r["sample"]), float(r["v"] < 40))
            for r in mine
            if r["w"] is not None and r["w"] > 20 and r["v"] is not None
        ]
        difference, half, pairs = contrast(kept)
        close(row["contrast"], difference)
        close(row["low"], max(-1.0, difference - half))
        close(row["high"], min(1.0, difference + half))
        assert (row["n_pairs"], row["n"], row["n_planned"]) == (pairs, len(kept), 48)
    every = [(r["side"], (r["group"], r["q"], r["sample"]), r["v"]) for r in rows if r["v"] is not None]
    difference, half, pairs = contrast(every)
    (row,) = measures["n"]
    close(row["contrast"], difference)
    close(row["high"] - row["low"], 2 * half)
    assert row["n_pairs"] == pairs


def test_a_side_without_rows_has_no_figure(loaded: Any) -> None:
    """No pairs, no difference: nothing is made up."""
    (row,) = loaded[0]["s"]
    assert (row["contrast"], row["low"], row["high"], row["n_second"], row["n_pairs"]) == (None, None, None, 0, 0)


def test_quantiles(loaded: Any) -> None:
    """The value, and order statistics on both sides of it."""
    measures, rows = loaded
    for row in measures["o"]:
        values = sorted(
            r["v"] for r in rows if r["group"] == row["group"] and None not in (r["v"], r["w"]) and r["w"] > 20
        )
        n = len(values)
        at = (n - 1) * 0.25
        low = values[math.floor(at)]
        close(row["quantile"], low + (values[math.ceil(at)] - low) * (at - math.floor(at)))
        half = Z * math.sqrt(n * 0.25 * 0.75)
        first, last = math.floor(n * 0.25 - half), math.ceil(n * 0.25 + half) + 1
        if first < 1:
            assert row["low"] is None, "the interval runs past the least value"
        else:
            close(row["low"], values[first - 1])
        close(row["high"], values[last - 1])


def test_agreement_of_labels_is_kappa(loaded: Any) -> None:
    """Cohen's kappa with its interval."""
    measures, rows = loaded
    for row in measures["p"]:
        pairs = [(r["a"], r["b"]) for r in rows if r["group"] == row["group"] and None not in (r["a"], r["b"])]
        n = len(pairs)
        same = sum(a == b for a, b in pairs) / n
        left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
        chance = sum(left[x] * right[x] for x in left) / n**2
        close(row["agreement"], (same - chance) / (1 - chance))
        close(row["agreement"] - row["low"], Z * math.sqrt(same * (1 - same) / n) / (1 - chance))
        close(row["same"], same)


def test_agreement_of_scores_is_alpha(loaded: Any) -> None:
    """Krippendorff's alpha, by its definition: observed over expected disagreement of all pairs of values."""
    measures, rows = loaded
    for row in measures["r"]:
        pairs = [(r["v"], r["w"]) for r in rows if r["side"] == row["side"] and None not in (r["v"], r["w"])]
        values = [x for pair in pairs for x in pair]
        observed = statistics.fmean((a - b) ** 2 for a, b in pairs)
        n = len(values)
        expected = sum((x - y) ** 2 for i, x in enumerate(values) for j, y in enumerate(values) if i != j) / (
            n * (n - 1)
        )
        close(row["agreement"], 1 - observed / expected)


def test_the_interval_of_a_contrast_covers(tmp_path: Path) -> None:
    """By simulation of the formula: 93-97 % where units share an effect that pairing takes out."""
    rng = random.Random(7)
    hits = n_studies = 0
    for _ in range(1500):
        kept = []
        for unit in range(60):
            effect = rng.gauss(0, 3)
            kept += [("left", unit, effect + rng.gauss(1, 1)), ("right", unit, effect + rng.gauss(0, 1))]
        difference, half, _ = contrast(kept)
        hits += abs(difference - 1) <= half
        n_studies += 1
    assert 0.93 <= hits / n_studies <= 0.97
