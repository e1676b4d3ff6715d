"""Intervals by clusters, through a study, against statsmodels, scipy and numerical derivatives."""

from __future__ import annotations

import dataclasses
import math
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pytest
import scipy.stats
from measured import measured
from statsmodels.regression.linear_model import OLS

from emdsl.experiment import Clusters, Interval
from emdsl.outcomes.clustered import ASSUMED, HALF_ASSUMED, effective
from emdsl.outcomes.comparisons import Compared, Sides
from emdsl.outcomes.intervals import newcombe, wilson
from emdsl.outcomes.macros import macros_sql
from emdsl.outcomes.spread import Spread, Way
from emdsl.study.tables import interval_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from emdsl.experiment import Experiment

    Array = NDArray[np.float64]

QUESTIONS = [f"q{i}" for i in range(12)]
MEASURES = {
    "rate": ("rate(v < 30)", "k"),
    "never": ("rate(v < 0)", "k"),
    "rare": ("rate(v < 3)", "k"),
    "common": ("rate(v >= 3)", "k"),
    "wald": ("rate(v < 30, interval: wald(0.9))", "k"),
    "coull": ("rate(v < 30, interval: agresti_coull(0.9))", "k"),
    "exact": ("rate(v < 30, interval: clopper_pearson(0.9))", "k"),
    "crossed": ("rate(v < 30, interval: wilson(0.95, cluster: [q, sample]))", "k"),
    "topics": ("rate(v < 30, interval: wilson(0.95, cluster: topic))", "k"),
    "pooled": ("rate(v < 30, interval: wilson(0.95, cluster: none))", "k"),
    "mean": ("mean(v)", "k"),
    "mean_crossed": ("mean(v, interval: wald(0.95, cluster: [q, sample]))", "k"),
    "cells": ("at_least(v < 30, 1)", "k"),
    "median": ("quantile(v, 0.5)", "k"),
    "lowest": ("quantile(v, 0.02)", "k"),
    "slope": ("slope(mean(v), k)", "data"),
    "kappa": ("agreement(v < 30, w < 30)", "k"),
    "alpha": ("agreement(v, w)", "k"),
    "by_q": ("rate(v < 30)", "q"),
    "few": ("rate(v < 30, interval: wilson(0.95, cluster: data))", "k"),
}
STUDY = f"""
experiment e {{
  for k in [0, 8, 32]
  for data in {{ a: "x", b: "y" }}
  for q in {QUESTIONS}
  samples = 4
  let topic = if q in ["q0", "q1", "q2"] then "first" else if q in ["q3", "q4"] then "second" else "third"
  ask a from "sim/subject" with "{{k}} {{data}} {{q}}"
  judge v with score("1 {{k}} {{data}} {{q}} {{sample}}")
  judge w with score("2 {{k}} {{data}} {{q}} {{sample}}")
  {"  ".join(f"measure m_{name} = {call} by {by}{chr(10)}" for name, (call, by) in MEASURES.items())}
}}
""".replace("'", '"')


def reply(judge: str, k: str, data: str, q: str, sample: str) -> str:
    """Return a score that differs by question and by sample; some cannot be read, more of some questions."""
    rng = random.Random(f"{k} {data} {q} {sample}")
    own = random.Random(f"{judge} {k} {data} {q} {sample}")
    if own.random() < (0.4 if q == "q3" else 0.05):
        return "nothing"
    value = 40 + 14 * random.Random(q).gauss(0, 1) + 12 * random.Random(f"set {sample}").gauss(0, 1) - int(k) / 4
    return str(round(max(0, min(100, value + 10 * rng.gauss(0, 1) + 5 * own.gauss(0, 1)))))


@pytest.fixture(scope="module")
def loaded() -> tuple[Experiment, dict[str, list[dict[str, Any]]], list[str]]:
    """Return the study with the rows of its tables."""
    return measured(STUDY, reply)


