"""The state of one step in one row, before a run: whether its request is cached, pending, or not even known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from emdsl.frame import MissingInput
from emdsl.run.symbolic import symbolic_id
from emdsl.value import NOT_OBTAINED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome, Result
    from emdsl.query import Query, RequestSettings, Response
    from emdsl.run.rows import Rows


class Cached(NamedTuple):
    """The answer is stored."""

    query: Query
    response: Response
    result: Result


class Pending(NamedTuple):
    """The request is known, and its answer is not stored."""

    query: Query


class Symbolic(NamedTuple):
    """The request reads answers that are not stored; `undecided`: so does its condition."""

    head: RequestSettings
    id: int
    undecided: bool


class NotNeeded(NamedTuple):
    """No request: the condition is false, or what the step reads is missing."""

    result: Result


class Unknown(NamedTuple):
    """It depends on rows of a dataset that is not here."""


State = Cached | Pending | Symbolic | NotNeeded | Unknown


def state_of(rows: Rows, row: Outcome, step: Step, inputs: Mapping[str, Digest | int]) -> State:
    """Return the state of a step in a row whose stored answers are settled.

    `inputs` names the requests of the steps before, as in `symbolic_id`.
    """
    result = row.results.get(step.name)
    if result is not None:
        if result.response is not None and result.query is not None:
            return Cached(result.query, result.response, result)
        return Unknown() if result.value == NOT_OBTAINED else NotNeeded(result)
    query = row.ready.get(step.name)
    if query is not None:
        return Pending(query)
    try:
        head, _ = rows.head(step, row)
    except MissingInput:
        return Unknown()
    undecided = step.condition is not None and not row.has(step.condition_needs)
    return Symbolic(head, symbolic_id(rows.experiment.name, step, row, inputs), undecided)
