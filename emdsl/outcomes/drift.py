"""Drift: compared answers that come from different versions of a model, or from distant times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.outcomes import database
from emdsl.outcomes.sql import literal, name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.experiment import Experiment, Step

MAX_DAYS = 30  # between the first and the last of compared answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A difference between compared answers of one step; `drop` is the condition that selects the older ones."""

    step: str
    model: str
    where: str
    n_groups: int
    what: str
    drop: str

    @property
    def notice(self) -> str:
        """The difference as one sentence, with the command that removes it."""
        kind, of, measure = self.where.partition(" ")
        groups = f"{self.n_groups:,} {kind}{'' if self.n_groups == 1 else 's'}{of}{measure}"
        return (
            f"drift: in {groups}, answers of `{self.step}` by {self.model} {self.what}; "
            f'to request the older ones again: emdsl cache drop --where "{self.drop}"'
        )


def drifts(connection: Any, experiment: Experiment, schema: str) -> Iterator[Drift]:
    """Yield the drift of each step of a loaded experiment: within cells, and between the sides of contrasts."""
    axes = tuple(a.name for a in experiment.axes)
    table = f"{name(schema)}.{name(experiment.name)}"
    for step in experiment.steps:
        groupings = {axes: "cell"}
        for measure in experiment.measures:
            if measure.function == "contrast" and step.name in measure.steps:
                both = tuple(a for a in axes if a in measure.pair or any(path[0] == a for path in measure.by))
                groupings.setdefault(both, f"pair of `{measure.name}`")
        reported: set[tuple[str, str]] = set()
        for by, where in groupings.items():
            for drift in _of_step(connection, table, step, by, where):
                kind = drift.model, drift.what.split()[0]
                if kind not in reported:
                    reported.add(kind)
                    yield drift


def _of_step(connection: Any, table: str, step: Step, by: tuple[str, ...], where: str) -> Iterator[Drift]:
    s = step.name
    asked, at = name(f"{s}_model"), name(f"{s}_answered_at")
    group = ", ".join([asked, *map(name, by)])
    for column, field, what in (
        (f"{s}_reported", "reported", "report different versions"),
        (f"{s}_fingerprint", "fingerprint", "report different fingerprints"),
    ):
        differing = database.select(
            connection,
            f"WITH groups AS (SELECT {asked} AS asked, list(DISTINCT {name(column)}) AS seen FROM {table} "
            f"WHERE {at} IS NOT NULL GROUP BY {group} HAVING count(DISTINCT {name(column)}) > 1), "
            f"latest AS (SELECT {asked} AS asked, arg_max({name(column)}, {at}) AS newest FROM {table} GROUP BY ALL) "
            "SELECT asked, count(*), list_sort(list_distinct(flatten(list(seen)))), any_value(newest) "
            "FROM groups JOIN latest USING (asked) GROUP BY asked ORDER BY asked",
        )
        for model, n, seen, newest in differing.rows:
            yield Drift(
                step=s, model=model, where=where, n_groups=n, what=f"{what} ({', '.join(map(str, seen))})",
                drop=f"model = {literal(model)} and {field} <> {literal(str(newest))}",
            )  # fmt: skip
    distant = database.select(
        connection,
        f"WITH groups AS (SELECT {asked} AS asked, min({at}) AS first, max({at}) AS last FROM {table} "
        f"WHERE {at} IS NOT NULL GROUP BY {group} HAVING max({at}) - min({at}) > INTERVAL {MAX_DAYS} DAYS) "
        "SELECT asked, count(*), CAST(min(first) AS DATE), CAST(max(last) AS DATE), "
        f"CAST(max(last) - INTERVAL {MAX_DAYS} DAYS AS DATE) FROM groups GROUP BY asked ORDER BY asked",
    )
    for model, n, first, last, cut in distant.rows:
        yield Drift(
            step=s, model=model, where=where, n_groups=n,
            what=f"are more than {MAX_DAYS} days apart ({first} to {last})",
            drop=f"model = {literal(model)} and answered_at < DATE {literal(str(cut))}",
        )  # fmt: skip
