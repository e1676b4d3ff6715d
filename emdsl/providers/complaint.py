"""What a server says in an error, whatever shape it has: its message, its codes, how long to wait."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.providers.limits import LONGEST_S, retry_after, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_READ = 10_000  # characters of a message that are searched
MAX_DEPTH = 4  # errors within errors: a gateway quotes the one behind it
_MESSAGES = ("message", "msg", "error_msg", "status_msg", "detail", "error_description", "title", "error", "Message")
_CODES = ("code", "type", "status", "error_code", "status_code", "finish_reason", "reason")
_ANSWERS = ("choices", "content", "candidates", "output", "text", "response", "completion")
_NO_CODES = ("0", "200", "201", "success", "ok")  # of what went well
_UNIT = r"(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d)"
_WAIT = re.compile(
    rf"(?:again|retry(?:ing)?|wait)(?:\s+(?:in|after|for|about|at least))*\s+"
    rf"((?:\d+(?:\.\d+)?\s*{_UNIT}(?![a-z])[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({_UNIT})", re.IGNORECASE)
_BEHIND = re.compile(r"[^{\n]{0,120}(?:Exception|Error|failed|provider\(\d+\))(?: -|:)\s*(?=\{)")
_DELAY = re.compile(r'"retryDelay\\*":\s*\\*"(\d+(?:\.\d+)?s)\\*"')
_TOLD = re.compile(r'"retry_after_(?:seconds_raw|seconds)\\*":\s*(\d+(?:\.\d+)?)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """`codes` are the words and numbers by which an error says what it is; `flagged`: a moderation has."""

    message: str
    codes: tuple[str, ...] = ()
    flagged: bool = False
    wait_s: float = 0.0  # 0: it says nothing of waiting
    text: str = ""  # all of it, as it came


def read_complaint(text: str, headers: Mapping[str, str]) -> Complaint:
    """Return what a server says; a text that is no JSON is its own message."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    message, codes, flagged = _read(found, 0)
    kind = headers.get("x-amzn-ErrorType", "").partition(":")[0]
    return Complaint(
        message=message[:MAX_READ],
        codes=codes + ((kind,) if kind else ()),
        flagged=flagged,
        wait_s=retry_after(headers) or told_to_wait(text[:MAX_READ]),
        text=text[:MAX_READ],
    )


def _read(found: Any, depth: int) -> tuple[str, tuple[str, ...], bool]:
    """Return the message, the codes and whether the input was flagged."""
    if isinstance(found, str):
        inner = _inner(found) if depth < MAX_DEPTH else None
        return _read(inner, depth + 1) if inner is not None else (found, (), False)
    if isinstance(found, list):
        if all(isinstance(x, dict) and "msg" in x for x in found):
            return _faults(found), _codes(found[0]) if found else (), False
        return _read(found[0], depth + 1) if depth < MAX_DEPTH else (str(found), (), False)
    if not isinstance(found, dict):
        return str(found), (), False
    if depth > MAX_DEPTH:
        return str(found), _codes(found), False
    for name in ("error", "errors", "base_resp", "detail"):
        inside = found.get(name)
        if isinstance(inside, dict | list) and inside:
            message, codes, flagged = _read(inside, depth + 1)
            return message, codes + _codes(found), flagged
    codes = _codes(found)
    said = [(n, found[n]) for n in _MESSAGES if isinstance(found.get(n), str) and found[n]]
    if not said and not isinstance(found.get("message"), dict):
        return str(found), codes, False
    if len(said) > 1 and said[-1][0] == "error":  # `error` is its code, beside a message
        codes += (said[-1][1],)
    nested = found.get("message")  # an object, now and then: LiteLLM's, of guardrails
    message, more, flagged = _read(said[0][1] if said else nested, depth + 1)
    codes += more
    metadata, inner = found.get("metadata"), found.get("innererror") or found.get("inner_error")
    if isinstance(inner, dict):
        codes += _codes(inner)
    for detail in found.get("details") or () if isinstance(found.get("details"), list) else ():
        codes += _codes(detail) if isinstance(detail, dict) else ()
    if isinstance(metadata, dict):
        flagged = flagged or bool(metadata.get("reasons") or metadata.get("flagged_input"))
        if isinstance(metadata.get("raw"), str) and metadata["raw"]:  # OpenRouter's: what the provider behind it said
            behind, more, _ = _read(metadata["raw"], depth + 1)
            message, codes = f"{message}: {behind}", codes + more
    return message, codes, flagged


def _inner(text: str) -> Any:
    """Return what a message holds as JSON, None where it holds none."""
    if behind := _BEHIND.match(text):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, behind.end())
        except (ValueError, RecursionError):
            return None
        return (
            found if isinstance(found, dict) and ("error" in found or isinstance(found.get("message"), str)) else None
        )
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) and found else None


def _faults(found: list[Any]) -> str:
    """Return what a list of faults says, without what it quotes of the request."""
    return "; ".join(f"{x.get('msg', '')} at {x.get('loc', '')}" for x in found)


def _codes(error: Mapping[str, Any]) -> tuple[str, ...]:
    found = [error.get(name) for name in _CODES]
    return tuple(str(c) for c in found if c and isinstance(c, str | int) and not isinstance(c, bool))


def told_to_wait(text: str) -> float:
    """Return the seconds that a server asks to wait in words; 0 without such a request.

    >>> told_to_wait("Please retry in 3.2s."), told_to_wait("try again in 1h 5 minutes"), told_to_wait("soon")
    (3.2, 3900.0, 0.0)
    """
    waits = [_duration(found.group(1)) for found in _WAIT.finditer(text)]
    waits += [seconds(found.group(1)) or 0.0 for found in _DELAY.finditer(text)]
    waits += [seconds(found.group(1)) or 0.0 for found in _TOLD.finditer(text)]
    return max(waits, default=0.0)


def _duration(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
    total = 0.0
    for number, unit in _PART.findall(text):
        name = unit.lower()
        scale = 0.001 if name.startswith(("ms", "milli")) else units[name[0]]
        total += float(number) * scale
    return total if total <= LONGEST_S else 0.0


def error_within(reply: Mapping[str, Any]) -> Any:
    """Return the error that a reply of status 200 holds; None where it holds none, or an empty one."""
    if complains(reply.get("error")):
        return reply["error"]
    base = reply.get("base_resp")  # MiniMax's
    if isinstance(base, dict) and str(base.get("status_code", 0)) != "0":
        return base
    if any(reply.get(name) for name in _ANSWERS):
        return None
    failed = reply.get("object") == "error" or reply.get("success") is False or reply.get("type") == "error"
    coded = str(reply.get("error_code") or reply.get("code") or "0") not in _NO_CODES
    says = any(reply.get(name) for name in ("msg", "message", "error_msg"))
    return dict(reply) if failed or complains(reply.get("detail")) or (coded and says) else None


def complains(error: Any) -> bool:
    """Whether an `error` field holds a complaint: empty ones, and those of success, stand beside answers."""
    if isinstance(error, dict):
        return any(complains(v) for k, v in error.items() if not (k == "code" and str(v) in _NO_CODES))
    if isinstance(error, list):
        return any(map(complains, error))
    return bool(error) and str(error).casefold() not in ("ok", "success", "none", "null")
