"""Parameters and prompts that a model's server would refuse or ignore, known before a request is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl import parameters
from emdsl.parameters import NO, PREFILL, refusals, row_of
from emdsl.price import FREE
from emdsl.price_list import price_of
from emdsl.service import ANTHROPIC, GOOGLE, OPENAI, OPENAI_API, SERVICES, SIM
from emdsl.source import one_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emdsl.prompt import Message
    from emdsl.query import Model

# Model names, as their makers document what each takes (November 2026).
_OPENAI_REASONS = re.compile(r"^(?:o\d|gpt-(?:[5-9]|\d\d)(?!-chat|-search)|chat-latest)")
_OPENAI_RESPONSES = re.compile(r"^(?:o\d-pro|gpt-\d[\d.]*-pro|.*deep-research|.*codex|computer-use)")
_OPENAI_RESTS = re.compile(r"^gpt-5\.[1-4](?!.*(?:codex|chat|pro))")  # of these, do not reason unless told
_CLAUDE_NEW = re.compile(r"claude-(?:fable|mythos|(?:opus|sonnet|haiku)-[5-9]|opus-4-[78])")
_CLAUDE_4_6 = re.compile(r"claude-(?:opus|sonnet|haiku)-4-6")
_GEMINI_THINKS = re.compile(r"^gemini-(?:2\.5(?!.*image)|[3-9])")
_REASONS = re.compile(
    r"(?:^|/)o[134](?:$|-)|gpt-[5-9](?!-chat)|gpt-oss|think|reason|(?:^|[-/])r1(?:$|[-:])|qwq|qwen3|magistral"
    r"|grok-(?:3-mini|[4-9]|code)|gemini-(?:2\.5|[3-9])|claude-(?:fable|mythos|(?:opus|sonnet|haiku)-[4-9])|claude-3-7"
    r"|deepseek-(?:v3\.[1-9]|v[4-9]|r)|kimi-k2-thinking|glm-4\.[5-9]",
    re.IGNORECASE,
)
_REASONS_BY_DEFAULT = re.compile(
    r"(?:^|/)o[134](?:$|-)|gpt-5(?![.-]?(?:[1-4]|chat))|gpt-oss|think(?!.*instruct)|reasoner|(?:^|[-/])r1(?:$|[-:])|qwq"
    r"|grok-(?:3-mini|[4-9]|code)|gemini-(?:2\.5-(?:pro|flash(?!-lite))|[3-9])"
    r"|claude-(?:fable|mythos|(?:opus|sonnet)-[5-9]|haiku-5)|deepseek-(?:v3\.[2-9]|v[4-9])",
    re.IGNORECASE,
)
_WITHIN_BUDGET = frozenset(  # fields of `extra` that cost nothing beside the tokens
    ("response_format", "user", "metadata", "logit_bias", "safetySettings", "chat_template_kwargs", "guided_json",
     "guided_regex", "guided_choice", "thinking", "sim", "store", "separate_reasoning", "prompt_cache_key", "provider",
     "text", "top_a", "transforms", "max_completion_tokens", "max_output_tokens", "reasoning_format",
     "include_reasoning", "cache_prompt", "grammar")
)  # fmt: skip
_OURS = frozenset(
    ("model", "models", "messages", "stream", "input", "contents", "system", "systemInstruction", "system_instruction",
     "instructions", "prompt", "previous_response_id", "background", "generation_config", "seed", "random_seed")
)  # fmt: skip
_READ_ONCE = "n", "best_of", "candidateCount", "candidate_count"


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A parameter, or a kind of message, that a server does not support, the reason, and what to do.

    `value`: another value of it is supported. Not `sure`: it is known of older models only.
    """

    param: str
    why: str
    help: str = ""
    value: bool = False
    sure: bool = True


def takes_max_completion_tokens(model: Model) -> bool:
    """Whether a server expects `max_completion_tokens` for this model: OpenAI's reasoning models, wherever served."""
    return reasons(model) or (
        model.service.name.startswith(OPENAI_API) and bool(_OPENAI_REASONS.search(plain_name(model)))
    )


def plain_name(model: Model) -> str:
    """Return the name of a model; for a fine-tuned OpenAI model, the name of its base model."""
    name = model.wire_name.removeprefix("ft:")
    return name if name == model.wire_name else name.partition(":")[0]


def max_answer_tokens(model: Model, params: Mapping[str, Any]) -> int | None:
    """Return the maximum number of tokens of an answer; None if no setting limits it."""
    most: int | None = params.get("max_tokens")
    extra = params.get("extra") or {}
    if most is None and model.service.format == OPENAI:
        most = extra.get("max_output_tokens" if uses_responses_api(model, params) else "max_completion_tokens")
    elif most is None and model.service.format == GOOGLE:
        config = extra.get("generationConfig")
        most = config.get("maxOutputTokens") if isinstance(config, Mapping) else None
    return most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None


def reasons(model: Model) -> bool:
    """Whether this is a reasoning model of OpenAI: it supports other parameters, and its reasoning counts as output."""
    return model.service.name == "openai" and bool(_OPENAI_REASONS.search(plain_name(model)))


