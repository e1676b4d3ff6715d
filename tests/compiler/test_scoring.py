"""Scoring without a judge: what is ignored, beside the rules of Inspect and lm-eval, and columns of results."""

from __future__ import annotations

import string
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import experiment, program
from told import loaded

from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.scoring import IGNORED, is_exact_match, is_included, normalized
from emdsl.compiler.shots import shuffle
from emdsl.errors import SourceError
from emdsl.source import Source, Span
from emdsl.value import UNREADABLE

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.value import Value

SPAN = Span(Source("test.em", "x"), 0, 1)
SQUAD = ("case", "blanks", "punctuation", "articles")
# Of answer and target: Inspect's `match(location="exact")`, which strips blanks and punctuation at both ends and folds
# case; Inspect's `includes()`, which folds case; lm-eval's `exact_match` as it is by default, with `ignore_case`, and
# with `ignore_punctuation` too; SQuAD's normalization, as in lm-eval's `squad` and Inspect's `exact()`; our default.
# Sources: inspect_ai/scorer (_common, _match, _classification) and lm_eval/api/metrics.
TABLE = [
    ("Paris", "Paris", 1, 1, 1, 1, 1, 1, 1),
    ("paris", "Paris", 1, 1, 0, 1, 1, 1, 1),
    ("Paris.", "Paris", 1, 1, 0, 0, 1, 1, 1),
    ("**Paris**", "paris", 1, 1, 0, 0, 1, 1, 1),
    ("The Paris", "Paris", 0, 1, 0, 0, 0, 1, 0),
    ("a cat", "the cat", 0, 0, 0, 0, 0, 1, 0),
    ("Paris, France", "Paris", 0, 1, 0, 0, 0, 0, 0),
    ("Paris, France", "paris france", 0, 0, 0, 0, 1, 1, 1),
    ("It's", "its", 0, 0, 0, 0, 1, 1, 1),
    ("London", "Paris", 0, 0, 0, 0, 0, 0, 0),
    ("42.", "42", 1, 1, 0, 0, 1, 1, 1),
    ("142", "42", 0, 1, 0, 0, 0, 0, 0),
    ("3.5", "3.5", 1, 1, 1, 1, 1, 1, 1),
    ("new  york", "New York", 0, 0, 0, 0, 0, 1, 1),
    ("Paris\n", "Paris", 1, 1, 0, 0, 0, 1, 1),
    ("Yes!", "yes", 1, 1, 0, 0, 1, 1, 1),
]
# Where we differ, on purpose: a number keeps its sign and its point, and a comma in it is no difference.
DIFFERENT = [
    ("-5", "5", "Inspect's match says equal: it strips the sign"),
    ("3.5", "35", "lm-eval with `ignore_punctuation` says equal: it deletes the point"),
]


def call(name: str, *args: Value) -> Value:
    function = BUILTINS[name]
    return function.body(SPAN, [*args, *[None] * (len(function.params) - len(args))])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]!r}-{row[1]!r}")
def test_equal_results_with_other_tools(row: tuple[str, str, *tuple[int, ...]]) -> None:
    """One row an example: each tool's rule by its setting of `ignore`."""
    answer, target, *wanted = row
    ends, deleted = string.punctuation + string.whitespace, str.maketrans("", "", string.punctuation)
    published = [
        answer.casefold().strip(ends) == target.casefold().strip(ends),
        target.casefold() in answer.casefold(),
        answer == target,
        answer.lower() == target.lower(),
        answer.lower().translate(deleted) == target.lower().translate(deleted),
    ]
    assert published == [bool(x) for x in wanted[:5]], "the columns of the table"
    ours = [
        call("includes", answer, target),
        call("exact", answer, target, ()),
        call("exact", answer, target, "case"),
        call("exact", answer, target, ("case", "punctuation")),
        call("exact", answer, target, SQUAD),
        call("exact", answer, target),
    ]
    assert ours == [bool(x) for x in wanted[1:]]


@pytest.mark.parametrize(("answer", "target", "why"), DIFFERENT)
def test_numbers_keep_their_sign_and_their_point(answer: str, target: str, why: str) -> None:
    """A wrong number is never right."""
    assert call("exact", answer, target) is False, why
    assert call("exact", f"({answer}).", answer) is True
    assert call("exact", "1,234", "1234") is True


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="aAtThe .,'-5\n\u201c", max_size=12), st.text(alphabet="aAthe .-5", max_size=8))
def test_comparisons_as_in_python(answer: str, target: str) -> None:
    """Without anything ignored they are `==` and `in`; ignoring more never makes equal texts unequal.

    But a target of which nothing is left is compared as written.
    """
    if not target.strip():
        return
    assert is_exact_match(answer, target, ()) is (answer == target)
    assert is_included(answer, target, ()) is (target in answer)
    assert is_exact_match(answer, target, ("case",)) is (answer.casefold() == target.casefold())
    assert is_exact_match(answer, target, ("blanks",)) is (answer.split() == target.split())
    for word in IGNORED:
        assert is_exact_match(target, target, (word,))
        if normalized(target, ("case", word)).strip():
            assert not is_exact_match(answer, target, ("case",)) or is_exact_match(answer, target, ("case", word))


def test_several_targets_numbers_and_nothing() -> None:
    """Any of a list; a number is a target too; a target that is only punctuation is compared as written."""
    assert call("exact", "Rome", ("Paris", "Rome")) is True
    assert call("includes", "It is 42.", (41, 42)) is True
    assert call("exact", "?", "?") is True
    assert call("exact", "!", "?") is False
    assert call("exact", "The", "a", SQUAD) is False


