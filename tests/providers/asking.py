"""One request of any format to a server on loopback that answers as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.errors import ProviderError
from emdsl.prompt import Message, Prompt
from emdsl.providers.client import Client
from emdsl.providers.http import Http
from emdsl.query import Model, Query, RequestSettings, Response
from emdsl.service import ANTHROPIC, GOOGLE, SERVICES
from emdsl.value import EnvVar

if TYPE_CHECKING:
    from emdsl.providers.limits import Limits

KEY = "sk-planted-key-0123456789"
Handler = Callable[[web.Request, dict[str, Any]], web.StreamResponse | Awaitable[web.StreamResponse]]
CHAT, RESPONSES, CLAUDE, GEMINI = "openai/m", "openai/o3-pro", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-pro"
FORMATS = (CHAT, RESPONSES, CLAUDE, GEMINI)


def ask(
    handler: Handler, text: str = "hi", *, use: str = CHAT, messages: tuple[tuple[str, str], ...] = (),
    told: list[Limits] | None = None, timeout_s: float = 2, shared: int = 0, query: str = "",
    **params: Any,
) -> Response:  # fmt: skip
    """Ask a server that answers by `handler`; `told` takes what it says of its limits."""

    async def serve(request: web.Request) -> web.StreamResponse:
        found = handler(request, await request.json())
        return await found if isinstance(found, Awaitable) else found

    async def main() -> Response:
        app = web.Application()
        app.router.add_post("/{path:.*}", serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/{query}"
        service, _, wire_name = use.partition("/")
        model = Model(
            name="m", use=use, service=SERVICES[service], wire_name=wire_name, url=url, key=EnvVar("K"),
            timeout_s=timeout_s,
        )  # fmt: skip
        head = RequestSettings(model, tuple(sorted({**dict(model.service.implied_params), **params}.items())))
        http = Http(4)
        try:
            prompt = Prompt(tuple(Message(*m) for m in messages or (("user", text),)))
            made = Query(head, prompt, 3, b"k" * 32, shared)
            return await Client(http, {"K": KEY}).ask(made, 0, (told if told is not None else []).append)
        finally:
            await http.close()
            await runner.cleanup()

    return asyncio.run(main())


def ask_all(situations: list[dict[str, Any]]) -> list[Response | ProviderError]:
    """Ask one server for the reply of each situation, and return what each comes to.

    A situation is a whole reply (`status`, `headers`, `body`, `body_encoding`) in a `format`.
    """
    use = {"openai": CHAT, "responses": RESPONSES, "anthropic": CLAUDE, "google": GEMINI}

    async def serve(request: web.Request) -> web.Response:
        situation = situations[int(request.path.split("/")[1])]
        body = situation["body"]
        text = body if isinstance(body, str) else json.dumps(body)
        encoding = situation.get("body_encoding")
        content = text.encode(encoding) if encoding else text.encode("utf-8", "surrogatepass")
        return web.Response(body=content, status=situation["status"], headers=situation["headers"])

    async def main() -> list[Response | ProviderError]:
        app = web.Application()
        app.router.add_post("/{path:.*}", serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        http = Http(16, {})
        client = Client(http, {"K": KEY})

        async def one(number: int) -> Response | ProviderError:
            service, _, name = use[situations[number]["format"]].partition("/")
            model = Model(
                name="m", use=use[situations[number]["format"]], service=SERVICES[service], wire_name=name,
                url=f"http://127.0.0.1:{port}/{number}/v1", key=EnvVar("K"), timeout_s=20,
            )  # fmt: skip
            head = RequestSettings(model, model.service.implied_params)
            try:
                return await client.ask(Query(head, Prompt((Message("user", "hi"),)), 3, b"k" * 32), 0, lambda _: None)
            except ProviderError as error:
                return error

        try:
            return [await one(i) for i in range(len(situations))]
        finally:
            await http.close()
            await runner.cleanup()

    return asyncio.run(main())


def sent(use: str, *, messages: tuple[tuple[str, str], ...] = (), shared: int = 0, **params: Any) -> dict[str, Any]:
    """Return what arrives of a request: its path, the headers that matter, and its body."""
    seen: dict[str, Any] = {}

    def handler(request: web.Request, body: dict[str, Any]) -> web.Response:
        names = ("Authorization", "x-api-key", "x-goog-api-key", "anthropic-version")
        seen.update(
            path=request.path, body=body, headers={n: request.headers[n] for n in names if n in request.headers}
        )
        return web.json_response(reply(use, "yes"))

    ask(handler, use=use, messages=messages, shared=shared, **params)
    return seen


def reply(use: str, text: str, **more: Any) -> dict[str, Any]:
    """Return the plainest reply of a format, with more fields at its top."""
    match SERVICES[use.partition("/")[0]].format:
        case _ if use == RESPONSES:
            part = {"type": "output_text", "text": text}
            return {"status": "completed", "output": [{"type": "message", "content": [part]}]} | more
        case format_ if format_ == ANTHROPIC:
            return {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"} | more
        case format_ if format_ == GOOGLE:
            return {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}]} | more
        case _:
            message = {"role": "assistant", "content": text}
            return {"choices": [{"message": message, "finish_reason": "stop"}]} | more


def says(body: Any, **settings: Any) -> Handler:
    """Return a handler that answers with JSON."""
    return lambda _request, _body: web.json_response(body, **settings)


def raw(text: str | bytes, **settings: Any) -> Handler:
    """Return a handler that answers with bytes as they are."""
    body = text.encode() if isinstance(text, str) else text
    return lambda _request, _body: web.Response(body=body, **settings)


def asked_text(body: dict[str, Any]) -> str:
    """Return the text of the last message of a request, whatever its format."""
    if "contents" in body:
        return str(body["contents"][-1]["parts"][0]["text"])
    last = (body.get("messages") or body["input"])[-1]["content"]
    return str(last if isinstance(last, str) else last[0]["text"])


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
