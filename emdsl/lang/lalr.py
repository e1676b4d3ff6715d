"""Parses by the tables that lark made of the grammar, without lark: its import and its parsing took most of a check.

Only texts that parse are parsed here. Of any other text, and of one that only lark's lexer for a single state can
split, the answer is None, and lark decides.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypedDict

END, LINE_END = "$END", "_NL"


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
        self._match = re.compile(tables["pattern"]).match
        self._ignored = frozenset(tables["ignored"])
        self._words = tables["words"]
        self._starts = tables["starts"]
        self._states = tables["states"]
        self._rules = [Rule(*rule) for rule in tables["rules"]]

    def parse(self, text: str, start: str) -> Branch | None:
        """Return the tree of a text; None if it has none, or if only lark can tell."""
        first, last = self._starts[start]
        stack = _Stack(first)
        line_ends = LineEnds()
        at = before = 0
        while at < len(text):
            match = self._match(text, at)
            if match is None or (kind := match.lastgroup) is None:
                return None
            begin, at = at, match.end()
            if kind in self._ignored:
                continue
            row, word = self._states[stack.states[-1]], match[0]
            if kind in self._words and (own := self._words[kind].get(word)) in row:
                kind = own
            if kind not in row and kind != LINE_END:
                return None
            if begin == before > 0 and glued(text[begin - 1], text[begin]):
                return None
            before = at
            if not line_ends.drop(kind):
                to = self._reduced(stack, kind)
                if to is None:
                    return None
                stack.push(to, Token(kind, word, begin, at), begin, at)
        self._reduced(stack, END, last)
        return stack.values[0] if stack.states[1:] == [last] else None

    def _reduced(self, stack: _Stack, kind: str, last: int = -1) -> int | None:
        """Apply the rules that end before a terminal; return the state after it, None if it cannot stand here."""
        states, stack_states, rules = self._states, stack.states, self._rules
        while stack_states[-1] != last:
            action = states[stack_states[-1]].get(kind)
            if action is None or action >= 0:
                return action
            rule = rules[~action]
            if rule.size == 1 and rule.single:  # most rules: an expression without the operator of its level
                stack_states.pop()
                stack_states.append(states[stack_states[-1]][rule.origin])
                continue
            value, begin, end = stack.pop(rule)
            stack.push(states[stack_states[-1]][rule.origin], value, begin, end)
        return None


class _Stack:
    """States, the values between them, and what these span: a branch may be in brackets that it does not contain."""

    __slots__ = ("ends", "starts", "states", "values")

    def __init__(self, first: int) -> None:
        self.states = [first]
        self.values: list[Any] = []
        self.starts: list[int | None] = []  # None: of nothing
        self.ends: list[int | None] = []

    def push(self, state: int, value: Any, start: int | None, end: int | None) -> None:
        self.states.append(state)
        self.values.append(value)
        self.starts.append(start)
        self.ends.append(end)

    def pop(self, rule: Rule) -> tuple[Any, int | None, int | None]:
        """Take the values of a rule; return what it makes of them, and their span."""
        size, _, data, single, picks, absent = rule
        children: list[Any] = []
        start = end = None
        if size:
            taken = self.values[-size:]
            start, end = self.starts[-size], self.ends[-1]
            if start is None:
                start = next((x for x in self.starts[-size:] if x is not None), None)
            if end is None:
                end = next((x for x in reversed(self.ends[-size:]) if x is not None), None)
            del self.states[-size:], self.values[-size:], self.starts[-size:], self.ends[-size:]
            for index, inline, missing in picks:
                if missing:
                    children += [None] * missing
                if not inline:
                    children.append(taken[index])
                elif children:
                    children += taken[index].children
                else:
                    children = taken[index].children  # a list grows in place: its items are copied once, not each time
        children += [None] * absent
        if single and len(children) == 1:
            return children[0], start, end
        return Branch(data, children, start or 0, end or 0), start, end
