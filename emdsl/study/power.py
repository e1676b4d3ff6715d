"""Power: the sample size that shows an effect, and the effect that the samples of a study show."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import OutcomesError, UnknownMeasure, UsageError
from emdsl.experiment import plain_difference
from emdsl.outcomes import database
from emdsl.outcomes.draws import by_columns
from emdsl.outcomes.sample_size import (
    ALPHA,
    POWER,
    PROMISED,
    Wanted,
    draws_of_rates,
    exact_draws_of_rates,
    rate_ends,
    smallest_effect,
    spread_of_clusters,
    spread_of_effects,
    spread_of_means,
    spread_of_pairs,
    variance_ends,
)
from emdsl.study.cost import affordable_share
from emdsl.study.refresh import load_if_stale
from emdsl.study.screen import Table
from emdsl.study.self_shown import SelfShown
from emdsl.study.tables import chosen_measure
from emdsl.value import LabelledMap, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal

    from emdsl.experiment import Experiment, Measure
    from emdsl.outcomes.sample_size import Spread
    from emdsl.run.count import ExperimentCount
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part
    from emdsl.value import Level

FUNCTIONS = ("rate", "mean", "contrast")
N_SIDES = 2  # of a contrast with a power analysis
OPEN = ("not_asked", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Power(SelfShown):
    """The sample size that shows an effect, for each group of a measure."""

    measure: str
    effect: float
    power: float
    alpha: float  # two-sided
    samples: int  # of each cell, in the study
    by: tuple[str, ...]
    groups: tuple[Need, ...]
    doubled: str  # what twice the cost buys, or ""

    def as_json(self) -> dict[str, Any]:
        """Return it as `emdsl power --json` prints it."""
        return {
            "measure": self.measure, "effect": self.effect, "power": self.power, "alpha": self.alpha,
            "samples": self.samples, "groups": [n.as_json() for n in self.groups], "doubled": self.doubled or None,
        }  # fmt: skip

    def parts(self) -> Iterator[Part]:
        """Yield the screen of `emdsl power`."""
        yield (
            f"{self.measure}: effect {self.effect:g}, power {self.power * 100:g} %, "
            f"two-sided alpha {self.alpha * 100:g} %\n"
        )
        figures = ["now", "from", "n", "n needed", "samples needed", f"{PROMISED:.0%} range"]
        figures.append(f"detectable with {self.samples:,}")
        yield Table([*self.by, *figures], [n.cells() for n in self.groups], numeric=figures)
        yield ""
        yield self.verdict
        if self.doubled:
            yield self.doubled

    @property
    def verdict(self) -> str:
        """The conclusion, in a sentence."""
        if any(n.samples is None for n in self.groups):
            return "Unknown yet: run a few samples first (`emdsl run FILE --samples 3`), or assume a --rate."
        most = max((n.samples or 0 for n in self.groups), default=0)
        if not math.isfinite(most):
            return (
                "By the cached answers, no number of samples is enough: the variation lies between clusters. Add "
                "clusters, e.g. questions."
            )
        if most <= self.samples:
            return f"Enough: {self.samples:,} samples of each cell show the effect in every group."
        return f"samples = {_whole(most):,} would show the effect in every group; the study has {self.samples:,}."


def compute_power(
    study: Compiled, *, measure: str | None = None, effect: float | None = None, rate: float | None = None,
    power: float = POWER, alpha: float = ALPHA,
) -> Power:  # fmt: skip
    """Return the sample size that each group of a measure needs to show an effect; nothing is sent.

    For a rate or a mean the effect is between two groups of the measure; for a contrast, between its sides. Rates and
    variances come from the cached answers.

    Args:
        study: The compiled study.
        measure: The measure; by default the first that fits.
        effect: The difference to show, in the unit of the measure; by default the measure's own `effect`.
        rate: Assume this rate instead of the one that is cached.
        power: The wanted probability to find the effect.
        alpha: The two-sided level of the test.

    Raises:
        UnknownMeasure: There is no such measure, or it has no power analysis.
        UsageError: No effect is given, a number is out of range, or a rate is for another kind of measure.
    """
    experiment, chosen = chosen_measure(study.program, measure, FUNCTIONS)
    if chosen.function == "contrast" and not (
        plain_difference(chosen.scale, chosen.of) and len(chosen.sides) == N_SIDES
    ):
        raise UnknownMeasure(
            f"`{chosen.name}` has no power analysis: it is not the difference of two rates or means",
            parameter="measure",
        )
    if chosen.via:
        raise UnknownMeasure(
            f"people's verdicts correct `{chosen.name}`: `emdsl power FILE --annotations` computes how many it needs",
            parameter="measure",
        )
    size = effect if effect is not None else chosen.effect
    if size is None:
        raise UsageError(
            f"no effect is given: set it, e.g. 0.05, or write `{chosen.function}(..., effect: 0.05)` in the study",
            parameter="effect",
        )
    for name, value, fits, expected in (
        ("effect", size, 0 < size < math.inf, "a number over 0"),
        ("rate", rate, rate is None or 0 <= rate <= 1, "a number from 0 to 1"),
        ("power", power, 0.5 <= power < 1, "a number from 0.5 to below 1"),
        ("alpha", alpha, 0 < alpha <= 0.5, "a number over 0, up to 0.5"),
    ):
        if not fits:
            raise UsageError(f"expected {expected}, not {value!r}", parameter=name)
    if chosen.scale != "difference":
        raise UsageError(f"`{chosen.name}` is a ratio, and power is computed for differences", parameter="measure")
    if rate is not None and chosen.function != "rate":
        raise UsageError(f"`{chosen.name}` is a {chosen.function}, not a rate", parameter="rate")
    rows = None
    with suppress(OutcomesError):  # nothing is loaded yet
        load_if_stale(study)
        rows = stored_rows(study, experiment, chosen)
    groups = needs_of(experiment, chosen, rows, Wanted(effect=size, power=power, alpha=alpha), rate)
    return Power(
        measure=chosen.name, effect=size, power=power, alpha=alpha, samples=experiment.samples,
        by=tuple(by_columns(chosen)), groups=tuple(groups), doubled=_doubled(rows or []),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The sample size that one group of a measure needs."""

    group: tuple[Any, ...]
    now: float | None  # the rate, mean or contrast
    source: str  # cached, assumed or unknown
    n: int  # cached draws that are kept
    needed: float | None  # kept draws; infinite for never
    samples: float | None  # draws of each cell
    between: tuple[float, float] | None  # the same, at both ends of the interval of the rate; None for assumed values
    shows: float | None  # the smallest effect that the program's samples show

    def as_json(self) -> dict[str, Any]:
        """Return it under the names of the command line's contract; null where no number of samples is enough."""
        return {
            "group": list(self.group), "now": self.now, "source": self.source, "n": self.n,
            "needed": _whole(self.needed), "samples": _whole(self.samples), "shows": self.shows,
            "samples_range": None if self.between is None else [_whole(x) for x in self.between],
        }  # fmt: skip

    @property
    def range(self) -> str:
        """Both ends in words."""
        if self.between is None:
            return ""
        low, high = map(_said, self.between)
        return low if low == high else f"{low} - {high}"

    def cells(self) -> list[Any]:
        """Return it as a row of a table."""
        return [
            *self.group, "" if self.now is None else f"{self.now:.3f}", self.source, f"{self.n:,}",
            _said(self.needed), _said(self.samples), self.range, "" if self.shows is None else f"{self.shows:.3g}",
        ]  # fmt: skip


