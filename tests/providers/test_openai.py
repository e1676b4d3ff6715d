"""The wire format over real sockets: replies of every kind, and every class of error."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiohttp import web
from providers.asking import KEY, ask, says
from speed import within
from support import program

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.frame import Frame
from emdsl.providers import http as http_module
from emdsl.providers.http import Http
from emdsl.providers.secret import find_keys, find_url
from emdsl.study.asking import fast_loop


def reply(**message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant"} | message, "finish_reason": "stop"}]}


def test_a_request_is_sent_as_documented() -> None:
    """Model, messages and parameters under the service's names; the seed is seed + sample."""
    from decimal import Decimal  # noqa: PLC0415 - beside its one use

    seen: dict[str, Any] = {}

    def handler(request: web.Request, body: dict[str, Any]) -> web.Response:
        seen.update(body, authorization=request.headers["Authorization"])
        return web.json_response(reply(content="yes"))

    found = ask(
        handler,
        temperature=Decimal("0.7"),
        max_tokens=5,
        seed=40,
        top_logprobs=20,
        extra={"provider": {"order": ("a",)}},
    )
    assert found.text == "yes"
    assert seen == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.7,
        "max_tokens": 5,
        "seed": 43,
        "logprobs": True,
        "top_logprobs": 20,
        "provider": {"order": ["a"]},
        "authorization": f"Bearer {KEY}",
    }


@pytest.mark.parametrize(
    "text", ["\ud800 lone", "a\r\nb", "\u0000", "日本語 🎉", "x" * 300_000], ids=["lone", "crlf", "nul", "wide", "long"]
)
def test_texts_go_and_come_as_they_are(text: str) -> None:
    """No normalisation, no loss, on the way there and back."""
    found = ask(lambda _, body: web.json_response(reply(content=body["messages"][0]["content"])), text)
    assert found.text == text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (reply(content="a", reasoning_content="r"), {"text": "a", "reasoning": "r"}),
        (reply(content="a", reasoning="r"), {"text": "a", "reasoning": "r"}),
        (reply(content=None), {"text": "", "finish": "stop"}),
        (reply(content=None, refusal="no"), {"text": "no"}),
        (reply(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), {"text": "ab"}),
        ({"choices": [{"message": {"content": "a"}, "finish_reason": "length"}]}, {"finish": "length"}),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}, {"finish": "blocked"}),
        ({"choices": [{"message": {"content": "a"}, "finish_reason": "odd"}]}, {"finish": "other"}),
        (reply(content="a") | {"model": "m-2", "system_fingerprint": "fp"}, {"model": "m-2", "fingerprint": "fp"}),
    ],
)
def test_replies_are_normalised(body: Any, expected: dict[str, Any]) -> None:
    """Reasoning, refusals, truncation, blocks and empty content are kept, each under one name."""
    found = ask(says(body))
    assert {k: getattr(found, k) for k in expected} == expected


def test_usage_and_logprobs_are_kept() -> None:
    """Tokens with their kinds, what was charged, and the candidates of each position."""
    body = reply(content="8")
    body["choices"][0]["logprobs"] = {
        "content": [{"token": "8", "logprob": -0.1, "top_logprobs": [{"token": "8", "logprob": -0.1}]}]
    }
    body["usage"] = {
        "prompt_tokens": 10, "completion_tokens": 4, "cost": 0.002,
        "prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens_details": {"reasoning_tokens": 3},
    }  # fmt: skip
    found = ask(says(body))
    usage = found.usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.cached_tokens, usage.cost_usd) == (
        10, 4, 3, 6, 0.002,
    )  # fmt: skip
    assert found.logprobs == ((("8", -0.1),),)


def error(status: int, message: str = "m", code: str = "c", **headers: str) -> Any:
    return says({"error": {"message": message, "code": code}}, status=status, headers=headers)


@pytest.mark.parametrize(
    ("handler", "kind", "said", "wait_s"),
    [
        (error(429, **{"Retry-After": "1.5"}), Throttled, "429 m", 1.5),
        (error(429, code="insufficient_quota"), Rejected, "out of credit", 0),
        (error(402), Rejected, "out of credit", 0),
        (error(401), Rejected, "401 m", 0),
        (error(400, "too long"), Rejected, "400 too long", 0),
        (error(500), Unavailable, "500 m", 0),
        (error(503, **{"Retry-After": "0.25"}), Unavailable, "503 m", 0.25),
        (lambda *_: web.Response(status=502, text="<html>Bad Gateway</html>"), Unavailable, "502 <html>", 0),
        (lambda *_: web.Response(text="<html>login</html>"), Unavailable, "not JSON", 0),
        (lambda *_: web.Response(text='{"choices": [{'), Unavailable, "not JSON", 0),
        (says([1]), Unavailable, "not a JSON object", 0),
        (says({"choices": []}), Unavailable, "no choice", 0),
        (says({"choices": [{"message": {"content": 3}}]}), Unavailable, "unexpected format", 0),
        (says({"error": {"message": "upstream", "code": 429}}), Throttled, "upstream", 0),
        (lambda *_: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), Rejected, "302", 0),
    ],
)
def test_errors_by_class(handler: Any, kind: type[ProviderError], said: str, wait_s: float) -> None:
    """The class says whether asking again can help, and how long to wait at least."""
    with pytest.raises(kind) as caught:
        ask(handler)
    assert type(caught.value) is kind
    assert said in str(caught.value)
    assert getattr(caught.value, "wait_s", 0) == wait_s