def cr1(y: Sequence[float], groups: Sequence[Sequence[str]], x: Array | None = None) -> float:
    """Return the cluster-robust standard error of the last coefficient of a regression, by statsmodels.

    Its correction for the number of regressors, (N - 1) / (N - K), is left out. Of two ways, it is at least that of
    their combinations.
    """
    x = np.ones((len(y), 1)) if x is None else x
    codes = np.column_stack([np.unique(g, return_inverse=True)[1] for g in groups])
    if len(groups) > 1:
        fit = OLS(np.array(y), x).fit(cov_type="cluster", cov_kwds={"groups": codes})
        return float(np.nanmax([fit.bse[-1], cr1(y, [[" ".join(both) for both in zip(*groups, strict=True)]], x)]))
    fit = OLS(np.array(y), x).fit(cov_type="cluster", cov_kwds={"groups": codes[:, 0], "use_correction": False})
    n = len(set(groups[0]))
    return float(fit.bse[-1]) * math.sqrt(n / (n - 1))


def freedom(y: Sequence[float], groups: Sequence[Sequence[str]]) -> float:
    """Return the degrees of freedom of a mean: of two ways Satterthwaite's, at least those of the smaller one."""
    numbers = [len(set(g)) - 1 for g in groups]
    parts = sum(cr1(y, [g]) ** 4 / n for g, n in zip(groups, numbers, strict=True))
    return max(min(numbers), cr1(y, groups) ** 4 / parts if len(groups) > 1 and parts else 0.0)


def expected(rate: float, n: int, error: float, groups: Sequence[Sequence[str]], level: float, freedom: float) -> float:
    """Return the effective number of draws of a rate: see `emdsl/outcomes/clustered.py`."""
    observed = max(1.0, error**2 / (rate * (1 - rate) / n)) if 0 < rate < 1 else 1.0
    ratio = scipy.stats.t.ppf(0.5 + level / 2, freedom) / scipy.stats.norm.ppf(0.5 + level / 2)
    assumed = 1.0
    for names in groups:
        sizes = np.unique(names, return_counts=True)[1]
        assumed += max(0.0, (sizes**2).sum() / n - 1) * ASSUMED * len(sizes) / (len(sizes) + HALF_ASSUMED)
    events = min(rate, 1 - rate) * n
    return n / max(1.0, float(2 * assumed + events * ratio**2 * observed) / (2 + events))


def score(rate: float, n: float, level: float) -> tuple[float, float]:
    """Return Wilson's interval as the roots of its equation, the outer end by the beta distribution if farther."""
    z = scipy.stats.norm.ppf(0.5 + level / 2)
    low, high = sorted(np.roots([1 + z * z / n, -(2 * rate + z * z / n), rate * rate]).real)
    tail = (1 - level) / 2
    if rate <= 0.5:
        return max(0.0, min(low, beta(tail, rate * n, n - rate * n + 1))), high
    return low, max(high, beta(1 - tail, rate * n + 1, n - rate * n))


def beta(p: float, a: float, b: float) -> float:
    return float(scipy.stats.beta.ppf(p, a, b)) if a > 0 and b > 0 else float(p > 0.5)


def kept(rows: list[dict[str, Any]], **where: Any) -> list[dict[str, Any]]:
    return [r for r in rows if r["v"] is not None and all(r[k] == x for k, x in where.items())]


def names(rows: list[dict[str, Any]], *columns: str) -> list[list[str]]:
    return [[str(r[c]) for r in rows] for c in columns]


