"""How a server is reached: base URLs, proxies, certificates, what packs a reply, what breaks a connection."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import subprocess
import zlib
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import zstandard
from aiohttp import web
from providers.asking import CHAT, CLAUDE, GEMINI, ask, reply

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.prompt import Message, Prompt
from emdsl.providers import http as http_module
from emdsl.providers.address import BadNetworkSettings, join_url, proxy_of, why_invalid
from emdsl.providers.client import Client
from emdsl.providers.http import Http
from emdsl.providers.secret import why_unusable
from emdsl.query import Model, Query, RequestSettings
from emdsl.service import SERVICES
from emdsl.value import EnvVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

ANSWER = json.dumps(reply(CHAT, "yes")).encode()


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://h/v1", "/messages", "https://h/v1/messages"),
        ("https://h/v1/", "/messages", "https://h/v1/messages"),
        ("https://h/v1?api-version=2024-10-21", "/chat/completions",
         "https://h/v1/chat/completions?api-version=2024-10-21"),
        ("https://h/openai/deployments/d/?api-version=1&x=a%20b", "/chat/completions",
         "https://h/openai/deployments/d/chat/completions?api-version=1&x=a%20b"),
        ("http://127.0.0.1:8000", "/models", "http://127.0.0.1:8000/models"),
    ],
)  # fmt: skip
def test_a_path_goes_behind_a_base_url(base: str, path: str, url: str) -> None:
    """A query stays at the end; a slash too many is one."""
    assert join_url(base, path) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://h/v1", ""), ("http://localhost:1/v1", ""), ("http://[::1]:1/v1", ""),
        ("https://h/v1#part", "contains `#`"), ("https://h/v1/chat/completions", "ends in `/chat/completions`"),
        ("https://h/v1/messages/", "ends in `/messages`"), ("https://h/v1/responses?x=1", "ends in `/responses`"),
        ("h/v1", "is not a URL"), ("ftp://h/v1", "is not a URL"), ("https://", "is not a URL"),
        ("https://h:99999/v1", "is not a URL"),
        ("https://joe:secret@h/v1", "holds a user name or password"), ("http://h/v1", "is not https"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_base_url(url: str, said: str) -> None:
    """Told before anything is sent."""
    found = why_invalid(url, insecure=False)
    assert (found == "") == (said == "")
    assert said in found
    assert "secret" not in found


PROXY = {"https_proxy": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://h/v1", {}, None),
        ("https://h/v1", PROXY, "http://proxy:3128"),
        ("https://h/v1", {"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ("https://h/v1", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("http://h/v1", PROXY, None),
        ("http://localhost:1/v1", {"http_proxy": "http://p:1"}, None),
        ("http://127.0.0.1:1/v1", {"http_proxy": "http://p:1"}, None),
        ("https://h/v1", PROXY | {"no_proxy": "h"}, None),
        ("https://a.h/v1", PROXY | {"NO_PROXY": ".h"}, None),
        ("https://a.h/v1", PROXY | {"NO_PROXY": "*.h"}, None),
        ("https://ah/v1", PROXY | {"NO_PROXY": ".h"}, "http://proxy:3128"),
        ("https://h/v1", PROXY | {"NO_PROXY": "x, *"}, None),
        ("https://h/v1", PROXY | {"NO_PROXY": "h:443"}, None),
        ("https://h:8443/v1", PROXY | {"NO_PROXY": "h:443"}, "http://proxy:3128"),
        ("https://10.1.2.3/v1", PROXY | {"NO_PROXY": "10.0.0.0/8,192.168.0.0/16"}, None),
        ("https://11.1.2.3/v1", PROXY | {"NO_PROXY": "10.0.0.0/8"}, "http://proxy:3128"),
        ("https://10.1.2.3:8443/v1", PROXY | {"NO_PROXY": "10.1.2.3"}, None),
        ("https://[fd00::7]/v1", PROXY | {"NO_PROXY": "fd00::/8"}, None),
        ("https://[fd00::7]:1/v1", PROXY | {"NO_PROXY": "[fd00::7]:1"}, None),
        ("https://[fd00::7]/v1", PROXY | {"NO_PROXY": "fd00::7"}, None),
        ("https://h/v1", PROXY | {"NO_PROXY": "not-a-network/99, ,:,"}, "http://proxy:3128"),
    ],
)
def test_which_proxy(url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As curl reads the variables: networks, domains and ports too."""
    monkeypatch.setattr("urllib.request.getproxies", dict)
    assert proxy_of(url, environment) == proxy


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "ftp"])
def test_http_is_spoken_to_no_other_proxy(scheme: str) -> None:
    """The variable is named, with what to do; nothing is sent."""
    environment = {"ALL_PROXY": f"{scheme}://joe:hunter2@p:1080"}
    with pytest.raises(BadNetworkSettings, match=f"`ALL_PROXY` names a `{scheme}` proxy") as raised:
        proxy_of("https://h/v1", environment)
    assert "hunter2" not in str(raised.value)
    model = Model(name="m", use="openai/m", service=SERVICES["openai"], wire_name="m", key=EnvVar("K"))
    said = why_unusable(model, environment | {"K": "sk-1234567890"})
    assert said is not None
    assert "NO_PROXY" in said


