"""Google's generateContent, with its server's checks and error messages."""

from __future__ import annotations

import json
import re
from typing import Any

from emdsl.parameters import NO
from emdsl.sim.answering import Answer, Refused, Request, check_fields, check_number, refused_by_table
from emdsl.sim.schemas import google_shape

_FIELDS = frozenset(
    ("contents", "systemInstruction", "generationConfig", "safetySettings", "tools", "toolConfig", "cachedContent")
)
_CONFIG = frozenset(
    ("temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "seed", "frequencyPenalty", "presencePenalty",
     "responseLogprobs", "logprobs", "thinkingConfig", "candidateCount", "responseMimeType", "responseSchema",
     "responseJsonSchema")
)  # fmt: skip
_THINKING = frozenset(("includeThoughts", "thinkingBudget", "thinkingLevel"))
CHUNK = 20  # characters of a streamed part
_OUR_NAMES = {
    "frequencyPenalty": "frequency_penalty", "presencePenalty": "presence_penalty", "logprobs": "top_logprobs",
}  # fmt: skip
UNKNOWN = 'Invalid JSON payload received. Unknown name "{}": Cannot find field.'
_KINDS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}  # fmt: skip


def generate(body: Any, model: str) -> Request:
    """Read a request; raises Refused."""
    body = check_fields(camel(body, _FIELDS), dict.fromkeys(_FIELDS), UNKNOWN)
    if model.startswith("no-"):
        raise Refused(
            f"models/{model} is not found for API version v1beta, or is not supported for generateContent.", status=404
        )
    config = check_fields(camel(body.get("generationConfig") or {}, _CONFIG), dict.fromkeys(_CONFIG), UNKNOWN)
    check_number(config, "temperature", 0, 2, _out_of_bounds)
    check_number(config, "topP", 0, 1, _out_of_bounds)
    check_number(config, "maxOutputTokens", 1, 2**31, _out_of_bounds)
    check_number(config, "logprobs", 0, 20, _out_of_bounds)
    if "logprobs" in config and not config.get("responseLogprobs"):
        raise Refused("logprobs is set and responseLogprobs is not")
    if len(config.get("stopSequences", ())) > 5:
        raise Refused("The number of stop sequences must be in the range of 0 to 5")
    turns = []
    if "systemInstruction" in body:
        turns.append({"role": "system", "content": _text(body["systemInstruction"])})
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Refused("* GenerateContentRequest.contents: contents is not specified")
    for content in contents:
        role = content.get("role", "user") if isinstance(content, dict) else None
        if role not in ("user", "model"):
            raise Refused("Please use a valid role: user, model.")
        text = _text(content)
        if not text:
            raise Refused("Unable to submit request because it must have a text parameter.")
        turns.append({"role": "assistant" if role == "model" else "user", "content": text})
    thinking = camel(config.get("thinkingConfig") or {}, _THINKING)
    if thinking and not model.startswith(("gemini-2.5", "gemini-3", "gemini-4")):
        raise Refused(f"Thinking is not enabled for models/{model}")
    _check_supported(config, thinking, model)
    shape = google_shape(config)
    return Request(
        model=model, messages=turns, max_tokens=config.get("maxOutputTokens"), sim={"shape": shape} if shape else {},
        thinks=bool(thinking.get("includeThoughts")),
        top_logprobs=(config.get("logprobs") or 0) if config.get("responseLogprobs") else None,
    )  # fmt: skip


