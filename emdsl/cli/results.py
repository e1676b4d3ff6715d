"""Outcomes for verbs: brought up to date from the store, and shown as tables."""

from __future__ import annotations

import secrets
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from emdsl.cli import console
from emdsl.cli.bars import bar, scale
from emdsl.cli.latex import latex
from emdsl.cli.session import prepare
from emdsl.compiler.compile import compile_file
from emdsl.errors import OutcomesError, SourceError, UsageError
from emdsl.frame import EvalFault
from emdsl.outcomes import database
from emdsl.outcomes.drift import drifts
from emdsl.outcomes.loads import note_last
from emdsl.outcomes.measures import by_columns
from emdsl.outcomes.summaries import odd_answers
from emdsl.run.executor import Report
from emdsl.run.planner import ExperimentCount, finish, note, plan, started, surveyed
from emdsl.run.walk import Walk, chunks, collect, resolve
from emdsl.source import Diagnostic, near, one_of
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.experiment import Experiment, Measure, Program
    from emdsl.outcome import Outcome
    from emdsl.store.disk import DiskStore


def bring_up_to_date(
    here: Session,
    file: Path,
    program: Program,
    walks: list[Walk],
    store: DiskStore,
    *,
    report: Report,
    run: str,
    see: Callable[[Experiment, list[Outcome]], None] = lambda _, __: None,
) -> tuple[list[ExperimentCount], list[str], str]:
    """Load a study's outcomes from the store.

    `see` is shown all rows, settled. Returns what each experiment's steps have come to, what is to be said of
    measures, and why the load failed, or nothing: answers are safe then, and the next reader loads them.
    """
    finals = started(walks)

    def tables() -> Iterator[tuple[Experiment, Iterator[list[Outcome]]]]:
        for walk, count in zip(walks, finals, strict=True):
            yield walk.experiment, seen(walk, count)

    def seen(walk: Walk, count: ExperimentCount) -> Iterator[list[Outcome]]:
        for rows in collect(walk, store, report.failures, partial(note, walk, count, run=run)):
            see(walk.experiment, rows)
            yield rows

    prepare(here.cache)
    try:
        notices = database.load(here.cache, _load_of(here, file, program, store, run), tables())
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    except OutcomesError as error:
        return [plan(w, store, run=run) for w in walks], [], str(error)
    for count in finals:
        finish(count)
    return finals, notices, ""


def loaded(here: Session, file: Path, program: Program) -> list[str]:
    """Load a study's outcomes where they are not those of its program and its store; return what is to be said.

    Raises OutcomesError where they cannot be loaded, SourceError for a fault of the program.
    """
    store = here.store(create=False)
    try:
        notices = [] if _is_current(here, file, program, store) else _load_anew(here, file, program, store)[1]
    finally:
        store.close()
    note_last(here.cache, here.study(file))
    return notices


def each_row(
    here: Session, file: Path, program: Program, see: Callable[[Experiment, list[Outcome]], None]
) -> tuple[list[ExperimentCount], list[str]]:
    """Show every row of a study to `see`, settled; the outcomes are loaded on the way where they are not current.

    Returns what its steps have come to, and what is to be said. Raises as `loaded` does.
    """
    store = here.store(create=False)
    try:
        if not _is_current(here, file, program, store):
            return _load_anew(here, file, program, store, see)
        walks = [Walk(e) for e in program.experiments]
        counts = started(walks)
        for walk, count in zip(walks, counts, strict=True):
            for rows in collect(walk, store, {}, partial(note, walk, count)):
                see(walk.experiment, rows)
            finish(count)
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    else:
        return counts, []
    finally:
        store.close()


def _is_current(here: Session, file: Path, program: Program, store: DiskStore) -> bool:
    return database.state(here.cache, here.study(file)) == (program.digest.hex(), store.state())


def _load_anew(
    here: Session, file: Path, program: Program, store: DiskStore,
    see: Callable[[Experiment, list[Outcome]], None] = lambda _, __: None,
) -> tuple[list[ExperimentCount], list[str]]:  # fmt: skip
    walks = [Walk(e) for e in program.experiments]
    counts, notices, unloaded = bring_up_to_date(
        here, file, program, walks, store, report=Report(), run=secrets.token_hex(8), see=see
    )
    if unloaded:
        raise OutcomesError(unloaded)
    return counts, notices


def _load_of(here: Session, file: Path, program: Program, store: DiskStore, run: str) -> database.Load:
    return database.Load(
        study=here.study(file), file=str(file), program=program.digest.hex(), store_state=store.state(), run=run
    )


def load_apart(here: Session, file: Path, folder: Path, *, simulate: bool) -> list[str]:
    """Load what is stored by now into a folder of its own, the cache left alone; return what is to be said."""
    program = compile_file(file, here.environment, simulate=simulate)
    store = here.store(create=False)
    try:
        walks = [Walk(e) for e in program.experiments]
        rows = ((w.experiment, collect(w, store, {})) for w in walks)
        return database.load(folder, _load_of(here, file, program, store, ""), rows)
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    finally:
        store.close()


