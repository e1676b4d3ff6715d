"""Measures of expressions that SQL cannot compute: the columns that they make, and the same figures as by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import experiment, keys
from told import RUBRICS, loaded

from emdsl.lang.canonical import canonical

if TYPE_CHECKING:
    from emdsl.experiment import Experiment

HEAD = """
let letters = ["A", "B"]
let limits = [4, 5, 6]
let longer(text, n) = len(text) > n
let targets = ["one|a|x|1", "two|b|y|0"]
"""
BODY = """
experiment e {
  for q in ["one", "two, or more"]
  for k in [1, 2, 4]
  samples = 3
  ask answer from "sim/subject" with "{q}|{k}"
  judge v with score(answer)
  judge r with kind(answer)
  LETS
  MEASURES
}
"""
ASK = 'ask a from "sim/subject" with q'
MEASURES = [  # as written, and with the `let`s that a person would write
    ('rate("more" in answer) by q', {"X": '"more" in answer'}, "rate(X) by q"),
    ("mean(words(answer)) by q", {"X": "words(answer)"}, "mean(X) by q"),
    ("mean(words(answer) given len(answer) > 6)", {"X": "words(answer)", "Y": "len(answer)"}, "mean(X given Y > 6)"),
    ("rate(exact(answer, targets))", {"X": "exact(answer, targets)"}, "rate(X)"),
    ("rate(number(answer) == 1 and v < 50) by k", {"X": "number(answer)"}, "rate(X == 1 and v < 50) by k"),
    ('mean(number(answer, after: "more|") else 0)', {"X": 'number(answer, after: "more|")'}, "mean(X else 0)"),
    ("rate(words(answer) in limits)", {"X": "words(answer)"}, "rate(X in [4, 5, 6])"),
    ("rate(k in [n for n in limits if n < 6])", {"X": "k in [n for n in limits if n < 6]"}, "rate(X)"),
    ("quantile(len(answer), 0.5) by q", {"X": "len(answer)"}, "quantile(X, 0.5) by q"),
    ("correlation(v, len(answer))", {"X": "len(answer)"}, "correlation(v, X)"),
    ("agreement(r is good, longer(answer, 8))", {"X": "longer(answer, 8)"}, "agreement(r is good, X)"),
    ("at_least(longer(answer, n: 8), 1, of: 2)", {"X": "longer(answer, n: 8)"}, "at_least(X, 1, of: 2)"),
    ("slope(mean(len(answer)), k)", {"X": "len(answer)"}, "slope(mean(X), k)"),
    ("contrast(rate(len(answer) > 6), k == 1, k == 2)", {"X": "len(answer)"}, "contrast(rate(X > 6), k == 1, k == 2)"),
    ('rate(answer == "{q}|{k}|0")', {"X": '"{q}|{k}|0"'}, "rate(answer == X)"),
    ("mean(if len(answer) > 6 then v else [1, 2][0])", {"X": "len(answer)"}, "mean(if X > 6 then v else 1)"),
    ('count(not starts(answer, "one"))', {"X": 'starts(answer, "one")'}, "count(not X)"),
    ("rate(choice(answer, letters) == letters[0])", {"X": "choice(answer, letters)"}, 'rate(X == "A")'),
    ("rate(v < max(10, 45) given r is not good)", {}, "rate(v < 45 given r is not good)")]  # fmt: skip


def told(rubric: str, question: str, k: str, sample: str, _: int) -> Any:
    """Scores and labels that differ by row; some cannot be read."""
    number = len(question) * int(k) * (int(sample) + 3) % 97
    if number % 7 == 3:
        return "no idea"
    return number if rubric == "score" else ("good", "bad", "odd")[number % 3]


def study(lets: list[str], measures: list[str]) -> str:
    """Return the study with some `let`s and measures."""
    numbered = [f"measure m_{i} = {m}" for i, m in enumerate(measures)]
    return HEAD + BODY.replace("LETS", "\n  ".join(lets)).replace("MEASURES", "\n  ".join(numbered))


def made(body: str, measure: str) -> Experiment:
    """Return an experiment with some statements and one measure."""
    return experiment(f'experiment e {{ for q in ["a", "b"]\n{body}\nmeasure m = {measure} }}')


def rounded(value: Any) -> Any:
    """Round numbers in lists and dictionaries: the order of the terms of a sum is DuckDB's."""
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 12) if isinstance(value, float) else value


