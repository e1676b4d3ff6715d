"""A run in several processes: workers send one shard each, and this process lends them money, pace and connections.

A worker that dies is replaced. Its answers are in the store, its claims are free, and its failures are known: only its
requests in flight are repeated.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl import errors
from emdsl.errors import EmdslError, SetupError, UsageError
from emdsl.run.combined import Combined
from emdsl.run.control import cause_of
from emdsl.run.live import Spending
from emdsl.run.progress import Progress, Report
from emdsl.run.shared_pace import SharedPace
from emdsl.run.treasury import Treasury
from emdsl.study.link import Link, LinkServer, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from emdsl.digest import Digest
    from emdsl.experiment import Experiment
    from emdsl.run.budget import Budgets
    from emdsl.study.servers import Served
    from emdsl.study.workers_plan import Handle, WorkersPlan

MAX_DEATHS = 3  # of one shard's workers without an answer between
STOP_S = 3.0  # that a worker may take to stop, until it is killed
EDITED = "the study was edited after the run had started"
LAST_LINES_S = 5.0  # for the last messages of a worker that has ended


@dataclass(slots=True, eq=False)
class _Member:
    """One process, from its start to its end."""

    number: int  # of all processes that were started
    shard: int
    handle: Handle | None = None
    link: Link | None = None
    listening: asyncio.Task[None] | None = None
    answered: int = 0
    ended: bool = False  # its shard is sent, or its error is known
    spent: tuple[Decimal, int] = (Decimal(0), 0)  # without a budget of the run, and answers without a price


class Workers:
    """The workers of one run. It takes the place of an executor: see Drains."""

    def __init__(
        self, plan: WorkersPlan, experiments: list[Experiment], *, task: Mapping[str, Any], connections: int,
        budgets: Budgets, progress: Progress, on_progress: Callable[[Progress], None],
        on_notice: Callable[[str], None], servers: Served | None = None,
    ) -> None:  # fmt: skip
        """Prepare a run.

        Args:
            plan: How many workers, and how they start.
            experiments: Of the study.
            task: Of all workers, beside the study: `run`, `simulator`, `max_wait_s` and `max_retries`.
            connections: Maximum requests in flight of all.
            budgets: Of the run.
            progress: Counts of the run.
            on_progress: Gets the counts whenever they change.
            on_notice: Gets messages for the user.
            servers: The servers that the run has started.
        """
        self.progress, self.report = progress, Report()
        self.progress.connections = connections
        self._plan, self._task = plan, task
        self._budgets, self._treasury = budgets, Treasury(budgets, budgets.ledger)
        self._combined = Combined(progress, experiments)
        self.pace = SharedPace(connections)
        self.live = WorkersSettings(self, budgets)
        self._on_progress, self._on_notice = on_progress, on_notice
        self._members: dict[int, _Member] = {}
        self._n_started = 0
        self._errors: dict[Digest, str] = {}  # of failed requests of all workers
        self._noticed: set[str] = set()
        self._error: EmdslError | None = None
        self._place: Message = {}
        self._timer: asyncio.TimerHandle | None = None
        self._answering: set[asyncio.Task[None]] = set()  # workers
        self._servers = servers
        if servers is not None:
            servers.on_change = self._tell_servers

    # -------------------------------------------------------------- interrupts and settings

    def drain(self, cause: str) -> None:
        """Start nothing more; finish and store the requests in flight."""
        self.progress.stop(cause)
        self.report.interrupted = True
        self._tell_all({"do": "drain"})
        self._on_progress(self.progress)

    def stop(self, cause: str) -> None:
        """Stop at once; requests in flight are lost, stored answers stay."""
        self.drain(cause)
        self._tell_all({"do": "stop"})
        asyncio.get_running_loop().call_later(STOP_S, self._kill_all)

    def resize(self, connections: int) -> None:
        """Change the maximum of requests in flight of all workers."""
        self.progress.connections = connections
        self.pace.resize(connections)
        self._lease()

    def set_budget(self, usd: Decimal) -> None:
        """Change the budget of the whole run."""
        self._treasury.change(usd, [m.number for m in self._members.values() if m.link is not None])
        self._tell_all({"budget": str(usd)})

    def _tell_all(self, message: Message) -> None:
        for member in self._members.values():
            if member.link is not None:
                member.link.send(message)

    def _tell_servers(self) -> None:
        if self._servers is not None:
            self._tell_all({"servers": self._servers.state()})

    def _kill_all(self) -> None:
        for member in self._members.values():
            if member.handle is not None:
                member.handle.kill()

    # -------------------------------------------------------------- the run

    async def run(self) -> Report:
        """Send every request whose answer is not stored; raises StoreError if answers can no longer be stored."""
        try:
            async with LinkServer(self._linked, host=self._plan.host) as server, asyncio.TaskGroup() as group:
                self._place = server.place
                for shard in range(self._plan.n):
                    group.create_task(self._keep(shard))
        except* EmdslError as raised:
            raise _first(raised) from None
        except* OSError as raised:
            raise _not_started(raised.exceptions[0]) from raised
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in self._answering:
                task.cancel()
            self._kill_all()
        if self._error is not None:
            raise self._error
        report = self.report
        report.sent, report.over_budget = self.progress.sent, self._budgets.exhausted
        report.budget = self._budgets.whole_usd
        return report

    async def _keep(self, shard: int) -> None:
        """Keep a worker for a shard until the shard is sent."""
        deaths = 0
        while True:
            member = _Member(self._n_started, shard)
            self._n_started += 1
            self._members[member.number] = member
            try:
                member.handle = await self._plan.start(self._task_of(member))
            except (EmdslError, OSError) as error:  # the other workers finish their requests in flight
                del self._members[member.number]
                self._abort(error if isinstance(error, EmdslError) else _not_started(error))
                return
            try:
                how = await member.handle.wait()
            except EmdslError as error:  # its node alone has answers, which another worker would pay for again
                how, member.ended = str(error), True
                self._abort(error)
            if member.listening is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(member.listening, LAST_LINES_S)
            await self._dismiss(member)
            if member.ended or self.progress.draining:
                return
            deaths = 1 if member.answered else deaths + 1
            name = f"worker {shard + 1} of {self._plan.n}"
            if deaths >= MAX_DEATHS:
                self._abort(SetupError(
                    f"{name} {how}, as {MAX_DEATHS - 1} before it, without an answer between. "
                    "All stored answers are safe. Check the memory of this machine, or use `--workers 1`"
                ))  # fmt: skip
                return
            self._notice(f"{name} {how}: another one goes on with its requests")

    def _task_of(self, member: _Member) -> dict[str, Any]:
        whole = self._budgets.whole_usd
        return {
            **self._plan.study, **self._task, "link": self._place, "worker": member.number,
            "shard": [member.shard, self._plan.n], "budget": str(whole) if whole is not None else None,
            "errors": {key.hex(): error for key, error in self._errors.items()},
            "servers": self._servers.state() if self._servers is not None else {},
        }  # fmt: skip

    def _linked(self, number: int, link: Link) -> None:
        """Take the link of a worker that was started."""
        member = self._members.get(number)
        if member is None or member.link is not None:
            link.close()
            return
        member.link = link
        member.listening = asyncio.get_running_loop().create_task(self._listen(member, link))
        self.pace.join(number)
        if self._budgets.whole_usd is not None:  # it may have changed since its start
            link.send({"budget": str(self._budgets.whole_usd)})
        if self.progress.draining:
            link.send({"do": "drain"})
        if self._servers is not None:  # they may have changed since its start
            link.send({"servers": self._servers.state()})
        self._lease()

    async def _dismiss(self, member: _Member) -> None:
        """Take a process out that has ended."""
        del self._members[member.number]
        if member.link is not None:
            member.link.close()
        self._combined.leave(member.number)
        self.pace.leave(member.number)  # before others can run: leases go to members by number
        try:
            await self._treasury.leave(member.number)
        except EmdslError as error:  # of a ledger elsewhere; the other workers finish their requests in flight
            self._abort(error)
        self._lease()
        self._on_progress(self.progress)

    def _abort(self, error: EmdslError) -> None:
        """Drain, and let the run raise the first error once all answers in flight are stored."""
        if self._error is None:
            self._error = error
            self.drain(cause_of(error))

    def _notice(self, text: str) -> None:
        """Tell the user something, once for all workers."""
        if text not in self._noticed:
            self._noticed.add(text)
            self._on_notice(text)

    def _lease(self) -> None:
        """Send the leases that have changed, and come back when more may be had."""
        for number, leases in self.pace.leases().items():
            link = self._members[number].link
            if link is not None:
                link.send({"leases": leases})
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.pace.wake_s < math.inf:
            self._timer = asyncio.get_running_loop().call_later(self.pace.wake_s + 0.0005, self._lease)

    # -------------------------------------------------------------- messages of workers

    async def _listen(self, member: _Member, link: Link) -> None:
        while (message := await link.receive()) is not None:
            try:
                await self._hear(member, link, message)
            except Exception as error:  # noqa: BLE001 - the run raises it, after it has heard how its workers end
                self._abort(error if isinstance(error, EmdslError) else EmdslError(f"{type(error).__name__}: {error}"))

    async def _hear(self, member: _Member, link: Link, message: Message) -> None:
        """Take a message of a worker; see `study/worker.py`."""
        match message:
            case {"draw": int(number)}:
                self._begin(self._draw(member, link, number, message))
            case {"lost": [str(model), int(account), str(url)]}:
                self._begin(self._look(link, model, account, url))
            case {"serves": [str(model), int(account)]}:
                if self._servers is not None:
                    self._servers.answered_by_worker(model, account)
            case {"settle": str(budget)}:
                spent, returned = Decimal(message["spent"]), Decimal(message["returned"])
                await self._treasury.settle(member.number, budget, spent, returned)
            case {"held": str(usd)}:
                self._treasury.hold(member.number, Decimal(usd))
            case {"notice": str(text)}:
                self._notice(text)
            case {"errors": dict(part)}:
                for key, error in part.items():
                    self._errors[bytes.fromhex(key)] = error
                    self.progress.meter.causes[error] += 1
            case {"failures": dict(part)}:
                self.report.failures |= {bytes.fromhex(key): error for key, error in part.items()}
            case {"failed": [str(experiment), str(step), list(keys)]}:
                self.report.failed.setdefault((experiment, step), set()).update(map(bytes.fromhex, keys))
            case {"end": dict(of_all)}:
                member.ended = not of_all.pop("interrupted") or self.progress.draining
                self.report.add(Report(**of_all, sent=0, interrupted=self.report.interrupted))
            case {"edited": str(reason)}:
                self._miss(member, EDITED, UsageError(f"{EDITED}: run again" + (f"\n\n{reason}" if reason else "")))
            case {"different": str(reason), "on": str(machine)}:
                self._miss(member, f"the study cannot be compiled on {machine}", _different(machine, reason))
            case {"error": [str(kind), str(text)]}:
                member.ended = True
                self._abort(_error(kind, text))
            case _:
                self._hear_state(member, message)

    def _miss(self, member: _Member, why: str, error: EmdslError) -> None:
        """Go on without a worker that cannot compile the study; those that have compiled it send their parts."""
        member.ended = True
        self._notice(f"{why}, and a new worker cannot send its part. The others go on")
        self._error = self._error or error

    def _hear_state(self, member: _Member, message: Message) -> None:
        """Take the state of a worker: of its pace, its progress and its money."""
        if "pace" in message:
            self.pace.hear(member.number, message["pace"])
            self._lease()
        if "spent" in message:
            usd, n_unpriced = Decimal(message["spent"][0]), int(message["spent"][1])
            before_usd, before_n = member.spent
            self._budgets.count_elsewhere(usd - before_usd, n_unpriced - before_n)
            member.spent = usd, n_unpriced
        self._budgets.exhausted |= set(message.get("exhausted", ()))
        if "progress" in message:
            self._combined.hear(member.number, message["progress"], time.monotonic())
            member.answered = message["progress"]["counts"][0]
            self._on_progress(self.progress)

    def _begin(self, answer: Coroutine[Any, Any, None]) -> None:
        """Begin to answer a worker, while others go on."""
        task = asyncio.get_running_loop().create_task(answer)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _look(self, link: Link, model: str, account: int, url: str) -> None:
        """Look at a server that a worker has found down; the worker takes it for down until it hears otherwise."""
        if self._servers is not None:
            await self._servers.lost_by_worker(model, account, url)
            link.send({"servers": self._servers.state()})

    async def _draw(self, member: _Member, link: Link, number: int, message: Message) -> None:
        budget = message["budget"]
        try:
            drawn = await self._treasury.draw(
                member.number, budget, Decimal(message["least"]), Decimal(message["wanted"])
            )
            if drawn and member.number not in self._members:  # it has ended meanwhile: others would wait for the money
                await self._treasury.settle(member.number, budget, Decimal(0), drawn)
        except EmdslError as error:  # of a ledger elsewhere
            self._abort(error)
            drawn = None
        link.send({"drawn": number, "usd": str(drawn) if drawn is not None else None})


class WorkersSettings(Spending):
    """Connections and budget of all workers; see LiveSettings."""

    def __init__(self, workers: Workers, budgets: Budgets) -> None:
        super().__init__(budgets)
        self._workers = workers

    @property
    def connections(self) -> int:
        """Maximum of requests in flight."""
        return self._workers.pace.connections

    @connections.setter
    def connections(self, most: int) -> None:
        """Change the maximum."""
        self._workers.resize(most)

    @property
    def budget(self) -> Decimal | None:
        """Budget of the whole run in US dollars; None without one."""
        return self._budgets.whole_usd

    @budget.setter
    def budget(self, usd: Decimal) -> None:
        """Change the budget. Requests that the old one could not pay were given up, and stay pending."""
        self._workers.set_budget(usd)


def _not_started(error: BaseException) -> SetupError:
    return SetupError(f"workers cannot be started: {error}. Use `--workers 1`")


def _different(machine: str, reason: str) -> SetupError:
    """Return the error of a worker whose machine compiles the same files to another study, or to none."""
    if not reason:
        return SetupError(
            f"the study on {machine} differs from that of this run, although no file was edited: the version of emdsl, "
            "or a variable of the environment, differs"
        )
    return SetupError(f"the study cannot be compiled on {machine}, where a worker runs:\n\n{reason}")


def _error(kind: str, text: str) -> EmdslError:
    """Return the error of a worker, of the class that it had."""
    if kind == errors.SourceError.__name__:  # its places are in the text
        return EmdslError(f"a row cannot be evaluated:\n\n{text}")
    known = getattr(errors, kind, None)
    plain = isinstance(known, type) and issubclass(known, EmdslError)
    return known(text) if plain and known is not None else EmdslError(text)


def _first(raised: BaseExceptionGroup[EmdslError]) -> EmdslError:
    error = raised.exceptions[0]
    assert isinstance(error, EmdslError)
    return error
