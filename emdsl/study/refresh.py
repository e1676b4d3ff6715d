"""Refreshing: the tables of a study, brought up to date from its store."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from emdsl.errors import OutcomesError, SourceError
from emdsl.outcomes import database, loading
from emdsl.outcomes.drift import drifts
from emdsl.outcomes.load_ids import note_last
from emdsl.run.planner import Planner, planners
from emdsl.run.progress import Report
from emdsl.run.rows import Rows, chunks, collect, settle_from_store
from emdsl.source import Diagnostic
from emdsl.study.compiled import evaluating
from emdsl.study.project import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal
    from pathlib import Path

    from emdsl.experiment import Experiment
    from emdsl.outcome import Outcome
    from emdsl.run.count import ExperimentCount
    from emdsl.store.disk import DiskStore
    from emdsl.study.compiled import Compiled

    SeeRows = Callable[[Experiment, list[Outcome]], None]


def bring_up_to_date(
    study: Compiled, walks: list[Rows], store: DiskStore, *, report: Report, run: str,
    see: SeeRows = lambda _, __: None,
) -> tuple[list[ExperimentCount], list[str], str]:  # fmt: skip
    """Load a study's tables from the store.

    Args:
        study: The study.
        walks: The rows of each of its experiments.
        store: Its open store.
        report: The report of the run before; its failures are named in the rows.
        run: The id of the load.
        see: Is called with all rows, settled.

    Returns:
        The counts of each experiment, notices about measures, and why the load failed, if it did. The answers are
        safe then, and the next reader loads them.
    """
    counting = planners(walks, run=run)

    def tables() -> Iterator[tuple[Experiment, Iterator[list[Outcome]]]]:
        for walk, planner in zip(walks, counting, strict=True):
            yield walk.experiment, counted(walk, planner)

    def counted(walk: Rows, planner: Planner) -> Iterator[list[Outcome]]:
        for rows in collect(walk, store, report.failures, planner.add):
            see(walk.experiment, rows)
            yield rows

    prepare(study.project.cache)
    try:
        with evaluating():
            notices = loading.load(study.project.cache, _load(study, store, run), tables())
    except OutcomesError as error:
        return [p.plan(store) for p in planners(walks, run=run)], [], str(error)
    return [p.finish() for p in counting], notices, ""


def load_if_stale(study: Compiled) -> list[str]:
    """Load the tables if they do not match the study and its store; return notices.

    Raises OutcomesError if they cannot be loaded, SourceError for an error of the study.
    """
    with study.store() as store:
        notices = [] if _is_current(study, store) else _load_anew(study, store)[1]
    note_last(study.project.cache, study.name)
    return notices


def each_row(study: Compiled, see: SeeRows) -> tuple[list[ExperimentCount], list[str]]:
    """Call `see` with every row, settled, and load the tables on the way if they are stale.

    Returns the counts of each experiment, and notices. Raises as `load_if_stale` does.
    """
    with study.store() as store:
        if not _is_current(study, store):
            return _load_anew(study, store, see)
        walks = [Rows(e) for e in study.program.experiments]
        counts = []
        for walk, planner in zip(walks, planners(walks), strict=True):
            for rows in collect(walk, store, {}, planner.add):
                see(walk.experiment, rows)
            counts.append(planner.finish())
        return counts, []


def load_apart(study: Compiled, folder: Path) -> list[str]:
    """Load the cached answers into another folder, and leave the cache alone; return notices."""
    with study.store() as store:
        walks = [Rows(e) for e in study.program.experiments]
        rows = ((w.experiment, collect(w, store, {})) for w in walks)
        return loading.load(folder, _load(study, store, ""), rows)


def _is_current(study: Compiled, store: DiskStore) -> bool:
    return database.state(study.project.cache, study.name) == (study.program.digest.hex(), store.state())


def _load_anew(
    study: Compiled, store: DiskStore, see: SeeRows = lambda _, __: None
) -> tuple[list[ExperimentCount], list[str]]:
    walks = [Rows(e) for e in study.program.experiments]
    counts, notices, failure = bring_up_to_date(study, walks, store, report=Report(), run=secrets.token_hex(8), see=see)
    if failure:
        raise OutcomesError(failure)
    return counts, notices


def _load(study: Compiled, store: DiskStore, run: str) -> loading.Load:
    return loading.Load(
        study=study.name, file=str(study.file), program=study.program.digest.hex(), store_state=store.state(), run=run
    )


class _Unfinished(Exception):
    """A request is pending: it is too early to load."""


class Survey:
    """Counts the pending requests of a study; if there are none, the same pass over its rows loads its tables."""

    def __init__(
        self, study: Compiled, walks: list[Rows], store: DiskStore, run: str, budget: Decimal | None = None, *,
        check: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Make a survey; `check` is called now and then, and may raise to end it."""
        self._study, self._walks, self._store, self._run, self._budget = study, walks, store, run, budget
        self._check = check
        self._planners = planners(walks, budget=budget)
        self.counts: list[ExperimentCount] = []
        self.loaded: tuple[list[str], str] | None = None  # notices, and why the load failed; None: not loaded

    def take(self) -> None:
        """Count every experiment; raises EvalFault."""
        if not self._study.program.absent and self._first_is_stored():
            try:
                load_ = _load(self._study, self._store, self._run)
                self.loaded = loading.load(self._study.project.cache, load_, self._tables()), ""
            except _Unfinished:
                pass
            except OutcomesError as error:
                self._planners = planners(self._walks, budget=self._budget)
                self._count()
                if not any(c.at_most for c in self.counts):
                    self.loaded = [], str(error)
                return
        if self.loaded is None:
            self._count()
        else:
            self.counts = [p.finish() for p in self._planners]

    def _count(self) -> None:
        self._check()
        self.counts = [p.plan(self._store) for p in self._planners]

    def _first_is_stored(self) -> bool:
        walk = self._walks[0]
        rows = next(chunks(walk.everything(), 1), [])
        settle_from_store(walk, rows, self._store)
        return not any(row.ready or row.blocked for row in rows)

    def _tables(self) -> Iterator[tuple[Experiment, Iterator[list[Outcome]]]]:
        prepare(self._study.project.cache)
        for walk, planner in zip(self._walks, self._planners, strict=True):
            yield walk.experiment, self._complete(walk, planner)

    def _complete(self, walk: Rows, planner: Planner) -> Iterator[list[Outcome]]:
        for rows in collect(walk, self._store, {}, planner.add):
            if planner.count.at_most or any(s.unknown for s in planner.count.steps):
                raise _Unfinished
            self._check()
            yield rows


def rehearse(experiments: Sequence[Experiment]) -> None:
    """Make the tables and measures empty, in memory, so that what cannot be loaded is an error before any request."""
    for experiment in experiments:
        for span, message in loading.rehearse(experiment):
            raise SourceError([Diagnostic(code="E850", message=message, help="rename one of them", span=span)])


def drift_notices(study: Compiled) -> list[str]:
    """Return notices about compared answers that may come from different models; none before a load."""
    notices: list[str] = []
    try:
        with study.tables() as (connection, _):
            for experiment in study.program.experiments:
                notices += [d.notice for d in drifts(connection, experiment, study.name)]
    except OutcomesError:  # not loaded, or by an emdsl that knew other columns
        return []
    return notices
