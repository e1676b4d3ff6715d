"""A baseline that all groups share: the dose 0 of one level, drawn for the other levels too."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.errors import EmdslError
from emdsl.experiment import ASK
from emdsl.frame import EvalFault, HookFault, MissingInput
from emdsl.report.figure import Group, Table, key_of
from emdsl.report.styles import plain
from emdsl.run.rows import Rows

if TYPE_CHECKING:
    from emdsl.experiment import Experiment

SHARING = ("rate", "mean", "at_least", "quantile", "sd")
N_CHECKED = 4  # cells whose requests are compared


def with_baseline(table: Table, experiment: Experiment) -> Table:
    """Return a table in which a shared dose 0 has a row for each level that lacks it, with a note about it.

    It is shared if one level has no other dose (`none`), or if the requests of the other levels would be the same: with
    no demonstrations, the set that they come from makes no difference.
    """
    ordered = [g for g in table.groups if g.ordered and 0 in g.levels]
    if table.function not in SHARING or not ordered:
        return table
    dose = max(ordered, key=lambda g: len(g.levels))
    for group in [g for g in table.groups if g is not dose and len(g.levels) > 1]:
        table = _shared(table, experiment, dose.name, group.name)
    return table


def _shared(table: Table, experiment: Experiment, dose: str, group: str) -> Table:
    names = [g.name for g in table.groups]
    at, of = names.index(dose), names.index(group)
    zero = {key_of(r[of]) for r in table.rows if r[at] == 0}
    more = {key_of(r[of]) for r in table.rows if r[at] != 0}
    if len(zero) != 1 or not more - zero:
        return table
    ((base),) = [x for x in table.groups[of].levels if key_of(x) in zero]
    alone = key_of(base) not in more
    others = [x for x in table.groups[of].levels if key_of(x) not in zero]
    if not alone and not all(_same_requests(experiment, (dose, group), base, x) for x in others):
        return table
    rows: list[tuple[Any, ...]] = []
    for row in table.rows:
        if row[at] != 0 or not alone:
            rows.append(row)
        if row[at] == 0:
            rows += [(*row[:of], x, *row[of + 1 :]) for x in others]
    orders = [{key_of(x): i for i, x in enumerate(g.levels)} for g in table.groups]
    rows.sort(key=lambda r: tuple(order[key_of(x)] for order, x in zip(orders, r, strict=False)))
    groups = list(table.groups)
    if alone:
        groups[of] = Group(name=group, levels=tuple(others))
    note = f"{dose} 0 is one baseline, {group} {plain(base)}, drawn for each {group}"
    return replace(table, groups=tuple(groups), rows=tuple(rows), notes=(*table.notes, note))


def _same_requests(experiment: Experiment, axes: tuple[str, str], base: Any, other: Any) -> bool:
    """Whether cells of a level at dose 0 send the requests that those of another level would send."""
    places = {a.name: i for i, a in enumerate(experiment.axes)}
    if not set(axes) <= set(places):
        return False
    dose, group = (places[a] for a in axes)
    levels = experiment.axes[group].levels
    to = [i for i, level in enumerate(levels) if plain(level.shown) == plain(other)]
    base_at = {i for i, level in enumerate(levels) if plain(level.shown) == plain(base)}
    zeros = {i for i, level in enumerate(experiment.axes[dose].levels) if plain(level.shown) == "0"}
    rows = Rows(experiment)
    chosen = list(islice((c for c in experiment.cells() if c[dose] in zeros and c[group] in base_at), N_CHECKED))
    try:
        return bool(chosen and to) and all(
            (keys := _keys(rows, cell)) and keys == _keys(rows, (*cell[:group], i, *cell[group + 1 :]))
            for cell in chosen
            for i in to
        )
    except (EvalFault, HookFault, MissingInput, EmdslError, LookupError):  # the other level has no such cell
        return False


def _keys(rows: Rows, cell: tuple[int, ...]) -> list[bytes]:
    """Return the keys of the first two samples' asks that wait for no answer."""
    asks = [s.name for s in rows.experiment.steps if s.kind == ASK]
    keys = []
    for sample in range(min(2, rows.samples)):
        row = rows.row(cell, sample)
        rows.advance(row)
        keys += [row.ready[a].key for a in asks if a in row.ready]
    return keys
