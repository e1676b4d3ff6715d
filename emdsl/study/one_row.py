"""One row by its coordinates: its story with tokens and cost, settled alone, and its requests as curl calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.errors import UnknownStep
from emdsl.hooks.hook import nothing_executed
from emdsl.run.passes import settle_from_store, settle_missing
from emdsl.run.rows import Rows
from emdsl.study.compiled import unknown
from emdsl.study.rendering import curl, query_of
from emdsl.study.story import part_of, story_of
from emdsl.value import LabelledMap

if TYPE_CHECKING:
    from emdsl.experiment import Cell, Experiment
    from emdsl.outcome import Outcome, Result
    from emdsl.outcomes.database import Connection
    from emdsl.study.compiled import Compiled


def tell_row(study: Compiled, experiment: Experiment, cell: Cell, sample: int) -> dict[str, Any]:
    """Return the story of a row as `emdsl show --row --json` does, and of each step `usage`, `cost_usd`, `fields`.

    The row alone is settled: it takes as long in a study of a million rows.
    """
    return told(experiment, settled_row(study, experiment, cell, sample))


def told(experiment: Experiment, row: Outcome, *, whole: bool = True) -> dict[str, Any]:
    """Return the story of a settled row as `tell_row` does; its requests may be not `whole`: see `request`."""
    story = story_of(experiment, row, whole=whole)
    for shown, step in zip(story["steps"], experiment.steps, strict=True):
        result = row.results[step.name]
        shown |= {"cost_usd": result.cost_usd, "usage": _usage(result), "error": result.error or None}
        value = result.value if step.kind != "ask" else result.reading
        if isinstance(value, LabelledMap):
            shown["fields"] = {label: held if isinstance(held, str) else None for label, held in value.entries}
    return story


def tell_row_of_version(study: Compiled, experiment: Experiment, cell: Cell, sample: int) -> dict[str, Any]:
    """Return the story of a row of another version of a study, as `tell_row` does; no hook is executed."""
    with nothing_executed():
        return tell_row(study, experiment, cell, sample)


def count_row(connection: Connection, experiment: Experiment, study: str, place: int) -> list[dict[str, Any]]:
    """Return how a row counts in each measure; `place` is its place in the table, from 0."""
    return [{"measure": m.name} | part_of(connection, experiment, m.name, study, place) for m in experiment.measures]


def curl_of(study: Compiled, experiment: Experiment, cell: Cell, sample: int, step: str) -> str | None:
    """Return a shell command that sends the request of a step; None if the request is unknown.

    Raises:
        UnknownStep: The experiment has no such step.
    """
    chosen = next((s for s in experiment.steps if s.name == step), None)
    if chosen is None:
        raise UnknownStep(unknown("step", step, [s.name for s in experiment.steps]), parameter="step")
    query = query_of(settled_row(study, experiment, cell, sample), chosen)
    return curl(query, study.project) if query is not None else None


def settled_row(study: Compiled, experiment: Experiment, cell: Cell, sample: int) -> Outcome:
    """Return a row with all its steps settled."""
    walk = Rows(experiment)
    row = walk.row(cell, sample)
    with study.store() as store:
        settle_from_store(walk, [row], store)
    settle_missing(walk, row, {})
    return row


def _usage(result: Result) -> dict[str, int | None] | None:
    if result.response is None:
        return None
    usage = result.response.usage
    return {"input": usage.input_tokens, "output": usage.output_tokens, "reasoning": usage.reasoning_tokens}
