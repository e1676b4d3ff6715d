"""How often results are loaded beside a run, and how many rows: at a small share of what the run itself takes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from emdsl.study.running import ActiveRun

SHARE = 0.015  # of the run's CPU time is spent on loads and their figures; looking for changes takes less than that
IDLE_SHARE = 0.005  # of the time, where the run waits for its servers and takes little CPU time itself
START_S = 1.5  # CPU time of a load that starts its process, without rows
AGAIN_S = 0.4  # of one that does not
ROW_S = 1e-4  # of a row, before it is measured
LEAST_ROWS = 1_000  # of a load that has not all


@dataclass(slots=True)
class LoadPace:
    """Decides when to load while runs of the study are under way. Times are seconds of CPU, but for `_loaded_at`."""

    _first: dict[str, float] = field(default_factory=dict)  # of runs by id, when they were seen first
    _runs_s: float | None = None  # of these runs since then; None without a run
    _spent_s: float = 0.0  # on loading since then
    _loaded_at: float = float("-inf")  # by `time.monotonic`
    _load_s: float = START_S  # of the last load
    _row_s: float = ROW_S
    _rows: int = 0  # of the last load beside these runs

    def see(self, runs: Iterable[ActiveRun]) -> None:
        """Take in the runs of the study that are under way."""
        states = {r.run: r.state or {} for r in runs}
        times = {run: float(state.get("cpu_s", 0.0)) for run, state in states.items()}
        if times and not self._first:  # the results were loaded when the page was opened, or when a run ended
            self._spent_s, self._rows, self._loaded_at = 0.0, 0, time.monotonic()
        self._first = {run: self._first.get(run, time) for run, time in times.items()}
        self._runs_s = sum(times[run] - first for run, first in self._first.items()) if times else None

    def rows(self, total: int, *, started: bool) -> int:
        """Return how many rows of a study can be loaded now; 0 for no load.

        Args:
            total: The number of its rows.
            started: Whether the process that loads is there.
        """
        waited_s = time.monotonic() - self._loaded_at
        if self._runs_s is None:
            return total if SHARE * waited_s >= self._load_s else 0
        left_s = max(SHARE * self._runs_s - self._spent_s, IDLE_SHARE * waited_s)
        affordable = int((left_s - (AGAIN_S if started else START_S)) / self._row_s)
        if affordable >= total:
            return total
        return affordable if affordable >= max(LEAST_ROWS, self._rows) else 0

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Count what the figures of a load take."""
        before = time.process_time()
        try:
            yield
        finally:
            self._spent_s += time.process_time() - before

    @contextmanager
    def loading(
        self, rows: int, elsewhere: Callable[[], float] = lambda: 0.0, *, started: bool = False
    ) -> Iterator[None]:
        """Measure a load.

        Args:
            rows: The number of its rows.
            elsewhere: Returns the CPU time of the process that loads, 0 if it is not there.
            started: Whether that process was there before.
        """
        before = time.process_time() + elsewhere()
        try:
            yield
        finally:
            self._load_s = max(0.0, time.process_time() + elsewhere() - before)
            self._spent_s += self._load_s
            self._loaded_at = time.monotonic()
            if rows >= LEAST_ROWS:
                self._row_s = max(ROW_S / 5, (self._load_s - (AGAIN_S if started else START_S)) / rows)
                self._rows = rows
