"""The one visitor of syntax trees: parts in order, and everything beneath a node."""

from __future__ import annotations

from emdsl.lang import ast
from emdsl.lang.parser import parse
from emdsl.lang.walk import children, walk
from emdsl.source import Source


def tree(text: str) -> ast.Expr:
    """Return an expression."""
    file, faults = parse(Source("x.em", f"em 1\nlet x = {text}\n"))
    assert not faults
    (let,) = file.decls
    assert isinstance(let, ast.Let)
    return let.value


def test_children_are_the_parts_in_order() -> None:
    """Fields of tuples, of pairs and of texts count; spans and plain values do not."""
    assert [type(x) for x in children(tree('if a is b then [1, 2] else "{c.d} and {e}"'))] == [
        ast.Is, ast.Sequence, ast.Text,
    ]  # fmt: skip
    assert list(children(tree("a + b - c"))) == [tree("a"), tree("b"), tree("c")]
    assert [x.names for x in children(tree('"{c.d} and {e}"')) if isinstance(x, ast.Path)] == [("c", "d"), ("e",)]
    assert list(children(tree("1"))) == []


def test_walk_yields_a_node_before_its_parts() -> None:
    """Itself first, depth first; a tuple is walked item by item, and nothing has no nodes."""
    node = tree("f(a, by: [b])")
    names = [x.name if isinstance(x, ast.Ref) else type(x).__name__ for x in walk(node)]
    assert names == ["Call", "f", "Arg", "a", "Arg", "Name", "Sequence", "b"]
    assert list(walk((node, node))) == [*walk(node), *walk(node)]
    assert list(walk(None)) == []
