"""`emdsl run`: plan, ask, load, show."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.main import EXIT_INCOMPLETE
from emdsl.cli.plan import plan_json, show_corrupt, show_counts, show_warnings, total, warnings_json
from emdsl.cli.results import bring_up_to_date, measures_json, rehearse, show_measures
from emdsl.compiler.compile import compile_file
from emdsl.errors import SetupError, SourceError
from emdsl.frame import EvalFault
from emdsl.providers.http import Http
from emdsl.providers.openai import OpenAI
from emdsl.providers.secret import find_url, problem
from emdsl.run.executor import CONNECTIONS, Executor, Report
from emdsl.run.pacing import Patience
from emdsl.run.planner import ExperimentCount, plan
from emdsl.run.walk import Walk
from emdsl.source import Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.query import Model
    from emdsl.store.disk import DiskStore

SHOWN_FAILURES = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command("run")
@session.with_options(
    session.FILE, session.CACHE, session.ENV_FILE, session.SAMPLES, session.ONLY, session.SIM, session.AS_JSON,
    session.CONNECTIONS, session.OFFLINE, session.DISPLAY, session.MAX_WAIT, session.MAX_RETRIES,
)  # fmt: skip
@session.option("--dry-run", is_flag=True, help="The same as `emdsl plan`.")
def command(
    file: Path,
    cache: Path | None,
    env_file: Path | None,
    samples: int | None,
    only: tuple[str, ...],
    simulate: bool,
    as_json: bool,
    connections: int | None,
    offline: bool,
    dry_run: bool,
    max_wait: float,
    max_retries: int | None,
    display: str | None,
) -> int:
    """Ask what FILE needs and the store does not hold, and load the outcomes.

    The first Ctrl-C finishes what is in flight and keeps it; the second stops at once.
    """
    console.expect_json(wanted=as_json)
    start = time.monotonic()
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    chosen = session.selections(program, samples, only)
    walks = [Walk(e, s) for e, s in zip(program.experiments, chosen, strict=True)]
    store = here.store(create=not (dry_run or offline))
    run = secrets.token_hex(8)
    try:
        counts = [_planned(walk, store) for walk in walks]
        left = total(counts)
        unknown = any(s.unknown for c in counts for s in c.steps) or any(e.reads_absent for e in program.experiments)
        if program.absent and unknown and not (dry_run or offline):
            raise SourceError([replace(d, code="E605", severity=Severity.ERROR, note="") for d in program.absent])
        if not as_json:
            show_warnings(program)
            show_counts(counts)
            show_corrupt(len(store.corrupt))
        if dry_run:
            if as_json:
                console.show_json(plan_json(counts, time.monotonic() - start) | warnings_json(program))
            return 0
        if not offline and (beyond := [(c.experiment.span, c.beyond_budget) for c in counts if c.beyond_budget]):
            help_ = "raise the budget, or take a part: --samples, --only"
            raise SourceError([Diagnostic(code="E733", message=m, span=s, help=help_) for s, m in beyond])
        report = Report()
        if left:
            rehearse(program.experiments)
        if left and not offline:
            _can_ask(counts, here)
            parallel = [e.parallel for e in program.experiments if e.parallel is not None]
            executing = _Execution(
                walks=walks, store=store, here=here, connections=connections or min(parallel, default=CONNECTIONS),
                patience=Patience(max_wait_s=max_wait, max_retries=max_retries), run=run,
                display=console.NONE if as_json else console.choose_display(display), total=left,
                simulate=any(_embedded(m, here) for c in counts for m in c.models.values()),
            )  # fmt: skip
            report = executing.run()
        finals, notices, unloaded = bring_up_to_date(here, file, program, walks, store, report=report, run=run)
    finally:
        store.close()
    incomplete = any(s.at_most or s.unknown for c in finals for s in c.steps)
    if as_json:
        found = _run_json(finals, report, time.monotonic() - start)
        for experiment, entry in zip(program.experiments, found["experiments"], strict=True):
            entry["measures"] = {} if unloaded else measures_json(here, file, experiment)
        found |= warnings_json(program, [*notices, *([unloaded] if unloaded else [])])
        console.show_json(found)
    else:
        _tell(here, file, program.experiments, finals, report, notices, unloaded, offline=offline)
    return EXIT_INCOMPLETE if incomplete else 0


def _planned(walk: Walk, store: DiskStore) -> ExperimentCount:
    try:
        return plan(walk, store)
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault


def _can_ask(counts: list[ExperimentCount], here: Session) -> None:
    """Raise SetupError for models that have something to run and cannot be asked; those cached need no key."""
    problems = {p for c in counts for m in c.models.values() if (p := problem(m, here.environment)) is not None}
    if problems:
        raise SetupError("\n       ".join(["these models cannot be asked:", *sorted(problems)]))


def _embedded(model: Model, here: Session) -> bool:
    """Whether the simulator must be started for a model: it is simulated, and nobody serves it."""
    return model.simulated and find_url(model, here.environment)[0] is None


class _Execution:
    """One run of the executor, with its servers, signals and display."""

    def __init__(
        self, *, walks: list[Walk], store: DiskStore, here: Session, connections: int, patience: Patience, run: str,
        display: str, total: int, simulate: bool,
    ) -> None:  # fmt: skip
        self._walks, self._store, self._here = walks, store, here
        self._connections, self._patience, self._run = connections, patience, run
        self._display, self._total, self._simulate = display, total, simulate

    def run(self) -> Report:
        """Ask everything; raises EmdslError."""
        try:
            with asyncio.Runner(loop_factory=_fast_loop()) as runner:
                return runner.run(self._main())
        except EvalFault as fault:
            raise SourceError([fault.diagnostic]) from fault
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # uvloop leaves its own behind

    async def _main(self) -> Report:
        simulator = None
        if self._simulate:
            from emdsl.sim.server import Simulator  # noqa: PLC0415 - only simulated models need it

            simulator = Simulator()
            await simulator.start()
        http = Http(self._connections)
        provider = OpenAI(http, self._here.environment, simulator.url if simulator else None)
        with console.ProgressView(self._display, self._total) as view:
            executor = Executor(
                self._walks, self._store, provider, connections=self._connections, patience=self._patience,
                run=self._run, on_progress=view.update,
            )  # fmt: skip
            self._listen(executor)
            try:
                return await executor.run()
            finally:
                for number in SIGNALS:
                    asyncio.get_running_loop().remove_signal_handler(number)
                await http.close()
                if simulator is not None:
                    await simulator.stop()

    @staticmethod
    def _listen(executor: Executor) -> None:
        """First signal: drain; second: stop."""
        loop = asyncio.get_running_loop()

        def handle() -> None:
            if executor.progress.draining:
                executor.stop()
            else:
                executor.drain()

        for number in SIGNALS:
            loop.add_signal_handler(number, handle)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loop; None where it is not installed, for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def _run_json(finals: list[ExperimentCount], report: Report, wall_s: float) -> dict[str, Any]:
    found = plan_json(finals, wall_s)
    for count, entry in zip(finals, found["experiments"], strict=True):
        for step, shown in zip(count.steps, entry["steps"], strict=True):
            failed = report.failed.get((count.experiment.name, step.step.name), set()) - step.stored
            ran = len(step.fresh)
            shown |= {
                "needed": step.needed,
                "cached": step.cached - ran,
                "to_run": ran + len(failed),
                "ran": ran,
                "failed": len(failed),
                "left": step.at_most - len(failed & step.ready),
            }
    found["requests"] = report.sent
    if report.failures:
        found["failures"] = [{"n": n, "error": reason} for reason, n in _reasons(report)]
    return found


def _reasons(report: Report) -> list[tuple[str, int]]:
    """Return why queries failed, and how many each, most first."""
    return Counter(report.failures.values()).most_common()


def _tell(
    here: Session, file: Path, experiments: Any, finals: list[ExperimentCount], report: Report, notices: list[str],
    unloaded: str, *, offline: bool,
) -> None:  # fmt: skip
    """Print what came out: the measures, where the outcomes are, and what to do next."""
    for notice in notices:
        console.say(f"note: {notice}\n", err=True)
    if unloaded:
        console.say(f"warning: {unloaded}\nAll answers are stored; `emdsl show {file}` loads them.", err=True)
    else:
        show_measures(here, file, experiments)
    ran = sum(len(s.fresh) for c in finals for s in c.steps)
    n_failed = len(report.failures)
    left = sum(s.at_most for c in finals for s in c.steps) - n_failed
    cached = sum(s.cached for c in finals for s in c.steps) - ran
    console.say(f"{ran:,} answered, {cached:,} from the store" + (f", {n_failed:,} failed" if n_failed else ""))
    for reason, n in _reasons(report)[:SHOWN_FAILURES]:
        console.say(f"  {n:,} x {reason}")
    for count in finals:
        for step in count.steps:
            for reason, n in step.invalid.most_common(SHOWN_FAILURES):
                console.say(f"  {n:,} x `{step.step.name}` could not be asked: {reason}")
    for name in sorted(report.over_budget):
        console.say(f"the budget of `{name}` is reached: nothing more was asked; raise it and run again")
    if report.interrupted:
        console.say("stopped early: what was answered is kept")
    if left > 0:
        console.say(f"{left:,} {'are missing from the store (--offline)' if offline else 'left to ask'}: incomplete")
    if n_failed or (left > 0 and not offline):
        console.say(f"Go on: emdsl run {file}")
    if not unloaded:
        console.say(f'Outcomes: {os.path.relpath(here.cache)}/outcomes.duckdb, schema "{here.study(file)}"')
        table = experiments[0].name
        flag = " --sim" if here.simulate else ""
        console.say(f'Next: emdsl query{flag} "FROM {table} LIMIT 5"    or edit {file} and run again')
