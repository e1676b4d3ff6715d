"""The meter of a run, by its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.run.metering import Meter

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from emdsl.digest import Digest
    from emdsl.run.count import ExperimentCount, StepCount

UNDECIDED_SHARE = 0.5  # of the requests under a condition that was never decided


def meter_of(counts: Sequence[ExperimentCount]) -> Meter:
    """Return a meter of the pending requests of a plan; those that steps share count for the first of these."""
    meter, several = Meter(), len(counts) > 1
    seen: set[Digest] = set()
    for count in counts:
        batched = {way.model.way for way in count.ways if way.by_batch}
        for of_step in count.steps:
            name = f"{count.experiment.name}.{of_step.step.name}" if several else of_step.step.name
            i = meter.add(count.experiment.name, of_step.step, name)
            _plan(meter, i, of_step, batched)
            keys = of_step.pending | of_step.probes if of_step.probes else of_step.pending
            if not keys:
                continue
            shared = keys & seen if seen else seen
            own = len(keys) - len(shared)
            if shared:
                meter.share(i, shared, own / len(keys))
            meter.steps[i].total += own
            meter.plan(i, keys)
            seen = seen | keys if seen else keys  # a set of millions is not copied
    return meter


def _plan(meter: Meter, i: int, count: StepCount, batched: Collection[Any]) -> None:
    """Add what a plan knows of a step."""
    step, n_symbolic, n_undecided = meter.steps[i], len(count.symbolic), len(count.undecided)
    step.total += n_symbolic + n_undecided
    step.open_ended = bool(n_undecided)
    held = count.n_held / count.n_decided if count.n_decided else UNDECIDED_SHARE
    step.share = (n_symbolic + held * n_undecided) / max(n_symbolic + n_undecided, 1)
    for model, n, n_to_follow in count.estimate.by_model():
        kind = meter.kind_of(i, model)
        kind.planned += n
        kind.to_follow += n_to_follow
        kind.by_batch = model.way in batched
        kind.tokens = count.estimate.output_of(model)
