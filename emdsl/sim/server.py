"""The simulator as a server on loopback, in the formats of OpenAI, Anthropic and Google, with faults on request."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.digest import digest
from emdsl.service import SAMPLE_HEADER, SIM_MODELS
from emdsl.sim import google_files, openai, openai_files
from emdsl.sim.answering import OVERHEAD, Refused, Request, respond
from emdsl.sim.anthropic_batches import AnthropicBatches
from emdsl.sim.batches import BatchFaults, Engine, LostReply
from emdsl.sim.formats import FORMATS, Format, failure, too_many
from emdsl.sim.google_batches import GoogleBatches
from emdsl.sim.openai_batches import OpenAIBatches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from emdsl.sim.batch_http import Route

MAX_BODY = 64 * 2**20  # bytes of a request
MIN_PREFIX = 1_024  # tokens of a cached prefix
STEP = 128  # tokens by which it grows
MAX_PREFIXES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults(BatchFaults):
    """Shares of requests in [0, 1] with each fault, and those of batches; `seed` makes their order repeatable."""

    throttled: float = 0.0
    retry_after_s: float = 0.05
    failed: float = 0.0
    slow: float = 0.0
    slow_s: float = 1.0
    cut: float = 0.0
    malformed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A number of requests per window; `windowed` refills them at once at its start, else continuously."""

    requests: float
    window_s: float = 60.0
    windowed: bool = False
    announced: bool = True


