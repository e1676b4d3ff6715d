"""Answers that come as a stream are those that would have come as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from providers.asking import CHAT, CLAUDE, RESPONSES, Handler, ask, reply

from emdsl.errors import Rejected, Throttled, Unavailable
from emdsl.providers.streaming import STREAM_ONLY

DONE = b"data: [DONE]\n\n"


def stream(events: list[dict[str, Any]], end: bytes = DONE) -> web.Response:
    text = b"".join(f"event: {e.get('type', 'x')}\r\ndata: {json.dumps(e)}\r\n\r\n".encode() for e in events)
    return web.Response(body=b": ping\n\n" + text + end, content_type="text/event-stream")


def chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "model": "m-1",
        "choices": [{"index": 0, "delta": delta} | more],
    }


CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Two and "}), chunk({"reasoning_content": "two."}),
    chunk({"content": "Fo"}, logprobs={"content": [{"token": "Fo", "logprob": -0.1, "top_logprobs": []}]}),
    chunk({"content": "ur"}, logprobs={"content": [{"token": "ur", "logprob": -0.2, "top_logprobs": []}]}),
    chunk({}, finish_reason="stop"),
    {"id": "c1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}},
]  # fmt: skip
MESSAGES: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "m1", "model": "x", "content": [], "usage": {"input_tokens": 7}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Two and two."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "ping"},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Fo"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ur"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]  # fmt: skip
PART = {"type": "output_text", "text": "Four"}
THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Two and two."}]}
RESPONSE = {
    "id": "r1", "status": "completed", "model": "m-1", "usage": {"input_tokens": 7, "output_tokens": 9},
    "output": [THOUGHT, {"type": "message", "content": [PART]}],
}  # fmt: skip
RESPONDED = [
    {"type": "response.output_text.delta", "delta": "Fo"}, {"type": "response.completed", "response": RESPONSE},
]  # fmt: skip


def demanding(events: list[dict[str, Any]], said: str, seen: list[dict[str, Any]]) -> Handler:
    """Return a server that answers as a stream alone."""

    def handler(_: web.Request, body: dict[str, Any]) -> web.Response:
        seen.append(body)
        if not body.get("stream"):
            return web.json_response({"error": {"message": said, "type": "invalid_request_error"}}, status=400)
        return stream(events)

    return handler


@pytest.mark.parametrize(
    ("use", "events"), [(CHAT, CHUNKS), (CLAUDE, MESSAGES), (RESPONSES, RESPONDED)], ids=["chat", "claude", "responses"]
)
@pytest.mark.parametrize(
    "said",
    [
        "This model only support stream mode, please enable the stream parameter to access the model.",
        "parameter.enable_thinking must be set to false for non-streaming calls; only streaming calls think",
        "Streaming is required for operations that may take longer than 10 minutes.",
    ],
)
def test_where_a_provider_demands_a_stream_it_is_put_together(
    use: str, events: list[dict[str, Any]], said: str
) -> None:
    """Text, reasoning, end, usage and logprobs are those of a whole reply."""
    seen: list[dict[str, Any]] = []
    found = ask(demanding(events, said, seen), use=use)
    assert [body.get("stream") for body in seen] == [None, True]
    assert (found.text, found.reasoning, found.finish) == ("Four", "Two and two.", "stop")
    assert (found.usage.input_tokens, found.usage.output_tokens) == (7, 9)
    assert found.tokens == (("Fo", "ur") if use == CHAT else None)


@pytest.mark.parametrize(("max_tokens", "streamed"), [(21_333, False), (21_334, True), (64_000, True)])
def test_long_answers_of_claude_come_as_a_stream(max_tokens: int, streamed: bool) -> None:
    """As its own SDKs demand: what takes ten minutes is cut by what stands between."""
    seen: list[dict[str, Any]] = []

    def handler(_: web.Request, body: dict[str, Any]) -> web.Response:
        seen.append(body)
        return stream(MESSAGES) if body.get("stream") else web.json_response(reply(CLAUDE, "Four"))

    assert ask(handler, use=CLAUDE, max_tokens=max_tokens).text == "Four"
    assert [bool(body.get("stream")) for body in seen] == [streamed]


@pytest.mark.parametrize(
    ("use", "events"),
    [(CHAT, CHUNKS[:5]), (CHAT, []), (CLAUDE, MESSAGES[:8]), (CLAUDE, []), (RESPONSES, RESPONDED[:1])],
    ids=range(5),
)
def test_a_stream_that_ends_early_is_no_answer(use: str, events: list[dict[str, Any]]) -> None:
    """A cut connection leaves half a text: it is asked for again."""
    with pytest.raises(Unavailable, match=r"ended before the answer was complete|not JSON"):
        ask(lambda *_: stream(events, b'data: {"half'), use=use)


@pytest.mark.parametrize(
    ("use", "error", "kind"),
    [
        (CHAT, {"error": {"message": "Rate limit reached", "code": 429}}, Throttled),
        (CLAUDE, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Unavailable),
        (CHAT, {"error": {"message": "maximum context length is 8192 tokens", "code": 400}}, Rejected),
    ],
)
def test_an_error_within_a_stream_is_an_error(use: str, error: dict[str, Any], kind: type[Exception]) -> None:
    """By the same table as one that comes alone."""
    with pytest.raises(kind):
        ask(lambda *_: stream([*(CHUNKS[:4] if use == CHAT else MESSAGES[:5]), error]), use=use)


@pytest.mark.parametrize(
    "said",
    [
        "Unsupported value: 'temperature' does not support 0.5 with this model.",
        "messages: at least one message is required",
        "Your organization must be verified to generate reasoning summaries.",
        "max_tokens must be less than 8192",
    ],
)
def test_other_complaints_ask_for_no_stream(said: str) -> None:
    """What is refused for another reason is not sent twice."""
    assert not STREAM_ONLY.search(said)
    seen: list[dict[str, Any]] = []
    with pytest.raises(Rejected):
        ask(demanding(CHUNKS, said, seen))
    assert len(seen) == 1


def whole(*deltas: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [*map(chunk, deltas), chunk({}, finish_reason="stop", **more)]


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (
            whole({"content": "I will "}, {"content": "not\u2028"}, {"content": "do\x85 it"}),
            "I will not\u2028do\x85 it",
        ),
        (whole({"content": [{"type": "text", "text": "Fo"}]}, {"content": [{"type": "text", "text": "ur"}]}), "Four"),
        (whole({"content": None}, {"content": "Four"}), "Four"),
        (
            [{"choices": [{"index": None, "text": "Fo"}]}, {"choices": [{"text": "ur", "finish_reason": "stop"}]}],
            "Four",
        ),
        ([reply(CHAT, "Four")], "Four"),
        (
            [*whole({"content": "Fo"}, {"content": "ur"}), {"choices": [{"index": 1, "delta": {"content": "other"}}]}],
            "Four",
        ),
    ],
    ids=range(6),
)
def test_nothing_that_a_stream_says_is_lost(events: list[dict[str, Any]], text: str) -> None:
    """Odd line ends within a text, lists of parts, whole messages, a second choice."""
    body = "".join(f"data: {json.dumps(e, ensure_ascii=False)}\n\n" for e in events) + "data: [DONE]\n\n"
    for ends in ("\n", "\r\n", "\r"):
        found = ask(
            lambda *_, ends=ends: web.Response(body=body.replace("\n", ends).encode(), content_type="text/event-stream")
        )
        assert found.text == text


@pytest.mark.parametrize(
    ("use", "body"),
    [
        (CHAT, 'data: {"choices": 5}'), (CHAT, 'data: {"choices": [{"delta": "abc"}]}'),
        (CHAT, 'data: {"choices": [{"index": "x"}]}'), (CHAT, 'data: {"half'), (CHAT, "data: not json"),
        (CLAUDE, 'data: {"type": "content_block_start", "index": null, "content_block": {}}'),
        (CLAUDE, 'data: {"type": "message_delta", "delta": [1]}'),
        (CLAUDE, 'data: {"type": "message_delta", "usage": 5}'),
        (RESPONSES, 'data: {"type": "response.completed", "response": 5}'), (CHAT, ""),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_stream_of_another_shape_is_asked_for_again(use: str, body: str) -> None:
    """It ends no run with a traceback, and is no answer."""
    with pytest.raises(Unavailable):
        ask(lambda *_: web.Response(text=body + "\n\n", content_type="text/event-stream"), use=use)


def test_a_response_that_failed_is_read_by_its_cause() -> None:
    """As one that comes whole."""
    failed = {"status": "failed", "error": {"code": "invalid_prompt", "message": "flagged"}, "output": []}
    found = ask(lambda *_: stream([{"type": "response.failed", "response": failed}]), use=RESPONSES)
    assert found.finish == "blocked"
    limited = {"type": "error", "code": "rate_limit_exceeded", "message": "Rate limit reached"}
    with pytest.raises(Throttled):
        ask(lambda *_: stream([limited]), use=RESPONSES)
