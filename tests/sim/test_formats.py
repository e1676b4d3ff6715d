"""The simulator refuses what the real servers refuse, in their words, in each format."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from emdsl.sim.server import RateLimit, Simulator

HI = [{"role": "user", "content": "hi"}]
CLAUDE = {"model": "claude-x", "max_tokens": 9, "messages": HI}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
CHAT = {"model": "gpt-4o", "messages": HI}
PREFILL = {"role": "assistant", "content": "a "}
VERSION = {"anthropic-version": "2023-06-01"}
GENERATE = "/v1beta/models/gemini-2.5-pro:generateContent"


def post(
    path: str, body: Any, headers: dict[str, str] | None = None, *, n: int = 1, **settings: Any
) -> list[tuple[int, dict[str, Any], dict[str, str]]]:
    """Send a body some times; return status, reply and headers of each."""

    async def main() -> list[tuple[int, dict[str, Any], dict[str, str]]]:
        simulator = Simulator(**settings)
        await simulator.start()
        found = []
        try:
            async with aiohttp.ClientSession() as session:
                for _ in range(n):
                    url = simulator.url.removesuffix("/v1") + path
                    data = body if isinstance(body, str) else json.dumps(body)
                    async with session.post(url, data=data, headers=headers) as reply:
                        told = {k.lower(): v for k, v in reply.headers.items()}
                        found.append((reply.status, await reply.json(), told))
        finally:
            await simulator.stop()
        return found

    return asyncio.run(main())


def _config(**settings: Any) -> dict[str, Any]:
    return GEMINI | {"generationConfig": settings}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/v1/chat/completions", CHAT | {"topk": 1}, {}, 400, "Unrecognized request argument supplied: topk"),
        ("/v1/chat/completions", CHAT | {"temperature": 3}, {}, 400, "temperature"),
        ("/v1/chat/completions", CHAT | {"messages": []}, {}, 400, "empty array"),
        ("/v1/chat/completions", CHAT | {"messages": [{"role": "model", "content": "a"}]}, {}, 400, "Supported values"),
        ("/v1/chat/completions", CHAT | {"top_logprobs": 5}, {}, 400, "logprobs must be true"),
        ("/v1/chat/completions", CHAT | {"stop": list("abcde")}, {}, 400, "array too long"),
        ("/v1/chat/completions", CHAT | {"model": "gpt-5", "max_tokens": 5}, {}, 400, "max_completion_tokens"),
        ("/v1/chat/completions", CHAT | {"model": "o3", "temperature": 0}, {}, 400, "Unsupported value"),
        ("/v1/chat/completions", CHAT | {"model": "no-such"}, {}, 404, "does not exist"),
        ("/v1/chat/completions", "{", {}, 400, "JSON"),
        ("/v1/responses", {"model": "o3-pro", "input": HI, "max_tokens": 5}, {}, 400, "Unknown parameter"),
        ("/v1/messages", CLAUDE, {}, 400, "anthropic-version: header is required"),
        ("/v1/messages", {"model": "c", "messages": HI}, VERSION, 400, "max_tokens: Field required"),
        ("/v1/messages", CLAUDE | {"seed": 1}, VERSION, 400, "seed: Extra inputs are not permitted"),
        ("/v1/messages", CLAUDE | {"temperature": 1.5}, VERSION, 400, "temperature"),
        ("/v1/messages", CLAUDE | {"messages": [{"role": "system", "content": "a"}]}, VERSION, 400, '"user" or'),
        ("/v1/messages", CLAUDE | {"messages": [{"role": "user", "content": ""}]}, VERSION, 400, "non-empty"),
        ("/v1/messages", CLAUDE | {"messages": [*HI, PREFILL]}, VERSION, 400, "whitespace"),
        ("/v1/messages", CLAUDE | {"thinking": {"type": "enabled", "budget_tokens": 9}}, VERSION, 400, "1024"),
        ("/v1/messages", CLAUDE | {"model": "no-such"}, VERSION, 404, "model: no-such"),
        (GENERATE, GEMINI | {"model": "x"}, {}, 400, 'Unknown name "model"'),
        (GENERATE, _config(max_tokens=5), {}, 400, 'Unknown name "max_tokens"'),
        (GENERATE, _config(temperature=2.5), {}, 400, "temperature"),
        (GENERATE, _config(logprobs=5), {}, 400, "responseLogprobs"),
        (GENERATE, {"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}, {}, 400, "user, model"),
        ("/v1beta/models/gemini-2.0-flash:generateContent", _config(thinkingConfig={"includeThoughts": True}), {}, 400,
         "Thinking is not enabled"),
    ],
)  # fmt: skip
def test_it_is_strict(path: str, body: Any, headers: dict[str, str], status: int, said: str) -> None:
    """Unknown fields, wrong roles, missing and odd values."""
    ((found, reply, _),) = post(path, body, headers)
    assert found == status
    message = reply["error"]["message"]
    assert said in message
    if path == "/v1/messages":
        assert reply["type"] == "error"
        assert reply["error"]["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    elif path.startswith("/v1beta"):
        assert (reply["error"]["code"], reply["error"]["status"]) == (400, "INVALID_ARGUMENT")
    else:
        assert reply["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/chat/completions", CHAT, {"Authorization": "Bearer sk-wrong"}, 401),
        ("/v1/messages", CLAUDE, VERSION | {"x-api-key": "sk-wrong"}, 401),
        (GENERATE, GEMINI, {}, 400),
    ],
)
def test_it_lets_in_its_keys_only(path: str, body: Any, headers: dict[str, str], status: int) -> None:
    """As each provider says it."""
    ((found, _, _),) = post(path, body, headers, keys=frozenset(("sk-right",)))
    assert found == status
    right = {"Authorization": "Bearer sk-right", "x-api-key": "sk-right", "x-goog-api-key": "sk-right"} | VERSION
    assert post(path, body, right, keys=frozenset(("sk-right",)))[0][0] == 200


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/v1/chat/completions", CHAT, lambda r: r["choices"][0]["message"]["content"]),
        ("/v1/responses", {"model": "gpt-4o", "input": "hi"}, lambda r: r["output"][-1]["content"][0]["text"]),
        ("/v1/messages", CLAUDE | {"max_tokens": 99}, lambda r: r["content"][0]["text"]),
        (GENERATE, GEMINI, lambda r: r["candidates"][0]["content"]["parts"][0]["text"]),
    ],
)
def test_it_draws_anew_each_time(path: str, body: Any, text: Any) -> None:
    """Without the header that says which sample it is, as real servers do."""
    found = [text(reply) for _, reply, _ in post(path, body, VERSION, n=5)]
    assert len(set(found)) == 5
    assert all(t.startswith("[simulated: ") for t in found)


def test_a_limit_is_announced_and_kept() -> None:
    """What is left goes down; then a 429 says when to come back."""
    found = post("/v1/chat/completions", CHAT, n=4, limit=RateLimit(requests=3, window_s=60))
    assert [status for status, _, _ in found] == [200, 200, 200, 429]
    assert [told["x-ratelimit-remaining-requests"] for _, _, told in found] == ["2", "1", "0", "0"]
    assert 15 < float(found[-1][2]["retry-after"]) <= 20
    assert found[-1][1]["error"]["code"] == "rate_limit_exceeded"


def test_beginnings_are_kept() -> None:
    """What was sent before is counted as read from the cache; for Anthropic where it is marked, and put there first."""
    long = "word " * 2000
    first, again = (r["usage"] for _, r, _ in post("/v1/chat/completions", CHAT | {"messages": [
        {"role": "user", "content": long}]}, n=2))  # fmt: skip
    assert "prompt_tokens_details" not in first
    assert again["prompt_tokens_details"]["cached_tokens"] > 1800
    block = {"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "user", "content": [block]}, {"role": "assistant", "content": "a"}, *HI]
    first, again = (r["usage"] for _, r, _ in post("/v1/messages", CLAUDE | {"messages": messages}, VERSION, n=2))
    assert (first["cache_read_input_tokens"], again["cache_creation_input_tokens"]) == (0, 0)
    assert first["cache_creation_input_tokens"] == again["cache_read_input_tokens"] == 2004
    assert again["input_tokens"] < 20
