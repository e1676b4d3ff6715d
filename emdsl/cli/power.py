"""`emdsl power`: how many samples it takes to show an effect, and which effect the samples of a study show."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.money import reached
from emdsl.cli.results import chosen_measure, loaded
from emdsl.compiler.compile import compile_file
from emdsl.errors import OutcomesError, UsageError
from emdsl.outcomes import database
from emdsl.outcomes.measures import by_columns
from emdsl.outcomes.power import (
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
from emdsl.value import Row

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.experiment import Experiment, Measure
    from emdsl.outcomes.power import Spread
    from emdsl.run.planner import ExperimentCount

FUNCTIONS = ("rate", "mean", "contrast")
OPEN = ("not_asked", "failed")


@click.command("power")
@session.with_options(session.FILE, session.CACHE, session.ENV_FILE, session.SIM, session.AS_JSON)
@session.option("--measure", "wanted", metavar="NAME", envvar=None, help="Which measure.  [default: the first]")
@session.option(
    "--effect", type=click.FloatRange(0, min_open=True), envvar=None,
    help="The difference to be shown, in the unit of the measure: 0.05.  [default: the measure's own `effect`]",
)  # fmt: skip
@session.option(
    "--rate", "assumed", type=click.FloatRange(0, 1), envvar=None,
    help="Assume this rate, where none is stored or in its place.",
)  # fmt: skip
@session.option("--power", type=click.FloatRange(0.5, 1, max_open=True), default=POWER, help="[default: 0.8]")
@session.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), default=ALPHA, help="[default: 0.05]")
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool, wanted: str | None,
    effect: float | None, assumed: float | None, power: float, alpha: float,
) -> int:  # fmt: skip
    """Say how many samples of each cell FILE needs to show an effect; asks nothing.

    For a rate or a mean the effect is between two groups of the measure; for a contrast, between its sides. Rates and
    spreads are those of the stored outcomes, or assumed.
    """
    console.expect_json(wanted=as_json)
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    experiment, measure = chosen_measure(program, wanted, FUNCTIONS)
    size = effect if effect is not None else measure.effect
    if size is None:
        raise UsageError(f"which effect? --effect 0.05, or `{measure.function}(..., effect: 0.05)` in the program")
    try:
        loaded(here, file, program)
        rows = stored_rows(here, file, experiment, measure)
    except OutcomesError:
        rows = None
    if assumed is not None and measure.function != "rate":
        raise UsageError(f"--rate is of a `rate`; `{measure.name}` is a {measure.function}")
    needs = needs_of(experiment, measure, rows, Wanted(effect=size, power=power, alpha=alpha), assumed)
    found = {
        "measure": measure.name, "effect": size, "power": power, "alpha": alpha, "samples": experiment.samples,
        "groups": [n.as_json() for n in needs],
    }  # fmt: skip
    if as_json:
        console.show_json(found)
        return 0
    console.say(
        f"{measure.name}: an effect of {size:g}, to be found in {power * 100:g} % of studies, "
        f"two-sided at {alpha * 100:g} %\n"
    )
    by = by_columns(measure)
    columns = [
        *by,
        "now",
        "from",
        "n",
        "needed",
        "samples",
        f"{PROMISED:.0%} range",
        f"shown by {experiment.samples:,}",
    ]
    console.show_table(columns, [n.shown() for n in needs], numeric=columns[len(by) :])
    console.say()
    console.say(verdict(experiment, needs))
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one group of a measure needs."""

    group: tuple[Any, ...]
    now: float | None  # the rate, mean or contrast
    source: str  # stored, assumed, or why it is not known
    n: int  # kept draws that are stored
    needed: float | None  # kept draws; infinite for never
    samples: float | None  # draws of each cell
    between: tuple[float, float] | None  # the same, at the ends of what stored draws allow; None for assumed values
    shows: float | None  # the smallest effect that the program's samples show

    def as_json(self) -> dict[str, Any]:
        """Return it as the CLI contract names it; what no number of samples shows is null."""
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

    def shown(self) -> list[Any]:
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


def verdict(experiment: Experiment, needs: list[Need]) -> str:
    """Return what follows, in a sentence."""
    if any(n.samples is None for n in needs):
        return "Not known yet: run a few samples first, such as `emdsl run FILE --samples 3`, or assume a --rate."
    most = max((n.samples or 0 for n in needs), default=0)
    if not math.isfinite(most):
        return (
            "By what is stored, no number of samples shows it: what differs lies between clusters. It takes more of "
            "them, such as more questions."
        )
    if most <= experiment.samples:
        return f"Enough: {experiment.samples:,} samples of each cell show it in every group."
    return f"samples = {_whole(most):,} would show it in every group; the program has {experiment.samples:,}."