def uses_responses_api(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether OpenAI serves these parameters by its Responses API only."""
    if model.service.name != "openai":
        return False
    if "reasoning_summary" in params or params.get("reasoning_effort") == "max":  # chat completions support neither
        return True
    return bool(_OPENAI_RESPONSES.search(plain_name(model)))


def returns_thoughts(model: Model) -> bool:
    """Whether this Gemini model returns its thoughts on request."""
    return model.service.format == GOOGLE and bool(_GEMINI_THINKS.search(model.wire_name))


def enforces_bounds(model: Model) -> bool:
    """Whether a schema's `minimum` and `maximum` can be sent: some servers reject them, as OpenAI for tuned models."""
    return model.service.schema_bounds and not model.wire_name.startswith("ft:")


def thinks_adaptively(model: Model) -> bool:
    """Whether this Claude model chooses the length of its thinking itself, given an effort."""
    return bool(_CLAUDE_NEW.search(model.wire_name) or _CLAUDE_4_6.search(model.wire_name))


def may_reason(model: Model) -> bool:
    """Whether a model is known to reason before its answer, within the same `max_tokens`."""
    return bool(_REASONS.search(model.wire_name))


def reasons_by_default(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether a model reasons by default, and no parameter disables it."""
    if params.get("reasoning_effort") == "none" or params.get("reasoning_tokens") == 0:
        return False
    thinking = (params.get("extra") or {}).get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("type") == "disabled":
        return False
    if model.service.name == "openai":
        return reasons(model) and not _OPENAI_RESTS.search(plain_name(model))
    return bool(_REASONS_BY_DEFAULT.search(model.wire_name))


def unsupported(model: Model, params: Mapping[str, Any]) -> Iterator[Unsupported]:
    """Yield the parameters that a model's server does not support."""
    service = model.service
    for name, value in params.items():
        if service.params is not None and name not in service.params and name != "sim":
            yield Unsupported(name, f"`{service.name}` does not support `{_written(name)}`", _instead(name))
        elif name == "temperature" and value > service.temperature:
            why = f"the maximum `temperature` of `{service.name}` is {service.temperature}"
            yield Unsupported(name, why, f"use {service.temperature} or less", value=True)
        elif name == "stop" and service.stops is not None and len(value) > service.stops:
            why = f"`{service.name}` supports at most {service.stops} texts in `stop`"
            yield Unsupported(name, why, f"use at most {service.stops} texts", value=True)
        elif name == "top_logprobs" and value > service.top_logprobs:
            yield Unsupported(
                name, f"`{service.name}` returns at most {service.top_logprobs} candidates per token",
                f"write `read = weighted(top: {service.top_logprobs})` in the rubric",
            )  # fmt: skip
    extra = params.get("extra") or {}
    nested = extra.get("generationConfig")
    for name in _READ_ONCE:
        if extra.get(name) not in (None, 1) or (isinstance(nested, Mapping) and nested.get(name) not in (None, 1)):
            why = f"`{name}` in `extra` requests several answers, but only one is read"
            yield Unsupported("extra", why, f"remove `{name}` and set `samples`", value=True)
    for name in sorted(_OURS & set(extra)):
        yield Unsupported(
            "extra", f"`{name}` does not belong in `extra`: emdsl sends it itself", f"remove `{name}`", value=True
        )
    for name in ("thinking", "generationConfig", "provider", "reasoning"):
        if not isinstance(extra.get(name, {}), Mapping):
            yield Unsupported("extra", f"`{name}` in `extra` must be a map", f"write `{name}: {{ ... }}`", value=True)
    if "response_format" in extra and not service.json_schema:
        why = f"`{service.name}` does not support `response_format`"
        yield Unsupported("extra", why, "remove `response_format`", value=True)
    yield from _of_model(model, params)


def _written(name: str) -> str:
    """Return a parameter as a study writes it."""
    return "strict = true" if name == "json_schema" else name


def _instead(name: str) -> str:
    match name:
        case "seed":
            return "each sample is an independent draw without it"
        case "reasoning_tokens":
            return "try `reasoning_effort` instead"
        case _:
            return ""


def _of_model(model: Model, params: Mapping[str, Any]) -> Iterator[Unsupported]:
    """Yield the parameters that a model does not support, though other models of its service do."""
    name, service = model.wire_name, model.service
    if {"reasoning_effort", "reasoning_tokens"} <= set(params):
        why = "`reasoning_effort` and `reasoning_tokens` both limit the reasoning: set one of them"
        yield Unsupported("reasoning_tokens", why)
    thinking = _reasons_in(model, params)
    for param, value, row in refusals(service.name, plain_name(model), params, thinking=thinking):
        while_ = " while it reasons" if row.condition in ("effort set", "effort not none", "thinking") else ""
        off = '`extra = { thinking: { type: "disabled" } }` turns reasoning off'
        ends = off if while_ and service.name == "deepseek" else ""
        match row.takes:
            case parameters.NO if row.condition == "temperature given":
                yield Unsupported(param, f"`{name}` supports `temperature` or `{param}`, not both", sure=row.sure)
            case parameters.NO:
                why = f"`{name}` does not support `{_written(param)}`{while_}"
                yield Unsupported(param, why, ends or _instead(param), sure=row.sure)
            case parameters.IGNORED:
                yield Unsupported(param, f"`{name}` ignores `{param}`{while_}", ends, sure=row.sure)
            case parameters.DEFAULT:
                yield Unsupported(param, f"`{name}` supports only the default `{param}`{while_}", ends, sure=row.sure)
            case _:
                shown = value if isinstance(value, str) else f"{value:,}"
                why = f"`{name}` does not support the `{param}` {shown}{while_}"
                yield Unsupported(param, why, f"supported: {row.values}", value=True, sure=row.sure)
    budget = params.get("reasoning_tokens")
    if service.format == ANTHROPIC and budget and budget >= params.get("max_tokens", 0):
        why = "`max_tokens` must exceed `reasoning_tokens`: reasoning counts as output"
        yield Unsupported("reasoning_tokens", why, "add the tokens of the answer to `max_tokens`", value=True)
    if uses_responses_api(model, params):
        for param in ("stop", "seed", "frequency_penalty", "presence_penalty"):
            if param in params:
                yield Unsupported(param, f"OpenAI's Responses API, which serves `{name}`, does not support `{param}`")


def _reasons_in(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether a model reasons in a request and therefore supports other parameters."""
    if model.service.format == ANTHROPIC:
        effort = params.get("reasoning_effort") not in (None, "none") and thinks_adaptively(model)
        return bool(params.get("reasoning_tokens")) or effort
    return reasons_by_default(model, params)


def why_unbounded(model: Model, params: Mapping[str, Any]) -> tuple[str, str, str, str] | None:
    """Return why the maximum cost of a request is unknown, as code, message, note and help; None if it is known."""
    price = price_of(model)
    if price is None:
        return (
            "E731", f"a budget needs a price for `{model.name}`", "an unknown price does not count as $0",
            "write `price = { input: $2.50, output: $10.00 }` in its model block, USD per million tokens",
        )  # fmt: skip
    if price is FREE:
        return None
    if max_answer_tokens(model, params) is None:
        return (
            "E732", f"a budget needs `max_tokens` for `{model.name}`",
            "without it the cost of one answer has no limit", "write `max_tokens = 600` in its model block",
        )  # fmt: skip
    beyond = sorted(set(params.get("extra") or {}) - _WITHIN_BUDGET)
    if beyond:
        return (
            "E734", f"a budget is not possible with `{beyond[0]}` in `extra`: its maximum cost is unknown",
            "it may be charged on top of the tokens",
            f"remove `{beyond[0]}` or the budget; for several answers set `samples`",
        )  # fmt: skip
    return None


def unsupported_prompt(
    model: Model, params: Mapping[str, Any], messages: Sequence[Message], prompt: str = "the prompt"
) -> Unsupported | None:
    """Return why a model's server does not support the messages of a prompt; None if it does."""
    service = model.service
    last = messages[-1]
    if last.role == "assistant":
        refuses = service.format == ANTHROPIC and bool(params.get("reasoning_tokens"))
        row = row_of(service.name, model.wire_name, PREFILL, params)
        if not service.prefill or refuses or reasons(model) or (row is not None and row.sure and row.takes == NO):
            why = f"`{_who(model)}` does not support prefill: the last message has the role `assistant`"
            others = (s.name for s in SERVICES.values() if s.prefill and s.name not in (SIM, service.name))
            way = f"use a provider with prefill: {one_of(others)}"
            return Unsupported(PREFILL, why, f"remove the last `assistant` message of {prompt}, or {way}")
        if service.format == ANTHROPIC and last.text != last.text.rstrip():
            why = "Anthropic does not support a prefill that ends in whitespace"
            return Unsupported(PREFILL, why, f"remove the whitespace at the end of the last message of {prompt}")
        if service.format == ANTHROPIC and "json_schema" in params:
            why = "Anthropic does not support a prefill with `strict = true`"
            return Unsupported(PREFILL, why, f"remove the last `assistant` message of {prompt}, or `strict = true`")
    roles = [m.role for m in messages]
    if service.system_first:
        talk = roles[_n_system(roles) :]
        if "system" in talk:
            why = f"`{service.name}` supports system messages only before all others"
            return Unsupported("system", why, f"move every `system` message of {prompt} to its beginning")
        if not talk:
            why = f"`{service.name}` does not support a prompt of system messages only"
            return Unsupported("system", why, f"add a `user` message to {prompt}")
    if service.format in (ANTHROPIC, GOOGLE):
        if "tool" in roles:
            why = f"`{service.name}` does not support the role `tool`"
            return Unsupported("tool", why, f"write the `tool` messages of {prompt} as `user` messages")
        if any(not m.text.strip() for m in messages):
            why = f"`{service.name}` does not support empty messages"
            return Unsupported("empty", why, f"remove the empty message of {prompt}, or put it under `when CONDITION`")
    return None


def _who(model: Model) -> str:
    return model.service.name if not model.service.prefill else model.wire_name


def _n_system(roles: Sequence[str]) -> int:
    return next((i for i, r in enumerate(roles) if r != "system"), len(roles))
