"""What a model's server would refuse, or ignore without a word: known before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl import parameters
from emdsl.parameters import NO, PREFILL, refusals, row_of
from emdsl.price import FREE, price_of
from emdsl.service import ANTHROPIC, GOOGLE, OPENAI, OPENAI_API

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
_REASONS_UNASKED = re.compile(
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
class Objection:
    """A parameter that cannot be sent, why, and what to do; `value` where another value of it would be taken.

    Not `sure` is what is known of older models only.
    """

    param: str
    why: str
    help: str = ""
    value: bool = False
    sure: bool = True


def counts_thoughts(model: Model) -> bool:
    """Whether a server takes `max_completion_tokens` for this model: OpenAI's that reason, wherever they are served."""
    return reasons(model) or (
        model.service.name.startswith(OPENAI_API) and bool(_OPENAI_REASONS.search(plain_name(model)))
    )


def plain_name(model: Model) -> str:
    """Return the name of a model; for a fine-tuned one of OpenAI's, the name of its base."""
    name = model.wire_name.removeprefix("ft:")
    return name if name == model.wire_name else name.partition(":")[0]


def longest_answer(model: Model, params: Mapping[str, Any]) -> int | None:
    """Return the most tokens that an answer may have; None where no setting says."""
    most: int | None = params.get("max_tokens")
    extra = params.get("extra") or {}
    if most is None and model.service.format == OPENAI:
        most = extra.get("max_output_tokens" if by_responses(model, params) else "max_completion_tokens")
    elif most is None and model.service.format == GOOGLE:
        config = extra.get("generationConfig")
        most = config.get("maxOutputTokens") if isinstance(config, Mapping) else None
    return most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None


def reasons(model: Model) -> bool:
    """Whether a model of OpenAI's reasons: it takes other parameters, and counts its thoughts as output."""
    return model.service.name == "openai" and bool(_OPENAI_REASONS.search(plain_name(model)))


