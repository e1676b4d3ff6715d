"""Variance components: how much of the variance lies between questions, between samples, between models.

It is the method of moments on pairs of draws, so that unequal numbers need no care: the mean product of deviations of
pairs that agree in exactly the factors S is the sum of the components of all subsets of S. Pairs that agree in nothing
have mean product 0, but for the mean, which is estimated: theirs is subtracted. Source: Koch (1967), Technometrics 9;
Searle, Casella and McCulloch (1992), Variance Components, ch. 5.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DRAW = "draw"  # the source of what differs between draws of one combination
Combination = tuple[tuple[str, ...], float, float, int]  # levels; sum, sum of squares and number of values
Factors = tuple[int, ...]  # positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One source of variance: a factor, factors together (`q x sample`), or single draws.

    `variance` and `share` are None if it cannot be told from others. `error_twice` is the standard error of the mean
    with twice as many levels of it, which costs twice as much; `error_nested` with levels of its own in each
    combination of the others: a set of demonstrations for each question. None for factors together.
    """

    name: str
    variance: float | None
    share: float | None
    n_levels: int
    error_twice: float | None
    error_nested: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """All sources, the standard error of the mean if all factors are samples, and the design effect."""

    sources: tuple[Source, ...]
    error: float | None
    design_effect: float | None


def components(names: Sequence[str], rows: Sequence[Combination]) -> Components:
    """Return the variance components of values over crossed factors.

    Negative estimates are 0, and a factor with one level is unknown. What has no pairs to be told apart by is one
    with the smallest source that holds it: draws without repetition with the factors together.

    Args:
        names: The factors, at most 3.
        rows: A row for each combination of levels with a value.
    """
    single = [i for i in range(len(names)) if len({row[0][i] for row in rows}) == 1]
    if single and len(single) < len(names):  # nothing can be said about them, and the others need no care
        others = [i for i in range(len(names)) if i not in single]
        rest = components([names[i] for i in others], [(tuple(row[0][i] for i in others), *row[1:]) for row in rows])
        unknown = tuple(_unknown(names, (i,), 1) for i in single)
        return dataclasses.replace(rest, sources=(*rest.sources[:-1], *unknown, rest.sources[-1]))
    n = sum(row[3] for row in rows)
    mean = sum(row[1] for row in rows) / n if n else math.nan
    squares = sum(s - 2 * mean * t + m * mean * mean for _, t, s, m in rows)
    sets = list(_subsets(len(names)))
    products, pairs, sizes, levels = {}, {}, {}, {}
    for factors in sets:
        groups: dict[tuple[str, ...], list[float]] = {}
        for place, total, _, m in rows:
            group = groups.setdefault(tuple(place[i] for i in factors), [0.0, 0.0])
            group[0] += total - m * mean
            group[1] += m
        products[factors] = sum(g[0] ** 2 for g in groups.values()) - squares
        pairs[factors] = sum(g[1] ** 2 for g in groups.values()) - n
        sizes[factors] = sum(g[1] ** 2 for g in groups.values()) / (n * n) if n else math.nan
        levels[factors] = len(groups)
    alike = {f: _exactly(f, sets, products, pairs) for f in sets}  # mean products
    nothing = alike[()]
    if n < 2 or nothing is None or squares <= 0:
        sources = [*sets[1:], None]
        return Components(
            sources=tuple(_unknown(names, f, n if f is None else levels[f]) for f in sources), error=None,
            design_effect=None,
        )  # fmt: skip
    found: dict[Factors, float | None] = {}
    for factors in sets[1:]:
        mine = alike[factors]
        inside = [found[f] for f in sets[1:] if set(f) < set(factors)]
        known = mine is not None and None not in inside
        found[factors] = (
            max(0.0, mine - nothing - sum(v or 0.0 for v in inside)) if known and mine is not None else None
        )
    total = squares / n - nothing
    draw = max(0.0, total - sum(v or 0.0 for v in found.values()))
    return _summed(names, found, draw, n, sizes, levels)


def _summed(
    names: Sequence[str], found: dict[Factors, float | None], draw: float, n: int, sizes: dict[Factors, float],
    levels: dict[Factors, int],
) -> Components:  # fmt: skip
    whole = sum(v or 0.0 for v in found.values()) + draw

    every = max(found, key=len)

    def error(twice: int | None = None, *, nested: int | None = None, draws: bool = False) -> float:
        parts = sum(
            (v or 0.0) * sizes[every if nested in f else f] / (2 if twice in f else 1) for f, v in found.items()
        )
        return math.sqrt(parts + draw / n / (2 if draws or twice is not None else 1))

    sources = [
        Source(
            name=_called(names, f), variance=v, share=v / whole if v is not None and whole > 0 else None,
            n_levels=levels[f], error_twice=error(f[0]) if len(f) == 1 else None,
            error_nested=error(nested=f[0]) if len(f) == 1 and f != every else None,
        )
        for f, v in found.items()
    ]  # fmt: skip
    sources.append(
        Source(name=DRAW, variance=draw, share=draw / whole if whole > 0 else None, n_levels=n,
               error_twice=error(draws=True))
    )  # fmt: skip
    return Components(
        sources=tuple(sources), error=error(), design_effect=error() ** 2 / (whole / n) if whole > 0 else None
    )


def _exactly(
    factors: Factors, sets: list[Factors], products: dict[Factors, float], pairs: dict[Factors, float]
) -> float | None:
    """Return the mean product of pairs that agree in exactly some factors; None without such pairs."""
    above = [(f, (-1) ** (len(f) - len(factors))) for f in sets if set(f) >= set(factors)]
    n = sum(sign * pairs[f] for f, sign in above)
    return sum(sign * products[f] for f, sign in above) / n if n > 0.5 else None


def _subsets(n: int) -> Iterator[Factors]:
    for size in range(n + 1):
        yield from combinations(range(n), size)


def _called(names: Sequence[str], factors: Factors | None) -> str:
    return DRAW if factors is None else " x ".join(names[i] for i in factors)


def _unknown(names: Sequence[str], factors: Factors | None, n: int) -> Source:
    return Source(name=_called(names, factors), variance=None, share=None, n_levels=n, error_twice=None)
