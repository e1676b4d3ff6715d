"""A run: plan, ask, load, show."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emdsl.cli import console, session, uptodate
from emdsl.cli.counts import (
    plan_json,
    short,
    show_corrupt,
    show_counts,
    show_place,
    show_unread,
    show_warnings,
    total,
    warnings_json,
)
from emdsl.cli.main import EXIT_INCOMPLETE, EXIT_UNLOADED
from emdsl.cli.money import budgets_json, confirmed, money_json, show_budget, show_money, within
from emdsl.cli.results import Survey, bring_up_to_date, drift_of, measures_json, rehearse, show_measures
from emdsl.compiler.compile import compile_file
from emdsl.errors import SetupError, SourceError, StoreError
from emdsl.frame import EvalFault
from emdsl.outcomes import database
from emdsl.outcomes.loads import check_name, known_loads, load_id
from emdsl.price import price_of
from emdsl.project import ANSWERS
from emdsl.providers.secret import find_url, problem, server
from emdsl.run import history
from emdsl.run.executor import CONNECTIONS, Executor, Report
from emdsl.run.pacing import Patience
from emdsl.run.walk import Walk
from emdsl.source import Severity
from emdsl.store.claims import Claims
from emdsl.store.removals import standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal
    from pathlib import Path

    from emdsl.cli.planfile import Planned
    from emdsl.cli.session import Session
    from emdsl.digest import Digest
    from emdsl.experiment import Program
    from emdsl.query import Model
    from emdsl.run.planner import ExperimentCount
    from emdsl.store.disk import DiskStore

SHOWN_FAILURES = 5
SIGNALS = tuple(  # SIGHUP comes from a terminal that is closed; Windows has none
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one call of `run` was given."""

    file: Path
    samples: int | None
    only: tuple[str, ...]
    as_json: bool
    connections: int | None
    offline: bool
    dry_run: bool
    max_wait: float
    max_retries: int | None
    display: str | None
    cache: Path | None = None
    budget: Decimal | None = None  # of the whole run
    confirm_over: Decimal | None = None  # expected cost from which a run on a terminal is asked for; None: never
    insecure: bool = False
    env_file: Path | None = None
    expected: Planned | None = None  # a plan that was written down: its keys must be those of now


def execute(here: Session, call: Call, marks: tuple[object, ...]) -> int:
    """Plan, ask, load, show; return the exit code. `marks` are all that what is printed depends on."""
    start = time.monotonic()
    file = call.file
    program = compile_file(file, here.environment, simulate=here.simulate)
    check_name(here.study(file), known_loads(here.cache))
    chosen = session.selections(program, call.samples, call.only)
    walks = [Walk(e, s) for e, s in zip(program.experiments, chosen, strict=True)]
    if call.expected is not None:
        call.expected.check(walks)
    store = here.store(create=not (call.dry_run or call.offline))
    run, stood = secrets.token_hex(8), standing(here.cache / ANSWERS)
    try:
        survey = Survey(here, file, program, walks, store, run, budget=call.budget)
        try:
            survey.take(load=not call.dry_run)
        except EvalFault as fault:
            raise SourceError([fault.diagnostic]) from fault
        counts = survey.counts
        left = total(counts)
        if call.expected is not None:
            call.expected.check_left(left, counts)
        if not (call.dry_run or call.offline):
            _all_obtained(program, counts)
        if not call.as_json:
            _show_plan(here, call, program, counts, store)
        if not call.offline:
            within(counts, call.budget)
        if call.dry_run:
            return _rehearsed(call, program, counts, start)
        report = Report()
        if left and survey.loaded is None:
            rehearse(program.experiments)
        if left and not call.offline:
            if call.confirm_over is not None and not confirmed(counts, call.confirm_over, call.budget):
                console.say("nothing was asked", err=True)
                return EXIT_INCOMPLETE
            report = _asked(here, call, program, walks, store, counts, run=run, left=left)
        if survey.loaded is not None:
            finals, notices, unloaded = counts, *survey.loaded
        else:
            finals, notices, unloaded = bring_up_to_date(here, file, program, walks, store, report=report, run=run)
    finally:
        store.close()
    notices += [] if unloaded else _beside(here, file, program, run)
    incomplete = any(s.at_most or s.unknown for c in finals for s in c.steps)
    said = _say(here, call, program, finals, report, notices, unloaded, start=start)
    if not (left or call.offline):
        _remember(here, call, program, counts, run)
    if not (incomplete or unloaded or report.failures or any(database.REPAIRED in n for n in notices)):
        restricted = call.samples is not None or bool(call.only)
        uptodate.keep(here, file, marks, program, run, stood, said, restricted=restricted)
    return EXIT_UNLOADED if unloaded else EXIT_INCOMPLETE if incomplete else 0


