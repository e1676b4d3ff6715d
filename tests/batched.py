"""A provider of batches in memory, which outlives the runs that are killed, and a run against it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from support import InProcess

from emdsl.errors import ProviderError, Unavailable
from emdsl.providers.batch_client import BatchClient
from emdsl.providers.batches import Batch, BatchLimits, Left, Line, Phase
from emdsl.providers.openai import OpenAI
from emdsl.run.budget import Budgets
from emdsl.run.executor import Executor
from emdsl.run.progress import Progress, Report
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.sim.server import complete
from emdsl.store.claims import Claims
from emdsl.store.disk import DiskStore
from emdsl.store.journal import Journal
from emdsl.study.batch_run import BatchPlan, BatchRun
from emdsl.study.progress_view import NONE, ProgressView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from decimal import Decimal
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.experiment import Experiment
    from emdsl.providers.client import Client
    from emdsl.query import Model


class Killed(BaseException):
    """The process ends here."""


@dataclass(slots=True)
class Held:
    """A batch as the server holds it."""

    id: str
    tag: str
    lines: list[dict[str, Any]]
    created_at: float
    phase: Phase = Phase.RUNNING
    polls: int = 0
    cancelled: bool = False


@dataclass(slots=True)
class Server:
    """The batches of one account; `polls` of each until it ends. `of_line` may replace a result."""

    tagged: bool = True
    polls: int = 1
    limit: int = 1_000
    lose_create: int = 0  # so many creations take place, and their reply is lost
    fail_create: list[ProviderError] = field(default_factory=list)
    of_line: Callable[[str, Line], list[Line]] = lambda _, line: [line]
    batches: dict[str, Held] = field(default_factory=dict)
    submitted: Counter[str] = field(default_factory=Counter)  # by custom id
    steps: int = 0
    dies_at: int | None = None
    now: Callable[[], float] = lambda: 0.0

    def step(self) -> None:
        """Count a step of the client, which may be its last."""
        self.steps += 1
        if self.steps == self.dies_at:
            raise Killed


@dataclass(slots=True)
class Api:
    """See BatchApi; each call may be the last before and after its effect."""

    server: Server

    @property
    def limits(self) -> BatchLimits:
        return BatchLimits(requests=self.server.limit, size=10**6, hours=24)

    @property
    def tagged(self) -> bool:
        return self.server.tagged

    def line(self, custom_id: str, body: bytes, path: str) -> bytes:
        assert path == "/chat/completions"
        return json.dumps({"custom_id": custom_id, "body": json.loads(body)}).encode() + b"\n"

    async def upload(self, shard: Path, tag: str) -> str:
        self.server.step()
        assert shard.stat().st_size  # noqa: ASYNC240 - a small file in a test
        return f"file of {tag}"

    async def create(self, shard: Path, upload: str, *, tag: str, path: str) -> Batch:
        server = self.server
        server.step()
        assert (upload, path) == (f"file of {tag}", "/chat/completions")
        if server.fail_create:
            raise server.fail_create.pop()
        lines = [json.loads(text) for text in shard.read_bytes().splitlines()]  # noqa: ASYNC240 - a small file in a test
        held = Held(f"batch_{len(server.batches)}", tag, lines, server.now())
        server.batches[held.id] = held
        server.submitted.update(line["custom_id"] for line in lines)
        server.step()
        if server.lose_create:
            server.lose_create -= 1
            raise Unavailable("the connection broke", paid=True)
        return self._seen(held)

    def _seen(self, held: Held) -> Batch:
        return Batch(
            id=held.id, phase=held.phase, total=len(held.lines), created_at=held.created_at,
            tag=held.tag if self.server.tagged else None, results=(held.id,) if held.phase is Phase.ENDED else (),
        )  # fmt: skip

    async def get(self, batch: str) -> Batch:
        self.server.step()
        held = self.server.batches[batch]
        held.polls += 1
        if held.polls > self.server.polls:
            held.phase = Phase.ENDED
        return self._seen(held)

    async def list_recent(self, since: float) -> AsyncIterator[Batch]:
        self.server.step()
        for held in reversed(self.server.batches.values()):
            held.polls += 1
            if held.polls > self.server.polls:
                held.phase = Phase.ENDED
            if held.created_at >= since:
                yield self._seen(held)

    async def results(self, batch: Batch) -> AsyncIterator[Line]:
        for entry in self.server.batches[batch.id].lines:
            self.server.step()
            name = entry["custom_id"]
            answer = Line(name, OpenAI().read(complete(entry["body"], name)))
            if self.server.batches[batch.id].cancelled:
                answer = Line(name, left=Left.CANCELLED)
            for line in self.server.of_line(name, answer):
                yield line

    async def cancel(self, batch: str) -> Batch:
        held = self.server.batches[batch]
        held.cancelled, held.phase = True, Phase.CANCELLING
        return self._seen(held)

    async def discard(self, batch: Batch) -> None:
        self.server.step()
        assert batch.phase is Phase.ENDED


@dataclass(slots=True)
class OneServer:
    """A client whose batches all go to one server."""

    server: Server

    def batches(self, _: Model, __: int, ___: str) -> Api:
        """See Client."""
        return Api(self.server)


class Noticing(ProgressView):
    """Keeps notices."""

    def __init__(self, notices: list[str]) -> None:
        super().__init__(NONE, 0, lambda _: None)
        self._notices = notices

    def notice(self, text: str) -> None:
        """See ProgressView."""
        self._notices.append(text)


@dataclass(slots=True)
class Ran:
    """What came of a run against a server of batches."""

    report: Report
    online: list[bytes]  # keys that were sent alone
    notices: list[str]
    progress: Progress
    spent_usd: Decimal


def run_batched(
    found: Experiment, folder: Path, server: Server, *, chosen: Callable[[Model], bool] = lambda _: True,
    budget: Decimal | None = None, detach: bool = False, submits: bool = True,
    pending: Callable[[Digest], bool] = lambda _: True,
    patch: Callable[[BatchRun], None] = lambda _: None,
) -> Ran:  # fmt: skip
    """Run an experiment with batches until nothing is to be done; raises Killed where the server says so."""

    async def go() -> Ran:
        store, walks, notices = DiskStore(folder), [Rows(found)], list[str]()
        claims, progress, report = Claims(folder, "run"), Progress(), Report()
        budgets = Budgets({found.name: found.budget}, budget)
        online, client = InProcess(), cast("Client", OneServer(server))
        view = Noticing(notices)
        with closing(store), closing(claims), closing(Journal(folder)) as journal:
            plan = BatchPlan(study="s", chosen=chosen, submits=submits, detach=detach, pending=pending)
            batches = BatchRun(
                plan, walks, store, journal, claims, budgets, BatchClient(client, {}), progress, view, "run"
            )  # fmt: skip
            patch(batches)
            await batches.begin()
            while True:
                executor = Executor(
                    walks, store, online, connections=8, retry_policy=RetryPolicy(), run="run", budgets=budgets,
                    claims=claims, progress=progress, held=journal.held, defers=batches.defers,
                )  # fmt: skip
                report.add(await executor.run())
                if not await batches.go_on(report):
                    return Ran(report, online.keys, notices, progress, budgets.spent_usd)

    with suppress(asyncio.CancelledError):
        return asyncio.run(go())
    raise AssertionError
