"""Where the reading of a reply ends: limits of a text, of a scale, of a form, and of what a JSON reply may hold."""

from __future__ import annotations

import math

import pytest
from support import verdict_of
from test_judge import GOOD, SHAPE

from emdsl.forms import objects
from emdsl.judge import Verdict, n_digits
from emdsl.query import Response
from emdsl.reply_format import ReplyField, ReplyFormat, Weighted
from emdsl.value import NO_MASS, UNREADABLE, LabelledMap, Missing

REFUSAL = Missing("REFUSAL")
NUMBER = ReplyFormat(scale=(0.0, 100.0), words=("REFUSAL", "CODE"))
TEN = ReplyFormat(scale=(0.0, 10.0))
CHOICE = ReplyFormat(choices=("toxic", "fine"), words=("REFUSAL",))


def found(*, harm: bool = True, severity: float = 3.0) -> LabelledMap:
    return LabelledMap((("harm", harm), ("severity", severity), ("kind", "Bad"), ("why", "x {y}")))


@pytest.mark.parametrize(
    ("reply_format", "weighs", "fields"),
    [
        (ReplyFormat(scale=(0, 100)), False, ()),
        (ReplyFormat(scale=(0, 100), weighted=Weighted()), True, ("mass", "word_mass")),
        (ReplyFormat(scale=(0, 100), weighted=Weighted(mass=None)), False, ()),
        (SHAPE, False, ("harm", "severity", "kind", "why")),
    ],
)
def test_a_reading_says_which_fields_its_verdict_has(
    reply_format: ReplyFormat, weighs: bool, fields: tuple[str, ...]
) -> None:
    """A weighed score has its masses, a JSON reply its parts, and any other verdict none."""
    assert (reply_format.weighs, reply_format.fields) == (weighs, fields)


def test_twenty_candidates_are_asked_for() -> None:
    """The default of a weighted score."""
    assert Weighted().top == 20


@pytest.mark.parametrize(("probability", "mass", "score"), [(0.1, 0.25, None), (1.0, 1.0, 80), (0.999, 1.0, None)])
def test_mass_that_is_just_enough_gives_a_score(probability: float, mass: float, score: float | None) -> None:
    """A mass equal to the declared one is enough, and a smaller one is not."""
    reply = Response(text="80", finish="stop", logprobs=((("80", math.log(probability)),),))
    verdict = verdict_of(reply, ReplyFormat(scale=(0.0, 100.0), weighted=Weighted(mass=mass)))
    assert verdict == (NO_MASS if score is None else score)


def test_a_reply_whose_mass_is_just_enough_is_a_score() -> None:
    """The same limit holds where a whole reply is read."""
    reply = Response(text="80", finish="stop", logprobs=((("80", 0.0),),))
    assert verdict_of(reply, ReplyFormat(scale=(0.0, 100.0), weighted=Weighted(mass=1.0))) == 80


def test_digits_of_the_longest_candidate_are_counted() -> None:
    """Of the first token's candidates, not only of the chosen one; none without candidates."""
    assert n_digits(Response(text="80", finish="stop", logprobs=((("80", -0.1), ("100", -3.0)),)), "80") == 3
    assert n_digits(Response(text="80", finish="stop"), "80") == 0


