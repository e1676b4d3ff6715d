"""Progress of a run below a notebook's cell: one output that is replaced a few times a second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Self

from emdsl.redact import mask
from emdsl.study.cost import usd
from emdsl.study.progress_view import NONE, ProgressView
from emdsl.study.screen import counted, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.run.progress import Progress
    from emdsl.study.foreground import Foreground
    from emdsl.study.frontend import Output

EVERY_S = 0.25  # between two states: notebooks keep up with it over a network
SETTLED_S = 2.0  # before that, a rate of answers tells nothing
SHORT_S, MINUTE_S, HOUR_S = 10.0, 60.0, 3600.0
MAX_NOTICES = 20  # lines below the bar
TRACK = "height:6px;border-radius:3px;margin:.35em 0;background:rgba(128,128,128,.25);overflow:hidden"
BAR = "height:6px;background:currentColor;opacity:.6"
TEXT = "font-variant-numeric:tabular-nums"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A run at one moment, as its output shows it; counts are distinct requests."""

    total: int  # at most
    seconds: float  # since the start
    ended: bool
    answered: int = 0
    failed: int = 0
    spent: str = ""  # US dollars as text; empty if nothing is
    eta_s: float | None = None  # seconds until the end; None if unknown
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """Requests that are answered or given up."""
        return self.answered + self.failed

    @property
    def text(self) -> str:
        """The state in a line."""
        parts = [f"{self.done:,} of at most {self.total:,} requests done"]
        if self.ended:
            parts = [f"{counted(self.done, 'request')} done in {_duration(self.seconds)}"]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{self.spent} spent"] if self.spent else []
        parts += [f"about {_duration(self.eta_s)} left"] if self.eta_s is not None else []
        return ", ".join([*parts, *self.notes])

    def html(self, notices: list[str]) -> str:
        """Return the state as HTML, with the notices so far."""
        share = 100 * self.done / self.total if self.total else 100
        bar = (
            f'<div role="progressbar" aria-label="requests" aria-valuemin="0" aria-valuemax="{self.total}" '
            f'aria-valuenow="{self.done}" style="{TRACK}"><div style="{BAR};width:{min(share, 100):.1f}%"></div></div>'
        )
        lines = "".join(f"<div>{escape(mask(n))}</div>" for n in notices[-MAX_NOTICES:])
        shown = f'<div style="{TEXT};white-space:pre-wrap">{escape(mask(self.text))}</div>'
        return f'<div style="color:inherit;max-width:40em">{"" if self.ended else bar}{shown}{lines}</div>'


class NotebookView(ProgressView):
    """Shows progress in a notebook's output, from the thread that called the run."""

    def __init__(self, total: int, output: Output, foreground: Foreground) -> None:
        super().__init__(NONE, total, lambda _: None)
        self._output, self._foreground = output, foreground
        self._n_planned = total
        self._notices: list[str] = []
        self._progress: Progress | None = None
        self._start_s = self._shown_s = time.monotonic()

    @property
    def total(self) -> int:
        """See ProgressView."""
        return self._n_planned + (self._progress.again if self._progress is not None else 0)

    def __enter__(self) -> Self:
        self._start_s = time.monotonic()
        self._show(ended=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._show(ended=True)

    def notice(self, text: str) -> None:
        """See ProgressView."""
        self._notices.append(text)
        self._show(ended=False)

    def update(self, progress: Progress) -> None:
        """See ProgressView."""
        self._progress = progress
        if time.monotonic() - self._shown_s > EVERY_S:
            self._show(ended=False)

    def _show(self, *, ended: bool) -> None:
        self._shown_s = time.monotonic()
        state, notices = self._state(ended=ended), [*self._notices]
        self._foreground.post(lambda: self._output.replace(state.html(notices), state.text))

    def _state(self, *, ended: bool) -> State:
        seconds = time.monotonic() - self._start_s
        return state_of(self._progress, self.total, seconds, ended=ended)


def state_of(progress: Progress | None, total: int, seconds: float, *, ended: bool) -> State:
    """Return the state of a run: the only reader of its counts here. None: nothing has been sent yet."""
    if progress is None:
        return State(total=total, seconds=seconds, ended=ended)
    done = progress.answered + progress.failed
    eta_s = (total - done) * seconds / done if done and seconds > SETTLED_S else None
    spent = progress.budgets.spent_usd if progress.budgets is not None else None
    notes = () if ended else tuple(_notes(progress))
    return State(
        answered=progress.answered, failed=progress.failed, total=total, seconds=seconds, ended=ended,
        spent=usd(spent) if spent else "", eta_s=None if ended else eta_s, notes=notes,
    )  # fmt: skip


def _notes(progress: Progress) -> Iterator[str]:
    """Yield why requests wait."""
    if progress.batches:
        yield progress.batches
    if progress.waiting or progress.paused_s >= 1:
        until = f", next in {progress.paused_s:,.0f} s" if progress.paused_s >= 1 else ""
        yield f"{progress.waiting:,} waiting{until} ({short(progress.last_error)})"
    if progress.draining:
        yield "finishing the requests in flight; a second interrupt stops at once"


def _duration(seconds: float) -> str:
    """Return a duration as people read it: `40 s`, `3 min`, `2.5 h`."""
    if seconds < MINUTE_S:
        return f"{seconds:.1f} s" if seconds < SHORT_S else f"{seconds:.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < HOUR_S else f"{seconds / HOUR_S:.1f} h"
