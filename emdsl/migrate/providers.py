"""Providers of promptfoo as models: their ids, and the settings that a study has too.

Source: promptfoo's documentation, "Providers", read 2026-11.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emdsl.migrate.writing import quoted, shown

if TYPE_CHECKING:
    from emdsl.migrate.draft import Draft

_SERVICES = {  # of ids, and the words that may follow
    "openai": ("openai", ("chat", "responses")), "anthropic": ("anthropic", ("messages",)), "google": ("google", ()),
    "openrouter": ("openrouter", ()), "togetherai": ("together", ()), "groq": ("groq", ()), "mistral": ("mistral", ()),
    "deepseek": ("deepseek", ()), "xai": ("xai", ()), "ollama": ("ollama", ("chat",)), "vllm": ("vllm", ()),
    "litellm": ("litellm", ()),
}  # fmt: skip
_OTHER_USES = ("completion", "embedding", "embeddings", "image", "realtime", "moderation", "assistant", "transcription")
_NUMBERS = {  # settings of promptfoo with a number, by our names
    "temperature": "temperature", "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens", "maxOutputTokens": "max_tokens", "top_p": "top_p", "topP": "top_p",
    "top_k": "top_k", "topK": "top_k", "seed": "seed", "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}  # fmt: skip

_COUNT, _SHARE, _ANY = r"[1-9]\d{0,8}", r"0(\.\d{1,6})?|1(\.0+)?", r"-?[01](\.\d{1,6})?|-?2(\.0+)?"
_FORMS = {
    "max_tokens": _COUNT,
    "top_k": _COUNT,
    "seed": r"\d{1,9}",
    "top_p": _SHARE,
    "temperature": _ANY.replace("-?", ""),
}


def use_of(provider: str) -> str | None:
    """Return the `provider/model` of an id such as `openai:chat:gpt-4.1`; None for any other.

    >>> use_of("openai:chat:gpt-4.1"), use_of("ollama:llama3:8b"), use_of("file://mine.py")
    ('openai/gpt-4.1', 'ollama/llama3:8b', None)
    """
    service, _, model = provider.partition(":")
    if service not in _SERVICES or not model or model.startswith("//"):
        return None
    name, words = _SERVICES[service]
    first, _, rest = model.partition(":")
    if first in _OTHER_USES:
        return None
    return f"{name}/{rest if first in words and rest else model}"


def models_of(value: Any, draft: Draft) -> list[tuple[str, dict[str, str]]]:
    """Return the models of the field `providers`, each with its settings; others are left out."""
    models: list[tuple[str, dict[str, str]]] = []
    for provider, options in _entries(value):
        use = use_of(provider)
        place = f"provider `{shown(provider)}`"
        if use is None:
            draft.leave_out(place, "not a model that a study can use; name one with --model")
            continue
        config = options.get("config") or {}
        settings = _settings(config if isinstance(config, dict) else {}, place, draft)
        for field in options:
            if field not in ("id", "label", "config"):
                draft.leave_out(f"`{shown(field)}` of {place}", "a model of a study has no such setting")
        unset = [f"`{name}`" for name in ("temperature", "max_tokens") if name not in settings]
        if unset:
            draft.leave_out(f"{' and '.join(unset)} of {place}", "not in the file, so the provider's defaults hold")
        if (use, settings) not in models:
            models.append((use, settings))
    return models


def _entries(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return ids with their options: a text, an object with an `id`, or an object with the id as its one field."""
    entries: list[tuple[str, dict[str, Any]]] = []
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, str):
            entries.append((item, {}))
        elif isinstance(item, dict) and isinstance(item.get("id"), str):
            entries.append((item["id"], item))
        elif isinstance(item, dict):
            entries += [(str(k), v if isinstance(v, dict) else {}) for k, v in item.items()]
    return entries


def _settings(config: dict[str, Any], place: str, draft: Draft) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name, value in config.items():
        if name in _NUMBERS and re.fullmatch(_FORMS.get(_NUMBERS[name], _ANY), str(value)):
            settings[_NUMBERS[name]] = str(value)
        elif name == "stop" and isinstance(value, str | tuple):
            texts = (value,) if isinstance(value, str) else value
            settings["stop"] = f"[{', '.join(quoted(str(t)) for t in texts)}]"
        elif name == "reasoning_effort" and isinstance(value, str):
            settings["reasoning_effort"] = quoted(value)
        elif name in ("apiBaseUrl", "basePath") and isinstance(value, str):
            settings["url"] = quoted(value)
        elif name == "apiKeyEnvar" and re.fullmatch(r"[A-Za-z_]\w*", str(value)):
            settings["key"] = f"env.{value}"
        elif name == "apiKey":
            draft.leave_out(f"the API key of {place}", "a study names its variable: `key = env.NAME`")
        else:
            draft.leave_out(f"`{shown(name)}` of {place}", "a model of a study has no such setting")
    return settings
