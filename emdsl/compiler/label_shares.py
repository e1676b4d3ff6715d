"""`judged.p(LABEL)`: the probability of a label, read as a field of its judge."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emdsl.lang import ast
from emdsl.lang.walk import replaced
from emdsl.reply_format import share
from emdsl.source import listed, near
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.statements import Statements
    from emdsl.compiler.types import Type

_MAYBE = re.compile(r"\.\s*p\s*\(")  # most experiments have no such call, and their trees are not copied


def with_shares(statements: Statements) -> Statements:
    """Return statements in which the call `judged.p(LABEL)` is the field `p(LABEL)`: a label is never a name."""
    if not _MAYBE.search(statements.decl.span.text):
        return statements
    change = _of_steps({step.name for step in statements.steps})
    return replace(
        statements,
        lets=tuple(replaced(x, change) for x in statements.lets),
        measures=tuple(replaced(x, change) for x in statements.measures),
        steps=tuple(
            replace(x, decl=replaced(x.decl, change), conditions=tuple(replaced(c, change) for c in x.conditions))
            for x in statements.steps
        ),
    )


def _of_steps(steps: Container[str]) -> Callable[[ast.Node], ast.Node | None]:
    """Return the change of a call of `p`: the field, `p()` if its argument is no label; None for any other node."""

    def change(node: ast.Node) -> ast.Node | None:
        match node:
            case ast.Call(
                function=ast.Field(value=ast.Ref(name=of) as step, name=ast.Name(text="p")),
                args=args,
            ) if of in steps:
                label = _label(args[0].value) if len(args) == 1 and args[0].name is None else ""
                span = args[0].span if label else node.span
                return ast.Field(value=step, name=ast.Name(text=share(label), span=span), span=node.span)
            case _:
                return None

    return change


def _label(node: Any) -> str:
    """Return an argument as the label that it is, as `is` takes one; "" for any other expression."""
    match node:
        case ast.Ref(name=name):
            return name
        case ast.Text(parts=(str() as text,)):
            return text
        case ast.Literal(value=bool() | None as value):
            return "none" if value is None else render(value) or ""
        case _:
            return ""


def report_no_share(owner: Type, name: ast.Name, of: str, known: Iterable[str], faults: Faults) -> None:
    """Report `judged.p(LABEL)` of an unknown label, without a label, or of a judge that has no probabilities.

    Args:
        owner: The type of the verdict, or of the answer.
        name: The field `p(LABEL)`, or `p` as written.
        of: The name of the judge, or of the ask.
        known: Every name and field of the experiment.
        faults: Takes the fault.
    """
    label = name.text[2:-1]
    start = f"{of}.{share('')[:-1]}"
    labels = sorted(n[len(start) : -1] for n in known if of and n.startswith(start))
    if labels and label:
        faults.error("E210", f"unknown label `{label}`", name.span,
                     help=near(label, labels) or listed("label", "labels", labels))  # fmt: skip
    elif labels:
        one, *others = (f"{of}.{share(known_label)}" for known_label in labels)
        choose = f", or choose by a condition: `if CONDITION then {one} else {others[0]}`" if others else ""
        faults.error("E215", f"`{of}.p` needs one label", name.span, help=f"write `{one}`{choose}")
    else:
        help_ = "add `read = weighted(top: 20)` to its rubric"
        if owner.kind == "score":
            help_ = "use a rubric with `choices` and `read = weighted(top: 20)`"
        if owner.kind == "answer":
            help_ = f"add `choices` and `read = weighted(top: 20)` to `ask {of}`" if of else "name the `ask` itself"
        what = f"`{of}`" if of else str(owner)
        faults.error("E215", f"{what} has no probabilities of labels", name.span, help=help_)
