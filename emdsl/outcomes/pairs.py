"""Rows of one coordinate side by side: levels of an axis, or two versions of an experiment, as SQL."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.outcomes.browsing import Filter, conditions_sql, has_rowid, level_sql
from emdsl.outcomes.conditions import NO, YES, state_sql, unsettled_sql, verdict_sql
from emdsl.outcomes.draws import PLACE
from emdsl.outcomes.sql import inner, literal, name
from emdsl.outcomes.table import axis_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emdsl.experiment import Axis, Cell, Experiment
    from emdsl.outcomes.conditions import Condition

NO_ROW = "not in the grid"  # the state of a coordinate that one side does not have
MAX_LISTED = 20  # levels that one side has alone
SIDE, STATE, OPEN, KNOWN, CHOSEN = map(inner, ("side", "state", "unsettled", "known", "chosen"))
_NUMBERS = (int, float, Decimal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a comparison: an experiment, its quoted table, and for a level the axis with its position."""

    experiment: Experiment
    table: str
    condition: Condition
    level: tuple[str, int] | None = None

    @property
    def table_with_places(self) -> str:
        """The table with the place of each row, in SQL."""
        if has_rowid(self.experiment):
            return f"(SELECT *, rowid AS {PLACE} FROM {self.table})"
        return f"(SELECT *, row_number() OVER () - 1 AS {PLACE} FROM {self.table})"

    @property
    def source(self) -> str:
        """The rows of this side with their places, in SQL."""
        if self.level is None:
            return self.table_with_places
        axis, position = self.level
        return f"(FROM {self.table_with_places} WHERE {level_sql(self.experiment, axis, (position,))})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Sides whose rows are matched by a coordinate: columns that all have, each with the type it is cast to, or "".

    `chosen` has the rows that count: its levels restrict all sides; its other conditions need to hold on one of them.
    """

    sides: tuple[Side, ...]
    coordinate: Mapping[str, str]
    chosen: Filter

    @property
    def keys(self) -> str:
        """The columns of the coordinate, in SQL."""
        return ", ".join(map(name, self.coordinate))

    def states_sql(self) -> str:
        """Return the SELECT of a row for each coordinate: place and state on each side, whether any is unsettled."""
        columns = [
            f"COALESCE(max({PLACE}) FILTER ({SIDE} = {i}), -1) AS {place(i)}, "
            f"COALESCE(max({STATE}) FILTER ({SIDE} = {i}), {literal(NO_ROW)}) AS {state(i)}"
            for i in range(1, len(self.sides) + 1)
        ]
        return (
            f"SELECT {', '.join(columns)}, count(*) AS {SIDE}, bool_or({OPEN}) AS {OPEN}, "
            f"min({STATE}) <> max({STATE}) AS {STATE}, bool_or({KNOWN}) AS {KNOWN}\n"
            f"FROM (\n{self._rows_sql()}\n) GROUP BY {self.keys} HAVING bool_or({CHOSEN})"
        )

    def different_sql(self, states: Sequence[str] = ()) -> str:
        """Return the SELECT of the places on each side of the coordinates that differ, -1 where one has no such row.

        Args:
            states: A state of each side: the coordinates with these are selected then, whether they differ or not.
        """
        n = range(1, len(self.sides) + 1)
        wanted = f"{SIDE} = {len(self.sides)} AND NOT {OPEN} AND {KNOWN} AND {STATE}"
        if states:
            wanted = " AND ".join(f"{state(i)} = {literal(s)}" for i, s in zip(n, states, strict=True))
        first = ", ".join(f"nullif({place(i)}, -1)" for i in n)
        return (
            f"SELECT {', '.join(map(place, n))} FROM (\n{self.states_sql()}\n) WHERE {wanted} "
            f"ORDER BY COALESCE({first}), {', '.join(map(place, n))}"
        )

    def table_sql(self) -> str:
        """Return the SELECT of each combination of states of the first two sides, with its number of coordinates."""
        return (
            f"SELECT {state(1)}, {state(2)}, count(*) FROM (\n{self.states_sql()}\n) GROUP BY ALL ORDER BY 3 DESC, 1, 2"
        )

    def complete_sql(self) -> str:
        """Return the SELECT of the coordinates whose condition holds or does not hold on both sides."""
        known = f"{STATE} IN ({literal(YES)}, {literal(NO)})"
        return (
            f"SELECT {self.keys} FROM (\n{self._rows_sql()}\n) GROUP BY {self.keys} "
            f"HAVING bool_or({CHOSEN}) AND count(*) = {len(self.sides)} AND bool_and({known})"
        )

    def cast(self, column: str, table: str = "") -> str:
        """Return a column of the coordinate in SQL, with the type that all sides share."""
        kind = self.coordinate[column]
        return f"{table}{name(column)}::{kind}" if kind else f"{table}{name(column)}"

    def _rows_sql(self) -> str:
        """Return the SELECT of all rows with their side; levels of one table are read at once."""
        first = self.sides[0]
        if first.level is None:
            restricted = (self._levels(first), self._same_levels(self.sides[1]))
            return " UNION ALL ".join(
                self._select(side, str(i), side.source, levels)
                for i, (side, levels) in enumerate(zip(self.sides, restricted, strict=True), start=1)
            )
        axis, positions = first.level[0], [side.level[1] for side in self.sides if side.level is not None]
        each = [level_sql(first.experiment, axis, (position,)) for position in positions]
        number = f"CASE {' '.join(f'WHEN {x} THEN {i}' for i, x in enumerate(each, start=1))} END"
        return self._select(first, number, first.table_with_places, [" OR ".join(each), *self._levels(first)])

    def _select(self, side: Side, number: str, source: str, conditions: Sequence[str]) -> str:
        keys = ", ".join(f"{self.cast(k)} AS {name(k)}" for k in self.coordinate)
        where = f" WHERE {' AND '.join(f'({x})' for x in conditions)}" if conditions else ""
        chosen = conditions_sql(side.experiment, self.chosen) or "TRUE"
        return (
            f"SELECT {number} AS {SIDE}, {PLACE}, {keys}, {state_sql(side.experiment, side.condition)} AS {STATE}, "
            f"{unsettled_sql(side.experiment, side.condition)} AS {OPEN}, "
            f"{verdict_sql(side.experiment, side.condition)[0]} IS NOT NULL AS {KNOWN}, ({chosen}) AS {CHOSEN} "
            f"FROM {source}{where}"
        )

    def _levels(self, side: Side) -> list[str]:
        """Return the conditions on levels of the first side."""
        return [
            level_sql(side.experiment, axis, positions)
            for axis, positions in self.chosen.levels.items() if axis in self.coordinate
        ]  # fmt: skip

    def _same_levels(self, side: Side) -> list[str]:
        """Return the conditions on levels of the first side, by the positions that another version has them at."""
        own = {a.name: a for a in self.sides[0].experiment.axes}
        others = {a.name: a for a in side.experiment.axes}
        parts = []
        for axis, positions in self.chosen.levels.items():
            if axis in self.coordinate:
                names, other_names = level_names(own[axis], others[axis])
                at = {level: i for i, level in enumerate(other_names)}
                there = [at[names[i]] for i in positions if names[i] in at]
                parts.append(level_sql(side.experiment, axis, there))
        return parts


def place(i: int) -> str:
    """Return the column with the place of the row of a side, from 1."""
    return inner(f"place {i}")


def state(i: int) -> str:
    """Return the column with the state of a side, from 1."""
    return inner(f"state {i}")


def levels_side_by_side(
    experiment: Experiment, table: str, condition: Condition, axis: str, positions: Sequence[int], chosen: Filter
) -> Pairs:  # fmt: skip
    """Return the pairs of some levels of an axis, by their positions: the same coordinate otherwise."""
    sides = tuple(
        Side(experiment=experiment, table=table, condition=condition, level=(axis, position)) for position in positions
    )
    coordinate = {a.name: "" for a in experiment.axes if a.name != axis} | {"sample": ""}
    return Pairs(sides=sides, coordinate=coordinate, chosen=chosen)


def versions_side_by_side(one: Side, other: Side, chosen: Filter) -> Pairs | str:
    """Return the pairs of two versions, by the axes that both have, or why their rows cannot be matched."""
    axes = [{a.name: a for a in side.experiment.axes} for side in (one, other)]
    for i, which in enumerate(("this", "the other")):
        alone = [n for n, a in axes[i].items() if n not in axes[1 - i] and len(a.levels) > 1]
        if alone:
            return f"only {which} version has the axis `{alone[0]}`: its rows cannot be matched"
    coordinate = {}
    for called in (n for n in axes[0] if n in axes[1]):
        numbers = _are_numbers(*(axis_values(a[called].levels) for a in axes))
        coordinate[called] = "DOUBLE" if numbers else "VARCHAR"
    return Pairs(sides=(one, other), coordinate=coordinate | {"sample": ""}, chosen=chosen)


def level_names(one: Axis, other: Axis) -> tuple[list[Any], list[Any]]:
    """Return what the levels of an axis are called in both versions: numbers by their values, others by their texts."""
    values = axis_values(one.levels), axis_values(other.levels)
    numbers = _are_numbers(*values)
    first, second = ([float(v) if numbers else None if v is None else _text(v) for v in side] for side in values)
    return first, second


def _are_numbers(*sides: list[Any]) -> bool:
    return all(isinstance(v, _NUMBERS) and not isinstance(v, bool) for side in sides for v in side)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def levels_alone(one: Experiment, other: Experiment) -> list[tuple[str, list[str], list[str], int, int]]:
    """Return of each axis with levels that one side has alone: their texts on both sides, and how many there are."""
    found = []
    others = {a.name: a for a in other.axes}
    for axis in one.axes:
        if axis.name in others:
            names, there = level_names(axis, others[axis.name])
            first = [x.shown for x, n in zip(axis.levels, names, strict=True) if n not in there]
            second = [x.shown for x, n in zip(others[axis.name].levels, there, strict=True) if n not in names]
            if first or second:
                found.append((axis.name, first[:MAX_LISTED], second[:MAX_LISTED], len(first), len(second)))
    return found


def listed_sql(side: Side, places: Sequence[int]) -> str:
    """Return the SELECT of some rows of a side: place, axes, sample, and the verdict with its reason."""
    axes = ", ".join(name(a.name) for a in side.experiment.axes)
    verdict, reason = verdict_sql(side.experiment, side.condition)
    at = ", ".join(map(str, map(int, places))) or "-1"
    columns = f"{PLACE}, {axes}{', ' if axes else ''}sample, {verdict}, {reason}"
    return f"SELECT {columns} FROM {side.source} WHERE {PLACE} IN ({at})"


def strip_sql(side: Side, cell: Cell, samples: range) -> str:
    """Return the SELECT of some samples of a cell: sample, verdict, and the reason why it is missing."""
    verdict, reason = verdict_sql(side.experiment, side.condition)
    at = [level_sql(side.experiment, a.name, (i,)) for a, i in zip(side.experiment.axes, cell, strict=True)]
    at.append(f"sample >= {samples.start} AND sample < {samples.stop}")
    return f"SELECT sample, {verdict}, {reason} FROM {side.table} WHERE {' AND '.join(at)} ORDER BY sample"


def row_sql(side: Side, cell: Cell, sample: int) -> str:
    """Return the SELECT of one row, or of nothing if the side does not have it."""
    at = [level_sql(side.experiment, a.name, (i,)) for a, i in zip(side.experiment.axes, cell, strict=True)]
    return f"SELECT sample FROM {side.table} WHERE {' AND '.join([*at, f'sample = {int(sample)}'])} LIMIT 1"