def by_responses(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether OpenAI serves this by its Responses API alone."""
    if model.service.name != "openai":
        return False
    if "reasoning_summary" in params or params.get("reasoning_effort") == "max":  # chat completions take neither
        return True
    return bool(_OPENAI_RESPONSES.search(plain_name(model)))


def thinks(model: Model) -> bool:
    """Whether a Gemini shows its thoughts where it is asked to."""
    return model.service.format == GOOGLE and bool(_GEMINI_THINKS.search(model.wire_name))


def adaptive(model: Model) -> bool:
    """Whether a Claude decides by itself how long it thinks, by an effort."""
    return bool(_CLAUDE_NEW.search(model.wire_name) or _CLAUDE_4_6.search(model.wire_name))


def may_reason(model: Model) -> bool:
    """Whether a model is known to reason before it answers, within the same `max_tokens`."""
    return bool(_REASONS.search(model.wire_name))


def reasons_unasked(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether a model reasons where nothing asks it to, or takes that back."""
    if params.get("reasoning_effort") == "none" or params.get("reasoning_tokens") == 0:
        return False
    thinking = (params.get("extra") or {}).get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("type") == "disabled":
        return False
    if model.service.name == "openai":
        return reasons(model) and not _OPENAI_RESTS.search(plain_name(model))
    return bool(_REASONS_UNASKED.search(model.wire_name))


def objections(model: Model, params: Mapping[str, Any]) -> Iterator[Objection]:
    """Yield the parameters that a model's server would refuse or ignore."""
    service = model.service
    for name, value in params.items():
        if service.params is not None and name not in service.params and name != "sim":
            yield Objection(name, f"`{service.name}` takes no `{name}`", _instead(name))
        elif name == "temperature" and value > service.temperature:
            most = f"{service.temperature} or less"
            yield Objection(name, f"`{service.name}` takes temperatures up to {service.temperature}", most, value=True)
        elif name == "stop" and service.stops is not None and len(value) > service.stops:
            most = f"at most {service.stops} texts"
            yield Objection(name, f"`{service.name}` takes {most} in `stop`", most, value=True)
        elif name == "top_logprobs" and value > service.top_logprobs:
            yield Objection(
                name, f"`{service.name}` gives at most {service.top_logprobs} candidates a token",
                f"`read = weighted(top: {service.top_logprobs})` in the rubric",
            )  # fmt: skip
    extra = params.get("extra") or {}
    nested = extra.get("generationConfig")
    for name in _READ_ONCE:
        if extra.get(name) not in (None, 1) or (isinstance(nested, Mapping) and nested.get(name) not in (None, 1)):
            why = f"`extra` asks for several answers (`{name}`), and one would be read"
            yield Objection("extra", why, f"leave `{name}` out of it: `samples` draws several", value=True)
    for name in sorted(_OURS & set(extra)):
        yield Objection(
            "extra", f"`extra` holds `{name}`, which is set or sent otherwise", f"leave `{name}` out", value=True
        )
    for name in ("thinking", "generationConfig", "provider", "reasoning"):
        if not isinstance(extra.get(name, {}), Mapping):
            yield Objection("extra", f"`{name}` in `extra` is a map", f"write `{name}: {{ ... }}`", value=True)
    if "response_format" in extra and not service.json_schema:
        why = f"`{service.name}` takes no `response_format`"
        yield Objection("extra", why, "leave `response_format` out of it", value=True)
    yield from _of_model(model, params)


def _instead(name: str) -> str:
    match name:
        case "seed":
            return "`samples` draws anew each time"
        case "reasoning_tokens":
            return "`reasoning_effort` may be taken"
        case _:
            return ""


def _of_model(model: Model, params: Mapping[str, Any]) -> Iterator[Objection]:
    """Yield what a model does not take that others of its service do."""
    name, service = model.wire_name, model.service
    if {"reasoning_effort", "reasoning_tokens"} <= set(params):
        why = "both `reasoning_effort` and `reasoning_tokens` say how much a model thinks: one of them is taken"
        yield Objection("reasoning_tokens", why)
    thinking = _thinks_in(model, params)
    for param, value, row in refusals(service.name, plain_name(model), params, thinking=thinking):
        while_ = " while it reasons" if row.condition in ("effort set", "effort not none", "thinking") else ""
        ends = '`extra = { thinking: { type: "disabled" } }` ends that' if while_ and service.name == "deepseek" else ""
        match row.takes:
            case parameters.NO if row.condition == "temperature given":
                yield Objection(param, f"`{name}` takes `temperature` or `{param}`, not both", sure=row.sure)
            case parameters.NO:
                yield Objection(param, f"`{name}` takes no `{param}`{while_}", ends or _instead(param), sure=row.sure)
            case parameters.IGNORED:
                yield Objection(param, f"`{name}` ignores `{param}`{while_}", ends, sure=row.sure)
            case parameters.DEFAULT:
                yield Objection(param, f"`{name}` takes only the default `{param}`{while_}", ends, sure=row.sure)
            case _:
                shown = value if isinstance(value, str) else f"{value:,}"
                why = f"`{name}` takes no `{param}` of {shown}{while_}"
                yield Objection(param, why, f"`{param}` takes {row.said}", value=True, sure=row.sure)
    budget = params.get("reasoning_tokens")
    if service.format == ANTHROPIC and budget and budget >= params.get("max_tokens", 0):
        why = "thinking counts as output: `max_tokens` must be more than `reasoning_tokens`"
        yield Objection("reasoning_tokens", why, "set `max_tokens` to both together", value=True)
    if by_responses(model, params):
        for param in ("stop", "seed", "frequency_penalty", "presence_penalty"):
            if param in params:
                yield Objection(param, f"`{name}` is served by the Responses API, which takes no `{param}`")


def _thinks_in(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether a model reasons in a request, where that changes what it takes."""
    if model.service.format == ANTHROPIC:
        effort = params.get("reasoning_effort") not in (None, "none") and adaptive(model)
        return bool(params.get("reasoning_tokens")) or effort
    return reasons_unasked(model, params)


def unbounded(model: Model, params: Mapping[str, Any]) -> tuple[str, str, str, str] | None:
    """Return why it is not known what a request costs at most: code, message, note and help; None where it is."""
    price = price_of(model)
    if price is None:
        return (
            "E731", f"no price is known for `{model.name}`: a budget cannot be kept", "unknown is never taken for $0",
            "write `price = { input: $2.50, output: $10.00 }` in its model block, USD per million tokens",
        )  # fmt: skip
    if price is FREE:
        return None
    if longest_answer(model, params) is None:
        return (
            "E732", f"`{model.name}` has no `max_tokens`: a budget cannot be kept",
            "without it one answer may cost anything", "write `max_tokens = 600` in its model block",
        )  # fmt: skip
    beyond = sorted(set(params.get("extra") or {}) - _WITHIN_BUDGET)
    if beyond:
        return (
            "E734", f"`extra` holds `{beyond[0]}`: what a request costs at most is not known",
            "it may be charged beside the tokens", "leave it out under a budget; `samples` draws several answers",
        )  # fmt: skip
    return None


def prompt_objection(model: Model, params: Mapping[str, Any], messages: Sequence[Message]) -> str:
    """Return what a model's server would not take of these messages; nothing where it takes all."""
    service = model.service
    last = messages[-1]
    if last.role == "assistant":
        refuses = service.format == ANTHROPIC and bool(params.get("reasoning_tokens"))
        row = row_of(service.name, model.wire_name, PREFILL, params)
        if not service.prefill or refuses or reasons(model) or (row is not None and row.sure and row.takes == NO):
            return f"`{_who(model)}` takes no prefill: the last message is the assistant's"
        if service.format == ANTHROPIC and last.text != last.text.rstrip():
            return "Anthropic takes no prefill that ends in blanks"
    roles = [m.role for m in messages]
    if service.system_first:
        talk = roles[_n_system(roles) :]
        if "system" in talk:
            return f"`{service.name}` takes system messages before all others only"
        if not talk:
            return f"`{service.name}` takes no prompt of system messages alone"
    if service.format in (ANTHROPIC, GOOGLE):
        if "tool" in roles:
            return f"`{service.name}` takes no message of the role `tool`"
        if any(not m.text.strip() for m in messages):
            return f"`{service.name}` takes no empty message"
    return ""


def _who(model: Model) -> str:
    return model.service.name if not model.service.prefill else model.wire_name


def _n_system(roles: Sequence[str]) -> int:
    return next((i for i, r in enumerate(roles) if r != "system"), len(roles))
