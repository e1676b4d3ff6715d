"""Spreads, correlations, means of means and shares of labels: figures and intervals computed in another way."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from statsmodels.regression.linear_model import OLS, WLS
from told import Loaded, loaded

from emdsl.outcomes.clustered import effective, score_interval
from emdsl.outcomes.spread import Spread, Way

if TYPE_CHECKING:
    from collections.abc import Callable

STUDY = """
experiment e {
  for model in ["a", "b"]
  for q in ["q{i}" for i in 0..6]
  samples = 6
  ask answer from "sim/subject" with "{model}|{q}"
  judge v with score(answer) { samples = 2 }
  judge r with kind(answer)
  measure m_sd = sd(v) by model
  measure m_sd_given = sd(v given r is good)
  measure m_sd_alone = sd(v, interval: wald(0.9, cluster: none)) by model
  measure m_cor = correlation(v, v_2) by model
  measure m_cor_given = correlation(v given r is not bad, v_2, interval: wald(0.9))
  measure rate_q = rate(v < 45, equal: q) by model
  measure rate_model = rate(v < 45, equal: model)
  measure rate_alone = rate(v < 45 given r is good, equal: model, interval: wilson(0.95, cluster: none))
  measure mean_q = mean(v, equal: q)
  measure mean_model = mean(v, equal: model)
  measure m_shares = shares(r) by model
  measure m_shares_given = shares(r given v > 50)
  measure good = rate(r is good, interval: wilson(GOOD)) by model
  measure never = shares(r given r is good)
}
""".replace("GOOD", repr(1 - 0.05 / 3))


def told(rubric: str, model: str, question: str, sample: str, draw: int) -> Any:
    """Questions differ, draws of one are alike; some replies cannot be read, more of them for one model."""
    rng = random.Random(f"{rubric} {model} {question} {sample} {draw}")
    if rng.random() < (0.3 if model == "b" else 0.05):
        return "what?"
    level = random.Random(question).randrange(20, 80) + random.Random(f"{model} {question} {sample}").gauss(0, 12)
    if rubric == "kind":
        return "good" if level > 45 else "bad"
    return max(0, min(100, round(level + rng.gauss(0, 8))))


@cache
def study() -> Loaded:
    return loaded(STUDY, told)


def kept(condition: Callable[[dict[str, Any]], bool] = lambda _: True, *columns: str) -> list[dict[str, Any]]:
    """Return the rows of the experiment where some columns have a value and a condition holds."""
    return [r for r in study().table if all(r[c] is not None for c in columns) and condition(r)]


def influences(statistic: Callable[[np.ndarray[Any, Any]], float], n: int) -> np.ndarray[Any, Any]:
    """Return how much each draw moves a statistic of weights, by a numerical derivative."""
    step = 1e-5
    return np.array([(statistic(1 + step * e) - statistic(1 - step * e)) / (2 * step) for e in np.eye(n)])


def error_of(scores: np.ndarray[Any, Any], clusters: list[Any]) -> tuple[float, int]:
    """Return the cluster-robust standard error (CR1) of a figure with these influences, and the number of clusters."""
    sums = [sum(s for s, c in zip(scores, clusters, strict=True) if c == name) for name in dict.fromkeys(clusters)]
    return math.sqrt(len(sums) / (len(sums) - 1) * sum(x * x for x in sums)), len(sums)


def weighted_sd(y: np.ndarray[Any, Any]) -> Callable[[np.ndarray[Any, Any]], float]:
    """Return the standard deviation as a function of weights, with the correction of the unweighted one."""
    n = len(y)
    return lambda w: math.sqrt(float(np.average((y - np.average(y, weights=w)) ** 2, weights=w)) * n / (n - 1))


def weighted_correlation(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> Callable[[np.ndarray[Any, Any]], float]:
    def of(w: np.ndarray[Any, Any]) -> float:
        covariance = np.cov(np.stack([a, b]), aweights=w, ddof=0)
        return float(covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1]))

    return of


@pytest.mark.parametrize(
    ("measure", "model", "condition", "level", "clustered"),
    [
        ("m_sd", "a", None, 0.95, True),
        ("m_sd", "b", None, 0.95, True),
        ("m_sd_given", None, "good", 0.95, True),
        ("m_sd_alone", "b", None, 0.9, False),
    ],
)
def test_the_spread_of_a_score(
    measure: str, model: str | None, condition: str | None, level: float, clustered: bool
) -> None:
    """By numpy; the interval is Student's on the scale of the logarithm, with a clustered error."""
    needed = ["v", "r"] if condition else ["v"]
    rows = kept(lambda r: model in (None, r["model"]) and condition in (None, r["r"]), *needed)
    y = np.array([r["v"] for r in rows])
    (found,) = [r for r in study().measures[measure] if model is None or r["model"] == model]
    sd = float(np.std(y, ddof=1))
    scores = influences(weighted_sd(y), len(y))
    error, n_clusters = error_of(scores, [r["q"] for r in rows] if clustered else list(range(len(rows))))
    half = scipy.stats.t.ppf(0.5 + level / 2, n_clusters - 1) * error / sd
    assert (found["n"], found["sd"], found["mean"]) == (len(y), pytest.approx(sd), pytest.approx(y.mean()))
    assert (found["se"], found["clusters"]) == (pytest.approx(error, rel=1e-6), n_clusters)
    assert (found["low"], found["high"]) == pytest.approx((sd * math.exp(-half), sd * math.exp(half)), rel=1e-6)
    assert found["clustered_by"] == ("q" if clustered else None)