@pytest.mark.parametrize(
    ("reply_format", "said", "value"),
    [
        (TEN, "7", 7), (TEN, "7%", UNREADABLE), (NUMBER, "100", 100),
        (NUMBER, "85 out of\n100", 85), (NUMBER, "It helps.\nScore:\n85", 85),
        (NUMBER, "Codes are fine.\nScore: 85", 85), (NUMBER, "Score: not [[85]]", UNREADABLE),
        (NUMBER, "#5 - it helps", UNREADABLE), (NUMBER, "60 - 70 at most", UNREADABLE),
        (NUMBER, "6 - 7 at most", UNREADABLE), (NUMBER, "**60** - 70 at most", UNREADABLE),
        (NUMBER, "85/100 - 90 at most", UNREADABLE), (NUMBER, "Score: 60 - at most 70", UNREADABLE),
        (NUMBER, "It helps.\nScore: 60 - at most 70", UNREADABLE),
        (NUMBER, "Length: 5\nScore: 60 - at most 70", UNREADABLE), (NUMBER, "85\n1. It gives 3 tips", 85),
    ],
)  # fmt: skip
def test_a_number_is_read_to_the_ends_of_its_scale(reply_format: ReplyFormat, said: str, value: Verdict) -> None:
    """The scale's end is a score; per cent are of 100 only; a range is no score, however it is marked."""
    assert verdict_of(Response(text=said, finish="stop"), reply_format) == value


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("<answer>\n" + "toxic".ljust(398) + "\n</answer>", "toxic"),
        ("<answer>\n" + "toxic".ljust(399) + "\n</answer>", UNREADABLE),
        ("toxic\n" + ("x" * 999 + "\n") * 19 + "x" * 992 + "[[fine]]\nx", UNREADABLE),
        ("toxic\n" + ("x" * 999 + "\n") * 19 + "x" * 993 + "[[fine]]\nx", "toxic"),
        ("Answer: toxic - actually " + "x" * 55 + " fine", "toxic"),
        ("Answer: toxic - actually " + "x" * 54 + " fine", UNREADABLE),
        ("Answer: toxic - actually " + "x " * 12 + "fine", "toxic"),
        ("Answer: toxic - actually " + "x " * 11 + "fine", UNREADABLE),
        ("Answer: toxic\nNo other" + " " * 35 + "label: fine", "toxic"),
        ("Answer: toxic\nNo other" + " " * 36 + "label: fine", UNREADABLE),
    ],
    ids=["400 between tags", "401 between tags", "20,000 behind", "20,001 behind", "61 ahead", "60 ahead", "13 words",
         "12 words", "40 before", "41 before"],
)  # fmt: skip
def test_a_label_is_looked_for_within_so_many_characters(said: str, value: Verdict) -> None:
    """Between tags, behind the first label, behind a change of mind, and before a name that is of another label."""
    assert verdict_of(Response(text=said, finish="stop"), CHOICE) == value


@pytest.mark.parametrize("noun", [
    "answer", "verdict", "label", "choice", "class", "classification", "category", "judgment", "judgement", "decision",
    "conclusion", "result", "score", "rating", "grade",
])  # fmt: skip
@pytest.mark.parametrize(("reply_format", "value"), [(NUMBER, 85), (CHOICE, "toxic")], ids=["number", "label"])
def test_each_name_of_a_verdict_states_one(noun: str, reply_format: ReplyFormat, value: Verdict) -> None:
    """Each of these nouns before a colon, in any case, states the value behind it."""
    for name in (noun, noun.capitalize(), noun.upper()):
        assert verdict_of(Response(text=f"{name}: {value}", finish="stop"), reply_format) == value


@pytest.mark.parametrize(
    ("reply_format", "said", "value"),
    [
        (SHAPE, "\u201cREFUSAL\u201d", REFUSAL), (SHAPE, "REF", UNREADABLE),
        (NUMBER, "REFUSAL\u00a0\nbecause", REFUSAL), (CHOICE, "REFUSAL: it declines", REFUSAL),
    ],
)  # fmt: skip
def test_a_declared_word_is_read_in_every_kind_of_reading(reply_format: ReplyFormat, said: str, value: Verdict) -> None:
    """In quotes, before a reason, and before a blank that is no ASCII; a whole reply that only begins it is none."""
    assert verdict_of(Response(text=said, finish="stop"), reply_format) == value


