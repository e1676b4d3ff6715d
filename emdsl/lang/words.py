"""The text of the grammar, and the words of the language, read from it: no second list exists."""

from __future__ import annotations

import re
from pathlib import Path


def grammar_text() -> str:
    """Return the text of the grammar, from the installed package or from `grammar/` of a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "_grammar" / "em.lark"
    return (shipped if shipped.is_file() else package.parent / "grammar" / "em.lark").read_text(encoding="utf-8")


def rule(name: str) -> str:
    """Return a rule of the grammar as written, continuation lines included."""
    return _RULES[name]


def _starting(name: str) -> tuple[str, ...]:
    """Return the first words of the alternatives of a rule."""
    alternatives = [x.strip() for x in rule(name).partition(": ")[2].split("|")]
    firsts = (re.match(r'[?!]*\w+: "([a-z]+)"', rule(x)) for x in alternatives)
    return tuple(dict.fromkeys(match[1] for match in firsts if match is not None))


_TEXT = grammar_text()
_RULES = {
    m["name"]: m[0] for m in re.finditer(r"^[?!]*(?P<name>\w+)(?:\{\w+\})?: .*(?:\n[ ]+\|.*)*", _TEXT, re.MULTILINE)
}
DECLARATIONS = _starting("decl")
STATEMENTS = _starting("stmt")
ROLES = tuple(re.findall(r'"(\w+)"', rule("role")))
_NAME = re.search(r"^NAME: /\(\?!\(\?:([a-z|]+)\)", _TEXT, re.MULTILINE)
assert _NAME is not None
RESERVED = frozenset(_NAME[1].split("|"))
