"""The Provider protocol: who answers queries; and Format, how one kind of server is spoken to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.providers.limits import Limits
    from emdsl.query import Model, Query, Response


class Provider(Protocol):
    """Answers a query once; raises ProviderError, whose class says whether asking again can help."""

    def accounts(self, model: Model) -> int:
        """Return by how many accounts, each with a pace of its own, a model can be asked."""

    async def ask(self, query: Query, account: int, on_limits: Callable[[Limits], None], /) -> Response:
        """Return what the model answers; `on_limits` gets what the server says of its limits."""


class Format(Protocol):
    """A wire format: pure functions of queries and replies."""

    def path(self, query: Query) -> str:
        """Return where a query is sent, behind the base URL."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the headers that go with an API key."""

    def encode(self, query: Query) -> bytes:
        """Return the body of a request as JSON; raises Rejected for what the format cannot say."""

    def read(self, reply: Mapping[str, Any]) -> Response:
        """Return a reply as a response; raises Unavailable for one that is not of the format."""
