"""Intervals that are computed when a study is loaded: exact ones, and bootstraps over clusters."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from support import program, run

from emdsl.errors import SourceError
from emdsl.outcomes import bootstrap, database, loading
from emdsl.outcomes.bootstrap import Clusters, interval
from emdsl.outcomes.distributions import beta_quantile, holm, t_quantile
from emdsl.outcomes.intervals import agresti_coull, clopper_pearson, wilson
from emdsl.query import Query, Response, Usage
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path


def test_quantiles_are_those_of_scipy() -> None:
    """Beta and Student: over random parameters, to 1e-9."""
    rng = random.Random(1)
    for _ in range(300):
        a, b = (rng.choice([0.5, 1, 3, 50, 1000, 1e5]) * rng.random() + 0.3 for _ in range(2))
        p = rng.random()
        assert abs(beta_quantile(p, a, b) - scipy.stats.beta.ppf(p, a, b)) < 1e-9
    for p, df in itertools.product((0.001, 0.025, 0.3, 0.5, 0.7, 0.975, 0.9995), (1, 2, 5, 19, 100, 10_000)):
        wanted = scipy.stats.t.ppf(p, df)
        assert abs(t_quantile(p, df) - wanted) < 1e-9 * max(1, abs(wanted))


def test_intervals_of_rates_are_those_of_scipy() -> None:
    """Clopper-Pearson by scipy's own; Agresti-Coull by its definition."""
    rng = random.Random(2)
    for _ in range(200):
        n = rng.choice([1, 2, 5, 30, 500, 20_000])
        hits, level = rng.randint(0, n), rng.choice([0.8, 0.95, 0.99])
        exact = scipy.stats.binomtest(hits, n).proportion_ci(level, "exact")
        assert clopper_pearson(hits, n, level) == pytest.approx((exact.low, exact.high), abs=1e-9)
    z = scipy.stats.norm.ppf(0.975)
    p = (3 + z * z / 2) / (10 + z * z)
    half = z * math.sqrt(p * (1 - p) / (10 + z * z))
    assert agresti_coull(3, 10) == pytest.approx((p - half, p + half), abs=1e-12)


def test_the_exact_interval_covers_at_least_as_often_as_it_says() -> None:
    """Summed over all outcomes, for rates from end to end."""
    n = 40
    ends = [clopper_pearson(k, n) for k in range(n + 1)]
    for p in np.linspace(0.01, 0.99, 50):
        covered = sum(scipy.stats.binom.pmf(k, n, p) for k, e in enumerate(ends) if e.low <= p <= e.high)
        assert covered >= 0.95 - 1e-12


