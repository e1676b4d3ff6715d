"""The one place that prints. API keys are redacted in everything that it prints."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from emdsl.redact import mask
from emdsl.study.screen import Aside, Table, aligned, counted, plain_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.study.screen import Part

_NUMERIC = re.compile(r"[\d.,%$<>=~e+\-\s/?*]*|(?:from|up to) [\d.,+\-]+|true|false|nan")
_HALVES = re.compile("[\ud800-\udfff]")
_STEERS = re.compile(  # C0 but line ends and tabs, C1, and what turns the direction of writing
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@dataclass(slots=True)
class Settings:
    """How one call prints: set by options."""

    as_json: bool = False  # errors are printed as JSON too
    quiet: bool = False
    verbose: bool = False
    display: str | None = None


settings = Settings()


def expect_json(*, wanted: bool) -> None:
    """Set whether errors are printed as JSON too."""
    settings.as_json = wanted


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a line, or a text without a line end."""
    shown = printable(mask(text) + ("\n" if nl else ""), terminal=(sys.stderr if err else sys.stdout).isatty())
    click.echo(shown, err=err, nl=False, color=True)  # else click takes sequences out of what a pipe gets


def note(text: str) -> None:
    """Print a note on standard error, unless quiet."""
    if not settings.quiet:
        say(f"note: {text}", err=True)


def show(parts: Iterable[Part]) -> None:
    """Print the parts of a screen as they come; asides go to standard error."""
    for part in parts:
        for text, err in rendered([part]):
            say(text, err=err, nl=False)


def rendered(parts: Iterable[Part]) -> Iterator[tuple[str, bool]]:
    """Yield parts as texts for this terminal, and whether each goes to standard error."""
    for part in parts:
        match part:
            case Aside(text=text, important=important):
                if important or not settings.quiet:
                    yield mask(text) + "\n", True
            case Table():
                yield mask(_table(part)) + "\n", False
            case _:
                yield mask(part) + "\n", False


def say_screen(screen: Iterable[tuple[str, bool]]) -> None:
    """Print texts as `rendered` yields them."""
    for text, err in screen:
        say(text, err=err, nl=False)


def layout_marks() -> tuple[object, ...]:
    """Return everything about the terminal and the options that a printed screen depends on."""
    width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None
    return width, os.environ.get("NO_COLOR"), os.environ.get("TERM"), settings.quiet, settings.verbose


def printable(text: str, *, terminal: bool) -> str:
    """Return a text as it may be printed: half characters as escapes, and control characters on a terminal.

    An answer, a model's name or a file's can hold sequences that change a terminal, or the order in which it is read.
    On a pipe and in a file the characters stay as they are.
    """
    pattern = _STEERS if terminal else _HALVES
    return pattern.sub(lambda match: ascii(match[0])[1:-1], text) if pattern.search(text) else text


def show_json(value: Any) -> None:
    """Print one JSON object."""
    say(json_text(value), nl=False)


def json_text(value: Any) -> str:
    """Return one JSON object as text."""
    return json.dumps(plain_json(value), ensure_ascii=False, indent=2) + "\n"


def _table(table: Table) -> str:
    """Return a table, fitted to a terminal; whole elsewhere."""
    if not sys.stdout.isatty():
        return str(table)
    import shutil  # noqa: PLC0415 - a file has no width
    import textwrap  # noqa: PLC0415 - only cells that are too wide are wrapped

    from emdsl.cli.layout import cut, headings, layout, records  # noqa: PLC0415 - rich's cells: 20 ms for who has a terminal

    columns, right = table.columns, set(table.numeric)
    cells = [[printable(v, terminal=True) for v in row] for row in table.cells]
    width = shutil.get_terminal_size((80, 24)).columns
    whole = frozenset(c for i, c in enumerate(columns) if c in right or _numbers(cells, i))
    fitted = layout(columns, cells, whole, width, hides=bool(table.hides), optional=table.optional)
    shown = [columns[i] for i in fitted.columns]
    kept = [[row[i] for i in fitted.columns] for row in cells]
    if fitted.records:
        return "\n".join(records(shown, kept, width))
    lines = [[cut(v, w) for v, w in zip(row, fitted.widths, strict=True)] for row in kept]
    ruled = [*headings(shown, fitted.widths), ["-" * w for w in fitted.widths], *lines]
    text = "\n".join(aligned(row, fitted.widths, [c in right for c in shown]) for row in ruled)
    hidden = [c for i, c in enumerate(columns) if i not in fitted.columns and c.strip()]
    if hidden:
        how = table.hides or "use a wider terminal, or --json"
        hint = f"({counted(len(hidden), 'more column')}: {', '.join(hidden)}; {how})"
        text += "\n" + "\n".join(textwrap.wrap(hint, width, break_on_hyphens=False))
    return text


def _numbers(cells: list[list[str]], column: int) -> bool:
    """Whether a column holds only numbers, intervals of them, or nothing: it must not be cut."""
    return all(_NUMERIC.fullmatch(row[column]) for row in cells)
