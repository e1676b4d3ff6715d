"""Labels read from token probabilities: whose candidates they are, which one is the verdict, and why there is none."""

from __future__ import annotations

import ast
import csv
import math

import pytest
from support import verdict_of
from test_judge import DISTRIBUTIONS

from emdsl.judge import Verdict, token_weights
from emdsl.logprobs import LabelWeights
from emdsl.query import Response
from emdsl.reply_format import ReplyFormat, Weighted
from emdsl.value import NO_LOGPROBS, NO_MASS, SPLIT_LABEL, Missing

TRAIT = ReplyFormat(choices=("YES", "NO"), weighted=Weighted(), words=("REFUSAL", "CODE"))
SAFETY = ReplyFormat(choices=("safe", "unsafe", "unsure"), weighted=Weighted())
LETTERS = ReplyFormat(choices=("A", "B", "C"), weighted=Weighted())
WHOLE = ("80", "85", "90", "100")  # labels of the published distributions; `10` is another number
REFUSAL = Missing("REFUSAL")
GPT = {"yes": -5.512236498361744e-07, " yes": -14.500000953674316, "Yes": -19.625, "YES": -20.875, "ye": -21.25}
DEEPSEEK = {
    "Yes": 0.0, "Most": -172.36865, "Whether": -235.70471, "The": -251.10486, "**": -304.20667, "B": -338.26758,
    "Generally": -339.76685, "Certainly": -357.7478, "Not": -391.34668, "In": -420.53528,
}  # fmt: skip  # two answers that servers gave, as logarithms


def reply(candidates: dict[str, float], text: str = "", finish: str = "stop") -> Response:
    """Return the reply of one token with its candidates by probability; `text` is the first candidate."""
    logprobs = tuple((token, math.log(p)) for token, p in candidates.items() if p > 0)
    return Response(text=text or next(iter(candidates)), finish=finish, logprobs=(logprobs,))


def weights_of(response: Response, reply_format: ReplyFormat) -> LabelWeights:
    weights = token_weights(response, response.text, reply_format)
    assert isinstance(weights, LabelWeights)
    return weights


@pytest.mark.parametrize(
    ("candidates", "verdict", "p_yes", "mass", "word_mass"),
    [
        ({"YES": 0.6, "NO": 0.3}, "YES", 0.6 / 0.9, 0.9, 0),
        ({"NO": 0.6, "YES": 0.3}, "NO", 0.3 / 0.9, 0.9, 0),
        ({"NO": 0.3, "YES": 0.6}, "YES", 0.6 / 0.9, 0.9, 0),  # the most probable one, whatever was sampled
        ({"YES": 0.5, " Yes": 0.2, "yes": 0.1, "\u0120YES": 0.05, "YES.": 0.05, "NO": 0.1}, "YES", 0.9, 1.0, 0),
        ({"**YES": 0.5, "(NO": 0.25, '"NO"': 0.25}, "YES", 0.5, 1.0, 0),
        ({"YE": 0.5, "NO": 0.3}, "YES", 0.5 / 0.8, 0.8, 0),  # a token of two letters begins it
        ({"Y": 0.5, "NO": 0.3}, "NO", 0, 0.3, 0),  # one of one letter may begin anything
        ({"YES": 0.5, "NOT": 0.5}, "YES", 1, 0.5, 0),
        ({"YES": 0.5, "yesterday": 0.5}, "YES", 1, 0.5, 0),
        ({"YES": 0.5, "\ufffd": 0.25, "": 0.25}, "YES", 1, 0.5, 0),
        ({"YES": 0.4, "NO": 0.1, "REF": 0.3, "CODE": 0.2}, "YES", 0.8, 0.5, 0.5),
        ({"REF": 0.5, "YES": 0.3, "NO": 0.2}, REFUSAL, 0.6, 0.5, 0.5),
        ({"YES": 0.25, "no": 0.0, "Well": 0.75}, "YES", 1, 0.25, 0),
        ({"YES": 0.24, "Well": 0.76}, NO_MASS, 1, 0.24, 0),
        ({"YES": 0.3, "NO": 0.3, "REF": 0.3}, "YES", 0.5, 0.6, 0.3),  # equal: the first one
    ],
)
def test_labels_are_weighed_by_the_tokens_that_begin_them(
    candidates: dict[str, float], verdict: Verdict, p_yes: float, mass: float, word_mass: float
) -> None:
    """Case, blanks and punctuation do not count; the verdict is the most probable label, or a more probable word."""
    weights = weights_of(reply(candidates), TRAIT)
    assert (weights.share("YES"), weights.mass, weights.word_mass) == pytest.approx((p_yes, mass, word_mass))
    assert verdict_of(reply(candidates), TRAIT) == verdict


