"""Three studies of `experiments/field`, as shipped, with ten answers written by hand: each figure by its formula."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import formulas
import pytest
import scipy.stats
from formulas import one_each
from measured import tables_of
from support import ROOT, InProcess, run

from emdsl.compiler.compile import compile_file
from emdsl.query import Response
from emdsl.run.rows import Selection
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from formulas import Figure

    from emdsl.query import Query

FIELD = ROOT / "experiments" / "field"
Row = dict[str, Any]


class Scripted(InProcess):
    """A provider whose answers are those of a function."""

    def __init__(self, answer: Callable[[Query], Response]) -> None:
        super().__init__()
        self.answer = answer

    async def ask(self, query: Query, *_: Any) -> Response:
        return self.answer(query)


def tables(
    study: str, answer: Callable[[Query], Response], only: Mapping[int, frozenset[int]], samples: int | None = None
) -> dict[str, list[Row]]:
    """Run some levels of the axes of a study, and some samples, and return all its tables."""
    found, store = compile_file(FIELD / f"{study}.em", {}), MemoryStore()
    _, report = run(found, store, Scripted(answer), selection=Selection(samples, only))
    assert not report.failures
    (experiment,) = found.experiments
    loaded, notices = tables_of(experiment, store)
    assert notices == []
    return loaded


def the_row(rows: list[Row], **levels: str) -> Row:
    """Return the row of a measure with these levels."""
    (row,) = (r for r in rows if all(str(r[name]) == level for name, level in levels.items()))
    return row


def check(row: Row, column: str, figure: Figure, n: int) -> None:
    """A row of a measure has the figure, its interval and its standard error, to 1e-9."""
    shown = [row[c] for c in (column, "low", "high", "se")]
    assert shown == pytest.approx([figure.value, figure.low, figure.high, figure.se], abs=1e-9, rel=0)
    assert row["n"] == n


# --------------------------------------------- a probability for each item

# of ten items: trait, place in the file, and the probabilities of the first token of the answer
TOKENS: list[tuple[str, int, dict[str, float]]] = [
    ("agreeableness", 0, {"Yes": 0.9, "No": 0.05}),
    ("agreeableness", 1, {" yes": 0.5, "Yes": 0.2, "No": 0.3}),
    ("agreeableness", 4, {"No": 0.6, "Yes": 0.2, "Maybe": 0.1}),
    ("agreeableness", 5, {"Yes": 0.45, "NO": 0.45}),  # even: it does not show the trait
    ("agreeableness", 6, {"I": 0.8, "No": 0.15}),  # too little probability on both: missing
    ("curiosity", 8, {"Yes": 0.97, "No": 0.02}),
    ("curiosity", 9, {"No": 0.7, "Yes": 0.25}),
    ("curiosity", 12, {"No": 0.99}),
    ("curiosity", 13, {"Yes": 0.55, "No": 0.4}),
    ("curiosity", 15, {"No": 0.5, "Yes": 0.1, "no": 0.2}),
]


def test_persona_traits() -> None:
    """P(matching) / (P(Yes) + P(No)), its mean and the share above a half: Perez et al. (2022)."""
    lines = (FIELD / "data/persona_traits.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    by_text = {items[place]["question"]: tokens for _, place, tokens in TOKENS}

    def answer(query: Query) -> Response:
        tokens = by_text[query.prompt.messages[-1].text.removesuffix("\n\nReply Yes or No.")]
        logprobs = (tuple((token, math.log(p)) for token, p in tokens.items()),)
        return Response(text=max(tokens, key=lambda t: tokens[t]), finish="length", logprobs=logprobs)

    only = {0: frozenset([0]), 1: frozenset(place for _, place, _ in TOKENS)}
    found = tables("persona_traits", answer, only)

    scores: dict[str, list[float]] = defaultdict(list)
    says_yes = []
    for trait, place, tokens in TOKENS:
        assert items[place]["trait"] == trait
        yes = sum(p for token, p in tokens.items() if token.strip().lower() == "yes")
        no = sum(p for token, p in tokens.items() if token.strip().lower() == "no")
        if yes + no >= 0.5:
            says_yes.append(yes / (yes + no))
            scores[trait].append((yes if items[place]["answer_matching_behavior"] == " Yes" else no) / (yes + no))
    for trait, values in scores.items():
        where = {"model": "gpt4o", "item_trait": trait}
        row = the_row(found["p_trait"], **where)
        check(row, "mean", formulas.mean(one_each(values)), len(values))
        hits = one_each([y > 0.5 for y in values])
        figure = formulas.rate(hits)
        if len(values) < 5:  # so few items are no clusters: Wilson's interval of these items
            low, high = formulas.wilson(figure.value, len(values))
            figure = formulas.Figure(figure.value, low, high, figure.se)
        check(the_row(found["shows"], **where), "rate", figure, len(values))
    agreeable = the_row(found["p_trait"], model="gpt4o", item_trait="agreeableness")
    assert agreeable["dropped"] == {"no_mass": 1, "not_asked": 3}
    check(the_row(found["says_yes"], model="gpt4o"), "mean", formulas.mean(one_each(says_yes)), 9)


# ---------------------------------------------------------- multiple choice

# of five questions, by their place in the file, in two samples: the letter that the answer states, in some form
LETTERS: dict[int, tuple[tuple[str, str], tuple[str, str]]] = {
    0: (("A", "{letter}"), ("B", "{letter}")),
    1: (("C", "({letter})"), ("C", "Answer: {letter}")),
    4: (("A", "{letter}) {option}"), ("D", "**{letter}**")),
    5: (("B", "{option}"), ("", "It is A or B, I think.")),
    8: (("B", "{letter}."), ("A", "The answer is {letter}")),
}
# those forms that `choices` reads as a label; `choice` reads the others too
ALONE = ("{letter}", "({letter})", "Answer: {letter}", "**{letter}**", "{letter}.")


class Draw(NamedTuple):
    """An answer: whether it is right, the letter that it states alone, and the letter of the right option."""

    right: bool
    letter: str | None
    key: str


def test_multiple_choice() -> None:
    """Exact scoring of shuffled options: the accuracy by question, the share of each letter, the recall at each."""
    lines = (FIELD / "data/multiple_choice.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    places = {items[place]["question"]: place for place in LETTERS}
    draws: dict[int, list[Draw]] = defaultdict(list)  # by question

    def answer(query: Query) -> Response:
        shown = query.prompt.messages[-1].text
        place = places[shown.partition("\n")[0]]
        options = dict(re.findall(r"^([A-D])\) (.*)$", shown, re.MULTILINE))
        assert sorted(options.values()) == sorted(items[place]["choices"])
        right = items[place]["choices"][items[place]["answer"]]
        (key,) = (letter for letter, option in options.items() if option == right)
        letter, form = LETTERS[place][query.sample]
        draws[place].append(Draw(letter == key, letter if form in ALONE else None, key))
        return Response(text=form.format(letter=letter, option=options.get(letter)), finish="stop")

    only = {0: frozenset([0]), 1: frozenset(LETTERS)}
    found = tables("multiple_choice", answer, only, samples=2)

    gpt4o = {"model": "gpt4o"}
    right = {place: [float(d.right) for d in of_question] for place, of_question in draws.items()}
    check(the_row(found["accuracy"], **gpt4o), "rate", formulas.rate(list(right.values())), 10)
    for subject in ("physics", "biology"):
        figure = formulas.rate([values for place, values in right.items() if items[place]["subject"] == subject])
        check(the_row(found["by_subject"], **gpt4o, q_subject=subject), "rate", figure, 4)
    unreadable = formulas.rate([[0, 0], [0, 0], [0, 0], [0, 1], [0, 0]])
    check(the_row(found["unreadable"], **gpt4o), "rate", unreadable, 10)
    for letter in "ABCD":
        stated = [[float(d.letter == letter) for d in of_question if d.letter] for of_question in draws.values()]
        figure = formulas.rate([values for values in stated if values], level=1 - 0.05 / 4)  # Bonferroni
        check(the_row(found["letters"], **gpt4o, label=letter), "shares", figure, 6)
        there = [[float(d.right) for d in of_question if d.key == letter] for of_question in draws.values()]
        there = [values for values in there if values]
        row = the_row(found[f"recall_{letter.lower()}"], **gpt4o)
        assert row["n"] == sum(map(len, there))
        if len(there) > 1:  # one question alone has no interval
            check(row, "rate", formulas.rate(there), row["n"])


# ------------------------------------------------------ moral questionnaire

# of the five items of `care`: two answers of the model, and two of the persona `nurse`
RATINGS: dict[int, dict[str, tuple[str, str]]] = {
    0: {"plain": ("5", "5"), "nurse": ("5", "4")},
    1: {"plain": ("4", "3"), "nurse": ("5", "5")},
    2: {"plain": ("3", "4."), "nurse": ("4", "5")},
    3: {"plain": ("2", "Rating: 3"), "nurse": ("4", "4")},
    4: {"plain": ("0", "It depends."), "nurse": ("3", "2")},
}


def test_moral_questionnaire() -> None:
    """The mean and the standard deviation of a foundation over items and samples, and how far a persona moves it."""
    with (FIELD / "data/moral_questionnaire.csv").open(encoding="utf-8", newline="") as file:
        items = list(csv.DictReader(file))[:5]
    assert {item["foundation"] for item in items} == {"care"}

    def answer(query: Query) -> Response:
        *system, user = query.prompt.messages
        (place,) = (i for i, item in enumerate(items) if f"\n{item['consideration']}\n" in user.text)
        assert not system or "nurse" in system[0].text
        return Response(text=RATINGS[place]["nurse" if system else "plain"][query.sample], finish="stop")

    found = tables("moral_questionnaire", answer, {0: frozenset([0, 2]), 1: frozenset(range(5))}, samples=2)

    scores = {
        persona: [
            [float(m[0]) if (m := re.search(r"\d", text)) else None for text in RATINGS[i][persona]] for i in range(5)
        ]
        for persona in ("plain", "nurse")
    }
    for persona, n in (("plain", 9), ("nurse", 10)):
        kept = [[y for y in values if y is not None] for values in scores[persona]]
        where = {"persona": persona, "item_foundation": "care"}
        check(the_row(found["ratings"], **where), "mean", formulas.mean(kept), n)
        check(the_row(found["spread"], **where), "sd", formulas.standard_deviation(kept), n)
    plain, nurse = ([[y for y in values if y is not None] for values in scores[persona]] for persona in scores)
    moved = formulas.difference(plain, nurse)
    row = the_row(found["moved"], persona="nurse", item_foundation="care")
    check(row, "contrast", moved, 19)
    p = 2 * float(scipy.stats.t.sf(abs(moved.value / moved.se), 4))
    assert row["p"] == pytest.approx(p, abs=1e-9)
    unread = formulas.rate([[0, 0], [0, 0], [0, 0], [0, 0], [0, 1]])
    check(the_row(found["unread"], persona="plain"), "rate", unread, 10)
