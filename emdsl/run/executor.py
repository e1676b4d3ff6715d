"""Asks what is not stored: each distinct request once, its dependents as soon as its answer is safe."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.errors import ProviderError, Rejected, StoreError, Throttled, Unavailable
from emdsl.run.budget import Budget
from emdsl.run.walk import Walk, answered, chunks, failed, resolve
from emdsl.store.claims import Busy

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome
    from emdsl.providers.provider import Provider
    from emdsl.query import Query, Response
    from emdsl.run.pacing import Patience
    from emdsl.store.claims import Claims
    from emdsl.store.store import Store

CONNECTIONS = 64  # requests in flight, unless the program or the call says otherwise
ROWS_AHEAD = 128  # rows made and looked up at once while requests are under way
MAX_ELSEWHERE = 4096  # requests that wait for another process
POLL_S = 0.1  # between two looks at what another process has answered
TURN_S = 0.002  # between two tries to take claims


@dataclass(slots=True)
class Progress:
    """Counts of a run under way; all in distinct requests but `sent` and `waiting`."""

    answered: int = 0
    failed: int = 0
    sent: int = 0  # attempts
    in_flight: int = 0
    waiting: int = 0  # told to wait, or to be sent again
    elsewhere: int = 0  # being asked by another process
    draining: bool = False
    last_error: str = ""


@dataclass(slots=True)
class Report:
    """What a run did: which queries failed and why, by experiment and step too, and how many were sent."""

    failures: dict[Digest, str] = field(default_factory=dict)
    failed: dict[tuple[str, str], set[Digest]] = field(default_factory=dict)
    sent: int = 0
    interrupted: bool = False
    over_budget: set[str] = field(default_factory=set)  # experiments whose budget did not reach for all


@dataclass(slots=True)
class _Request:
    query: Query
    experiment: str
    targets: dict[tuple[int, str], tuple[Walk, Outcome, Step]]  # by row and step
    urgent: bool = False  # it goes on with a row; others start one
    looked: bool = False  # whether the store was looked at for it
    asking: bool = False
    kept: bool = False


class _Ready(asyncio.Queue[_Request | None]):
    """Jobs to be asked; the dependents of an answer go first, so that rows end before new ones start."""

    _queue: deque[_Request | None]

    def _put(self, item: _Request | None) -> None:
        if item is not None and item.urgent:
            self._queue.appendleft(item)
        else:
            self._queue.append(item)


class Executor:
    """Runs some experiments against a store and a provider; made for one run."""

    def __init__(
        self,
        walks: list[Walk],
        store: Store,
        provider: Provider,
        *,
        connections: int,
        patience: Patience,
        run: str,
        claims: Claims | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.progress = Progress()
        self.report = Report()
        self._walks = walks
        self._store = store
        self._provider = provider
        self._connections = connections
        self._patience = patience
        self._run = run
        self._on_progress = on_progress
        self._claims = claims
        self._unclaimed: list[_Request] = []
        self._wanted = asyncio.Event()
        self._elsewhere: dict[Digest, _Request] = {}  # asked by another process, whose answer will serve
        self._ready = _Ready()
        self._under_way: dict[Digest, _Request] = {}
        self._budgets = {
            w.experiment.name: Budget(w.experiment.budget) for w in walks if w.experiment.budget is not None
        }
        self._refused: dict[tuple[str, Any], str] = {}
        self._hungry = asyncio.Event()
        self._drain = asyncio.Event()
        self._fatal: BaseException | None = None
        self._rng = random.Random()  # noqa: S311 - jitter, not secrets
        self._tasks: list[asyncio.Task[None]] = []

    def drain(self) -> None:
        """Finish what is in flight, keep it, and start nothing more."""
        self.progress.draining = True
        self.report.interrupted = True
        self._drain.set()
        self._hungry.set()
        for request in self._under_way.values():
            if not request.asking:
                self._given_back(request)
        self._on_progress(self.progress)

    def stop(self) -> None:
        """Stop at once; what is in flight is lost, what is stored stays."""
        self.drain()
        for task in self._tasks:
            task.cancel()

    async def run(self) -> Report:
        """Ask everything that is not stored; raises StoreError if answers can no longer be kept."""
        producer = asyncio.create_task(self._produce())
        workers = [asyncio.create_task(self._work()) for _ in range(self._connections)]
        self._tasks = [producer, *workers]
        others = [asyncio.create_task(self._claim()), asyncio.create_task(self._watch())]
        for task in others:
            task.add_done_callback(self._ended)
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.report.sent = self.progress.sent
        for result in done:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                self._fatal = self._fatal or result
        if self._fatal is not None:
            raise self._fatal
        return self.report

    # -------------------------------------------------------------- rows to requests

    async def _produce(self) -> None:
        try:
            for walk, rows in self._chunks():
                if self._drain.is_set():
                    break
                resolve(walk, rows, self._store)
                for row in rows:
                    self._enqueue_open(walk, row, urgent=False)
                await asyncio.sleep(0)
                while self._enough() and not self._drain.is_set():
                    self._hungry.clear()
                    await self._hungry.wait()
            while self._under_way and not self._drain.is_set():
                self._hungry.clear()
                await self._hungry.wait()
        except Exception as error:
            self._fatal = self._fatal or error
            self.drain()
            raise
        finally:
            for _ in range(self._connections):
                self._ready.put_nowait(None)

    def _enough(self) -> bool:
        waiting = self._ready.qsize() + len(self._unclaimed)
        return waiting >= 2 * self._connections or len(self._elsewhere) >= MAX_ELSEWHERE

    def _chunks(self) -> Iterator[tuple[Walk, list[Outcome]]]:
        for walk in self._walks:
            for rows in chunks(walk.rows(), ROWS_AHEAD):
                yield walk, rows

    def _enqueue_open(self, walk: Walk, row: Outcome, *, urgent: bool) -> None:
        """Queue what a row is ready to ask; a request under way gets one more row that waits for it."""
        for name, query in list(row.open.items()):
            step = walk.steps[name]
            target = (walk, row, step)
            if query.key in self.report.failures:
                self._fail(target, query.key)
                continue
            request = self._under_way.get(query.key)
            if request is not None:
                request.targets[id(row), name] = target
                continue
            request = _Request(query, walk.experiment.name, {(id(row), name): target}, urgent, looked=not urgent)
            self._under_way[query.key] = request
            self._unclaimed.append(request)
            self._wanted.set()

    # -------------------------------------------------------------- other processes

    async def _claim(self) -> None:
        """Take claims for what has become ready, many at a time; what another process asks waits for its answer."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            requests, self._unclaimed = self._unclaimed, []
            while True:
                if self._drain.is_set():  # what is given back is shown, and nothing more is claimed
                    requests = []
                try:
                    self._claimed(requests)
                    break
                except Busy:
                    await asyncio.sleep(TURN_S)

    def _claimed(self, requests: list[_Request]) -> None:
        """Queue what is ours to ask; go on with what is stored. The look comes after the claim: nothing slips by."""
        claims = self._claims
        keys = [r.query.key for r in requests]
        won = set(keys) if claims is None else claims.take(keys)
        alone = claims is None or claims.alone
        unsure = [r.query.key for r in requests if r.query.key in won and not (alone and r.looked)]
        known = self._store.get_many(unsure) if unsure else {}
        for request in requests:
            key = request.query.key
            if key in known:
                request.kept = True
                self._given_back(request)
                self._adopted(request, known[key])
            elif key in won:
                self._elsewhere.pop(key, None)
                self._ready.put_nowait(request)
            else:
                self._elsewhere[key] = request
        self.progress.elsewhere = len(self._elsewhere)

    async def _watch(self) -> None:
        """Look for the answers of other processes, and take over what they have given up."""
        while True:
            await asyncio.sleep(POLL_S)
            if not self._elsewhere:
                continue
            for key, response in self._store.get_many(self._elsewhere).items():
                self._adopted(self._elsewhere.pop(key), response)
            if self._elsewhere and not self._drain.is_set():
                with suppress(Busy):
                    self._claimed(list(self._elsewhere.values()))
            self.progress.elsewhere = len(self._elsewhere)
            self._on_progress(self.progress)

    def _adopted(self, request: _Request, response: Response) -> None:
        """Go on with an answer that another process has paid for."""
        self._elsewhere.pop(request.query.key, None)
        self._under_way.pop(request.query.key, None)
        self._settled(request, response)
        self._hungry.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Stop the run where claims can no longer be taken."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if isinstance(error, OSError):
                error = StoreError(f"claims cannot be taken: {error}. Answers stored so far are safe")
            self._fatal = self._fatal or error
            self.drain()

    def _given_back(self, request: _Request) -> None:
        if self._claims is not None:
            self._claims.release([request.query.key])
            if not request.kept:
                self._wanted.set()  # others may wait for it: the next claims, if of none, show them

    # -------------------------------------------------------------- requests to answers

    async def _work(self) -> None:
        while (request := await self._ready.get()) is not None:
            if not self._enough():
                self._hungry.set()
            if self._drain.is_set():
                continue
            request.asking = True
            try:
                await self._answer(request)
            except Exception as error:
                self._fatal = self._fatal or error
                self.drain()
                raise
            finally:
                self._given_back(request)
                self._under_way.pop(request.query.key, None)
                if not self._under_way:
                    self._hungry.set()

    async def _answer(self, request: _Request) -> None:
        query, progress = request.query, self.progress
        progress.in_flight += 1
        try:
            response = await self._paid(request)
            if response is None:
                return  # the run ends, or the budget, before this one was answered
            kept = await self._store.put(query, dataclasses.replace(response, run=self._run))
        except ProviderError as error:
            self._failed(request, error)
            return
        except StoreError as error:
            self._fatal = self._fatal or error
            self.drain()
            return
        finally:
            progress.in_flight -= 1
        progress.answered += 1
        request.kept = True
        self._settled(request, kept)
        self._on_progress(progress)

    def _settled(self, request: _Request, kept: Response) -> None:
        """Take an answer to all rows that wait for it."""
        while request.targets:  # going on with one row can bring another to this very request
            _, (walk, row, step) = request.targets.popitem()
            answered(row, step, kept)
            self._go_on(walk, row)

    def _go_on(self, walk: Walk, row: Outcome) -> None:
        """Queue what has become ready in a row; it is looked up with others."""
        walk.advance(row)
        if row.open and not self._drain.is_set():
            self._enqueue_open(walk, row, urgent=True)

    async def _paid(self, request: _Request) -> Response | None:
        """Return an answer within the budget; None where the run or the budget ends first."""
        query, tried = request.query, set[str]()
        while (payer := _payer(request, tried)) is not None:
            tried.add(payer)
            budget = self._budgets.get(payer)
            if budget is None:
                return await self._asked(query)
            reserved = await budget.reserve(query)
            if reserved is None:
                self.report.over_budget.add(payer)
                continue
            response: Response | None = None
            try:
                if not self._drain.is_set():  # it may have waited for its turn
                    response = await self._asked(query)
            finally:
                budget.settle(reserved, query, response)
            return response
        return None

    async def _asked(self, query: Query) -> Response | None:
        """Return an answer, asking again as long as it can help; None where the run is ending."""
        model = query.head.model
        waited_s, attempt = 0.0, 0
        while True:
            if (refusal := self._refused.get((model.use, model.url))) is not None:
                raise Rejected(refusal)
            self.progress.sent += 1
            try:
                return await self._provider.ask(query)
            except (Throttled, Unavailable) as error:
                wait_s = self._patience.wait(attempt, waited_s, error.wait_s, self._rng)
                self.progress.last_error = str(error)
                if wait_s is None:
                    raise
            except Rejected as error:
                if error.for_all:
                    self._refused[model.use, model.url] = str(error)
                raise
            if not await self._pause(wait_s):
                return None
            waited_s += wait_s
            attempt += 1

    async def _pause(self, wait_s: float) -> bool:
        """Wait; False where the run ends meanwhile."""
        if self._drain.is_set():
            return False
        progress = self.progress
        progress.waiting += 1
        start = time.monotonic()
        try:
            await asyncio.wait_for(self._drain.wait(), wait_s)
        except TimeoutError:
            left = wait_s - (time.monotonic() - start)
            if left > 0:  # a timer may fire early: never before the server's time
                await asyncio.sleep(left)
            return True
        finally:
            progress.waiting -= 1
        return False

    def _failed(self, request: _Request, error: ProviderError) -> None:
        self.progress.failed += 1
        self.progress.last_error = str(error)
        self.report.failures[request.query.key] = str(error)
        while request.targets:
            self._fail(request.targets.popitem()[1], request.query.key)
        self._on_progress(self.progress)

    def _fail(self, target: tuple[Walk, Outcome, Step], key: Digest) -> None:
        walk, row, step = target
        self.report.failed.setdefault((walk.experiment.name, step.name), set()).add(key)
        failed(row, step, self.report.failures[key])
        self._go_on(walk, row)


def _payer(request: _Request, tried: set[str]) -> str | None:
    """Return an experiment that waits for a request and has not been asked to pay for it; None where all were."""
    waiting = (request.experiment, *(walk.experiment.name for walk, _, _ in request.targets.values()))
    return next((name for name in waiting if name not in tried), None)
