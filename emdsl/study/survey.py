"""What a run has to do: its pending requests, counted without DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.errors import OutcomesError
from emdsl.run.merging import Merger, NotMergeable
from emdsl.run.passes import settle_from_store
from emdsl.run.planner import planners_of
from emdsl.study.project import prepare
from emdsl.study.row_making import Making
from emdsl.study.row_processes import counts_of, processes_for, row_processes, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from emdsl.experiment import Experiment
    from emdsl.run.count import ExperimentCount
    from emdsl.run.rows import Rows
    from emdsl.store.store import AnswerStore
    from emdsl.study.compiled import Compiled
    from emdsl.study.options import RunOptions
    from emdsl.study.row_processes import RowProcesses


class _Unfinished(Exception):
    """A request is pending: it is too early to load."""


class Survey:
    """Counts the pending requests of a study. Without any, the same pass over its rows loads its tables."""

    def __init__(
        self, study: Compiled, walks: list[Rows], store: AnswerStore, run: str, options: RunOptions, *,
        check: Callable[[], None] = lambda: None, workers: int | None = None,
    ) -> None:  # fmt: skip
        """Make a survey.

        Args:
            study: The study.
            walks: The rows of its experiments, as selected.
            store: Its open store.
            run: The id of the run.
            options: The options of the run.
            check: Is called now and then, and may raise to end the survey.
            workers: The number of processes that make rows; None: by size.
        """
        self._study, self._walks, self._store, self._run = study, walks, store, run
        self._options, self._check = options, check
        self._planners = self._new_planners()
        self._n_processes = processes_for(sum(p.count.rows for p in self._planners), workers)
        self.counts: list[ExperimentCount] = []
        self.loaded: tuple[list[str], str] | None = None  # notices, and why the load failed; None: not loaded

    def take(self) -> None:
        """Count every experiment; raises EvalFault."""
        try:
            self._take()
        except NotMergeable:
            self._n_processes, self._planners = 1, self._new_planners()
            self._take()

    def _take(self) -> None:
        if not (self._study.program.absent or self._study.project.unwritable()) and self._ends_are_stored():
            self._load()
        if self.loaded is None:
            self._count()
        elif not self.counts:
            self.counts = [p.finish() for p in self._planners]

    def _new_planners(self) -> list[Merger]:
        return planners_of(Merger, self._walks, budget=self._options.budget)

    def _processes(self, *, table: bool) -> AbstractContextManager[RowProcesses | None]:
        making = Making(budget=self._options.budget is not None, table=table)
        return row_processes(self._study, self._options, making, self._n_processes, self._check)

    def _load(self) -> None:
        """Load the tables on the way, until a request is pending."""
        from emdsl.outcomes import loading  # noqa: PLC0415 - whoever has requests to send needs DuckDB later
        from emdsl.study.refresh import load_of  # noqa: PLC0415 - whoever has requests to send needs DuckDB later

        try:
            load = load_of(self._study, self._store, self._run)
            with self._processes(table=True) as processes:
                self.loaded = loading.load(self._study.project.cache, load, self._tables(processes)), ""
        except _Unfinished:
            if self._n_processes > 1 and not self._whole:  # windows of all rows are others than those of selected ones
                self._planners = self._new_planners()
        except OutcomesError as error:
            self._planners = self._new_planners()
            self._count()
            if not any(c.at_most for c in self.counts):
                self.loaded = [], str(error)

    def _count(self) -> None:
        if not self.counts:
            self._check()
            with self._processes(table=False) as processes:
                self.counts = counts_of(processes, self._planners, self._store)

    @property
    def _whole(self) -> bool:
        """Whether all rows are selected."""
        return all(w.selection.all_cells and w.samples == w.experiment.samples for w in self._walks)

    def _ends_are_stored(self) -> bool:
        """Whether the first and the last row are complete: most edits change one of them."""
        for walk in self._walks:
            rows = walk.ends()
            settle_from_store(walk, rows, self._store)
            if any(row.ready or row.blocked for row in rows):
                return False
        return True

    def _tables(self, processes: RowProcesses | None) -> Iterator[tuple[Experiment, Iterator[Any]]]:
        prepare(self._study.project.cache)
        for at, planner in enumerate(self._planners):
            yield planner.walk.experiment, self._complete(processes, at, planner)

    def _complete(self, processes: RowProcesses | None, at: int, planner: Merger) -> Iterator[Any]:
        for rows in tables_of(processes, at, planner, self._store):
            if planner.count.at_most or any(s.unknown for s in planner.count.steps):
                raise _Unfinished
            self._check()
            yield rows
