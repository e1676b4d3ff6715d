"""One request over HTTP: connection, timeout, bounds. The door to aiohttp for asking."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from emdsl.errors import Rejected, Unavailable
from emdsl.providers.complaints import OK, error_of, error_within, short, status_within
from emdsl.providers.limits import read_limits
from emdsl.providers.secret import on_this_machine
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.providers.limits import Limits

    Mask = Callable[[str], str]

TIMEOUT_S = 600.0  # reasoning models think for minutes
CONNECT_S = 30.0
ANSWERED = range(200, 300)  # 201 and 203 too may bring an answer
MAX_BODY = 64 * 2**20  # bytes of a reply


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
        self, url: str, body: bytes, headers: Mapping[str, str], *, mask: Mask, timeout_s: float | None,
        on_limits: Callable[[Limits], None] = lambda _: None,
    ) -> tuple[dict[str, Any], str | None]:  # fmt: skip
        """Return a reply and the server's own id of the request; raises ProviderError or Blocked.

        `mask` takes API keys out of what errors say; the reply is as it came. `on_limits` gets what the server says of
        its limits, with an error too.
        """
        return await self._sent("POST", url, body, headers, mask=mask, timeout_s=timeout_s, on_limits=on_limits)

    async def get(self, url: str, headers: Mapping[str, str], *, mask: Mask) -> dict[str, Any]:
        """Return what is at a URL, as `post` does."""
        found = await self._sent("GET", url, None, headers, mask=mask, timeout_s=CONNECT_S, on_limits=lambda _: None)
        return found[0]

    async def _sent(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], *, mask: Mask,
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
                text = _decoded(raw, reply.charset)
                if reply.status not in ANSWERED:
                    raise error_of(reply.status, reply.headers, text, mask)
                return _parsed(text, mask), reply.headers.get("x-request-id") or reply.headers.get("request-id")
        except ValueError:  # what it says may hold a password of a proxy
            raise Rejected("cannot be sent: the url, the proxy or a header is none", for_all=True) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            never_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise Unavailable(mask(_network(error, url, limit.total)), paid=not never_sent) from None

    def _proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for a server, None for none, and for this machine."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._proxies:
            host = parts.hostname
            bypass = host is None or on_this_machine(host) or proxy_bypass(parts.netloc) or proxy_bypass(host)
            found = getproxies()
            self._proxies[origin] = None if bypass else found.get(parts.scheme) or found.get("all")
        return self._proxies[origin]


def _network(error: Exception, url: str, timeout_s: float | None) -> str:
    """Return what happened to a request that no reply came to; what libraries say may hold a password, and is left."""
    parts = urlsplit(url)
    server = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    match error:
        case asyncio.TimeoutError():
            return f"no answer in time: {timeout_s:g} s, from {server}"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return f"no encrypted connection to {server}: its certificate is not trusted, or it speaks no TLS"
        case aiohttp.ClientProxyConnectionError():
            return f"no connection to the proxy that the environment names for {server}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy that the environment names for {server} refuses: {error.status} {error.message}"
        case aiohttp.ClientConnectorError():
            return f"no connection to {server}: {error.os_error.strerror or type(error.os_error).__name__}"
        case _:
            return f"the connection to {server} broke: {type(error).__name__}"


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


def _decoded(raw: bytes, charset: str | None) -> str:
    """Return the text of a reply: JSON is UTF-8 where it can be, else as the reply says, whatever stands before it."""
    for name in ("utf-8", charset or "", json.detect_encoding(raw)):
        try:
            text = raw.decode(name) if name else ""
        except (LookupError, UnicodeError):
            continue
        if text and "\0" not in text[:4]:
            return text.removeprefix("\ufeff")
    return raw.decode("utf-8", "replace")


def _parsed(text: str, mask: Mask) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unavailable(f"the reply is no JSON: {short(mask(text))}", status=OK) from None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise Unavailable(f"the reply is no object: {short(mask(text))}", status=OK)
    if (error := error_within(found)) is not None:  # some proxies wrap an error in a 200
        raise error_of(status_within(error), {}, json.dumps({"error": error}, default=str), mask)
    return found
