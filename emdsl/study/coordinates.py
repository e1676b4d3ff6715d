"""Coordinates in URLs: levels and rows by short names that outlive an edit of the study."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest
from emdsl.errors import UsageError
from emdsl.outcomes.table import axis_values
from emdsl.value import Row, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.experiment import Axis, Cell, Experiment
    from emdsl.value import Level

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}")
_MAX_SHOWN = 300  # characters of a level in lists
_N_DIGITS = 12  # of a digest


class Coordinates:
    """The levels of an experiment's axes by their names in URLs: their text, if it is short, or `~` and a digest."""

    def __init__(self, experiment: Experiment) -> None:
        self._axes = experiment.axes

    @cached_property
    def ids(self) -> list[list[str]]:
        """The names of the levels of each axis."""
        return [_ids(axis) for axis in self._axes]

    @cached_property
    def _positions(self) -> list[dict[str, int]]:
        return [{level: i for i, level in enumerate(ids)} for ids in self.ids]

    @cached_property
    def _by_value(self) -> list[dict[Any, str]]:
        return [dict(zip(axis_values(a.levels), ids, strict=True)) for a, ids in zip(self._axes, self.ids, strict=True)]

    def position(self, axis: int, level: str) -> int:
        """Return the position of a level; raises UsageError."""
        try:
            return self._positions[axis][level]
        except KeyError:
            raise UsageError(f"`{self._axes[axis].name}` has no level `{level}`") from None

    def row_id(self, values: Sequence[Any], sample: int) -> str:
        """Return the name of a row, whose axes have some values in the table."""
        return ",".join([*(self._by_value[i][value] for i, value in enumerate(values)), str(sample)])

    def place(self, row: str) -> tuple[Cell, int]:
        """Return the cell and sample of a row by its name; raises UsageError."""
        *levels, sample = row.split(",")
        if len(levels) != len(self._axes) or not re.fullmatch(r"[0-9]{1,9}", sample):
            raise UsageError(f"`{row}` is not a row of this experiment: its axes may have changed")
        return tuple(self.position(i, level) for i, level in enumerate(levels)), int(sample)

    def level_id(self, axis: int, value: Any) -> str:
        """Return the name of the level that has a value in the table."""
        return self._by_value[axis][value]

    def shown(self, axis: int, most: int) -> list[dict[str, str]]:
        """Return the first levels of an axis, each with its name, its value in tables, and a text for people.

        The text may be cut. Of a row of a dataset it has the columns: its value in tables is a digest.
        """
        levels = self._axes[axis].levels[:most]
        return [
            {"id": i, "shown": x.shown[:_MAX_SHOWN], "text": _text(x)}
            for i, x in zip(self.ids[axis], levels, strict=False)
        ]

    def text(self, axis: int, value: Any) -> Any:
        """Return the value of an axis in the table as the list shows it."""
        texts = self._row_texts[axis]
        return texts.get(value, value) if texts else value

    @cached_property
    def _row_texts(self) -> list[dict[Any, str]]:
        return [
            dict(zip(axis_values(a.levels), map(_text, a.levels), strict=True))
            if any(isinstance(x.value, Row) for x in a.levels) else {}
            for a in self._axes
        ]  # fmt: skip


def _text(level: Level) -> str:
    if not isinstance(level.value, Row):
        return level.shown[:_MAX_SHOWN]
    parts = (render(v) or str(v) for v in level.value.columns.values() if v is not None)
    return " | ".join(parts)[:_MAX_SHOWN] or level.shown


def _ids(axis: Axis) -> list[str]:
    texts = [level.shown for level in axis.levels]
    twice = {t for t in texts if texts.count(t) > 1} if len(set(texts)) < len(texts) else set()
    ids = []
    for i, text in enumerate(texts):
        if _PLAIN.fullmatch(text) and text not in twice:
            ids.append(text)
        else:
            ids.append("~" + digest("level", text, *((i,) if text in twice else ())).hex()[:_N_DIGITS])
    return ids
