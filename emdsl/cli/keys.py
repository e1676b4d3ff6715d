"""Single keys of a terminal, in the order in which they are pressed."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 64  # bytes: an arrow or a function key is several
_REST_S = 0.05  # how long the rest of such a key may take on a slow line
_SEQUENCE = re.compile(rb"\x1b+(?:\[[0-?]*[ -/]*[@-~]?|O.?|.?)", re.DOTALL)  # Home, for one, has a `1` in it
_UNFINISHED = re.compile(rb"\x1b+(?:\[[0-?]*[ -/]*|O)?\Z")


class Keys:
    """The keys of this terminal. Keys that are pressed between two reads are kept, and none is echoed."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def next(self) -> str:
        """Return the next key of one character; arrows and other keys of several characters are ignored.

        Raises:
            EOFError: The terminal is closed.
        """
        while not self._waiting:
            stream = sys.stdin.fileno()
            read = os.read(stream, _AT_ONCE)
            if not read:
                raise EOFError
            while _UNFINISHED.search(read) and select.select([stream], [], [], _REST_S)[0]:
                if not (rest := os.read(stream, _AT_ONCE)):
                    break
                read += rest
            self._waiting.extend(self._decoder.decode(_SEQUENCE.sub(b"", read)))
        return self._waiting.popleft()

    def line(self, prompt: str) -> str:
        """Ask for a line of text; what was typed before the question is shown is the start of it."""
        typed, end, rest = "".join(self._waiting).replace("\r", "\n").partition("\n")
        self._waiting = deque(rest)
        if end:
            return typed
        with _mode(at_once=False):
            asked = click.prompt(f"{prompt}: {typed}", default="", show_default=False, prompt_suffix="")
        return typed + str(asked)


class _OtherKeys(Keys):
    """The keys of a terminal without modes, as on Windows."""

    def next(self) -> str:
        """See Keys."""
        return click.getchar()


@contextmanager
def keys() -> Iterator[Keys]:
    """Give the keys of the terminal as they are pressed, while this context lasts."""
    if os.name != "posix":
        yield _OtherKeys()
        return
    with _mode(at_once=True):
        yield Keys()


@contextmanager
def _mode(*, at_once: bool) -> Iterator[None]:
    """Set the terminal to give each key at once without an echo, or a line at a time with one."""
    if os.name != "posix":
        yield
        return
    import termios  # noqa: PLC0415 - Windows has no such module

    stream = sys.stdin.fileno()
    before = termios.tcgetattr(stream)
    after = termios.tcgetattr(stream)
    flags = termios.ECHO | termios.ICANON
    after[3] = after[3] & ~flags if at_once else after[3] | flags
    termios.tcsetattr(stream, termios.TCSADRAIN, after)
    try:
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSADRAIN, before)
