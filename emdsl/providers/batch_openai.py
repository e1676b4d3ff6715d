"""Batches of OpenAI, and of Groq and Together, whose APIs are like it.

Sources: OpenAI, "Batch API" and the reference of batches and files; Groq, the reference of batches and files;
Together, "Batch processing" (overview, tutorial, manage batch jobs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from emdsl.errors import ProviderError, Unavailable
from emdsl.providers.batch_account import AccountBatches, entries_of, read_line, seconds_of
from emdsl.providers.batches import BATCH_CODES, Batch, BatchLimits, Line, Phase
from emdsl.providers.http_errors import OK
from emdsl.providers.transfers import file_name, form
from emdsl.providers.wire import Count, Lenient, LenientText, Wire, as_json, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from emdsl.providers.batch_account import BatchAccount

TAG = "emdsl"  # the name of the tag among the metadata
PAGE = 100  # batches, the maximum
_PHASES = {
    "cancelling": Phase.CANCELLING, "completed": Phase.ENDED, "expired": Phase.ENDED, "cancelled": Phase.ENDED,
    "failed": Phase.REFUSED,
}  # fmt: skip
_ENQUEUED = "token_limit_exceeded"  # of all batches that wait: it passes as they end
_LATER, _NEVER = 429, 400  # statuses of the two kinds of refusals


class _Counts(Wire):
    total: Count = None
    completed: Count = None
    failed: Count = None


class _Batch(Wire):
    id: str
    status: LenientText = None
    created_at: Any = None
    expires_at: Any = None
    job_deadline: Any = None  # Together's
    request_counts: Annotated[_Counts | None, Lenient] = None
    metadata: Any = None
    input_file_id: LenientText = None
    output_file_id: LenientText = None
    error_file_id: LenientText = None
    errors: Any = None
    error: Any = None  # Together's


class OpenAIBatches(AccountBatches):
    """The batch API of OpenAI; see BatchApi."""

    limits = BatchLimits(requests=50_000, size=200_000_000, hours=24)
    tagged = True
    _files, _uploads, _batches = "/files", "/files", "/batches"
    _purpose = "batch"

    def line(self, custom_id: str, body: bytes, path: str) -> bytes:
        """See BatchApi."""
        return b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}\n' % (
            as_json(custom_id), as_json(_endpoint(path)), body,
        )  # fmt: skip

    async def upload(self, shard: Path, tag: str) -> str:
        """See BatchApi."""
        body, kind = form(self._form(file_name(tag)), shard, file_name(tag))
        reply, _ = await self._account.send("POST", self._account.url(self._uploads), {"Content-Type": kind}, body)
        file = reply.get("id") if isinstance(reply, dict) else None
        if not isinstance(file, str) or not file:
            raise Unavailable("the reply to an upload has no id of a file", status=OK)
        return file

    async def create(self, shard: Path, upload: str, *, tag: str, path: str) -> Batch:  # noqa: ARG002 - of the protocol: the shard is uploaded before
        """See BatchApi."""
        return self._read(
            await self._account.call("POST", self._account.url(self._batches), self._creation(upload, tag, path))
        )

    async def discard(self, batch: Batch) -> None:
        """See BatchApi."""
        await self._account.delete(*map(self._file_url, batch.inputs))

    def _url(self, batch: str) -> str:
        return self._account.url(f"{self._batches}/{quote(batch, safe='')}")

    def _file_url(self, file: str) -> str:
        return self._account.url(f"{self._files}/{quote(file, safe='')}")

    def _results_url(self, place: str) -> str:
        return f"{self._file_url(place)}/content"

    def _line(self, row: dict[str, Any]) -> Line:
        return result_of(self._account, row)

    def _form(self, name: str) -> Mapping[str, str]:  # noqa: ARG002 - Together's form has the name
        """Return the fields of an upload."""
        return {"purpose": self._purpose}

    def _creation(self, upload: str, tag: str, path: str) -> dict[str, Any]:
        """Return the body that creates a batch."""
        window = f"{self.limits.hours}h"
        return {
            "input_file_id": upload, "endpoint": _endpoint(path), "completion_window": window, "metadata": {TAG: tag},
        }  # fmt: skip

    async def _pages(self, since: float) -> AsyncIterator[list[Batch]]:  # noqa: ARG002 - Mistral's list begins there
        after: dict[str, str] = {}
        while True:
            reply = await self._account.call("GET", self._account.url(self._batches, limit=PAGE, **after))
            page = [self._read(x) for x in entries_of(reply, "data")]
            yield page
            if not page or not reply.get("has_more"):
                return
            after = {"after": page[-1].id}

    def _read(self, reply: Any) -> Batch:
        typed = parse(_Batch, reply)
        counts = typed.request_counts or _Counts()
        results = tuple(f for f in (typed.output_file_id, typed.error_file_id) if f)
        phase = _PHASES.get((typed.status or "").lower(), Phase.RUNNING)
        if phase is Phase.REFUSED and results:
            phase = Phase.ENDED  # it failed on the way: some requests were processed
        return Batch(
            id=typed.id,
            phase=phase,
            total=counts.total or None,  # 0 before it is validated
            answered=counts.completed or 0,
            failed=counts.failed or 0,
            created_at=seconds_of(typed.created_at),
            expires_at=seconds_of(typed.expires_at or typed.job_deadline),
            tag=tag_in(typed.metadata),
            results=results if phase is Phase.ENDED else (),
            inputs=(typed.input_file_id,) if typed.input_file_id else (),
            error=self._refusal(typed) if phase is Phase.REFUSED else None,
        )

    def _refusal(self, batch: _Batch) -> ProviderError:
        """Return why a batch failed in its validation, by the first of its errors."""
        entries = batch.errors.get("data") if isinstance(batch.errors, dict) else batch.errors
        first = entries[0] if isinstance(entries, list) and entries else batch.error
        if not first:
            return Unavailable("the batch failed, and the provider gave no reason")
        if not isinstance(first, dict):
            return self._account.refusal(_NEVER, {"error": {"message": str(first)}})
        message, line = first.get("message") or "the batch is not valid", first.get("line")
        shown = f"{message} (line {line} of the batch)" if isinstance(line, int) else message
        status = _LATER if first.get("code") == _ENQUEUED else _NEVER
        return self._account.refusal(status, {"error": {"message": shown, "code": first.get("code")}})


class GroqBatches(OpenAIBatches):
    """The batch API of Groq; its reference of files gives the smaller of two limits of size."""

    limits = BatchLimits(requests=50_000, size=100_000_000, hours=24)


class TogetherBatches(OpenAIBatches):
    """The batch API of Together: its batches have no metadata, but show the file of their requests."""

    limits = BatchLimits(requests=50_000, size=100_000_000, hours=24)
    tagged = False
    _uploads, _purpose = "/files/upload", "batch-api"

    def line(self, custom_id: str, body: bytes, path: str) -> bytes:  # noqa: ARG002 - of the protocol: the path is the batch's
        """See BatchApi."""
        return b'{"custom_id":%b,"body":%b}\n' % (as_json(custom_id), body)

    def _form(self, name: str) -> Mapping[str, str]:
        return {"purpose": self._purpose, "file_name": name}

    def _creation(self, upload: str, tag: str, path: str) -> dict[str, Any]:  # noqa: ARG002 - no metadata
        return {"input_file_id": upload, "endpoint": _endpoint(path)}

    async def _pages(self, since: float) -> AsyncIterator[list[Batch]]:  # noqa: ARG002 - it lists all
        reply = await self._account.call("GET", self._account.url(self._batches))
        listed = {"data": reply} if isinstance(reply, list) else reply
        yield [self._read(x) for x in entries_of(listed, "data")]

    def _read(self, reply: Any) -> Batch:
        wrapped = reply.get("job") if isinstance(reply, dict) else None
        return super()._read(wrapped if isinstance(wrapped, dict) else reply)


def result_of(account: BatchAccount, row: dict[str, Any]) -> Line:
    """Return the result in a line of an output file or an error file."""
    custom_id, response, error = row.get("custom_id"), row.get("response"), row.get("error")
    custom_id = custom_id if isinstance(custom_id, str) else ""
    if not isinstance(response, dict):
        code = error.get("code") if isinstance(error, dict) else None
        if isinstance(code, str) and code in BATCH_CODES:
            return Line(custom_id, left=BATCH_CODES[code])
        return account.failed(custom_id, None, error) if error else account.unreadable(custom_id)
    status, body = response.get("status_code"), response.get("body")
    status = int(str(status)) if str(status).isdecimal() else OK
    if status != OK:
        return account.failed(custom_id, status, body or error or {})
    return account.answered(custom_id, read_line(body.encode()) if isinstance(body, str) else body)


def tag_in(metadata: Any) -> str | None:
    """Return the tag among the metadata of a batch."""
    tag = metadata.get(TAG) if isinstance(metadata, dict) else None
    return tag if isinstance(tag, str) else None


def _endpoint(path: str) -> str:
    return f"/v1{path}"