@pytest.mark.parametrize(
    ("measure", "model", "level"), [("m_cor", "a", 0.95), ("m_cor", "b", 0.95), ("m_cor_given", None, 0.9)]
)
def test_the_correlation_of_two_scores(measure: str, model: str | None, level: float) -> None:
    """By scipy; the interval is Student's on Fisher's scale, with a clustered error; a pair needs both scores."""
    given = measure == "m_cor_given"
    rows = kept(lambda r: model in (None, r["model"]) and (not given or r["r"] in ("good", "odd")), "v", "v_2")
    a, b = (np.array([r[c] for r in rows]) for c in ("v", "v_2"))
    (found,) = [r for r in study().measures[measure] if model is None or r["model"] == model]
    value = float(scipy.stats.pearsonr(a, b).statistic)
    scores = influences(weighted_correlation(a, b), len(a))
    error, n_clusters = error_of(scores, [r["q"] for r in rows])
    half = scipy.stats.t.ppf(0.5 + level / 2, n_clusters - 1) * error / (1 - value**2)
    assert (found["n"], found["correlation"], found["se"]) == (
        len(rows), pytest.approx(value), pytest.approx(error, rel=1e-6),
    )  # fmt: skip
    ends = math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
    assert (found["low"], found["high"]) == pytest.approx(ends, rel=1e-6)


def test_the_errors_are_about_those_of_a_jackknife() -> None:
    """Without one question after the other: another way to the same number, exact for many questions."""
    rows = kept(lambda r: r["model"] == "a", "v", "v_2")
    questions = list(dict.fromkeys(r["q"] for r in rows))
    (found,) = [r for r in study().measures["m_cor"] if r["model"] == "a"]
    left = [
        scipy.stats.pearsonr(*zip(*((r["v"], r["v_2"]) for r in rows if r["q"] != q), strict=True)).statistic
        for q in questions
    ]
    n = len(left)
    assert found["se"] == pytest.approx(math.sqrt((n - 1) / n * float(np.var(left) * n)), rel=0.35)


def by_cell(measure: str, **of: str) -> dict[str, Any]:
    (found,) = [r for r in study().measures[measure] if all(r[k] == v for k, v in of.items())]
    return found


@pytest.mark.parametrize("model", ["a", "b"])
def test_each_question_weighs_the_same(model: str) -> None:
    """The mean of the questions' rates; the error by statsmodels, weighted by question and clustered by question."""
    rows = kept(lambda r: r["model"] == model, "v")
    y = np.array([float(r["v"] < 45) for r in rows])
    found = by_cell("rate_q", model=model)
    _, group, sizes = np.unique([r["q"] for r in rows], return_inverse=True, return_counts=True)
    means = [y[group == i].mean() for i in range(len(sizes))]
    fit = WLS(y, np.ones(len(y)), weights=1 / sizes[group]).fit(cov_type="cluster", cov_kwds={"groups": group})
    assert len(set(sizes)) > 1, "questions with as many draws each test nothing"
    assert (found["rate"], found["se"]) == (pytest.approx(np.mean(means)), pytest.approx(float(fit.bse[0])))
    assert (found["hits"], found["n"], found["clusters"]) == (int(y.sum()), len(y), len(sizes))
    way = Way(len(sizes), float(fit.bse[0]) ** 2, float(sizes @ sizes))
    spread = Spread(alone=way, names=("q",), ways=(way,))
    wanted = score_interval(found["rate"], effective(found["rate"], len(y), spread, 0.95), 0.95)
    assert (found["low"], found["high"]) == pytest.approx(tuple(wanted))


