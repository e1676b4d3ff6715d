"""Programs that ran before, compiled as they were, for `plan`, `why` and `diff` to compare with."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.cli import session
from emdsl.compiler.compile import compile_file
from emdsl.errors import EmdslError
from emdsl.experiment import heads
from emdsl.providers.secret import server
from emdsl.run import history
from emdsl.run.history import by_run
from emdsl.run.reasons import Earlier
from emdsl.source import one_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.cli.session import Session
    from emdsl.experiment import Program
    from emdsl.run.history import Record
    from emdsl.run.planner import ExperimentCount

NEW = "this study has not run here before"
MOST_NAMED = 3  # studies
MOST_BEFORE = 20  # runs that `why` goes back


def from_elsewhere(here: Session, counts: list[ExperimentCount]) -> list[str]:
    """Return what is to be said of stored answers that came from another server than the program asks.

    A hosted model is known by its name: the answers of a proxy are taken for those of the service, and the other way.
    """
    runs = {run for count in counts for run in count.runs}
    asked: dict[str, set[str]] = {}
    for run, record in by_run(here.cache).items():
        for use, name in record.servers.items() if run in runs else ():
            asked.setdefault(use, set()).add(name)
    found = []
    models = {head.model.use: head.model for count in counts for _, head in heads(count.experiment)}
    for use, model in models.items():
        others = asked.get(use, set()) - {server(model, here.environment)}
        if others and not model.service.self_hosted and not model.simulated:
            found.append(
                f"stored answers of `{use}` came from {one_of(sorted(others))}, and the program asks "
                f"{server(model, here.environment)}: they are taken for answers of one model"
            )
    return found


def earlier(here: Session, file: Path, program: Program) -> tuple[Earlier | None, str]:
    """Return the program of a study's last run, or None and why there is none to compare with."""
    record = history.last(here.cache, here.study(file))
    if record is None:
        return None, NEW
    before = _as_it_was(here, file, program, record)
    day = time.strftime("%Y-%m-%d", time.localtime(record.started_at))
    return before, "" if before else f"not known: what ran on {day} can no longer be compiled as it was"


def new_here(here: Session, counts: list[ExperimentCount]) -> str:
    """Return what is to be said of a study that has no record: a copy, or one renamed, finds its answers stored."""
    runs: Counter[str] = sum((c.runs for c in counts), Counter())
    if not runs:
        return NEW
    known = history.by_run(here.cache)
    studies = sorted({known[run].file for run in runs if run in known})
    by = f", paid for by {', '.join(studies[:MOST_NAMED])}" + (" and others" if studies[MOST_NAMED:] else "")
    return f"no run is on record under this name; {runs.total():,} of its requests are stored{by if studies else ''}"


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
    try:
        if record.program == program.digest.hex():
            old = program
        else:
            instead = history.as_it_was(here.cache, here.project, record)
            old = compile_file(file, here.environment, simulate=here.simulate, instead=instead)
            if {here.relative(Path(n)): sha256 for n, sha256 in old.files.items()} != record.files:
                return None  # a file was too large to be kept, or its copy has gone
        selections = session.selections(old, record.samples, record.only)
    except (EmdslError, OSError, RecursionError):  # reasons are a help, no more
        return None
    taken = {e.name: s for e, s in zip(old.experiments, selections, strict=True)}
    return Earlier(program, old, taken, interrupted=record.interrupted or record.ended_at is None)
