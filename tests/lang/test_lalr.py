"""Our parser runs lark's tables: its trees are lark's, and cached tables are never those of another grammar."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from programs import derived, laid_out
from support import ROOT

from emdsl.lang import cache, grammar, lark_grammar
from emdsl.lang.cache import cache_file
from emdsl.lang.lalr import Branch, Token, Unparsed

if TYPE_CHECKING:
    from pathlib import Path

    from lark import Lark

    from emdsl.lang.lalr import Parser, Tables

TEXTS = [p.read_text(encoding="utf-8") for p in sorted(ROOT.glob("e*/**/*.em"))]
PUT = ("", "x", " ", "1", ".", "\n", '"', "by", "from", "(", "system", "é")


def fields(tree: object) -> object:
    if isinstance(tree, Branch):
        return tree.data, tree.start, tree.end, [fields(x) for x in tree.children]
    if isinstance(tree, Token):
        return tree.type, tree.text, tree.start, tree.end
    return tree


def parsed_by_lark(text: str, start: str) -> object:
    try:
        return fields(lark_grammar.parse_by_lark(text, start))
    except Unparsed:
        return None


@pytest.mark.parametrize("start", lark_grammar.STARTS)
def test_trees_are_those_of_lark(start: str) -> None:
    """Of programs and of random ones, each also with a slip; what we do not parse, lark does not parse either."""
    parser, rng = grammar._parser(), random.Random(1)
    texts = TEXTS if start == "file" else []
    for text in texts + [laid_out(derived(rng, start), rng) for _ in range(25)]:
        at = rng.randrange(len(text) + 1)
        for each in (text, text[:at] + rng.choice(PUT) + text[at + rng.choice((0, 1, 3)) :]):
            assert fields(parser.parse(each, start)) == parsed_by_lark(each, start), each


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often tables are made, with an empty cache."""
    counted: list[int] = []
    tables_of = lark_grammar.tables_of

    def counting(lark: Lark) -> Tables:
        counted.append(1)
        return tables_of(lark)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(lark_grammar, "tables_of", counting)
    return counted


def fresh() -> Parser:
    return grammar._parser.__wrapped__()


def test_cached_tables_are_read(built: list[int]) -> None:
    """The second process needs no lark."""
    fresh()
    assert fresh().parse("let x = 1", "decl") is not None
    assert len(built) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_damaged_tables_are_made_again(built: list[int], content: str) -> None:
    """A file cut short, or of something else."""
    path = cache_file("json", grammar._makers())
    assert path is not None
    path.write_text(content, encoding="utf-8")
    assert fresh().parse("let x = 1", "decl") is not None
    assert len(built) == 1
    assert fresh().parse("let x = 1", "decl") is not None
    assert len(built) == 1


def test_tables_of_another_lark_or_grammar_are_not_read(built: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the file has all that they depend on."""
    fresh()
    for module, name, value in ((grammar, "_makers", (b"2",)), (cache, "grammar_text", "// other")):
        monkeypatch.setattr(module, name, lambda value=value: value)
        fresh()
    assert len(built) == 3
