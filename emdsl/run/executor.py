"""Asks what is not stored: each distinct request once, its dependents as soon as its answer is safe."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from emdsl.errors import ProviderError, Rejected, StoreError, Throttled, Unavailable
from emdsl.outcome import Result
from emdsl.run.budget import NEVER, Purse
from emdsl.run.lanes import Lane, Lanes
from emdsl.run.pacing import MAX_ODD, Pace
from emdsl.run.prefixes import Prefix, Prefixes
from emdsl.run.walk import Walk, answered, failed, resolve, settle
from emdsl.store.claims import Busy
from emdsl.value import SPLIT_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome
    from emdsl.providers.provider import Provider
    from emdsl.query import Model, Query, Response
    from emdsl.run.budget import Reserved
    from emdsl.run.pacing import Patience, Ticket
    from emdsl.store.claims import Claims
    from emdsl.store.store import Store

CONNECTIONS = 64  # requests in flight, unless the program or the call says otherwise
ROWS_AHEAD = 128  # rows made and looked up at once while requests are under way
CHARS_AHEAD = 32 * 2**20  # of their prompts
GIVE_UP = 16  # requests of a model given up in a row, none answered between: a server that is not there
MAX_UNREAD = 3  # replies to one request that were no answers: each may have been paid for
OK, NO_ACCESS = 200, (401, 403)
MAX_ELSEWHERE = 4096  # requests that wait for another process
TOLD_AFTER_S = 2.0  # that a server has not answered at all: then it is said
SLEPT_S = 5.0  # between two looks, from which on this process was suspended
POLL_S = 0.1  # between two looks at what another process has answered
TURN_S = 0.002  # between two tries to take claims


@dataclass(slots=True)
class Progress:
    """Counts of a run under way; all in distinct requests but `sent` and `waiting`."""

    answered: int = 0
    failed: int = 0
    sent: int = 0  # attempts
    in_flight: int = 0
    again: int = 0  # for a reply that could not be read: known of only then
    waiting: int = 0  # told to wait, or to be sent again
    paused_s: float = 0.0  # until a model that was told to wait is asked again
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
    over_budget: set[str] = field(default_factory=set)  # experiments whose budget did not reach for all; "": the run's
    throttled: int = 0  # requests that were told to wait
    closed: list[str] = field(default_factory=list)  # API keys that were not used any more, while others were


@dataclass(slots=True, eq=False)
class _Group:
    """The rows of one experiment whose first asks go to one model, made as they are needed."""

    walk: Walk
    rows: Iterator[Outcome]
    size: int = ROWS_AHEAD  # rows made at once: fewer where prompts are long
    open: set[int] = field(default_factory=set)  # rows that wait for answers, by identity


Target = tuple[_Group, "Outcome", "Step"]


@dataclass(slots=True, eq=False)
class _Request:
    query: Query
    experiment: str
    targets: dict[tuple[int, str], Target]  # by row and step
    chars: int
    urgent: bool = False  # it goes on with a row; others start one
    looked: bool = False  # whether the store was looked at for it
    asking: bool = False
    kept: bool = False
    attempt: int = 0
    unread: int = 0  # replies that were no answers
    refused_at: float | None = None  # when it was first told to wait, or failed
    moved: bool = False  # to another API key, for the first came to nothing
    odd: int = 0  # times that it was refused for a reason which holds for all, by an account that has answered
    lost: int = 0  # times that it may have been paid for, without an answer
    prefix: Prefix[_Request] | None = None


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
        budget: Decimal | None = None,
        claims: Claims | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.progress = Progress()
        self.report = Report()
        self._errors: dict[Digest, str] = {}  # of requests that failed for good, probes too
        self._read_anew: set[Digest] = set()  # requests for replies that could not be read
        self._walks = walks
        self._store = store
        self._provider = provider
        self._connections = connections
        self._patience = patience
        self._run = run
        self._on_progress = on_progress
        self._on_notice = on_notice
        self._noticed: set[int] = set()  # accounts of which it was said that they do not answer, by identity
        self._claims = claims
        self._unclaimed: list[_Request] = []
        self._wanted = asyncio.Event()
        self._elsewhere: dict[Digest, _Request] = {}  # asked by another process, whose answer will serve
        self._lanes: Lanes[_Request] = Lanes()
        self._prefixes: Prefixes[_Request] = Prefixes()
        self._under_way: dict[Digest, _Request] = {}
        self._purse = Purse({w.experiment.name: w.experiment.budget for w in walks}, budget)
        self._hungry = asyncio.Event()
        self._drain = asyncio.Event()
        self._fatal: BaseException | None = None
        self._rng = random.Random()  # noqa: S311 - jitter, not secrets
        self._asking: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._retries: dict[_Request, asyncio.TimerHandle] = {}
        self._pumping = False

    def drain(self) -> None:
        """Finish what is in flight, keep it, and start nothing more."""
        self.progress.draining = True
        self.report.interrupted = True
        self._drain.set()
        self._hungry.set()
        for timer in self._retries.values():
            timer.cancel()
        self._retries.clear()
        self.progress.waiting = 0
        for request in self._under_way.values():
            if not request.asking:
                self._given_back(request)
        self._on_progress(self.progress)

    def stop(self) -> None:
        """Stop at once; what is in flight is lost, what is stored stays."""
        self.drain()
        for task in self._asking:
            task.cancel()

    async def run(self) -> Report:
        """Ask everything that is not stored; raises StoreError if answers can no longer be kept."""
        others = [asyncio.create_task(self._claim()), asyncio.create_task(self._watch())]
        for task in others:
            task.add_done_callback(self._ended)
        try:
            await self._produce()
        except Exception as error:  # noqa: BLE001 - it is raised again, once what is in flight is kept
            self._fatal = self._fatal or error
            self.drain()
        while self._asking:
            await asyncio.wait(self._asking)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        self.report.sent, self.report.over_budget = self.progress.sent, self._purse.over
        for lane in self._lanes.all.values():
            self.report.throttled += sum(p.n_throttled for p in lane.paces)
            closed = [(i, p.closed) for i, p in enumerate(lane.paces) if p.closed]
            if len(closed) < len(lane.paces):
                self.report.closed += [
                    f"{lane.model.use}: API key {i + 1} of {len(lane.paces)} was not used: {why}" for i, why in closed
                ]
        if self._fatal is not None:
            raise self._fatal
        return self.report

    # -------------------------------------------------------------- rows to requests

    async def _produce(self) -> None:
        """Make rows as fast as each group's answers come, so that a slow model holds up its own rows only."""
        groups = [_Group(walk, rows) for walk in self._walks for rows in walk.groups()]
        ahead = max(1, CHARS_AHEAD // max(len(groups), 1))
        while groups and not self._drain.is_set():
            hungry = [g for g in groups if len(g.open) < max(g.size, 2 * g.size * self._connections // ROWS_AHEAD)]
            if not hungry:
                self._hungry.clear()
                await self._hungry.wait()
                continue
            for group in hungry:
                rows = list(islice(group.rows, group.size))
                if not rows:
                    groups.remove(group)
                    continue
                resolve(group.walk, rows, self._store)
                chars = 0
                for row in rows:
                    if row.open:
                        group.open.add(id(row))
                        chars += max([q.prompt.chars for q in row.open.values()])
                        self._enqueue_open(group, row, urgent=False)
                group.size = max(1, min(ROWS_AHEAD, ahead * len(rows) // max(chars, 1)))
                await asyncio.sleep(0)
                if self._drain.is_set():
                    break
        while self._under_way and not self._drain.is_set():
            self._hungry.clear()
            await self._hungry.wait()

    def _enqueue_open(self, group: _Group, row: Outcome, *, urgent: bool) -> None:
        """Queue what a row is ready to ask; a request under way gets one more row that waits for it."""
        for name, query in list(row.open.items()):
            step = group.walk.steps[name]
            target = (group, row, step)
            if group.walk.probes.split(step, query):
                settle(row, step, Result(SPLIT_NUMBER, query))
                self._go_on(group, row)
                return
            probe = group.walk.probes.open(step, query)
            query = probe.query if probe is not None else query  # noqa: PLW2901 - it must be answered first
            if (error := self._errors.get(query.key)) is not None:
                self._fail(target, error)
                return
            request = self._under_way.get(query.key)
            if request is not None:
                request.targets[id(row), name] = target
                continue
            request = _Request(
                query, group.walk.experiment.name, {(id(row), name): target}, query.prompt.chars, urgent,
                looked=not urgent and probe is None,
            )  # fmt: skip
            self._prefixes.note(request)
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
                self._queue(request)
            else:
                self._elsewhere[key] = request
                for follower in self._prefixes.over(request):  # two processes must not wait for each other's first
                    self._queue(follower)
        self.progress.elsewhere = len(self._elsewhere)
        self._pump()

    async def _watch(self) -> None:
        """Look for the answers of other processes, and take over what they have given up."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            now = time.monotonic()
            if now - last > SLEPT_S:
                self._slept(now - last)
            last = now
            if not self._elsewhere:
                continue
            for key, response in self._store.get_many(self._elsewhere).items():
                self._adopted(self._elsewhere.pop(key), response)
            if self._elsewhere and not self._drain.is_set():
                with suppress(Busy):
                    self._claimed(list(self._elsewhere.values()))
            self._pump()
            self.progress.elsewhere = len(self._elsewhere)
            self._on_progress(self.progress)

    def _slept(self, seconds: float) -> None:
        """Leave out a time in which this process was suspended: a closed laptop waits for no server."""
        for lane in self._lanes.all.values():
            for pace in lane.paces:
                pace.slept(seconds)
        for request in self._under_way.values():
            if request.refused_at is not None:
                request.refused_at += seconds

    def _adopted(self, request: _Request, response: Response) -> None:
        """Go on with an answer that another process has paid for."""
        self._elsewhere.pop(request.query.key, None)
        self._settled(request, response)
        self._over(request)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Stop the run where claims can no longer be taken."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if isinstance(error, OSError):
                error = StoreError(f"claims cannot be taken: {error}. Was the folder moved or removed?")
            self._fatal = self._fatal or error
            self.drain()

    def _given_back(self, request: _Request) -> None:
        if self._claims is not None:
            self._claims.release([request.query.key])
            if not request.kept:
                self._wanted.set()  # others may wait for it: the next claims, if of none, show them

    # -------------------------------------------------------------- requests to answers

    def _lane(self, model: Model) -> Lane[_Request]:
        lane = self._lanes.all.get(model.lane)
        if lane is None:
            most = min(self._connections, model.parallel or self._connections)
            n = self._provider.accounts(model)
            paces = tuple(Pace(most=most, rpm=model.rpm, tpm=model.tpm) for _ in range(n))
            lane = self._lanes.all[model.lane] = Lane(model, paces)
        return lane

    def _queue(self, request: _Request) -> None:
        """Let a request that is ours to ask wait for its turn; first those that go on with a row."""
        if self._prefixes.waits(request):
            return
        lane = self._lane(request.query.head.model)
        if request.urgent:
            lane.ready.appendleft(request)
        else:
            lane.ready.append(request)

    def _pump(self) -> None:
        """Send what may be sent; else come back when the first may."""
        if self._pumping:  # it was called by what it does itself
            return
        self._pumping = True
        with self._guarded():
            while self.progress.in_flight < self._connections and not self._drain.is_set():
                chosen = self._lanes.choose(time.monotonic())
                if isinstance(chosen, float):
                    self._come_back(chosen)
                    break
                self._start(*chosen)
        self._pumping = False

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """End the run with what is raised inside: no task or timer may end unseen, and leave others waiting."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the run raises it
            self._fatal = self._fatal or error
            self.drain()

    def _come_back(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.progress.paused_s = delay if delay < math.inf else 0.0
        if delay < math.inf:
            self._timer = asyncio.get_running_loop().call_later(delay + 0.0005, self._pump)

    def _start(self, lane: Lane[_Request], account: int) -> None:
        """Send the first request of a lane, if there is money for it."""
        request = lane.ready[0]
        if lane.closed:
            lane.ready.popleft()
            self._failed(request, lane.closed)
            return
        payers = (request.experiment, *(g.walk.experiment.name for g, _, _ in request.targets.values()))
        reserved = self._purse.reserve(request.query, payers)
        lane.ready.popleft()
        if reserved is None:
            lane.poor.append(request)
            return
        if reserved is NEVER:
            self._dropped(request)
            return
        request.asking = True
        self.progress.in_flight += 1
        self.progress.sent += 1
        ticket = lane.paces[account].send(request.chars)
        task = asyncio.create_task(self._ask(lane, account, ticket, request, reserved))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(
        self, lane: Lane[_Request], account: int, ticket: Ticket, request: _Request, reserved: Reserved
    ) -> None:
        """Ask once, and keep the answer. A slot is free when its answer is committed, not when it is received."""
        query, response, lost = request.query, None, request.lost
        try:
            response = await self._asked(lane, account, ticket, request)
            if response is not None:
                kept = await self._store.put(query, dataclasses.replace(response, run=self._run))
                request.kept = True
        except asyncio.CancelledError:
            self._given_back(request)
            raise
        except Exception as error:  # noqa: BLE001 - it ends the run, which raises it
            self._fatal = self._fatal or error
            self.drain()
        finally:
            request.asking = False
            self.progress.in_flight -= 1
            for budget, most in reserved:
                budget.settle(most, query, response, lost=request.lost > lost)
            if reserved:
                for other in self._lanes.all.values():
                    other.ready.extendleft(reversed(other.poor))
                    other.poor.clear()
        if request.kept:
            self.progress.answered += 1
            self._given_back(request)
            with self._guarded():
                self._settled(request, kept)
                self._over(request)
            self._on_progress(self.progress)
        elif self._drain.is_set() and query.key in self._under_way:
            self._given_back(request)
        self._pump()

    async def _asked(self, lane: Lane[_Request], account: int, ticket: Ticket, request: _Request) -> Response | None:
        """Return an answer; None where there is none, and what follows of that is seen to."""
        pace = lane.paces[account]
        try:
            response = await self._provider.ask(request.query, account, partial(pace.told, ticket))
        except Throttled as error:
            several = len(lane.paces) > 1
            pace.throttled(ticket, error.wait_s, pause=several)
            if error.wait_s > self._patience.max_wait_s:
                until = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + error.wait_s))
                _close(pace, f"{error} (it asks to wait {error.wait_s:,.0f} s, until {until}: more than --max-wait)")
            if several and error.wait_s > 0 and not lane.closed:  # another API key need not wait
                self._queue(request)
            else:
                self._again(lane, pace, request, error)
        except Unavailable as error:
            pace.failed(server=True)
            request.unread += error.status == OK
            request.lost += error.status == OK or error.paid
            self._again(lane, pace, request, error)
        except ProviderError as error:
            pace.failed(server=False)
            pace.refused += error.status in NO_ACCESS
            for_all = isinstance(error, Rejected) and error.for_all
            if for_all and not pace.doubted(ticket):
                self._doubted(lane, request, error)
                return None
            if for_all or pace.refused >= GIVE_UP:
                _close(pace, str(error))
                if not lane.closed:  # another API key may do
                    self._queue(request)
                    return None
            self._failed(request, str(error))
        except BaseException:
            pace.failed(server=False)
            raise
        else:
            usage = response.usage
            known = usage.input_tokens is not None and usage.output_tokens is not None
            pace.answered((usage.input_tokens or 0) + (usage.output_tokens or 0) if known else None)
            return response
        return None

    def _doubted(self, lane: Lane[_Request], request: _Request, error: ProviderError) -> None:
        """Send a request again that an account refuses as all others, though it has answered some before."""
        self.progress.last_error = f"{lane.model.use}: {error}"
        request.odd += 1
        if self._drain.is_set():
            return
        if request.odd >= MAX_ODD:
            self._failed(request, str(error))
        else:
            request.urgent = False  # behind the others: whether it is refused alone shows by them
            self._queue(request)

    def _again(self, lane: Lane[_Request], pace: Pace, request: _Request, error: Throttled | Unavailable) -> None:
        """Send a request again after a while, as long as that can help."""
        self.progress.last_error = f"{lane.model.use}: {error}"
        for follower in self._prefixes.over(request):  # they wait for no trouble of the first
            self._queue(follower)
        if self._drain.is_set():
            return
        if lane.closed:
            self._failed(request, lane.closed)
            return
        now = time.monotonic()
        request.refused_at = now if request.refused_at is None else request.refused_at
        silent_s = now - pace.silent_since if pace.silent_since is not None else 0.0
        if silent_s >= TOLD_AFTER_S and not pace.proven and id(pace) not in self._noticed:
            self._noticed.add(id(pace))
            self._on_notice(
                f"{lane.model.use}: {error}; it is asked again for up to {self._patience.max_wait_s:,.0f} s "
                "(--max-wait), Ctrl-C ends that"
            )
        wait_s = self._patience.wait(request.attempt, now - request.refused_at, error.wait_s, self._rng)
        if wait_s is None or request.unread >= MAX_UNREAD:
            pace.given_up += isinstance(error, Unavailable) and error.status != OK
            if pace.given_up >= GIVE_UP:
                _close(pace, f"{error} (as {GIVE_UP} requests before)")
            elif (
                silent_s >= max(self._patience.max_wait_s, TOLD_AFTER_S) and not pace.in_flight
            ):  # the others of this account have waited as long
                _close(pace, f"{error} (it has answered nothing for {silent_s:,.0f} s)")
            elsewhere = any(p is not pace and not p.closed and not p.troubles for p in lane.paces)
            if elsewhere and not request.moved and request.unread < MAX_UNREAD:  # another API key works
                request.moved, request.attempt, request.refused_at = True, 0, None
                self._queue(request)
            else:
                self._failed(request, str(error))
            return
        request.attempt += 1
        request.urgent = True
        self.progress.waiting += 1
        loop = asyncio.get_running_loop()
        # A timer may fire early, by its resolution: never before the server's time.
        self._retries[request] = loop.call_at(loop.time() + wait_s + 0.002, self._waited, request)
        self._on_progress(self.progress)

    def _waited(self, request: _Request) -> None:
        self._retries.pop(request, None)
        self.progress.waiting -= 1
        self._queue(request)
        self._pump()

    def _dropped(self, request: _Request) -> None:
        """Leave a request unasked, and what depends on it: no budget reaches."""
        self._given_back(request)
        while request.targets:
            group, row, _ = request.targets.popitem()[1]
            group.open.discard(id(row))
        self._over(request)

    # -------------------------------------------------------------- answers to rows

    def _over(self, request: _Request) -> None:
        """Take a request out: it is answered, failed or dropped."""
        self._under_way.pop(request.query.key, None)
        for follower in self._prefixes.over(request):
            self._queue(follower)
        self._hungry.set()

    def _settled(self, request: _Request, kept: Response) -> None:
        """Take an answer to all rows that wait for it."""
        while request.targets:  # going on with one row can bring another to this very request
            _, (group, row, step) = request.targets.popitem()
            if not group.walk.probes.answered(request.query.key, kept) and (again := answered(row, step, kept)):
                self._read_anew.add(again.key)
                self.progress.again = len(self._read_anew)
            self._go_on(group, row)

    def _go_on(self, group: _Group, row: Outcome) -> None:
        """Queue what has become ready in a row; it is looked up with others."""
        group.walk.advance(row)
        if not row.open:
            group.open.discard(id(row))
        elif not self._drain.is_set():
            self._enqueue_open(group, row, urgent=True)

    def _failed(self, request: _Request, error: str) -> None:
        self.progress.failed += 1
        error = f"{request.query.head.model.use}: {error}"
        self.progress.last_error = error
        self._errors[request.query.key] = error
        self._given_back(request)
        while request.targets:
            self._fail(request.targets.popitem()[1], error)
        self._over(request)
        self._on_progress(self.progress)

    def _fail(self, target: Target, error: str) -> None:
        """Take a failure to a row: of its own request, or of the probe that it waited for."""
        group, row, step = target
        key = row.open[step.name].key
        self.report.failures[key] = error
        self.report.failed.setdefault((group.walk.experiment.name, step.name), set()).add(key)
        failed(row, step, error)
        self._go_on(group, row)


def _close(pace: Pace, why: str) -> None:
    """Ask nothing more by an account."""
    pace.closed = pace.closed or why
