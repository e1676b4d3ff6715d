"""The providers' own Python clients use the simulator's batch endpoints: each call is accepted, each reply is typed."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from conformance.test_sdks import KEY, undeclared
from google import genai
from google.genai import errors, types
from openai import OpenAI
from speed import HANG_S
from support import simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HI: Any = [{"role": "user", "content": "hi"}]
CHAT = "/v1/chat/completions"
MODEL = "gemini-2.5-flash"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator("--key", KEY, "--batch-seconds", "0.5") as served:
        yield served.removesuffix("/v1")


@pytest.fixture
def chat(url: str) -> Iterator[Any]:
    with OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[Any]:
    with Anthropic(base_url=url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(url: str) -> Iterator[Any]:
    options = types.HttpOptions(base_url=url, api_version="v1beta")  # at /v1 the simulator has OpenAI's batches
    with genai.Client(api_key=KEY, http_options=options) as client:
        yield client


def typed(value: Any) -> Any:
    """Return an object that is valid by its own type: these clients build objects without a check."""
    type(value).model_validate(value.to_dict() if hasattr(value, "to_dict") else value.model_dump())
    assert undeclared(value) == set()
    return value


def poll(get: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + HANG_S
    while time.monotonic() < end:
        value = typed(get())
        if done(value):
            return value
        time.sleep(0.05)
    raise AssertionError(value)


def request(custom_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": {"model": "gpt-4o", "messages": HI, **changes},
    }


def created(chat: OpenAI, lines: list[dict[str, Any]], **fields: Any) -> Any:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = typed(chat.files.create(file=("requests.jsonl", content), purpose="batch"))
    assert (file.bytes, file.purpose, file.filename) == (len(content), "batch", "requests.jsonl")
    batch = chat.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", **fields)
    return typed(batch)


def openai_ended(chat: OpenAI, batch: Any) -> Any:
    ended = ("completed", "failed", "expired", "cancelled")
    return poll(lambda: chat.batches.retrieve(batch.id), lambda b: b.status in ended)


def test_openai(chat: Any) -> None:
    """Upload, create, retrieve, list and download."""
    lines = [*(request(f"{i:064x}") for i in range(3)), request("wrong", temperature=3)]
    batch = created(chat, lines, metadata={"tag": "a"})
    assert (batch.status, batch.metadata) == ("validating", {"tag": "a"})
    batch = openai_ended(chat, batch)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 3, 1)
    assert batch.usage.total_tokens > 0
    rows = [json.loads(line) for line in chat.files.content(batch.output_file_id).iter_lines()]
    assert {row["custom_id"] for row in rows} == {f"{i:064x}" for i in range(3)}
    for row in rows:
        completion = typed(openai.types.chat.ChatCompletion.construct(**row["response"]["body"]))
        assert completion.choices[0].message.content.startswith("[simulated: ")
    (row,) = json.loads(f"[{chat.files.content(batch.error_file_id).text}]")
    assert (row["custom_id"], row["response"]["body"]["error"]["param"]) == ("wrong", "temperature")
    more = [created(chat, lines[:1]).id for _ in range(2)]
    assert [typed(b).id for b in chat.batches.list(limit=1)][:3] == [*more[::-1], batch.id], "pages of one"
    assert [f.id for f in chat.files.list(purpose="batch_output")][-1] in (batch.output_file_id, batch.error_file_id)
    assert typed(chat.files.retrieve(batch.input_file_id)).status == "processed"
    assert typed(chat.files.delete(batch.input_file_id)).deleted
    with pytest.raises(openai.NotFoundError):
        chat.files.content(batch.input_file_id)


def test_openai_cancels_and_fails(chat: Any) -> None:
    """A batch that is cancelled, one that has ended, and one whose requests are invalid."""
    batch = created(chat, [request(str(i)) for i in range(50)])
    assert typed(chat.batches.cancel(batch.id)).status == "cancelling"
    batch = openai_ended(chat, batch)
    assert batch.status == "cancelled"
    assert batch.cancelled_at >= batch.cancelling_at
    assert chat.batches.cancel(batch.id).status == "cancelled"
    batch = openai_ended(chat, created(chat, [request("a"), request("a")]))
    assert [(e.code, e.line, e.param) for e in batch.errors.data] == [("duplicate_custom_id", 2, "custom_id")]
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'failed'"):
        chat.batches.cancel(batch.id)
    with pytest.raises(openai.BadRequestError, match="metadata"):
        created(chat, [request("a")], metadata={"a": "b" * 513})
    with pytest.raises(openai.NotFoundError, match="No batch found"):
        chat.batches.retrieve("batch_x")


def test_claude(claude: Any) -> None:
    """Create, retrieve, list, read results of each type, cancel and delete."""
    params = {"model": "claude-sonnet-4-6", "max_tokens": 99, "messages": HI}
    requests = [{"custom_id": f"{i:064x}", "params": params} for i in range(3)]
    requests.append({"custom_id": "wrong", "params": params | {"temperature": 2}})
    batches = claude.messages.batches
    batch = typed(batches.create(requests=requests))
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 4)
    assert (batch.expires_at - batch.created_at).total_seconds() == 86_400
    with pytest.raises(anthropic.AnthropicError, match="No `results_url`"):
        batches.results(batch.id)
    batch = poll(lambda: batches.retrieve(batch.id), lambda b: b.processing_status == "ended")
    results = {row.custom_id: typed(row).result for row in batches.results(batch.id)}
    wrong = results.pop("wrong")
    assert (wrong.type, wrong.error.error.type) == ("errored", "invalid_request_error")
    assert {result.type for result in results.values()} == {"succeeded"}
    assert all(result.message.content[0].text.startswith("[simulated: ") for result in results.values())
    other = batches.create(requests=requests)
    assert typed(batches.cancel(other.id)).processing_status == "canceling"
    other = poll(lambda: batches.retrieve(other.id), lambda b: b.processing_status == "ended")
    assert other.request_counts.canceled > 0
    assert "canceled" in {row.result.type for row in batches.results(other.id)}
    third = batches.create(requests=requests[:1])
    assert [typed(b).id for b in batches.list(limit=1)] == [third.id, other.id, batch.id]
    assert [b.id for b in batches.list(limit=1, before_id=batch.id)] == [other.id, third.id], "towards newer ones"
    assert typed(batches.delete(batch.id)).id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(batch.id)
    with pytest.raises(anthropic.BadRequestError, match="at most 64 characters"):
        batches.create(requests=[{"custom_id": "a" * 65, "params": params}])
    with pytest.raises(anthropic.BadRequestError, match=r"requests\.1\.custom_id"):
        batches.create(requests=[requests[0], requests[0]])


def test_gemini_inline(gemini: Any) -> None:
    """Create with requests and their settings, get, and read the responses in their order."""
    config = types.GenerateContentConfig(temperature=0.5, system_instruction="Be brief.", max_output_tokens=99)
    source = [
        types.InlinedRequest(contents="hi", config=config, metadata={"key": f"k{i}"}, model=MODEL) for i in range(3)
    ]
    source.append(types.InlinedRequest(contents="hi", config=types.GenerateContentConfig(temperature=3)))
    job = gemini.batches.create(model=MODEL, src=source, config={"display_name": "inline"})
    assert (job.state, job.display_name) == (types.JobState.JOB_STATE_PENDING, "inline")
    job = poll(lambda: gemini.batches.get(name=job.name), lambda j: j.done)
    assert (job.state, job.model) == (types.JobState.JOB_STATE_SUCCEEDED, f"models/{MODEL}")
    *answered, wrong = job.dest.inlined_responses
    assert [each.metadata for each in answered] == [{"key": f"k{i}"} for i in range(3)]
    assert all(each.response.text.startswith("[simulated: ") for each in answered)
    assert (wrong.response, wrong.error.code) == (None, 3)
    assert gemini.batches.delete(name=job.name).error is None
    with pytest.raises(errors.ClientError, match="NOT_FOUND"):
        gemini.batches.get(name=job.name)


def test_gemini_from_a_file(gemini: Any) -> None:
    """Upload, create, list, cancel and download."""
    content = [{"contents": [{"parts": [{"text": "hi"}], "role": "user"}], "generation_config": {"temperature": 0.7}}]
    lines = [json.dumps({"key": f"{i:064x}", "request": request}) for i in range(3) for request in content]
    upload = types.UploadFileConfig(mime_type="jsonl", display_name="requests")
    file = gemini.files.upload(file=io.BytesIO("\n".join(lines).encode()), config=upload)
    assert (file.display_name, file.state) == ("requests", types.FileState.ACTIVE)
    assert typed(gemini.files.get(name=file.name)).size_bytes == len("\n".join(lines))
    job = gemini.batches.create(model=f"models/{MODEL}", src=file.name, config={"display_name": "file"})
    job = poll(lambda: gemini.batches.get(name=job.name), lambda j: j.done)
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED
    rows = [json.loads(line) for line in gemini.files.download(file=job.dest.file_name).splitlines()]
    assert {row["key"] for row in rows} == {f"{i:064x}" for i in range(3)}
    for row in rows:
        reply = types.GenerateContentResponse.model_validate(row["response"])
        assert reply.text.startswith("[simulated: ")
    other = gemini.batches.create(model=MODEL, src=file.name)
    gemini.batches.cancel(name=other.name)
    other = poll(lambda: gemini.batches.get(name=other.name), lambda j: j.done)
    assert (other.state, other.dest) == (types.JobState.JOB_STATE_CANCELLED, None)
    assert [j.name for j in gemini.batches.list(config={"page_size": 1})][:2] == [other.name, job.name]
    gemini.files.delete(name=file.name)
    with pytest.raises(errors.ClientError, match="PERMISSION_DENIED"):
        gemini.files.get(name=file.name)
