"""What a model's server would refuse, or ignore without a word: known before anything is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.price import FREE, price_of
from emdsl.service import ANTHROPIC, GOOGLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emdsl.prompt import Message
    from emdsl.query import Model

# Model names, as their makers document what each takes (November 2026).
_OPENAI_REASONS = re.compile(r"^(?:o\d|gpt-(?:[5-9]|\d\d)(?!-chat))")
_OPENAI_RESPONSES = re.compile(r"^(?:o\d-pro|gpt-\d[\d.]*-pro|.*deep-research|.*codex|computer-use)")
_OPENAI_FREE = re.compile(
    r"^gpt-(?:5\.[1-9](?!.*(?:codex|chat|pro))|6-(?:sol|luna)|6\.1-terra)"
)  # while they do not reason
_OPENAI_RESTS = re.compile(r"^gpt-5\.[1-4]")  # of these, do not reason unless told
_CLAUDE_NEW = re.compile(r"claude-(?:fable|mythos|(?:opus|sonnet|haiku)-[5-9]|opus-4-[78])")
_CLAUDE_4_6 = re.compile(r"claude-(?:opus|sonnet|haiku)-4-6")
_CLAUDE_ONE_OF = re.compile(r"claude-(?:opus-4-1|(?:opus|sonnet|haiku)-4-5)")
_CLAUDE_EFFORT = re.compile(r"claude-opus-4-5")
_GEMINI_THINKS = re.compile(r"^gemini-(?:2\.5(?!.*image)|[3-9])")
_GEMINI_LEVELS = re.compile(r"^gemini-[3-9]")
_GROK_REASONS = re.compile(r"^grok-(?:3-mini|[4-9]|code)")
_DEEPSEEK_PLAIN = re.compile(r"^deepseek-chat$")
_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "top_logprobs", "stop")
_BEYOND_BUDGET = frozenset(
    ("n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens", "generationConfig", "thinking",
     "tools", "web_search_options", "plugins")
)  # fmt: skip
_READ_ONCE = "n", "best_of", "candidateCount", "candidate_count"


@dataclass(frozen=True, slots=True)
class Objection:
    """A parameter that cannot be sent, why, and what to do."""

    param: str
    why: str
    help: str = ""


def reasons(model: Model) -> bool:
    """Whether a model of OpenAI's reasons: it takes other parameters, and counts its thoughts as output."""
    return model.service.name == "openai" and bool(_OPENAI_REASONS.search(model.wire_name))