@asynccontextmanager
async def speaking(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    open_: list[tuple[asyncio.Task[Any], asyncio.StreamWriter]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        open_.append((task, writer))
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            await task

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in open_:
            task.cancel()
            writer.transport.abort()
        await asyncio.sleep(0.01)


def test_a_connection_that_does_not_come_about_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a server, while it is waited for: a firewall that drops what is sent says nothing."""
    monkeypatch.setattr(http_module, "CONNECT_S", 0.6)
    monkeypatch.setattr(http_module, "SLOW_S", 0.1)
    said: list[str] = []

    async def main() -> None:
        full = socket.socket()  # its queue is full: further connections are not accepted
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(3)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        http = Http(2, {}, said.append)
        try:
            url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
            for _ in range(2):
                with pytest.raises(Unavailable, match="no connection to"):
                    await http.post(url, b"{}", {}, mask=str, timeout_s=5)
        finally:
            await http.close()
            for made in (full, *others):
                made.close()

    asyncio.run(main())
    (line,) = said
    assert line.startswith("no connection to http://127.0.0.1:")


def asked(
    handle: Any, *, context: ssl.SSLContext | None = None, scheme: str = "http", timeout_s: float = 5,
    environment: dict[str, str] | None = None,
) -> str:  # fmt: skip
    """Return what a request to a server of bytes comes to."""

    async def main() -> str:
        async with speaking(handle, context) as port:
            http = Http(2, {} if environment is None else environment)
            try:
                url = f"{scheme}://127.0.0.1:{port}/v1"
                found, _ = await http.post(url, b"{}", {}, mask=str, timeout_s=timeout_s)
                return str(found["choices"][0]["message"]["content"])
            finally:
                await http.close()

    return asyncio.run(main())


def replies(body: bytes, head: bytes = b"") -> Any:
    """Return a server that answers each request with bytes, under headers of its own."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head)
        writer.write(b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    return handle


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_certificate_that_is_not_trusted_is_named_as_the_cause(certified: ssl.SSLContext) -> None:
    """And how one's own are trusted."""
    with pytest.raises(Unavailable, match=r"certificate is not trusted \(.*\); set `SSL_CERT_FILE`") as raised:
        asked(replies(ANSWER), context=certified, scheme="https")
    assert not raised.value.paid


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_ones_own_are_trusted(
    variable: str, authority: trustme.CA, certified: ssl.SSLContext, tmp_path: Path
) -> None:
    """By the variables that other tools read, from a `.env` file too."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    environment = {variable: str(tmp_path / "ca.pem")}
    assert asked(replies(ANSWER), context=certified, scheme="https", environment=environment) == "yes"
    for text, said in (("", "certificates that do not exist"), ("no certificate", "a file without certificates")):
        file = tmp_path / "other.pem"
        file.write_text(text) if text else None
        model = Model(name="m", use="openai/m", service=SERVICES["openai"], wire_name="m", key=EnvVar("K"))
        found = why_unusable(model, {"K": "sk-1234567890", variable: str(file)})
        assert found is not None
        assert (variable in found, said in found) == (True, True)
        file.unlink(missing_ok=True)


def test_certificates_of_a_folder_are_trusted(authority: trustme.CA, certified: ssl.SSLContext, tmp_path: Path) -> None:
    """Files of it are called by the hash of their subject, as `openssl rehash` does."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    hashed = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", "ca.pem"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    (tmp_path / "ca.pem").rename(tmp_path / f"{hashed.stdout.strip()}.0")
    environment = {"SSL_CERT_DIR": f"{tmp_path}"}
    assert asked(replies(ANSWER), context=certified, scheme="https", environment=environment) == "yes"


def test_a_server_without_encryption_is_named(certified: ssl.SSLContext) -> None:
    """https to a server that speaks http, and http to one that speaks https."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    with pytest.raises(Unavailable, match="does not support TLS"):
        asked(plain, scheme="https")
    with pytest.raises(Unavailable, match=r"closed the connection|the connection to .* broke|is not valid HTTP"):
        asked(replies(ANSWER), context=certified)


def test_a_server_that_says_nothing_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts the connection, and does not greet: told as that, after the time for connections."""
    monkeypatch.setattr(http_module, "CONNECT_S", 0.3)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    with pytest.raises(Unavailable, match=r"within 0.3 s \(or the server did not answer the TLS") as raised:
        asked(silent, scheme="https")
    assert not raised.value.paid


ZIPPED = gzip.compress(ANSWER)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", ZIPPED), ("x-gzip", ZIPPED), ("GZIP", ZIPPED), ("deflate", zlib.compress(ANSWER)),
        ("deflate", zlib.compress(ANSWER, wbits=-15)), ("zstd", zstandard.compress(ANSWER)),
        ("gzip, zstd", zstandard.compress(ZIPPED)), ("identity", ANSWER), ("", ANSWER),
        ("gzip", gzip.compress(ANSWER[:9], mtime=0) + gzip.compress(ANSWER[9:], mtime=0)),
        ("zstd", zstandard.compress(ANSWER[:9]) + zstandard.compress(ANSWER[9:])),
        ("gzip", ANSWER), ("zstd", ANSWER), ("deflate", ANSWER),
    ],
    ids=range(14),
)  # fmt: skip
def test_replies_are_unpacked(encoding: str, body: bytes) -> None:
    """By what they say; one that only says so is taken as it is."""
    assert asked(replies(body, f"Content-Encoding: {encoding}\r\n".encode())) == "yes"


@pytest.mark.parametrize(
    ("encoding", "body", "kind", "said"),
    [
        ("br", b"\x0b\x02\x80{}", Rejected, "unsupported encoding `br`"),
        ("gzip", ZIPPED[:-20], Unavailable, "the reply is not valid `gzip`"),
        ("zstd", b"\x00not packed at all", Unavailable, "the reply is not valid `zstd`"),
        ("zstd", zstandard.compress(ANSWER)[:-6], Unavailable, "the reply is not valid `zstd`"),
        ("gzip", gzip.compress(b" " * (65 * 2**20)), Rejected, "larger than 64 MiB"),
        ("zstd", zstandard.compress(b" " * (65 * 2**20)), Rejected, "larger than 64 MiB"),
    ],
    ids=range(6),
)
def test_what_cannot_be_unpacked_is_named(encoding: str, body: bytes, kind: type[ProviderError], said: str) -> None:
    """And a small reply that unpacks to more than fits is given up in time."""
    with pytest.raises(kind, match=said):
        asked(replies(body, f"Content-Encoding: {encoding}\r\n".encode()))


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b""), ("br", b"x"), ("gzip", b"not packed")], ids=range(3))
def test_an_error_is_known_by_its_status_however_it_is_packed(encoding: str, body: bytes) -> None:
    """What cannot be unpacked says nothing; the status does."""
    packed = {"Content-Encoding": encoding}
    with pytest.raises(Throttled) as raised:
        ask(lambda *_: web.Response(status=429, body=body, headers=packed | {"Retry-After": "3"}))
    assert raised.value.wait_s == 3
    with pytest.raises(Rejected, match="401"):
        ask(lambda *_: web.Response(status=401, body=body, headers=packed))


