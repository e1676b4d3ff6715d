"""A web server that shows a folder, counts what it sends, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class WebFolder:
    """The server: its URL, what it has sent, and how it behaves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, ""
        self.requests = self.sent = 0  # bytes
        self.ranges = True  # whether it knows parts of a file; the server of Python's library does not
        self.breaks_after: int | None = None  # requests for packs, from which on each one breaks off in the middle

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        path = self.folder / request.match_info["path"]
        if not path.is_file():
            raise web.HTTPNotFound
        content, status, headers = path.read_bytes(), 200, {}
        if self.ranges and (wanted := request.http_range) != slice(None, None, 1):
            headers = {"Content-Range": f"bytes {wanted.start}-{wanted.stop - 1}/{len(content)}"}
            content, status = content[wanted], 206
        if self.breaks_after is not None and path.suffix == ".pack":
            self.breaks_after -= 1
            if self.breaks_after < 0:
                response = web.StreamResponse(status=status, headers=headers)
                response.content_length = len(content)
                await response.prepare(request)
                await response.write(content[: len(content) // 2])
                assert request.transport is not None
                request.transport.close()
                return response
        self.sent += len(content)
        return web.Response(body=content, status=status, headers=headers)


@contextmanager
def served(folder: Path) -> Iterator[WebFolder]:
    """Serve a folder on loopback, in a thread."""
    server, app = WebFolder(folder), web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    with running(app) as server.url:
        yield server


@contextmanager
def running(app: web.Application) -> Iterator[str]:
    """Run a web server on loopback, in a thread; yield its URL."""
    loop, ready, urls = asyncio.new_event_loop(), threading.Event(), list[str]()

    async def begin() -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(begin())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