def _show_plan(here: Session, call: Call, program: Program, counts: list[ExperimentCount], store: DiskStore) -> None:
    show_warnings(program)
    show_counts(counts)
    show_budget(counts, call.budget)
    show_corrupt(len(store.corrupt))
    show_place(here, store)


def _asked(
    here: Session, call: Call, program: Program, walks: list[Walk], store: DiskStore, counts: list[ExperimentCount],
    *, run: str, left: int,
) -> Report:  # fmt: skip
    """Ask what is not stored, and keep a record of the run."""
    _can_ask(counts, here, insecure=call.insecure)
    parallel = [e.parallel for e in program.experiments if e.parallel is not None]
    record = _recorded(here, call, program, counts, run)
    executing = _Execution(
        walks=walks, store=store, here=here, connections=call.connections or min(parallel, default=CONNECTIONS),
        patience=Patience(max_wait_s=call.max_wait, max_retries=call.max_retries), run=run,
        display=_display(call), total=left, budget=call.budget,
        simulate=any(_embedded(m, here) for c in counts for m in c.models.values()),
    )  # fmt: skip
    report = executing.run()
    with suppress(OSError):  # the answers are stored: what is said of the run is not worth losing its tables
        history.end(here.cache, record, sent=report.sent, failed=len(report.failures), interrupted=report.interrupted)
    return report


def _display(call: Call) -> str:
    """Return how progress is shown; beside JSON only where it is asked for, on standard error."""
    return console.NONE if call.as_json and call.display is None else console.choose_display(call.display)


def _recorded(here: Session, call: Call, program: Program, counts: list[ExperimentCount], run: str) -> history.Record:
    """Keep a record of a run that starts."""
    models = [m for c in counts for m in c.models.values()]
    prices = {m.use: (float(p.input), float(p.output)) for m in models if (p := price_of(m)) and not m.simulated}
    record = history.Record(
        run=run, study=here.study(call.file), file=here.relative(call.file), program=program.digest.hex(),
        started_at=time.time(), prices=prices, samples=call.samples, only=call.only,
        servers={m.use: s for m in models if (s := server(m, here.environment))},
    )  # fmt: skip
    return history.begin(here.cache, here.project, record, program.files)


def _beside(here: Session, file: Path, program: Program, run: str) -> list[str]:
    """Return what is to be said beside the numbers."""
    found = drift_of(here, file, program.experiments)
    if load_id(here.cache, here.study(file)) != run:
        found.append("another run of this study has loaded its outcomes since: the tables are of that one")
    return found


def _rehearsed(call: Call, program: Program, counts: list[ExperimentCount], start: float) -> int:
    if call.as_json:
        console.show_json(
            plan_json(counts, time.monotonic() - start) | budgets_json(counts, call.budget) | warnings_json(program)
        )
    return 0


def _remember(here: Session, call: Call, program: Program, counts: list[ExperimentCount], run: str) -> None:
    """Keep a record of a run that had nothing to ask, if another program ran last: it is the one to compare with."""
    before = history.last(here.cache, here.study(call.file))
    same = before is not None and before.program == program.digest.hex() and before.ended_at is not None
    if before is None or not same or before.interrupted or (before.samples, before.only) != (call.samples, call.only):
        with suppress(OSError):  # in a cache that cannot be written, say
            record = _recorded(here, call, program, counts, run)
            history.end(here.cache, record, sent=0, failed=0, interrupted=False)


