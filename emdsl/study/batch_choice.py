"""Which requests of a run go by batches, and the lines about the batches of a run."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from emdsl.providers.secret import find_url
from emdsl.run.ways import apply_ways, of_model
from emdsl.store.journal import OPEN, Journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from emdsl.query import Model
    from emdsl.run.count import ExperimentCount, Way
    from emdsl.run.progress import Report
    from emdsl.study.batch_run import BatchPlan
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part


def embedded(model: Model, study: Compiled) -> bool:
    """Whether a model needs the embedded simulator: it is simulated, and no server has it."""
    return model.simulated and find_url(model, study.project.environment)[0] is None


def choose_ways(
    study: Compiled, counts: list[ExperimentCount], *, batch: bool | None, pilot: bool = False
) -> tuple[Way, ...]:  # fmt: skip
    """Choose whether requests go by batches, for each model that has a batch API, and price them by that.

    Args:
        study: The compiled study.
        counts: Of its pending requests.
        batch: Whether all such models get batches, or none; None: as each says.
        pilot: Only a pilot is sent: alone, so that it is soon there and shows the hits of prefix caches.
    """
    models = {m.way: m for c in counts for m in c.models.values() if m.service.batch and not embedded(m, study)}
    wanted = False if pilot and batch is None else batch
    ways = tuple(of_model(m, counts, wanted if wanted is not None else m.batch or False) for m in models.values())
    apply_ways(counts, ways)
    return ways


def batch_plan(
    study: Compiled, counts: list[ExperimentCount], ways: tuple[Way, ...], *, batch: bool | None, detach: bool
) -> BatchPlan | None:  # fmt: skip
    """Return what of a run goes by batches; None if nothing does and no batch is open.

    Args:
        study: The compiled study.
        counts: Of its pending requests.
        ways: Of its models with a batch API.
        batch: Whether all such models get batches, or none; None: as each says.
        detach: Whether the run does not wait.
    """
    chosen = {way.model.way for way in ways if way.by_batch}
    with closing(Journal(study.project.answers)) as journal:
        own = {r.name for r in journal.batches(*OPEN) if r.study == study.name}
        open_ = own | _holders(journal, counts).keys()
    if not chosen and not open_:
        return None
    from emdsl.study.batch_run import BatchPlan  # noqa: PLC0415 - few runs have batches

    steps = [s for c in counts for s in c.steps]
    return BatchPlan(
        study=study.name, chosen=lambda model: model.way in chosen, submits=batch is not False,
        detach=detach or batch is False, awaited=frozenset(open_),
        pending=lambda key: any(key in s.pending for s in steps),
    )  # fmt: skip


def ways_json(ways: tuple[Way, ...]) -> dict[str, Any]:
    """Return the ways of the models as `emdsl plan --json` prints them."""

    def amount(usd: Decimal | None) -> float | None:
        return None if usd is None else float(round(usd, 4))

    entries = [
        {
            "model": way.model.name, "by_batch": way.by_batch, "online_usd": amount(way.online_usd),
            "batch_usd": amount(way.batch_usd), "why": way.why or None,
        }
        for way in ways
    ]  # fmt: skip
    return {"batch": entries} if entries else {}


def in_batches(study: Compiled, counts: list[ExperimentCount]) -> dict[str, int]:
    """Return the open batches that hold pending requests of a study, and how many each."""
    with closing(Journal(study.project.answers)) as journal:
        return _holders(journal, counts)


def _holders(journal: Journal, counts: list[ExperimentCount]) -> dict[str, int]:
    if not journal.batches(*OPEN):
        return {}
    return journal.holders(set[bytes]().union(*(s.pending for c in counts for s in c.steps)))


def batch_parts(report: Report) -> Iterator[Part]:
    """Yield where the requests are that a run has left in open batches."""
    if not report.batches:
        return
    from emdsl.study.batch_run import expected_by  # noqa: PLC0415 - few runs have batches

    n = len(report.batches)
    by = expected_by(report.batches)
    until = f", which end by {by}" if by and n > 1 else f", which ends by {by}" if by else ""
    requests = "1 request is" if report.n_in_batches == 1 else f"{report.n_in_batches:,} requests are"
    yield f"{requests} in {n} open batch{'es' if n > 1 else ''}{until}"
    if report.n_later:
        yield f"  {report.n_later:,} more wait for the budget: the maximum cost of these is reserved"
    yield "  run again to collect them, or `emdsl batch wait`; `emdsl batch cancel NAME` frees their requests"
