"""Replies that come as a stream of events, put together to what they would have been as a whole.

Some providers answer long requests as a stream only. The answer, its key and the stored entry are the same.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from emdsl.errors import Unavailable
from emdsl.providers.complaint import complains
from emdsl.providers.complaints import error_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EVENTS = "text/event-stream"
LONG_ANSWER = 21_333  # tokens, from which on Anthropic wants a stream: its SDKs refuse to ask without one
STREAM_ONLY = re.compile(  # what servers say that answer in no other way
    r"(?:only|must|required?|need(?:s|ed)?|please)\b[^.]{0,60}\bstream|non-?stream\w*[^.]{0,60}\b(?:not|only)"
    r"|stream(?:ing)?\b[^.]{0,40}\b(?:only|required|must be|is strongly recommended)",
    re.IGNORECASE,
)
_ASKED = {
    "openai": b',"stream":true,"stream_options":{"include_usage":true}}', "anthropic": b',"stream":true}',
    "responses": b',"stream":true}',
}  # fmt: skip
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "reasoning_text")  # of a delta, joined
_PARTS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def streams(format_: str) -> bool:
    """Whether a format's streams are known."""
    return format_ in _ASKED


def asked_as_stream(body: bytes, format_: str) -> bytes:
    """Return a body that asks for its answer as a stream."""
    return body[:-1] + _ASKED[format_]


def read_events(text: str) -> list[dict[str, Any]]:
    """Return the events of a stream; raises Unavailable for one that is no JSON: what it says would be lost."""
    found = []
    for block in re.split(r"(?:\r\n|\n|\r){2,}", text.removeprefix("\ufeff")):
        lines = [x[5:].removeprefix(" ") for x in re.split(r"\r\n|\n|\r", block) if x.startswith("data:")]
        data = "\n".join(lines).strip()
        if not data or data == "[DONE]":
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise Unavailable("the stream holds an event that is no JSON", status=200) from None
        if isinstance(event, dict):
            found.append(event)
    return found


def whole_reply(
    events: list[dict[str, Any]], format_: str, headers: Mapping[str, str], mask: Callable[[str], str]
) -> dict[str, Any]:
    """Return the reply that a stream is; raises ProviderError, for one that ends early too."""
    for event in events:
        if complains(event.get("error")):
            raise error_in(event["error"], headers, mask)
        if event.get("type") == "error":
            raise error_in(event, headers, mask)
    try:
        match format_:
            case "anthropic":
                found = _anthropic(events)
            case "responses":
                found = _responses(events)
            case _:
                found = _openai(events)
    except (TypeError, ValueError, AttributeError, KeyError):
        raise Unavailable("the stream is not of the format", status=200) from None
    if found is None:
        raise Unavailable("the stream ended before the answer did", status=200)
    return found


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
            for said in (part.get("delta"), part.get("message"), {"content": part.get("text")}):
                _join(message, said or {})
            logprobs = part.get("logprobs")
            if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
                positions += logprobs["content"]
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
                ended = True
    if positions:
        choice["logprobs"] = {"content": positions}
    return reply | {"choices": [choice]} if ended else None


def _join(message: dict[str, Any], said: Mapping[str, Any]) -> None:
    """Put a part of a message behind what came before: texts, or lists of typed parts."""
    for name, value in said.items():
        known = message.get(name)
        if name in _TEXTS and value:
            if isinstance(value, list) or isinstance(known, list):
                message[name] = _parts(known) + _parts(value)
            else:
                message[name] = (known or "") + value
        elif name in ("reasoning_details", "thinking_blocks", "tool_calls") and isinstance(value, list):
            message[name] = (known or []) + value


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
                name = _PARTS.get(str(delta.get("type")))
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
    """Return the response that the last event holds whole."""
    ends = ("response.completed", "response.incomplete", "response.failed")
    return next((e["response"] for e in events if e.get("type") in ends and isinstance(e.get("response"), dict)), None)
