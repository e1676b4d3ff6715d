"""Inlining: an expression of an experiment over its axes, steps and samples alone, without any other name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.compiler.arguments import by_parameter
from emdsl.compiler.callables import HookFunction
from emdsl.compiler.columns import with_constants
from emdsl.compiler.faults import Silent
from emdsl.digest import digest
from emdsl.frame import EvalFault
from emdsl.lang import ast
from emdsl.value import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.scope import Scope
    from emdsl.source import Span

MAX_NODES = 100_000  # of an expression: functions of functions grow exponentially


@dataclass(slots=True, kw_only=True)
class Inliner:
    """Inlines the expressions of one experiment."""

    local: LocalScope
    _n_nodes: int = field(default=0, init=False)

    def inlined(self, node: ast.Expr) -> ast.Expr:
        """Return an expression with the names of `let`s, constants and functions replaced by their values.

        A function in Python is named by the digest of its file, a dataset or a model by that of its content. Raises
        RecursionError for an expression that would become too large.
        """
        self._n_nodes = 0
        return self._expr(node, None, {})

    def _expr(self, node: ast.Expr, scope: Scope | None, bound: Mapping[str, ast.Expr]) -> ast.Expr:
        """Inline what is written in a file's `scope`, or in the experiment for None; `bound` are parameters."""
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES:
            raise RecursionError
        match node:
            case ast.Ref():
                return self._name(node, scope, bound)
            case ast.Text() if not all(isinstance(p, str) for p in node.parts):
                items = tuple(ast.Text(parts=(p,), span=node.span) if isinstance(p, str) else _fields(p)
                              for p in node.parts)  # fmt: skip
                joined = ast.Call(function=ast.Ref(name="join", span=node.span), span=node.span, args=(
                    ast.Arg(name=None, value=ast.Sequence(items=items, span=node.span), span=node.span),
                ))  # fmt: skip
                return self._expr(joined, scope, bound)
            case ast.Call(function=ast.Ref(name=name)) if name not in bound:
                let, inner = self._definition(name, scope, node.span)
                if let is not None and let.params is not None:
                    params = tuple(p.text for p in let.params)
                    args = [(a.name, self._expr(a.value, scope, bound)) for a in node.args]
                    return self._expr(let.value, inner, by_parameter(name, params, len(params), args, node.span))
            case ast.Comprehension():
                bound = {**bound, node.name.text: ast.Ref(name=node.name.text, span=node.span)}
            case _:
                pass
        return node.replaced(**{name: self._part(getattr(node, name), scope, bound) for name in node.fields})

    def _part(self, part: Any, scope: Scope | None, bound: Mapping[str, ast.Expr]) -> Any:
        """Inline a field of a node: an expression or several of them; other values are unchanged."""
        if isinstance(part, tuple):
            return tuple(self._part(x, scope, bound) for x in part)
        if isinstance(part, ast.Arg | ast.Entry):
            return part.replaced(value=self._expr(part.value, scope, bound))
        return self._expr(part, scope, bound) if isinstance(part, ast.Expr) else part

    def _name(self, node: ast.Ref, scope: Scope | None, bound: Mapping[str, ast.Expr]) -> ast.Expr:
        if node.name in bound:
            return bound[node.name]
        folded = with_constants(node, self.local.constant if scope is None else scope.value)
        if not isinstance(folded, ast.Ref):
            return folded
        let, inner = self._definition(node.name, scope, node.span)
        if let is not None and let.params is None:
            return self._expr(let.value, inner, {})
        return self._by_content(node, scope)

    def _definition(self, name: str, scope: Scope | None, span: Span) -> tuple[ast.Let | None, Scope | None]:
        """Return the `let` that a name leads to, with the scope in which it is written; None for any other name."""
        if scope is None and name in self.local.names:
            return self.local.lets.get(name), None
        try:
            decl, found = (scope or self.local.file).origin(ast.Name(text=name, span=span))
        except (EvalFault, Silent):  # a built-in function
            return None, None
        return (decl, found) if isinstance(decl, ast.Let) else (None, None)

    def _by_content(self, node: ast.Ref, scope: Scope | None) -> ast.Ref:
        """Return a name of the file as the digest of its value; any other name, and one without content, stays."""
        try:
            value = (scope or self.local.file).value(node.name)
            if isinstance(value, HookFunction):
                return node.replaced(name=f"python {value.content[:16]}.{value.hook.name}")
            return node.replaced(name=f"value {digest('value', plain(value)).hex()[:16]}")
        except (KeyError, TypeError, EvalFault, Silent):
            return node


def _fields(path: ast.Path) -> ast.Expr:
    """Return the placeholder of a text as an expression."""
    node: ast.Expr = ast.Ref(name=path.names[0], span=path.span)
    for name in path.names[1:]:
        node = ast.Field(value=node, name=ast.Name(text=name, span=path.span), span=path.span)
    return node
