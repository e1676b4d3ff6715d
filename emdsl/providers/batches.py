"""Batches: requests that a provider answers together, within a day and at half the price. Values and protocol."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.errors import ProviderError
    from emdsl.query import Model, Query, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """The bounds of one batch."""

    requests: int
    size: int  # bytes of its encoded requests
    hours: int  # from its creation until the requests without an answer expire


class Phase(enum.Enum):
    """How far a provider has come with a batch."""

    RUNNING = "running"  # accepted, waiting or under way
    CANCELLING = "cancelling"  # some of its requests may still be answered
    ENDED = "ended"  # each request has an answer or an error, or was left out
    REFUSED = "refused"  # as a whole: no request was processed


class Left(enum.Enum):
    """Why a request of a batch that has ended was never processed."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as its provider reports it. Times are seconds since 1970."""

    id: str
    phase: Phase
    total: int | None = None  # requests; None if the provider does not say
    answered: int = 0
    failed: int = 0
    created_at: float | None = None
    expires_at: float | None = None
    tag: str | None = None  # the name that it was created with; None if the provider does not show it
    results: tuple[str, ...] = ()  # where its results are, once it has ended: ids of files, or URLs
    inputs: tuple[str, ...] = ()  # ids of the uploaded files of its requests
    error: ProviderError | None = None  # why it was refused


@dataclass(frozen=True, slots=True)
class Line:
    """The result of one request: an answer, an error as for a request sent alone, or why it was left out."""

    custom_id: str
    response: Response | None = None
    error: ProviderError | None = None
    left: Left | None = None


BATCH_CODES = {"batch_expired": Left.EXPIRED, "batch_cancelled": Left.CANCELLED}  # of errors, in OpenAI's format


def key_of(custom_id: object) -> Digest | None:
    """Return the key that a result names, in 64 characters of hex; None for any other name."""
    try:
        key = bytes.fromhex(custom_id) if isinstance(custom_id, str) else b""
    except ValueError:
        return None
    return key if len(key) == 32 and key.hex() == custom_id else None


class BatchApi(Protocol):
    """The batch API of one account of one model. All calls over the network raise ProviderError.

    A batch is created in two steps, `upload` and `create`, so that the caller can record each. `upload` may be
    repeated: a file alone costs nothing. A `create` whose reply was lost may have created the batch: `list_recent`
    finds it.
    """

    limits: BatchLimits
    tagged: bool  # whether `list_recent` shows the tag of each batch

    def line(self, custom_id: str, body: bytes, path: str) -> bytes:
        """Return one request as a line of a shard, with its line end.

        Args:
            custom_id: comes back with the result: 64 characters of hex.
            body: of the request, as Format.encode returns it.
            path: of the request, as Format.path returns it.
        """

    async def upload(self, shard: Path, tag: str) -> str:
        """Upload a file of lines in bounded memory; return its id, or "" if `create` sends the lines itself."""

    async def create(self, shard: Path, upload: str, *, tag: str, path: str) -> Batch:
        """Create a batch of the lines of a shard, of which `upload` is the id of the uploaded file."""

    async def get(self, batch: str) -> Batch:
        """Return a batch by its id; raises Rejected with status 404 if it is unknown."""

    def list_recent(self, since: float) -> AsyncIterator[Batch]:
        """Yield the batches of the account that were created after a time, last first."""

    def results(self, batch: Batch) -> AsyncIterator[Line]:
        """Yield the results of a batch that has ended, in any order and in bounded memory.

        A line that cannot be read is an error of its request; a request of which the provider says nothing has no line.
        """

    async def cancel(self, batch: str) -> Batch:
        """Cancel a batch; requests that were answered before are still among its results."""

    async def discard(self, batch: Batch) -> None:
        """Delete the uploaded file of a batch whose results are stored; errors are ignored."""


class BatchProvider(Protocol):
    """The batch APIs of all models. A place is where and as whom a model is asked, as JSON without any secret."""

    def places(self, model: Model) -> Sequence[Mapping[str, Any]]:
        """Return the places of a model: one for each of its API keys."""

    def model(self, place: Mapping[str, Any]) -> Model:
        """Return the model of a place, with its price."""

    def request(self, query: Query) -> tuple[str, str, bytes]:
        """Return the name of a request's format, its path and its body; raises Rejected if it cannot be expressed."""

    def api(self, place: Mapping[str, Any], format_: str) -> BatchApi:
        """Return the batch API of a place; raises SetupError if its API key is not set."""
