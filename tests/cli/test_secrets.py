"""API keys reach no file, no output, no error."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp import web
from speed import HANG_S
from support import emdsl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FROM_ENVIRONMENT, FROM_FILE = "sk-environment-5f3a9c77aa", "sk-dotenv-91bb02de13"
ODD = 'sk-"odd\\/+key=81f2'  # JSON and URLs write it otherwise
KEYS = {
    "ONE_API_KEY": FROM_ENVIRONMENT,
    "OPENAI_API_KEY_0": "sk-several-0-aa41c9",
    "OPENAI_API_KEY_1": "sk-several-1-77ab02",
    "ANTHROPIC_API_KEY": "sk-ant-planted-4451",
    "GEMINI_API_KEY": "AIza-planted-90210",
    "ODD_API_KEY": ODD,
}
CASES = (
    "answer",
    "echo",
    "error",
    "html",
    "500",
    "429",
    "credit",
    "moved",
    "limits",
    "cut",
    "policy",
    "list",
    "split",
    "other",
)
STUDY = f"""em 1
model one {{ use = "openai-api/one/m", url = "URL", key = env.ONE_API_KEY }}
model two {{ use = "openai-api/two/m", url = "URL", key = env.TWO_API_KEY }}
model odd {{ use = "openai-api/odd/m", url = "URL" }}
model several {{ use = "openai/gpt-4o-2024-08-06", url = "URL" }}
model claude {{ use = "anthropic/claude-3-haiku-20240307", url = "URL" }}
model gemini {{ use = "google/gemini-2.0-flash-001", url = "URL" }}
experiment e {{
  for model in [one, two, odd, several, claude, gemini]
  for case in [{", ".join(f'"{c}"' for c in CASES)}]
  ask answer from model with case
  measure long = rate(answer.finish == "stop") by model, case
}}
"""


@pytest.fixture
def server() -> Iterator[str]:
    """A server that gives the key away in every way, whatever format it is asked in."""

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"error": {"message": f"bad key {dict(request.headers)}"}}, status=401)
        body = await request.json()
        contents = body.get("contents")
        case = contents[0]["parts"][0]["text"] if contents else body["messages"][0]["content"]
        headers = request.headers
        key = headers.get("Authorization") or headers.get("x-api-key") or headers.get("x-goog-api-key") or ""
        bare = key.removeprefix("Bearer ")
        failed = {"error": {"message": f"bad key {key}", "code": bare, "type": bare, "status": bare}}
        match case:
            case "error":
                return web.json_response(failed, status=400)
            case "html":
                return web.Response(text=f"<html>{key}</html>", status=403)
            case "500":
                return web.Response(text=key, status=500)
            case "429":
                return web.json_response(failed, status=429, headers={"Retry-After": bare})
            case "credit":
                return web.json_response({"error": {"message": f"no credit {key}", "code": bare}}, status=422)
            case "moved":
                return web.Response(status=302, headers={"Location": f"http://elsewhere.invalid/{bare}?key={bare}"})
            case "policy":
                return web.json_response({"error": {"message": f"no {key}", "code": "content_filter"}}, status=400)
            case "cut":
                return web.Response(text='{"choices": [{"message": {"content": "' + key)
            case "list":
                return web.json_response({"choices": [{"message": {"content": {bare: bare}}}], "content": bare})
        said: Any = key if case == "echo" else " ".join(KEYS.values()) if case == "other" else "fine"
        if case == "split":
            half = len(bare) // 2
            parts = [{"type": "text", "text": bare[:half]}, {"type": "text", "text": bare[half:]}]
            return web.json_response(
                {
                    "choices": [{"message": {"content": parts}, "finish_reason": "stop"}], "content": parts,
                    "candidates": [{"content": {"parts": [{"text": p["text"]} for p in parts]}}],
                }
            )  # fmt: skip
        message = {"role": "assistant", "content": said, "reasoning_content": said}
        usage = {"input_tokens": 1, "output_tokens": 1, "prompt_tokens": 1, "completion_tokens": 1}
        limits = (
            {"x-ratelimit-limit-requests": bare, "x-ratelimit-remaining-requests": bare} if case == "limits" else {}
        )
        return web.json_response(
            {
                "model": said, "id": said, "system_fingerprint": said, "provider": said, "usage": usage,
                "choices": [{"message": message, "finish_reason": "stop"}],
                "content": [{"type": "thinking", "thinking": said}, {"type": "text", "text": said}],
                "stop_reason": "end_turn", "modelVersion": said, "responseId": said,
                "candidates": [{"content": {"parts": [{"text": said}]}, "finishReason": "STOP"}],
            },
            headers={"x-request-id": bare} | limits,
        )  # fmt: skip

    loop = asyncio.new_event_loop()
    runner = web.AppRunner(_app(serve), access_log=None)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(HANG_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def _app(serve: Any) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    return app


def test_planted_keys_appear_nowhere(server: str, tmp_path: Path) -> None:
    """Store, database, logs, errors, `--json`: a server that echoes the key included."""
    (tmp_path / "study.em").write_text(STUDY.replace("URL", server), encoding="utf-8")
    (tmp_path / ".env").write_text(f'TWO_API_KEY="{FROM_FILE}"\n', encoding="utf-8")
    said = ""
    for args in (
        ["plan", "study.em"],
        ["doctor", "study.em"],
        ["doctor", "study.em", "--json"],
        ["models", "study.em", "--server"],
        ["models", "--json"],
        ["render", "study.em", "--curl", "--only", "case=answer"],
        ["run", "study.em", "--max-wait", "0.5"],
        ["run", "study.em", "--max-wait", "0.5", "--json"],
        ["show", "study.em"],
        ["query", "FROM e", "--format", "json"],
        ["query", "FROM nothing"],
        ["cache", "stats"],
    ):
        done = emdsl(*args, cwd=tmp_path, env=KEYS, code=None)
        assert "Traceback" not in done.stderr
        said += done.stdout + done.stderr
    sql = "SELECT model, count(answer) AS n FROM e GROUP BY model"
    found = json.loads(emdsl("query", sql, "--format", "json", cwd=tmp_path).stdout)
    answered = dict.fromkeys(("one", "two", "odd", "several", "gemini"), 5) | {"claude": 6}
    assert {r["model"]: r["n"] for r in found} == answered, (
        "the keys were found and used: an answer, an echo, one with limits, one in parts, one with all others; "
        "of Claude also a content that is a plain text"
    )
    said += emdsl("query", "SELECT * FROM e", "--format", "jsonl", cwd=tmp_path).stdout
    said += "".join(
        f.read_bytes().decode("utf-8", "replace") for f in tmp_path.rglob("*") if f.is_file() and f.name != ".env"
    )
    for key in (*KEYS.values(), FROM_FILE):
        for form in (key, json.dumps(key)[1:-1], quote(key, safe=""), json.dumps(json.dumps(key))[3:-3]):
            assert form not in said, form


def test_nobody_else_may_read_what_is_under_the_cache(tmp_path: Path) -> None:
    """Answers, claims, locks, records and copies of programs: 0600 and 0700, though a process may allow more."""
    (tmp_path / "pyproject.toml").touch()
    text = 'em 1\nexperiment e {\n  for q in [1, 2]\n  ask answer from "sim/subject" with "{q}"\n}\n'
    (tmp_path / "s.em").write_text(text, encoding="utf-8")
    before = os.umask(0)
    try:
        for call in (
            ("run", "s.em"),
            ("run", "s.em", "--sim"),
            ("cache", "drop", "--where", "true", "--yes"),
            ("run", "s.em"),
        ):
            emdsl(*call, cwd=tmp_path, code=None)
        (tmp_path / "s.em").write_text(text.replace("[1, 2]", "[1, 2, 3]"), encoding="utf-8")
        emdsl("run", "s.em", cwd=tmp_path)
    finally:
        os.umask(before)
    found = {p: p.stat().st_mode & 0o777 for p in (tmp_path / "cache", *(tmp_path / "cache").rglob("*"))}
    assert len(found) > 15
    assert {str(p): oct(m) for p, m in found.items() if m != (0o700 if p.is_dir() else 0o600)} == {}