NOT_GIVEN = "not_given"  # of a draw for which a measure's `given` does not hold: it is not dropped


class _Unfinished(Exception):
    """Something is left to ask: no use to load yet."""


class Survey:
    """Counts what a study has to ask; where nothing is left, the same pass over its rows loads its outcomes."""

    def __init__(
        self, here: Session, file: Path, program: Program, walks: list[Walk], store: DiskStore, run: str,
        budget: Decimal | None = None,
    ) -> None:  # fmt: skip
        self._budget = budget
        self.counts = started(walks, budget)
        self.loaded: tuple[list[str], str] | None = None  # as of `bring_up_to_date`, where it was loaded
        self._here, self._file, self._program = here, file, program
        self._walks, self._store, self._run = walks, store, run
        self._n_noted = [0] * len(walks)

    def take(self, *, load: bool) -> None:
        """Count every experiment; raises EvalFault."""
        if load and not self._program.absent and self._first_is_stored():
            load_ = _load_of(self._here, self._file, self._program, self._store, self._run)
            try:
                self.loaded = database.load(self._here.cache, load_, self._tables()), ""
            except _Unfinished:
                pass
            except OutcomesError as error:
                self.loaded = None
                self.counts = started(self._walks, self._budget)
                self._n_noted = [0] * len(self._walks)
                self._count()
                if not any(c.at_most for c in self.counts):
                    self.loaded = [], str(error)
                return
        if self.loaded is None:
            self._count()
        else:
            for count in self.counts:
                finish(count)

    def _count(self) -> None:
        for walk, count, noted in zip(self._walks, self.counts, self._n_noted, strict=True):
            for rows in surveyed(walk, self._store, count, skip=noted):
                del rows

    def _first_is_stored(self) -> bool:
        walk = self._walks[0]
        rows = next(chunks(walk.rows(everything=True), 1), [])
        resolve(walk, rows, self._store)
        return not any(row.open or row.pending for row in rows)

    def _tables(self) -> Iterator[tuple[Experiment, Iterator[list[Outcome]]]]:
        prepare(self._here.cache)
        for i, (walk, count) in enumerate(zip(self._walks, self.counts, strict=True)):
            yield walk.experiment, self._complete(i, walk, count)

    def _complete(self, i: int, walk: Walk, count: ExperimentCount) -> Iterator[list[Outcome]]:
        def see(row: Outcome) -> None:
            self._n_noted[i] += 1
            note(walk, count, row)

        for rows in collect(walk, self._store, {}, see):
            if count.at_most or any(s.unknown for s in count.steps):
                raise _Unfinished
            yield rows


def rehearse(experiments: Sequence[Experiment]) -> None:
    """Make the tables and measures empty, in memory, so that what cannot be loaded is told before asking."""
    for experiment in experiments:
        for span, message in database.rehearse(experiment):
            raise SourceError([Diagnostic(code="E850", message=message, span=span)])


def measures_json(here: Session, file: Path, experiment: Experiment) -> dict[str, Any]:
    """Return an experiment's measures as lists of objects; None for one that was left out."""
    study = here.study(file)
    found: dict[str, Any] = {}
    with database.opened(here.cache, study) as (connection, _):
        for measure in experiment.measures:
            result = database.measure_rows(connection, study, measure.name)
            found[measure.name] = (
                [dict(zip(result.columns, row, strict=True)) for row in result.rows] if result is not None else None
            )
    return found


def drift_of(here: Session, file: Path, experiments: Sequence[Experiment]) -> list[str]:
    """Return what is to be said of answers that are compared and may be of unlike models; nothing before a load."""
    study, said = here.study(file), list[str]()
    try:
        with database.opened(here.cache, study) as (connection, _):
            for experiment in experiments:
                said += [d.said for d in drifts(connection, experiment, study)]
    except OutcomesError:  # not loaded, or by an emdsl that knew other columns
        return []
    return said


def show_measures(
    here: Session, file: Path, experiments: Sequence[Experiment], *, bars: bool | None = None,
    only: Mapping[str, frozenset[str]] | None = None,
) -> None:  # fmt: skip
    """Print every measure of a study as a table; incomplete and simulated rows are marked.

    `bars` draws values and intervals too; None: on a terminal. `only` are the levels of axes whose groups are printed.
    """
    simulated = False
    drawn = sys.stdout.isatty() if bars is None else bars
    for measure, found in relations(here, file, experiments):
        if found is None:
            console.say(f"{measure.name}: left out\n")
            continue
        result = _selected(measure, found, only or {})
        columns, rows, marked = measure_table(measure, result, bars=drawn)
        console.say(measure.name)
        console.show_table(columns, rows, numeric=(measure.function, "n", "planned"))
        console.say()
        simulated = simulated or marked
    for said in odd_of(here, file, experiments):
        console.say(f"{said}\n")
    if simulated:
        console.say("SIMULATED: these answers were made up by the embedded simulator, not by a model.\n")


