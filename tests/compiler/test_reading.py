"""Reading answers: patterns, numbers, letters, counts; beside Python's own functions where they agree."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speed import within_cpu

from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.patterns import MAX_PATTERN, MAX_SEARCHED, check_pattern, found, searched
from emdsl.compiler.reading import first_number, n_sentences, stated_letter, whole_number
from emdsl.frame import EvalFault
from emdsl.source import Source, Span
from emdsl.value import UNREADABLE, Value

SPAN = Span(Source("test.em", "x"), 0, 1)
TEXTS = st.text(alphabet="aAbB .,;:!?-05\n\té\u2019\u4e2d\U0001f600\ud800", max_size=30)
ASCII = st.text(alphabet="abAB01 _-.", max_size=12)
PATTERNS = st.recursive(
    st.sampled_from(["a", "b", "[ab]", "[^a]", "[0-9]", r"\w", r"\d", r"\b", "^", ".", " ", "-", "A"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join).map("(?:{})".format),
        inner.filter(lambda p: p not in ("^", r"\b")).map("(?:{})?".format),
        st.sampled_from(["a*", "[ab]+", "b{2,3}", r"\w+?"]),
    ),
    max_leaves=6,
)


def call(name: str, *args: Value) -> Value:
    function = BUILTINS[name]
    return function.body(SPAN, [*args, *[None] * (len(function.params) - len(args))])


@settings(max_examples=150, deadline=None)
@given(PATTERNS, ASCII)
def test_patterns_find_what_python_finds(pattern: str, text: str) -> None:
    """On ASCII texts of one line and patterns that both have: whether, and the first and the last match."""
    wanted = [m[0] for m in re.finditer(pattern, text)]
    assert searched(text, pattern, SPAN) is bool(re.search(pattern, text))
    assert found(text, pattern, SPAN, last=False) == (wanted[0] if wanted else None)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.text(alphabet="aA .,", min_size=1, max_size=2))
def test_texts_are_split_and_counted_as_in_python(text: str, part: str) -> None:
    """Any text, lone surrogates included; `split` takes surrounding blanks off, and a blank text has no parts."""
    assert call("starts", text, part) is text.startswith(part)
    assert call("ends", text, part) is text.endswith(part)
    assert call("starts", text, (part, "b")) is text.startswith((part, "b"))
    assert call("count", text, part) == text.count(part)
    assert call("count", text, (part, "b")) == text.count(part) + text.count("b")
    assert call("words", text) == len(text.split())
    assert call("split", text, part) == tuple(p.strip() for p in text.split(part) if text.strip())
    assert call("matches", text, re.escape(part)) is (part in text)


@settings(max_examples=100, deadline=None)
@given(st.decimals(-10_000_000, 10_000_000, places=3), st.sampled_from(["{}", "{} kg", "It is {}.", "a={}", "({})"]))
def test_a_written_number_is_read_back(value: Decimal, form: str) -> None:
    """With and without thousands separators."""
    for written in (f"{value}", f"{value:,}"):
        text = form.format(written)
        assert first_number(text) == first_number(text, last=True) == value
        assert first_number(f"1 Score: {written} 2", "score:") == value
        assert whole_number(f" {written} ") == value


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_no_text_ends_in_an_error(text: str) -> None:
    """Whatever a model writes."""
    assert isinstance(call("number", text, ":"), int | Decimal | type(UNREADABLE))
    assert isinstance(call("choice", text), str | type(UNREADABLE))
    assert call("sentences", text) >= 0
    assert call("find", text, "é|\\?") in ("é", "?", UNREADABLE)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("GPT-4 says 7 of 10", 7, 10), ("-5", -5, -5), ("\u22125", -5, -5), ("- 5 apples", 5, 5), ("3-5", 3, 5),
        ("1,234.50", Decimal("1234.5"), Decimal("1234.5")), ("$5 or 6%", 5, 6), ("*7*/_10_", 7, 10),
        (".5", Decimal("0.5"), Decimal("0.5")), ("It is 5.", 5, 5), ("x=-2e3", -2000, -2000), ("5kg", None, None),
        ("3,5", None, None),
        ("1.2.3", None, None), ("1,00", None, None), ("none", None, None), ("9" * 500, None, None), ("", None, None),
    ],
)  # fmt: skip
def test_numbers(text: str, first: object, last: object) -> None:
    """Part of a word, a version or a decimal comma is no number: nothing is guessed."""
    assert (first_number(text), first_number(text, last=True)) == (first, last)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("STANCE: 5", 5, 5), ("**Stance:** -3", -3, -3), ("STANCE: 5 ... STANCE:\n\n2/10", 5, 2),
        ("STANCE: about 5", None, None), ("I write STANCE: as asked. STANCE: 4", 4, 4), ("5 STANCE:", None, None),
        ("STANCE is 5", None, None),
    ],
)  # fmt: skip
def test_numbers_after_a_name(text: str, first: object, last: object) -> None:
    """Only blanks and signs may stand between the name and its number."""
    assert (first_number(text, "STANCE:"), first_number(text, "STANCE:", last=True)) == (first, last)


# Answers in the forms that Inspect's `multiple_choice` asks for (ANSWER: $LETTER), MMLU-Pro's "the answer is (X)",
# MATH's box, and letters alone as in lm-eval's `multi_choice_regex`; then what states no letter.
LETTERS = {
    "A": ["A", "A.", " (A) ", "A) Paris", "**A**", "A\nbecause", "Answer: A", "ANSWER: A\n", "The answer is A because"],
    "B": ["b", "(b)", "B. Paris", "B: Paris", "B - Paris", "**B**: Paris", "The answer is (B).", "Answer: **B**",
          "**Answer:** B", "Answer:\nB", "answer: b", "<answer>B</answer>", "[[B]]", "It rains.\n\n(B)",
          "The answer is A. Wait, the answer is B.", "Choice: B\n\nA is wrong", "Answer: Option (B)"],
    "C": [r"$\boxed{C}$", r"The final answer is $\boxed{\text{C}}$.", "Final Answer: The answer is (C) since", "(c) x",
          "Option B is wrong. Answer: C", "A is far, B is not.\nC", "The best choice is option C"],
    None: ["", "Paris", "A good question.", "I think B", "A, B and C are wrong", "Answer: A, C", "Answer: A or B",
           "Answer: I think so", "The answer is a mess", "An option", "Both [A] and [B]", "Answer: none"],
}  # fmt: skip


@pytest.mark.parametrize(("letter", "text"), [(letter, text) for letter, texts in LETTERS.items() for text in texts])
def test_letters(letter: str | None, text: str) -> None:
    """A closed form is read, the last of several counts, and prose is not searched."""
    assert stated_letter(text) == letter
    assert call("choice", text) == (letter or UNREADABLE)


def test_a_choice_of_a_list() -> None:
    """The item of the letter; a letter past the list is no choice, and an answer that is one item is that item."""
    options = ("Paris", "Rome", "Bonn")
    assert call("choice", "Answer: B", options) == "Rome"
    assert call("choice", "bonn.", options) == "Bonn"
    assert call("choice", "D", options) == call("choice", "Paris or Rome", options) == UNREADABLE
    assert call("choice", "x", ("x", "X")) == UNREADABLE
    assert call("lettered", options) == "A) Paris\nB) Rome\nC) Bonn"
    assert call("lettered", (1, Decimal("0.5")), "(A): ") == "(A): 1\n(B): 0.5"
    assert [call("letter", options, o) for o in options] == ["A", "B", "C"]
    with pytest.raises(EvalFault, match="1 to 26 options, got 27"):
        call("lettered", tuple(range(27)))


@pytest.mark.parametrize(
    ("text", "n"),
    [("", 0), ("...", 0), ("42", 1), ("One", 1), ("One. Two! Three?", 3), ('He said "no." Then he left.', 2),
     ("It is 3.5 m.", 1), ("1. One\n2. Two", 2), ("Really?! Yes...", 2), ("\u597d\u3002\u4e0d\uff01", 2)],
)  # fmt: skip
def test_sentences(text: str, n: int) -> None:
    """They end at signs before a blank, and at line ends."""
    assert n_sentences(text) == n


def test_a_pattern_cannot_be_slow() -> None:
    """Nested repetition that takes Python's `re` ages is linear here; sizes are bounded."""
    with within_cpu(1):
        assert not searched("a" * 100_000 + "!", "^(a+)+$", SPAN)
    for pattern in ("a" * (MAX_PATTERN + 1), "((a{100}){100}){100}", r"(?:\pL{500}){2}"):
        with pytest.raises(EvalFault):
            check_pattern(pattern, SPAN)
    with pytest.raises(EvalFault, match="characters to search"):
        searched("a" * (MAX_SEARCHED + 1), "b", SPAN)


def test_groups_and_unicode() -> None:
    """The first group that took part; letters beyond ASCII ignore case too; `$` is the end of the text."""
    assert found("x=1, y=2", "(?:x=(9))|y=(2)", SPAN, last=False) == "2"
    assert found("ä1 Ä2", "(?i)Ä.", SPAN, last=True) == "Ä2"
    assert searched("yes\n", "yes$", SPAN) is False
    assert searched("\ud800 ok", "ok", SPAN)


def test_the_place_of_an_error_in_a_pattern() -> None:
    """Of a pattern that is written as it is searched, the part; of any other, the argument."""
    text = 'let a = matches("x", "a(?=b)")'
    start = text.index('"a(')
    with pytest.raises(EvalFault) as caught:
        check_pattern("a(?=b)", Span(Source("t.em", text), start, start + 8))
    assert caught.value.diagnostic.span is not None
    assert caught.value.diagnostic.span.text == "(?="
    with pytest.raises(EvalFault) as caught:
        check_pattern("a(?=b)", SPAN)
    assert caught.value.diagnostic.span == SPAN
