"""The parser of `grammar/em.lark`, built once and cached. One of lark's doors."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lark import Lark, Token
from lark.exceptions import UnexpectedToken

from emdsl.digest import digest
from emdsl.lang.words import grammar_text

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS = ("file", "decl", "stmt", "rubric_item")


class _LineEnds:
    """Keeps line ends that end statements; drops those inside `( )` and `[ ]`, and repeated ones."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        brackets: list[str] = []
        last = "LBRACE"  # so that blank lines before the first statement are dropped
        before: Token | None = None
        for token in stream:
            glued = before is not None and before.end_pos == token.start_pos
            if before is not None and glued and _wordy(before[-1:]) and _wordy(token[:1]):
                whole = Token("WORD", before + token, before.start_pos, end_pos=token.end_pos)
                raise UnexpectedToken(whole, set())  # type: ignore[no-untyped-call]  # `experimente` is one unknown word
            before = token
            if token.type == "_NL" and (last in ("_NL", "LBRACE") or (brackets and brackets[-1] != "LBRACE")):
                continue
            if token.type in ("LPAR", "LSQB", "LBRACE"):
                brackets.append(token.type)
            elif token.type in ("RPAR", "RSQB", "RBRACE") and brackets:
                brackets.pop()
            last = token.type
            yield token


def _wordy(char: str) -> bool:
    return char.isalnum() or char == "_"


@functools.cache
def grammar() -> Lark:
    """Return the parser of `grammar/em.lark`, built once per process from cached tables."""
    tables = _tables_path()
    if tables is None:
        return _build(cache=False)
    if tables.exists():
        return _build(cache=str(tables))
    temporary = tables.with_name(f"{tables.name}.{os.getpid()}")
    try:
        parser = _build(cache=str(temporary))
        temporary.replace(tables)  # atomic: other processes may be starting
    except OSError:
        return _build(cache=False)
    return parser


def _build(*, cache: str | bool) -> Lark:
    return Lark(
        grammar_text(),
        parser="lalr",
        lexer="contextual",
        postlex=_LineEnds(),
        start=list(STARTS),
        propagate_positions=True,
        maybe_placeholders=True,
        cache=cache,
    )


def _tables_path() -> Path | None:
    """Return the cache file of the parser's tables (250 ms of work); None without a folder that only we can write.

    Lark checks grammar and version of the file. It unpickles the file, so nobody else may write it.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
    if not home or not hasattr(os, "getuid"):
        return None
    folder = Path(home) / ("emdsl" if os.environ.get("XDG_CACHE_HOME") else ".cache/emdsl")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError:
        return None
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        return None
    return folder / f"grammar-{digest('grammar', grammar_text()).hex()[:16]}.lark"
