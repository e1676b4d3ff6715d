"""The program that loads the tables of a large run, beside the process that sends its requests.

It makes rows as their answers come into the store: the process that sends has neither DuckDB nor rows in its memory,
and little is left to load when the last answer is stored. It reads one line of JSON, what to load, and prints one, what
cannot be loaded; a second line that it reads ends the run, and then it loads, prints numbers of rows that are loaded,
and the result. Without that line it loads nothing: the run was killed.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.errors import EmdslError, OutcomesError
from emdsl.outcomes import loading
from emdsl.run.passes import CHUNK, settle_from_store, settle_missing, with_groups
from emdsl.study.child import rows_of, study_of
from emdsl.study.project import prepare
from emdsl.study.refresh import load_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.outcome import Outcome
    from emdsl.run.rows import Rows
    from emdsl.store.store import AnswerStore

ROWS_S = 0.2  # between two numbers of rows that were loaded
POLL_S = 0.1  # between two looks for the answers of the next rows
NICE = 10  # the processes that send come first
GC_THRESHOLD = 100_000  # objects: rows are many, and few are in a cycle


class _Run:
    """The run beside this process."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.failures: Mapping[Digest, str] = {}  # of its requests, once it has ended
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        line = sys.stdin.readline()
        if line:
            self.failures = {bytes.fromhex(key): error for key, error in json.loads(line)["failures"].items()}
            self.ended.set()
        else:
            os._exit(1)  # the run was killed: nothing is to be loaded, whatever is being computed


class _Experiment:
    """The rows of one experiment: those that are complete go to a file, and are not made again."""

    def __init__(self, rows: Rows, store: AnswerStore, staged: loading.Staged) -> None:
        self._rows, self._store, self._staged = rows, store, staged
        self._left = rows.everything()
        self._next: list[tuple[tuple[int, ...], int]] = []  # cells and samples of rows that were not complete

    def follow(self, run: _Run) -> None:
        """Stage rows until the run ends or all are staged; no rows that read others, which may be pending."""
        if self._rows.experiment.groups:
            return
        while not run.ended.is_set():
            self._next = self._next or [(row.cell, row.sample) for row in islice(self._left, CHUNK)]
            if not self._next:
                return
            evidence = self._rows.probes.evidence()
            chunk = self._settled()
            if self._rows.probes.all_answered and all(not (row.ready or row.blocked) for row in chunk):
                self._staged.add(chunk)
                self._next = []
            else:  # nothing is kept of an attempt: rows are what one pass over the whole store makes of them
                self._rows.probes.restore(evidence)
                run.ended.wait(POLL_S)

    def chunks(self, failures: Mapping[Digest, str]) -> Iterator[loading.Chunk]:
        """Yield all rows, staged or not."""
        with_groups(self._rows, self._store, failures)
        yield from self._staged.tables()
        while self._next or (chunk := list(islice(self._left, CHUNK))):
            self._next = self._next or [(row.cell, row.sample) for row in chunk]
            settled = self._settled()
            for row in settled:
                settle_missing(self._rows, row, failures)
            yield settled
            self._next = []

    def _settled(self) -> list[Outcome]:
        chunk = [self._rows.row(cell, sample) for cell, sample in self._next]
        self._rows.probes.look_up(self._store, again=True)
        settle_from_store(self._rows, chunk, self._store)
        return chunk


def main() -> None:
    """Follow one run, and load its tables."""
    gc.set_threshold(GC_THRESHOLD)
    with suppress(OSError, AttributeError):  # Windows has no `nice`
        os.nice(NICE)
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    run = _Run()
    study = study_of(task)
    if study is None:
        return
    project = study.project
    _say([(i, *fault) for i, e in enumerate(study.program.experiments) for fault in loading.faults(e)])
    prepare(project.cache)
    with study.store() as store, ExitStack() as files:
        followed = []
        for walk in rows_of(study, task):
            file = files.enter_context(tempfile.TemporaryFile(dir=project.cache))
            rows = _Experiment(walk, store, loading.Staged(file, walk.experiment, task["run"]))
            rows.follow(run)
            followed.append((walk.experiment, rows))
        run.ended.wait()
        tables = [(e, _told(rows.chunks(run.failures))) for e, rows in followed]
        try:
            _say((loading.load(project.cache, load_of(study, store, task["run"]), tables), ""))
        except OutcomesError as error:
            _say(([], str(error)))


def _told(chunks: Iterator[loading.Chunk]) -> Iterator[loading.Chunk]:
    """Yield chunks of rows, and say now and then how many more were taken."""
    n, last = 0, time.monotonic()
    for chunk in chunks:
        yield chunk
        n += len(chunk)
        if time.monotonic() - last > ROWS_S:
            _say(n)
            n, last = 0, time.monotonic()
    _say(n)


def _say(found: object) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except EmdslError:
        sys.exit(1)  # the run meets the same error, and reports it
