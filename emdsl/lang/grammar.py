"""Parses by `grammar/em.lark`. The tables that lark makes of it are cached, so that most calls never import lark.

What does not parse is lark's to decide, and to explain.
"""

from __future__ import annotations

import functools
import json
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.files import write_whole
from emdsl.lang.cache import cache_file
from emdsl.lang.lalr import Parser, Unparsed

if TYPE_CHECKING:
    from emdsl.lang.lalr import Branch, Tables

MAKERS = ("lalr.py", "lark_grammar.py")  # the code that the tables depend on


def parse(text: str, start: str) -> Branch:
    """Return the tree of a text, by a rule of `STARTS`; raises Unparsed."""
    tree = _parser().parse(text, start)
    if tree is None:
        from emdsl.lang.lark_grammar import parse_by_lark  # noqa: PLC0415 - lark's import takes longer than most checks

        return parse_by_lark(text, start)
    return tree


def failure(text: str, start: str) -> int | None:
    """Return the offset of the first token that cannot follow, or None if a text parses."""
    try:
        parse(text, start)
    except Unparsed as error:
        token = getattr(error.reason, "token", None)
        at = error.reason.pos_in_stream if token is None else token.start_pos  # type: ignore[attr-defined]  # lark's own
        return len(text) if (token is not None and token.type == "$END") or at is None else int(at)
    return None


@functools.cache
def _parser() -> Parser:
    """Return the parser, made once per process from cached tables; lark needs 250 ms for them."""
    path = cache_file("json", _makers())
    if path is None:
        return Parser(_tables())
    with suppress(OSError, ValueError, KeyError, TypeError):  # the file is missing or damaged
        return Parser(json.loads(path.read_bytes()))
    tables = _tables()
    with suppress(OSError):
        write_whole(path, json.dumps(tables, separators=(",", ":")))
    return Parser(tables)


def _tables() -> Tables:
    from emdsl.lang.lark_grammar import grammar, tables_of  # noqa: PLC0415 - lark's import takes longer than most checks

    return tables_of(grammar())


def _makers() -> tuple[bytes, ...]:
    """Return the code that tables depend on: how they are made, and lark's first file, which has its version."""
    lark = PathFinder.find_spec("lark")
    assert lark is not None
    assert lark.origin is not None
    return tuple(path.read_bytes() for path in (Path(lark.origin), *map(Path(__file__).with_name, MAKERS)))
