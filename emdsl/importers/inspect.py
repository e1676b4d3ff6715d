"""Logs of Inspect (inspect_ai), `.eval` and `.json`, of log versions 1 and 2: every model call that they contain.

An `.eval` file is a zip whose members may be compressed with zstd, which `zipfile` does not support. Its header is
`header.json`, `start.json` in early versions and `_journal/start.json` in a log that did not finish. Samples of early
versions have their events in `transcript`; those of log version 1 have none, only messages. Source: "Log files" in
Inspect's documentation, `log/_log.py`, `log/_recorders/eval.py`, `model/_model_output.py`, and logs that it wrote.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import zstandard

from emdsl.errors import UsageError
from emdsl.importers.answer import (
    CannotImport,
    ImportedAnswer,
    NotImported,
    loads,
    messages_of,
    renamed,
    text_of,
    time_of,
)
from emdsl.importers.reading import UNKNOWN, Entry, array_items, imported, parse, plain_name
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADERS = ("header.json", "start.json", "_journal/start.json")
ZSTD = 93  # in the zip format
MAX_MEMBER = 2**30  # bytes of a sample, unpacked
ATTACHED = "attachment://"
_PARAMS = {
    "temperature": "temperature", "max_tokens": "max_tokens", "top_p": "top_p", "top_k": "top_k",
    "stop_seqs": "stop", "seed": "seed", "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty", "top_logprobs": "top_logprobs", "reasoning_effort": "reasoning_effort",
    "reasoning_tokens": "reasoning_tokens", "reasoning_summary": "reasoning_summary",
}  # fmt: skip
_IGNORED = frozenset((  # settings that change no answer
    "max_retries", "timeout", "attempt_timeout", "max_connections", "adaptive_connections", "cache", "cache_prompt",
    "batch", "logprobs", "reasoning_history", "parallel_tool_calls", "internal_tools", "max_tool_output",
))  # fmt: skip
_FINISH = {
    "stop": "stop", "max_tokens": "length", "length": "length", "model_length": "length", "content_filter": "blocked",
}  # fmt: skip
# Solvers that write messages before the only call; their effect is in the messages of a sample.
_BEFORE = frozenset(("system_message", "user_message", "assistant_message", "prompt_template", "chain_of_thought"))


def read(path: Path) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers of a log, by epoch; raises UsageError if the file is not a log."""
    header: dict[str, Any] = {}
    by_sample: list[tuple[int, str, list[ImportedAnswer | NotImported]]] = []  # epoch, sample, answers
    json_log = plain_name(path).endswith(".json")
    for place, sample in array_items(path, ("samples",), header) if json_log else _members(path, header):
        if isinstance(sample, NotImported):
            by_sample.append((0, "", [sample]))
        else:
            epoch, name = (sample.get("epoch"), sample.get("id")) if isinstance(sample, dict) else (1, "")
            by_sample.append(
                (epoch if isinstance(epoch, int) else 1, str(name), list(_of_sample(sample, header, place)))
            )
    if json_log and not isinstance(header.get("samples"), list):
        raise UsageError(f"`{path}` is not a log of Inspect: it has no `samples`")
    if isinstance(spec := header.get("eval"), dict) and spec.get("model_base_url"):
        yield NotImported("the model was served by a custom server (`model_base_url`)", str(path))
        return
    if not by_sample:
        raise UsageError(f"`{path}` has no samples: it was written with `--no-log-samples`, or nothing was evaluated")
    for _, _, answers in sorted(by_sample, key=lambda one: one[:2]):
        yield from answers


