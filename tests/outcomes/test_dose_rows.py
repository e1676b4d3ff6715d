"""`dose(...)` and contrasts of doses from a program to a table, a chart and a message; the fit has its own tests."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from reported import first_of
from support import emdsl, program
from told import Loaded, loaded

from emdsl.compiler.measure_specs import SLOPES
from emdsl.errors import SourceError
from emdsl.outcomes import dose, dose_law
from emdsl.outcomes.dose_rows import N_POINTS, NO_FIT

if TYPE_CHECKING:
    from pathlib import Path

DOSES = (0, 1, 2.5, 4, 8, 16, 32)
STUDY = """
experiment e {
  for model in { a: "a", b: "b" }
  for k in { none: 0, one: 1, few: 2.5, four: 4, eight: 8, more: 16, most: 32 }
  for q in ["q{i}" for i in 0..11]
  samples = 6
  ask answer from "sim/subject" with "{model}|{k}|{q}"
  judge v with score(answer)
  judge r with kind(answer)
  let same = if q == "q0" then "x" else "x"
  measure half = dose(rate(v < 40), k) by model
  measure given_slope = dose(rate(v < 40), k, slope: 1, interval: wald(0.9)) by model
  measure some = dose(rate(v < 40 given r is good), k)
  measure alone = dose(rate(v < 40), k, interval: wald(0.95, cluster: none)) by model
  measure ratio = contrast(dose(rate(v < 40), k), model is a, model is b)
  measure versus = contrast(dose(rate(v < 40), k, slope: 1), model, versus: a, correct: holm)
  measure flat = dose(rate(v < 90), k)
  measure falling = dose(rate(v >= 40), k) by model
  measure nothing = dose(rate(v < 40 given v > 100), k)
  measure no_ratio = contrast(dose(rate(v < 40 given model is a or v > 100), k), model is a, model is b)
  measure no_half = contrast(dose(rate(v < 90), k), model is a, model is b)
  measure few = dose(rate(v < 40 given k < 4), k)
  measure items = dose(rate(v < 40 given q in ["q0", "q1", "q2", "q3"]), k, slope: 1)
  measure one_draw = dose(rate(v < 40 given q == "q0" and sample == 0 and model is a and k == 8), k)
  measure one_cluster = dose(rate(v < 40), k, slope: 1, interval: wald(0.95, cluster: same))
}
"""


def told(rubric: str, model: str, k: str, question: str, sample: str, draw: int) -> Any:
    """A rate by the law itself: half the effect at 3 for one model and at 9 for the other."""
    rng = random.Random(f"{rubric} {model} {k} {question} {sample} {draw}")
    if rubric == "kind":
        return rng.choice(["good", "bad", "what?"])
    if rng.random() < 0.05:
        return "REFUSAL"
    half, x = {"a": 3, "b": 9}[model], float(k)
    rate = 0.04 + 0.6 * x / (x + half) + random.Random(question).uniform(-0.04, 0.04)
    return 10 if rng.random() < rate else 80


@cache
def study() -> Loaded:
    return loaded(STUDY, told)


def fitted(
    condition: Any = lambda _: True, *, hit: Any = lambda r: r["v"] < 40, clustered: bool = True, **options: Any
) -> dose.DoseFit:
    """Return the fit of the experiment's rows, counted here."""
    rows = [r for r in study().table if r["v"] is not None and condition(r)]
    return dose.fit(
        [(r["q"] if clustered else str(i), float(r["k_value"]), float(hit(r)), 1.0) for i, r in enumerate(rows)],
        **options,
    )


def same(row: dict[str, Any], fit: dose.DoseFit) -> None:
    """A row has what a fit has."""
    assert (row["dose"], row["low"], row["high"]) == pytest.approx((fit.k50.value, fit.k50.low, fit.k50.high))
    for part in ("floor", "ceiling", "slope"):
        estimate = getattr(fit, part)
        found = (row[part], row[f"{part}_low"], row[f"{part}_high"])
        assert found == pytest.approx((estimate.value, estimate.low, estimate.high)), part
    assert (row["trend"], row["p_trend"], row["p_fit"]) == pytest.approx((fit.trend.slope, fit.trend.p, fit.p_fit))


