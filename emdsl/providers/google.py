"""Google's Gemini API, generateContent: query to body, reply to response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from emdsl.capability import unsupported_prompt
from emdsl.errors import Rejected, Unavailable
from emdsl.providers.wire import (
    Count,
    Lenient,
    LenientText,
    Wire,
    as_candidates,
    as_json,
    body_fields,
    checked_finish,
    finish_of,
    logprob_fields,
    parse,
    sum_counts,
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
    token: LenientText = None
    logProbability: Any = None


class _Top(Wire):
    candidates: Annotated[tuple[_Candidate, ...] | None, Lenient] = None


class _Logprobs(Wire):
    topCandidates: tuple[Annotated[_Top | None, Lenient], ...] = ()
    chosenCandidates: Annotated[tuple[_Candidate, ...], Lenient] = ()


class _Choice(Wire):
    content: _Content | None = None
    finishReason: LenientText = None
    finishMessage: LenientText = None
    logprobsResult: Annotated[_Logprobs | None, Lenient] = None


class _Feedback(Wire):
    blockReason: LenientText = None
    blockReasonMessage: LenientText = None


class _Usage(Wire):
    promptTokenCount: Count = None
    candidatesTokenCount: Count = None
    thoughtsTokenCount: Count = None
    cachedContentTokenCount: Count = None


class _Reply(Wire):
    candidates: tuple[_Choice, ...] | None = None
    promptFeedback: Annotated[_Feedback | None, Lenient] = None
    usageMetadata: Annotated[_Usage | None, Lenient] = None
    modelVersion: LenientText = None
    responseId: LenientText = None


class Google:
    """The format of `google/` models; see Format."""

    def path(self, query: Query) -> str:
        """See Format."""
        return f"/models/{quote(query.settings.model.wire_name, safe='')}:generateContent"

    def headers(self, key: str | None) -> Mapping[str, str]:
        """See Format."""
        return {"x-goog-api-key": key} if key is not None else {}

    def encode(self, query: Query) -> bytes:
        """See Format."""
        messages = query.prompt.messages
        if objection := unsupported_prompt(query.settings.model, query.params, messages):
            raise Rejected(f"not sent: {objection.why}")
        body: dict[str, Any] = {}
        system = [{"text": m.text} for m in messages if m.role == "system"]
        if system:
            body["systemInstruction"] = {"parts": system}
        body["contents"] = [
            {"role": _ROLES[m.role], "parts": [{"text": m.text}]} for m in messages if m.role != "system"
        ]
        return as_json(body | body_fields(query, GOOGLE))

    def read(self, reply: Mapping[str, Any]) -> Response:
        """See Format."""
        typed = parse(_Reply, reply)
        usage = typed.usageMetadata or _Usage()
        common: dict[str, Any] = {
            "model": typed.modelVersion,
            "request_id": typed.responseId,
            "usage": Usage(
                input_tokens=usage.promptTokenCount,
                output_tokens=sum_counts(usage.candidatesTokenCount, usage.thoughtsTokenCount),
                reasoning_tokens=usage.thoughtsTokenCount,
                cached_tokens=usage.cachedContentTokenCount,
            ),
        }
        feedback, empty = typed.promptFeedback, not any(c.content and c.content.parts for c in typed.candidates or ())
        if empty and feedback is not None and feedback.blockReason:
            return Response(text=feedback.blockReasonMessage or feedback.blockReason, finish="blocked", **common)
        if not typed.candidates:
            raise Unavailable("the reply has no candidate", status=200)
        choice = typed.candidates[0]
        parts = (choice.content.parts if choice.content is not None else None) or ()
        text, thoughts = divided(parts)
        finish = finish_of(choice.finishReason)
        if not text and any(p.get("functionCall") is not None for p in parts):
            finish = "tool"
        finish = checked_finish(finish, text, thoughts, finish == "tool")
        return Response(
            text=text or (choice.finishMessage or choice.finishReason or "" if finish == "blocked" else ""),
            finish=finish,
            reasoning=thoughts or None,
            **_logprobs(choice.logprobsResult, text, thoughts),
            **common,
        )


def _logprobs(logprobs: _Logprobs | None, text: str, reasoning: str) -> dict[str, Any]:
    """Return the fields of a response that hold the candidates of each token, and the chosen tokens."""
    if logprobs is None or not logprobs.topCandidates:
        return {}
    tops = [(at.candidates if at is not None else None) or () for at in logprobs.topCandidates]
    # a probability of 1 has the logarithm 0, and the format omits it
    positions = [as_candidates((c.token, c.logProbability or 0.0) for c in top) for top in tops]
    chosen = [c.token or "" for c in logprobs.chosenCandidates or ()]
    return logprob_fields(text, reasoning, positions, chosen if len(chosen) == len(positions) else None)
