"""Programs made from the grammar itself: random derivations, and the same tokens in any layout."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

from emdsl.lang.format import _tokens
from emdsl.lang.lark_grammar import grammar
from emdsl.lang.words import RESERVED

if TYPE_CHECKING:
    from lark.grammar import Rule

    from emdsl.lang.format import Token

NAMES = ("a", "b", "question", "model", "data", "user", "k", "aligned", "shots", "em", "judge", "x_1", "number")
LONG = '"""\n{m}some text {{a}}\n\n{m}  and more # no comment\n{m}"""'
SAMPLES = {
    "NAME": NAMES,
    "INT": ("0", "1", "12", "1_000"),
    "DEC": ("0.5", "1.0", "2.5e3", "1e9"),
    "MONEY": ("$5", "$2.50"),
    "STRING": ('"text"', '"\\n{{x}}"', '""', '"# no comment"', '"std:judges@1"'),
    "LONG": (LONG.format(m="  "), LONG.format(m="")),
    "RAW": ('raw """\n  {"a": "\\n"}\n  """', 'raw   """\n\ttab\n\t"""'),
    "CMP": ("==", "!=", "<", "<=", ">", ">="),
    "SIGN": ("+", "-"),
    "TIMES": ("*", "/"),
    "BY": ("by",),
    "_NL": ("\n",),
}
DEPTH = 14  # rules within rules; then the shortest way out is taken
GOES_ON = ("and", "or", "then", "else", "by", "given", "with", "from", "is")


@functools.cache
def _rules() -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in grammar().rules:
        found.setdefault(rule.origin.name, []).append(rule)
    return found


@functools.cache
def _heights() -> dict[str, int]:
    """Return how deep the shortest derivation of each rule is."""
    heights: dict[str, int] = {}
    while len(heights) < len(_rules()):
        for name, rules in _rules().items():
            known = [_height(r, heights) for r in rules]
            best = min((h for h in known if h is not None), default=None)
            if best is not None:
                heights[name] = min(best, heights.get(name, best))
    return heights


def _height(rule: Rule, heights: dict[str, int]) -> int | None:
    inner = [0 if s.is_term else heights.get(s.name) for s in rule.expansion]
    return None if None in inner else 1 + max((h for h in inner if h is not None), default=0)


def derived(rng: random.Random, start: str = "file") -> list[str]:
    """Return the tokens of a random program."""
    words: list[str] = []
    todo = [(start, False, 0)]
    while todo:
        name, is_term, depth = todo.pop()
        if is_term:
            words.append(_word(name, rng))
            continue
        rules = _rules()[name]
        if depth > DEPTH:
            heights = [_height(r, _heights()) or 0 for r in rules]
            rules = [r for r, h in zip(rules, heights, strict=True) if h == min(heights)]
        rule = rng.choice(rules)
        todo += [(s.name, s.is_term, depth + 1) for s in reversed(rule.expansion)]
    return words


def _word(name: str, rng: random.Random) -> str:
    if name in SAMPLES:
        return rng.choice(SAMPLES[name])
    patterns = {t.name: t.pattern.value for t in grammar().terminals}
    return patterns[name].replace("\\", "")


def laid_out(words: list[str], rng: random.Random) -> str:
    """Return tokens as text: with blanks, line ends and comments wherever they mean nothing."""
    if words[:2] == ["em", words[1]]:
        words = ["em", "1", *words[2:]]
    text, brackets = "", list[str]()
    for i, word in enumerate(words):
        inside = bool(brackets) and brackets[-1] in "(["
        if word == "\n":
            text += rng.choice(("\n", "\n\n\n", "  # a comment\n", "\n    # a comment\n\n"))
        elif i and (inside or word in GOES_ON) and rng.random() < 0.2:
            text += rng.choice(("\n", "\n\n", " # a comment\n", "\n\t# a comment\n   "))
        else:
            text += rng.choice((" ", " ", "  ", "\t")) if i else ""
        if word != "\n":
            text += word
        if word in ("(", "[", "{"):
            brackets.append(word)
        elif word in (")", "]", "}") and brackets:
            brackets.pop()
    return text + rng.choice(("", "\n", "\n\n# the end"))


def program(seed: int) -> str:
    """Return a random program that parses, in a random layout."""
    rng = random.Random(seed)
    return laid_out(derived(rng), rng)


def comments(text: str) -> list[str]:
    """Return the comments of a text in order."""
    return [t.text for t in _tokens(text) if t.kind == "comment"]


def renamed(text: str, names: dict[str, str]) -> str:
    """Return a text with names replaced wherever they stand as names, placeholders included."""
    assert not RESERVED & {*names, *names.values()}
    found: list[Token] = _tokens(text)
    shown, at = "", 0
    for token in found:
        start = text.index(token.text, at)
        shown += text[at:start]
        at = start + len(token.text)
        new = token.text
        if token.kind == "name":
            new = names.get(token.text, token.text)
        elif token.kind in ("string", "long"):
            for old, name in names.items():
                new = new.replace("{" + old + "}", "{" + name + "}").replace("{" + old + ".", "{" + name + ".")
        shown += new
    return shown + text[at:]
