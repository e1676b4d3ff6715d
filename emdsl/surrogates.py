"""Lone surrogates: halves of characters, by which Python holds bytes that are not UTF-8, and broken escapes in JSON."""

from __future__ import annotations


def is_text(text: str) -> bool:
    """Whether a text has bytes in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(text: str) -> str:
    r"""Return a text with each lone surrogate written as an escape, which JSON reads as the same.

    >>> as_text("a\udcff")
    'a\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode()
