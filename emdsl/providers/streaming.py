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
    """Return the events of a stream; what is no JSON ends it, or is left out."""
    found = []
    for block in re.split(r"\r?\n\r?\n", text):
        lines = [x[5:].removeprefix(" ") for x in block.splitlines() if x.startswith("data:")]
        if not lines:
            continue
        try:
            event = json.loads("\n".join(lines))
        except (ValueError, RecursionError):
            continue  # [DONE], a comment, a cut event: what is missing then shows
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
    match format_:
        case "anthropic":
            found = _anthropic(events)
        case "responses":
            found = _responses(events)
        case _:
            found = _openai(events)
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
            if not isinstance(part, dict) or part.get("index", 0) != 0:
                continue
            delta = part.get("delta")
            for name, value in delta.items() if isinstance(delta, dict) else ():
                if name in _TEXTS and isinstance(value, str):
                    message[name] = message.get(name, "") + value
                elif name in ("reasoning_details", "thinking_blocks", "tool_calls") and isinstance(value, list):
                    message[name] = message.get(name, []) + value
            logprobs = part.get("logprobs")
            if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
                positions += logprobs["content"]
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
                ended = True
    if positions:
        choice["logprobs"] = {"content": positions}
    return reply | {"choices": [choice]} if ended else None


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
