"""A first pass over a text: its brackets and line ends, without the grammar.

It finds what would make the parser report the wrong place (an unclosed block or text, excessive nesting), and where
each statement starts and ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from emdsl.source import Diagnostic, Edit, Label, Source, Span

MAX_DEPTH = 60  # brackets within brackets

_TOKEN = re.compile(
    r'(?P<raw>\braw[ \t]*"""(?:[^"]|"(?!""))*""")'
    r'|(?P<long>"""(?:[^"\\]|\\(?:.|\n)|"(?!""))*""")'
    r'|(?P<openlong>""")'
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r'|(?P<quote>")'
    r"|(?P<comment>#[^\n]*)"
    r"|(?P<open>[\[({])"
    r"|(?P<close>[\])}])"
    r"|(?P<newline>\r?\n(?>(?:[ \t]*(?:#[^\n]*)?\r?\n)*))"  # with the empty lines after it
)
_GOES_ON = re.compile(r"[ \t]*(?:and|or|then|else|by|given|with|from|is)\b")
_JINJA_COMMENT = re.compile(r"\{#([^\n]*)#\}")
_AXIS_BLOCK = re.compile(r"^[ \t]*for[ \t]+\w[\w, \t]*[ \t]in[ \t]+[^\s{][^\n]*?([ \t]*)(\{)[ \t]*$", re.MULTILINE)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(slots=True)
class Piece:
    """A statement: its offsets, its last outermost `{ }`, and the statements inside."""

    start: int
    end: int
    closed: bool = True
    body: tuple[int, int] | None = None  # from after `{` to before `}`
    inner: list[Piece] = field(default_factory=list)


def scan(source: Source, text: str, declarations: tuple[str, ...]) -> tuple[list[Piece], list[Diagnostic]]:
    """Return the declarations of a text as pieces, and the errors of its brackets and quotes."""
    plain = _Scanner(source, text, None)
    result = plain.run()
    if not plain.unclosed:
        return result
    # guess where a block should have ended only if one has no end
    starts = re.compile(rf"(?:{'|'.join(d for d in declarations if d != 'let')})[ \t]+[A-Za-z_]")
    return _Scanner(source, text, starts).run()


def end_of_code(text: str, start: int, end: int) -> int:
    """Return where a part of a text ends without the comment and the blanks at its end."""
    for match in _TOKEN.finditer(text, start, end):
        if match.lastgroup == "comment" and not text[match.end() : end].strip():
            end = match.start()
            break
    return start + len(text[start:end].rstrip())


