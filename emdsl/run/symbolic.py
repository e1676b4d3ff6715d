"""Symbolic requests: requests that read answers which are not stored, with a stand-in for each of these answers.

A stand-in differs where the requests differ that it answers, so that equal symbolic requests become one request and
unequal ones become several. A condition that reads an answer is taken to hold.
"""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from emdsl.digest import digest
from emdsl.experiment import ASK
from emdsl.frame import EvalFault, MissingInput
from emdsl.outcome import Result
from emdsl.query import Response, Usage
from emdsl.run.rows import holds, settle, variant_of
from emdsl.value import NOT_ASKED, NOT_NEEDED, LabelledMap

MAX_FINE_CELLS = 100  # grids up to this size have their conditions evaluated at many verdicts
POINTS, FEW_POINTS = 100, 20

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.judge import ReplyField, ReplyFormat
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.run.rows import Rows
    from emdsl.value import Value


def symbolic_id(experiment: str, step: Step, row: Outcome, inputs: Mapping[str, Digest | int]) -> int:
    """Return a number that names a request, the same in every process.

    `inputs` names the requests that answer the steps which this one reads: a key, or another symbolic id.
    """
    read = tuple([_number_of(inputs.get(need, need)) for need in step.needs])
    sample = row.sample if step.kind == ASK else step.draw  # as in the query
    name, *variant = variant_of(step, row)
    return hash(
        (_number_of(experiment), _number_of(name), *variant, sample, read)
    )  # of numbers: Python salts no others


def _number_of(name: Digest | str | int) -> int:
    if isinstance(name, int):
        return name
    return int.from_bytes(name[:8], "big") if isinstance(name, bytes) else _text_number(name)


@cache
def _text_number(text: str) -> int:
    return int.from_bytes(digest("name", text)[:8], "big")


def symbolic_requests(rows: Rows) -> Iterator[tuple[Outcome, Step, Digest]]:
    """Yield each distinct request of an experiment once, whatever is stored: its first row, its step and its key."""
    seen: set[Digest] = set()
    for row, step, key in _all_requests(rows):
        if key not in seen:
            seen.add(key)
            yield row, step, key


def _all_requests(rows: Rows) -> Iterator[tuple[Outcome, Step, Digest]]:
    for row in rows.selected():
        for step in rows.experiment.steps:
            if step.condition is not None and not step.condition_needs and not holds(step, row):
                settle(row, step, Result(NOT_NEEDED))
                continue
            try:
                query = rows.query(step, row)
            except (MissingInput, EvalFault):
                settle(row, step, Result(NOT_ASKED))
                continue
            settle(row, step, stand_in(step, query))
            yield row, step, query.key


class StepRequests(NamedTuple):
    """The distinct requests of a step: their number, and one digest of their keys."""

    n: int
    digest: Digest


def requests_by_step(rows: Rows) -> dict[str, StepRequests]:
    """Return the requests of each step of an experiment, as selected, whatever is stored."""
    keys: dict[str, set[Digest]] = {s.name: set() for s in rows.experiment.steps}
    for _, step, key in _all_requests(rows):
        keys[step.name].add(key)
    return {name: StepRequests(len(some), keys_digest(some)) for name, some in keys.items()}


def keys_digest(keys: Iterable[Digest]) -> Digest:
    """Return one digest of some requests, in whatever order."""
    return digest("keys", [b"".join(part) for part in _parts(sorted(keys))])


def requests_digest(rows: Rows) -> Digest:
    """Return one digest of all requests of an experiment, as selected, and of when its conditions hold."""
    keys = sorted(key for _, _, key in symbolic_requests(rows))
    return digest("requests", [b"".join(part) for part in _parts(keys)], [list(x) for x in _conditions(rows)])


def _conditions(rows: Rows) -> Iterator[tuple[str, str]]:
    """Yield for each condition that reads an answer the verdicts for which it holds, as `1` and `0`, cell by cell."""
    experiment = rows.experiment
    steps = {s.name: s for s in experiment.steps}
    fine = experiment.n_cells <= MAX_FINE_CELLS
    for step in experiment.steps:
        if step.condition is None or not step.condition_needs:
            continue
        bits = []
        for cell in filter(rows.selection.takes, experiment.cells()):
            for verdicts in _assignments([steps[name] for name in step.condition_needs], fine=fine):
                row = rows.row(cell, 0)
                for need, verdict in zip(step.condition_needs, verdicts, strict=True):
                    read = steps[need].kind == ASK
                    settle(row, steps[need], Result("an answer", reading=verdict) if read else Result(verdict))
                bits.append("1" if holds(step, row) else "0")
        yield step.name, "".join(bits)


def _assignments(needs: list[Step], *, fine: bool) -> Iterator[list[Value]]:
    """Yield verdicts for some steps: each step goes through its verdicts, while all others have their first or last."""
    for step in needs:
        for verdict in _verdicts(step, fine=fine):
            for end in (0, -1):
                yield [verdict if need is step else _verdicts(need, fine=False)[end] for need in needs]


def _verdicts(step: Step, *, fine: bool) -> list[Value]:
    """Return some verdicts of a step, or of what its answer is read as, from the lowest to the highest."""
    if step.reply_format is None:
        return ["an answer"]
    if step.reply_format.scale is None:
        return list(step.reply_format.choices) or [_verdict(step.reply_format)]
    low, high = step.reply_format.scale
    n = POINTS if fine else FEW_POINTS
    return [low + (high - low) * i / n for i in range(n + 1)]


def stand_in(step: Step, query: Query) -> Result:
    """Return a result for a request without an answer: a text that names it, or a verdict of the right kind."""
    if step.kind == ASK:
        text = f"the answer of {query.key.hex()}"
        response = Response(text=text, finish="stop", reasoning=text, usage=Usage(output_tokens=1))
        reading = _verdict(step.reply_format) if step.reply_format is not None else None
        return Result(text, query, response, reading=reading)
    assert step.reply_format is not None
    return Result(_verdict(step.reply_format), query, Response(text="", finish="stop"))


def _verdict(reply_format: ReplyFormat) -> Value:
    if reply_format.shape:
        return LabelledMap(tuple((p.name, _part(p)) for p in reply_format.shape))
    return reply_format.choices[0] if reply_format.choices else float((reply_format.scale or (0.0, 1.0))[0])


def _part(part: ReplyField) -> Value:
    match part.kind:
        case "bool":
            return True
        case "number":
            return float((part.scale or (0.0, 1.0))[0])
        case "label":
            return part.choices[0]
        case _:
            return ""


def _parts(keys: list[Digest]) -> Iterator[tuple[Digest, ...]]:
    left = iter(keys)
    while part := tuple(islice(left, 4096)):
        yield part
