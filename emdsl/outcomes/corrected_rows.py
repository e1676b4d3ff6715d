"""Rates that people's verdicts correct: the draws of each group, and the columns that `corrected` computes of them."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from emdsl.outcomes.annotated import Item
from emdsl.outcomes.corrected import ppi, rogan_gladen
from emdsl.outcomes.distributions import fisher
from emdsl.outcomes.draws import OTHER, PLACE, REASON, STRATUM, VALUE, draws_sql, group_columns, ways_of
from emdsl.outcomes.measure_views import placed_in
from emdsl.outcomes.sql import name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emdsl.experiment import Experiment, Measure

    Select = Callable[[str], list[tuple[Any, ...]]]

ALPHA = 0.05  # of the comparison of a judge's errors


def corrected_rows(
    select: Select, measure: Measure, draws: str, relation: str
) -> tuple[list[tuple[int, dict[str, Any]]], str]:
    """Return the columns of a corrected rate by the place of its groups, and a notice or ""."""
    assert measure.interval is not None
    correct = partial(
        {"ppi": ppi, "rogan_gladen": rogan_gladen}[measure.via], level=measure.interval.level,
        clusters=measure.interval.clusters,
    )  # fmt: skip
    rows: list[tuple[int, dict[str, Any]]] = []
    groups = items_of(select, measure, draws, relation)
    for place, items in groups.items():
        figure = correct(items)
        spread = figure.spread
        rows.append((place, {
            "rate": figure.value, "low": figure.low, "high": figure.high, "se": figure.error,
            "sensitivity": figure.sensitivity, "specificity": figure.specificity, "annotated": figure.n_annotated,
            "positive": figure.n_positive, "reason": figure.reason,
            "clusters": spread.n if spread is not None else 0,
            "clustered_by": (" and ".join(spread.names) or None) if spread is not None else None,
            "design_effect": spread.design_effect if spread is not None else None,
        }))  # fmt: skip
    return rows, errors_apart(measure, groups.values())


def errors_apart(measure: Measure, groups: Iterable[list[Item]]) -> str:
    """Return a notice if the errors of a judge differ by group, so its own rates cannot be compared; else "".

    Each pair of groups is compared by Fisher's exact test, of both kinds of errors, at 5 % in all (Bonferroni).
    """
    counts = [(_errors(items, 1.0), _errors(items, 0.0)) for items in groups]
    pairs = list(combinations(counts, 2))
    apart = []
    for kind, called in enumerate(("sensitivity", "specificity")):
        tested = [(a[kind], b[kind]) for a, b in pairs if a[kind][1] and b[kind][1]]
        if any(fisher(*a, *b) * 2 * len(tested) < ALPHA for a, b in tested):
            shares = [1 - wrong / n for wrong, n in (c[kind] for c in counts) if n]
            apart.append(f"{called} {min(shares):.2f} to {max(shares):.2f}")
    if not apart:
        return ""
    differing = f"the errors of the judge differ by group ({', '.join(apart)})"
    return f"measure `{measure.name}`: {differing}: compare only corrected rates"


def _errors(items: list[Item], truth: float) -> tuple[int, int]:
    """Return how often the judge is wrong on annotated draws of a truth, and how many these are."""
    annotated = [i for i in items if i.person == truth]
    return sum(i.times for i in annotated if i.judged != truth), sum(i.times for i in annotated)


def items_of(select: Select, measure: Measure, draws: str, relation: str) -> dict[int, list[Item]]:
    """Return the draws of each group of a relation, by its place."""
    groups: dict[int, list[Item]] = {}
    for place, stratum, *ways, judged, person, times in select(_items_sql(measure, draws, relation)):
        item = Item(stratum=stratum, clusters=tuple(map(str, ways)), judged=judged, person=person, times=times)
        groups.setdefault(place, []).append(item)
    return groups


def items_by_group(
    select: Select, experiment: Experiment, measure: Measure, schema: str
) -> list[tuple[tuple[Any, ...], list[Item]]]:
    """Return the groups of a loaded measure in their order, each with its draws."""
    columns = "".join(f", {name(c)}" for c in group_columns(measure))
    relation = f"(SELECT row_number() OVER () AS {PLACE}{columns} FROM {name(schema)}.{name(measure.name)})"
    items = items_of(select, measure, draws_sql(experiment, measure, schema), relation)
    rows = select(f"SELECT * FROM {relation} ORDER BY {PLACE}")
    return [(tuple(group), items.get(place, [])) for place, *group in rows]


def _items_sql(measure: Measure, draws: str, relation: str) -> str:
    """Return the SELECT of place, stratum, clusters, judge's value, person's value and number of equal draws."""
    ways = "".join(f"{w}, " for w in ways_of(measure))
    return (
        f"SELECT {PLACE}, {STRATUM}, {ways}{VALUE}::DOUBLE, {OTHER}::DOUBLE, count(*)::BIGINT FROM ({draws}) AS draws "
        f"JOIN {relation} AS figures ON {placed_in(measure, 'draws')} "
        f"WHERE {REASON} IS NULL GROUP BY ALL ORDER BY ALL"
    )
