"""Types of calls of built-in functions: what each argument must be, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.faults import Silent
from emdsl.compiler.types import ANY, BOOL, NUMBER, NUMBERS, TEXT, TEXTS, Type, union
from emdsl.frame import EvalFault, Frame, MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.functions import Builtin
    from emdsl.frame import Fn
    from emdsl.lang import ast
    from emdsl.source import Span

_LISTS = {"list", "dataset", "map"}
_TAKES = {  # a kind of `Builtin.takes`: the kinds of types, and what a message calls them
    "text": (TEXTS, "a text"),
    "texts": (TEXTS | NUMBERS | {"list"}, "a text or a list of texts"),
    "number": (NUMBERS, "a number"),
    "value": (TEXTS | NUMBERS, "a number"),
    "bool": ({"bool"}, "`true` or `false`"),
    "list": (_LISTS, "a list"),
}
_RESULTS = {"number": NUMBER, "bool": BOOL, "texts": Type("list", item=TEXT)}
_NUMERIC = ("len", "round")


def check_arguments(
    function: Builtin, types: Mapping[str, Type], nodes: Mapping[str, ast.Arg],
    compiled: Callable[[ast.Expr], Fn], faults: Faults,
) -> bool:  # fmt: skip
    """Check the kinds of arguments, and patterns and words that are the same in every row; whether all kinds fit.

    Args:
        function: The function that is called.
        types: The types of its arguments, by parameter.
        nodes: The arguments, by parameter.
        compiled: Compiles an argument.
        faults: Takes the faults.
    """
    fit = True
    for param, kind in zip(function.params, function.takes, strict=False):
        if kind == "any" or param not in types:
            continue
        kinds, expected = _TAKES[kind]
        if types[param].kind not in (*kinds, "any"):
            fit = False
            help_ = "read it with `number(text)`" if kind == "number" and types[param].kind in TEXTS else ""
            faults.error("E506", f"`{function.name}` expects {expected} as `{param}`, got {types[param]}",
                         nodes[param].value.span, help=help_)  # fmt: skip
        elif param in ("pattern", "ignore"):
            with faults.caught():
                _check_constant(param, nodes[param].value, compiled)
    return fit


def _check_constant(param: str, node: ast.Expr, compiled: Callable[[ast.Expr], Fn]) -> None:
    """Check a pattern, or the words of `ignore`; one that differs from row to row is checked when it is used."""
    from emdsl.compiler.patterns import check_pattern  # noqa: PLC0415 - start-up: used by few studies
    from emdsl.compiler.text_functions import check_ignored  # noqa: PLC0415 - start-up: few studies ignore words

    check: Callable[[object, Span], None] = check_pattern if param == "pattern" else check_ignored
    try:
        value = compiled(node)(Frame())
    except (KeyError, EvalFault, MissingInput, Silent):  # it reads the row, or its error is reported elsewhere
        return
    check(value, node.span)


def call_type(
    function: Builtin, types: Mapping[str, Type], nodes: Mapping[str, ast.Arg], element: Callable[[Type, Span], Type],
    faults: Faults,
) -> Type:  # fmt: skip
    """Return the type of a call; `element` returns the type of the items of a list."""
    match function.name:
        case "draw":
            source = types["dataset"]
            if source.kind not in ("dataset", "list", "any"):
                faults.error("E513", f"`draw` expects rows of a dataset, got {source}", nodes["dataset"].span)
                return ANY
            return Type("list", item=source.item or ANY)
        case "mix":
            return union([types["first"], types["second"]])
        case "shuffle":
            return Type("list", item=types["list"].item or ANY)
        case "pick" | "cycle":
            return element(types["list"], nodes["list"].span)
        case "choice" if "list" in types:
            return element(types["list"], nodes["list"].span)
        case name:
            return NUMBER if name in _NUMERIC else _RESULTS.get(function.result, TEXT)


def hidden_help(name: str, functions: Mapping[str, Builtin]) -> str:
    """Return the help for a call of a name of the program that hides a function of the language."""
    if name in functions:
        return f"this study defines `{name}`, which hides the function `{name}(...)`: give it another name"
    return "only functions, prompts and rubrics can be called"
