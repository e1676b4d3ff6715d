"""Google's Gemini API, generateContent: query to body, reply to response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from emdsl.capability import prompt_objection
from emdsl.errors import Rejected, Unavailable
from emdsl.providers.wire import (
    Count,
    Lenient,
    Said,
    Wire,
    as_candidates,
    as_json,
    fields,
    finish_of,
    kept_positions,
    parse,
    total,
    whole,
)
from emdsl.query import Response, Usage
from emdsl.reasoning import divided
from emdsl.service import GOOGLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Query

_ROLES = {"user": "user", "assistant": "model"}


class _Content(Wire):
    parts: tuple[dict[str, Any], ...] | None = None


class _Candidate(Wire):
    token: Said = None
    logProbability: Any = None  # noqa: N815 - Google's name


class _Top(Wire):
    candidates: Annotated[tuple[_Candidate, ...] | None, Lenient] = None


class _Logprobs(Wire):
    topCandidates: tuple[Annotated[_Top | None, Lenient], ...] = ()  # noqa: N815 - Google's name
    chosenCandidates: Annotated[tuple[_Candidate, ...], Lenient] = ()  # noqa: N815 - Google's name


class _Choice(Wire):
    content: _Content | None = None
    finishReason: Said = None  # noqa: N815 - Google's name
    finishMessage: Said = None  # noqa: N815 - Google's name
    logprobsResult: Annotated[_Logprobs | None, Lenient] = None  # noqa: N815 - Google's name


class _Feedback(Wire):
    blockReason: Said = None  # noqa: N815 - Google's name
    blockReasonMessage: Said = None  # noqa: N815 - Google's name


class _Usage(Wire):
    promptTokenCount: Count = None  # noqa: N815 - Google's name
    candidatesTokenCount: Count = None  # noqa: N815 - Google's name
    thoughtsTokenCount: Count = None  # noqa: N815 - Google's name
    cachedContentTokenCount: Count = None  # noqa: N815 - Google's name


class _Reply(Wire):
    candidates: tuple[_Choice, ...] | None = None
    promptFeedback: Annotated[_Feedback | None, Lenient] = None  # noqa: N815 - Google's name
    usageMetadata: Annotated[_Usage | None, Lenient] = None  # noqa: N815 - Google's name
    modelVersion: Said = None  # noqa: N815 - Google's name
    responseId: Said = None  # noqa: N815 - Google's name


class Google:
    """The format of `google/` models; see Format."""

    def path(self, query: Query) -> str:
        """See Format."""
        return f"/models/{quote(query.head.model.wire_name, safe='')}:generateContent"

    def headers(self, key: str | None) -> Mapping[str, str]:
        """See Format."""
        return {"x-goog-api-key": key} if key is not None else {}

    def encode(self, query: Query) -> bytes:
        """See Format."""
        messages = query.prompt.messages
        if said := prompt_objection(query.head.model, query.params, messages):
            raise Rejected(f"not sent: {said}")
        body: dict[str, Any] = {}
        system = [{"text": m.text} for m in messages if m.role == "system"]
        if system:
            body["systemInstruction"] = {"parts": system}
        body["contents"] = [
            {"role": _ROLES[m.role], "parts": [{"text": m.text}]} for m in messages if m.role != "system"
        ]
        return as_json(body | fields(query, GOOGLE))

    def read(self, reply: Mapping[str, Any]) -> Response:
        """See Format."""
        found = parse(_Reply, reply)
        usage = found.usageMetadata or _Usage()
        common: dict[str, Any] = {
            "model": found.modelVersion,
            "request_id": found.responseId,
            "usage": Usage(
                input_tokens=usage.promptTokenCount,
                output_tokens=total(usage.candidatesTokenCount, usage.thoughtsTokenCount),
                reasoning_tokens=usage.thoughtsTokenCount,
                cached_tokens=usage.cachedContentTokenCount,
            ),
        }
        blocked, hollow = found.promptFeedback, not any(c.content and c.content.parts for c in found.candidates or ())
        if hollow and blocked is not None and blocked.blockReason:
            return Response(text=blocked.blockReasonMessage or blocked.blockReason, finish="blocked", **common)
        if not found.candidates:
            raise Unavailable("the reply has no candidate", status=200)
        choice = found.candidates[0]
        parts = (choice.content.parts if choice.content is not None else None) or ()
        text, thoughts = divided(parts)
        finish = finish_of(choice.finishReason)
        if not text and any(p.get("functionCall") is not None for p in parts):
            finish = "tool"
        finish = whole(finish, text, thoughts, finish == "tool")
        return Response(
            text=text or (choice.finishMessage or choice.finishReason or "" if finish == "blocked" else ""),
            finish=finish,
            reasoning=thoughts or None,
            **_logprobs(choice.logprobsResult, text, thoughts),
            **common,
        )


def _logprobs(found: _Logprobs | None, text: str, reasoning: str) -> dict[str, Any]:
    """Return the fields of a response that hold candidates, and what was chosen among them."""
    if found is None or not found.topCandidates:
        return {}
    tops = [(at.candidates if at is not None else None) or () for at in found.topCandidates]
    # a probability of 1 has the logarithm 0, which this format leaves out
    positions = [as_candidates((c.token, c.logProbability or 0.0) for c in top) for top in tops]
    chosen = [c.token or "" for c in found.chosenCandidates or ()]
    return kept_positions(text, reasoning, positions, chosen if len(chosen) == len(positions) else None)
