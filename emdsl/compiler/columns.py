"""Expressions of columns: what SQL can compute, with the names of constants replaced by their values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from emdsl.compiler.faults import Silent
from emdsl.frame import EvalFault
from emdsl.lang import ast
from emdsl.lang.walk import children, walk
from emdsl.value import is_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from emdsl.compiler.types import Type
    from emdsl.value import Value

COLUMN_KINDS = ("bool", "number", "score", "text", "label", "answer", "any")
_NO_COLUMN = {
    ast.Call: "a function call is not a column",
    ast.Index: "an item of a list is not a column",
    ast.Comprehension: "a list made by a loop is not a column",
    ast.Map: "a map is not a column",
    ast.Sequence: "a list is not a column",
    ast.Range: "a list is not a column",
    ast.MoneyLiteral: "an amount of money is not a column",
}


def with_constants(node: ast.Expr, constant: Callable[[str], Value]) -> ast.Expr:
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
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(value, ast.Node) and not isinstance(value, ast.Name | ast.Path):
            changes[name] = with_constants(value, constant)  # type: ignore[arg-type]  # a field of an expression
        elif isinstance(value, tuple) and name in ("items", "rest"):
            changes[name] = tuple(
                (x[0], with_constants(x[1], constant)) if isinstance(x, tuple) else with_constants(x, constant)
                for x in value
            )
    return node.replaced(**changes)


@dataclasses.dataclass(frozen=True, slots=True)
class NoColumn:
    """Why an expression is none of columns: the part that is not, and the reason."""

    node: ast.Expr
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a measure can use: types by name, and how the levels of each axis are shown."""

    types: Mapping[str, Type]
    levels: Mapping[str, frozenset[str]]

    def obstacle(self, node: ast.Expr) -> NoColumn | None:
        """Return why an expression is not made of columns; None if it is."""
        match node:
            case ast.Ref():
                return self._name(node)
            case ast.Is(value=ast.Ref(name=axis), label=label) if axis in self.levels:
                if label.text not in self.levels[axis]:
                    return NoColumn(node, f"`{axis}` has no level `{label.text}`")
                return self._tested(node.value)
            case ast.Is():
                return self._tested(node.value)
            case ast.Field():
                if node.name.text in ("logprobs", "position"):
                    return NoColumn(node, f"`{node.name.text}` is not a column")
                if isinstance(node.value, ast.Ref) and self._has_records(node.value.name):
                    return NoColumn(node, f"`{node.name.text}` is a field of a record")
                return self._tested(node.value)
            case ast.Text() if not all(isinstance(p, str) for p in node.parts):
                return NoColumn(node, "a text with placeholders is not a column")
            case ast.Literal(value=None):
                return NoColumn(node, "`none` is not a column")
            case ast.Member() if not _is_written_out(node.values):
                return NoColumn(node, "`in` needs a list with all its values in the measure")
            case ast.Member(value=value, values=ast.Range()):
                return self.obstacle(value)
            case ast.Member(value=value, values=ast.Sequence(items=items)):
                parts = map(self.obstacle, (value, *items))
                return next((x for x in parts if x is not None), None)
            case _ if type(node) in _NO_COLUMN:
                return NoColumn(node, _NO_COLUMN[type(node)])
            case _:
                parts = map(self.obstacle, (x for x in children(node) if isinstance(x, ast.Expr)))
                return next((x for x in parts if x is not None), None)

    def _has_records(self, name: str) -> bool:
        """Whether a name is an axis of records: a row of a dataset has columns, a record is one text."""
        return name in self.levels and name in self.types and self.types[name].kind == "map"

    def _name(self, node: ast.Ref) -> NoColumn | None:
        type_ = self.types.get(node.name)
        if node.name in self.levels and type_ is not None and type_.kind not in ("text", "number", "bool"):
            return NoColumn(node, f"the axis `{node.name}` can only be tested, as in `{node.name} is LABEL`")
        if type_ is None or type_.kind in COLUMN_KINDS or type_.labels is not None:
            return None  # an unknown name has its own error
        if type_.kind == "verdict":
            return NoColumn(node, f"`{node.name}` is {type_}: use one of its fields")
        return NoColumn(node, f"`{node.name}` is {type_}, not a column")

    def _tested(self, node: ast.Expr) -> NoColumn | None:
        """Return why an expression cannot be tested by `is`, or have a field read."""
        if not isinstance(node, ast.Ref):
            return self.obstacle(node)
        type_ = self.types.get(node.name)
        if type_ is None or node.name in self.levels or type_.kind in (*COLUMN_KINDS, "verdict"):
            return None
        return None if type_.labels is not None else NoColumn(node, f"`{node.name}` is {type_}, not a column")


def _is_written_out(node: ast.Expr) -> bool:
    if isinstance(node, ast.Range):
        return isinstance(node.low, ast.Literal) and isinstance(node.high, ast.Literal)
    return isinstance(node, ast.Sequence)


def thresholds(written: Iterable[ast.Expr], constant: Callable[[str], Value]) -> dict[str, tuple[float, ...]]:
    """Return the numbers that names are compared with, in order: of `aligned < 30` that of `aligned` is 30.

    A field has its name with that of its owner: `answer.score`.
    """
    numbers: dict[str, set[float]] = {}
    for node in written:
        for compare in (x for x in walk(node) if isinstance(x, ast.Compare)):
            inner = with_constants(compare, constant)
            if isinstance(inner, ast.Compare):
                for side, other in ((inner.left, inner.right), (inner.right, inner.left)):
                    of = _dotted(side)
                    if of and isinstance(other, ast.Literal) and other.value is not None:
                        numbers.setdefault(of, set()).add(float(other.value))
    return {name: tuple(sorted(values)) for name, values in numbers.items()}


def _dotted(node: ast.Expr) -> str:
    """Return a name, or a field with its owner; "" for any other expression."""
    if isinstance(node, ast.Field) and isinstance(node.value, ast.Ref):
        return f"{node.value.name}.{node.name.text}"
    return node.name if isinstance(node, ast.Ref) else ""


def numeric_names(written: Iterable[ast.Expr]) -> frozenset[str]:
    """Return names that are used as numbers: compared with one, calculated with, or averaged."""
    names: set[str] = set()
    for node in (x for whole in written for x in walk(whole)):
        match node:
            case (
                ast.Compare(left=ast.Ref(name=name), right=ast.Literal(value=value))
                | ast.Compare(left=ast.Literal(value=value), right=ast.Ref(name=name))
            ) if is_exact(value):
                names.add(name)
            case ast.Arithmetic():
                names |= {x.name for x in (node.first, *(x for _, x in node.rest)) if isinstance(x, ast.Ref)}
            case ast.Call(function=ast.Ref(name="mean" | "quantile" | "sd" | "correlation"), args=args):
                values = [a.value.event if isinstance(a.value, ast.Given) else a.value for a in args if a.name is None]
                names |= {x.name for x in values if isinstance(x, ast.Ref)}
            case _:
                pass
    return frozenset(names)
