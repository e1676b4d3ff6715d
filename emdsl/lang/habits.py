"""Statements that do not parse, written by a habit of another language: which one it is, and the same in this language.

A rule finds a habit at the place of an error and rewrites it. It counts only if the statement then parses, alone or
with more rules for the next errors, so that no message names a construct that would not work there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emdsl.lang import grammar
from emdsl.source import Diagnostic, Edit, Source, Span, fixed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_STATEMENT = 20_000  # characters: nobody wrote a longer one by hand
MAX_SHOWN = 100  # characters of a rewriting in a message
BLOCKS = "E146"  # the diagnostic of Jinja
MAX_RULES = 3  # habits in one statement
MAX_TRIES = 24  # rewritings of one statement
_MASKED = re.compile(
    r'(?P<long>\braw[ \t]*"""[^"]*"""|"""(?:[^"\\]|\\.|"(?!""))*""")|"(?:[^"\\\n]|\\.)*"|#[^\n]*', re.DOTALL
)
_BEFORE = re.compile(
    r"(?:^|[=(\[{,:]|\b(?:with|from|in|given|when|if|then|else|and|or|not|user|system|assistant|tool))[ \t]*\Z",
    re.MULTILINE,
)
_AFTER = re.compile(r"\s*(?:\Z|[)\]},{]|\n|(?:and|or|given|by|else|then|from|with|for|if)\b)")
_WRAP = {  # what makes a file of statements
    "decl": ("em 1\n", ""),
    "stmt": ("em 1\nexperiment x {\n", "\n}"),
    "rubric_item": ("em 1\nrubric x() {\n", "\n}"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """A place where a rule matches: its groups are those of the text, not of its mask."""

    text: str
    match: re.Match[str]

    def __getitem__(self, group: int) -> str:
        start, end = self.match.span(group)
        return self.text[start:end] if start >= 0 else ""

    def replaced(self, put: str) -> str:
        """Return the text with something else in place of the match."""
        return self.text[: self.match.start()] + put + self.text[self.match.end() :]

    def filled(self, template: str, put: str = "") -> str:
        r"""Return a template with its groups `\1` filled in, and `\0` by what is written instead of the match."""
        return re.sub(r"\\(\d)", lambda number: self[int(number[1])] if number[1] != "0" else put, template)


@dataclass(frozen=True, slots=True)
class Rule:
    r"""A habit.

    Attributes:
        code: The diagnostic.
        find: The habit, over a text whose quoted texts and comments are masked by `~`.
        message: A template of the match.
        put: What is written instead: a template of the match, or a function of it; None: no rewriting is possible.
        help: A template of the match; `\0` is the rewriting. By default: write it.
        sure: Whether the rewriting has the meaning of the habit, so that it is a fix.
        unless: A pattern of matches whose rewriting is no fix.
        places: The rules of the grammar that the habit is seen in.
        plain: Whether `find` is over the text itself.
        whole: Whether the match must be a whole expression: its parts change places.
        said: A pattern that the message of the error matches, in a program that parses.
    """

    code: str
    find: str
    message: str
    put: str | Callable[[Found], str | None] | None = None
    help: str = ""
    sure: bool = True
    unless: str = ""
    places: tuple[str, ...] = ("decl", "stmt", "rubric_item")
    plain: bool = False
    whole: bool = False
    said: str = ""

    def found(self, text: str, masked: str, at: int, until: int | None = None) -> Iterator[Found]:
        """Yield the matches around an offset or a range, or those whose group `at` is there."""
        for match in re.finditer(self.find, text if self.plain else masked, re.MULTILINE):
            start, end = match.span("at" if "at" in match.re.groupindex else 0)
            if start <= (at if until is None else until) and at <= end and (not self.whole or _is_whole(masked, match)):
                yield Found(text, match)

    def rewriting(self, found: Found) -> str | None:
        """Return what is written instead of a match."""
        return found.filled(self.put) if isinstance(self.put, str) else self.put(found) if self.put else None

    def is_sure(self, found: Found) -> bool:
        """Whether the rewriting of a match keeps its meaning."""
        return self.sure and not (self.unless and re.search(self.unless, found[0]))


def masked(text: str) -> str:
    """Return a text of the same length in which quoted texts are `~` between their quotes, and comments are blank.

    >>> masked('user "a, b"  # c')
    'user "~~~~"     '
    """

    def mask(match: re.Match[str]) -> str:
        whole = match[0]
        if whole.startswith("#"):
            return " " * len(whole)
        quotes = 3 if match["long"] else 1
        opened = whole.index('"') + quotes
        return whole[:opened] + re.sub(r"[^\n]", "~", whole[opened:-quotes]) + whole[-quotes:]

    return _MASKED.sub(mask, text)


def habit(source: Source, text: str, offset: int, at: int, start: str, rules: tuple[Rule, ...]) -> Diagnostic | None:
    """Return the diagnostic of a habit, or None.

    Args:
        source: The file.
        text: The statement that does not parse.
        offset: Its offset in the file.
        at: The offset of the error in the statement.
        start: The rule of the grammar that the statement was parsed as.
        rules: The habits; of several, the first that makes the statement parse.
    """
    if len(text) > MAX_STATEMENT:
        return None
    search = _Search(start, tuple(r for r in rules if start in r.places))
    for rule, found, put in search.matches(text, at):
        if put is None:
            if rule.put is None:
                return _diagnostic(source, offset, rule, found, "", ())
            continue
        candidate = found.replaced(put)
        sure, whole = search.solved(candidate, MAX_RULES - 1)
        if whole is not None:
            sure = sure and rule.is_sure(found) and _depth(whole) == _depth(text)
            edits = (_edit(source, offset, text, whole),) if sure else ()
            return _diagnostic(source, offset, rule, found, put.strip() if whole == candidate else whole.strip(), edits)
    return None


def fixed_blocks(source: Source, diagnostics: list[Diagnostic], rules: tuple[Rule, ...]) -> list[Diagnostic]:
    """Return diagnostics with the fix of all blocks of a template language, if the file parses with it.

    A block has two ends, so that no statement of it parses alone.
    """
    first = next((i for i, d in enumerate(diagnostics) if d.code == BLOCKS and not d.fix), None)
    if first is None or len(source.text) > MAX_STATEMENT:
        return diagnostics
    edits: dict[int, Edit] = {}
    mask = masked(source.text)
    for rule in rules:
        for match in re.finditer(rule.find, mask) if rule.code == BLOCKS and "%" in rule.find else ():
            put = rule.rewriting(Found(source.text, match))
            if put is not None:
                edits.setdefault(match.start(), Edit(span=Span(source, *match.span()), text=put))
    others = [e for d in diagnostics for e in d.fix]
    if grammar.failure(fixed(source.text, [*edits.values(), *others]), "file") is not None:
        return diagnostics
    whole = replace(diagnostics[first], fix=tuple(edits.values()))
    return [*diagnostics[:first], whole, *diagnostics[first + 1 :]]


class _Search:
    """Rewrites one statement, rule after rule, until it parses; the number of tries is bounded."""

    def __init__(self, start: str, rules: tuple[Rule, ...]) -> None:
        self._start = start
        self._rules = rules
        self._tried: dict[str, int | None] = {}

    def matches(self, text: str, at: int) -> Iterator[tuple[Rule, Found, str | None]]:
        """Yield the habits at an error, and what is written instead of each."""
        mask = masked(text)
        for rule in self._rules:
            for found in rule.found(text, mask, at):
                yield rule, found, rule.rewriting(found)

    def solved(self, text: str, depth: int) -> tuple[bool, str | None]:
        """Return whether it is a fix, and a statement rewritten until it parses; None if it never does."""
        if text in self._tried or len(self._tried) >= MAX_TRIES:
            return False, None
        at = self._tried[text] = failure(text, self._start)
        if at is None:
            return True, text
        for rule, found, put in self.matches(text, at) if depth else ():
            if put is not None:
                sure, whole = self.solved(found.replaced(put), depth - 1)
                if whole is not None:
                    return sure and rule.is_sure(found), whole
        return False, None


def failure(text: str, start: str) -> int | None:
    """Return the offset at which a statement does not parse, or None if it does; blank ones do."""
    before, after = _WRAP[start]
    mask = masked(text)
    if not mask.strip():
        return None
    closing = "}" * max(0, mask.count("{") - mask.count("}"))  # the head of a block
    at = grammar.failure(before + text + closing + after, "file")
    return None if at is None else min(max(at - len(before), 0), len(text))


def _is_whole(mask: str, match: re.Match[str]) -> bool:
    """Whether a match neither continues an expression before it nor is continued after it."""
    return bool(_BEFORE.search(mask, 0, match.start()) and _AFTER.match(mask, match.end()))


def missing_comma(source: Source, text: str, offset: int, at: int, start: str) -> Diagnostic | None:
    """Return the diagnostic of two values without a comma between them, within brackets, or None."""
    mask = masked(text[:at])
    opened = sum(mask.count(c) for c in "([{") - sum(mask.count(c) for c in ")]}")
    end = len(mask.rstrip())
    if opened <= 0 or not re.search(r"[\w\"\])}]\s*$", mask):
        return None
    if not re.match(r"[\w\"\[({$-]", text[at:]) or failure(text[:end] + "," + text[end:], start) is not None:
        return None
    before = re.search(r"[\w.]+$|\"[^\"\n]*\"$|\S$", text[:end])
    span = Span(source, offset + (before.start() if before else end), offset + end)
    fix = Edit(span=Span(source, offset + end, offset + end), text=",")
    help_ = "separate the values by `,`"
    return Diagnostic(code="E145", message="expected `,` after this value", span=span, help=help_, fix=(fix,))


def _depth(text: str) -> int:
    mask = masked(text)
    return mask.count("{") - mask.count("}")


def _edit(source: Source, offset: int, old: str, new: str) -> Edit:
    """Return the smallest replacement that makes one text of another."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return Edit(span=Span(source, offset + start, offset + len(old) - end), text=new[start : len(new) - end])


def _diagnostic(source: Source, offset: int, rule: Rule, found: Found, put: str, edits: tuple[Edit, ...]) -> Diagnostic:
    start, end = found.match.span("at" if "at" in found.match.re.groupindex else 0)
    text = found.text[start:end]
    start, end = start + len(text) - len(text.lstrip()), end - (len(text) - len(text.rstrip()))
    line = found.text[start:end].find("\n")
    span = Span(source, offset + start, offset + (end if line < 0 else start + line))
    shown = " ".join(put.split()) if "\n" in put else put
    default = "write `\\0`" if shown and len(shown) <= MAX_SHOWN else ""
    message, help_ = (found.filled(x, shown) for x in (rule.message, rule.help or default))
    return Diagnostic(code=rule.code, message=message, span=span, help=help_, fix=edits)
