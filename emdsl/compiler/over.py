"""`let name = f(x) over q`: a function in Python gets the values of many rows at once, and returns one for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.callables import HookFunction
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.written import describe
from emdsl.frame import EvalFault, Fn, Frame, RowFrame, fail
from emdsl.lang import ast
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope
    from emdsl.source import Span
    from emdsl.value import Value


def value_of(let: ast.Let) -> ast.Expr:
    """Return the expression of a `let` without `over`."""
    return let.value.call if isinstance(let.value, ast.Over) else let.value


def faulty(lets: Mapping[str, ast.Let], axes: Iterable[str], scope: Scope, faults: Faults) -> frozenset[str]:
    """Return the names of `let`s with a wrong `over`, which is reported."""
    known, before, names = (*axes, "sample"), faults.n_errors, set[str]()
    for name, let in lets.items():
        if not isinstance(let.value, ast.Over):
            continue
        with faults.caught():
            _check(let.value, known, scope)
        if faults.n_errors > before:
            names.add(name)
            before = faults.n_errors
    return frozenset(names)


def _check(node: ast.Over, known: tuple[str, ...], scope: Scope) -> None:
    call = node.call
    if not isinstance(call, ast.Call) or not isinstance(call.function, ast.Ref):
        raise fail("E626", "`over` needs a call of a function in Python", call.span,
                   help='declare `python f(texts) from "f.py"`, and write `let NAME = f(answer) over q`')  # fmt: skip
    if call.function.name in BUILTINS and call.function.name not in scope.names:
        raise fail("E626", f"`over` needs a function in Python, but `{call.function.name}` is built in",
                   call.function.span, help="remove `over`: this function gets the values of one row")  # fmt: skip
    value = scope.lookup(call.function.name, call.function.span)
    if not isinstance(value, HookFunction):
        raise fail("E626", f"`over` needs a function in Python, but `{call.function.name}` is {describe(value)}",
                   call.function.span, help="remove `over`: this function gets the values of one row")  # fmt: skip
    for i, axis in enumerate(node.axes):
        if axis.name not in known:
            raise fail("E626", f"unknown axis `{axis.name}` after `over`", axis.span,
                       help=near(axis.name, known) or f"write an axis or `sample`: {one_of(known)}")  # fmt: skip
        if axis.name in (x.name for x in node.axes[:i]):
            raise fail("E626", f"`{axis.name}` comes twice after `over`", axis.span, help="remove one of the two")


def group_value(name: str, span: Span) -> Fn:
    """Return the function that finds the value of a row among those of its group."""

    def value(frame: Frame) -> Value:
        root = frame.root
        if not isinstance(root, RowFrame) or not hasattr(root, "groups"):
            raise too_early(name, span)
        return root.groups.value(name, root.place)

    return value


def too_early(name: str, span: Span) -> EvalFault:
    """Return the exception for a value that is read before all rows of its group are there."""
    return fail("E627", f"`{name}` is known only when all rows of its group are answered", span,
                help="use it in a `let` or a `measure`; a request can only read values of its own row")  # fmt: skip
