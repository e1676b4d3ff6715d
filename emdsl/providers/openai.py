"""OpenAI's chat completions, which most servers speak: query to body, reply to response."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, PlainValidator

from emdsl.capability import reasons
from emdsl.errors import Unavailable
from emdsl.providers.wire import MAX_COUNT, MAX_POSITIONS, Count, Lenient, Said, Wire, as_candidates, as_json, parse
from emdsl.query import Response, TokenLogprobs, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.prompt import Message, Prompt
    from emdsl.query import Query

MIN_KEPT = 4_096  # characters of messages from which their encoding is kept
MAX_HELD = 64 * 2**20  # bytes of encoded prompts
MAX_MESSAGES = 4_096  # encoded, of prompts that share some
_FINISH = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "model_length": "length",
    "content_filter": "blocked",
    "tool_calls": "tool",
    "function_call": "tool",
}
_BROKEN = ("error", "abort", "insufficient_system_resource", "network_error")  # the model failed half-way


def _as_content(value: Any) -> Any:
    """Return a text, or a list of parts as a dict of its text and its reasoning."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError("a text was expected")
    parts = [p for p in value if isinstance(p, dict)]
    refusals = "".join(p["refusal"] for p in parts if isinstance(p.get("refusal"), str))
    thoughts = (p["thinking"] for p in parts if "thinking" in p)
    return {
        "text": _joined(parts) or refusals,
        "thinking": "".join(t if isinstance(t, str) else _joined(t) for t in thoughts),
    }


def _joined(parts: Any) -> str:
    if not isinstance(parts, list):
        return ""
    return "".join(p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str))


