"""`let x = f(answer) over q`: a function in Python that gets all rows of a group at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import outcomes, program, run

from emdsl.errors import HookError, SourceError
from emdsl.lang.canonical import canonical
from emdsl.lang.format import format_source
from emdsl.outcomes import database, loading
from emdsl.run.passes import collect
from emdsl.run.rows import Rows, Selection
from emdsl.source import Source
from emdsl.store.store import MemoryStore
from emdsl.value import Missing

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
def rank(texts, k=0):
    order = sorted(x for x in texts if x is not None)
    return [None if x is None else str(order.index(x) + k) for x in texts]

def size(texts): return [len(texts)] * len(texts)
def filled(texts): return ["none" if x is None else x for x in texts]
def several(texts, ks): return ["".join(map(str, ks))] * len(texts)
def short(texts): return ["a"] * (len(texts) - 1)
def text(texts): return "".join(texts)
def numbers(texts): return ["a"] + [2] * (len(texts) - 1)
def fails(texts): raise ValueError(len(texts))
"""
STUDY = """
python {function} from "f.py"
experiment e {{
  for style in ["x", "y"]
  for q in ["b", "a", "c"]
  skip when style == "y" and q == "c"
  samples = 2
  ask answer from "sim/subject" with "{{style}} {{q}}"
  let asked = if q == "a" and style == "x" then pick([], seed: 1) else q
  let value = {let}
}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("over")
    (folder / "f.py").write_text(FILE, encoding="utf-8")
    (folder / "pyproject.toml").touch()
    return folder


def values(folder: Path, function: str, let: str, selection: Selection | None = None) -> dict[str, list[Any]]:
    """Return the values of a study's `let`, by style and question, each a list over the samples."""
    store = MemoryStore()
    found = program(STUDY.format(function=function, let=let), folder)
    run(found, store, selection=selection)
    (only,) = found.experiments
    rows: dict[str, list[Any]] = {}
    for row in outcomes(only, store):
        place = " ".join(axis.levels[i].shown for axis, i in zip(only.axes, row.cell, strict=True))
        value = row.frame["value"]
        rows.setdefault(place, []).append(f"-{value.reason}" if isinstance(value, Missing) else value)
    return rows


@pytest.mark.parametrize(
    ("function", "let", "expected"),
    [
        ("rank(texts)", "rank(q) over q", "x b: 1 1, x a: 0 0, x c: 2 2, y b: 1 1, y a: 0 0"),
        ("rank(texts)", "rank(q) over style, q", "x b: 2 2, x a: 0 0, x c: 4 4, y b: 2 2, y a: 0 0"),
        ("rank(texts)", 'rank("{style}{q}") over style', "x b: 0 0, x a: 0 0, x c: 0 0, y b: 1 1, y a: 1 1"),
        ("rank(texts, k)", "rank(k: 5, texts: q) over q", "x b: 6 6, x a: 5 5, x c: 7 7, y b: 6 6, y a: 5 5"),
        ("rank(texts)", 'rank("{sample}") over sample', "x b: 0 1, x a: 0 1, x c: 0 1, y b: 0 1, y a: 0 1"),
        ("size(texts) -> number", "size(answer) over q", "x b: 3 3, x a: 3 3, x c: 3 3, y b: 2 2, y a: 2 2"),
        ("size(texts) -> number", "size(answer) over q, sample", "x b: 6 6, x a: 6 6, x c: 6 6, y b: 4 4, y a: 4 4"),
        ("several(texts, ks)", "several(answer, [1, 2]) over style",
         "x b: 12 12, x a: 12 12, x c: 12 12, y b: 12 12, y a: 12 12"),
        ("several(texts, ks)", "several(answer, q) over style",
         "x b: bb bb, x a: aa aa, x c: c c, y b: bb bb, y a: aa aa"),
        ("rank(texts)", "rank(asked) over q", "x b: 0 0, x a: -invalid -invalid, x c: 1 1, y b: 1 1, y a: 0 0"),
        ("filled(texts)", "filled(asked) over q", "x b: b b, x a: none none, x c: c c, y b: b b, y a: a a"),
    ],
)  # fmt: skip
def test_a_group_is_the_rows_that_differ_in_some_axes(folder: Path, function: str, let: str, expected: str) -> None:
    """Its order is that of the cells and samples; a missing value stays missing unless the function gives one."""
    assert ", ".join(f"{place}: {x} {y}" for place, (x, y) in values(folder, function, let).items()) == expected


def test_a_label_of_a_dependent_axis_is_one_level(folder: Path) -> None:
    """Its rows are one group over the axis that it depends on, though each has a level of its own."""
    text = (
        'python size(texts) -> number from "f.py"\nexperiment e {\n  for q in ["b", "a", "c"]\n'
        '  for remark in { plain: "", agrees: "So {q}" }\n  ask answer from "sim/subject" with "{q} {remark}"\n'
        "  let value = size(answer) over q\n  let other = size(answer) over remark\n}\n"
    )
    found, store = program(text, folder), MemoryStore()
    run(found, store)
    (only,) = found.experiments
    rows = [(row.frame["value"], row.frame["other"]) for row in outcomes(only, store)]
    assert rows == [(3, 2)] * 6


