"""Contrasts: intervals and tests of what separates sides, on the scale of differences, ratios or odds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.outcomes.clustered import clipped, effective, student_interval
from emdsl.outcomes.distributions import binomial_cdf, fisher, t_tails
from emdsl.outcomes.intervals import Interval, newcombe
from emdsl.outcomes.spread import SPREAD

if TYPE_CHECKING:
    from emdsl.experiment import Measure
    from emdsl.outcomes.spread import Spread

MAX_DISCORDANT = 25  # pairs that differ, up to which McNemar's exact test is used


@dataclass(frozen=True, slots=True)
class Sides:
    """The rate or mean of each side, and its number of draws."""

    values: tuple[float, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One contrast: its value and how it varies; of paired binary draws, how many pairs differ in either way."""

    value: float
    measure: Measure
    sides: Sides
    spread: Spread
    discordant: tuple[int, int] | None = None

    @property
    def _log(self) -> bool:
        return self.measure.scale != "difference"

    @property
    def _level(self) -> float:
        assert self.measure.interval is not None
        return self.measure.interval.level

    @property
    def _position(self) -> float:
        """The value on the scale on which its error is: of a ratio its logarithm."""
        return math.log(self.value) if self._log else self.value

    @property
    def error(self) -> float | None:
        """The standard error, of a ratio that of its logarithm; None if it is unknown."""
        error = self.spread.error
        return None if error is None or (self._log and self.value <= 0) else error

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Both ends; of rates whose units do not differ the score interval of rates with effective numbers of draws."""
        if self.error is None:
            return None, None
        if self.error < SPREAD:
            if self.measure.of == "rate" and not self._log and len(self.sides.values) == 2:
                (first, second), (n_first, n_second) = self.sides.values, self._effective
                return newcombe(first, n_first, second, n_second, self._level)
            return None, None
        low, high = student_interval(self._position, self.error, self.spread.freedom, self._level)
        if self._log:
            return math.exp(low), math.exp(high)
        if self.measure.of == "mean":
            return low, high
        reach = len(self.sides.values) / 2
        return (max(-reach, low), min(reach, high)) if reach > 1 else clipped(Interval(low, high), -1.0)

    @property
    def p(self) -> float | None:
        """The two-sided p-value of no difference; None if it is unknown.

        By McNemar's exact test where few independent pairs differ, else by Student's test; where units do not vary by
        Fisher's exact test of rates, or the sign test of means and of clusters.
        """
        if self.error is None:
            return None
        if self.discordant is not None and sum(self.discordant) <= MAX_DISCORDANT and self._independent:
            return min(1.0, 2 * binomial_cdf(min(self.discordant), sum(self.discordant), 0.5))
        if self.error >= SPREAD:
            return t_tails(self._position / self.error, self.spread.freedom)
        if self.measure.of == "rate" and len(self.sides.values) == 2 and not self.spread.names:
            hits = [round(v * n) for v, n in zip(self.sides.values, self.sides.numbers, strict=True)]
            return fisher(hits[0], self.sides.numbers[0], hits[1], self.sides.numbers[1])
        return 1.0 if self._position == 0 else 2.0 ** (1 - self.spread.n)  # as many signs could have been turned

    @property
    def _effective(self) -> list[float]:
        """The effective number of draws of both sides; the number itself without clusters."""
        if not self.spread.names:
            return [float(n) for n in self.sides.numbers]
        n = sum(self.sides.numbers)
        return [
            effective(value, n, self.spread, self._level) * of_side / n
            for value, of_side in zip(self.sides.values, self.sides.numbers, strict=True)
        ]

    @property
    def _independent(self) -> bool:
        """Whether each pair is a unit of its own: there are no clusters, or each has one pair."""
        return self.spread.n == self.spread.alone.n

    @property
    def p_equivalent(self) -> float | None:
        """The p-value of two one-sided tests that the contrast lies within the margin; None if it is unknown.

        Source: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15.
        """
        margin = self.measure.equivalent
        if margin is None or self.error is None or self.error < SPREAD:
            return None
        reach = math.log(margin) if self._log else margin
        steps = ((reach - self._position) / self.error, (reach + self._position) / self.error)
        return max(_upper(t, self.spread.freedom) for t in steps)


def _upper(t: float, freedom: float) -> float:
    """Return the probability of a value of Student's distribution above t."""
    tail = t_tails(t, freedom) / 2
    return tail if t > 0 else 1 - tail
