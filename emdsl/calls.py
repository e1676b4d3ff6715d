"""Errors as an interactive session shows them: the message and the user's own line, without frames of emdsl."""

from __future__ import annotations

import linecache
import sys
from typing import TYPE_CHECKING

from emdsl.colors import PLACE, ansi, bold, painted
from emdsl.redact import mask

if TYPE_CHECKING:
    from types import FrameType


def shown_lines(error: Exception, *, rendered: bool) -> list[str]:
    """Return the lines that show an error, with codes for colors or bold text; `rendered`: its text is diagnostics."""
    text, paint = mask(str(error)), ansi if sys.stderr.isatty() else bold
    lines = painted(text if rendered else f"error: {text}", paint).split("\n")
    called = _calling_line(error)
    return [*lines, "", paint(called, PLACE)] if called else lines


def _calling_line(error: Exception) -> str:
    """Return the line of the caller's code that called emdsl, with its number; "" if it has none to show."""
    caller: tuple[FrameType, int] | None = None
    trace = error.__traceback__
    while trace is not None and _package(trace.tb_frame) != "emdsl":
        caller = trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
    if caller is None or _package(caller[0]) == "IPython":  # a magic: its cell is a program, not a call
        return ""
    frame, number = caller
    line = linecache.getline(frame.f_code.co_filename, number).strip()
    return f"line {number}: {mask(line)}" if line else ""


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
