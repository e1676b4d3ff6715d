"""Verdicts of people in the tables: which rows they reach, and the rates that they correct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from measured import measured

from emdsl.annotation import Shown, Verdict, append, choices_digest
from emdsl.experiment import Clusters
from emdsl.outcomes.annotated import Item
from emdsl.outcomes.corrected import ppi, rogan_gladen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N = 40
STUDY = """
experiment e {{
  for arm in ["a", "b"]
  for q in 1..8
  samples = {n}
  seed = 3
  ask answer from "sim/subject" with "{{arm}} {{q}} {{sample}}"
  judge v with score("{{arm}} {{q}} {{sample}}")
  annotate harm of answer {{ choices = {{ bad: "It harms.", good: "It does not." }}, {settings} }}
  {measures}
}}
"""
DIGEST = choices_digest({"bad": "It harms.", "good": "It does not."})
BY_ARM = "draw = 60, within = [arm]"


def truth(arm: str, q: int, sample: int) -> bool:
    """Whether an answer harms: a third of them."""
    return (7 * q + sample + (arm == "b")) % 3 == 0


def judges(arm: str, q: str, sample: str) -> str:
    """Return a score under 50 for harm; in arm `b` the judge is wrong about every other good answer."""
    harms = truth(arm, int(q), int(sample))
    wrong = arm == "b" and not harms and int(sample) % 2 == 0
    return "10" if harms or wrong else "90"


def study(
    folder: Path, measures: str, settings: str = BY_ARM, *, n: int = N,
    says: Callable[[str, int, int], str | None] = lambda *place: "bad" if truth(*place) else "good",
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:  # fmt: skip
    """Return the tables and notices of a study of which a person judged some texts."""
    (folder / "annotations").mkdir()
    places = [(arm, q, sample) for arm in "ab" for q in range(1, 9) for sample in range(n)]
    append(folder / "annotations" / "harm.ann.jsonl", [
        Verdict(choices=DIGEST, shown=Shown(" ".join(map(str, place)), "answer").digest, rater="ann", label=label)
        for place in places if (label := says(*place)) is not None
    ])  # fmt: skip
    text = STUDY.format(measures=measures, settings=settings, n=n)
    _, tables, notices = measured(text, judges, folder)
    return tables, notices


def items(rows: list[dict[str, Any]], stratum: str) -> list[Item]:
    """Return the draws of a group, as its estimator takes them."""
    return [
        Item(stratum=r[stratum] if stratum else "", clusters=(str(r["q"]),), judged=float(r["v"] < 50),
             person=None if r["harm"] is None else float(r["harm"] == "bad"))
        for r in rows
    ]  # fmt: skip


def test_a_corrected_rate_is_that_of_its_draws(tmp_path: Path) -> None:
    """By arm one stratum, in all two; the interval is clustered by the questions."""
    measures = """measure em = rate(v < 50, via: ppi(harm is bad), interval: wald(0.9, cluster: q)) by arm
      measure rg = rate(v < 50, via: rogan_gladen(harm is bad), interval: wald(0.95, cluster: q)) by arm
      measure whole = rate(v < 50, via: ppi(harm is bad), interval: wald(0.95, cluster: q))"""
    tables, notices = study(tmp_path, measures)
    clusters = Clusters(names=("q",), written=True)
    rows = tables["e"]
    for arm in "ab":
        group = [r for r in rows if r["arm"] == arm]
        assert sum(r["harm"] is not None for r in group) == 60
        for name, method, level in (("em", ppi, 0.9), ("rg", rogan_gladen, 0.95)):
            (shown,) = (r for r in tables[name] if r["arm"] == arm)
            found = method(items(group, ""), level, clusters=clusters)
            assert [shown[c] for c in ("rate", "low", "high", "se", "raw", "sensitivity", "specificity")] == [
                pytest.approx(x) for x in
                (found.value, found.low, found.high, found.error, found.raw, found.sensitivity, found.specificity)
            ]  # fmt: skip
            assert (shown["annotated"], shown["clusters"], shown["clustered_by"]) == (60, 8, "q")
            true = sum(truth(arm, r["q"], r["sample"]) for r in group) / len(group)
            assert shown["low"] < true < shown["high"]
    (whole,) = tables["whole"]
    assert whole["rate"] == pytest.approx(ppi(items(rows, "arm"), 0.95, clusters=clusters).value)
    assert whole["raw"] > 0.45 > whole["high"], "the judge's own rate is far off"
    told = "the errors of the judge differ by group (specificity 0.64 to 1.00): compare only corrected rates"
    assert [n.partition(":")[0] for n in notices] == ["annotation `harm`", "measure `em`", "measure `rg`"]
    assert all(told in n for n in notices[1:])


@pytest.mark.parametrize(
    ("settings", "n_kept", "reasons"),
    [
        ("raters = 1", 640, {None}),
        ("draw = 60", 60, {None, "not_drawn"}),
        (BY_ARM, 120, {None, "not_drawn"}),
        ("draw = 10, within = [arm, q]", 160, {None, "not_drawn"}),
        ("draw = 1_000, within = arm", 640, {None}),
        ("split = 1", 0, {"tuning"}),
    ],
    ids=["all", "one group", "by arm", "by arm and question", "more than there are", "tuning"],
)
def test_rows_of_the_draw(tmp_path: Path, settings: str, n_kept: int, reasons: set[str | None]) -> None:
    """Every group has its number, and what people said about other rows is kept apart."""
    tables, notices = study(tmp_path, "measure people = rate(harm is bad)", settings)
    rows = tables["e"]
    assert sum(r["harm"] is not None for r in rows) == n_kept
    assert {r["harm_missing"] for r in rows} == reasons
    assert all(r["harm_verdict"] == ("bad" if truth(r["arm"], r["q"], r["sample"]) else "good") for r in rows)
    (people,) = tables["people"]
    assert people["n"] == n_kept
    outside = sum(r["harm_missing"] == "not_drawn" for r in rows)
    told = [f"annotation `harm`: {outside} rows have a verdict outside of the draw, which no figure uses"]
    assert notices == (told if outside else [])


@pytest.mark.parametrize(
    ("label", "reason"),
    [("good", "exact"), ("bad", "exact"), (None, "unannotated_stratum")],
)
def test_few_verdicts_never_have_a_normal_interval(tmp_path: Path, label: str | None, reason: str) -> None:
    """Exact ends, or the reason why there are none."""
    tables, _ = study(
        tmp_path, "measure em = rate(v < 50, via: ppi(harm is bad), interval: wald(0.95, cluster: none)) by arm",
        says=lambda *_: label,
    )  # fmt: skip
    for row in tables["em"]:
        assert row["reason"] == reason
        if label is None:
            assert (row["rate"], row["low"], row["high"]) == (None, None, None)
        else:
            end = 1 - 0.025 ** (1 / 60)  # Clopper and Pearson's, of 0 in 60
            wanted = (0.0, 0.0, end) if label == "good" else (1.0, 1 - end, 1.0)
            assert (row["rate"], row["low"], row["high"]) == pytest.approx(wanted)


def test_drawn_rows_without_a_verdict_are_counted(tmp_path: Path) -> None:
    """Texts that people skip are no random ones, and a figure cannot tell."""
    tables, notices = study(
        tmp_path, "measure people = rate(harm is bad)", "raters = 1",
        says=lambda arm, q, sample: ("bad" if truth(arm, q, sample) else "good") if sample % 4 else None,
    )  # fmt: skip
    (people,) = tables["people"]
    assert people["n"] == 480
    (told,) = notices
    assert told.startswith("annotation `harm`: 480 of 640 drawn rows have a verdict; figures take the others")