@pytest.mark.parametrize("proxy", ["http://u:pw1234567@[bad]:80", "http://h:99999"])
def test_a_proxy_that_is_none_is_told(proxy: str) -> None:
    """Before anything is sent, without what it holds."""
    with pytest.raises(BadNetworkSettings, match="`HTTPS_PROXY` is not the URL of a proxy") as raised:
        proxy_of("https://h/v1", {"HTTPS_PROXY": proxy})
    assert "pw1234567" not in str(raised.value)


def test_long_headers_cost_no_answer() -> None:
    """Gateways add some of 12 kB."""
    assert asked(replies(ANSWER, b"X-Trace: " + b"a" * 12_000 + b"\r\n")) == "yes"


def test_a_reply_that_is_no_http_is_named() -> None:
    """With what the rules say of it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    with pytest.raises(Unavailable, match="is not valid HTTP"):
        asked(handle)


def test_connections_show_signs_of_life() -> None:
    """A model may think for minutes, and what stands between drops connections that are idle."""
    made = http_module._keepalive_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1)))
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    made.close()


@pytest.mark.parametrize("use", [CHAT, CLAUDE, GEMINI])
def test_headers_of_a_model_are_sent(use: str) -> None:
    """Texts as they are, variables by their value, in the place of a format's own; nobody is told the value."""
    seen: dict[str, str] = {}
    token = "hunter-secret"  # without a digit, and no longer than a word: the program says that it is a secret

    async def handler(request: web.Request) -> web.Response:
        seen.update(request.headers)
        return web.json_response(reply(use, f"you said {token}"))

    async def main() -> str:
        app = web.Application()
        app.router.add_post("/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service, _, name = use.partition("/")
        headers = (("X-Team", "a"), ("x-token", EnvVar("TEAM_TOKEN")), ("authorization", EnvVar("BASIC")))
        model = Model(
            name="m", use=use, service=SERVICES[service], wire_name=name, headers=headers, key=EnvVar("K"),
            url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1",
        )  # fmt: skip
        environment = {"TEAM_TOKEN": f" {token}\n", "K": "sk-planted-0123456789", "BASIC": "Basic am9lOmhvbmV5"}
        http = Http(1)
        try:
            query = Query(
                RequestSettings(model, model.service.implied_params), Prompt((Message("user", "x"),)), 0, b"k" * 32
            )
            return (await Client(http, environment).ask(query, 0, lambda _: None)).text
        finally:
            await http.close()
            await runner.cleanup()

    assert asyncio.run(main()) == "you said [API key]"
    assert (seen["X-Team"], seen["x-token"], seen["Authorization"]) == ("a", token, "Basic am9lOmhvbmV5")


def test_a_query_of_a_url_arrives() -> None:
    """Azure's `api-version` stands behind the path."""
    seen: list[str] = []

    def handler(request: web.Request, _: Any) -> web.Response:
        seen.append(request.path_qs)
        return web.json_response(reply(CHAT, "yes"))

    ask(handler, query="?api-version=2024-10-21")
    assert seen == ["/v1/chat/completions?api-version=2024-10-21"]
