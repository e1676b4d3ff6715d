"""Progress of a run below a notebook's cell: one output that is replaced a few times a second."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Self

from emdsl.redact import mask
from emdsl.run.eta import TimeLeft
from emdsl.study import progress_lines as lines
from emdsl.study.progress_view import NONE, ProgressView
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emdsl.run.progress import Progress
    from emdsl.study.foreground import Foreground
    from emdsl.study.frontend import Output

EVERY_S = 0.25  # between two states: notebooks keep up with it over a network
SHORT_S = 10.0  # a shorter run has its time with a decimal
MAX_NOTICES = 20  # lines below the bars
STOPS = "an interrupt", "a second interrupt"  # of a cell
TRACK = "height:6px;border-radius:3px;background:rgba(128,128,128,.25);overflow:hidden"
BAR = "height:6px;background:currentColor;opacity:.6"
TABLE = "display:block;overflow-x:auto;border-collapse:collapse;border:0;margin:0;color:inherit;font-size:inherit"
CELL = "padding:.1em .8em .1em 0;text-align:left;white-space:nowrap"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A run at one moment, as its output shows it."""

    text: str  # in a line
    done: int  # distinct requests that are answered or failed
    total: int  # distinct requests, at most
    ended: bool
    steps: tuple[lines.StepLine, ...] = ()
    notes: tuple[str, ...] = ()

    def html(self, notices: list[str]) -> str:
        """Return the state as HTML, with the notices so far."""
        rows = "".join(map(_step, self.steps if len(self.steps) > 1 else ()))
        steps = f'<table style="{TABLE}">{rows}</table>' if rows else ""
        bar = f'<div style="margin:.35em 0">{_bar("requests", self.done, self.total)}</div>'
        below = "".join(f"<div>{_escaped(text)}</div>" for text in (self.text, *self.notes, *notices[-MAX_NOTICES:]))
        content = below if self.ended else bar + steps + below
        return f'<div style="color:inherit;max-width:40em;font-variant-numeric:tabular-nums">{content}</div>'


class NotebookView(ProgressView):
    """Shows progress in a notebook's output, from the thread that called the run."""

    def __init__(self, total: int, output: Output, foreground: Foreground) -> None:
        super().__init__(NONE, total, lambda _: None)
        self._output, self._foreground = output, foreground
        self._notices: list[str] = []
        self._start_s = self._shown_s = time.monotonic()

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
        super().update(progress)
        if time.monotonic() - self._shown_s > EVERY_S:
            self._show(ended=False)

    @contextmanager
    def loading(self, total: int) -> Iterator[Callable[[int], None]]:
        """See ProgressView."""
        sent, loaded = self._state(ended=True), 0

        def add(n: int) -> None:
            nonlocal loaded
            loaded += n
            if time.monotonic() - self._shown_s > EVERY_S:
                note = f"loading the results: {min(loaded, total):,} of {total:,} rows"
                self._replace(State(text=f"{sent.text}. {note}", done=loaded, total=total, ended=False))

        yield add
        self._replace(sent)

    def _show(self, *, ended: bool) -> None:
        self._replace(self._state(ended=ended))

    def _replace(self, state: State) -> None:
        self._shown_s = time.monotonic()
        notices = [*self._notices]
        self._foreground.post(lambda: self._output.replace(state.html(notices), state.text))

    def _state(self, *, ended: bool) -> State:
        seconds = time.monotonic() - self._start_s
        stopping = ended or self._progress is None or self._progress.draining
        left = TimeLeft(None) if stopping else self.time_left()
        return state_of(self._progress, self.total, seconds, left, ended=ended)


def state_of(progress: Progress | None, total: int, seconds: float, left: TimeLeft, *, ended: bool) -> State:
    """Return the state of a run: the only reader of its counts here.

    Args:
        progress: Its counts; None if nothing has been sent.
        total: Distinct requests, at most.
        seconds: Since its start.
        left: Until its end.
        ended: Whether it has ended.
    """
    done = progress.answered + progress.failed if progress is not None else 0
    parts = [f"{done:,} of at most {total:,} requests done"]
    if ended:
        took = f"{seconds:.1f} s" if seconds < SHORT_S else lines.duration(seconds)
        parts = [f"{counted(done, 'request')} done in {took}"]
    if progress is None:
        return State(text=parts[0], done=done, total=total, ended=ended)
    parts += [f"{progress.failed:,} failed"] if progress.failed else []
    parts += [f"{progress.retried:,} retried"] if progress.retried else []
    parts += filter(None, (lines.spent(progress), "" if ended else lines.time_left(left)))
    steps, more = lines.step_lines(progress.meter.steps)
    notes = [more, lines.unknown_time(left) if left.why else "", *lines.waiting(progress, *STOPS)]
    return State(
        text=", ".join(parts), done=done, total=total, ended=ended, steps=tuple(steps),
        notes=() if ended else tuple(filter(None, notes)),
    )  # fmt: skip


def _step(step: lines.StepLine) -> str:
    bar = f'<div style="width:12em;max-width:25vw">{_bar(step.name, step.done, step.total)}</div>'
    texts = (_escaped(step.name), bar, _escaped(step.count), _escaped(step.note))
    cells = "".join(f'<td style="{CELL}">{text}</td>' for text in texts)
    return f'<tr style="background:none">{cells}</tr>'


def _bar(name: str, done: int, total: int) -> str:
    share = min(100 * done / total, 100) if total else 100
    return (
        f'<div role="progressbar" aria-label="{_escaped(name)}" aria-valuemin="0" aria-valuemax="{total}" '
        f'aria-valuenow="{done}" style="{TRACK}"><div style="{BAR};width:{share:.1f}%"></div></div>'
    )


def _escaped(text: str) -> str:
    return escape(mask(text))
