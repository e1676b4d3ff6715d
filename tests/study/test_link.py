"""The channel between a run and its workers: only those with the token get in, and lines come whole and in order."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from speed import HANG_S

from emdsl.study.link import Link, LinkServer, connect


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
def test_messages_go_both_ways_in_order(host: str | None) -> None:
    async def main() -> None:
        came: asyncio.Queue[tuple[int, Link]] = asyncio.Queue()
        async with LinkServer(lambda n, link: came.put_nowait((n, link)), host=host) as server:
            if host is None:
                assert stat.S_IMODE(Path(server.place["path"]).parent.stat().st_mode) == 0o700
            worker = await connect(server.place, 7)
            number, run = await came.get()
            assert number == 7
            for i in range(100):
                worker.send({"n": i, "text": "a\nü" * i})
            assert [await run.receive() for _ in range(100)] == [{"n": i, "text": "a\nü" * i} for i in range(100)]
            run.send({"large": "x" * 1_000_000})
            assert await worker.receive() == {"large": "x" * 1_000_000}
            await run.finish()
            assert await worker.receive() is None
            worker.send({"to": "nobody"})
            await worker.finish()

    asyncio.run(asyncio.wait_for(main(), HANG_S))


@pytest.mark.parametrize(
    "hello", [{"token": "wrong", "worker": 0}, {"token": "ü", "worker": 0}, {"worker": 0}, {"token": 1}, ["token"]]
)
def test_nobody_gets_in_without_the_token(hello: Any) -> None:
    async def main() -> None:
        came = list[int]()
        async with LinkServer(lambda n, _: came.append(n)) as server:
            link = Link(*await asyncio.open_unix_connection(server.place["path"]))
            link.send(hello)
            assert await link.receive() is None
            await link.finish()
        assert not came

    asyncio.run(asyncio.wait_for(main(), HANG_S))
