"""Anthropic's Messages API, as its server takes requests and complains."""

from __future__ import annotations

from typing import Any

from emdsl.sim.answering import Asked, Refused, Said, checked, number

_FIELDS = frozenset(
    ("model", "messages", "max_tokens", "system", "temperature", "top_p", "top_k", "stop_sequences", "metadata",
     "stream", "thinking", "tools", "tool_choice", "output_config", "service_tier", "cache_control")
)  # fmt: skip
_UNKNOWN = "{}: Extra inputs are not permitted"
_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
}  # fmt: skip


def messages(body: Any) -> Asked:
    """Return a request; raises Refused."""
    body = checked(body, dict.fromkeys(_FIELDS), _UNKNOWN)
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise Refused(f"{name}: Field required", param=name)
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        raise Refused("max_tokens: Input should be greater than or equal to 1", param="max_tokens")
    number(body, "temperature", 0, 1)
    number(body, "top_p", 0, 1)
    number(body, "top_k", 0, 2**31)
    model = str(body["model"])
    if model.startswith("no-"):
        raise Refused(f"model: {model}", status=404)
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens", 0)
        if budget < 1024:
            raise Refused("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= body["max_tokens"]:
            raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
        if body.get("temperature", 1) != 1:
            raise Refused("`temperature` may only be set to 1 when thinking is enabled.")
        if "top_k" in body:
            raise Refused("`top_k` must be unset when thinking is enabled.")
    system, cut = _text(body.get("system", ""), "system")
    found = [{"role": "system", "content": system}] if system else []
    marked = len(found) if cut else None
    if not isinstance(body["messages"], list) or not body["messages"]:
        raise Refused("messages: at least one message is required")
    for i, message in enumerate(body["messages"]):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            raise Refused(f'messages.{i}.role: Input should be "user" or "assistant"')
        content, cut = _text(message.get("content"), f"messages.{i}")
        if not content.strip():
            raise Refused("messages: text content blocks must be non-empty")
        found.append({"role": role, "content": content})
        marked = len(found) if cut else marked
    last = found[-1]
    if last["role"] == "assistant" and last["content"] != last["content"].rstrip():
        raise Refused("messages: final assistant content cannot end with trailing whitespace")
    return Asked(
        model=model, messages=found, max_tokens=body["max_tokens"],
        thinks=thinking.get("type") in ("enabled", "adaptive"), cut=marked,
    )  # fmt: skip


def reply(asked: Asked, said: Said, cached: int, written: int) -> dict[str, Any]:
    """Return the reply. What the cache reads and writes is counted apart."""
    content: list[dict[str, Any]] = []
    if said.reasoning is not None:
        content.append({"type": "thinking", "thinking": said.reasoning, "signature": "sim"})
    content.append({"type": "text", "text": said.text})
    return {
        "id": f"msg_{said.name}", "type": "message", "role": "assistant", "model": f"sim-{asked.model}",
        "content": content, "stop_reason": "max_tokens" if said.truncated else "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": said.input_tokens - cached - written, "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written, "output_tokens": said.output_tokens + said.reasoning_tokens,
        },
    }  # fmt: skip


def error(refused: Refused) -> dict[str, Any]:
    """Return the body of an error."""
    kind = refused.kind or _KINDS.get(refused.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(refused)}, "request_id": "req_sim"}


def _text(found: Any, where: str) -> tuple[str, bool]:
    """Return a text, and whether the cache is to keep all up to its end."""
    if isinstance(found, str):
        return found, False
    if not isinstance(found, list):
        raise Refused(f"{where}.content: Input should be a valid string")
    for i, block in enumerate(found):
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            raise Refused(f"{where}.content.{i}: Input should be a text block")
        for name in block:
            if name not in ("type", "text", "cache_control"):
                raise Refused(_UNKNOWN.format(f"{where}.content.{i}.text.{name}"))
        if not block["text"]:
            raise Refused("messages: text content blocks must be non-empty")
    return "".join(b["text"] for b in found), any("cache_control" in b for b in found)
