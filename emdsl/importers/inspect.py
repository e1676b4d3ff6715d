"""Logs of Inspect (inspect_ai), `.eval` and `.json`: every model call that they contain.

An `.eval` file is a zip whose members may be compressed with zstd, which `zipfile` does not support. Source: "Log
files" in Inspect's documentation, and logs that it wrote.
"""

from __future__ import annotations

import struct
import zipfile
from datetime import datetime
from typing import TYPE_CHECKING, Any

import zstandard

from emdsl.errors import UsageError
from emdsl.importers.answer import (
    CannotImport,
    ImportedAnswer,
    NotImported,
    loads,
    messages_of,
    read_text,
    renamed,
    text_of,
)
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
_FINISH = {"stop": "stop", "max_tokens": "length", "model_length": "length", "content_filter": "blocked"}


def read(path: Path) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers of a log, by epoch; raises UsageError if the file is not a log."""
    header, samples = _json_log(path) if path.suffix.lower() == ".json" else _eval_log(path)
    if (header.get("eval") or {}).get("model_base_url"):
        yield NotImported("the model was served by a custom server (`model_base_url`)")
        return
    if not samples:
        raise UsageError(f"`{path}` has no samples: it was written with `--no-log-samples`, or nothing was evaluated")
    for sample in sorted(samples, key=lambda s: (s.get("epoch", 1), str(s.get("id")))):
        calls = [e for e in sample.get("events") or () if isinstance(e, dict) and e.get("event") == "model"]
        if not calls:
            yield NotImported("the log has no model calls: only its `events` contain requests")
        for n, event in enumerate(calls):
            try:
                yield _answer(event, sample, n)
            except CannotImport as reason:
                yield NotImported(str(reason))


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
    choices = output.get("choices") or []
    if len(choices) != 1:
        raise CannotImport("the reply does not have exactly one choice")
    params = renamed(event.get("config") or {}, _PARAMS, _IGNORED)
    text, reasoning = _text_and_reasoning(choices[0].get("message") or {}, sample)
    usage = output.get("usage") or {}
    return ImportedAnswer(
        model=event["model"],
        messages=messages_of([_attached(m, sample) for m in _input(event, sample)]),
        params=params,
        response=Response(
            text=text, reasoning=reasoning, model=output.get("model"),
            finish=_FINISH.get(str(choices[0].get("stop_reason")), "other"),
            usage=Usage(
                input_tokens=usage.get("input_tokens"), output_tokens=usage.get("output_tokens"),
                reasoning_tokens=usage.get("reasoning_tokens"), cached_tokens=usage.get("input_tokens_cache_read"),
            ),
            logprobs=_logprobs(choices[0]),
            request_id=_identity(event, sample, n),
            answered_at=_time(event.get("completed") or event.get("timestamp")),
            elapsed_s=float(output.get("time") or 0),
        ),
    )  # fmt: skip


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
    content = message.get("content")
    if not isinstance(content, list):
        return text_of(content), None
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


def _time(value: Any) -> float:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return 0.0


def _json_log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    log = loads(read_text(path), f"`{path}`")
    if not isinstance(log, dict) or not isinstance(log.get("samples"), list):
        raise UsageError(f"`{path}` is not a log of Inspect: it has no `samples`")
    return log, log["samples"]


def _eval_log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        with zipfile.ZipFile(path) as log, path.open("rb") as raw:
            names = {i.filename: i for i in log.infolist()}
            if "header.json" not in names:
                raise UsageError(f"`{path}` has no `header.json`: its evaluation did not finish")
            header = loads(_member(log, raw, names["header.json"]), f"`{path}`, header.json")
            samples = [
                loads(_member(log, raw, info), f"`{path}`, {name}")
                for name, info in names.items()
                if name.startswith("samples/") and name.endswith(".json")
            ]
    except (OSError, zipfile.BadZipFile, zstandard.ZstdError, UnicodeDecodeError) as error:
        raise UsageError(f"`{path}` is not a log of Inspect: {_reason(error)}") from None
    return header, samples


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
