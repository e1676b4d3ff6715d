"""A run: plan, send, load, show."""

from __future__ import annotations

import os
import secrets
import shlex
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from emdsl.errors import SetupError, StoreError, UsageError
from emdsl.outcomes.load_ids import REPAIRED, check_name, known_loads, load_id
from emdsl.run.executor import CONNECTIONS
from emdsl.run.metered import meter_of
from emdsl.run.progress import Report
from emdsl.run.rows import Rows
from emdsl.store.removals import store_version
from emdsl.study.asking import Interrupter, Sending, send_pending
from emdsl.study.batch_choice import batch_parts, batch_plan, choose_ways, embedded
from emdsl.study.cost import budget_parts, check_budgets, question_of_cost, spent_json, spent_parts, unlimited
from emdsl.study.counts import (
    check_datasets,
    count_parts,
    judge_parts,
    n_pending,
    plan_json,
    store_parts,
    warning_parts,
    warnings_json,
)
from emdsl.study.loader import loader_of
from emdsl.study.options import MAX_CONNECTIONS, place_options
from emdsl.study.plan import make_plan, missing_setup
from emdsl.study.progress_view import NONE, ProgressView
from emdsl.study.project import cache_option
from emdsl.study.run_record import begin_record, end_record, note_used, remember
from emdsl.study.screen import Aside, Part, counted, short
from emdsl.study.selection import level_names, selections
from emdsl.study.self_shown import SelfShown
from emdsl.study.served import serving_of
from emdsl.study.survey import Survey
from emdsl.study.workers_plan import workers_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from emdsl.digest import Digest
    from emdsl.experiment import Experiment
    from emdsl.run.count import ExperimentCount
    from emdsl.store.removals import StoreVersion
    from emdsl.store.store import AnswerStore
    from emdsl.study.batch_run import BatchPlan
    from emdsl.study.compiled import Compiled
    from emdsl.study.loader import Loaded, Loader
    from emdsl.study.options import RunOptions
    from emdsl.study.plan import Plan
    from emdsl.study.served import Serving

