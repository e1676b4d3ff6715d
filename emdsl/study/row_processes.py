"""Windows of rows made on all cores: by this process and some others, and taken in the order of rows."""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, cast

from emdsl.frame import EvalFault
from emdsl.run.merging import Source
from emdsl.run.passes import collect
from emdsl.run.planner import finish_all, plan_all
from emdsl.run.recording import Record
from emdsl.run.windows import windows
from emdsl.study.child import end, started, study_task
from emdsl.study.row_making import Made, Maker, Making

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from io import TextIOWrapper
    from typing import BinaryIO

    from emdsl.digest import Digest
    from emdsl.run.count import ExperimentCount
    from emdsl.run.merging import Merger
    from emdsl.run.reasons import Comparison
    from emdsl.run.rows import Rows
    from emdsl.run.windows import Window
    from emdsl.store.store import Store
    from emdsl.study.compiled import Compiled
    from emdsl.study.options import RunOptions

LARGE = 40_000  # rows from which other processes are worth their start
MAX_PROCESSES = 8
AHEAD = 2  # windows that a process has at most: one that it makes, and the next
WAIT_S = 1.0  # between two looks whether the work was ended
KEPT = 4  # windows for each process that may wait for those before them

_NONE: Mapping[Digest, str] = {}


def processes_for(n_rows: int, wanted: int | None = None) -> int:
    """Return how many processes make so many rows, this one included: one per core, or as wanted; of few rows, one."""
    if n_rows < LARGE or os.name != "posix" or not sys.executable:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores if wanted is None else wanted, MAX_PROCESSES)


@contextmanager
def row_processes(
    study: Compiled, options: RunOptions, making: Making, n: int, check: Callable[[], None] = lambda: None
) -> Iterator[RowProcesses | None]:
    """Start the processes that make rows beside this one; None if this one makes them alone."""
    if n < 2:
        yield None
        return
    with RowProcesses(study, options, making, n, check) as processes:
        yield processes


