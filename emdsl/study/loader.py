"""Loading the tables of a run: after it in the same process, or beside it in a process of its own if it is large."""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

from emdsl.errors import SourceError
from emdsl.run.planner import planners
from emdsl.source import Diagnostic
from emdsl.study.child import end, started, study_task

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from emdsl.experiment import Experiment
    from emdsl.run.count import ExperimentCount
    from emdsl.run.progress import Report
    from emdsl.run.rows import Rows
    from emdsl.store.store import AnswerStore
    from emdsl.study.compiled import Compiled
    from emdsl.study.options import RunOptions

    OnRows = Callable[[int], None]
    Loaded = tuple[list[ExperimentCount], list[str], str]  # the counts, notices, and why the load failed, if it did

LARGE = 4_000  # pending requests from which a process of its own is worth its start


def _unseen(_: int) -> None:
    pass


class Loader(Protocol):
    """Loads the tables of one run; used as a context.

    Tables and measures are made empty while requests are in flight. If DuckDB rejects one, the run ends at once, before
    all answers are paid for.
    """

    def __enter__(self) -> Self:
        """Return the loader."""

    def __exit__(self, *_: object) -> None:
        """End what it has started."""

    def start(self) -> None:
        """Start: the first requests are under way."""

    def check(self) -> None:
        """Raise SourceError for tables or measures that cannot be made."""

    def load(self, report: Report, on_rows: OnRows = _unseen) -> Loaded:
        """Load the tables: the run has ended. `on_rows` is told how many more rows are loaded."""


def loader_of(
    study: Compiled, options: RunOptions, walks: list[Rows], store: AnswerStore, *, run: str, pending: int,
    on_error: Callable[[], None], late: bool = False,
) -> Loader:  # fmt: skip
    """Return the loader of a run; `on_error` is called, from another thread, if its tables cannot be made.

    `late`: answers may come in a day, so that nothing follows the store meanwhile.
    """
    inline = InlineLoader(study, options, walks, store, run, on_error)
    if pending < LARGE or os.name != "posix" or not sys.executable:
        return inline
    return LateLoader(inline, options) if late else ProcessLoader(inline, options)


class InlineLoader:
    """Loads after the run; what cannot be loaded is found out in a thread meanwhile. See Loader."""

    def __init__(
        self, study: Compiled, options: RunOptions, walks: list[Rows], store: AnswerStore, run: str,
        on_error: Callable[[], None],
    ) -> None:  # fmt: skip
        self.study, self.options, self.walks, self.store, self.run = study, options, walks, store, run
        self.on_error = on_error
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._rehearse, name="emdsl-rehearsal", daemon=True)

    def __enter__(self) -> Self:
        """See Loader."""
        return self

    def __exit__(self, *_: object) -> None:
        """See Loader."""
        if self._thread.ident is not None:
            self._thread.join()

    def start(self) -> None:
        """See Loader."""
        self._thread.start()

    def check(self) -> None:
        """See Loader."""
        if self._thread.ident is None:
            self._rehearse()
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def load(self, report: Report, on_rows: OnRows = _unseen) -> Loaded:
        """See Loader."""
        from emdsl.study.refresh import bring_up_to_date  # noqa: PLC0415 - DuckDB waits until requests are under way

        return bring_up_to_date(
            self.study, self.walks, self.store, report=report, run=self.run, options=self.options, on_rows=on_rows
        )

    def _rehearse(self) -> None:
        try:
            from emdsl.outcomes import loading  # noqa: PLC0415 - DuckDB waits until requests are under way

            experiments = self.study.program.experiments
            faults = [(i, *fault) for i, e in enumerate(experiments) for fault in loading.faults(e)]
        except Exception as error:  # noqa: BLE001 - `check` raises it, in the thread of the run
            self._error = error
        else:
            if not faults:
                return
            self._error = _source_error(experiments, faults)
        self.on_error()


class ProcessLoader:
    """Loads beside the run, in a process of its own; if that ends early, after the run in this one. See Loader."""

    def __init__(self, inline: InlineLoader, options: RunOptions) -> None:
        self._inline = inline
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._started, self._tried = threading.Event(), threading.Event()
        self._faults: list[Any] = []
        self._loaded: Any = None  # notices, and why the load failed
        self._on_rows: OnRows = _unseen
        self._thread = threading.Thread(target=self._talk, name="emdsl-loader", daemon=True)

    def __enter__(self) -> Self:
        """See Loader."""
        return self

    def __exit__(self, *_: object) -> None:
        """See Loader."""
        if self._thread.ident is None:
            return
        self._started.wait()
        end(self._process, self._thread)

    def start(self) -> None:
        """See Loader."""
        self._thread.start()

    def check(self) -> None:
        """See Loader."""
        if self._thread.ident is None:
            self._inline.check()
            return
        self._tried.wait()
        if self._faults:
            raise _source_error(self._inline.study.program.experiments, self._faults)

    def load(self, report: Report, on_rows: OnRows = _unseen) -> Loaded:
        """See Loader."""
        self._on_rows = on_rows
        if self._process is not None:
            with suppress(OSError):  # it has ended
                self._send({"failures": {key.hex(): error for key, error in report.failures.items()}})
                from emdsl.outcomes import database  # noqa: F401, PLC0415 - the results are read by it: better now

                counts = [p.plan(self._inline.store) for p in planners(self._inline.walks, run=self._inline.run)]
                self._thread.join()
                if self._loaded is not None:
                    notices, error = self._loaded
                    return counts, notices, error
        return self._inline.load(report, on_rows)

    def _talk(self) -> None:
        """Start the process, say what to load, and read its lines."""
        try:
            self._process = started("emdsl.study.load_process")
            self._started.set()
            self._send(study_task(self._inline.study, self._options) | {"run": self._inline.run})
            assert self._process.stdout is not None
            for line in self._process.stdout:
                if self._tried.is_set():
                    message = json.loads(line)
                    if isinstance(message, int):
                        self._on_rows(message)
                    else:
                        self._loaded = message
                    continue
                self._faults = json.loads(line)
                if self._faults:
                    self._inline.on_error()
                self._tried.set()
        except OSError:  # no process can be started, or it has ended: the run loads by itself
            pass
        finally:
            self._started.set()
            self._tried.set()

    def _send(self, line: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()


class LateLoader(ProcessLoader):
    """Loads after the run, in a process of its own: the memory of a large load is not kept while batches are open."""

    def __exit__(self, *error: object) -> None:
        """See Loader."""
        self._inline.__exit__(*error)
        super().__exit__(*error)

    def start(self) -> None:
        """See Loader."""
        self._inline.start()

    def check(self) -> None:
        """See Loader."""
        self._inline.check()

    def load(self, report: Report, on_rows: OnRows = _unseen) -> Loaded:
        """See Loader."""
        super().start()
        self._started.wait()
        return super().load(report, on_rows)


def _source_error(experiments: Sequence[Experiment], faults: Sequence[Any]) -> SourceError:
    """Return the first fault as an error: the number of an experiment, a measure of it or "", and the message."""
    i, named, message = faults[0]
    experiment = experiments[i]
    span = next((m.span for m in experiment.measures if m.name == named), experiment.span)
    return SourceError([Diagnostic(code="E850", message=message, help="rename one of them", span=span)])
