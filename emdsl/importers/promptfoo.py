"""Results of promptfoo, `promptfoo eval -o results.json`: answers of OpenAI's chat API and Anthropic's messages API.

A result has its prompt as it was rendered. The settings of its provider are in the result or in the `config` of the
file; promptfoo sends a temperature and a limit of tokens even if neither has them, and reads them from environment
variables that no file records. Source: promptfoo 0.100 to 0.123, `src/types/index.ts`, `src/evaluator.ts`,
`src/providers/openai/chat.ts`, `src/providers/anthropic/messages.ts` and `util.ts`, `src/providers/shared.ts`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.importers.answer import CannotImport, ImportedAnswer, NotImported, renamed, time_of, wire_messages
from emdsl.importers.reading import array_items, imported
from emdsl.prompt import Message
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

VERSIONS = (3, 4)
RESULTS = ("results", "results")  # the fields from the top of a file to its results
DEFAULTS = {"temperature": 0, "max_tokens": 1024}  # that promptfoo sends, unless the settings or a variable differ
_OPENAI = re.compile(r"openai:(?:chat:(.+)|((?:gpt-4|gpt-3\.5-turbo(?!-instruct)|chatgpt-)[^:]*))")
_ANTHROPIC = re.compile(r"anthropic:(?:messages:(.+)|(claude-[^:]*))")
_REASONS = re.compile(r"^(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d))")  # of OpenAI's models
_NEW_CLAUDE = re.compile(r"claude-(?:(?:opus|sonnet|haiku)-(?:4-[5-9]|[5-9])|fable|mythos)")
_PARAMS = {
    "openai": {
        "temperature": "temperature", "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens",
        "top_p": "top_p", "seed": "seed", "stop": "stop", "frequency_penalty": "frequency_penalty",
        "presence_penalty": "presence_penalty", "reasoning_effort": "reasoning_effort",
    },
    "anthropic": {"temperature": "temperature", "max_tokens": "max_tokens", "stop_sequences": "stop"},
}  # fmt: skip
_IGNORED = frozenset((  # settings that change no answer; the last two lines are of tests
    "apiKey", "apiKeyEnvar", "organization", "cost", "inputCost", "outputCost", "maxRetries", "showThinking", "user",
    "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "cache_control", "omitDefaults", "basePath",
    "provider", "rubricPrompt", "factuality", "storeOutputAs", "transformVars", "prefix", "suffix", "runSerially",
    "disableConversationVar", "disableVarExpansion", "disableDefaultAsserts", "repeat",
))  # fmt: skip
_OF_REASONING = ("max_completion_tokens", "reasoning_effort")  # sent to OpenAI's reasoning models only
_TRANSFORMS = ("transform", "postprocess")
_FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool", "function_call": "tool"}
_SPEAKS = re.compile(r"(?:system|user|assistant|thinking):")  # at the beginning of a line of a prompt for Anthropic


@dataclass(frozen=True, slots=True)
class _Provider:
    """A provider of the `config` of a file."""

    id: str
    label: str | None
    settings: Mapping[str, Any]
    transformed: bool = False
    variables: tuple[str, ...] = ()  # that it sets and whose effect is unknown


def read(path: Path, stated: Mapping[str, Any]) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers of a file of results.

    Args:
        path: The file. It is read twice, because the settings follow the results.
        stated: Parameters that replace those in the file.

    Raises:
        UsageError: The file cannot be opened, or is not a file of results.
    """
    header: dict[str, Any] = {}
    n = sum(1 for _ in array_items(path, RESULTS, header))
    results = header.get("results")
    if not isinstance(results, dict) or "results" not in results:
        raise UsageError(f"`{path}` is not a file of promptfoo's results: it has no `results.results`")
    if (version := results.get("version", VERSIONS[0])) not in VERSIONS:
        raise UsageError(f"`{path}` has version {version} of promptfoo's results; 3 and 4 are read. Export it again")
    if n:
        file = _File(header, stated)
        yield from imported(array_items(path, RESULTS, {}), file.answer)


