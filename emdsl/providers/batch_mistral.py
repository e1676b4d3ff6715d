"""Batches of Mistral. Sources: "Batch Processing", "Known limitations", and the reference of batch jobs and files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from emdsl.errors import ProviderError, Unavailable
from emdsl.providers.batch_account import BAD_REQUEST, CLOCKS_S, entries_of, seconds_of
from emdsl.providers.batch_openai import PAGE, TAG, OpenAIBatches, tag_in
from emdsl.providers.batches import Batch, BatchLimits, Phase
from emdsl.providers.wire import Count, Lenient, LenientText, Wire, as_json, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HOUR_S = 3600.0
_PHASES = {
    "CANCELLATION_REQUESTED": Phase.CANCELLING, "SUCCESS": Phase.ENDED, "TIMEOUT_EXCEEDED": Phase.ENDED,
    "CANCELLED": Phase.ENDED, "FAILED": Phase.REFUSED,
}  # fmt: skip


class _Failure(Wire):
    message: LenientText = None


class _Job(Wire):
    id: str
    status: LenientText = None
    created_at: Any = None
    total_requests: Count = None
    succeeded_requests: Count = None
    failed_requests: Count = None
    metadata: Any = None
    input_files: Annotated[tuple[str, ...] | None, Lenient] = None
    output_file: LenientText = None
    error_file: LenientText = None
    errors: Annotated[tuple[_Failure, ...] | None, Lenient] = None


class MistralBatches(OpenAIBatches):
    """The batch API of Mistral: its results have OpenAI's format, its jobs have not; see BatchApi."""

    limits = BatchLimits(requests=100_000, size=500_000_000, hours=24)
    _batches = "/batch/jobs"

    def line(self, custom_id: str, body: bytes, path: str) -> bytes:  # noqa: ARG002 - of the protocol: the path is the job's
        """See BatchApi."""
        return b'{"custom_id":%b,"body":%b}\n' % (as_json(custom_id), body)

    def _creation(self, upload: str, tag: str, path: str) -> dict[str, Any]:
        return {
            "input_files": [upload], "model": self._account.model, "endpoint": f"/v1{path}", "metadata": {TAG: tag},
            "timeout_hours": self.limits.hours,
        }  # fmt: skip

    async def _pages(self, since: float) -> AsyncIterator[list[Batch]]:
        after = datetime.fromtimestamp(max(since - CLOCKS_S, 0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        number = 0
        while True:
            url = self._account.url(
                self._batches, page=number, page_size=PAGE, created_after=after, order_by="-created"
            )
            reply = await self._account.call("GET", url)
            page = [self._read(x) for x in entries_of(reply, "data")]
            yield page
            if len(page) < PAGE:
                return
            number += 1

    def _read(self, reply: Any) -> Batch:
        job = parse(_Job, reply)
        results = tuple(f for f in (job.output_file, job.error_file) if f)
        phase = _PHASES.get((job.status or "").upper(), Phase.RUNNING)
        if phase is Phase.REFUSED and results:
            phase = Phase.ENDED  # it failed on the way: some requests were processed
        created_at = seconds_of(job.created_at)
        return Batch(
            id=job.id,
            phase=phase,
            total=job.total_requests or None,
            answered=job.succeeded_requests or 0,
            failed=job.failed_requests or 0,
            created_at=created_at,
            expires_at=created_at + self.limits.hours * _HOUR_S if created_at is not None else None,
            tag=tag_in(job.metadata),
            results=results if phase is Phase.ENDED else (),
            inputs=job.input_files or (),
            error=self._why_failed(job) if phase is Phase.REFUSED else None,
        )

    def _why_failed(self, job: _Job) -> ProviderError:
        message = next((e.message for e in job.errors or () if e.message), None)
        if message is None:
            return Unavailable("the batch failed, and the provider gave no reason")
        return self._account.refusal(BAD_REQUEST, {"message": message})