def _lenient_usd(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_COUNT
    return float(value) if known else None


class _Candidate(Wire):
    token: Said = None
    logprob: Any = None


class _Position(Wire):
    top_logprobs: tuple[_Candidate, ...] = ()


class _Logprobs(Wire):
    content: tuple[_Position, ...] | None = None
    top_logprobs: list[dict[str, Any] | None] | dict[str, Any] | None = None  # Together's shapes


class _Message(Wire):
    content: Annotated[Any, PlainValidator(_as_content)] = None
    refusal: Said = None
    reasoning_content: Said = None
    reasoning: Said = None
    tool_calls: Any = None


class _InputDetails(Wire):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(Wire):
    reasoning_tokens: Count = None


class _Usage(Wire):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: Annotated[_InputDetails | None, Lenient] = None
    completion_tokens_details: Annotated[_OutputDetails | None, Lenient] = None
    prompt_cache_hit_tokens: Count = None  # DeepSeek's
    cost: Annotated[float | None, BeforeValidator(_lenient_usd)] = None


class _Choice(Wire):
    message: _Message
    finish_reason: Said = None
    logprobs: Annotated[_Logprobs | None, Lenient] = None
    error: Any = None


class _Reply(Wire):
    choices: list[_Choice]
    id: Said = None
    model: Said = None
    provider: Said = None  # OpenRouter's: who has answered
    system_fingerprint: Said = None
    usage: Annotated[_Usage | None, Lenient] = None


class OpenAI:
    """The format of `openai/` and of all that speak it; see Format."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def path(self, query: Query) -> str:
        """See Format."""
        if query.head.model.service.name == "deepseek" and _prefilled(query):
            return "/beta/chat/completions"  # goes on from a prefill there only
        return "/chat/completions"

    def headers(self, key: str | None) -> Mapping[str, str]:
        """See Format."""
        return {"Authorization": f"Bearer {key}"} if key is not None else {}

    def encode(self, query: Query) -> bytes:
        """See Format."""
        return self._encoder.encode(query)

    def read(self, reply: Mapping[str, Any]) -> Response:
        """See Format."""
        return read_reply(reply)


class Encoder:
    """Makes bodies; long messages that many requests share are encoded once."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[int, tuple[Prompt, bytes]] = OrderedDict()  # by identity: the samples of a cell
        self._messages: OrderedDict[Message, bytes] = OrderedDict()
        self._held = 0  # bytes

    def encode(self, query: Query) -> bytes:
        """Return the body of a request as JSON."""
        prompt = query.prompt
        if sum([len(m.text) for m in prompt.messages]) < MIN_KEPT or _marks(query):
            return encode(query)
        rest = _rest(query)
        if "model" in rest or "messages" in rest:  # `extra` says otherwise
            return encode(query)
        known = self._prompts.get(id(prompt))
        if known is None:
            parts = [self._message(m) for m in prompt.messages]
            known = self._prompts[id(prompt)] = prompt, b"[" + b",".join(parts) + b"]"
            self._held += len(known[1])
            while self._held > MAX_HELD and len(self._prompts) > 1:
                self._held -= len(self._prompts.popitem(last=False)[1][1])
        end = b"," + as_json(rest)[1:] if rest else b"}"
        return b"".join((b'{"model":', as_json(query.head.model.wire_name), b',"messages":', known[1], end))

    def _message(self, message: Message) -> bytes:
        found = self._messages.get(message)
        if found is None:
            found = self._messages[message] = as_json({"role": message.role, "content": message.text})
            if len(self._messages) > MAX_MESSAGES:
                self._messages.popitem(last=False)
        return found


def encode(query: Query) -> bytes:
    """Return the body of a request as JSON."""
    messages: list[dict[str, Any]] = [{"role": m.role, "content": m.text} for m in query.prompt.messages]
    if _marks(query) and query.shared:
        last = messages[query.shared - 1]
        last["content"] = [{"type": "text", "text": last["content"], "cache_control": {"type": "ephemeral"}}]
    if _prefilled(query) and query.head.model.service.name in ("mistral", "deepseek"):
        messages[-1]["prefix"] = True
    return as_json({"model": query.head.model.wire_name, "messages": messages} | _rest(query))


def _marks(query: Query) -> bool:
    """Whether a message is written in a way of its own: marked for the cache of prefixes, or as a prefill."""
    service = query.head.model.service.name
    if service == "openrouter":
        return bool(query.shared) and query.head.model.wire_name.startswith("anthropic/")
    return service in ("mistral", "deepseek") and _prefilled(query)


def _prefilled(query: Query) -> bool:
    return query.prompt.messages[-1].role == "assistant"


def _rest(query: Query) -> dict[str, Any]:
    """Return all of a body but the model and the messages."""
    model = query.head.model
    service = model.service.name
    body: dict[str, Any] = {}
    if service in ("vllm", "sglang") and _prefilled(query):
        body["continue_final_message"] = True
        if service == "vllm":
            body["add_generation_prompt"] = False
    if service == "openrouter":
        body["provider"] = {"require_parameters": True}
    for name, value in query.head.params:
        match name:
            case "seed":
                body["random_seed" if service == "mistral" else "seed"] = value + query.sample
            case "top_logprobs" if service == "together":
                body["logprobs"] = value
            case "top_logprobs":
                body |= {"logprobs": True, "top_logprobs": value}
            case "max_tokens" if reasons(model):
                body["max_completion_tokens"] = value
            case "reasoning_effort" if service == "openrouter":
                body["reasoning"] = body.get("reasoning", {}) | {"effort": value}
            case "reasoning_tokens" if service == "openrouter":
                body["reasoning"] = body.get("reasoning", {}) | ({"max_tokens": value} if value else {"effort": "none"})
            case "reasoning_tokens" if service == "litellm":
                body["thinking"] = {"type": "enabled", "budget_tokens": value} if value else {"type": "disabled"}
            case "repetition_penalty" if service == "llama-cpp":
                body["repeat_penalty"] = value
            case "extra":
                pass
            case _:
                body[name] = value
    extra = dict(query.params.get("extra") or {})
    if service == "openrouter" and isinstance(extra.get("provider"), dict):
        extra["provider"] = body["provider"] | extra["provider"]
    return body | extra


def read_reply(reply: Mapping[str, Any]) -> Response:
    """Return a reply as a response; raises Unavailable for one that is not of the format."""
    found = parse(_Reply, reply)
    if not found.choices:
        raise Unavailable("the reply has no choice", status=200)
    choice = found.choices[0]
    if choice.finish_reason in _BROKEN:  # how a proxy says that the model behind it failed half-way
        raise Unavailable("the reply ends with an error", status=200)
    if choice.error:
        raise Unavailable(f"the model behind it failed: {str(choice.error)[:200]}", status=200)
    message = choice.message
    content = message.content if isinstance(message.content, dict) else {"text": message.content, "thinking": ""}
    reasoning = message.reasoning_content if message.reasoning_content is not None else message.reasoning
    text = content["text"] or message.refusal or ""
    if choice.finish_reason is None and not (text or reasoning or content["thinking"] or message.tool_calls):
        raise Unavailable("the reply is empty, and says no reason", status=200)
    return Response(
        text=text,
        finish=_FINISH.get(
            choice.finish_reason or ("tool_calls" if message.tool_calls and not text else "stop"), "other"
        ),
        reasoning=reasoning or content["thinking"] or None,
        model=found.model,
        fingerprint=_fingerprint(found),
        request_id=found.id,
        usage=_usage(found.usage or _Usage()),
        logprobs=_logprobs(choice.logprobs),
    )


def _fingerprint(found: _Reply) -> str | None:
    """Return what tells two backends of one name apart: who answered, and what it says of itself."""
    parts = [p for p in (found.provider, found.system_fingerprint) if p]
    return " ".join(parts) or None


def _usage(usage: _Usage) -> Usage:
    into, more = usage.prompt_tokens_details, usage.completion_tokens_details
    thought = more.reasoning_tokens if more else None
    out = usage.completion_tokens
    if out is not None and thought and usage.total_tokens == (usage.prompt_tokens or 0) + out + thought:
        out += thought  # xAI counts reasoning beside the completion
    cached = into.cached_tokens if into else None
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=out,
        reasoning_tokens=thought,
        cached_tokens=cached if cached is not None else usage.prompt_cache_hit_tokens,
        written_tokens=into.cache_write_tokens if into else None,
        cost_usd=usage.cost,
    )


def _logprobs(found: _Logprobs | None) -> tuple[TokenLogprobs, ...] | None:
    if found is None:
        return None
    if found.content:
        positions = [
            as_candidates((c.token, c.logprob) for c in at.top_logprobs) for at in found.content[:MAX_POSITIONS]
        ]
    elif found.top_logprobs:
        given = found.top_logprobs if isinstance(found.top_logprobs, list) else [found.top_logprobs]
        positions = [as_candidates((at or {}).items()) for at in given[:MAX_POSITIONS]]
    else:
        return None
    return tuple(positions)
