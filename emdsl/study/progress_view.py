"""Progress of a run under way, on standard error: a bar on a terminal or in a notebook, lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from emdsl.errors import UsageError
from emdsl.redact import mask
from emdsl.source import one_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress as RichProgress

    from emdsl.run.progress import Progress

RICH, PLAIN, NONE = "rich", "plain", "none"
DISPLAYS = (RICH, PLAIN, NONE)
EVERY_S = 5.0  # between two plain lines


def choose_display(wanted: str | None) -> str:
    """Return how progress is shown: `rich` on a terminal and in a notebook, else `plain`, unless chosen."""
    if wanted is not None:
        if wanted not in DISPLAYS:
            raise UsageError(f"expected {one_of(DISPLAYS)}, not {wanted!r}", parameter="display")
        return wanted
    if "ipykernel" in sys.modules:
        return RICH
    return RICH if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else PLAIN


class ProgressView:
    """Shows progress; used as a context. `say` prints a line, `clean` makes a text safe for a terminal."""

    def __init__(
        self, display: str, total: int, say: Callable[[str], None], clean: Callable[[str], str] = mask
    ) -> None:
        self._display, self._say, self._clean = display, say, clean
        self._planned = self._total = total
        self._last = time.monotonic()
        self._bar: RichProgress | None = None
        self._task: Any = None
        self._done = 0

    def __enter__(self) -> Self:
        if self._display == RICH:
            from rich.console import Console  # noqa: PLC0415 - 20 ms for who sees a bar
            from rich.progress import (  # noqa: PLC0415 - 20 ms for who sees a bar
                BarColumn,
                MofNCompleteColumn,
                SpinnerColumn,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as RichProgress  # noqa: PLC0415 - 20 ms for who sees a bar

            self._bar = RichProgress(
                SpinnerColumn(),
                TextColumn("requests"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("requests", total=self._total, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._display == PLAIN and self._done:
            self._say(f"{self._done:,} of at most {self._total:,} requests done")

    @property
    def total(self) -> int:
        """Number of requests, at most."""
        return self._total

    def notice(self, text: str) -> None:
        """Show a line beside the progress: what a person should know at once."""
        if self._bar is not None:
            self._bar.console.print(self._clean(text), markup=False, highlight=False, soft_wrap=True)
        elif self._display != NONE:
            self._say(text)

    def update(self, progress: Progress) -> None:
        """Show the newest counts; a plain display gets a line every few seconds."""
        done = self._done = progress.answered + progress.failed
        self._total = self._planned + progress.again
        notes = [f"{progress.failed} failed"] if progress.failed else []
        notes += [progress.batches] if progress.batches else []
        if progress.waiting or progress.paused_s >= 1:
            until = f", next in {progress.paused_s:,.0f} s" if progress.paused_s >= 1 else ""
            notes.append(f"{progress.waiting} waiting{until} ({progress.last_error[:80]})")
        if progress.draining:
            notes.append("finishing the requests in flight; Ctrl-C again stops at once")
        if self._bar is not None:
            from rich.markup import escape  # noqa: PLC0415 - 20 ms for who sees a bar

            note = escape(self._clean("  ".join(notes)))
            self._bar.update(self._task, completed=done, total=max(self._total, done), note=note)
        elif self._display == PLAIN and (time.monotonic() - self._last > EVERY_S or progress.draining):
            self._last = time.monotonic()
            self._say(
                f"{done:,} of at most {self._total:,} requests done" + (f"  ({', '.join(notes)})" if notes else "")
            )
