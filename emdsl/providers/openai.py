"""OpenAI's chat completions, the format of most servers: query to body, reply to response."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from emdsl.errors import Unavailable
from emdsl.providers.http_errors import error_in_200
from emdsl.providers.wire import (
    MAX_COUNT,
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
    token_text,
)
from emdsl.query import Response, Usage
from emdsl.reasoning import divided, thoughts_in
from emdsl.service import OPENAI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.prompt import Message, Prompt
    from emdsl.query import Query, RequestSettings

MIN_CACHED = 4_096  # characters of a prompt whose encoding is worth keeping
MAX_CACHED = 64 * 2**20  # bytes of encoded prompts
MAX_MESSAGES = 4_096  # encoded messages that prompts may share
MAX_SETTINGS = 4_096  # encoded settings: one for each seed, if there is one


def _lenient_usd(value: Any) -> float | None:
    valid = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_COUNT
    return float(value) if valid else None


class _Candidate(Wire):
    token: LenientText = None
    bytes: Any = None
    logprob: Any = None

    @property
    def text(self) -> str:
        """The token as text, from its bytes if the server sends them."""
        return token_text(self.token, self.bytes)


class _Position(_Candidate):
    top_logprobs: Annotated[tuple[_Candidate, ...] | None, Lenient] = None


class _Logprobs(Wire):
    content: Annotated[tuple[Annotated[_Position | None, Lenient], ...] | None, Lenient] = None
    top_logprobs: list[dict[str, Any] | None] | dict[str, Any] | None = None  # Together's shapes
    tokens: Any = None  # the same


class _Message(Wire):
    content: Any = None
    refusal: LenientText = None
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
    text: LenientText = None  # of servers that use the format of completions
    finish_reason: Any = None
    index: Any = None
    logprobs: Annotated[_Logprobs | None, Lenient] = None
    error: Any = None


class _Reply(Wire):
    choices: list[_Choice]
    id: LenientText = None
    model: LenientText = None
    provider: LenientText = None  # OpenRouter's: the provider that answered
    system_fingerprint: LenientText = None
    usage: Annotated[_Usage | None, Lenient] = None


class OpenAI:
    """The format of `openai/` models and of compatible servers; see Format."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def path(self, query: Query) -> str:
        """See Format."""
        if query.settings.model.service.name == "deepseek" and _has_prefill(query):
            return "/beta/chat/completions"  # the only path that continues a prefill
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
    """Encodes request bodies; long messages that many requests share are encoded once."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[int, tuple[Prompt, bytes]] = OrderedDict()  # by identity: the samples of a cell
        self._messages: OrderedDict[Message, bytes] = OrderedDict()
        self._settings: OrderedDict[tuple[int, int, bool], tuple[RequestSettings, bytes, bytes]] = OrderedDict()
        self._seeded: dict[int, tuple[RequestSettings, bool]] = {}  # by id(): whether they have a seed
        self._size = 0  # bytes

    def encode(self, query: Query) -> bytes:
        """Return the body of a request as JSON."""
        if _has_special_message(query):
            return encode(query)
        start, end = self._around(query)
        return b"".join((start, self._conversation(query.prompt), end))

    def _around(self, query: Query) -> tuple[bytes, bytes]:
        """Return what stands before and after the messages of a body."""
        settings = query.settings
        seeded = self._seeded.get(id(settings))
        if seeded is None:
            seeded = self._seeded[id(settings)] = settings, "seed" in dict(settings.params)
        variant = id(settings), query.sample if seeded[1] else 0, _has_prefill(query)
        entry = self._settings.get(variant)
        if entry is None:
            fields = body_fields(query, OPENAI)
            start = b'{"model":' + as_json(settings.model.wire_name) + b',"messages":'
            entry = self._settings[variant] = settings, start, b"," + as_json(fields)[1:] if fields else b"}"
            if len(self._settings) > MAX_SETTINGS:
                self._settings.popitem(last=False)
        return entry[1:]

    def _conversation(self, prompt: Prompt) -> bytes:
        """Return the messages of a body."""
        if prompt.chars < MIN_CACHED:
            return as_json([{"role": m.role, "content": m.text} for m in prompt.messages])
        entry = self._prompts.get(id(prompt))
        if entry is None:
            parts = [self._message(m) for m in prompt.messages]
            entry = self._prompts[id(prompt)] = prompt, b"[" + b",".join(parts) + b"]"
            self._size += len(entry[1])
            while self._size > MAX_CACHED and len(self._prompts) > 1:
                self._size -= len(self._prompts.popitem(last=False)[1][1])
        return entry[1]

    def _message(self, message: Message) -> bytes:
        encoded = self._messages.get(message)
        if encoded is None:
            encoded = self._messages[message] = as_json({"role": message.role, "content": message.text})
            if len(self._messages) > MAX_MESSAGES:
                self._messages.popitem(last=False)
        return encoded


def encode(query: Query) -> bytes:
    """Return the body of a request as JSON."""
    messages: list[dict[str, Any]] = [{"role": m.role, "content": m.text} for m in query.prompt.messages]
    if _has_special_message(query) and query.shared:
        last = messages[query.shared - 1]
        last["content"] = [{"type": "text", "text": last["content"], "cache_control": {"type": "ephemeral"}}]
    if _has_prefill(query) and query.settings.model.service.name in ("mistral", "deepseek"):
        messages[-1]["prefix"] = True
    return as_json({"model": query.settings.model.wire_name, "messages": messages} | body_fields(query, OPENAI))


def _has_special_message(query: Query) -> bool:
    """Whether a message needs extra fields: a mark for the prompt cache, or a prefill."""
    service = query.settings.model.service.name
    if service == "openrouter":
        return bool(query.shared) and query.settings.model.wire_name.startswith("anthropic/")
    return service in ("mistral", "deepseek") and _has_prefill(query)


def _has_prefill(query: Query) -> bool:
    return query.prompt.messages[-1].role == "assistant"


def read_reply(reply: Mapping[str, Any]) -> Response:
    """Return a reply as a response; raises Unavailable for one that is not of the format."""
    completion = parse(_Reply, reply)
    if not completion.choices:
        raise Unavailable("the reply has no choice", status=200)
    choice = min(completion.choices, key=lambda c: c.index if isinstance(c.index, int) else 0)
    if choice.error:
        raise error_in_200(choice.error, {}, str)  # of the model behind a gateway; the client masks keys
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
        finish=checked_finish(finish, text, reasoning, message.tool_calls),
        reasoning=reasoning,
        model=completion.model,
        fingerprint=_fingerprint(completion),
        request_id=completion.id,
        usage=_usage(completion.usage or _Usage()),
        **_logprobs(choice.logprobs, text, reasoning),
    )


def _content(content: Any) -> tuple[str, str]:
    """Return the text and the thoughts of a message's content: a text, or typed parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    content = [content] if isinstance(content, dict) and content else content
    if not isinstance(content, list):
        raise Unavailable("the reply has an unexpected format: `content` is not a text", status=200)
    text, thoughts = divided(content)
    refusals = (p["refusal"] for p in content if isinstance(p, dict) and isinstance(p.get("refusal"), str))
    return text or "".join(refusals), thoughts


