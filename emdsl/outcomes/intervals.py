"""Intervals of rates, means, contrasts, quantiles and agreement: in Python, and in SQL for the tables."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from emdsl.outcomes.distributions import beta_quantile, t_quantile


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


def wilson(hits: float, n: float, z: float = 1.959963984540054) -> Interval:
    """Return the score interval of a rate, as two fractions in [0, 1].

    `z` is a normal quantile: 1.96 is 95 %. Numbers need not be whole: see `clustered.py`. Raises ValueError unless
    0 <= hits <= n and n > 0.
    Source: Wilson (1927), JASA 22, pp. 209-212.

    >>> [round(x, 3) for x in wilson(3, 10)]
    [0.108, 0.603]
    """
    _check(hits, n)
    p, square = hits / n, z * z
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(p * (1 - p) / n + square / (4 * n * n)) / (1 + square / n)
    return Interval(0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == n else min(1.0, centre + half))


def wald(hits: float, n: float, z: float = 1.959963984540054) -> Interval:
    """Return the normal interval of a rate, clipped to [0, 1]: common in papers, but Wilson's is better for small n.

    Without hits or without misses it would have no width: then it is Wilson's. Raises ValueError as `wilson` does.

    >>> [round(x, 3) for x in wald(3, 10)]
    [0.016, 0.584]
    """
    _check(hits, n)
    if hits in (0, n):
        return wilson(hits, n, z)
    p = hits / n
    half = z * math.sqrt(p * (1 - p) / n)
    return Interval(max(0.0, p - half), min(1.0, p + half))


def agresti_coull(hits: float, n: float, z: float = 1.959963984540054) -> Interval:
    """Return the normal interval around Wilson's center, clipped to [0, 1].

    Raises ValueError as `wilson` does. Source: Agresti and Coull (1998), The American Statistician 52, pp. 119-126.

    >>> [round(x, 3) for x in agresti_coull(3, 10)]
    [0.103, 0.608]
    """
    _check(hits, n)
    p = (hits + z * z / 2) / (n + z * z)
    half = z * math.sqrt(p * (1 - p) / (n + z * z))
    return Interval(max(0.0, p - half), min(1.0, p + half))


def clopper_pearson(hits: float, n: float, level: float = 0.95) -> Interval:
    """Return the exact interval of a rate: its coverage is at least its level.

    Raises ValueError as `wilson` does. Source: Clopper and Pearson (1934), Biometrika 26, pp. 404-413.

    >>> [round(x, 3) for x in clopper_pearson(3, 10)]
    [0.067, 0.652]
    """
    return Interval(exact_low(hits, n, level), 1 - exact_low(n - hits, n, level))


def exact_low(hits: float, n: float, level: float = 0.95) -> float:
    """Return the lower end of Clopper and Pearson's interval alone; the upper end is that of the misses.

    >>> round(exact_low(3, 10), 3), round(1 - exact_low(7, 10), 3)
    (0.067, 0.652)
    """
    _check(hits, n)
    return beta_quantile((1 - level) / 2, hits, n - hits + 1) if hits else 0.0


def _check(hits: float, n: float) -> None:
    if not (n > 0 and 0 <= hits <= n):
        raise ValueError(f"{hits} of {n} is not a rate")


def rate_sql(
    method: str, level: float = 0.95, hits: str = "hits", n: str = "n", *, z: str | None = None
) -> tuple[str, str]:
    """Return SQL for both ends of a rate's interval, by the formulas above; NULL if n is 0.

    `z` replaces the quantile of the level.
    """
    z = z or repr(quantile_of(level))
    p = f"({hits}::DOUBLE / {n})"
    if method == "wald":
        half = f"{z} * sqrt({p} * (1 - {p}) / {n})"
        at_end = f"{hits} = 0 OR {hits} = {n}"
        wilson_low, wilson_high = rate_sql("wilson", level, hits, n, z=z)
        low, high = f"greatest(0.0, {p} - {half})", f"least(1.0, {p} + {half})"
        return (
            f"CASE WHEN {at_end} THEN {wilson_low} WHEN {n} > 0 THEN {low} END",
            f"CASE WHEN {at_end} THEN {wilson_high} WHEN {n} > 0 THEN {high} END",
        )
    if method == "agresti_coull":
        p = f"(({hits} + {z} * {z} / 2) / ({n} + {z} * {z}))"
        half = f"{z} * sqrt({p} * (1 - {p}) / ({n} + {z} * {z}))"
        low, high = f"greatest(0.0, {p} - {half})", f"least(1.0, {p} + {half})"
        return f"CASE WHEN {n} > 0 THEN {low} END", f"CASE WHEN {n} > 0 THEN {high} END"
    centre = f"({p} + {z} * {z} / (2 * {n}))"
    half = f"{z} * sqrt({p} * (1 - {p}) / {n} + {z} * {z} / (4.0 * {n} * {n}))"
    scale = f"(1 + {z} * {z} / {n})"
    low = f"CASE WHEN {hits} = 0 THEN 0.0 ELSE greatest(0.0, ({centre} - {half}) / {scale}) END"
    high = f"CASE WHEN {hits} = {n} THEN 1.0 ELSE least(1.0, ({centre} + {half}) / {scale}) END"
    return f"CASE WHEN {n} > 0 THEN {low} END", f"CASE WHEN {n} > 0 THEN {high} END"


EXACT_DF = 60  # degrees of freedom up to which Student's quantiles are listed; above, an expansion is exact to 1e-7


def t_sql(level: float, df: str) -> str:
    """Return SQL for Student's two-sided quantile with `df` degrees of freedom; NULL below one.

    Source of the expansion: Abramowitz and Stegun (1964), 26.7.5.
    """
    listed = ", ".join(repr(t_quantile(0.5 + level / 2, n)) for n in range(1, EXACT_DF + 1))
    z, v = quantile_of(level), f"({df})::DOUBLE"
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    series = " + ".join([repr(z), *(f"{term!r} / power({v}, {i})" for i, term in enumerate(terms, start=1))])
    return (
        f"CASE WHEN {df} BETWEEN 1 AND {EXACT_DF} THEN [{listed}][({df})::INT] WHEN {df} > {EXACT_DF} THEN {series} END"
    )


def mean_sql(level: float, value: str) -> tuple[str, str, str]:
    """Return SQL for both ends of a mean's interval by Student's distribution, and for its standard error.

    There is no interval of values that are all equal: they say nothing about how values differ.
    """
    mean, sd = f"avg({value} ORDER BY {value})", f"stddev_samp({value} ORDER BY {value})"
    error = f"{sd} / sqrt(count({value}))"
    half = f"{t_sql(level, f'count({value}) - 1')} * nullif({error}, 0)"
    return f"{mean} - {half}", f"{mean} + {half}", error


def newcombe(first: float, n_first: float, second: float, n_second: float, level: float) -> Interval:
    """Return the interval of a difference of two independent rates: the score interval.

    Source: Newcombe (1998), Statistics in Medicine 17, pp. 873-890, method 10: from Wilson's ends of both.

    >>> [round(x, 3) for x in newcombe(0.3, 10, 0.3, 10, 0.95)]
    [-0.359, 0.359]
    """
    z = quantile_of(level)
    (low_1, high_1), (low_2, high_2) = wilson(first * n_first, n_first, z), wilson(second * n_second, n_second, z)
    down, up = math.hypot(first - low_1, high_2 - second), math.hypot(high_1 - first, second - low_2)
    return Interval(max(-1.0, first - second - down), min(1.0, first - second + up))


def ranks_sql(at: float, level: float, value: str) -> tuple[str, str]:
    """Return SQL for both ends of a quantile's interval by order statistics; NULL for an end beyond the values.

    The ranks are n q -+ z sqrt(n q (1 - q)), rounded outwards. Source: Conover (1999), Practical Nonparametric
    Statistics, ch. 3.2.
    """
    z = repr(quantile_of(level))
    n, values = f"count({value})", f"list_sort(list({value}) FILTER ({value} IS NOT NULL))"
    half = f"{z} * sqrt({n} * {at!r} * {1 - at!r})"
    low, high = f"floor({n} * {at!r} - {half})::BIGINT", f"ceil({n} * {at!r} + {half})::BIGINT + 1"
    return (
        f"CASE WHEN {low} >= 1 THEN {values}[{low}] END",
        f"CASE WHEN {high} <= {n} THEN {values}[{high}] END",
    )


def kappa_sql(first: str, second: str, kept: str, level: float) -> tuple[str, str, str]:
    """Return SQL for Cohen's kappa of two raters and both ends of its interval; NULL if both use one label only.

    Raters that always agree, or never do, have no interval: it would have no width.
    Source: Cohen (1960), Educational and Psychological Measurement 20, pp. 37-46: (po - pe) / (1 - pe), with
    the standard error sqrt(po (1 - po) / n) / (1 - pe).
    """
    z, n = repr(quantile_of(level)), f"(count(*) {kept})::DOUBLE"
    a, b = (f"histogram({x}::VARCHAR) {kept}" for x in (first, second))
    po = f"((count(*) {kept[:-1]} AND {first} = {second})) / {n})"
    pe = f"(list_sum(list_transform(map_keys({a}), lambda k: ({a})[k]::DOUBLE * COALESCE(({b})[k], 0))) / ({n} * {n}))"
    kappa = f"({po} - {pe}) / (1 - {pe})"
    half = f"{z} * sqrt({po} * (1 - {po}) / {n}) / (1 - {pe})"
    known = f"CASE WHEN {n} > 0 AND {pe} < 1 THEN"
    low, high = f"greatest(-1.0, {kappa} - {half})", f"least(1.0, {kappa} + {half})"
    varies = f"{known[: -len(' THEN')]} AND {po} > 0 AND {po} < 1 THEN"
    return f"{known} {kappa} END", f"{varies} {low} END", f"{varies} {high} END"


def alpha_sql(first: str, second: str, kept: str) -> str:
    """Return SQL for Krippendorff's alpha of two raters' numbers (interval metric); NULL if all are equal.

    Source: Krippendorff (2011), "Computing Krippendorff's alpha-reliability": 1 - Do / De, with Do the mean
    squared difference within pairs, and De that of any two of all values.
    """
    n = f"(count(*) {kept})"
    a, b = (f"({x})::DOUBLE" for x in (first, second))
    spread = f"(var_pop({a}) {kept}) + (var_pop({b}) {kept}) + power((avg({a}) {kept}) - (avg({b}) {kept}), 2) / 2"
    expected = f"(2.0 * {n} * ({spread}) / (2.0 * {n} - 1))"
    observed = f"(avg(power({a} - {b}, 2)) {kept})"
    return f"CASE WHEN {n} > 0 AND {expected} > 0 THEN 1 - {observed} / {expected} END"