def clusters_of(values: list[tuple[Any, float]]) -> Clusters:
    """Return clusters from pairs of a name and a value."""
    sums: dict[Any, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for called, value in values:
        sums[called][0] += value
        sums[called][1] += 1
    return Clusters(sums=np.array(list(sums.values())), times=np.ones(len(sums), dtype=np.int64))


def error_of(values: list[tuple[Any, float]]) -> float:
    """Return the standard error of a mean by statsmodels, for clusters: CR1."""
    names, ys = zip(*values, strict=True)
    groups = np.unique(names, return_inverse=True)[1]
    fit = OLS(np.array(ys), np.ones((len(ys), 1))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    return float(fit.bse[0])


def resampled(values: list[tuple[Any, float]], level: float, resamples: int, seed: str) -> tuple[Any, Any]:
    """Return the interval of a mean whose clusters are resampled."""
    clusters = clusters_of(values)
    return interval(
        clusters, level, error=error_of(values), n=len(clusters.sums), resamples=resamples, seed=seed
    )  # fmt: skip


def coverage(n_clusters: int, *, clustered: bool, runs: int = 400) -> float:
    """Return how often an interval holds the truth, where questions differ and have ten answers each."""
    rng = np.random.default_rng(n_clusters)
    hit = 0
    for i in range(runs):
        rates = rng.beta(1.0, 4.0, n_clusters)  # of mean 0.2
        values = [(q, float(x)) for q, r in enumerate(rates) for x in rng.random(10) < r]
        if not clustered:
            values = [(j, v) for j, (_, v) in enumerate(values)]
        low, high = resampled(values, 0.95, 400, str(i))
        assert low is not None
        assert high is not None
        hit += low <= 0.2 <= high
    return hit / runs


def test_clusters_cover_where_naive_draws_do_not() -> None:
    """With 40 questions 93 to 97 %; as if each answer stood for itself, far less; with 8, by Student's quantiles."""
    assert 0.92 <= coverage(40, clustered=True) <= 0.98
    assert coverage(40, clustered=False, runs=150) < 0.85
    assert 0.89 <= coverage(8, clustered=True) <= 0.99


def test_the_same_seed_gives_the_same_bits() -> None:
    """And another one does not; a group's interval does not depend on other groups."""
    rng = random.Random(3)
    values = [(rng.randrange(40), float(rng.random() < 0.3)) for _ in range(400)]
    one = resampled(values, 0.95, 500, "0 [a]")
    assert one == resampled(values, 0.95, 500, "0 [a]")
    assert one != resampled(values, 0.95, 500, "1 [a]")


def test_it_is_the_bootstrap_by_hand() -> None:
    """Percentiles of the ratio over clusters drawn with replacement, one by one."""
    rng = random.Random(4)
    values = [(q, float(rng.random() < 0.1 + 0.02 * q)) for q in range(30) for _ in range(rng.randint(2, 8))]
    low, high = resampled(values, 0.9, 20_000, "x")
    by_cluster = defaultdict(list)
    for q, v in values:
        by_cluster[q].append(v)
    drawn = []
    for _ in range(20_000):
        some = [x for q in rng.choices(list(by_cluster), k=30) for x in by_cluster[q]]
        drawn.append(sum(some) / len(some))
    widened = scipy.stats.norm.cdf(-math.sqrt(30 / 29) * scipy.stats.t.ppf(0.95, 29))
    wanted = np.quantile(drawn, [widened, 1 - widened])
    assert (low, high) == pytest.approx(wanted, abs=0.004)


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0, 8.0], [1.0, 2.0]])
def test_few_clusters_have_students_interval(values: list[float]) -> None:
    """Of draws that are clusters each, it is the textbook's interval of a mean."""
    found = resampled(list(enumerate(values)), 0.95, 1, "")
    wanted = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert found == pytest.approx(wanted)


def test_two_ways_are_wider_than_either() -> None:
    """Questions and seeds that both matter: neither alone is all of the uncertainty."""
    rng = np.random.default_rng(5)
    questions, seeds = rng.normal(0, 1, 30), rng.normal(0, 1, 25)
    cells = [(i, j, 50 + questions[i] + seeds[j] + rng.normal(0, 1)) for i in range(30) for j in range(25)]
    sums = np.array([[v, 1.0] for _, _, v in cells])
    ways = tuple(np.array([c[k] for c in cells]) for k in (0, 1))
    found = Clusters(sums=sums, times=np.ones(len(cells), dtype=np.int64), ways=ways)
    both = interval(found, 0.95, error=1.0, n=25, resamples=2000, seed="s")
    one = resampled([(i, v) for i, _, v in cells], 0.95, 2000, "s")
    assert None not in (*both, *one)
    assert both[1] - both[0] > 1.2 * (one[1] - one[0])  # type: ignore[operator]  # none is None


def test_clusters_of_rows() -> None:
    """Rows with their multiplicity; no rows are none, of one side."""
    assert bootstrap.clusters_of([(1.0, 2.0)], [3], []).times.tolist() == [3]
    assert bootstrap.clusters_of([], [], []).sums.shape == (0, 2)


ALIKE = [(str(i), 0.0) for i in range(30)]


@pytest.mark.parametrize(
    ("values", "error"), [([], None), ([("a", 1.0), ("a", 0.0)], None), (ALIKE, 0.0)], ids=["none", "one", "alike"]
)
def test_one_cluster_is_no_interval(values: list[tuple[Any, float]], error: float | None) -> None:
    """Nothing is made up of one question, nor of thirty of which none has ever failed."""
    found = clusters_of(values)
    if not values:
        found = Clusters(sums=np.zeros((0, 2)), times=np.zeros(0, dtype=np.int64))
    assert interval(found, 0.95, error=error, n=len(found.sums), resamples=100, seed="") == (None, None)


