"""Sending the pending requests of a study: its event loop, its connections, and how it is interrupted."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from emdsl.errors import StoreError
from emdsl.run.budget import Budgets
from emdsl.run.executor import CONNECTIONS, Executor
from emdsl.run.live import PlannedSettings
from emdsl.run.metering import Meter
from emdsl.run.progress import INTERRUPT, Progress, Report
from emdsl.run.retries import RetryPolicy
from emdsl.store.journal import Journal
from emdsl.study.control_server import ControlServer
from emdsl.study.options import MAX_CONNECTIONS
from emdsl.study.served import LOGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from decimal import Decimal
    from pathlib import Path

    from emdsl.providers.client import Client
    from emdsl.query import Query
    from emdsl.run.control import Drains
    from emdsl.run.rows import Rows
    from emdsl.store.store import AnswerStore, AnyClaims
    from emdsl.study.batch_run import BatchPlan, BatchRun
    from emdsl.study.foreground import Foreground
    from emdsl.study.options import NamedBudget
    from emdsl.study.progress_view import ProgressView
    from emdsl.study.project import Project
    from emdsl.study.served import Serving
    from emdsl.study.servers import Served
    from emdsl.study.workers_plan import WorkersPlan

T = TypeVar("T")
SWITCH_S = 0.001  # how long a thread may hold the interpreter while another waits for it
STARTED_S = 0.05  # from then on the first requests are under way
SIGNALS = tuple(  # SIGHUP comes from a terminal that is closed; Windows has none
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupter:
    """Interrupts a run, from any thread: first its requests in flight are finished and kept, then it stops at once."""

    def __init__(self) -> None:
        self._attached: tuple[asyncio.AbstractEventLoop, Drains] | None = None
        self._requested = False
        self._failure = ""

    def attach(self, executor: Drains) -> None:
        """Take over an executor, or the batches of a run, that is about to run in the current event loop."""
        self._attached = asyncio.get_running_loop(), executor
        self.check()
        if self._failure:
            _drain(executor, self._failure)

    def detach(self) -> None:
        """Let go of the executor, whose event loop is about to close: nothing is left to interrupt."""
        self._attached = None

    def check(self) -> None:
        """Raise KeyboardInterrupt if an interrupt came before any request was sent."""
        if self._requested:
            raise KeyboardInterrupt

    def interrupt(self, cause: str = INTERRUPT) -> None:
        """Finish what is in flight; on the second call, stop at once."""
        if not self._call(_drain_or_stop, cause):
            self._requested = True

    def fail(self, cause: str) -> None:
        """Finish the requests in flight, as a part of the run has failed; a later interrupt stops at once."""
        self._failure = cause
        self._call(_drain, cause)

    def _call(self, function: Callable[[Drains, str], None], cause: str) -> bool:
        """Call a function of the executor in its event loop, if there is one."""
        attached = self._attached
        if attached is not None:
            loop, executor = attached
            with suppress(RuntimeError):  # the loop has just closed: nothing is in flight
                loop.call_soon_threadsafe(function, executor, cause)
        return attached is not None


def _drain_or_stop(executor: Drains, cause: str) -> None:
    (executor.stop if executor.progress.draining else executor.drain)(cause)


def _drain(executor: Drains, cause: str) -> None:
    if not executor.progress.draining:
        executor.drain(cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How requests are sent."""

    connections: int = CONNECTIONS
    max_wait_s: float = 600.0
    max_retries: int | None = None
    budget: Decimal | None = None  # of the whole run, in US dollars
    named: NamedBudget | None = None  # the budget of the team that is spent; `budget` is the rest of it
    simulate: bool = False  # start the embedded simulator
    batches: BatchPlan | None = None  # what goes by batches
    workers: WorkersPlan | None = None  # the processes that send it, if more than one
    uncapped: tuple[str, ...] = ()  # why no budget can be set while it runs
    meter: Meter = field(default_factory=Meter)  # of the pending requests, by step
    serving: Serving | None = None  # the servers to start


def send_pending(
    project: Project, walks: list[Rows], store: AnswerStore, sending: Sending, *, run: str, view: ProgressView,
    interrupter: Interrupter, on_start: Callable[[], None],
) -> Report:  # fmt: skip
    """Send every pending request, and return what came of it.

    The current thread must have no running event loop; in the main thread, signals interrupt the run.

    Args:
        project: The project.
        walks: The rows of each experiment.
        store: The open store, to write answers to.
        sending: Connections, retries, budget.
        run: The id of the run.
        view: Shows progress.
        interrupter: Interrupts the run from another thread.
        on_start: Is called when the first requests are under way, if the run is still going on then.

    Raises:
        EvalFault: An error of the study that only evaluating a cell shows.
        StoreError: Answers can no longer be kept.
    """
    main = threading.current_thread() is threading.main_thread()
    with _handlers_kept(kept=main), quick_switches(), asyncio.Runner(loop_factory=fast_loop()) as runner:
        return runner.run(_send(project, walks, store, sending, run, view, interrupter, on_start, signals=main))


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let threads take turns five times as often: an answer is acknowledged after five turns of the store's thread."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def _handlers_kept(*, kept: bool) -> Iterator[None]:
    """Give the signals back to the handlers of the program that calls: event loops leave others behind."""
    before = {n: signal.getsignal(n) for n in SIGNALS} if kept else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: one of C code, that Python cannot set again
                signal.signal(number, handler)