@pytest.mark.parametrize(
    ("let", "selection", "complete"),
    [
        ("size(answer) over q", Selection(samples=1), "x b: 3 -, x a: 3 -, x c: 3 -, y b: 2 -, y a: 2 -"),
        ("size(answer) over q, sample", Selection(samples=1), "x b: - -, x a: - -, x c: - -, y b: - -, y a: - -"),
        ("size(answer) over q", Selection(only={0: frozenset({1})}),
         "x b: - -, x a: - -, x c: - -, y b: 2 2, y a: 2 2"),
        ("size(answer) over style", Selection(only={1: frozenset({0})}),
         "x b: 2 2, x a: - -, x c: - -, y b: 2 2, y a: - -"),
    ],
)  # fmt: skip
def test_a_group_waits_for_all_its_rows(folder: Path, let: str, selection: Selection, complete: str) -> None:
    """With one pending, all are missing for that reason."""
    found = values(folder, "size(texts) -> number", let, selection)
    shown = ", ".join(f"{place}: {x} {y}" for place, (x, y) in found.items())
    assert shown.replace("-incomplete", "-") == complete


@pytest.mark.parametrize(
    ("function", "name", "message"),
    [
        ("short(texts)", "short", "must return a list of 3 values, one for each row, got 2"),
        ("text(texts)", "text", "must return a list of 3 values, one for each row, got a text"),
        ("numbers(texts) -> number", "numbers", "must return a number for each row, got a text for row 1"),
        ("fails(texts)", "fails", r"raised ValueError: 3 \(`f.py`, line \d+\)"),
    ],
)
def test_a_wrong_list_ends_the_load(folder: Path, function: str, name: str, message: str) -> None:
    """A value for another row would be a wrong number."""
    with pytest.raises(HookError, match=f"`{name}` {message}"):
        values(folder, function, f"{name}(q) over q")


def test_a_measure_counts_groups(folder: Path) -> None:
    """As a column, in conditions and as groups; `let`s may read it, and it may read them."""
    text = STUDY.format(
        function="rank(texts)",
        let='rank(q) over q\n  let first = value == "0"\n  let again = rank(value) over q\n'
        "  measure firsts = rate(first) by style\n  measure same = rate(again == value)",
    )
    found, store = program(text, folder), MemoryStore()
    run(found, store)
    (only,) = found.experiments
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    assert loading.load(folder, load, [(only, collect(Rows(only), store, {}))]) == []
    with database.opened(folder, "s") as (connection, _):
        rates = database.select(connection, "SELECT style, rate, n FROM s.firsts ORDER BY style").rows
        assert rates == [("x", pytest.approx(1 / 3), 6), ("y", 0.5, 4)]
        assert database.select(connection, "SELECT rate, n FROM s.same").rows == [(1.0, 10)]
    assert only.measures[0].value is not None
    inlined = canonical(only.inlined(only.measures[0].value))
    assert inlined.endswith('.rank(q) over q) == "0"'), "a study that is registered names the groups"


def test_a_measure_of_a_pending_group_is_not_complete(folder: Path, tmp_path: Path) -> None:
    """Rows that are answered count as open too: their value depends on one that is not."""
    text = STUDY.format(function="size(texts) -> number", let="size(answer) over q\n  measure m = mean(value) by style")
    found, store = program(text, folder), MemoryStore()
    run(found, store, selection=Selection(only={0: frozenset({0}), 1: frozenset({0, 1})}))
    run(found, store, selection=Selection(only={0: frozenset({1})}))
    (only,) = found.experiments
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    assert loading.load(tmp_path, load, [(only, collect(Rows(only), store, {}))]) == []
    with database.opened(tmp_path, "s") as (connection, _):
        rows = database.select(connection, "SELECT style, mean, n, complete, dropped FROM s.m ORDER BY style").rows
    assert rows == [("x", None, 0, False, {"incomplete": 6}), ("y", 2.0, 4, True, None)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('ask again from "sim/subject" with "{value}"', "E627"),
        ('ask again from "sim/{value}" with "x"', "E627"),
        ('ask again from "sim/subject" with "x" { temperature = number(value) }', "E627"),
        ('when value == "0" { ask again from "sim/subject" with "x" }', "E627"),
        ('let more = "{value}!"\n  ask again from "sim/subject" with more', "E627"),
        ('skip when value == "0"', "E627"),
        ("for z in [value]", "E627"),
        ("let again = rank(q) over z", "E626"),
        ("let again = rank(q) over q, q", "E626"),
        ("let again = upper(q) over q", "E626"),
        ("let again = again_too over q\n  let again_too = rank(q) over q", "E626"),
        ("let again = rank(again) over q", "E207"),
        ("let again = rank(q, 1) over q", "E212"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_code(folder: Path, line: str, code: str) -> None:
    """Requests cannot wait for other rows; `over` needs a function in Python and axes."""
    with pytest.raises(SourceError) as caught:
        program(STUDY.format(function="rank(texts)", let=f"rank(q) over q\n  {line}"), folder)
    assert caught.value.diagnostics[0].code == code


def test_it_is_formatted_and_over_stays_a_name() -> None:
    """The word has a meaning in its place alone."""
    text = "em 1\nexperiment e {\n  let a   = f(x)   over q,sample\n  let over  = 1\n  for q in [over]\n}\n"
    expected = "em 1\nexperiment e {\n  let a    = f(x) over q, sample\n  let over = 1\n  for q in [over]\n}\n"
    assert format_source(Source("s.em", text)) == expected
