"""One request over HTTP: connection, timeout, bounds. The door to aiohttp for asking."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import zstandard

from emdsl.errors import ProviderError, Rejected, Unavailable
from emdsl.providers.address import CA_FILES, NoWay, proxy_of, server_of, trusted
from emdsl.providers.complaint import error_within
from emdsl.providers.complaints import OK, error_in, error_of, short
from emdsl.providers.limits import read_limits
from emdsl.providers.streaming import EVENTS, read_events, whole_reply
from emdsl.service import OPENAI
from emdsl.version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from types import SimpleNamespace

    from aiohttp.connector import AddrInfoType

    from emdsl.providers.limits import Limits

    Mask = Callable[[str], str]

TIMEOUT_S = 600.0  # reasoning models think for minutes
CONNECT_S = 30.0
SLOW_S = 4.0  # without a connection, after which that is said
ANSWERED = range(200, 300)  # 201 and 203 too may bring an answer
MAX_BODY = 64 * 2**20  # bytes of a reply
MAX_HEADER = 64 * 2**10  # bytes of one header of a reply
ALIVE_S = 30  # between two signs of life on an idle connection
PART = 1024  # bytes of a packed body that are unpacked together: each may become a hundred thousand times as much
PACKED = ("gzip", "deflate", "zstd")  # how a reply may be packed
UNSENDABLE = "cannot be sent: the url, the proxy or a header is malformed"


class Http:
    """Sends JSON and gets JSON; keeps connections open between requests."""

    def __init__(
        self, connections: int, environment: Mapping[str, str] = os.environ,
        on_slow: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._slow: set[str] = set()  # servers of which it was said that no connection comes about
        self._on_slow = on_slow
        self._proxies: dict[str, str | None] = {}  # by origin
        self._environment = environment
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, keepalive_timeout=60, ttl_dns_cache=300, ssl=_certificates(environment) or True,
                socket_factory=_kept_alive,
            ),
            headers={
                "User-Agent": f"emdsl/{__version__}", "Content-Type": "application/json",
                "Accept-Encoding": ", ".join(PACKED), "Accept": f"application/json, {EVENTS}",
            },
            auto_decompress=False,  # a server may pack a reply as nobody asked for, or say so of one that is not packed
            max_line_size=MAX_HEADER, max_field_size=MAX_HEADER, trace_configs=[_traced()],
        )  # fmt: skip

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, mask: Mask, timeout_s: float | None,
        format_: str = OPENAI, on_limits: Callable[[Limits], None] = lambda _: None,
    ) -> tuple[dict[str, Any], str | None]:  # fmt: skip
        """Return a reply and the server's own id of the request; raises ProviderError or Blocked.

        `mask` takes API keys out of what errors say; the reply is as it came. `on_limits` gets what the server says of
        its limits, with an error too. `format_` is that of a reply which comes as a stream.
        """
        return await self._sent(
            "POST", url, body, headers, mask=mask, timeout_s=timeout_s, on_limits=on_limits, format_=format_
        )

    async def get(self, url: str, headers: Mapping[str, str], *, mask: Mask) -> dict[str, Any]:
        """Return what is at a URL, as `post` does."""
        found = await self._sent(
            "GET", url, None, headers, mask=mask, timeout_s=CONNECT_S, on_limits=lambda _: None, format_=OPENAI
        )
        return found[0]

    async def _sent(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], *, mask: Mask,
        timeout_s: float | None, on_limits: Callable[[Limits], None], format_: str,
    ) -> tuple[dict[str, Any], str | None]:  # fmt: skip
        watch = Connecting(partial(self._say_slow, server_of(url)))
        limit = aiohttp.ClientTimeout(total=timeout_s or TIMEOUT_S, sock_connect=CONNECT_S)
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=limit,
                allow_redirects=False,
                proxy=self._proxy(url),
                trace_request_ctx=watch,
            ) as reply:
                raw = await _bounded(reply)
                limits = read_limits(reply.headers)
                if limits is not None:
                    on_limits(limits)
                packing = reply.headers.get("Content-Encoding", "")
                if reply.status not in ANSWERED:
                    raise error_of(reply.status, reply.headers, _said(raw, packing, reply.charset), mask)
                text = _decoded(unpacked(raw, packing), reply.charset)
                request_id = reply.headers.get("x-request-id") or reply.headers.get("request-id")
                if reply.content_type == EVENTS:
                    found = whole_reply(read_events(text), format_, reply.headers, mask)
                else:
                    found = _parsed(text, reply, mask)
                if (error := error_within(found)) is not None:  # some proxies wrap an error in a 200
                    raise error_in(error, reply.headers, mask)
                return found, request_id
        except NoWay as fault:
            raise Rejected(f"not sent: {fault}", for_all=True) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:  # a wrong certificate is a ValueError too
            if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
                raise Rejected(UNSENDABLE, for_all=True) from None
            never_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise Unavailable(mask(_network(error, url, limit.total)), paid=not never_sent) from None
        except ValueError:  # what it says may hold a password of a proxy
            raise Rejected(UNSENDABLE, for_all=True) from None

    def _say_slow(self, server: str) -> None:
        if server not in self._slow:
            self._slow.add(server)
            self._on_slow(f"no connection to {server} for {SLOW_S:g} s; each attempt takes up to {CONNECT_S:g} s")

    def _proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for a server; raises NoWay."""
        origin = server_of(url)
        if origin not in self._proxies:
            self._proxies[origin] = proxy_of(url, self._environment)
        return self._proxies[origin]


