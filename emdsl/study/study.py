"""Study: an `.em` file as an object, for notebooks and scripts."""

from __future__ import annotations

import asyncio
import sys
from contextvars import copy_context
from decimal import Decimal
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.errors import FileMissing, UnknownExperiment, UsageError
from emdsl.outcomes import database
from emdsl.outcomes.sample_size import ALPHA, POWER
from emdsl.outcomes.sql import name as quoted
from emdsl.redact import mask
from emdsl.study.asking import Interrupter, apart_from_loop
from emdsl.study.checking import diagnostics_of
from emdsl.study.compiled import Compiled, compile_study, unknown
from emdsl.study.deviations import marked
from emdsl.study.options import MAX_CONNECTIONS, RunOptions
from emdsl.study.plan import Plan, make_plan
from emdsl.study.progress_view import ProgressView, choose_display
from emdsl.study.project import open_project
from emdsl.study.prompts import load_prompts
from emdsl.study.refresh import load_if_stale
from emdsl.study.run import Run, run_study
from emdsl.study.screen import text_of
from emdsl.study.selection import only_texts, whole
from emdsl.study.tables import chosen_measure, measure_parts

if TYPE_CHECKING:
    import altair as alt
    import pyarrow as pa

    from emdsl.source import Diagnostic
    from emdsl.study.deviations import Deviations
    from emdsl.study.diff import Diff
    from emdsl.study.power import Power
    from emdsl.study.project import Project
    from emdsl.study.rendering import Rendered
    from emdsl.study.results_diff import ResultsDiff
    from emdsl.study.selection import Only
    from emdsl.study.why import Why


