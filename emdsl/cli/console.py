"""The one place that prints. What it prints has passed the mask of API keys."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import sys
import textwrap
import time
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import click

from emdsl.errors import EmdslError, SourceError
from emdsl.providers.secret import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.progress import Progress as RichProgress

    from emdsl.run.executor import Progress

_NUMERIC = re.compile(r"[\d.,%$<>=~e+\-\s/?*]*|(?:from|up to) [\d.,+\-]+|true|false|nan")
RICH, PLAIN, NONE = "rich", "plain", "none"
MIN_MASKED = 12  # characters: API keys are longer; a shorter value may be a word of someone's data
_HALVES = re.compile("[\ud800-\udfff]")
_STEERS = re.compile(  # C0 but line ends and tabs, C1, and what turns the direction of writing
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
EVERY_S = 5.0  # between two plain lines of progress
_SECRET_NAME = re.compile(r"(?:API_KEY(?:_\d+)?|_TOKEN|_SECRET|_PASSWORD)$")

_secrets: set[str] = set()
_as_json = False
_recorded: list[tuple[str, bool]] | None = None  # what is printed, and whether to standard error
_silent = False


def keep_secret(environment: Mapping[str, str]) -> None:
    """Never print the values of variables that hold API keys."""
    for name, value in environment.items():
        secret = value.strip()
        if _SECRET_NAME.search(name.upper()) and len(secret) >= MIN_MASKED and not secret.isdigit():
            _secrets.update((secret, json.dumps(secret)[1:-1]))


def expect_json(*, wanted: bool) -> None:
    """Say whether errors are printed as JSON too."""
    global _as_json  # noqa: PLW0603 - the one switch of the one place that prints
    _as_json = wanted


def mask(text: str) -> str:
    """Return a text without any API key that is known."""
    for secret in _secrets:
        text = text.replace(secret, MASK)
    return text


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a line, or a text without a line end."""
    _print(mask(text) + ("\n" if nl else ""), err=err)


def _print(text: str, *, err: bool = False) -> None:
    if _recorded is not None:
        _recorded.append((text, err))
    if not _silent:
        shown = printable(text, terminal=(sys.stderr if err else sys.stdout).isatty())
        click.echo(shown, err=err, nl=False, color=True)  # else click takes sequences out of what a pipe gets


def printable(text: str, *, terminal: bool) -> str:
    """Return a text as it may be printed: half characters as escapes, on a terminal what steers it too.

    An answer, a model's name or a file's can hold sequences that change a terminal, or the order in which it is read.
    On a pipe and in a file the characters stay as they are.
    """
    pattern = _STEERS if terminal else _HALVES
    return pattern.sub(lambda found: ascii(found[0])[1:-1], text) if pattern.search(text) else text


def show_usage_error(error: click.ClickException) -> None:
    """Print what is wrong with a call, as click words it; with `--json` as one object."""
    if "--json" in sys.argv:
        show_json({"error": [{"code": "UsageError", "severity": "error", "message": error.format_message()}]})
        return
    held = io.StringIO()
    error.show(held)
    say(held.getvalue(), err=True, nl=False)


@contextmanager
def recorded(*, silent: bool = False) -> Iterator[list[tuple[str, bool]]]:
    """Record what is printed inside, and whether to standard error; `silent` prints nothing."""
    global _recorded, _silent
    before = _recorded, _silent
    found: list[tuple[str, bool]] = []
    _recorded, _silent = found, silent
    try:
        yield found
    finally:
        _recorded, _silent = before


def show_json(value: Any) -> None:
    """Print one JSON object."""
    _print(json.dumps(plain_json(value), ensure_ascii=False, indent=2) + "\n")


def plain_json(value: Any) -> Any:
    """Return a value as JSON can hold it: keys are texts, no NaN, and no API key in any text."""
    match value:
        case None | bool() | int():
            return value
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case dict():
            return {str(k): plain_json(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain_json(v) for v in value]
        case _:
            return mask(str(value)).encode("utf-8", "replace").decode()


def show_error(error: EmdslError | OSError | RecursionError) -> None:
    """Print what went wrong: as text, and with `--json` as one object on standard output."""
    if _as_json:
        if isinstance(error, SourceError):
            found = [d.as_json() for d in error.diagnostics]
        else:
            found = [{"code": type(error).__name__, "severity": "error", "message": _said(error)}]
        show_json({"error": found})
        return
    if isinstance(error, SourceError):
        n = sum(d.severity == "error" for d in error.diagnostics)
        say(str(error), err=True)
        say(f"\n{n} error{'' if n == 1 else 's'}", err=True)
    else:
        say(f"error: {_said(error)}", err=True)


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, RecursionError):
        return "this program is nested too deeply: give parts of it shorter ways, with fewer names on the way"
    return str(error)


