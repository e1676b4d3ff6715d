"""Pages about diagnostics: `explain.md`, by code."""

from __future__ import annotations

import functools
import re
from pathlib import Path


@functools.cache
def pages() -> dict[str, str]:
    """Return every page, Markdown with its title as first line, by the code of its diagnostic."""
    text = (Path(__file__).parents[1] / "explain.md").read_text(encoding="utf-8")
    found = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {x[:4]: x.rstrip() + "\n" for x in found}


def page(code: str) -> str | None:
    """Return the page of a diagnostic, or None where there is no such code."""
    return pages().get(code.upper())


def title(code: str) -> str:
    """Return what a diagnostic is about, in a few words."""
    return pages()[code].split("\n", 1)[0].partition(" ")[2]
