"""Rate limits that a server reports: remaining requests and tokens, and the time of the next reset."""

from __future__ import annotations

import email.utils
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WAIT_S = 366 * 86_400.0  # a longer time is not a wait
MINUTE_S = 60.0  # for headers that carry the minute in their name
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
# Prefix, then `limit-requests` (OpenAI's order) or `requests-limit` (Anthropic's).
_NAMES = {
    "requests": (
        ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining",
         "anthropic-ratelimit-requests-reset"),
        ("x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute", ""),
        ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
        ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"),
    ),
    "tokens": (
        ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        ("anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining",
         "anthropic-ratelimit-tokens-reset"),
        ("x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute", ""),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of requests or tokens, how many remain, and the seconds until all are available again."""

    limit: float
    remaining: float
    reset_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one account, as one reply reports them."""

    requests: Limit | None = None
    tokens: Limit | None = None


def read_limits(headers: Mapping[str, str]) -> Limits | None:
    """Return the limits that a reply reports, None if it reports none.

    >>> read_limits(
    ...     {
    ...         "x-ratelimit-limit-requests": "300",
    ...         "x-ratelimit-remaining-requests": "299",
    ...         "x-ratelimit-reset-requests": "200ms",
    ...     }
    ... ).requests
    Limit(limit=300.0, remaining=299.0, reset_s=0.2)
    """
    requests, tokens = (_limit(headers, names) for names in _NAMES.values())
    return Limits(requests=requests, tokens=tokens) if requests is not None or tokens is not None else None


def _limit(headers: Mapping[str, str], names: tuple[tuple[str, str, str], ...]) -> Limit | None:
    for limit, remaining, reset in names:
        if remaining not in headers:
            continue
        maximum, left = _number(headers.get(limit)), _number(headers[remaining])
        reset_s = seconds(headers.get(reset, "")) if reset else MINUTE_S
        if maximum is not None and left is not None and reset_s is not None and maximum > 0:
            return Limit(maximum, left, reset_s)
    return None


def _number(text: str | None) -> float | None:
    try:
        number = float((text or "").split(",")[0].split(";")[0])
    except ValueError:
        return None
    return number if 0 <= number < 1e15 else None


def seconds(text: str) -> float | None:
    """Return the seconds from now that a header states, None if it states no time.

    Providers write durations (`6m0s`, `200ms`), seconds, times (RFC 3339), and milliseconds or seconds since 1970.

    >>> seconds("1m30.5s"), seconds("7"), seconds("soon")
    (90.5, 7.0, None)
    """
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(n + unit for n, unit in parts) == text:
        return _bounded(sum(float(n) * _SECONDS[unit] for n, unit in parts))
    try:
        number = float(text)
    except ValueError:
        number = None
    if number is not None:
        if number > 1e11:
            return _bounded(number / 1000 - time.time())
        return _bounded(number - time.time() if number > 1e9 else number)
    try:
        return _bounded(datetime.fromisoformat(text).timestamp() - time.time())
    except ValueError:
        return None


def _bounded(wait_s: float) -> float | None:
    return max(wait_s, 0.0) if wait_s <= MAX_WAIT_S else None


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds to wait by `Retry-After`: a number or a date; 0 for neither.

    >>> retry_after({"Retry-After": "0.5"}), retry_after({})
    (0.5, 0.0)
    """
    for name, scale in (("Retry-After-Ms", 1000.0), ("Retry-After", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        parts = _DURATION.findall(value.strip())
        if parts and "".join(n + unit for n, unit in parts) == value.strip():
            return seconds(value) or 0.0
        try:
            return _bounded(float(value) / scale) or 0.0
        except ValueError:
            pass
        try:
            return _bounded(email.utils.parsedate_to_datetime(value).timestamp() - time.time()) or 0.0
        except ValueError:
            continue
    return 0.0
