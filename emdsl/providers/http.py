"""One request over HTTP: connection, timeout, size limits. The door to aiohttp for requests."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp

from emdsl.errors import ProviderError, Rejected, Unavailable
from emdsl.providers.address import CA_FILES, BadNetworkSettings, certificates, is_encrypted, proxy_of, server_of
from emdsl.providers.compression import ENCODINGS, MAX_BODY, decompress, too_large
from emdsl.providers.error_body import find_error
from emdsl.providers.http_errors import OK, error_in_200, error_of, short
from emdsl.providers.limits import read_limits
from emdsl.providers.streaming import EVENTS, assemble, read_events
from emdsl.providers.wire import plain_json
from emdsl.service import OPENAI
from emdsl.version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Container, Mapping
    from types import SimpleNamespace

    from aiohttp.connector import AddrInfoType

    from emdsl.providers.limits import Limits

    Mask = Callable[[str], str]

TIMEOUT_S = 600.0  # reasoning models think for minutes
CONNECT_S = 30.0
LATE_S = 1.0  # by which a timer fires late if this process did something else meanwhile: its requests were not served
SLOW_S = 4.0  # without a connection, until that is reported
SUCCESS = range(200, 300)  # 201 and 203 too may carry an answer
MAX_HEADER = 64 * 2**10  # bytes of one header of a reply
KEEPALIVE_S = 30  # between two probes on an idle connection
MALFORMED = "not sent: the `url`, the proxy or a header is malformed"


class Http:
    """Sends JSON and gets JSON; keeps connections open between requests."""

    def __init__(
        self, connections: int, environment: Mapping[str, str] = os.environ,
        on_slow: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._slow: set[str] = set()  # servers that were reported as slow to connect
        self._on_slow = on_slow
        self._routes: dict[str, _Route] = {}  # by URL
        self._environment = environment
        self._connecting = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        self._connector = aiohttp.TCPConnector(
            limit=connections, keepalive_timeout=60, ttl_dns_cache=300, socket_factory=_keepalive_socket
        )
        self._session = self._opened([])
        self._watched = self._opened([_trace_config()])  # until a server has answered: hooks cost time

    def _opened(self, traces: list[aiohttp.TraceConfig]) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=self._connector, connector_owner=False, cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": f"emdsl/{__version__}", "Content-Type": "application/json",
                "Accept-Encoding": ", ".join(ENCODINGS), "Accept": f"application/json, {EVENTS}",
            },
            auto_decompress=False,  # servers use encodings that were not requested, or declare them for plain replies
            max_line_size=MAX_HEADER, max_field_size=MAX_HEADER, trace_configs=traces,
        )  # fmt: skip

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._watched.close()
        await self._connector.close()

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, mask: Mask, timeout_s: float | None,
        format_: str = OPENAI, on_limits: Callable[[Limits], None] = lambda _: None,
    ) -> tuple[dict[str, Any], str | None]:  # fmt: skip
        """Return a reply and the server's id of the request; raises ProviderError or Blocked.

        `mask` removes API keys from errors, not from the reply. `on_limits` gets the rate limits of every reply, of
        an error too. `format_` is the format of a streamed reply.
        """
        return await self._send(
            "POST", url, body, headers, mask=mask, timeout_s=timeout_s, on_limits=on_limits, format_=format_
        )

    async def get(self, url: str, headers: Mapping[str, str], *, mask: Mask) -> dict[str, Any]:
        """Return the reply of a GET request; see `post`."""
        reply, _ = await self._send(
            "GET", url, None, headers, mask=mask, timeout_s=CONNECT_S, on_limits=lambda _: None, format_=OPENAI
        )
        return reply

    async def _send(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], *, mask: Mask,
        timeout_s: float | None, on_limits: Callable[[Limits], None], format_: str,
    ) -> tuple[dict[str, Any], str | None]:  # fmt: skip
        async with self.open(
            method, url, headers, mask=mask, body=body, timeout_s=timeout_s, on_limits=on_limits
        ) as reply:
            raw = await read_body(reply)
            request_id = reply.headers.get("x-request-id") or reply.headers.get("request-id")
            if reply.content_type == EVENTS:
                content = assemble(read_events(_decode(raw, reply.charset)), format_, reply.headers, mask)
            else:
                content = _parse(raw, reply, mask)
            if (error := find_error(content)) is not None:  # some proxies wrap an error in a 200
                raise error_in_200(error, reply.headers, mask)
            return content, request_id

    @asynccontextmanager
    async def open(
        self, method: str, url: str, headers: Mapping[str, str], *, mask: Mask,
        body: bytes | AsyncIterator[bytes] | None = None, timeout_s: float | None = None, stall_s: float | None = None,
        on_limits: Callable[[Limits], None] = lambda _: None, accepted: Container[int] = SUCCESS,
    ) -> AsyncIterator[aiohttp.ClientResponse]:  # fmt: skip
        """Yield a reply with an accepted status, its body unread.

        Raises ProviderError or Blocked, for a connection that breaks while the body is read too.

        Args:
            method: of the request.
            url: of the request.
            headers: of the request, beside those of all requests.
            mask: as in `post`.
            body: of the request.
            timeout_s: for all of it, TIMEOUT_S if None; not with `stall_s`.
            stall_s: from one received byte to the next, however long all of it takes.
            on_limits: as in `post`.
            accepted: statuses that are not errors.
        """
        if stall_s is None:
            timeout, timeout_s = self._connecting, timeout_s or TIMEOUT_S
        else:
            timeout, timeout_s = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=stall_s), None
        with _Bounded(method, url, timeout_s, stall_s, mask):
            route = self._route(url)
            session = self._session if route.answers else self._watched
            async with session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                proxy=route.proxy,
                ssl=route.ssl,
                trace_request_ctx=None if route.answers else Connecting(partial(self._report_slow, route.server)),
            ) as reply:
                route.answers = True
                limits = read_limits(reply.headers)
                if limits is not None:
                    on_limits(limits)
                if reply.status not in accepted:
                    raw = await _read_bounded(reply)
                    encoding = reply.headers.get("Content-Encoding", "")
                    raise error_of(reply.status, reply.headers, _error_text(raw, encoding, reply.charset), mask)
                yield reply

    def _report_slow(self, server: str) -> None:
        if server not in self._slow:
            self._slow.add(server)
            self._on_slow(f"no connection to {server} for {SLOW_S:g} s; each attempt takes up to {CONNECT_S:g} s")

    def _route(self, url: str) -> _Route:
        """Return a URL, parsed, with its server and the proxy of that; raises BadNetworkSettings and ValueError."""
        route = self._routes.get(url)
        if route is None:
            proxy = proxy_of(url, self._environment)
            trusted = _certificates(self._environment) if is_encrypted(url) or proxy is not None else None
            route = self._routes[url] = _Route(server_of(url), proxy, trusted or True)
        return route


@dataclass(slots=True)
class _Route:
    """The way to a URL; `answers`: it has been taken before."""

    server: str
    proxy: str | None
    ssl: ssl.SSLContext | bool  # what certificates are checked against; True: the system's
    answers: bool = False


class Connecting:
    """A connection attempt; `on_slow` is called if it takes long."""

    def __init__(self, on_slow: Callable[[], None]) -> None:
        self._on_slow = on_slow
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start the timer of the attempt."""
        self._timer = asyncio.get_running_loop().call_later(SLOW_S, self._on_slow)

    def end(self) -> None:
        """Stop the timer: the attempt succeeded or failed."""
        if self._timer is not None:
            self._timer.cancel()