def reply(request: Request, answer: Answer, cached: int, _written: int) -> dict[str, Any]:
    """Return the reply. Thoughts are not counted in the candidates."""
    parts: list[dict[str, Any]] = [{"text": answer.reasoning, "thought": True}] if answer.reasoning is not None else []
    parts.append({"text": answer.text})
    candidate: dict[str, Any] = {
        "content": {"parts": parts, "role": "model"}, "index": 0,
        "finishReason": "MAX_TOKENS" if answer.truncated else "STOP",
    }  # fmt: skip
    if request.top_logprobs is not None:
        top = request.top_logprobs
        tops = [[{"token": t, "logProbability": p} for t, p in candidates[:top]] for _, candidates in answer.tokens]
        chosen = [{"token": token, "logProbability": candidates[0][1]} for token, candidates in answer.tokens]
        candidate["logprobsResult"] = {
            "topCandidates": [{"candidates": top} for top in tops], "chosenCandidates": chosen,
        }  # fmt: skip
    usage = {
        "promptTokenCount": answer.input_tokens, "candidatesTokenCount": answer.output_tokens,
        "totalTokenCount": answer.input_tokens + answer.output_tokens + answer.reasoning_tokens,
    }  # fmt: skip
    if answer.reasoning_tokens:
        usage["thoughtsTokenCount"] = answer.reasoning_tokens
    if cached:
        usage["cachedContentTokenCount"] = cached
    return {
        "candidates": [candidate], "usageMetadata": usage, "modelVersion": f"sim-{request.model}",
        "responseId": answer.name,
    }  # fmt: skip


def events(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a reply as a stream of replies; only the last one has the finish reason."""
    (candidate,) = reply["candidates"]
    parts = [
        part | {"text": part["text"][i : i + CHUNK]}
        for part in candidate["content"]["parts"]
        for i in range(0, len(part["text"]), CHUNK)
    ]
    chunks = [
        {**reply, "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]} for part in parts[:-1]
    ]
    return [*chunks, reply | {"candidates": [candidate | {"content": {"role": "model", "parts": parts[-1:]}}]}]


def error(refused: Refused) -> dict[str, Any]:
    """Return the body of an error."""
    fields: dict[str, Any] = {
        "code": refused.status, "message": str(refused), "status": _KINDS.get(refused.status, "UNKNOWN"),
    }  # fmt: skip
    if refused.kind == "API_KEY_INVALID":
        fields["details"] = [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refused.kind, "domain": "googleapis.com"}
        ]
    return {"error": fields}


def _out_of_bounds(name: str, value: Any, bound: float, below: bool) -> Refused:
    if bound != bound:  # noqa: PLR0124 - NaN alone differs from itself: not a number
        shown = value if isinstance(value, str) else json.dumps(value)
        return Refused(f"Invalid value at 'generation_config.{name}' (TYPE_FLOAT), \"{shown}\"", param=name)
    ends = f"from {bound:g}" if below else f"up to {bound:g}"
    return Refused(f"* GenerateContentRequest.generation_config.{name}: {name} must be {ends}", param=name)


def _check_supported(config: dict[str, Any], thinking: dict[str, Any], model: str) -> None:
    """Refuse settings that the model does not support by the table of parameters, in Google's words."""
    ours = {name: config[field] for field, name in _OUR_NAMES.items() if config.get(field) is not None}
    if "thinkingBudget" in thinking:
        ours["reasoning_tokens"] = thinking["thinkingBudget"]
    if "thinkingLevel" in thinking:
        ours["reasoning_effort"] = thinking["thinkingLevel"].lower()
    refusal = refused_by_table("google", model, ours, thinking=bool(thinking))
    if refusal is None:
        return
    name, row = refusal
    if name == "reasoning_tokens" and row.takes != NO:
        raise Refused(f"The thinking budget {ours[name]} is invalid. Please choose a value between {row.values}.")
    if name in ("reasoning_tokens", "reasoning_effort"):
        what = "Budget" if name == "reasoning_tokens" else "level"
        raise Refused(f"Thinking {what} is not supported for this model.")
    if name == "top_logprobs":
        raise Refused(f"Logprobs is not enabled for models/{model}")
    raise Refused("Penalty is not enabled for this model")


def camel(fields: Any, known: frozenset[str]) -> Any:
    """Return an object with its known fields in camel case: Google accepts `a_b` for `aB`."""
    if not isinstance(fields, dict):
        return fields
    spelled = {name: re.sub(r"_([a-z])", lambda m: m[1].upper(), name) for name in fields}
    return {spelled[name] if spelled[name] in known else name: value for name, value in fields.items()}


def _text(content: Any) -> str:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(p, dict) and set(p) <= {"text"} for p in parts):
        raise Refused("Invalid value at 'contents': a list of parts with a text each is expected")
    return "".join(str(p.get("text", "")) for p in parts)
