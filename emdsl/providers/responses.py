"""OpenAI's Responses API, where a model is served by it alone: query to body, reply to response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from emdsl.body import RESPONSES
from emdsl.errors import Unavailable
from emdsl.providers.openai import OpenAI
from emdsl.providers.wire import (
    Count,
    Lenient,
    Said,
    Text,
    Wire,
    as_candidates,
    as_json,
    fields,
    finish_of,
    kept_positions,
    parse,
    token_text,
    whole,
)
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Query

_ASIDE = "commentary"  # what a model says before its answer


class _Candidate(Wire):
    token: Said = None
    bytes: Any = None
    logprob: Any = None


class _Position(_Candidate):
    top_logprobs: Annotated[tuple[_Candidate, ...] | None, Lenient] = None


class _Part(Wire):
    type: Said = None
    text: Text = None
    refusal: Said = None
    logprobs: Annotated[tuple[Annotated[_Position | None, Lenient], ...] | None, Lenient] = None


class _Item(Wire):
    type: Said = None
    phase: Said = None
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
    reason: Said = None


class _Reply(Wire):
    output: tuple[_Item, ...] = ()
    id: Said = None
    model: Said = None
    status: Said = None
    incomplete_details: Annotated[_Incomplete | None, Lenient] = None
    usage: Annotated[_Usage | None, Lenient] = None


class Responses(OpenAI):
    """The format of the models of `openai/` that chat completions do not serve; see Format."""

    def path(self, _: Query) -> str:
        """See Format."""
        return "/responses"

    def encode(self, query: Query) -> bytes:
        """See Format."""
        said = [{"role": m.role, "content": m.text} for m in query.prompt.messages]
        return as_json({"model": query.head.model.wire_name, "input": said} | fields(query, RESPONSES))

    def read(self, reply: Mapping[str, Any]) -> Response:
        """See Format."""
        found = parse(_Reply, reply)
        if found.status not in (None, "completed", "incomplete"):
            raise Unavailable(f"the reply is {found.status}", status=200)
        messages = [item for item in found.output if item.type == "message"]
        final = [item for item in messages if item.phase == "final_answer"] or [
            item for item in messages if item.phase != _ASIDE
        ]
        parts = [p for item in final for p in item.content or ()]
        thoughts = [
            p.text
            for item in found.output
            if item.type == "reasoning" or (item.type == "message" and item not in final)
            for p in (item.summary or item.content or ())
            if p.text
        ]
        said = ["".join(p.text or "" for p in item.content or () if p.type == "output_text") for item in final]
        text = "\n\n".join(filter(None, said))  # messages of their own: "9" and "0" are not 90
        text = text or "".join(p.refusal or "" for p in parts if p.type == "refusal")
        reasoning = "\n\n".join(thoughts) or None
        called = any(str(item.type).endswith("_call") for item in found.output) and not parts
        usage = found.usage or _Usage()
        into, out = usage.input_tokens_details or _Details(), usage.output_tokens_details or _Details()
        positions = [at or _Position() for p in parts for at in p.logprobs or ()]
        chosen = [token_text(at.token, at.bytes) for at in positions]
        candidates = [
            as_candidates((token_text(c.token, c.bytes), c.logprob) for c in at.top_logprobs or ()) for at in positions
        ]
        return Response(
            text=text,
            finish=_finish(found, text, reasoning, called=called),
            reasoning=reasoning,
            model=found.model,
            request_id=found.id,
            usage=Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                reasoning_tokens=out.reasoning_tokens,
                cached_tokens=into.cached_tokens,
                written_tokens=into.cache_write_tokens,
            ),
            **kept_positions(text, reasoning, candidates, chosen),
        )


def _finish(found: _Reply, text: str, reasoning: str | None, *, called: bool) -> str:
    if called:
        return "tool"
    why = found.incomplete_details.reason if found.incomplete_details else None
    if found.status != "incomplete":
        return whole("stop" if found.output else None, text, reasoning, *found.output)
    return whole(finish_of(why) if why else "length", text, reasoning)
