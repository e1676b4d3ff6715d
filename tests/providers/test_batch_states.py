"""The states of batches and the lists of recent ones, as each provider reports them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from providers.batch_server import KEY, URLS, Provider, claude, collect, gemini, mistral, openai, talk

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.providers.batches import Batch, Phase

if TYPE_CHECKING:
    from emdsl.providers.batches import BatchApi

STATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("openai", openai(
        expires_at=99, metadata={"emdsl": "t"}, input_file_id="f1",
        request_counts={"total": 5, "completed": 2, "failed": 1},
    ), {"total": 5, "answered": 2, "failed": 1, "created_at": 9.0, "expires_at": 99.0, "tag": "t", "inputs": ("f1",)}),
    ("openai", openai(status="finalizing", metadata={"other": 1}, request_counts={"total": 0}), {"created_at": 9.0}),
    ("openai", openai(status="a_new_one"), {"created_at": 9.0}),
    ("openai", openai(status="cancelling"), {"created_at": 9.0, "phase": Phase.CANCELLING}),
    ("openai", openai(status="completed", output_file_id="o", error_file_id="e"),
     {"created_at": 9.0, "phase": Phase.ENDED, "results": ("o", "e")}),
    ("openai", openai(status="completed", output_file_id=None, error_file_id="e"),
     {"created_at": 9.0, "phase": Phase.ENDED, "results": ("e",)}),
    ("openai", openai(status="expired", output_file_id="o"),
     {"created_at": 9.0, "phase": Phase.ENDED, "results": ("o",)}),
    ("openai", openai(status="cancelled"), {"created_at": 9.0, "phase": Phase.ENDED}),
    ("openai", openai(status="failed", output_file_id="o"),
     {"created_at": 9.0, "phase": Phase.ENDED, "results": ("o",)}),
    ("groq", openai(status="completed", output_file_id="o"),
     {"created_at": 9.0, "phase": Phase.ENDED, "results": ("o",)}),
    ("together", {
        "id": "b1", "status": "IN_PROGRESS", "created_at": "1970-01-01T00:00:09Z", "input_file_id": "f1",
        "job_deadline": "1970-01-01T00:01:39Z", "progress": 75,
    }, {"created_at": 9.0, "expires_at": 99.0, "inputs": ("f1",)}),
    ("together", {"id": "b1", "status": "COMPLETED", "output_file_id": "o"},
     {"phase": Phase.ENDED, "results": ("o",)}),
    ("mistral", mistral(metadata={"emdsl": "t"}, total_requests=4, succeeded_requests=1, failed_requests=2), {
        "total": 4, "answered": 1, "failed": 2, "created_at": 9.0, "expires_at": 86409.0, "tag": "t",
        "inputs": ("f1",),
    }),
    ("mistral", mistral(status="CANCELLATION_REQUESTED"),
     {"phase": Phase.CANCELLING, "created_at": 9.0, "expires_at": 86409.0, "inputs": ("f1",)}),
    ("mistral", mistral(status="TIMEOUT_EXCEEDED", output_file="o", error_file="e"), {
        "phase": Phase.ENDED, "results": ("o", "e"), "created_at": 9.0, "expires_at": 86409.0, "inputs": ("f1",),
    }),
    ("anthropic", claude(processing_status="canceling", request_counts={"processing": 1, "succeeded": "2"}),
     {"phase": Phase.CANCELLING, "total": 3, "answered": 2, "created_at": 9.0}),
    ("anthropic", claude(
        processing_status="ended", results_url="https://elsewhere.example/steal",
        request_counts={"succeeded": 5, "errored": 3, "canceled": 1, "expired": 1},
    ), {"phase": Phase.ENDED, "total": 10, "answered": 5, "failed": 3, "created_at": 9.0, "results": ("b1",)}),
    ("google", gemini("JOB_STATE_RUNNING", metadata={
        "batchStats": {"requestCount": "5", "successfulRequestCount": "2", "failedRequestCount": "1"},
        "inputConfig": {"fileName": "files/f1"},
    }), {
        "total": 5, "answered": 2, "failed": 1, "created_at": 9.0, "expires_at": 172809.0, "tag": "t",
        "inputs": ("files/f1",),
    }),
    ("google", gemini("BATCH_STATE_SUCCEEDED", done=True, response={"responsesFile": "files/r1"}), {
        "phase": Phase.ENDED, "results": ("files/r1",), "created_at": 9.0, "expires_at": 172809.0, "tag": "t",
    }),
    ("google", gemini("BATCH_STATE_SUCCEEDED", metadata={"output": {"responsesFile": "files/r1"}}), {
        "phase": Phase.ENDED, "results": ("files/r1",), "created_at": 9.0, "expires_at": 172809.0, "tag": "t",
    }),
    ("google", gemini("BATCH_STATE_SUCCEEDED"),  # its results come a moment later
     {"created_at": 9.0, "expires_at": 172809.0, "tag": "t"}),
    ("google", gemini("BATCH_STATE_CANCELLED", done=True, error={"code": 1, "message": "cancelled"}),
     {"phase": Phase.ENDED, "created_at": 9.0, "expires_at": 172809.0, "tag": "t"}),
    ("google", gemini("BATCH_STATE_EXPIRED"),
     {"phase": Phase.ENDED, "created_at": 9.0, "expires_at": 172809.0, "tag": "t"}),
]  # fmt: skip


def get(service: str, answer: Any) -> Any:
    """Return the batch of a reply."""

    async def act(api: BatchApi, _: Provider) -> Batch:
        return await api.get("batches/b1" if service == "google" else "b1")

    return talk(service, {f"GET {URLS[service]}": answer}, act)[0]


@pytest.mark.parametrize(("service", "answer", "fields"), STATES)
def test_a_batch_is_read(service: str, answer: dict[str, Any], fields: dict[str, Any]) -> None:
    """Each state of each provider; unknown states are still under way, unknown fields are ignored."""
    name = "batches/b1" if service == "google" else "b1"
    expected: dict[str, Any] = {"id": name, "phase": Phase.RUNNING} | fields
    assert get(service, answer) == Batch(**expected)


def data(code: str, message: str, line: int | None = None) -> dict[str, Any]:
    return {"errors": {"object": "list", "data": [{"code": code, "message": message, "line": line, "param": None}]}}


REFUSALS: list[tuple[str, dict[str, Any], type[ProviderError], bool, str]] = [
    ("openai", openai(status="failed", **data("invalid_json_line", "This line is not JSON.", 7)), Rejected, False,
     "400 This line is not JSON. (line 7 of the batch)"),
    ("openai", openai(status="failed", **data("model_not_found", "The model does not exist")), Rejected, True,
     "400 The model does not exist"),
    ("openai", openai(status="failed", **data("billing_hard_limit_reached", "Billing hard limit reached")),
     Rejected, True, "out of credit: 400 Billing hard limit reached"),
    ("openai", openai(status="failed", **data(
        "token_limit_exceeded", "Enqueued token limit reached for gpt-4o-mini. Limit: 2,000,000 enqueued tokens."
    )), Throttled, False, "429 Enqueued token limit"),
    ("openai", openai(status="failed"), Unavailable, False, "gave no reason"),
    ("openai", openai(status="failed", **data("content_policy_violation", f"Not with {KEY}")), Rejected, False,
     "Not with [API key]"),
    ("together", {"id": "b1", "status": "FAILED", "error": "input file has no lines"}, Rejected, False,
     "400 input file has no lines"),
    ("mistral", mistral(status="FAILED", errors=[{"message": "Invalid model: m", "count": 3}]), Rejected, False,
     "400 Invalid model: m"),
    ("mistral", mistral(status="FAILED"), Unavailable, False, "gave no reason"),
    ("google", gemini("BATCH_STATE_FAILED", done=True, error={"code": 8, "message": "Too many enqueued tokens"}),
     Throttled, False, "429 Too many enqueued tokens"),
    ("google", gemini("BATCH_STATE_FAILED", done=True, error={"code": 5, "message": "models/m is not found"}),
     Rejected, True, "404 models/m is not found"),
    ("google", gemini("BATCH_STATE_FAILED", done=True, error={"code": 13, "message": "Internal"}), Unavailable,
     False, "500 Internal"),
    ("google", gemini("BATCH_STATE_FAILED"), Unavailable, False, "gave no reason"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "answer", "kind", "for_all", "says"), REFUSALS)
def test_a_refused_batch_says_why(
    service: str, answer: dict[str, Any], kind: type[ProviderError], for_all: bool, says: str
) -> None:
    """By the table of errors of requests that are sent alone; a full queue is a reason to wait."""
    batch = get(service, answer)
    assert (batch.phase, type(batch.error)) == (Phase.REFUSED, kind)
    assert getattr(batch.error, "for_all", False) == for_all
    assert says in str(batch.error)


def many(service: str, first: int, last: int) -> list[dict[str, Any]]:
    """Return batches as a list of the provider shows them, last first: the number is the time of creation."""
    numbers = range(last, first - 1, -1)
    match service:
        case "mistral":
            return [mistral(id=f"b{n}", created_at=n) for n in numbers]
        case "anthropic":
            return [claude(id=f"b{n}", created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(n))) for n in numbers]
        case "google":
            at = {n: time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(n)) for n in numbers}
            return [gemini("BATCH_STATE_RUNNING", name=f"b{n}", metadata={"createTime": at[n]}) for n in numbers]
        case _:
            return [openai(id=f"b{n}", created_at=n) for n in numbers]


LISTS: dict[str, dict[str, Any]] = {
    "openai": {
        "GET /v1/batches?limit=100": {"data": many("openai", 2001, 2100), "has_more": True},
        "GET /v1/batches?limit=100&after=b2001": {"data": many("openai", 1901, 2000), "has_more": True},
        "GET /v1/batches?limit=100&after=b1901": {"data": many("openai", 1400, 1499), "has_more": True},
    },
    "groq": {"GET /v1/batches?limit=100": {"object": "list", "data": many("groq", 1400, 2100)}},
    "together": {"GET /v1/batches": many("together", 1400, 2100)[::-1]},  # of no promised order
    "mistral": {
        f"GET /v1/batch/jobs?page={n}&page_size=100&created_after=1970-01-01T00:26:40Z&order_by=-created":
        {"data": page, "total": 150}
        for n, page in enumerate((many("mistral", 2001, 2100), many("mistral", 1951, 2000)))
    },
    "anthropic": {
        "GET /v1/messages/batches?limit=100": {"data": many("anthropic", 2001, 2100), "has_more": True},
        "GET /v1/messages/batches?limit=100&after_id=b2001": {"data": many("anthropic", 1400, 2000), "has_more": False},
    },
    "google": {
        "GET /v1/batches?pageSize=100": {"operations": many("google", 2001, 2100), "nextPageToken": "p/2"},
        "GET /v1/batches?pageSize=100&pageToken=p/2": {"operations": many("google", 1400, 2000)},
    },
}  # fmt: skip
SINCE = 1900.0


@pytest.mark.parametrize("service", LISTS)
def test_recent_batches_are_found_by_pages(service: str) -> None:
    """Last first, from 5 minutes before the given time, for the clocks may differ; no page is read for older ones."""

    async def act(api: BatchApi, _: Provider) -> list[Batch]:
        return await collect(api.list_recent(SINCE))

    batches, provider = talk(service, LISTS[service], act)
    times = [round(b.created_at) for b in batches]
    assert times == sorted(times, reverse=True)
    first = {"openai": 1901, "mistral": 1951}.get(service, 1600)
    assert (len(times), times[0], times[-1]) == (2100 - first + 1, 2100, first)
    assert provider.calls == list(LISTS[service])


def test_a_list_that_repeats_itself_ends() -> None:
    """A server that ignores the cursor returns the same page for ever."""
    page = {"data": many("openai", 2001, 2100), "has_more": True}

    async def act(api: BatchApi, _: Provider) -> list[Batch]:
        return await collect(api.list_recent(SINCE))

    batches, provider = talk("openai", {"GET /v1/batches": page}, act)
    assert (len(batches), len(provider.calls)) == (100, 2)


def test_one_batch_in_a_list_is_a_list() -> None:
    """Together lists without a frame."""

    async def act(api: BatchApi, _: Provider) -> list[Batch]:
        return await collect(api.list_recent(SINCE))

    assert [b.id for b in talk("together", {"GET /v1/batches": many("together", 2000, 2000)}, act)[0]] == ["b2000"]
    assert talk("together", {"GET /v1/batches": []}, act)[0] == []
