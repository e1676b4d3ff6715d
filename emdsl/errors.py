"""The exceptions of emdsl.

EmdslError
  SourceError        errors in a study; holds all diagnostics, not only the first
  UsageError         the call is wrong
    UnknownName      UnknownAxis, UnknownLevel, UnknownExperiment, UnknownStep, UnknownMeasure
    NoCell           no cell has the selected levels
    NotDrawable      a measure has no figure of this kind
    PlanOutdated     a written plan no longer matches
    OverBudget       the budget is smaller than the least cost
    FileMissing, FileExists
  SetupError         the environment lacks something: an API key, a URL
  HookError          a function of `python f(x) from "f.py"` cannot be run, or is not pure
  AnnotationError    a file of people's verdicts cannot be read
  StoreError         cache/ cannot be read or written
    StoreAway        the server of a team's store, or a remote, cannot be reached
  OutcomesError      outcomes.duckdb cannot be read or written; the answers are safe in the store
  ProviderError      a request without an answer
    Throttled        rate limit: retried after `wait_s`
    Unavailable      5xx, 408, 409, 425, broken connection, timeout, unreadable body: retried
      ServerLost     the server that the run had started has died: another one gets the request at once
    Rejected         any other 4xx: not retried in this run, never stored
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.source import Diagnostic, Span


MAX_SHOWN = 100  # diagnostics as text; `--json` has all


class EmdslError(Exception):
    """Base class of all errors that emdsl raises on purpose; `diagnostics` are those with a place in a study."""

    diagnostics: tuple[Diagnostic, ...] = ()

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows instead of a traceback: the message with its places, and the line that called."""
        from emdsl.calls import shown_lines  # noqa: PLC0415 - only IPython wants it

        return shown_lines(self, rendered=bool(self.diagnostics))


class SourceError(EmdslError):
    """Errors in a study; `diagnostics` holds all errors and warnings."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        from emdsl.source import together  # noqa: PLC0415 - an up-to-date run does without

        shown = "\n\n".join(d.render() for d in together(diagnostics[:MAX_SHOWN]))
        more = f"\n\nand {len(diagnostics) - MAX_SHOWN:,} more" if len(diagnostics) > MAX_SHOWN else ""
        super().__init__(shown + more)
        self.diagnostics = tuple(diagnostics)


class UsageError(EmdslError):
    """The call is wrong, not the study; `parameter` is the Python name of the wrong argument, if any."""

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.parameter = parameter

    def __str__(self) -> str:
        """Return the message as a Python user reads it; the command line names its option instead."""
        return self.message if self.parameter is None else f"`{self.parameter}`: {self.message}"


class UnknownName(UsageError):
    """A name that the study does not have; the subclass tells the kind."""


class UnknownAxis(UnknownName):
    """No experiment of the study has this axis."""


class UnknownLevel(UnknownName):
    """The axis has no such level."""


class UnknownExperiment(UnknownName):
    """The study has no such experiment."""


class UnknownStep(UnknownName):
    """The study has no such ask or judge."""


class UnknownMeasure(UnknownName):
    """The study has no such measure, or none of the kind that is needed."""


class NoCell(UsageError):
    """No cell has the selected levels."""


class NotDrawable(UsageError):
    """The measure has no figure, or not of this kind."""


class PlanOutdated(UsageError):
    """A written plan no longer matches its study or its store."""


class OverBudget(UsageError):
    """The pending requests cost more than the budget, at least."""


class FileMissing(UsageError):
    """There is no such file, or it cannot be read."""


class FileExists(UsageError):
    """A file or folder is in the way and is not overwritten."""


class SetupError(EmdslError):
    """A missing setting that a run needs; the message names it and where to set it."""


class HookError(EmdslError):
    """A hook that cannot be run as a pure function; `span` is its declaration, if known."""

    def __init__(self, message: str, span: Span | None = None) -> None:
        super().__init__(message)
        self.span = span


class AnnotationError(EmdslError):
    """A file of people's verdicts cannot be read; the message names the line, and what to do."""


class StoreError(EmdslError):
    """The store cannot be read or written."""


class StoreAway(StoreError):
    """The server of a store cannot be reached. Its answers are not lost."""


class OutcomesError(EmdslError):
    """The database of results cannot be read or written."""


class ProviderError(EmdslError):
    """A request without an answer; `status` is the HTTP status, or 0."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Throttled(ProviderError):
    """A rate limit; `wait_s` is the minimum wait in seconds, 0 if the server gave none."""

    def __init__(self, message: str, *, status: int = 429, wait_s: float = 0.0) -> None:
        super().__init__(message, status=status)
        self.wait_s = wait_s


class Unavailable(ProviderError):
    """A transient error; `wait_s` as in `Throttled`; `paid`: the request was sent and may be charged."""

    def __init__(self, message: str, *, status: int = 0, wait_s: float = 0.0, paid: bool = False) -> None:
        super().__init__(message, status=status)
        self.wait_s = wait_s
        self.paid = paid


class ServerLost(Unavailable):
    """A server of this run died; `paid`: under this request, else the request was not sent."""


class Rejected(ProviderError):
    """A permanent error of a request; `for_all`: of every request to its model."""

    def __init__(self, message: str, *, status: int = 0, for_all: bool = False) -> None:
        super().__init__(message, status=status)
        self.for_all = for_all
