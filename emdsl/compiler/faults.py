"""The diagnostics of a program while it is compiled."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from emdsl.frame import EvalFault
from emdsl.source import Diagnostic, Label, Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.lang import ast


class Silent(Exception):
    """The value was lost to a fault that is already reported."""


class Faults:
    """Diagnostics of one program; one of a code and a place is kept once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, int, int], Diagnostic] = {}
        self.n_errors = 0
        self.n_calls = 0  # that were looked into: a bound for programs that would never end

    def add(self, diagnostic: Diagnostic) -> None:
        """Take in a diagnostic."""
        span = diagnostic.span
        place = (span.source.name, span.start, span.end) if span else ("", 0, 0)
        if self._found.setdefault((diagnostic.code, *place), diagnostic) is diagnostic:
            self.n_errors += diagnostic.severity is Severity.ERROR

    def error(
        self,
        code: str,
        message: str,
        span: Span | None,
        *,
        note: str = "",
        help: str = "",
        labels: tuple[Label, ...] = (),
    ) -> None:
        """Take in an error."""
        self.add(Diagnostic(code=code, message=message, span=span, note=note, help=help, labels=labels))

    def warning(
        self, code: str, message: str, span: Span, *, note: str = "", help: str = "", labels: tuple[Label, ...] = ()
    ) -> None:
        """Take in a warning."""
        self.add(
            Diagnostic(
                code=code, message=message, span=span, note=note, help=help, labels=labels, severity=Severity.WARNING
            )
        )

    def doubled(self, name: ast.Name, first: ast.Name) -> None:
        """Take in the error of a name that is defined twice."""
        self.error(
            "E203", f"`{name.text}` is defined twice", name.span,
            labels=(Label(span=first.span, text="first defined here"),),
            help="rename one of them: a name cannot be redefined",
        )  # fmt: skip

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take in the fault that ends this block, if one does."""
        try:
            yield
        except EvalFault as fault:
            self.add(fault.diagnostic)
        except Silent:
            pass

    def has(self, code: str, within: Span) -> bool:
        """Whether a stretch of text has a diagnostic of a code."""
        return any(
            d.code == code
            and d.span is not None
            and d.span.source is within.source
            and within.start <= d.span.start < within.end
            for d in self._found.values()
        )

    def first(self, code: str) -> Diagnostic | None:
        """Return the first diagnostic of a code, or None."""
        return next((d for d in self._found.values() if d.code == code), None)

    @property
    def errors(self) -> list[Diagnostic]:
        """Errors, without warnings."""
        return [d for d in self._found.values() if d.severity is Severity.ERROR]

    def sorted(self) -> tuple[Diagnostic, ...]:
        """All diagnostics by file and place, but for warnings that a comment allows."""
        return tuple(
            sorted(
                (d for d in self._found.values() if not _allowed(d)),
                key=lambda d: (d.span.source.name, d.span.start, d.code) if d.span else ("", 0, d.code),
            )
        )


_ALLOW = re.compile(r"#\s*allow\s+(?P<codes>W\d{3}(?:\s*,\s*W\d{3})*)")


def _allowed(diagnostic: Diagnostic) -> bool:
    """Whether a comment `# allow W402` stands on a warning's line, or on lines of its own right above it."""
    span = diagnostic.span
    if diagnostic.severity is not Severity.WARNING or span is None:
        return False
    source = span.source
    number = source.position(span.start)[0]
    lines = [source.line(number)]
    while number > 1 and source.line(number - 1).lstrip().startswith("#"):
        number -= 1
        lines.append(source.line(number))
    return any(diagnostic.code in match["codes"] for line in lines for match in _ALLOW.finditer(line))
