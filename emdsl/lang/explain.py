"""Pages of diagnostics (`explain.md`, by code) and entries of the glossary (`glossary.md`, by word)."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from emdsl.source import near


@functools.cache
def pages() -> dict[str, str]:
    """Return every page, Markdown with its title as first line, by the code of its diagnostic."""
    return {section[:4]: section for section in _sections("explain.md")}


def page(code: str) -> str | None:
    """Return the page of a diagnostic, or None for an unknown code."""
    return pages().get(code.upper())


def title(code: str) -> str:
    """Return the title of a diagnostic."""
    return pages()[code].split("\n", 1)[0].partition(" ")[2]


@functools.cache
def words() -> dict[str, str]:
    """Return every entry of the glossary, Markdown with its words as first line, by each of its words."""
    return {word: section for section in _sections("glossary.md") for word in section.split("\n", 1)[0].split(", ")}


def entry(word: str) -> str | None:
    """Return the entry of a word, or None for an unknown one; case does not matter, nor `-`, `_` or spaces.

    >>> (entry("Not Needed") or "").splitlines()[0]
    'not_needed, not needed'
    """
    return {_plain(known): section for known, section in words().items()}.get(_plain(word))


def suggestion(word: str) -> str:
    """Return `did you mean ...?` for the code or word nearest to an unknown one, or nothing."""
    return near(word.upper(), pages()) or near(word.lower(), words())


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", word.strip()).casefold()


def _sections(file: str) -> list[str]:
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    return [section.rstrip() + "\n" for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
