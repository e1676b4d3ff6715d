"""What a page asks for, as JSON: the study, its figures, rows, transcripts, and a person's verdicts."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.outcomes import browsing
from emdsl.outcomes.locked import MAX_ROWS
from emdsl.study.browsed import cells_of, experiment_of, overview_of, people_columns, people_of
from emdsl.study.one_row import count_row, curl_of, tell_row
from emdsl.version import __version__
from emdsl.view.failures import failures
from emdsl.view.filters import whole_number
from emdsl.view.marks import brief, marked_filter
from emdsl.view.searching import Searches

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from emdsl.study.annotating import Annotating
    from emdsl.study.sheets import Row
    from emdsl.view.session import Session

    Query = Mapping[str, str]  # of a URL; `items` has each parameter, also those that are there twice

MAX_NOTE = 4_000  # characters
# Pages offer these only where their source has them.
CAN = ("annotate", "copies", "curl", "marks", "pairs", "refresh", "runs", "sql", "versions", "why")


class Endpoints:
    """The answers to a page. Each method takes the query of a URL and returns an object; errors are EmdslError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._searches = Searches(session)
        self._writing = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()

    async def state(self, _: Query) -> dict[str, Any]:
        """Return what moves: the load, and the runs under way. `events` sends it too. It reads no database."""
        self._session.asked_at = time.monotonic()
        return self._session.state()

    async def refresh(self, _: Query) -> dict[str, Any]:
        """Load the newest answers now."""
        await self._whole(self._session.refresh())
        return await self.state(_)

    async def study(self, _: Query) -> dict[str, Any]:
        """Return the study: experiments with axes, steps, measures as written, annotations."""
        session = self._session
        study = session.study
        return {
            "study": study.name, "file": str(study.file), "version": __version__, "generation": session.generation,
            "person": session.person, "can": list(CAN),
            "experiments": [experiment_of(e, session.coordinates(e)) for e in study.program.experiments],
        }  # fmt: skip

    async def overview(self, _: Query) -> dict[str, Any]:
        """Return the figures of a load: measures with intervals, missing values by reason, cost, notices."""
        session = self._session
        schema = session.study.name
        parts = [await session.once(("overview", e.name), partial(overview_of, e, schema)) for e in
                 session.study.program.experiments]  # fmt: skip
        found = {"generation": session.generation, "notices": session.notices, "experiments": parts}
        return found | {"part": session.part}

    async def failures(self, _: Query) -> dict[str, Any]:
        """Return the failed steps without an answer by cause, and the last run."""
        return await failures(self._session)

    # ------------------------------------------------------------ rows

    async def rows(self, query: Query) -> dict[str, Any]:
        """Return a page of rows; without `whole` it has those so far, and `have` is how many the client has."""
        session = self._session
        experiment = session.experiment(query.get("exp", ""))
        at = session.coordinates(experiment)
        offset, limit = whole_number(query, "offset", 0, 10**9), whole_number(query, "limit", browsing.PAGE, 500)
        chosen = await marked_filter(session, experiment, query)
        marking = await session.marks()
        keys = browsing.keys_of(experiment) if marking.any else []
        whole = True
        if chosen.text and browsing.has_rowid(experiment):
            have = whole_number(query, "have", 0, 500)
            found, whole = await self._searches.rows(experiment, chosen, offset, limit, have, keys)
        else:
            found = await session.select(browsing.rows_sql(experiment, session.study.name, chosen, offset, limit, keys))
        n, columns = len(experiment.axes), browsing.columns_of(experiment)
        return {
            "generation": session.generation, "offset": offset, "whole": whole,
            "rows": [
                {"id": at.row_id(r[:n], r[n]), "cells": cells_of(columns, r, at)}
                | ({"marks": brief(marking.of(r[-len(keys) :]))} if keys else {})
                for r in found.rows
            ],
        }  # fmt: skip

    async def count(self, query: Query) -> dict[str, Any]:
        """Return the number of rows; where `searched` is less than 1, those so far."""
        session = self._session
        experiment = session.experiment(query.get("exp", ""))
        chosen = await marked_filter(session, experiment, query)
        if chosen.text and browsing.has_rowid(experiment):
            n, searched = await self._searches.count(experiment, chosen)
            return {"generation": session.generation, "n": n, "searched": searched}
        found = await session.select(browsing.count_sql(experiment, session.study.name, chosen))
        return {"generation": session.generation, "n": found.rows[0][0], "searched": 1.0}

    async def grid(self, query: Query) -> dict[str, Any]:
        """Return a column by axes `x`, `y` and those of `by`: of a number its mean, of a `label` its share."""
        session = self._session
        experiment = session.experiment(query.get("exp", ""))
        at = session.coordinates(experiment)
        by = [value for key, value in query.items() if key == "by"]
        axes = list(dict.fromkeys(a for a in (query.get("x", ""), query.get("y", ""), *by) if a))
        if not axes:
            raise UsageError("a grid needs an axis `x`")
        chosen = await marked_filter(session, experiment, query)
        sql = browsing.grid_sql(
            experiment, session.study.name, chosen, axes, query.get("of", ""), query.get("label", "")
        )
        places = [[a.name for a in experiment.axes].index(x) for x in axes]
        found = await session.select(sql)
        if len(found.rows) >= MAX_ROWS:
            raise UsageError(f"more than {MAX_ROWS:,} cells: pool an axis, or choose some of its levels")
        cells = [
            {
                "at": [at.level_id(p, v) for p, v in zip(places, r, strict=False)],
                "value": r[-3],
                "n": r[-2],
                "rows": r[-1],
            }
            for r in found.rows
        ]
        return {"generation": session.generation, "axes": axes, "cells": cells}

    # ------------------------------------------------------------ one row

    async def row(self, query: Query) -> dict[str, Any]:
        """Return the transcript of a row."""
        session = self._session
        experiment = session.experiment(query.get("exp", ""))
        cell, sample = session.coordinates(experiment).place(query.get("row", ""))
        names = people_columns(experiment)
        found = await session.select(browsing.row_sql(experiment, session.study.name, cell, sample, names))
        if not found.rows:
            raise UsageError("this row is not among the loaded results")
        story = await asyncio.to_thread(tell_row, session.study, experiment, cell, sample)
        return story | {"people": people_of(experiment, dict(zip(names, found.rows[0], strict=False)))}

    async def counted(self, query: Query) -> dict[str, Any]:
        """Return how a row counts in each measure."""
        session = self._session
        experiment = session.experiment(query.get("exp", ""))
        cell, sample = session.coordinates(experiment).place(query.get("row", ""))
        found = await session.select(browsing.place_sql(experiment, session.study.name, cell, sample))
        if not found.rows:
            return {"counted": []}
        place = int(found.rows[0][0])
        counted = await session.compute(lambda cursor: count_row(cursor, experiment, session.study.name, place))
        return {"counted": counted}

    async def curl(self, query: Query) -> dict[str, Any]:
        """Return a shell command that sends the request of a step; it names the variable of the API key."""
        session = self._session
        experiment = session.experiment(query.get("exp", ""))
        cell, sample = session.coordinates(experiment).place(query.get("row", ""))
        text = await asyncio.to_thread(curl_of, session.study, experiment, cell, sample, query.get("step", ""))
        return {"curl": text}

    # ------------------------------------------------------------ people

    async def annotations(self, _: Query) -> dict[str, Any]:
        """Return the annotations with their progress."""
        session = self._session
        return {"annotations": [
            _progress(await asyncio.to_thread(session.annotating, a.name), session.person)
            for e in session.study.program.experiments for a in e.annotations
        ]}  # fmt: skip

    async def annotate(self, query: Query) -> dict[str, Any]:
        """Return the next texts to judge: question and answer alone, in the order of the draw."""
        session = self._session
        task = await asyncio.to_thread(session.annotating, query.get("name", ""))
        pending = task.pending(session.person)[:3]
        return _progress(task, session.person) | {
            "next": [{"shown": r.digest, "question": r.shown.question, "answer": r.shown.answer} for r in pending]
        }

    async def judge(self, body: bytes) -> dict[str, Any]:
        """Write a verdict, or take one back with `label: null`; it is on the disk when this returns.

        The body is `{"name": ANNOTATION, "shown": DIGEST, "label": LABEL, "note": TEXT}`.
        """
        try:
            held: Any = json.loads(body)
            name_, shown, label, note = held["name"], held["shown"], held["label"], held.get("note", "")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError("expected an object with `name`, `shown` and `label`") from None
        task = await asyncio.to_thread(self._session.annotating, name_ if isinstance(name_, str) else "")
        row = next((r for r in task.rows if r.digest == shown), None)
        if row is None:
            raise UsageError("this text is not drawn by the annotation")
        if label is not None and label not in task.labels:
            raise UsageError(f"unknown label; it has {', '.join(task.labels)}")
        if not isinstance(note, str) or len(note) > MAX_NOTE:
            raise UsageError(f"a note is a text of at most {MAX_NOTE:,} characters")
        await self._whole(self._written(task, row, label, note))
        return await self.annotate({"name": task.annotation.name})

    async def _written(self, task: Annotating, row: Row, label: str | None, note: str) -> None:
        async with self._writing:
            await asyncio.to_thread(task.judge, row, self._session.person, label, note)

    async def _whole(self, work: Coroutine[Any, Any, None]) -> None:
        """Await work that goes on if the client goes away."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.shield(task)


def _progress(task: Annotating, person: str) -> dict[str, Any]:
    annotation = task.annotation
    raters = annotation.raters
    labels = [by_person[person] for by_person in task.by_person.values() if person in by_person]
    return {
        "name": annotation.name, "ask": annotation.ask, "person": person, "raters": raters,
        "choices": [{"label": k, "text": v} for k, v in annotation.choices.items()],
        "drawn": len(task.rows), "judged": task.n_judged(person), "left": len(task.pending(person)),
        "complete": sum(len(task.labels_of(r)) >= raters for r in task.rows),
        "unanswered": task.unanswered, "mine": {label: labels.count(label) for label in task.labels},
    }  # fmt: skip
