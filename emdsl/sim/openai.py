"""OpenAI's formats, chat completions and Responses, as their servers take them and complain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from emdsl.sim.answering import Asked, Refused, Said, checked, number

_ROLES = ("system", "user", "assistant", "tool", "developer")
_CHAT = frozenset(
    ("model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "stop", "seed",
     "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "reasoning_effort", "response_format", "user",
     "stream", "logit_bias", "metadata", "store", "tools", "tool_choice", "service_tier", "prompt_cache_key")
)  # fmt: skip
_OWN = frozenset(
    ("sim", "top_k", "min_p", "repetition_penalty", "reasoning_tokens")
)  # of `sim/` models, and many servers
_RESPONSES = frozenset(
    ("model", "input", "instructions", "temperature", "top_p", "max_output_tokens", "reasoning", "store", "include",
     "top_logprobs", "text", "metadata", "stream", "user", "prompt_cache_key", "tools", "truncation")
)  # fmt: skip
_REASONS = re.compile(r"^(?:o\d|gpt-[5-9])")
_UNKNOWN = "Unrecognized request argument supplied: {}"


def chat(body: Any) -> Asked:
    """Return a request to chat completions; raises Refused."""
    body = checked(body, dict.fromkeys(_CHAT | _OWN), _UNKNOWN)
    model = _model(body)
    if _REASONS.match(model):
        if "max_tokens" in body:
            raise Refused(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.", kind="unsupported_parameter", param="max_tokens",
            )  # fmt: skip
        if body.get("temperature", 1) != 1:
            raise Refused(
                f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. "
                "Only the default (1) value is supported.", kind="unsupported_value", param="temperature",
            )  # fmt: skip
    _common(body)
    number(body, "max_tokens", 1, 2**31)
    number(body, "max_completion_tokens", 1, 2**31)
    number(body, "frequency_penalty", -2, 2)
    number(body, "presence_penalty", -2, 2)
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > 4:
        raise Refused("Invalid 'stop': array too long. Expected an array with maximum length 4.", param="stop")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Refused("logprobs must be true when top_logprobs is specified.", param="top_logprobs")
    told = body.get("sim") or {}
    if not isinstance(told, Mapping):
        raise Refused("sim is an object", param="sim")
    return Asked(
        model=model, messages=_messages(body.get("messages"), "messages"), told=told,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        thinks=bool(body.get("reasoning_effort")), top_logprobs=body.get("top_logprobs"),
    )  # fmt: skip


def chat_reply(asked: Asked, said: Said, cached: int, _written: int) -> dict[str, Any]:
    """Return the reply of chat completions."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.reasoning is not None:
        message["reasoning_content"] = said.reasoning
    choice: dict[str, Any] = {
        "index": 0, "message": message, "finish_reason": "length" if said.truncated else "stop",
    }  # fmt: skip
    if asked.top_logprobs is not None:
        choice["logprobs"] = {"content": _positions(said)}
    out = said.output_tokens + said.reasoning_tokens
    usage: dict[str, Any] = {
        "prompt_tokens": said.input_tokens, "completion_tokens": out, "total_tokens": said.input_tokens + out,
        "completion_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
    }  # fmt: skip
    if cached:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return {
        "id": f"sim-{said.name}", "object": "chat.completion", "created": 0, "model": f"sim-{asked.model}",
        "choices": [choice], "usage": usage,
    }  # fmt: skip


def _positions(said: Said) -> list[dict[str, Any]]:
    """Return the tokens of an answer with their candidates."""
    return [
        {"token": token, "logprob": found[0][1], "top_logprobs": [{"token": t, "logprob": p} for t, p in found]}
        for token, found in said.tokens
    ]


def responses(body: Any) -> Asked:
    """Return a request to the Responses API; raises Refused."""
    body = checked(body, dict.fromkeys(_RESPONSES), "Unknown parameter: '{}'.")
    model = _model(body)
    _common(body)
    number(body, "max_output_tokens", 16, 2**31)
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else _messages(given, "input")
    return Asked(
        model=model, messages=messages, max_tokens=body.get("max_output_tokens"),
        thinks=bool(_REASONS.match(model)), top_logprobs=body.get("top_logprobs"),
    )  # fmt: skip


def responses_reply(asked: Asked, said: Said, cached: int, _written: int) -> dict[str, Any]:
    """Return the reply of the Responses API."""
    part: dict[str, Any] = {"type": "output_text", "text": said.text, "annotations": []}
    if asked.top_logprobs is not None:
        part["logprobs"] = _positions(said)
    output: list[dict[str, Any]] = []
    if said.reasoning is not None:
        output.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": said.reasoning}]})
    output.append({"type": "message", "role": "assistant", "status": "completed", "content": [part]})
    out = said.output_tokens + said.reasoning_tokens
    return {
        "id": f"resp_{said.name}", "object": "response", "model": f"sim-{asked.model}", "output": output, "error": None,
        "status": "incomplete" if said.truncated else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if said.truncated else None,
        "usage": {
            "input_tokens": said.input_tokens, "output_tokens": out, "total_tokens": said.input_tokens + out,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
        },
    }  # fmt: skip


def error(refused: Refused) -> dict[str, Any]:
    """Return the body of an error."""
    kinds = {401: "invalid_request_error", 429: "requests", 500: "server_error"}
    return {
        "error": {
            "message": str(refused), "type": kinds.get(refused.status, "invalid_request_error"),
            "param": refused.param, "code": refused.kind or None,
        }
    }  # fmt: skip


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refused("you must provide a model parameter")
    if model.startswith("no-"):
        raise Refused(
            f"The model `{model}` does not exist or you do not have access to it.", status=404, kind="model_not_found"
        )
    return model


def _common(body: Mapping[str, Any]) -> None:
    number(body, "temperature", 0, 2)
    number(body, "top_p", 0, 1)
    number(body, "top_logprobs", 0, 20)
    if body.get("n") not in (None, 1):
        raise Refused("the simulator gives one answer", param="n")


def _messages(found: Any, name: str) -> list[dict[str, str]]:
    if not isinstance(found, list) or not found:
        raise Refused(f"Invalid '{name}': empty array. Expected an array with minimum length 1.", param=name)
    messages = []
    for i, message in enumerate(found):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            role = message.get("role") if isinstance(message, dict) else message
            raise Refused(
                f"Invalid value: '{role}'. Supported values are: {', '.join(map(repr, _ROLES))}.",
                kind="invalid_value", param=f"{name}[{i}].role",
            )  # fmt: skip
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
        if not isinstance(content, str):
            raise Refused(
                f"Invalid value for 'content': expected a string, got {type(content).__name__}.",
                param=f"{name}.[{i}].content",
            )  # fmt: skip
        messages.append({"role": message["role"], "content": content})
    return messages