class _Scanner:
    def __init__(self, source: Source, text: str, new_declaration: re.Pattern[str] | None) -> None:
        self._source = source
        self._text = text
        self._new_declaration = new_declaration
        self.unclosed = False
        self._errors: list[Diagnostic] = []
        self._top: list[Piece] = []
        self._stack: list[tuple[str, int, Piece]] = []  # bracket, offset, enclosing piece
        self._start = 0
        self._levels: list[list[Piece]] = [self._top]
        self._piece = Piece(0, 0)
        self._deep = False

    def run(self) -> tuple[list[Piece], list[Diagnostic]]:
        at = 0
        while match := _TOKEN.search(self._text, at):
            at = self._token(match)
            if at < 0:
                break
        end = len(self._text)
        if self._stack:
            self._unclosed(end, None)
        self._finish(end)
        return self._top, self._errors

    def _token(self, match: re.Match[str]) -> int:
        kind, start, end = match.lastgroup, match.start(), match.end()
        if kind == "open":
            self._open(match[0], start)
            if self._deep:  # the rest cannot be split into statements
                self._piece.closed = False
                self._stack.clear()
                self._levels = [self._top]
                return -1
        elif kind == "close":
            self._close(match[0], start)
        elif kind == "newline":
            self._newline(start, end)
        elif kind == "openlong":
            self._add_error(
                "E131", 'this text has no closing `"""`', start, end, help='add `"""` on its own line after the text'
            )
            self._piece.closed = False
            self._stack.clear()  # the rest of the file is inside the text
            self._levels = [self._top]
            return -1
        elif kind == "quote":
            line_end = self._text.find("\n", start)
            line_end = len(self._text) if line_end < 0 else line_end
            self._add_error(
                "E132",
                'this text has no closing `"`',
                start,
                line_end,
                help='add `"` at its end; for several lines of text use `"""`',
            )
            self._piece.closed = False
            return line_end
        return end

    def _open(self, bracket: str, at: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._deep = True
            self._add_error(
                "E103",
                f"brackets are nested more than {MAX_DEPTH} levels deep",
                at,
                at + 1,
                help="move inner parts into a `let`",
            )
            return
        self._stack.append((bracket, at, self._piece))
        if bracket == "{" and all(b == "{" for b, _, _ in self._stack):
            self._piece.body = (at + 1, at + 1)
            self._piece.inner = []
            self._levels.append(self._piece.inner)
            self._piece = Piece(at + 1, at + 1)

    def _close(self, bracket: str, at: int) -> None:
        wanted = next(b for b, closer in _PAIRS.items() if closer == bracket)
        if wanted not in (b for b, _, _ in self._stack):
            self._add_error(
                "E133",
                f"`{bracket}` without an opening `{wanted}`",
                at,
                at + 1,
                help=f"delete it, or add `{wanted}` before",
            )
            self._piece.closed = False
            return
        opener, opened, _ = self._stack[-1]
        if opener != wanted:
            self._errors.append(
                Diagnostic(
                    code="E135",
                    message=f"`{opener}` is not closed",
                    span=Span(self._source, opened, opened + 1),
                    labels=(
                        Label(
                            span=Span(self._source, at, at + 1), text=f"expected `{_PAIRS[opener]}`, got `{bracket}`"
                        ),
                    ),
                    help=f"close it with `{_PAIRS[opener]}`",
                )
            )
            self._piece.closed = False
        while self._stack[-1][0] != wanted:
            self._pop(at)
        self._pop(at)

    def _pop(self, at: int) -> None:
        """Close the innermost bracket, and the block that it opened, if any."""
        _, _, piece = self._stack.pop()
        if piece is not self._piece and len(self._levels) > 1:
            self._finish(at)
            assert piece.body is not None
            piece.body = (piece.body[0], at)
            self._levels.pop()
            self._piece = piece

    def _newline(self, start: int, end: int) -> None:
        if self._stack and self._new_declaration and self._new_declaration.match(self._text, end):
            self._unclosed(start, end)
        if any(b != "{" for b, _, _ in self._stack) or _GOES_ON.match(self._text, end):
            return
        self._finish(start)
        self._piece = Piece(end, end)

    def _unclosed(self, at: int, noticed: int | None) -> None:
        """Report the innermost unclosed bracket, and continue as if all were closed here."""
        self.unclosed = True
        opener, opened, _ = self._stack[-1]
        labels: tuple[Label, ...] = ()
        if noticed is not None:
            span = Span(self._source, noticed, self._source.text.find("\n", noticed) % (len(self._text) + 1))
            labels = (Label(span=span, text="the next declaration starts here"),)
        if (habit := self._habit(opened, at)) is not None:
            self._errors.append(habit)
        else:
            self._errors.append(
                Diagnostic(
                    code="E135",
                    message=f"`{opener}` is not closed",
                    span=Span(self._source, opened, opened + 1),
                    labels=labels,
                    help=f"close it with `{_PAIRS[opener]}`",
                )
            )
        while self._stack:
            self._pop(at)
            self._piece.closed = False

    def _habit(self, start: int, end: int) -> Diagnostic | None:
        """Return the diagnostic of a bracket of another language that leaves one unclosed."""
        if comment := _JINJA_COMMENT.search(self._text, start, end):  # its `#` hides its `}`
            span, text = Span(self._source, *comment.span()), f"# {comment[1].strip()}"
            return Diagnostic(
                code="E146", message="a comment starts with `#`, and ends with its line", span=span,
                help=f"write `{text}`", fix=(Edit(span=span, text=text),),
            )  # fmt: skip
        if block := _AXIS_BLOCK.search(self._text, start, end):
            span, both = Span(self._source, *block.span(2)), Span(self._source, block.start(1), block.end(2))
            return Diagnostic(
                code="E150", message="an axis has no block: the statements follow it", span=span,
                help="remove the `{`: every statement of the experiment is done for each level",
                fix=(Edit(span=both, text=""),),
            )  # fmt: skip
        return None

    def _finish(self, at: int) -> None:
        self._piece.end = at
        if self._text[self._piece.start : at].strip():
            self._levels[-1].append(self._piece)

    def _add_error(self, code: str, message: str, start: int, end: int, *, help: str = "") -> None:
        self._errors.append(Diagnostic(code=code, message=message, span=Span(self._source, start, end), help=help))
