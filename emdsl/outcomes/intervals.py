"""Intervals of rates and means: in Python for whoever computes by hand, in SQL for the tables."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """Both ends, as fractions in [0, 1] for a rate."""

    low: float
    high: float


def quantile_of(level: float) -> float:
    """Return the normal quantile of a two-sided interval.

    >>> round(quantile_of(0.95), 3)
    1.96
    """
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(hits: int, n: int, z: float = 1.959963984540054) -> Interval:
    """Return the score interval of a rate, as two fractions in [0, 1].

    `z` is a normal quantile: 1.96 is 95 %. Raises ValueError unless 0 <= hits <= n and n >= 1.
    Source: Wilson (1927), JASA 22, pp. 209-212.

    >>> [round(x, 3) for x in wilson(3, 10)]
    [0.108, 0.603]
    """
    _check(hits, n)
    p, square = hits / n, z * z
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(p * (1 - p) / n + square / (4 * n * n)) / (1 + square / n)
    return Interval(0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == n else min(1.0, centre + half))


def wald(hits: int, n: int, z: float = 1.959963984540054) -> Interval:
    """Return the normal interval of a rate, cut to [0, 1]; papers report it, Wilson is honest for small n.

    Raises ValueError as `wilson` does.

    >>> [round(x, 3) for x in wald(3, 10)]
    [0.016, 0.584]
    """
    _check(hits, n)
    p = hits / n
    half = z * math.sqrt(p * (1 - p) / n)
    return Interval(max(0.0, p - half), min(1.0, p + half))


def _check(hits: int, n: int) -> None:
    if not (n >= 1 and 0 <= hits <= n):
        raise ValueError(f"{hits} of {n} is no rate")


def rate_sql(method: str, level: float, hits: str = "hits", n: str = "n") -> tuple[str, str]:
    """Return SQL for both ends of a rate's interval; NULL where n is 0. The formulas are those above."""
    z = repr(quantile_of(level))
    p = f"({hits}::DOUBLE / {n})"
    if method == "wald":
        half = f"{z} * sqrt({p} * (1 - {p}) / {n})"
        low, high = f"greatest(0.0, {p} - {half})", f"least(1.0, {p} + {half})"
        return f"CASE WHEN {n} > 0 THEN {low} END", f"CASE WHEN {n} > 0 THEN {high} END"
    centre = f"({p} + {z} * {z} / (2 * {n}))"
    half = f"{z} * sqrt({p} * (1 - {p}) / {n} + {z} * {z} / (4.0 * {n} * {n}))"
    scale = f"(1 + {z} * {z} / {n})"
    low = f"CASE WHEN {hits} = 0 THEN 0.0 ELSE greatest(0.0, ({centre} - {half}) / {scale}) END"
    high = f"CASE WHEN {hits} = {n} THEN 1.0 ELSE least(1.0, ({centre} + {half}) / {scale}) END"
    return f"CASE WHEN {n} > 0 THEN {low} END", f"CASE WHEN {n} > 0 THEN {high} END"


def mean_sql(level: float, value: str) -> tuple[str, str]:
    """Return SQL for both ends of a mean's normal interval; NULL under two values."""
    z = repr(quantile_of(level))
    mean, sd = f"avg({value} ORDER BY {value})", f"stddev_samp({value} ORDER BY {value})"
    half = f"{z} * {sd} / sqrt(count({value}))"
    return f"{mean} - {half}", f"{mean} + {half}"
