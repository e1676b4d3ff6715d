"""Text to syntax tree: the whole file at once or, if that fails, statement by statement.

A statement that does not parse is dropped with one diagnostic and the rest is still read, so that one error never
hides another.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.lang import ast, grammar
from emdsl.lang.lalr import Unparsed
from emdsl.lang.scan import Piece, scan
from emdsl.lang.tree import TreeReader
from emdsl.lang.words import DECLARATIONS
from emdsl.source import Diagnostic, Edit, Source, Span
from emdsl.surrogates import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator

EDITION = 1
MAX_EXPLAINED = 300  # errors of one file that are searched for habits of other languages: more is no program

_BOM = "\ufeff"
_HALF = re.compile("[\ud800-\udfff]")
_EDITION_LINE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*em[ \t]+(?P<edition>[0-9]+)[ \t]*(?=[\r\n#]|$)")
_ODD_EDITION = re.compile(
    r"(?:[ \t]*em(?:[ \t]+v?\d[\w.]*|\d[\w.]*)|[ \t]*(?:em|edition|version)[ \t]*[:=]?[ \t]*\"?v?\d[\w.]*\"?|-{3,})"
    r"(?=[ \t]*(?:[\r\n#]|$))"
)  # `em 1.0`, `em: 1`, the first line of a YAML file
_BLANK = re.compile(r"(?:\s|#[^\n]*(?:\n|$))*")  # blanks and comments
_BLOCK = re.compile(r"\s*(?P<word>experiment|grid|when|prompt|rubric|each)\b")
_BINDINGS = re.compile(
    r"\s*(?:import|model|dataset|prompt|rubric|let|python|experiment|ask|judge|annotate|measure|grid|for|each)\s+"
    r"(?P<names>[A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)"
    r"|^\s*(?P<setting>[A-Za-z_]\w*)\s*="
)
_RULE_INSIDE = {
    "experiment": "stmt",
    "grid": "stmt",
    "prompt": "rubric_item",
    "rubric": "rubric_item",
    "each": "rubric_item",
}


def parse(source: Source) -> tuple[ast.File, tuple[Diagnostic, ...]]:
    """Return the syntax tree of a source, and every error of its text.

    The tree's source has no lone surrogates: no file can contain one, and no later pass has to expect it.
    """
    diagnostics: list[Diagnostic] = []
    source = _without_halves(source, diagnostics)
    text = source.text
    if text.startswith(_BOM):
        text = " " + text[1:]  # the same length, so offsets stay
    pieces, errors = scan(source, text, DECLARATIONS)
    diagnostics += errors
    head = _edition(source, text, diagnostics)
    if head is None:
        return ast.File(source=source, decls=(), lost=_bound_names(text)), tuple(diagnostics)
    decls: tuple[ast.Decl, ...]
    lost: set[str] = set()
    if not errors:
        try:
            tree = grammar.parse(text, start="file")
            decls = TreeReader(source, diagnostics).read(tree)
            return ast.File(source=source, decls=decls), tuple(diagnostics)
        except Unparsed:
            pass  # parse again piece by piece to find the errors
        except RecursionError:
            diagnostics.append(_too_deep(source))
            return ast.File(source=source, decls=(), lost=_bound_names(text)), tuple(diagnostics)
    reader = _PieceReader(source, text, diagnostics, lost)
    rest = [Piece(head, p.end, p.closed, p.body, p.inner) if p.start < head < p.end else p for p in pieces]
    decls = tuple(reader.read([p for p in rest if p.start >= head], "decl"))
    if any(d.code == "E146" for d in diagnostics):
        from emdsl.lang.habit_statements import JINJA  # noqa: PLC0415 - few programs have blocks of another language
        from emdsl.lang.habits import fixed_blocks  # noqa: PLC0415 - a correct program looks for no habits

        diagnostics = fixed_blocks(source, diagnostics, JINJA)
    return ast.File(source=source, decls=decls, lost=frozenset(lost)), tuple(diagnostics)


def _without_halves(source: Source, diagnostics: list[Diagnostic]) -> Source:
    """Return a source with another character in place of each lone surrogate; the first is reported."""
    first = None if is_text(source.text) else _HALF.search(source.text)
    if first is None:
        return source
    whole = Source(source.name, _HALF.sub("\ufffd", source.text), source.path)
    diagnostics.append(
        Diagnostic(
            code="E122",
            message=f"`\\u{{{ord(first[0]):x}}}` is half of a character (a lone surrogate)",
            span=Span(whole, *first.span()),
            help="write the whole character, or its code, such as `\\u{1f600}`",
        )
    )
    return whole


def _edition(source: Source, text: str, diagnostics: list[Diagnostic]) -> int | None:
    """Return where the edition line ends, None for an unknown edition: such a file is not read."""
    match = _EDITION_LINE.match(text)
    start = 1 if source.text.startswith(_BOM) else 0
    if not match:
        odd = _ODD_EDITION.match(text)
        end = odd.end() if odd else start
        line_end = "\r\n" if "\r\n" in text else "\n"
        line = f"em {EDITION}" + ("" if odd else line_end)
        diagnostics.append(
            Diagnostic(
                code="E101",
                message="the first line must name the edition",
                span=Span(source, start, end if odd else min(len(text), text.find("\n") % (len(text) + 1))),
                help=f"write `em {EDITION}` on the first line",
                fix=(Edit(span=Span(source, start, end), text=line),),
            )
        )
        return end if odd else 0
    if match["edition"].lstrip("0") != str(EDITION):
        diagnostics.append(
            Diagnostic(
                code="E102",
                message=f"unknown edition `{match['edition'][:20]}`",
                span=Span(source, *match.span("edition")),
                help=f"upgrade emdsl, or write `em {EDITION}`, the edition of this version",
            )
        )
        return None
    return match.end()


def _bound_names(text: str) -> frozenset[str]:
    return frozenset(
        n for match in _BINDINGS.finditer(text) for n in re.findall(r"[A-Za-z_]\w*", match["names"] or match["setting"])
    )


def _too_deep(source: Source) -> Diagnostic:
    return Diagnostic(
        code="E103",
        message="this file is nested too deeply",
        span=Span(source, 0, 0),
        help="move inner parts into a `let`",
    )


class _PieceReader:
    """Parses statements one by one; a statement with an error is dropped, and its names become `lost`."""

    def __init__(self, source: Source, text: str, diagnostics: list[Diagnostic], lost: set[str]) -> None:
        self._source = source
        self._text = text
        self._diagnostics = diagnostics
        self._lost = lost
        self._scanned = [d.span.start for d in diagnostics if d.span is not None]  # the places of brackets and quotes

    def read(self, pieces: list[Piece], start: str) -> Iterator[Any]:
        from emdsl.lang.broken_lines import broken_end  # noqa: PLC0415 - only a program with errors is read in pieces

        last = -1
        for i, piece in enumerate(pieces):
            if i <= last:
                continue
            last = broken_end(self._text, pieces, i)
            if last > i and (node := self._joined(pieces[i : last + 1], start)) is not None:
                yield node
                continue
            last = i
            yield from self._piece(piece, start)

    def _joined(self, pieces: list[Piece], start: str) -> Any:
        """Return the statement that some lines are if they are joined, and report it; None if they are not one."""
        from emdsl.lang.broken_lines import broken, joined  # noqa: PLC0415 - only a broken statement needs them

        before = len(self._diagnostics)
        try:
            node = self._parsed(joined(self._text, pieces), pieces[0].start, start)
        except Unparsed:
            del self._diagnostics[before:]
            return None
        self._diagnostics.append(broken(self._source, pieces))
        return node

    def _piece(self, piece: Piece, start: str) -> Iterator[Any]:
        text = self._text[piece.start : piece.end]
        if _BLANK.fullmatch(text):
            return
        block = _BLOCK.match(text)
        if piece.body is None or not piece.inner or block is None:
            yield from self._single(piece, text, start)
            return
        yield from self._block(piece, text, start, block["word"])

    def _single(self, piece: Piece, text: str, start: str) -> Iterator[Any]:
        if not piece.closed:  # the scanner has reported it
            self._lost |= _bound_names(text)
            return
        try:
            yield self._parsed(text, piece.start, start)
        except Unparsed as error:
            self._drop(piece, text, error, start)

    def _block(self, piece: Piece, text: str, start: str, word: str) -> Iterator[Any]:
        """Parse the head of a block and each of its statements separately."""
        assert piece.body is not None
        body_start, body_end = piece.body
        with suppress(Unparsed):
            whole = self._parsed(text, piece.start, start)
            yield whole
            return
        head = self._text[piece.start : body_start]
        inside = list(self.read(list(piece.inner), start if word == "when" else _RULE_INSIDE[word]))
        try:
            node = self._parsed(head + "}", piece.start, start)
        except Unparsed as error:
            self._drop(Piece(piece.start, body_start), head, error, start)
            return
        if piece.closed:
            self._after(body_end + 1, piece.end)
        body = tuple(x for x in inside if not isinstance(x, ast.Setting) or word in ("experiment", "grid", "when"))
        if word == "rubric":
            settings = tuple(x for x in inside if isinstance(x, ast.Setting))
            yield node.replaced(body=body, settings=settings)
        else:
            yield node.replaced(body=body)

    def _after(self, start: int, end: int) -> None:
        rest = self._text[start:end]
        if rest.strip() and not rest.strip().startswith("#"):
            at = start + len(rest) - len(rest.lstrip())
            self._diagnostics.append(
                Diagnostic(
                    code="E104",
                    message="unexpected text after `}`",
                    span=Span(self._source, at, end),
                    help="put the next statement on its own line",
                )
            )

    def _parsed(self, text: str, offset: int, start: str) -> Any:
        tree = grammar.parse(text, start=start)
        return TreeReader(self._source, self._diagnostics, offset).read(tree)

    def _drop(self, piece: Piece, text: str, error: Unparsed, start: str) -> None:
        from emdsl.lang.syntax_errors import syntax_error  # noqa: PLC0415 - it imports lark

        self._lost |= _bound_names(text)
        if any(piece.start <= at < piece.end for at in self._scanned):
            return  # it is reported
        habits = len(self._diagnostics) < MAX_EXPLAINED
        self._diagnostics.append(syntax_error(self._source, text, piece.start, error.reason, start, habits=habits))
