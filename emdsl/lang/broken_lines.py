"""Statements that are broken after a word or sign that needs more: a line goes on only if the next one starts with it.

**A joining counts only if the statement parses with it.**
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from emdsl.lang.scan import end_of_code
from emdsl.source import Diagnostic, Edit, Source, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.lang.scan import Piece

_OPEN = re.compile(r"(?:\b(?P<word>and|or|then|else|by|given|with|from|is)|\b(?:in|not|when|if)|[=!<>]=|[=+*/<>,-])$")
_BLANK = re.compile(r"\s*")


def broken_end(text: str, pieces: Sequence[Piece], first: int) -> int:
    """Return the position of the last piece that a statement seems to go on in; `first` if it does not.

    Each line before the last ends with a word or sign that needs more, and the next one is indented more deeply than
    the statement. An item of a list in YAML is no such line.
    """
    margin, last = _indent(text, pieces[first]), first
    while last + 1 < len(pieces) and _open(text, pieces[last]) is not None and _indent(text, pieces[last + 1]) > margin:
        if text.startswith("- ", _content(text, pieces[last + 1])):
            return first
        last += 1
    return last


def joined(text: str, pieces: Sequence[Piece]) -> str:
    """Return the text of some pieces in one line, as long as in the file."""
    shown = ""
    for piece in pieces:
        code = text[piece.start : end_of_code(text, piece.start, piece.end)]
        shown = shown.ljust(piece.start - pieces[0].start) + code
    return shown


def broken(source: Source, pieces: Sequence[Piece]) -> Diagnostic:
    """Return the diagnostic of a statement that parses if its pieces are joined."""
    text, edits = source.text, list[Edit]()
    for before, piece in itertools.pairwise(pieces):
        match = _open(text, before)
        assert match is not None
        start, gap = _content(text, piece), text[match.end() : _content(text, piece)]
        if word := match["word"]:
            left = before.start + len(text[before.start : match.start()].rstrip(" \t"))
            edits.append(Edit(span=Span(source, left, start), text=f"{gap}{word} "))
        elif "#" not in gap:
            edits.append(Edit(span=Span(source, match.end(), start), text=" "))
    first = _open(text, pieces[0])
    assert first is not None
    shown, word = first[0], first["word"]
    return Diagnostic(
        code="E107", message=f"the statement is broken after `{shown}`",
        span=Span(source, *first.span()),
        help=f"start the next line with `{word}`" if word else "join the lines, or put the value into `( )`",
        fix=tuple(edits) if len(edits) == len(pieces) - 1 else (),
    )  # fmt: skip


def _open(text: str, piece: Piece) -> re.Match[str] | None:
    return _OPEN.search(text, piece.start, end_of_code(text, piece.start, piece.end))


def _content(text: str, piece: Piece) -> int:
    match = _BLANK.match(text, piece.start, piece.end)
    return match.end() if match else piece.start


def _indent(text: str, piece: Piece) -> int:
    start = _content(text, piece)
    return start - text.rfind("\n", 0, start) - 1
