"""OpenAI's chat completions, which most servers speak: query to body, reply to response."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, ValidationError

from emdsl.errors import Rejected, Unavailable
from emdsl.providers.http import Blocked, Http
from emdsl.providers.secret import find_key, find_url
from emdsl.query import Response, Usage
from emdsl.service import SAMPLE_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.prompt import Message, Prompt
    from emdsl.providers.secret import Secret
    from emdsl.query import Model, Query

MAX_COUNT = 2**63  # tokens: more is no count
MIN_KEPT = 4_096  # characters of messages from which their encoding is kept
MAX_HELD = 64 * 2**20  # bytes of encoded prompts
MAX_MESSAGES = 4_096  # encoded, of prompts that share some
MAX_POSITIONS = 64  # tokens whose candidates are kept
_FINISH = {
    "stop": "stop",
    "length": "length",
    "content_filter": "blocked",
    "tool_calls": "tool",
    "function_call": "tool",
}


def _as_text(value: Any) -> str | None:
    """Return a text, or the joined parts of one; lone surrogates pass, which pydantic's own `str` refuses."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(p["text"] for p in value if isinstance(p, dict) and isinstance(p.get("text"), str))
    raise ValueError("a text was expected")


def _lenient_int(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_COUNT:
        return None
    return int(value)


def _lenient_usd(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_COUNT
    return float(value) if known else None


_Text = Annotated[str | None, PlainValidator(_as_text)]
_Count = Annotated[int | None, BeforeValidator(_lenient_int)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class _Candidate(_Wire):
    token: Annotated[Any, PlainValidator(_as_text)]
    logprob: float


class _Position(_Wire):
    top_logprobs: list[_Candidate] = []


class _Logprobs(_Wire):
    content: list[_Position] | None = None


class _Message(_Wire):
    content: _Text = None
    refusal: _Text = None
    reasoning_content: _Text = None
    reasoning: Any = None


class _Choice(_Wire):
    message: _Message
    finish_reason: _Text = None
    logprobs: _Logprobs | None = None


class _InputDetails(_Wire):
    cached_tokens: _Count = None


class _OutputDetails(_Wire):
    reasoning_tokens: _Count = None


class _Usage(_Wire):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    cost: Annotated[float | None, BeforeValidator(_lenient_usd)] = None


class _Reply(_Wire):
    choices: list[_Choice]
    id: _Text = None
    model: _Text = None
    system_fingerprint: _Text = None
    usage: _Usage | None = None


class OpenAI:
    """Answers queries of every service that speaks the format; `simulator` is the embedded one's URL."""

    def __init__(self, http: Http, environment: Mapping[str, str], simulator: str | None = None) -> None:
        self._http = http
        self._environment = environment
        self._simulator = simulator
        self._encoder = Encoder()
        self._ways: dict[int, tuple[Model, str, Secret | None, dict[str, str]]] = {}

    async def ask(self, query: Query) -> Response:
        """See Provider."""
        model = query.head.model
        way = self._ways.get(id(model))
        if way is None:
            way = self._ways[id(model)] = self._way(model)
        _, url, key, headers = way
        if model.simulated:
            headers = headers | {SAMPLE_HEADER: f"{query.sample}:{query.head.stream}"}
        start = time.time()
        try:
            reply, request_id = await self._http.post(
                url, self._encoder.encode(query), headers, key=key, timeout_s=model.timeout_s
            )
        except Blocked as blocked:
            return Response(
                text=blocked.reason, finish="blocked", answered_at=time.time(), elapsed_s=time.time() - start
            )
        return read_reply(reply, request_id, start)

    def _way(self, model: Model) -> tuple[Model, str, Secret | None, dict[str, str]]:
        """Return where a model is asked, with which key; raises Rejected. Kept with the model: known by identity."""
        url, _ = find_url(model, self._environment)
        if model.simulated:
            url = url or self._simulator
        if url is None:
            raise Rejected(f"no URL is known for `{model.service.name}`")
        key, _ = find_key(model, self._environment)
        headers = {"Authorization": f"Bearer {key.reveal()}"} if key is not None else {}
        return model, f"{url}/chat/completions", key, headers


class Encoder:
    """Makes bodies; long messages that many requests share are encoded once."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[int, tuple[Prompt, bytes]] = OrderedDict()  # by identity: the samples of a cell
        self._messages: OrderedDict[Message, bytes] = OrderedDict()
        self._held = 0  # bytes

    def encode(self, query: Query) -> bytes:
        """Return the body of a request as JSON."""
        prompt = query.prompt
        if sum([len(m.text) for m in prompt.messages]) < MIN_KEPT:
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
        end = b"," + _json(rest)[1:] if rest else b"}"
        return b"".join((b'{"model":', _json(query.head.model.wire_name), b',"messages":', known[1], end))

    def _message(self, message: Message) -> bytes:
        found = self._messages.get(message)
        if found is None:
            found = self._messages[message] = _json({"role": message.role, "content": message.text})
            if len(self._messages) > MAX_MESSAGES:
                self._messages.popitem(last=False)
        return found


def encode(query: Query) -> bytes:
    """Return the body of a request as JSON."""
    body: dict[str, Any] = {
        "model": query.head.model.wire_name,
        "messages": [{"role": m.role, "content": m.text} for m in query.prompt.messages],
    }
    return _json(body | _rest(query))


def _rest(query: Query) -> dict[str, Any]:
    """Return all of a body but the model and the messages."""
    body: dict[str, Any] = {}
    if query.head.model.service.name == "vllm" and query.prompt.messages[-1].role == "assistant":
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    for name, value in query.head.params:
        match name:
            case "seed":
                body["seed"] = value + query.sample
            case "top_logprobs":
                body |= {"logprobs": True, "top_logprobs": value}
            case "extra":
                body |= value
            case _:
                body[name] = value
    return body


def _json(body: Any) -> bytes:
    text = json.dumps(body, default=_exact, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate in someone's data: JSON can say it, UTF-8 cannot
        return json.dumps(body, default=_exact, separators=(",", ":")).encode()


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)  # 0.7 is sent as 0.7: the shortest text that reads back the same
    raise TypeError(f"{type(value).__name__} in a request")


def read_reply(reply: Mapping[str, Any], request_id: str | None, start: float) -> Response:
    """Return a reply as a response; raises Unavailable for one that is not of the format."""
    try:
        found = _Reply.model_validate(reply)
    except (TypeError, OverflowError) as error:
        raise Unavailable(f"the reply is not of the format: {error}", status=200) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Unavailable(f"the reply is not of the format: `{where}`: {first['msg']}", status=200) from None
    if not found.choices:
        raise Unavailable("the reply has no choice", status=200)
    choice, usage = found.choices[0], found.usage or _Usage()
    if choice.finish_reason == "error":  # how a proxy says that the model behind it failed half-way
        raise Unavailable("the reply ends with an error", status=200)
    message = choice.message
    reasoning = message.reasoning_content
    if reasoning is None and isinstance(message.reasoning, str):
        reasoning = message.reasoning
    details, more = usage.prompt_tokens_details, usage.completion_tokens_details
    now = time.time()
    return Response(
        text=message.content if message.content is not None else (message.refusal or ""),
        finish=_FINISH.get(choice.finish_reason or "stop", "other"),
        reasoning=reasoning or None,
        model=found.model,
        fingerprint=found.system_fingerprint,
        request_id=request_id or found.id,
        usage=Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            reasoning_tokens=more.reasoning_tokens if more else None,
            cached_tokens=details.cached_tokens if details else None,
            cost_usd=usage.cost,
        ),
        logprobs=_logprobs(choice.logprobs),
        answered_at=now,
        elapsed_s=round(now - start, 4),
    )


def _logprobs(found: _Logprobs | None) -> tuple[tuple[tuple[str, float], ...], ...] | None:
    if found is None or not found.content:
        return None
    return tuple(
        tuple((c.token or "", c.logprob) for c in at.top_logprobs if c.logprob <= 0)
        for at in found.content[:MAX_POSITIONS]
    )
