"""One request over HTTP: connection, timeout, status to error. The door to aiohttp for asking."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.providers.secret import Secret

OK = 200
TIMEOUT_S = 600.0  # reasoning models think for minutes
CONNECT_S = 30.0
MAX_BODY = 64 * 2**20  # bytes of a reply
MAX_SHOWN = 500  # characters of a server's complaint
_AGAIN = (408, 409, 425)  # besides 5xx: conditions that pass
_FOR_ALL = (401, 404)  # no access, no such model: what one request is refused for, every other will be
_NO_CREDIT = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "insufficient_credits",
    "credit_balance_too_low",
)
_POLICY = ("content_filter", "content_policy_violation", "moderation_blocked")


class Blocked(Exception):
    """The provider's content policy refused the request; `reason` is what it said."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Http:
    """Sends JSON and gets JSON; keeps connections open between requests."""

    def __init__(self, connections: int) -> None:
        self._proxies: dict[str, str | None] = {}  # by origin: aiohttp's own look costs two threads a request
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=60, ttl_dns_cache=300),
            headers={"User-Agent": f"emdsl/{__version__}", "Content-Type": "application/json"},
            auto_decompress=True,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        key: Secret | None,
        timeout_s: float | None,
    ) -> tuple[dict[str, Any], str | None]:
        """Return a reply and the server's own id of the request; raises ProviderError or Blocked.

        The key is in none of them.
        """
        limit = aiohttp.ClientTimeout(total=timeout_s or TIMEOUT_S, sock_connect=CONNECT_S)
        try:
            async with self._session.post(
                url, data=body, headers=headers, timeout=limit, allow_redirects=False, proxy=self._proxy(url)
            ) as reply:
                raw = await _bounded(reply)
                text = _masked(raw.decode("utf-8", "replace"), key)
                if reply.status != OK:
                    raise _error(reply.status, reply.headers, text, key)
                return _parsed(text, key), _masked(reply.headers.get("x-request-id"), key)
        except ValueError as error:  # a URL or a header that cannot be sent
            raise Rejected(_masked(f"cannot be sent: {error}", key)) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            said = (
                "no answer in time" if isinstance(error, asyncio.TimeoutError) else f"{type(error).__name__}: {error}"
            )
            raise Unavailable(_masked(said, key)) from None

    def _proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for a server, None for none."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._proxies:
            bypass = parts.hostname is None or proxy_bypass(parts.hostname)
            found = getproxies()
            self._proxies[origin] = None if bypass else found.get(parts.scheme) or found.get("all")
        return self._proxies[origin]


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    length = reply.content_length
    if length is not None and length <= MAX_BODY and "Content-Encoding" not in reply.headers:
        return await reply.read()
    raw = bytearray()
    async for chunk in reply.content.iter_chunked(1 << 20):
        raw += chunk
        if len(raw) > MAX_BODY:
            raise Rejected(f"the reply is larger than {MAX_BODY // 2**20} MiB", status=reply.status)
    return bytes(raw)


def _parsed(text: str, key: Secret | None) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unavailable(f"the reply is no JSON: {_masked(_short(text), key)}", status=200) from None
    if not isinstance(found, dict):
        raise Unavailable(f"the reply is no object: {_masked(_short(text), key)}", status=200)
    error = found.get("error")
    if error:  # some proxies wrap an error in a 200
        code = error.get("code") if isinstance(error, dict) else None
        raise _error(code if isinstance(code, int) else 502, {}, text, key)
    if "\\" not in text:  # nothing is escaped: the text was masked as a whole
        return found
    masked: dict[str, Any] = _masked(found, key)
    return masked


def _masked(value: Any, key: Secret | None) -> Any:
    """Return JSON without the key in any of its texts: masked after parsing, for a server may have escaped it."""
    if key is None:
        return value
    match value:
        case str():
            return key.mask(value)
        case list():
            return [_masked(x, key) for x in value]
        case dict():
            return {key.mask(k): _masked(x, key) for k, x in value.items()}
        case _:
            return value


def _error(status: int, headers: Mapping[str, str], text: str, key: Secret | None) -> ProviderError | Blocked:
    message, code = (_masked(x, key) for x in _complaint(text))
    said = f"{status} {message}".strip()
    if code in _POLICY:
        return Blocked(message)
    if status == 402 or code in _NO_CREDIT:
        return Rejected(f"out of credit: {said}", status=status, for_all=True)
    wait_s = retry_after(headers)
    if status == 429:
        return Throttled(said, status=status, wait_s=wait_s)
    if status >= 500 or status in _AGAIN:
        return Unavailable(said, status=status, wait_s=wait_s)
    return Rejected(said, status=status, for_all=status in _FOR_ALL)


def _complaint(text: str) -> tuple[str, str]:
    """Return a server's message and code, whatever shape its error has."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return _short(text), ""
    error = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(error, dict):
        code = error.get("code") or error.get("type") or ""
        return _short(str(error.get("message") or error.get("detail") or error)), str(code)
    return _short(str(error)), ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text[:MAX_SHOWN] + (" ..." if len(text) > MAX_SHOWN else "")


def retry_after(headers: Mapping[str, str]) -> float:
    """Return how many seconds a server asks to wait: a number (fractions too) or a date; 0 for neither.

    >>> retry_after({"Retry-After": "0.5"}), retry_after({})
    (0.5, 0.0)
    """
    for name, scale in (("Retry-After-Ms", 1000.0), ("Retry-After", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, min(float(value) / scale, 86400.0))
        except ValueError:
            pass
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            continue
    return 0.0
