"""The text of a new study: quoted texts, messages, names and lists of settings, from values of other files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from emdsl.lang.words import RESERVED, ROLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "{": "{{", "}": "}}"}
_SPECIAL = re.compile(  # quotes, braces, control characters, and those that a reader cannot see
    '[\\\\"{}\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]'
)
_BRACED = re.compile(r"\{\s*([A-Za-z_]\w*)[^{}\n]*\}")
MAX_SHOWN = 60  # characters of a text of the file in a comment


@dataclass(frozen=True, slots=True)
class Field:
    """A placeholder: the path of a value, such as `q.question`."""

    path: str


Template = tuple[str | Field, ...]


def quoted(*parts: str | Field) -> str:
    """Return a text in quotes that has exactly these characters, with placeholders in their places."""
    return '"' + "".join(f"{{{p.path}}}" if isinstance(p, Field) else _escaped(p) for p in parts) + '"'


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda m: _ESCAPES.get(m[0], f"\\u{{{ord(m[0]):x}}}"), text)


def inserted(text: str, fields: dict[str, str]) -> Template:
    """Return the parts of a text of Python's `str.format`: `{name}` becomes the field of this name.

    If it has other fields, only the known ones are placeholders, and all other braces are sent.

    >>> inserted("{{x}} {answer}", {"answer": "a"})
    ('{x} ', Field(path='a'))
    """
    parts: list[str | Field] = []
    pieces = re.split(r"(\{\{|\}\}|\{\w+\}|[{}])", text)
    formatted = not any(p in ("{", "}") or (p[:1] == "{" and p[1:-1] not in fields) for p in pieces[1::2] if p != "{{")
    doubled = {"{{": "{", "}}": "}"} if formatted else {}
    for piece in pieces if formatted else re.split(r"(\{\w+\})", text):
        if piece[:1] == "{" and piece[1:-1] in fields:
            parts.append(Field(fields[piece[1:-1]]))
        elif piece:
            parts.append(doubled.get(piece, piece))
    return joined(parts)


def joined(parts: Iterable[str | Field]) -> Template:
    """Return parts with neighboring texts as one."""
    whole: list[str | Field] = []
    for part in parts:
        if isinstance(part, str) and whole and isinstance(whole[-1], str):
            whole[-1] += part
        elif part != "":
            whole.append(part)
    return tuple(whole)


def message(role: str, parts: Template, names: Iterable[str] = ()) -> list[str]:
    """Return the lines of one message; `names` can be placeholders at its place, so braces around them need a note."""
    if len(parts) == 1 and isinstance(parts[0], Field):
        return [f"{role} {parts[0].path}"]
    known = set(names)
    literal = "\0".join(p if isinstance(p, str) else "" for p in parts)
    allowed = ["W321"] if any(m[1] in known for m in _BRACED.finditer(literal)) else []
    if any(isinstance(b, Field) and isinstance(a, str) and a.endswith("$") for a, b in pairwise(parts)):
        allowed.append("W323")
    lines = "".join(f"{{{p.path}}}" if isinstance(p, Field) else _long(p) for p in parts).split("\n")
    plain = all(x == x.rstrip() and "\t" not in x and '"""' not in x for x in lines) and lines[-1] and not allowed
    if len(lines) < 2 or not plain or all(x[:1] in (" ", "") for x in lines) or _odd(literal):
        return [f"{role} {quoted(*parts)}" + (f"  # allow {', '.join(allowed)}" if allowed else "")]
    return [f'{role} """', *(f"    {x}" if x else "" for x in lines), '    """']


def _long(text: str) -> str:
    return text.replace("\\", "\\\\").replace("{", "{{").replace("}", "}}")


def _odd(text: str) -> bool:
    """Whether a long text cannot show its characters."""
    return any(m[0] not in '\\"{}\n\0' for m in _SPECIAL.finditer(text))


def word_of(text: str) -> str:
    """Return the letters and digits of a text, for a part of a name.

    >>> word_of("NOT FUNNY!")
    'not_funny'
    """
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()[:40].rstrip("_")


def name_of(text: str, otherwise: str) -> str:
    """Return a name of the language for a text: its letters and digits; `otherwise` comes before a digit.

    >>> name_of("is it?", "judge"), name_of("7", "judge"), name_of("from", "judge")
    ('is_it', 'judge_7', 'judge_from')
    """
    name = word_of(text)
    if not name or not name[0].isalpha() or name in RESERVED or name in ROLES:
        return f"{otherwise}_{name}".rstrip("_")
    return name


def unique(name: str, taken: Iterable[str]) -> str:
    """Return a name, numbered if it is taken."""
    used = set(taken)
    return next(n for n in (name, *(f"{name}_{i}" for i in range(2, len(used) + 3))) if n not in used)


def settings(values: Sequence[tuple[str, str]]) -> str:
    """Return settings in braces after an `ask`, or nothing."""
    return f" {{ {', '.join(f'{n} = {v}' for n, v in values)} }}" if values else ""


def shown(text: object) -> str:
    """Return a text of the file for a comment: one line, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 3] + "..."
