"""OpenAI's chat completions, which most servers speak: query to body, reply to response."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from emdsl.errors import Unavailable
from emdsl.providers.complaints import error_in
from emdsl.providers.wire import (
    MAX_COUNT,
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
    token_text,
    whole,
)
from emdsl.query import Response, Usage
from emdsl.reasoning import divided, thoughts_in
from emdsl.service import OPENAI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.prompt import Message, Prompt
    from emdsl.query import Query

MIN_KEPT = 4_096  # characters of messages from which their encoding is kept
MAX_HELD = 64 * 2**20  # bytes of encoded prompts
MAX_MESSAGES = 4_096  # encoded, of prompts that share some


def _lenient_usd(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_COUNT
    return float(value) if known else None


class _Candidate(Wire):
    token: Said = None
    bytes: Any = None
    logprob: Any = None

    @property
    def text(self) -> str:
        """The token as text: by its bytes, where a server writes something else for it."""
        return token_text(self.token, self.bytes)


class _Position(_Candidate):
    top_logprobs: Annotated[tuple[_Candidate, ...] | None, Lenient] = None


class _Logprobs(Wire):
    content: Annotated[tuple[Annotated[_Position | None, Lenient], ...] | None, Lenient] = None
    top_logprobs: list[dict[str, Any] | None] | dict[str, Any] | None = None  # Together's shapes
    tokens: Any = None  # the same


class _Message(Wire):
    content: Any = None
    refusal: Said = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None  # Copilot's
    reasoning_details: Any = None  # OpenRouter's
    thinking_blocks: Any = None  # LiteLLM's
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
    message: _Message | None = None
    text: Said = None  # of servers that answer as completions do
    finish_reason: Any = None
    index: Any = None
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
        rest = fields(query, OPENAI)
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
    return as_json({"model": query.head.model.wire_name, "messages": messages} | fields(query, OPENAI))


def _marks(query: Query) -> bool:
    """Whether a message is written in a way of its own: marked for the cache of prefixes, or as a prefill."""
    service = query.head.model.service.name
    if service == "openrouter":
        return bool(query.shared) and query.head.model.wire_name.startswith("anthropic/")
    return service in ("mistral", "deepseek") and _prefilled(query)


def _prefilled(query: Query) -> bool:
    return query.prompt.messages[-1].role == "assistant"


def read_reply(reply: Mapping[str, Any]) -> Response:
    """Return a reply as a response; raises Unavailable for one that is not of the format."""
    found = parse(_Reply, reply)
    if not found.choices:
        raise Unavailable("the reply has no choice", status=200)
    choice = min(found.choices, key=lambda c: c.index if isinstance(c.index, int) else 0)
    if choice.error:
        raise error_in(choice.error, {}, str)  # of the model behind a gateway; who asks masks it
    finish = finish_of(choice.finish_reason)
    message = choice.message or _Message(content=choice.text)
    if choice.message is None and choice.text is None and finish != "blocked":
        raise Unavailable("the choice has no message", status=200)
    text, thoughts = _content(message.content)
    text = text or message.refusal or ""
    reasoning = thoughts_in(
        message.reasoning_content,
        message.reasoning,
        message.reasoning_text,
        message.reasoning_details,
        message.thinking_blocks,
        thoughts,
    )
    if finish is None and message.tool_calls and not text:
        finish = "tool"
    return Response(
        text=text,
        finish=whole(finish, text, reasoning, message.tool_calls),
        reasoning=reasoning,
        model=found.model,
        fingerprint=_fingerprint(found),
        request_id=found.id,
        usage=_usage(found.usage or _Usage()),
        **_logprobs(choice.logprobs, text, reasoning),
    )


def _content(content: Any) -> tuple[str, str]:
    """Return the text and the thoughts of a message's content: a text, or typed parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    content = [content] if isinstance(content, dict) and content else content
    if not isinstance(content, list):
        raise Unavailable("the reply is not of the format: `content`: a text was expected", status=200)
    text, thoughts = divided(content)
    refusals = (p["refusal"] for p in content if isinstance(p, dict) and isinstance(p.get("refusal"), str))
    return text or "".join(refusals), thoughts


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


def _logprobs(found: _Logprobs | None, text: str, reasoning: str | None) -> dict[str, Any]:
    """Return the fields of a response that hold candidates, and what was chosen among them."""
    if found is None:
        return {}
    if found.content:
        positions = [
            as_candidates((c.text, c.logprob) for c in (at.top_logprobs if at else None) or ()) for at in found.content
        ]
        chosen = [at.text if at else "" for at in found.content]
        return kept_positions(text, reasoning, positions, chosen)
    if found.top_logprobs:
        given = found.top_logprobs if isinstance(found.top_logprobs, list) else [found.top_logprobs]
        positions = [as_candidates((at or {}).items()) for at in given]
        tokens = found.tokens if isinstance(found.tokens, list) and len(found.tokens) == len(positions) else []
        chosen = [t for t in tokens if isinstance(t, str)]
        return kept_positions(text, reasoning, positions, chosen if chosen and len(chosen) == len(positions) else None)
    return {}
