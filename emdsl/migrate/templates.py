"""Simple templates of Jinja and Nunjucks: `{{ name }}`, fields, and a few filters; all others are refused by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emdsl.migrate.writing import Field, Template, joined, name_of, quoted, shown, unique

if TYPE_CHECKING:
    from collections.abc import Callable


_PARTS = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})", re.DOTALL)
_PATH = re.compile(r"""[A-Za-z_]\w*(?:\.[A-Za-z_]\w*(?!\w|\s*\()|\[\d+\]|\[(['"])\w+\1\])*""")
_STEP = re.compile(r"""\s*(?:\.|\|)\s*([a-z_]+)\s*(\(\s*(?:"[^"]*"|'[^']*')?(?:\s*,\s*(?:"[^"]*"|'[^']*'))*\s*\))?""")
_TEXTS = re.compile(r"""(?:"([^"]*)"|'([^']*)')""")
_FILTERS = {  # filters and methods without arguments, as expressions
    "strip": "trim({0})", "trim": "trim({0})", "lower": "lower({0})", "upper": "upper({0})", "safe": "{0}",
    "lstrip": 'find({0}, "(?s)^\\\\s*(.*)")', "rstrip": 'find({0}, "(?s)^(.*?)\\\\s*$")', "string": "{0}",
}  # fmt: skip
_WITH_TEXTS = {"replace": ("replace({0}, {1}, {2})", 2), "join": ("join({0}, {1})", 1)}


class NotSimple(Exception):
    """Why a template cannot be translated."""


@dataclass(slots=True)
class Translation:
    """A template of the language: its parts have parameters, which `values` gives as expressions."""

    parts: Template = ()
    values: dict[str, str] = field(default_factory=dict)


def translated(text: str, value_of: Callable[[str], str]) -> Translation:
    """Translate a template.

    Args:
        text: The template.
        value_of: Returns the expression of a path such as `choices.text`; raises NotSimple for an unknown one.

    Raises:
        NotSimple: It has a block, or an expression other than a path with the filters above.
    """
    translation = Translation()
    parts: list[str | Field] = []
    names: dict[str, str] = {}  # by expression
    for part in _PARTS.split(text):
        if part.startswith("{#"):
            continue
        if part.startswith("{%"):
            raise NotSimple(f"`{shown(part)}` is a block")
        if not part.startswith("{{"):
            parts.append(part)
            continue
        inner = part[2:-2]
        if inner.startswith("-") or inner.endswith("-"):
            raise NotSimple(f"`{shown(part)}` removes blanks around it")
        expression = expression_of(inner, value_of)
        if expression not in names:
            path = _PATH.match(inner.strip())
            name = unique(name_of(path[0] if path else "", "part"), names.values())
            names[expression] = name
            translation.values[name] = expression
        parts.append(Field(names[expression]))
    translation.parts = joined(parts)
    return translation


def expression_of(inner: str, value_of: Callable[[str], str]) -> str:
    """Return the expression of what is between `{{` and `}}`; raises NotSimple."""
    text = inner.strip()
    path = _PATH.match(text)
    if path is None:
        raise NotSimple(f"`{{{{{shown(inner)}}}}}` is not a path with filters")
    value, at = value_of(plain_path(path[0])), path.end()
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise NotSimple(f"`{{{{{shown(inner)}}}}}` is not a path with filters")
        texts = [a or b for a, b in _TEXTS.findall(step[2] or "")]
        form, n = _WITH_TEXTS.get(step[1], (_FILTERS.get(step[1], ""), 0))
        if not form or len(texts) != n:
            raise NotSimple(f"`{shown(step[0])}` in `{{{{{shown(inner)}}}}}` has no counterpart")
        value, at = form.format(value, *map(quoted, texts)), step.end()
    return value


def plain_path(path: str) -> str:
    """Return a path with dots alone: `a['b'][0]` is `a.b.0`."""
    return re.sub(r"""\[['"]?(\w+)['"]?\]""", r".\1", path)