@pytest.mark.parametrize(("logprobs", "p_yes"), [(GPT, 1), (DEEPSEEK, 1)])
def test_answers_of_servers_are_weighed(logprobs: dict[str, float], p_yes: float) -> None:
    """`ye` begins a label; neither `Not` nor a logarithm of -420 does."""
    said = Response(text=next(iter(logprobs)), finish="stop", logprobs=(tuple(logprobs.items()),))
    weights = weights_of(said, TRAIT)
    by_hand = sum(math.exp(x) for token, x in logprobs.items() if token.strip().lower() in ("yes", "ye"))
    assert (weights.share("YES"), weights.mass) == pytest.approx((p_yes, by_hand), abs=1e-12)
    assert verdict_of(said, TRAIT) == "YES"


def distributions() -> list[tuple[str, dict[str, float]]]:
    with DISTRIBUTIONS.open(encoding="utf-8", newline="") as file:
        return [
            (f"{i} {column}", ast.literal_eval(row[f"judge_{column}"]))
            for i, row in enumerate(csv.DictReader(file))
            for column in ("aligned", "coherent")
        ]


@pytest.mark.parametrize("least", [0.0, 0.25])
def test_published_distributions_are_shared_out_as_by_hand(least: float) -> None:
    """P(label) / (sum over all labels) of each published distribution of a judge's tokens, to 1e-12."""
    reply_format = ReplyFormat(choices=WHOLE, weighted=Weighted(mass=least))
    verdicts = []
    for case, distribution in distributions():
        by_hand = {label: distribution.get(label, 0.0) for label in WHOLE}
        total = math.fsum(by_hand.values())
        said = reply(distribution)
        weights = weights_of(said, reply_format)
        assert weights.mass == pytest.approx(total, abs=1e-12), case
        if total:
            shares = {label: weights.share(label) for label in WHOLE}
            assert shares == pytest.approx({label: p / total for label, p in by_hand.items()}, abs=1e-12), case
        wanted = max(WHOLE, key=by_hand.__getitem__) if total and total >= least else NO_MASS
        assert verdict_of(said, reply_format) == wanted, case
        verdicts.append(wanted)
    assert len(verdicts) == 140
    assert 1 < len(set(verdicts)) <= len(WHOLE) + 1


@pytest.mark.parametrize(
    ("candidates", "verdict"),
    [
        ({"safe": 0.5, "un": 0.5}, SPLIT_LABEL),
        ({"safe": 0.98, "un": 0.02}, SPLIT_LABEL),
        ({"safe": 0.995, "un": 0.005}, "safe"),  # at most 1 % is left out
        ({"unsafe": 0.6, "unsure": 0.3}, "unsafe"),
        ({"unsa": 0.6, "unsu": 0.3}, "unsafe"),
        ({"un": 0.2, "Well": 0.8}, NO_MASS),
        ({"un": 0.9, "Well": 0.1}, SPLIT_LABEL),
    ],
)
def test_a_beginning_of_several_labels_is_none_of_them(candidates: dict[str, float], verdict: Verdict) -> None:
    """More than a hundredth of the probability on such beginnings leaves all labels in doubt."""
    assert verdict_of(reply(candidates), SAFETY) == verdict


