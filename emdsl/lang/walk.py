"""Visit a syntax tree: the parts of a node, or everything beneath it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from emdsl.lang import ast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

N = TypeVar("N", bound=ast.Node)
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


def renamed(node: ast.Expr, names: Mapping[str, str]) -> ast.Expr:
    """Return an expression with other names for some of those that it reads."""

    def change(part: ast.Node) -> ast.Node | None:
        return part.replaced(name=names.get(part.name, part.name)) if isinstance(part, ast.Ref) else None

    return replaced(node, change) if names else node


def replaced(node: N, change: Callable[[ast.Node], ast.Node | None]) -> N:
    """Return a tree in which `change` replaces nodes, each before its parts; it returns None for one that stays."""
    tree: N = _replaced(node, change)
    return tree


def _replaced(part: Any, change: Callable[[ast.Node], ast.Node | None]) -> Any:
    if isinstance(part, tuple):
        return tuple(_replaced(x, change) for x in part)
    if not isinstance(part, ast.Node):
        return part
    changed = change(part)
    if changed is not None:
        return changed
    return part.replaced(**{n: _replaced(getattr(part, n), change) for n in part.fields})


def _add_roots(tree: object, found: list[ast.Node]) -> None:
    if isinstance(tree, ast.Node):
        found.append(tree)
    elif isinstance(tree, tuple):
        for item in tree:
            _add_roots(item, found)
