"""The algebra of grids, by counting and listing cells."""

from __future__ import annotations

import textwrap

import pytest
from support import experiment, keys

HEAD = """
model a { use = "sim/subject" }
model b { use = "sim/subject", temperature = 0 }
experiment e {
"""
TAIL = """
  ask answer from MODEL with "x"
}
"""


def cells(body: str, model: str = "a") -> list[str]:
    """Return the cells of an experiment as people call them."""
    found = experiment(HEAD + textwrap.dedent(body) + TAIL.replace("MODEL", model))
    return [" ".join(axis.levels[i].shown for axis, i in zip(found.axes, cell, strict=True)) for cell in found.cells()]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("for x in [1, 2]\nfor y in 3..4", ["1 3", "1 4", "2 3", "2 4"]),
        ("for x, y in [(1, 3), (2, 4)]", ["1 3", "2 4"]),
        ("for x in [1, 2]\nfor y in [1, 2]\nskip when x == y", ["1 2", "2 1"]),
        ("for x in [1, 2]\nfor y in if x == 1 then [0] else [0, 9]", ["1 0", "2 0", "2 9"]),
        ("for y in if x == 1 then [0] else [0, 9]\nfor x in [1, 2]", ["0 1", "0 2", "9 2"]),
        ('for c in { off: "", on: "think" }\nskip when c is off', ["on"]),
        ("for m in [a, b]\nskip when m is a", ["b"]),
        ("for x in [1, 2]\ngrid { for y in [1] }\ngrid { for y in [1, 2] }", ["1 1", "2 1", "1 2", "2 2"]),
        (
            "for x in [1, 2, 3]\ngrid { for y in [1]\n skip when x == 1 }\ngrid { for y in [2]\n skip when x > 1 }",
            ["2 1", "3 1", "1 2"],
        ),
        ("for x in [1, 1.5]\nfor y in [true]", ["1 true", "1.5 true"]),
        ("let ks = [k * 2 for k in 1..3 if k > 1]\nfor x in ks", ["4", "6"]),
        ("for x in [1, 2]\nskip when x == 2 and x > 1 or x == 3", ["1"]),
    ],
)
def test_cells(body: str, expected: list[str]) -> None:
    """Product, zip, union, skip and dependent axes give these cells, each once."""
    found = cells(body)
    assert sorted(found) == sorted(expected)
    assert len(set(found)) == len(found)


def test_skipped_cells_are_counted() -> None:
    """What a skip leaves out is counted, whichever axis comes first."""
    body = "for x in 1..4\nfor y in 1..5\nfor z in [1, 2]\nskip when x == y\nskip when x == 1"
    found = experiment(HEAD + body + TAIL.replace("MODEL", "a"))
    assert (found.n_cells, found.n_skipped) == (24, 16)


def test_the_order_of_statements_changes_no_key() -> None:
    """Axes, lets and settings may stand in any order."""
    one = HEAD + 'samples = 2\nlet t = "{x} {y}"\nfor x in [1, 2]\nfor y in [3]\nask answer from a with t\n}'
    two = 'experiment e {\nask answer from a with t\nfor y in [3]\nfor x in [2, 1]\nlet t = "{x} {y}"\nsamples = 2\n}\n'
    assert keys(one) == keys(two + HEAD.replace("experiment e {", ""))
