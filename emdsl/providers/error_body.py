"""The body of a server's error, in any of the known shapes: its message, its codes, the wait it requests."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.providers.limits import MAX_WAIT_S, retry_after, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_READ = 10_000  # characters of a message that are searched
MAX_DEPTH = 4  # of errors within errors: a gateway quotes the error of the provider behind it
_MESSAGES = ("message", "msg", "error_msg", "status_msg", "detail", "error_description", "title", "error", "Message")
_CODES = ("code", "type", "status", "error_code", "status_code", "finish_reason", "reason")
_ANSWERS = ("choices", "content", "candidates", "output", "text", "response", "completion")
_SUCCESS_CODES = ("0", "200", "201", "success", "ok")
_UNIT = r"(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d)"
_WAIT = re.compile(
    rf"(?:again|retry(?:ing)?|wait)(?:\s+(?:in|after|for|about|at least))*\s+"
    rf"((?:\d+(?:\.\d+)?\s*{_UNIT}(?![a-z])[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({_UNIT})", re.IGNORECASE)
_PREFIX = re.compile(r"[^{\n]{0,120}(?:Exception|Error|failed|provider\(\d+\))(?: -|:)\s*(?=\{)")
_DELAY = re.compile(r'"retryDelay\\*":\s*\\*"(\d+(?:\.\d+)?s)\\*"')
_RETRY_AFTER = re.compile(r'"retry_after_(?:seconds_raw|seconds)\\*":\s*(\d+(?:\.\d+)?)')


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """The parts of an error body; `codes` are its words and numbers, `flagged` says that a moderation rejected it."""

    message: str
    codes: tuple[str, ...] = ()
    flagged: bool = False
    wait_s: float = 0.0  # 0: it requests no wait
    text: str = ""  # the whole body, as sent


def read_error_body(text: str, headers: Mapping[str, str]) -> ErrorBody:
    """Read the body of an error; a text that is not JSON is the message."""
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        content = text
    message, codes, flagged = _read(content, 0)
    kind = headers.get("x-amzn-ErrorType", "").partition(":")[0]
    return ErrorBody(
        message=message[:MAX_READ],
        codes=codes + ((kind,) if kind else ()),
        flagged=flagged,
        wait_s=retry_after(headers) or requested_wait(text[:MAX_READ]),
        text=text[:MAX_READ],
    )


def _read(error: Any, depth: int) -> tuple[str, tuple[str, ...], bool]:
    """Return the message, the codes and whether the input was flagged."""
    if isinstance(error, str):
        inner = _inner(error) if depth < MAX_DEPTH else None
        return _read(inner, depth + 1) if inner is not None else (error, (), False)
    if isinstance(error, list):
        if all(isinstance(x, dict) and "msg" in x for x in error):
            return _validation_errors(error), _codes(error[0]) if error else (), False
        return _read(error[0], depth + 1) if depth < MAX_DEPTH else (_as_json(error), (), False)
    if not isinstance(error, dict):
        return _as_json(error), (), False
    if depth > MAX_DEPTH:
        return _as_json(error), _codes(error), False
    for name in ("error", "errors", "base_resp", "detail"):
        inner = error.get(name)
        if isinstance(inner, dict | list) and inner:
            message, codes, flagged = _read(inner, depth + 1)
            return message, codes + _codes(error), flagged
    codes = _codes(error)
    messages = [(n, error[n]) for n in _MESSAGES if isinstance(error.get(n), str) and error[n]]
    if not messages and not isinstance(error.get("message"), dict):
        return _as_json(error), codes, False
    if len(messages) > 1 and messages[-1][0] == "error":  # beside a message, `error` is a code
        codes += (messages[-1][1],)
    nested = error.get("message")  # LiteLLM's guardrails send an object
    message, more, flagged = _read(messages[0][1] if messages else nested, depth + 1)
    codes += more
    metadata, inner = error.get("metadata"), error.get("innererror") or error.get("inner_error")
    if isinstance(inner, dict):
        codes += _codes(inner)
    for detail in error.get("details") or () if isinstance(error.get("details"), list) else ():
        codes += _codes(detail) if isinstance(detail, dict) else ()
    if isinstance(metadata, dict):
        flagged = flagged or bool(metadata.get("reasons") or metadata.get("flagged_input"))
        if (
            isinstance(metadata.get("raw"), str) and metadata["raw"]
        ):  # OpenRouter's: the error of the provider behind it
            behind, more, _ = _read(metadata["raw"], depth + 1)
            message, codes = f"{message}: {behind}", codes + more
    return message, codes, flagged


def _inner(text: str) -> Any:
    """Return the JSON within a message, None if there is none."""
    if prefix := _PREFIX.match(text):
        try:
            inner, _ = json.JSONDecoder().raw_decode(text, prefix.end())
        except (ValueError, RecursionError):
            return None
        has_error = isinstance(inner, dict) and ("error" in inner or isinstance(inner.get("message"), str))
        return inner if has_error else None
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return inner if isinstance(inner, dict | list) and inner else None


def _validation_errors(errors: list[Any]) -> str:
    """Return the messages of FastAPI's validation errors, without the quoted request."""
    return "; ".join(f"{x.get('msg', '')} at {_location(x.get('loc', ''))}" for x in errors)


