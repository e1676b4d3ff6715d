"""Lines of batch results, as each program writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emdsl.errors import Rejected, Throttled, Unavailable
from emdsl.providers.batch_lines import parse_line, read_line
from emdsl.providers.batches import Left
from emdsl.redact import Redactor, Secret

KEY = "ab" * 32
CHOICE: dict[str, Any] = {
    "index": 0, "message": {"role": "assistant", "content": "Take a walk."}, "logprobs": None, "finish_reason": "stop",
}  # fmt: skip
USAGE = {"prompt_tokens": 24, "completion_tokens": 8, "total_tokens": 32}
CHAT = {
    "id": "chatcmpl-5cd1", "object": "chat.completion", "created": 1744043847, "model": "Qwen/Qwen3-8B",
    "choices": [CHOICE], "usage": USAGE,
}  # fmt: skip
RESPONSES = {
    "id": "resp_1", "object": "response", "created_at": 1744043847, "status": "completed", "model": "gpt-5.2",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Take a walk."}]}],
    "usage": {"input_tokens": 24, "output_tokens": 8},
}  # fmt: skip


def line(response: Any, error: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": "batch_req_403h", "custom_id": KEY, "response": response, "error": error} | more


def ok(body: dict[str, Any], request_id: str = "af0bac0d") -> dict[str, Any]:
    return {"status_code": 200, "request_id": request_id, "body": body}


@pytest.mark.parametrize(
    ("entry", "request_id", "batch"),
    [
        pytest.param(line(ok(CHAT)), "af0bac0d", None, id="openai"),
        pytest.param(line(ok(RESPONSES)), "af0bac0d", None, id="openai, responses"),
        pytest.param(line(ok(CHAT), batch_id="batch-abc123"), "af0bac0d", "batch-abc123", id="together"),
        # vllm/entrypoints/openai/run_batch.py, `BatchRequestOutput`; fields of its replies that others lack
        pytest.param(
            line(ok(CHAT | {"prompt_logprobs": None, "choices": [CHOICE | {"stop_reason": None}]}, "vllm-batch-114b"))
            | {"id": "vllm-9fe6"},
            "vllm-batch-114b", None, id="vllm",
        ),
        pytest.param(line(CHAT), "chatcmpl-5cd1", None, id="vllm 0.4: the body alone"),
        # sglang/srt/openai_api/adapter.py, `process_batch`: one choice, not a list of them
        pytest.param(line(ok(CHAT | {"choices": CHOICE}, "batch_1-req_0")), "batch_1-req_0", None, id="sglang"),
        pytest.param(line(ok(CHAT), ""), "af0bac0d", None, id="an error without a text"),
    ],
)  # fmt: skip
def test_answers(entry: dict[str, Any], request_id: str, batch: str | None) -> None:
    """An answer has its text, the time at which its server made it, and its tokens."""
    read = read_line(parse_line(json.dumps(entry).encode()), Redactor())
    assert (read.custom_id, read.error, read.left) == (KEY, None, None)
    assert read.response is not None
    assert (read.response.text, read.response.finish) == ("Take a walk.", "stop")
    assert (read.response.usage.input_tokens, read.response.usage.output_tokens) == (24, 8)
    assert (read.response.request_id, read.response.batch) == (request_id, batch)
    assert read.response.answered_at == 1744043847


VLLM_ERROR = {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": None, "code": 404}


@pytest.mark.parametrize(
    ("entry", "kind", "status", "message"),
    [
        # vLLM: its own errors are texts, those of a request are objects, within `error` since 0.10
        (line({"status_code": 400, "request_id": "vllm-batch-1", "body": None}, "too many"), Rejected, 400, "too many"),
        (line({"status_code": 404, "request_id": "vllm-batch-1"}, {"error": VLLM_ERROR}), Rejected, 404, "not exist"),
        (line({"status_code": 404, "request_id": "vllm-batch-1"}, {"object": "error"} | VLLM_ERROR), Rejected, 404,
         "not exist"),
        # SGLang, Together, OpenAI
        (line(None, {"message": "KV cache pool is full"}), Unavailable, 200, "KV cache"),
        (line({"status_code": 500, "message": "Internal Server Error"}), Unavailable, 500, "Internal Server Error"),
        (line({"status_code": 429, "request_id": "r", "body": {"error": {"message": "Rate limit reached"}}}), Throttled,
         429, "Rate limit"),
        (line({"status_code": 200, "request_id": "r", "body": {"error": {"message": "sk-0123456789abcdef"}}}),
         Unavailable, 200, "[API key]"),
        (line(ok(CHAT | {"choices": []})), Unavailable, 200, "no choice"),
        (line(ok(CHAT | {"choices": [CHOICE | {"finish_reason": "abort"}]})), Unavailable, 200, "error"),
        (line("out of memory"), Unavailable, 200, "out of memory"),
        (line(None), Unavailable, 200, "no answer and no error"),
    ],
)  # fmt: skip
def test_errors(entry: dict[str, Any], kind: type[Exception], status: int, message: str) -> None:
    """By the same table as errors of requests that are sent alone, without API keys."""
    read = read_line(entry, Redactor([Secret("sk-0123456789abcdef")]))
    assert read.response is None
    assert isinstance(read.error, kind)
    assert (read.error.status, message in str(read.error)) == (status, True), read.error


def test_requests_that_were_left_out() -> None:
    """They were never processed, and cost nothing."""
    expired = {"code": "batch_expired", "message": "This request could not be executed before the completion window"}
    assert read_line(line(None, expired), Redactor()).left is Left.EXPIRED
    assert read_line(line(None, {"code": "batch_cancelled"}), Redactor()).left is Left.CANCELLED


def test_a_refusal_by_policy_is_an_answer() -> None:
    """As online: it would be refused again."""
    body = {"error": {"code": "content_filter", "message": "The response was filtered"}}
    read = read_line(line({"status_code": 400, "request_id": "r", "body": body}), Redactor())
    assert read.response is not None
    assert (read.response.finish, read.response.answered_at > 1.7e9) == ("blocked", True)


def test_keys_are_masked_and_odd_times_replaced() -> None:
    """Some servers count `created` from their start; NaN and lone surrogates are read as online."""
    choice = CHOICE | {"message": {"content": "my key is sk-0123456789abcdef \ud83d"}}
    body = CHAT | {"created": 444647, "choices": [choice], "usage": USAGE | {"cost": float("nan")}}
    read = read_line(parse_line(json.dumps(line(ok(body))).encode()), Redactor([Secret("sk-0123456789abcdef")]))
    assert read.response is not None
    assert read.response.text == "my key is [API key] \ud83d"
    assert read.response.answered_at > 1.7e9
    assert read.response.usage.cost_usd is None
