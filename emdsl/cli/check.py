"""`emdsl check`: what is wrong with a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, session
from emdsl.cli.fix import faults_of, fix_file
from emdsl.cli.main import EXIT_ERROR
from emdsl.errors import MOST_SHOWN
from emdsl.source import Severity

if TYPE_CHECKING:
    from emdsl.source import Diagnostic


@click.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@session.with_options(session.ENV_FILE, session.AS_JSON)
@session.option("--fix", is_flag=True, envvar=None, help="Put right what is certain, then show what is left.")
def command(files: tuple[Path, ...], env_file: Path | None, as_json: bool, fix: bool) -> int:
    """Find every fault of FILES; asks nothing, and needs no API key.

    Exits 1 where there is an error; warnings alone exit 0. A comment `# allow W402` on the line of a warning, or
    right above it, allows it. `emdsl explain CODE` tells more.
    """
    console.expect_json(wanted=as_json)
    found: list[Diagnostic] = []
    n_fixed = 0
    for file in files:
        here = session.open_session(file, None, env_file)
        n_fixed += fix_file(file, here.environment) if fix else 0
        found += faults_of(file, here.environment)
    n_errors = sum(d.severity is Severity.ERROR for d in found)
    if as_json:
        console.show_json({"diagnostics": [d.as_json() for d in found], **({"fixed": n_fixed} if fix else {})})
        return EXIT_ERROR if n_errors else 0
    for diagnostic in found[:MOST_SHOWN]:
        console.say(diagnostic.render() + "\n")
    if len(found) > MOST_SHOWN:
        console.say(f"and {len(found) - MOST_SHOWN:,} more\n")
    n_fixable = sum(bool(d.fix) for d in found)
    more = [f"{n_fixed} fixed"] if fix else [f"{n_fixable} that --fix puts right"] if n_fixable else []
    console.say(_summary(n_errors, len(found) - n_errors, len(files), more))
    if found:
        console.say(f"More: emdsl explain {found[0].code}")
    return EXIT_ERROR if n_errors else 0


def _summary(n_errors: int, n_warnings: int, n_files: int, more: list[str]) -> str:
    parts = [_count(n_errors, "error"), _count(n_warnings, "warning"), *more]
    return f"{_count(n_files, 'file')}: {', '.join(parts)}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
