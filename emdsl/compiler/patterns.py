r"""Regular expressions in RE2's syntax: the time of a search is linear in the length of the text.

RE2 has no look-around and no back-references, and so it is never slow. `\w`, `\d`, `\s` and `\b` know ASCII
only, and `$` is the end of the text (in Python's `re` also the place before a last line end).
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from emdsl.frame import fail
from emdsl.source import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.value import Value

MAX_PATTERN = 1_000  # characters
MAX_SEARCHED = 2**22  # characters of a text: no answer is this long
_MAX_MEMORY = 2**23  # bytes of one compiled pattern: RE2 refuses a larger one
_NO_SUCH = "look-around and back-references are not available: they make a search slow"
_HELP = {
    "invalid perl operator": _NO_SUCH,
    "invalid escape sequence": "write `\\\\` in a text for one backslash; " + _NO_SUCH,
    "invalid repetition size": "a part can be repeated up to 1000 times",
    "pattern too large": "shorten the pattern, or repeat its parts less often",
    "no argument for repetition operator": "write `\\\\` and the sign to find the sign itself",
}


class _Invalid(ValueError):
    """A pattern that RE2 does not accept: what is wrong, and the part of the pattern."""

    def __init__(self, reason: str, part: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.part = part


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    """Return RE2's form of a pattern; raises _Invalid."""
    import re2  # noqa: PLC0415 - start-up: only a study with a pattern loads it

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        return re2.compile(_encoded(pattern), options)
    except re2.error as error:
        told = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        reason, _, part = told.partition(": ")
        raise _Invalid(reason, part) from None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # a lone surrogate is searched as `?`


def check_pattern(pattern: Value, span: Span) -> None:
    """Check a pattern; raises EvalFault, at the wrong part of the pattern if that is in the source text unchanged."""
    if not isinstance(pattern, str):
        return  # its type is reported
    if len(pattern) > MAX_PATTERN:
        raise fail("E519", f"this pattern has more than {MAX_PATTERN:,} characters", span, help="shorten it")
    try:
        _compiled(pattern)
    except _Invalid as error:
        at = span
        if span.text == f'"{pattern}"' and pattern.count(error.part) == 1:
            start = span.start + 1 + pattern.index(error.part)
            at = Span(span.source, start, start + len(error.part))
        message = f"invalid pattern: {error.reason.removeprefix('invalid ')}" + (
            f" `{error.part}`" if error.part not in ("", pattern) else ""
        )
        raise fail("E519", message, at, help=_HELP.get(error.reason, "patterns have the syntax of RE2")) from None


def searched(text: str, pattern: str, span: Span) -> bool:
    """Whether a pattern matches somewhere in a text; raises EvalFault if one is not a text, or too long.

    >>> searched("The answer is B", "^[AB]$", None), searched("B", "^[AB]$", None)
    (False, True)
    """
    return _of(pattern, text, span).search(_encoded(text)) is not None


def found(text: str, pattern: str, span: Span, *, last: bool) -> str | None:
    """Return the first or last match, None without one: its first group that took part, if it has groups.

    >>> found("Q: 1 ANSWER: B", "ANSWER: (.)", None, last=False)
    'B'
    """
    matches: Iterator[Any] = _of(pattern, text, span).finditer(_encoded(text))
    match = next(iter(deque(matches, maxlen=1)), None) if last else next(matches, None)
    if match is None:
        return None
    groups = [g for g in match.groups() if g is not None]
    part: bytes = groups[0] if groups else match[0]
    return part.decode("utf-8", "replace")


def _of(pattern: str, text: str, span: Span) -> Any:
    if len(text) > MAX_SEARCHED:
        raise fail("E518", f"this text has more than {MAX_SEARCHED:,} characters to search", span)
    check_pattern(pattern, span)
    return _compiled(pattern)