@pytest.mark.parametrize("model", ["a", "b"])
def test_a_row_is_the_fit_of_its_draws(model: str) -> None:
    """Doses are the values of labelled levels; refusals are dropped; questions are the clusters."""
    (row,) = [r for r in study().measures["half"] if r["model"] == model]
    fit = fitted(lambda r: r["model"] == model)
    same(row, fit)
    assert row["low"] < {"a": 3, "b": 9}[model] < (row["high"] or math.inf)
    assert (row["clusters"], row["clustered_by"], row["reason"]) == (12, "q", None)
    assert row["n"] == sum(r["model"] == model and r["v"] is not None for r in study().table)
    assert row["dropped"] == {"REFUSAL": row["n_planned"] - row["n"]}
    assert fit.maximum is not None
    assert row["design_effect"] == pytest.approx(fit.maximum.design_effect)
    (row,) = [r for r in study().measures["given_slope"] if r["model"] == model]
    same(row, fitted(lambda r: r["model"] == model, level=0.9, slope=1.0))
    (row,) = [r for r in study().measures["alone"] if r["model"] == model]
    same(row, fitted(lambda r: r["model"] == model, clustered=False))
    assert (row["clusters"], row["clustered_by"], row["design_effect"]) == (row["n"], None, None)


def test_what_is_given_and_what_falls() -> None:
    """A `given` leaves draws out; a rate that falls has its ceiling below its floor."""
    same(study().measures["some"][0], fitted(lambda r: r["r"] == "good"))
    for row in study().measures["falling"]:
        fit = fitted(lambda r, row=row: r["model"] == row["model"], hit=lambda r: r["v"] >= 40)
        same(row, fit)
        assert row["ceiling"] < row["floor"]


def test_the_curve_passes_through_the_estimates() -> None:
    """From the first dose to the last, with a band around it, as `DoseFit.band` has it."""
    (row,) = [r for r in study().measures["half"] if r["model"] == "a"]
    curve = row["curve"]
    assert len(curve) == N_POINTS
    assert (curve[0]["dose"], curve[-1]["dose"]) == (0, pytest.approx(32))
    doses = [p["dose"] for p in curve]
    assert doses == sorted(doses)
    assert [(p["rate"], p["low"], p["high"]) for p in curve] == [
        pytest.approx(x) for x in fitted(lambda r: r["model"] == "a").band(doses)
    ]
    at = min(curve, key=lambda p: abs(p["dose"] - row["dose"]))
    assert at["rate"] == pytest.approx((row["floor"] + row["ceiling"]) / 2, abs=0.05)
    assert all(0 <= p["low"] <= p["rate"] <= p["high"] <= 1 for p in curve)


def test_a_contrast_of_doses_is_a_ratio() -> None:
    """Of two k50, paired by question, with the p-value of equal ones; a baseline has a row for each other level."""
    fits = {m: fitted(lambda r, m=m: r["model"] == m) for m in "ab"}
    wanted = dose.ratio(fits["a"], fits["b"])
    (row,) = study().measures["ratio"]
    assert (row["contrast"], row["low"], row["high"], row["p"]) == pytest.approx(
        (wanted.ratio, wanted.low, wanted.high, wanted.p)
    )
    assert (row["first"], row["second"]) == pytest.approx((fits["a"].k50.value, fits["b"].k50.value))
    assert (row["clusters"], row["clustered_by"], row["reason"]) == (12, "q", None)
    assert row["low"] < 1 / 3 < row["high"]
    fits = {m: fitted(lambda r, m=m: r["model"] == m, slope=1.0) for m in "ab"}
    wanted = dose.ratio(fits["b"], fits["a"])
    (row,) = study().measures["versus"]
    assert (row["model"], row["contrast"], row["p"]) == ("b", pytest.approx(wanted.ratio), pytest.approx(wanted.p))
    assert row["p_holm"] == row["p"]


