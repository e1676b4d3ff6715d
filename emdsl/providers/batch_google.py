"""Batches of Gemini. Sources: "Batch API", "Files API", and the reference of batches.

google.rpc.Code gives the HTTP status of each code of an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from emdsl.errors import ProviderError, Rejected, Unavailable
from emdsl.providers.address import is_encrypted, server_of
from emdsl.providers.batch_account import AccountBatches, entries_of, of_batch, seconds_of
from emdsl.providers.batches import Batch, BatchLimits, Left, Line, Phase
from emdsl.providers.http_errors import OK
from emdsl.providers.transfers import FileBody
from emdsl.providers.wire import Lenient, LenientText, Wire, as_json, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PAGE = 100  # batches
HTTP_STATUSES = 100  # from which a code is an HTTP status itself
_HOUR_S = 3600.0
_ASK, _ASK_LATER = ":generateContent", ":batchGenerateContent"
_JSONL = "application/jsonl"
_CANCELLED = 1
_CODES = {  # of google.rpc.Status: name and HTTP status
    1: ("CANCELLED", 499), 2: ("UNKNOWN", 500), 3: ("INVALID_ARGUMENT", 400), 4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404), 6: ("ALREADY_EXISTS", 409), 7: ("PERMISSION_DENIED", 403), 8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400), 10: ("ABORTED", 409), 11: ("OUT_OF_RANGE", 400), 12: ("UNIMPLEMENTED", 501),
    13: ("INTERNAL", 500), 14: ("UNAVAILABLE", 503), 15: ("DATA_LOSS", 500), 16: ("UNAUTHENTICATED", 401),
}  # fmt: skip


class _Stats(Wire):
    requestCount: Any = None
    successfulRequestCount: Any = None
    failedRequestCount: Any = None


class _Input(Wire):
    fileName: LenientText = None


class _Output(Wire):
    responsesFile: LenientText = None
    inlinedResponses: Any = None

    @property
    def inlined(self) -> list[Any]:
        """The results of a batch without a file."""
        responses = self.inlinedResponses
        responses = responses.get("inlinedResponses") if isinstance(responses, dict) else responses
        return responses if isinstance(responses, list) else []


class _Metadata(Wire):
    state: LenientText = None
    displayName: LenientText = None
    createTime: Any = None
    batchStats: Annotated[_Stats | None, Lenient] = None
    inputConfig: Annotated[_Input | None, Lenient] = None
    output: Annotated[_Output | None, Lenient] = None


class _Operation(Wire):
    name: str
    done: bool | None = None
    metadata: Annotated[_Metadata | None, Lenient] = None
    response: Annotated[_Output | None, Lenient] = None
    error: Any = None

    @property
    def output(self) -> _Output:
        """Where the results are."""
        return self.response or (self.metadata.output if self.metadata else None) or _Output()


class GoogleBatches(AccountBatches):
    """The batch API of Gemini; see BatchApi."""

    # A file may have 2 GB and any number of requests; the display name is the tag.
    limits = BatchLimits(requests=100_000, size=200_000_000, hours=48)
    tagged = True

    def line(self, custom_id: str, body: bytes, path: str) -> bytes:  # noqa: ARG002 - of the protocol: the path is the batch's
        """See BatchApi."""
        return b'{"key":%b,"request":%b}\n' % (as_json(custom_id), body)

    async def upload(self, shard: Path, tag: str) -> str:
        """See BatchApi."""
        size = shard.stat().st_size  # noqa: ASYNC240 - a local file's size takes no time
        start = {
            "X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(size), "X-Goog-Upload-Header-Content-Type": _JSONL,
        }  # fmt: skip
        about = as_json({"file": {"display_name": tag}})
        _, headers = await self._account.send("POST", self._account.url("/files", area="upload"), start, about)
        url = headers.get("X-Goog-Upload-URL")
        if not url:
            raise Unavailable("the reply to an upload has no URL to send the file to", status=OK)
        if is_encrypted(self._account.base) and not is_encrypted(url):
            raise Rejected(f"{server_of(self._account.base)} names an unencrypted address for an upload", status=OK)
        whole = {
            "X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize", "Content-Type": _JSONL,
        }  # fmt: skip
        reply, _ = await self._account.send("POST", url, whole, FileBody(file=shard))
        file = reply.get("file") if isinstance(reply, dict) else None
        name = file.get("name") if isinstance(file, dict) else None
        if not isinstance(name, str) or not name:
            raise Unavailable("the reply to an upload has no name of a file", status=OK)
        return name

    async def create(self, shard: Path, upload: str, *, tag: str, path: str) -> Batch:  # noqa: ARG002 - of the protocol: the shard is uploaded before
        """See BatchApi."""
        content = {"batch": {"display_name": tag, "input_config": {"file_name": upload}}}
        url = self._account.url(path.removesuffix(_ASK) + _ASK_LATER)
        return self._read(await self._account.call("POST", url, content))

    async def results(self, batch: Batch) -> AsyncIterator[Line]:
        """See BatchApi."""
        if batch.results == (batch.id,):
            reply = await self._account.call("GET", self._url(batch.id))
            for row in parse(_Operation, reply).output.inlined:
                yield of_batch(self._line(row) if isinstance(row, dict) else self._account.unreadable(""), batch)
            return
        async for line in super().results(batch):
            yield line

    async def discard(self, batch: Batch) -> None:
        """See BatchApi."""
        await self._account.delete(*map(self._file_url, batch.inputs))

    def _url(self, batch: str) -> str:
        return self._account.url(f"/{quote(batch)}")

    def _cancel_url(self, batch: str) -> str:
        return f"{self._url(batch)}:cancel"

    def _file_url(self, file: str) -> str:
        return self._account.url(f"/{quote(file)}")

    def _results_url(self, place: str) -> str:
        return self._account.url(f"/{quote(place)}:download", area="download", alt="media")

    async def _pages(self, since: float) -> AsyncIterator[list[Batch]]:  # noqa: ARG002 - it lists all
        after: dict[str, str] = {}
        while True:
            reply = await self._account.call("GET", self._account.url("/batches", pageSize=PAGE, **after))
            page = [self._read(x) for x in entries_of(reply, "operations")]
            yield page
            token = reply.get("nextPageToken") if isinstance(reply, dict) else None
            if not page or not isinstance(token, str) or not token:
                return
            after = {"pageToken": token}

    def _read(self, reply: Any) -> Batch:
        typed = parse(_Operation, reply)
        about = typed.metadata or _Metadata()
        stats, phase, results = about.batchStats or _Stats(), _phase(typed), _places(typed)
        created_at = seconds_of(about.createTime)
        return Batch(
            id=typed.name,
            phase=phase,
            total=_count(stats.requestCount) or None,
            answered=_count(stats.successfulRequestCount),
            failed=_count(stats.failedRequestCount),
            created_at=created_at,
            expires_at=created_at + self.limits.hours * _HOUR_S if created_at is not None else None,
            tag=about.displayName,
            results=results if phase is Phase.ENDED else (),
            inputs=(about.inputConfig.fileName,) if about.inputConfig and about.inputConfig.fileName else (),
            error=self._why_failed(typed) if phase is Phase.REFUSED else None,
        )

    def _why_failed(self, operation: _Operation) -> ProviderError:
        if not isinstance(operation.error, dict):
            return Unavailable("the batch failed, and the provider gave no reason")
        return self._account.refusal(*_as_http(operation.error))

    def _line(self, row: dict[str, Any]) -> Line:
        about = row.get("metadata")
        key = row.get("key") or (about.get("key") if isinstance(about, dict) else None)
        key = key if isinstance(key, str) else ""
        response, error = row.get("response"), row.get("error") or row.get("status")
        if isinstance(response, dict) and not error:
            return self._account.answered(key, response)
        if not isinstance(error, dict):
            return self._account.unreadable(key)
        if error.get("code") == _CANCELLED:
            return Line(key, left=Left.CANCELLED)
        return self._account.failed(key, *_as_http(error))


def _phase(operation: _Operation) -> Phase:
    """Return how far a batch is: it has ended once its operation is done, or shows its results."""
    state = (operation.metadata.state if operation.metadata else None) or ""
    state = state.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    code = operation.error.get("code") if isinstance(operation.error, dict) else None
    if _places(operation) or state in ("CANCELLED", "EXPIRED") or (operation.done and code == _CANCELLED):
        return Phase.ENDED
    if state == "FAILED" or (operation.done and code is not None):
        return Phase.REFUSED
    if operation.done:
        return Phase.ENDED
    return Phase.CANCELLING if state == "CANCELLING" else Phase.RUNNING


def _places(operation: _Operation) -> tuple[str, ...]:
    """Return where the results of a batch are: a file, or the batch itself."""
    if operation.output.responsesFile:
        return (operation.output.responsesFile,)
    return (operation.name,) if operation.output.inlined else ()


def _as_http(error: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return a google.rpc.Status as HTTP status and as body of an error."""
    code = error.get("code")
    if isinstance(code, int) and code >= HTTP_STATUSES:
        return code, {"error": error}
    name, status = _CODES.get(code, _CODES[2]) if isinstance(code, int) else _CODES[2]
    return status, {"error": {"status": name, **error, "code": status}}


def _count(number: Any) -> int:
    """Return a number that JSON may have as a text."""
    return int(number) if str(number).isdecimal() else 0