def test_a_policy_block_is_an_answer() -> None:
    """Here a block is data: it is stored, with finish `blocked`."""
    assert ask(error(400, "filtered", "content_filter")).finish == "blocked"


def test_a_cut_connection_may_pass() -> None:
    """A server that hangs up is asked again."""

    def cut(request: web.Request, _: dict[str, Any]) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    with pytest.raises(Unavailable):
        ask(cut)


def test_a_server_that_echoes_the_key_cannot_leak_it() -> None:
    """Neither an error nor an answer holds the key."""

    def echo(request: web.Request, _: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": f"bad {request.headers['Authorization']}"}}, status=401)

    with pytest.raises(Rejected) as caught:
        ask(echo)
    assert KEY not in str(caught.value) + repr(caught.value)
    found = ask(lambda request, _: web.json_response(reply(content=request.headers["Authorization"])))
    assert KEY not in json.dumps(found.text)


@pytest.mark.parametrize(
    ("use", "url", "variable"),
    [
        ("openai/gpt-4o", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("openrouter/a/b", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        ("together/a/b", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        ("groq/m", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        ("vllm/a/b", "http://localhost:8000/v1", "VLLM_API_KEY"),
        ("ollama/m", "http://localhost:11434/v1", "OLLAMA_API_KEY"),
        ("openai-api/my-lab/a/b", "http://lab/v1", "MY_LAB_API_KEY"),
    ],
)
def test_where_each_provider_is(use: str, url: str, variable: str) -> None:
    """The first segment says who serves it; the key comes from the variable that its users know."""
    text = f'model m {{ use = "{use}", revision = "1" }}\nexperiment e {{ ask a from m with "q" }}'
    (found,) = program(text).experiments
    model = found.steps[0].settings(Frame()).model
    environment = {"MY_LAB_BASE_URL": "http://lab/v1", variable: KEY}
    assert find_url(model, environment)[0] == url
    (key,), looked_in = find_keys(model, environment)
    assert (key.reveal(), looked_in) == (KEY, variable)
    assert KEY not in repr(key) + str(key)
    assert model.wire_name == use.split("/", 2 if use.startswith("openai-api") else 1)[-1]


def test_a_slow_answer_is_given_up_in_time() -> None:
    """The model's `timeout` bounds one request; it may be asked again."""

    async def slow() -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    with within(15), pytest.raises(Unavailable, match=r"no answer from .* within"):
        ask(lambda *_: slow())


def test_no_proxy_stands_between_this_machine_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is allowed without encryption, for it leaves this machine not, is sent to no proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://joe:hunter2secret@127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(says(reply(content="yes"))).text == "yes"


def test_the_password_of_a_proxy_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where it cannot be reached, not where it is none."""

    async def main() -> str:
        http = Http(1)
        try:
            await http.post("http://elsewhere.invalid/v1", b"{}", {}, mask=str, timeout_s=2)
        except ProviderError as error:
            return str(error)
        finally:
            await http.close()
        return ""

    for port in ("9", "99999"):
        monkeypatch.setenv("HTTP_PROXY", f"http://joe:hunter2secret@127.0.0.1:{port}")
        said = asyncio.run(main())
        assert said
        assert "hunter2secret" not in said


@pytest.mark.parametrize("factory", [None, fast_loop()], ids=["asyncio", "uvloop"])
def test_an_answer_that_arrives_while_the_event_loop_waits_is_kept(
    factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paid for. A server that sends nothing within the timeout is given up, even if the loop has waited."""
    monkeypatch.setattr(http_module, "LATE_S", 0.1)

    class Late(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            time.sleep(float(self.path[1:]))
            with suppress(OSError):  # the client has gone
                self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"text": 1}')

        def log_message(self, *_: object) -> None:
            pass

    async def ask(url: str) -> Any:
        http = Http(4)
        try:
            asked = asyncio.create_task(http.post(url, b"{}", {}, mask=str, timeout_s=0.3))
            await asyncio.sleep(0.1)
            time.sleep(0.6)  # noqa: ASYNC251 - as a store does whose server is frozen
            return (await asked)[0]
        finally:
            await http.close()

    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(ask(f"{url}/0.2")) == {"text": 1}
            with pytest.raises(Unavailable, match=r"no answer from .* within 0\.3 s") as error:
                runner.run(ask(f"{url}/60"))
        assert error.value.paid
        server.shutdown()
