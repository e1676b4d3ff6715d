"""Free names of an expression, and all that is read through the `let`s among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.lang import ast
from emdsl.lang.walk import children, roots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.lang.walk import Tree


def free_names(tree: Tree) -> frozenset[str]:
    """Return the names that an expression or a statement reads, without its own parameters."""
    names: set[str] = set()
    for root in roots(tree):
        _add_names(root, frozenset(), names)
    return frozenset(names)


def _add_names(node: ast.Node, bound: frozenset[str], names: set[str]) -> None:
    match node:
        case ast.Ref():
            if node.name not in bound:
                names.add(node.name)
            return
        case ast.Name() | ast.Literal():
            return
        case ast.Path():
            if node.names[0] not in bound:
                names.add(node.names[0])
            return
        case ast.Is():
            _add_names(node.value, bound, names)  # the label is no name of the experiment's
            return
        case ast.Comprehension():
            _add_names(node.source, bound, names)
            bound |= {node.name.text}
            _add_names(node.item, bound, names)
            if node.condition is not None:
                _add_names(node.condition, bound, names)
            return
        case ast.Let(params=tuple() as params):
            bound |= {p.text for p in params}
        case ast.Arg(name=ast.Name(text="by")):
            bound |= {"s"}
        case _:
            pass
    for child in children(node):
        _add_names(child, bound, names)


def transitive_reads(names: frozenset[str], lets: Mapping[str, ast.Let]) -> frozenset[str]:
    """Return names with those that the `let`s among them read, directly or through other `let`s."""
    reads: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in reads:
            reads.add(name)
            if name in lets:
                pending += free_names(lets[name])
    return frozenset(reads)