async def _send(
    project: Project, walks: list[Rows], store: AnswerStore, sending: Sending, run: str, view: ProgressView,
    interrupter: Interrupter, on_start: Callable[[], None], *, signals: bool,
) -> Report:  # fmt: skip
    from emdsl.providers.client import Client  # noqa: PLC0415 - 0.2 s that only sending should cost
    from emdsl.providers.http import Http  # noqa: PLC0415 - 0.2 s that only sending should cost

    simulator = None
    if sending.simulate:
        from emdsl.sim.server import Simulator  # noqa: PLC0415 - only simulated models need it

        simulator = Simulator()
        await simulator.start()
    try:
        claims = project.claims(run)
    except OSError as error:
        raise StoreError(f"cannot claim requests: {error.filename}: {error.strerror}") from error
    try:
        ledger = project.ledger(sending.named.name, claims) if sending.named is not None else None
    except BaseException:
        claims.close()
        raise
    budgets = Budgets({r.experiment.name: r.experiment.budget for r in walks}, sending.budget, ledger)
    progress = Progress(meter=sending.meter, budgets=budgets)
    view.watch(progress)
    with view, closing(Journal(project.answers)) as journal:
        # the executor alone bounds the requests in flight: `emdsl runs set` may raise their number
        http = Http(MAX_CONNECTIONS, project.environment, view.notice)
        url = simulator.url if simulator else None
        servers = _servers(sending, project, run, view)
        client = Client(http, project.environment, url, run=run, servers=servers)
        batch_run = None
        if sending.batches is not None:
            batch_run = _batch_run(
                sending.batches, walks, store, journal, claims, budgets, client, project, progress, view, run
            )
        control = ControlServer(
            project.cache, run, total=lambda: view.total, uncapped=sending.uncapped, notice=view.notice,
            eta=lambda: view.time_left().seconds, fixed=_fixed(sending.named),
            workers=sending.workers.n if sending.workers is not None else 1,
        )  # fmt: skip
        attach = partial(_attach, interrupter, control, PlannedSettings(sending.connections, budgets))
        try:
            async with _attended(control, interrupter, on_start, signals=signals):
                if servers is not None:
                    await servers.start(attach, progress)
                if sending.workers is not None and not progress.draining:
                    async with _placed(sending.workers, project.cache / LOGS / run, view.notice) as plan:
                        report = await _by_workers(
                            plan, walks, sending, run, view, interrupter, control, budgets, progress, url, servers
                        )
                    for rows in walks:  # as if this process had sent the probes of judges
                        rows.probes.look_up(store, again=True)
                    return report
                if batch_run is not None and not progress.draining:
                    attach(batch_run)
                    await batch_run.begin()
                return await _rounds(
                    walks, store, client, sending, run, view, interrupter, control, claims, journal, budgets, progress,
                    batch_run,
                )  # fmt: skip
        finally:
            if ledger is not None:
                ledger.close()
            claims.close()
            await http.close()
            if servers is not None:
                await servers.close()
            if simulator is not None:
                await simulator.stop()


@asynccontextmanager
async def _attended(
    control: ControlServer, interrupter: Interrupter, on_start: Callable[[], None], *, signals: bool
) -> AsyncIterator[None]:
    """Let signals and other processes act on the run, until it ends."""
    loop = asyncio.get_running_loop()
    handled = [n for n in SIGNALS if signals and signal.getsignal(n) is not signal.SIG_IGN]  # as under nohup
    starting = loop.call_later(STARTED_S, on_start)
    controlling = loop.create_task(control.serve(STARTED_S))
    try:
        for number in handled:
            cause = INTERRUPT if number == signal.SIGINT else number.name
            loop.add_signal_handler(number, interrupter.interrupt, cause)
        yield
    finally:
        starting.cancel()
        controlling.cancel()
        interrupter.detach()
        for number in handled:
            loop.remove_signal_handler(number)
        await asyncio.gather(controlling, return_exceptions=True)  # its socket is removed before the claims of the run


def _attach(interrupter: Interrupter, control: ControlServer, planned: PlannedSettings, part: Drains) -> None:
    """Let signals and other processes end a part of the run that comes before the first request."""
    interrupter.attach(part)
    control.attach(part, planned)


