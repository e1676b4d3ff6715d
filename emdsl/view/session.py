"""The served study: compiled, with its loaded results, and updated while a run goes on."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from emdsl.annotation import FOLDER
from emdsl.errors import EmdslError, OutcomesError, UsageError
from emdsl.mark import paths_of
from emdsl.outcomes.load_ids import DATABASE, load_id
from emdsl.outcomes.locked import LIMIT_S, MAX_ROWS, Locked, fetch
from emdsl.source import listed, near
from emdsl.study.compiled import compile_study
from emdsl.study.coordinates import Coordinates
from emdsl.study.load_now import LoadProcess
from emdsl.study.marking import Marking
from emdsl.study.running import active_runs
from emdsl.view.pace import LoadPace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence

    from emdsl.experiment import Experiment
    from emdsl.outcomes.database import Connection, SqlResult
    from emdsl.study.annotating import Annotating
    from emdsl.study.compiled import Compiled
    from emdsl.study.running import ActiveRun

LOOK_S = 1.0  # between two looks for changes
N_ALONE = 3  # looks until new answers are loaded without a run of this study: one may be about to begin
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
    part: list[int] | None = None  # how many rows of each experiment are loaded, if not all
    kept: dict[Any, asyncio.Task[Any]] = field(default_factory=dict)  # what is computed once for a generation
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _results: Locked | None = None
    _apart: TemporaryDirectory[str] | None = None
    _own_runs: set[str] = field(default_factory=set)  # of this study, that were seen under way
    _n_alone: int = 0  # looks that have seen a change, and no run of this study
    _seen: Any = None  # what the results were made from
    _marks_seen: Any = None
    changes: int = 0  # of what `state` returns
    marks_changes: int = 0  # of the files of marks, by people or by git
    ended: bool = False
    _pace: LoadPace = field(default_factory=LoadPace)
    _loader: LoadProcess = field(default_factory=LoadProcess)
    _readers: int = 0
    _replacing: bool = False
    _idle: asyncio.Condition = field(default_factory=asyncio.Condition)
    _moving: asyncio.Condition = field(default_factory=asyncio.Condition)
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _annotating: dict[str, Annotating] = field(default_factory=dict)
    _coordinates: dict[str, Coordinates] = field(default_factory=dict)
    _marking: Marking = field(default_factory=Marking)
    _marks_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def open(self) -> None:
        """Open the loaded results; raises OutcomesError."""
        self._seen, self._marks_seen = self._sources(), self._mark_files()
        self._results = Locked(self.study.project.cache / DATABASE)

    async def end_streams(self) -> None:
        """End the streams of `moved`."""
        self.ended = True
        await self._move()

    async def stop(self) -> None:
        """Stop what is being computed."""
        self._loader.close()
        tasks = [*self.kept.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work that is cancelled by `stop`."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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

    async def select(
        self, sql: str, *, most: int = MAX_ROWS, limit_s: float = LIMIT_S, values: Sequence[object] = ()
    ) -> SqlResult:
        """Return the first rows of a SELECT; it is stopped if the client goes away. Raises OutcomesError."""
        result: SqlResult = await self.compute(
            lambda cursor: fetch(cursor, sql, most=most, limit_s=limit_s, values=values)
        )
        return result

    async def compute(self, make: Callable[[Connection], Any]) -> Any:
        """Return what a function makes of a cursor, in a thread; it is interrupted if this is cancelled."""
        async with self.results() as results:
            return await computed_with(results, make)

    async def once(self, key: Any, make: Callable[[Any], Any]) -> Any:
        """Return what is computed once for each load: `make` gets a cursor, in a thread. Raises OutcomesError."""
        return await computed_once(self.kept, key, lambda: self._measured(make))

    async def _measured(self, make: Callable[[Connection], Any]) -> Any:
        with self._pace.computing():
            return await self.compute(make)

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

    def state(self) -> dict[str, Any]:
        """Return what moves: the load, and the runs under way."""
        return {
            "generation": self.generation, "loaded_at": self.loaded_at, "problem": self.problem,
            "marks": self.marks_changes, "runs": [r.as_json() for r in self.runs],
        }  # fmt: skip

    async def moved(self, seen: int, timeout_s: float) -> int:
        """Return the number of changes of `state`, once it is not `seen`, or after some seconds."""
        async with self._moving:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._moving.wait_for(lambda: self.changes != seen)
        return self.changes

    async def _move(self) -> None:
        async with self._moving:
            self.changes += 1
            self._moving.notify_all()

    async def watch(self) -> None:
        """Follow runs, other loads and edits until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if time.monotonic() - self.asked_at > WATCHED_S:
                continue
            with suppress(EmdslError, OSError):  # such as a cache that is being removed
                await self._look()

    async def _look(self) -> None:
        """Look once for what is new."""
        with suppress(EmdslError):  # a system without sockets
            runs = await asyncio.to_thread(active_runs, self.study.project)
            own = self.mine(runs)
            self._own_runs |= {r.run for r in own}
            self._pace.see(own)
            if runs != self.runs:
                self.runs = runs
                await self._move()
        marks = await asyncio.to_thread(self._mark_files)
        if marks != self._marks_seen:
            self.marks_changes, self._marks_seen = self.marks_changes + 1, marks
            await self._move()
        seen = await asyncio.to_thread(self._sources)
        alone = not self.mine(self.runs)
        changed = seen != self._seen or (alone and self.part is not None)  # a run was killed that had a part loaded
        self._n_alone = self._n_alone + 1 if changed and alone else 0
        if not changed:
            return
        other_load = self._seen is None or seen[-1] != self._seen[-1]
        edited = self._seen is None or seen[:2] != self._seen[:2]
        if other_load or (alone and edited):
            await self.refresh()
            return
        if alone and self._n_alone < N_ALONE:
            return
        whole = any(e.groups for e in self.study.program.experiments)  # values over rows that a part would lack
        rows = self._pace.rows(self.total, started=self._loader.started)
        if rows == self.total or (rows and not whole):
            await self.refresh(rows if rows < self.total else None)

    @property
    def total(self) -> int:
        """The number of rows of the study."""
        return sum(map(_n_rows, self.study.program.experiments))

    async def refresh(self, rows: int | None = None) -> None:
        """Compile the file again, load the newest answers, and show them; a failure is kept as `problem`.

        `rows` are loaded at most, those that a run sends first; None loads all.
        """
        async with self._loading:
            started = self._loader.started
            with self._pace.loading(rows or self.total, lambda: self._loader.cpu_s, started=started):
                try:
                    await self._refreshed(rows)
                    self.problem = ""
                except (EmdslError, OSError) as error:
                    self.problem = str(error)
            if not self.mine(self.runs):  # the next load is long after this one
                self._loader.close()
            await self._move()

    async def _refreshed(self, most: int | None) -> None:
        before, seen = self._seen, await asyncio.to_thread(self._sources)
        self._seen = seen  # an error is shown once, not at each look
        study = await asyncio.to_thread(compile_study, self.study.project, self.study.file)
        by_run = before is not None and seen[-1] in self._own_runs and seen[:2] == before[:2]  # a run has loaded all
        beside = bool(self.mine(self.runs)) and not by_run
        apart = TemporaryDirectory(prefix="emdsl-view-") if beside else None
        folder = Path(apart.name) if apart is not None else None
        parts = _shares(study, most) if beside and most is not None else None
        try:
            notices = [] if by_run else await asyncio.to_thread(self._loader.load, study, folder, parts)
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
            if by_run:
                notices = await asyncio.to_thread(_notices, self._results, study.name)
            self.part = parts
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

    def mine(self, runs: Iterable[ActiveRun]) -> list[ActiveRun]:
        """Return the runs of this study: each loads the project's results itself when it ends."""
        return [r for r in runs if r.record is None or r.record.study == self.study.name]

    def _sources(self) -> tuple[Any, ...]:
        """Return what tells whether the results are up to date: files, verdicts, answers, and the load."""
        program, project = self.study.program, self.study.project
        verdicts = (self.study.file.parent / FOLDER).glob("*.jsonl")
        return (
            _stats(sorted(verdicts)), _stats(map(Path, program.files)), project.store_version(),
            load_id(project.cache, self.study.name),
        )  # fmt: skip

    def _mark_files(self) -> tuple[Any, ...]:
        """Return what tells whether the files of marks have changed; without a readable folder nothing."""
        with suppress(OSError):
            return _stats(paths_of(self.study.file))
        return ()

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


async def computed_once(
    kept: dict[Any, asyncio.Task[Any]], key: Any, make: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """Return what is computed once and kept by a key; an error is not kept."""
    if key not in kept:
        kept[key] = asyncio.create_task(make())
    task = kept[key]
    try:
        return await asyncio.shield(task)
    except (EmdslError, OSError):
        kept.pop(key, None)
        raise


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


def _notices(results: Locked, study: str) -> list[str]:
    """Return what there was to say about the measures of a study when it was loaded."""
    rows = fetch(results.cursor(), "SELECT notices FROM emdsl.studies WHERE study = $1", values=[study]).rows
    return list(rows[0][0] or []) if rows else []


def _n_rows(experiment: Experiment) -> int:
    return experiment.n_cells * experiment.samples


def _shares(study: Compiled, most: int) -> list[int]:
    """Return how many rows of each experiment are loaded, of so many in all."""
    numbers = [_n_rows(e) for e in study.program.experiments]
    return [-(-n * most // max(1, sum(numbers))) for n in numbers]


def _stats(paths: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    stats = []
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            stats.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stats)
