"""Programs that ran before, compiled as they were, for `plan`, `why` and `diff` to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.compile import compile_file
from emdsl.errors import EmdslError
from emdsl.run import history
from emdsl.run.reasons import Earlier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.experiment import Program
    from emdsl.run.history import Record

MOST_BEFORE = 20  # runs that `why` goes back


def earlier(here: Session, file: Path, program: Program) -> Earlier | None:
    """Return the program of a study's last run; None where it never ran, or cannot be compiled any more."""
    record = history.last(here.cache, here.study(file))
    return _as_it_was(here, file, program, record) if record is not None else None


def programs_before(here: Session, file: Path, program: Program) -> Iterator[tuple[Record, Earlier]]:
    """Yield the programs of a study's last runs, last first."""
    seen: set[str] = set()
    for record in history.records(here.cache):
        if record.study != here.study(file) or record.program in seen:
            continue
        seen.add(record.program)
        before = _as_it_was(here, file, program, record)
        if before is not None:
            yield record, before
        if len(seen) >= MOST_BEFORE:
            return


def _as_it_was(here: Session, file: Path, program: Program, record: Record) -> Earlier | None:
    if record.program == program.digest.hex():
        return Earlier(program, program)
    instead = history.as_it_was(here.cache, here.project, record)
    try:
        old = compile_file(file, here.environment, simulate=here.simulate, instead=instead)
    except (EmdslError, OSError, RecursionError):  # a file of it is gone: reasons are a help, no more
        return None
    return Earlier(program, old)
