"""Each wire format over real sockets: what is sent, every kind of reply, every class of error."""

from __future__ import annotations

import asyncio
import gzip
import json
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from providers.asking import (
    CHAT,
    CLAUDE,
    FORMATS,
    GEMINI,
    KEY,
    RESPONSES,
    Handler,
    ask,
    asked_text,
    raw,
    reply,
    says,
    sent,
)

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.providers.limits import Limit, Limits, read_limits, seconds

TALK = (("system", "Be brief."), ("user", "one"), ("assistant", "two"), ("user", "three"))


@pytest.mark.parametrize(
    ("use", "params", "path", "headers", "body"),
    [
        (
            CLAUDE,
            {"temperature": Decimal("0.5"), "max_tokens": 9, "stop": ("END",), "top_k": 3},
            "/v1/messages",
            {"x-api-key": KEY, "anthropic-version": "2023-06-01"},
            {
                "model": "claude-sonnet-4-5", "max_tokens": 9, "temperature": 0.5, "top_k": 3,
                "stop_sequences": ["END"],
                "system": [{"type": "text", "text": "Be brief."}],
                "messages": [
                    {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
                    {"role": "user", "content": "three"},
                ],
            },
        ),
        (
            GEMINI,
            {"temperature": Decimal("0.5"), "max_tokens": 9, "seed": 4, "top_logprobs": 5, "reasoning_tokens": 128,
             "extra": {"safetySettings": ({"category": "X", "threshold": "OFF"},)}},
            "/v1/models/gemini-2.5-pro:generateContent",
            {"x-goog-api-key": KEY},
            {
                "systemInstruction": {"parts": [{"text": "Be brief."}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "one"}]}, {"role": "model", "parts": [{"text": "two"}]},
                    {"role": "user", "parts": [{"text": "three"}]},
                ],
                "generationConfig": {
                    "temperature": 0.5, "maxOutputTokens": 9, "seed": 7, "responseLogprobs": True, "logprobs": 5,
                    "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 128},
                },
                "safetySettings": [{"category": "X", "threshold": "OFF"}],
            },
        ),
        (
            RESPONSES,
            {"max_tokens": 90, "reasoning_effort": "low", "reasoning_summary": "auto"},
            "/v1/responses",
            {"Authorization": f"Bearer {KEY}"},
            {
                "model": "o3-pro", "store": False, "max_output_tokens": 90,
                "reasoning": {"effort": "low", "summary": "auto"},
                "input": [{"role": r, "content": t} for r, t in TALK],
            },
        ),
    ],
)  # fmt: skip
def test_a_request_is_sent_as_documented(
    use: str, params: dict[str, Any], path: str, headers: dict[str, str], body: dict[str, Any]
) -> None:
    """Messages, roles and parameters under the format's names; the key in its header."""
    found = sent(use, messages=TALK, **params)
    assert (found["path"], found["headers"], found["body"]) == (path, headers, body)


@pytest.mark.parametrize(
    ("use", "params", "field", "value"),
    [
        ("openai/gpt-5-2025-08-07", {"max_tokens": 5}, "max_completion_tokens", 5),
        ("openrouter/a/b", {}, "provider", {"require_parameters": True}),
        ("openrouter/a/b", {"extra": {"provider": {"order": ["x"]}}}, "provider",
         {"require_parameters": True, "order": ["x"]}),
        ("openrouter/a/b", {"reasoning_effort": "low"}, "reasoning", {"effort": "low"}),
        ("openrouter/a/b", {"reasoning_tokens": 2000}, "reasoning", {"max_tokens": 2000}),
        ("mistral/m", {"seed": 1}, "random_seed", 4),
        ("together/m", {"top_logprobs": 5}, "logprobs", 5),
        ("llama-cpp/m", {"repetition_penalty": 2}, "repeat_penalty", 2),
        ("litellm/m", {"reasoning_tokens": 2000}, "thinking", {"type": "enabled", "budget_tokens": 2000}),
        ("anthropic/claude-opus-4-6", {"reasoning_effort": "high"}, "output_config", {"effort": "high"}),
        ("anthropic/claude-opus-4-6", {"reasoning_effort": "high"}, "thinking",
         {"type": "adaptive", "display": "summarized"}),
        ("anthropic/claude-3-haiku", {}, "max_tokens", 4096),
    ],
)  # fmt: skip
def test_services_have_words_of_their_own(use: str, params: dict[str, Any], field: str, value: Any) -> None:
    """The family of OpenAI's format, and models within a family, differ in names."""
    assert sent(use, **params)["body"][field] == value


