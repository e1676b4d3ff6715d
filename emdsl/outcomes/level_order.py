"""The order of a measure's groups: levels as the program declares them. The one place that orders levels in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.outcomes.column_values import column_values, enum_names
from emdsl.outcomes.sql import has_value_column, literal
from emdsl.value import LabelledMap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emdsl.experiment import Axis, Measure

MAX_ORDERED = 2_000  # levels that are out of the order of SQL; more are in that order


def order_sql(measure: Measure, columns: Sequence[str]) -> str:
    """Return what follows ORDER BY so that the groups of a measure, in some columns, are in their order, or ""."""
    return ", ".join(
        term
        for path, levels, column in zip(measure.by, measure.levels, columns, strict=True)
        for term in (*_place_sql(path, levels, column), column)
    )


def axis_order_sql(axis: Axis, column: str) -> str:
    """Return what follows ORDER BY so that the levels of an axis, in a column, are in their order."""
    return ", ".join((*_place_sql((axis.name,), axis, column), column))


def in_order(measure: Measure, group: int, values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values of a group, each once, in their order; unknown ones are last, as they come."""
    places = {v: i for i, v in enumerate(_declared(measure.by[group], measure.levels[group]))}
    return tuple(sorted(dict.fromkeys(values), key=lambda v: places.get(v, len(places))))


def _declared(path: tuple[str, ...], levels: Axis | tuple[str, ...] | None) -> tuple[Any, ...]:
    """Return the values of a group in the order of the program; empty for a column of data, and for samples."""
    if levels is None or isinstance(levels, tuple):
        return levels or ()
    if len(path) == 1:
        if has_value_column(levels.levels):
            return tuple(level.shown for level in levels.levels)
        return column_values([level.value for level in levels.levels])
    records = [level.value for level in levels.levels]
    if not all(isinstance(x, LabelledMap) for x in records):
        return ()
    return column_values([dict(x.entries).get(path[1]) for x in records])


def _place_sql(path: tuple[str, ...], levels: Axis | tuple[str, ...] | None, column: str) -> tuple[str, ...]:
    """Return the place of a group's value among its levels; nothing if SQL has the same order, as for an ENUM."""
    if len(path) == 1 and levels is not None and not isinstance(levels, tuple) and enum_names(levels):
        return ()
    declared = [v for v in dict.fromkeys(_declared(path, levels)) if v is not None]
    if not 1 < len(declared) <= MAX_ORDERED or declared == sorted(declared):
        return ()
    match declared[0]:
        case bool():
            items = ", ".join(str(v).upper() for v in declared)
        case str():
            items, column = ", ".join(map(literal, declared)), f"{column}::VARCHAR"
        case _:
            items, column = ", ".join(f"{v!r}::DOUBLE" for v in declared), f"{column}::DOUBLE"
    return (f"list_position([{items}], {column})",)
