"""Batches of the simulator in no wire format: their requests, how they proceed, and their results."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import random
import time
import uuid
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, Protocol

from emdsl.digest import digest
from emdsl.sim.answering import Refused, respond
from emdsl.sim.formats import Format, failure, too_many

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

SLICE_S = 0.005  # of work between two turns of the event loop
VALIDATION, PROCESSING = 0.1, 0.9  # when they end, as shares of a batch's time
HOURS = 24  # until a batch expires, as its provider announces it


class Stage(enum.Enum):
    """How far a batch is."""

    VALIDATING = "validating"
    RUNNING = "running"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED = frozenset((Stage.COMPLETED, Stage.EXPIRED, Stage.CANCELLED, Stage.FAILED))


class Fate(enum.Enum):
    """How a request of a batch ended."""

    ANSWERED = "answered"
    ERRORED = "errored"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class LostReply(Exception):
    """A batch was created, and its client is not to learn it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFaults:
    """Shares in [0, 1] with each fault of batches; `seed` makes their order repeatable."""

    batch_expired: float = 0.0  # requests that expire; of the batches, if they expire as a whole
    batch_failed: float = 0.0  # requests that get an error 500
    batch_throttled: float = 0.0  # requests that get an error 429
    batch_repeated: float = 0.0  # results that are in the file twice
    batch_lost: float = 0.0  # calls that create a batch and get no reply
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request of a batch; `names` are those that an online request has in its path."""

    custom_id: str | None
    format: Format
    body: Any
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one request: a reply or an error as online, or neither."""

    custom_id: str | None
    fate: Fate
    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)


class Wire(Protocol):
    """How a provider writes requests and results."""

    splits: bool  # whether only answers are in the first file of results, and the rest in the second one
    all_or_none: bool  # whether a batch that expires or is cancelled has no results

    def read(self, batch: Batch, line: bytes) -> Entry:
        """Read a line of the requests."""

    def write(self, batch: Batch, result: Result) -> bytes:
        """Return a line of the results."""


class Requests:
    """The requests of a batch: the lines of a file, and the id and the place of each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids: list[str | None] = []
        self._starts = array("Q")

    def add(self, custom_id: str | None, start: int) -> None:
        """Add the line that starts at a byte of the file."""
        self.ids.append(custom_id)
        self._starts.append(start)

    def line(self, file: IO[bytes], i: int) -> bytes:
        """Return a line of the opened file."""
        file.seek(self._starts[i])
        return file.readline()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True, kw_only=True, eq=False)
class Batch:
    """A batch. Times are seconds since 1970; `problems` are why it failed as a whole."""

    id: str
    wire: Wire
    requests: Requests
    output: Path
    errors: Path
    details: dict[str, Any]
    shuffled: bool = True
    created_at: float = field(default_factory=time.time)
    stage: Stage = Stage.VALIDATING
    times: dict[Stage, float] = field(default_factory=dict)
    cancelled_at: float | None = None
    fates: Counter[Fate] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, Any]] = field(default_factory=list)
    cancelling: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def updated_at(self) -> float:
        """When its stage changed last."""
        return max((self.created_at, *self.times.values(), self.cancelled_at or 0.0))

    def enter(self, stage: Stage) -> None:
        """Go on to a stage."""
        self.stage = stage
        self.times[stage] = time.time()

    def cancel(self) -> None:
        """Process no more requests."""
        if self.cancelled_at is None:
            self.cancelled_at = time.time()
            self.cancelling.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a time, or until it is cancelled."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self.cancelling.wait()


class Turns:
    """Gives way to other tasks of the event loop after each slice of work."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def take(self) -> None:
        """Give way if the slice is used up."""
        if time.perf_counter() - self._since > SLICE_S:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


