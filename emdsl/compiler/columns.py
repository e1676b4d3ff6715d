"""What of an expression can be computed from the columns of outcomes, its constants replaced by their values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from emdsl.compiler.faults import Silent
from emdsl.frame import EvalFault
from emdsl.lang import ast
from emdsl.lang.nodes import nodes
from emdsl.value import is_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.kinds import Type
    from emdsl.value import Value

_COLUMN_KINDS = ("bool", "number", "score", "text", "label", "answer", "any")


def folded(node: ast.Expr, constant: Callable[[str], Value]) -> ast.Expr:
    """Return an expression with the names of constants replaced by their values."""
    if isinstance(node, ast.Ref):
        try:
            value = constant(node.name)
        except (KeyError, Silent, EvalFault):
            return node
        if isinstance(value, str):
            return ast.Text(parts=(value,), span=node.span)
        if value is None or isinstance(value, bool) or is_exact(value):
            return ast.Literal(value=value, span=node.span)
        return node
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, ast.Node) and not isinstance(value, ast.Name | ast.Path):
            changes[field.name] = folded(value, constant)  # type: ignore[arg-type]  # a field of an expression
        elif isinstance(value, tuple) and field.name in ("items", "rest"):
            changes[field.name] = tuple(
                (x[0], folded(x[1], constant)) if isinstance(x, tuple) else folded(x, constant) for x in value
            )
    return dataclasses.replace(node, **changes)


def computable(
    node: ast.Expr, columns: Mapping[str, Type], levels: Mapping[str, frozenset[str]], faults: Faults
) -> None:
    """A measure is computed from columns: what is more than that stands in a `let` first."""
    tested = {id(x.value) for x in walk(node) if isinstance(x, ast.Is | ast.Field)}
    for inner in walk(node):
        match inner:
            case ast.Call() | ast.Index() | ast.Comprehension() | ast.Map() | ast.Literal(value=None):
                pass
            case ast.Member() if not _listed(inner.values):
                pass
            case ast.Field() if inner.name.text in ("logprobs", "position"):
                pass
            case ast.Is(value=ast.Ref(name=axis)) if axis in levels and inner.label.text not in levels[axis]:
                pass
            case ast.Ref() if (
                inner.name in levels
                and columns[inner.name].kind not in ("text", "number", "bool")
                and (id(inner) not in tested)
            ):
                pass
            case ast.Text() if all(isinstance(p, str) for p in inner.parts):
                continue
            case ast.Text():
                pass
            case ast.Ref() if inner.name in columns and columns[inner.name].kind == "verdict" and id(inner) in tested:
                continue
            case ast.Ref() if inner.name not in columns or columns[inner.name].kind in _COLUMN_KINDS or (
                columns[inner.name].labels is not None
            ):  # fmt: skip
                continue
            case ast.Ref():
                pass
            case _:
                continue
        faults.error(
            "E845", "a measure is computed from columns, and this is none", inner.span,
            help=f"give it a name: `let NAME = {inner.span.text[:60]}`",
        )  # fmt: skip
        return


def thresholds(written: Iterable[ast.Expr], constant: Callable[[str], Value]) -> dict[str, tuple[float, ...]]:
    """Return the numbers that names are compared with, in order: of `aligned < 30` that of `aligned` is 30."""
    found: dict[str, set[float]] = {}
    for node in written:
        for compare in (x for x in nodes(node) if isinstance(x, ast.Compare)):
            inner = folded(compare, constant)
            if isinstance(inner, ast.Compare):
                for side, other in ((inner.left, inner.right), (inner.right, inner.left)):
                    if isinstance(side, ast.Ref) and isinstance(other, ast.Literal) and other.value is not None:
                        found.setdefault(side.name, set()).add(float(other.value))
    return {name: tuple(sorted(values)) for name, values in found.items()}


def numeric_names(written: Iterable[ast.Expr]) -> frozenset[str]:
    """Return names that are used as numbers: compared with one, calculated with, or averaged."""
    found: set[str] = set()
    for node in (x for whole in written for x in nodes(whole)):
        match node:
            case (
                ast.Compare(left=ast.Ref(name=name), right=ast.Literal(value=value))
                | ast.Compare(left=ast.Literal(value=value), right=ast.Ref(name=name))
            ) if is_exact(value):
                found.add(name)
            case ast.Arithmetic():
                found |= {x.name for x in (node.first, *(x for _, x in node.rest)) if isinstance(x, ast.Ref)}
            case ast.Call(function=ast.Ref(name="mean" | "quantile"), args=(ast.Arg(value=value), *_)):
                inner = value.event if isinstance(value, ast.Given) else value
                found |= {inner.name} if isinstance(inner, ast.Ref) else set()
            case _:
                pass
    return frozenset(found)


def _listed(node: ast.Expr) -> bool:
    """Whether the right side of an `in` is written out: a list, or a range of numbers."""
    if isinstance(node, ast.Range):
        return isinstance(node.low, ast.Literal) and isinstance(node.high, ast.Literal)
    return isinstance(node, ast.Sequence)


def walk(node: ast.Expr) -> list[ast.Expr]:
    """Return an expression with all that it is made of."""
    found: list[ast.Expr] = [node]
    match node:
        case ast.Compare(left=a, right=b) | ast.Otherwise(value=a, other=b) | ast.Member(value=a, values=b):
            parts = [a, b]
        case ast.Range(low=a, high=b) | ast.Given(event=a, condition=b):
            parts = [a, b]
        case ast.Logic(items=items) | ast.Sequence(items=items):
            parts = list(items)
        case ast.If():
            parts = [node.condition, node.yes, node.no]
        case ast.Arithmetic():
            parts = [node.first, *(x for _, x in node.rest)]
        case ast.Not() | ast.Negative() | ast.Is() | ast.Field():
            parts = [node.value]
        case _:
            parts = []
    for part in parts:
        found += walk(part)
    return found