class _File:
    """The parts of a file that all its results share."""

    def __init__(self, header: Mapping[str, Any], stated: Mapping[str, Any]) -> None:
        config = header.get("config")
        config = config if isinstance(config, dict) else {}
        self._stated = stated
        self._time = time_of(header["results"].get("timestamp") or header.get("createdAt"))
        self._providers = list(_providers(config.get("providers")))
        self._variables = _variables(config.get("env"))

    def answer(self, row: Any) -> ImportedAnswer:
        """Return the answer of a result; raises CannotImport."""
        reply, test = row.get("response") or {}, row.get("testCase") or {}
        _check_reply(row, reply, test)
        own = row["prompt"].get("config") or {}
        provider = self._provider(row.get("provider"))
        recorded = row["provider"].get("config") if isinstance(row["provider"], dict) else None
        settings = {**provider.settings, **(recorded or {}), **own, **(test.get("options") or {})}
        if provider.transformed or any(settings.get(name) for name in _TRANSFORMS):
            raise CannotImport("the output was changed by a `transform`, so the answer is unknown")
        service, name = _model(provider.id)
        if unknown := self._variables + provider.variables:
            raise CannotImport(f"the environment of the evaluation sets `{unknown[0]}`, whose effect is unknown")
        params = self._params(service, name, settings)
        usage = reply.get("tokenUsage") or {}
        return ImportedAnswer(
            model=f"{service}/{name}", params=params, messages=_messages(row["prompt"].get("raw"), service),
            response=Response(
                text=_text(reply.get("output"), settings), finish=_FINISH.get(str(reply.get("finishReason")), "other"),
                request_id=row["id"] if isinstance(row.get("id"), str) else None,
                usage=Usage(
                    input_tokens=_count(usage.get("prompt")), output_tokens=_count(usage.get("completion")),
                    reasoning_tokens=_count((usage.get("completionDetails") or {}).get("reasoning")),
                ),
                answered_at=self._time, elapsed_s=float(row.get("latencyMs") or 0) / 1000,
            ),
        )  # fmt: skip

    def _provider(self, given: Any) -> _Provider:
        """Return the provider of a result; raises CannotImport if its settings are not in the file."""
        name, label = (given, None) if isinstance(given, str) else (given.get("id"), given.get("label") or None)
        named = [p for p in self._providers if p.id == name and (label is None or p.label in (None, label))]
        if len(named) > 1 and any(p.label == label for p in named):
            named = [p for p in named if p.label == label]
        if not named or any(p != named[0] for p in named):
            raise CannotImport(f"the settings of the provider `{name}` are not in the file")
        return named[0]

    def _params(self, service: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that were sent; raises CannotImport if one of them is unknown."""
        if any(settings.get(field) for field in ("apiBaseUrl", "apiHost")):
            raise CannotImport("the model was served by a custom server (`apiBaseUrl`)")
        params = renamed(settings, _PARAMS[service], _IGNORED)
        if service == "openai" and _REASONS.match(name):
            if unsure := [n for n in ("temperature", "max_tokens") if settings.get(n) is not None]:
                raise CannotImport(f"promptfoo's versions differ in whether they send `{unsure[0]}` to {name}")
        elif service == "openai" and (unsent := [n for n in _OF_REASONING if settings.get(n) is not None]):
            raise CannotImport(f"promptfoo does not send `{unsent[0]}` to {name}")
        elif service == "anthropic" and _NEW_CLAUDE.search(name) and not self._stated.keys() >= DEFAULTS.keys():
            raise CannotImport(
                f"promptfoo's versions differ in the `temperature` that they send to {name}: state it and the "
                "`max_tokens`, such as --param temperature=null --param max_tokens=1024"
            )
        elif not (settings.get("omitDefaults") and service == "openai"):
            _check_recorded(params.keys() | self._stated.keys())
        return {k: v for k, v in (params | dict(self._stated)).items() if v is not None}


def _check_recorded(names: AbstractSet[str]) -> None:
    """Raise CannotImport if a parameter that promptfoo always sends is not among those that are known."""
    missing = next((n for n in DEFAULTS if n not in names), None)
    if missing is not None:
        raise CannotImport(
            f"`{missing}` is not recorded: promptfoo sends {DEFAULTS[missing]} unless an environment variable is set. "
            f"State it, such as --param {missing}={DEFAULTS[missing]}"
        )


def _check_reply(row: Mapping[str, Any], reply: Mapping[str, Any], test: Mapping[str, Any]) -> None:
    """Raise CannotImport for a result that is not a new answer of its provider to its prompt."""
    meta = reply.get("metadata") or {}
    if reply.get("error") or "output" not in reply:
        raise CannotImport("the request failed, without an answer")
    if reply.get("cached"):
        raise CannotImport("the answer was read from promptfoo's cache, so it is not a new draw")
    if test.get("provider") or test.get("providerOutput"):
        raise CannotImport("the test has a provider or an output of its own")
    if meta.get("redteamFinalPrompt"):
        raise CannotImport("a red-team strategy sent another prompt")
    if reply.get("isRefusal") or reply.get("finishReason") == "content_filter":
        raise CannotImport("the answer was refused or filtered, and its text may be promptfoo's own")
    if not isinstance(row.get("prompt"), dict) or not isinstance(row["prompt"].get("raw"), str):
        raise CannotImport("the result does not contain its prompt")


def _providers(given: Any) -> Iterator[_Provider]:
    """Yield the providers of a `config`: names, objects with an `id`, or objects with the name as their only field."""
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, str):
            yield _Provider(one, None, {})
        elif isinstance(one, dict):
            name, options = (one["id"], one) if "id" in one else next(iter(one.items()), ("", {}))
            if isinstance(name, str) and isinstance(options, dict):
                settings = options.get("config")
                yield _Provider(
                    str(options.get("id") or name), options.get("label"),
                    settings if isinstance(settings, dict) else {}, bool(options.get("transform")),
                    _variables(options.get("env")),
                )  # fmt: skip


def _variables(env: Any) -> tuple[str, ...]:
    """Return the variables of an environment that may change requests, in alphabetical order."""
    names = env if isinstance(env, dict) else {}
    relevant = (n for n in names if n.startswith(("OPENAI_", "ANTHROPIC_")))
    return tuple(sorted(n for n in relevant if not n.endswith(("_KEY", "_ORGANIZATION"))))


def _model(provider: str) -> tuple[str, str]:
    """Return the service and the model of a provider; raises CannotImport for one whose requests are unknown."""
    for service, pattern in (("openai", _OPENAI), ("anthropic", _ANTHROPIC)):
        if match := pattern.fullmatch(provider):
            return service, match[1] or match[2]
    raise CannotImport(f"the requests of the provider `{provider}` are not known exactly")


def _messages(raw: Any, service: str) -> tuple[Message, ...]:
    """Return the messages of a rendered prompt, as promptfoo makes them; raises CannotImport."""
    if raw.strip().startswith("- role:"):
        raise CannotImport("the prompt is YAML")
    try:
        chat = json.loads(raw)
    except (ValueError, RecursionError):
        if service == "anthropic" and any(x != x.strip() or not x or _SPEAKS.match(x) for x in raw.split("\n")):
            raise CannotImport("promptfoo changes the lines of a prompt to Anthropic") from None
        return (Message("user", raw),)
    if not isinstance(chat, list):
        raise CannotImport("the prompt is JSON, but not a list of messages")
    messages = wire_messages(chat)
    if service == "anthropic" and any(m.role == "system" for m in messages[1:]):
        raise CannotImport("promptfoo sends the first system message to Anthropic alone")
    return messages


def _text(output: Any, settings: Mapping[str, Any]) -> str:
    if not isinstance(output, str):
        raise CannotImport("the output is not a text")
    if output.startswith(("Thinking: ", "Redacted Thinking: ")) and settings.get("showThinking") is not False:
        raise CannotImport("the output contains the reasoning beside the answer")
    return output


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None
