"""Batches of Anthropic. Sources: "Batch processing", "Errors", and the reference of message batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from emdsl.providers.batch_account import AccountBatches, entries_of, seconds_of
from emdsl.providers.batches import Batch, BatchLimits, Left, Line, Phase
from emdsl.providers.transfers import FileBody
from emdsl.providers.wire import Count, Lenient, LenientText, Wire, as_json, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATH = "/messages/batches"
PAGE = 100  # batches
_PHASES = {"in_progress": Phase.RUNNING, "canceling": Phase.CANCELLING, "ended": Phase.ENDED}
_LEFT = {"expired": Left.EXPIRED, "canceled": Left.CANCELLED}
_STATUSES = {  # of the types of errors
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip


class _Counts(Wire):
    processing: Count = None
    succeeded: Count = None
    errored: Count = None
    canceled: Count = None
    expired: Count = None


class _Batch(Wire):
    id: str
    processing_status: LenientText = None
    created_at: Any = None
    expires_at: Any = None
    request_counts: Annotated[_Counts | None, Lenient] = None
    results_url: LenientText = None


class AnthropicBatches(AccountBatches):
    """The batch API of Anthropic: `create` sends the lines, and batches have no name; see BatchApi."""

    limits = BatchLimits(requests=100_000, size=255_000_000, hours=24)  # 256 MB with the list around the lines
    tagged = False

    def line(self, custom_id: str, body: bytes, path: str) -> bytes:  # noqa: ARG002 - of the protocol: all are messages
        """See BatchApi."""
        return b'{"custom_id":%b,"params":%b}\n' % (as_json(custom_id), body)

    async def upload(self, shard: Path, tag: str) -> str:  # noqa: ARG002 - of the protocol: `create` sends the lines
        """See BatchApi."""
        return ""

    async def create(self, shard: Path, upload: str, *, tag: str, path: str) -> Batch:  # noqa: ARG002 - of the protocol: nothing is uploaded before, and all are messages
        """See BatchApi."""
        body = FileBody(file=shard, before=b'{"requests":[', after=b"]}", listed=True)
        reply, _ = await self._account.send("POST", self._account.url(PATH), {}, body)
        return self._read(reply)

    async def discard(self, batch: Batch) -> None:
        """Do nothing: no file was uploaded."""

    def _url(self, batch: str) -> str:
        return self._account.url(f"{PATH}/{quote(batch, safe='')}")

    def _results_url(self, place: str) -> str:
        return f"{self._url(place)}/results"

    async def _pages(self, since: float) -> AsyncIterator[list[Batch]]:  # noqa: ARG002 - it lists all
        after: dict[str, str] = {}
        while True:
            reply = await self._account.call("GET", self._account.url(PATH, limit=PAGE, **after))
            page = [self._read(x) for x in entries_of(reply, "data")]
            yield page
            if not page or not reply.get("has_more"):
                return
            after = {"after_id": page[-1].id}

    def _read(self, reply: Any) -> Batch:
        typed = parse(_Batch, reply)
        counts = typed.request_counts or _Counts()
        total = sum(getattr(counts, name) or 0 for name in _Counts.model_fields)
        return Batch(
            id=typed.id,
            phase=_PHASES.get(typed.processing_status or "", Phase.RUNNING),
            total=total or None,
            answered=counts.succeeded or 0,
            failed=counts.errored or 0,
            created_at=seconds_of(typed.created_at),
            expires_at=seconds_of(typed.expires_at),
            results=(typed.id,) if typed.results_url else (),  # their path is published: keys go to no other URL
        )

    def _line(self, row: dict[str, Any]) -> Line:
        custom_id, result = row.get("custom_id"), row.get("result")
        custom_id = custom_id if isinstance(custom_id, str) else ""
        kind = result.get("type") if isinstance(result, dict) else None
        if not isinstance(result, dict) or not isinstance(kind, str):
            return self._account.unreadable(custom_id)
        if kind in _LEFT:
            return Line(custom_id, left=_LEFT[kind])
        if kind == "succeeded":
            return self._account.answered(custom_id, result.get("message"))
        error = result.get("error")
        if not isinstance(error, dict):
            return self._account.unreadable(custom_id)
        inner = error["error"] if isinstance(error.get("error"), dict) else error
        return self._account.failed(custom_id, _STATUSES.get(str(inner.get("type"))), inner)
