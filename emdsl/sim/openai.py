"""OpenAI's chat completions and Responses API, with their server's checks and error messages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from emdsl.parameters import DEFAULT, NO
from emdsl.sim.answering import Answer, Refused, Request, check_fields, check_number, refused_by_table
from emdsl.sim.schemas import openai_shape

_ROLES = ("system", "user", "assistant", "tool", "developer")
_CHAT = frozenset(
    ("model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "stop", "seed",
     "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "reasoning_effort", "response_format", "user",
     "stream", "stream_options", "logit_bias", "metadata", "store", "tools", "tool_choice", "service_tier",
     "prompt_cache_key", "parallel_tool_calls", "safety_identifier", "verbosity")
)  # fmt: skip
_OWN = frozenset(
    ("sim", "top_k", "min_p", "repetition_penalty", "reasoning_tokens")
)  # accepted by `sim/` models and many servers
_RESPONSES = frozenset(
    ("model", "input", "instructions", "temperature", "top_p", "max_output_tokens", "reasoning", "store", "include",
     "top_logprobs", "text", "metadata", "stream", "user", "prompt_cache_key", "tools", "truncation",
     "parallel_tool_calls", "safety_identifier", "service_tier", "stream_options", "tool_choice")
)  # fmt: skip
_REASONS = re.compile(r"^(?:o\d|gpt-[5-9])")
_LOGPROBS = "message.output_text.logprobs"
CHUNK = 20  # characters of a streamed part
MIN_OUTPUT = 16  # tokens: the minimum of the Responses API
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
_TYPE_NAMES = {
    bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array", dict: "an object",
}  # fmt: skip
_UNKNOWN = "Unrecognized request argument supplied: {}"


def chat(body: Any) -> Request:
    """Read a request to chat completions; raises Refused."""
    body = check_fields(body, dict.fromkeys(_CHAT | _OWN), _UNKNOWN)
    model = _model(body)
    if _REASONS.match(model) and "max_tokens" in body:
        raise Refused(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.", kind="unsupported_parameter", param="max_tokens",
        )  # fmt: skip
    _check_types(body)
    _check_supported(body, model, effort="reasoning_effort")
    _check_common(body)
    check_number(body, "max_tokens", 1, 2**31, out_of_bounds)
    check_number(body, "max_completion_tokens", 1, 2**31, out_of_bounds)
    check_number(body, "frequency_penalty", -2, 2, out_of_bounds)
    check_number(body, "presence_penalty", -2, 2, out_of_bounds)
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > 4:
        raise Refused("Invalid 'stop': array too long. Expected an array with maximum length 4.", param="stop")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Refused("logprobs must be true when top_logprobs is specified.", param="top_logprobs")
    sim = body.get("sim") or {}
    if not isinstance(sim, Mapping):
        raise Refused("sim must be an object", param="sim")
    shape = openai_shape((body.get("response_format") or {}).get("json_schema"), "response_format")
    return Request(
        model=model, messages=_messages(body.get("messages"), "messages"),
        sim={"shape": shape, **sim} if shape else sim,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        thinks=bool(body.get("reasoning_effort")),
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )  # fmt: skip


def chat_reply(request: Request, answer: Answer, cached: int, _written: int) -> dict[str, Any]:
    """Return the reply of chat completions."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.reasoning is not None:
        message["reasoning_content"] = answer.reasoning
    choice: dict[str, Any] = {
        "index": 0, "message": message, "finish_reason": "length" if answer.truncated else "stop",
    }  # fmt: skip
    if request.top_logprobs is not None:
        choice["logprobs"] = {"content": _positions(answer, request.top_logprobs)}
    output_tokens = answer.output_tokens + answer.reasoning_tokens
    usage: dict[str, Any] = {
        "prompt_tokens": answer.input_tokens, "completion_tokens": output_tokens,
        "total_tokens": answer.input_tokens + output_tokens,
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }  # fmt: skip
    if cached:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return {
        "id": f"sim-{answer.name}", "object": "chat.completion", "created": 0, "model": f"sim-{request.model}",
        "choices": [choice], "usage": usage,
    }  # fmt: skip