def choose_display(wanted: str | None) -> str:
    """Return how progress is shown: `rich` on a terminal, `plain` elsewhere, unless told."""
    if wanted is not None:
        return wanted
    return RICH if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else PLAIN


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numeric: Iterable[str] = (), hides: bool = False
) -> None:
    """Print a table: fitted to a terminal, whole elsewhere. `hides` leaves out what does not fit, and says so."""
    right = set(numeric)
    terminal = sys.stdout.isatty()
    cells = [[printable(_cell(v), terminal=terminal) for v in row] for row in rows]
    if not terminal:
        _show_plain(columns, cells, right)
        return
    from emdsl.cli.layout import cut, layout, records  # noqa: PLC0415 - rich's cells: 20 ms for who has a terminal

    width = shutil.get_terminal_size((80, 24)).columns
    whole = frozenset(c for i, c in enumerate(columns) if c in right or _numbers(cells, i))
    found = layout(columns, cells, whole, width, hides=hides)
    shown = [columns[i] for i in found.columns]
    kept = [[row[i] for i in found.columns] for row in cells]
    if found.records:
        say("\n".join(records(shown, kept, width)))
        return
    lines = [[cut(v, w) for v, w in zip(row, found.widths, strict=True)] for row in ([*shown], *kept)]
    ruled = [*lines[:1], ["-" * w for w in found.widths], *lines[1:]]
    say("\n".join(_line(row, found.widths, [c in right for c in shown]) for row in ruled))
    hidden = [c for i, c in enumerate(columns) if i not in found.columns and c.strip()]
    if hidden:
        told = f"({len(hidden)} more columns: {', '.join(hidden)}; name those you want, or write --format csv)"
        say("\n".join(textwrap.wrap(told, width, break_on_hyphens=False)))


def _show_plain(columns: Sequence[str], cells: list[list[str]], right: set[str]) -> None:
    """Print a table whole, a row a line, for files and pipes."""
    from rich.cells import cell_len  # noqa: PLC0415 - 20 ms that a verb without a table should not cost

    lines = [list(columns), *cells]
    widths = [max(cell_len(line.replace("\n", " ")) for line in column) for column in zip(*lines, strict=True)]
    say(
        "\n".join(_line([" ".join(v.split("\n")) for v in row], widths, [c in right for c in columns]) for row in lines)
    )


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    from rich.cells import cell_len  # noqa: PLC0415 - as above

    padded = (
        " " * (w - cell_len(v)) + v if r else v + " " * (w - cell_len(v))
        for v, w, r in zip(row, widths, right, strict=True)
    )
    return "  ".join(padded).rstrip()


def _numbers(cells: list[list[str]], column: int) -> bool:
    """Whether a column holds numbers, intervals of them, or nothing: what must not be cut."""
    return all(_NUMERIC.fullmatch(row[column]) for row in cells)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if value == value else "nan"  # noqa: PLR0124 - NaN alone differs from itself
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class ProgressView:
    """Shows a run under way on standard error; use it as a context."""

    def __init__(self, display: str, total: int) -> None:
        self._display = display
        self._planned = self._total = total
        self._last = time.monotonic()
        self._bar: RichProgress | None = None
        self._task: Any = None
        self._done = 0

    def __enter__(self) -> Self:
        if self._display == RICH:
            from rich.console import Console as RichConsole  # noqa: PLC0415 - as for tables
            from rich.progress import (  # noqa: PLC0415 - as above
                BarColumn,
                MofNCompleteColumn,
                SpinnerColumn,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as RichProgress  # noqa: PLC0415 - as above

            self._bar = RichProgress(
                SpinnerColumn(),
                TextColumn("asking"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=RichConsole(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("asking", total=self._total, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._display == PLAIN and self._done:
            say(f"{self._done:,} of at most {self._total:,} done", err=True)

    @staticmethod
    def _note(notes: list[str]) -> str:
        from rich.markup import escape  # noqa: PLC0415 - as for tables

        return escape(printable(mask("  ".join(notes)), terminal=True))

    def notice(self, text: str) -> None:
        """Print a line beside the progress: what a person should know at once."""
        if self._bar is not None:
            self._bar.console.print(printable(mask(text), terminal=True), markup=False, highlight=False, soft_wrap=True)
        elif self._display != NONE:
            say(text, err=True)

    def update(self, progress: Progress) -> None:
        """Show the newest counts; on plain displays a line every few seconds."""
        done = self._done = progress.answered + progress.failed
        self._total = self._planned + progress.again
        notes = [f"{progress.failed} failed"] if progress.failed else []
        if progress.waiting or progress.paused_s >= 1:
            until = f", next in {progress.paused_s:,.0f} s" if progress.paused_s >= 1 else ""
            notes.append(f"{progress.waiting} waiting{until} ({progress.last_error[:80]})")
        if progress.draining:
            notes.append("finishing what is in flight; Ctrl-C again stops at once")
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=max(self._total, done), note=self._note(notes))
        elif self._display == PLAIN and (time.monotonic() - self._last > EVERY_S or progress.draining):
            self._last = time.monotonic()
            say(
                f"{done:,} of at most {self._total:,} done" + (f"  ({', '.join(notes)})" if notes else ""),
                err=True,
            )
