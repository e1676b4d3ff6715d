"""Values as columns hold them: numbers, booleans, texts in UTF-8, and the names of an ENUM type."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.outcomes.sql import has_value_column
from emdsl.value import INVALID, LabelledMap, Missing, Row, Value, is_number, name_of, render

if TYPE_CHECKING:
    from emdsl.experiment import Axis

MAX_ENUM = 10_000  # levels; a longer axis is a column of text


def clean(text: str | None) -> str | None:
    """Return a text as valid UTF-8: a lone surrogate becomes `?`."""
    return text.encode("utf-8", "replace").decode() if text is not None else None


def enum_names(axis: Axis) -> list[str]:
    """Return the labels of an axis whose column has an ENUM type; nothing for a column of another type.

    An axis that depends on another one can have one label for several values. Labels that differ only by characters
    that UTF-8 does not have stay apart: their column is of text.
    """
    labels = list(dict.fromkeys(x.shown for x in axis.levels))
    names = [clean(label) or "" for label in labels]
    return names if has_value_column(axis.levels) and len(set(names)) == len(names) <= MAX_ENUM else []


def kind_of(values: list[Value]) -> str:
    """Return the kind of a column with these values: bool, int, double or text."""
    if all(isinstance(v, bool) for v in values):
        return "bool"
    if all(type(v) is int and abs(v) < 2**63 for v in values):
        return "int"
    return "double" if all(is_number(v) and _fits(v) for v in values) else "text"


def _fits(value: Any) -> bool:
    """Whether a float holds a number, as far as people write digits: `0.1` it does, 2**64 + 1 it does not."""
    try:
        binary = float(value)
    except OverflowError:
        return False
    return math.isfinite(binary) and (not isinstance(value, int) or int(binary) == value)


def column_values(values: list[Value]) -> tuple[Any, ...]:
    """Return values as one column holds them: numbers, booleans or texts, None for `none`."""
    kind = kind_of([v for v in values if v is not None] or [""])
    return tuple(cell_value(v, kind) if v is not None else None for v in values)


def cell_value(value: Value, kind: str) -> Any:
    """Return a value as a column of a kind holds it."""
    if kind == "double":
        return float(value)
    return text_of(value) if kind == "text" else value


def text_of(value: Value) -> str | None:
    """Return a value as a text: its rendering, its name, or JSON; None for `none`."""
    if value is None:
        return None
    shown = render(value)
    if shown is None:
        shown = getattr(value, "use", None) or name_of(value) or json.dumps(json_value(value), ensure_ascii=False)
    return clean(shown)


def json_value(value: Value) -> Any:
    """Return a value in types that JSON has."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return float(value)
        case tuple() | list():
            return [json_value(v) for v in value]
        case dict():
            return {k: json_value(v) for k, v in value.items()}
        case LabelledMap():
            return {k: json_value(v) for k, v in value.entries}
        case Row():
            return {k: json_value(v) for k, v in value.columns.items()}
        case _:
            return name_of(value) or str(value)


def of_kind(value: Value, kind: str) -> Value:
    """Return a value of a column's kind; of another kind, as a Python function may return, it is INVALID."""
    if isinstance(value, Missing):
        return value
    if kind == "double":
        return value if is_number(value) and math.isfinite(value) else INVALID
    return INVALID if kind == "bool" and not isinstance(value, bool) else value
