"""One pass over the rows of an experiment: in chunks, each settled by what the store has."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from emdsl.experiment import ASK
from emdsl.outcome import Result
from emdsl.reasoning import split
from emdsl.run.rows import settle, settle_answer, settle_failure
from emdsl.value import NOT_ASKED, SPLIT_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query, Response
    from emdsl.reasoning import Answer
    from emdsl.run.rows import Rows
    from emdsl.store.store import Store

CHUNK = 512  # rows looked up together

Ready = tuple["Outcome", "Step", "Query"]


def settle_missing(rows: Rows, row: Outcome, failures: Mapping[Digest, str]) -> None:
    """Settle the rest of a row: steps whose request failed as failed, all others as not asked."""
    while row.ready or row.blocked:
        for step in rows.experiment.steps:
            query = row.ready.get(step.name)
            if query is None:
                continue
            if query.key in failures:
                settle_failure(row, step, failures[query.key])
            else:
                settle(row, step, Result(NOT_ASKED, query))
        if row.blocked:
            rows.advance(row)


def chunks(rows: Iterable[Outcome], size: int = CHUNK) -> Iterator[list[Outcome]]:
    """Yield rows in lists of at most `size`."""
    left = iter(rows)
    while chunk := list(islice(left, size)):
        yield chunk


def settle_from_store(rows: Rows, chunk: list[Outcome], store: Store) -> None:
    """Settle every step of some rows whose answer is stored, wave by wave; other requests stay ready."""
    rows.probes.look_up(store)
    ready: list[Ready] = [(row, step, query) for row in chunk for step, query in rows.advance(row)]
    while ready:
        stored = store.get_many([query.key for _, _, query in ready])
        answers: dict[Digest, Answer] = {}
        for _, _, query in ready:
            if query.key in stored and query.key not in answers:
                answers[query.key] = split(stored[query.key], query)
        rows.probes.see(ready, stored, answers)
        ready = _settle_wave(rows, ready, stored, answers)


def _settle_wave(
    rows: Rows, ready: list[Ready], stored: Mapping[Digest, Response], answers: Mapping[Digest, Answer]
) -> list[Ready]:
    """Settle the steps that have an answer; return what has become ready by that."""
    any_split = rows.probes.any_split
    advanced: dict[int, Outcome] = {}
    wave: list[Ready] = []
    for row, step, query in ready:
        response = stored.get(query.key)
        splits = any_split and rows.probes.split(step, query)
        if splits and step.kind != ASK:
            reasoning = answers[query.key].reasoning if response is not None else None
            settle(row, step, Result(SPLIT_NUMBER, query, response, reasoning=reasoning))
        elif response is None:
            continue
        elif (again := settle_answer(row, step, response, answers[query.key], splits=splits)) is not None:
            wave.append((row, step, again))
            continue
        advanced[id(row)] = row
    wave += [(row, step, query) for row in advanced.values() for step, query in rows.advance(row)]
    return wave


def with_groups(rows: Rows, store: Store, failures: Mapping[Digest, str]) -> None:
    """Let the rows of a pass find the values of their groups; these are settled from the same store."""
    if not rows.experiment.groups:
        return
    from emdsl.run.grouped import GroupValues  # noqa: PLC0415 - few experiments have a `let` with `over`

    def settled(group: list[Outcome]) -> None:
        settle_from_store(rows, group, store)
        for row in group:
            settle_missing(rows, row, failures)

    rows.group_values = GroupValues(rows, settled)


def collect(
    rows: Rows,
    store: Store,
    failures: Mapping[Digest, str],
    on_row: Callable[[Outcome], None] = lambda _: None,
    most: int | None = None,
) -> Iterator[list[Outcome]]:
    """Yield every row of an experiment, selected or not, with all its steps settled.

    `on_row` gets each selected row before its missing answers are settled as missing. `most` rows are yielded, those
    that a run sends first.
    """
    with_groups(rows, store, failures)
    for chunk in chunks(islice(rows.everything(), most)):
        settle_from_store(rows, chunk, store)
        for row in chunk:
            if rows.takes(row):
                on_row(row)
            settle_missing(rows, row, failures)
        yield chunk
