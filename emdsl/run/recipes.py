"""Every request that a program can make, whatever is stored: what two programs, or a plan and a run, are compared by.

A step that reads answers gets made-up ones, that differ where the requests differ which they answer. So equal
recipes are asked once, and unequal ones apart, as the requests will be; a condition that reads an answer holds.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from emdsl.digest import digest
from emdsl.experiment import ASK
from emdsl.frame import EvalFault, MissingInput
from emdsl.outcome import Result
from emdsl.query import Response, Usage
from emdsl.run.walk import settle
from emdsl.value import NOT_ASKED, NOT_NEEDED, LabelledMap

FINE_CELLS = 100  # grids up to this size have their conditions tried at many verdicts
POINTS, FEW_POINTS = 100, 20

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.judge import Part, Reading
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.run.walk import Walk
    from emdsl.value import Value


def recipes(walk: Walk) -> Iterator[tuple[Outcome, Step, Digest]]:
    """Yield each distinct request of an experiment once: the row and step that first make it, and its recipe."""
    seen: set[Digest] = set()
    for row in walk.rows():
        for step in walk.experiment.steps:
            if step.condition is not None and not step.condition_needs and not _holds(step, row):
                settle(row, step, Result(NOT_NEEDED))
                continue
            try:
                query = walk.query(step, row)
            except (MissingInput, EvalFault):
                settle(row, step, Result(NOT_ASKED))
                continue
            settle(row, step, made_up(step, query))
            if query.key not in seen:
                seen.add(query.key)
                yield row, step, query.key


def requests_digest(walk: Walk) -> Digest:
    """Return one digest of all requests of an experiment, as selected, and of when conditions hold."""
    found = sorted(key for _, _, key in recipes(walk))
    return digest("requests", [b"".join(part) for part in _parts(found)], [list(x) for x in _conditions(walk)])


def _conditions(walk: Walk) -> Iterator[tuple[str, str]]:
    """Yield for each condition that reads an answer the verdicts for which it holds, as `1` and `0`, cell by cell."""
    experiment = walk.experiment
    steps = {s.name: s for s in experiment.steps}
    fine = experiment.n_cells <= FINE_CELLS
    for step in experiment.steps:
        if step.condition is None or not step.condition_needs:
            continue
        bits = []
        for cell in experiment.cells():
            if not walk.selection.takes(cell):
                continue
            for name in step.condition_needs:
                for verdict in _verdicts(steps[name], fine=fine):
                    for others in (False, True):
                        row = walk.row(cell, 0)
                        for need in step.condition_needs:
                            value = verdict if need == name else _verdicts(steps[need], fine=False)[-1 if others else 0]
                            settle(row, steps[need], Result(value))
                        bits.append("1" if _holds(step, row) else "0")
        yield step.name, "".join(bits)


def _verdicts(step: Step, *, fine: bool) -> list[Value]:
    """Return some verdicts of a step, from one end to the other."""
    if step.reading is None:
        return ["an answer"]
    if step.reading.scale is None:
        return list(step.reading.choices) or [_verdict(step.reading)]
    low, high = step.reading.scale
    n = POINTS if fine else FEW_POINTS
    return [low + (high - low) * i / n for i in range(n + 1)]


def made_up(step: Step, query: Query) -> Result:
    """Return how a step might end: an answer that names its request, or a verdict of the right kind."""
    if step.kind == ASK:
        text = f"the answer of {query.key.hex()}"
        response = Response(text=text, finish="stop", reasoning=text, usage=Usage(output_tokens=1))
        return Result(text, query, response)
    assert step.reading is not None
    return Result(_verdict(step.reading), query, Response(text="", finish="stop"))


def _verdict(reading: Reading) -> Value:
    if reading.shape:
        return LabelledMap(tuple((p.name, _part(p)) for p in reading.shape))
    return reading.choices[0] if reading.choices else float((reading.scale or (0.0, 1.0))[0])


def _part(part: Part) -> Value:
    match part.kind:
        case "bool":
            return True
        case "number":
            return float((part.scale or (0.0, 1.0))[0])
        case "label":
            return part.choices[0]
        case _:
            return ""


def _holds(step: Step, row: Outcome) -> bool:
    assert step.condition is not None
    try:
        return step.condition(row.frame) is True
    except (MissingInput, EvalFault, KeyError):
        return False


def _parts(keys: list[Digest]) -> Iterator[tuple[Digest, ...]]:
    found = iter(keys)
    while part := tuple(islice(found, 4096)):
        yield part