@pytest.mark.parametrize("measure", ["mean_model", "rate_model"])
def test_each_model_weighs_the_same(measure: str) -> None:
    """Models are no sample of others: the error is that of each model's mean, clustered by question over both."""
    rows = kept(lambda _: True, "v")
    y = np.array([float(r["v"] < 45) if measure == "rate_model" else r["v"] for r in rows])
    models = np.array([[r["model"] == m for m in ("a", "b")] for r in rows], dtype=float)
    _, group = np.unique([r["q"] for r in rows], return_inverse=True)
    fit = OLS(y, models).fit(cov_type="cluster", cov_kwds={"groups": group})
    error = float(fit.t_test([0.5, 0.5]).sd[0, 0]) * math.sqrt((len(y) - 2) / (len(y) - 1))  # without its N - K
    (found,) = study().measures[measure]
    assert found[measure[:4]] == pytest.approx(float(np.mean(fit.params)))
    assert (found["se"], found["clusters"], found["clustered_by"]) == (pytest.approx(error), 7, "q")
    if measure == "mean_model":
        half = scipy.stats.t.ppf(0.975, 6) * error
        assert (found["low"], found["high"]) == pytest.approx((found["mean"] - half, found["mean"] + half))


def test_a_mean_of_means_of_each_question() -> None:
    """Its interval is the t interval of seven means."""
    scores: dict[str, list[float]] = {}
    for row in kept(lambda _: True, "v"):
        scores.setdefault(row["q"], []).append(row["v"])
    means = [np.mean(x) for x in scores.values()]
    low, high = scipy.stats.t.interval(0.95, 6, np.mean(means), scipy.stats.sem(means))
    (found,) = study().measures["mean_q"]
    assert (found["mean"], found["se"]) == pytest.approx((np.mean(means), scipy.stats.sem(means)))
    assert (found["low"], found["high"]) == pytest.approx((low, high))


def test_equal_models_without_clusters() -> None:
    """Independent draws: the variance of each model's rate over its number of draws, divided by 4."""
    (found,) = study().measures["rate_alone"]
    rows = kept(lambda r: r["r"] == "good", "v")
    hits = {m: [float(r["v"] < 45) for r in rows if r["model"] == m] for m in ("a", "b")}
    assert found["rate"] == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
    n = len(rows)
    variance = sum(float(np.var(h)) / len(h) for h in hits.values()) / 4 * n / (n - 1)
    assert (found["se"], found["clustered_by"]) == (pytest.approx(math.sqrt(variance)), None)
    assert found["low"] < found["rate"] < found["high"]


def test_shares_of_labels_with_joint_intervals() -> None:
    """A row for each label, also one that was never given; an interval is that of a rate at the level 1 - 0.05 / 3."""
    rows = study().measures["m_shares"]
    assert [(r["model"], r["label"]) for r in rows] == [(m, x) for m in ("a", "b") for x in ("good", "bad", "odd")]
    for row in rows:
        draws = [r for r in kept(lambda _: True, "r") if r["model"] == row["model"]]
        hits = sum(r["r"] == row["label"] for r in draws)
        assert (row["hits"], row["n"], row["shares"]) == (hits, len(draws), hits / len(draws))
        assert row["n"] + row["n_dropped"] == row["n_planned"] == 42
        assert 0 <= row["low"] <= row["shares"] <= row["high"] <= 1
        if row["label"] == "good":
            rate = by_cell("good", model=row["model"])
            same = ("low", "high", "se", "clusters", "design_effect", "dropped", "hits")
            assert [row[c] for c in same] == [rate[c] for c in same]
        if row["label"] == "odd":
            assert (row["hits"], row["low"], row["se"]) == (0, 0, 0)
            assert 0.05 < row["high"] < 0.5
    assert sum(r["shares"] for r in study().measures["m_shares_given"]) == pytest.approx(1)
    assert [(r["label"], r["shares"]) for r in study().measures["never"]] == [("good", 1), ("bad", 0), ("odd", 0)]


EDGES = """
experiment e {
  cluster = q
  for case in ["equal", "one", "none", "two", "line", "questions"]
  for q in ["q{i}" for i in 0..5]
  samples = 4
  ask answer from "sim/subject" with "{case}|{q}"
  judge v with score(answer) { samples = 3 }
  judge r with kind(answer)
  measure m_sd = sd(v) by case
  measure m_correlation = correlation(v, v_2) by case
  measure m_rate = rate(v < 45, equal: q) by case
  measure m_mean = mean(v, equal: q) by case
  measure m_shares = shares(r) by case
  measure m_agreement = agreement(v, v_2, v_3) by case
}
"""


