"""A provider of batches on loopback: a table of replies, and a record of all that arrives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.body import RESPONSES
from emdsl.errors import ProviderError
from emdsl.providers.client import Client
from emdsl.providers.http import Http
from emdsl.query import Model
from emdsl.service import SERVICES
from emdsl.value import EnvVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emdsl.providers.batches import Batch, BatchApi, Line

KEY = "sk-planted-key-0123456789"
IDS = [f"{i:064x}" for i in range(1, 9)]  # as keys are
PATHS = {
    "openai": "/chat/completions", "groq": "/chat/completions", "together": "/chat/completions",
    "mistral": "/chat/completions", "anthropic": "/messages", "google": "/models/m:generateContent",
}  # fmt: skip
ALL = tuple(PATHS)
URLS = {
    "openai": "/v1/batches/b1", "groq": "/v1/batches/b1", "together": "/v1/batches/b1",
    "mistral": "/v1/batch/jobs/b1", "anthropic": "/v1/messages/batches/b1", "google": "/v1/batches/b1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived."""

    call: str  # method and path, with its query
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply of the table."""

    content: Any = None  # JSON, or bytes as they are
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # bytes after which the connection is closed; the header promises all


Answer = Reply | Callable[[Seen], Awaitable[Reply] | Reply] | dict[str, Any] | list[Any] | bytes


class Provider:
    """Answers by a table of `METHOD /path`; of a list of replies to one call, the last stays. Without an entry: 404."""

    def __init__(self, table: Mapping[str, Answer | Sequence[Reply]]) -> None:
        self.table: dict[str, Any] = dict(table)
        self.seen: list[Seen] = []
        self.url = ""

    @property
    def calls(self) -> list[str]:
        return [s.call for s in self.seen]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(f"{request.method} {request.path_qs}", request.headers, await request.read())
        self.seen.append(seen)
        entry = self.table.get(seen.call, self.table.get(f"{request.method} {request.path}"))
        if isinstance(entry, list) and entry and isinstance(entry[0], Reply):
            entry = entry.pop(0) if len(entry) > 1 else entry[0]
        if callable(entry):
            entry = entry(seen)
            entry = await entry if isinstance(entry, Awaitable) else entry
        if entry is None:
            error = {"message": "No such thing", "type": "not_found_error", "code": "not_found"}
            entry = Reply(content={"error": error}, status=404)
        reply = entry if isinstance(entry, Reply) else Reply(content=entry)
        content = reply.content if isinstance(reply.content, bytes) else json.dumps(reply.content).encode()
        content = b"" if reply.content is None else content
        if reply.cut is None:
            return web.Response(body=content, status=reply.status, headers=reply.headers)
        response = web.StreamResponse(headers={**reply.headers, "Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: reply.cut])
        assert request.transport is not None
        request.transport.close()
        return response


def model(service: str, url: str, **more: Any) -> Model:
    return Model(
        name="m", use=f"{service}/m", service=SERVICES[service], wire_name="m", url=url, key=EnvVar("K"), **more
    )  # fmt: skip


def format_name(service: str, *, responses: bool = False) -> str:
    return RESPONSES if responses else SERVICES[service].format


def talk(
    service: str, table: Mapping[str, Answer | Sequence[Reply]], act: Callable[[BatchApi, Provider], Awaitable[Any]],
    *, responses: bool = False, environment: Mapping[str, str] | None = None, base: str = "/v1", **more: Any,
) -> tuple[Any, Provider]:  # fmt: skip
    """Return what `act` returns when it uses the batch API of a service at a provider with a table."""
    provider = Provider(table)

    async def main() -> Any:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", provider.serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        http = Http(4, {})
        client = Client(http, {"K": KEY} if environment is None else environment, run="r1")
        try:
            api = client.batches(
                model(service, provider.url + base, **more), 0, format_name(service, responses=responses)
            )
            return await act(api, provider)
        finally:
            await http.close()
            await runner.cleanup()

    return asyncio.run(main()), provider


async def collect(items: AsyncIterator[Any]) -> list[Any]:
    return [x async for x in items]


async def error_of(call: Awaitable[Any]) -> ProviderError:
    """Return the error that a call raises."""
    try:
        await call
    except ProviderError as error:
        return error
    raise AssertionError("no error")


def results(
    service: str, batch: Batch, table: Mapping[str, Answer | Sequence[Reply]], **more: Any
) -> tuple[list[Line], Provider]:
    """Return the results of a batch, in the order in which they come."""

    async def act(api: BatchApi, _: Provider) -> list[Line]:
        return await collect(api.results(batch))

    found, provider = talk(service, table, act, **more)
    return found, provider


def shard(folder: Path, service: str, n: int = 3) -> Path:
    """Write a file of the lines of n requests."""

    async def act(api: BatchApi, _: Provider) -> Path:
        path = folder / "shard.jsonl"
        path.write_bytes(b"".join(api.line(i, b'{"model":"m","x":"\xc3\xa9\\n"}', PATHS[service]) for i in IDS[:n]))
        return path

    found: Path = talk(service, {}, act)[0]
    return found


def jsonl(*rows: Any) -> bytes:
    return b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows)


def openai(**more: Any) -> dict[str, Any]:
    return {"id": "b1", "object": "batch", "status": "in_progress", "created_at": 9, "new_field": {"x": 1}} | more


def mistral(**more: Any) -> dict[str, Any]:
    return {"id": "b1", "object": "batch", "status": "RUNNING", "created_at": 9, "input_files": ["f1"]} | more


def claude(**more: Any) -> dict[str, Any]:
    return {"id": "b1", "processing_status": "in_progress", "created_at": "1970-01-01T00:00:09Z"} | more


def gemini(state: str, **more: Any) -> dict[str, Any]:
    about = {"state": state, "displayName": "t", "createTime": "1970-01-01T00:00:09Z"}
    return {"name": "batches/b1", "metadata": about | more.pop("metadata", {})} | more