class Engine:
    """Runs the batches of all formats: each takes some seconds from its creation, or more if answering takes longer.

    Files are in a temporary folder until `close`. An answer is drawn by the body, the custom id, and how often both
    were asked before, so that requests with equal bodies get independent answers.
    """

    def __init__(self, seconds: float, faults: BatchFaults, counts: Counter[str]) -> None:
        self._seconds = seconds
        self._faults = faults
        self._counts = counts
        self._random = random.Random(faults.seed)  # noqa: S311 - faults, not secrets
        self._n_asked: Counter[bytes] = Counter()
        self._taken: set[str] = set()  # ids that are under way in a batch, or answered by one
        self._folder: TemporaryDirectory[str] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def new_path(self) -> Path:
        """Return the path of a new file."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="emdsl-sim-")
        return Path(self._folder.name, uuid.uuid4().hex)

    def create(
        self, wire: Wire, requests: Requests, details: dict[str, Any],
        check: Callable[[Batch], Awaitable[None]] | None = None, *, prefix: str = "", shuffled: bool = True,
    ) -> Batch:  # fmt: skip
        """Create a batch and start it.

        Args:
            wire: of its provider.
            requests: without lines if `check` adds them.
            details: what its provider shows of it.
            check: adds lines and problems to the batch while it is validated.
            prefix: of its id.
            shuffled: whether its requests are processed in a random order.
        """
        self._counts["batches created"] += 1
        batch = Batch(
            id=f"{prefix}{uuid.uuid4().hex[:24]}", wire=wire, requests=requests, output=self.new_path(),
            errors=self.new_path(), details=details, shuffled=shuffled,
        )  # fmt: skip
        task = asyncio.create_task(self._run(batch, check))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return batch

    def lose_reply(self) -> None:
        """Raise LostReply if the reply to the creation of a batch gets lost."""
        if self._random.random() < self._faults.batch_lost:
            self._counts["batches lost"] += 1
            raise LostReply

    async def close(self) -> None:
        """Stop all batches and delete all files."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def _run(self, batch: Batch, check: Callable[[Batch], Awaitable[None]] | None) -> None:
        start = time.monotonic()
        if check is not None:
            await check(batch)
        await batch.wait(start + self._seconds * VALIDATION - time.monotonic())
        if batch.problems:
            batch.enter(Stage.FAILED)
            return
        self._submit(batch.requests.ids)
        if not batch.cancelling.is_set():
            batch.enter(Stage.RUNNING)
        await self._process(batch, start)
        if batch.cancelling.is_set():
            await asyncio.sleep(self._seconds * (1 - PROCESSING))
        else:
            batch.enter(Stage.FINALIZING)
            await batch.wait(start + self._seconds - time.monotonic())
        if batch.cancelling.is_set():
            end = Stage.CANCELLED
        else:
            end = Stage.EXPIRED if batch.fates[Fate.EXPIRED] else Stage.COMPLETED
        if batch.wire.all_or_none and end is not Stage.COMPLETED:  # its answers are lost
            self._taken.difference_update(filter(None, batch.requests.ids))
        batch.enter(end)

    def _submit(self, ids: Iterable[str | None]) -> None:
        """Count the requests, and those that another batch has answered or is about to answer."""
        for custom_id in ids:
            self._counts["batch requests"] += 1
            if custom_id is not None:
                self._counts["batch duplicates"] += custom_id in self._taken
                self._taken.add(custom_id)

    async def _process(self, batch: Batch, start: float) -> None:
        """Write the results, as fast as the batch's time goes by."""
        n, turns = len(batch.requests), Turns()
        order = list(range(n))
        if batch.shuffled:
            self._random.shuffle(order)
        expires = batch.wire.all_or_none and self._random.random() < self._faults.batch_expired
        with (
            batch.requests.path.open("rb") as requests,
            batch.output.open("wb") as output,
            batch.errors.open("wb") as errors,
        ):
            for done, i in enumerate(order):
                share = VALIDATION + (PROCESSING - VALIDATION) * (done + 1) / n
                left = start + self._seconds * share - time.monotonic()
                await (batch.wait(left) if left > SLICE_S else turns.take())
                if expires or batch.cancelling.is_set():
                    fate = Fate.EXPIRED if expires else Fate.CANCELLED
                    result = Result(custom_id=batch.requests.ids[i], fate=fate)
                else:
                    result = self._result(batch, batch.wire.read(batch, batch.requests.line(requests, i)))
                batch.fates[result.fate] += 1
                if result.fate is not Fate.ANSWERED and result.custom_id is not None:
                    self._taken.discard(result.custom_id)
                file = errors if batch.wire.splits and result.fate is not Fate.ANSWERED else output
                file.write(batch.wire.write(batch, result))
                if batch.shuffled and self._random.random() < self._faults.batch_repeated:
                    file.write(batch.wire.write(batch, result))

    def _result(self, batch: Batch, entry: Entry) -> Result:
        """Answer a request, unless a fault prevents it."""
        draw, faults = self._random.random(), self._faults
        expired = 0.0 if batch.wire.all_or_none else faults.batch_expired
        if draw < expired:
            return Result(custom_id=entry.custom_id, fate=Fate.EXPIRED)
        try:
            if draw < expired + faults.batch_failed:
                raise failure()
            if draw < expired + faults.batch_failed + faults.batch_throttled:
                raise too_many(entry.format)
            body = self._answer(batch, entry)
        except Refused as refused:
            self._counts["batch requests refused"] += 1
            return Result(
                custom_id=entry.custom_id, fate=Fate.ERRORED, status=refused.status, body=entry.format.error(refused)
            )
        self._counts["batch requests answered"] += 1
        return Result(custom_id=entry.custom_id, fate=Fate.ANSWERED, body=body)

    def _answer(self, batch: Batch, entry: Entry) -> dict[str, Any]:
        """Return the reply to a request, as online; raises Refused."""
        typed = entry.format.read(entry.body, *entry.names)
        body = json.dumps(entry.body, sort_keys=True)
        name = digest("batch request", body, entry.custom_id)
        answer = respond(typed, body, f"batch {entry.custom_id} {self._n_asked[name]}")
        self._n_asked[name] += 1
        batch.tokens["input"] += answer.input_tokens
        batch.tokens["output"] += answer.output_tokens + answer.reasoning_tokens
        batch.tokens["reasoning"] += answer.reasoning_tokens
        self._counts["batch input tokens"] += answer.input_tokens
        self._counts["batch output tokens"] += answer.output_tokens + answer.reasoning_tokens
        return entry.format.reply(typed, answer, 0, 0)
