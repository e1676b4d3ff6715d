"""What a run has to do: its pending requests, counted without DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.errors import OutcomesError
from emdsl.run.passes import collect, settle_from_store
from emdsl.run.planner import Planner, plan_all, planners
from emdsl.study.project import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal

    from emdsl.experiment import Experiment
    from emdsl.outcome import Outcome
    from emdsl.run.count import ExperimentCount
    from emdsl.run.rows import Rows
    from emdsl.store.store import AnswerStore
    from emdsl.study.compiled import Compiled


class _Unfinished(Exception):
    """A request is pending: it is too early to load."""


class Survey:
    """Counts the pending requests of a study. Without any, the same pass over its rows loads its tables."""

    def __init__(
        self, study: Compiled, walks: list[Rows], store: AnswerStore, run: str, budget: Decimal | None = None, *,
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
        if not self._study.program.absent and self._ends_are_stored():
            self._load()
        if self.loaded is None:
            self._count()
        elif not self.counts:
            self.counts = [p.finish() for p in self._planners]

    def _load(self) -> None:
        """Load the tables on the way, until a request is pending."""
        from emdsl.outcomes import loading  # noqa: PLC0415 - whoever has requests to send needs DuckDB later
        from emdsl.study.refresh import load_of  # noqa: PLC0415 - whoever has requests to send needs DuckDB later

        try:
            load = load_of(self._study, self._store, self._run)
            self.loaded = loading.load(self._study.project.cache, load, self._tables()), ""
        except _Unfinished:
            pass
        except OutcomesError as error:
            self._planners = planners(self._walks, budget=self._budget)
            self._count()
            if not any(c.at_most for c in self.counts):
                self.loaded = [], str(error)

    def _count(self) -> None:
        if not self.counts:
            self._check()
            self.counts = plan_all(self._planners, self._store)

    def _ends_are_stored(self) -> bool:
        """Whether the first and the last row are complete: most edits change one of them."""
        for walk in self._walks:
            rows = walk.ends()
            settle_from_store(walk, rows, self._store)
            if any(row.ready or row.blocked for row in rows):
                return False
        return True

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
