"""The data of pages beside measures: odd answers, binned scores, costs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from emdsl.experiment import ASK
from emdsl.outcomes import database
from emdsl.outcomes.odd import Odd
from emdsl.outcomes.sql import name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emdsl.experiment import Experiment, Step

N_BINS = 20  # of a scale
MAX_PAIRS = 3  # of judges


def odd_answers(connection: Any, experiment: Experiment, schema: str) -> Iterator[Odd]:
    """Yield the numbers of truncated, empty and blocked answers of each ask that has any."""
    for step in (s for s in experiment.steps if s.kind == ASK):
        key, finish, text = (name(f"{step.name}{end}") for end in ("_key", "_finish", ""))
        is_cut = "FALSE" if step.weighs else f"{finish} = 'length'"  # one token is all that is read
        kinds = (is_cut, f"{text} = ''", f"{finish} = 'blocked'")
        counts = ", ".join(
            f"count(DISTINCT {key}) FILTER ({finish} IS NOT NULL AND {kind})" for kind in ("TRUE", *kinds)
        )
        ((n, cut, empty, blocked),) = database.select(
            connection, f"SELECT {counts} FROM {name(schema)}.{name(experiment.name)}"
        ).rows
        if cut or empty or blocked:
            yield Odd(step=step.name, n=n, cut=cut, empty=empty, blocked=blocked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """A histogram of scores: for each bin its lower ends and its number of rows; and the thresholds."""

    names: tuple[str, ...]
    scales: tuple[tuple[float, float], ...]
    step: tuple[float, ...]
    thresholds: tuple[tuple[float, ...], ...]
    rows: tuple[tuple[float, ...], ...]


def score_bins(connection: Any, experiment: Experiment, schema: str) -> Iterator[Bins]:
    """Yield the bins of the first pairs of scores, of judges and of answers; of single scores if there is no pair."""
    scored = [
        s for s in experiment.steps if s.reply_format is not None and s.reply_format.scale is not None and not s.draw
    ]
    columns = {s.name: name(f"{s.name}_score" if s.readings else s.name) for s in scored}
    shown = {s.name: f"{s.name}.score" if s.readings else s.name for s in scored}
    pairs: Sequence[tuple[Step, ...]] = list(combinations(scored, 2))[:MAX_PAIRS]
    for steps in pairs or [(s,) for s in scored]:
        parts, widths, scales = [], [], []
        for step in steps:
            assert step.reply_format is not None
            assert step.reply_format.scale is not None
            low, high = (float(x) for x in step.reply_format.scale)
            width = (high - low) / N_BINS
            widths.append(width)
            scales.append((low, high))
            place = f"floor(({columns[step.name]} - {low!r}) / {width!r})"
            parts.append(f"{low!r} + {width!r} * greatest(0, least({N_BINS - 1}, {place}))")
        known = " AND ".join(f"{columns[s.name]} IS NOT NULL" for s in steps)
        counts = database.select(
            connection,
            f"SELECT {', '.join(parts)}, count(*) FROM {name(schema)}.{name(experiment.name)} "
            f"WHERE {known} GROUP BY ALL ORDER BY ALL",
        )
        if counts.rows:
            yield Bins(
                names=tuple(shown[s.name] for s in steps), scales=tuple(scales), step=tuple(widths),
                thresholds=tuple(experiment.thresholds.get(shown[s.name], ()) for s in steps),
                rows=tuple(tuple(r) for r in counts.rows),
            )  # fmt: skip


def costs(connection: Any, experiment: Experiment, schema: str) -> list[tuple[Any, ...]]:
    """Return for each step and model the distinct answers, input, output and reasoning tokens, and the cost in USD.

    The last number counts the answers with a known cost.
    """
    rows: list[tuple[Any, ...]] = []
    for step in experiment.steps:
        parts = ("model", "key", "input_tokens", "output_tokens", "reasoning_tokens", "cost_usd", "answered_at")
        columns = ", ".join(f"{name(f'{step.name}_{p}')} AS {p}" for p in parts)
        by_model = database.select(
            connection,
            "SELECT model, count(*), sum(input_tokens), sum(output_tokens), sum(reasoning_tokens), sum(cost_usd), "
            f"count(cost_usd) FROM (SELECT DISTINCT {columns} FROM {name(schema)}.{name(experiment.name)}) "
            "WHERE answered_at IS NOT NULL GROUP BY model ORDER BY model",
        )
        rows += [(step.name, *r) for r in by_model.rows]
    return rows
