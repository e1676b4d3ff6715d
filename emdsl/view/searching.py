"""Searches for a text: the table is scanned range by range, so that the first rows are there before the last are read.

A search remembers the rows that it has found. Its list, its count and the next page share one scan, and it pauses as
soon as nobody waits for it.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from emdsl.errors import EmdslError, OutcomesError
from emdsl.outcomes import browsing

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable, Sequence

    from emdsl.experiment import Experiment
    from emdsl.outcomes.browsing import Filter
    from emdsl.outcomes.database import SqlResult
    from emdsl.view.session import Session

    Range = tuple[int, float, Task[SqlResult]]  # the row number after it, when its search began, and the search

_Found = TypeVar("_Found")

FIRST_ROWS, MOST_ROWS = 2_048, 131_072  # of a range: the first are small, so that hits among them are shown at once
RANGE_S = 0.1  # that a range takes, once it is known how fast the table is read
PARTIAL_S = 0.25  # after which the rows so far are shown
PATIENCE_S = 20.0  # that a request waits for the first of them
GRACE_S = 0.3  # between two requests of one page
KEPT = 8  # searches
REASONING = "reasoning"
AT_ONCE = min(4, 2 * (os.cpu_count() or 1))  # ranges: while one waits for the disk, another is searched


class Search:
    """The rows of one filter, as numbers in the order of the table; those whose reasoning alone has the text come last.

    Reasoning is most of the text of a study: rows are shown before it is read.
    """

    def __init__(self, session: Session, experiment: Experiment, chosen: Filter) -> None:
        self.hits: list[int] = []
        self.done = False
        self._session, self._experiment = session, experiment
        others = tuple(p for p in chosen.places if p != REASONING)
        parts = [p for p in (others, (REASONING,)) if set(p) & set(chosen.places)]
        self._stages = [replace(chosen, places=p) for p in parts]
        self._stage = 0
        self._generation = session.generation
        self._first = self._next = self._end = 0  # row numbers; those before `_next` were searched
        self._size = FIRST_ROWS
        self._problem: Exception | None = None
        self._waiting = 0
        self._moved = asyncio.Condition()
        self._task: Task[None] | None = None

    @property
    def share(self) -> float:
        """How much of the table was searched."""
        within = (self._next - self._first) / max(1, self._end - self._first)
        return 1.0 if self.done else (self._stage + within) / len(self._stages)

    async def until(self, ready: Callable[[], bool], limit_s: float | None = None) -> None:
        """Search until a condition holds, all is searched, or the time is over. Raises OutcomesError."""
        self._waiting += 1
        try:
            if self._task is None and not self.done:
                self._task = self._session.start(self._scan())
            async with self._moved:
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit_s):
                        await self._moved.wait_for(lambda: self.done or self._problem is not None or ready())
        finally:
            self._waiting -= 1
            if not self._waiting:
                asyncio.get_running_loop().call_later(GRACE_S, self.pause)
        if self._problem is not None:
            raise self._problem

    def pause(self) -> None:
        """Stop, unless somebody waits; the hits so far are kept."""
        if not self._waiting and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _scan(self) -> None:
        try:
            if not self._end:
                bounds = await self._session.select(browsing.bounds_sql(self._experiment, self._session.study.name))
                first, end = bounds.rows[0]
                self._first, self._end = first or 0, end or 0
                self._next = self._first
            while self._stage < len(self._stages):
                await self._scan_stage(self._stages[self._stage], set(self.hits) if self._stage else set())
                self._stage, self._next, self._size = self._stage + 1, self._first, FIRST_ROWS
            self.done = True
        except (EmdslError, OSError) as error:
            self._problem = error
        await self._move(self._next, [])

    async def _scan_stage(self, chosen: Filter, known: set[int]) -> None:
        """Search range after range, several at once; rows that are `known` are left out."""
        schema = self._session.study.name
        under_way: list[Range] = []
        try:
            begun = self._next
            while begun < self._end or under_way:
                while begun < self._end and len(under_way) < AT_ONCE:
                    stop = min(self._end, begun + self._size)
                    sql = browsing.hits_sql(self._experiment, schema, chosen, begun, stop)
                    work = asyncio.create_task(self._session.select(sql, most=stop - begun))
                    under_way.append((stop, time.monotonic(), work))
                    begun = stop
                stop, started, work = under_way[0]
                found = await asyncio.shield(work)
                if self._session.generation != self._generation:
                    raise OutcomesError("the results were loaded again")
                del under_way[0]
                self._adapt(time.monotonic() - started)
                await self._move(stop, [r[0] for r in found.rows if r[0] not in known])
        finally:
            for _, _, work in under_way:
                work.cancel()
            await asyncio.gather(*(work for _, _, work in under_way), return_exceptions=True)

    def _adapt(self, took_s: float) -> None:
        faster = took_s < RANGE_S / 2
        self._size = max(
            FIRST_ROWS,
            min(MOST_ROWS, self._size * 2 if faster else self._size // 2 if took_s > 2 * RANGE_S else self._size),
        )

    async def _move(self, searched: int, hits: list[int]) -> None:
        async with self._moved:
            self._next = searched
            self.hits += hits
            self._moved.notify_all()


class Searches:
    """The last searches of a served study."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._searches: dict[tuple[int, str], Search] = {}

    async def rows(
        self, experiment: Experiment, chosen: Filter, offset: int, limit: int, have: int, more: Sequence[str] = ()
    ) -> tuple[SqlResult, bool]:
        """Return a page of rows, and whether it is whole: else more rows may follow, if it is asked for again.

        Args:
            experiment: The experiment.
            chosen: The filter; sorted rows come when all is searched.
            offset: The number of the first row.
            limit: The number of rows.
            have: How many rows of the page the client has.
            more: Columns beside those of the list.
        """
        return await self._of_one_load(lambda: self._rows(experiment, chosen, offset, offset + limit, have, more))

    async def _rows(
        self, experiment: Experiment, chosen: Filter, offset: int, end: int, have: int, more: Sequence[str]
    ) -> tuple[SqlResult, bool]:
        search = self._search(experiment, chosen)
        if chosen.sort:
            await search.until(lambda: False)
            sql = browsing.sorted_sql(experiment, self._session.study.name, chosen, offset, end - offset, more)
            return await self._session.select(sql, values=[search.hits]), True
        await search.until(lambda: len(search.hits) >= end, PARTIAL_S)
        if len(search.hits) <= offset + have:
            await search.until(lambda: len(search.hits) > offset + have, PATIENCE_S)
        whole = search.done or len(search.hits) >= end
        sql = browsing.rows_at_sql(experiment, self._session.study.name, more)
        return await self._session.select(sql, values=[search.hits[offset:end]]), whole

    async def count(self, experiment: Experiment, chosen: Filter) -> tuple[int, float]:
        """Return the number of rows so far, and the share of the table that was searched."""
        return await self._of_one_load(lambda: self._count(experiment, chosen))

    async def _count(self, experiment: Experiment, chosen: Filter) -> tuple[int, float]:
        search = self._search(experiment, chosen)
        await search.until(lambda: False, 2 * PARTIAL_S)
        return len(search.hits), search.share

    async def _of_one_load(self, make: Callable[[], Awaitable[_Found]]) -> _Found:
        """Return what is made of one load of the results: again, if they are replaced meanwhile."""
        while True:
            generation = self._session.generation
            try:
                found = await make()
            except OutcomesError:
                if self._session.generation == generation:
                    raise
            else:
                if self._session.generation == generation:
                    return found

    def _search(self, experiment: Experiment, chosen: Filter) -> Search:
        """Return the search for the rows of a filter; others that nobody waits for pause."""
        key = (self._session.generation, browsing.hits_sql(experiment, self._session.study.name, chosen, 0, 0))
        search = self._searches.pop(key, None) or Search(self._session, experiment, chosen)
        for other in self._searches.values():
            other.pause()
        kept = [(k, s) for k, s in self._searches.items() if k[0] == key[0]]
        self._searches = dict([*kept[-KEPT:], (key, search)])
        return search
