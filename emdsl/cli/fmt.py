"""`emdsl fmt`: one layout."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click

from emdsl.cli import console, session
from emdsl.cli.main import EXIT_ERROR
from emdsl.errors import SourceError, UsageError
from emdsl.lang.format import format_source
from emdsl.lang.loader import read
from emdsl.source import Source

STDIN = "-"


@click.command("fmt")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@session.option(
    "--check", "only_check", is_flag=True, envvar=None, help="Change nothing; exit 1 where a file would change."
)
@session.option("--diff", is_flag=True, envvar=None, help="Change nothing; show what would change.")
def command(files: tuple[Path, ...], only_check: bool, diff: bool) -> int:
    """Write FILES in the one layout; comments and meaning stay. `-` reads standard input, and prints.

    A file that does not parse is left as it is.
    """
    n_faults = n_changed = 0
    for file in files:
        source = _standard_input() if str(file) == STDIN else read(file)
        try:
            text = format_source(source)
        except SourceError as error:
            console.show_error(error)
            n_faults += 1
            continue
        changed = text != source.text
        n_changed += changed
        if diff:
            console.say(_diff(source, text), nl=False)
        elif only_check and changed:
            console.say(f"{source.name} would change")
        elif str(file) == STDIN and not only_check:
            console.say(text, nl=False)
        elif changed and not only_check:
            write(file, text)
            console.say(f"{source.name} changed")
    if n_faults:
        return EXIT_ERROR
    return EXIT_ERROR if n_changed and only_check else 0


def _standard_input() -> Source:
    try:
        return Source("<stdin>", sys.stdin.buffer.read().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 text (byte {error.start})") from error


def write(file: Path, text: str) -> None:
    """Put a text in place of a file's, whole or not at all; its permissions stay. Raises UsageError."""
    target = file.resolve()
    fresh = target.with_name(f".{target.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8", newline="")
        fresh.chmod(target.stat().st_mode & 0o777)
        fresh.replace(target)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _diff(source: Source, text: str) -> str:
    lines = difflib.unified_diff(
        source.text.splitlines(keepends=True), text.splitlines(keepends=True), source.name, source.name
    )
    return "".join(x if x.endswith("\n") else f"{x}\n\\ No newline at end of file\n" for x in lines)