@pytest.mark.parametrize(
    ("x", "y", "within", "wanted"),
    [
        (3, Decimal("3.01"), Decimal("0.01"), True), (3, Decimal("3.0100001"), Decimal("0.01"), False),
        (0.5, "0.50", 0, True),
        ("1,000", 1000, 0, True), ("about 5", 5, 1, UNREADABLE), (5, "", 1, UNREADABLE), (-1, 1, 2, True),
    ],
)  # fmt: skip
def test_close(x: object, y: object, within: object, wanted: object) -> None:
    """Exact: both ends of the tolerance belong to it. A cell of a CSV file is a text."""
    assert call("close", x, y, within) == wanted


def test_a_shuffle_is_fair_and_keeps_identities() -> None:
    """Each order about equally often, nested in nothing: the same for any order of the list, another for each seed."""
    options = ("Paris", "Rome", "Bonn")
    orders = Counter(shuffle(options, seed) for seed in range(600))
    assert len(orders) == 6
    assert all(60 < n < 140 for n in orders.values())
    assert shuffle(options[::-1], 5) == shuffle(options, 5)
    assert sorted(shuffle(("a", "a", "b"), 1)) == ["a", "a", "b"]
    assert shuffle(options, 0) == ("Rome", "Bonn", "Paris")  # pinned: a prompt with it is in keys


ROWS = (
    '{"q": "Capital?", "options": ["Paris", "Rome", "Bonn"], "key": "B", "n": "3.0"}\n'
    '{"q": "Nothing?", "options": null, "key": "A", "n": ""}\n'
)
STUDY = """
dataset data { file = "rows.jsonl" }
prompt ask_for(text, options) { user "{text} {options}" }
experiment e {
  for q in data
  samples = 3
  let options = shuffle(q.options, seed: sample)
  let right = letter(options, choice(q.key, q.options))
  let style = cycle(["x", "y"], sample)
  let shown = lettered(options, style: "A.")
  ask answer from "sim/subject" with ask_for(q.q, shown)
  judge kind_of with kind(answer)
  let said = find(answer, "([A-C])[.]Rome")
  let correct = said == right
  let length = words(answer)
  let digit = number(answer, last: true)
  let is_near = close(digit, q.n, 1)
  let has = includes(answer, ["rome", "london"])
  let fits = matches(answer, "^Capital")
  let n_a = count(answer, "A.")
  measure accuracy = rate(correct)
  measure lengths = mean(length given has)
  measure near = rate(is_near) by sample
}
"""


def test_columns_and_measures_of_scored_answers(tmp_path: Path) -> None:
    """Typed columns with a reason for each missing value: a missing input is missing with its own reason."""
    (tmp_path / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    found = loaded(STUDY, lambda *_: "good", tmp_path)
    rows = [r for r in found.table if r["q_value"]["q"] == "Capital?"]
    assert len(rows) == 3
    for row in rows:
        options = shuffle(("Paris", "Rome", "Bonn"), row["sample"])
        assert row["right"] == "ABC"[options.index("Rome")] == row["said"]
        assert row["answer"] == f"Capital? A.{options[0]}\nB.{options[1]}\nC.{options[2]}|{row['sample']}"
        assert (row["correct"], row["has"], row["fits"], row["n_a"]) == (True, True, True, 1)
        assert row["style"] == "xyx"[row["sample"]]
        assert row["length"] == 4
    assert [r["digit"] for r in rows] == [r["sample"] for r in rows]  # the last number: "...|2"
    missing = [r for r in found.table if r["q_value"]["q"] == "Nothing?"]
    assert {r["right_missing"] for r in missing} == {"null"}
    assert {r["said_missing"] for r in missing} == {"null"}
    (accuracy,) = found.measures["accuracy"]
    assert (accuracy["rate"], accuracy["n"]) == (1, 3)
    assert found.measures["lengths"][0]["mean"] == 4
    assert {r["sample"]: r["rate"] for r in found.measures["near"]} == {0: 0, 1: 0, 2: 1}


def test_balanced_assignment() -> None:
    """Each item equally often, from the beginning again; positions before the first one too."""
    items = ("a", "b", "c")
    assert Counter(call("cycle", items, sample) for sample in range(9)) == dict.fromkeys(items, 3)
    assert [call("cycle", items, n) for n in (-1, 0, 3, 4)] == ["c", "a", "a", "b"]


def test_one_order_for_all_questions_is_told() -> None:
    """A `shuffle` by the sample alone is shared by all levels of the items, as a set of demonstrations is."""
    text = """
    experiment e {{
      for q in ["a{}", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
      samples = 3
      let options = lettered(shuffle(["yes", "no"], seed: {}))
      ask answer from "sim/subject" with "{{q}} {{options}}"
      measure m = rate(answer == "x")
    }}
    """
    (warning,) = program(text.format("", "sample")).warnings
    assert warning.message == "3 samples are 3 orders of a list: all levels of `q` share them"
    assert not program(text.format("", "[q, sample]")).warnings


def test_count_has_one_meaning_by_its_place() -> None:
    """The measure of a condition, and the function of two texts in any other place."""
    found = experiment(
        """
        experiment e {
          for q in ["x", "y"]
          ask count from "sim/subject" with "{q}"
          measure n = count(count == "x") by q
        }
        """
    )
    assert [m.function for m in found.measures] == ["count"]
    head = 'experiment e {\n  ask a from "sim/subject" with "x"\n'
    found = experiment(head + '  let n = count(a, "x")\n  measure m = mean(n)\n}')
    assert [m.function for m in found.measures] == ["mean"]
    with pytest.raises(SourceError, match="E840"):
        program(head + '  let n = count(a == "x")\n}')