@pytest.mark.parametrize(
    ("measure", "figure", "reason"),
    [
        ("flat", "dose", "the rate is the same at every dose"),
        ("nothing", "dose", None),
        ("few", "dose", "a fit needs at least 4 doses"),
        ("one_draw", "dose", "a fit needs at least 4 doses"),
        ("no_ratio", "contrast", "no draw is kept on one side"),
        (
            "no_half",
            "contrast",
            "first: the rate is the same at every dose; second: the rate is the same at every dose",
        ),
    ],
)
def test_what_is_missing_has_a_reason(measure: str, figure: str, reason: str | None) -> None:
    """No number, no interval, and why; a group without a kept draw says so by its counts."""
    (row,) = study().measures[measure]
    assert (row[figure], row["low"], row["high"], row["reason"]) == (None, None, None, reason)
    assert (row["n"] == 0) == (reason is None)


def test_few_questions_are_no_clusters() -> None:
    """Under five of them, draws are, as for other measures; one cluster that is asked for leaves no interval."""
    (row,) = study().measures["items"]
    same(row, fitted(lambda r: r["q"] in ("q0", "q1", "q2", "q3"), clustered=False, slope=1.0))
    assert (row["clusters"], row["clustered_by"]) == (row["n"], None)
    (row,) = study().measures["one_cluster"]
    assert (row["clusters"], row["clustered_by"], row["curve"]) == (1, "same", None)
    assert row["dose"] > 0
    assert (row["low"], row["high"], row["reason"]) == (None, None, "an interval needs at least 2 clusters")


NO_LAW = """
experiment e {
  for k in [0, 1, 2, 4, 8, 16]
  for q in ["q{i}" for i in 0..9]
  for m in ["a", "b"]
  samples = 8
  ask answer from "sim/subject" with "{k}|{q}|{m}"
  judge v with score(answer)
  measure half = dose(rate(v < 40), k)
  measure both = contrast(dose(rate(v < 40), k), m == "a", m == "b")
}
"""


def test_a_law_that_does_not_fit_says_so() -> None:
    """Rates that rise and fall have no k50, and no curve."""
    found = loaded(
        NO_LAW, lambda _, k, q, __, sample, ___: 10 if (int(k) == 4 and q != "q9") or int(sample) == 0 else 80
    )
    (row,) = found.measures["half"]
    assert (row["dose"], row["low"], row["high"], row["curve"]) == (None, None, None, None)
    assert row["reason"] == NO_FIT
    assert row["p_fit"] < 0.05
    (row,) = found.measures["both"]
    assert (row["contrast"], row["p"]) == (None, None)
    assert row["reason"].startswith("first: ")


@pytest.mark.parametrize("levels", ["[-1, 0, 1, 2]", "{ low: -0.5, high: 2, most: 3, all: 4 }", "[0, 1, 2, 1e13]"])
def test_a_dose_is_neither_negative_nor_huge(levels: str) -> None:
    """An error of the program, before anything is paid: a draw that is left out without a word would be a lie."""
    text = f"""
    rubric score(answer) from "sim/judge" {{ scale = 0..100, user "score {{answer}}" }}
    experiment e {{
      for k in {levels}
      for m in ["a", "b"]
      ask answer from "sim/subject" with "{{m}} {{k}}"
      judge v with score(answer)
      measure half = DOSE
    }}
    """
    for call in ("dose(rate(v < 40), k)", 'contrast(dose(rate(v < 40), k), m == "a", m == "b")'):
        with pytest.raises(SourceError, match=r"E844.*a dose is a number from 0 to 1e\+12"):
            program(text.replace("DOSE", call))
    program(text.replace("DOSE", "slope(rate(v < 40), k)"))


