"""Gathering: the pending requests that go by batches, from rows to planned batches."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emdsl.errors import Rejected, StoreError
from emdsl.files import Busy
from emdsl.run.budget import NEVER, worst_usd
from emdsl.run.passes import chunks, settle_from_store
from emdsl.run.rows import settle_failure
from emdsl.run.shards import Shard, new_shard, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome
    from emdsl.providers.batches import BatchProvider
    from emdsl.query import Model, Query
    from emdsl.run.budget import Budgets, Reserved
    from emdsl.run.rows import Rows
    from emdsl.store.journal import BatchRecord, Journal
    from emdsl.store.store import AnyClaims, Store

CLAIMED = 2_048  # requests that are claimed at once
RETRY_S = 0.002  # between two tries to take claims

Ready = tuple["Query", str]  # with the experiment that pays


@dataclass(slots=True)
class Gathered:
    """What one pass over the rows has found."""

    planned: list[BatchRecord] = field(default_factory=list)
    waiting: set[Digest] = field(default_factory=set)  # requests in open batches, these included
    refused: set[Digest] = field(default_factory=set)  # requests that cannot be expressed
    n_elsewhere: int = 0  # requests that another process sends
    n_later: int = 0  # requests that the budget may cover when other batches have ended


@dataclass(slots=True)
class Gatherer:
    """Plans batches of the requests of one run. `chosen` tells of which models."""

    walks: list[Rows]
    store: Store
    journal: Journal
    claims: AnyClaims
    budgets: Budgets
    provider: BatchProvider
    chosen: Callable[[Model], bool]
    study: str
    run: str
    reserved: dict[Digest, Reserved]  # money for requests in open batches
    failures: dict[Digest, str]  # requests that are not sent again by this run, with their error
    failed: dict[tuple[str, str], set[Digest]] = field(default_factory=dict)  # these, by experiment and step
    on_ready: Callable[[Query, str, Step], None] = lambda *_: None  # each request, its experiment and its step
    _shards: dict[object, Shard] = field(default_factory=dict)  # that have room, by model, format and path
    _n_shards: int = 0

    def gather(self) -> Gathered:
        """Make one pass over all rows, and plan batches of what is pending; raises StoreError."""
        sweep(self.journal)
        found, seen = Gathered(), set[bytes]()
        part: list[Ready] = []
        try:
            for ready in self._ready():
                if ready[0].key in seen:
                    continue
                seen.add(ready[0].key)
                part.append(ready)
                if len(part) == CLAIMED:
                    self._take(part, found)
                    part = []
            self._take(part, found)
            for shard in self._shards.values():
                self._close(shard, found)
        except OSError as error:
            raise StoreError(f"batches cannot be written to {self.journal.folder}: {error.strerror}") from error
        finally:
            for shard in self._shards.values():
                shard.drop(self.journal)
            self._shards.clear()
            self._show_claims()
        found.waiting = self.journal.held(seen)
        return found

    def _ready(self) -> Iterator[Ready]:
        """Yield the requests that are ready, in the order of their rows."""
        for walk in self.walks:
            for rows in walk.groups():
                for chunk in chunks(rows):
                    settle_from_store(walk, chunk, self.store)
                    for row in chunk:
                        yield from self._of_row(walk, row)

    def _of_row(self, walk: Rows, row: Outcome) -> Iterator[Ready]:
        """Yield the requests of a row that can be sent now: none that failed, none whose judge waits for its probe."""
        sent: set[str] = set()
        while left := [name for name in row.ready if name not in sent]:
            for name in left:
                step, query = walk.steps[name], row.ready[name]
                sent.add(name)
                if query.key in self.failures:
                    self.failed.setdefault((walk.experiment.name, name), set()).add(query.key)
                    settle_failure(row, step, self.failures[query.key])
                    walk.advance(row)
                elif walk.probes.required(step, query.settings) is None:
                    self.on_ready(query, walk.experiment.name, step)
                    yield query, walk.experiment.name

    def _take(self, part: list[Ready], found: Gathered) -> None:
        """Add requests to shards, but for those that another process sends, or that are in a batch."""
        keys = [query.key for query, _ in part]
        held = self.journal.held(keys)
        wanted = [r for r in part if r[0].key not in held and self.chosen(r[0].settings.model)]
        claimed = self._claim([query.key for query, _ in wanted])
        stored, held = self.store.get_many(claimed), self.journal.held(claimed)  # another process may have come first
        self.claims.release(held | stored.keys())
        for query, experiment in wanted:
            if query.key not in claimed:
                found.n_elsewhere += 1
            elif query.key not in stored and query.key not in held:
                self._add(query, experiment, found)

    def _show_claims(self) -> None:
        """Let other processes see which claims are released: none are taken until a batch has ended."""
        while True:
            try:
                self.claims.take([])
                break
            except Busy:
                time.sleep(RETRY_S)

    def _claim(self, keys: list[Digest]) -> set[Digest]:
        while keys:
            try:
                return self.claims.take(keys)
            except Busy:
                time.sleep(RETRY_S)
        return set()

    def _add(self, query: Query, experiment: str, found: Gathered) -> None:
        most: Decimal | None = None
        if self.budgets.limited:
            most = worst_usd(query, batch=True)
            reserved = self.budgets.reserve_usd(most, (experiment,))
            if reserved is None or reserved is NEVER:
                found.n_later += reserved is None
                self.claims.release([query.key])
                return
            self.reserved[query.key] = reserved
        try:
            format_, path, body = self.provider.request(query)
        except Rejected as error:
            self.failures[query.key] = f"{query.settings.model.use}: {error}"
            self._give_back(query.key)
            found.refused.add(query.key)
            return
        shard = self._shard(query.settings.model, format_, path)
        line = shard.api.line(query.key.hex(), body, path)
        if not shard.has_room(line) and shard.requests:
            self._close(shard, found)
            shard = self._shard(query.settings.model, format_, path)
        shard.add(query, line, experiment, most)

    def _shard(self, model: Model, format_: str, path: str) -> Shard:
        """Return the open shard of a model: each new one is of the next of its accounts."""
        name = (model.lane, format_, path)
        shard = self._shards.get(name)
        if shard is None or shard.file.closed:
            places = self.provider.places(model)
            place = places[self._n_shards % len(places)]
            self._n_shards += 1
            shard = self._shards[name] = new_shard(
                self.journal, self.provider.api(place, format_), place, format_, path
            )  # fmt: skip
        return shard

    def _close(self, shard: Shard, found: Gathered) -> None:
        if shard.file.closed or not shard.requests:
            return
        keys = [kept.key for kept in shard.requests]
        found.planned.append(shard.close(self.journal, self.study, self.run))
        shard.requests = []
        self.claims.release(keys)  # from now on the journal holds them

    def _give_back(self, key: Digest) -> None:
        self.claims.release([key])
        for budget, most_usd in self.reserved.pop(key, ()):
            budget.settle_usd(most_usd, None)