STUDY = """
model m { use = "openai-api/lab/m", url = "http://127.0.0.1:1/v1", revision = "1" }
rubric score(x) { scale = 0..100
 user "{x}" }
experiment e {
  for data in [alpha, beta, gamma]
  for q in 1..25
  samples = 6
  ask answer from m with "{data} {q}"
  judge v with score(answer) from m
  MEASURES
}
""".replace("[alpha, beta, gamma]", '["alpha", "beta", "gamma"]')


class Scores:
    """Scores that differ by question; some replies are none."""

    def accounts(self, _: Any) -> int:
        return 1

    def usable(self, *_: Any) -> bool:
        return True

    async def ask(self, query: Query, *_: Any) -> Response:
        text = query.prompt.messages[-1].text
        rng = random.Random(f"{text} {query.sample}")
        if text.startswith("answer"):
            said = "nothing" if rng.random() < 0.1 else str(int(100 * rng.betavariate(1 + len(text) % 3, 2)))
        else:
            said = f"answer to {text} number {query.sample} {'x' * (hash_of(text) % 3)}"
        return Response(text=said, finish="stop", usage=Usage(input_tokens=1, output_tokens=1))


def hash_of(text: str) -> int:
    return sum(map(ord, text))


def loaded(folder: Path, *measures: str) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]], list[str]]:
    """Run and load the study with some measures; return their rows, the outcomes, and what was said."""
    text = STUDY.replace("MEASURES", "\n".join(f"measure m{i} = {m}" for i, m in enumerate(measures)))
    found, store = program(text), MemoryStore()
    run(found, store, Scores())
    (experiment,) = found.experiments
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    said = loading.load(folder, load, [(experiment, collect(Rows(experiment), store, {}))])
    with database.opened(folder, "s") as (connection, _):
        relations = {}
        for called in ("e", *(f"m{i}" for i in range(len(measures)))):
            result = database.select(connection, f"FROM {called}")
            relations[called] = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    return relations, relations.pop("e"), said


def kept(rows: list[dict[str, Any]], **where: Any) -> list[dict[str, Any]]:
    return [r for r in rows if r["v"] is not None and all(r[k] == x for k, x in where.items())]


def test_measures_of_a_study(tmp_path: Path) -> None:
    """Each relation by the functions above, from the same rows; counts as everywhere."""
    cluster = "bootstrap(0.95, cluster: q)"
    found, rows, said = loaded(
        tmp_path,
        "rate(v < 30, interval: clopper_pearson(0.9)) by data",
        f"rate(v < 30, interval: {cluster}) by data",
        f"mean(v, interval: {cluster}) by data",
        f'contrast(rate(v < 30), data == "alpha", data == "beta", interval: {cluster})',
        "rate(v < 30, interval: agresti_coull(0.95)) by data",
        "rate(v < 30, interval: bootstrap(0.95, cluster: [q, sample], resamples: 300, seed: 7)) by data",
    )
    for data in ("alpha", "beta", "gamma"):
        mine = kept(rows, data=data)
        hits = sum(r["v"] < 30 for r in mine)
        exact, boot, mean, coull = (next(r for r in found[m] if r["data"] == data) for m in ("m0", "m1", "m2", "m4"))
        assert (exact["low"], exact["high"]) == pytest.approx(clopper_pearson(hits, len(mine), 0.9))
        assert (coull["low"], coull["high"]) == pytest.approx(agresti_coull(hits, len(mine)))
        ordered = sorted(mine, key=lambda r: str(r["q"]))
        for row, values in ((boot, [r["v"] < 30 for r in ordered]), (mean, [r["v"] for r in ordered])):
            pairs = [(r["q"], float(v)) for r, v in zip(ordered, values, strict=True)]
            low, high = resampled(pairs, 0.95, 1000, f"0 [{data}]")
            assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-12)
            assert (row["clusters"], row["n"], row["n_planned"]) == (25, len(mine), 150)
        assert boot["low"] < boot["rate"] < boot["high"]
    (difference,) = found["m3"]
    assert difference["low"] < difference["contrast"] < difference["high"]
    assert difference["clusters"] == 25
    assert any("`m5`: 3 of 3 groups have fewer than 20 clusters (minimum 6)" in s for s in said)
    assert not any("`m1`" in s for s in said)


