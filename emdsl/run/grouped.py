"""Values of groups of rows: `let topic = cluster(answer) over q`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.frame import EvalFault, MissingInput
from emdsl.value import INCOMPLETE, INVALID, NULL, UNSETTLED, Missing, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.experiment import Cell, GroupLet
    from emdsl.frame import Fn, Frame
    from emdsl.outcome import Outcome
    from emdsl.run.rows import Rows

CHUNK = 512  # rows that are settled together
Place = tuple["Cell", int]  # of a row: its cell and sample


class GroupValues:
    """The values of all groups of an experiment in one pass over its rows, each computed when it is first read.

    Args:
        rows: The rows of the experiment.
        settle: Settles every step of some rows.
    """

    def __init__(self, rows: Rows, settle: Callable[[list[Outcome]], None]) -> None:
        self._rows = rows
        self._settle = settle
        self._labels = [[level.shown for level in axis.levels] for axis in rows.experiment.axes]
        self._cells: dict[str, dict[tuple[str, ...], list[Cell]]] = {}  # of each group, by `let`
        self._values: dict[tuple[str, tuple[str, ...], int], dict[Place, Value]] = {}

    def value(self, name: str, place: Place) -> Value:
        """Return the value of a `let` in the row at a place.

        It is INCOMPLETE if an answer that the group needs is pending. Raises HookError if the function fails.
        """
        let = self._rows.experiment.groups[name]
        cell, sample = place
        key = (name, self._outside(let, cell), -1 if let.samples else sample)
        if key not in self._values:
            self._values[key] = self._computed(let, self._places(name, let, cell, sample))
        return self._values[key][place]

    def _places(self, name: str, let: GroupLet, cell: Cell, sample: int) -> list[Place]:
        """Return the rows of a group, in the order of their cells and samples."""
        experiment = self._rows.experiment
        if name not in self._cells:
            groups: dict[tuple[str, ...], list[Cell]] = {}
            for each in experiment.cells():
                groups.setdefault(self._outside(let, each), []).append(each)
            self._cells[name] = groups
        cells = self._cells[name][self._outside(let, cell)]
        if let.samples:
            return [(each, i) for each in cells for i in range(experiment.samples_of(each))]
        return [(each, sample) for each in cells if sample < experiment.samples_of(each)]

    def _outside(self, let: GroupLet, cell: Cell) -> tuple[str, ...]:
        """Return the labels that all rows of a cell's group share: a dependent axis has several levels of one."""
        return tuple(self._labels[i][level] for i, level in enumerate(cell) if i not in let.axes)

    def _computed(self, let: GroupLet, places: list[Place]) -> dict[Place, Value]:
        columns: list[list[Value]] = [[] for _ in let.args]
        for first in range(0, len(places), CHUNK):
            rows = [self._rows.row(cell, sample) for cell, sample in places[first : first + CHUNK]]
            if let.steps:
                self._settle(rows)
            for row in rows:
                if any(_is_open(row.results[step].value) for step in let.steps):
                    return dict.fromkeys(places, INCOMPLETE)
                for (compute, once), column in zip(let.args, columns, strict=True):
                    if not once or not column:
                        column.append(_evaluated(compute, row.frame))
        if any(_is_open(value) for column in columns for value in column):
            return dict.fromkeys(places, INCOMPLETE)
        alone = [column[0] for (_, once), column in zip(let.args, columns, strict=True) if once]
        if (missing := next((x for x in alone if isinstance(x, Missing)), None)) is not None:
            return dict.fromkeys(places, missing)
        given = [
            column[0] if once else tuple(None if isinstance(x, Missing) else x for x in column)
            for (_, once), column in zip(let.args, columns, strict=True)
        ]
        results = let.call(given, len(places))
        varying = [column for (_, once), column in zip(let.args, columns, strict=True) if not once]
        return {
            place: _missing(varying, i) if result is None else result
            for i, (place, result) in enumerate(zip(places, results, strict=True))
        }


def _is_open(value: Value) -> bool:
    """Whether another run may replace a value."""
    return isinstance(value, Missing) and value.reason in UNSETTLED


def _evaluated(compute: Fn, frame: Frame) -> Value:
    try:
        return compute(frame)
    except EvalFault:
        return INVALID
    except MissingInput as missing:
        return missing.missing


def _missing(columns: list[list[Value]], position: int) -> Missing:
    """Return why a row has no value: its missing argument, or the function gave none."""
    values = (column[position] for column in columns)
    return next((x for x in values if isinstance(x, Missing)), NULL)
