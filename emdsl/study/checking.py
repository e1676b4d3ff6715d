"""Checks: the diagnostics of a file, and their certain fixes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError, UsageError
from emdsl.files import write_whole
from emdsl.lang.loader import read
from emdsl.source import Diagnostic, fixed

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.experiment import Experiment, Program
    from emdsl.study.project import Project

MAX_ROUNDS = 20  # one fix can reveal another
EDITION_CODES = ("E101",)  # what `--edition` fixes; programs of an older edition will be translated here


def fix_file(project: Project, file: Path, *, only: tuple[str, ...] | None = None) -> int:
    """Apply the certain fixes of a file until none is left; return how many. Raises UsageError if that fails."""
    n_fixed = 0
    for _ in range(MAX_ROUNDS):
        source = read(file)
        edits = [
            edit
            for diagnostic in diagnostics_of(project, file)
            if only is None or diagnostic.code in only
            for edit in diagnostic.fix
            if edit.span.source.text == source.text and edit.span.source.name == source.name
        ]
        if not edits:
            break
        write_text(file, fixed(source.text, edits))
        n_fixed += len(set(edits))
    return n_fixed


def diagnostics_of(project: Project, file: Path) -> tuple[Diagnostic, ...]:
    """Return every diagnostic of a file."""
    try:
        program = compile_file(
            file, project.environment, library=True, instead=project.instead, hook_values=project.hook_values
        )
    except SourceError as error:
        return error.diagnostics
    return program.warnings + table_diagnostics(program)


def table_diagnostics(program: Program) -> tuple[Diagnostic, ...]:
    """Return the columns of a program that a database takes for one, as far as names tell."""
    diagnostics = []
    for experiment in program.experiments:
        if not _close(experiment):
            continue
        from emdsl.outcomes.table import fields_of, twin  # noqa: PLC0415 - its types take longer than most checks

        if message := twin(fields_of(experiment, "")):
            diagnostics.append(
                Diagnostic(code="E850", message=message, help="rename one of them", span=experiment.span)
            )
    return tuple(diagnostics)


def write_text(file: Path, text: str) -> None:
    """Replace the text of a file, whole or not at all; its permissions stay. Raises UsageError."""
    try:
        write_whole(file.resolve(), text, public=True)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _close(experiment: Experiment) -> bool:
    """Whether columns of an experiment may meet: a name is another's beginning, or differs from it in case alone."""
    named = [
        *(a.name for a in experiment.axes), *(s.name for s in experiment.steps), *(c.name for c in experiment.columns),
    ]  # fmt: skip
    names = sorted(f"{name.lower()}_" for name in named)
    return any(following.startswith(name) for name, following in pairwise(names))