def at_the_edge(rubric: str, case: str, question: str, sample: str, draw: int) -> Any:
    """All values are equal; one draw is kept; none; two of one question; two lines; questions that differ alone."""
    first = question == "q0" and int(sample) < {"one": 1, "none": 0, "two": 2}.get(case, 9)
    if case in ("one", "none", "two") and not first:
        return "what?"
    if rubric == "kind":
        return "good"
    number, draws = 10 * int(question[1]), int(sample)
    return {"equal": 50, "line": number + draws}.get(case, number + 30 * draws)


@cache
def edges() -> Loaded:
    return loaded(EDGES, at_the_edge)


NONE = (None, None, None)


@pytest.mark.parametrize(
    ("function", "case", "n", "wanted"),
    [
        ("sd", "equal", 24, (0, None, None)),
        ("sd", "one", 1, NONE),
        ("sd", "none", 0, NONE),
        ("correlation", "equal", 24, NONE),
        ("correlation", "one", 1, NONE),
        ("correlation", "none", 0, NONE),
        ("correlation", "two", 2, (1, None, None)),
        ("correlation", "line", 24, (1, None, None)),
        ("rate", "one", 1, (1, None, None)),
        ("rate", "none", 0, NONE),
        ("mean", "equal", 24, (50, None, None)),
        ("mean", "one", 1, (0, None, None)),
        ("mean", "none", 0, NONE),
        ("agreement", "equal", 24, NONE),
        ("agreement", "one", 1, NONE),
        ("agreement", "none", 0, NONE),
        ("agreement", "two", 2, (1, None, None)),
        ("agreement", "line", 24, (1, None, None)),
    ],
)
def test_what_cannot_be_said_is_missing(function: str, case: str, n: int, wanted: tuple[float | None, ...]) -> None:
    """No spread of one draw, no correlation with a constant, no interval of figures that do not vary: no number."""
    (row,) = [r for r in edges().measures[f"m_{function}"] if r["case"] == case]
    assert row["n"] == n
    assert (row[function], row["low"], row["high"]) == pytest.approx(wanted)
    assert (row["design_effect"], row["clusters"]) == (None, row["clusters"])


def test_a_share_of_few_draws() -> None:
    """Without a draw there is no share, with one no interval; labels stay."""
    rows = {(r["case"], r["label"]): r for r in edges().measures["m_shares"]}
    assert len(rows) == 6 * 3
    assert [rows["none", x]["shares"] for x in ("bad", "good", "odd")] == [None, None, None]
    assert [(rows["one", x]["shares"], rows["one", x]["low"]) for x in ("bad", "good")] == [(0, None), (1, None)]
    assert 0.8 > rows["equal", "good"]["low"] > 0.5


FIELDS = """
rubric parts(answer) from "sim/judge" {
  shape = { role: ["pro", "con", "none of both"], sure: 0..100 }
  user "parts|{answer}"
}
experiment e {
  for q in ["q{i}" for i in 0..5]
  samples = 2
  ask answer from "sim/subject" with "{q}"
  judge p with parts(answer) { samples = 2 }
  measure roles = shares(p.role given p.sure > 10)
  measure sure = sd(p.sure)
  measure alike = correlation(p.sure, p_2.sure)
  measure labels = agreement(p.role, p_2.role, metric: nominal)
}
"""


def test_fields_of_a_verdict() -> None:
    """Labels and numbers of a shape, also a label that is no word."""
    found = loaded(
        FIELDS,
        lambda _, q, sample, draw: json.dumps(
            {"role": ["pro", "none of both"][(int(q[1]) + draw) % 2], "sure": 10 * int(q[1]) + 5 * int(sample) + draw}
        ),
    )
    roles = {r["label"]: (r["shares"], r["n"]) for r in found.measures["roles"]}
    assert roles == {"con": (0, 9), "none of both": (pytest.approx(5 / 9), 9), "pro": (pytest.approx(4 / 9), 9)}
    sure = [10 * q + 5 * s for q in range(6) for s in range(2)]
    assert found.measures["sure"][0]["sd"] == pytest.approx(float(np.std(sure, ddof=1)))
    assert found.measures["alike"][0]["correlation"] == pytest.approx(1)
    assert found.measures["labels"][0]["agreement"] < 0
