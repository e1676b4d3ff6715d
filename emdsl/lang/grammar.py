"""The parser of `grammar/em.lark`, made once and kept. One of lark's doors."""

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


class _Gaps:
    """Keeps the line ends that end statements; drops those inside `( )` and `[ ]`, and doubled ones."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        brackets: list[str] = []
        last = "LBRACE"  # blank lines before the first statement mean nothing either
        before: Token | None = None
        for token in stream:
            glued = before is not None and before.end_pos == token.start_pos
            if before is not None and glued and _wordy(before[-1:]) and _wordy(token[:1]):
                whole = Token("WORD", before + token, before.start_pos, end_pos=token.end_pos)
                raise UnexpectedToken(whole, set())  # type: ignore[no-untyped-call]  # `experimente` is one word, and none of ours
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
    """Return the parser of `grammar/em.lark`, made once a process; its tables are kept for the next one."""
    kept = _kept_tables()
    if kept is None:
        return _made(cache=False)
    if kept.exists():
        return _made(cache=str(kept))
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        made = _made(cache=str(fresh))
        fresh.replace(kept)  # whole or not at all: others may be starting
    except OSError:
        return _made(cache=False)
    return made


def _made(*, cache: str | bool) -> Lark:
    return Lark(
        grammar_text(),
        parser="lalr",
        lexer="contextual",
        postlex=_Gaps(),
        start=list(STARTS),
        propagate_positions=True,
        maybe_placeholders=True,
        cache=cache,
    )


def _kept_tables() -> Path | None:
    """Return where the tables are kept, 250 ms of work: a folder that nobody else can write; None where there is none.

    Lark checks that they are those of this grammar and version; reading them unpickles, hence the folder.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
    if not home or not hasattr(os, "getuid"):
        return None
    folder = Path(home) / ("emdsl" if os.environ.get("XDG_CACHE_HOME") else ".cache/emdsl")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError:
        return None
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        return None
    return folder / f"grammar-{digest('grammar', grammar_text()).hex()[:16]}.lark"
