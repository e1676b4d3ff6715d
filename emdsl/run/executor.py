"""Sends the requests whose answers are not stored: each once, and what depends on it as soon as its answer is safe."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from itertools import islice
from typing import TYPE_CHECKING

from emdsl.errors import ProviderError, StoreError
from emdsl.experiment import ASK
from emdsl.outcome import Result
from emdsl.reasoning import split
from emdsl.run.budget import Budgets
from emdsl.run.claiming import ClaimQueue
from emdsl.run.control import RunControl
from emdsl.run.dispatcher import Attempt, Dispatcher
from emdsl.run.live import LiveSettings
from emdsl.run.passes import settle_from_store
from emdsl.run.progress import Progress, Report
from emdsl.run.requests import ROWS_AHEAD, Group, Request, State, Target
from emdsl.run.retries import Retries, RetryPolicy
from emdsl.run.rows import Rows, settle, settle_answer, settle_failure
from emdsl.value import SPLIT_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from emdsl.digest import Digest
    from emdsl.outcome import Outcome
    from emdsl.providers.provider import Provider
    from emdsl.query import Model, Query, Response
    from emdsl.run.lanes import Lane
    from emdsl.run.pacing import RateController
    from emdsl.store.store import AnyClaims, Store

CONNECTIONS = 64  # maximum requests in flight, by default
CHARS_AHEAD = 32 * 2**20  # of the prompts of rows that wait for answers
POLL_S = 0.1  # between two looks for the answers of other processes
SUSPENDED_S = 5.0  # between two looks, from which on this process was suspended


class Executor:
    """Runs some experiments against a store and a provider; made for one run."""

    def __init__(
        self,
        experiments: list[Rows],
        store: Store,
        provider: Provider,
        *,
        connections: int,
        retry_policy: RetryPolicy,
        run: str,
        budget: Decimal | None = None,
        claims: AnyClaims | None = None,
        budgets: Budgets | None = None,
        progress: Progress | None = None,
        controllers: Callable[[Model, int], tuple[RateController, ...]] | None = None,
        errors: Mapping[Digest, str] | None = None,
        defers: Callable[[Query], bool] = lambda _: False,
        held: Callable[[list[Digest]], set[Digest]] = lambda _: set(),
        on_progress: Callable[[Progress], None] = lambda _: None,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare a run.

        Args:
            experiments: their rows, as selected.
            store: of the answers.
            provider: sends requests.
            connections: maximum requests in flight.
            retry_policy: bounds of retrying.
            run: the name of this run, kept with each answer.
            budget: of the whole run, in US dollars.
            claims: of this process; None if no other process uses the store.
            budgets: of a run that has more than one executor; else they are made of `budget`.
            progress: counts of the executors before, which go on.
            controllers: makes the pace of a model's accounts; None if no other process shares them.
            errors: why requests have failed that this run has sent before; they fail again, and are not sent.
            defers: tells whether a request is left to a batch; a probe of a judge is always sent.
            held: returns those keys whose requests are in a batch of another process by now.
            on_progress: gets the counts whenever they change.
            on_notice: gets messages for the user.
        """
        self.report = Report()
        self._experiments = experiments
        self._store = store
        self._provider = provider
        self._run = run
        self._budgets = budgets or Budgets({r.experiment.name: r.experiment.budget for r in experiments}, budget)
        self._defers = defers
        self._requests: dict[Digest, Request] = {}  # neither answered, failed nor dropped
        self._errors = dict(errors or {})  # of failed requests, probes too
        self._sent_again: set[Digest] = set()  # requests that follow a reply which could not be read
        self._need_rows = asyncio.Event()
        self._control = RunControl(self.drain, on_progress, on_notice, progress)
        self._dispatcher = Dispatcher(
            provider, self._budgets, self._control, connections=connections, send=self._send, fail=self._fail,
            drop=self._drop, controllers=controllers,
        )  # fmt: skip
        self._budgets.watch(self._dispatcher.spend_on, self._control.abort)
        self.live = LiveSettings(self._dispatcher, self._budgets, self._requests, self._need_rows)
        self._claiming = ClaimQueue(
            store, claims, self._dispatcher, self._control, on_answer=self._find, held=held, on_held=self._drop
        )
        self._retries = Retries(retry_policy, self._dispatcher, self._control, fail=self._fail)

    @property
    def progress(self) -> Progress:
        """Counts of the run under way."""
        return self._control.progress

    @property
    def lanes(self) -> list[Lane]:
        """The lanes of all models."""
        return list(self._dispatcher.lanes.all.values())

    @property
    def errors(self) -> Mapping[Digest, str]:
        """Why requests have failed, those that others only waited for too, in this order."""
        return self._errors

    def send_more(self) -> None:
        """Send the requests that a new lease allows."""
        self._dispatcher.dispatch()

    def drain(self, cause: str) -> None:
        """Start nothing more; finish and store the requests in flight."""
        self.progress.stop(cause)
        self.report.interrupted = True
        self._control.draining.set()
        self._need_rows.set()
        self._retries.cancel()
        for request in self._requests.values():
            if request.state is not State.IN_FLIGHT:
                self._claiming.release(request)
        self._control.show()

    def stop(self, cause: str) -> None:
        """Stop at once; requests in flight are lost, stored answers stay."""
        self.drain(cause)
        for task in self._dispatcher.tasks:
            task.cancel()

    async def run(self) -> Report:
        """Send every request whose answer is not stored; raises StoreError if answers can no longer be stored."""
        others = [asyncio.create_task(self._claiming.run()), asyncio.create_task(self._watch())]
        for task in others:
            task.add_done_callback(self._end_without_claims)
        try:
            await self._make_rows()
        except Exception as error:  # noqa: BLE001 - it is raised again, once the answers in flight are stored
            self._control.abort(error)
        while self._dispatcher.tasks:
            await asyncio.wait(self._dispatcher.tasks)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._dispatcher.close()
        try:
            await self._budgets.give_back()
        except Exception as error:  # noqa: BLE001 - it is raised below, unless another one came first
            self._control.abort(error)
        self._complete_report()
        if self._control.error is not None:
            raise self._control.error
        return self.report

    def _complete_report(self) -> None:
        report = self.report
        report.sent, report.over_budget = self.progress.sent, self._budgets.exhausted
        report.budget = self._budgets.whole_usd
        for lane in self._dispatcher.lanes.all.values():
            report.throttled += sum(c.n_throttled for c in lane.controllers)
            n, closed = len(lane.controllers), [(i + 1, c.closed) for i, c in enumerate(lane.controllers) if c.closed]
            account = "API key" if lane.affinity is None else "replica"
            if len(closed) < n:
                report.closed += [f"{lane.model.use}: {account} {i} of {n} was not used: {why}" for i, why in closed]

    # -------------------------------------------------------------- rows to requests

    async def _make_rows(self) -> None:
        """Make rows as fast as the answers of each group come, so that a slow model delays its own rows only."""
        groups = [Group(rows, part) for rows in self._experiments for part in rows.groups()]
        chars_ahead = max(1, CHARS_AHEAD // max(len(groups), 1))
        while groups and not self._control.draining.is_set():
            idle = [
                g
                for g in groups
                if len(g.waiting) < max(g.size, 2 * g.size * self._dispatcher.connections // ROWS_AHEAD)
            ]
            if not idle:
                self._need_rows.clear()
                await self._need_rows.wait()
                continue
            for group in idle:
                if not self._extend(group, chars_ahead):
                    groups.remove(group)
                    continue
                await asyncio.sleep(0)
                if self._control.draining.is_set():
                    break
        while self._requests and not self._control.draining.is_set():
            self._need_rows.clear()
            await self._need_rows.wait()

    def _extend(self, group: Group, chars_ahead: int) -> bool:
        """Make the next rows of a group, and queue their requests; whether there were any."""
        chunk = list(islice(group.left, group.size))
        if not chunk:
            return False
        settle_from_store(group.rows, chunk, self._store)
        chars = 0
        for row in chunk:
            if row.ready:
                group.waiting.add(id(row))
                chars += max([q.prompt.chars for q in row.ready.values()])
                self._enqueue(group, row, high_priority=False)
        group.size = max(1, min(ROWS_AHEAD, chars_ahead * len(chunk) // max(chars, 1)))
        return True

    def _enqueue(self, group: Group, row: Outcome, *, high_priority: bool) -> None:
        """Queue the ready requests of a row; a request that is queued already gets one more row that waits for it."""
        n_deferred = 0
        for name, query in list(row.ready.items()):
            step = group.rows.steps[name]
            target = (group, row, step)
            if step.kind != ASK and group.rows.probes.split(step, query):
                settle(row, step, Result(SPLIT_NUMBER, query))
                self._advance(group, row)
                return
            probe = group.rows.probes.required(step, query.settings)
            if (error := self._errors.get(probe.query.key if probe is not None else query.key)) is not None:
                self._fail_target(target, error)
                return
            if probe is None and self._defers(query):
                n_deferred += 1
                continue
            # the store was read for the first requests of a row, when the row was made
            checked = not high_priority and probe is None
            self._add(
                target, probe.query if probe is not None else query, high_priority=high_priority, store_checked=checked
            )
        if n_deferred and n_deferred == len(row.ready):  # nothing else of this row is under way
            group.waiting.discard(id(row))
            self._need_rows.set()

    def _add(self, target: Target, query: Query, *, high_priority: bool, store_checked: bool) -> None:
        """Let a row wait for a request, which is queued the first time."""
        group, row, step = target
        request = self._requests.get(query.key)
        if request is not None:
            request.targets[id(row), step.name] = target
            return
        kind = self.progress.meter.kind(group.rows.experiment.name, step, query)
        kind.made += 1
        kind.followed += high_priority
        request = Request(
            query, group.rows.experiment.name, {(id(row), step.name): target}, query.prompt.chars, kind,
            high_priority=high_priority, store_checked=store_checked,
        )  # fmt: skip
        self._dispatcher.note(request)
        self._requests[query.key] = request
        self._claiming.add(request)

    # -------------------------------------------------------------- other processes

    async def _watch(self) -> None:
        """Look for the answers of other processes, and for a suspension of this one."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            now = time.monotonic()
            if now - last > SUSPENDED_S:
                self._skip(now - last)
            last = now
            self._claiming.poll()

    def _skip(self, seconds: float) -> None:
        """Leave out a time in which this process was suspended: a closed laptop waits for no server."""
        for lane in self._dispatcher.lanes.all.values():
            for controller in lane.controllers:
                controller.skip(seconds)
        for request in self._requests.values():
            if request.refused_at is not None:
                request.refused_at += seconds

    def _end_without_claims(self, task: asyncio.Task[None]) -> None:
        """Abort the run if claims can no longer be taken."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if isinstance(error, OSError):
                error = StoreError(
                    f"the claims of this run cannot be written: {error}. Check that the folder still exists"
                )
            self._control.abort(error)

    # -------------------------------------------------------------- requests to answers

    async def _send(self, attempt: Attempt) -> None:
        """Send a request once, and store its answer. A slot is free when the answer is committed."""
        request, query = attempt.request, attempt.request.query
        billed, response, stored = request.maybe_billed, None, None
        try:
            response = await self._ask(attempt)
            if response is not None:
                if response.run != self._run:
                    response = dataclasses.replace(response, run=self._run)
                stored = await self._store.put(query, response)
                request.state = State.STORED
        except asyncio.CancelledError:
            self._claiming.release(request)
            raise
        except Exception as error:  # noqa: BLE001 - the run raises it
            self._control.abort(error)
        finally:
            self._dispatcher.finish(attempt, response, maybe_billed=request.maybe_billed > billed)
        if stored is not None:
            self.progress.answered += 1
            request.kind.answer()
            self._claiming.release(request)
            with self._control.guarded:
                self._deliver(request, stored)
            self._control.show()
        elif self._control.draining.is_set() and query.key in self._requests:
            self._claiming.release(request)
        self._dispatcher.dispatch()

    async def _ask(self, attempt: Attempt) -> Response | None:
        """Return the answer; None after a failure, which is handled."""
        controller = attempt.controller
        try:
            response = await self._provider.ask(
                attempt.request.query, attempt.account, lambda limits: controller.update(attempt.ticket, limits)
            )
        except ProviderError as error:
            self._retries.handle(attempt, error)
            return None
        except BaseException:
            controller.failed(server=False)
            raise
        into, out = response.usage.input_tokens, response.usage.output_tokens
        controller.answered(into + out if into is not None and out is not None else None)
        return response

    # -------------------------------------------------------------- answers to rows

    def _find(self, request: Request, stored: Response) -> None:
        """Settle an answer that another process has stored, maybe another one of this run, which counts it."""
        if stored.run == self._run:
            request.kind.leave()
        else:
            self.progress.found += 1
            request.kind.find()
        self._deliver(request, stored)

    def _deliver(self, request: Request, stored: Response) -> None:
        """Settle an answer in all rows that wait for it, and retire its request."""
        answer = split(stored, request.query)
        while request.targets:  # advancing one row can make another wait for this very request
            _, (group, row, step) = request.targets.popitem()
            if not group.rows.probes.answered(request.query.key, stored):
                splits = group.rows.probes.split(step, request.query)
                again = settle_answer(row, step, stored, answer, splits=splits)
                if again is not None and again.key not in self._sent_again:
                    self._sent_again.add(again.key)
                    self.progress.again = len(self._sent_again)
                    request.kind.step.total += 1
            self._advance(group, row)
        self._retire(request)

    def _advance(self, group: Group, row: Outcome) -> None:
        """Queue the requests that have become ready in a row."""
        group.rows.advance(row)
        if not row.ready:
            group.waiting.discard(id(row))
        elif not self._control.draining.is_set():
            self._enqueue(group, row, high_priority=True)

    def _fail(self, request: Request, error: str) -> None:
        """Settle a failed request in all rows that wait for it, and retire it."""
        self.progress.failed += 1
        request.kind.fail()
        error = f"{request.query.settings.model.use}: {error}"
        self.progress.last_error = error
        self.progress.meter.causes[error] += 1
        self._errors[request.query.key] = error
        self._claiming.release(request)
        while request.targets:
            self._fail_target(request.targets.popitem()[1], error)
        self._retire(request)
        self._control.show()

    def _fail_target(self, target: Target, error: str) -> None:
        """Settle a failure in a row: of its own request, or of the probe that it waited for."""
        group, row, step = target
        key = row.ready[step.name].key
        self.report.failures[key] = error
        self.report.failed.setdefault((group.rows.experiment.name, step.name), set()).add(key)
        settle_failure(row, step, error)
        self._advance(group, row)

    def _drop(self, request: Request) -> None:
        """Give up a request that no budget can pay, with everything that depends on it."""
        self._claiming.release(request)
        request.kind.finished += 1
        while request.targets:
            group, row, _ = request.targets.popitem()[1]
            group.waiting.discard(id(row))
        self._retire(request)

    def _retire(self, request: Request) -> None:
        """Take out a request that is answered, failed or dropped."""
        self._requests.pop(request.query.key, None)
        self._dispatcher.release_followers(request)
        self._need_rows.set()
