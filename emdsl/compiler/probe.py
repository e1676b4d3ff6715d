"""A first try of what a program would send, so that its faults show before anything is asked."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.compiler.check import Request
from emdsl.digest import digest
from emdsl.experiment import ASK, Cell, Experiment, Step
from emdsl.frame import EvalFault, MissingInput
from emdsl.prompt import Prompt
from emdsl.query import keyed
from emdsl.source import Diagnostic, Label

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PROBED_SAMPLES = 20  # of a cell whose prompt depends on the sample
MAX_PROBES = 400  # prompts of each step that are rendered before anything is asked


def probe(experiment: Experiment) -> list[Request]:
    """Render what needs no answer, and return the requests of the first samples; others come without messages.

    Raises EvalFault. All of them where there are few, else some; a run renders the rest before it asks.
    """
    found: list[Request] = []
    for step in experiment.steps:
        for levels in experiment.projected(step.head_axes):
            with suppress(MissingInput):
                head = step.head(experiment.frame(step.head_axes, levels, 0))
                if step.needs:  # what it says is not known yet, who is asked is
                    found.append(Request(step=step, shown="", head=head, prompt=Prompt(())))
        if not step.needs:
            found += _rendered(experiment, step)
    asks = [s for s in experiment.steps if not s.needs and s.kind == ASK]
    if len(asks) > 1:
        for cell in itertools.islice(experiment.cells(), MAX_PROBES):
            _unlike(experiment, asks, cell)
    return found


def _rendered(experiment: Experiment, step: Step) -> Iterator[Request]:
    samples = range(min(experiment.samples, MAX_PROBED_SAMPLES)) if step.prompt_sample else (0,)
    axes = tuple(sorted({*step.head_axes, *step.prompt_axes}))
    tried = ((levels, n) for n in samples for levels in itertools.islice(experiment.projected(axes), MAX_PROBES))
    for levels, sample in itertools.islice(tried, MAX_PROBES):
        frame = experiment.frame(axes, levels, sample)
        try:
            head, prompt = step.head(frame), step.prompt(frame)
        except MissingInput:
            continue
        if sample == 0:
            pairs = zip(axes, levels, strict=True)
            shown = ", ".join(f"{experiment.axes[a].name}={experiment.axes[a].levels[i].shown[:40]}" for a, i in pairs)
            yield Request(step=step, shown=shown or "this cell", head=head, prompt=prompt)


def _unlike(experiment: Experiment, asks: list[Step], cell: Cell) -> None:
    """Two asks of one cell that send one request would get one answer: an error, told apart by `replicate`."""
    seen: dict[Any, Step] = {}
    frame = experiment.frame(tuple(range(len(experiment.axes))), cell, 0)
    for step in asks:
        try:
            head, prompt = step.head(frame), step.prompt(frame)
        except MissingInput:
            continue
        request = (prompt, digest("head", head.model.identity, keyed(head.params), head.replicate))
        other = seen.setdefault(request, step)
        if other is not step:
            raise EvalFault(
                Diagnostic(
                    code="E420",
                    message=f"`{other.name}` and `{step.name}` send the same request: they would be one answer",
                    span=step.span,
                    labels=(Label(span=other.span, text="the other one"),),
                    help="add `{ replicate = 1 }` to one for a second, independent draw",
                )
            )
