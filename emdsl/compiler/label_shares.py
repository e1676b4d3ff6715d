"""`judged.p(LABEL)`, the probability of a label, is a field of its judge; with any other argument it is a call."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emdsl.compiler.cell_choices import choices_by_cell
from emdsl.label_share import FIELD
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
    known = {*statements.axes, *(let.name.text for let in statements.lets)}
    asks = {s.name: s.decl for s in statements.steps if isinstance(s.decl, ast.Ask)}
    by_cell = {name for name, decl in asks.items() if choices_by_cell(decl, known) is not None}
    change = _of_steps({step.name for step in statements.steps}, by_cell, known)
    return replace(
        statements,
        lets=tuple(replaced(x, change) for x in statements.lets),
        measures=tuple(replaced(x, change) for x in statements.measures),
        steps=tuple(
            replace(x, decl=replaced(x.decl, change), conditions=tuple(replaced(c, change) for c in x.conditions))
            for x in statements.steps
        ),
    )


def _of_steps(
    steps: Container[str], by_cell: Container[str], known: Container[str]
) -> Callable[[ast.Node], ast.Node | None]:
    """Return the function that replaces a call of `p`; it returns None for any other node.

    The call becomes the field of its label, or of `p` if it has no label. A call with an expression becomes a call of
    FIELD. The labels of a step in `by_cell` are in the data: an argument in `known` is a name, any other word a text.
    """

    def change(node: ast.Node) -> ast.Node | None:
        match node:
            case ast.Call(
                function=ast.Field(value=ast.Ref(name=of) as step, name=ast.Name(text="p")),
                args=args,
            ) if of in steps:
                single = len(args) == 1 and args[0].name is None
                label = _label(args[0].value) if single else ""
                computed = single and not isinstance(args[0].value, ast.Literal) and not label
                if computed or (label and of in by_cell):
                    is_name = isinstance(args[0].value, ast.Ref) and label in known
                    text = ast.Text(parts=(label,), span=args[0].span) if label and not is_name else None
                    value = text or replaced(args[0].value, change)
                    function = ast.Field(value=step, name=ast.Name(text=FIELD, span=node.span), span=node.function.span)
                    return node.replaced(function=function, args=(args[0].replaced(value=value),))
                name = ast.Name(text=share(label) if label else "p", span=args[0].span if label else node.span)
                return ast.Field(value=step, name=name, span=node.span)
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
    names = frozenset(known)
    labels = sorted(n[len(start) : -1] for n in names if of and n.startswith(start) and n != f"{of}.{FIELD}")
    if labels and label:
        faults.error("E210", f"unknown label `{label}`", name.span,
                     help=near(label, labels) or listed("label", "labels", labels))  # fmt: skip
    elif f"{of}.{FIELD}" in names:
        example = labels[0] if labels else "LABEL"
        faults.error("E215", f"`{of}.p` needs one label", name.span, help=f"write `{of}.{share(example)}`")
    else:
        help_ = "add `read = weighted(top: 20)` to its rubric"
        if owner.kind == "score":
            help_ = "use a rubric with `choices` and `read = weighted(top: 20)`"
        if owner.kind == "answer":
            help_ = f"add `choices` and `read = weighted(top: 20)` to `ask {of}`" if of else "name the `ask` itself"
        what = f"`{of}`" if of else str(owner)
        faults.error("E215", f"{what} has no probabilities of labels", name.span, help=help_)