@pytest.mark.parametrize(
    ("measure", "holds", "clusters", "level"),
    [
        ("rate", lambda v: v < 30, ["q"], 0.95),
        ("never", lambda v: v < 0, ["q"], 0.95),
        ("rare", lambda v: v < 3, ["q"], 0.95),
        ("common", lambda v: v >= 3, ["q"], 0.95),
        ("crossed", lambda v: v < 30, ["q", "sample"], 0.95),
        ("topics", lambda v: v < 30, ["topic"], 0.95),
        ("coull", lambda v: v < 30, ["q"], 0.9),
        ("exact", lambda v: v < 30, ["q"], 0.9),
    ],
)
def test_rates(loaded: Any, measure: str, holds: Callable[[int], bool], clusters: list[str], level: float) -> None:
    """The effective number of draws, in the formula of each method; error and design effect by statsmodels."""
    _, tables, _ = loaded
    for row in tables[f"m_{measure}"]:
        mine = kept(tables["e"], k=row["k"])
        y, groups = [float(holds(r["v"])) for r in mine], names(mine, *clusters)
        error, n, rate = cr1(y, groups), len(y), float(np.mean(y))
        number = expected(rate, n, error, groups, level, freedom(y, groups))
        assert (row["rate"], row["n"], row["clusters"]) == (rate, n, min(len(set(g)) for g in groups))
        assert row["clustered_by"] == " and ".join(clusters)
        assert row["se"] == pytest.approx(error, abs=1e-9)
        if error > 1e-9:
            assert row["design_effect"] == pytest.approx(error**2 / (np.var(y) / (n - 1)))
        else:
            assert row["design_effect"] is None
        ends = score(rate, number, level)
        if measure == "exact":
            tail, hits = (1 - level) / 2, rate * number
            ends = beta(tail, hits, number - hits + 1), beta(1 - tail, hits + 1, number - hits)
        elif measure == "coull":
            z = scipy.stats.norm.ppf(0.5 + level / 2)
            centre = (rate * number + z * z / 2) / (number + z * z)
            half = z * math.sqrt(centre * (1 - centre) / (number + z * z))
            ends = centre - half, centre + half
        assert (row["low"], row["high"]) == pytest.approx(ends, abs=1e-9)
        assert 0 <= row["low"] <= row["rate"] <= row["high"] <= 1
        assert row["low"] < row["high"]


