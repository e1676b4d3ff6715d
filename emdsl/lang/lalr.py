"""Parses by the tables that lark made of the grammar, without lark: its import and its parsing took most of a check.

Only texts that parse are parsed here. Of any other text, and of one that only lark's lexer for a single state can
split, the answer is None, and lark decides.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypedDict

END, LINE_END = "$END", "_NL"


Span = tuple[int, int] | None  # of a value in the text; None: it is empty


class Token:
    """A token of a text; `type` is its terminal of the grammar."""

    __slots__ = ("end", "start", "text", "type")

    def __init__(self, type: str, text: str, start: int, end: int) -> None:
        self.type = type
        self.text = text
        self.start = start
        self.end = end


class Branch:
    """A rule of the grammar and what it was matched with; None is an optional part that is absent."""

    __slots__ = ("children", "data", "end", "start")

    def __init__(self, data: str, children: list[Any], start: int, end: int) -> None:
        self.data = data
        self.children = children
        self.start = start
        self.end = end


class Unparsed(Exception):
    """A text does not parse; `reason` is lark's error."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


class Rule(NamedTuple):
    """How many values a rule takes from the stack, and what it makes of them."""

    size: int
    origin: str  # the symbol that it is a rule for
    data: str  # the name of its branch
    single: bool  # a branch with one child is that child
    picks: list[tuple[int, bool, int]]  # a child's index, whether its children replace it, absent ones before it
    absent: int  # optional parts at the end


class Tables(TypedDict):
    """The tables, as JSON keeps them."""

    pattern: str  # of all terminals, in the order in which lark tries them
    ignored: list[str]
    words: dict[str, dict[str, str]]  # by terminal: its texts that are terminals of their own, wherever these can stand
    starts: dict[str, tuple[int, int]]  # the first and the last state of each rule to start with
    states: list[dict[str, int]]  # the next state; for a rule to apply, its index's complement
    rules: list[Rule]


class LineEnds:
    """Which line ends end a statement: those inside `( )` and `[ ]` do not, nor does a second one."""

    def __init__(self) -> None:
        self._brackets: list[str] = []
        self._last = "LBRACE"  # so that blank lines before the first statement are dropped

    def drop(self, kind: str) -> bool:
        """Note the next terminal; whether it is a line end without a meaning."""
        if kind == LINE_END:
            if self._last in (LINE_END, "LBRACE") or (self._brackets and self._brackets[-1] != "LBRACE"):
                return True
        elif kind in ("LPAR", "LSQB", "LBRACE"):
            self._brackets.append(kind)
        elif kind in ("RPAR", "RSQB", "RBRACE") and self._brackets:
            self._brackets.pop()
        self._last = kind
        return False


def glued(before: str, after: str) -> bool:
    """Whether two characters of two words without a blank between them are one word."""
    return (before.isalnum() or before == "_") and (after.isalnum() or after == "_")


class Parser:
    """Parses texts by tables."""

    def __init__(self, tables: Tables) -> None:
        self._tokens = re.compile(tables["pattern"]).finditer
        self._ignored = frozenset(tables["ignored"])
        self._words = tables["words"]
        self._starts = tables["starts"]
        self._states = tables["states"]
        self._rules = [Rule(*rule) for rule in tables["rules"]]
        self._passed: dict[tuple[int, int, str], int] = {}

    def parse(self, text: str, start: str) -> Branch | None:
        """Return the tree of a text; None if it has none, or if only lark can tell."""
        first, last = self._starts[start]
        states, values, spans = [first], list[Any](), list[Span]()
        table, words, ignored, line_ends = self._states, self._words, self._ignored, LineEnds()
        at = before = 0
        for match in self._tokens(text):
            kind, begin = match.lastgroup, at
            if kind is None or match.start() != begin:
                return None
            at = match.end()
            if kind in ignored:
                continue
            row, word = table[states[-1]], match[0]
            if kind in words and (own := words[kind].get(word)) in row:
                kind = own
            if kind not in row and kind != LINE_END:
                return None
            if begin == before > 0 and glued(text[begin - 1], text[begin]):
                return None
            before = at
            if line_ends.drop(kind):
                continue
            to = row.get(kind)
            if to is None or to < 0:
                to = self._reduced(states, values, spans, kind)
            if to is None:
                return None
            states.append(to)
            values.append(Token(kind, word, begin, at))
            spans.append((begin, at))
        self._reduced(states, values, spans, END, last)
        return values[0] if states[1:] == [last] and at == len(text) else None

    def _reduced(
        self, states: list[int], values: list[Any], spans: list[Span], kind: str, last: int = -1
    ) -> int | None:
        """Apply the rules that end before a terminal; return the state after it, None if it cannot stand here."""
        table, rules = self._states, self._rules
        while states[-1] != last:
            action = table[states[-1]].get(kind)
            if action is None or action >= 0:
                return action
            size, origin, data, single, picks, absent = rules[~action]
            if size == 1 and single:
                states[-1] = self._passed_on(states[-2], states[-1], kind)
                continue
            taken, span = [], None
            if size:
                taken, span = values[-size:], _joined(spans[-size:])
                del states[-size:], values[-size:], spans[-size:]
            children = _picked(taken, picks, absent)
            start, end = span or (0, 0)
            values.append(children[0] if single and len(children) == 1 else Branch(data, children, start, end))
            spans.append(span)
            states.append(table[states[-1]][origin])
        return None

    def _passed_on(self, before: int, state: int, kind: str) -> int:
        """Return the state after all rules that only pass a value on, such as an expression without an operator."""
        key = before, state, kind
        if key not in self._passed:
            while (action := self._states[state].get(kind, 0)) < 0:
                rule = self._rules[~action]
                if rule.size != 1 or not rule.single:
                    break
                state = self._states[before][rule.origin]
            self._passed[key] = state
        return self._passed[key]


def _joined(spans: list[Span]) -> Span:
    """Return the span of several values together; they may hold brackets that no branch contains."""
    first, last = spans[0], spans[-1]
    if first is not None and last is not None:
        return first[0], last[1]
    real = [span for span in spans if span is not None]
    return (real[0][0], real[-1][1]) if real else None


def _picked(taken: list[Any], picks: list[tuple[int, bool, int]], absent: int) -> list[Any]:
    """Return what a branch keeps of its values."""
    children: list[Any] = []
    for index, inline, missing in picks:
        if missing:
            children += [None] * missing
        if not inline:
            children.append(taken[index])
        elif children:
            children += taken[index].children
        else:
            children = taken[index].children  # a list grows in place: its items are copied once, not each time
    return children + [None] * absent if absent else children
