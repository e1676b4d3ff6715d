"""Calls to the simulator's batch endpoints over a socket, and lines of batches in each format."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
from speed import HANG_S

from emdsl.sim.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
HI = [{"role": "user", "content": "hi"}]
VERSION = {"anthropic-version": "2023-06-01"}
CLAUDE = {"model": "claude-x", "max_tokens": 99, "messages": HI}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


class Calls:
    """Calls to a running simulator, each of which returns the status and the reply."""

    def __init__(self, url: str, session: aiohttp.ClientSession, counts: Counter[str] | None = None) -> None:
        self.url = url.removesuffix("/v1")
        self.session = session
        self.counts = Counter[str]() if counts is None else counts  # of a simulator in this process

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes | aiohttp.FormData) or body is None else json.dumps(body)
        given = VERSION | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, data=data, headers=given) as reply:
            return reply.status, await (reply.json() if reply.content_type.endswith("json") else reply.read())

    async def upload(self, content: bytes, name: str = "a.jsonl", purpose: str = "batch") -> tuple[int, Any]:
        form = aiohttp.FormData()
        form.add_field("purpose", purpose)
        form.add_field("file", content, filename=name)
        return await self.call("POST", "/v1/files", form)

    async def create(self, lines: Iterable[Any] | bytes, endpoint: str = CHAT, **fields: Any) -> dict[str, Any]:
        """Upload the lines of a batch of OpenAI's and create it."""
        content = lines if isinstance(lines, bytes) else jsonl(lines)
        status, file = await self.upload(content)
        assert status == 200, file
        body = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h", **fields}
        status, batch = await self.call("POST", "/v1/batches", body)
        assert status == 200, batch
        return dict(batch)

    async def poll(self, path: str, done: Callable[[Any], bool]) -> Any:
        """Get a path until its reply is as expected."""
        end = time.monotonic() + HANG_S
        while time.monotonic() < end:
            status, reply = await self.call("GET", path)
            assert status == 200, reply
            if done(reply):
                return reply
            await asyncio.sleep(0.005)
        raise AssertionError(reply)

    async def ended(self, batch: dict[str, Any]) -> Any:
        """Wait for the end of a batch of OpenAI's."""
        active = ("validating", "in_progress", "finalizing", "cancelling")
        return await self.poll(f"/v1/batches/{batch['id']}", lambda b: b["status"] not in active)

    async def lines(self, file: str | None) -> list[dict[str, Any]]:
        """Return the lines of a file of OpenAI's; none of no file."""
        return [] if file is None else rows((await self.call("GET", f"/v1/files/{file}/content"))[1])


def run(test: Callable[[Calls], Awaitable[None]], **settings: Any) -> Counter[str]:
    """Run a test against a simulator with settings; return its counts."""

    async def main() -> Counter[str]:
        simulator = Simulator(**{"batch_s": 0.0, **settings})
        await simulator.start()
        try:
            async with aiohttp.ClientSession() as session:
                await test(Calls(simulator.url, session, simulator.counts))
        finally:
            await simulator.stop()
        return simulator.counts

    return asyncio.run(main())


def jsonl(lines: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def line(custom_id: str, url: str = CHAT, **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o", "messages": HI} if url == CHAT else {"model": "gpt-4o", "input": "hi"}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **changes}


def asked(custom_id: str, **changes: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": CLAUDE | changes}


def generated(key: str, **changes: Any) -> dict[str, Any]:
    return {"key": key, "request": GEMINI | changes}