def test_the_figures_are_those_of_lets_by_hand_row_for_row() -> None:
    """Every measure has the rows of one whose `let`s a person wrote, and every column the values of that `let`."""
    lets, by_hand = [], []
    for i, (_, written, measure) in enumerate(MEASURES):
        lets += [f"let {name}_{i} = {value}" for name, value in written.items()]
        by_hand.append(measure.replace("X", f"X_{i}").replace("Y", f"Y_{i}"))
    one = loaded(study([], [m for m, _, _ in MEASURES]), told)
    other = loaded(study(lets, by_hand), told)
    assert (one.notices, other.notices) == ([], [])
    for i, (measure, _, _) in enumerate(MEASURES):
        assert rounded(one.measures[f"m_{i}"]) == rounded(other.measures[f"m_{i}"]), measure
    for lifted, plain in zip(one.experiment.measures, other.experiment.measures, strict=True):
        meanings = [
            canonical(e.inlined(m.value))
            for e, m in ((one.experiment, lifted), (other.experiment, plain))
            if m.value is not None
        ]
        assert len(set(meanings)) == 1  # a registration sees no difference
    columns = {c.written: c.name for c in one.experiment.columns}
    for i, (_, written, _) in enumerate(MEASURES):
        for name, value in written.items():
            for end in ("", "_missing"):
                assert [r[columns[value] + end] for r in one.table] == [r[f"{name}_{i}{end}"] for r in other.table]
    assert keys(RUBRICS + study([], [MEASURES[0][0]])) == keys(RUBRICS + study([], []))


@pytest.mark.parametrize(
    ("body", "measure", "expected"),
    [
        # one column for equal expressions, and the `let` of the program where it has one
        (ASK, "rate(len(a) > 2 and len( a ) < 9)", {"len_a": "len(a)"}),
        (f"{ASK}\nlet n = len(a)", "rate(len(a) > 2)", {"n": ""}),
        (ASK, "rate(a == upper(q) or a == upper(a))", {"upper_q": "upper(q)", "upper_a": "upper(a)"}),
        # names that the program or another column of the results has
        (f"{ASK}\nlet len_a = q", "rate(len(a) > 2)", {"len_a": "", "len_a_2": "len(a)"}),
        (ASK, "rate(if a == q then a.cost > 1 else len(a) > 2)", {"len_a": "len(a)"}),
        (f'ask up from "sim/subject" with "-{{q}}"\n{ASK}', 'rate("up a" in a)', {"let_up_a_in_a": '"up a" in a'}),
        (ASK, 'rate("?" in a and "!" in a)', {"in_a": '"?" in a', "in_a_2": '"!" in a'}),
        (ASK, 'rate("3" in a)', {"let_3_in_a": '"3" in a'}),
        (ASK, 'rate(matches(a, "a very long pattern, which is cut (or not)?"))',
         {"matches_a_a_very_long_pattern_which_is": 'matches(a, "a very long pattern, which is cut (or not)?")'}),
        # a list is no column, a comparison of lists is one
        (ASK, 'rate([a] == ["x"])', {"let_a_x": '[a] == ["x"]'}),
        # a value that is the same in every row is no column
        (ASK, 'rate(a == upper("x"))', {}),
        (ASK, "rate(a == q)", {}),
    ],
)  # fmt: skip
def test_the_columns_of_a_measure(body: str, measure: str, expected: dict[str, str]) -> None:
    """Each expression has one column, under a name that tells it and that nothing else has."""
    assert {c.name: c.written for c in made(body, measure).columns} == expected


def test_a_list_with_a_missing_item_is_missing_as_in_a_let() -> None:
    """SQL alone would count a draw whose judge gave no verdict, if another item of the list is equal."""
    written = ['"good" in ["good", r]', '"good" not in ["bad", r]', "3 in [3, v]", '"bad" in ["good", "odd"]']
    lets = [f"let x_{i} = {expression}" for i, expression in enumerate(written)]
    measures = [f"rate({expression})" for expression in written]
    found = loaded(study(lets, measures + [f"rate(x_{i})" for i in range(len(written))]), told).measures
    n_kept = [found[f"m_{i}"][0]["n"] for i in range(len(written))]
    n_unreadable = found["m_0"][0]["dropped"]["unreadable"]
    assert n_kept == [18 - n_unreadable] * 3 + [18]
    assert n_unreadable > 0
    for i in range(len(written)):
        assert found[f"m_{i}"] == found[f"m_{i + len(written)}"], written[i]