MAX_SHOWN = 5  # reasons of failures
NO_TABLES = "an error in the tables, shown at the end"  # why a run stops


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(SelfShown):
    """The result of a run; `print(run)` shows it as `emdsl run` does. Amounts are in US dollars."""

    answered: int  # requests, probes of judges included
    cached: int
    failed: int
    pending: int  # requests of this selection that were not sent, at most
    complete: bool  # nothing is pending, failed or unknown
    spent_usd: float
    notices: tuple[str, ...]
    load_error: str = ""  # why the tables are stale, if they are; the answers are safe
    declined: bool = False  # the answer to "Send ... requests for about ...?" was no
    study: Compiled = field(repr=False)
    options: RunOptions = field(repr=False)
    counts: list[ExperimentCount] = field(repr=False)
    report: Report = field(repr=False)
    id: str = field(default="", repr=False)
    store_before: StoreVersion | None = field(default=None, repr=False)  # the version of the store at the start
    wall_s: float = 0.0
    rest: Plan | None = field(default=None, repr=False)  # of a pilot: the whole study, planned again

    def parts(
        self, *, bars: bool = False, again: bool = False, verbose: bool = False, commands: bool = True
    ) -> Iterator[Part]:
        """Yield the measures and the summary.

        Args:
            bars: Draw values and intervals.
            again: As if the run were repeated and all was cached.
            verbose: Show the reasons of all failures.
            commands: Show the next command.
        """
        if self.declined:
            yield "nothing was sent"
            return
        yield from (Aside(f"note: {notice}\n") for notice in self.notices)
        if self.load_error:
            yield Aside(f"error: {self.load_error}", important=True)
            if self.load_error != self.study.project.unwritable():
                flag = place_options(simulate=self.study.project.simulate, cache=self.options.cache)
                again_ = f"emdsl show {self.study.file}{flag}"
                yield Aside(f"All answers are stored. The tables are stale: load them with `{again_}`.", important=True)
        elif self.rest is None:  # the measures of a pilot rest on a few rows
            from emdsl.study.tables import measure_parts  # noqa: PLC0415 - DuckDB waits until requests are under way

            yield from measure_parts(self.study, bars=bars, only=level_names(self.study.program, self.options.only))
        yield from self._summary(again=again, verbose=verbose, commands=commands)
        if self.rest is not None:
            options = replace(self.options, pilot=False).repeated()
            yield ""
            yield from count_parts(self.rest.counts)
            yield from budget_parts(self.rest.counts, self.options.budget)
            if commands:
                yield from self.rest.next_step(self.study.file, options, written=False, detailed=True)

    def again_parts(self, *, bars: bool) -> Iterator[Part]:
        """Yield the screen of the next run, if nothing changes."""
        yield from warning_parts(self.study.program)
        yield from self.parts(bars=bars, again=True)

    @property
    def repaired(self) -> bool:
        """Whether the tables had to be repaired: a notice says so."""
        return any(REPAIRED in n for n in self.notices)

    def as_json(self, *, again: bool = False) -> dict[str, Any]:
        """Return the run as `emdsl run --json` prints it; `again` as if it were repeated and all was cached."""
        shown = plan_json(self.counts, 0.0 if again else self.wall_s)
        for count, entry in zip(self.counts, shown["experiments"], strict=True):
            for step, of_step in zip(count.steps, entry["steps"], strict=True):
                failed = self.report.failed.get((count.experiment.name, step.step.name), set()) - step.stored
                answered = 0 if again else len(step.fresh)
                of_step |= {
                    "needed": step.needed,
                    "cached": step.cached - answered,
                    "answered": answered,
                    "failed": len(failed),
                    "pending": step.at_most - len(failed & step.pending),
                }
        shown["requests"] = 0 if again else self.report.sent
        if not again and (probes := _fresh_probes(self.counts)):
            shown["probes"] = len(probes)
        shown |= spent_json(self.counts, again=again)
        if self.report.batches:
            shown["batches"] = [r.name for r in self.report.batches]
            shown["in_batches"] = self.report.n_in_batches
        if self.report.closed:
            shown["keys_not_used"] = self.report.closed
        if self.report.throttled:
            shown["throttled"] = self.report.throttled
        if self.report.failures:
            shown["failures"] = [{"n": n, "error": reason} for reason, n in self._failures()]
        if self.rest is not None:
            shown["rest"] = self.rest.as_json()
        for experiment, entry in zip(self.study.program.experiments, shown["experiments"], strict=True):
            entry["measures"] = {} if self.load_error else _measures_json(self.study, experiment)
        return shown | warnings_json(
            self.study.program, [*self.notices, *([self.load_error] if self.load_error else [])]
        )

    def _failures(self) -> list[tuple[str, int]]:
        """Return why requests failed, and how many each, most first."""
        return Counter(self.report.failures.values()).most_common()

    def _cell(self) -> Iterator[Part]:
        return self.parts(commands=False)

    def _summary(self, *, again: bool, verbose: bool, commands: bool) -> Iterator[Part]:
        """Yield the numbers of requests, where the results are, and the next command."""
        answered = 0 if again else self.answered
        cached = self.cached if not again else len(_stored(self.counts))
        yield f"{answered:,} answered, {cached:,} cached" + (f", {self.failed:,} failed" if self.failed else "")
        yield from spent_parts(self.counts, answered=answered, again=again)
        yield from (f"  {n:,} x {reason}" for reason, n in self._failures()[: None if verbose else MAX_SHOWN])
        yield from (f"  {closed}" for closed in self.report.closed)
        for count in self.counts:
            for step in count.steps:
                for reason, n in step.invalid.most_common(MAX_SHOWN):
                    yield f"  {n:,} x `{step.step.name}` has no prompt: {reason}"
            yield from judge_parts(count)
        for name in sorted(self.report.over_budget):
            if not name and self.options.named is not None:
                named = self.options.named.name
                yield f"the team's budget `{named}` is spent: the run stopped. Raise it: emdsl cache budget {named} USD"
                continue
            whose = f"the budget of `{name}`" if name else f"--budget ${self.options.budget}"
            yield f"{whose} is spent: the run stopped. Run again to spend it anew, or raise it"
        if self.report.interrupted:
            yield "interrupted: all answers are kept"
        yield from self._to_do(commands=commands)
        if commands and not self.load_error and self.rest is None:
            yield from self._next()

    def _to_do(self, *, commands: bool) -> Iterator[Part]:
        offline = self.options.offline
        yield from batch_parts(self.report)
        if self.pending > 0:
            verb = "is" if self.pending == 1 else "are"
            where = f"{verb} not in the store (--offline)" if offline else f"{verb} pending"
            yield f"{counted(self.pending, 'request')} {where}: incomplete"
            yield from (f"  {name}" for name in (self._examples() if offline else ()))
        if not commands:
            return
        if self.failed or (self.pending > 0 and not offline):
            yield f"Continue: emdsl run {shlex.quote(str(self.study.file))}{self.options.repeated()}"

    def _next(self) -> Iterator[Part]:
        project = self.study.project
        yield f'Results: {os.path.relpath(project.cache)}/outcomes.duckdb, schema "{self.study.name}"'
        table = self.study.program.experiments[0].name
        flag = place_options(simulate=project.simulate, cache=self.options.cache or cache_option(project))
        yield f'Next: emdsl query{flag} "FROM {table} LIMIT 5"    or edit {self.study.file} and run again'

    def _examples(self) -> list[str]:
        """Return some missing requests by name."""
        names = []
        for count in self.counts:
            axes = count.experiment.axes
            for step, row in count.examples:
                levels = ", ".join(f"{a.name}={short(a.levels[i].shown)}" for a, i in zip(axes, row.cell, strict=True))
                names.append(f"{step.kind} {step.name} of {count.experiment.name}: {levels}, sample {row.sample}")
        return names


