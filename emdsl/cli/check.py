"""`emdsl check`: what is wrong with a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, session
from emdsl.cli.main import EXIT_ERROR
from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError
from emdsl.source import Severity

if TYPE_CHECKING:
    from emdsl.source import Diagnostic


@click.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@session.with_options(session.ENV_FILE, session.AS_JSON)
def command(files: tuple[Path, ...], env_file: Path | None, as_json: bool) -> int:
    """Find every fault of FILES; asks nothing, and needs no API key.

    Exits 1 where there is an error; warnings alone exit 0.
    """
    console.expect_json(wanted=as_json)
    found: list[Diagnostic] = []
    for file in files:
        here = session.open_session(file, None, env_file)
        try:
            found += compile_file(file, here.environment, library=True).warnings
        except SourceError as error:
            found += error.diagnostics
    n_errors = sum(d.severity is Severity.ERROR for d in found)
    if as_json:
        console.show_json({"diagnostics": [d.as_json() for d in found]})
    else:
        for diagnostic in found:
            console.say(diagnostic.render() + "\n")
        console.say(_summary(n_errors, len(found) - n_errors, len(files)))
    return EXIT_ERROR if n_errors else 0


def _summary(n_errors: int, n_warnings: int, n_files: int) -> str:
    parts = [_count(n_errors, "error"), _count(n_warnings, "warning")]
    return f"{_count(n_files, 'file')}: {', '.join(parts)}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