def _trace_config() -> aiohttp.TraceConfig:
    """Return hooks that start and stop the Connecting of each request."""

    async def begin(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.begin()

    async def end(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.end()

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(begin)
    config.on_connection_create_end.append(end)
    config.on_request_exception.append(end)
    return config


def _certificates(environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return the certificates that the environment adds; `why_unusable` has reported invalid ones."""
    try:
        return certificates(environment)
    except BadNetworkSettings:
        return None


def _keepalive_socket(address: AddrInfoType) -> socket.socket:
    """Return a socket with TCP keepalive: a model may think for minutes, and proxies drop idle connections."""
    family, kind, protocol, _, _ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", KEEPALIVE_S), ("TCP_KEEPALIVE", KEEPALIVE_S), ("TCP_KEEPINTVL", KEEPALIVE_S)):
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setblocking(False)
    return connection


class _Bounded:
    """Ends a request in time, and turns the errors of its connection into ours.

    The time in which this process served no connection, as it waited for a store, is not counted: the answer may have
    arrived meanwhile, and was paid for. It is a class, because a generator would cost every request 3 us.
    """

    __slots__ = ("_due", "_expired", "_loop", "_mask", "_method", "_n_cancels", "_stall_s", "_task", "_timeout_s",
                 "_timer", "_url")  # fmt: skip

    def __init__(self, method: str, url: str, timeout_s: float | None, stall_s: float | None, mask: Mask) -> None:
        self._method, self._url, self._timeout_s, self._stall_s, self._mask = method, url, timeout_s, stall_s, mask
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if self._timeout_s is not None and task is not None:
            self._loop, self._task, self._n_cancels = asyncio.get_running_loop(), task, task.cancelling()
            self._due = self._loop.time() + self._timeout_s
            self._timer = self._loop.call_at(self._due, self._expire)

    def _expire(self) -> None:
        now = self._loop.time()
        if (late_s := now - self._due) > LATE_S:
            self._due = now + late_s
            self._timer = self._loop.call_at(self._due, self._expire)
            return
        self._expired = True
        self._task.cancel()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._n_cancels and isinstance(error, asyncio.CancelledError):
            error = TimeoutError()
        match error:
            case BadNetworkSettings():
                raise Rejected(f"not sent: {error}", for_all=True) from None
            case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
                raise Rejected(MALFORMED, for_all=True) from None
            case TimeoutError() | aiohttp.ClientError() | OSError():
                sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
                message = _describe(error, self._url, self._timeout_s or self._stall_s)
                raise Unavailable(self._mask(message), paid=sent and self._method == "POST") from None
            case ValueError():  # not a wrong certificate, which is one too; its text may contain a proxy's password
                raise Rejected(MALFORMED, for_all=True) from None


def _describe(error: Exception, url: str, timeout_s: float | None) -> str:
    """Describe a network error in our own words: the text of a library may contain a password."""
    server = server_of(url)
    match error:
        case aiohttp.ConnectionTimeoutError():
            silent = " (or the server did not answer the TLS handshake)" if url.startswith("https:") else ""
            return f"no connection to {server} within {CONNECT_S:g} s{silent}"
        case asyncio.TimeoutError():
            return f"no answer from {server} within {timeout_s:g} s"
        case aiohttp.ClientConnectorCertificateError():
            return (
                f"no encrypted connection to {server}: its certificate is not trusted"
                f"{_why_not_trusted(error)}; set `{CA_FILES[0]}` to trust your own certificates"
            )
        case aiohttp.ClientConnectorSSLError():
            return f"no encrypted connection to {server}: it does not support TLS, or only an unsupported version"
        case aiohttp.ClientProxyConnectionError():
            return f"no connection to the proxy for {server}: check `HTTPS_PROXY` and `NO_PROXY`"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy for {server} refused the connection: {error.status} {error.message}"
        case aiohttp.ClientConnectorError():
            return f"no connection to {server}: {_os_reason(error.os_error)}"
        case aiohttp.ClientResponseError():
            reason = error.message.partition("\n\n")[0].rstrip(": ")  # the parser quotes bytes after it
            return f"the reply of {server} is not valid HTTP: {short(reason)}"
        case aiohttp.ServerDisconnectedError():
            return f"{server} closed the connection without a reply"
        case aiohttp.ClientPayloadError():
            return f"{server} closed the connection before the end of its reply"
        case OSError():
            return f"the connection to {server} broke: {_os_reason(error)}"
        case _:
            return f"the connection to {server} broke"


def _why_not_trusted(error: aiohttp.ClientConnectorCertificateError) -> str:
    reason = getattr(error.certificate_error, "verify_message", "")
    return f" ({reason})" if reason else ""


def _os_reason(error: OSError) -> str:
    is_standard = error.errno is not None and error.errno in errno.errorcode
    return os.strerror(error.errno) if is_standard and error.errno else error.strerror or type(error).__name__


async def read_body(reply: aiohttp.ClientResponse) -> bytes:
    """Return the body of a reply, decompressed; raises Unavailable, Rejected."""
    raw = await _read_bounded(reply)
    encoding = reply.headers.get("Content-Encoding", "")
    return decompress(raw, encoding) if encoding else raw


async def _read_bounded(reply: aiohttp.ClientResponse) -> bytes:
    length = reply.content_length
    if length is not None and length <= MAX_BODY:
        return await reply.read()
    raw = bytearray()
    async for chunk in reply.content.iter_chunked(1 << 20):
        raw += chunk
        if len(raw) > MAX_BODY:
            raise too_large(reply.status)
    return bytes(raw)


def _error_text(raw: bytes, encoding: str, charset: str | None) -> str:
    """Return the text of an error, "" if it cannot be decompressed: its status says most."""
    try:
        return _decode(decompress(raw, encoding), charset)
    except ProviderError:
        return ""


def _decode(raw: bytes, charset: str | None) -> str:
    """Return the text of a reply, without byte order mark: as UTF-8 if possible, else by its declared charset."""
    for name in ("utf-8", charset or "", json.detect_encoding(raw)):
        try:
            text = raw.decode(name) if name else ""
        except (LookupError, UnicodeError):
            continue
        if text and "\0" not in text[:4]:
            return text.removeprefix("\ufeff")
    return raw.decode("utf-8", "replace")


def _parse(raw: bytes, reply: aiohttp.ClientResponse, mask: Mask) -> dict[str, Any]:
    content = parse_json(raw, reply, mask)
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        raise Unavailable(f"the reply is not a JSON object: {short(mask(_decode(raw, reply.charset)))}", status=OK)
    return content


def parse_json(raw: bytes, reply: aiohttp.ClientResponse, mask: Mask) -> Any:
    """Return the JSON of a reply's body; raises Unavailable."""
    content = plain_json(raw)
    if content is not None:
        return content
    text = _decode(raw, reply.charset)
    if not text.strip():
        raise Unavailable(f"the reply is empty, with status {reply.status}", status=OK)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unavailable(f"the reply is not JSON: {short(mask(text))}", status=OK) from None