def test_an_interval_of_a_rate_is_one_of_rates(tmp_path: Path) -> None:
    """With few clusters and rare hits too: within 0 and 1. Where none has any, it is the default: that is said."""
    found, _, said = loaded(
        tmp_path,
        "rate(v < 3, interval: bootstrap(0.95, cluster: sample)) by data",
        "rate(v < 0, interval: bootstrap(0.95, cluster: q)) by data",
        "at_least(v < 2, 1) by data",
        "rate(v < 0, interval: wilson(0.95, cluster: q)) by data",
    )
    for row in (*found["m0"], *found["m2"]):
        assert row["low"] is None or 0 <= row["low"] <= row["high"] <= 1
    assert all(r["rate"] == r["low"] == 0 < r["high"] for r in found["m1"])
    assert [r["high"] for r in found["m1"]] == [r["high"] for r in found["m3"]]
    assert any("`m1`: 3 of 3 groups have no bootstrap interval, as their clusters do not differ" in s for s in said)


def test_at_least(tmp_path: Path) -> None:
    """Of each cell, by going through all choices of its kept draws; cells with too few are dropped, and counted."""
    found, rows, _ = loaded(
        tmp_path,
        "at_least(v < 30, 1) by data",
        "at_least(v < 30 given v < 90, 2, of: 4) by data",
        "at_least(v < 30, 3, of: 6)",
    )
    for data in ("alpha", "beta", "gamma"):
        any_, two = (next(r for r in found[m] if r["data"] == data) for m in ("m0", "m1"))
        cells = defaultdict(list)
        for row in kept(rows, data=data):
            cells[row["q"]].append(row["v"])
        assert any_["at_least"] == pytest.approx(sum(any(v < 30 for v in c) for c in cells.values()) / len(cells))
        shares = []
        for values in ([v for v in c if v < 90] for c in cells.values()):
            chosen = list(itertools.combinations(values, 4))
            if chosen:
                shares.append(sum(sum(v < 30 for v in some) >= 2 for some in chosen) / len(chosen))
        assert two["at_least"] == pytest.approx(sum(shares) / len(shares), abs=1e-9)
        assert (two["n"], two["n_planned"], two["n_dropped"]) == (len(shares), 25, 25 - len(shares))
        assert two["dropped"] == ({"too_few": 25 - len(shares)} if len(shares) < 25 else None) or two["dropped"] == {}
    (all_,) = found["m2"]
    assert all_["n_planned"] == 75
    sizes = Counter((r["data"], r["q"]) for r in kept(rows))
    assert all_["n"] == sum(n == 6 for n in sizes.values()) < 75


def probability(row: dict[str, Any], pairs: dict[Any, dict[str, bool]]) -> float:
    """Return the two-sided probability of a contrast of alpha and beta, by scipy and statsmodels.

    By McNemar's test of whole pairs; else by Student's with its units, or Fisher's where they are all alike.
    """
    if all(len(pair) == 2 for pair in pairs.values()):
        table = np.zeros((2, 2))
        for pair in pairs.values():
            table[int(pair["alpha"]), int(pair["beta"])] += 1
        return float(mcnemar(table, exact=True).pvalue)
    if row["se"] > 0:
        return float(2 * scipy.stats.t.sf(abs(row["contrast"]) / row["se"], row["n_units"] - 1))
    counts = [[round(row[s] * row[f"n_{s}"]), round((1 - row[s]) * row[f"n_{s}"])] for s in ("first", "second")]
    return float(scipy.stats.fisher_exact(counts)[1])


