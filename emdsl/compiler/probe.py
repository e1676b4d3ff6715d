"""A first try of what a program would send, so that its faults show before anything is asked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from emdsl.digest import digest
from emdsl.experiment import ASK, Cell, Experiment, Step
from emdsl.frame import EvalFault, Frame, MissingInput
from emdsl.source import Diagnostic, Label

MAX_PROBED_SAMPLES = 20  # of a cell whose prompt depends on the sample
MAX_PROBES = 2_000  # prompts of each step that are rendered before anything is asked


def probe(experiment: Experiment) -> None:
    """Render prompts that need no answer, so that a fault shows before anything is asked.

    Raises EvalFault. All of them where there are few, else some; a run renders the rest before it asks.
    """
    frames: dict[str, set[tuple[tuple[int, ...], int]]] = {s.name: set() for s in experiment.steps}
    heads: dict[str, set[tuple[int, ...]]] = {s.name: set() for s in experiment.steps}
    free = [s for s in experiment.steps if not s.needs]
    asks = [s for s in free if s.kind == ASK]
    for n, cell in enumerate(experiment.cells()):
        for step in experiment.steps:
            heads[step.name].add(tuple(cell[i] for i in step.head_axes))
        for step in free:
            samples = range(min(experiment.samples, MAX_PROBED_SAMPLES)) if step.prompt_sample else (0,)
            if len(frames[step.name]) < MAX_PROBES:
                frames[step.name] |= {(tuple(cell[i] for i in step.prompt_axes), s) for s in samples}
        if len(asks) > 1 and n < MAX_PROBES:
            _unlike(experiment, asks, cell)
    for step in experiment.steps:
        for levels in heads[step.name]:
            step.head(frame_of(experiment, step.head_axes, levels, 0))
        for levels, sample in sorted(frames[step.name]):
            with suppress(MissingInput):
                step.prompt(frame_of(experiment, step.prompt_axes, levels, sample))


def _unlike(experiment: Experiment, asks: list[Step], cell: Cell) -> None:
    """Two asks of one cell that send one request would get one answer: an error, whose fix is `stream`."""
    seen: dict[Any, Step] = {}
    frame = frame_of(experiment, tuple(range(len(experiment.axes))), cell, 0)
    for step in asks:
        with suppress(MissingInput):
            head = step.head(frame)
            request = (step.prompt(frame), digest("head", head.model.identity, dict(head.params), head.stream))
            other = seen.setdefault(request, step)
            if other is not step:
                raise EvalFault(
                    Diagnostic(
                        code="E420",
                        message=f"`{other.name}` and `{step.name}` send the same request: they would be one answer",
                        span=step.span,
                        labels=(Label(span=other.span, text="the other one"),),
                        help="tell them apart with `{ stream = 1 }` at the end of one",
                    )
                )


def frame_of(experiment: Experiment, axes: tuple[int, ...], levels: tuple[int, ...], sample: int) -> Frame:
    """Return a frame in which some axes, given by position, have levels."""
    frame = Frame(experiment.constants, experiment.lets)
    frame["sample"] = sample
    for axis, position in zip(axes, levels, strict=True):
        level = experiment.axes[axis].levels[position]
        frame[experiment.axes[axis].name] = level.value
        frame.levels[experiment.axes[axis].name] = level
    return frame
