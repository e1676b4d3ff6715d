"""The server of the viewer: on loopback, for who has the token, from pages of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.errors import EmdslError
from emdsl.study.screen import plain_json
from emdsl.view.comparing import Comparing
from emdsl.view.endpoints import Endpoints
from emdsl.view.events import events
from emdsl.view.marks import MarkEndpoints

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emdsl.view.session import Session

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATIC = Path(__file__).parent / "static"
HOSTS = ("127.0.0.1", "localhost", "[::1]")  # names of this machine; the port may be that of an SSH tunnel
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
         ".txt": "text/plain"}  # fmt: skip
MAX_BODY = 64 * 2**10  # bytes of a request
TOKEN = "token"  # noqa: S105 - the parameter of the URL, not a secret
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Viewer:
    """A running viewer; `url` opens it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._comparing = Comparing(session)
        self._token = secrets.token_urlsafe(24)
        self._once = secrets.token_urlsafe(24)  # other users of the machine can see what a browser is started with
        self._cookie = f"emdsl_view_{secrets.token_hex(4)}"  # cookies of one host are shared by all of its ports
        self._runner: web.AppRunner | None = None
        self._watching: asyncio.Task[None] | None = None
        self._first: asyncio.Task[None] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The URL of the first page, with the token."""
        return f"http://127.0.0.1:{self.port}/?{TOKEN}={self._token}"

    @property
    def url_once(self) -> str:
        """The same URL with a token that is valid once, for the command that starts a browser."""
        return f"http://127.0.0.1:{self.port}/?{TOKEN}={self._once}"

    def application(self) -> web.Application:
        """Return the application."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._guarded])
        ends, pairs, marks = Endpoints(self._session), self._comparing, MarkEndpoints(self._session)
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{path:[a-z0-9_./-]+}", self._file)
        for end in (ends.state, ends.study, ends.overview, ends.failures, ends.rows, ends.count, ends.grid, ends.row,
                    ends.counted, ends.curl, ends.annotations, ends.annotate, pairs.conditions, pairs.strip,
                    pairs.differences, pairs.flips, pairs.difference, pairs.versions, pairs.version, pairs.version_row,
                    marks.marks, marks.pins, marks.examples, marks.copies, marks.why):  # fmt: skip
            app.router.add_get(f"/api/{end.__name__}", self._reading(end))
        app.router.add_get("/api/events", self._events, allow_head=False)
        for write in (ends.judge, marks.mark, marks.unpin):
            app.router.add_post(f"/api/{write.__name__}", self._writing(write))
        app.router.add_post("/api/refresh", self._reading(ends.refresh))
        return app

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; port 0 chooses a free port. Raises OSError."""
        self._runner = web.AppRunner(
            self.application(), access_log=None, handle_signals=False, shutdown_timeout=0.5, handler_cancellation=True
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]
        self._watching = asyncio.create_task(self._session.watch())
        self._first = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        """Compute the figures before the first page asks for them: of a million rows they take seconds."""
        with suppress(EmdslError, OSError):
            await Endpoints(self._session).overview({})

    async def stop(self) -> None:
        """Stop listening."""
        for task in (self._watching, self._first):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self._session.end_streams()  # else the server waits for the clients that hold one open
        if self._runner is not None:
            await self._runner.cleanup()
        await self._comparing.stop()
        await self._session.stop()

    # ------------------------------------------------------------ who may ask

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            refused = self._refused(request)
            response = refused if refused is not None else await handler(request)
        except web.HTTPException as error:
            response = _error(error.status, error.reason)
        if not response.prepared:  # a stream has sent them
            response.headers.update(HEADERS)
        return response

    def _refused(self, request: web.Request) -> web.Response | None:
        """Return why a request is refused, or None."""
        host = request.headers.get("Host", "")
        if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
            return _error(403, "this server is reached by http://127.0.0.1 only")  # a name that an attacker controls
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and request.path != "/":
            return _error(403, "the request comes from another site")
        if request.method not in ("GET", "HEAD") and request.headers.get("Origin") != f"http://{host}":
            return _error(403, "the request comes from another site")
        if request.path.startswith("/api/") and not self._knows(request.cookies.get(self._cookie, "")):
            return _error(401, "open the URL that `emdsl view` has printed")
        return None

    def _knows(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self._token.encode())

    def _admits(self, token: str) -> bool:
        """Whether a page with a token gets the cookie."""
        if self._once and secrets.compare_digest(token.encode(), self._once.encode()):
            self._once = ""
            return True
        return self._knows(token)

    # ------------------------------------------------------------ pages

    async def _page(self, request: web.Request) -> web.StreamResponse:
        """Return the page; with the right token it gets the cookie that its requests need."""
        response = _static("index.html")
        if self._admits(request.query.get(TOKEN, "")):
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict", path="/")
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if ".." in path or not (STATIC / path).is_file() or Path(path).suffix not in TYPES:
            raise web.HTTPNotFound
        return _static(path)

    # ------------------------------------------------------------ data

    @staticmethod
    def _reading(end: Callable[[Any], Awaitable[dict[str, Any]]]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await _answered(end(request.query))

        return handle

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send what moves until the page goes away."""
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):
            async for event in events(self._session):
                await response.write(event)
        return response

    @staticmethod
    def _writing(end: Callable[[bytes], Awaitable[dict[str, Any]]]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await _answered(end(await request.read()))

        return handle


async def _answered(answer: Awaitable[dict[str, Any]]) -> web.Response:
    try:
        shown = await answer
    except OSError as error:
        return _error(400, f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except EmdslError as error:
        return _error(400, str(error))
    text = await asyncio.to_thread(lambda: json.dumps(plain_json(shown), ensure_ascii=False, separators=(",", ":")))
    response = web.Response(text=text, content_type="application/json")
    if len(text) > 2_000:
        response.enable_compression()
    return response


def _error(status: int, message: str) -> web.Response:
    return web.Response(
        status=status, text=json.dumps({"error": plain_json(message)}, ensure_ascii=False),
        content_type="application/json",
    )  # fmt: skip


def _static(path: str) -> web.Response:
    response = web.Response(body=(STATIC / path).read_bytes(), content_type=TYPES[Path(path).suffix], charset="utf-8")
    response.enable_compression()
    return response
