"""OpenAI's formats, chat completions and Responses, as their servers take them and complain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from emdsl.parameters import DEFAULT, NO
from emdsl.sim.answering import Asked, Refused, Said, checked, number, refused_by_table

_ROLES = ("system", "user", "assistant", "tool", "developer")
_CHAT = frozenset(
    ("model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "stop", "seed",
     "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "reasoning_effort", "response_format", "user",
     "stream", "stream_options", "logit_bias", "metadata", "store", "tools", "tool_choice", "service_tier",
     "prompt_cache_key", "parallel_tool_calls", "safety_identifier", "verbosity")
)  # fmt: skip
_OWN = frozenset(
    ("sim", "top_k", "min_p", "repetition_penalty", "reasoning_tokens")
)  # of `sim/` models, and many servers
_RESPONSES = frozenset(
    ("model", "input", "instructions", "temperature", "top_p", "max_output_tokens", "reasoning", "store", "include",
     "top_logprobs", "text", "metadata", "stream", "user", "prompt_cache_key", "tools", "truncation",
     "parallel_tool_calls", "safety_identifier", "service_tier", "stream_options", "tool_choice")
)  # fmt: skip
_REASONS = re.compile(r"^(?:o\d|gpt-[5-9])")
_LOGPROBS = "message.output_text.logprobs"
CHUNK = 20  # characters of a streamed part
MIN_OUTPUT = 16  # tokens: the fewest that the Responses API gives
_SETTINGS = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "stop", "seed", "top_logprobs", "reasoning_effort",
)  # fmt: skip
_NUMBER, _WHOLE, _TEXT, _BOOL = (
    ((int, float), "a decimal"),
    ((int,), "an integer"),
    ((str,), "a string"),
    ((bool,), "a boolean"),
)
_OBJECT, _ARRAY = ((dict,), "an object"), ((list,), "an array of strings")
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "temperature": _NUMBER, "top_p": _NUMBER, "frequency_penalty": _NUMBER, "presence_penalty": _NUMBER,
    "max_tokens": _WHOLE, "max_completion_tokens": _WHOLE, "max_output_tokens": _WHOLE, "n": _WHOLE, "seed": _WHOLE,
    "top_logprobs": _WHOLE, "logprobs": _BOOL, "stream": _BOOL, "store": _BOOL, "reasoning_effort": _TEXT,
    "user": _TEXT, "service_tier": _TEXT, "prompt_cache_key": _TEXT, "response_format": _OBJECT, "metadata": _OBJECT,
    "logit_bias": _OBJECT, "reasoning": _OBJECT, "text": _OBJECT, "include": _ARRAY, "tools": _ARRAY,
    "stop": ((str, list), "one of a string or array of strings"), "stream_options": _OBJECT,
}  # fmt: skip
_CALLED = {
    bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array", dict: "an object",
}  # fmt: skip
_UNKNOWN = "Unrecognized request argument supplied: {}"


def chat(body: Any) -> Asked:
    """Return a request to chat completions; raises Refused."""
    body = checked(body, dict.fromkeys(_CHAT | _OWN), _UNKNOWN)
    model = _model(body)
    if _REASONS.match(model) and "max_tokens" in body:
        raise Refused(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.", kind="unsupported_parameter", param="max_tokens",
        )  # fmt: skip
    _typed(body)
    _taken(body, model, effort="reasoning_effort")
    _common(body)
    number(body, "max_tokens", 1, 2**31, _out_of_bounds)
    number(body, "max_completion_tokens", 1, 2**31, _out_of_bounds)
    number(body, "frequency_penalty", -2, 2, _out_of_bounds)
    number(body, "presence_penalty", -2, 2, _out_of_bounds)
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
        thinks=bool(body.get("reasoning_effort")),
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
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
        choice["logprobs"] = {"content": _positions(said, asked.top_logprobs)}
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


def _positions(said: Said, top: int) -> list[dict[str, Any]]:
    """Return the tokens of an answer with their candidates, none for 0."""
    return [
        _token(token, found[0][1]) | {"top_logprobs": [_token(t, p) for t, p in found[:top]]}
        for token, found in said.tokens
    ]


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode()), "logprob": logprob}


def responses(body: Any) -> Asked:
    """Return a request to the Responses API; raises Refused."""
    body = checked(body, dict.fromkeys(_RESPONSES), "Unknown parameter: '{}'.")
    model = _model(body)
    _typed(body)
    reasoning = body.get("reasoning") or {}
    flat = {**body, **({"reasoning_effort": reasoning["effort"]} if reasoning.get("effort") else {})}
    _taken(flat, model, effort="reasoning.effort")
    _common(body)
    number(body, "max_output_tokens", MIN_OUTPUT, 2**31, _out_of_bounds)
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else _messages(given, "input")
    return Asked(
        model=model, messages=messages, max_tokens=body.get("max_output_tokens"),
        thinks=bool(_REASONS.match(model)),
        top_logprobs=body.get("top_logprobs", 0 if _LOGPROBS in (body.get("include") or ()) else None),
    )  # fmt: skip


def responses_reply(asked: Asked, said: Said, cached: int, _written: int) -> dict[str, Any]:
    """Return the reply of the Responses API."""
    part: dict[str, Any] = {"type": "output_text", "text": said.text, "annotations": []}
    if asked.top_logprobs is not None:
        part["logprobs"] = _positions(said, asked.top_logprobs)
    status = "incomplete" if said.truncated else "completed"
    output: list[dict[str, Any]] = []
    if said.reasoning is not None:
        summary = [{"type": "summary_text", "text": said.reasoning}]
        output.append({"id": f"rs_{said.name}", "type": "reasoning", "summary": summary})
    output.append(
        {"id": f"msg_{said.name}", "type": "message", "role": "assistant", "status": status, "content": [part]}
    )
    out = said.output_tokens + said.reasoning_tokens
    return {
        "id": f"resp_{said.name}", "object": "response", "created_at": 0, "model": f"sim-{asked.model}",
        "output": output, "error": None, "status": status, "parallel_tool_calls": True, "tool_choice": "auto",
        "tools": [], "incomplete_details": {"reason": "max_output_tokens"} if said.truncated else None,
        "usage": {
            "input_tokens": said.input_tokens, "output_tokens": out, "total_tokens": said.input_tokens + out,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
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
    number(body, "temperature", 0, 2, _out_of_bounds)
    number(body, "top_p", 0, 1, _out_of_bounds)
    number(body, "top_logprobs", 0, 20, _out_of_bounds)
    if body.get("n") not in (None, 1):
        raise Refused("the simulator gives one answer", param="n")


def _out_of_bounds(name: str, value: Any, bound: float, below: bool) -> Refused:
    kind = "integer" if isinstance(value, int) else "decimal"
    which, sign = ("below minimum", ">=") if below else ("above maximum", "<=")
    code = f"{kind}_{'below_min' if below else 'above_max'}_value"
    said = f"Invalid '{name}': {kind} {which} value. Expected a value {sign} {bound:g}, but got {value} instead."
    return Refused(said, kind=code, param=name)


def _typed(body: Mapping[str, Any]) -> None:
    """Refuse a field of another type than its own."""
    for name, value in body.items():
        wanted = _TYPES.get(name)
        if wanted is None or value is None:
            continue
        types, called = wanted
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            got = _CALLED.get(type(value), "object")
            raise Refused(
                f"Invalid type for '{name}': expected {called}, but got {got} instead.", kind="invalid_type", param=name
            )


def _taken(body: Mapping[str, Any], model: str, *, effort: str) -> None:
    """Refuse what a model does not take, as the table of parameters says and as OpenAI words it."""
    ours = {name: body[name] for name in _SETTINGS if body.get(name) is not None}
    thinking = bool(_REASONS.match(model))
    found = refused_by_table("openai", model.removeprefix("ft:").partition(":")[0], ours, thinking=thinking)
    if found is None:
        return
    name, row = found
    param, value = (effort if name == "reasoning_effort" else name), ours[name]
    if name == "top_logprobs":
        raise Refused("You are not allowed to request logprobs from this model", status=403)
    if row.takes == NO:
        said, kind = f"Unsupported parameter: '{param}' is not supported with this model.", "unsupported_parameter"
    elif row.takes == DEFAULT:
        said = f"Unsupported value: '{param}' does not support {value} with this model. "
        said += "Only the default (1) value is supported."
        kind = "unsupported_value"
    else:
        levels = [f"'{level}'" for level in row.takes.split()]
        listed = f"{', '.join(levels[:-1])}, and {levels[-1]}" if len(levels) > 1 else levels[0]
        said = (
            f"Unsupported value: '{value}' is not supported with the '{model}' model. Supported values are: {listed}."
        )
        kind = "unsupported_value"
    raise Refused(said, kind=kind, param=param)


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
        if message["role"] == "tool":
            _answers_a_call(message, found[:i], f"{name}.[{i}]")
        if message["role"] == "assistant" and message.get("tool_calls"):
            message = {"content": "", **{k: v for k, v in message.items() if v is not None}}  # noqa: PLW2901 - no text
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


def _answers_a_call(message: Mapping[str, Any], before: list[Any], where: str) -> None:
    """Refuse a `tool` message that no call stands before: the spelling is OpenAI's own."""
    if not isinstance(message.get("tool_call_id"), str):
        raise Refused(
            "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.",
            param=f"{where}.tool_call_id",
        )
    calls: list[Any] = []
    for earlier in reversed(before):
        if earlier["role"] != "tool":
            calls = earlier.get("tool_calls") or []
            break
    if message["tool_call_id"] not in [c.get("id") for c in calls if isinstance(c, dict)]:
        raise Refused(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
            "'tool_calls'.", param=f"{where}.role",
        )  # fmt: skip