def _measures_json(study: Compiled, experiment: Experiment) -> dict[str, Any]:
    from emdsl.study.tables import measures_json  # noqa: PLC0415 - only `--json` reads measures here

    return measures_json(study, experiment)


def _no_parts(_: Iterable[Part]) -> None:
    pass


def run_study(
    study: Compiled,
    options: RunOptions,
    *,
    view: Callable[[int], ProgressView] | None = None,
    show: Callable[[Iterable[Part]], None] = _no_parts,
    confirm: Callable[[str], bool] = lambda _: True,
    interrupter: Interrupter | None = None,
) -> Run:
    """Send the pending requests of a study, and load its tables.

    The current thread must have no running event loop.

    Args:
        study: The compiled study.
        options: Selection, budget, retries.
        view: Makes the view of progress from the number of pending requests; by default nothing is shown.
        show: Is given the plan before the first request.
        confirm: Is asked a question before a cost over `options.confirm_over`; False declines.
        interrupter: Interrupts the run from another thread.

    Raises:
        SourceError: The study has an error, or reads a dataset that is missing.
        UsageError: The selection is wrong, the plan file outdated or the budget too small.
        SetupError: An API key or an address is missing.
        StoreError: The store cannot be written.
    """
    start_s = time.monotonic()
    interrupter = interrupter or Interrupter()
    program, project = study.program, study.project
    run = secrets.token_hex(8)
    check_name(study.name, known_loads(project.cache))
    chosen = selections(program, options.samples, options.only, pilot=options.pilot)
    walks = [Rows(e, s) for e, s in zip(program.experiments, chosen, strict=True)]
    if options.plan_file is not None:
        options.plan_file.check(walks)
    with _store(study, options) as store:
        before = store_version(project.answers)
        survey = Survey(study, walks, store, run, options, check=interrupter.check, workers=options.workers)
        survey.take()
        counts = survey.counts
        pending = n_pending(counts)
        ways = choose_ways(study, counts, batch=options.batch, pilot=options.pilot)
        if options.plan_file is not None:
            options.plan_file.check_pending(pending, counts)
        if not options.offline:
            check_datasets(study.program, counts)
        show(_plan_parts(study, options, counts, store))
        if not options.offline:
            check_budgets(counts, options.budget)
            serving = _check_setup(study, options, counts)
        report = Report()
        if pending and not options.offline:
            question = question_of_cost(counts, options.confirm_over, options.budget)
            if question and not confirm(question):
                return replace(_result(study, options, counts, report, [], ""), declined=True)
            shown = view(pending) if view is not None else ProgressView(NONE, pending, lambda _: None)
            batches = batch_plan(study, counts, ways, batch=options.batch, detach=options.detach)
            with loader_of(
                study, options, walks, store, run=run, pending=pending, on_error=lambda: interrupter.fail(NO_TABLES),
                late=batches is not None,
            ) as loader:  # fmt: skip
                report = _send(
                    study, options, walks, store, counts, run=run, view=shown, interrupter=interrupter,
                    on_start=loader.start, batches=batches, serving=serving,
                )  # fmt: skip
                options = replace(options, budget=report.budget)  # it may have been changed on the way
                loader.check()
                final_counts, notices, load_error = _load(loader, walks, report, shown)
        elif survey.loaded is not None:
            final_counts, notices, load_error = counts, *survey.loaded
        else:
            from emdsl.study.refresh import bring_up_to_date  # noqa: PLC0415 - a run that sends loads by its own process

            final_counts, notices, load_error = bring_up_to_date(
                study, walks, store, report=report, run=run, options=options
            )
    if not load_error:
        notices += _notices(study, run)
    if not (pending or options.offline):
        remember(study, options, counts, run)
    note_used(study, final_counts)
    result = _result(study, options, final_counts, report, notices, load_error)
    rest = None
    if options.pilot:
        rest = make_plan(study, samples=options.samples, only=options.only, insecure=options.insecure, reasons=False)
    return replace(result, id=run, store_before=before, rest=rest, wall_s=time.monotonic() - start_s)