def _positions(answer: Answer, top: int) -> list[dict[str, Any]]:
    """Return the tokens of an answer, each with its `top` candidates."""
    return [
        _token(token, candidates[0][1]) | {"top_logprobs": [_token(t, p) for t, p in candidates[:top]]}
        for token, candidates in answer.tokens
    ]


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode()), "logprob": logprob}


def responses(body: Any) -> Request:
    """Read a request to the Responses API; raises Refused."""
    body = check_fields(body, dict.fromkeys(_RESPONSES), "Unknown parameter: '{}'.")
    model = _model(body)
    _check_types(body)
    reasoning = body.get("reasoning") or {}
    flat = {**body, **({"reasoning_effort": reasoning["effort"]} if reasoning.get("effort") else {})}
    _check_supported(flat, model, effort="reasoning.effort")
    _check_common(body)
    check_number(body, "max_output_tokens", MIN_OUTPUT, 2**31, out_of_bounds)
    content = body.get("input")
    messages = [{"role": "user", "content": content}] if isinstance(content, str) else _messages(content, "input")
    shape = openai_shape((body.get("text") or {}).get("format"), "text.format.schema")
    return Request(
        model=model, messages=messages, max_tokens=body.get("max_output_tokens"), sim={"shape": shape} if shape else {},
        thinks=bool(_REASONS.match(model)),
        top_logprobs=body.get("top_logprobs", 0 if _LOGPROBS in (body.get("include") or ()) else None),
    )  # fmt: skip


