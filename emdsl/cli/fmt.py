"""`emdsl fmt`."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.cli.failures import show_error
from emdsl.cli.main import EXIT_ERROR
from emdsl.errors import SourceError, UsageError
from emdsl.lang.format import format_source
from emdsl.lang.loader import read
from emdsl.source import Source
from emdsl.study.checking import write_text

STDIN = "-"


@click.command("fmt")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@options.option("--check", "only_check", is_flag=True, envvar=None, help="Change nothing; exit with 1 if a file would.")
@options.option("--diff", is_flag=True, envvar=None, help="Change nothing; show the changes.")
def command(files: tuple[Path, ...], only_check: bool, diff: bool) -> int:
    """Format FILES in the standard layout. Comments and meaning stay. `-` reads standard input and prints.

    A file with a syntax error is not changed.

    \b
    Examples:
      emdsl fmt study.em
      emdsl fmt --check experiments/*.em
    """
    n_errors = n_changed = 0
    for file in files:
        source = _standard_input() if str(file) == STDIN else read(file)
        try:
            text = format_source(source)
        except SourceError as error:
            show_error(error)
            n_errors += 1
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
            write_text(file, text)
            console.say(f"{source.name} changed")
    return EXIT_ERROR if n_errors or (n_changed and only_check) else 0


def _standard_input() -> Source:
    try:
        return Source("<stdin>", sys.stdin.buffer.read().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 text (byte {error.start})") from error


def _diff(source: Source, text: str) -> str:
    lines = difflib.unified_diff(
        source.text.splitlines(keepends=True), text.splitlines(keepends=True), source.name, source.name
    )
    return "".join(x if x.endswith("\n") else f"{x}\n\\ No newline at end of file\n" for x in lines)
