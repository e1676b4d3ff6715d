"""Which names an expression reads, through every `let` and function on the way."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from emdsl.lang import ast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def free_names(node: Any) -> frozenset[str]:
    """Return the names that an expression or a statement's part reads, its own parameters left out."""
    return frozenset(_names(node, frozenset()))


def _names(node: Any, bound: frozenset[str]) -> Iterator[str]:
    match node:
        case ast.Ref():
            if node.name not in bound:
                yield node.name
        case ast.Path():
            if node.names[0] not in bound:
                yield node.names[0]
        case ast.Comprehension():
            yield from _names(node.source, bound)
            inner = bound | {node.name.text}
            yield from _names(node.item, inner)
            yield from _names(node.condition, inner)
        case ast.Let(params=tuple()):
            yield from _names(node.value, bound | {p.text for p in node.params or ()})
        case ast.Arg() if node.name is not None and node.name.text == "by":
            yield from _names(node.value, bound | {"s"})
        case ast.Is():
            yield from _names(node.value, bound)  # the label is no name of the experiment's
        case ast.Name() | str() | None | int() | bool():
            return
        case tuple():
            for item in node:
                yield from _names(item, bound)
        case _ if dataclasses.is_dataclass(node) and isinstance(node, ast.Node):
            for field in dataclasses.fields(node):
                if field.name != "span":
                    yield from _names(getattr(node, field.name), bound)


def reached(names: frozenset[str], lets: Mapping[str, ast.Let]) -> frozenset[str]:
    """Return names with those that the `let`s among them read, all the way."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            if name in lets:
                todo += free_names(lets[name])
    return frozenset(found)