def responses_reply(request: Request, answer: Answer, cached: int, _written: int) -> dict[str, Any]:
    """Return the reply of the Responses API."""
    part: dict[str, Any] = {"type": "output_text", "text": answer.text, "annotations": []}
    if request.top_logprobs is not None:
        part["logprobs"] = _positions(answer, request.top_logprobs)
    status = "incomplete" if answer.truncated else "completed"
    output: list[dict[str, Any]] = []
    if answer.reasoning is not None:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        output.append({"id": f"rs_{answer.name}", "type": "reasoning", "summary": summary})
    output.append(
        {"id": f"msg_{answer.name}", "type": "message", "role": "assistant", "status": status, "content": [part]}
    )
    output_tokens = answer.output_tokens + answer.reasoning_tokens
    return {
        "id": f"resp_{answer.name}", "object": "response", "created_at": 0, "model": f"sim-{request.model}",
        "output": output, "error": None, "status": status, "parallel_tool_calls": True, "tool_choice": "auto",
        "tools": [], "incomplete_details": {"reason": "max_output_tokens"} if answer.truncated else None,
        "usage": {
            "input_tokens": answer.input_tokens, "output_tokens": output_tokens,
            "total_tokens": answer.input_tokens + output_tokens,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
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


def _check_common(body: Mapping[str, Any]) -> None:
    check_number(body, "temperature", 0, 2, out_of_bounds)
    check_number(body, "top_p", 0, 1, out_of_bounds)
    check_number(body, "top_logprobs", 0, 20, out_of_bounds)
    if body.get("n") not in (None, 1):
        raise Refused("the simulator returns one answer per request: n must be 1", param="n")


def wrong_type(name: str, expected: str, value: Any) -> Refused:
    """Return the error of a field of the wrong type."""
    got = "null" if value is None else _TYPE_NAMES.get(type(value), "object")
    message = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
    return Refused(message, kind="invalid_type", param=name)


def out_of_bounds(name: str, value: Any, bound: float, below: bool) -> Refused:
    """Return the error of a number beyond a bound."""
    kind = "integer" if isinstance(value, int) else "decimal"
    which, sign = ("below minimum", ">=") if below else ("above maximum", "<=")
    code = f"{kind}_{'below_min' if below else 'above_max'}_value"
    message = f"Invalid '{name}': {kind} {which} value. Expected a value {sign} {bound:g}, but got {value} instead."
    return Refused(message, kind=code, param=name)


def _check_types(body: Mapping[str, Any]) -> None:
    """Refuse a field of the wrong type."""
    for name, value in body.items():
        expected = _TYPES.get(name)
        if expected is None or value is None:
            continue
        types, type_name = expected
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise wrong_type(name, type_name, value)


def _check_supported(body: Mapping[str, Any], model: str, *, effort: str) -> None:
    """Refuse settings that the model does not support by the table of parameters, in OpenAI's words."""
    ours = {name: body[name] for name in _SETTINGS if body.get(name) is not None}
    thinking = bool(_REASONS.match(model))
    refusal = refused_by_table("openai", model.removeprefix("ft:").partition(":")[0], ours, thinking=thinking)
    if refusal is None:
        return
    name, row = refusal
    param, value = (effort if name == "reasoning_effort" else name), ours[name]
    if name == "top_logprobs":
        raise Refused("You are not allowed to request logprobs from this model", status=403)
    if row.takes == NO:
        message, kind = f"Unsupported parameter: '{param}' is not supported with this model.", "unsupported_parameter"
    elif row.takes == DEFAULT:
        message = f"Unsupported value: '{param}' does not support {value} with this model. "
        message += "Only the default (1) value is supported."
        kind = "unsupported_value"
    else:
        levels = [f"'{level}'" for level in row.takes.split()]
        listed = f"{', '.join(levels[:-1])}, and {levels[-1]}" if len(levels) > 1 else levels[0]
        message = (
            f"Unsupported value: '{value}' is not supported with the '{model}' model. Supported values are: {listed}."
        )
        kind = "unsupported_value"
    raise Refused(message, kind=kind, param=param)


def _messages(turns: Any, name: str) -> list[dict[str, str]]:
    if not isinstance(turns, list) or not turns:
        raise Refused(f"Invalid '{name}': empty array. Expected an array with minimum length 1.", param=name)
    messages = []
    for i, message in enumerate(turns):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            role = message.get("role") if isinstance(message, dict) else message
            shown = role if isinstance(role, str) else json.dumps(role)
            raise Refused(
                f"Invalid value: '{shown}'. Supported values are: {', '.join(map(repr, _ROLES))}.",
                kind="invalid_value", param=f"{name}[{i}].role",
            )  # fmt: skip
        if message["role"] == "tool":
            _check_answers_call(message, turns[:i], f"{name}.[{i}]")
        if message["role"] == "assistant" and message.get("tool_calls"):
            message = {"content": "", **{k: v for k, v in message.items() if v is not None}}  # noqa: PLW2901 - without text
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
        if not isinstance(content, str):
            got = "null" if content is None else _TYPE_NAMES.get(type(content), "an object")
            raise Refused(f"Invalid value for 'content': expected a string, got {got}.", param=f"{name}.[{i}].content")
        messages.append({"role": message["role"], "content": content})
    return messages


def _check_answers_call(message: Mapping[str, Any], before: list[Any], where: str) -> None:
    """Refuse a `tool` message without a call before it; the spelling mistake is OpenAI's."""
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
    """Return a reply of chat completions as the chunks of a stream."""
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
    """Return a reply of the Responses API as the events of a stream."""
    start = reply | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": start}]
    for i, item in enumerate(reply["output"]):
        field, index, part_name, text_name = (
            ("summary", "summary_index", "reasoning_summary_part", "reasoning_summary_text")
            if item["type"] == "reasoning"
            else ("content", "content_index", "content_part", "output_text")
        )
        events.append({"type": "response.output_item.added", "output_index": i, "item": _started(item, field)})
        for j, part in enumerate(item[field]):
            at = {"item_id": item["id"], "output_index": i, index: j}
            logprobs: dict[str, Any] = {"logprobs": []} if field == "content" else {}
            events.append({"type": f"response.{part_name}.added", **at, "part": _started(part, "text")})
            events += [
                {"type": f"response.{text_name}.delta", **at, **logprobs, "delta": part["text"][k : k + CHUNK]}
                for k in range(0, len(part["text"]), CHUNK)
            ]
            logprobs = {"logprobs": part.get("logprobs", [])} if field == "content" else {}
            events.append({"type": f"response.{text_name}.done", **at, **logprobs, "text": part["text"]})
            events.append({"type": f"response.{part_name}.done", **at, "part": part})
        events.append({"type": "response.output_item.done", "output_index": i, "item": item})
    events.append({"type": f"response.{reply['status']}", "response": reply})
    return [event | {"sequence_number": n} for n, event in enumerate(events)]


def _started(complete: dict[str, Any], field: str) -> dict[str, Any]:
    """Return an item or part as it was before its text."""
    status = {"status": "in_progress"} if "status" in complete else {}
    return {k: v for k, v in complete.items() if k != "logprobs"} | {field: type(complete[field])()} | status
