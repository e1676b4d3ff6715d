"""The help of messages about measures: how a function is called, and what a call lacks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emdsl.compiler.arguments import optional_note
from emdsl.lang import ast

if TYPE_CHECKING:
    from emdsl.compiler.measure_specs import MeasureSpec

MAX_SHOWN = 60  # characters of an argument
_NOUNS = {  # of the arguments by position
    "condition": "a condition", "number": "a number", "inner": "`rate(...)` or `mean(...)`", "side": "a side",
    "judgement": "a judgement", "axis": "an axis of numbers", "whole": "a minimum number of draws",
    "share": "a quantile from 0 to 1", "label": "a label", "factors": "a list of axes",
}  # fmt: skip
_COUNTS = ("none", "one")
_COMMA = re.compile(r", (?![^\[]*\])")  # between arguments, not in a list
_FOR_OTHERS = {  # what a value is measured by that is of another type than expected
    "bool": "for a condition use `rate(...)`", "label": "for labels use `shares(...)`, or `rate(NAME is LABEL)`",
    "answer": "read the answer: with `scale = 0..100` an ask has `NAME.score`, with `choices` it has `NAME.label`",
    "score": "for a score use `rate(SCORE < 30)`, `mean(...)` or `quantile(...)`",
}  # fmt: skip


def usage(spec: MeasureSpec) -> str:
    """Return how a function is called, for a help: with its required arguments, and the names of the others."""
    given = ["`given CONDITION`"] if " given " in spec.signature else []
    optional = optional_note([*given, *(f"`{name}:`" for name, _ in spec.named)])
    return f"`{spec.name}({', '.join(placeholders(spec))})`{optional}"


def placeholders(spec: MeasureSpec) -> list[str]:
    """Return the arguments by position as the signature shows them, without `given`."""
    inside = spec.signature.removeprefix(f"{spec.name}(").replace(" given CONDITION", "").removesuffix(")")
    return _COMMA.split(inside)[: len(spec.positional)]


def other_help(expected: str, kind: str) -> str:
    """Return what to do with a value of a kind where another is expected: a number or a label."""
    default = {
        "number": "use a score, or a number of a verdict",
        "label": "use a judge with `choices`, `NAME.label` of an `ask`, or a field of a verdict with labels",
    }
    return _FOR_OTHERS.get(kind, default[expected])


def inner_help(node: ast.Expr, function: str) -> str:
    """Return how a value becomes a measure that others can be made of."""
    if function == "dose":
        return "write `dose(rate(CONDITION), AXIS)`; the mean of a score has a `slope(mean(SCORE), AXIS)`"
    text = node.name if isinstance(node, ast.Ref) else "SCORE"
    return f"write `mean({text})` for the mean of a score, or `rate({text} < 30)` for the rate of a condition"


def missing_arguments(spec: MeasureSpec, positional: list[ast.Expr], *, versus: bool) -> tuple[str, str]:
    """Return the message and the help for a call with too few arguments by position.

    Args:
        spec: The function that is called.
        positional: The arguments that are there.
        versus: Whether the call has a baseline: an axis then replaces the two sides.
    """
    if versus:
        inner = _texts(positional, placeholders(spec))[:1] or placeholders(spec)[:1]
        return (
            f"`{spec.name}` with `versus` needs an axis to compare",
            f"write `{spec.name}({inner[0]}, AXIS, versus: LEVEL)`",
        )
    kinds, shown = [p.kind for p in spec.positional], placeholders(spec)
    lacking, wanted = kinds[len(positional) :], kinds[-1]
    pair = {"side": "two sides", "judgement": "two judgements", "number": "two numbers"}.get(wanted)
    if pair is not None and kinds.count(wanted) == 2 and spec.positional[len(positional)].kind == wanted:
        message = f"`{spec.name}` needs {pair} to compare, got {_COUNTS[2 - len(lacking)]}"
    else:
        nouns = ["two sides to compare" if lacking.count(k) > 1 else _NOUNS[k] for k in dict.fromkeys(lacking)]
        message = f"`{spec.name}` needs {' and '.join(nouns)}"
    args = [*_texts(positional, shown), *shown[len(positional) :]]
    if spec.name == "contrast" and len(lacking) == 1 and (axis := _compared_axis(positional[-1])):
        args[-1] = axis
    optional = optional_note([f"`{name}:`" for name, _ in spec.named])
    do = "add the other side:" if wanted == "side" and len(lacking) == 1 else "write"
    return message, f"{do} `{spec.name}({', '.join(args)})`{optional}"


def _texts(positional: list[ast.Expr], shown: list[str]) -> list[str]:
    """Return arguments as they are written, long ones by their placeholders."""
    texts = [" ".join(x.span.text.split()) for x in positional]
    return [t if len(t) <= MAX_SHOWN else p for t, p in zip(texts, shown, strict=False)]


def _compared_axis(side: ast.Expr) -> str:
    """Return the other side of a contrast, as far as the first one tells it."""
    match side:
        case ast.Is(value=ast.Ref(name=name)):
            return f"{name} is ..."
        case ast.Compare(left=ast.Ref(name=name), op="=="):
            return f"{name} == ..."
        case _:
            return ""
