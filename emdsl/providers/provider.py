"""The Provider protocol: who answers queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from emdsl.query import Query, Response


class Provider(Protocol):
    """Answers a query once; raises ProviderError, whose class says whether asking again can help."""

    async def ask(self, query: Query) -> Response:
        """Return what the model answers."""
