"""The Store protocol, and a store in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from emdsl.digest import Digest
    from emdsl.query import Query, Response


class Store(Protocol):
    """Answers by key. What `put` has acknowledged is never lost; what is stored first stays."""

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        """Return the answers that are stored, by key."""

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """Store an answer; the future is done once it would survive a crash, and holds what is stored."""

    def close(self) -> None:
        """Write what is waiting, and let go of everything."""


class MemoryStore:
    """A store that ends with the process, for tests and simulations."""

    def __init__(self) -> None:
        self.answers: dict[Digest, Response] = {}

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        """See Store."""
        return {k: self.answers[k] for k in keys if k in self.answers}

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """See Store."""
        import asyncio  # noqa: PLC0415 - 30 ms that only asking should cost

        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        future.set_result(self.answers.setdefault(query.key, response))
        return future

    def close(self) -> None:
        """See Store."""
