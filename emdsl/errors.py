"""What can go wrong.

EmdslError
  SourceError        the text is wrong; holds every Diagnostic found, not the first
  UsageError         the call is wrong: an unknown axis in `--only`, a file that is not there
  SetupError         the environment lacks something: an API key, a URL
  HookError          a function of `python f(x) from "f.py"` cannot be run, or is not pure
  StoreError         cache/ cannot be read or written
  OutcomesError      outcomes.duckdb cannot be read or written; the answers are safe in the store
  ProviderError      holds the query's digest
    Throttled        told to wait, `wait_s`: asked again
    Unavailable      5xx, 408, 409, 425, broken connection, timeout, unreadable body: asked again
    Rejected         any other 4xx: not asked again in this run, never stored
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.source import Diagnostic, Span


MOST_SHOWN = 100  # diagnostics as text; `--json` has all


class EmdslError(Exception):
    """Everything that emdsl reports instead of a traceback."""


class SourceError(EmdslError):
    """The program is wrong; `diagnostics` holds every fault and warning found."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        shown = "\n\n".join(d.render() for d in diagnostics[:MOST_SHOWN])
        more = f"\n\nand {len(diagnostics) - MOST_SHOWN:,} more" if len(diagnostics) > MOST_SHOWN else ""
        super().__init__(shown + more)
        self.diagnostics = tuple(diagnostics)


class UsageError(EmdslError):
    """The call is wrong, not the program."""


class SetupError(EmdslError):
    """Something is not set that a run needs; the text says what, and where to set it."""


class HookError(EmdslError):
    """A hook file that cannot be run as a pure function; `span` is where it is declared, once that is known."""

    def __init__(self, message: str, span: Span | None = None) -> None:
        super().__init__(message)
        self.span = span


class StoreError(EmdslError):
    """The store cannot be read or written."""


class OutcomesError(EmdslError):
    """The database of outcomes cannot be read or written."""


class ProviderError(EmdslError):
    """A query that was not answered; `status` is the HTTP status, 0 where none came."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Throttled(ProviderError):
    """Told to slow down; `wait_s` is the least wait in seconds, 0 where none was given."""

    def __init__(self, message: str, *, status: int = 429, wait_s: float = 0.0) -> None:
        super().__init__(message, status=status)
        self.wait_s = wait_s


class Unavailable(ProviderError):
    """A fault that may pass; `wait_s` as in `Throttled`; `paid`: it was sent, and may be charged without an answer."""

    def __init__(self, message: str, *, status: int = 0, wait_s: float = 0.0, paid: bool = False) -> None:
        super().__init__(message, status=status)
        self.wait_s = wait_s
        self.paid = paid


class Rejected(ProviderError):
    """A request that will not be answered however often it is sent; `for_all`: nor will any other to its model."""

    def __init__(self, message: str, *, status: int = 0, for_all: bool = False) -> None:
        super().__init__(message, status=status)
        self.for_all = for_all
