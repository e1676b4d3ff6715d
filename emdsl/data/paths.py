"""Paths into a row or a file: `messages.0.content`, `choices.*.text`, `messages.role=user.content`."""

from __future__ import annotations

import re
from typing import Any

from emdsl.data.cells import in_cell
from emdsl.data.records import DataError
from emdsl.source import near, one_of
from emdsl.value import render

ALL = "*"  # every item of a list, or every field of an object
NAMES = "~"  # the names of an object's fields, in place of their values
OPTIONAL = "?"  # at the end of the path of an optional column
_POSITION = re.compile(r"-?[0-9]{1,9}")
_ROLES = ("role", "from", "type", "name")  # fields that tell items of a list apart, in the formats of chats


def pick(value: Any, path: str, place: str) -> Any:
    """Return the value at a path.

    A step is a field, a position from 0 (from the end: -1), `*` for all items, `role=user` for the first item whose
    `role` is `user`, or `~` for the names of all fields. A step into a text reads it as JSON.

    Args:
        value: The fields of a row.
        path: Steps with dots between them; with `?` at the end, a missing or null value is an empty text.
        place: Of the row, for messages.

    Raises:
        DataError: There is nothing at the path.
    """
    if path.endswith(OPTIONAL) and not (isinstance(value, dict) and path in value):
        try:
            optional = pick(value, path.removesuffix(OPTIONAL), place)
        except DataError:
            return ""
        return "" if optional is None else optional
    return value[path] if isinstance(value, dict) and path in value else _Walk(path, place).at(value, 0)


class _Walk:
    """Goes along one path."""

    def __init__(self, path: str, place: str) -> None:
        self._path, self._place = path, place
        self._steps = path.split(".")

    def at(self, value: Any, i: int) -> Any:
        """Return the value at the rest of the path, from step `i`."""
        while i < len(self._steps):
            if isinstance(value, str):
                value = self._cell(value, i)
            step = self._steps[i]
            if isinstance(value, dict) and step not in value:
                rest = ".".join(self._steps[i:])
                if rest in value:  # a field whose name contains a dot
                    return value[rest]
            if step == ALL and isinstance(value, dict | tuple) and not (isinstance(value, dict) and ALL in value):
                items = value.values() if isinstance(value, dict) else value
                return tuple(self.at(item, i + 1) for item in items)
            if step == NAMES and isinstance(value, dict) and NAMES not in value:
                value = tuple(value)
                i += 1
                continue
            value = self._step(value, i)
            i += 1
        return value

    def _step(self, value: Any, i: int) -> Any:
        step, parent = self._steps[i], ".".join(self._steps[:i])
        if isinstance(value, dict):
            if step not in value:
                raise self._error(
                    f"no column or field `{step}`" + (f" in `{parent}`" if i else ""),
                    near(step, value) or f"available: {one_of(value)}",
                )
            return value[step]
        if isinstance(value, tuple):
            return self._item(value, step, parent)
        raise self._error(f"`{parent}` is not an object or a list, so it has no `{step}`")

    def _item(self, items: tuple[Any, ...], step: str, parent: str) -> Any:
        """Return the item of a list that a step names."""
        name, equals, wanted = step.partition("=")
        if equals:
            for item in items:
                if isinstance(item, dict) and render(item.get(name)) == wanted:
                    return item
            raise self._error(
                f"no item of `{parent}` has the {name} `{wanted}`",
                f"not all rows have one: write `{self._path}{OPTIONAL}`",
            )
        if not _POSITION.fullmatch(step):
            raise self._error(f"`{parent}` is a list, and `{step}` is not a position", _ways_into(items, step, parent))
        at = int(step)
        if not -len(items) <= at < len(items):
            n = f"only {len(items)} item{'s' if len(items) != 1 else ''}"
            raise self._error(f"`{parent}` has no item {step}, {n}", "positions are counted from 0")
        return items[at]

    def _cell(self, text: str, i: int) -> Any:
        """Return what a text holds that the path goes into."""
        try:
            return in_cell(text)
        except ValueError:
            step, parent = self._steps[i], ".".join(self._steps[:i])
            raise self._error(
                f"`{parent}` is a text that is neither JSON nor a list of Python, so it has no `{step}`",
                f"end the path there: write `{parent}`",
            ) from None

    def _error(self, message: str, help: str = "") -> DataError:
        return DataError(f"{self._place}: {message}", help=help, column=self._path)


def _ways_into(items: tuple[Any, ...], step: str, parent: str) -> str:
    """Return paths that go on from a list, as far as its first item shows them."""
    first = items[0] if items else None
    if not isinstance(first, dict):
        return f"positions are counted from 0: write `{parent}.0`, or `{parent}.{ALL}` for all items"
    field = step if step in first else next(iter(first), step)
    role = next((r for r in _ROLES if isinstance(first.get(r), str)), None)
    field = field if field != role or step in first else next((f for f in first if f != role), field)
    ways = f"positions are counted from 0: write `{parent}.0.{field}`, or `{parent}.{ALL}.{field}` for all items"
    return ways + (f", or `{parent}.{role}={first[role]}.{field}` for the first such item" if role else "")
