"""The calls of each batch API over real sockets: what arrives, and what each reply comes to."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from providers.batch_server import (
    ALL,
    IDS,
    KEY,
    PATHS,
    URLS,
    Provider,
    Reply,
    Seen,
    claude,
    collect,
    error_of,
    gemini,
    mistral,
    openai,
    shard,
    talk,
)

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.providers import transfers
from emdsl.providers.batches import Batch, BatchApi, BatchLimits, Phase
from emdsl.providers.client import Client
from emdsl.providers.http import Http
from emdsl.query import Model
from emdsl.service import SERVICES
from emdsl.value import EnvVar

if TYPE_CHECKING:
    from pathlib import Path

BODY = '{"model":"m","x":"é"}'.encode()
LINES = {
    "openai": b'{"custom_id":"ID","method":"POST","url":"/v1/chat/completions","body":BODY}\n',
    "groq": b'{"custom_id":"ID","method":"POST","url":"/v1/chat/completions","body":BODY}\n',
    "together": b'{"custom_id":"ID","body":BODY}\n',
    "mistral": b'{"custom_id":"ID","body":BODY}\n',
    "anthropic": b'{"custom_id":"ID","params":BODY}\n',
    "google": b'{"key":"ID","request":BODY}\n',
}
LIMITS = {
    "openai": (50_000, 200_000_000, 24, True), "groq": (50_000, 100_000_000, 24, True),
    "together": (50_000, 100_000_000, 24, False), "mistral": (100_000, 500_000_000, 24, True),
    "anthropic": (100_000, 255_000_000, 24, False), "google": (100_000, 200_000_000, 48, True),
}  # fmt: skip


@pytest.mark.parametrize("service", ALL)
def test_a_line_has_the_format_of_the_provider(service: str) -> None:
    """To the byte; the limits are those that the provider publishes."""

    async def act(api: BatchApi, _: Provider) -> tuple[bytes, BatchLimits, bool]:
        return api.line(IDS[0], BODY, PATHS[service]), api.limits, api.tagged

    (line, limits, tagged), _ = talk(service, {}, act)
    assert line == LINES[service].replace(b"ID", IDS[0].encode()).replace(b"BODY", BODY)
    requests, size, hours, has_tag = LIMITS[service]
    assert (limits, tagged) == (BatchLimits(requests=requests, size=size, hours=hours), has_tag)
    assert SERVICES[service].batch_hours == hours, "which a plan shows"


def test_the_lines_of_the_responses_api_name_its_path() -> None:
    async def act(api: BatchApi, _: Provider) -> bytes:
        return api.line(IDS[0], BODY, "/responses")

    line, _ = talk("openai", {}, act, responses=True)
    assert json.loads(line)["url"] == "/v1/responses"


@pytest.mark.parametrize(
    ("service", "path", "fields"),
    [
        ("openai", "/v1/files", {"purpose": b"batch"}), ("groq", "/v1/files", {"purpose": b"batch"}),
        ("mistral", "/v1/files", {"purpose": b"batch"}),
        ("together", "/v1/files/upload", {"purpose": b"batch-api", "file_name": b"t_1.jsonl"}),
    ],
)  # fmt: skip
def test_an_upload_is_a_form(service: str, path: str, fields: dict[str, bytes], tmp_path: Path) -> None:
    """With its length, the purpose of the provider, and the file to the byte."""
    lines = shard(tmp_path, service)

    async def act(api: BatchApi, _: Provider) -> str:
        return await api.upload(lines, "t/1")

    file, provider = talk(service, {f"POST {path}": {"id": "file-1", "object": "file"}}, act)
    (seen,) = provider.seen
    assert file == "file-1"
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert int(seen.headers["Content-Length"]) == len(seen.body)
    border = re.fullmatch(r"multipart/form-data; boundary=(\w+)", seen.headers["Content-Type"])
    assert border is not None
    start, *parts, end = seen.body.split(f"--{border[1]}".encode())
    heads, contents = zip(
        *(p.removeprefix(b"\r\n").removesuffix(b"\r\n").split(b"\r\n\r\n", 1) for p in parts), strict=True
    )
    assert (start, end) == (b"", b"--\r\n")
    names = [name for head in heads for name in re.findall(r'; name="(\w+)"', head.decode())]
    assert dict(zip(names, contents, strict=True)) == {**fields, "file": lines.read_bytes()}
    assert b'filename="t_1.jsonl"' in heads[-1]


def test_gemini_takes_a_file_in_two_steps(tmp_path: Path) -> None:
    """The first announces it, the second sends it where the reply to the first says."""
    lines = shard(tmp_path, "google")

    async def act(api: BatchApi, provider: Provider) -> str:
        start = Reply(headers={"X-Goog-Upload-URL": f"{provider.url}/upload/v1beta/files?upload_id=u1"})
        provider.table["POST /upload/v1beta/files"] = start
        provider.table["POST /upload/v1beta/files?upload_id=u1"] = {"file": {"name": "files/f1", "state": "ACTIVE"}}
        return await api.upload(lines, "tag 1")

    file, provider = talk("google", {}, act, base="/v1beta")
    start, whole = provider.seen
    size = str(lines.stat().st_size)
    assert file == "files/f1"
    assert start.json() == {"file": {"display_name": "tag 1"}}
    wanted = {
        "X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": size, "X-Goog-Upload-Header-Content-Type": "application/jsonl",
        "x-goog-api-key": KEY,
    }  # fmt: skip
    assert {n: start.headers[n] for n in wanted} == wanted
    wanted = {"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize", "Content-Length": size}
    assert {n: whole.headers[n] for n in wanted} == wanted
    assert whole.body == lines.read_bytes()


def test_an_upload_to_another_server_carries_no_key(tmp_path: Path) -> None:
    """The provider may name a server of storage: it gets the file, and no header of ours."""
    lines = shard(tmp_path, "google")

    async def act(api: BatchApi, provider: Provider) -> str:
        other = provider.url.replace("127.0.0.1", "localhost")
        provider.table["POST /upload/v1beta/files"] = Reply(headers={"X-Goog-Upload-URL": f"{other}/store"})
        provider.table["POST /store"] = {"file": {"name": "files/f1"}}
        return await api.upload(lines, "t")

    file, provider = talk("google", {}, act, base="/v1beta")
    assert file == "files/f1"
    assert KEY not in str(dict(provider.seen[1].headers))


CREATED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "openai": ("POST /v1/batches", {"id": "b1", "status": "validating", "created_at": 9, "metadata": {"emdsl": "t"}}, {
        "input_file_id": "f1", "endpoint": "/v1/chat/completions", "completion_window": "24h",
        "metadata": {"emdsl": "t"},
    }),
    "groq": ("POST /v1/batches", {"id": "b1", "status": "validating", "created_at": 9, "metadata": {"emdsl": "t"}}, {
        "input_file_id": "f1", "endpoint": "/v1/chat/completions", "completion_window": "24h",
        "metadata": {"emdsl": "t"},
    }),
    "together": (
        "POST /v1/batches",
        {"job": {"id": "b1", "status": "VALIDATING", "created_at": "1970-01-01T00:00:09Z"}, "warning": "w"},
        {"input_file_id": "f1", "endpoint": "/v1/chat/completions"},
    ),
    "mistral": ("POST /v1/batch/jobs", {"id": "b1", "status": "QUEUED", "created_at": 9, "metadata": {"emdsl": "t"}}, {
        "input_files": ["f1"], "model": "m", "endpoint": "/v1/chat/completions", "metadata": {"emdsl": "t"},
        "timeout_hours": 24,
    }),
    "google": (
        "POST /v1/models/m:batchGenerateContent",
        {"name": "b1", "metadata": {
            "state": "BATCH_STATE_PENDING", "displayName": "t", "createTime": "1970-01-01T00:00:09.000000001Z",
        }},
        {"batch": {"display_name": "t", "input_config": {"file_name": "f1"}}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("service", CREATED)
def test_a_batch_is_created_of_an_uploaded_file(service: str, tmp_path: Path) -> None:
    """By its id, with the tag where the provider has a place for it."""
    call, answer, body = CREATED[service]

    async def act(api: BatchApi, _: Provider) -> Batch:
        return await api.create(tmp_path / "none", "f1", tag="t", path=PATHS[service])

    batch, provider = talk(service, {call: answer}, act)
    assert provider.seen[0].json() == body
    assert (batch.id, batch.phase, batch.created_at) == ("b1", Phase.RUNNING, 9.0)
    assert batch.tag == (None if service == "together" else "t")


def test_anthropic_gets_the_lines_as_a_list(tmp_path: Path) -> None:
    """Nothing is uploaded before; the body is a list with a length."""
    lines = shard(tmp_path, "anthropic")
    counts = {"processing": 3, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    answer = {
        "id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress", "request_counts": counts,
        "created_at": "2026-01-01T00:00:00.5Z", "expires_at": "2026-01-02T00:00:00.5Z", "results_url": None,
    }  # fmt: skip

    async def act(api: BatchApi, _: Provider) -> Batch:
        assert await api.upload(lines, "t") == ""
        return await api.create(lines, "", tag="t", path=PATHS["anthropic"])

    batch, provider = talk("anthropic", {"POST /v1/messages/batches": answer}, act)
    (seen,) = provider.seen
    assert seen.json() == {"requests": [json.loads(x) for x in lines.read_text(encoding="utf-8").splitlines()]}
    assert int(seen.headers["Content-Length"]) == len(seen.body)
    assert (seen.headers["x-api-key"], seen.headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert batch == Batch(
        id="msgbatch_1", phase=Phase.RUNNING, total=3, created_at=1767225600.5, expires_at=1767312000.5
    )  # fmt: skip


CANCELS = {s: f"POST {url}{':cancel' if s == 'google' else '/cancel'}" for s, url in URLS.items()}
CANCELLED = {
    "openai": openai(status="cancelling"), "groq": openai(status="cancelling"),
    "mistral": mistral(status="CANCELLATION_REQUESTED"), "anthropic": claude(processing_status="canceling"),
}  # fmt: skip


@pytest.mark.parametrize("service", CANCELLED)
def test_a_batch_is_cancelled(service: str) -> None:
    async def act(api: BatchApi, _: Provider) -> Batch:
        return await api.cancel("b1")

    batch, provider = talk(service, {CANCELS[service]: CANCELLED[service]}, act)
    assert batch.phase is Phase.CANCELLING
    assert provider.calls == [CANCELS[service]]


def test_gemini_cancels_with_an_empty_reply() -> None:
    """The state of the batch is a second call."""

    async def act(api: BatchApi, _: Provider) -> Batch:
        return await api.cancel("batches/b1")

    table = {CANCELS["google"]: {}, "GET /v1/batches/b1": gemini("BATCH_STATE_CANCELLED")}
    batch, provider = talk("google", table, act)
    assert batch.phase is Phase.ENDED
    assert provider.calls == ["POST /v1/batches/b1:cancel", "GET /v1/batches/b1"]


@pytest.mark.parametrize("service", ALL)
def test_a_batch_that_has_ended_is_cancelled_already(service: str) -> None:
    """Its provider objects to a cancel, which is no error of ours; for a batch under way it is."""
    ended: dict[str, Any] = {
        "mistral": mistral(status="SUCCESS"), "anthropic": claude(processing_status="ended"),
        "google": gemini("BATCH_STATE_EXPIRED"),
    }.get(service, openai(status="completed"))  # fmt: skip
    running: dict[str, Any] = {
        "mistral": mistral(), "anthropic": claude(), "google": gemini("BATCH_STATE_RUNNING")
    }.get(service, openai())  # fmt: skip
    refused = Reply(content={"error": {"message": "Cannot cancel", "code": "invalid_state"}}, status=409)
    name = "batches/b1" if service == "google" else "b1"

    async def act(api: BatchApi, provider: Provider) -> tuple[Batch, ProviderError]:
        first = await api.cancel(name)
        provider.table[f"GET {URLS[service]}"] = running
        return first, await error_of(api.cancel(name))

    (batch, error), _ = talk(service, {CANCELS[service]: refused, f"GET {URLS[service]}": ended}, act)
    assert (batch.phase, type(error), error.status) == (Phase.ENDED, Unavailable, 409)


@pytest.mark.parametrize("service", ALL)
def test_the_files_of_a_batch_are_deleted(service: str) -> None:
    """An error of it is no error of the batch."""
    inputs = () if service == "anthropic" else ("files/f1", "files/gone") if service == "google" else ("f1", "gone")
    batch = Batch(id="b1", phase=Phase.ENDED, inputs=inputs)

    async def act(api: BatchApi, _: Provider) -> None:
        await api.discard(batch)

    _, provider = talk(service, {"DELETE /v1/files/f1": {"id": "f1", "deleted": True}}, act)
    assert provider.calls == ([] if service == "anthropic" else ["DELETE /v1/files/f1", "DELETE /v1/files/gone"])


@pytest.mark.parametrize("service", ALL)
def test_an_unknown_batch_is_a_404(service: str) -> None:
    """That says nothing about other requests to the model."""

    async def act(api: BatchApi, _: Provider) -> ProviderError:
        return await error_of(api.get("batches/none" if service == "google" else "none"))

    error, _ = talk(service, {}, act)
    assert isinstance(error, Rejected)
    assert (error.status, error.for_all) == (404, False)
    assert "none` in this account" in str(error)


CALLS: list[tuple[Reply, type[ProviderError], str]] = [
    (Reply(content={"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}, status=401),
     Rejected, "401 Incorrect API key provided: [API key]; the key comes from `K`"),
    (Reply(content={"error": {"message": "Rate limit reached"}}, status=429, headers={"Retry-After": "7"}),
     Throttled, "429 Rate limit reached"),
    (Reply(content={"error": {"message": "oops"}}, status=500), Unavailable, "500 oops"),
    (Reply(content={"error": {"message": "Rate limit reached", "code": 429}}), Throttled, "429 Rate limit reached"),
    (Reply(content=b"<html>"), Unavailable, "is not JSON"),
    (Reply(content={"object": "batch"}), Unavailable, "unexpected format"),
    (Reply(content={"error": {"message": "no", "code": "content_policy_violation"}}, status=400), Rejected, "no"),
    (Reply(status=307, headers={"Location": "https://elsewhere.example/"}), Rejected, "redirects to another host"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "kind", "says"), CALLS)
@pytest.mark.parametrize("service", ["openai", "anthropic", "google", "mistral"])
def test_an_error_of_a_call_is_that_of_a_request(
    service: str, answer: Reply, kind: type[ProviderError], says: str, tmp_path: Path
) -> None:
    """By one table, and without API keys."""
    lines = shard(tmp_path, service)
    path = CREATED[service][0] if service in CREATED else "POST /v1/messages/batches"

    async def act(api: BatchApi, _: Provider) -> ProviderError:
        return await error_of(api.create(lines, "f1", tag="t", path=PATHS[service]))

    error, _ = talk(service, {path: answer}, act)
    assert type(error) is kind
    assert says in str(error)
    assert KEY not in str(error)


def test_a_create_without_a_reply_may_have_made_a_batch(tmp_path: Path) -> None:
    """It says that it was sent; a poll never costs anything."""

    async def cut(_: Seen) -> Reply:
        return Reply(content=openai(), cut=5)

    async def act(api: BatchApi, _: Provider) -> list[ProviderError]:
        return [
            await error_of(api.create(tmp_path, "f1", tag="t", path="/chat/completions")),
            await error_of(api.get("b1")),
        ]  # fmt: skip

    (created, polled), _ = talk("openai", {"POST /v1/batches": cut, "GET /v1/batches/b1": cut}, act)
    assert (type(created), created.paid) == (Unavailable, True)
    assert (type(polled), polled.paid) == (Unavailable, False)


def test_headers_keys_and_urls_are_those_of_requests(tmp_path: Path) -> None:
    """A model's own headers replace those of the format, the second account has the second key."""
    seen: list[Seen] = []

    async def act(_: BatchApi, provider: Provider) -> None:
        environment = {"OPENAI_API_KEY_0": "sk-first-key-1", "OPENAI_API_KEY_1": "sk-second-key-2", "TEAM": "team-7"}
        environment["OPENAI_BASE_URL"] = f"{provider.url}/proxy/v1?version=3"
        http = Http(2, {})
        try:
            m = Model(
                name="m", use="openai/m", service=SERVICES["openai"], wire_name="m",
                headers=(("X-Team", EnvVar("TEAM")),),
            )  # fmt: skip
            api = Client(http, environment).batches(m, 1, "openai")
            await api.create(tmp_path, "f1", tag="t", path="/chat/completions")
            assert "sk-second-key-2" not in repr(api.__dict__)
            assert provider.url not in repr(api.__dict__)
        finally:
            await http.close()
        seen.extend(provider.seen)

    talk("openai", {"POST /proxy/v1/batches": openai()}, act)
    assert [s.call for s in seen] == ["POST /proxy/v1/batches?version=3"]
    assert seen[0].headers["Authorization"] == "Bearer sk-second-key-2"
    assert seen[0].headers["X-Team"] == "team-7"


def test_a_service_without_batches_says_so() -> None:
    async def act(_: BatchApi, provider: Provider) -> None:
        http = Http(1, {})
        try:
            service = Model(name="m", use="xai/m", service=SERVICES["xai"], wire_name="m", url=provider.url)
            with pytest.raises(Rejected, match="`xai` has no batch API"):
                Client(http, {}).batches(service, 0, "openai")
        finally:
            await http.close()

    talk("openai", {}, act)


def test_an_upload_without_progress_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However long an upload takes, something of it must go on."""
    monkeypatch.setattr(transfers, "STALL_S", 0.2)
    lines, ended = shard(tmp_path, "openai"), Batch(id="b1", phase=Phase.ENDED, results=("o",))

    async def silent(_: Seen) -> Reply:
        await asyncio.sleep(5)
        return Reply()

    async def act(api: BatchApi, _: Provider) -> list[ProviderError]:
        return [await error_of(api.upload(lines, "t")), await error_of(collect(api.results(ended)))]

    errors, _ = talk("openai", {"POST /v1/files": silent, "GET /v1/files/o/content": silent}, act)
    assert [type(e) for e in errors] == [Unavailable] * 2
    assert "within 0.2 s" in str(errors[0])