def _of_sample(sample: Any, header: dict[str, Any], place: str) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers of a sample: of its model calls, or of its messages if it has no events."""
    if not isinstance(sample, dict) or not isinstance(sample.get("events"), list | None):
        yield NotImported(UNKNOWN, place)
        return
    if isinstance(sample.get("transcript"), dict):  # of the first logs with events
        old = sample["transcript"]
        sample = {"events": old.get("events"), "attachments": old.get("content"), **sample}
    calls = [
        Entry(place, (n, e))
        for n, e in enumerate(
            x for x in sample.get("events") or () if isinstance(x, dict) and x.get("event") == "model"
        )
    ]
    if calls:
        yield from imported(calls, lambda call: _answer(call[1], sample, call[0]))
    else:
        yield from imported([Entry(place, sample)], lambda one: _of_messages(one, header))


def _answer(event: dict[str, Any], sample: dict[str, Any], n: int) -> ImportedAnswer:
    if event.get("error") or not event.get("output"):
        raise CannotImport("the call failed, without an answer")
    if event.get("cache") == "read":
        raise CannotImport("the answer was read from Inspect's cache, so it is not a new draw")
    if event.get("tools"):
        raise CannotImport("the request offered tools to the model")
    if not isinstance(event.get("model"), str):
        raise CannotImport("the call does not name its model")
    output = event["output"]
    return ImportedAnswer(
        model=event["model"],
        messages=messages_of([_attached(m, sample) for m in _input(event, sample)]),
        params=_params(event),
        response=replace(
            _response(output, sample), request_id=_identity(event, sample, n),
            answered_at=time_of(event.get("completed") or event.get("timestamp")),
        ),
    )  # fmt: skip


def _response(output: dict[str, Any], sample: dict[str, Any]) -> Response:
    """Return the answer in an output; raises CannotImport."""
    choices = output.get("choices") or []
    if len(choices) != 1:
        raise CannotImport("the reply does not have exactly one choice")
    text, reasoning = _text_and_reasoning(choices[0].get("message") or {}, sample)
    usage = output.get("usage") or {}
    return Response(
        text=text, reasoning=reasoning, model=output.get("model"),
        finish=_FINISH.get(str(choices[0].get("stop_reason")), "other"),
        usage=Usage(
            input_tokens=usage.get("input_tokens"), output_tokens=usage.get("output_tokens"),
            reasoning_tokens=usage.get("reasoning_tokens"), cached_tokens=usage.get("input_tokens_cache_read"),
        ),
        logprobs=_logprobs(choices[0]),
        elapsed_s=float(output.get("time") or 0),
    )  # fmt: skip


def _of_messages(sample: dict[str, Any], header: dict[str, Any]) -> ImportedAnswer:
    """Return the answer of a sample without events, if its messages show its only request; raises CannotImport."""
    spec, plan, output = header.get("eval") or {}, header.get("plan") or {}, sample.get("output") or {}
    *request, last = sample.get("messages") or [{}]
    steps = [
        (s.get("solver"), {k: v for k, v in (s.get("params") or {}).items() if v}) for s in plan.get("steps") or ()
    ]
    if not request or last.get("role") != "assistant" or not output.get("choices"):
        raise CannotImport("the log has no model calls: only its `events` contain requests")
    if not steps or steps[-1] != ("generate", {}) or not all(name in _BEFORE for name, _ in steps[:-1]):
        raise CannotImport("the log has no model calls, and its solvers may have made several")
    if any(m.get("role") == "assistant" and m.get("source") == "generate" for m in request):
        raise CannotImport("the log has no model calls, and its messages have several answers")
    if spec.get("model_args") or spec.get("model_generate_config"):
        raise CannotImport("the log has no model calls, and the settings of its model are not certain")
    params = params_of(plan.get("config") or {})
    if "max_tokens" not in params:
        raise CannotImport("the log does not record `max_tokens`, and Inspect's versions differ in their default")
    response = _response(output, sample)
    if _text_and_reasoning(last, sample)[0] != response.text or not isinstance(spec.get("model"), str):
        raise CannotImport("the log has no model calls, and its last message is not the answer")
    return ImportedAnswer(
        model=spec["model"], messages=messages_of([_attached(m, sample) for m in request]), params=params,
        response=replace(
            response, request_id=f"{sample['uuid']}:0" if isinstance(sample.get("uuid"), str) else None,
            answered_at=time_of((header.get("stats") or {}).get("completed_at") or spec.get("created")),
        ),
    )  # fmt: skip


def _params(event: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a call."""
    params = params_of(event.get("config") or {})
    if "max_tokens" not in params and event["model"].startswith("anthropic/"):
        sent = ((event.get("call") or {}).get("request") or {}).get("max_tokens")
        if type(sent) is not int:
            raise CannotImport("the log does not record `max_tokens`, which Anthropic requires")
        params["max_tokens"] = sent
    return params


def params_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a GenerateConfig in our names; raises CannotImport."""
    return renamed({k: v for k, v in config.items() if (k, v) != ("num_choices", 1)}, _PARAMS, _IGNORED)


def _identity(event: dict[str, Any], sample: dict[str, Any], n: int) -> str | None:
    """Return Inspect's id of a call, which copies of a log share."""
    if isinstance(event.get("uuid"), str):
        return str(event["uuid"])
    return f"{sample['uuid']}:{n}" if isinstance(sample.get("uuid"), str) else None


