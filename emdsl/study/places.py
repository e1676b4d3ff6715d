"""Rows by the keys of their requests."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from emdsl.errors import UsageError
from emdsl.outcomes import database
from emdsl.outcomes.browsing import key_condition, keyed_sql
from emdsl.outcomes.table import axis_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emdsl.experiment import Cell, Experiment
    from emdsl.outcomes.database import SqlResult
    from emdsl.study.compiled import Compiled

    Select = Callable[[str], SqlResult]

MIN_KEY, MAX_KEY = 8, 64  # hex digits of a key that is written in part


class Place(NamedTuple):
    """A row of an experiment by its cell and sample."""

    experiment: Experiment
    cell: Cell
    sample: int


def keyed_rows(
    experiment: Experiment, study: str, select: Select, condition: str, most: int
) -> Iterator[tuple[Place, set[str]]]:
    """Yield the first loaded rows for which a condition in SQL holds, each with the keys of its requests, in hex."""
    n = len(experiment.axes)
    positions = [{value: i for i, value in enumerate(axis_values(a.levels))} for a in experiment.axes]
    for row in select(keyed_sql(experiment, study, condition, most)).rows:
        with suppress(KeyError):  # a level that the study has no longer
            cell = tuple(positions[i][value] for i, value in enumerate(row[:n]))
            yield Place(experiment, cell, int(row[n])), {key for key in row[n + 1 :] if key}


def place_of_key(study: Compiled, key: str) -> Place:
    """Return the first row with a request whose key begins with some digits; the results of the study are loaded.

    Raises:
        UsageError: The text is not a key, or no row has it.
    """
    digits = check_key(key)
    with study.tables() as (connection, _):
        for experiment in study.program.experiments:
            condition = key_condition(experiment, digits)
            rows = keyed_rows(experiment, study.name, lambda sql: database.select(connection, sql), condition, 1)
            if (found := next(rows, None)) is not None:
                return found[0]
    raise unknown_key(study, key)


def check_key(key: str) -> str:
    """Return the digits of a key; raises UsageError for any other text."""
    digits = key.strip().removesuffix("...").lower()
    if not MIN_KEY <= len(digits) <= MAX_KEY or digits.strip("0123456789abcdef"):
        raise UsageError(f"`{key}` is not a key: expected {MIN_KEY} to {MAX_KEY} hex digits", parameter="key")
    return digits


def unknown_key(study: Compiled, key: str) -> UsageError:
    """Return the error of a key that no row has."""
    return UsageError(
        f"no loaded row of {study.file} has a request with the key `{key}`: it may be of another version of the study",
        parameter="key",
    )
