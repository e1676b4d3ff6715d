"""Visit a syntax tree: the parts of a node, or everything beneath it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.lang import ast

if TYPE_CHECKING:
    from collections.abc import Iterator

Tree = ast.Node | tuple[object, ...] | None  # what a field of a node can hold, texts and numbers left out


def children(node: ast.Node) -> list[ast.Node]:
    """Return the nodes that a node is made of, in the order of its fields."""
    found: list[ast.Node] = []
    for name in node.fields:
        _add_roots(getattr(node, name), found)
    return found


def roots(tree: Tree) -> list[ast.Node]:
    """Return a node, or the nodes within a tuple."""
    found: list[ast.Node] = []
    _add_roots(tree, found)
    return found


def walk(tree: Tree) -> Iterator[ast.Node]:
    """Yield every node of a tree, each before its parts; of a tuple, those of each item."""
    left = roots(tree)[::-1]
    while left:
        node = left.pop()
        yield node
        left += reversed(children(node))


def _add_roots(tree: object, found: list[ast.Node]) -> None:
    if isinstance(tree, ast.Node):
        found.append(tree)
    elif isinstance(tree, tuple):
        for item in tree:
            _add_roots(item, found)
