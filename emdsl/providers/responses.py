"""OpenAI's Responses API, for models without chat completions: query to body, reply to response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from emdsl.body import RESPONSES
from emdsl.errors import Unavailable
from emdsl.providers.openai import OpenAI
from emdsl.providers.wire import (
    Count,
    Lenient,
    LenientText,
    Text,
    Wire,
    as_candidates,
    as_json,
    body_fields,
    checked_finish,
    finish_of,
    logprob_fields,
    parse,
    token_text,
)
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Query

_COMMENTARY = "commentary"  # the phase of a message before the answer


class _Candidate(Wire):
    token: LenientText = None
    bytes: Any = None
    logprob: Any = None


class _Position(_Candidate):
    top_logprobs: Annotated[tuple[_Candidate, ...] | None, Lenient] = None


class _Part(Wire):
    type: LenientText = None
    text: Text = None
    refusal: LenientText = None
    logprobs: Annotated[tuple[Annotated[_Position | None, Lenient], ...] | None, Lenient] = None


class _Item(Wire):
    type: LenientText = None
    phase: LenientText = None
    content: Annotated[tuple[_Part, ...] | None, Lenient] = None
    summary: Annotated[tuple[_Part, ...] | None, Lenient] = None


class _Details(Wire):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    reasoning_tokens: Count = None


class _Usage(Wire):
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: Annotated[_Details | None, Lenient] = None
    output_tokens_details: Annotated[_Details | None, Lenient] = None


class _Incomplete(Wire):
    reason: LenientText = None


class _Reply(Wire):
    output: tuple[_Item, ...] = ()
    id: LenientText = None
    model: LenientText = None
    status: LenientText = None
    incomplete_details: Annotated[_Incomplete | None, Lenient] = None
    usage: Annotated[_Usage | None, Lenient] = None


class Responses(OpenAI):
    """The format of `openai/` models without chat completions; see Format."""

    def path(self, _: Query) -> str:
        """See Format."""
        return "/responses"

    def encode(self, query: Query) -> bytes:
        """See Format."""
        messages = [{"role": m.role, "content": m.text} for m in query.prompt.messages]
        return as_json({"model": query.settings.model.wire_name, "input": messages} | body_fields(query, RESPONSES))

    def read(self, reply: Mapping[str, Any]) -> Response:
        """See Format."""
        typed = parse(_Reply, reply)
        if typed.status not in (None, "completed", "incomplete"):
            raise Unavailable(f"the reply has the status `{typed.status}`", status=200)
        messages = [item for item in typed.output if item.type == "message"]
        final = [item for item in messages if item.phase == "final_answer"] or [
            item for item in messages if item.phase != _COMMENTARY
        ]
        parts = [p for item in final for p in item.content or ()]
        thoughts = [
            p.text
            for item in typed.output
            if item.type == "reasoning" or (item.type == "message" and item not in final)
            for p in (item.summary or item.content or ())
            if p.text
        ]
        texts = ["".join(p.text or "" for p in item.content or () if p.type == "output_text") for item in final]
        text = "\n\n".join(filter(None, texts))  # separate messages: "9" and "0" are not 90
        text = text or "".join(p.refusal or "" for p in parts if p.type == "refusal")
        reasoning = "\n\n".join(thoughts) or None
        called = any(str(item.type).endswith("_call") for item in typed.output) and not parts
        usage = typed.usage or _Usage()
        input_details = usage.input_tokens_details or _Details()
        output_details = usage.output_tokens_details or _Details()
        positions = [at or _Position() for p in parts for at in p.logprobs or ()]
        chosen = [token_text(at.token, at.bytes) for at in positions]
        candidates = [
            as_candidates((token_text(c.token, c.bytes), c.logprob) for c in at.top_logprobs or ()) for at in positions
        ]
        return Response(
            text=text,
            finish=_finish(typed, text, reasoning, called=called),
            reasoning=reasoning,
            model=typed.model,
            request_id=typed.id,
            usage=Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                reasoning_tokens=output_details.reasoning_tokens,
                cached_tokens=input_details.cached_tokens,
                written_tokens=input_details.cache_write_tokens,
            ),
            **logprob_fields(text, reasoning, candidates, chosen),
        )


def _finish(reply: _Reply, text: str, reasoning: str | None, *, called: bool) -> str:
    if called:
        return "tool"
    if reply.status != "incomplete":
        return checked_finish("stop" if reply.output else None, text, reasoning, *reply.output)
    reason = reply.incomplete_details.reason if reply.incomplete_details else None
    return checked_finish(finish_of(reason) if reason else "length", text, reasoning)
