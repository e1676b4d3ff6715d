"""Anthropic's Messages API: query to body, reply to response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from emdsl.capability import adaptive, prompt_objection
from emdsl.errors import Rejected, Unavailable
from emdsl.providers.wire import Count, Lenient, Said, Text, Wire, as_json, parse, total
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emdsl.prompt import Message
    from emdsl.query import Query

VERSION = "2023-06-01"
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool",
    "refusal": "blocked",
}
_NAMES = {"stop": "stop_sequences"}
_CACHED = {"type": "ephemeral"}


class _Block(Wire):
    type: Said = None
    text: Text = None
    thinking: Said = None


class _Usage(Wire):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None


class _Reply(Wire):
    content: list[_Block]
    id: Said = None
    model: Said = None
    stop_reason: Said = None
    usage: Annotated[_Usage | None, Lenient] = None


class Anthropic:
    """The format of `anthropic/` models; see Format."""

    def path(self, _: Query) -> str:
        """See Format."""
        return "/messages"

    def headers(self, key: str | None) -> Mapping[str, str]:
        """See Format."""
        return {"anthropic-version": VERSION} | ({"x-api-key": key} if key is not None else {})

    def encode(self, query: Query) -> bytes:
        """See Format."""
        params = query.params
        messages = query.prompt.messages
        if said := prompt_objection(query.head.model, params, messages):
            raise Rejected(f"not sent: {said}")
        talk = [m for m in messages if m.role != "system"]
        system = [m for m in messages if m.role == "system"]
        body: dict[str, Any] = {"model": query.head.model.wire_name}
        # Where a beginning is marked, it is marked at the end of a message: a marked text is the same to the model.
        marked = query.shared - len(system)
        if system:
            body["system"] = _blocks(system, marked=0 < query.shared <= len(system))
        body["messages"] = [
            {"role": m.role, "content": _blocks([m], marked=True) if i + 1 == marked else m.text}
            for i, m in enumerate(talk)
        ]
        for name, value in params.items():
            match name:
                case "reasoning_tokens":
                    body["thinking"] = {"type": "enabled", "budget_tokens": value} if value else {"type": "disabled"}
                case "reasoning_effort" if value == "none":
                    body["thinking"] = {"type": "disabled"}
                case "reasoning_effort":
                    body["output_config"] = {"effort": value}
                    if adaptive(query.head.model):
                        body["thinking"] = {"type": "adaptive", "display": "summarized"}
                case "extra":
                    pass
                case _:
                    body[_NAMES.get(name, name)] = value
        return as_json(body | dict(params.get("extra") or {}))

    def read(self, reply: Mapping[str, Any]) -> Response:
        """See Format."""
        found = parse(_Reply, reply)
        if found.stop_reason == "pause_turn":
            raise Unavailable("the reply ends with pause_turn: it is not whole", status=200)
        if found.stop_reason is None and not found.content:
            raise Unavailable("the reply is empty, and says no reason", status=200)
        usage = found.usage or _Usage()
        thoughts = "".join(b.thinking or "" for b in found.content if b.type == "thinking")
        return Response(
            text="".join(b.text or "" for b in found.content if b.type == "text"),
            finish=_FINISH.get(found.stop_reason or "end_turn", "other"),
            reasoning=thoughts or None,
            model=found.model,
            request_id=found.id,
            usage=Usage(
                # Anthropic counts what its cache reads and writes apart: here input is all that was sent.
                input_tokens=total(
                    usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens
                ),
                output_tokens=usage.output_tokens,
                cached_tokens=usage.cache_read_input_tokens,
                written_tokens=usage.cache_creation_input_tokens,
            ),
        )


def _blocks(messages: Sequence[Message], *, marked: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": m.text} for m in messages]
    if marked:
        blocks[-1]["cache_control"] = _CACHED
    return blocks
