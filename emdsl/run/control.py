"""The state that all parts of an executor share: progress, draining, and the error that ends the run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from emdsl.redact import mask
from emdsl.run.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable


class Drains(Protocol):
    """A part of a run that can be interrupted."""

    @property
    def progress(self) -> Progress:
        """Counts of the run; `stopping` is the cause once it drains."""

    def drain(self, cause: str) -> None:
        """Start nothing more, for this cause: people read it."""

    def stop(self, cause: str) -> None:
        """Stop at once, for this cause unless there is one already."""


class RunControl:
    """Progress, draining and fatal errors of one run."""

    def __init__(
        self, drain: Callable[[str], None], on_progress: Callable[[Progress], None], on_notice: Callable[[str], None],
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.progress = progress or Progress()
        self.draining = asyncio.Event()
        self.error: BaseException | None = None  # that the run raises in the end
        self.guarded = _Guard(self)
        self._drain = drain
        self._on_progress, self._on_notice = on_progress, on_notice

    def show(self) -> None:
        """Report the progress. An output that fails aborts the run."""
        with self.guarded:
            self._on_progress(self.progress)

    def notice(self, text: str) -> None:
        """Tell the user something. An output that fails aborts the run."""
        with self.guarded:
            self._on_notice(text)

    def abort(self, error: BaseException) -> None:
        """Drain, and let the run raise the first error once all answers in flight are stored."""
        if self.error is None:  # draining shows the progress, which may be what has failed
            self.error = error
            self._drain(cause_of(error))


def cause_of(error: BaseException) -> str:
    """Return the first line of an error, as the cause of a stop."""
    return mask(str(error)).partition("\n")[0] or type(error).__name__


class _Guard:
    """Aborts the run on an error: no task or timer may end unseen and leave others waiting. Used as a context."""

    __slots__ = ("_control",)

    def __init__(self, control: RunControl) -> None:
        self._control = control

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._control.abort(error)
        return True
