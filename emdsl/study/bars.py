"""A value and its interval as one line of signs, for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 28  # signs
LINE, REACH, LOW, HIGH, AT, ZERO = "━", "─", "├", "┤", "●", "┊"


def scale(rows: Sequence[tuple[float | None, float | None, float | None]]) -> tuple[float, float]:
    """Return the scale of bars, low and high: all values and intervals of a measure, and zero.

    >>> scale([(0.2, 0.1, 0.4), (None, None, None)])
    (0.0, 0.4)
    """
    numbers = [x for row in rows for x in row if x is not None]
    return min([0.0, *numbers]), max([0.0, *numbers])


def bar(value: float | None, low: float | None, high: float | None, ends: tuple[float, float]) -> str:
    """Return a bar from zero to a value, with its interval laid over it; nothing without a value.

    >>> bar(0.5, 0.25, 0.75, (0.0, 1.0))
    '━━━━━━━├──────●─────┤'
    >>> bar(-0.5, None, None, (-1.0, 1.0))
    '       ●━━━━━━┊'
    """
    if value is None:
        return ""
    first, last = ends
    span = (last - first) or 1.0

    def place(x: float) -> int:
        return round((x - first) / span * (WIDTH - 1))

    signs = [" "] * WIDTH
    signs[place(0.0)] = ZERO if first < 0 else LINE
    step = 1 if value >= 0 else -1
    for i in range(place(0.0) + (first < 0) * step, place(value), step):
        signs[i] = LINE
    if low is not None and high is not None:
        for i in range(place(low), place(high) + 1):
            signs[i] = REACH
        signs[place(low)], signs[place(high)] = LOW, HIGH
    signs[place(value)] = AT
    return "".join(signs).rstrip()
