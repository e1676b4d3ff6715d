"""Failed steps that have no answer, by cause, and the last run of the study."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from emdsl.outcomes import browsing, database
from emdsl.study.running import ended_json, ended_runs

if TYPE_CHECKING:
    from emdsl.experiment import Experiment
    from emdsl.view.session import Session


async def failures(session: Session) -> dict[str, Any]:
    """Return for each experiment the causes of failed steps with their numbers, and the record of the last run."""
    study = session.study
    parts = [
        await session.once(("failures", e.name), partial(_failures, session, e)) for e in study.program.experiments
    ]
    ended = await asyncio.to_thread(ended_runs, study.project, session.runs, None)
    last = next((r for r in ended if r.study == study.name), None)
    return {
        "generation": session.generation, "file": study.project.relative(study.file), "experiments": parts,
        "last_run": ended_json(last) if last is not None else None,
    }  # fmt: skip


def _failures(session: Session, experiment: Experiment, cursor: Any) -> dict[str, Any]:
    causes = []
    for step, sql in browsing.failures_sql(experiment, session.study.name):
        for cause, requests, rows in database.select(cursor, sql).rows:
            where = browsing.cause_condition(step, cause)
            causes.append({"step": step, "cause": cause, "where": where, "requests": requests, "rows": rows})
    return {"name": experiment.name, "failures": sorted(causes, key=lambda c: -c["rows"])}