def stored_rows(here: Session, file: Path, experiment: Experiment, measure: Measure) -> list[dict[str, Any]] | None:
    """Return the rows of a measure as loaded, with `loaded_samples` in each; None where it is not loaded.

    Raises OutcomesError where nothing is.
    """
    study = here.study(file)
    with database.opened(here.cache, study) as (connection, _):
        result = database.measure_rows(connection, study, measure.name)
        if result is None:
            return None
        samples = database.n_samples(connection, study, experiment)
    return [dict(zip(result.columns, r, strict=True)) | {"loaded_samples": samples} for r in result.rows]


def needs_of(
    experiment: Experiment, measure: Measure, rows: list[dict[str, Any]] | None, wanted: Wanted,
    assumed: float | None = None,
) -> list[Need]:  # fmt: skip
    """Return what each group of a measure needs to show an effect."""
    by = by_columns(measure)
    if rows is not None and all(set(by) <= set(r) and measure.function in r for r in rows):
        return [_stored(experiment, measure, tuple(r[b] for b in by), r, wanted, assumed) for r in rows]
    found = []
    for group, n_cells in _groups(experiment, measure).items():
        if assumed is None or measure.function != "rate":
            found.append(_unknown(group, 0))
        else:
            found.append(_of_rate(experiment, group, assumed, None, "assumed", 0, wanted, float(n_cells)))
    return found


def _unknown(group: tuple[Any, ...], n: int) -> Need:
    return Need(group=group, now=None, source="not known", n=n, needed=None, samples=None, between=None, shows=None)


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
        found = [exact_draws_of_rates(r, wanted) for r in (*ends, *inside, rate)]
        between = min(found) / per_sample, max(found) / per_sample
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
    now, source = (assumed, "assumed") if assumed is not None else (value, "stored")
    if now is None or (assumed is None and n < 2):
        return _unknown(group, n)
    clusters = measure.interval.cluster if measure.interval is not None else ()
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


def _spreads(measure: Measure, row: dict[str, Any], now: float, wanted: Wanted) -> tuple[Spread, Spread, Spread] | None:
    """Return what the stored draws say of the variance, and for both ends of where it may lie; None for nothing."""
    clusters = measure.interval.cluster if measure.interval is not None else ()
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
    """Return how much more two rates vary where one is off by the effect than as they are now; 1 for means."""
    if measure.of != "rate":
        return 1.0
    n = row["n"]
    rate = float(min(max((row["first"] + row["second"]) / 2, 1 / (n + 2)), (n + 1) / (n + 2)))
    other = min(1.0, rate + wanted.effect) if rate <= 0.5 else max(0.0, rate - wanted.effect)
    return max(1.0, (rate * (1 - rate) + other * (1 - other)) / (2 * rate * (1 - rate)))


def _groups(experiment: Experiment, measure: Measure) -> Counter[tuple[Any, ...]]:
    """Return how many cells each group of a measure has, where nothing is loaded."""
    axes = {a.name: i for i, a in enumerate(experiment.axes)}
    found: Counter[tuple[Any, ...]] = Counter()
    for cell in experiment.cells():
        group: list[Any] = []
        for first, *field in measure.by:
            if first not in axes:  # `sample`: one group of all draws
                group.append("")
                continue
            level = experiment.axes[axes[first]].levels[cell[axes[first]]]
            group.append(level.value.columns.get(field[0]) if field and isinstance(level.value, Row) else level.shown)
        found[tuple(group)] += 1
    return found


def power_notes(here: Session, file: Path, counts: list[ExperimentCount], budget: Decimal | None) -> list[str]:
    """Return what `plan` warns of: measures whose effect the planned samples cannot show, or those that are paid."""
    notes = []
    for count in counts:
        experiment, samples, reach = count.experiment, count.samples, reached(count, counts, budget)
        for measure in experiment.measures:
            if measure.effect is None:
                continue
            try:
                rows = stored_rows(here, file, experiment, measure)
            except OutcomesError:
                rows = None
            needs = needs_of(experiment, measure, rows, Wanted(effect=measure.effect))
            planned = samples * reach
            most = max((n.samples or 0 for n in needs), default=0)
            if most > planned:
                within = "" if reach >= 1 else f", of which the budget reaches for {math.floor(planned):,}"
                takes = (
                    f"it takes {_whole(most):,}" if math.isfinite(most) else "by what is stored, no number of them does"
                )
                notes.append(
                    f"measure `{measure.name}`: {samples:,} samples{within} cannot show an "
                    f"effect of {measure.effect:g}; {takes} (`emdsl power` says more)"
                )
    return notes
