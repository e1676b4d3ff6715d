"""The served study: compiled, with its loaded results, and updated while a run goes on."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from emdsl.annotation import FOLDER
from emdsl.errors import EmdslError, OutcomesError, UsageError
from emdsl.outcomes.load_ids import DATABASE, load_id
from emdsl.outcomes.locked import LIMIT_S, MAX_ROWS, Locked, fetch
from emdsl.source import listed, near
from emdsl.study.compiled import compile_study
from emdsl.study.load_now import load_now
from emdsl.study.marking import Marking
from emdsl.study.running import active_runs
from emdsl.view.coordinates import Coordinates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from emdsl.experiment import Experiment
    from emdsl.outcomes.database import Connection, SqlResult
    from emdsl.study.annotating import Annotating
    from emdsl.study.compiled import Compiled
    from emdsl.study.running import ActiveRun

LOOK_S = 1.0  # between two looks for changes
LOAD_SHARE = 0.03  # of the time at most is spent on loading results beside a run, in seconds of CPU
WATCHED_S = 30.0  # after a page has asked: nothing is loaded if nobody looks


@dataclass(slots=True)
class Session:
    """One served study. `generation` grows with each load: pages then ask again."""

    study: Compiled
    person: str  # who annotates
    notices: list[str]
    generation: int = 0
    loaded_at: float = field(default_factory=time.time)
    asked_at: float = float("-inf")  # when a page asked last what is new, by `time.monotonic`
    problem: str = ""  # why the newest answers are not shown, if they are not
    runs: list[ActiveRun] = field(default_factory=list)
    kept: dict[Any, asyncio.Task[Any]] = field(default_factory=dict)  # what is computed once for a generation
    _results: Locked | None = None
    _apart: TemporaryDirectory[str] | None = None
    _seen: Any = None  # what the results were made from
    _next_load: float = 0.0  # by the clock of `time.monotonic`
    _readers: int = 0
    _replacing: bool = False
    _idle: asyncio.Condition = field(default_factory=asyncio.Condition)
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _annotating: dict[str, Annotating] = field(default_factory=dict)
    _coordinates: dict[str, Coordinates] = field(default_factory=dict)
    _marking: Marking = field(default_factory=Marking)
    _marks_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def open(self) -> None:
        """Open the loaded results; raises OutcomesError."""
        self._seen = self._sources()
        self._results = Locked(self.study.project.cache / DATABASE)

    async def stop(self) -> None:
        """Stop what is being computed."""
        for task in self.kept.values():
            task.cancel()
        await asyncio.gather(*self.kept.values(), return_exceptions=True)

    def close(self) -> None:
        """Close the results; nothing reads them any more."""
        if self._results is not None:
            self._results.close()
            self._results = None
        if self._apart is not None:
            self._apart.cleanup()
            self._apart = None

    # ------------------------------------------------------------ reading

    def experiment(self, name: str) -> Experiment:
        """Return an experiment by its name, by default the first; raises UsageError."""
        experiments = self.study.program.experiments
        names = [e.name for e in experiments]
        chosen = next((e for e in experiments if e.name == name or not name), None)
        if chosen is None:
            raise UsageError(
                f"unknown experiment `{name}`; {near(name, names) or listed('experiment', 'experiments', names)}"
            )
        return chosen

    def coordinates(self, experiment: Experiment) -> Coordinates:
        """Return the names of an experiment's levels and rows."""
        if experiment.name not in self._coordinates:
            self._coordinates[experiment.name] = Coordinates(experiment)
        return self._coordinates[experiment.name]

    @property
    def path(self) -> Path:
        """The file of the open results, while they are read."""
        assert self._results is not None
        assert self._results.path is not None
        return self._results.path

    @asynccontextmanager
    async def results(self) -> AsyncIterator[Locked]:
        """Yield the open results; they are not replaced meanwhile."""
        async with self._idle:
            await self._idle.wait_for(lambda: not self._replacing)
            self._readers += 1
        try:
            if self._results is None:
                raise OutcomesError("the results are not open")
            yield self._results
        finally:
            async with self._idle:
                self._readers -= 1
                self._idle.notify_all()

    async def select(self, sql: str, *, most: int = MAX_ROWS, limit_s: float = LIMIT_S) -> SqlResult:
        """Return the first rows of a SELECT; it is stopped if the client goes away. Raises OutcomesError."""
        result: SqlResult = await self.compute(lambda cursor: fetch(cursor, sql, most=most, limit_s=limit_s))
        return result

    async def compute(self, make: Callable[[Connection], Any]) -> Any:
        """Return what a function makes of a cursor, in a thread; it is interrupted if this is cancelled."""
        async with self.results() as results:
            return await computed_with(results, make)

    async def once(self, key: Any, make: Callable[[Any], Any]) -> Any:
        """Return what is computed once for each load: `make` gets a cursor, in a thread. Raises OutcomesError."""
        if key not in self.kept:
            self.kept[key] = asyncio.create_task(self.compute(make))
        task = self.kept[key]
        try:
            return await asyncio.shield(task)
        except (EmdslError, OSError):
            self.kept.pop(key, None)
            raise

    def annotating(self, name: str) -> Annotating:
        """Return an annotation with its drawn rows, which takes a pass over all rows at first. Raises UsageError."""
        from emdsl.study.annotating import annotating  # noqa: PLC0415 - many studies have no annotation

        if name not in self._annotating:
            self._annotating[name] = annotating(self.study, name)
        return self._annotating[name]

    async def marks(self) -> Marking:
        """Return the marks of people on rows, as their files are now."""
        async with self._marks_lock:
            await asyncio.to_thread(self._marking.read, self.study)
        return self._marking

    async def mark(self, write: Callable[[Marking], None]) -> None:
        """Write marks by a function, one at a time. Raises what it raises."""
        async with self._marks_lock:
            await asyncio.to_thread(write, self._marking)

    # ------------------------------------------------------------ changes

    async def watch(self) -> None:
        """Follow runs, other loads and edits until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if time.monotonic() - self.asked_at > WATCHED_S:
                continue
            with suppress(EmdslError, OSError):
                self.runs = await asyncio.to_thread(active_runs, self.study.project)
            seen = await asyncio.to_thread(self._sources)
            other_load = self._seen is None or seen[-1] != self._seen[-1]
            if seen != self._seen and (other_load or time.monotonic() >= self._next_load):
                await self.refresh()

    async def refresh(self) -> None:
        """Compile the file again, load the newest answers, and show them; a failure is kept as `problem`."""
        async with self._loading:
            before = _cpu_s()
            try:
                await self._refreshed()
                self.problem = ""
            except (EmdslError, OSError) as error:
                self.problem = str(error)
            self._next_load = time.monotonic() + (_cpu_s() - before) / LOAD_SHARE

    async def _refreshed(self) -> None:
        before, seen = self._seen, await asyncio.to_thread(self._sources)
        self._seen = seen  # an error is shown once, not at each look
        study = await asyncio.to_thread(compile_study, self.study.project, self.study.file)
        apart = TemporaryDirectory(prefix="emdsl-view-") if self._mine() else None
        folder = Path(apart.name) if apart is not None else None
        try:
            notices = await asyncio.to_thread(load_now, study, folder)
        except BaseException:
            if apart is not None:
                apart.cleanup()
            raise
        async with self._idle:
            self._replacing = True
            await self._idle.wait_for(lambda: self._readers == 0)
        try:
            old, self._apart = self._apart, apart
            if self._results is not None:
                self._results.close()
            self._results = None
            self._results = await asyncio.to_thread(Locked, (folder or study.project.cache) / DATABASE)
            self._show(study, notices, same_draw=before[1:3] == seen[1:3])
            if apart is None:  # this load is not a change
                self._seen = (*seen[:-1], load_id(study.project.cache, study.name))
            if old is not None:
                old.cleanup()
        finally:
            async with self._idle:
                self._replacing = False
                self._idle.notify_all()

    def _show(self, study: Compiled, notices: list[str], *, same_draw: bool) -> None:
        """Show a load: pages that see the new generation ask again."""
        self._annotating = self._drawn_again(study) if same_draw else {}
        self.study, self.notices, self.loaded_at = study, notices, time.time()
        self.kept, self._coordinates = {}, {}
        self.generation += 1

    def _mine(self) -> bool:
        """Whether a run of this study is under way: it loads the project's results itself when it ends."""
        return any(r.record is None or r.record.study == self.study.name for r in self.runs)

    def _sources(self) -> tuple[Any, ...]:
        """Return what tells whether the results are up to date: files, verdicts, answers, and the load."""
        program, project = self.study.program, self.study.project
        verdicts = (self.study.file.parent / FOLDER).glob("*.jsonl")
        return (
            _stats(sorted(verdicts)), _stats(map(Path, program.files)), project.store_version(),
            load_id(project.cache, self.study.name),
        )  # fmt: skip

    def _drawn_again(self, study: Compiled) -> dict[str, Annotating]:
        """Return the annotations with the verdicts of now: without new answers the draw is the same."""
        by_name = {a.name: a for e in study.program.experiments for a in e.annotations}
        return {
            name: replace(
                old,
                study=study,
                annotation=by_name[name],
                latest=by_name[name].latest,
                by_person={digest: dict(labels) for digest, labels in by_name[name].labels.items()},
            )
            for name, old in self._annotating.items()
        }


async def computed_with(results: Locked, make: Callable[[Connection], Any]) -> Any:
    """Return what a function makes of a cursor, in a thread; it is interrupted if this is cancelled."""
    cursor = results.cursor()
    try:
        work = asyncio.create_task(asyncio.to_thread(make, cursor))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():  # a query that has not begun cannot be interrupted yet
                cursor.interrupt()
                await asyncio.wait([work], timeout=0.05)
            work.exception()
            raise
    finally:
        cursor.close()


def _cpu_s() -> float:
    """Return the seconds of CPU of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _stats(paths: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    stats = []
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            stats.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stats)
