"""The body of a request from its settings, by wire format. Two settings that would become one field are an error.

A key holds every setting. If two of them became one field, one would be lost, and an axis over it would pay for equal
requests. So settings and `extra` are merged field by field, and two settings for one field are an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING, Any

from emdsl.capability import (
    enforces_bounds,
    returns_thoughts,
    takes_max_completion_tokens,
    thinks_adaptively,
    uses_responses_api,
)
from emdsl.json_schema import SCHEMA_NAME, without_bounds
from emdsl.service import ANTHROPIC, GOOGLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.query import Model

RESPONSES = "responses"  # OpenAI's other format
OURS = ""  # in place of a setting: sent by default, and any setting may replace it
EXTRA = "extra"
SettingFields = tuple[str, Mapping[str, Any]]  # a setting and its fields
Path = tuple[str, ...]  # of a field: its names from the top of the body
_ONE_OF: dict[Path, Path] = {  # servers support one of the two: each limits the reasoning, or the answer
    ("reasoning", "maxtokens"): ("reasoning", "effort"),
    ("generationconfig", "thinkingconfig", "thinkinglevel"): ("generationconfig", "thinkingconfig", "thinkingbudget"),
    ("maxcompletiontokens",): ("maxtokens",),
    ("maxoutputtokens",): ("maxtokens",),
}
_ANTHROPIC = {"stop": "stop_sequences"}
_GOOGLE = {
    "max_tokens": "maxOutputTokens", "top_p": "topP", "top_k": "topK", "stop": "stopSequences",
    "frequency_penalty": "frequencyPenalty", "presence_penalty": "presencePenalty", "temperature": "temperature",
}  # fmt: skip
LOGPROBS = "message.output_text.logprobs"


@dataclass(frozen=True, slots=True)
class Whole:
    """An object that is sent unchanged: its names are those of a study, not fields of a format."""

    value: Mapping[str, Any]


class FieldConflict(ValueError):
    """Two settings become one field: `settings` are both, `path` is the field, as `a.b`."""

    def __init__(self, path: str, settings: tuple[str, str]) -> None:
        super().__init__(f"`{settings[0]}` and `{settings[1]}` are both sent as `{path}`")
        self.path, self.settings = path, settings


def format_of(model: Model, params: Mapping[str, Any]) -> str:
    """Return the wire format of a model's requests."""
    return RESPONSES if uses_responses_api(model, params) else model.service.format


def merge_fields(parts: Iterable[SettingFields]) -> dict[str, Any]:
    """Return the fields of all settings as one object; raises FieldConflict if two settings become one field."""
    body: dict[str, Any] = {}
    owners: dict[Path, tuple[str, Path]] = {}  # by canonical path: the setting of a field and its path
    for setting, fields in parts:
        for path, value in _leaves(fields):
            canonical = _canonical(path)
            overlapping = [p for p in owners if p[: len(canonical)] == canonical or canonical[: len(p)] == p]
            if overlapping and (setting == OURS or isinstance(value, Mapping)):  # an empty object says nothing
                continue
            for other in overlapping:
                owner, at = owners[other]
                if owner == setting or (at == path and _get(body, at) == value):  # nothing is lost
                    continue
                del owners[other]
                if owner != OURS:
                    raise FieldConflict(".".join(path), (owner, setting))
                _remove(body, at)
            _put(body, path, value)
            owners[canonical] = setting, path
    return body


def field_conflicts(model: Model, params: Mapping[str, Any]) -> Iterator[FieldConflict]:
    """Yield the conflicts between the settings of a request, at most one for each pair."""
    parts: dict[str, list[SettingFields]] = {}
    for setting, fields in setting_fields(model, params, format_of(model, params)):
        parts.setdefault(setting, []).append((setting, fields))
    parts.pop(OURS, None)
    for one, two in combinations(parts.values(), 2):
        try:
            merge_fields((*one, *two))
        except FieldConflict as conflict:
            yield conflict


def as_sent(body: Mapping[str, Any]) -> str:
    """Return fields as one text, equal for bodies that a server cannot tell apart."""
    return json.dumps(body, default=_in_order, sort_keys=True)


def _in_order(value: Any) -> Any:
    """Convert a value that JSON does not know; a schema to a text: the order of its fields changes answers."""
    return json.dumps(value.value, default=sendable) if isinstance(value, Whole) else sendable(value)


def sendable(value: Any) -> Any:
    """Convert a value that JSON does not know: an exact number becomes the nearest float."""
    if isinstance(value, Whole):
        return dict(value.value)
    if isinstance(value, Decimal):
        return float(value)  # 0.7 is sent as 0.7: the shortest text that reads back the same
    raise TypeError(f"{type(value).__name__} in a request")


