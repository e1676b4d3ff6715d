"""Habits of other languages in programs that parse: the errors that they end in, explained by the place in the source.

`explained` goes over the errors of a program. A rule of `RULES` finds a habit at the place of an error of its code, and
its rewriting counts as a fix only if the file parses with it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.habit_calls import SETTINGS, WORDS
from emdsl.compiler.habit_rules import RULES
from emdsl.lang import grammar
from emdsl.lang.habits import MAX_SHOWN, MAX_STATEMENT, Found, Rule, masked
from emdsl.source import Diagnostic, Edit, Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emdsl.source import Source

MAX_FIXES = 40  # of one program that are tried
_ABSENT = {
    "E710": ("scale", "choices", "shape"),
    "E601": ("file",),
    "E703": ("use",),
}  # by code: the settings that lack
_UNUSED = ("W320", "W402", "W403", "W404", "W405", "W701")  # an error can be what hides the use
_BLOCK_END = re.compile(r"^(?=[^\s#}])", re.MULTILINE)
_LIST = re.compile(r"\b(\w+)\s+in\s*\[([^\[\]\n]*)\]")
_NEAR = re.compile(r"did you mean `(\w+)`")
_NAME = re.compile(r"(?<![\w.])[A-Za-z_][\w-]*(?![\w(.])")


def explained(diagnostics: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return the diagnostics of a program with an error, those of a habit with what is written instead of it.

    Warnings and errors that another error causes are left out: a setting that another name hides, an unused axis.
    """
    reader = _Reader()
    result = [reader.explained(d) for d in _unquoted(diagnostics) if not _follows(d, diagnostics)]
    return tuple(result)


def _follows(diagnostic: Diagnostic, others: Iterable[Diagnostic]) -> bool:
    """Whether a diagnostic is likely the consequence of another one."""
    span = diagnostic.span
    if diagnostic.code in _UNUSED:
        return True
    if diagnostic.code == "E408":
        return any(d.code.startswith("E1") or d.code == "E412" for d in others)
    if span is None or diagnostic.code not in _ABSENT:
        return False
    end = _BLOCK_END.search(span.source.text, span.end)
    stop = end.start() if end else len(span.source.text)
    return any(
        d.code in ("E109", "E155", "E202") and d.span is not None and d.span.source is span.source
        and span.start < d.span.start < stop
        and any(re.search(rf"`{name}\b", d.help.partition("available")[0]) for name in _ABSENT[diagnostic.code])
        for d in others
    )  # fmt: skip


def _unquoted(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Return diagnostics with those of words without quotes explained: levels of which none is a name or a model."""
    unknown = {(d.span.source, d.span.start) for d in diagnostics if d.code == "E201" and d.span is not None}
    result = []
    for diagnostic in diagnostics:
        span = diagnostic.span
        if diagnostic.code != "E201" or span is None or not diagnostic.help.startswith("define"):
            result.append(diagnostic)
            continue
        start, end = _line(span)
        lists = [m for m in _LIST.finditer(span.source.text, start, end) if m.start(2) <= span.start < m.end(2)]
        names = [n.start() for n in _NAME.finditer(masked(lists[0][2]))] if lists else []
        alone = lists and all((span.source, lists[0].start(2) + at) in unknown for at in names)
        alone = alone and not re.search(rf"\bfrom\s+{lists[0][1]}\b|\b{lists[0][1]}\.", masked(span.source.text))
        edits = (Edit(span=span, text=f'"{span.text}"'),) if alone else ()
        result.append(
            replace(diagnostic, code="E218", message=f"unknown name `{span.text}`: a text is in quotes",
                    help=f'write `"{span.text}"`', fix=edits) if alone else diagnostic
        )  # fmt: skip
    return result


def _line(span: Span) -> tuple[int, int]:
    """Return the offsets of the lines of a range."""
    text = span.source.text
    end = text.find("\n", max(span.end - 1, span.start))
    return text.rfind("\n", 0, span.start) + 1, len(text) if end < 0 else end


def _around(diagnostic: Diagnostic, offset: int) -> tuple[int, int]:
    """Return the range that a habit must touch: some errors are at the declaration, or at the whole value."""
    assert diagnostic.span is not None
    start = diagnostic.span.start - offset
    if diagnostic.code == "E207":
        return start, len(diagnostic.span.source.text)
    return start, diagnostic.span.end - offset if diagnostic.code == "E520" else start


class _Reader:
    """Explains diagnostics one by one; the text of each source is masked once."""

    def __init__(self) -> None:
        self._masks: dict[Source, str] = {}
        self._tried = 0

    def explained(self, diagnostic: Diagnostic) -> Diagnostic:
        """Return a diagnostic, explained if it is the end of a habit."""
        span, rules = diagnostic.span, RULES.get(diagnostic.code, ())
        if diagnostic.code == "E202" and not diagnostic.help.startswith("available"):
            rules = SETTINGS if diagnostic.help.startswith("did you mean") else ()
        near = _NEAR.match(diagnostic.help)
        if near is not None and near[1] not in BUILTINS:
            rules = tuple(rule for rule in rules if rule not in WORDS)
        if span is None or not rules or diagnostic.severity is not Severity.ERROR or len(span.text) > MAX_STATEMENT:
            return diagnostic
        start, end = _line(span)
        if diagnostic.code == "E207":
            block = _BLOCK_END.search(span.source.text, span.end)
            end = block.start() if block else len(span.source.text)
        if end - start > MAX_STATEMENT:
            return diagnostic
        text, mask = span.source.text[start:end], self._mask(span.source)[start:end]
        for rule in rules:
            if not re.search(rule.said, diagnostic.message):
                continue
            for found in rule.found(text, mask, *_around(diagnostic, start)):
                return self._explained(diagnostic, rule, found, start)
        return diagnostic

    def _explained(self, diagnostic: Diagnostic, rule: Rule, found: Found, offset: int) -> Diagnostic:
        assert diagnostic.span is not None
        source, put = diagnostic.span.source, rule.rewriting(found)
        if put is None and rule.put is not None:
            return diagnostic
        edits: tuple[Edit, ...] = ()
        if put is not None and rule.is_sure(found):
            edit = Edit(span=Span(source, offset + found.match.start(), offset + found.match.end()), text=put)
            edits = (edit,) if self._parses(source, edit) else ()
        shown = (put or "").strip()
        default = "write `\\0`" if shown and len(shown) <= MAX_SHOWN else diagnostic.help
        help_ = found.filled(rule.help or default, shown)
        message = found.filled(rule.message) if rule.message else diagnostic.message
        return replace(diagnostic, code=rule.code or diagnostic.code, message=message, help=help_, fix=edits)

    def _parses(self, source: Source, edit: Edit) -> bool:
        self._tried += 1
        text = source.text
        changed = text[: edit.span.start] + edit.text + text[edit.span.end :]
        return self._tried <= MAX_FIXES and grammar.failure(changed, "file") is None

    def _mask(self, source: Source) -> str:
        if source not in self._masks:
            self._masks[source] = masked(source.text)
        return self._masks[source]
