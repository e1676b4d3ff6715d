"""The program of a worker: it sends the requests of one shard of a run, and reports their outcomes to the run.

It reads one line of JSON from standard input, its task, and connects to the run by a link. Requests in flight,
money and the rate of its accounts are leased from the run. If the run goes, or standard input ends, it stops at once.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import signal
import sys
import threading
import time
from contextlib import closing, suppress
from decimal import Decimal
from itertools import islice
from platform import node
from typing import TYPE_CHECKING, Any

from emdsl import redact
from emdsl.errors import EmdslError, StoreError
from emdsl.run.budget import WHOLE_RUN, Budgets
from emdsl.run.combined import snapshot
from emdsl.run.executor import Executor
from emdsl.run.leased_pace import LeasedPace
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.run.sharding import Shard
from emdsl.store.journal import Journal
from emdsl.study.asking import fast_loop, quick_switches
from emdsl.study.child import study_of, was_edited
from emdsl.study.compiled import evaluating
from emdsl.study.link import Link, LinkLost, connect
from emdsl.study.options import MAX_CONNECTIONS
from emdsl.study.selection import selections
from emdsl.study.server_addresses import ServerAddresses
from emdsl.study.workers_plan import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.run.progress import Report
    from emdsl.store.store import AnswerStore, AnyClaims
    from emdsl.study.compiled import Compiled

TICK_S = 0.02  # between two reports about the pace
EVERY = 5  # of them has the counts of the progress, too
MAX_FAILURES = 1_000  # in one message
LAST_S = 5.0  # that a worker whose run has gone may take to stop
OF_RUN = "the run"  # why a worker stops: the run knows more, and tells people
GC_THRESHOLD = 100_000  # objects: rows are many, and few are in a cycle


class _LinkLedger:
    """The budgets of the run, over the link. See Ledger."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Decimal | None]] = {}

    async def draw(self, budget: str, least: Decimal, wanted: Decimal) -> Decimal | None:
        """See Ledger."""
        number = next(self._numbers)
        drawn: asyncio.Future[Decimal | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = drawn
        self._link.send({"draw": number, "budget": budget, "least": str(least), "wanted": str(wanted)})
        return await drawn

    async def settle(self, budget: str, spent: Decimal, returned: Decimal) -> None:
        """See Ledger."""
        self._link.send({"settle": budget, "spent": str(spent), "returned": str(returned)})

    def drawn(self, number: int, usd: str | None) -> None:
        """Take the reply to a draw."""
        self._waiting.pop(number).set_result(Decimal(usd) if usd is not None else None)

    def lose(self) -> None:
        """Fail those that wait for money: the run has gone."""
        for drawn in self._waiting.values():
            if not drawn.done():
                drawn.set_exception(LinkLost())
        self._waiting.clear()


class _Reports:
    """The reports of this worker to the run, each sent once."""

    def __init__(self, link: Link, executor: Executor, budgets: Budgets, pace: LeasedPace) -> None:
        self._link, self._executor, self._budgets, self._pace = link, executor, budgets, pace
        self._n_errors = len(executor.errors)
        self._sent: dict[str, Any] = {}  # the last value of each field
        self._ticks, self._answered = 0, False

    def tell(self, *, all_: bool = False) -> None:
        """Send changed values; the counts of the progress every few times, or with `all_`."""
        executor, message = self._executor, dict[str, Any]()
        if pace := self._pace.report(executor.lanes):
            message["pace"] = pace
        while self._n_errors < len(executor.errors):
            part = dict(islice(executor.errors.items(), self._n_errors, self._n_errors + MAX_FAILURES))
            self._n_errors += len(part)
            self._link.send({"errors": {key.hex(): error for key, error in part.items()}})
        self._ticks += 1
        first = not self._answered and executor.progress.answered > 0  # whoever has answered has not died in vain
        if all_ or first or self._ticks % EVERY == 0:
            self._answered = executor.progress.answered > 0
            found = {
                "progress": snapshot(executor.progress, time.monotonic()),
                "spent": [str(self._budgets.unlimited_usd), self._budgets.n_unpriced],
                "exhausted": sorted(self._budgets.exhausted),
            }
            message |= {name: value for name, value in found.items() if value != self._sent.get(name)}
            self._sent = found
        if message:
            self._link.send(message)

    def end(self, report: Report) -> None:
        """Send the report of the executor: the end."""
        self.tell(all_=True)
        failures = iter(report.failures.items())
        while part := dict(islice(failures, MAX_FAILURES)):
            self._link.send({"failures": {key.hex(): error for key, error in part.items()}})
        for (experiment, step), keys in report.failed.items():
            left = iter(keys)
            while some := [key.hex() for key in islice(left, MAX_FAILURES)]:
                self._link.send({"failed": [experiment, step, some]})
        of_all = {"throttled": report.throttled, "closed": report.closed, "interrupted": report.interrupted}
        self._link.send({"end": of_all})


async def work(task: Mapping[str, Any]) -> None:
    """Do the work of one worker, until its shard is sent or its run ends; raises OSError without a run.

    Args:
        task: As `Workers` makes it: the study, the shard, and the place of the link.
    """
    link = await connect(task["link"], task["worker"])
    try:
        redact.register(task["environment"])
        study = _study(task, link)
        if study is None:
            return
        with study.store(create=True) as store, evaluating():
            await _send(task, study, store, link)
    except EmdslError as error:
        link.send({"error": [type(error).__name__, redact.mask(str(error))]})
    except OSError as error:  # the link raises none: it is of this machine, and another worker would meet it too
        reason = f"{error.filename}: {error.strerror}" if error.filename else error
        link.send(
            {"error": ["StoreError", redact.mask(f"a worker cannot go on: {reason}. All stored answers are safe")]}
        )
    finally:
        await link.finish()


def _study(task: Mapping[str, Any], link: Link) -> Compiled | None:
    """Return the study of the run; None, with a message to the run, if it is not the same here, or does not compile."""
    reason = ""
    try:
        study = study_of(task)
    except EmdslError as error:
        study, reason = None, redact.mask(str(error))
    if study is None:
        message: dict[str, Any] = {"edited": reason} if was_edited(task) else {"different": reason, "on": node()}
        link.send(message)
    return study


async def _send(task: Mapping[str, Any], study: Compiled, store: AnswerStore, link: Link) -> None:
    """Send the requests of the shard."""
    from emdsl.providers.client import Client  # noqa: PLC0415 - not before the study has compiled
    from emdsl.providers.http import Http  # noqa: PLC0415 - not before the study has compiled

    project, run = study.project, task["run"]
    try:
        claims: AnyClaims = project.claims(f"{run}.{task['worker']}")
    except OSError as error:
        raise StoreError(f"cannot claim requests: {error.filename}: {error.strerror}") from error
    chosen = selections(study.program, task["samples"], tuple(task["only"]), pilot=task["pilot"])
    shard = Shard(*task["shard"])
    walks = [Rows(e, s, shard) for e, s in zip(study.program.experiments, chosen, strict=True)]
    limits, whole = {w.experiment.name: w.experiment.budget for w in walks}, task["budget"]
    for rows, text in zip(walks, task["incomplete"], strict=True):
        rows.incomplete = unpacked(text)
    ledger, pace = _LinkLedger(link), LeasedPace()
    budgets = Budgets(limits, Decimal(whole) if whole is not None else None, ledger, (WHOLE_RUN, *limits))
    http = Http(MAX_CONNECTIONS, project.environment, lambda text: link.send({"notice": text}))
    with closing(Journal(project.answers)) as journal:
        servers = ServerAddresses(
            task["servers"], lambda *server: link.send({"lost": server}), lambda *server: link.send({"serves": server})
        )
        client = Client(http, project.environment, task["simulator"], run=run, servers=servers)
        executor = Executor(
            walks, store, client, connections=0,
            retry_policy=RetryPolicy(max_wait_s=task["max_wait_s"], max_retries=task["max_retries"]), run=run,
            budgets=budgets, claims=claims, held=journal.held, controllers=pace.controllers,
            errors={bytes.fromhex(key): error for key, error in task["errors"].items()},
            on_notice=lambda text: link.send({"notice": text}),
        )  # fmt: skip
        reports = _Reports(link, executor, budgets, pace)
        others = [
            asyncio.create_task(_listen(link, executor, ledger, pace, servers)),
            asyncio.create_task(_tell(reports)),
        ]
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):  # of a cluster, which sends them to the run too
                asyncio.get_running_loop().add_signal_handler(number, executor.drain, number.name)
        try:
            with quick_switches():
                report = await executor.run()
            reports.end(report)
        finally:
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            claims.close()
            await http.close()