@pytest.mark.parametrize(
    ("use", "path", "fields", "last"),
    [
        ("vllm/m", "/v1/chat/completions", {"continue_final_message": True, "add_generation_prompt": False}, {}),
        ("sglang/m", "/v1/chat/completions", {"continue_final_message": True}, {}),
        ("mistral/m", "/v1/chat/completions", {}, {"prefix": True}),
        ("deepseek/deepseek-chat", "/v1/beta/chat/completions", {}, {"prefix": True}),
        ("anthropic/claude-3-haiku", "/v1/messages", {"max_tokens": 4096}, {}),
    ],
)
def test_a_prefill_is_gone_on_from(use: str, path: str, fields: dict[str, Any], last: dict[str, Any]) -> None:
    """Each in its way, where it is taken at all."""
    found = sent(use, messages=(("user", "hi"), ("assistant", "Sure,")))
    assert found["path"] == path
    assert found["body"]["messages"][-1] == {"role": "assistant", "content": "Sure,"} | last
    assert {k: found["body"][k] for k in fields} == fields


@pytest.mark.parametrize("use", ["anthropic/claude-sonnet-4-5", "openrouter/anthropic/claude-sonnet-4.5"])
@pytest.mark.parametrize("shared", [0, 1, 3])
def test_the_end_of_what_is_shared_is_marked(use: str, shared: int) -> None:
    """At the end of a message, for a provider that keeps what is marked; it changes no text."""
    body = sent(use, messages=TALK, shared=shared)["body"]
    messages = body["messages"] if "system" not in body else [{"content": body["system"]}, *body["messages"]]
    marked = [
        i for i, m in enumerate(messages) if isinstance(m["content"], list) and "cache_control" in m["content"][-1]
    ]
    assert marked == ([shared - 1] if shared else [])
    texts = [m["content"] if isinstance(m["content"], str) else m["content"][0]["text"] for m in messages]
    assert texts == [t for _, t in TALK]


@pytest.mark.parametrize(
    ("use", "messages"),
    [
        (CLAUDE, (("user", "a"), ("system", "b"), ("user", "c"))),
        (CLAUDE, (("user", "a"), ("assistant", "b "))),
        (CLAUDE, (("user", " "),)),
        ("anthropic/claude-opus-4-6", (("user", "a"), ("assistant", "b"))),
        (GEMINI, (("system", "a"),)),
        (GEMINI, (("user", "a"), ("tool", "b"))),
    ],
)
def test_what_a_format_cannot_say_is_never_sent(use: str, messages: tuple[tuple[str, str], ...]) -> None:
    """The last net: a prompt that reads an answer is known only then."""
    with pytest.raises(Rejected, match="not sent"):
        sent(use, messages=messages)


@pytest.mark.parametrize("use", FORMATS)
@pytest.mark.parametrize(
    "text",
    ["\ud800 lone", "a\r\nb", "\u0000x", "日本語 🎉", "x" * 300_000],
    ids=["lone", "crlf", "nul", "wide", "long"],
)
def test_texts_go_and_come_as_they_are(use: str, text: str) -> None:
    """No normalisation, no loss, on the way there and back."""
    assert ask(lambda _, body: web.json_response(reply(use, asked_text(body))), text, use=use).text == text


@pytest.mark.parametrize("use", FORMATS)
def test_a_packed_reply_is_unpacked(use: str) -> None:
    """Gzip, as most servers send long replies."""
    body = gzip.compress(json.dumps(reply(use, "word " * 10_000)).encode())
    found = ask(raw(body, headers={"Content-Encoding": "gzip"}, content_type="application/json"), use=use)
    assert found.text == "word " * 10_000


_CLAUDE_THOUGHT = [{"type": "thinking", "thinking": "r", "signature": "s"}, {"type": "text", "text": "a"}]
_OUTPUT = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "r"}]},
    {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
]
_CUT = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
_FILTERED = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}


