"""Free names of an expression, and all that is read through the `let`s among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.lang import ast
from emdsl.lang.walk import children

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.lang.walk import Tree


def free_names(tree: Tree) -> frozenset[str]:
    """Return the names that an expression or a statement reads, without its own parameters."""
    if isinstance(tree, tuple):
        return frozenset().union(*(free_names(x) for x in tree if isinstance(x, tuple | ast.Node)))
    return frozenset(_names(tree, frozenset())) if tree is not None else frozenset()


def _names(node: ast.Node, bound: frozenset[str]) -> Iterator[str]:
    match node:
        case ast.Ref():
            if node.name not in bound:
                yield node.name
            return
        case ast.Path():
            if node.names[0] not in bound:
                yield node.names[0]
            return
        case ast.Is():
            yield from _names(node.value, bound)  # the label is no name of the experiment's
            return
        case ast.Comprehension():
            yield from _names(node.source, bound)
            bound |= {node.name.text}
            yield from _names(node.item, bound)
            if node.condition is not None:
                yield from _names(node.condition, bound)
            return
        case ast.Let(params=tuple() as params):
            bound |= {p.text for p in params}
        case ast.Arg(name=ast.Name(text="by")):
            bound |= {"s"}
        case _:
            pass
    for child in children(node):
        yield from _names(child, bound)


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