def test_random_tables_are_as_statsmodels_says(tmp_path: Path) -> None:
    """Intervals of rates, Holm's correction, slopes with their HC1 intervals: to 1e-9."""
    rng = random.Random(6)
    for _ in range(100):
        n = rng.randint(1, 400)
        hits = rng.randint(0, n)
        for ours, method in ((wilson, "wilson"), (agresti_coull, "agresti_coull"), (clopper_pearson, "beta")):
            assert ours(hits, n) == pytest.approx(proportion_confint(hits, n, 0.05, method), abs=1e-9)
    for _ in range(5):  # each call of multipletests collects garbage, which takes 0.1 s
        found = [rng.random() ** 3 for _ in range(rng.randint(1, 12))]
        assert holm(list(found)) == pytest.approx(multipletests(found, method="holm")[1], abs=1e-12)
    found_, rows, _ = loaded(
        tmp_path,
        "slope(mean(v given v < 95), q) by data",
        "slope(rate(v < 30), q)",
        'contrast(rate(v < 30), data == "alpha", data == "beta", correct: holm) by q',
    )
    fits = [
        (r, [(float(x["q"]), float(x["v"])) for x in kept(rows, data=r["data"]) if x["v"] < 95]) for r in found_["m0"]
    ]
    fits.append((found_["m1"][0], [(float(x["q"]), float(x["v"] < 30)) for x in kept(rows)]))
    for row, mine in fits:
        x = np.array([(1.0, q) for q, _ in mine])
        fit = OLS(np.array([v for _, v in mine]), x).fit(cov_type="HC1", use_t=True)
        low, high = fit.conf_int()[1]
        assert (row["slope"], row["low"], row["high"]) == pytest.approx((fit.params[1], low, high), abs=1e-9)
        assert row["intercept"] == pytest.approx(fit.params[0], abs=1e-9)
        assert row["n"] == len(mine)
    contrasts = [r for r in found_["m2"] if r["p"] is not None]
    assert len(contrasts) > 20
    n_whole = 0
    for row in contrasts:
        pairs: defaultdict[int, dict[str, bool]] = defaultdict(dict)
        for outcome in kept(rows, q=row["q"]):
            if outcome["data"] in ("alpha", "beta"):
                pairs[outcome["sample"]][outcome["data"]] = outcome["v"] < 30
        assert row["p"] == pytest.approx(probability(row, pairs), rel=1e-7)
        n_whole += all(len(pair) == 2 for pair in pairs.values())
    assert 5 < n_whole < len(contrasts) - 5, "both tests are tried"
    wanted = multipletests([r["p"] for r in contrasts], method="holm")[1]
    assert [r["p_holm"] for r in contrasts] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    ("measure", "code"),
    [
        ("rate(v < 30, interval: bootstrap(0.95, cluster: nobody))", "E843"),
        ("rate(v < 30, interval: bootstrap(0.95, cluster: [q, sample, data]))", "E843"),
        ("rate(v < 30, interval: bootstrap(0.95, cluster: data)) by data", "E843"),
        ("rate(v < 30, interval: bootstrap(1.5))", "E843"),
        ("rate(v < 30, interval: bootstrap(0.95, resamples: 5))", "E843"),
        ("rate(v < 30, interval: wilson(0.95, cluster: q, resamples: 500))", "E213"),
        ("rate(v < 30, interval: bootstrap(0.95, times: 5))", "E213"),
        ("mean(v, interval: clopper_pearson(0.95))", "E843"),
        ("slope(rate(v < 30), data)", "E844"),
        ("slope(rate(v < 30), q) by q", "E844"),
        ("slope(v < 30, q)", "E847"),
        ("slope(rate(v < 30, interval: wald(0.95)), q)", "E213"),
        ('contrast(rate(v < 30), data == "alpha", data == "beta", correct: bonferroni)', "E843"),
        ('contrast(rate(v < 30), data == "alpha", data == "beta", interval: bootstrap(0.9), correct: holm)', "E843"),
        ("at_least(v < 30)", "E212"),
        ("at_least(v < 30, 0)", "E843"),
        ("at_least(v < 30, 5, of: 4)", "E843"),
        ("at_least(v, 1)", "E511"),
    ],
)
def test_what_is_no_such_measure(measure: str, code: str) -> None:
    """It is told before anything is asked."""
    with pytest.raises(SourceError) as caught:
        program(STUDY.replace("MEASURES", f"measure m = {measure}"))
    assert code in {d.code for d in caught.value.diagnostics}