async def _tell(reports: _Reports) -> None:
    while True:
        reports.tell()
        await asyncio.sleep(TICK_S)


async def _listen(
    link: Link, executor: Executor, ledger: _LinkLedger, pace: LeasedPace, servers: ServerAddresses
) -> None:
    """Follow the messages of the run, until it goes."""
    while (message := await link.receive()) is not None:
        match message:
            case {"leases": leases}:
                connections = pace.take(leases)
                if connections is not None:
                    executor.live.connections = connections
                executor.send_more()
            case {"drawn": int(number), "usd": usd}:
                ledger.drawn(number, usd)
            case {"budget": str(usd)}:
                link.send({"held": str(executor.live.change_budget(Decimal(usd)))})
            case {"servers": state}:
                servers.update(state)
                executor.send_more()
            case {"do": "drain"}:
                executor.drain(OF_RUN)
            case {"do": "stop"}:
                executor.stop(OF_RUN)
    executor.stop(OF_RUN)
    ledger.lose()


def _leave_with_run() -> None:
    """End this process some seconds after standard input has, whatever it is doing: nothing outlives its run."""
    sys.stdin.read()
    time.sleep(LAST_S)
    os._exit(1)


def main() -> None:
    """Read a task, and do it."""
    gc.set_threshold(GC_THRESHOLD)
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_run, daemon=True).start()
    with suppress(OSError), asyncio.Runner(loop_factory=fast_loop()) as runner:  # OSError: the run has gone
        runner.run(work(task))


if __name__ == "__main__":
    main()
