"""A viewer of a folder with a study, and a client that asks it as a page does."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import yarl
from aiohttp import ClientSession, CookieJar
from support import emdsl

from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.view.server import Viewer
from emdsl.view.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Use = Callable[["Client"], Awaitable[None]]


class Client:
    """A browser with the cookie, and the viewer that it asks."""

    def __init__(self, http: ClientSession, viewer: Viewer, session: Session) -> None:
        self.http, self.viewer, self.session = http, viewer, session
        self.root = viewer.url.split("/?")[0]

    async def get(self, path: str, *pairs: tuple[str, object], status: int = 200) -> Any:
        url = yarl.URL(f"{self.root}/api/{path}").with_query([(k, str(v)) for k, v in pairs])
        async with self.http.get(url) as reply:
            assert reply.status == status, await reply.text()
            return await reply.json()

    async def post(self, path: str, status: int = 200, **body: object) -> Any:
        headers = {"Origin": self.root}
        async with self.http.post(f"{self.root}/api/{path}", json=body, headers=headers) as reply:
            assert reply.status == status, await reply.text()
            return await reply.json()

    async def judge(self, status: int = 200, **body: object) -> Any:
        return await self.post("judge", status, **body)


@asynccontextmanager
async def viewing(folder: Path) -> AsyncIterator[Client]:
    file = folder / "study.em"
    session = Session(compile_study(open_project(file), file), "ann", [])
    session.open()
    viewer = Viewer(session)
    await viewer.start()
    try:
        async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
            async with http.get(viewer.url) as page:
                assert page.status == 200
            yield Client(http, viewer, session)
    finally:
        await viewer.stop()
        session.close()


def use(folder: Path, act: Use) -> None:
    async def main() -> None:
        async with viewing(folder) as client:
            await act(client)

    asyncio.run(main())


def queried(folder: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)
    return found
