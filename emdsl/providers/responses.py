"""OpenAI's Responses API, where a model is served by it alone: query to body, reply to response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from emdsl.errors import Unavailable
from emdsl.providers.openai import OpenAI
from emdsl.providers.wire import MAX_POSITIONS, Count, Lenient, Said, Text, Wire, as_candidates, as_json, parse
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Query

_LOGPROBS = "message.output_text.logprobs"


class _Candidate(Wire):
    token: Said = None
    logprob: Any = None


class _Position(Wire):
    top_logprobs: tuple[_Candidate, ...] = ()


class _Part(Wire):
    type: Said = None
    text: Text = None
    refusal: Said = None
    logprobs: Annotated[tuple[_Position, ...] | None, Lenient] = None


class _Item(Wire):
    type: Said = None
    content: list[_Part] | None = None
    summary: Annotated[list[_Part] | None, Lenient] = None


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
        body: dict[str, Any] = {
            "model": query.head.model.wire_name,
            "input": [{"role": m.role, "content": m.text} for m in query.prompt.messages],
            "store": False,
        }
        reasoning: dict[str, Any] = {}
        for name, value in query.params.items():
            match name:
                case "max_tokens":
                    body["max_output_tokens"] = value
                case "top_logprobs":
                    body |= {"top_logprobs": value, "include": [_LOGPROBS]}
                case "reasoning_effort":
                    reasoning["effort"] = value
                case "reasoning_summary":
                    reasoning["summary"] = value
                case "extra":
                    pass
                case _:
                    body[name] = value
        if reasoning:
            body["reasoning"] = reasoning
        return as_json(body | dict(query.params.get("extra") or {}))

    def read(self, reply: Mapping[str, Any]) -> Response:
        """See Format."""
        found = parse(_Reply, reply)
        if found.status not in (None, "completed", "incomplete"):
            raise Unavailable(f"the reply is {found.status}", status=200)
        if not found.output and found.status != "incomplete":
            raise Unavailable("the reply is empty, and says no reason", status=200)
        parts = [p for item in found.output if item.type == "message" for p in item.content or ()]
        shown = [p for item in found.output if item.type == "reasoning" for p in (*(item.summary or ()),)]
        refusals = [p.refusal for p in parts if p.type == "refusal" and p.refusal]
        why = found.incomplete_details.reason if found.incomplete_details else None
        called = any(item.type == "function_call" for item in found.output) and not parts
        finish = (
            "tool"
            if called
            else "stop"
            if found.status != "incomplete"
            else "blocked"
            if why == "content_filter"
            else "length"
        )
        usage = found.usage or _Usage()
        into, out = usage.input_tokens_details or _Details(), usage.output_tokens_details or _Details()
        positions = [at for p in parts for at in p.logprobs or ()][:MAX_POSITIONS]
        return Response(
            text="".join(p.text or "" for p in parts if p.type == "output_text") or "".join(refusals),
            finish=finish,
            reasoning="\n\n".join(p.text for p in shown if p.text) or None,
            model=found.model,
            request_id=found.id,
            usage=Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                reasoning_tokens=out.reasoning_tokens,
                cached_tokens=into.cached_tokens,
                written_tokens=into.cache_write_tokens,
            ),
            logprobs=tuple(as_candidates((c.token, c.logprob) for c in at.top_logprobs) for at in positions) or None,
        )
