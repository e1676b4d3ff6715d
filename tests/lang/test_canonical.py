"""Canonical texts: one for all ways of writing an expression, and different ones for different meanings."""

from __future__ import annotations

import pytest

from emdsl.lang import ast
from emdsl.lang.canonical import canonical
from emdsl.lang.parser import parse
from emdsl.source import Source

SAME = [
    ("a < 30", "30 > a", "a < 30.0", "a<3_0", "(a) < (30)", "not a >= 30", "not (30 <= a)", "not not a < 3e1"),
    ("a < 30 and b >= 50", "b >= 50 and a < 30", "(a < 30) and (50 <= b)", "not (a >= 30 or b < 50)",
     "a < 30 and (b >= 50 and a < 30)"),
    ("a < b", "b > a"),
    ('x == "y"', '"y" == x', 'not x != "y"'),
    ("x is y", "not x is not y", "not not x is y"),
    ("x is not y", "not x is y"),
    ("x in [1, 2, 10]", "x in [10, 2, 1, 1.0]", "x in (2, 1, 10)", "not x not in [1, 2, 10]"),
    ("a + b * 2", "a + (b * 2)", "(a) + b * (2)"),
    ("if a then b else c", "if (a) then (b) else (c)"),
    ("f(1, b: 2, c: 3)", "f(1, c: 3, b: 2)"),
    ("not f(x)", "not not not f(x)"),
]  # fmt: skip
DIFFERENT = [
    "a < 30", "a <= 30", "a > 30", "30 - a", "a - 30", "a < 30 or b >= 50", "a < 30 and b >= 50", "a < 30 and b > 50",
    "x is y", "x is not y", 'x == "y"', 'x != "y"', "x in [1, 2]", "x in [1, 2, 3]", "x in 1..2", "(a + b) * 2",
    "a + b * 2", "a - (b - c)", "a - b - c", "-(a + b)", "-a + b", "a and (b or c)", "a and b or c", "q.domain",
    "q.id", "f(a, b)", "f(b, a)", "a else b", "(a else b) + 1", "a else b + 1", "if a then b else c",
    '"{a}"', '"a"', '["a", "b"]', '["b", "a"]', "[x for x in y]", "[x for x in y if x]", "x[0]", "true", "none", "1",
    "{ a: 1 }", "$4", "env.A", "x is missing", "not f(x)", "f(x)",
]  # fmt: skip


def expression(text: str) -> ast.Expr:
    file, diagnostics = parse(Source("test.em", f"em 1\nlet x = {text}\n"))
    assert not diagnostics, diagnostics
    (let,) = file.decls
    assert isinstance(let, ast.Let)
    return let.value


@pytest.mark.parametrize("texts", SAME, ids=lambda texts: texts[0])
def test_one_meaning_has_one_text(texts: tuple[str, ...]) -> None:
    """The first spelling is the canonical one, and it is read as what it says."""
    assert {canonical(expression(t)) for t in texts} == {texts[0]}


def test_two_meanings_have_two_texts() -> None:
    """No two expressions of a long list are alike, and each text is its own canonical form."""
    found = [canonical(expression(t)) for t in DIFFERENT]
    assert len(set(found)) == len(DIFFERENT)
    assert [canonical(expression(t)) for t in found] == found
