"""`.em` in colour: a lexer for Pygments, and the same as a TextMate grammar for editors."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

from pygments.lexer import RegexLexer, default, words
from pygments.token import STANDARD_TYPES, Comment, Keyword, Name, Number, Operator, Punctuation, String, Text

from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.measure_specs import INTERVAL_METHODS, MEASURES
from emdsl.lang.words import DECLARATIONS, RESERVED, ROLES, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

COLORED = (Comment, Keyword, Name.Builtin, Number, Operator, String)  # on pages
CONSTANTS = ("true", "false", "none", "env", "missing", "sample")
STARTING = tuple(sorted({"em", "each", *DECLARATIONS, *STATEMENTS, *ROLES}))
WORDS = tuple(sorted(RESERVED - set(CONSTANTS)))
FUNCTIONS = tuple(sorted({*BUILTINS, *MEASURES, *INTERVAL_METHODS}))
_OVER = r"(?<=\) )over(?=[ \t]+[A-Za-z_])"  # `f(x) over q`; a name everywhere else
_NUMBER = r"\$?[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?"
_PLACEHOLDER = r"\{[ \t]*[A-Za-z_]\w*(?:\.\w+)*[ \t]*\}"
_ESCAPE = r"\\(?:u\{[0-9A-Fa-f]{1,6}\}|.)|\{\{|\}\}"


class EmLexer(RegexLexer):  # type: ignore[misc]  # Pygments ships no types
    """Colours programs of emdsl."""

    name = "emdsl"
    aliases: ClassVar[list[str]] = ["em", "emdsl"]
    filenames: ClassVar[list[str]] = ["*.em"]
    url = ""
    flags = re.MULTILINE
    tokens: ClassVar[dict[str, Any]] = {
        "root": [
            (r"#.*$", Comment.Single),
            (r'\braw[ \t]*"""', String.Heredoc, "raw"),
            (r'"""', String.Heredoc, "long"),
            (r'"', String.Double, "short"),
            (r"\n", Text, "start"),
            (r"\{", Punctuation, "start"),
            (words(WORDS, prefix=r"\b", suffix=r"\b"), Keyword),
            (_OVER, Keyword),
            (words(CONSTANTS, prefix=r"\b", suffix=r"\b"), Keyword.Constant),
            (words(FUNCTIONS, prefix=r"\b", suffix=r"\b(?=\()"), Name.Builtin),
            (r"[A-Za-z_]\w*(?=[ \t]*=(?!=))", Name.Attribute),
            (r"[A-Za-z_]\w*(?=:)", Name.Label),
            (r"[A-Za-z_]\w*", Name),
            (_NUMBER, Number),
            (r"==|!=|<=|>=|\.\.|[-+*/<>=]", Operator),
            (r"[.,:()}\[\]]", Punctuation),
            (r"[^\S\n]+", Text),
        ],
        "start": [  # of a line or a block: the words that start a statement are names elsewhere
            (r"\s+", Text),
            (words(STARTING, suffix=r"\b(?=[ \t])"), Keyword.Declaration, "#pop"),
            default("#pop"),
        ],
        "raw": [(r'"""', String.Heredoc, "#pop"), (r'[^"]+|"', String.Heredoc)],
        "long": [
            (r'"""', String.Heredoc, "#pop"),
            (_ESCAPE, String.Escape),
            (_PLACEHOLDER, String.Interpol),
            (r'[^"\\{}]+|["\\{}]', String.Heredoc),
        ],
        "short": [
            (r'"', String.Double, "#pop"),
            (_ESCAPE, String.Escape),
            (_PLACEHOLDER, String.Interpol),
            (r'[^"\\{}\n]+|[\\{}]', String.Double),
            (r"\n", Text, "#pop"),
        ],
    }

    def get_tokens_unprocessed(
        self, text: str, stack: tuple[str, ...] = ("root", "start")
    ) -> Iterator[tuple[int, Any, str]]:
        """Return tokens with their places; a program starts with a statement."""
        found: Iterator[tuple[int, Any, str]] = super().get_tokens_unprocessed(text, stack)
        return found


def spans(text: str) -> list[tuple[str, str]]:
    """Return a program as words, each with its short class of Pygments, or "" if it has no color."""
    words: list[tuple[str, str]] = []
    for kind, word in EmLexer().get_tokens(text):
        shown = STANDARD_TYPES[kind] if any(kind in c for c in COLORED) else ""
        if words and words[-1][0] == shown:
            words[-1] = (shown, words[-1][1] + word)
        else:
            words.append((shown, word))
    return words


def textmate() -> str:
    """Return the TextMate grammar as JSON."""

    def match(scope: str, pattern: str) -> dict[str, str]:
        return {"name": f"{scope}.em", "match": pattern}

    def listed(found: tuple[str, ...]) -> str:
        return "|".join(found)

    inside = [match("constant.character.escape", _ESCAPE), match("variable.other.placeholder", _PLACEHOLDER)]
    texts = [
        {"name": "string.quoted.triple.raw.em", "begin": r'\braw[ \t]*"""', "end": '"""'},
        {"name": "string.quoted.triple.em", "begin": '"""', "end": '"""', "patterns": inside},
        {"name": "string.quoted.double.em", "begin": '"', "end": r'"|$', "patterns": inside},
    ]
    found = {
        "name": "emdsl",
        "scopeName": "source.em",
        "fileTypes": ["em"],
        "patterns": [
            match("comment.line.number-sign", "#.*$"),
            *texts,
            match("keyword.declaration", rf"(?:^|(?<=\{{))[ \t]*(?:{listed(STARTING)})\b(?=[ \t])"),
            match("keyword.control", rf"\b(?:{listed(WORDS)})\b|{_OVER}"),
            match("constant.language", rf"\b(?:{listed(CONSTANTS)})\b"),
            match("support.function", rf"\b(?:{listed(FUNCTIONS)})\b(?=\()"),
            match("variable.parameter", r"\b[A-Za-z_]\w*(?=[ \t]*=(?!=))"),
            match("entity.name.tag", r"\b[A-Za-z_]\w*(?=:)"),
            match("constant.numeric", _NUMBER),
            match("keyword.operator", r"==|!=|<=|>=|\.\.|[-+*/<>=]"),
        ],
    }
    return json.dumps(found, indent=2) + "\n"