def test_doses_of_any_size_have_a_fit_or_a_reason() -> None:
    """Decimals, tiny and large ones together: no error while tables are loaded."""
    text = NO_LAW.replace("[0, 1, 2, 4, 8, 16]", "[0, 0.000001, 0.1, 0.25, 1000000, 1000000000000]")
    found = loaded(text, lambda _, k, __, ___, sample, ____: 10 if float(k) > 0.2 or int(sample) < 1 else 80)
    (row,) = found.measures["half"]
    assert (row["dose"] is None) == (row["reason"] is not None)


def test_the_limits_of_a_slope_are_those_of_the_law() -> None:
    """The compiler cannot import the law, so its numbers are there twice."""
    assert SLOPES == dose_law.SLOPES


SIM = """em 1
import alignment from "std:judges@1"
import demonstrations from "std:prompts@1"
let pool = [{ user: "a{i}", assistant: "b{i}" } for i in 0..20]
experiment e {
  for k in [0, 1, 2, 4, 8, 16]
  for q in ["q{i}?" for i in 0..7]
  samples = 6
  let shown = [p for p in pool if p.user in ["a{i}" for i in 0..k if i > 0]]
  ask answer from "sim/subject" with demonstrations(shown, "{q}")
  judge aligned with alignment(q, answer) from "sim/judge"
  measure half = dose(rate(aligned < 30), k)
  measure never = dose(rate(aligned <= 100), k)
  measure parts = components(rate(aligned < 30), [q, k])
}
"""


def test_a_dose_is_shown_and_drawn(tmp_path: Path) -> None:
    """`show` prints floor, ceiling, slope and trend, `plot` a smooth curve with a band, or why there is none."""
    (tmp_path / "half.em").write_text(SIM, encoding="utf-8")
    shown = emdsl("run", "half.em", "--display", "none", cwd=tmp_path).stdout
    assert "95 % profile, clustered by q" in shown
    head = next(line for line in shown.splitlines() if "ceiling" in line)
    assert " ".join(head.split()).startswith("dose 95 % profile, clustered by q floor ceiling slope p_trend n planned")
    assert "unknown" in shown.split("never\n")[1].split("\n\n")[0]
    assert "the rate is the same at every dose" in shown
    emdsl("plot", "half.em", "--measure", "half", "-o", "half.json", cwd=tmp_path)
    chart = json.loads((tmp_path / "half.json").read_text(encoding="utf-8"))
    parts: dict[str, list[dict[str, float]]] = {}
    for value in chart["data"]["values"]:
        parts.setdefault(value["part"], []).append(value)
    assert len(parts["value"]) == N_POINTS
    assert all(v["low"] <= v["value"] <= v["high"] for v in parts["value"])
    assert [v["dose"] for v in parts["measured"]] == [0, 1, 2, 4, 8, 16]
    assert all(30 <= v["n"] <= 48 for v in parts["measured"])
    (k50,) = parts["k50"]
    assert k50["from"] <= k50["dose"] <= k50["to"]
    assert [layer["mark"]["type"] for layer in chart["layer"]] == ["area", "line", "point", "rule", "point"]
    assert {layer["encoding"]["x"].get("title") for layer in chart["layer"]} == {"k"}
    assert "diamond: k50" in " ".join(chart["title"]["subtitle"])
    done = emdsl("plot", "half.em", "--measure", "never", "-o", "never.svg", cwd=tmp_path, code=None)
    assert done.returncode
    assert "measure `never` has no curve: the rate is the same at every dose" in done.stderr
    emdsl("report", "half.em", "-o", "half.html", cwd=tmp_path)
    (picture,) = first_of(tmp_path / "half.html")["figures"]["measures"]["half"]["pictures"]
    assert 'aria-label="half: dose, as curve; the table below has the numbers"' in picture["svg"]
