"""`emdsl fix`: what is certain is put right."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, session
from emdsl.cli.fmt import write
from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError
from emdsl.lang.loader import read
from emdsl.lang.parser import EDITION
from emdsl.source import Diagnostic, fixed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.experiment import Experiment, Program

MOST_ROUNDS = 20  # one fix can bring another to light
EDITION_CODES = ("E101",)  # what `--edition` puts right; an older edition's programs will be translated here


@click.command("fix")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@session.with_options(session.ENV_FILE)
@session.option("--edition", is_flag=True, envvar=None, help="Bring FILES to the newest edition, and fix nothing else.")
def command(files: tuple[Path, ...], env_file: Path | None, edition: bool) -> int:
    """Put right what is certain in FILES: signs of other languages, blanks that would be sent, a missing edition.

    What a diagnostic only guesses stays; `emdsl check` shows it.
    """
    for file in files:
        here = session.open_session(file, None, env_file)
        n = fix_file(file, here.environment, only=EDITION_CODES if edition else None)
        said = f"{n} fixed" if n else "nothing to fix"
        console.say(f"{file}: {said}" + (f"; it is edition {EDITION}" if edition else ""))
    return 0


def fix_file(file: Path, environment: Mapping[str, str], *, only: tuple[str, ...] | None = None) -> int:
    """Make the certain fixes of a file, as long as there are any; return how many."""
    n_fixed = 0
    for _ in range(MOST_ROUNDS):
        source = read(file)
        edits = [
            edit
            for diagnostic in faults_of(file, environment)
            if only is None or diagnostic.code in only
            for edit in diagnostic.fix
            if edit.span.source.text == source.text and edit.span.source.name == source.name
        ]
        if not edits:
            break
        write(file, fixed(source.text, edits))
        n_fixed += len(set(edits))
    return n_fixed


def faults_of(file: Path, environment: Mapping[str, str]) -> tuple[Diagnostic, ...]:
    """Return every diagnostic of a file."""
    try:
        program = compile_file(file, environment, library=True)
    except SourceError as error:
        return error.diagnostics
    return program.warnings + table_faults(program)


def table_faults(program: Program) -> tuple[Diagnostic, ...]:
    """Return what keeps the outcomes of a program out of a table, as far as names tell: columns that are one."""
    found = []
    for experiment in program.experiments:
        if not _close(experiment):
            continue
        from emdsl.outcomes.table import fields_of, twin  # noqa: PLC0415 - its types take longer than most checks

        if said := twin(fields_of(experiment, "")):
            found.append(Diagnostic(code="E850", message=said, span=experiment.span))
    return tuple(found)


def _close(experiment: Experiment) -> bool:
    """Whether columns of an experiment may meet: a name is another's beginning, or differs from it in case alone."""
    named = [
        *(a.name for a in experiment.axes), *(s.name for s in experiment.steps), *(c.name for c in experiment.columns),
    ]  # fmt: skip
    names = sorted(f"{name.lower()}_" for name in named)
    return any(following.startswith(name) for name, following in pairwise(names))
