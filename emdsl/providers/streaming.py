"""Streamed replies, assembled into the reply that a request without a stream would get.

Some providers answer long requests only as a stream. The answer, its key and the stored entry are the same.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from emdsl.errors import Unavailable
from emdsl.providers.error_body import is_error
from emdsl.providers.http_errors import error_in_200

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EVENTS = "text/event-stream"
LONG_ANSWER = 21_333  # tokens; above, Anthropic requires a stream, and its SDKs refuse requests without one
STREAM_ONLY = re.compile(  # errors of servers that only answer as a stream
    r"(?:only|must|required?|need(?:s|ed)?|please)\b[^.]{0,60}\bstream|non-?stream\w*[^.]{0,60}\b(?:not|only)"
    r"|stream(?:ing)?\b[^.]{0,40}\b(?:only|required|must be|is strongly recommended)",
    re.IGNORECASE,
)
_REQUEST_FIELDS = {
    "openai": b',"stream":true,"stream_options":{"include_usage":true}}', "anthropic": b',"stream":true}',
    "responses": b',"stream":true}',
}  # fmt: skip
_TEXT_FIELDS = ("content", "refusal", "reasoning_content", "reasoning", "reasoning_text")  # of a delta; joined
_DELTA_FIELDS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def supports_streams(format_: str) -> bool:
    """Whether the streams of a format can be read."""
    return format_ in _REQUEST_FIELDS


def with_stream(body: bytes, format_: str) -> bytes:
    """Return a body that requests its answer as a stream."""
    return body[:-1] + _REQUEST_FIELDS[format_]


def read_events(text: str) -> list[dict[str, Any]]:
    """Return the events of a stream; raises Unavailable if one is not JSON: a part of the answer would be lost."""
    events = []
    for block in re.split(r"(?:\r\n|\n|\r){2,}", text.removeprefix("\ufeff")):
        lines = [x[5:].removeprefix(" ") for x in re.split(r"\r\n|\n|\r", block) if x.startswith("data:")]
        data = "\n".join(lines).strip()
        if not data or data == "[DONE]":
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise Unavailable("the stream contains an event that is not JSON", status=200) from None
        if isinstance(event, dict):
            events.append(event)
    return events


def assemble(
    events: list[dict[str, Any]], format_: str, headers: Mapping[str, str], mask: Callable[[str], str]
) -> dict[str, Any]:
    """Assemble a reply from its stream; raises ProviderError for an error, and for a stream that ends early."""
    for event in events:
        if is_error(event.get("error")):
            raise error_in_200(event["error"], headers, mask)
        if event.get("type") == "error":
            raise error_in_200(event, headers, mask)
    try:
        match format_:
            case "anthropic":
                reply = _anthropic(events)
            case "responses":
                reply = _responses(events)
            case _:
                reply = _openai(events)
    except (TypeError, ValueError, AttributeError, KeyError):
        raise Unavailable("the stream has an unexpected format", status=200) from None
    if reply is None:
        raise Unavailable("the stream ended before the answer was complete", status=200)
    return reply


def _openai(events: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    reply: dict[str, Any] = {}
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"index": 0, "message": message}
    positions: list[Any] = []
    ended = False
    for event in events:
        reply |= {k: v for k, v in event.items() if k not in ("choices", "object") and v is not None}
        for part in event.get("choices") or ():
            if (part.get("index") or 0) != 0:
                continue
            for delta in (part.get("delta"), part.get("message"), {"content": part.get("text")}):
                _append(message, delta or {})
            logprobs = part.get("logprobs")
            if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
                positions += logprobs["content"]
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
                ended = True
    if positions:
        choice["logprobs"] = {"content": positions}
    return reply | {"choices": [choice]} if ended else None


def _append(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Append a delta to a message: texts, or lists of typed parts."""
    for name, value in delta.items():
        before = message.get(name)
        if name in _TEXT_FIELDS and value:
            if isinstance(value, list) or isinstance(before, list):
                message[name] = _parts(before) + _parts(value)
            else:
                message[name] = (before or "") + value
        elif name in ("reasoning_details", "thinking_blocks", "tool_calls") and isinstance(value, list):
            message[name] = (before or []) + value


def _parts(value: Any) -> list[Any]:
    if not value:
        return []
    return value if isinstance(value, list) else [{"type": "text", "text": value}]


def _anthropic(events: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    reply: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    ended = False
    for event in events:
        match event.get("type"):
            case "message_start" if isinstance(event.get("message"), dict):
                reply |= event["message"]
            case "content_block_start" if isinstance(event.get("content_block"), dict):
                blocks[int(event.get("index", len(blocks)))] = dict(event["content_block"])
            case "content_block_delta" if isinstance(event.get("delta"), dict):
                delta = event["delta"]
                name = _DELTA_FIELDS.get(str(delta.get("type")))
                block = blocks.setdefault(int(event.get("index", 0)), {"type": "text", "text": ""})
                if name and isinstance(delta.get(name), str):
                    block[name] = block.get(name, "") + delta[name]
            case "message_delta":
                reply |= event.get("delta") or {}
                reply["usage"] = {**(reply.get("usage") or {}), **(event.get("usage") or {})}
                ended = ended or bool((event.get("delta") or {}).get("stop_reason"))
            case "message_stop":
                ended = True
    return reply | {"content": [blocks[i] for i in sorted(blocks)]} if ended and reply else None


def _responses(events: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the response of the last event, which holds all of it."""
    ends = ("response.completed", "response.incomplete", "response.failed")
    return next((e["response"] for e in events if e.get("type") in ends and isinstance(e.get("response"), dict)), None)
