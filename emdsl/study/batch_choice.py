"""Which models of a run are asked by batches, and what is said about the batches of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.providers.secret import find_url
from emdsl.store.journal import OPEN, Journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.query import Model
    from emdsl.run.count import ExperimentCount
    from emdsl.run.progress import Report
    from emdsl.study.batch_run import BatchPlan
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part


def embedded(model: Model, study: Compiled) -> bool:
    """Whether a model needs the embedded simulator: it is simulated, and no server has it."""
    return model.simulated and find_url(model, study.project.environment)[0] is None


def by_batch(model: Model, study: Compiled, *, batch: bool | None) -> bool:
    """Whether a model is asked by batches. The embedded simulator ends with the run: it has none."""
    wanted = model.batch if batch is None else batch
    return bool(wanted) and model.service.batch is not None and not embedded(model, study)


def batch_plan(
    study: Compiled, counts: list[ExperimentCount], *, batch: bool | None, detach: bool
) -> BatchPlan | None:  # fmt: skip
    """Return what of a run goes by batches; None if nothing does and no batch is open.

    Args:
        study: The compiled study.
        counts: Of its pending requests.
        batch: Whether every model that can is asked by batches, or none; None: as each says.
        detach: Whether the run does not wait.
    """
    chosen = {m.lane for c in counts for m in c.models.values() if by_batch(m, study, batch=batch)}
    journal = Journal(study.project.answers)
    open_ = bool(journal.batches(*OPEN))
    journal.close()
    if not chosen and not open_:
        return None
    from emdsl.study.batch_run import BatchPlan  # noqa: PLC0415 - few runs have batches

    return BatchPlan(
        study=study.name, chosen=lambda model: model.lane in chosen, submits=batch is not False,
        detach=detach or batch is False,
    )  # fmt: skip


def in_batches(study: Compiled, counts: list[ExperimentCount]) -> dict[str, int]:
    """Return the open batches that hold pending requests of a study, and how many each."""
    journal = Journal(study.project.answers)
    try:
        if not journal.batches(*OPEN):
            return {}
        pending = set[bytes]().union(*(s.pending for c in counts for s in c.steps))
        return journal.holders(pending)
    finally:
        journal.close()


def batch_parts(report: Report) -> Iterator[Part]:
    """Yield where the requests are that a run has left in open batches."""
    if not report.batches:
        return
    from emdsl.study.batch_run import expected_by  # noqa: PLC0415 - few runs have batches

    n = len(report.batches)
    by = expected_by(report.batches)
    until = f", which end by {by}" if by and n > 1 else f", which ends by {by}" if by else ""
    yield f"{report.n_in_batches:,} requests are in {n} open batch{'es' if n > 1 else ''}{until}"
    yield "  run again to collect them, or `emdsl batch wait`; `emdsl batch cancel NAME` frees their requests"
