"""The simulator refuses what the real servers refuse, in their words, in each format."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from emdsl.prompt import Message, Prompt
from emdsl.providers.client import Client
from emdsl.providers.http import Http
from emdsl.query import Model, Query, RequestSettings, Response
from emdsl.service import SERVICES
from emdsl.sim.server import RateLimit, Simulator
from emdsl.value import EnvVar

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
        ("/v1/chat/completions", CHAT | {"temperature": "hot"}, {}, 400, "expected a decimal, but got a string"),
        ("/v1/chat/completions", CHAT | {"seed": 1.5}, {}, 400, "expected an integer, but got a decimal"),
        ("/v1/chat/completions", CHAT | {"logprobs": 1}, {}, 400, "expected a boolean, but got an integer"),
        ("/v1/chat/completions", CHAT | {"top_p": 2}, {}, 400, "Expected a value <= 1, but got 2 instead"),
        ("/v1/chat/completions", CHAT | {"reasoning_effort": "low"}, {}, 400, "'reasoning_effort' is not supported"),
        ("/v1/chat/completions", CHAT | {"model": "gpt-5.1", "reasoning_effort": "minimal"}, {}, 400,
         "Supported values are: 'none', 'low', 'medium', and 'high'."),
        ("/v1/chat/completions", CHAT | {"model": "gpt-5", "stop": ["a"]}, {}, 400, "'stop' is not supported"),
        ("/v1/chat/completions", CHAT | {"model": "gpt-5", "logprobs": True, "top_logprobs": 5}, {}, 403, "logprobs"),
        ("/v1/chat/completions", CHAT | {"messages": [*HI, {"role": "tool", "content": "4"}]}, {}, 400,
         "Missing parameter 'tool_call_id'"),
        ("/v1/chat/completions", CHAT | {"messages": [*HI, {"role": "tool", "content": "4", "tool_call_id": "c"}]}, {},
         400, "must be a response to a preceeding message"),
        ("/v1/responses", {"model": "o3-pro", "input": HI, "max_output_tokens": 5}, {}, 400, "Expected a value >= 16"),
        ("/v1/responses", {"model": "gpt-5-pro", "input": HI, "reasoning": {"effort": "low"}}, {}, 400,
         "Supported values are: 'high'."),
        ("/v1/messages", CLAUDE | {"temperature": "hot"}, VERSION, 400, "valid number"),
        ("/v1/messages", CLAUDE | {"model": "claude-opus-4-8", "temperature": 0}, VERSION, 400, "is deprecated"),
        ("/v1/messages", CLAUDE | {"model": "claude-opus-4-6", "messages": [*HI, PREFILL]}, VERSION, 400,
         "does not support assistant message prefill"),
        ("/v1/messages", CLAUDE | {"model": "claude-sonnet-4-5", "temperature": 0, "top_p": 0.5}, VERSION, 400,
         "cannot both be specified"),
        ("/v1/messages", CLAUDE | {"model": "claude-sonnet-4-5", "output_config": {"effort": "low"}}, VERSION, 400,
         "does not support the effort parameter"),
        ("/v1/messages", CLAUDE | {"model": "claude-opus-4-8", "max_tokens": 5_000,
                                   "thinking": {"type": "enabled", "budget_tokens": 2_000}}, VERSION, 400,
         "thinking.type.adaptive"),
        (GENERATE, _config(temperature="hot"), {}, 400, "TYPE_FLOAT"),
        (GENERATE, _config(thinkingConfig={"thinkingBudget": 0}), {}, 400, "thinking budget 0 is invalid"),
        (GENERATE, _config(thinkingConfig={"thinkingLevel": "LOW"}), {}, 400, "level is not supported"),
        ("/v1/responses", {"model": "o3-pro", "input": HI, "max_tokens": 5}, {}, 400, "Unknown parameter"),
        ("/v1/messages", CLAUDE, {}, 400, "anthropic-version: header is required"),
        ("/v1/messages", {"model": "c", "messages": HI}, VERSION, 400, "max_tokens: Field required"),
        ("/v1/messages", CLAUDE | {"seed": 1}, VERSION, 400, "seed: Extra inputs are not permitted"),
        ("/v1/messages", CLAUDE | {"temperature": 1.5}, VERSION, 400, "temperature"),
        ("/v1/messages", CLAUDE | {"messages": [{"role": "system", "content": "a"}]}, VERSION, 400, '"user" or'),
        ("/v1/messages", CLAUDE | {"messages": [{"role": "user", "content": ""}]}, VERSION, 400, "non-empty"),
        ("/v1/messages", CLAUDE | {"messages": [*HI, PREFILL]}, VERSION, 400, "whitespace"),
        ("/v1/messages", CLAUDE | {"model": "claude-sonnet-4-5", "max_tokens": 99,
                                   "thinking": {"type": "enabled", "budget_tokens": 9}}, VERSION, 400, "1024"),
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


@pytest.mark.parametrize(
    ("use", "settings"),
    [("openai/gpt-4o", {"top_logprobs": 5}), ("openai/gpt-4o", {}), ("openai/o3-pro", {}),
     ("anthropic/claude-sonnet-4-5", {"max_tokens": 400})],
)  # fmt: skip
def test_a_stream_says_what_the_whole_reply_says(use: str, settings: dict[str, Any]) -> None:
    """Text, end, usage and candidates, put together by the client."""

    async def main() -> list[Response]:
        simulator = Simulator()
        await simulator.start()
        service, _, name = use.partition("/")
        model = Model(name="m", use=use, service=SERVICES[service], wire_name=name, url=simulator.url, key=EnvVar("K"))
        query = Query(RequestSettings(model, tuple(settings.items())), Prompt((Message("user", "hi"),)), 0, b"k" * 32)
        http = Http(1, {})
        try:
            found = []
            for streams in (False, True):
                client = Client(http, {"K": "sk-0123456789"})
                client._stream_only = {id(model)} if streams else set()
                found.append(await client.ask(query, 0, lambda _: None))
        finally:
            await http.close()
            await simulator.stop()
        return found

    whole, streamed = asyncio.run(main())
    for found in (whole, streamed):
        assert found.text
        assert found.finish == "stop"
        assert found.usage.input_tokens == whole.usage.input_tokens
        assert found.usage.output_tokens
        assert (found.logprobs is not None) == ("top_logprobs" in settings)
