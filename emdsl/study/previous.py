"""Previous versions of a study, compiled as they were when they ran: what `plan` and `why` compare with."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.errors import EmdslError
from emdsl.experiment import request_settings
from emdsl.providers.secret import server
from emdsl.run import history
from emdsl.run.reasons import PreviousProgram
from emdsl.source import one_of
from emdsl.study.compiled import Compiled, compile_study
from emdsl.study.selection import selections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.run.count import ExperimentCount
    from emdsl.run.history import Record

FIRST_RUN = "first run of this study"
MAX_NAMED = 3  # studies
MAX_BEFORE = 20  # runs that `why` goes back


def server_notices(study: Compiled, counts: list[ExperimentCount]) -> list[str]:
    """Return notices about cached answers that came from another server than the one the study uses now.

    A hosted model is known by its name: the answers of a proxy count as those of the service, and vice versa.
    """
    runs = {run for count in counts for run in count.runs}
    servers: dict[str, set[str]] = {}
    for run, record in history.by_run(study.project.cache).items():
        for use, name in record.servers.items() if run in runs else ():
            servers.setdefault(use, set()).add(name)
    notices = []
    models = {head.model.use: head.model for count in counts for _, head in request_settings(count.experiment)}
    for use, model in models.items():
        now = server(model, study.project.environment)
        others = servers.get(use, set()) - {now}
        if others and not model.service.self_hosted and not model.simulated:
            notices.append(
                f"cached answers of `{use}` came from {one_of(sorted(others))}; the study now uses {now}. "
                "Both count as the same model"
            )
    return notices


def last_run(study: Compiled) -> tuple[PreviousProgram | None, str]:
    """Return the study as it last ran, or None and why there is nothing to compare with."""
    record = history.last(study.project.cache, study.name)
    if record is None:
        return None, FIRST_RUN
    previous = _as_it_was(study, record)
    day = time.strftime("%Y-%m-%d", time.localtime(record.started_at))
    if previous is not None:
        return previous, ""
    lost = history.not_kept(study.project.cache, study.project.root, record)
    if lost:
        size = history.MAX_KEPT // 2**20
        return None, f"unknown: no copy of {one_of(lost)} was kept on {day} (files over {size} MiB are not)"
    return None, f"unknown: the study of {day} no longer compiles as it was"


def first_run(study: Compiled, counts: list[ExperimentCount]) -> str:
    """Return the reason for a study without a record; a copied or renamed one has cached answers all the same."""
    runs: Counter[str] = sum((c.runs for c in counts), Counter())
    if not runs:
        return FIRST_RUN
    records = history.by_run(study.project.cache)
    studies = sorted({records[run].file for run in runs if run in records})
    by = f", paid by {', '.join(studies[:MAX_NAMED])}" + (" and others" if studies[MAX_NAMED:] else "")
    return f"no run is recorded under this name; {runs.total():,} of its requests are cached{by if studies else ''}"


def previous_runs(study: Compiled) -> Iterator[tuple[Record, PreviousProgram]]:
    """Yield the versions of a study in its last runs, the latest first."""
    seen: set[str] = set()
    for record in history.records(study.project.cache):
        if record.study != study.name or record.program in seen:
            continue
        seen.add(record.program)
        previous = _as_it_was(study, record)
        if previous is not None:
            yield record, previous
        if len(seen) >= MAX_BEFORE:
            return


def _as_it_was(study: Compiled, record: Record) -> PreviousProgram | None:
    """Return a recorded version, or None if it cannot be compiled any more: reasons are a help, no more."""
    project = study.project
    try:
        if record.program == study.program.digest.hex():
            old = study
        else:
            old = compile_study(project, study.file, history.snapshot(project.cache, project.root, record))
            if {project.relative(Path(n)): sha256 for n, sha256 in old.program.files.items()} != record.files:
                return None  # a file was too large to be kept, or its copy has gone
        chosen = selections(old.program, record.samples, record.only, pilot=record.pilot)
    except (EmdslError, OSError, RecursionError):
        return None
    by_name = {e.name: s for e, s in zip(old.program.experiments, chosen, strict=True)}
    interrupted = record.interrupted or record.ended_at is None
    return PreviousProgram(study.program, old.program, by_name, interrupted=interrupted)
