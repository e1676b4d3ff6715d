"""The parts of a rendered diagnostic that are colored, in a terminal and in HTML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ERROR, WARNING, PLACE, HELP = "error", "warning", "place", "help"
_ANSI = {ERROR: "31;1", WARNING: "33;1", PLACE: "2", HELP: "36"}
_BOLD = {ERROR: "1", WARNING: "1", HELP: "1"}
_TITLE = re.compile(r"(error|warning)(?:\[\w+\])?:")
_ARROW = re.compile(r" *(?:-->|:::) .*")
_CARET = re.compile(r"( *\| *)(\^+|-+)((?: .*)?)")
_LABEL = re.compile(r"(?: *= )?(?:note|help|for more):")


def painted(text: str, paint: Callable[[str, str], str]) -> str:
    """Return a rendered diagnostic, or several.

    Args:
        text: As `Diagnostic.render` makes it.
        paint: Returns a part for the role `error`, `warning`, `place`, `help`, or "" for plain text.
    """
    role, lines = ERROR, []
    for line in text.split("\n"):
        if title := _TITLE.match(line):
            role = title[1]
            lines.append(paint(title[0], role) + paint(line[title.end() :], ""))
        elif _ARROW.fullmatch(line):
            lines.append(paint(line, PLACE))
        elif caret := _CARET.fullmatch(line):
            lines.append(paint(caret[1], "") + paint(caret[2] + caret[3], role if caret[2][0] == "^" else PLACE))
        elif label := _LABEL.match(line):
            lines.append(paint(label[0], HELP) + paint(line[label.end() :], ""))
        else:
            lines.append(paint(line, ""))
    return "\n".join(lines)


def ansi(text: str, role: str) -> str:
    """Return a part with the codes that color it in a terminal."""
    return f"\x1b[{_ANSI[role]}m{text}\x1b[0m" if role and text.strip() else text


def bold(text: str, role: str) -> str:
    """Return a part with codes for bold text alone: a notebook shows errors on red, where colors are hard to read."""
    return f"\x1b[{_BOLD[role]}m{text}\x1b[0m" if role in _BOLD and text.strip() else text
