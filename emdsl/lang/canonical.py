"""The canonical text of an expression: one text for all ways of writing the same condition or number."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from emdsl.lang import ast
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOSE, OR, AND, NOT, TEST, SUM, PRODUCT, SIGN, ATOM = range(9)  # how closely the parts of a text hold together
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_TURNED = {"==": "==", "!=": "!=", "<": ">", ">=": "<=", ">": "<", "<=": ">="}
_CONSTANT = (ast.Literal, ast.Text)


def canonical(node: ast.Expr) -> str:
    """Return the text of an expression without what has no meaning.

    Constants are to the right of a comparison, `not` is in the tests, and the parts of `and`, `or` and of a list after
    `in` are sorted. Missing values make no difference: by the rules of the language each of these forms is missing for
    the same rows.
    """
    return _text(node, LOOSE)


def _text(node: ast.Expr, least: int) -> str:
    """Return a text, in parentheses if its parts hold together less closely than `least`."""
    binding, text = _written(node)
    return f"({text})" if binding < least else text


def _written(node: ast.Expr) -> tuple[int, str]:
    match node:
        case ast.Not():
            return _written(_negated(node.value)) if _can_be_negated(node.value) else (
                NOT, f"not {_text(node.value, TEST)}")  # fmt: skip
        case ast.Logic():
            return _logic(node)
        case ast.Compare():
            return TEST, _comparison(node)
        case ast.Is():
            label = node.label.text if node.label.text.isidentifier() else json.dumps(node.label.text)
            return TEST, f"{_text(node.value, SUM)} is {'not ' if node.negated else ''}{label}"
        case ast.Member():
            values = node.values
            among = (
                f"[{_listed(set(_texts(values.items)))}]" if isinstance(values, ast.Sequence) else _text(values, TEST)
            )
            return TEST, f"{_text(node.value, SUM)} {'not ' if node.negated else ''}in {among}"
        case ast.Range():
            return TEST, f"{_text(node.low, SUM)}..{_text(node.high, SUM)}"
        case ast.Arithmetic():
            binding = SUM if node.rest[0][0] in "+-" else PRODUCT
            rest = "".join(f" {op} {_text(x, binding + 1)}" for op, x in node.rest)
            return binding, _text(node.first, binding) + rest
        case ast.Negative():
            return SIGN, f"-{_text(node.value, ATOM)}"
        case ast.If():
            parts = (_text(x, OR) for x in (node.condition, node.yes, node.no))
            return LOOSE, "if {} then {} else {}".format(*parts)
        case ast.Otherwise():
            return LOOSE, f"{_text(node.value, OR)} else {_text(node.other, LOOSE)}"
        case ast.Over():
            return LOOSE, f"{_text(node.call, OR)} over {', '.join(sorted(x.name for x in node.axes))}"
        case ast.Given():
            return LOOSE, f"{_text(node.event, OR)} given {_text(node.condition, OR)}"
        case _:
            return ATOM, _atom(node)


def _atom(node: ast.Expr) -> str:
    match node:
        case ast.Ref():
            return node.name
        case ast.Literal():
            return "none" if node.value is None else render(node.value) or ""
        case ast.MoneyLiteral():
            return f"${render(node.value)}"
        case ast.Text():
            return json.dumps("".join(p if isinstance(p, str) else f"{{{'.'.join(p.names)}}}" for p in node.parts),
                              ensure_ascii=False)  # fmt: skip
        case ast.Env():
            return f"env.{node.name}"
        case ast.Field():
            return f"{_text(node.value, ATOM)}.{node.name.text}"
        case ast.Index():
            return f"{_text(node.value, ATOM)}[{canonical(node.key)}]"
        case ast.Call():
            named = sorted(f"{a.name.text}: {canonical(a.value)}" for a in node.args if a.name is not None)
            args = [*_texts(a.value for a in node.args if a.name is None), *named]
            function = _text(node.function, ATOM)
            if isinstance(node.function, ast.Field):
                function = function.removesuffix("()")  # of `judged.p(EXPRESSION)`
            return f"{function}({', '.join(args)})"
        case ast.Sequence():
            return f"[{', '.join(_texts(node.items))}]"
        case ast.Map():
            return "{ " + ", ".join(f"{e.label.text}: {canonical(e.value)}" for e in node.entries) + " }"
        case ast.Comprehension():
            condition = f" if {canonical(node.condition)}" if node.condition is not None else ""
            return f"[{canonical(node.item)} for {node.name.text} in {canonical(node.source)}{condition}]"
        case _:
            raise TypeError(f"{type(node).__name__} is not an expression")


def _texts(nodes: Iterable[ast.Expr]) -> list[str]:
    return [canonical(x) for x in nodes]


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts, key=lambda x: (len(x), x)))  # numbers in their order, as far as they are whole


def _logic(node: ast.Logic) -> tuple[int, str]:
    binding = AND if node.op == "and" else OR
    parts = sorted(set(_parts(node, node.op, binding)))
    return (binding, f" {node.op} ".join(parts)) if len(parts) > 1 else _written(node.items[0])


def _parts(node: ast.Expr, op: str, binding: int) -> list[str]:
    """Return the parts that are joined by a word, those of nested expressions with the same word included."""
    if isinstance(node, ast.Not) and _can_be_negated(node.value):
        return _parts(_negated(node.value), op, binding)
    if isinstance(node, ast.Logic) and node.op == op:
        return [text for x in node.items for text in _parts(x, op, binding)]
    return [_text(node, binding + 1)]


def _comparison(node: ast.Compare) -> str:
    left, right, op = node.left, node.right, node.op
    constant = isinstance(left, _CONSTANT), isinstance(right, _CONSTANT)
    one, other = _text(left, SUM), _text(right, SUM)
    turn = constant == (True, False)
    if constant[0] == constant[1]:
        turn = op in (">", ">=") or (op in ("==", "!=") and other < one)
    return f"{other} {_TURNED[op]} {one}" if turn else f"{one} {op} {other}"


def _can_be_negated(node: ast.Expr) -> bool:
    return isinstance(node, ast.Not | ast.Logic | ast.Compare | ast.Is | ast.Member)


def _negated(node: ast.Expr) -> ast.Expr:
    """Return the opposite of a test; where a test is missing, so is its opposite."""
    match node:
        case ast.Not():
            return node.value
        case ast.Compare():
            return node.replaced(op=_OPPOSITE[node.op])
        case ast.Is() | ast.Member():
            return node.replaced(negated=not node.negated)
        case ast.Logic():
            items = tuple(ast.Not(value=x, span=x.span) for x in node.items)
            return node.replaced(op="or" if node.op == "and" else "and", items=items)
        case _:
            raise TypeError(f"{type(node).__name__} is not a test")
