"""experiments/field/judge_panel.em over verdicts written by hand, against its formulas worked out without our code."""

from __future__ import annotations

import itertools
import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import scipy.stats
from by_hand import Filled, filled, pending, study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JUDGES = ("one", "two", "three")
# Of each answer: the score of each judge and the first letter of its label. One reply has no verdict.
VERDICTS: dict[str, tuple[tuple[int, str] | None, ...]] = {
    "tea": ((5, "H"), (4, "H"), (5, "H")),
    "plants": ((3, "H"), (4, "H"), (2, "U")),
    "email": ((4, "H"), (4, "H"), (4, "H")),
    "haiku": ((2, "U"), (3, "H"), (2, "U")),
    "sum": ((5, "H"), (5, "H"), (5, "H")),
    "bike": ((1, "U"), (2, "U"), (1, "U")),
    "pack": ((4, "H"), (2, "U"), (3, "U")),
    "explain": ((3, "U"), (3, "H"), (4, "H")),
    "summary": ((5, "H"), None, (3, "U")),
    "name": ((2, "U"), (1, "U"), (3, "H")),
}
NAMES = {"H": "HELPFUL", "U": "UNHELPFUL"}
Unit = list[Any]


@cache
def panel() -> Filled:
    def written(step: str, labels: Mapping[str, str]) -> str:
        if step == "answer":
            return f"An answer about {labels['r']}."
        verdict = VERDICTS[labels["r"]][JUDGES.index(step)]
        return (
            json.dumps({"score": verdict[0], "label": NAMES[verdict[1]]}) if verdict else "I would say that it is fine."
        )

    return filled(study("field/judge_panel.em"), written)


def row_of(measure: str) -> dict[str, Any]:
    (row,) = panel().measures[measure]
    return row


def student(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a mean with both ends of Student's interval."""
    n, mean = len(values), math.fsum(values) / len(values)
    error = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1) / n)
    half = float(scipy.stats.t.ppf(0.975, n - 1)) * error
    return mean, mean - half, mean + half


def whole() -> list[list[tuple[int, str]]]:
    """Return the verdicts about the answers that all three judges have judged."""
    return [[v for v in verdicts if v] for verdicts in VERDICTS.values() if None not in verdicts]


@pytest.mark.parametrize(("measure", "of"), [("panel_median", 1), ("panel_mean", None)])
def test_the_score_of_the_panel(measure: str, of: int | None) -> None:
    """The median or the mean of three scores, of each answer that all three have scored."""
    scores = [sorted(score for score, _ in verdicts) for verdicts in whole()]
    values = [math.fsum(three) / 3 if of is None else three[of] for three in scores]
    row = row_of(measure)
    assert [row[c] for c in ("mean", "low", "high")] == pytest.approx(student(values), abs=1e-9)
    assert (row["n"], row["dropped"]) == (9, {"unreadable": 1})


@pytest.mark.parametrize("measure", ["panel_label", *(f"rate_{judge}" for judge in JUDGES)])
def test_the_majority_and_the_rate_of_each_judge(measure: str) -> None:
    """The label of two judges or three; the share of answers that one judge calls helpful, of those it has judged."""
    if measure == "panel_label":
        labels = [[label for _, label in verdicts].count("H") >= 2 for verdicts in whole()]
    else:
        place = JUDGES.index(measure.removeprefix("rate_"))
        labels = [v[1] == "H" for verdicts in VERDICTS.values() if (v := verdicts[place])]
    mean, low, high = student(labels)
    row = row_of(measure)
    found = [row[c] for c in ("rate", "low", "high")]
    assert found == pytest.approx([mean, max(0.0, low), min(1.0, high)], abs=1e-9)
    assert (row["hits"], row["n"]) == (sum(labels), len(labels))


def alpha(units: list[Unit], *, ordinal: bool) -> float:
    """Return Krippendorff's alpha (2011, sections C and D): a matrix of coincidences, and distances of its values."""
    values = sorted({v for unit in units for v in unit})
    observed = dict.fromkeys(itertools.product(values, values), 0.0)
    for unit in units:
        for pair in itertools.permutations(unit, 2):
            observed[pair] += 1 / (len(unit) - 1)
    count = {v: math.fsum(observed[v, w] for w in values) for v in values}

    def distance(one: Any, other: Any) -> float:
        if not ordinal:
            return float(one != other)
        between = [count[v] for v in values if min(one, other) <= v <= max(one, other)]
        return (math.fsum(between) - (count[one] + count[other]) / 2) ** 2

    pairs = list(itertools.product(values, values))
    expected = math.fsum(count[a] * count[b] * distance(a, b) for a, b in pairs) / (math.fsum(count.values()) - 1)
    return 1 - math.fsum(observed[p] * distance(*p) for p in pairs) / expected


@pytest.mark.parametrize(("measure", "part"), [("scores_agree", 0), ("labels_agree", 1)])
def test_the_agreement_of_all_three(measure: str, part: int) -> None:
    """Alpha of the answers with two verdicts or three; the jackknife over ten answers, with Student's quantile."""
    units = [[v[part] for v in verdicts if v] for verdicts in VERDICTS.values()]
    value = alpha(units, ordinal=part == 0)
    left = [alpha(units[:i] + units[i + 1 :], ordinal=part == 0) for i in range(10)]
    mean = math.fsum(left) / 10
    error = math.sqrt(0.9 * math.fsum((x - mean) ** 2 for x in left))
    half = float(scipy.stats.t.ppf(0.975, 9)) * error
    row = row_of(measure)
    found = [row[c] for c in ("agreement", "low", "high", "se")]
    assert found == pytest.approx([value, value - half, min(1.0, value + half), error], abs=1e-9)
    assert row["n"] == 10


FOURTH = "  judge four  with help(r.request, answer) from gpt { temperature = 1 }\n\n  let middle"


@pytest.mark.parametrize(
    ("old", "new", "judge"),
    [
        ("answer) from sonnet", "answer) from sonnet { temperature = 0.5 }", "two"),
        ('"google/gemini-2.5-flash"', '"google/gemini-2.5-pro"', "three"),
        ("\n  let middle", FOURTH, "four"),
    ],
)
def test_a_judge_that_is_edited_or_added_sends_its_own_requests_alone(old: str, new: str, judge: str) -> None:
    """No answer is sent again, and no verdict of another judge."""
    _, missing = pending(study("field/judge_panel.em", (old, new)), panel().store)
    assert [step for _, step in missing] == [judge] * 10
