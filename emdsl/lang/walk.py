"""Visit a syntax tree: the parts of a node, or everything beneath it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from emdsl.lang import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

Tree = ast.Node | tuple[object, ...] | None  # what a field of a node can hold, texts and numbers left out
_field_names: dict[type[ast.Node], tuple[str, ...]] = {}  # of each class, once one of its nodes was visited


def children(node: ast.Node) -> Iterator[ast.Node]:
    """Yield the nodes that a node is made of, in the order of its fields."""
    kind = type(node)
    if kind not in _field_names:
        _field_names[kind] = tuple(f.name for f in dataclasses.fields(kind) if not f.name.endswith("span"))
    for name in _field_names[kind]:
        yield from _roots(getattr(node, name))


def walk(tree: Tree) -> Iterator[ast.Node]:
    """Yield every node of a tree, each before its parts; of a tuple, those of each item."""
    for root in _roots(tree):
        yield root
        for child in children(root):
            yield from walk(child)


def _roots(tree: object) -> Iterator[ast.Node]:
    if isinstance(tree, ast.Node):
        yield tree
    elif isinstance(tree, tuple):
        for item in tree:
            yield from _roots(item)