def _location(loc: Any) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else str(loc)


def _as_json(error: Any) -> str:
    """Return an error of an unknown shape as the server wrote it."""
    return json.dumps(error, ensure_ascii=False)


def _codes(error: Mapping[str, Any]) -> tuple[str, ...]:
    codes = [error.get(name) for name in _CODES]
    return tuple(str(c) for c in codes if c and isinstance(c, str | int) and not isinstance(c, bool))


def requested_wait(text: str) -> float:
    """Return the seconds that the text of an error asks to wait, 0 if it asks for none.

    >>> requested_wait("Please retry in 3.2s."), requested_wait("try again in 1h 5 minutes"), requested_wait("soon")
    (3.2, 3900.0, 0.0)
    """
    waits = [_duration(match.group(1)) for match in _WAIT.finditer(text)]
    waits += [seconds(match.group(1)) or 0.0 for match in _DELAY.finditer(text)]
    waits += [seconds(match.group(1)) or 0.0 for match in _RETRY_AFTER.finditer(text)]
    return max(waits, default=0.0)


def _duration(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
    total = 0.0
    for number, unit in _PART.findall(text):
        name = unit.lower()
        scale = 0.001 if name.startswith(("ms", "milli")) else units[name[0]]
        total += float(number) * scale
    return total if total <= MAX_WAIT_S else 0.0


def find_error(reply: Mapping[str, Any]) -> Any:
    """Return the error in a reply of status 200; None without one, or if it is empty."""
    if is_error(reply.get("error")):
        return reply["error"]
    base = reply.get("base_resp")  # MiniMax's
    if isinstance(base, dict) and str(base.get("status_code", 0)) != "0":
        return base
    if any(reply.get(name) for name in _ANSWERS):
        return None
    failed = reply.get("object") == "error" or reply.get("success") is False or reply.get("type") == "error"
    coded = str(reply.get("error_code") or reply.get("code") or "0") not in _SUCCESS_CODES
    has_message = any(reply.get(name) for name in ("msg", "message", "error_msg"))
    return dict(reply) if failed or is_error(reply.get("detail")) or (coded and has_message) else None


def is_error(error: Any) -> bool:
    """Whether an `error` field holds an error: answers too may have one that is empty, or reports success."""
    if isinstance(error, dict):
        return any(is_error(v) for k, v in error.items() if not (k == "code" and str(v) in _SUCCESS_CODES))
    if isinstance(error, list):
        return any(map(is_error, error))
    return bool(error) and str(error).casefold() not in ("ok", "success", "none", "null")