class Study:
    """An `.em` file; made by `emdsl.open`. Each method compiles the file as it is then.

    Every method that reads a study raises SourceError for its errors: `error.diagnostics` are all of them, each with
    its place. A wrong argument raises a UsageError with its `parameter`.
    """

    def __init__(
        self, file: str | PathLike[str], *, cache: str | PathLike[str] | None = None, sim: bool = False
    ) -> None:
        self.file = Path(fspath(file))
        self._cache = Path(fspath(cache)) if cache is not None else None
        self._sim = sim

    def __repr__(self) -> str:
        return f"emdsl.open({str(self.file)!r}{', sim=True' if self._sim else ''})"

    @property
    def project(self) -> Project:
        """The project folder, its cache and the environment, as they are now: an API key may be set at any time."""
        return open_project(self.file, self._cache, simulate=self._sim)

    def check(self) -> tuple[Diagnostic, ...]:
        """Return all errors and warnings of the study; nothing is sent."""
        return diagnostics_of(self.project, self.file)

    def plan(
        self, *, samples: int | None = None, only: Only | None = None, budget: Decimal | float | None = None,
        pilot: bool = False,
    ) -> Plan:  # fmt: skip
        """Return the pending requests, their reasons and their cost; nothing is sent.

        Args:
            samples: Only this many samples of each cell.
            only: Only some levels of some axes: `{"k": [0, 16]}`.
            budget: A cap on the cost of a run, in US dollars.
            pilot: Only a small balanced sample of all rows.
        """
        return make_plan(self._compiled(), samples=samples, only=only_texts(only), budget=_usd(budget), pilot=pilot)

    def run(
        self, *, samples: int | None = None, only: Only | None = None, budget: Decimal | float | None = None,
        offline: bool = False, connections: int | None = None, display: str | None = None, pilot: bool = False,
    ) -> Run:  # fmt: skip
        """Send the pending requests, load the results, and return what came of it.

        It works inside a running event loop, too. An interrupt finishes the requests in flight and keeps their answers;
        a second one stops at once. An incomplete run is returned, not raised.

        Args:
            samples: Only this many samples of each cell.
            only: Only some levels of some axes: `{"k": [0, 16]}`.
            budget: A hard cap on the cost, in US dollars.
            offline: Send nothing; load the results from the store alone.
            connections: Maximum concurrent requests; by default the study's `parallel`, or 64.
            display: How progress is shown: `rich`, `plain` or `none`.
            pilot: Send only a small balanced sample of all rows; `rest` of the returned run is the plan of the study.

        Raises:
            SetupError: An API key or an address is missing.
            StoreError: Answers can no longer be kept.
        """
        interrupter = Interrupter()
        options = _run_options(samples, only, budget, offline=offline, connections=connections, pilot=pilot)
        return apart_from_loop(partial(self._run, options, display, interrupter), interrupter)

    async def arun(
        self, *, samples: int | None = None, only: Only | None = None, budget: Decimal | float | None = None,
        offline: bool = False, connections: int | None = None, display: str | None = None, pilot: bool = False,
    ) -> Run:  # fmt: skip
        """Do as `run`, without blocking the event loop.

        If it is cancelled, the requests in flight are finished and kept; if it is cancelled again, it stops at once.
        """
        interrupter = Interrupter()
        options = _run_options(samples, only, budget, offline=offline, connections=connections, pilot=pilot)
        call = partial(copy_context().run, self._run, options, display, interrupter)
        # No task, as of `asyncio.to_thread`: its KeyboardInterrupt would end the event loop.
        running = asyncio.get_running_loop().run_in_executor(None, call)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            interrupter.interrupt()
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                interrupter.interrupt()
                raise
            running.exception()  # seen: before its first request, an interrupted run ends with one
            raise

    def results(self, experiment: str | None = None) -> pa.Table:
        """Return the results of an experiment, by default the first: a row for each cell and sample.

        The Arrow table goes to pandas by `.to_pandas()`, to polars by `polars.from_arrow(...)`. `emdsl query --schema`
        lists its columns.
        """
        study = self._compiled()
        names = [e.name for e in study.program.experiments]
        if experiment is not None and experiment not in names:
            raise UnknownExperiment(unknown("experiment", experiment, names), parameter="experiment")
        return _arrow(study, f"FROM {quoted(experiment or names[0])}")

    def measure(self, measure: str | None = None) -> pa.Table:
        """Return a measure, by default the first: a row for each group, with value, interval and counts.

        `n` of `n_planned` samples are kept, and `dropped` counts the others by reason. `complete` tells whether any
        sample is still pending.
        """
        study = self._compiled()
        return _arrow(study, f"FROM {quoted(chosen_measure(study.program, measure)[1].name)}")

    def query(self, sql: str, *, prompts: bool = False) -> pa.Table:
        """Return the result of SQL over the tables of the study; raises OutcomesError with DuckDB's message.

        Args:
            sql: A query.
            prompts: Add `EXPERIMENT_prompts`, the rendered prompts, and `EXPERIMENT_draws`, the rows that `draw` took.
        """
        return _arrow(self._compiled(), sql, prompts=prompts)

    def show(self, *, registered: str | PathLike[str] | None = None) -> str:
        """Return all measures as text, as `emdsl show` prints them.

        Args:
            registered: Mark them by this registration; by default by the one beside the study, if any.
        """
        study = self._compiled()
        notices = load_if_stale(study)
        marks, deviating = marked(study, _path(registered))
        shown = text_of(measure_parts(study, bars=False, marks=marks))
        return "".join(f"note: {n}\n\n" for n in (*notices, *deviating)) + shown

    def figure(self, measure: str | None = None, *, kind: str | None = None) -> alt.TopLevelMixin:
        """Return a measure as an Altair chart: shown in a notebook, or `.save("figure.svg")`.

        Needs `pip install 'emdsl[report]'`.

        Args:
            measure: The measure; by default the first.
            kind: `curve`, `dots` or `heat`; by default a curve over an axis of numbers, else dots.

        Raises:
            NotDrawable: The measure has too few values, or no chart of this kind.
        """
        from emdsl.study.figures import draw  # noqa: PLC0415 - a notebook loads only what it calls

        study = self._compiled()
        chosen_measure(study.program, measure)
        load_if_stale(study)
        return draw(study, measure, kind)[0]

    def report(self, output: str | PathLike[str], *, registered: str | PathLike[str] | None = None) -> Path:
        """Write the study as one HTML page, and return its path. Needs `pip install 'emdsl[report]'`.

        Args:
            output: A file that ends in `.html`.
            registered: Mark measures by this registration; by default by the one beside the study, if any.
        """
        from emdsl.study.report import write_report  # noqa: PLC0415 - Altair waits for who draws

        path = Path(fspath(output))
        write_report(self._compiled(), path, _path(registered))
        return path

    def freeze(self, output: str | PathLike[str] | None = None, *, replace: bool = False) -> Path:
        """Write a registration: the requests, the measures, and which answers are stored now; return its path.

        Args:
            output: A file that ends in `.json`; by default `STUDY.prereg.json` beside the study, where `show` finds it.
            replace: Replace an older registration.

        Raises:
            FileExists: There is such a file.
        """
        from emdsl.study.registration import freeze  # noqa: PLC0415 - a notebook loads only what it calls

        return freeze(self._compiled(), _path(output), replace=replace).path

    def export(self, output: str | PathLike[str], *, analysis: str | None = None) -> Path:
        """Write the results to a new folder that needs no emdsl, and return its path.

        Args:
            output: The folder.
            analysis: Add long data and a script of a mixed model for each measure, in `python` or `r`.

        Raises:
            FileExists: The folder exists.
        """
        from emdsl.study.export import export_study  # noqa: PLC0415 - a notebook loads only what it calls

        path = Path(fspath(output))
        for _ in export_study(self._compiled(), path, analysis):
            pass
        return path

    def render(
        self, *, only: Only | None = None, step: str | None = None, sample: int = 0, limit: int = 1,
        answer: str | None = None,
    ) -> Rendered:  # fmt: skip
        """Return the requests of the first cells, exactly as they are sent.

        Args:
            only: Select cells by level: `{"k": 16}`.
            step: Only this ask or judge.
            sample: Which sample of the cell, from 0.
            limit: At most this many cells of each experiment.
            answer: A text in place of each answer that is not cached, so that prompts of judges can be read.
        """
        from emdsl.study.rendering import render_cells  # noqa: PLC0415 - a notebook loads only what it calls

        return render_cells(
            self._compiled(), only=only_texts(only), step=step, sample=sample, limit=limit, answer=answer
        )

    def why(self, *, only: Only | None = None, step: str | None = None, sample: int = 0) -> Why:
        """Return why the requests of one cell are cached or pending.

        Args:
            only: Select the cell by its levels: `{"k": 16}`; the first matching cell is taken.
            step: Only this ask or judge.
            sample: Which sample of the cell, from 0.
        """
        from emdsl.study.why import explain_cell  # noqa: PLC0415 - a notebook loads only what it calls

        return explain_cell(self._compiled(), only=only_texts(only), step=step, sample=sample)

    def deviations(self, registration: str | PathLike[str] | None = None) -> Deviations:
        """Return how the study deviates from a registration; by default from the one beside it.

        Raises:
            FileMissing: There is no such file.
        """
        from emdsl.study.deviations import deviations  # noqa: PLC0415 - a notebook loads only what it calls
        from emdsl.study.registration import beside, read_registration  # noqa: PLC0415 - a notebook loads only what it calls

        return deviations(self._compiled(), read_registration(_path(registration) or beside(self.file)))

    def diff(self, old: str | PathLike[str]) -> Diff:
        """Return what changed since another file, or since a git revision of this one: `"git:HEAD~1"`."""
        from emdsl.study.diff import diff_studies  # noqa: PLC0415 - a notebook loads only what it calls

        return diff_studies(self.project, fspath(old), str(self.file))

    def diff_results(self, old: str | PathLike[str], *, limit: int = 5) -> ResultsDiff:
        """Return how the results differ from those of another file, or of a git revision of this one.

        Only cached answers are read. `print(...)` shows the figures that moved, worst first, and the verdicts that
        flipped; `.markdown()` returns the same for a pull request.

        Args:
            old: A file, or a revision such as `"git:HEAD~1"`.
            limit: Maximum examples of each flip.

        Raises:
            OutcomesError: One of the two has no results.
        """
        from emdsl.study.results_diff import diff_results  # noqa: PLC0415 - a notebook loads only what it calls

        return diff_results(self.project, fspath(old), str(self.file), limit=whole(limit, 0, "limit"))

    def power(
        self, measure: str | None = None, *, effect: float | None = None, rate: float | None = None,
        power: float = POWER, alpha: float = ALPHA,
    ) -> Power:  # fmt: skip
        """Return the sample size that each group of a measure needs to show an effect.

        Args:
            measure: The measure; by default the first rate, mean or contrast.
            effect: The difference to show, in the unit of the measure; by default the measure's own `effect`.
            rate: Assume this rate instead of the measured one.
            power: The probability to find the effect.
            alpha: The two-sided level of the test.
        """
        from emdsl.study.power import compute_power  # noqa: PLC0415 - a notebook loads only what it calls

        return compute_power(self._compiled(), measure=measure, effect=effect, rate=rate, power=power, alpha=alpha)

    def _compiled(self) -> Compiled:
        return compile_study(self.project, self.file)

    def _run(self, options: RunOptions, display: str | None, interrupter: Interrupter) -> Run:
        chosen = choose_display(display)

        def view(pending: int) -> ProgressView:
            return ProgressView(chosen, pending, _say)

        return run_study(self._compiled(), options, view=view, interrupter=interrupter)


