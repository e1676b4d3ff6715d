"""The Store protocol, and a store in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping

    from emdsl.digest import Digest
    from emdsl.query import Query, Response


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
