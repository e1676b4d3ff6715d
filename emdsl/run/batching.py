"""Batches from their plan to their answers: submitted, found again, waited for and collected.

Nothing is submitted twice: first the journal is asked, then the provider, then a batch is created. Every step is
written down before or after it, so that another process goes on wherever this one ends.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from emdsl.errors import ProviderError, Rejected, SetupError, Throttled, Unavailable
from emdsl.files import Busy, file_digest
from emdsl.price_list import cost_usd
from emdsl.providers.batches import Left, Phase, key_of
from emdsl.store.codec import encode_with
from emdsl.store.journal import CANCELLED, OPEN, Ended, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from decimal import Decimal

    from emdsl.digest import Digest
    from emdsl.providers.batches import Batch, BatchApi, BatchProvider, Line
    from emdsl.query import Response
    from emdsl.run.budget import Reserved
    from emdsl.store.journal import BatchRecord, BatchRequest, Journal
    from emdsl.store.store import AnswerStore

LOCKED_S = 0.1  # between two tries to be alone with the journal
FIRST_POLL_S, LAST_POLL_S, SLOWER = 0.5, 60.0, 1.3  # between two looks at open batches
SETTLE_S = 5.0  # after a creation whose reply was lost, until the provider's list shows it
CLOCKS_S = 86_400.0  # by which the clocks of a provider and of this machine may differ: a wrong time zone, a wrong day
REFUSED_WAIT_S = 60.0  # least time until a batch that a provider has no room for is tried again
STORED = 512  # results that are stored together
MAX_TRIES = 2  # of one request in the batches of one run: errors that may pass, and expired ones
MAX_REFUSALS = 3  # of looks at a batch, until waiting is no help: its API key is wrong, or its account has it no more
MAX_LOOKED = 200  # results of a nameless batch whose ids are compared
ANSWERED, EXPIRED, MISSING = "answered", "expired", "no result"  # of a request
_NUMBERED = re.compile(r"\S*\d\S*")  # the words of a message that may differ each time: ids of requests, seconds


@dataclass(slots=True)
class Batching:
    """The open batches of a store: each call of `advance` brings them as far as they come.

    `failures` are requests that this process does not send again, with their errors; `reserved` the money for those
    in open batches. Raises StoreError.
    """

    journal: Journal
    store: AnswerStore
    provider: BatchProvider
    run: str  # the name of the run that the answers are of; "" for the run that submitted them
    submits: bool = True
    on_notice: Callable[[str], None] = lambda _: None
    on_answers: Callable[[list[Digest]], None] = lambda _: None
    on_cost: Callable[[Digest, Decimal, Reserved], None] = lambda *_: None  # of an answer, with its reservations
    goes_on: Callable[[], bool] = lambda: True  # whether one more batch is looked at
    on_poll: Callable[[], None] = lambda: None
    settle_s: float = SETTLE_S
    failures: dict[Digest, str] = field(default_factory=dict)
    reserved: dict[Digest, Reserved] = field(default_factory=dict)
    n_answered: int = 0
    _tries: Counter[Digest] = field(default_factory=Counter)
    _not_ours: set[str] = field(default_factory=set)  # ids of nameless batches that hold other requests
    _told: set[tuple[str, str]] = field(default_factory=set)  # notices, by batch, but for their numbers
    _refusals: Counter[str] = field(
        default_factory=Counter
    )  # of looks at a batch, one after the other: a wrong API key

    async def advance(self, names: Collection[str] | None = None) -> bool:
        """Submit, find, poll and collect all open batches, or those with these names.

        Returns:
            Whether one of them has ended, or none is open.
        """
        open_ = [r.name for r in self.journal.batches(*OPEN) if names is None or r.name in names]
        ended = not open_
        for name in open_:
            if not self.goes_on():
                break
            async with self._alone():
                record = self.journal.get(name)  # as another process may have left it
                if record is not None and record.state in OPEN:
                    ended |= await self._step(record)
                else:
                    ended = True
        return ended

    async def wait(self, names: Collection[str], *, until: asyncio.Event) -> bool:
        """Poll batches until one of them has ended, or `until` is set; False if waiting is no help."""
        delay_s = FIRST_POLL_S
        while not until.is_set() and not await self.advance(names):
            if all(self._refusals[name] >= MAX_REFUSALS for name in names):
                return False
            self.on_poll()
            try:
                await asyncio.wait_for(until.wait(), delay_s)
            except TimeoutError:
                delay_s = min(delay_s * SLOWER, LAST_POLL_S)
        return True

    async def cancel(self, name: str) -> BatchRecord:
        """Cancel a batch: at its provider if that has it; one that was never created is released at once."""
        async with self._alone():
            record = self.journal.get(name)
            assert record is not None
            with suppress(Ended):  # by `cancel --forget` in another process
                if record.state is State.SUBMITTING:
                    record = await self._find(record, self._api(record))
                if record.state is State.RUNNING:
                    await self._api(record).cancel(record.id)
                    self.journal.note(replace(record, cancelling=True))
                elif record.state is State.PLANNED:
                    self.journal.end(record, State.RELEASED, CANCELLED)
            current = self.journal.get(name)
            assert current is not None
            return current

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self.journal.alone(0))
                    break
                except Busy:
                    await asyncio.sleep(LOCKED_S)
            yield

    def _api(self, record: BatchRecord) -> BatchApi:
        return self.provider.api(record.place, record.format)

    async def _step(self, record: BatchRecord) -> bool:
        """Bring one batch as far as it comes; whether it has ended."""
        try:
            api = self._api(record)
            if record.state is State.SUBMITTING:
                record = await self._find(record, api)
            if record.state is State.PLANNED and self.submits and time.time() >= record.not_before:
                record = await self._submit(record, api)
            if record.state is State.RUNNING:
                ended = await self._poll(record, api)
                self._refusals[record.name] = 0
                return ended
        except Ended:  # `cancel --forget` in another process
            return True
        except SetupError as error:
            self._refusals[record.name] += 1
            self._tell(record, str(error))
        except ProviderError as error:
            self._refusals[record.name] = self._refusals[record.name] + 1 if isinstance(error, Rejected) else 0
            if record.state is State.RUNNING and error.status == 404:
                self._tell(record, f"{error}. If it is gone for good, `emdsl batch cancel {record.name} --forget`")
            else:
                self._tell(record, str(error))
        return record.state not in OPEN

    def _tell(self, record: BatchRecord, text: str) -> None:
        """Tell the user once what is wrong with a batch; it is written down, too."""
        told = record.name, _NUMBERED.sub("", text)
        if told not in self._told:
            self._told.add(told)
            self.on_notice(f"batch {record.name}: {text}")
            current = self.journal.get(record.name)
            if current is not None and current.state in OPEN:
                with suppress(Ended):
                    self.journal.note(replace(current, note=text))

    # -------------------------------------------------------------- to the provider

    async def _submit(self, record: BatchRecord, api: BatchApi) -> BatchRecord:
        """Create a planned batch. The next state is written down before its creation is tried."""
        shard, now = self.journal.folder / record.shard, time.time()
        if not shard.is_file() or file_digest(shard).hex() != record.sha256:
            return self._refuse(record, Rejected(f"{record.shard} in the cache is gone, or was changed"))
        try:
            if not record.upload:
                record = replace(record, upload=await api.upload(shard, record.name))
                self.journal.note(record)
                now = time.time()
            record = replace(record, state=State.SUBMITTING, submitted_at=record.submitted_at or now, tried_at=now)
            self.journal.note(record)
            batch = await api.create(shard, record.upload, tag=record.name, path=record.path)
        except Throttled as error:
            if record.state is State.PLANNED:  # an upload too many: the next look tries again
                raise
            return self._postpone(record, error)
        except Rejected as error:
            return self._refuse(record, error)
        except OSError as error:  # of the file alone; it is deleted with a batch that is forgotten
            return self._refuse(record, Rejected(f"{record.shard} in the cache cannot be read: {error.strerror}"))
        except Unavailable as error:
            if record.state is State.SUBMITTING:  # its provider has it at the latest soon after the reply was lost
                never = not (error.paid or error.status)  # it was never sent
                self.journal.note(replace(record, state=State.PLANNED if never else record.state, tried_at=time.time()))
            raise
        return self._created(record, batch)

    def _created(self, record: BatchRecord, batch: Batch) -> BatchRecord:
        """Write down that a provider has a batch. It may still refuse it: the file of its requests stays."""
        record = replace(
            record, state=State.RUNNING, id=batch.id, total=batch.total, expires_at=batch.expires_at, note=""
        )
        self.journal.note(record)
        return record

    async def _find(self, record: BatchRecord, api: BatchApi) -> BatchRecord:
        """Find a batch whose creation was begun, at its provider; one that is not there is planned again."""
        since, known = (record.submitted_at or 0.0) - CLOCKS_S, {r.id for r in self.journal.batches() if r.id}
        maybe = ""
        async for batch in api.list_recent(since):
            if batch.phase is Phase.REFUSED or batch.id in known:
                continue
            if batch.tag == record.name or (record.upload and record.upload in batch.inputs):
                return self._created(record, batch)
            if api.tagged or batch.inputs:  # its name, or the file of its requests, is another
                continue
            if batch.total in (None, record.n) and batch.id not in self._not_ours:
                ours = await self._holds(record, batch, api)
                if ours:
                    return self._created(record, batch)
                maybe = maybe or (batch.id if ours is None else "")
        if maybe:
            self._tell(
                record, f"maybe submitted: {maybe} holds as many requests, which its provider shows when it has ended. "
                f"`emdsl batch cancel {record.name} --forget` frees them",
            )  # fmt: skip
        elif time.time() - (record.tried_at or 0.0) > self.settle_s:
            record = replace(record, state=State.PLANNED, note="")
            self.journal.note(record)
        return record

    async def _holds(self, record: BatchRecord, batch: Batch, api: BatchApi) -> bool | None:
        """Whether a batch without a name holds the requests of a record; None while its provider does not show them."""
        if batch.phase is not Phase.ENDED:
            return None
        looked = 0
        async for line in api.results(batch):
            key = key_of(line.custom_id)
            if key is not None and any(self.journal.requests(record.name, [key])):
                return True
            looked += 1
            if looked >= MAX_LOOKED:
                break
        self._not_ours.add(batch.id)
        return False

    def _postpone(self, record: BatchRecord, error: Throttled) -> BatchRecord:
        """Plan a batch again that its provider has no room for now."""
        wait_s = max(error.wait_s, REFUSED_WAIT_S)
        record = replace(record, state=State.PLANNED, not_before=time.time() + wait_s, id="", note=str(error))
        self.journal.note(record)
        self._tell(record, f"{error}: submitted again in {wait_s:,.0f} s")
        return record

    def _refuse(self, record: BatchRecord, error: ProviderError) -> BatchRecord:
        """Release a batch that its provider refuses as a whole: its requests fail in this run."""
        use = str(record.place.get("use"))
        for request in self.journal.requests(record.name):
            self.failures[request.key] = f"{use}: {error}"
            self._pay(request.key, None, record)
        return self.journal.end(replace(record, note=str(error)), State.RELEASED, f"refused: {error}")

    # -------------------------------------------------------------- from the provider

    async def _poll(self, record: BatchRecord, api: BatchApi) -> bool:
        """Look how far a batch is, and collect its results when it has ended; whether it has."""
        batch = await api.get(record.id)
        if batch.phase is Phase.REFUSED:
            error = batch.error or Rejected("its provider refused it")
            refused = self._postpone(record, error) if isinstance(error, Throttled) else self._refuse(record, error)
            return refused.state not in OPEN
        seen = replace(
            record, total=batch.total, answered=batch.answered, failed=batch.failed,
            expires_at=batch.expires_at or record.expires_at, cancelling=batch.phase is Phase.CANCELLING,
            note="",
        )  # fmt: skip
        if seen != record:
            self.journal.note(seen)
        if batch.phase is not Phase.ENDED:
            return False
        await self._collect(seen, batch, api)
        await api.discard(batch)
        return True

    async def _collect(self, record: BatchRecord, batch: Batch, api: BatchApi) -> None:
        """Store the results of a batch as they come; requests without one are pending again."""
        foreign, part = 0, dict[bytes, "Line"]()
        async for line in api.results(batch):
            key = key_of(line.custom_id)
            if key is None:
                foreign += 1
                continue
            part.setdefault(key, line)
            if len(part) >= STORED:
                foreign += self._take(record, part)
                part = {}
                await asyncio.sleep(0)
        foreign += self._take(record, part)
        if foreign:
            self.on_notice(f"batch {record.name}: {foreign:,} results are of no request in it, and were not stored")
        rest = list(self.journal.requests(record.name))
        for request in rest:
            self._leave(request.key, "its batch has no result for it", record)
        self.journal.end(record, State.COLLECTED, MISSING)

    def _take(self, record: BatchRecord, lines: dict[Digest, Line]) -> int:
        """Store some results, first the answers, then what came of each; return how many are of no request.

        A second result of one request is of none that is open, but it is of the batch.
        """
        requests = {r.key: r for r in self.journal.requests(record.name, list(lines))}
        entries, results = [], list[tuple[bytes, str]]()
        for key, request in requests.items():
            line = lines[key]
            if line.response is not None:
                entries.append(self._entry(record, request, line.response))
                results.append((key, ANSWERED))
            else:
                results.append((key, self._failed(record, key, line)))
        self.store.adopt(entries)
        self.journal.settle(record.name, results)
        self.n_answered += len(entries)
        self.on_answers([key for key, _ in entries])
        return len(self.journal.unknown(record.name, [k for k in lines if k not in requests]))

    def _entry(self, record: BatchRecord, request: BatchRequest, response: Response) -> tuple[Digest, bytes]:
        response = replace(response, run=self.run or record.run, batch=record.id)
        self._pay(request.key, response, record)
        return request.key, encode_with(request.ingredients, response)

    def _failed(self, record: BatchRecord, key: Digest, line: Line) -> str:
        """Handle a request without an answer; return its result for the journal."""
        if line.left is Left.CANCELLED:
            self.failures[key] = f"{record.place.get('use')}: its batch was cancelled"
            self._pay(key, None, record)
            return CANCELLED
        if line.left is Left.EXPIRED:
            self._leave(key, "its batch expired", record)
            return EXPIRED
        error = line.error or Rejected("no answer")
        if isinstance(error, Rejected):
            self.failures[key] = f"{record.place.get('use')}: {error}"
            self._pay(key, None, record)
        else:
            self._leave(key, str(error), record)
        return f"error: {error}"

    def _leave(self, key: Digest, why: str, record: BatchRecord) -> None:
        """Leave a request pending, to be submitted again; after MAX_TRIES it has failed in this run."""
        self._pay(key, None, record)
        self._tries[key] += 1
        if self._tries[key] >= MAX_TRIES:
            self.failures[key] = f"{record.place.get('use')}: {why} ({MAX_TRIES} batches in this run)"

    def take_over(self, names: Collection[str], held: Collection[Digest]) -> None:
        """See what came of batches that another process has ended: cancelled requests are not sent again by this run.

        Args:
            names: of the batches.
            held: the requests that are still in open batches.
        """
        records = {r.name: r for r in self.journal.batches() if r.name in names}
        for name, record in records.items():
            for key in self.journal.given_up(name) - self.failures.keys() - set(held):
                self.failures[key] = f"{record.place.get('use')}: its batch was cancelled"
        gone = [key for key in self.reserved if key not in held]
        stored = self.store.get_many(gone) if gone else {}
        by_id = {r.id: r for r in records.values()}
        for key in gone:
            response = stored.get(key)
            paid_by = by_id.get(response.batch or "") if response is not None else None
            self._pay(key, response if paid_by is not None else None, paid_by)

    def _pay(self, key: Digest, response: Response | None, record: BatchRecord | None) -> None:
        """Settle the money that was reserved for a request."""
        reserved = self.reserved.pop(key, ())
        cost = cost_usd(self.provider.model(record.place), response) if response and record else None
        for budget, most_usd in reserved:
            budget.settle_usd(most_usd, most_usd if response is not None and cost is None else cost)
        if cost is not None:
            self.on_cost(key, cost, reserved)