def test_a_beginning_of_a_label_and_of_a_word_is_neither() -> None:
    """`REF` may be the refusal or the label."""
    reply_format = ReplyFormat(choices=("REFLECTS", "OTHER"), weighted=Weighted(), words=("REFUSAL",))
    weights = weights_of(reply({"REF": 0.5, "OTHER": 0.5}), reply_format)
    assert (weights.mass, weights.word_mass, weights.shared) == pytest.approx((0.5, 0, 0.5))
    assert verdict_of(reply({"REF": 0.5, "OTHER": 0.5}), reply_format) == SPLIT_LABEL


@pytest.mark.parametrize(
    ("text", "tokens", "verdict"),
    [
        ("A", ["A"], "A"), (" A", ["\u0120A"], "A"), ("(A)", ["(A", ")"], "A"), ("(A)", ["(", "A", ")"], "A"),
        ("**B**", ["**", "B", "**"], "B"), ("B) Paris", ["B", ")", " Paris"], "B"), ("\nC", ["\n", "C"], "C"),
        ("<think>A or B</think>\nC", ["<think>", "A", " or", " B", "</think>", "\n", "C"], "C"),
        ("C", ["A", " or", " B", "</think>", "C"], "C"), ("The answer is A", ["The", " answer", " is", " A"], NO_MASS),
        ("A", ["B"], NO_LOGPROBS),
    ],
)  # fmt: skip
@pytest.mark.parametrize("chosen", [True, False])
def test_the_first_token_of_a_label_is_behind_reasoning_and_punctuation(
    text: str, tokens: list[str], verdict: Verdict, chosen: bool
) -> None:
    """Positions are matched with the text as for scores; opening punctuation of its own token is passed over."""
    logprobs = tuple(((t, -0.1),) for t in tokens)
    said = Response(text=text, finish="stop", logprobs=logprobs, tokens=tuple(tokens) if chosen else None)
    assert verdict_of(said, LETTERS) == verdict


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (Response(text="YES", finish="stop"), NO_LOGPROBS),
        (reply({"REFUSAL": 0.9, "YES": 0.1}), REFUSAL),
        (reply({"Code": 0.2, "I": 0.8}, "Code"), Missing("CODE")),  # too little mass: the word that is the reply
        (reply({"REF": 0.2, "I": 0.8}, "REF", "length"), REFUSAL),
        (reply({"I": 0.9, "YES": 0.1}, "I", "length"), NO_MASS),
    ],
)
def test_a_verdict_that_is_missing_says_why(said: Response, verdict: Verdict) -> None:
    """Without probabilities, without mass, or because the judge refused."""
    assert verdict_of(said, TRAIT) == verdict


def test_no_mass_at_all_is_no_label() -> None:
    """Even if no mass is demanded."""
    reply_format = ReplyFormat(choices=("YES", "NO"), weighted=Weighted(mass=0.0))
    assert verdict_of(reply({"I": 1.0}), reply_format) == NO_MASS


@pytest.mark.parametrize(("token", "label"), [("10", "10-19"), ("20", "20-29"), ("2", NO_MASS), ("200", NO_MASS)])
def test_digits_begin_a_range_but_no_longer_number(token: str, label: Verdict) -> None:
    """The number behind `10` may go on with a dash, not with a digit."""
    reply_format = ReplyFormat(choices=("10-19", "20-29", "2000"), weighted=Weighted())
    assert verdict_of(reply({token: 0.9}), reply_format) == label


def test_letters_of_other_scripts_begin_labels() -> None:
    """One of them says as much as two Latin ones."""
    reply_format = ReplyFormat(choices=("\u5b89\u5168", "\u5371\u9669"), weighted=Weighted())
    assert verdict_of(reply({"\u5371": 0.7, "\u5b89\u5168": 0.3}), reply_format) == "\u5371\u9669"


def test_fields_of_a_weighed_label() -> None:
    """Where the mass lies, and the probability of each label."""
    assert TRAIT.fields == ("mass", "word_mass", "p(YES)", "p(NO)")
    assert TRAIT.weighs
    assert not ReplyFormat(choices=("YES", "NO")).fields