def _event(event: dict[str, Any]) -> str:
    """Return an event as text of a stream."""
    return (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n"


class Simulator:
    """A running server; `url` is its base URL, `counts` its statistics."""

    def __init__(
        self, faults: Faults | None = None, latency_s: float = 0.0, *, limit: RateLimit | None = None,
        keys: frozenset[str] | None = None, batch_s: float = 2.0,
    ) -> None:  # fmt: skip
        self.faults = faults or Faults()
        self.latency_s = latency_s
        self.counts: Counter[str] = Counter()
        self._keys = keys
        self._random = random.Random(self.faults.seed)  # noqa: S311 - faults, not secrets
        self._bucket = _TokenBucket(limit) if limit is not None else None
        self._not_before: dict[bytes, float] = {}  # by request: the end of its wait
        self._n_draws: Counter[bytes] = Counter()
        self._prefixes = _Prefixes()
        self._engine = Engine(batch_s, self.faults, self.counts)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; port 0 chooses a free port."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/{version:v1|v1beta}/models/{model:[^:]+}:generateContent", self._generate)
        app.router.add_post("/{version:v1|v1beta}/models/{model:[^:]+}:streamGenerateContent", self._stream)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1beta/models", self._models)
        app.router.add_get("/stats", self._stats)
        for route in self._batch_routes():
            app.router.add_route(route.method, route.path, self._guarded(route))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        address = self._runner.addresses[0]
        self.url = f"http://127.0.0.1:{address[1]}/v1"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._engine.close()

    def _batch_routes(self) -> list[Route]:
        files, google = openai_files.Files(self._engine), google_files.Files(self._engine)
        return [
            *files.routes(), *OpenAIBatches(self._engine, files).routes(), *AnthropicBatches(self._engine).routes(),
            *google.routes(), *GoogleBatches(self._engine, google).routes(),
        ]  # fmt: skip

    def _guarded(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the handler of a route with its faults, its check of the API key, and its errors."""

        async def handle(request: web.Request) -> web.StreamResponse:
            name = digest("asked", request.method, request.path)
            self._count_early(name)
            fault = await self._fault(request, route.format, name)
            if fault is not None:
                return fault
            try:
                if route.ticket not in request.query:
                    self._authenticate(request, route.format)
                return await route.handle(request)
            except Refused as refused:
                self.counts["rejected"] += 1
                return self._refusal(route.format, refused)
            except LostReply:
                return _cut(request)

        return handle

    async def _models(self, _: web.Request) -> web.Response:
        models = [
            {"id": m, "object": "model", "created": 0, "owned_by": "emdsl", "name": f"models/{m}"} for m in SIM_MODELS
        ]
        return web.json_response({"object": "list", "data": models, "models": models})

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self.counts))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, FORMATS["chat"])

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, FORMATS["responses"])

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, FORMATS["anthropic"])

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, FORMATS["google"], request.match_info["model"])

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, FORMATS["google"], request.match_info["model"], streams=True)

    async def _answer(
        self, request: web.Request, format_: Format, *names: str, streams: bool = False
    ) -> web.StreamResponse:
        raw = await request.read()
        self.counts["requests"] += 1
        name = digest("asked", raw, request.headers.get(SAMPLE_HEADER, ""))
        self._count_early(name)
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        fault = await self._fault(request, format_, name)
        if fault is not None:
            return fault
        try:
            self._authenticate(request, format_)
            body = json.loads(raw)
            typed = format_.read(body, *names)
            answer = respond(typed, json.dumps(body, sort_keys=True), self._sample(request, name))
        except ValueError as error:
            refused = error if isinstance(error, Refused) else Refused(f"We could not parse the JSON body: {error}")
            self.counts["rejected"] += 1
            return self._refusal(format_, refused)
        cached, written = self._prefixes.read(typed, marks=format_.marks)
        self.counts["answered"] += 1
        self.counts[f"answered {typed.model}"] += 1
        self.counts["input tokens"] += answer.input_tokens
        self.counts["output tokens"] += answer.output_tokens + answer.reasoning_tokens
        self.counts["cached tokens"] += cached
        reply = format_.reply(typed, answer, cached, written)
        if (streams or body.get("stream")) and format_.events is not None:
            text = "".join(map(_event, format_.events(reply, body)))
            text += "data: [DONE]\n\n" if format_ is FORMATS["chat"] else ""
            return web.Response(text=text, content_type="text/event-stream", headers=self._limit_headers())
        response = web.json_response(reply, headers=self._limit_headers())
        if "gzip" in request.headers.get("Accept-Encoding", "") and len(response.body or b"") > 4096:  # type: ignore[arg-type]  # bytes
            response.body = gzip.compress(response.body)  # type: ignore[arg-type]  # a JSON response has bytes
            response.headers["Content-Encoding"] = "gzip"
        return response

    def _count_early(self, name: bytes) -> None:
        """Count a request that was told to wait longer."""
        if time.monotonic() < self._not_before.pop(name, 0.0):
            self.counts["early"] += 1

    def _sample(self, request: web.Request, name: bytes) -> str:
        """Return the number of the draw: from the client, else the next one of this request."""
        sample = request.headers.get(SAMPLE_HEADER)
        if sample is not None:
            return sample
        self._n_draws[name] += 1
        return f"{self._n_draws[name] - 1}:0"

    def _authenticate(self, request: web.Request, format_: Format) -> None:
        """Refuse a request without a valid key."""
        key = format_.key(request.headers)
        if format_.marks and "anthropic-version" not in request.headers:
            raise Refused("anthropic-version: header is required")
        if self._keys is not None and key not in self._keys:
            if format_ is FORMATS["google"]:
                raise Refused("API key not valid. Please pass a valid API key.", kind="API_KEY_INVALID")
            if format_.marks:
                raise Refused("invalid x-api-key", status=401)
            raise Refused(f"Incorrect API key provided: {(key or '')[:3]}***.", status=401, kind="invalid_api_key")

    def _limit_headers(self) -> dict[str, str]:
        return self._bucket.headers() if self._bucket is not None else {}

    def _refusal(self, format_: Format, refused: Refused, **headers: str) -> web.Response:
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(format_.error(refused), status=refused.status, headers=self._limit_headers() | extra)

    async def _fault(self, request: web.Request, format_: Format, name: bytes) -> web.StreamResponse | None:
        if self._bucket is not None and (wait_s := self._bucket.take()) > 0:
            self.counts["over the limit"] += 1
            return self._throttle(format_, name, wait_s)
        draw, faults = self._random.random(), self.faults
        for kind, share in (
            ("throttled", faults.throttled),
            ("failed", faults.failed),
            ("cut", faults.cut),
            ("malformed", faults.malformed),
            ("slow", faults.slow),
        ):
            if draw >= share:
                draw -= share
                continue
            self.counts[kind] += 1
            match kind:
                case "throttled":
                    return self._throttle(format_, name, faults.retry_after_s)
                case "failed":
                    return self._refusal(format_, failure())
                case "cut":
                    return _cut(request)
                case "malformed":
                    return web.Response(text='{"choices": [{"message": ', content_type="application/json")
                case _:
                    await asyncio.sleep(faults.slow_s)
                    return None
        return None

    def _throttle(self, format_: Format, name: bytes, wait_s: float) -> web.Response:
        self._not_before[name] = time.monotonic() + wait_s
        return self._refusal(format_, too_many(format_), Retry_After=f"{wait_s:.3f}")


def _cut(request: web.Request) -> web.Response:
    """Break the connection of a request."""
    if request.transport is not None:  # None if the client has disconnected
        request.transport.abort()
    return web.Response()


class _TokenBucket:
    """The requests that remain of a rate limit."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._left = limit.requests
        self._at = time.monotonic()

    def _refill(self) -> None:
        now, limit = time.monotonic(), self._limit
        if limit.windowed:
            n = int((now - self._at) / limit.window_s)
            if n:
                self._left, self._at = limit.requests, self._at + n * limit.window_s
            return
        self._left = min(limit.requests, self._left + (now - self._at) * limit.requests / limit.window_s)
        self._at = now

    def take(self) -> float:
        """Take one request; return 0, or the seconds until one is available."""
        self._refill()
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (
            self._reset_s() if self._limit.windowed else (1 - self._left) * self._limit.window_s / self._limit.requests
        )

    def _reset_s(self) -> float:
        limit = self._limit
        if limit.windowed:
            return self._at + limit.window_s - time.monotonic()
        return (limit.requests - self._left) * limit.window_s / limit.requests

    def headers(self) -> dict[str, str]:
        """Return the headers of the limit, with OpenAI's names and with Anthropic's."""
        if not self._limit.announced:
            return {}
        self._refill()
        reset_s = self._reset_s()
        at = (datetime.now(UTC) + timedelta(seconds=reset_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        maximum, left = f"{self._limit.requests:g}", str(int(self._left))
        return {
            "x-ratelimit-limit-requests": maximum, "x-ratelimit-remaining-requests": left,
            "x-ratelimit-reset-requests": f"{reset_s * 1000:.0f}ms",
            "anthropic-ratelimit-requests-limit": maximum, "anthropic-ratelimit-requests-remaining": left,
            "anthropic-ratelimit-requests-reset": at,
        }  # fmt: skip


class _Prefixes:
    """A prompt cache, as providers have one."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}

    def read(self, request: Request, *, marks: bool) -> tuple[int, int]:
        """Return how many tokens of a request are cached, and how many it adds to the cache."""
        if marks and request.cut is None:
            return 0, 0
        messages = request.messages[: request.cut] if marks else request.messages
        words = [w for m in messages for w in ("",) * OVERHEAD + tuple(m["content"].split())]
        if len(words) < MIN_PREFIX:
            return 0, 0
        ends = [len(words)] if marks else [*range(MIN_PREFIX, len(words) + 1, STEP)]
        name, start, cached, fresh = digest("prefix", request.model), 0, 0, []
        for end in ends:
            name = digest("prefix", name, " ".join(words[start:end]))
            start = end
            if name in self._seen:
                cached = end
            else:
                fresh.append(name)
        self._seen.update(dict.fromkeys(fresh))
        while len(self._seen) > MAX_PREFIXES:
            del self._seen[next(iter(self._seen))]
        return cached, (ends[-1] if marks and not cached else 0)


def complete(body: Mapping[str, Any], sample: str) -> dict[str, Any]:
    """Return the reply of chat completions to a body; equal bodies and samples get equal replies. Raises Refused."""
    request = openai.chat(body)
    answer = respond(request, json.dumps(body, sort_keys=True), sample)
    return openai.chat_reply(request, answer, 0, 0)