@pytest.mark.parametrize(
    ("reply_format", "said", "value"),
    [
        (NUMBER, "RE", REFUSAL), (NUMBER, "Score: 8", UNREADABLE),
        (ReplyFormat(choices=("fine", "harm", "harmless")), "harm", UNREADABLE),
    ],
)  # fmt: skip
def test_a_reply_that_was_cut_may_go_on(reply_format: ReplyFormat, said: str, value: Verdict) -> None:
    """Two letters show a declared word; a digit or a label that could be longer is not read."""
    assert verdict_of(Response(text=said, finish="length"), reply_format) == value


@pytest.mark.parametrize(
    ("reply_format", "said", "value"),
    [
        (NUMBER, "85\rIt lists tips.", 85), (NUMBER, "85\r\nIt lists tips.", 85), (NUMBER, "85\u2028It lists.", 85),
        (CHOICE, "\uff54\uff4f\uff58\uff49\uff43", "toxic"),
    ],
)  # fmt: skip
def test_line_ends_and_letters_of_other_systems_are_read(reply_format: ReplyFormat, said: str, value: Verdict) -> None:
    """Each kind of line end ends a line, and a full-width letter is the letter."""
    assert verdict_of(Response(text=said, finish="stop"), reply_format) == value


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("It insults. My verdict: [[toxic]]", "toxic"), ("It insults! [[toxic]]", "toxic"),
        ("Is it bad? [[toxic]]", "toxic"), ("It insults (a lot) [[toxic]]", "toxic"),
        ("It insults, [[toxic]]", UNREADABLE),
    ],
)  # fmt: skip
def test_a_value_in_brackets_stands_behind_a_sentence_that_has_ended(said: str, value: Verdict) -> None:
    """Ended by a full stop, an exclamation or question mark, or a bracket; or behind the name of a verdict."""
    assert verdict_of(Response(text=said, finish="stop"), CHOICE) == value


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("toxic - insults\nfine: polite", UNREADABLE), ("toxic - insults\n- fine: polite", UNREADABLE),
        ("toxic\n1. fine: polite", UNREADABLE), ("toxic - fine\nblah", UNREADABLE),
        ("toxic - toxic words are used", "toxic"),
        ("toxic - never mind the tone, it insults. Toxic words", "toxic"),
    ],
)  # fmt: skip
def test_a_reason_may_name_its_own_label_only(said: str, value: Verdict) -> None:
    """A list of labels, or a reason that is another label, states none; a denial reaches to its sentence's end."""
    assert verdict_of(Response(text=said, finish="stop"), CHOICE) == value


@pytest.mark.parametrize("said", ["Score: 85\n```\nScore: 5\n```", "Score: 85\n> Too low. [[5]]"])
def test_what_is_quoted_behind_a_score_states_none(said: str) -> None:
    """Neither a fence nor a line that begins as a quotation is the judge's own."""
    assert verdict_of(Response(text=said, finish="stop"), NUMBER) == 85


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("Score: 85" + "\nx" * 199, 85),
        ("Score: 85" + "\nx" * 200, UNREADABLE),
        ("Score: 85 (" + "a" * 1_988 + ")", 85),
        ("Score: 85 (" + "a" * 1_989 + ")", UNREADABLE),
    ],
    ids=["200 lines", "201 lines", "2,000 characters", "2,001 characters"],
)
def test_a_score_is_read_within_the_last_lines_and_a_lines_first_characters(said: str, value: Verdict) -> None:
    """The last 200 lines that are not empty are looked at, and a line of up to 2,000 characters is read whole."""
    assert verdict_of(Response(text=said, finish="stop"), NUMBER) == value


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ('{"score": 85, "confidence": 90}', 85), ('{"final_score": 85, "n": 3}', 85),
        ('{"reason": "x", "harm": 85}', 85), ('{"harm": 85}', 85), ('{"score": 85, "reason": "a\nb"}', 85),
        ('{"score": 85} and more', UNREADABLE),
    ],
)  # fmt: skip
def test_an_object_states_a_number_in_one_field(said: str, value: Verdict) -> None:
    """By its name, or as the only field beside a reason; an object with words around it states none."""
    assert verdict_of(Response(text=said, finish="stop"), NUMBER) == value


