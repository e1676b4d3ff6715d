"""Anthropic's Messages API: query to body, reply to response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from emdsl.capability import unsupported_prompt
from emdsl.errors import Rejected
from emdsl.providers.wire import (
    Count,
    Lenient,
    LenientText,
    Wire,
    as_json,
    body_fields,
    checked_finish,
    finish_of,
    parse,
    sum_counts,
)
from emdsl.query import Response, Usage
from emdsl.reasoning import divided
from emdsl.service import ANTHROPIC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emdsl.prompt import Message
    from emdsl.query import Query

VERSION = "2023-06-01"
_CACHED = {"type": "ephemeral"}


class _Usage(Wire):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None


class _Reply(Wire):
    content: list[Any] | str
    id: LenientText = None
    model: LenientText = None
    stop_reason: LenientText = None
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
        if objection := unsupported_prompt(query.settings.model, params, messages):
            raise Rejected(f"not sent: {objection.why}")
        turns = [m for m in messages if m.role != "system"]
        system = [m for m in messages if m.role == "system"]
        body: dict[str, Any] = {"model": query.settings.model.wire_name}
        # A shared prefix is marked at the end of a message: the model sees no difference.
        marked = query.shared - len(system)
        if system:
            body["system"] = _blocks(system, marked=0 < query.shared <= len(system))
        body["messages"] = [
            {"role": m.role, "content": _blocks([m], marked=True) if i + 1 == marked else m.text}
            for i, m in enumerate(turns)
        ]
        return as_json(body | body_fields(query, ANTHROPIC))

    def read(self, reply: Mapping[str, Any]) -> Response:
        """See Format."""
        message = parse(_Reply, reply)
        usage = message.usage or _Usage()
        content = [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content
        text, thoughts = divided(content)
        return Response(
            text=text,
            finish=checked_finish(finish_of(message.stop_reason), *content),
            reasoning=thoughts or None,
            model=message.model,
            request_id=message.id,
            usage=Usage(
                # Anthropic counts cached tokens separately: here the input is everything that was sent.
                input_tokens=sum_counts(
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
