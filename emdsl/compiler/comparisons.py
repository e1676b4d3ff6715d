"""Comparisons: sides of one kind, numbers within the scale, and labels that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.types import NUMBERS, TEXTS, Type
from emdsl.lang import ast
from emdsl.source import Diagnostic, Edit, listed, near, one_of

if TYPE_CHECKING:
    from emdsl.compiler.faults import Faults


def check_compare(node: ast.Compare, left: Type, right: Type, faults: Faults) -> None:
    """Check a comparison of two types; faults are reported."""
    if node.op in ("==", "!=") and _word(node, left, right, faults):
        return
    both_known = left.kind != "any" and right.kind != "any"
    if node.op in ("==", "!="):
        sides = ({left.kind, right.kind} <= NUMBERS) or ({left.kind, right.kind} <= TEXTS)
        if both_known and not sides and left.kind != right.kind and "none" not in (left.kind, right.kind):
            faults.error("E505", f"{left} and {right} are never equal", node.span,
                         help="compare two values of the same type")  # fmt: skip
    else:
        sides = ({left.kind, right.kind} <= NUMBERS) or ({left.kind, right.kind} <= {"text", "answer"})
        if both_known and not sides:
            faults.error(
                "E505", f"{left} and {right} cannot be compared with `{node.op}`", node.span,
                help="use `is` to test a label"
                if "label" in (left.kind, right.kind) else "compare two values of the same type",
            )  # fmt: skip
    for verdict, other, side in ((left, node.right, node.left), (right, node.left, node.right)):
        _within(verdict, other, faults)
        _label_text(verdict, other, faults)
        if node.op in ("==", "!="):
            _label_value(verdict, other, side, node, faults)


def _word(node: ast.Compare, left: Type, right: Type, faults: Faults) -> bool:
    """Report a reply such as `REFUSAL` that is compared as if it were a value; return whether it is."""
    for verdict, other, side in ((left, node.right, node.left), (right, node.left, node.right)):
        if isinstance(other, ast.Text) and len(other.parts) == 1 and other.parts[0] in verdict.words:
            test = f"{side.span.text} {'is' if node.op == '==' else 'is not'} {other.parts[0]}"
            fix = (Edit(span=node.span, text=test),) if "\n" not in node.span.text else ()
            message = f'"{other.parts[0]}" is a reason why `{side.span.text}` is missing: no value equals it'
            faults.add(Diagnostic(code="E505", message=message, span=node.span, help=f"write `{test}`", fix=fix))
            return True
    return False


def _label_value(axis: Type, other: ast.Expr, side: ast.Expr, node: ast.Compare, faults: Faults) -> None:
    """A label that is compared as if it were a value: its levels have other values."""
    if not isinstance(other, ast.Text) or len(other.parts) != 1 or other.parts[0] not in axis.named:
        return
    word = "is" if node.op == "==" else "is not"
    faults.warning(
        "W533", f'"{other.parts[0]}" is a label of `{side.span.text}`, not a value', node.span,
        note="`==` compares values, so the result is the same in every cell",
        help=f"write `{side.span.text} {word} {other.parts[0]}`",
    )  # fmt: skip


def _label_text(verdict: Type, other: ast.Expr, faults: Faults) -> None:
    """A label that is compared with a text which is none would be unlike it in every row."""
    if verdict.kind != "label" or verdict.labels is None or not isinstance(other, ast.Text):
        return
    text = "".join(p for p in other.parts if isinstance(p, str))
    if all(isinstance(p, str) for p in other.parts) and text not in verdict.labels:
        hint = near(text.casefold(), verdict.labels) or listed("label", "labels", verdict.labels)
        faults.error("E210", f"unknown label `{text}`", other.span, help=hint)


def _within(score: Type, other: ast.Expr, faults: Faults) -> None:
    if score.scale is None or not isinstance(other, ast.Literal) or type(other.value) is not int:
        return
    low, high = score.scale
    if not low <= other.value <= high:
        faults.error(
            "E530",
            f"{other.value} is outside the scale {low:.0f}..{high:.0f}",
            other.span,
            note="the result would be the same for every answer",
            help="compare with a number within the scale",
        )


def comparison_help(type_: Type, text: str) -> str:
    """Return how to make a condition of a value of another type."""
    if type_.kind == "verdict":
        example = f"`{text[:40]}.{type_.names[0]} == ...`"
        return f"compare one of its fields, e.g. {example}; the fields are {one_of(type_.names)}"
    return f"compare it with a value, e.g. `{text[:40]} {'<' if type_.kind in NUMBERS else '=='} ...`"
