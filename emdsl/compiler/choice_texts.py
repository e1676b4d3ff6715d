"""`choices` whose texts read a rubric's parameters: the labels are fixed, their meanings are rendered in each call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.free_names import free_names
from emdsl.compiler.written import describe
from emdsl.frame import Fn, Frame, MissingInput, fail
from emdsl.lang import ast
from emdsl.value import Missing, render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.compiler.expr import Compiler
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope

CHOICES = "choices"  # the setting, and the name under which a rubric's messages see its labels


def described(decl: ast.Rubric, scope: Scope) -> tuple[ast.Entry, ...]:
    """Return the labels of a rubric with their texts; empty if no text reads a parameter."""
    entries = texts_of(decl)
    return entries if free_names(entries) & readable(decl, scope) else ()


def readable(decl: ast.Rubric, scope: Scope) -> frozenset[str]:
    """Return the parameters that texts can read. Names of the file go before them: older rubrics keep their keys."""
    return frozenset(name.text for name in decl.params) - frozenset(scope.names)


def texts_of(decl: ast.Rubric | ast.Ask) -> tuple[ast.Entry, ...]:
    """Return the labels with their texts; empty unless they are written as a map."""
    maps = (s.value for s in decl.settings if s.name.text == CHOICES and isinstance(s.value, ast.Map))
    return next((choices.entries for choices in maps), ())


def without_texts(settings: Iterable[ast.Setting]) -> tuple[ast.Setting, ...]:
    """Return settings whose `choices` have labels without texts, which can be read without a call."""

    def bare(entry: ast.Entry) -> ast.Entry:
        return entry.replaced(value=ast.Text(parts=("",), span=entry.value.span))

    return tuple(
        s.replaced(value=s.value.replaced(entries=tuple(map(bare, s.value.entries))))
        if s.name.text == CHOICES and isinstance(s.value, ast.Map) else s
        for s in settings
    )  # fmt: skip


def lines_of(entries: tuple[ast.Entry, ...], compiler: Compiler) -> Fn:
    """Return the function of a frame that makes the lines `label: text` of `{choices}`; it raises MissingInput."""
    texts = [(entry.label.text, compiler.expr(entry.value), entry.value.span) for entry in entries]

    def lines(frame: Frame) -> str:
        shown = []
        for label, text, span in texts:
            value = text(frame)
            if isinstance(value, Missing):
                raise MissingInput(value)
            meaning = render(value)
            if meaning is None:
                raise fail("E311", f"expected a text for `{label}`, got {describe(value)}", span)
            shown.append(f"{label}: {meaning}" if meaning else label)
        return "\n".join(shown)

    return lines


def check_texts(decl: ast.Rubric, scope: Scope, faults: Faults) -> None:
    """Warn of a text that reads a name of the file where a parameter has this name."""
    both = {name.text for name in decl.params} & frozenset(scope.names)
    for entry in texts_of(decl):
        for name in sorted(free_names(entry.value) & both):
            faults.warning(
                "W325", f"`{name}` in `{CHOICES}` is the `{name}` of the file, not the parameter", entry.value.span,
                help=f"rename the parameter `{name}` of `{decl.name.text}`",
            )  # fmt: skip