def _whole(value: float | None) -> int | None:
    return math.ceil(value - 1e-9) if value is not None and math.isfinite(value) else None


def _said(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{_whole(value):,}" if math.isfinite(value) else "never"


def stored_rows(study: Compiled, experiment: Experiment, measure: Measure) -> list[dict[str, Any]] | None:
    """Return the loaded rows of a measure, with `loaded_samples` in each; None if it is not loaded.

    Raises OutcomesError if nothing is loaded.
    """
    with study.tables() as (connection, _):
        result = database.measure_rows(connection, study.name, measure.name)
        if result is None:
            return None
        samples = database.n_samples(connection, study.name, experiment)
    return [dict(zip(result.columns, r, strict=True)) | {"loaded_samples": samples} for r in result.rows]


def needs_of(
    experiment: Experiment, measure: Measure, rows: list[dict[str, Any]] | None, wanted: Wanted,
    assumed: float | None = None,
) -> list[Need]:  # fmt: skip
    """Return the need of each group of a measure."""
    by = by_columns(measure)
    if rows is not None and all(set(by) <= set(r) and measure.function in r for r in rows):
        return [_stored(experiment, measure, tuple(r[b] for b in by), r, wanted, assumed) for r in rows]
    needs = []
    for group, n_cells in _groups(experiment, measure).items():
        if assumed is None or measure.function != "rate":
            needs.append(_unknown(group, 0))
        else:
            needs.append(_of_rate(experiment, group, assumed, None, "assumed", 0, wanted, float(n_cells)))
    return needs


def _unknown(group: tuple[Any, ...], n: int) -> Need:
    return Need(group=group, now=None, source="unknown", n=n, needed=None, samples=None, between=None, shows=None)


def _of_rate(
    experiment: Experiment, group: tuple[Any, ...], now: float, ends: tuple[float, float] | None, source: str, n: int,
    wanted: Wanted, per_sample: float,
) -> Need:  # fmt: skip
    """Return what independent draws of a rate need; `ends` of where the rate may lie, `per_sample` kept draws."""
    # no hit or no miss in n draws: the rate is somewhere under 3 / n, by the rule of three
    rate = min(max(now, 1 / (n + 2)), (n + 1) / (n + 2)) if n else now

    def about(effect: float) -> float:
        return draws_of_rates(rate, Wanted(effect=effect, power=wanted.power, alpha=wanted.alpha))

    needed = exact_draws_of_rates(rate, wanted)
    between = None
    if ends is not None:
        inside = [0.5] if ends[0] < 0.5 < ends[1] else []
        draws = [exact_draws_of_rates(r, wanted) for r in (*ends, *inside, rate)]
        between = min(draws) / per_sample, max(draws) / per_sample
    return Need(
        group=group, now=now, source=source, n=n, needed=needed, samples=needed / per_sample, between=between,
        shows=smallest_effect(about, experiment.samples * per_sample),
    )  # fmt: skip


def _stored(
    experiment: Experiment, measure: Measure, group: tuple[Any, ...], row: dict[str, Any], wanted: Wanted,
    assumed: float | None,
) -> Need:  # fmt: skip
    """Return what a group needs, by its stored draws."""
    value, n = row[measure.function], row["n"]
    settled = row["n_planned"] - sum((row["dropped"] or {}).get(r, 0) for r in OPEN)
    kept = n / settled if settled and n else 1.0
    per_sample = row["n_planned"] / row["loaded_samples"] * kept
    now, source = (assumed, "assumed") if assumed is not None else (value, "cached")
    if now is None or (assumed is None and n < 2):
        return _unknown(group, n)
    clusters = _clusters(row)
    if measure.function == "rate" and not clusters:
        ends = rate_ends(now, n) if assumed is None else None
        return _of_rate(experiment, group, now, ends, source, n, wanted, per_sample)
    spreads = _spreads(measure, row, now, wanted)
    if spreads is None:
        return _unknown(group, n)
    needed, low, high = (spread.draws(wanted) for spread in spreads)
    return Need(
        group=group, now=now, source=source, n=n, needed=needed, samples=needed / per_sample,
        between=(min(low, needed) / per_sample, max(high, needed) / per_sample),
        shows=spreads[0].shows(experiment.samples * per_sample, wanted),
    )  # fmt: skip


def _clusters(row: dict[str, Any]) -> list[str]:
    """Return the clusters that the interval of a row rests on."""
    named = row.get("clustered_by")
    return named.split(" and ") if named else []


def _doubled(rows: list[dict[str, Any]]) -> str:
    """Return what twice the cost buys, as more clusters or as more samples; nothing where it is not known.

    With C clusters of m draws and the share r of the variance between them, the variance of a mean is in proportion to
    (r + (1 - r) / m) / C. Source: Kish (1965), Survey Sampling.
    """
    names, gains = set[str](), list[float]()
    for row in rows:
        effect, n_clusters = row.get("design_effect"), row.get("clusters") or 0
        clusters, n = _clusters(row), row.get("n_units") or row["n"]  # the pairs of a contrast
        if effect is None or len(clusters) != 1 or "sample" in clusters or n <= n_clusters:
            continue
        size = n / n_clusters
        share = min(1.0, max(0.0, (effect - 1) / (size - 1)))
        gains.append(1 - math.sqrt((share + (1 - share) / (2 * size)) / (share + (1 - share) / size)))
        names.add(clusters[0])
    if not gains or len(names) != 1:
        return ""
    return (
        f"For twice the cost: twice as many levels of `{names.pop()}` make intervals "
        f"{(1 - math.sqrt(0.5)) * 100:.0f} % shorter, twice as many samples {statistics.fmean(gains) * 100:.0f} %."
    )


def _spreads(measure: Measure, row: dict[str, Any], now: float, wanted: Wanted) -> tuple[Spread, Spread, Spread] | None:
    """Return the variance by the cached answers, and by both ends of its interval; None if unknown."""
    clusters = _clusters(row)
    n, error, n_clusters = row["n"], row.get("se"), row.get("clusters") or 0
    at: Callable[[float], Spread | None]
    if measure.function == "mean" and not clusters:
        if not row["sd"]:
            return None
        freedom, at = n - 1, lambda times: spread_of_means(row["sd"] * math.sqrt(times))
    elif not error or (clusters and n_clusters < 2):
        return None
    elif measure.function == "contrast" and (not clusters or "sample" in clusters):
        units, scale = n_clusters if clusters else row["n_units"], _apart(measure, row, wanted)
        freedom, at = units - 1, lambda times: spread_of_pairs(error * math.sqrt(times * scale), n, units)
    elif measure.function == "contrast":
        freedom, scale = n_clusters - 1, _apart(measure, row, wanted)

        def at(times: float) -> Spread | None:
            of_pairs = row["se_pairs"] * math.sqrt(scale)
            return spread_of_effects(error * math.sqrt(times * scale), of_pairs, n, row["n_units"], n_clusters)
    else:
        other = min(1.0, now + wanted.effect) if now <= 0.5 else max(0.0, now - wanted.effect)
        of_rates = (now * (1 - now) + other * (1 - other)) / 2
        variance = row["sd"] ** 2 if measure.function == "mean" else of_rates
        # the share between clusters is that of the draws as they are; it holds for the other group too
        scale = 1.0 if measure.function == "mean" or not now * (1 - now) else of_rates / (now * (1 - now))
        freedom = n_clusters - 1

        def at(times: float) -> Spread | None:
            return spread_of_clusters(
                variance, error * math.sqrt(times * scale), n, n_clusters, grows="sample" in clusters
            )

    least, most = variance_ends(freedom)
    spread, low, high = at(1.0), at(least), at(most)
    return None if spread is None or low is None or high is None else (spread, low, high)


def _apart(measure: Measure, row: dict[str, Any], wanted: Wanted) -> float:
    """Return how much more two rates vary where one is off by the effect than as they are now; else 1."""
    if measure.of != "rate" or len(measure.sides) != 2:
        return 1.0
    n = row["n"]
    rate = float(min(max((row["first"] + row["second"]) / 2, 1 / (n + 2)), (n + 1) / (n + 2)))
    other = min(1.0, rate + wanted.effect) if rate <= 0.5 else max(0.0, rate - wanted.effect)
    return max(1.0, (rate * (1 - rate) + other * (1 - other)) / (2 * rate * (1 - rate)))


def _groups(experiment: Experiment, measure: Measure) -> Counter[tuple[Any, ...]]:
    """Return how many cells each group of a measure has, where nothing is loaded."""
    axes = {a.name: i for i, a in enumerate(experiment.axes)}
    groups: Counter[tuple[Any, ...]] = Counter()
    for cell in experiment.cells():
        group: list[Any] = []
        for first, *field in measure.by:
            if first not in axes:  # `sample`: one group of all draws
                group.append("")
                continue
            level = experiment.axes[axes[first]].levels[cell[axes[first]]]
            group.append(_part(level, field[0]) if field else level.shown)
        groups[tuple(group)] += 1
    return groups


def _part(level: Level, name: str) -> Any:
    """Return a column of the row, or a field of the record, that a level is; otherwise how it is shown."""
    match level.value:
        case Row(columns=columns):
            return columns.get(name)
        case LabelledMap(entries=entries):
            return dict(entries).get(name)
        case _:
            return level.shown


def power_notices(study: Compiled, counts: list[ExperimentCount], budget: Decimal | None) -> list[str]:
    """Return notices about measures whose effect the planned samples cannot show, or those that the budget pays for."""
    notices = []
    for count in counts:
        experiment, samples = count.experiment, count.samples
        share = affordable_share(count, counts, budget)
        for measure in experiment.measures:
            if measure.effect is None:
                continue
            rows = None
            with suppress(OutcomesError):  # nothing is loaded yet
                rows = stored_rows(study, experiment, measure)
            needs = needs_of(experiment, measure, rows, Wanted(effect=measure.effect))
            affordable = samples * share
            most = max((n.samples or 0 for n in needs), default=0)
            if most > affordable:
                within = "" if share >= 1 else f" (the budget pays for about {math.floor(affordable):,})"
                enough = f"{_whole(most):,} are needed" if math.isfinite(most) else "no number of samples is enough"
                notices.append(
                    f"measure `{measure.name}`: {samples:,} samples{within} cannot show an effect of "
                    f"{measure.effect:g}; {enough}. Details: emdsl power {study.file}"
                )
    return notices