def by_responses(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether OpenAI serves this by its Responses API alone."""
    if model.service.name != "openai":
        return False
    return "reasoning_summary" in params or bool(_OPENAI_RESPONSES.search(model.wire_name))


def thinks(model: Model) -> bool:
    """Whether a Gemini shows its thoughts where it is asked to."""
    return model.service.format == GOOGLE and bool(_GEMINI_THINKS.search(model.wire_name))


def adaptive(model: Model) -> bool:
    """Whether a Claude decides by itself how long it thinks, by an effort."""
    return bool(_CLAUDE_NEW.search(model.wire_name) or _CLAUDE_4_6.search(model.wire_name))


def objection(model: Model, params: Mapping[str, Any]) -> Objection | None:
    """Return the first parameter that a model's server would refuse or ignore; None where all are taken."""
    service = model.service
    for name, value in params.items():
        if service.params is not None and name not in service.params and name != "sim":
            return Objection(name, f"`{service.name}` takes no `{name}`", _instead(name))
        if name == "temperature" and value > service.temperature:
            return Objection(name, f"`{service.name}` takes temperatures up to {service.temperature}")
        if name == "stop" and service.stops is not None and len(value) > service.stops:
            return Objection(name, f"`{service.name}` takes at most {service.stops} texts in `stop`")
        if name == "top_logprobs" and value > service.top_logprobs:
            return Objection(
                name,
                f"`{service.name}` gives at most {service.top_logprobs} candidates a token",
                f"`weighted(top: {service.top_logprobs})`",
            )
    extra = params.get("extra") or {}
    for name in _READ_ONCE:
        if extra.get(name) not in (None, 1):
            return Objection(
                "extra",
                f"`extra` asks for several answers (`{name}`), and one would be read",
                "`samples` draws several",
            )
    if "response_format" in extra and not service.json_schema:
        return Objection("extra", f"`{service.name}` takes no `response_format`")
    return _of_model(model, params)


def _instead(name: str) -> str:
    match name:
        case "top_logprobs":
            return "read the number that it writes: `read = number`, or a rubric without `weighted`"
        case "seed":
            return "leave it out: `samples` draws anew each time"
        case "reasoning_tokens":
            return "set `reasoning_effort`, if it has that"
        case _:
            return "leave it out, or take it back in a copy with `none`"


def _of_model(model: Model, params: Mapping[str, Any]) -> Objection | None:
    """Return what a model refuses or ignores that others of its service take."""
    name = model.wire_name
    if model.service.name == "openai":
        return _of_openai(model, params)
    if model.service.format == ANTHROPIC:
        return _of_claude(model, params)
    if model.service.format == GOOGLE:
        return _of_gemini(model, params)
    if model.service.name == "xai" and _GROK_REASONS.search(name):
        for param in ("stop", "frequency_penalty"):
            if param in params:
                return Objection(param, f"`{name}` reasons: it takes no `{param}`")
    if model.service.name == "deepseek" and not _DEEPSEEK_PLAIN.search(name):
        thinking = (params.get("extra") or {}).get("thinking") or {}
        for param in ("temperature", "frequency_penalty", "presence_penalty"):
            if param in params and thinking.get("type") != "disabled":
                return Objection(
                    param, f"`{name}` ignores `{param}` while it thinks", '`extra = { thinking: { type: "disabled" } }`'
                )
    return None


def _of_openai(model: Model, params: Mapping[str, Any]) -> Objection | None:
    effort = params.get("reasoning_effort")
    if not reasons(model):
        for name in ("reasoning_effort", "reasoning_summary"):
            if name in params:
                return Objection(name, f"`{model.wire_name}` does not reason: it takes no `{name}`")
    elif not _samples_freely(model, effort):
        for name in _SAMPLING:
            if name in params and not (name == "temperature" and params[name] == 1):
                return Objection(name, f"`{model.wire_name}` reasons: it takes no `{name}`", f"`{name} = none`")
    if by_responses(model, params):
        for name in ("stop", "seed", "frequency_penalty", "presence_penalty"):
            if name in params:
                return Objection(name, f"`{model.wire_name}` is served by the Responses API, which takes no `{name}`")
    return None


def _samples_freely(model: Model, effort: str | None) -> bool:
    if not _OPENAI_FREE.search(model.wire_name):
        return False
    return effort == "none" or (effort is None and bool(_OPENAI_RESTS.search(model.wire_name)))


def _of_claude(model: Model, params: Mapping[str, Any]) -> Objection | None:
    name, budget = model.wire_name, params.get("reasoning_tokens")
    if _CLAUDE_NEW.search(name):
        for param in ("temperature", "top_p", "top_k"):
            if param in params:
                return Objection(param, f"`{name}` takes no `{param}`", f"`{param} = none`")
        if budget is not None:
            return Objection("reasoning_tokens", f"`{name}` takes no number of tokens to think", "`reasoning_effort`")
    if "reasoning_effort" in params and not (adaptive(model) or _CLAUDE_EFFORT.search(name)):
        return Objection("reasoning_effort", f"`{name}` takes no `reasoning_effort`", "`reasoning_tokens`")
    if {"reasoning_effort", "reasoning_tokens"} <= set(params):
        return Objection("reasoning_tokens", "Claude takes `reasoning_effort` or `reasoning_tokens`, not both")
    if budget:
        if budget < 1024:
            return Objection("reasoning_tokens", "Claude takes `reasoning_tokens` from 1,024 up")
        if budget >= params.get("max_tokens", 0):
            return Objection(
                "reasoning_tokens", "thinking counts as output: `max_tokens` must be more than `reasoning_tokens`",
                "set `max_tokens` to both together",
            )  # fmt: skip
    if budget or (params.get("reasoning_effort") not in (None, "none") and adaptive(model)):
        if params.get("temperature", 1) != 1:
            return Objection("temperature", "while it thinks, Claude takes temperature 1 only", "`temperature = none`")
        if "top_k" in params:
            return Objection("top_k", "while it thinks, Claude takes no `top_k`")
    if {"temperature", "top_p"} <= set(params) and (_CLAUDE_ONE_OF.search(name) or _CLAUDE_4_6.search(name)):
        return Objection("top_p", f"`{name}` takes `temperature` or `top_p`, not both")
    return None


def _of_gemini(model: Model, params: Mapping[str, Any]) -> Objection | None:
    if {"reasoning_effort", "reasoning_tokens"} <= set(params):
        return Objection("reasoning_tokens", "Gemini takes `reasoning_effort` or `reasoning_tokens`, not both")
    if "reasoning_effort" in params and not _GEMINI_LEVELS.search(model.wire_name):
        return Objection("reasoning_effort", f"`{model.wire_name}` has no levels of thinking", "`reasoning_tokens`")
    if "reasoning_tokens" in params and not thinks(model):
        return Objection("reasoning_tokens", f"`{model.wire_name}` does not think")
    return None


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
    if "max_tokens" not in params:
        return (
            "E732", f"`{model.name}` has no `max_tokens`: a budget cannot be kept",
            "without it one answer may cost anything", "write `max_tokens = 600` in its model block",
        )  # fmt: skip
    beyond = sorted(_BEYOND_BUDGET & set(params.get("extra") or {}))
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
        refuses = service.format == ANTHROPIC and (bool(params.get("reasoning_tokens")) or adaptive(model))
        if not service.prefill or refuses or reasons(model):
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