def _selected(measure: Measure, result: database.Result, only: Mapping[str, frozenset[str]]) -> database.Result:
    """Return the rows of a measure whose groups are among some levels."""
    chosen = {i: only[path[0]] for i, path in enumerate(measure.by) if len(path) == 1 and path[0] in only}
    rows = [r for r in result.rows if all(_level(r[i]) in levels for i, levels in chosen.items())]
    return database.Result(result.columns, rows)


def _level(value: Any) -> str:
    return (render(value) if not isinstance(value, float) or not value.is_integer() else str(int(value))) or str(value)


def odd_of(here: Session, file: Path, experiments: Sequence[Experiment]) -> list[str]:
    """Return what is to be said of answers that are cut, empty or blocked."""
    with database.opened(here.cache, here.study(file)) as (connection, _):
        return [odd.said for e in experiments for odd in odd_answers(connection, e, here.study(file))]


def measures_latex(here: Session, file: Path, experiments: Sequence[Experiment]) -> str:
    """Return every measure of a study as a tabular, in LaTeX, each under its name in a comment."""
    parts = []
    for measure, result in relations(here, file, experiments):
        if result is None:
            continue
        columns, rows, marked = measure_table(measure, result)
        said = "% SIMULATED: made up by the embedded simulator, not by a model\n" if marked else ""
        kept = [i for i, c in enumerate(columns) if c or any(r[i] for r in rows)]
        table = latex([columns[i] for i in kept], [[r[i] for i in kept] for r in rows], numeric=(measure.function,))
        parts.append(f"% {measure.name}\n{said}{table}")
    return "\n".join(parts)


def relations(
    here: Session, file: Path, experiments: Sequence[Experiment]
) -> list[tuple[Measure, database.Result | None]]:
    """Return every measure of a study with its rows; None for one that was left out."""
    study = here.study(file)
    with database.opened(here.cache, study) as (connection, _):
        return [(m, database.measure_rows(connection, study, m.name)) for e in experiments for m in e.measures]


def measure_table(
    measure: Measure, result: database.Result, *, bars: bool = False
) -> tuple[list[str], list[list[Any]], bool]:
    """Return a measure's table as people read it, and whether any of it is simulated."""
    by = by_columns(measure)
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    level = interval_of(measure)
    tested = ["p", "p_holm"] if measure.holm else []
    limited = measure.condition is not None and any((r["dropped"] or {}).get(NOT_GIVEN) for r in rows)
    given = ["not given"] if limited else []
    columns = [*by, measure.function, *([level] if level else []), *tested, "n", "planned", *given, "dropped", ""]
    figures = [(r[measure.function], r.get("low"), r.get("high")) for r in rows]
    ends = scale(figures)
    if bars:
        columns.insert(len(by), " ")
    shown = []
    for row, figure in zip(rows, figures, strict=True):
        marks = ["incomplete"] if not row["complete"] else []
        marks += ["simulated"] if row["simulated"] else []
        value = row[measure.function]
        shown.append(
            [
                *(row[b] for b in by),
                *([bar(*figure, ends)] if bars else []),
                value if isinstance(value, int) else (f"{value:.3f}" if value is not None else "none kept"),
                *([_interval(row)] if level else []),
                *("" if row[p] is None else f"{row[p]:.3g}" for p in tested),
                row["n"],
                row["n_planned"],
                *([(row["dropped"] or {}).get(NOT_GIVEN, 0)] if limited else []),
                ", ".join(f"{n} {r}" for r, n in sorted((row["dropped"] or {}).items()) if r != NOT_GIVEN),
                " ".join(marks),
            ]
        )
    return columns, shown, any(r["simulated"] for r in rows)


def chosen_measure(
    program: Program, wanted: str | None, functions: Sequence[str] | None = None
) -> tuple[Experiment, Measure]:
    """Return the measure that is called `wanted`, else the first, of some functions alone; raises UsageError."""
    known = {m.name: (e, m) for e in program.experiments for m in e.measures}
    fits = [n for n, (_, m) in known.items() if functions is None or m.function in functions]
    if wanted is not None and wanted not in known:
        hint = near(wanted, known) or (f"they are {one_of(list(known))}" if known else "there is none")
        raise UsageError(f"--measure: no measure is called `{wanted}`; {hint}")
    if not fits or (wanted is not None and wanted not in fits):
        if functions is None:
            raise UsageError(f"`{program.name}` has no measure")
        told = f"`{wanted}` is {known[wanted][1].function}(...)" if wanted is not None else "there is none"
        raise UsageError(f"what is needed is a measure by {one_of(functions)}: {told}")
    return known[wanted or fits[0]]


def interval_of(measure: Measure) -> str:
    """Return what interval a measure has, in words; nothing where it has none."""
    found = measure.interval
    if found is None or (measure.function == "agreement" and not measure.nominal):
        return ""
    by = f" by {' and '.join(found.cluster)}" if found.cluster else ""
    return f"{found.level * 100:g} % {found.method}{by}"


def _interval(row: dict[str, Any]) -> str:
    low, high = row["low"], row["high"]
    if low is None or high is None:
        return f"from {low:.3f}" if low is not None else f"up to {high:.3f}" if high is not None else ""
    return f"{low:.3f} - {high:.3f}"
