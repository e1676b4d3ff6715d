"""One request over HTTP: connection, timeout, status to error. The door to aiohttp for asking."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.providers.limits import read_limits, retry_after, seconds
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.providers.limits import Limits
    from emdsl.providers.secret import Secret

OK = 200
TIMEOUT_S = 600.0  # reasoning models think for minutes
CONNECT_S = 30.0
MAX_BODY = 64 * 2**20  # bytes of a reply
MAX_SHOWN = 500  # characters of a server's complaint
MAX_READ = 10_000  # characters of it that are searched for what it means
_AGAIN = (408, 409, 425, 498)  # besides 5xx: conditions that pass
_FOR_ALL = (401, 404)  # no access, no such model: what one request is refused for, every other will be
_NO_CREDIT = re.compile(  # codes of servers, and what those say that have none: not "slow down"
    r"insufficient_quota|billing|credit_balance|insufficient_credits|spend_limit|organization_usage_limit_exceeded"
    r"|budget_exceeded|credit balance is too low|insufficient balance|used all available credits|spending.limit"
    r"|have any credits|free-models-per-day",
    re.IGNORECASE,
)
_NO_ACCESS = re.compile(
    r"incorrect api key|invalid api key|invalid_api_key|api key not valid|API_KEY_INVALID|model_not_found"
    r"|model not exist|invalid_model\b|does not exist or you do not have access",
    re.IGNORECASE,
)
_POLICY_CODES = frozenset(
    ("content_filter", "content_policy_violation", "moderation_blocked", "invalid_prompt", "bio_policy",
     "misalignment_policy_violation")
)  # fmt: skip
_POLICY = re.compile(r"^(?:invalid prompt: |output blocked by content filtering|content exists risk)", re.IGNORECASE)
_TRY_AGAIN = re.compile(r"try again in ((?:\d+(?:\.\d+)?(?:ms|s|m|h))+)", re.IGNORECASE)
_RETRY_DELAY = re.compile(r'"retryDelay":\s*"(\d+(?:\.\d+)?s)"')


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
        on_limits: Callable[[Limits], None] = lambda _: None,
    ) -> tuple[dict[str, Any], str | None]:
        """Return a reply and the server's own id of the request; raises ProviderError or Blocked.

        The key is in none of them. `on_limits` gets what the server says of its limits, with an error too.
        """
        return await self._sent("POST", url, body, headers, key=key, timeout_s=timeout_s, on_limits=on_limits)

    async def get(self, url: str, headers: Mapping[str, str], *, key: Secret | None) -> dict[str, Any]:
        """Return what is at a URL, as `post` does."""
        return (await self._sent("GET", url, None, headers, key=key, timeout_s=CONNECT_S, on_limits=lambda _: None))[0]

    async def _sent(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], *, key: Secret | None,
        timeout_s: float | None, on_limits: Callable[[Limits], None],
    ) -> tuple[dict[str, Any], str | None]:  # fmt: skip
        limit = aiohttp.ClientTimeout(total=timeout_s or TIMEOUT_S, sock_connect=CONNECT_S)
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=limit, allow_redirects=False, proxy=self._proxy(url)
            ) as reply:
                raw = await _bounded(reply)
                limits = read_limits(reply.headers)
                if limits is not None:
                    on_limits(limits)
                text = _masked(raw.decode("utf-8", "replace"), key)
                if reply.status != OK:
                    raise _error(reply.status, reply.headers, text, key)
                request_id = reply.headers.get("x-request-id") or reply.headers.get("request-id")
                return _parsed(text, key), _masked(request_id, key)
        except ValueError as error:  # a URL or a header that cannot be sent
            raise Rejected(_masked(f"cannot be sent: {error}", key)) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(_masked(_network(error, url, limit.total), key)) from None

    def _proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for a server, None for none."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._proxies:
            bypass = parts.hostname is None or proxy_bypass(parts.hostname)
            found = getproxies()
            self._proxies[origin] = None if bypass else found.get(parts.scheme) or found.get("all")
        return self._proxies[origin]


def _network(error: Exception, url: str, timeout_s: float | None) -> str:
    """Return what happened to a request that no reply came to."""
    parts = urlsplit(url)
    server = f"{parts.scheme}://{parts.netloc}"
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer in time: {timeout_s:g} s, from {server}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"no encrypted connection to {server}: {error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {server}: {error.os_error.strerror or error.os_error}"
    return f"the connection to {server} broke: {type(error).__name__}: {error}"


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
    message, code, flagged = _complaint(text)
    message, code = _masked(message, key), _masked(code, key)
    said = f"{status} {message}".strip()
    if status in (400, 403) and (code in _POLICY_CODES or flagged or _POLICY.search(message)):
        return Blocked(message)
    whole = f"{code} {message}"  # never the whole reply: it may quote what was asked
    daily = status == 429 and '"quotaId"' in text and "PerDay" in text
    if status == 402 or daily or (status in (400, 403, 429) and _NO_CREDIT.search(whole)):
        return Rejected(f"out of credit: {said}", status=status, for_all=True)
    wait_s = retry_after(headers) or _told_to_wait(text)
    if status == 429:
        return Throttled(said, status=status, wait_s=wait_s)
    if status >= 500 or status in _AGAIN:
        return Unavailable(said, status=status, wait_s=wait_s)
    if 300 <= status < 400:
        where = urlsplit(headers.get("Location", ""))
        return Rejected(
            f"{status} it answers from elsewhere, {where.scheme}://{where.hostname}: keys are sent to no other host; "
            "check the url", status=status, for_all=True,
        )  # fmt: skip
    if status in (404, 405) and not code:
        said += ": is the url right? most end in /v1"
    return Rejected(said, status=status, for_all=status in _FOR_ALL or bool(_NO_ACCESS.search(whole)))


def _told_to_wait(text: str) -> float:
    """Return the seconds that a server asks to wait in its message; 0 where it does not."""
    found = _RETRY_DELAY.search(text[:MAX_READ]) or _TRY_AGAIN.search(text[:MAX_READ])
    return (seconds(found.group(1)) or 0.0) if found else 0.0


def _complaint(text: str) -> tuple[str, str, bool]:
    """Return a server's message and code, whatever shape its error has, and whether it flagged the input."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return _short(text), "", False
    if isinstance(found, list) and len(found) == 1:  # Gemini's, now and then
        found = found[0]
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return _short(str(error)), str(found.get("code") or "") if isinstance(found, dict) else "", False
    codes = [c for c in (error.get("code"), error.get("type"), error.get("status")) if isinstance(c, str) and c]
    metadata = error.get("metadata")
    flagged = isinstance(metadata, dict) and bool(metadata.get("reasons") or metadata.get("flagged_input"))
    return _short(str(error.get("message") or error.get("detail") or error)), codes[0] if codes else "", flagged


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text[:MAX_SHOWN] + (" ..." if len(text) > MAX_SHOWN else "")