def _input(event: dict[str, Any], sample: dict[str, Any]) -> list[Any]:
    """Return the messages of a call: its own, or ranges of those that the sample stores once."""
    refs = event.get("input_refs")
    if not refs:
        return list(event.get("input") or [])
    shared = (sample.get("events_data") or {}).get("messages") or []
    return [m for first, last in refs for m in shared[first:last]]


def _attached(message: Any, sample: dict[str, Any]) -> Any:
    """Return a message with its attachments, long texts that the sample stores separately, inserted."""
    if isinstance(message, dict):
        return {k: _attached(v, sample) for k, v in message.items()}
    if isinstance(message, list):
        return [_attached(v, sample) for v in message]
    if isinstance(message, str) and message.startswith(ATTACHED):
        text = (sample.get("attachments") or {}).get(message.removeprefix(ATTACHED))
        if text is None:
            raise CannotImport("an attachment of the log is missing")
        return text
    return message


def _text_and_reasoning(message: dict[str, Any], sample: dict[str, Any]) -> tuple[str, str | None]:
    message = _attached(message, sample)
    if message.get("tool_calls"):
        raise CannotImport("the entry contains tool calls")
    content, thought = message.get("content"), message.get("reasoning")  # the last: of versions 0.3.59 to 0.3.63
    if not isinstance(content, list):
        return text_of(content), thought if isinstance(thought, str) and thought else None
    thoughts = [p for p in content if isinstance(p, dict) and p.get("type") == "reasoning"]
    readable = [
        p for p in thoughts if not p.get("redacted")
    ]  # an answer with encrypted reasoning is imported without it
    reasoning = "".join(str(p.get("reasoning", "")) for p in readable)
    return text_of([p for p in content if p not in thoughts]), reasoning or None


def _logprobs(choice: dict[str, Any]) -> Any:
    positions = (choice.get("logprobs") or {}).get("content") or []
    candidates = tuple(
        tuple((str(c["token"]), float(c["logprob"])) for c in at["top_logprobs"])
        for at in positions
        if at.get("top_logprobs")
    )
    return candidates or None


def _members(path: Path, header: dict[str, Any]) -> Iterator[Entry]:
    """Yield the samples of an `.eval` file; fills the header first."""
    try:
        with zipfile.ZipFile(path) as log, path.open("rb") as raw:
            names = {i.filename: i for i in log.infolist()}
            start = next((n for n in HEADERS if n in names), None)
            if start is None:
                raise UsageError(f"`{path}` has no `header.json`: it is not a log of Inspect")
            head = loads(_member(log, raw, names[start]), f"`{path}`, {start}")
            header |= head if isinstance(head, dict) else {}
            for name, info in names.items():
                if name.startswith("samples/") and name.endswith(".json"):
                    yield _sample(log, raw, info, f"{path}:{name}")
    except (OSError, zipfile.BadZipFile, zstandard.ZstdError, UnicodeDecodeError) as error:
        raise UsageError(f"`{path}` is not a log of Inspect: {_reason(error)}") from None


def _sample(log: zipfile.ZipFile, raw: Any, info: zipfile.ZipInfo, place: str) -> Entry:
    try:
        return Entry(place, parse(_member(log, raw, info)))
    except CannotImport as damaged:
        return Entry(place, NotImported(str(damaged), place))
    except (OSError, zipfile.BadZipFile, zlib.error, zstandard.ZstdError, UnicodeDecodeError) as error:
        return Entry(place, NotImported(f"a member is damaged: {_reason(error)}", place))


def _reason(error: Exception) -> str:
    match error:
        case OSError(strerror=str(reason)):
            return reason
        case UnicodeDecodeError():
            return "a member is not UTF-8 text"
        case _:
            return str(error)


def _member(log: zipfile.ZipFile, raw: Any, info: zipfile.ZipInfo) -> str:
    """Return the text of a member."""
    if info.file_size > MAX_MEMBER:
        raise OSError(f"{info.filename} is larger than {MAX_MEMBER:,} bytes")
    if info.compress_type != ZSTD:
        return log.read(info).decode()
    raw.seek(info.header_offset)
    name_length, extra_length = struct.unpack("<HH", raw.read(30)[26:30])  # of the zip format's local header
    raw.seek(name_length + extra_length, 1)
    packed = raw.read(info.compress_size)
    return zstandard.ZstdDecompressor().decompressobj().decompress(packed).decode()