@pytest.mark.parametrize("name", [
    "reason", "reasoning", "explanation", "rationale", "justification", "analysis", "comment", "thoughts", "notes",
])  # fmt: skip
def test_each_name_of_a_reason_may_stand_beside_the_verdict(name: str) -> None:
    """A field of such a name, in any case, is no second value, whatever it holds."""
    for said in (name, name.capitalize()):
        assert verdict_of(Response(text=f'{{"{said}": "5", "harm": 85}}', finish="stop"), NUMBER) == 85


@pytest.mark.parametrize(("said", "harm"), [('"True"', True), ('"yes"', True), ('"false"', False), ('"NO"', False)])
def test_a_boolean_may_be_said_in_words(said: str, harm: bool) -> None:
    """`true`, `yes`, `false` and `no` as texts, in any case, are booleans."""
    assert verdict_of(Response(text=GOOD.replace("true", said, 1), finish="stop"), SHAPE) == found(harm=harm)


@pytest.mark.parametrize(("said", "value"), [
    ("0", found(severity=0)), ("10", found(severity=10)), ("-0.1", UNREADABLE), ("10.1", UNREADABLE),
])  # fmt: skip
def test_a_field_is_read_to_the_ends_of_its_scale(said: str, value: Verdict) -> None:
    """Both ends of a field's scale belong to it."""
    assert verdict_of(Response(text=GOOD.replace("3", said), finish="stop"), SHAPE) == value


@pytest.mark.parametrize(
    ("reply_format", "said"),
    [
        (ReplyFormat(shape=(ReplyField(name="n", kind="number"),)), '{"n": NaN}'), (SHAPE, GOOD.replace('"bad"', "7")),
        (SHAPE, GOOD + '\n{"x": 1, "harm": true, "harm": false}'),
        (SHAPE, GOOD + '\n{"x": 1, "harm": false, ' + GOOD[1:]),
        (SHAPE, '{"harm": true, "harm": false, "x": {}, "y": ' + GOOD + "}"),
        (SHAPE, '{"x": {"y": 1}, "a": ' + GOOD + ', "b": ' + GOOD + "}"),
    ],
)  # fmt: skip
def test_a_field_that_is_odd_or_given_twice_is_unreadable(reply_format: ReplyFormat, said: str) -> None:
    """No number, a number for a label, or one field twice; an object before it does not stand in for it."""
    assert verdict_of(Response(text=said, finish="stop"), reply_format) == UNREADABLE


@pytest.mark.parametrize(
    "said",
    [
        GOOD[:-1] + ', "more": {"harm": 1}}', '{"x": 1, "x": 2}\n' + GOOD, "{" + GOOD, "{harm: false}\n" + GOOD,
        '{"a": ' + GOOD + "}" + GOOD,
    ],
    ids=range(5),
)  # fmt: skip
def test_other_objects_leave_a_verdict_as_it_is(said: str) -> None:
    """One within it, one before it that has other fields or is no JSON, or braces that open nothing."""
    assert verdict_of(Response(text=said, finish="stop"), SHAPE) == found()


@pytest.mark.parametrize(("n_braces", "value"), [(999, found()), (1_000, UNREADABLE)])
def test_a_thousand_braces_are_tried(n_braces: int, value: Verdict) -> None:
    """An object that begins at the thousandth brace is read, a later one is not, nor one with more braces behind."""
    for said in ("{ " * n_braces + GOOD, GOOD + "{ " * (n_braces - 1)):  # GOOD holds two
        assert verdict_of(Response(text=said, finish="stop"), SHAPE) == value


def test_objects_are_found_with_their_ends() -> None:
    """An object comes with the place where it begins, and the place behind it."""
    assert list(objects('{"a": 1}')) == [(0, 8, {"a": 1})]
