"""The grammar in lark: its tables, and its errors. One of lark's doors."""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Any

from lark import Lark
from lark import Token as LarkToken
from lark import Tree as LarkTree
from lark.exceptions import UnexpectedInput, UnexpectedToken
from lark.grammar import Rule as LarkRule
from lark.lexer import PatternRE, PatternStr, TerminalDef

from emdsl.lang.cache import cache_file
from emdsl.lang.lalr import Branch, LineEnds, Rule, Tables, Token, Unparsed, glued
from emdsl.lang.words import grammar_text

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS = ("file", "decl", "stmt", "rubric_item")


class _LineEnds:
    """Keeps the line ends that end statements, and splits no word in two."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[LarkToken]) -> Iterator[LarkToken]:
        line_ends = LineEnds()
        before: LarkToken | None = None
        for token in stream:
            if before is not None and before.end_pos == token.start_pos and glued(before[-1], token[0]):
                whole = LarkToken("WORD", before + token, before.start_pos, end_pos=token.end_pos)
                raise UnexpectedToken(whole, set())  # type: ignore[no-untyped-call]  # `experimente` is one unknown word
            before = token
            if not line_ends.drop(token.type):
                yield token


def parse_by_lark(text: str, start: str) -> Branch:
    """Return the tree of a text; raises Unparsed."""
    try:
        tree = _branch(grammar().parse(text, start=start))
    except UnexpectedInput as error:
        raise Unparsed(error) from error
    assert isinstance(tree, Branch)
    return tree


def _branch(tree: LarkTree[LarkToken] | LarkToken | None) -> Branch | Token | None:
    if isinstance(tree, LarkTree):
        start, end = (0, 0) if tree.meta.empty else (tree.meta.start_pos, tree.meta.end_pos)
        return Branch(tree.data, [_branch(x) for x in tree.children], start, end)
    if tree is None:
        return None
    assert tree.start_pos is not None
    assert tree.end_pos is not None
    return Token(tree.type, str(tree), tree.start_pos, tree.end_pos)


@functools.cache
def grammar() -> Lark:
    """Return lark's parser of `grammar/em.lark`, built once per process from cached tables."""
    tables = cache_file("lark")  # lark checks grammar and version of the file
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


def tables_of(grammar: Lark) -> Tables:
    """Return the tables of a grammar."""
    data, memo = grammar.memo_serialize([TerminalDef, LarkRule])  # as lark's own parsers without lark do
    parser = data["parser"]["parser"]
    terminals = sorted(grammar.terminals, key=_precedence)
    words = {t.name: _words(t, terminals) for t in terminals if isinstance(t.pattern, PatternRE)}
    inside = {name for texts in words.values() for name in texts.values()}
    numbers = {rule: i for i, rule in enumerate(k for k, x in memo.items() if x["__type__"] == "Rule")}

    def action(kind: int, to: Any) -> int:
        return ~numbers[to["@"]] if kind else to

    return {
        "pattern": "|".join(f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in terminals if t.name not in inside),
        "ignored": list(data["parser"]["lexer_conf"]["ignore"]),
        "words": {name: texts for name, texts in words.items() if texts},
        "starts": {name: (first, parser["end_states"][name]) for name, first in parser["start_states"].items()},
        "states": [
            {parser["tokens"][symbol]: action(*to) for symbol, to in parser["states"][state].items()}
            for state in range(len(parser["states"]))
        ],
        "rules": [_rule(memo[number]) for number in numbers],
    }


def _precedence(terminal: TerminalDef) -> tuple[int, int, int, str]:
    """Return what lark's lexer sorts terminals by: the first that matches is taken."""
    return -terminal.priority, -terminal.pattern.max_width, -len(terminal.pattern.value), terminal.name


def _words(terminal: TerminalDef, others: list[TerminalDef]) -> dict[str, str]:
    """Return the literals that a terminal matches as well: they are looked up among its texts."""
    pattern = re.compile(terminal.pattern.to_regexp())
    return {
        t.pattern.value: t.name
        for t in others
        if isinstance(t.pattern, PatternStr) and t.priority == terminal.priority and pattern.fullmatch(t.pattern.value)
    }


def _rule(rule: dict[str, Any]) -> Rule:
    """Return a rule, with what lark keeps of its symbols: no literals, and the parts of a rule whose name has a `_`."""
    options, symbols, origin = rule["options"], rule["expansion"], rule["origin"]["name"]
    empty = "".join("x" if x else "." for x in options["empty_indices"]) or "." * len(symbols)
    missing = [len(places) for places in empty.split(".")]  # before each symbol, and at the end
    picks, absent = [], 0
    for i, symbol in enumerate(symbols):
        is_terminal = symbol["__type__"] == "Terminal"
        absent += missing[i]
        if options["keep_all_tokens"] or not (is_terminal and symbol["filter_out"]):
            picks.append((i, not is_terminal and symbol["name"].startswith("_"), absent))
            absent = 0
    return Rule(
        size=len(symbols),
        origin=origin,
        data=rule["alias"] or options["template_source"] or origin,
        single=options["expand1"] and not rule["alias"],
        picks=picks,
        absent=absent + missing[-1],
    )
