"""Anthropic's Messages API, with its server's checks and error messages."""

from __future__ import annotations

from typing import Any

from emdsl.parameters import NO, PREFILL, row_of
from emdsl.sim.answering import Answer, Refused, Request, check_fields, check_number, refused_by_table
from emdsl.sim.schemas import anthropic_shape

_FIELDS = frozenset(
    ("model", "messages", "max_tokens", "system", "temperature", "top_p", "top_k", "stop_sequences", "metadata",
     "stream", "thinking", "tools", "tool_choice", "output_config", "service_tier", "cache_control")
)  # fmt: skip
CHUNK = 20  # characters of a streamed part
_UNKNOWN = "{}: Extra inputs are not permitted"
_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
}  # fmt: skip


def messages(body: Any) -> Request:
    """Read a request; raises Refused."""
    body = check_fields(body, dict.fromkeys(_FIELDS), _UNKNOWN)
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise Refused(f"{name}: Field required", param=name)
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        raise Refused("max_tokens: Input should be greater than or equal to 1", param="max_tokens")
    check_number(body, "temperature", 0, 1, _out_of_bounds)
    check_number(body, "top_p", 0, 1, _out_of_bounds)
    check_number(body, "top_k", 0, 2**31, _out_of_bounds)
    model = str(body["model"])
    if model.startswith("no-"):
        raise Refused(f"model: {model}", status=404)
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled" and thinking.get("budget_tokens", 0) >= body["max_tokens"]:
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
    _check_supported(body, model)
    system, cut = _text(body.get("system", ""), "system")
    turns = [{"role": "system", "content": system}] if system else []
    marked = len(turns) if cut else None
    if not isinstance(body["messages"], list) or not body["messages"]:
        raise Refused("messages: at least one message is required")
    for i, message in enumerate(body["messages"]):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            raise Refused(f'messages.{i}.role: Input should be "user" or "assistant"')
        content, cut = _text(message.get("content"), f"messages.{i}")
        if not content.strip():
            raise Refused("messages: text content blocks must be non-empty")
        turns.append({"role": role, "content": content})
        marked = len(turns) if cut else marked
    last = turns[-1]
    prefill = row_of("anthropic", model, PREFILL, {})
    if last["role"] == "assistant" and prefill is not None and prefill.sure and prefill.takes == NO:
        raise Refused(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    if last["role"] == "assistant" and last["content"] != last["content"].rstrip():
        raise Refused("messages: final assistant content cannot end with trailing whitespace")
    shape = anthropic_shape((body.get("output_config") or {}).get("format"))
    if shape and last["role"] == "assistant":
        raise Refused("Prefilling assistant messages is not supported with `output_config.format`.")
    return Request(
        model=model, messages=turns, max_tokens=body["max_tokens"], sim={"shape": shape} if shape else {},
        thinks=thinking.get("type") in ("enabled", "adaptive"), cut=marked,
    )  # fmt: skip


def reply(request: Request, answer: Answer, cached: int, written: int) -> dict[str, Any]:
    """Return the reply. Tokens read from and written to the cache are counted separately."""
    content: list[dict[str, Any]] = []
    if answer.reasoning is not None:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": "sim"})
    content.append({"type": "text", "text": answer.text})
    return {
        "id": f"msg_{answer.name}", "type": "message", "role": "assistant", "model": f"sim-{request.model}",
        "content": content, "stop_reason": "max_tokens" if answer.truncated else "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": answer.input_tokens - cached - written, "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written, "output_tokens": answer.output_tokens + answer.reasoning_tokens,
        },
    }  # fmt: skip


def error(refused: Refused) -> dict[str, Any]:
    """Return the body of an error."""
    kind = refused.kind or _KINDS.get(refused.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(refused)}, "request_id": "req_sim"}


def _out_of_bounds(name: str, _: Any, bound: float, below: bool) -> Refused:
    if bound != bound:  # noqa: PLR0124 - NaN alone differs from itself: not a number
        return Refused(f"{name}: Input should be a valid number", param=name)
    return Refused(f"{name}: Input should be {'greater' if below else 'less'} than or equal to {bound:g}", param=name)


def _check_supported(body: dict[str, Any], model: str) -> None:
    """Refuse settings that the model does not support by the table of parameters, in Anthropic's words."""
    thinking, effort = body.get("thinking") or {}, (body.get("output_config") or {}).get("effort")
    ours = {name: body[name] for name in ("temperature", "top_p", "top_k") if body.get(name) is not None}
    if thinking.get("type") == "enabled":
        ours["reasoning_tokens"] = thinking.get("budget_tokens", 0)
    if effort is not None:
        ours["reasoning_effort"] = effort
    thinks = thinking.get("type") in ("enabled", "adaptive")
    refusal = refused_by_table("anthropic", model, ours, thinking=thinks)
    if refusal is None:
        return
    name, row = refusal
    if row.condition == "temperature given":
        raise Refused("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if name == "reasoning_tokens":
        raise Refused(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
            if row.takes != NO
            else '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.'
        )
    if name == "reasoning_effort":
        raise Refused("This model does not support the effort parameter." if row.takes == NO else
                      f"output_config.effort: Input should be {row.takes.replace(' ', ', ')}")  # fmt: skip
    if row.condition == "thinking":
        raise Refused(
            "`temperature` may only be set to 1 when thinking is enabled."
            if name == "temperature"
            else f"`{name}` must be unset when thinking is enabled."
        )
    raise Refused(f"`{name}` is deprecated for this model.")


def events(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a reply as the events of a stream."""
    head = {k: v for k, v in reply.items() if k not in ("content", "stop_reason", "stop_sequence")}
    stream: list[dict[str, Any]] = [
        {"type": "message_start", "message": head | {"content": [], "stop_reason": None, "stop_sequence": None}}
    ]
    for i, block in enumerate(reply["content"]):
        name = "thinking" if block["type"] == "thinking" else "text"
        text = block[name]
        stream.append({"type": "content_block_start", "index": i, "content_block": block | {name: ""}})
        stream += [
            {"type": "content_block_delta", "index": i, "delta": {"type": f"{name}_delta", name: text[j : j + CHUNK]}}
            for j in range(0, len(text), CHUNK)
        ]
        stream.append({"type": "content_block_stop", "index": i})
    end = {"stop_reason": reply["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": reply["usage"]["output_tokens"]}
    return [*stream, {"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]


def _text(content: Any, where: str) -> tuple[str, bool]:
    """Return the text of a content, and whether it ends with a mark of the prompt cache."""
    if isinstance(content, str):
        return content, False
    if not isinstance(content, list):
        raise Refused(f"{where}.content: Input should be a valid string")
    for i, block in enumerate(content):
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            raise Refused(f"{where}.content.{i}: Input should be a text block")
        for name in block:
            if name not in ("type", "text", "cache_control"):
                raise Refused(_UNKNOWN.format(f"{where}.content.{i}.text.{name}"))
        if not block["text"]:
            raise Refused("messages: text content blocks must be non-empty")
    return "".join(b["text"] for b in content), any("cache_control" in b for b in content)