def _say(line: str) -> None:
    sys.stderr.write(f"{mask(line)}\n")


def _arrow(study: Compiled, sql: str, *, prompts: bool = False) -> pa.Table:
    """Return the result of SQL over what is cached now."""
    load_if_stale(study)
    with study.tables() as (connection, _):
        if prompts:
            load_prompts(study, connection)
        return database.arrow(connection, sql)


def _run_options(
    samples: int | None, only: Only | None, budget: Decimal | float | None, *, offline: bool, connections: int | None,
    pilot: bool,
) -> RunOptions:  # fmt: skip
    if connections is not None:
        connections = whole(connections, 1, "connections", MAX_CONNECTIONS)
    return RunOptions(
        samples=samples, only=only_texts(only), budget=_usd(budget), offline=offline, connections=connections,
        pilot=pilot,
    )  # fmt: skip


def _path(path: str | PathLike[str] | None) -> Path | None:
    return Path(fspath(path)) if path is not None else None


def _usd(amount: Decimal | float | None) -> Decimal | None:
    if amount is None:
        return None
    try:
        usd = Decimal(str(amount))
    except ArithmeticError:
        usd = Decimal("nan")
    if not (usd.is_finite() and usd >= 0):
        raise UsageError(f"{amount!r} is not an amount of US dollars, such as 40 or 2.5", parameter="budget")
    return usd


def open_study(file: str | PathLike[str], *, cache: str | PathLike[str] | None = None, sim: bool = False) -> Study:
    """Return the study of an `.em` file.

    Args:
        file: The `.em` file.
        cache: The cache folder; by default the project's.
        sim: Use the simulator in place of every model, with a separate store.

    Raises:
        FileMissing: There is no such file.
    """
    if not Path(fspath(file)).is_file():
        raise FileMissing(f"no such file: {fspath(file)}", parameter="file")
    return Study(file, cache=cache, sim=sim)
