"""OpenAI's Responses API, where a model is served by it alone: query to body, reply to response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.errors import Unavailable
from emdsl.providers.openai import OpenAI
from emdsl.providers.wire import MAX_POSITIONS, Count, Text, Wire, as_json, parse
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Query

_LOGPROBS = "message.output_text.logprobs"


class _Candidate(Wire):
    token: Text = None
    logprob: float


class _Position(Wire):
    top_logprobs: tuple[_Candidate, ...] = ()


class _Part(Wire):
    type: Text = None
    text: Text = None
    refusal: Text = None
    logprobs: list[_Position] | None = None


class _Item(Wire):
    type: Text = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class _Details(Wire):
    cached_tokens: Count = None
    reasoning_tokens: Count = None


class _Usage(Wire):
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Incomplete(Wire):
    reason: Text = None


class _Reply(Wire):
    output: list[_Item]
    id: Text = None
    model: Text = None
    status: Text = None
    incomplete_details: _Incomplete | None = None
    usage: _Usage | None = None


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
        parts = [p for item in found.output if item.type == "message" for p in item.content or ()]
        shown = [p for item in found.output if item.type == "reasoning" for p in (*(item.summary or ()),)]
        refusals = [p.refusal for p in parts if p.type == "refusal" and p.refusal]
        why = found.incomplete_details.reason if found.incomplete_details else None
        finish = "stop" if found.status != "incomplete" else "blocked" if why == "content_filter" else "length"
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
            ),
            logprobs=tuple(
                tuple((c.token or "", c.logprob) for c in at.top_logprobs if c.logprob <= 0) for at in positions
            )
            or None,
        )
