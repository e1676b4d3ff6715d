"""Where a call gives its arguments: an error about one is reported at the call, not inside of a library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.compiler.types import Type, column_hint
from emdsl.lang import ast
from emdsl.source import Label, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.faults import Faults


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a call: the function as the call names it, its parameter, and the place of the value."""

    callee: str
    param: str
    span: Span


def arguments_of(node: ast.Call, params: tuple[str, ...], outer: Mapping[str, Argument]) -> dict[str, Argument]:
    """Return the arguments of a call by parameter.

    Args:
        node: The call.
        params: The parameters of its function.
        outer: The arguments of the call around it: one that is passed on is that of the outer call.
    """
    by_position = zip(params, (a.value for a in node.args if a.name is None), strict=False)
    values = dict(by_position) | {a.name.text: a.value for a in node.args if a.name is not None}
    arguments = {}
    for param, value in values.items():
        passed_on = outer.get(value.name) if isinstance(value, ast.Ref) else None
        arguments[param] = passed_on or Argument(node.function.span.text, param, value.span)
    return arguments


def at_caller(node: ast.Expr, type_: Type, arguments: Mapping[str, Argument], faults: Faults) -> bool:
    """Report a parameter that is inserted into a text where the call gives it; return whether it is one."""
    argument = arguments.get(node.name) if isinstance(node, ast.Ref) else None
    if argument is None:
        return False
    faults.error(
        "E311", f"`{argument.callee}` inserts `{argument.param}` into a text, got {type_}", argument.span,
        help=column_hint("{}", argument.span.text, type_, argument.param),
        labels=(Label(span=node.span, text="inserted here"),),
    )  # fmt: skip
    return True
