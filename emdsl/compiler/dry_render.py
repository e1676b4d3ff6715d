"""A dry run of prompts: render some of the requests that need no answer, so that faults show before a run."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.compiler.written import called
from emdsl.digest import digest
from emdsl.experiment import ASK, Cell, Experiment, Step
from emdsl.frame import EvalFault, MissingInput
from emdsl.prompt import Prompt
from emdsl.query import RequestSettings, keyed
from emdsl.source import Diagnostic, Label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_SAMPLES = 20  # of a cell whose prompt depends on the sample
MAX_PROMPTS = 400  # of each step


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a step; without messages if its prompt needs an answer."""

    step: Step
    shown: str  # the levels that it depends on, as people call them
    head: RequestSettings
    prompt: Prompt
    levels: Mapping[int, int] = field(default_factory=dict)  # by axis, both as positions

    @property
    def without_messages(self) -> bytes:
        """What is sent beside the messages, as far as it enters the key."""
        return digest("head", self.head.model.identity, keyed(self.head.params), self.head.replicate)


def dry_render(experiment: Experiment) -> list[Request]:
    """Render what needs no answer, and return the requests of the first samples; others come without messages.

    Raises EvalFault. All of them if there are few, else some; a run renders the rest before it sends anything.
    """
    requests: list[Request] = []
    for step in experiment.steps:
        for levels in experiment.projected(step.settings_axes):
            with suppress(MissingInput):
                head = step.settings(experiment.frame(step.settings_axes, levels, 0))
                if step.needs:  # its messages are not known yet, its model is
                    requests.append(Request(step=step, shown="", head=head, prompt=Prompt(())))
        if not step.needs:
            requests += _rendered(experiment, step)
    asks = [s for s in experiment.steps if not s.needs and s.kind == ASK]
    if len(asks) > 1:
        for cell in itertools.islice(experiment.cells(), MAX_PROMPTS):
            _check_unlike(experiment, asks, cell)
    return requests


def _rendered(experiment: Experiment, step: Step) -> Iterator[Request]:
    samples = range(min(experiment.samples, MAX_SAMPLES)) if step.prompt_sample else (0,)
    by_cell = experiment.cell_samples if step.prompt_sample else None
    axes = tuple(sorted({*step.settings_axes, *step.prompt_axes, *(by_cell.axes if by_cell is not None else ())}))
    heads: dict[tuple[int, ...], RequestSettings] = {}  # by the levels that settings depend on
    places = (
        (levels, n) for n in samples for levels in itertools.islice(experiment.projected(axes), MAX_PROMPTS)
        if by_cell is None or n < by_cell.numbers[tuple([levels[axes.index(a)] for a in by_cell.axes])]
    )  # fmt: skip
    for levels, sample in itertools.islice(places, MAX_PROMPTS):
        frame = experiment.frame(axes, levels, sample)
        own = tuple([levels[axes.index(a)] for a in step.settings_axes])
        try:
            if own not in heads:
                heads[own] = step.settings(frame)
            head, prompt = heads[own], step.prompt(frame)
        except MissingInput:
            continue
        if sample == 0:
            pairs = [(experiment.axes[a], i) for a, i in zip(axes, levels, strict=True)]
            shown = ", ".join(f"{axis.name}={called(axis.levels[i])[:40]}" for axis, i in pairs)
            yield Request(step=step, shown=shown or "this cell", head=head, prompt=prompt,
                          levels=dict(zip(axes, levels, strict=True)))  # fmt: skip


def _check_unlike(experiment: Experiment, asks: list[Step], cell: Cell) -> None:
    """Two asks of one cell that send one request would share one answer; raises EvalFault."""
    first: dict[Any, Step] = {}
    frame = experiment.frame(tuple(range(len(experiment.axes))), cell, 0)
    for step in asks:
        try:
            request = Request(step=step, shown="", head=step.settings(frame), prompt=step.prompt(frame))
        except MissingInput:
            continue
        other = first.setdefault((request.prompt, request.without_messages), step)
        if other is not step:
            raise EvalFault(
                Diagnostic(
                    code="E420",
                    message=f"`{other.name}` and `{step.name}` send the same request: they would share one answer",
                    span=step.span,
                    labels=(Label(span=other.span, text="the other step"),),
                    help="add `{ replicate = 1 }` to one of them for a second, independent draw",
                )
            )
