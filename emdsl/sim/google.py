"""Google's generateContent, as its server takes requests and complains."""

from __future__ import annotations

import re
from typing import Any

from emdsl.parameters import NO
from emdsl.sim.answering import Asked, Refused, Said, checked, number, refused_by_table

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
_OURS = {
    "frequencyPenalty": "frequency_penalty", "presencePenalty": "presence_penalty", "logprobs": "top_logprobs",
}  # fmt: skip
_UNKNOWN = 'Invalid JSON payload received. Unknown name "{}": Cannot find field.'
_KINDS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}  # fmt: skip


def generate(body: Any, model: str) -> Asked:
    """Return a request; raises Refused."""
    body = checked(_camel(body, _FIELDS), dict.fromkeys(_FIELDS), _UNKNOWN)
    if model.startswith("no-"):
        raise Refused(
            f"models/{model} is not found for API version v1beta, or is not supported for generateContent.", status=404
        )
    config = checked(_camel(body.get("generationConfig") or {}, _CONFIG), dict.fromkeys(_CONFIG), _UNKNOWN)
    number(config, "temperature", 0, 2, _out_of_bounds)
    number(config, "topP", 0, 1, _out_of_bounds)
    number(config, "maxOutputTokens", 1, 2**31, _out_of_bounds)
    number(config, "logprobs", 0, 20, _out_of_bounds)
    if "logprobs" in config and not config.get("responseLogprobs"):
        raise Refused("logprobs is set and responseLogprobs is not")
    if len(config.get("stopSequences", ())) > 5:
        raise Refused("The number of stop sequences must be in the range of 0 to 5")
    found = []
    if "systemInstruction" in body:
        found.append({"role": "system", "content": _text(body["systemInstruction"])})
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
        found.append({"role": "assistant" if role == "model" else "user", "content": text})
    thinking = _camel(config.get("thinkingConfig") or {}, _THINKING)
    if thinking and not model.startswith(("gemini-2.5", "gemini-3", "gemini-4")):
        raise Refused(f"Thinking is not enabled for models/{model}")
    _taken(config, thinking, model)
    return Asked(
        model=model, messages=found, max_tokens=config.get("maxOutputTokens"),
        thinks=bool(thinking.get("includeThoughts")),
        top_logprobs=(config.get("logprobs") or 0) if config.get("responseLogprobs") else None,
    )  # fmt: skip


def reply(asked: Asked, said: Said, cached: int, _written: int) -> dict[str, Any]:
    """Return the reply. Thoughts are counted beside the candidates."""
    parts: list[dict[str, Any]] = [{"text": said.reasoning, "thought": True}] if said.reasoning is not None else []
    parts.append({"text": said.text})
    candidate: dict[str, Any] = {
        "content": {"parts": parts, "role": "model"}, "index": 0,
        "finishReason": "MAX_TOKENS" if said.truncated else "STOP",
    }  # fmt: skip
    if asked.top_logprobs is not None:
        top = asked.top_logprobs
        tops = [[{"token": t, "logProbability": p} for t, p in found[:top]] for _, found in said.tokens]
        chosen = [{"token": token, "logProbability": found[0][1]} for token, found in said.tokens]
        candidate["logprobsResult"] = {
            "topCandidates": [{"candidates": top} for top in tops], "chosenCandidates": chosen,
        }  # fmt: skip
    usage = {
        "promptTokenCount": said.input_tokens, "candidatesTokenCount": said.output_tokens,
        "totalTokenCount": said.input_tokens + said.output_tokens + said.reasoning_tokens,
    }  # fmt: skip
    if said.reasoning_tokens:
        usage["thoughtsTokenCount"] = said.reasoning_tokens
    if cached:
        usage["cachedContentTokenCount"] = cached
    return {
        "candidates": [candidate], "usageMetadata": usage, "modelVersion": f"sim-{asked.model}",
        "responseId": said.name,
    }  # fmt: skip


def events(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the replies that a reply is streamed as: the last one says how it ends."""
    (candidate,) = reply["candidates"]
    parts = [
        part | {"text": part["text"][i : i + CHUNK]}
        for part in candidate["content"]["parts"]
        for i in range(0, len(part["text"]), CHUNK)
    ]
    found = [
        {**reply, "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]} for part in parts[:-1]
    ]
    return [*found, reply | {"candidates": [candidate | {"content": {"role": "model", "parts": parts[-1:]}}]}]


def error(refused: Refused) -> dict[str, Any]:
    """Return the body of an error."""
    found: dict[str, Any] = {
        "code": refused.status, "message": str(refused), "status": _KINDS.get(refused.status, "UNKNOWN"),
    }  # fmt: skip
    if refused.kind == "API_KEY_INVALID":
        found["details"] = [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refused.kind, "domain": "googleapis.com"}
        ]
    return {"error": found}


def _out_of_bounds(name: str, value: Any, bound: float, below: bool) -> Refused:
    if bound != bound:  # noqa: PLR0124 - NaN alone differs from itself: it is no number
        return Refused(f"Invalid value at 'generation_config.{name}' (TYPE_FLOAT), \"{value}\"", param=name)
    ends = f"from {bound:g}" if below else f"up to {bound:g}"
    return Refused(f"* GenerateContentRequest.generation_config.{name}: {name} must be {ends}", param=name)


def _taken(config: dict[str, Any], thinking: dict[str, Any], model: str) -> None:
    """Refuse what a model does not take, as the table of parameters says and as Google words it."""
    ours = {name: config[field] for field, name in _OURS.items() if config.get(field) is not None}
    if "thinkingBudget" in thinking:
        ours["reasoning_tokens"] = thinking["thinkingBudget"]
    if "thinkingLevel" in thinking:
        ours["reasoning_effort"] = thinking["thinkingLevel"].lower()
    found = refused_by_table("google", model, ours, thinking=bool(thinking))
    if found is None:
        return
    name, row = found
    if name == "reasoning_tokens" and row.takes != NO:
        raise Refused(f"The thinking budget {ours[name]} is invalid. Please choose a value between {row.said}.")
    if name in ("reasoning_tokens", "reasoning_effort"):
        what = "Budget" if name == "reasoning_tokens" else "level"
        raise Refused(f"Thinking {what} is not supported for this model.")
    if name == "top_logprobs":
        raise Refused(f"Logprobs is not enabled for models/{model}")
    raise Refused("Penalty is not enabled for this model")


def _camel(found: Any, known: frozenset[str]) -> Any:
    """Return an object with its known fields spelled as documented: Google takes `a_b` for `aB`."""
    if not isinstance(found, dict):
        return found
    spelled = {name: re.sub(r"_([a-z])", lambda m: m[1].upper(), name) for name in found}
    return {spelled[name] if spelled[name] in known else name: value for name, value in found.items()}


def _text(content: Any) -> str:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(p, dict) and set(p) <= {"text"} for p in parts):
        raise Refused("Invalid value at 'contents': a list of parts with a text each is expected")
    return "".join(str(p.get("text", "")) for p in parts)