class _Process:
    """Another process, and the windows that it has."""

    def __init__(self, task: str, arrived: Callable[[_Process, bytes, bytes], None], ended: Callable[[], None]) -> None:
        self.numbers: list[tuple[int, int]] = []  # of experiments and windows, in the order in which they come back
        self.last: dict[int, int] = {}  # of each experiment: the last window that it got
        self.ready = False  # it has its task, and has not ended
        self._task, self._arrived, self._ended = task, arrived, ended
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._listen, name="emdsl-rows", daemon=True)

    def start(self) -> None:
        """Start it; without a process it ends at once."""
        with suppress(OSError):
            self._process = started("emdsl.study.row_process")
        self._thread.start()

    def send(self, at: int, number: int, *, wants_events: bool) -> None:
        """Let it make a window."""
        self.numbers.append((at, number))
        self.last[at] = number
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended: its windows are made by others
            self._process.stdin.write(f"{at} {number} {wants_events:d}\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """End it."""
        end(self._process, self._thread)

    def _listen(self) -> None:
        """Read its windows."""
        with suppress(OSError):
            self._read()
        self.ready = False
        self._ended()

    def _read(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._task + "\n")
        self._process.stdin.flush()
        self.ready = True
        pipe = cast("BinaryIO", cast("TextIOWrapper", self._process.stdout).buffer)
        while len(head := pipe.read(8)) == 8:
            record = pipe.read(int.from_bytes(head, "big"))
            size = int.from_bytes(pipe.read(8), "big")
            table = pipe.read(size)
            if len(table) < size or not record:
                return
            self._arrived(self, record, table)


class RowProcesses:
    """This process and some others, which make the windows of a study; used as a context.

    Args:
        study: The study.
        options: The selection of rows.
        making: The products to make from them.
        n: The number of processes, this one included.
        check: Is called now and then, and may raise to end the work.
    """

    def __init__(
        self, study: Compiled, options: RunOptions, making: Making, n: int, check: Callable[[], None] = lambda: None
    ) -> None:
        self.wants_events = False  # see `Maker.made`
        self._making, self._check = making, check
        self._changed = threading.Condition()
        self._results: dict[tuple[int, int], tuple[_Process, bytes, bytes]] = {}
        task = json.dumps(study_task(study, options) | {"making": making.as_json()})
        self._processes = [_Process(task, self._arrived, self._ended) for _ in range(n - 1)]

    def __enter__(self) -> Self:
        """Start the other processes."""
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        for process in self._processes:
            process.close()

    def each(
        self, at: int, walk: Rows, store: Store, comparison: Comparison | None = None, *, start: int = 0
    ) -> Iterator[tuple[Window, Source, Made]]:
        """Yield the products of each window of an experiment, in their order.

        Args:
            at: The number of the experiment.
            walk: Its rows.
            store: The store.
            comparison: With the last run, if there is one to compare with.
            start: The number of the first window.

        Raises:
            EvalFault: A row cannot be evaluated; the first, as if one process made all rows.
        """
        own = _Own(lambda: Maker(walk, store, self._making, at, comparison))
        sources: dict[_Process, Source] = {}
        made = windows(walk, everything=self._making.table, size=self._making.size)
        numbered = islice(enumerate(made), start, None)
        waiting: dict[int, Window] = {}
        free: list[int] = []  # those that no process has
        number = start  # of the next
        while True:
            self._check()
            for more, window in islice(numbered, KEPT * (len(self._processes) + 1) - len(waiting)):
                waiting[more] = window
                free.append(more)
            if not waiting:
                return
            self._hand_out(at, free)
            with self._changed:
                theirs = self._results.pop((at, number), None)
            if theirs is not None:
                process, record, table = theirs
                source = sources.setdefault(process, Source())
                yield waiting.pop(number), source, Made(Record.unpacked(record), _table(table))
                number += 1
            elif number in own.made:
                yield waiting.pop(number), *own.made.pop(number)
                number += 1
            elif free and (free[0] == number or not own.faulty):
                if own.make(free[0], waiting[free[0]], first=free[0] == number, wants_events=self.wants_events):
                    del free[0]
            else:
                self._wait(at, number)

    def _hand_out(self, at: int, free: list[int]) -> None:
        """Give windows to the processes that have too few, and take back those of processes that have ended."""
        with self._changed:
            for process in self._processes:
                if not process.ready:
                    free += [number for of, number in process.numbers if of == at]
                    process.numbers.clear()
            free.sort()
            for process in self._processes:
                while process.ready and len(process.numbers) < AHEAD:
                    # this process makes the first, for which all others wait, and those that others have passed
                    number = next((n for n in free[1:] if n > process.last.get(at, -1)), None)
                    if number is None:
                        break
                    free.remove(number)
                    process.send(at, number, wants_events=self.wants_events)

    def _wait(self, at: int, number: int) -> None:
        """Wait for a window that another process makes."""
        with self._changed:
            while (at, number) not in self._results and all(p.ready for p in self._processes if p.numbers):
                self._changed.wait(WAIT_S)
                self._check()

    def _arrived(self, process: _Process, record: bytes, table: bytes) -> None:
        with self._changed:
            self._results[process.numbers.pop(0)] = process, record, table
            self._changed.notify()

    def _ended(self) -> None:
        with self._changed:
            self._changed.notify()


class _Own:
    """The windows that this process makes, by number."""

    def __init__(self, maker: Callable[[], Maker]) -> None:
        self.made: dict[int, tuple[Source, Made]] = {}
        self.faulty = False  # whether a window has a row that cannot be evaluated: those before it may have one too
        self._new_maker = maker
        self._maker, self._source, self._last = maker(), Source(), -1

    def make(self, number: int, window: Window, *, first: bool, wants_events: bool) -> bool:
        """Make a window, and return whether it is made; raises EvalFault if it is the first that is missing."""
        if number < self._last or self.faulty:  # a maker takes whole windows in their order
            self._maker, self._source = self._new_maker(), Source()
        self._last = number
        try:
            self.made[number] = self._source, self._maker.made(window, wants_events=wants_events)
        except EvalFault:
            if first:
                raise
            self.faulty = True
        return number in self.made


def _table(table: bytes) -> Any:
    if not table:
        return None
    from emdsl.outcomes.table import table_of_bytes  # noqa: PLC0415 - a plan does without Arrow

    return table_of_bytes(table)


def counts_of(
    processes: RowProcesses | None, made: Sequence[Merger], store: Store, comparisons: Sequence[Comparison | None] = ()
) -> list[ExperimentCount]:
    """Return the counts of all experiments, as `plan_all` does, by several processes if there are some.

    Windows that the planners have already are not added again. Raises NotMergeable if one process must count alone.
    """
    if processes is None:
        return plan_all(made, store)
    for at, merger in enumerate(made):
        comparison = comparisons[at] if comparisons else None
        for window, source, found in processes.each(at, merger.walk, store, comparison, start=merger.n_windows):
            merger.merge(found.record, window, source, store)
            processes.wants_events = merger.wants_events
        merger.end()
    return finish_all(made, store)


def tables_of(
    processes: RowProcesses | None, at: int, merger: Merger, store: Store, failures: Mapping[Digest, str] = _NONE
) -> Iterator[Any]:
    """Yield all rows of an experiment, selected or not, with all its steps settled, and count the selected ones.

    They come as lists of rows, or as Arrow tables by several processes. Raises NotMergeable if one process must make
    them alone.
    """
    walk = merger.walk
    if processes is None or walk.experiment.groups:  # rows that read others are made with them
        yield from collect(walk, store, failures, merger.add)
        return
    for window, source, made in processes.each(at, walk, store):
        merger.merge(made.record, window, source, store)
        processes.wants_events = merger.wants_events
        yield made.table
    merger.end()