def _all_obtained(program: Program, counts: list[ExperimentCount]) -> None:
    unknown = any(s.unknown for c in counts for s in c.steps) or any(e.reads_absent for e in program.experiments)
    if program.absent and unknown:
        raise SourceError([replace(d, code="E605", severity=Severity.ERROR, note="") for d in program.absent])


def _say(
    here: Session, call: Call, program: Program, finals: list[ExperimentCount], report: Report, notices: list[str],
    unloaded: str, *, start: float,
) -> list[tuple[str, bool]]:  # fmt: skip
    """Print what came out; return what would be printed if it were run again, and had nothing to ask."""
    if call.as_json:
        found = _run_json(finals, report, time.monotonic() - start)
        for experiment, entry in zip(program.experiments, found["experiments"], strict=True):
            entry["measures"] = {} if unloaded else measures_json(here, call.file, experiment)
        found |= warnings_json(program, [*notices, *([unloaded] if unloaded else [])])
        console.show_json(found)
        for entry in found["experiments"]:
            for step in entry["steps"]:
                step |= {"cached": step["cached"] + step["ran"], "to_run": 0, "ran": 0}
        found.pop("probes", None)
        with console.recorded(silent=True) as said:
            console.show_json(found | {"requests": 0, "wall_s": 0.0})
        return said
    with console.recorded(silent=True) as warned:
        show_warnings(program)
    with console.recorded() as said:
        for notice in notices:
            console.say(f"note: {notice}\n", err=True)
        if unloaded:
            flag = session.repeated(simulate=here.simulate, cache=call.cache)
            again = f"All answers are stored. The tables are stale: `emdsl show {call.file}{flag}` loads them anew."
            console.say(f"error: {unloaded}\n{again}", err=True)
        else:
            show_measures(here, call.file, program.experiments, only=_chosen(program, call))
    _tell(here, call, program, finals, report, unloaded)
    for count in finals:
        for step in count.steps:
            step.fresh.clear()
        count.probed = dict.fromkeys(count.probed, False)
    with console.recorded(silent=True) as summary:
        _tell(here, call, program, finals, Report(), unloaded)
    return warned + said + summary


def _chosen(program: Program, call: Call) -> dict[str, frozenset[str]]:
    """Return the levels that a run was restricted to, by axis, as people call them."""
    found: dict[str, set[str]] = {}
    for experiment, selection in zip(program.experiments, session.selections(program, None, call.only), strict=True):
        for axis, positions in selection.only.items():
            levels = experiment.axes[axis].levels
            found.setdefault(experiment.axes[axis].name, set()).update(levels[i].shown for i in positions)
    return {name: frozenset(levels) for name, levels in found.items()}


def _can_ask(counts: list[ExperimentCount], here: Session, *, insecure: bool) -> None:
    """Raise SetupError for models that have something to run and cannot be asked; those cached need no key."""
    models = [m for c in counts for m in c.models.values()]
    problems = {p for m in models if (p := problem(m, here.environment, insecure=insecure)) is not None}
    if problems:
        raise SetupError("\n       ".join(["these models cannot be asked:", *sorted(problems)]))


def _embedded(model: Model, here: Session) -> bool:
    """Whether the simulator must be started for a model: it is simulated, and nobody serves it."""
    return model.simulated and find_url(model, here.environment)[0] is None


class _Execution:
    """One run of the executor, with its servers, signals and display."""

    def __init__(
        self, *, walks: list[Walk], store: DiskStore, here: Session, connections: int, patience: Patience, run: str,
        display: str, total: int, simulate: bool, budget: Decimal | None,
    ) -> None:  # fmt: skip
        self._budget = budget
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
        from emdsl.providers.client import Client  # noqa: PLC0415 - 0.2 s that only asking should cost
        from emdsl.providers.http import Http  # noqa: PLC0415 - as above

        simulator = None
        if self._simulate:
            from emdsl.sim.server import Simulator  # noqa: PLC0415 - only simulated models need it

            simulator = Simulator()
            await simulator.start()
        try:
            claims = Claims(self._here.cache / ANSWERS, self._run)
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}: claims cannot be taken") from error
        with console.ProgressView(self._display, self._total) as view:
            http = Http(self._connections, self._here.environment, view.notice)
            provider = Client(http, self._here.environment, simulator.url if simulator else None)
            executor = Executor(
                self._walks, self._store, provider, connections=self._connections, patience=self._patience,
                run=self._run, budget=self._budget, claims=claims, on_progress=view.update, on_notice=view.notice,
            )  # fmt: skip
            self._listen(executor)
            try:
                return await executor.run()
            finally:
                for number in SIGNALS:
                    asyncio.get_running_loop().remove_signal_handler(number)
                claims.close()
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
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
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
    if probes := fresh_probes(finals):
        found["probes"] = len(probes)
    found |= money_json(finals)
    if report.closed:
        found["keys_not_used"] = report.closed
    if report.throttled:
        found["throttled"] = report.throttled
    if report.failures:
        found["failures"] = [{"n": n, "error": reason} for reason, n in _reasons(report)]
    return found


