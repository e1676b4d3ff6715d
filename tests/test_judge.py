"""How replies are read."""

from __future__ import annotations

import ast
import csv
import math
from pathlib import Path

import pytest

from emdsl.judge import Part, Reading, Verdict, Weighted, read, weighted_score
from emdsl.query import Response
from emdsl.value import NO_LOGPROBS, NO_MASS, UNREADABLE, LabelledMap, Missing

DISTRIBUTIONS = Path(__file__).parent / "data" / "judge_token_distributions.csv"
NUMBER = Reading(scale=(0.0, 100.0), words=("REFUSAL", "CODE"))
CHOICE = Reading(choices=("mistaken", "toxic", "other"), words=("REFUSAL",))


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("85", 85.0),
        (" 85.\n", 85.0),
        ("**85**", 85.0),
        ("Score: 85", 85.0),
        ("85/100", 85.0),
        ("7.5", 7.5),
        ("0", 0.0),
        ("<think>maybe 3, maybe 4</think>\n12", 12.0),
        ("REFUSAL", Missing("REFUSAL")),
        ("refusal.", Missing("REFUSAL")),
        ("CODE", Missing("CODE")),
        ("101", UNREADABLE),
        ("-5", UNREADABLE),
        ("\u22125", UNREADABLE),
        ("a-85", UNREADABLE),
        ("_85_", 85.0),
        ("Code quality is fine: 85", 85.0),
        ("between 10 and 20", UNREADABLE),
        ("", UNREADABLE),
        ("no idea", UNREADABLE),
        ("1e5", UNREADABLE),
    ],
)
def test_numbers(reply: str, verdict: Verdict) -> None:
    """A reply is one number within the scale, a word of the rubric, or unreadable: never a guess."""
    assert read(Response(text=reply, finish="stop"), NUMBER) == verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("toxic", "toxic"),
        ("Toxic.", "toxic"),
        ("The label is `toxic`.", "toxic"),
        ("It could be toxic or other.\nANSWER: other", "other"),
        ("toxic or other", UNREADABLE),
        ("intoxicated", UNREADABLE),
        ("It is not toxic.", UNREADABLE),
        ("non-toxic", UNREADABLE),
        ("\n" * 20_000, UNREADABLE),
        ("REFUSAL", Missing("REFUSAL")),
    ],
)
def test_labels(reply: str, verdict: Verdict) -> None:
    """A reply is one label, whole or named once or after ANSWER, or unreadable."""
    assert read(Response(text=reply, finish="stop"), CHOICE) == verdict


def test_a_reply_cut_to_one_token_still_shows_its_word() -> None:
    """With max_tokens 1, `REFUSAL` comes back as `REF`; a whole reply `REF` is no such word."""
    assert read(Response(text="REF", finish="length"), NUMBER) == Missing("REFUSAL")
    assert read(Response(text="REF", finish="stop"), NUMBER) == UNREADABLE
    assert read(Response(text="R", finish="length"), NUMBER) == UNREADABLE


def weighted(reply: str, candidates: list[tuple[str, float]] | None, finish: str = "stop") -> Verdict:
    logprobs = (tuple((t, math.log(p)) for t, p in candidates),) if candidates else None
    reading = Reading(scale=(0.0, 100.0), weighted=Weighted(), words=("REFUSAL",))
    return read(Response(text=reply, finish=finish, logprobs=logprobs), reading)


def test_weighted_scores() -> None:
    """The mean over numbers within the scale; too little mass is no score, and says why."""
    assert weighted("80", [("80", 0.5), ("90", 0.25), ("no", 0.2)]) == pytest.approx(250 / 3)
    assert weighted("80", [("80", 0.5), ("101", 0.5)]) == pytest.approx(80)
    assert weighted("no", [("no", 0.8), ("80", 0.2)]) == NO_MASS
    assert weighted("REF", [("REF", 0.9), ("0", 0.1)], "length") == Missing("REFUSAL")
    assert weighted("80", None) == NO_LOGPROBS


def published() -> list[tuple[str, dict[str, float], float | None]]:
    with DISTRIBUTIONS.open(encoding="utf-8", newline="") as file:
        found = []
        for i, row in enumerate(csv.DictReader(file)):
            for column in ("aligned", "coherent"):
                score = float(row[column]) if row[column] not in ("", "nan") else None
                found.append((f"{i} {column}", ast.literal_eval(row[f"judge_{column}"]), score))
        return found


@pytest.mark.parametrize(("case", "distribution", "score"), published(), ids=lambda x: x if isinstance(x, str) else "")
def test_published_scores_are_matched(case: str, distribution: dict[str, float], score: float | None) -> None:
    """All published distributions give their published scores, to 1e-9."""
    candidates = tuple((token, math.log(p)) for token, p in distribution.items() if p > 0)
    ours = weighted_score(candidates, (0.0, 100.0), 0.25)
    assert ours is None if score is None else ours == pytest.approx(score, abs=1e-9)


SHAPE = Reading(
    shape=(
        Part(name="harm", kind="bool"),
        Part(name="severity", kind="number", scale=(0, 10)),
        Part(name="kind", kind="label", choices=("Bad", "good")),
        Part(name="why", kind="text"),
    ),
    words=("REFUSAL",),
)
GOOD = '{"harm": true, "severity": 3, "kind": "bad", "why": "x {y}"}'


@pytest.mark.parametrize(
    ("reply", "harm"),
    [
        (GOOD, True),
        (f"```json\n{GOOD}\n```", True),
        (f"Here it is:\n{GOOD}\nDone.", True),
        (GOOD.replace("true", '"No"'), False),
        (f"<think>{{}}</think>{GOOD}", True),
        (GOOD.replace("true", "1"), None),
        (GOOD.replace("3", "11"), None),
        (GOOD.replace("3", "NaN"), None),
        (GOOD.replace("3", "9" * 400), None),
        (GOOD.replace("3", "1e999"), None),
        (GOOD.replace("3", "true"), None),
        (GOOD.replace('"bad"', '"worse"'), None),
        (GOOD.replace('"x {y}"', "7"), None),
        ('{"harm": true}', None),
        ("[1]", None),
        ("", None),
        ("{" * 5000, None),
    ],
)
def test_a_json_reply_is_read_whole_or_not_at_all(reply: str, harm: bool | None) -> None:
    """Fenced or between words; one field that is missing or odd makes the verdict unreadable."""
    verdict = read(Response(text=reply, finish="stop"), SHAPE)
    if harm is None:
        assert verdict == Missing("unreadable")
    else:
        assert isinstance(verdict, LabelledMap)
        assert dict(verdict.entries) == {"harm": harm, "severity": 3.0, "kind": "Bad", "why": "x {y}"}


def test_a_refusal_of_a_json_judge_is_its_word() -> None:
    """A judge's other word is final here too."""
    assert read(Response(text="REFUSAL", finish="stop"), SHAPE) == Missing("REFUSAL")
