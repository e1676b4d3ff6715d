"""The record of a run: kept when it begins, completed when it ends, and the answers that its study uses."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from emdsl.price_list import price_of
from emdsl.providers.secret import server
from emdsl.run import history, used

if TYPE_CHECKING:
    from emdsl.run.count import ExperimentCount
    from emdsl.run.progress import Report
    from emdsl.study.compiled import Compiled
    from emdsl.study.options import RunOptions
    from emdsl.study.project import Project


def begin_record(
    study: Compiled, options: RunOptions, counts: list[ExperimentCount], run: str, workers: int = 1
) -> history.Record:
    """Keep a record of a run that starts."""
    project = study.project
    models = [m for c in counts for m in c.models.values()]
    prices = {m.use: (float(p.input), float(p.output)) for m in models if (p := price_of(m)) and not m.simulated}
    record = history.Record(
        run=run, study=study.name, file=project.relative(study.file), program=study.program.digest.hex(),
        started_at=time.time(), prices=prices, samples=options.samples, only=options.only, pilot=options.pilot,
        servers={m.use: s for m in models if (s := server(m, project.environment))}, workers=workers,
    )  # fmt: skip
    return history.begin(project.cache, project.root, record, study.program.files)


def end_record(project: Project, record: history.Record, report: Report) -> None:
    """Complete the record of a run."""
    with suppress(OSError):  # the answers are stored: a record is not worth losing the tables of the run
        history.end(
            project.cache, record, sent=report.sent, failed=len(report.failures), interrupted=report.interrupted
        )


def remember(study: Compiled, options: RunOptions, counts: list[ExperimentCount], run: str) -> None:
    """Keep a record of a run with nothing pending, if the study differs from its last run: the next compares."""
    cache = study.project.cache
    last = history.last(cache, study.name)
    same = last is not None and last.program == study.program.digest.hex() and last.ended_at is not None
    restricted = options.samples, options.only, options.pilot
    restricted_alike = last is not None and (last.samples, last.only, last.pilot) == restricted
    if last is None or not same or last.interrupted or not restricted_alike:
        with suppress(OSError):  # a cache that cannot be written
            history.end(cache, begin_record(study, options, counts, run), sent=0, failed=0, interrupted=False)


def note_used(study: Compiled, counts: list[ExperimentCount]) -> None:
    """Keep which answers the study uses: a later plan tells which of them it does not use any more."""
    with suppress(OSError):  # a cache that cannot be written
        used.add(study.project.cache, study.name, used.answers_of(counts), study.project.store_version())
