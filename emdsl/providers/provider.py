"""Provider, the protocol of what answers queries; Format, the protocol of a wire format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.providers.limits import Limits
    from emdsl.query import Model, Query, Response


class Provider(Protocol):
    """Answers a query once; raises ProviderError, whose class tells whether a retry can help."""

    def accounts(self, model: Model) -> int:
        """Return the number of accounts that serve a model, each with its own rate limits."""

    def usable(self, model: Model, account: int) -> bool:
        """Return whether requests may be sent by an account now: not while its server is down and may come back."""

    async def ask(self, query: Query, account: int, on_limits: Callable[[Limits], None], /) -> Response:
        """Return the model's answer; `on_limits` gets the rate limits that the server reports."""


class Servers(Protocol):
    """The servers that a run has started for some of its models: each is an account of its model."""

    def replicas(self, model: Model) -> int:
        """Return the number of servers of a model; 0 if the run has started none for it."""

    def url(self, model: Model, account: int) -> str | None:
        """Return the base URL of a server, None while it is down; raises Rejected if none of the model comes back."""

    def answered(self, model: Model, account: int, url: str) -> None:
        """Note that a server has answered a request to this URL."""

    async def lost(self, model: Model, account: int, url: str) -> bool:
        """Return whether a server has died under a request to this URL, which got no answer."""


class Format(Protocol):
    """A wire format: pure functions of queries and replies."""

    def path(self, query: Query) -> str:
        """Return the path of a query's request, to append to the base URL."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Return the headers that carry an API key."""

    def encode(self, query: Query) -> bytes:
        """Return the body of a request as JSON; raises Rejected for a query that the format cannot express."""

    def read(self, reply: Mapping[str, Any]) -> Response:
        """Return a reply as a response; raises Unavailable for one that is not of the format."""
