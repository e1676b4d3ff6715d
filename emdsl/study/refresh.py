"""Refreshing: the tables of a study, brought up to date from its store."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest
from emdsl.errors import OutcomesError
from emdsl.outcomes import database, loading
from emdsl.outcomes.load_ids import note_last
from emdsl.run.merging import Merger, NotMergeable
from emdsl.run.passes import collect
from emdsl.run.planner import planners, planners_of
from emdsl.run.progress import Report
from emdsl.run.rows import Rows
from emdsl.store.read_through import away
from emdsl.study.compiled import evaluating
from emdsl.study.options import RunOptions
from emdsl.study.project import prepare
from emdsl.study.row_making import Making
from emdsl.study.row_processes import processes_for, row_processes, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from emdsl.experiment import Experiment
    from emdsl.outcome import Outcome
    from emdsl.run.count import ExperimentCount
    from emdsl.store.store import AnswerStore
    from emdsl.study.compiled import Compiled
    from emdsl.study.row_processes import RowProcesses

    SeeRows = Callable[[Experiment, list[Outcome]], None]

_WHOLE = RunOptions()
TABLES = 3  # changes with the columns of tables and measures, so that those of an older version are made anew


def bring_up_to_date(
    study: Compiled, walks: list[Rows], store: AnswerStore, *, report: Report, run: str,
    options: RunOptions = _WHOLE, see: SeeRows | None = None, on_rows: Callable[[int], None] = lambda _: None,
) -> tuple[list[ExperimentCount], list[str], str]:  # fmt: skip
    """Load a study's tables from the store.

    Args:
        study: The study.
        walks: The rows of each of its experiments.
        store: Its open store.
        report: The report of the run before; its failures are named in the rows.
        run: The id of the load.
        options: The selection of `walks`.
        see: Is called with all rows, settled; then one process makes them, else several if they are many.
        on_rows: Gets the number of further rows that are loaded.

    Returns:
        The counts of each experiment, notices about measures, and why the load failed, if it did. The answers are
        safe then, and the next reader loads them.
    """
    if why := study.project.unwritable():
        counts = [p.plan(store) for p in planners(walks, run=run)]
        current = _is_current(study, store)
        return (counts, database.notices(study.project.cache, study.name), "") if current else (counts, [], why)
    prepare(study.project.cache)
    n = 1 if see is not None else processes_for(sum(w.experiment.n_cells * w.experiment.samples for w in walks))
    making = Making(run=run, table=True, failures=report.failures)

    def tables(processes: RowProcesses | None, made: list[Merger]) -> Iterator[tuple[Experiment, Iterator[Any]]]:
        for at, merger in enumerate(made):
            yield merger.walk.experiment, seen(merger, tables_of(processes, at, merger, store, report.failures))

    def seen(merger: Merger, chunks: Iterator[Any]) -> Iterator[Any]:
        for rows in chunks:
            if see is not None:
                see(merger.walk.experiment, rows)
            on_rows(len(rows))
            yield rows

    try:
        for processes_wanted in (n, 1):
            counting = planners_of(Merger, walks, run=run)
            with (
                suppress(NotMergeable), evaluating(),
                row_processes(study, options, making, processes_wanted) as processes,
            ):  # fmt: skip
                load = load_of(study, store, run)
                notices = loading.load(study.project.cache, load, tables(processes, counting))
                break
    except OutcomesError as error:
        return [p.plan(store) for p in planners(walks, run=run)], [], str(error)
    return [p.finish() for p in counting], notices, ""


def load_if_stale(study: Compiled) -> list[str]:
    """Load the tables if they do not match the study and its store; return the notices of the load, whenever it was.

    Raises OutcomesError if they cannot be loaded, SourceError for an error of the study.
    """
    with study.store() as store:
        current = _is_current(study, store)
        notices = database.notices(study.project.cache, study.name) if current else _load_anew(study, store)[1]
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
        return counts, database.notices(study.project.cache, study.name)


def load_apart(study: Compiled, folder: Path, most: Sequence[int] | None = None) -> list[str]:
    """Load the cached answers into another folder, and leave the cache alone; return notices.

    Of each experiment `most` rows are loaded, those that a run sends first.
    """
    with study.store() as store:
        walks = [Rows(e) for e in study.program.experiments]
        numbers: Sequence[int | None] = most or [None] * len(walks)
        rows = ((w.experiment, collect(w, store, {}, most=n)) for w, n in zip(walks, numbers, strict=True))
        return loading.load(folder, load_of(study, store, ""), rows)


def _is_current(study: Compiled, store: AnswerStore) -> bool:
    return database.state(study.project.cache, study.name) == (_source_of(study), store.state())


def _source_of(study: Compiled) -> str:
    """Return what tables are made from beside the answers: the program, and the columns that this version makes."""
    annotations = study.program.annotations
    people = f" {digest('annotations', dict(annotations)).hex()}" if annotations else ""
    return f"{study.program.digest.hex()} {TABLES}{people}"


def _load_anew(
    study: Compiled, store: AnswerStore, see: SeeRows | None = None
) -> tuple[list[ExperimentCount], list[str]]:
    walks = [Rows(e) for e in study.program.experiments]
    counts, notices, failure = bring_up_to_date(study, walks, store, report=Report(), run=secrets.token_hex(8), see=see)
    if failure:
        raise OutcomesError(failure)
    unread = [f"the remote `{n}` may hold answers that are missing here: {why}" for n, why in away(store).items()]
    return counts, notices + unread


def load_of(study: Compiled, store: AnswerStore, run: str) -> loading.Load:
    """Return the identity of a load: the study, its program and the present version of its store."""
    return loading.Load(
        study=study.name, file=str(study.file), program=_source_of(study), store_state=store.state(), run=run
    )