def _fingerprint(completion: _Reply) -> str | None:
    """Return the provider and its fingerprint: they tell two backends of one name apart."""
    parts = [p for p in (completion.provider, completion.system_fingerprint) if p]
    return " ".join(parts) or None


def _usage(usage: _Usage) -> Usage:
    input_details, output_details = usage.prompt_tokens_details, usage.completion_tokens_details
    reasoning = output_details.reasoning_tokens if output_details else None
    output = usage.completion_tokens
    if output is not None and reasoning and usage.total_tokens == (usage.prompt_tokens or 0) + output + reasoning:
        output += reasoning  # xAI does not count reasoning in the completion
    cached = input_details.cached_tokens if input_details else None
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=output,
        reasoning_tokens=reasoning,
        cached_tokens=cached if cached is not None else usage.prompt_cache_hit_tokens,
        written_tokens=input_details.cache_write_tokens if input_details else None,
        cost_usd=usage.cost,
    )


def _logprobs(logprobs: _Logprobs | None, text: str, reasoning: str | None) -> dict[str, Any]:
    """Return the fields of a response that hold the candidates of each token, and the chosen tokens."""
    if logprobs is None:
        return {}
    if logprobs.content:
        positions = [
            as_candidates((c.text, c.logprob) for c in (at.top_logprobs if at else None) or ())
            for at in logprobs.content
        ]
        chosen = [at.text if at else "" for at in logprobs.content]
        return logprob_fields(text, reasoning, positions, chosen)
    if logprobs.top_logprobs:
        tops = logprobs.top_logprobs if isinstance(logprobs.top_logprobs, list) else [logprobs.top_logprobs]
        positions = [as_candidates((at or {}).items()) for at in tops]
        tokens = logprobs.tokens if isinstance(logprobs.tokens, list) and len(logprobs.tokens) == len(positions) else []
        chosen = [t for t in tokens if isinstance(t, str)]
        return logprob_fields(text, reasoning, positions, chosen if chosen and len(chosen) == len(positions) else None)
    return {}
