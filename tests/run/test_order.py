"""The order of rows: exact, for axes that keep the beginning of a prompt and axes that change it."""

from __future__ import annotations

import pytest
from support import experiment

from emdsl.run.order import SAMPLE, arranged, first_ask, order_of

LONG = "word " * 1_000  # characters of a prefix that is worth an order of its own


def study(prompt: str, *, samples: int = 1, more: str = "") -> str:
    """Return an experiment with two axes of two levels, `a` before `b`."""
    return f"""
let long = "{LONG}"
experiment e {{
  for a in ["one", "two"]
  for b in ["three", "four"]
  samples = {samples}
  {more}
  ask answer from "sim/subject" with "{prompt}"
}}
"""


@pytest.mark.parametrize(
    ("prompt", "samples", "order"),
    [
        ("{a} {b}", 1, None),
        ("{a} {b} {long}", 1, (0, 1, SAMPLE)),
        ("{b} {a} {long}", 1, (1, 0, SAMPLE)),
        ("{b} {long} {a}", 1, (1, 0, SAMPLE)),
        ("{a} {long} {b}", 1, (0, 1, SAMPLE)),
        ("{long} {b}", 1, (1, 0, SAMPLE)),
        ("{sample} {long} {a} {b}", 2, (SAMPLE, 0, 1)),
        ("{b} {long} {sample} {long} {a}", 2, (1, SAMPLE, 0)),
        ("{b} {long} {sample} {long} {a}", 1, (1, 0, SAMPLE)),
    ],
    ids=[
        "short",
        "a first",
        "b first",
        "b, then a",
        "a, then b",
        "a is not read",
        "sample",
        "in between",
        "one sample",
    ],
)
def test_axes_that_change_the_beginning_change_slowly(prompt: str, samples: int, order: tuple[int, ...] | None) -> None:
    """An axis that the prompt does not read changes fastest; short prompts come as written."""
    assert order_of(experiment(study(prompt, samples=samples))) == order


@pytest.mark.parametrize(("chars", "order"), [(4_095, None), (4_096, (1, 0, SAMPLE))])
def test_prompts_are_long_from_the_prefix_that_a_cache_keeps(chars: int, order: tuple[int, ...] | None) -> None:
    """Of the first and the last prompt the longer one counts: here that of `three` and `one`, 8 characters more."""
    prompt = "{b}" + "x" * (chars - 8) + "{a}"
    assert order_of(experiment(study(prompt))) == order


def test_a_large_grid_comes_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not sorted."""
    found = experiment(study("{b} {long} {a}"))
    monkeypatch.setattr("emdsl.run.order.MAX_SORTED", 4)
    assert order_of(found) == (1, 0, SAMPLE)
    monkeypatch.setattr("emdsl.run.order.MAX_SORTED", 3)
    assert order_of(found) is None


def test_the_first_ask_is_one_that_reads_no_answer() -> None:
    """Its requests start the rows."""
    found = experiment(study("{a}", more='ask second from "sim/subject" with "{answer}"'))
    step = first_ask(found)
    assert step is not None
    assert step.name == "answer"


CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    ("order", "block", "rows"),
    [
        ((0, 1, SAMPLE), 2, ["00/01", "01/01", "10/01", "11/01"]),
        ((1, 0, SAMPLE), 2, ["00/01", "10/01", "01/01", "11/01"]),
        ((SAMPLE, 0, 1), 2, ["00/0", "01/0", "10/0", "11/0", "00/1", "01/1", "10/1", "11/1"]),
        ((SAMPLE, 1, 0), 1, ["00/0", "10/0", "01/0", "11/0"]),
        ((0, SAMPLE, 1), 2, ["00/0", "01/0", "00/1", "01/1", "10/0", "11/0", "10/1", "11/1"]),
        ((1, SAMPLE, 0), 2, ["00/0", "10/0", "00/1", "10/1", "01/0", "11/0", "01/1", "11/1"]),
    ],
    ids=str,
)
def test_cells_are_arranged(order: tuple[int, ...], block: int, rows: list[str]) -> None:
    """The slow axes outermost, then samples, then the fast axes."""
    found = [
        f"{cell[0]}{cell[1]}/{''.join(map(str, samples))}" for cell, samples in arranged(CELLS, order, range(block))
    ]
    assert found == rows


def test_a_block_keeps_its_numbers() -> None:
    """Samples of a later block are not counted from 0."""
    assert list(arranged([(0,)], (SAMPLE, 0), range(5, 7))) == [((0,), range(5, 6)), ((0,), range(6, 7))]
    assert list(arranged([(0,)], (0, SAMPLE), range(5, 7))) == [((0,), range(5, 7))]


def test_without_an_ask_there_is_no_first() -> None:
    """A judge alone starts no row, and its rows come as written."""
    text = 'rubric r(x) from "sim/judge" { scale = 0..9\n user x }\nexperiment e { for q in ["a"]\n judge j with r(q) }'
    found = experiment(text)
    assert first_ask(found) is None
    assert order_of(found) is None