def student(value: float, error: float, freedom: float, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of Student's distribution."""
    half = float(scipy.stats.t.ppf(0.5 + level / 2, freedom)) * error
    return value - half, value + half


def test_a_wald_interval_of_a_rate_is_students(loaded: Any) -> None:
    """As that of a regression in any package, cut to 0 and 1."""
    _, tables, _ = loaded
    for row in tables["m_wald"]:
        mine = kept(tables["e"], k=row["k"])
        y = [float(r["v"] < 30) for r in mine]
        low, high = student(float(np.mean(y)), cr1(y, names(mine, "q")), 11, 0.9)
        assert (row["low"], row["high"]) == pytest.approx((max(0.0, low), min(1.0, high)), abs=1e-9)


@pytest.mark.parametrize(("measure", "clusters"), [("mean", ["q"]), ("mean_crossed", ["q", "sample"])])
def test_means(loaded: Any, measure: str, clusters: list[str]) -> None:
    """By the cluster-robust regression on a constant: one way, and two ways that cross."""
    _, tables, _ = loaded
    for row in tables[f"m_{measure}"]:
        mine = kept(tables["e"], k=row["k"])
        y, groups = [float(r["v"]) for r in mine], names(mine, *clusters)
        error = cr1(y, groups)
        assert row["se"] == pytest.approx(error, rel=1e-9)
        ends = student(float(np.mean(y)), error, freedom(y, groups))
        assert (row["low"], row["high"]) == pytest.approx(ends, rel=1e-9)


def test_shares_of_cells(loaded: Any) -> None:
    """The units of `at_least` are cells, and cells of one question are a cluster."""
    _, tables, _ = loaded
    for row in tables["m_cells"]:
        cells: dict[tuple[str, str], list[bool]] = {}
        for r in kept(tables["e"], k=row["k"]):
            cells.setdefault((r["data"], r["q"]), []).append(r["v"] < 30)
        y = [float(any(holds)) for holds in cells.values()]
        error = cr1(y, [[q for _, q in cells]])
        low, high = student(float(np.mean(y)), error, 11)
        assert (row["n"], row["clusters"], row["clustered_by"]) == (len(cells), 12, "q")
        assert (row["low"], row["high"]) == pytest.approx((max(0.0, low), min(1.0, high)), abs=1e-9)


@pytest.mark.parametrize(("measure", "at"), [("median", 0.5), ("lowest", 0.02)])
def test_quantiles(loaded: Any, measure: str, at: float) -> None:
    """Woodruff's interval: the values at both ends of the clustered interval of the share below, none beyond them."""
    _, tables, _ = loaded
    for row in tables[f"m_{measure}"]:
        mine = kept(tables["e"], k=row["k"])
        values = sorted(float(r["v"]) for r in mine)
        n, value, groups = len(values), float(np.quantile(values, at)), names(mine, "q")
        below = [float(r["v"] <= value) - at for r in mine]
        totals = [sum(b for b, q in zip(below, groups[0], strict=True) if q == g) for g in sorted(set(groups[0]))]
        error = math.sqrt(12 / 11 * sum(t * t for t in totals)) / n
        low, high = score(at, expected(at, n, error, groups, 0.95, 11), 0.95)
        first, last = math.floor(low * n), math.floor(high * n) + 1
        assert row["quantile"] == pytest.approx(value)
        assert row["low"] == (values[first - 1] if first >= 1 else None)
        assert row["high"] == (values[last - 1] if last <= n else None)
        assert row["clustered_by"] == "q"


def test_slopes(loaded: Any) -> None:
    """By the regression on the axis, with clusters of questions."""
    _, tables, _ = loaded
    for row in tables["m_slope"]:
        mine = kept(tables["e"], data=row["data"])
        y, x = [float(r["v"]) for r in mine], np.array([(1.0, float(r["k"])) for r in mine])
        error = cr1(y, names(mine, "q"), x)
        assert row["slope"] == pytest.approx(OLS(np.array(y), x).fit().params[1], rel=1e-9)
        assert row["se"] == pytest.approx(error, rel=1e-9)
        assert (row["low"], row["high"]) == pytest.approx(student(row["slope"], error, 11), rel=1e-9)


def kappa(a: Array, b: Array, weights: Array) -> float:
    """Return Cohen's kappa of weighted pairs."""
    same, n = (weights * (a == b)).sum(), weights.sum()
    chance = sum((weights * (a == x)).sum() * (weights * (b == x)).sum() for x in (0, 1)) / n**2
    return float((same / n - chance) / (1 - chance))


def alpha(a: Array, b: Array, weights: Array) -> float:
    """Return Krippendorff's alpha of weighted pairs; the number of pairs in its correction stays as it is."""
    both, twice = np.concatenate([a, b]), np.concatenate([weights, weights])
    centre = (twice * both).sum() / twice.sum()
    variance = (twice * (both - centre) ** 2).sum() / twice.sum()
    observed = (weights * (a - b) ** 2).sum() / weights.sum()
    return float(1 - observed / (2 * variance * len(both) / (len(both) - 1)))


def test_agreement(loaded: Any) -> None:
    """By numerical derivatives: how much each question moves kappa and alpha if it counts a little more."""
    _, tables, _ = loaded
    for measure, of, value in (("kappa", kappa, lambda x: float(x < 30)), ("alpha", alpha, float)):
        for row in tables[f"m_{measure}"]:
            mine = [r for r in kept(tables["e"], k=row["k"]) if r["w"] is not None]
            a, b = (np.array([value(r[c]) for r in mine]) for c in "vw")
            one, step = np.ones(len(mine)), 1e-5
            shares = []
            for q in QUESTIONS:
                bump = step * np.array([r["q"] == q for r in mine], dtype=float)
                shares.append((of(a, b, one + bump) - of(a, b, one - bump)) / (2 * step))
            error = math.sqrt(12 / 11 * sum(s * s for s in shares))
            assert row["agreement"] == pytest.approx(of(a, b, one), rel=1e-9)
            assert row["se"] == pytest.approx(error, rel=1e-6)
            low, high = student(row["agreement"], error, 11)
            assert (row["low"], row["high"]) == pytest.approx((max(-1.0, low), min(1.0, high)), rel=1e-6)


def test_groups_and_options_without_clusters(loaded: Any) -> None:
    """`by` the cluster, and `cluster: none`: the interval of independent draws, and what the head of a table says."""
    study, tables, _ = loaded
    for measure, column in (("pooled", "k"), ("by_q", "q")):
        for row in tables[f"m_{measure}"]:
            y = [r["v"] < 30 for r in kept(tables["e"], **{column: row[column]})]
            z, n = scipy.stats.norm.ppf(0.975), len(y)
            rate = sum(y) / n
            ends = sorted(np.roots([1 + z * z / n, -(2 * rate + z * z / n), rate * rate]).real)
            assert (row["low"], row["high"]) == pytest.approx(ends, abs=1e-7)
            assert (row["clusters"], row["clustered_by"], row["design_effect"]) == (n, None, None)
            assert row["se"] == pytest.approx(math.sqrt(rate * (1 - rate) / (n - 1)))
    heads = {m.name: interval_of(m, tables[m.name]) for m in study.measures}
    assert heads["m_rate"] == "95 % wilson, clustered by q"
    assert heads["m_crossed"] == "95 % wilson, clustered by q and sample"
    assert heads["m_pooled"] == "95 % wilson, these items only"
    assert heads["m_by_q"] == "95 % wilson"


def test_clusters_that_are_named_need_no_minimum(loaded: Any) -> None:
    """Two clusters that somebody asked for have an interval, as wide as two clusters make it."""
    _, tables, _ = loaded
    for row in tables["m_few"]:
        assert (row["clusters"], row["clustered_by"]) == (2, "data")
        assert row["high"] - row["low"] > 0.3


UNEVEN = """
experiment e {
  for k in [0, 8]
  for d in ["x", "y"]
  for q in ["q0", "q1", "q2", "q3", "q4", "q5"]
  skip when d == "y" and q in ["q1", "q2", "q3", "q4"]
  samples = 5
  ask a from "sim/subject" with "{k} {d} {q}"
  judge v with score("1 {k} {d} {q} {sample}")
  measure low = rate(v < 30) by d
  measure score = mean(v) by d
  measure trend = slope(mean(v), k) by d
  measure gap = contrast(mean(v), d is x, d is y)
}
"""


def test_a_group_with_few_detected_clusters_goes_without() -> None:
    """Six questions are clusters, two are not: the head says both, and a slope keeps its own formula."""
    study, tables, _ = measured(UNEVEN, reply)
    assert interval_of(study.measures[0], tables["low"]) == "95 % wilson, clustered by q or not"
    *grouped, gap = study.measures
    for m in grouped:
        assert [r["clustered_by"] for r in tables[m.name]] == ["q", None]
    (row,) = tables["gap"]  # six questions on one side do not make up for two on the other
    assert (row["clustered_by"], interval_of(gap, [row])) == (None, "95 % wald, these items only")
    mine = kept(tables["e"], d="y")
    y, x = np.array([float(r["v"]) for r in mine]), np.array([(1.0, float(r["k"])) for r in mine])
    fit = OLS(y, x).fit(cov_type="HC1", use_t=True)
    row = tables["trend"][1]
    assert (row["se"], row["low"], row["high"]) == pytest.approx((fit.bse[1], *fit.conf_int()[1]), rel=1e-9)
    ends = scipy.stats.t.interval(0.95, len(y) - 1, y.mean(), scipy.stats.sem(y))
    row = tables["score"][1]
    assert (row["se"], row["low"], row["high"]) == pytest.approx((scipy.stats.sem(y), *ends), rel=1e-9)


def test_too_few_sets_are_told_in_the_head() -> None:
    """Two of twelve samples are loaded: the interval leaves out how much sets differ."""
    study, tables, _ = measured(UNEVEN, reply)
    measure, row = study.measures[0], tables["low"][0]
    assert measure.interval is not None
    clusters = Clusters(names=("q", "sample"), detected=True)
    crossed = dataclasses.replace(measure, interval=dataclasses.replace(measure.interval, clusters=clusters))
    assert interval_of(crossed, [row]) == "95 % wilson, clustered by q, these samples only"


@pytest.mark.parametrize(("sides", "p"), [((1.0, 0.0), 2.0**-5), ((0.0, 0.0), 1.0)])
def test_clusters_that_agree_are_few_draws(sides: tuple[float, float], p: float) -> None:
    """Six questions of twenty answers each, all alike: no more certain than six signs, and wider than 120 draws."""
    measure = SimpleNamespace(of="rate", scale="difference", interval=Interval(method="wald", level=0.95))
    way = Way(6, 0.0, 6 * 40.0**2)
    spread = Spread(alone=Way(120, 0.0, 120.0), names=("q",), ways=(way,))
    compared = Compared(value=sides[0] - sides[1], measure=measure, sides=Sides(sides, (120, 120)), spread=spread)  # type: ignore[arg-type]  # the fields that are read
    low, high = compared.interval
    plain = newcombe(sides[0], 120, sides[1], 120, 0.95)
    assert low is not None
    assert high is not None
    assert compared.p == p
    assert high - low > 1.4 * (plain.high - plain.low)


def test_one_cluster_has_no_interval() -> None:
    """One question says nothing about others, whatever the function."""
    functions = {
        "m0": "rate(v < 30)", "m1": "mean(v)", "m2": "at_least(v < 30, 1)", "m3": "quantile(v, 0.5)",
        "m4": "slope(mean(v), k)", "m5": "agreement(v < 30, v < 40)", "m6": "contrast(rate(v < 30), k, versus: 0)",
        "m7": "rate(v < 30, interval: bootstrap(0.95))",
    }  # fmt: skip
    text = UNEVEN.replace('["q0", "q1", "q2", "q3", "q4", "q5"]', '["q0"]').replace(
        "samples = 5", "samples = 5\ncluster = q"
    )
    text = text[: text.index("  measure")] + "\n".join(f"measure {n} = {m}" for n, m in functions.items()) + "\n}\n"
    text = text.replace('  skip when d == "y" and q in ["q1", "q2", "q3", "q4"]\n', "")
    _, tables, notices = measured(text, reply)
    for name in functions:
        for row in tables[name]:
            assert (row["low"], row["high"], row["clusters"], row["clustered_by"]) == (None, None, 1, "q"), name
            assert row["design_effect"] is None
            assert row.get("p") is None
    assert notices == ["measure `m7`: 1 of 1 groups have no interval, as their clusters do not differ"]


def test_the_macro_has_the_same_effective_number() -> None:
    """For any DuckDB client: of the same sums over clusters as `effective`; only the outer end is Wilson's own."""
    rng = random.Random(8)
    designs = [[(rng.randint(0, n), n) for n in (rng.randint(1, 12) for _ in range(c))] for c in (2, 3, 8, 70)]
    designs += [[(0, 10)] * 20, [(10, 10)] * 6, [(0, 10), (1, 10), (0, 3)], [(10, 10), (9, 10), (8, 8), (0, 0)]]
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE SCHEMA emdsl")
        for statement in macros_sql():
            connection.execute(statement)
        for design in designs:
            shown = ", ".join(map(str, design))
            sql = f"SELECT emdsl.clustered_rate(h, n), emdsl.effective_n(h, n) FROM (VALUES {shown}) AS clusters(h, n)"
            ((found, number),) = connection.execute(sql).fetchall()
            some = [(h, n) for h, n in design if n]
            n, rate = sum(m for _, m in some), sum(h for h, _ in some) / sum(m for _, m in some)
            totals = [(h - rate * m) / n for h, m in some]
            variance = len(some) / (len(some) - 1) * sum(t * t for t in totals)
            way = Way(n=len(some), variance=variance, sizes=sum(m * m for _, m in some))
            alone = Way(n=n, variance=rate * (1 - rate) / (n - 1), sizes=n)
            spread = Spread(alone=alone, names=("q",), ways=(way,))
            wanted = effective(rate, n, spread, 0.95)
            assert number == pytest.approx(wanted, rel=1e-9)
            assert (found["rate"], found["n"], found["clusters"]) == (rate, n, len(some))
            assert (found["low"], found["high"]) == pytest.approx(wilson(rate * wanted, wanted), abs=1e-9)
            assert found["design_effect"] == (spread.design_effect and pytest.approx(spread.design_effect))
        for design in ([(1, 10)], [(0, 0)], [(0, 0), (2, 3)]):
            sql = f"SELECT emdsl.clustered_rate(h, n) FROM (VALUES {', '.join(map(str, design))}) AS clusters(h, n)"
            ((found,),) = connection.execute(sql).fetchall()
            assert (found["low"], found["high"], found["design_effect"]) == (None, None, None)
