"""Study: an `.em` file as an object, for notebooks and scripts."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.errors import FileMissing, UnknownExperiment
from emdsl.outcomes import database
from emdsl.outcomes.sample_size import ALPHA, POWER
from emdsl.outcomes.sql import name as quoted
from emdsl.study.asking import Interrupter, apart_from_loop
from emdsl.study.checking import diagnostics_of
from emdsl.study.compiled import Compiled, compile_study, unknown
from emdsl.study.deviations import marked
from emdsl.study.foreground import Foreground
from emdsl.study.frontend import frontend, show_tables_as_html
from emdsl.study.html import table_html
from emdsl.study.options import place_of
from emdsl.study.plan import Plan, make_plan
from emdsl.study.project import open_project
from emdsl.study.prompts import load_prompts
from emdsl.study.python_run import CONFIRM_OVER_USD, cap_of, run_for, run_options
from emdsl.study.refresh import load_if_stale
from emdsl.study.screen import text_of
from emdsl.study.selection import only_texts, whole
from emdsl.study.self_shown import Diagnostics, ShownText
from emdsl.study.summary import study_html
from emdsl.study.tables import chosen_measure, measure_parts
from emdsl.study.text_study import file_of, with_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    import altair as alt
    import pyarrow as pa

    from emdsl.study.deviations import Deviations
    from emdsl.study.diff import Diff
    from emdsl.study.power import Power
    from emdsl.study.project import Project
    from emdsl.study.rendering import Rendered
    from emdsl.study.results_diff import ResultsDiff
    from emdsl.study.run import Run
    from emdsl.study.runs import Runs
    from emdsl.study.selection import Only
    from emdsl.study.story import Stories
    from emdsl.study.why import Why


class Study:
    """An `.em` file; made by `emdsl.open`. Each method compiles the file as it is then.

    Every method that reads a study raises SourceError for its errors: `error.diagnostics` are all of them, each with
    its place. A wrong argument raises a UsageError with its `parameter`.
    """

    def __init__(
        self, file: str | PathLike[str], *, cache: str | PathLike[str] | None = None, sim: bool = False,
        store: str | None = None, text: str | None = None,
    ) -> None:  # fmt: skip
        self.file = Path(fspath(file))
        self._cache = Path(fspath(cache)) if cache is not None else None
        self._sim = sim
        self._store = store
        self._text = text  # None: that of the file

    def __repr__(self) -> str:
        name = f"open({str(self.file)!r}" if self._text is None else f"open_text(..., {self.file.stem!r}"
        return f"emdsl.{name}{', sim=True' if self._sim else ''})"

    def _repr_html_(self) -> str:
        return study_html(self._compiled)

    @property
    def project(self) -> Project:
        """The project folder, its cache and the environment, as they are now: an API key may be set at any time."""
        project = open_project(self.file, self._cache, simulate=self._sim, store=self._store)
        return project if self._text is None else with_text(project, self.file, self._text)

    def check(self) -> Diagnostics:
        """Return all errors and warnings of the study, as a tuple; nothing is sent."""
        return Diagnostics(diagnostics_of(self.project, self.file))

    def plan(
        self, *, samples: int | None = None, only: Only | None = None, budget: Decimal | float | str | None = None,
        pilot: bool = False,
    ) -> Plan:  # fmt: skip
        """Return the pending requests, their reasons and their cost; nothing is sent.

        Args:
            samples: Only this many samples of each cell.
            only: Only some levels of some axes: `{"k": [0, 16]}`.
            budget: A cap on the cost of a run; see `run`.
            pilot: Only a small balanced sample of all rows.
        """
        study = self._compiled()
        cap = cap_of(study.project, budget)
        return make_plan(study, samples=samples, only=only_texts(only), budget=cap, pilot=pilot)

    def run(
        self, *, samples: int | None = None, only: Only | None = None, budget: Decimal | float | str | None = None,
        offline: bool = False, connections: int | None = None, workers: int | None = None, display: str | None = None,
        pilot: bool = False, yes: bool = False, confirm_over: Decimal | float = CONFIRM_OVER_USD, serve: bool = False,
        on: str | None = None,
    ) -> Run:  # fmt: skip
        """Send the pending requests, load the results, and return what came of it.

        It works inside a running event loop, too. An interrupt finishes the requests in flight and keeps their answers;
        a second one stops at once. An incomplete run is returned, not raised. In a notebook and in an interactive
        session it asks before it spends more than `confirm_over`; a script is never asked.

        Args:
            samples: Only this many samples of each cell.
            only: Only some levels of some axes: `{"k": [0, 16]}`.
            budget: A hard cap on the cost, in US dollars; `"lab=40"` or `"lab"` is a budget of all runs of a team.
            offline: Send nothing; load the results from the store alone.
            connections: Maximum concurrent requests; by default the study's `parallel`, or 64.
            workers: Processes that send; by default 1, or as many as there are cores in a large run.
            display: How progress is shown: `rich`, `plain` or `none`.
            pilot: Send only a small balanced sample of all rows; `rest` of the returned run is the plan of the study.
            yes: Do not ask before spending.
            confirm_over: Ask first if the expected cost in US dollars is over this, or unknown.
            serve: Start the servers of models with `serve` on this machine.
            on: The place of these servers: `local`, `ray` (the cluster of this machine) or `ray://HEAD`.

        Raises:
            UsageError: Nobody can answer the question, because the notebook runs by itself.
            SetupError: An API key or an address is missing.
            StoreError: Answers can no longer be kept.
        """
        interrupter, foreground = Interrupter(), Foreground()
        options = run_options(
            samples, only, budget, offline=offline, connections=connections, workers=workers, pilot=pilot, yes=yes,
            confirm_over=confirm_over, on=place_of(on, serve=serve),
        )  # fmt: skip
        call = partial(run_for, self._compiled, options, display, interrupter, foreground, frontend())
        return apart_from_loop(call, interrupter, foreground)

    async def arun(
        self, *, samples: int | None = None, only: Only | None = None, budget: Decimal | float | str | None = None,
        offline: bool = False, connections: int | None = None, workers: int | None = None, display: str | None = None,
        pilot: bool = False, yes: bool = False, confirm_over: Decimal | float = CONFIRM_OVER_USD, serve: bool = False,
        on: str | None = None,
    ) -> Run:  # fmt: skip
        """Do as `run`, without blocking the event loop.

        If it is cancelled, the requests in flight are finished and kept; if it is cancelled again, it stops at once.
        """
        interrupter, loop, context = Interrupter(), asyncio.get_running_loop(), copy_context()
        foreground = Foreground(partial(loop.call_soon_threadsafe, context=context))
        options = run_options(
            samples, only, budget, offline=offline, connections=connections, workers=workers, pilot=pilot, yes=yes,
            confirm_over=confirm_over, on=place_of(on, serve=serve),
        )  # fmt: skip
        call = partial(run_for, self._compiled, options, display, interrupter, foreground, frontend())
        # No task, as of `asyncio.to_thread`: its KeyboardInterrupt would end the event loop.
        running = loop.run_in_executor(None, partial(copy_context().run, call))
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

    def show(self, *, registered: str | PathLike[str] | None = None) -> ShownText:
        """Return all measures as text, as `emdsl show` prints them; a notebook shows them as tables.

        Args:
            registered: Mark them by this registration; by default by the one beside the study, if any.
        """
        study = self._compiled()
        notices = load_if_stale(study)
        marks, deviating = marked(study, _path(registered))
        parts = [*measure_parts(study, bars=False, marks=marks)]
        notes = [f"note: {n}\n\n" for n in (*notices, *deviating)]
        return ShownText.of("".join(notes) + text_of(parts), (*notes, *parts))

    def figure(
        self, measure: str | Sequence[str] | None = None, *, kind: str | None = None, style: str | None = None,
        width: str | None = None, font: str | None = None, title: str | None = None,
        lines: Mapping[float, str] | None = None,
    ) -> alt.TopLevelMixin:  # fmt: skip
        """Return a measure as an Altair chart: shown in a notebook, or `.save("figure.svg")`.

        Needs `pip install 'emdsl[report]'`.

        Args:
            measure: The measure, or several for one figure; by default the first.
            kind: A kind of `emdsl plot --help`, such as `bars`; by default the one that fits best.
            style: `paper` or `slide`; by default `paper`.
            width: `1col`, `2col`, or a length such as `9cm`; by default `1col`, with several panels `2col`.
            font: `sans`, `serif`, or the name of an installed font.
            title: The title; "" for none.
            lines: Reference lines: values with their labels, `{0.5: "chance"}`.

        Raises:
            NotDrawable: The measure has too few values, or no chart of this kind.
        """
        from emdsl.study.figures import figure  # noqa: PLC0415 - it loads DuckDB and the charts
        from emdsl.study.notebook_figure import shown_figure  # noqa: PLC0415 - Altair is imported for a figure alone

        study = self._compiled()
        names = (measure,) if isinstance(measure, str) else tuple(measure or ())
        for name in names or (None,):
            chosen_measure(study.program, name)
        load_if_stale(study)
        found = figure(study, names, kind, style=style, width=width, font=font, title=title, lines=lines or {})
        return shown_figure(found)

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

    def story(self, where: str, *, limit: int = 1) -> Stories:
        """Return rows with their requests, answers and verdicts, and how they count, as `emdsl show --row` prints them.

        Args:
            where: A condition in SQL, such as `aligned < 30 AND sample = 2`.
            limit: At most this many rows.
        """
        from emdsl.study.story import tell_rows  # noqa: PLC0415 - only `story` reads verdicts of one row

        study = self._compiled()
        load_if_stale(study)
        return tell_rows(study, where, whole(limit, 1, "limit"))

    def runs(self, *, ended: bool = False) -> Runs:
        """Return the runs of the project that are under way, in any process; with `ended` the last ended ones, too."""
        from emdsl.study.runs import runs_of  # noqa: PLC0415 - it loads the sockets of runs

        return runs_of(self.project, ended=ended)

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


def _arrow(study: Compiled, sql: str, *, prompts: bool = False) -> pa.Table:
    """Return the result of SQL over what is cached now."""
    load_if_stale(study)
    with study.tables() as (connection, _):
        if prompts:
            load_prompts(study, connection)
        table: pa.Table = database.arrow(connection, sql)
    show_tables_as_html(type(table), table_html)
    return table


def _path(path: str | PathLike[str] | None) -> Path | None:
    return Path(fspath(path)) if path is not None else None


def open_study(
    file: str | PathLike[str], *, cache: str | PathLike[str] | None = None, sim: bool = False, store: str | None = None
) -> Study:
    """Return the study of an `.em` file.

    Args:
        file: The `.em` file.
        cache: The cache folder; by default the project's.
        sim: Use the simulator in place of every model, with a separate store.
        store: URL of a team's store, `postgresql://...`, or `local` for the cache alone; by default `EMDSL_STORE`.

    Raises:
        FileMissing: There is no such file.
    """
    if not Path(fspath(file)).is_file():
        raise FileMissing(f"no such file: {fspath(file)}", parameter="file")
    return Study(file, cache=cache, sim=sim, store=store)


def open_text(
    text: str, name: str = "study", *, cache: str | PathLike[str] | None = None, sim: bool = False,
    store: str | None = None,
) -> Study:  # fmt: skip
    """Return the study of a text, such as the cell of a notebook: as of a file `NAME.em` in the working folder.

    Args:
        text: The program.
        name: Names the study and its results.
        cache: The cache folder; by default the project's.
        sim: Use the simulator in place of every model, with a separate store.
        store: URL of a team's store, `postgresql://...`, or `local` for the cache alone; by default `EMDSL_STORE`.

    Raises:
        FileExists: There is a file of that name.
    """
    return Study(file_of(name), cache=cache, sim=sim, store=store, text=text)