def _leaves(fields: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _canonical(path: Path) -> Path:
    """Return the path that all spellings of a field share: names without case and `_`."""
    plain = tuple(map(_plain, path))
    return _ONE_OF.get(plain, plain)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _get(body: dict[str, Any], path: Path) -> Any:
    for name in path:
        body = body[name]
    return body


def _put(body: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:  # an object that is there in another spelling is the same
        body = body.setdefault(next((n for n in body if _plain(n) == _plain(name)), name), {})
    body[path[-1]] = value


def _remove(body: dict[str, Any], path: Path) -> None:
    for name in path[:-1]:
        body = body[name]
    del body[path[-1]]


def setting_fields(
    model: Model, params: Mapping[str, Any], format_: str, *, sample: int = 0, prefilled: bool = False
) -> Iterator[SettingFields]:
    """Yield the fields of each setting, in the order of the settings, `extra` last; `sample` is added to the seed.

    `prefilled`: the last message is the assistant's, and the answer continues it.
    """
    match format_:
        case "responses":
            parts = _responses(model, params)
        case name if name == ANTHROPIC:
            parts = _anthropic(model, params)
        case name if name == GOOGLE:
            parts = _google(model, params, sample)
        case _:
            parts = _openai(model, params, sample, prefilled=prefilled)
    yield from parts
    extra = params.get(EXTRA)
    if extra:
        yield EXTRA, extra


def _schema(model: Model, schema: Mapping[str, Any]) -> Whole:
    """Return the schema of `strict = true` as a model's provider accepts it."""
    return Whole(schema if enforces_bounds(model) else without_bounds(schema))


def _openai(model: Model, params: Mapping[str, Any], sample: int, *, prefilled: bool) -> Iterator[SettingFields]:
    service = model.service.name
    if service in ("vllm", "sglang") and prefilled:
        yield OURS, {"continue_final_message": True}
        if service == "vllm":
            yield OURS, {"add_generation_prompt": False}
    if service == "openrouter":
        yield OURS, {"provider": {"require_parameters": True}}
    for name, value in params.items():
        match name:
            case "seed":
                yield name, {"random_seed" if service == "mistral" else "seed": value + sample}
            case "top_logprobs" if service == "together":
                yield name, {"logprobs": value}
            case "top_logprobs":
                yield name, {"logprobs": True, "top_logprobs": value}
            case "json_schema":
                schema = {"name": SCHEMA_NAME, "strict": True, "schema": _schema(model, value)}
                yield name, {"response_format": {"type": "json_schema", "json_schema": schema}}
            case "max_tokens" if takes_max_completion_tokens(model):
                yield name, {"max_completion_tokens": value}
            case "reasoning_effort" if service == "openrouter":
                yield name, {"reasoning": {"effort": value}}
            case "reasoning_tokens" if service == "openrouter":
                yield name, {"reasoning": {"max_tokens": value} if value else {"effort": "none"}}
            case "reasoning_tokens" if service == "litellm":
                yield name, {"thinking": _thinking(value)}
            case "repetition_penalty" if service == "llama-cpp":
                yield name, {"repeat_penalty": value}
            case "extra":
                pass
            case _:
                yield name, {name: value}


def _responses(model: Model, params: Mapping[str, Any]) -> Iterator[SettingFields]:
    yield OURS, {"store": False}
    for name, value in params.items():
        match name:
            case "max_tokens":
                yield name, {"max_output_tokens": value}
            case "json_schema":
                schema = {"type": "json_schema", "name": SCHEMA_NAME, "strict": True, "schema": _schema(model, value)}
                yield name, {"text": {"format": schema}}
            case "top_logprobs":
                yield name, {"top_logprobs": value, "include": [LOGPROBS]}
            case "reasoning_effort":
                yield name, {"reasoning": {"effort": value}}
            case "reasoning_summary":
                yield name, {"reasoning": {"summary": value}}
            case "extra":
                pass
            case _:
                yield name, {name: value}


def _anthropic(model: Model, params: Mapping[str, Any]) -> Iterator[SettingFields]:
    for name, value in params.items():
        match name:
            case "json_schema":
                yield name, {"output_config": {"format": {"type": "json_schema", "schema": _schema(model, value)}}}
            case "reasoning_tokens":
                yield name, {"thinking": _thinking(value)}
            case "reasoning_effort" if value == "none":
                yield name, {"thinking": {"type": "disabled"}}
            case "reasoning_effort":
                yield name, {"output_config": {"effort": value}}
                if thinks_adaptively(model):
                    yield name, {"thinking": {"type": "adaptive"}}
                    yield OURS, {"thinking": {"display": "summarized"}}
            case "extra":
                pass
            case _:
                yield name, {_ANTHROPIC.get(name, name): value}


def _google(model: Model, params: Mapping[str, Any], sample: int) -> Iterator[SettingFields]:
    budget = params.get("reasoning_tokens", _budget_in_extra(params))
    if returns_thoughts(model) and budget != 0:  # else there is nothing to show
        yield OURS, {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    for name, value in params.items():
        match name:
            case "seed":
                config = {"seed": value + sample}
            case "top_logprobs":
                config = {"responseLogprobs": True, "logprobs": value}
            case "json_schema":
                config = {"responseMimeType": "application/json", "responseJsonSchema": _schema(model, value)}
            case "reasoning_tokens":
                config = {"thinkingConfig": {"thinkingBudget": value}}
            case "reasoning_effort":
                config = {"thinkingConfig": {"thinkingLevel": value}}
            case "extra":
                continue
            case _:
                config = {_GOOGLE[name]: value}
        yield name, {"generationConfig": config}


def _budget_in_extra(params: Mapping[str, Any]) -> Any:
    whole = (params.get(EXTRA) or {}).get("generationConfig")
    config = whole.get("thinkingConfig") if isinstance(whole, Mapping) else None
    return config.get("thinkingBudget") if isinstance(config, Mapping) else None


def _thinking(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens} if tokens else {"type": "disabled"}
