"""Figures of single scores: histogram, box, strip and scatter of a measure's draws, and correlations of judges."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from emdsl.errors import NotDrawable
from emdsl.outcomes.figure_data import (
    GroupedScores,
    Score,
    ScoreData,
    judge_correlations,
    score_of,
    score_pair,
    scored_steps,
)
from emdsl.redact import mask
from emdsl.report import charts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.experiment import Experiment, Measure
    from emdsl.study.compiled import Compiled

Maker = Callable[[charts.Style], charts.Chart]  # draws what is known in a style


def score_kinds(experiment: Experiment, measure: Measure) -> list[str]:
    """Return the kinds of figures of a measure's scores."""
    kinds = [charts.HISTOGRAM, charts.BOX, charts.STRIP] if score_of(experiment, measure) is not None else []
    kinds += [charts.SCATTER] if score_pair(experiment, measure) is not None else []
    judges = [s for s in scored_steps(experiment) if s.kind == "judge"]
    return [*kinds, *([charts.MATRIX] if len(judges) > 1 else [])]


def draw_scores(
    study: Compiled, experiment: Experiment, measure: Measure, kind: str, lines: Sequence[charts.Line], *,
    incomplete: bool,
) -> tuple[Maker, bool]:  # fmt: skip
    """Return what draws the scores of a measure, and whether any is simulated; raises NotDrawable without a score."""
    pair = score_pair(experiment, measure) if kind == charts.SCATTER else None
    one = score_of(experiment, measure)
    scores = list(pair) if pair is not None else [one] if one is not None else []
    with study.tables() as (connection, _):
        data = ScoreData(connection, study.name, experiment, measure, scores, whole=kind == charts.SCATTER)
        found = data.histogram() if kind == charts.HISTOGRAM else data.box() if kind == charts.BOX else data.sample()
    if not found.n:
        raise NotDrawable(f"measure `{measure.name}` has no draw with a score: there is nothing to draw")
    taken = _scores(measure, scores, found, sampled=kind in (charts.STRIP, charts.SCATTER), incomplete=incomplete)
    if kind == charts.SCATTER:
        return partial(charts.scatter, taken), found.simulated
    by_kind = {charts.HISTOGRAM: charts.histogram, charts.BOX: charts.box, charts.STRIP: charts.strip}
    return (lambda style: by_kind[kind](taken, style, lines)), found.simulated


def _scores(
    measure: Measure, scores: Sequence[Score], found: GroupedScores, *, sampled: bool, incomplete: bool
) -> charts.Scores:
    marks = [*(["SIMULATED"] if found.simulated else []), *(["incomplete"] if incomplete else [])]
    mark = f" ({', '.join(marks)})" if marks else ""
    notes = []
    if sampled:
        few = len(found.rows) < found.n
        notes = [f"{len(found.rows):,} of {found.n:,} draws, those with the smallest digests"] if few else []
        notes += [f"n = {found.n:,}"] if len(scores) > 1 and not few else []
    given = measure.condition is not None and len(scores) == 1
    return charts.Scores(
        name=measure.name, title=f"{measure.name}: {', '.join(s.name for s in scores)}{mark}",
        groups=tuple(charts.Group(name=n, levels=tuple(map(masked, levels))) for n, levels in found.groups),
        rows=tuple(tuple(map(masked, r)) for r in found.rows), scales=tuple(s.scale for s in scores),
        names=tuple(s.name for s in scores), thresholds=tuple(s.thresholds for s in scores), step=found.step,
        notes=(*notes, *(["draws for which the measure's `given` holds"] if given else [])),
    )  # fmt: skip


def draw_matrix(study: Compiled, experiment: Experiment) -> tuple[Maker, bool]:
    """Return what draws the correlations of an experiment's judges, and whether any answer is simulated."""
    with study.tables() as (connection, _):
        judges, cells, simulated = judge_correlations(connection, experiment, study.name)
    if len(judges) < 2:
        raise NotDrawable(
            f"experiment `{experiment.name}` has fewer than two judges with scores: there is nothing to compare",
            parameter="kind",
        )
    title = f"{experiment.name}: correlations of judges{' (SIMULATED)' if simulated else ''}"
    return (lambda style: charts.matrix(title, judges, cells, style, ["each answer counts once"])), simulated


def masked(value: Any) -> Any:
    """Return a value without API keys: figures are shared."""
    return mask(value) if isinstance(value, str) else value