def chat_events(reply: dict[str, Any], *, usage: bool) -> list[dict[str, Any]]:
    """Return the chunks that a reply of chat completions is streamed as."""
    (choice,) = reply["choices"]
    head = {k: reply[k] for k in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    deltas: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}]
    if "reasoning_content" in choice["message"]:
        deltas.append({"delta": {"reasoning_content": choice["message"]["reasoning_content"]}})
    text = choice["message"]["content"]
    deltas += [{"delta": {"content": text[i : i + CHUNK]}} for i in range(0, len(text), CHUNK)]
    if "logprobs" in choice:
        deltas[-1]["logprobs"] = choice["logprobs"]
    deltas.append({"delta": {}, "finish_reason": choice["finish_reason"]})
    chunks = [head | {"choices": [{"index": 0, "finish_reason": None} | d]} for d in deltas]
    return [*chunks, *([head | {"choices": [], "usage": reply["usage"]}] if usage else [])]


def responses_events(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events that a reply of the Responses API is streamed as."""
    start = reply | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    found: list[dict[str, Any]] = [{"type": "response.created", "response": start}]
    for i, item in enumerate(reply["output"]):
        field, index, part_name, text_name = (
            ("summary", "summary_index", "reasoning_summary_part", "reasoning_summary_text")
            if item["type"] == "reasoning"
            else ("content", "content_index", "content_part", "output_text")
        )
        found.append({"type": "response.output_item.added", "output_index": i, "item": _begun(item, field)})
        for j, part in enumerate(item[field]):
            at = {"item_id": item["id"], "output_index": i, index: j}
            said: dict[str, Any] = {"logprobs": []} if field == "content" else {}
            found.append({"type": f"response.{part_name}.added", **at, "part": _begun(part, "text")})
            found += [
                {"type": f"response.{text_name}.delta", **at, **said, "delta": part["text"][k : k + CHUNK]}
                for k in range(0, len(part["text"]), CHUNK)
            ]
            said = {"logprobs": part.get("logprobs", [])} if field == "content" else {}
            found.append({"type": f"response.{text_name}.done", **at, **said, "text": part["text"]})
            found.append({"type": f"response.{part_name}.done", **at, "part": part})
        found.append({"type": "response.output_item.done", "output_index": i, "item": item})
    found.append({"type": f"response.{reply['status']}", "response": reply})
    return [event | {"sequence_number": n} for n, event in enumerate(found)]


def _begun(whole: dict[str, Any], field: str) -> dict[str, Any]:
    """Return an item or a part before it has any text."""
    status = {"status": "in_progress"} if "status" in whole else {}
    return {k: v for k, v in whole.items() if k != "logprobs"} | {field: type(whole[field])()} | status