def fresh_probes(finals: list[ExperimentCount]) -> set[Digest]:
    """Return the keys of the probes that this run has asked."""
    return {key for count in finals for key, fresh in count.probed.items() if fresh}


def _reasons(report: Report) -> list[tuple[str, int]]:
    """Return why queries failed, and how many each, most first."""
    return Counter(report.failures.values()).most_common()


def _examples(finals: list[ExperimentCount]) -> list[str]:
    """Return some of what is missing, by name."""
    found = []
    for count in finals:
        axes = count.experiment.axes
        for step, row in count.examples:
            levels = ", ".join(f"{a.name}={short(a.levels[i].shown)}" for a, i in zip(axes, row.cell, strict=True))
            found.append(f"{step.kind} {step.name} of {count.experiment.name}: {levels}, sample {row.sample}")
    return found


def _tell(
    here: Session, call: Call, program: Program, finals: list[ExperimentCount], report: Report, unloaded: str
) -> None:
    """Print how many were answered, where the outcomes are, and what to do next."""
    file = call.file
    fresh = set[bytes]().union(*(s.fresh for c in finals for s in c.steps), fresh_probes(finals))
    ran = len(fresh)
    n_failed = len(report.failures)
    left = sum(s.at_most for c in finals for s in c.steps) - n_failed
    cached = len(set[bytes]().union(*(s.stored for c in finals for s in c.steps)) - fresh)
    console.say(f"{ran:,} answered, {cached:,} from the store" + (f", {n_failed:,} failed" if n_failed else ""))
    show_money(finals, ran=ran)
    for reason, n in _reasons(report)[:SHOWN_FAILURES]:
        console.say(f"  {n:,} x {reason}")
    for closed in report.closed:
        console.say(f"  {closed}")
    for count in finals:
        for step in count.steps:
            for reason, n in step.invalid.most_common(SHOWN_FAILURES):
                console.say(f"  {n:,} x `{step.step.name}` could not be asked: {reason}")
        show_unread(count)
    for name in sorted(report.over_budget):
        whose = f"the budget of `{name}`" if name else f"--budget ${call.budget}"
        console.say(f"{whose} is reached: nothing more was asked; each run may spend it anew, or raise it")
    if report.interrupted:
        console.say("stopped early: what was answered is kept")
    if left > 0:
        where = "are missing from the store (--offline)" if call.offline else "left to ask"
        console.say(f"{left:,} {where}: incomplete")
        for line in _examples(finals) if call.offline else ():
            console.say(f"  {line}")
    if n_failed or (left > 0 and not call.offline):
        again = session.repeated(
            samples=call.samples, only=call.only, simulate=here.simulate, cache=call.cache, budget=call.budget,
            insecure=call.insecure, env_file=call.env_file,
        )  # fmt: skip
        console.say(f"Go on: emdsl run {shlex.quote(str(file))}{again}")
    if not unloaded:
        console.say(f'Outcomes: {os.path.relpath(here.cache)}/outcomes.duckdb, schema "{here.study(file)}"')
        table = program.experiments[0].name
        flag = session.repeated(simulate=here.simulate, cache=call.cache or session.cache_from_here(here))
        console.say(f'Next: emdsl query{flag} "FROM {table} LIMIT 5"    or edit {file} and run again')
