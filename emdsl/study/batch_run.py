"""The part of a run that goes by batches: what is submitted, waited for and collected between two executors."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emdsl.run.batching import Batching
from emdsl.run.gathering import Gatherer
from emdsl.store.journal import OPEN
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from decimal import Decimal

    from emdsl.digest import Digest
    from emdsl.providers.batches import BatchProvider
    from emdsl.query import Model, Query
    from emdsl.run.budget import Budgets, Reserved
    from emdsl.run.progress import Progress, Report
    from emdsl.run.rows import Rows
    from emdsl.store.journal import BatchRecord, Journal
    from emdsl.store.store import AnswerStore, AnyClaims
    from emdsl.study.progress_view import ProgressView

ELSEWHERE_S = 1.0  # between two looks for the answers of requests that another process sends


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What of a run goes by batches."""

    study: str
    chosen: Callable[[Model], bool]  # models whose requests go by batches
    submits: bool = True  # else only what was submitted before is collected
    detach: bool = False  # do not wait
    awaited: frozenset[str] | None = None  # open batches of the study, or with its requests; None: all
    pending: Callable[[Digest], bool] = lambda _: True  # whether a request was pending when the run began


@dataclass(slots=True)
class BatchRun:
    """Batches of one run. An Interrupter ends the wait for them; they go on at their providers."""

    plan: BatchPlan
    walks: list[Rows]
    store: AnswerStore
    journal: Journal
    claims: AnyClaims
    budgets: Budgets
    provider: BatchProvider
    progress: Progress
    view: ProgressView
    run: str
    _held: set[Digest] = field(default_factory=set)  # requests in open batches, as of the last look
    _waiting: set[Digest] = field(default_factory=set)  # of these, the requests of this run
    _told: bool = False  # that batches can be left
    _ours: set[Digest] = field(default_factory=set)  # requests that were in an open batch during this run, or refused
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _working: asyncio.Task[bool] | None = None  # submits, polls or collects
    _batching: Batching = field(init=False)
    _gatherer: Gatherer = field(init=False)

    def __post_init__(self) -> None:
        self._batching = Batching(
            self.journal, self.store, self.provider, self.run, submits=self.plan.submits,
            on_notice=self.view.notice, on_answers=self._add_answers, on_poll=self._show,
            goes_on=lambda: not self.progress.draining, on_cost=self._count,
        )  # fmt: skip
        self._gatherer = Gatherer(
            self.walks, self.store, self.journal, self.claims, self.budgets, self.provider,
            self.plan.chosen if self.plan.submits else lambda _: False, self.plan.study, self.run,
            self._batching.reserved, self._batching.failures, on_ready=self.progress.meter.note,
        )  # fmt: skip

    async def begin(self) -> None:
        """Collect what has ended since the last run, and find what is still open."""
        if self.budgets.limited:
            self._reserve_open()
        if self.journal.batches(*OPEN) and self.plan.awaited != frozenset():
            await self._unless_stopped(self._batching.advance(self.plan.awaited))
        self._held = self.journal.all_held()

    def _reserve_open(self) -> None:
        """Reserve the money of the requests of this study that an earlier run has submitted."""
        for record in self.journal.batches(*OPEN):
            for request in self.journal.requests(record.name) if record.study == self.plan.study else ():
                if request.most_usd is not None:
                    self._batching.reserved[request.key] = self.budgets.hold(request.most_usd, request.experiment)

    def defers(self, query: Query) -> bool:
        """Whether a request is not sent alone: it goes by a batch, or is in one."""
        return query.key in self._held or (self.plan.submits and self.plan.chosen(query.settings.model))

    async def go_on(self, report: Report) -> bool:
        """Submit what is pending, and wait until a batch has ended; whether there may be more to send then."""
        failed_before = set(self._failures())
        gathered = self._gatherer.gather()
        self._waiting, report.n_later = gathered.waiting, gathered.n_later
        self._ours |= gathered.waiting | gathered.refused
        names = list(self.journal.holders(self._waiting))
        if gathered.planned:
            self._tell(gathered.planned)
            await self._unless_stopped(self._batching.advance([r.name for r in gathered.planned]))
        goes_on = bool(gathered.refused)  # what depends on a request may be asked without its answer
        if names and not self.plan.detach:
            goes_on = await self._unless_stopped(self._batching.wait(names, until=self._ending))
        elif gathered.n_elsewhere and not self.plan.detach:
            await self._pause()
            goes_on = True
        self._held = self.journal.all_held()
        self._batching.take_over(names, self._held)
        for key, error in self._failures().items():
            if key not in failed_before:
                self.progress.failed += 1
                self.progress.meter.fail(key, error)
        self._complete(report)
        return goes_on and not self.progress.draining

    async def _unless_stopped(self, work: Coroutine[None, None, bool]) -> bool:
        """Do some work, until the second interrupt ends it: another process, or the next run, goes on with it."""
        self._working = asyncio.create_task(work)
        try:
            await asyncio.wait([self._working])
            return not self._working.cancelled() and self._working.result()
        finally:
            self._working.cancel()

    async def _pause(self) -> None:
        """Wait a moment for the requests that another process sends."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), ELSEWHERE_S)

    def _failures(self) -> dict[Digest, str]:
        """Return the failures of requests of this run: batches of other studies are collected, too."""
        return {k: e for k, e in self._batching.failures.items() if self._is_ours(k)}

    def _is_ours(self, key: Digest) -> bool:
        return key in self._ours or self.plan.pending(key)

    def _complete(self, report: Report) -> None:
        report.failures |= self._failures()
        for step, keys in self._gatherer.failed.items():
            report.failed.setdefault(step, set()).update(keys)
        held = self.journal.holders(self._waiting)
        report.batches = [r for r in self.journal.batches(*OPEN) if r.name in held]
        report.n_in_batches = sum(held.values())
        report.interrupted = report.interrupted or self.progress.draining
        report.over_budget |= self.budgets.exhausted
        self.progress.batches = ""

    def drain(self, cause: str) -> None:
        """Wait no longer."""
        self.progress.stop(cause)
        self._ending.set()

    def stop(self, cause: str) -> None:
        """Wait no longer, and leave what is under way."""
        self.drain(cause)
        if self._working is not None:
            self._working.cancel()

    def _add_answers(self, keys: list[Digest]) -> None:
        for key in filter(self._is_ours, keys):
            self.progress.answered += 1
            self.progress.meter.answer(key)
        self.view.update(self.progress)

    def _count(self, key: Digest, cost: Decimal, reserved: Reserved) -> None:
        if self._is_ours(key):
            self.budgets.settle_batched(cost, reserved)

    def _tell(self, planned: list[BatchRecord]) -> None:
        n = sum(r.n for r in planned)
        models = sorted({str(r.place["use"]) for r in planned})
        self.view.notice(
            f"submitting {counted(n, 'request')} in {len(planned)} {_batches(planned)}: {', '.join(models)}"
        )
        if not (self.plan.detach or self._told):
            self._told = True
            self.view.notice("Ctrl-C leaves batches: the same command collects them later")

    def _show(self) -> None:
        shown = under_way(self.journal.batches(*OPEN))
        if shown != self.progress.batches:  # a poll a minute for a day is not a line each
            self.progress.batches = shown
            self.view.update(self.progress)


def under_way(records: Iterable[BatchRecord]) -> str:
    """Return how far open batches are, in one line."""
    some = list(records)
    done, n = sum(r.answered + r.failed for r in some), sum(r.n for r in some)
    return f"{done:,} of {n:,} requests in {len(some)} {_batches(some)} done"


def expected_by(records: Iterable[BatchRecord]) -> str:
    """Return the time by which open batches end; empty if no provider has given one."""
    times = [r.expires_at for r in records if r.expires_at is not None]
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(max(times))) if times else ""


def _batches(some: list[BatchRecord]) -> str:
    return "batch" if len(some) == 1 else "batches"
