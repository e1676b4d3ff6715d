"""The number of annotations that a corrected rate needs for an interval of some width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import UnknownMeasure, UsageError
from emdsl.outcomes.annotation_size import annotations_needed, assumed, assumed_of, widths
from emdsl.outcomes.corrected_rows import items_by_group
from emdsl.outcomes.draws import by_columns
from emdsl.study.refresh import load_if_stale
from emdsl.study.screen import Table, text_of
from emdsl.study.tables import chosen_measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.outcomes.annotation_size import Assumed
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part

NUMBERS = (30, 60, 120, 240, 480, 960)
HALF_WIDTH = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNeed:
    """One group of a measure: its assumptions, the half width by number of annotations, and the number needed.

    `assumed` is None and `widths` is empty until it has a positive and a negative verdict.
    """

    group: tuple[Any, ...]
    n_draws: int
    n_annotated: int
    assumed: Assumed | None
    widths: Mapping[int, float | None]
    needed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationPower:
    """The numbers of annotations that each group of a corrected rate needs for an interval of `half_width`."""

    measure: str
    via: str
    level: float
    half_width: float
    by: tuple[str, ...]
    groups: tuple[GroupNeed, ...]

    def __str__(self) -> str:
        """Return it as `emdsl power --annotations` shows it."""
        return text_of(self.parts())

    def as_json(self) -> dict[str, Any]:
        """Return it as `emdsl power --annotations --json` prints it."""
        groups = [
            {
                "group": dict(zip(self.by, g.group, strict=True)), "draws": g.n_draws, "annotated": g.n_annotated,
                "rate": g.assumed.rate if g.assumed else None,
                "sensitivity": g.assumed.sensitivity if g.assumed else None,
                "specificity": g.assumed.specificity if g.assumed else None,
                "half_widths": {str(n): width for n, width in g.widths.items()}, "needed": g.needed,
            }
            for g in self.groups
        ]  # fmt: skip
        return {"measure": self.measure, "half_width": self.half_width, "level": self.level, "groups": groups}

    def parts(self) -> Iterator[Part]:
        """Yield the screen of `emdsl power --annotations`."""
        yield f"{self.measure}: expected half width of the {self.level * 100:g} % interval, by number of annotations\n"
        numbers = [n for n in NUMBERS if any(n in g.widths for g in self.groups)]
        figures = [f"{n:,}" for n in numbers]
        columns = [*self.by, "draws", "now", "rate", "sensitivity", "specificity", *figures, f"for {self.half_width:g}"]
        rows = []
        for g in self.groups:
            assumed = [f"{x:.2f}" for x in (g.assumed.rate, g.assumed.sensitivity, g.assumed.specificity)] \
                if g.assumed else ["", "", ""]  # fmt: skip
            figures_of = [f"{w:.3f}" if (w := g.widths.get(n)) is not None else "" for n in numbers]
            rows.append([*g.group, g.n_draws, g.n_annotated, *assumed, *figures_of, g.needed or ""])
        yield Table(columns, rows, numeric=columns[len(self.by) :])
        yield ""
        if any(g.assumed is None for g in self.groups):
            yield "Unknown yet in some groups: judge a few rows first (`emdsl annotate FILE`), or assume figures."
        elif any(g.needed is None for g in self.groups):
            yield f"Some groups have too few draws for {self.half_width:g}: more samples help, not more annotations."
        else:
            most = max(g.needed or 0 for g in self.groups)
            yield f"draw = {most:,} in each group is expected to give +-{self.half_width:g} or less."


def annotation_power(
    study: Compiled, *, measure: str | None = None, half_width: float = HALF_WIDTH, rate: float | None = None,
    sensitivity: float | None = None, specificity: float | None = None,
) -> AnnotationPower:  # fmt: skip
    """Return how many annotations the groups of a corrected rate need; nothing is sent.

    Args:
        study: The compiled study.
        measure: The rate with `via`; by default the first.
        half_width: The wanted half width of the interval.
        rate: The assumed rate of people's verdicts; it needs both other assumptions.
        sensitivity: The assumed sensitivity of the judge.
        specificity: The assumed specificity of the judge.

    Raises:
        UnknownMeasure: There is no such measure.
        UsageError: Only some of the three assumptions are given, or the rate is 0 or 1.
    """
    given = (rate, sensitivity, specificity)
    if any(x is not None for x in given) and None in given:
        raise UsageError("give all of --rate, --sensitivity and --specificity, or none of them")
    if rate is not None and not 0 < rate < 1:
        raise UsageError(f"a rate of 0 or 1 has no width: assume one between them, not {rate:g}", parameter="rate")
    experiment, chosen = chosen_measure(study.program, measure or _first(study), ("rate",))
    if not chosen.via or chosen.interval is None:
        raise UnknownMeasure(f"`{chosen.name}` has no `via`: nothing corrects it", parameter="measure")
    load_if_stale(study)
    with study.tables() as (connection, _):
        groups = items_by_group(lambda sql: connection.execute(sql).fetchall(), experiment, chosen, study.name)
    needs = []
    for group, items in groups:
        n_draws = sum(i.times for i in items)
        clusters = chosen.interval.clusters
        if rate is not None and sensitivity is not None and specificity is not None:
            figures = assumed(items, clusters, rate=rate, sensitivity=sensitivity, specificity=specificity)
        else:
            figures = assumed_of(items, clusters)
        numbers = [n for n in NUMBERS if n <= n_draws]
        half = widths(figures, numbers, chosen.interval.level, chosen.via) if figures else []
        needed = annotations_needed(figures, half_width, chosen.interval.level, chosen.via) if figures else None
        needs.append(
            GroupNeed(
                group=group, n_draws=n_draws, n_annotated=sum(i.times for i in items if i.person is not None),
                assumed=figures, widths={w.n: w.half_width for w in half}, needed=needed,
            )
        )  # fmt: skip
    return AnnotationPower(
        measure=chosen.name, via=chosen.via, level=chosen.interval.level, half_width=half_width,
        by=tuple(by_columns(chosen)), groups=tuple(needs),
    )  # fmt: skip


def _first(study: Compiled) -> str:
    """Return the first measure with `via`."""
    for experiment in study.program.experiments:
        for measure in experiment.measures:
            if measure.via:
                return measure.name
    raise UnknownMeasure("no measure has `via`: write `rate(CONDITION, via: ppi(NAME is LABEL))`", parameter="measure")