def _store(study: Compiled, options: RunOptions) -> AbstractContextManager[AnswerStore]:
    """Open the store of a run; raises StoreError."""
    if not options.offline and (why := study.project.unwritable()):
        raise StoreError(f"{why}. With --offline, nothing is sent and no answer is written")
    return study.store(create=not options.offline)


def _check_setup(study: Compiled, options: RunOptions, counts: list[ExperimentCount]) -> Serving | None:
    """Return the servers to start; raises SetupError if an API key, an address or a program is missing."""
    missing = []
    if n_pending(counts):
        missing = missing_setup(study, counts, insecure=options.insecure, serves=options.on is not None)
    if missing:
        raise SetupError("\n       ".join(["these models are not set up:", *missing]))
    return serving_of(options.on, study, counts)


def _load(loader: Loader, walks: list[Rows], report: Report, view: ProgressView) -> Loaded:
    """Load the tables, all rows of them, and show how far that is."""
    n_rows = sum(Rows(w.experiment).n_rows(w.experiment.n_cells) for w in walks)
    with view.loading(n_rows) as on_rows:
        return loader.load(report, on_rows)


def _result(
    study: Compiled, options: RunOptions, counts: list[ExperimentCount], report: Report, notices: list[str],
    load_error: str,
) -> Run:  # fmt: skip
    steps = [s for c in counts for s in c.steps]
    fresh = set[bytes]().union(*(s.fresh for s in steps), _fresh_probes(counts))
    cached = _stored(counts) - fresh
    return Run(
        answered=len(fresh), cached=len(cached), failed=len(report.failures),
        pending=sum(s.at_most for s in steps) - len(report.failures),
        complete=not any(s.at_most or s.unknown for s in steps), spent_usd=spent_json(counts)["spent_usd"],
        notices=tuple(notices), load_error=load_error, study=study, options=options, counts=counts, report=report,
    )  # fmt: skip


def _plan_parts(
    study: Compiled, options: RunOptions, counts: list[ExperimentCount], store: AnswerStore
) -> Iterator[Part]:
    yield from warning_parts(study.program)
    yield from count_parts(counts)
    yield from budget_parts(counts, options.budget)
    yield from store_parts(study.project, store)


def _send(
    study: Compiled, options: RunOptions, walks: list[Rows], store: AnswerStore, counts: list[ExperimentCount], *,
    run: str, view: ProgressView, interrupter: Interrupter, on_start: Callable[[], None],
    batches: BatchPlan | None, serving: Serving | None,
) -> Report:  # fmt: skip
    """Send what is pending, and keep a record of the run."""
    project = study.project
    parallel = [e.parallel for e in study.program.experiments if e.parallel is not None]
    if options.named is not None and batches is not None:
        raise UsageError("a budget of the team pays for requests that are sent alone: add --no-batch")
    default = CONNECTIONS if serving is None else min(CONNECTIONS * serving.n_servers, MAX_CONNECTIONS)
    connections = options.connections or min(parallel, default=default)
    simulated = any(embedded(m, study) for c in counts for m in c.models.values())
    workers = workers_plan(
        study, options, walks, n_pending(counts), connections, batches=batches is not None, simulated=simulated,
        notice=view.notice,
    )  # fmt: skip
    record = begin_record(study, options, counts, run, workers.n if workers is not None else 1)
    sending = Sending(
        connections=connections, max_wait_s=options.max_wait,
        max_retries=options.max_retries, budget=options.budget, named=options.named,
        simulate=simulated, batches=batches, workers=workers,
        uncapped=tuple(d.message for d in unlimited(counts)), meter=meter_of(counts),
        serving=serving,
    )  # fmt: skip
    report = send_pending(
        project, walks, store, sending, run=run, view=view, interrupter=interrupter, on_start=on_start
    )
    end_record(project, record, report)
    return report


def _notices(study: Compiled, run: str) -> list[str]:
    """Return notices beside the numbers."""
    from emdsl.study.drift import drift_notices  # noqa: PLC0415 - it reads tables, which are there only after the load

    notices = drift_notices(study)
    if load_id(study.project.cache, study.name) != run:
        notices.append("another run of this study has loaded its tables since: they are of that run")
    return notices


def _stored(counts: list[ExperimentCount]) -> set[Digest]:
    """Return the keys of the cached requests."""
    return set[bytes]().union(*(s.stored for c in counts for s in c.steps))


def _fresh_probes(counts: list[ExperimentCount]) -> set[Digest]:
    """Return the keys of the probes that this run has sent."""
    return {key for count in counts for key, fresh in count.probed.items() if fresh}
