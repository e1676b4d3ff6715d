"""Errors as they are printed: what is wrong, where, and what to do."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from emdsl.cli.console import say, settings, show_json
from emdsl.errors import MAX_SHOWN, SourceError, UsageError
from emdsl.source import together

if TYPE_CHECKING:
    import click

    from emdsl.errors import EmdslError


def show_usage_error(error: click.ClickException) -> None:
    """Print an error in a call, as click words it; with `--json` as one object."""
    if "--json" in sys.argv:
        show_json({"error": [{"code": "UsageError", "severity": "error", "message": error.format_message()}]})
        return
    held = io.StringIO()
    error.show(held)
    say(held.getvalue(), err=True, nl=False)


def show_error(error: EmdslError | OSError | RecursionError) -> None:
    """Print an error: as text, and with `--json` as one object on standard output."""
    if settings.as_json:
        if isinstance(error, SourceError):
            entries = [d.as_json() for d in error.diagnostics]
        else:
            entries = [{"code": type(error).__name__, "severity": "error", "message": _message(error)}]
        show_json({"error": entries})
    elif isinstance(error, SourceError):
        n = sum(d.severity == "error" for d in error.diagnostics)
        shown = error.diagnostics if settings.verbose else error.diagnostics[:MAX_SHOWN]
        say("\n\n".join(d.render() for d in together(shown)), err=True)
        if len(shown) < len(error.diagnostics):
            say(f"\nand {len(error.diagnostics) - len(shown):,} more (-v shows all)", err=True)
        say(f"\n{n:,} error{'' if n == 1 else 's'}", err=True)
    else:
        say(f"error: {_message(error)}", err=True)


def _message(error: Exception) -> str:
    match error:
        case UsageError(parameter=str(parameter), message=message) if parameter != "file":
            return f"--{parameter.replace('_', '-')}: {message}"
        case UsageError(message=message):
            return message
        case OSError(filename=str(name), strerror=str(reason)):
            return f"{name}: {reason}"
        case RecursionError():
            return "the study is nested too deeply: split long chains of names and expressions"
        case _:
            return str(error)
