"""Progress of a run under way, on standard error: bars on a terminal or in a notebook, lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from emdsl.errors import UsageError
from emdsl.redact import mask
from emdsl.run.eta import Forecast, TimeLeft
from emdsl.source import one_of
from emdsl.study import progress_lines as lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from emdsl.run.progress import Progress

RICH, PLAIN, NONE = "rich", "plain", "none"
DISPLAYS = (RICH, PLAIN, NONE)
EVERY_S = 5.0  # between two plain lines
FRAMES = 4  # a second
MIN_BAR, MAX_BAR = 8, 40  # cells
MIN_NAME = 3  # cells of the name of an experiment
UNKNOWN = TimeLeft(None, "it has just begun")


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
        self._planned = total
        self._last = time.monotonic()
        self._draining = False
        self._live: Live | None = None
        self._progress: Progress | None = None
        self._forecast: Forecast | None = None

    def __enter__(self) -> Self:
        if self._display == RICH:
            self._live = _live(self._frame)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._display == PLAIN and self._progress is not None and self._done:
            self._say(f"{self._done:,} of at most {self.total:,} requests done")

    def watch(self, progress: Progress) -> None:
        """Show these counts, of a run that begins."""
        self._progress, self._forecast = progress, Forecast(progress)

    @property
    def total(self) -> int:
        """Number of requests, at most."""
        progress = self._progress
        return self._planned + (progress.again - progress.found if progress is not None else 0)

    @property
    def _done(self) -> int:
        return self._progress.answered + self._progress.failed if self._progress is not None else 0

    def time_left(self) -> TimeLeft:
        """Return the time left, as it is shown."""
        return self._forecast.time_left() if self._forecast is not None else UNKNOWN

    def notice(self, text: str) -> None:
        """Show a line beside the progress: what a person should know at once."""
        if self._live is not None:
            self._live.console.print(self._clean(text), markup=False, highlight=False, soft_wrap=True)
        elif self._display != NONE:
            self._say(text)

    def update(self, progress: Progress) -> None:
        """Show the newest counts; a plain display gets a line every few seconds. It is called for each answer."""
        if self._progress is not progress:
            self.watch(progress)
        if self._display != PLAIN:
            return  # drawn a few times a second, by a thread
        now = time.monotonic()
        if now - self._last > EVERY_S or progress.draining is not self._draining:
            self._last, self._draining = now, progress.draining
            self._say(lines.plain_line(progress, self.total, self.time_left()))

    @contextmanager
    def loading(self, total: int) -> Iterator[Callable[[int], None]]:
        """Show how many of so many rows are loaded: yield the function that is told how many more are."""
        loaded, last = [0], [time.monotonic()]

        def text() -> str:
            if loaded[0] >= total:
                return f"loading the results: {total:,} rows read, computing the measures"
            return f"loading the results: {loaded[0]:,} of {total:,} rows"

        def add(n: int) -> None:
            loaded[0] += n
            now = time.monotonic()
            if self._display == PLAIN and now - last[0] > EVERY_S:
                last[0] = now
                self._say(text())

        if self._display != RICH:
            yield add
            return
        with _live(lambda console: _with_bar(text(), loaded[0], total, console)):
            yield add

    def _frame(self, console: Console) -> Text:
        """Return what stands on the terminal now: no line is wider than it."""
        progress = self._progress
        if progress is None:
            return _fitted([f"0/{self._planned:,} requests"], console)
        left = TimeLeft(None) if progress.draining else self.time_left()
        steps, more = lines.step_lines(progress.meter.steps)
        total = max(self.total, self._done)
        whole = [f"{self._done:,} of at most {total:,} requests", lines.spent(progress), lines.time_left(left)]
        notes = [] if progress.draining else [lines.unknown_time(left)]
        below = [more, "   ".join(filter(None, whole)), *notes, *lines.waiting(progress)]
        text = _step_text(steps, console)
        text.append_text(_fitted([self._clean(line) for line in below if line], console))
        return text


def _live(frame: Callable[[Console], Text]) -> Live:
    """Return a part of the terminal that is drawn again and again, and is gone in the end."""
    from rich.console import Console  # noqa: PLC0415 - 20 ms for who sees a bar
    from rich.live import Live  # noqa: PLC0415 - another 10 ms of them

    console = Console(stderr=True)
    return Live(get_renderable=lambda: frame(console), console=console, refresh_per_second=FRAMES, transient=True)


def _fitted(texts: list[str], console: Console) -> Text:
    """Return lines, each cut at the width of the terminal."""
    from rich.text import Text  # noqa: PLC0415 - only a terminal cuts lines

    whole = Text(no_wrap=True)
    for line in texts:
        part = Text("  " + line, no_wrap=True)
        part.truncate(console.width - 1, overflow="ellipsis")
        whole.append_text(part).append("\n")
    whole.rstrip()
    return whole


def _step_text(steps: list[lines.StepLine], console: Console) -> Text:
    """Return a line for each step: its name, a bar if there is room for it, its counts and notes."""
    from rich.cells import cell_len  # noqa: PLC0415 - loaded with the drawing of bars
    from rich.text import Text  # noqa: PLC0415 - only a terminal has lines of steps

    width = console.width - 1
    name_width = min(max([cell_len(s.name) for s in steps], default=0), width // 3)
    count_width = max([len(s.count) for s in steps], default=0)
    note_width = max([len(s.note) for s in steps], default=0)
    room = width - 2 - name_width - 2 - count_width - 2 - note_width - 2
    whole = Text(no_wrap=True)
    for step in steps:
        line = Text("  " + _fitted_name(step.name, name_width) + "  ", no_wrap=True)
        if room >= MIN_BAR:
            line.append_text(_bar(step.done, step.total, min(room, MAX_BAR), console)).append("  ")
        line.append(step.count.rjust(count_width)).append("  " + step.note if step.note else "", style="yellow")
        line.truncate(width, overflow="ellipsis")
        whole.append_text(line).append("\n")
    return whole


def _fitted_name(name: str, width: int) -> str:
    """Return the name of a step in this many cells; of a long one its experiment is cut."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 - names are drawn beside bars alone

    experiment, dot, step = name.rpartition(".")
    room = width - cell_len(f"….{step}")
    if cell_len(name) <= width:
        return set_cell_size(name, width)
    if dot and room >= MIN_NAME:
        return f"{set_cell_size(experiment, room)}….{step}"
    return (
        step if cell_len(step) == width else set_cell_size(step, width - 1) + ("…" if cell_len(step) > width else " ")
    )


def _with_bar(text: str, done: int, total: int, console: Console) -> Text:
    """Return a line of text with a bar behind it, if there is room for one."""
    line = _fitted([text], console)
    room = console.width - 1 - line.cell_len - 2
    if room >= MIN_BAR:
        line.append("  ").append_text(_bar(done, total, min(room, MAX_BAR), console))
    return line


def _bar(done: int, total: int, width: int, console: Console) -> Text:
    from rich.text import Text  # noqa: PLC0415 - a bar is a text of two colors

    filled = width if done >= total else width * done // max(total, 1)
    full, empty = ("#", "-") if console.options.ascii_only else ("━", "─")
    return Text.assemble((full * filled, "green"), (empty * (width - filled), "dim"))
