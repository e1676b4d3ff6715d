"""Comparing rows as a page asks for it: what differs between levels or versions, flips, and the samples of a cell."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import OrderedDict
from functools import wraps
from typing import TYPE_CHECKING, Any

from emdsl.errors import EmdslError, UsageError
from emdsl.outcomes import database
from emdsl.outcomes.browsing import Filter, conditions_sql
from emdsl.outcomes.conditions import NO, YES, condition_of, conditions_of
from emdsl.outcomes.locked import fetch, fetch_numbers
from emdsl.outcomes.paired_difference import paired_difference
from emdsl.outcomes.pairs import (
    NO_ROW,
    Pairs,
    Side,
    level_names,
    levels_alone,
    levels_side_by_side,
    listed_sql,
    row_sql,
    strip_sql,
    versions_side_by_side,
)
from emdsl.outcomes.sql import name
from emdsl.study.compiled import by_present_name
from emdsl.study.coordinates import Coordinates
from emdsl.study.one_row import tell_row_of_version
from emdsl.study.versions import versions
from emdsl.view.filters import filter_of, whole_number
from emdsl.view.marks import marked_filter
from emdsl.view.other_versions import OtherVersions
from emdsl.view.session import computed_with

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from emdsl.experiment import Experiment
    from emdsl.outcomes.conditions import Condition
    from emdsl.outcomes.database import Connection
    from emdsl.view.other_versions import OtherVersion
    from emdsl.view.session import Session

    Query = Mapping[str, str]  # of a URL; `items` has each parameter, also those that are there twice
    End = Callable[["Comparing", Query], Awaitable[dict[str, Any]]]

MAX_LEVELS = 4
MAX_STRIP = 2_000  # samples
MAX_KEPT = 4  # lists of differing rows, each of at most 16 MB
MAX_PAGE = 500
THIS, OTHER = "this", "other"  # the databases of two versions


def _reading(end: End) -> End:
    """Keep the other versions open while an endpoint is answered."""

    @wraps(end)
    async def answered(comparing: Comparing, query: Query) -> dict[str, Any]:
        with comparing.others.reading():
            return await end(comparing, query)

    return answered


class Comparing:
    """The answers to a page that compares. Each method takes the query of a URL and returns an object.

    `by=AXIS` with `l=LEVEL` two to four times compares levels, `to=VERSION` versions, `of=CONDITION` is what they are
    compared by, and the other parameters are those of a filter.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.others = OtherVersions(session)
        self._lists: OrderedDict[Any, asyncio.Task[Any]] = OrderedDict()

    async def stop(self) -> None:
        """Close the other versions."""
        for task in self._lists.values():
            task.cancel()
        await asyncio.gather(*self._lists.values(), return_exceptions=True)
        await self.others.stop()

    async def conditions(self, query: Query) -> dict[str, Any]:
        """Return what rows can be compared by; `yes_no` are those with flips."""
        experiment = self._session.experiment(query.get("exp", ""))
        return {"conditions": [
            {"id": c.id, "text": c.text, "yes_no": c.rate is not None} for c in conditions_of(experiment)
        ]}  # fmt: skip

    async def strip(self, query: Query) -> dict[str, Any]:
        """Return the samples of a row's cell, each with its verdict or the reason why there is none.

        Of more than `MAX_STRIP`, it has the part with the row.
        """
        session = self._session
        experiment = session.experiment(query.get("exp", ""))
        cell, sample = session.coordinates(experiment).place(query.get("row", ""))
        first = sample - sample % MAX_STRIP
        side = Side(
            experiment=experiment,
            table=self._table(experiment),
            condition=condition_of(experiment, query.get("of", "")),
        )
        found = await session.select(strip_sql(side, cell, range(first, first + MAX_STRIP)))
        return {
            "of": side.condition.id, "text": side.condition.text, "yes_no": side.condition.rate is not None,
            "first": first,
            "samples": [{"sample": s, "value": v, "missing": r if v is None else None} for s, v, r in found.rows],
        }  # fmt: skip

    # ------------------------------------------------------------ what differs

    @_reading
    async def differences(self, query: Query) -> dict[str, Any]:
        """Return a page of the coordinates that differ: of each side the row, the verdict, and why it is missing.

        `was=STATE` and `now=STATE` choose those with a state on the first and on the second side instead, as `flips`
        counts them.
        """
        pairs, other = await self._pairs(query)
        states = (query["was"], query["now"]) if "was" in query and "now" in query else ()
        if states:  # those that the table of flips counts
            pairs = _by_levels(pairs)
        places = await self._places(pairs, other, states)
        offset = whole_number(query, "offset", 0, 10**9)
        chosen = [p[offset : offset + whole_number(query, "limit", 100, MAX_PAGE)] for p in places]
        own = self._session.coordinates(pairs.sides[0].experiment)
        names = [own if other is None or i == 0 else Coordinates(s.experiment) for i, s in enumerate(pairs.sides)]
        sides = [
            await self._listed(side, places, at, other)
            for side, places, at in zip(pairs.sides, chosen, names, strict=True)
        ]
        rows = [[held[int(p)] if p >= 0 else None for held, p in zip(sides, at, strict=True)]
                for at in zip(*chosen, strict=True)]  # fmt: skip
        return {
            "generation": self._session.generation, "offset": offset, "n": len(places[0]), "rows": rows,
            "of": pairs.sides[0].condition.id,
        }  # fmt: skip

    async def _places(self, pairs: Pairs, other: OtherVersion | None, states: Sequence[str]) -> Any:
        """Return the places of the coordinates that differ, a list for each side; walking them reads it once."""
        sql = pairs.different_sql(states)
        key = (self._session.generation, other.loaded_at if other is not None else 0, sql)
        if key not in self._lists:
            self._lists[key] = asyncio.create_task(self._compute(other, lambda cursor: fetch_numbers(cursor, sql)))
            while len(self._lists) > MAX_KEPT:
                self._lists.popitem(last=False)
        self._lists.move_to_end(key)
        try:
            return await asyncio.shield(self._lists[key])
        except (EmdslError, OSError):
            self._lists.pop(key, None)
            raise

    async def _listed(
        self, side: Side, places: Any, at: Coordinates, other: OtherVersion | None
    ) -> dict[int, dict[str, Any]]:
        """Return some rows of a side by their place."""
        there = [int(p) for p in places if p >= 0]
        if not there:
            return {}
        found = await self._compute(other, lambda cursor: fetch(cursor, listed_sql(side, there)))
        n = len(side.experiment.axes)
        return {
            r[0]: {
                "row": at.row_id(r[1 : n + 1], r[n + 1]), "value": r[n + 2],
                "missing": r[n + 3] if r[n + 2] is None else None,
                "cell": {a.name: at.text(i, r[1 + i]) for i, a in enumerate(side.experiment.axes)}, "sample": r[n + 1],
            }
            for r in found.rows
        }  # fmt: skip

    # ------------------------------------------------------------ flips

    @_reading
    async def flips(self, query: Query) -> dict[str, Any]:
        """Return how many coordinates have each pair of states: of the condition, or why there is no verdict.

        Of a filter, the levels alone count: the other conditions would select by the outcome.
        """
        pairs, other = await self._two_sides(query)
        experiment = pairs.sides[0].experiment
        at, sql = self._session.coordinates(experiment), pairs.table_sql()
        found = await self._once(("flips", sql), other, lambda cursor: fetch(cursor, sql).rows)
        return {
            "generation": self._session.generation, "of": pairs.sides[0].condition.id,
            "texts": [side.condition.text for side in pairs.sides], "absent": NO_ROW,
            "ignored": bool(conditions_sql(experiment, filter_of(experiment, at, query.items()))),
            "table": [{"was": a, "now": b, "n": n} for a, b, n in found if {a, b} <= {YES, NO}],
            "missing": [{"was": a, "now": b, "n": n} for a, b, n in found if not {a, b} <= {YES, NO}],
        }  # fmt: skip

    @_reading
    async def difference(self, query: Query) -> dict[str, Any]:
        """Return the paired difference of a condition, with its interval; of a million rows it takes seconds."""
        pairs, other = await self._two_sides(query, attached=True)

        def compute(_: Connection) -> dict[str, Any] | None:
            files = {THIS: self._session.path} | ({OTHER: other.database} if other is not None else {})
            with database.attached(files) as connection:
                found = paired_difference(connection, pairs)
            return dataclasses.asdict(found) if found is not None else None

        return {"difference": await self._once(("difference", pairs.table_sql()), other, compute)}

    async def _two_sides(self, query: Query, *, attached: bool = False) -> tuple[Pairs, OtherVersion | None]:
        pairs, other = await self._pairs(query, attached=attached)
        if any(side.condition.rate is None for side in pairs.sides):
            raise UsageError(f"`{query.get('of', '')}` is not a yes/no condition: choose another one for flips")
        return _by_levels(pairs), other

    # ------------------------------------------------------------ versions

    async def versions(self, _: Query) -> dict[str, Any]:
        """Return the versions to compare with: earlier runs, git revisions and other studies."""
        found = await asyncio.to_thread(versions, self._session.study)
        return {"versions": [dataclasses.asdict(v) for v in found]}

    @_reading
    async def version(self, query: Query) -> dict[str, Any]:
        """Load another version, and return how its coordinates match: levels that one side has alone, and notices."""
        other = await self.others.get(query.get("to", ""))
        experiment = self._session.experiment(query.get("exp", ""))
        theirs = self._their(other, experiment)
        return {
            "to": query.get("to", ""), "notices": other.notices, "loaded_at": other.loaded_at,
            "alone": [
                {"axis": a, "this": x, "other": y, "n_this": n, "n_other": m}
                for a, x, y, n, m in levels_alone(experiment, theirs)
            ],
        }  # fmt: skip

    @_reading
    async def version_row(self, query: Query) -> dict[str, Any]:
        """Return the transcript of the row of another version that has the coordinate of a row of this one."""
        other = await self.others.get(query.get("to", ""))
        experiment = self._session.experiment(query.get("exp", ""))
        theirs = self._their(other, experiment)
        if row := query.get("other", ""):
            cell, sample = Coordinates(theirs).place(row)
        else:
            own, sample = self._session.coordinates(experiment).place(query.get("row", ""))
            cell = _same_cell(experiment, own, theirs)
        side = self._version_side(theirs, conditions_of(theirs)[0], OTHER, other.study.name)
        if not (await self._compute(other, lambda cursor: fetch(cursor, row_sql(side, cell, sample)))).rows:
            raise UsageError("the other version has no such row: its grid skips it, or has fewer samples")
        return await asyncio.to_thread(tell_row_of_version, other.study, theirs, cell, sample)

    def _their(self, other: OtherVersion, experiment: Experiment) -> Experiment:
        """Return the experiment of another version that has the name of one of this, or is the only one renamed."""
        present = {e.name: e for e in self._session.study.program.experiments}
        theirs = by_present_name({e.name: e for e in other.study.program.experiments}, present)
        if experiment.name not in theirs:
            raise UsageError(f"the other version has no experiment `{experiment.name}`")
        return theirs[experiment.name]

    # ------------------------------------------------------------ sides

    async def _pairs(self, query: Query, *, attached: bool = False) -> tuple[Pairs, OtherVersion | None]:
        """Return the sides that a query compares, and the other version if it is one.

        Args:
            query: The query.
            attached: Whether the results are attached under a name, and not the only database.
        """
        session = self._session
        experiment = session.experiment(query.get("exp", ""))
        at = session.coordinates(experiment)
        chosen = await marked_filter(session, experiment, query)
        condition = condition_of(experiment, query.get("of", ""))
        if to := query.get("to", ""):
            other = await self.others.get(to)
            theirs = self._their(other, experiment)
            try:
                theirs_by = condition_of(theirs, condition.id)
            except UsageError as error:
                raise UsageError(f"the other version cannot be compared by `{condition.text}`: {error}") from error
            pairs = versions_side_by_side(
                self._version_side(experiment, condition, THIS, session.study.name),
                self._version_side(theirs, theirs_by, OTHER, other.study.name),
                chosen,
            )
            if isinstance(pairs, str):
                raise UsageError(pairs)
            return pairs, other
        axis = next((a for a in experiment.axes if a.name == query.get("by", "")), None)
        if axis is None:
            raise UsageError("name an axis: `by`")
        levels = list(dict.fromkeys(level for key, level in query.items() if key == "l"))
        if not 2 <= len(levels) <= MAX_LEVELS:
            raise UsageError(f"two to {MAX_LEVELS} levels are compared")
        positions = [at.position(experiment.axes.index(axis), level) for level in levels]
        table = f"{name(THIS)}.{self._table(experiment)}" if attached else self._table(experiment)
        return levels_side_by_side(experiment, table, condition, axis.name, positions, chosen), None

    def _version_side(self, experiment: Experiment, condition: Condition, where: str, schema: str) -> Side:
        return Side(
            experiment=experiment, condition=condition, table=f"{name(where)}.{name(schema)}.{name(experiment.name)}"
        )

    def _table(self, experiment: Experiment) -> str:
        return f"{name(self._session.study.name)}.{name(experiment.name)}"

    async def _once(self, key: Any, other: OtherVersion | None, make: Any) -> Any:
        """Return what is computed once for each load."""
        if other is None:
            return await self._session.once(key, make)
        return await other.once((self._session.generation, key), lambda: self._compute(other, make))

    async def _compute(self, other: OtherVersion | None, make: Any) -> Any:
        if other is None:
            return await self._session.compute(make)
        with self.others.reading():  # also after the request has ended
            async with self._session.results():
                files = {THIS: self._session.path, OTHER: other.database}
                return await computed_with(other.beside(self._session.generation, files), make)


def _by_levels(pairs: Pairs) -> Pairs:
    """Return the first two sides, with the levels of the filter alone: its other conditions select by the outcome."""
    return dataclasses.replace(pairs, sides=pairs.sides[:2], chosen=Filter(levels=pairs.chosen.levels))


def _same_cell(experiment: Experiment, cell: tuple[int, ...], other: Experiment) -> tuple[int, ...]:
    """Return the cell of another version with the levels of a cell, by their names; raises UsageError."""
    own = {a.name: (a, i) for a, i in zip(experiment.axes, cell, strict=True)}
    positions = []
    for axis in other.axes:
        axis_here, at = own.get(axis.name, (axis, 0))
        names, other_names = level_names(axis_here, axis)
        if axis.name in own and names[at] in other_names:
            positions.append(other_names.index(names[at]))
        elif axis.name not in own and len(other_names) == 1:
            positions.append(0)
        else:
            raise UsageError(f"the other version does not have this level of `{axis.name}`")
    return tuple(positions)
