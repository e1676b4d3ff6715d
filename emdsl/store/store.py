"""The protocols of a store of answers and of claims, and a store in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.query import Query, Response
    from emdsl.store.removals import StoreVersion, Trashed


class Store(Protocol):
    """Answers by key. An acknowledged answer is never lost; the first answer of a key stays."""

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        """Return the stored answers by key."""

    def sample(self, n: int) -> list[tuple[Mapping[str, Any], Response]]:
        """Return at most n of the answers, from all times, each with the ingredients of its key."""

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """Store an answer; the future is done when it would survive a crash, and holds the stored answer."""

    def close(self) -> None:
        """Write pending answers and close everything."""


class AnswerStore(Store, Protocol):
    """A store with its entries as bytes and its trash, on disk or on a server. Methods raise StoreError.

    An entry is an answer with the ingredients of its key and a checksum, as `codec` makes it; it is the same in every
    store.
    """

    corrupt: set[Digest]  # keys of the damaged entries that were met
    network: bool  # whether it is a file on a network file system, which one machine alone may use

    def entries(self, keys: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """Yield stored entries as bytes, in no order."""

    def stored(self, keys: Iterable[Digest]) -> list[Digest]:
        """Return the keys that have an entry, without reading it."""

    def keys(self) -> Iterator[Digest]:
        """Yield the keys of all entries of emdsl in the order of storing, without reading an entry."""

    def each(self) -> Iterator[tuple[Digest, bytes | None]]:
        """Yield all entries in the order of storing; None for one that emdsl did not write."""

    def adopt(self, entries: Iterable[tuple[Digest, bytes]]) -> tuple[int, int]:
        """Add entries of another store unless a sound one is stored; return how many are new, and how many are not."""

    def state(self) -> StoreVersion:
        """Return the version, which changes whenever entries come or go."""

    def still_holds(self, before: StoreVersion) -> bool:
        """Whether every entry of an earlier version is still stored: none was removed, and no backup restored."""

    def damage(self) -> str:
        """Return a description of damage to the whole store, or ""."""

    def n_bytes(self) -> int:
        """Return its size."""

    def move_to_trash(self, keys: Iterable[Digest], why: str, name: str = "") -> int:
        """Move entries to the trash, so that they are requested again; return their number."""

    def trash(self) -> list[Trashed]:
        """Return the removals in the trash, last first."""

    def trash_entries(self, name: str) -> list[tuple[Digest, bytes]]:
        """Return the entries of a removal in the trash."""

    def purge(self, name: str | None) -> int:
        """Permanently delete one removal in the trash, or all; return the number of entries."""


class AnyClaims(Protocol):
    """Requests that one process sends and no other process may send. Claims end with their process."""

    @property
    def alone(self) -> bool:
        """Whether no other process has used this store since this one began: then no answer has come."""

    def take(self, keys: Iterable[Digest]) -> set[Digest]:
        """Claim keys, and return those that no other process has claimed. Raises Busy and OSError."""

    def release(self, keys: Iterable[Digest]) -> None:
        """Release keys that are stored or given up; others see it when the next claims are taken."""

    def check(self) -> None:
        """Raise StoreError if the claims are known to be lost; it waits for nothing."""

    def close(self) -> None:
        """Release all claims."""


class MemoryStore:
    """A store that ends with the process, for tests and simulations."""

    def __init__(self) -> None:
        self.answers: dict[Digest, Response] = {}

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        """See Store."""
        return {k: self.answers[k] for k in keys if k in self.answers}

    def sample(self, n: int) -> list[tuple[Mapping[str, Any], Response]]:  # noqa: ARG002 - the protocol gives `n`, a store in memory needs none of it
        """See Store; it keeps no ingredients."""
        return []

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """See Store."""
        import asyncio  # noqa: PLC0415 - 30 ms that only asking should cost

        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        future.set_result(self.answers.setdefault(query.key, response))
        return future

    def close(self) -> None:
        """See Store."""
