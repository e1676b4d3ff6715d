"""The formatter: one layout, every comment kept, no meaning changed.

It works on tokens, never on the tree, so that nothing can be lost: it sets spaces and keeps line breaks, except that
each part of a block over several lines gets its own line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from emdsl.errors import EmdslError, SourceError
from emdsl.lang.parser import parse
from emdsl.lang.words import RESERVED, ROLES
from emdsl.source import Severity, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP = 2  # spaces of indentation
CONTINUATION = 4  # more, for a line that continues the one before

_TOKEN = re.compile(
    r'(?P<raw>\braw[ \t]*"""(?:[^"]|"(?!""))*""")'
    r'|(?P<long>"""(?:[^"\\]|\\(?:.|\n)|"(?!""))*""")'
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<comment>#[^\n]*)"
    r"|(?P<newline>\r?\n)"
    r"|(?P<number>\$?[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>->|==|!=|<=|>=|\.\.|[-+*/<>=.,:(){}\[\]])"
    r"|(?P<blank>[ \t\r\ufeff]+)"
)
_CONTINUING = frozenset(("and", "or", "then", "else", "by", "given", "with", "from", "is"))
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_WITH_BODY = frozenset(("experiment", "grid", "when", "prompt", "each"))  # their block holds statements or messages
_BEFORE_UNARY = frozenset((*"([{,=:+-*/<>", "==", "!=", "<=", ">=", ".."))
_ALIGNED = {"for": "in", "judge": "with", "let": "=", "measure": "="}  # the word to align


class Token(NamedTuple):
    """A token and its kind, a group of `_TOKEN`."""

    kind: str
    text: str


class LayoutError(EmdslError):
    """The formatted text would not be the same study: a bug of the formatter, raised before anything is written."""


@dataclass(slots=True)
class Line:
    """A line of output: its tokens and the comment after them; `starts` means that a statement starts here."""

    indent: int
    starts: bool
    tokens: list[Token] = field(default_factory=list)
    comment: str = ""
    blank_before: bool = False
    text: str = ""
    split: int | None = None  # where the aligned part of `text` starts


def format_source(source: Source) -> str:
    """Format a study; raises SourceError if it does not parse."""
    file, diagnostics = parse(source)
    errors = [d for d in diagnostics if d.severity is Severity.ERROR]
    if errors or file.lost:
        raise SourceError(errors)
    lines = _Layout(_tokens(source.text)).lines()
    before: Token | None = None
    for line in lines:
        line.text, line.split = _join(line, before)
        before = line.tokens[-1] if line.tokens else before
    _align(lines)
    output: list[str] = []
    for line in lines:
        if line.blank_before and output:
            output.append("")
        output.append(" " * line.indent + line.text if line.text else "")
    text = "\n".join(output) + "\n" if output else ""
    if parse(Source(source.name, text))[0].decls != file.decls:  # never change the meaning
        raise LayoutError(
            f"`{source.name}` was not formatted: the result would differ in meaning. Please report this file"
        )
    return text


def _tokens(text: str) -> list[Token]:
    tokens = []
    for match in _TOKEN.finditer(text):
        assert match.lastgroup is not None
        if match.lastgroup != "blank":
            tokens.append(Token(match.lastgroup, match[0].rstrip() if match.lastgroup == "comment" else match[0]))
    return tokens


class _Layout:
    """Splits tokens into lines, each with its indentation."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._wide, self._bodies = _braces(tokens)
        self._brackets: list[tuple[str, int, str]] = []  # bracket, indentation of its line, how its block is split
        self._lines: list[Line] = []
        self._line: Line | None = None
        self._n_newlines = 0
        self._next = _next_words(tokens)

    def lines(self) -> list[Line]:
        for i, token in enumerate(self._tokens):
            if token.kind == "newline":
                self._n_newlines += 1
                if not self._comment_follows(i, token):
                    self._end()
            elif token.kind == "comment":
                self._comment(i, token)
            elif token.text == "," and self._in("parts"):
                if not self._comment_follows(i + 1, token):
                    self._end()
            else:
                self._put(i, token)
        self._end()
        return self._lines

    def _comment_follows(self, i: int, token: Token) -> bool:
        """Whether a comment follows a token on its line; it stays there."""
        return token.kind != "newline" and i < len(self._tokens) and self._tokens[i].kind == "comment"

    def _in(self, *broken: str) -> bool:
        """Whether the innermost block is split into lines, as statements or as parts."""
        return bool(self._brackets) and self._brackets[-1][2] in broken

    def _put(self, i: int, token: Token) -> None:
        text = token.text
        if text == "}" and self._in("statements", "parts"):
            self._end()
        line = self._at(i, token)
        if text in _CLOSE and self._brackets:
            self._brackets.pop()
        line.tokens.append(token)
        if text in _OPEN:
            wide = text == "{" and i in self._wide
            broken = ("statements" if i in self._bodies else "parts") if wide else ""
            self._brackets.append((text, line.indent, broken))
            if wide and not self._comment_follows(i + 1, token):
                self._end()

    def _comment(self, i: int, token: Token) -> None:
        if self._line is not None:
            self._line.comment = token.text
            self._end()
            return
        self._at(i, token).comment = token.text
        self._end()

    def _at(self, i: int, token: Token) -> Line:
        """Return the current line, or a new one that starts with a token."""
        if self._line is None:
            self._line = Line(indent=0, starts=False, blank_before=self._n_newlines > 1 and bool(self._lines))
            self._line.indent, self._line.starts = self._indent(i, token)
            before = self._lines[-1] if self._lines else None
            opens = before is not None and before.tokens and before.tokens[-1].text in _OPEN
            if opens or token.text in _CLOSE:
                self._line.blank_before = False
            self._n_newlines = 0
        return self._line

    def _indent(self, i: int, token: Token) -> tuple[int, bool]:
        """Return the indentation of a line, and whether a statement starts there."""
        opener, base, _ = self._brackets[-1] if self._brackets else ("", -STEP, False)
        if token.text in _CLOSE:
            return base, False
        if opener in ("(", "["):
            return base + STEP, False
        continues = self._next[i] in _CONTINUING
        return base + STEP + (CONTINUATION if continues else 0), not continues

    def _end(self) -> None:
        if self._line is not None:
            self._lines.append(self._line)
            self._line = None


def _next_words(tokens: list[Token]) -> list[str]:
    """Return for each token the text of the next one, itself included, that is no comment or line end."""
    words, word = [""] * len(tokens), ""
    for i in range(len(tokens) - 1, -1, -1):
        if tokens[i].kind not in ("comment", "newline"):
            word = tokens[i].text
        words[i] = word
    return words


def _braces(tokens: list[Token]) -> tuple[set[int], set[int]]:
    """Return the positions of `{` whose block spans several lines, and of those that hold statements."""
    wide: set[int] = set()
    bodies: set[int] = set()
    stack: list[tuple[int, str]] = []  # position of the bracket, first word of its statement
    word, fresh, before, following = "", True, Token("", ""), _next_words(tokens)
    for i, token in enumerate(tokens):
        if token.kind in ("newline", "comment"):
            if (not stack or tokens[stack[-1][0]].text == "{") and following[i] not in _CONTINUING:
                fresh = True
            if stack and tokens[stack[-1][0]].text == "{":
                wide |= {x for x, _ in stack if tokens[x].text == "{"}
            continue
        if fresh:
            word, fresh = token.text, False
        if token.kind == "sign" and token.text in _OPEN:
            if token.text == "{" and word in _WITH_BODY and not _is_unary(before, first=False) and before.text != ":":
                bodies.add(i)
            stack.append((i, word))
            fresh = token.text == "{"
        elif token.kind == "sign" and token.text in _CLOSE and stack:
            word = stack.pop()[1]
        before = token
    return wide, bodies


def _join(line: Line, last: Token | None) -> tuple[str, int | None]:
    """Return a line's text without its comment, and where its aligned part starts; `last` ends the line before."""
    text, split, unary = "", None, False
    mark = _aligned_at(line)
    for i, token in enumerate(line.tokens):
        before = line.tokens[i - 1] if i else None
        blank = before is not None and not unary and _blank(before, token, first=i == 1 and line.starts)
        previous = before or last
        unary = token.text in "+-" and (previous is None or _is_unary(previous, first=i == 1 and line.starts))
        text += " " * blank
        if i == mark:
            split = len(text)
        text += _reindented(token, line.indent + STEP) if token.kind in ("long", "raw") else token.text
    return text, split


def _blank(before: Token, token: Token, *, first: bool) -> bool:
    """Whether a space separates two tokens; `first`: the first of them is the first word of a statement."""
    one, two = before.text, token.text
    if one in ("(", "[", ".", "..") or two in (")", "]", ",", ":", ".", ".."):
        return False
    if one == "{" or two == "}":
        return not (one == "{" and two == "}")
    if two in ("(", "[") and token.kind == "sign":
        callable_ = (before.kind == "name" and one not in RESERVED and not first) or one in (")", "]", "}")
        return not (callable_ or before.kind == "string")
    return True


def _is_unary(before: Token, *, first: bool) -> bool:
    word = before.kind == "name" and before.text in RESERVED - {"none", "true", "false"}
    return before.text in _BEFORE_UNARY or first or word


def _reindented(token: Token, indent: int) -> str:
    """Return a long text with its margin moved; its content stays the same."""
    opening, *lines = token.text.replace("\r\n", "\n").split("\n")
    margin = lines.pop().removesuffix('"""')
    moved = [" " * indent + x[len(margin) :] if x.strip(" \t") else "" for x in lines]
    opened = 'raw """' if token.kind == "raw" else '"""'
    assert opening.rstrip().endswith('"""')
    return "\n".join([opened, *moved, " " * indent + '"""'])


# ---------------------------------------------------------------- columns


def _aligned_at(line: Line) -> int | None:
    """Return the position of the token to align with adjacent lines of the same kind."""
    words = [t.text for t in line.tokens]
    if not line.starts or len(words) < 2 or (len(words) < 3 and words[0] not in ROLES):
        return None
    if words[1] == "=":
        return 1
    if words[1] == ":":
        return 2
    if words[0] in ROLES and not any(t.kind in ("long", "raw") for t in line.tokens):
        return 1
    aligned = _ALIGNED.get(words[0])
    return words.index(aligned) if aligned is not None and aligned in words else None


def _kind(line: Line) -> str:
    second = line.tokens[1].text
    first = line.tokens[0].text
    return second if second in ("=", ":") else "role" if first in ROLES else first


def _align(lines: list[Line]) -> None:
    """Align adjacent lines of one kind, then the comments after adjacent lines."""
    for group in _runs(lines, lambda x: (x.indent, _kind(x)) if x.split is not None else None):
        widest = max(x.split or 0 for x in group)
        for line in group:
            assert line.split is not None
            line.text = line.text[: line.split] + " " * (widest - line.split) + line.text[line.split :]
    for group in _runs(lines, lambda x: True if x.comment and x.text else None):
        widest = max(_width(x) for x in group)
        for line in group:
            line.text += " " * (widest - _width(line) + 2) + line.comment
            line.comment = ""
    for line in lines:
        if line.comment:
            line.text = line.comment


def _width(line: Line) -> int:
    last = line.text.rsplit("\n", maxsplit=1)[-1]
    return len(last) if "\n" in line.text else line.indent + len(last)


def _runs(lines: list[Line], kind: Any) -> Iterator[list[Line]]:
    """Yield runs of adjacent lines of one kind, without blank lines in between; None is no kind."""
    run: list[Line] = []
    for line in lines:
        line_kind = kind(line)
        over = bool(run) and (
            line_kind is None or line_kind != kind(run[-1]) or line.blank_before or "\n" in run[-1].text
        )
        if over:
            yield run
            run = []
        if line_kind is not None:
            run.append(line)
    if run:
        yield run
