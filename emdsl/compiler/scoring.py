"""Answers against targets, without a judge: what is ignored when two texts are compared."""

from __future__ import annotations

import re
import string
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

IGNORED = ("case", "blanks", "punctuation", "articles")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
_TOKEN = re.compile(r"\S+")
_SIGNS = re.escape("".join(c for c in string.punctuation if c not in "+-"))
_IN_NUMBER = re.compile(rf"[{_SIGNS}]*(?P<number>[-+]?[0-9]+(?:,[0-9]{{3}})*(?:\.[0-9]+)?)[{_SIGNS}]*")


def normalized(text: str, ignore: Iterable[str]) -> str:
    """Return the normalized form of a text.

    Args:
        text: The text.
        ignore: `case`: upper and lower case are equal. `blanks`: none around the text, and one for many within it.
            `punctuation`: none, but for the sign and the point of a number. `articles`: no `a`, `an` and `the`.

    >>> normalized(" The  Answer: -3.50!", IGNORED), normalized("The Answer!", ["punctuation"])
    ('answer -3.50', 'The Answer')
    """
    ignore = frozenset(ignore)
    if "case" in ignore:
        text = text.casefold()
    if "punctuation" in ignore:
        text = _TOKEN.sub(lambda token: _without_punctuation(token[0]), text)
    if "articles" in ignore:
        text = _ARTICLES.sub(" ", text)
    return " ".join(text.split()) if "blanks" in ignore else text


def _without_punctuation(token: str) -> str:
    if number := _IN_NUMBER.fullmatch(token):
        return number["number"].replace(",", "")
    return "".join(c for c in token if not _is_punctuation(c))


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation if character.isascii() else unicodedata.category(character)[0] == "P"


def is_exact_match(text: str, target: str, ignore: Iterable[str]) -> bool:
    """Whether two texts are equal; a target of nothing but what is ignored is compared as written."""
    wanted = normalized(target, ignore)
    if not wanted.strip():
        return text.strip() == target.strip()
    return normalized(text, ignore) == wanted


def is_included(text: str, target: str, ignore: Iterable[str]) -> bool:
    """Whether a text contains a target; a target of nothing but what is ignored is searched as written."""
    wanted = normalized(target, ignore)
    return wanted in normalized(text, ignore) if wanted.strip() else target in text
