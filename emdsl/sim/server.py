"""The simulator as a server on loopback that speaks OpenAI's wire format, with faults on demand."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from emdsl.service import SAMPLE_HEADER, SIM_MODELS
from emdsl.sim.judge import judge
from emdsl.sim.subject import answer
from emdsl.sim.truth import BadTruth, Draws

MAX_BODY = 64 * 2**20  # bytes of a request
_ROLES = ("system", "user", "assistant", "tool", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Shares of requests that fail, in [0, 1], each in its way; `seed` makes their order repeatable."""

    throttled: float = 0.0
    retry_after_s: float = 0.05
    failed: float = 0.0
    slow: float = 0.0
    slow_s: float = 1.0
    cut: float = 0.0
    malformed: float = 0.0
    seed: int = 0


class Simulator:
    """A running server; `url` is its base URL, `counts` what it was asked."""

    def __init__(self, faults: Faults | None = None, latency_s: float = 0.0) -> None:
        self.faults = faults or Faults()
        self.latency_s = latency_s
        self.counts: Counter[str] = Counter()
        self._random = random.Random(self.faults.seed)  # noqa: S311 - faults, not secrets
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; port 0 takes a free one."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
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

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": m, "object": "model"} for m in SIM_MODELS]})

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self.counts))

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.counts["requests"] += 1
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        fault = await self._fault(request)
        if fault is not None:
            return fault
        try:
            body = json.loads(raw)
            reply = complete(body, request.headers.get(SAMPLE_HEADER, "0:0"))
        except ValueError as error:
            self.counts["rejected"] += 1
            return _error(400, str(error), "invalid_request_error")
        self.counts["answered"] += 1
        self.counts[f"answered {body['model']}"] += 1
        return web.json_response(reply)

    async def _fault(self, request: web.Request) -> web.StreamResponse | None:
        draw, faults = self._random.random(), self.faults
        for name, share in (
            ("throttled", faults.throttled),
            ("failed", faults.failed),
            ("cut", faults.cut),
            ("malformed", faults.malformed),
            ("slow", faults.slow),
        ):
            if draw >= share:
                draw -= share
                continue
            self.counts[name] += 1
            match name:
                case "throttled":
                    response = _error(429, "slow down", "rate_limit_exceeded")
                    response.headers["Retry-After"] = str(faults.retry_after_s)
                    return response
                case "failed":
                    return _error(500, "the simulator was told to fail", "server_error")
                case "cut":
                    assert request.transport is not None
                    request.transport.abort()
                    return web.Response()
                case "malformed":
                    return web.Response(text='{"choices": [{"message": ', content_type="application/json")
                case _:
                    await asyncio.sleep(faults.slow_s)
                    return None
        return None


def complete(body: Any, sample: str) -> dict[str, Any]:
    """Return the reply to a request body; raises ValueError for what a real server would refuse.

    The same body and sample always get the same reply.
    """
    messages = _messages(body)
    model = body.get("model")
    if model not in SIM_MODELS:
        raise ValueError(f"the model '{model}' does not exist: the simulator has {' and '.join(SIM_MODELS)}")
    draws = Draws(json.dumps(body, sort_keys=True), sample)
    told = body.get("sim") or {}
    if not isinstance(told, Mapping):
        raise BadTruth("sim is an object")
    reasoning: str | None = None
    if model == "judge":
        text, candidates = judge(messages, body, draws)
    else:
        said = answer(messages, body, draws)
        text, reasoning, candidates = said.text, said.reasoning, [(said.text.split(" ")[0], 0.9)]
    limit = body.get("max_tokens")
    words = text.split(" ")
    finish = "stop"
    if isinstance(limit, int) and len(words) > limit:
        text, finish = " ".join(words[:limit]), "length"
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
    }
    if reasoning is not None:
        choice["message"]["reasoning_content"] = reasoning
    if body.get("logprobs"):
        top = [{"token": t, "logprob": math.log(p)} for t, p in candidates[: body.get("top_logprobs", 20)]]
        choice["logprobs"] = {"content": [{"token": text, "logprob": top[0]["logprob"], "top_logprobs": top}]}
    n_in = sum(len(str(m["content"]).split()) + 4 for m in messages)
    thought = len(reasoning.split()) if reasoning else 0
    return {
        "id": f"sim-{draws.name}",
        "object": "chat.completion",
        "created": 0,
        "model": f"sim-{model}",
        "choices": [choice],
        "usage": {
            "prompt_tokens": n_in,
            "completion_tokens": len(text.split()) + thought,
            "total_tokens": n_in + len(text.split()) + thought,
            "completion_tokens_details": {"reasoning_tokens": thought},
        },
    }


def _messages(body: Any) -> list[dict[str, Any]]:
    if not isinstance(body, dict):
        raise ValueError("the body is no object")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("'messages' is a list of at least one message")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise ValueError(f"a message has a role, one of {', '.join(_ROLES)}")
        if not isinstance(message.get("content"), str):
            raise ValueError("a message has a text 'content'")
    return messages


def _error(status: int, message: str, code: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": code, "code": code}}, status=status)
