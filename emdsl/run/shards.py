"""Shards: the pending requests that go by batches, written to files and to the journal."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from emdsl.files import file_digest, private, try_lock
from emdsl.query import ingredients
from emdsl.store.journal import BatchRecord, BatchRequest, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.providers.batches import BatchApi
    from emdsl.query import Query, RequestSettings
    from emdsl.store.journal import Journal

PREFIX = "emdsl-"  # of the names of batches


class Kept(NamedTuple):
    """What the journal needs of a request, without its prompt."""

    key: Digest
    settings: RequestSettings
    messages: Digest  # of its prompt
    sample: int
    tries: int
    experiment: str
    most_usd: Decimal | None


@dataclass(slots=True)
class Shard:
    """A file of requests under way, for one batch."""

    name: str
    path: Path
    file: IO[bytes]
    place: Mapping[str, Any]
    format: str
    request_path: str
    api: BatchApi
    requests: list[Kept] = field(default_factory=list)
    size: int = 0

    def has_room(self, line: bytes) -> bool:
        """Whether the batch may hold one more request."""
        limits = self.api.limits
        return len(self.requests) < limits.requests and self.size + len(line) <= limits.size

    def add(self, query: Query, line: bytes, experiment: str, most_usd: Decimal | None) -> None:
        """Write a request."""
        self.file.write(line)
        self.size += len(line)
        messages = query.prompt.digest
        self.requests.append(
            Kept(query.key, query.settings, messages, query.sample, query.tries, experiment, most_usd)
        )  # fmt: skip

    def close(self, journal: Journal, study: str, run: str) -> BatchRecord:
        """Sync the file, and write the batch down in the journal; raises Held and StoreError."""
        self.file.flush()
        os.fsync(self.file.fileno())
        _sync_folder(self.path.parent)
        record = BatchRecord(
            name=self.name, state=State.PLANNED, place=self.place, format=self.format, path=self.request_path,
            study=study, run=run, n=len(self.requests), size=self.size, sha256=file_digest(self.path).hex(),
            planned_at=time.time(), shard=str(self.path.relative_to(journal.folder)),
        )  # fmt: skip
        journal.plan(record, self._requests())
        self.file.close()
        return record

    def drop(self, journal: Journal) -> None:
        """Delete the file of a shard that no batch holds."""
        if not self.file.closed:
            with suppress(OSError):  # on a full disk, what is not written yet
                self.file.close()
            if journal.get(self.name) is None:
                self.path.unlink(missing_ok=True)

    def _requests(self) -> Iterator[BatchRequest]:
        for kept in self.requests:
            yield BatchRequest(
                key=kept.key, ingredients=ingredients(kept.settings, kept.messages.hex(), kept.sample, kept.tries),
                experiment=kept.experiment, most_usd=kept.most_usd,
            )  # fmt: skip


def new_shard(
    journal: Journal, api: BatchApi, place: Mapping[str, Any], format_: str, request_path: str
) -> Shard:  # fmt: skip
    """Return an empty shard with a name of its own."""
    name = PREFIX + secrets.token_hex(8)
    path = journal.shards / f"{name}.jsonl"
    file = open(path, "wb", opener=private)  # noqa: SIM115 - `close` or `drop` closes it
    if not try_lock(file) or not path.exists():  # `sweep` of another process has just met it
        file.close()
        path.unlink(missing_ok=True)
        return new_shard(journal, api, place, format_, request_path)
    return Shard(name, path, file, place, format_, request_path, api)


def sweep(journal: Journal) -> None:
    """Delete the files of processes that died before they had written down a batch."""
    for path in journal.shards.glob(f"{PREFIX}*.jsonl"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if try_lock(file, shared=True) and journal.get(path.stem) is None:
                path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