@asynccontextmanager
async def _placed(plan: WorkersPlan, logs: Path, notice: Callable[[str], None]) -> AsyncIterator[WorkersPlan]:
    """Give a plan whose workers can start: on this machine, or on a Ray cluster; raises SetupError."""
    if plan.cluster is None:
        yield plan
        return
    from emdsl.study.ray_workers import on_cluster  # noqa: PLC0415 - only `--on ray` needs it

    on, study = plan.cluster
    async with on_cluster(plan, on, study, logs, notice) as ready:
        yield ready


async def _by_workers(
    plan: WorkersPlan, walks: list[Rows], sending: Sending, run: str, view: ProgressView, interrupter: Interrupter,
    control: ControlServer, budgets: Budgets, progress: Progress, simulator: str | None, servers: Served | None,
) -> Report:  # fmt: skip
    """Send everything by other processes."""
    from emdsl.study.workers import Workers  # noqa: PLC0415 - few runs have more than one process

    task = {
        "run": run, "simulator": simulator, "max_wait_s": sending.max_wait_s, "max_retries": sending.max_retries,
    }  # fmt: skip
    workers = Workers(
        plan, [w.experiment for w in walks], task=task, connections=sending.connections, budgets=budgets,
        progress=progress, on_progress=view.update, on_notice=view.notice, servers=servers,
    )  # fmt: skip
    interrupter.attach(workers)
    control.attach(workers, workers.live)
    return await workers.run()


async def _rounds(
    walks: list[Rows], store: AnswerStore, client: Client, sending: Sending, run: str, view: ProgressView,
    interrupter: Interrupter, control: ControlServer, claims: AnyClaims, journal: Journal, budgets: Budgets,
    progress: Progress, batch_run: BatchRun | None,
) -> Report:  # fmt: skip
    """Send what is sent alone, then what goes by batches, as long as one makes requests of the other ready."""
    report, connections = Report(budget=budgets.whole_usd, interrupted=progress.draining), sending.connections
    if report.interrupted:  # while servers started, or batches of earlier runs were collected
        return report
    while True:
        executor = Executor(
            walks, store, client, connections=connections,
            retry_policy=RetryPolicy(max_wait_s=sending.max_wait_s, max_retries=sending.max_retries), run=run,
            budgets=budgets, claims=claims, progress=progress, held=journal.held,
            defers=batch_run.defers if batch_run is not None else _never,
            on_progress=view.update, on_notice=view.notice,
        )  # fmt: skip
        interrupter.attach(executor)
        control.attach(executor, executor.live)
        report.add(await executor.run())
        if batch_run is None or report.interrupted:
            return report
        interrupter.attach(batch_run)
        control.attach(batch_run, executor.live)
        if not await batch_run.go_on(report):
            return report
        connections = executor.live.connections  # `emdsl runs set` may have changed them


def _fixed(budget: NamedBudget | None) -> str:
    """Return why the budget of a run cannot be changed, if it is the team's."""
    if budget is None:
        return ""
    return f"the run spends the team's budget `{budget.name}`: change it with `emdsl cache budget {budget.name} USD`"


def _servers(sending: Sending, project: Project, run: str, view: ProgressView) -> Served | None:
    if sending.serving is None:
        return None
    from emdsl.study.servers import Served  # noqa: PLC0415 - few runs start servers

    return Served(sending.serving, project, run, view.notice, shared=sending.workers is not None)


def _never(_: Query) -> bool:
    return False


def _batch_run(
    plan: BatchPlan, walks: list[Rows], store: AnswerStore, journal: Journal, claims: AnyClaims, budgets: Budgets,
    client: Client, project: Project, progress: Progress, view: ProgressView, run: str,
) -> BatchRun:  # fmt: skip
    from emdsl.providers.batch_client import BatchClient  # noqa: PLC0415 - only a run with batches needs it
    from emdsl.study.batch_run import BatchRun  # noqa: PLC0415 - only a run with batches needs it

    provider = BatchClient(client, project.environment)
    return BatchRun(plan, walks, store, journal, claims, budgets, provider, progress, view, run)


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop's event loop, or None if it is not installed."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def apart_from_loop(function: Callable[[], T], interrupter: Interrupter, foreground: Foreground) -> T:
    """Call a function that needs an event loop of its own: in another thread, if this one has a loop already.

    Ctrl-C goes to the interrupter, and the function is waited for: meanwhile the foreground shows its progress. The
    handler of `asyncio.run` would only cancel a task of the loop that waits here.
    """
    if not _in_loop():  # called outside of `except`: its own errors have no other error before them
        return function()
    main = threading.current_thread() is threading.main_thread()
    with ThreadPoolExecutor(1, thread_name_prefix="emdsl") as pool, _handlers_kept(kept=main):
        if main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda _, __: interrupter.interrupt())
        return foreground.serve(pool.submit(function))


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
