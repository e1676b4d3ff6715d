"""Arguments of a call: each by its parameter, and the frame in which the call is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from emdsl.frame import EvalFault, Fn, Frame, fail
from emdsl.lang import ast
from emdsl.source import Span, listed, near, one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def by_parameter(
    name: str, params: tuple[str, ...], required: int, args: Sequence[tuple[ast.Name | None, T]], span: Span
) -> dict[str, T]:
    """Return arguments by parameter, in their order; raises EvalFault if they do not fit.

    Args:
        name: The function, for the message.
        params: Its parameters, the required ones first.
        required: How many of them must be given.
        args: The name (None for an argument by position) and the value of each argument.
        span: The call.
    """
    positional = [x for arg, x in args if arg is None]
    if len(positional) > len(params):
        raise _arity(name, params, required, len(args), (), span)
    bound = dict(zip(params, positional, strict=False))
    for arg, x in args:
        if arg is None:
            continue
        if arg.text not in params:
            help_ = near(arg.text, params) or listed("parameter", "parameters", params)
            raise fail("E213", f"`{name}` has no parameter `{arg.text}`", arg.span, help=help_)
        if arg.text in bound:
            raise fail("E214", f"the argument `{arg.text}` is given twice", arg.span,
                       help="remove one of the two values")  # fmt: skip
        bound[arg.text] = x
    if missing := tuple(p for p in params[:required] if p not in bound):
        raise _arity(name, params, required, len(args), missing, span)
    return {p: bound[p] for p in params if p in bound}


def _arity(
    name: str, params: tuple[str, ...], required: int, n: int, missing: tuple[str, ...], span: Span
) -> EvalFault:
    count = str(required) if required == len(params) else f"{required} to {len(params)}"
    plural = "" if count == "1" else "s"
    lacks = f": {one_of(missing)} {'is' if len(missing) == 1 else 'are'} missing" if missing and n else ""
    optional = params[required:]
    return fail(
        "E212", f"`{name}` expects {count} argument{plural}, got {n or 'none'}{lacks}", span,
        help=f"its parameters are {one_of(params[:required])}" + optional_note([f"`{p}`" for p in optional]),
    )  # fmt: skip


def optional_note(names: Sequence[str]) -> str:
    """Return the end of a help that lists the arguments that can be left out."""
    if not names:
        return ""
    *first, last = names
    return f"; {', '.join(first)} and {last} are optional" if first else f"; {last} is optional"


Argument = tuple[Fn, str | None]  # how it is evaluated; the name that is passed as it stands, if it is one


def argument(arg: ast.Arg, value: Fn) -> Argument:
    """Return an argument with the name that it passes as it stands."""
    return value, arg.value.name if isinstance(arg.value, ast.Ref) else None


def call_frame(args: dict[str, Argument], frame: Frame) -> Frame:
    """Return the frame of a call: names are found where the function stands, not where it is called.

    An axis that is passed as it is brings its label along, so that `when cot is on` works inside a prompt too.
    """
    inside = Frame(parent=frame.root)
    inside.levels = {name: level for name, level in frame.root.levels.items() if name not in args}
    for param, (value, axis) in args.items():
        inside[param] = value(frame)
        if axis is not None and axis in frame.levels:
            inside.levels[param] = frame.levels[axis]
    return inside
