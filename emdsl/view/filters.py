"""The filter of a page's rows, from the query of a URL."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.outcomes.browsing import PLACES, Filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.experiment import Experiment
    from emdsl.study.coordinates import Coordinates

MAX_TEXT = 4_000  # characters of a condition or a text


def filter_of(experiment: Experiment, at: Coordinates, query: Iterable[tuple[str, str]]) -> Filter:
    """Return the filter that a query names.

    `a.AXIS=LEVEL` (several of one axis are alternatives), `v.COLUMN=VALUE`, `m.COLUMN=REASON`, `min.COLUMN=NUMBER`,
    `max.COLUMN=NUMBER`, `below.COLUMN=NUMBER`, `q=TEXT`, `in=PLACE,...`, `where=SQL` and `sort=[-]COLUMN`; others
    are ignored.

    Raises:
        UsageError: A level or place is unknown, a text is not a number, or a text is too long.
    """
    axes = [a.name for a in experiment.axes]
    levels: dict[str, frozenset[int]] = {}
    equal, reasons, low, high, below, plain = (dict[str, str]() for _ in range(6))
    for key, value in query:
        if len(value) > MAX_TEXT:
            raise UsageError(f"`{key}` is longer than {MAX_TEXT:,} characters")
        kind, _, column = key.partition(".")
        if kind == "a" and column in axes:
            axis = axes.index(column)
            levels[column] = levels.get(column, frozenset()) | {at.position(axis, value)}
        elif kind == "a":
            raise UsageError(f"`{experiment.name}` has no axis `{column}`")
        elif column:
            {"v": equal, "m": reasons, "min": low, "max": high, "below": below}.get(kind, {})[column] = value
        else:
            plain[key] = value
    places = tuple(p for p in plain.get("in", "").split(",") if p) or PLACES
    if set(places) - set(PLACES):
        raise UsageError(f"a text is looked for in {', '.join(PLACES)}")
    return Filter(
        levels=levels, equal=equal, reasons=reasons, low={c: _number(c, x) for c, x in low.items()},
        high={c: _number(c, x) for c, x in high.items()}, below={c: _number(c, x) for c, x in below.items()},
        text=plain.get("q", ""), places=places, where=plain.get("where", ""), sort=plain.get("sort", ""),
    )  # fmt: skip


def whole_number(query: Mapping[str, str], key: str, default: int, most: int) -> int:
    """Return a whole number of a query; raises UsageError."""
    text = query.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        raise UsageError(f"`{key}` is a number from 0 to {most:,}")
    return int(text)


def _number(column: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"`{column}`: `{text}` is not a number")
    return number