def _candidate(reason: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": reason}]}


@pytest.mark.parametrize(
    ("use", "body", "expected"),
    [
        (CLAUDE, reply(CLAUDE, "a") | {"id": "i", "model": "m-2"}, {"text": "a", "model": "m-2", "request_id": "i"}),
        (CLAUDE, {"content": _CLAUDE_THOUGHT, "stop_reason": "end_turn"}, {"text": "a", "reasoning": "r"}),
        (CLAUDE, reply(CLAUDE, "a") | {"stop_reason": "max_tokens"}, {"finish": "length"}),
        (CLAUDE, {"content": [], "stop_reason": "refusal"}, {"text": "", "finish": "blocked"}),
        (CLAUDE, {"content": [], "stop_reason": "end_turn"}, {"text": "", "finish": "stop"}),
        (CLAUDE, reply(CLAUDE, "a") | {"stop_reason": "tool_use"}, {"finish": "tool"}),
        (CLAUDE, reply(CLAUDE, "a") | {"stop_reason": "odd"}, {"finish": "other"}),
        (GEMINI, _candidate("STOP", {"text": "r", "thought": True}, {"text": "a"}, {"text": "b"}),
         {"text": "ab", "reasoning": "r"}),
        (GEMINI, _candidate("MAX_TOKENS"), {"text": "", "finish": "length"}),
        (GEMINI, _candidate("SAFETY"), {"text": "SAFETY", "finish": "blocked"}),
        (GEMINI, {"candidates": [{"finishReason": "PROHIBITED_CONTENT"}]}, {"finish": "blocked"}),
        (GEMINI, _candidate("OTHER", {"text": "a"}), {"text": "a", "finish": "other"}),
        (GEMINI, {"promptFeedback": {"blockReason": "SAFETY"}}, {"text": "SAFETY", "finish": "blocked"}),
        (GEMINI, reply(GEMINI, "a") | {"modelVersion": "v", "responseId": "i"}, {"model": "v", "request_id": "i"}),
        (RESPONSES, {"output": _OUTPUT, "status": "completed"}, {"text": "a", "reasoning": "r", "finish": "stop"}),
        (RESPONSES, {"output": []} | _CUT, {"text": "", "finish": "length"}),
        (RESPONSES, {"output": []} | _FILTERED, {"text": "", "finish": "blocked"}),
        (RESPONSES, {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]},
         {"text": "no"}),
        (CHAT, reply(CHAT, "a") | {"provider": "Infra", "system_fingerprint": "fp"}, {"fingerprint": "Infra fp"}),
        (CHAT, reply(CHAT, "a") | {"id": 5, "model": 7, "usage": "", "system_fingerprint": [], "provider": {}},
         {"text": "a", "model": None}),
        (CHAT, {"choices": [{"message": {"content": "a", "reasoning_content": {}}, "finish_reason": 1,
                             "logprobs": []}]},
         {"text": "a", "reasoning": None, "finish": "stop", "logprobs": None}),
        (CHAT, {"choices": [{"message": {"content": "", "refusal": "no"}, "finish_reason": "stop"}]}, {"text": "no"}),
        (CHAT, {"choices": [{"message": {"content": [{"type": "refusal", "refusal": "no"}]}}]}, {"text": "no"}),
        (CHAT, {"choices": [{"message": {"content": None, "tool_calls": [{}]}}]}, {"text": "", "finish": "tool"}),
        (RESPONSES, {"status": "completed", "output": [{"type": "function_call"}]}, {"text": "", "finish": "tool"}),
        (GEMINI, {"candidates": None, "promptFeedback": {"blockReason": "OTHER"}}, {"finish": "blocked"}),
        (GEMINI, {"candidates": [{"content": None, "finishReason": "SAFETY"}]}, {"finish": "blocked"}),
        (GEMINI, {"candidates": [{"content": {"parts": [{"functionCall": {}}]}, "finishReason": "STOP"}]},
         {"finish": "tool"}),
        (GEMINI, _candidate("STOP", {"text": "a", "thought": None}), {"text": "a"}),
        ("mistral/m", {"choices": [{"message": {"content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}, {"type": "text", "text": "a"}]}}]},
         {"text": "a", "reasoning": "r"}),
    ],
)  # fmt: skip
def test_replies_are_normalised(use: str, body: Any, expected: dict[str, Any]) -> None:
    """Reasoning, refusals, truncation, blocks and empty content are kept, each under one name."""
    found = ask(says(body), use=use)
    assert {k: getattr(found, k) for k in expected} == expected


@pytest.mark.parametrize(
    ("use", "usage", "expected"),
    [
        (CLAUDE, {"usage": {"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2,
                            "output_tokens": 4}}, (10, 4, None, 5, 2)),
        (GEMINI, {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 6,
                                    "cachedContentTokenCount": 5}}, (10, 10, 6, 5, None)),
        (RESPONSES, {"usage": {"input_tokens": 10, "output_tokens": 9, "input_tokens_details": {"cached_tokens": 5},
                               "output_tokens_details": {"reasoning_tokens": 6}}}, (10, 9, 6, 5, None)),
        (CHAT, {"usage": {"prompt_tokens": 10, "completion_tokens": 9,
                          "completion_tokens_details": {"reasoning_tokens": 6}, "prompt_cache_hit_tokens": 5}},
         (10, 9, 6, 5, None)),
        ("xai/grok-4", {"usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 19,
                                  "completion_tokens_details": {"reasoning_tokens": 6}}}, (10, 9, 6, None, None)),
        (CHAT, {"usage": {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19,
                          "completion_tokens_details": {"reasoning_tokens": 6}}}, (10, 9, 6, None, None)),
        (CHAT, {"usage": {"prompt_tokens": -1, "completion_tokens": "9", "total_tokens": True}},
         (None, 9, None, None, None)),
        (CHAT, {"usage": None}, (None, None, None, None, None)),
    ],
)  # fmt: skip
def test_usage_means_the_same_everywhere(use: str, usage: dict[str, Any], expected: tuple[int | None, ...]) -> None:
    """Input is all that was sent, output all that came, reasoning included, whatever a provider counts apart."""
    found = ask(says(reply(use, "a") | usage), use=use).usage
    counts = (
        found.input_tokens,
        found.output_tokens,
        found.reasoning_tokens,
        found.cached_tokens,
        found.written_tokens,
    )
    assert counts == expected


def _with(use: str, **choice: Any) -> dict[str, Any]:
    body = reply(use, "8")
    body["candidates" if use == GEMINI else "choices"][0] |= choice
    return body


def test_a_probability_a_little_over_one_is_one() -> None:
    """Rounding must not lose the likeliest candidate; what is no number is lost."""
    top = [{"token": "a", "logprob": 1e-9}, {"token": "b", "logprob": -20}, {"token": "c", "logprob": None}]
    body = _with(CHAT, logprobs={"content": [{"top_logprobs": top}]})
    assert ask(says(body)).logprobs == ((("a", 0.0), ("b", -20.0)),)


@pytest.mark.parametrize(
    ("use", "body"),
    [
        (CHAT, _with(CHAT, logprobs={"content": [{"top_logprobs": [{"token": "8", "logprob": -0.1},
                                                                  {"token": "9", "logprob": -2.5}]}]})),
        ("together/m", _with(CHAT, logprobs={"tokens": ["8"], "top_logprobs": [{"9": -2.5, "8": -0.1}]})),
        (GEMINI, _with(GEMINI, logprobsResult={"topCandidates": [{"candidates": [
            {"token": "8", "logProbability": -0.1}, {"token": "9", "logProbability": -2.5}]}]})),
        (RESPONSES, {"status": "completed", "output": [{"type": "message", "content": [
            {"type": "output_text", "text": "8", "logprobs": [{"token": "8", "logprob": -0.1, "top_logprobs": [
                {"token": "8", "logprob": -0.1}, {"token": "9", "logprob": -2.5}]}]}]}]}),
    ],
)  # fmt: skip
def test_logprobs_have_one_shape(use: str, body: Any) -> None:
    """The candidates of each position, likeliest first."""
    assert ask(says(body), use=use).logprobs == ((("8", -0.1), ("9", -2.5)),)


def _openai(status: int, code: str | None, message: str = "m", kind: str = "t", **headers: str) -> Handler:
    return says({"error": {"message": message, "type": kind, "code": code}}, status=status, headers=headers)


def _claude(status: int, kind: str, message: str = "m", **headers: str) -> Handler:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}
    return says(body, status=status, headers=headers)


def _gemini(status: int, kind: str, message: str = "m", *details: dict[str, Any]) -> Handler:
    return says(
        {"error": {"code": status, "message": message, "status": kind, "details": list(details)}}, status=status
    )


_DAILY = {"@type": "type.googleapis.com/google.rpc.QuotaFailure",
          "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}  # fmt: skip
_DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "14s"}
_GONE = "The model `x` does not exist or you do not have access to it."


@pytest.mark.parametrize(
    ("use", "handler", "kind", "for_all", "wait_s"),
    [
        (CHAT, _openai(401, "invalid_api_key"), Rejected, True, 0),
        (CHAT, _openai(404, "model_not_found", _GONE), Rejected, True, 0),
        (CHAT, _openai(400, "context_length_exceeded"), Rejected, False, 0),
        (CHAT, _openai(400, "unsupported_value"), Rejected, False, 0),
        (CHAT, _openai(403, None), Rejected, False, 0),
        (CHAT, _openai(429, "rate_limit_exceeded", **{"Retry-After": "1.5"}), Throttled, None, 1.5),
        (CHAT, _openai(429, "rate_limit_exceeded", **{"Retry-After-Ms": "250"}), Throttled, None, 0.25),
        (CHAT, _openai(429, "rate_limit_exceeded", "Please try again in 1m2.5s."), Throttled, None, 62.5),
        (CHAT, _openai(429, "insufficient_quota"), Rejected, True, 0),
        (CHAT, _openai(429, None, kind="insufficient_quota"), Rejected, True, 0),
        (CHAT, _openai(402, None), Rejected, True, 0),
        ("groq/m", _openai(429, "rate_limit_exceeded", "try again in 1.98s. Upgrade: groq.com/settings/billing"),
         Throttled, None, 1.98),
        (CHAT, _openai(429, "rate_limit_exceeded", "Request too large for gpt-4o"), Rejected, False, 0),
        (CHAT, _openai(403, "unsupported_country_region_territory"), Rejected, True, 0),
        (CHAT, _openai(400, "invalid_request_error", "Invalid prompt: too long: 5000 tokens"), Rejected, False, 0),
        ("openrouter/m", says({"error": {"message": "No endpoints found that can handle the requested parameters.",
                                         "code": 404}}, status=404), Rejected, False, 0),
        (CHAT, says({"choices": [{"error": {"code": 502}, "message": {"content": ""}}]}), Unavailable, None, 0),
        (CHAT, says({"choices": [{"finish_reason": None, "message": {"content": ""}}]}), Unavailable, None, 0),
        (CHAT, says({"choices": [{"finish_reason": "network_error", "message": {}}]}), Unavailable, None, 0),
        (CHAT, says({"error": {"message": "m", "code": "429"}}), Throttled, None, 0),
        (CHAT, says({"error": {"message": "m", "code": 0}}), Unavailable, None, 0),
        (CHAT, _openai(499, "CANCELLED"), Unavailable, None, 0),
        (CLAUDE, _claude(400, "invalid_request_error", "You have reached your specified API usage limits."), Rejected,
         True, 0),
        (GEMINI, _gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your billing",
                         {"violations": [{"quotaId": "PerMinute"}]}, {"retryDelay": "15s"}), Throttled, None, 15),
        (GEMINI, _gemini(403, "PERMISSION_DENIED", "Your API key was reported as leaked"), Rejected, True, 0),
        (RESPONSES, says({"status": "completed", "output": []}), Unavailable, None, 0),
        (CHAT, _openai(500, "server_error"), Unavailable, None, 0),
        (CHAT, says({"error": "busy"}, status=503, headers={"Retry-After": "0.25"}), Unavailable, None, 0.25),
        ("xai/m", says({"code": "personal-team-blocked:spending-limit", "error": "m"}, status=403), Rejected, True, 0),
        ("xai/m", says({"code": "c", "error": "Incorrect API key provided: xx***"}, status=400), Rejected, True, 0),
        ("mistral/m", says({"object": "error", "message": "m", "type": "rate_limited", "code": "1300"}, status=429),
         Throttled, None, 0),
        ("mistral/m", says({"detail": "Unauthorized"}, status=401), Rejected, True, 0),
        ("deepseek/m", _openai(402, "invalid_request_error", "Insufficient Balance"), Rejected, True, 0),
        ("ollama/m", says({"error": {"message": "model 'x' not found"}}, status=404), Rejected, True, 0),
        ("openrouter/m", says({"error": {"message": "up", "code": 429}}), Throttled, None, 0),
        ("openrouter/m", says({"error": {"message": "up", "code": 502}}), Unavailable, None, 0),
        ("openrouter/m", says({"choices": None}), Unavailable, None, 0),
        (CLAUDE, _claude(401, "authentication_error"), Rejected, True, 0),
        (CLAUDE, _claude(404, "not_found_error", "model: x"), Rejected, True, 0),
        (CLAUDE, _claude(400, "invalid_request_error", "prompt is too long"), Rejected, False, 0),
        (CLAUDE, _claude(400, "invalid_request_error", "Your credit balance is too low to access"), Rejected, True, 0),
        (CLAUDE, _claude(429, "rate_limit_error", **{"retry-after": "7"}), Throttled, None, 7),
        (CLAUDE, _claude(529, "overloaded_error"), Unavailable, None, 0),
        (CLAUDE, says(reply(CLAUDE, "a") | {"stop_reason": "pause_turn"}), Unavailable, None, 0),
        (GEMINI, _gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass one."), Rejected, True, 0),
        (GEMINI, _gemini(404, "NOT_FOUND"), Rejected, True, 0),
        (GEMINI, _gemini(400, "INVALID_ARGUMENT"), Rejected, False, 0),
        (GEMINI, _gemini(429, "RESOURCE_EXHAUSTED", "m", _DELAY), Throttled, None, 14),
        (GEMINI, _gemini(429, "RESOURCE_EXHAUSTED", "m", _DAILY), Rejected, True, 0),
        (GEMINI, _gemini(503, "UNAVAILABLE"), Unavailable, None, 0),
        (GEMINI, says({}), Unavailable, None, 0),
        (RESPONSES, says({"output": [], "status": "failed"}), Unavailable, None, 0),
    ],
)  # fmt: skip
def test_errors_by_class(
    use: str, handler: Handler, kind: type[ProviderError], for_all: bool | None, wait_s: float
) -> None:
    """Asked again or not, after how long, and whether all others would be refused too."""
    with pytest.raises(kind) as caught:
        ask(handler, use=use)
    assert type(caught.value) is kind
    assert getattr(caught.value, "for_all", None) == for_all
    assert getattr(caught.value, "wait_s", 0) == wait_s


@pytest.mark.parametrize("use", FORMATS)
@pytest.mark.parametrize(
    ("handler", "kind", "said"),
    [
        (raw("<html>Bad Gateway</html>", status=502), Unavailable, "502 <html>"),
        (raw("<html>login</html>"), Unavailable, "not JSON"),
        (raw('{"choices": [{'), Unavailable, "not JSON"),
        (raw("[" * 100_000), Unavailable, "not JSON"),
        (raw(""), Unavailable, "the reply is empty"),
        (says([1]), Unavailable, "not a JSON object"),
        (says({"choices": 1, "content": 1, "candidates": 1, "output": 1}), Unavailable, "unexpected format"),
        (raw("x" * 70_000_000), Rejected, "larger than"),
        (raw(gzip.compress(b" " * 200_000_000), headers={"Content-Encoding": "gzip"}), Rejected, "larger than"),
        (raw("", status=302, headers={"Location": "http://127.0.0.1:1/"}), Rejected, "302"),
    ],
    ids=["gateway", "login", "cut", "deep", "empty", "list", "numbers", "huge", "bomb", "elsewhere"],
)
def test_what_is_no_reply(use: str, handler: Handler, kind: type[ProviderError], said: str) -> None:
    """Pages, halves, and far too much: each says what it was, and no other host is asked."""
    with pytest.raises(kind) as caught:
        ask(handler, use=use, timeout_s=20)
    assert said in str(caught.value)


@pytest.mark.parametrize("use", FORMATS)
def test_slow_and_cut_bodies_may_pass(use: str) -> None:
    """A body that drips in is waited for until the model's `timeout`; one that ends early is asked for again."""

    async def drip(request: web.Request, seconds_: float, *, whole: bool) -> web.StreamResponse:
        body = json.dumps(reply(use, "a")).encode()
        found = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await found.prepare(request)
        for i, byte in enumerate(body):
            if i % 10 == 0:
                await asyncio.sleep(seconds_)
            if not whole and i == len(body) // 2:
                assert request.transport is not None
                request.transport.abort()
                return found
            await found.write(bytes([byte]))
        return found

    assert ask(lambda r, _: drip(r, 0.01, whole=True), use=use).text == "a"
    with pytest.raises(Unavailable):
        ask(lambda r, _: drip(r, 0.001, whole=False), use=use)
    with pytest.raises(Unavailable, match=r"no answer from .* within 0.5 s"):
        ask(lambda r, _: drip(r, 1.0, whole=True), use=use, timeout_s=0.5)


@pytest.mark.parametrize(
    ("use", "handler"),
    [
        (CHAT, _openai(400, "content_policy_violation")),
        (CHAT, _openai(400, "invalid_prompt", "Invalid prompt: your prompt was flagged")),
        (RESPONSES, says({"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}})),
        (
            "xai/grok-4",
            says({"code": "c", "error": "usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, status=403),
        ),
        (
            "openrouter/m",
            says({"error": {"code": 403, "message": "m", "metadata": {"reasons": ["violence"]}}}, status=403),
        ),
        (CLAUDE, _claude(400, "invalid_request_error", "Output blocked by content filtering policy")),
        ("deepseek/m", _openai(400, "invalid_request_error", "Content Exists Risk")),
    ],
)
def test_a_policy_block_is_an_answer(use: str, handler: Handler) -> None:
    """Here a block is data: it is stored, with finish `blocked`."""
    assert ask(handler, use=use).finish == "blocked"


def test_an_error_that_quotes_the_prompt_is_judged_by_itself() -> None:
    """What was asked may speak of policies and credit: that blocks nothing, and stops nobody."""
    quoted = {"detail": [{"msg": "bad", "input": "content_filter: Invalid prompt: your credit balance is too low"}]}
    with pytest.raises(Rejected) as caught:
        ask(says(quoted, status=422))
    assert not caught.value.for_all


def test_a_model_of_the_responses_api_alone_is_found_out() -> None:
    """OpenAI says so in an error; the request is sent again to where it belongs."""
    paths = []

    def handler(request: web.Request, body: dict[str, Any]) -> web.Response:
        paths.append(request.path)
        if "messages" in body:
            said = "This model is only supported in v1/responses and not in v1/chat/completions."
            return web.json_response({"error": {"message": said, "type": "invalid_request_error"}}, status=404)
        return web.json_response(reply(RESPONSES, "a"))

    assert ask(handler, use="openai/gpt-next").text == "a"
    assert paths == ["/v1/chat/completions", "/v1/responses"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59",
          "x-ratelimit-reset-requests": "1s", "x-ratelimit-limit-tokens": "150000",
          "x-ratelimit-remaining-tokens": "149984",
          "x-ratelimit-reset-tokens": "6m0s"},
         Limits(requests=Limit(60, 59, 1), tokens=Limit(150_000, 149_984, 360))),
        ({"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "5"},
         Limits(requests=Limit(60, 5, 60))),
        ({"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"},
         Limits(requests=Limit(20, 0, 7))),
        ({"x-ratelimit-remaining-requests": "many"}, None),
        ({"x-ratelimit-limit-requests": "None", "x-ratelimit-remaining-requests": "None"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_limits_are_read(headers: dict[str, str], expected: Limits | None) -> None:
    """As providers write them; what cannot be read says nothing."""
    told: list[Limits] = []
    ask(says(reply(CHAT, "a"), headers=headers), told=told)
    assert told == ([expected] if expected is not None else [])
    assert read_limits({k.lower(): v for k, v in headers.items()}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20ms", 0.02), ("1h1m1s", 3661), ("2m59.56s", 179.56), ("7", 7), ("7,", None), ("nan", None), ("-3", 0),
     ("99999999999", None), ("1 week", None), ("", None), ("1s2", None)],
)  # fmt: skip
def test_durations(text: str, expected: float | None) -> None:
    """Written in units or not; what is none is none."""
    found = seconds(text)
    assert found is None if expected is None else found == pytest.approx(expected, abs=0.01)


def test_times_are_turned_into_durations() -> None:
    """RFC 3339, and milliseconds since 1970."""
    import time  # noqa: PLC0415 - beside its one use
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - beside its one use

    at = (datetime.now(UTC) + timedelta(seconds=30)).isoformat().replace("+00:00", "Z")
    assert seconds(at) == pytest.approx(30, abs=2)
    assert seconds(str(int((time.time() + 30) * 1000))) == pytest.approx(30, abs=2)