class Connecting:
    """A connection that is being made for a request: told of where it takes long."""

    def __init__(self, on_slow: Callable[[], None]) -> None:
        self._on_slow = on_slow
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A connection is being made."""
        self._timer = asyncio.get_running_loop().call_later(SLOW_S, self._on_slow)

    def end(self) -> None:
        """It is made, or came to nothing."""
        if self._timer is not None:
            self._timer.cancel()


def _traced() -> aiohttp.TraceConfig:
    """Return what calls the Connecting of a request."""

    async def begin(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.begin()

    async def end(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.end()

    found = aiohttp.TraceConfig()
    found.on_connection_create_start.append(begin)
    found.on_connection_create_end.append(end)
    found.on_request_exception.append(end)
    return found


def _certificates(environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return the certificates that are trusted beside the system's; what is wrong with them was said before."""
    try:
        return trusted(environment)
    except NoWay:
        return None


def _kept_alive(address: AddrInfoType) -> socket.socket:
    """Return a socket that shows signs of life: a model may think for minutes, and proxies drop idle connections."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", ALIVE_S), ("TCP_KEEPALIVE", ALIVE_S), ("TCP_KEEPINTVL", ALIVE_S)):
        if (option := getattr(socket, name, None)) is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    made.setblocking(False)
    return made


def _network(error: Exception, url: str, timeout_s: float | None) -> str:
    """Return what happened to a request that no reply came to; what libraries say may hold a password, and is left."""
    server = server_of(url)
    match error:
        case aiohttp.ConnectionTimeoutError():
            silent = ", or nothing encrypted came back" if url.startswith("https:") else ""
            return f"no connection to {server} within {CONNECT_S:g} s{silent}"
        case asyncio.TimeoutError():
            return f"no answer in time: {timeout_s:g} s, from {server}"
        case aiohttp.ClientConnectorCertificateError():
            return (
                f"no encrypted connection to {server}: its certificate is not trusted"
                f"{_why_not_trusted(error)}; {CA_FILES[0]} names certificates of one's own"
            )
        case aiohttp.ClientConnectorSSLError():
            return f"no encrypted connection to {server}: it speaks no TLS, or none that is spoken here"
        case aiohttp.ClientProxyConnectionError():
            return f"no connection to the proxy that the environment names for {server}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy that the environment names for {server} refuses: {error.status} {error.message}"
        case aiohttp.ClientConnectorError():
            return f"no connection to {server}: {_why_not(error.os_error)}"
        case aiohttp.ClientResponseError():
            return f"the reply of {server} breaks the rules of HTTP: {short(error.message)}"
        case _:
            return f"the connection to {server} broke: {type(error).__name__}"


def _why_not_trusted(error: aiohttp.ClientConnectorCertificateError) -> str:
    said = getattr(error.certificate_error, "verify_message", "")
    return f" ({said})" if said else ""


def _why_not(error: OSError) -> str:
    known = error.errno is not None and error.errno in errno.errorcode
    return os.strerror(error.errno) if known and error.errno else error.strerror or type(error).__name__


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    length = reply.content_length
    if length is not None and length <= MAX_BODY:
        return await reply.read()
    raw = bytearray()
    async for chunk in reply.content.iter_chunked(1 << 20):
        raw += chunk
        if len(raw) > MAX_BODY:
            raise _too_large(reply.status)
    return bytes(raw)


def _too_large(status: int) -> Rejected:
    return Rejected(f"the reply is larger than {MAX_BODY // 2**20} MiB", status=status)


def unpacked(raw: bytes, encodings: str) -> bytes:
    """Return a body as it was before it was packed, the last packing first; raises Unavailable, Rejected."""
    for encoding in reversed([e.strip().lower() for e in encodings.split(",")]):
        if not raw or encoding in ("", "identity", "none", "utf-8"):
            continue
        if encoding.removeprefix("x-") not in PACKED:
            raise Rejected(f"the reply is packed as `{short(encoding)}`, which was not asked for", status=OK)
        try:
            found = _zlib(raw) if encoding != "zstd" else _zstd(raw)
        except (zlib.error, zstandard.ZstdError):
            if raw.lstrip()[:1] in (b"{", b"["):  # it says so, and is not packed
                continue
            raise Unavailable(f"the reply is no `{encoding}`, as it says", status=OK) from None
        if len(found) > MAX_BODY:
            raise _too_large(OK)
        raw = found
    return raw


def _zlib(raw: bytes) -> bytes:
    """Return what gzip or deflate has packed, with a header of either or none; at most a little over MAX_BODY."""
    try:
        return _members(raw, zlib.MAX_WBITS | 32)
    except zlib.error:
        return _members(raw, -zlib.MAX_WBITS)


def _members(raw: bytes, bits: int) -> bytes:
    found, left = b"", raw
    while left and len(found) <= MAX_BODY:  # gzip may come in several members
        unpacker = zlib.decompressobj(bits)
        found += unpacker.decompress(left, MAX_BODY + 1 - len(found))
        if not unpacker.eof and len(found) <= MAX_BODY:
            raise zlib.error("cut")
        left = unpacker.unused_data
    return found


def _zstd(raw: bytes) -> bytes:
    """Return what zstd has packed, in one frame or several; at most a little over MAX_BODY."""
    found, left = b"", raw
    while left and len(found) <= MAX_BODY:
        unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_BODY).decompressobj()
        for start in range(0, len(left), PART):
            found += unpacker.decompress(left[start : start + PART])
            if unpacker.eof or len(found) > MAX_BODY:
                left = unpacker.unused_data + left[start + PART :]
                break
        else:
            raise zstandard.ZstdError("cut")
    return found


def _said(raw: bytes, packing: str, charset: str | None) -> str:
    """Return the text of an error; nothing where it cannot be unpacked, for its status says most."""
    try:
        return _decoded(unpacked(raw, packing), charset)
    except ProviderError:
        return ""


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


def _parsed(text: str, reply: aiohttp.ClientResponse, mask: Mask) -> dict[str, Any]:
    if not text.strip():
        raise Unavailable(f"the reply is no JSON but empty, with the status {reply.status}", status=OK)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unavailable(f"the reply is no JSON: {short(mask(text))}", status=OK) from None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise Unavailable(f"the reply is no object: {short(mask(text))}", status=OK)
    return found
