"""API keys reach no file, no output, no error."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from support import emdsl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FROM_ENVIRONMENT, FROM_FILE = "sk-environment-5f3a9c77aa", "sk-dotenv-91bb02de13"
STUDY = """em 1
model one { use = "openai-api/one/m", url = "URL", key = env.ONE_API_KEY }
model two { use = "openai-api/two/m", url = "URL", key = env.TWO_API_KEY }
experiment e {
  for model in [one, two]
  for case in ["answer", "echo", "error", "html", "500"]
  ask answer from model with case
  measure long = rate(answer.finish == "stop") by model, case
}
"""


@pytest.fixture
def server() -> Iterator[str]:
    """A server that gives the key away in every way."""

    async def serve(request: web.Request) -> web.Response:
        case = (await request.json())["messages"][0]["content"]
        key = request.headers["Authorization"]
        match case:
            case "error":
                return web.json_response({"error": {"message": f"bad key {key}", "code": key}}, status=400)
            case "html":
                return web.Response(text=f"<html>{key}</html>", status=403)
            case "500":
                return web.Response(text=key, status=500)
            case _:
                said: Any = key if case == "echo" else "fine"
                message = {"role": "assistant", "content": said, "reasoning_content": said}
                return web.json_response(
                    {"model": said, "id": said, "choices": [{"message": message, "finish_reason": "stop"}]},
                    headers={"x-request-id": key},
                )

    loop = asyncio.new_event_loop()
    runner = web.AppRunner(_app(serve), access_log=None)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def _app(serve: Any) -> web.Application:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", serve)
    return app


def test_planted_keys_appear_nowhere(server: str, tmp_path: Path) -> None:
    """Store, database, logs, errors, `--json`: a server that echoes the key included."""
    (tmp_path / "study.em").write_text(STUDY.replace("URL", server), encoding="utf-8")
    (tmp_path / ".env").write_text(f'TWO_API_KEY="{FROM_FILE}"\n', encoding="utf-8")
    env = {"ONE_API_KEY": FROM_ENVIRONMENT}
    said = ""
    for args in (
        ["plan", "study.em"],
        ["run", "study.em", "--max-wait", "1"],
        ["run", "study.em", "--max-wait", "1", "--json"],
        ["show", "study.em"],
        ["query", "FROM e", "--format", "json"],
        ["query", "FROM nothing"],
    ):
        done = emdsl(*args, cwd=tmp_path, env=env, code=None)
        assert "Traceback" not in done.stderr
        said += done.stdout + done.stderr
    found = json.loads(
        emdsl("query", "SELECT count(*) AS n FROM e WHERE answer IS NOT NULL", "--format", "json", cwd=tmp_path).stdout
    )
    assert found == [{"n": 4}], "the keys were found and used"
    for key in (FROM_ENVIRONMENT, FROM_FILE):
        assert key not in said
        for file in tmp_path.rglob("*"):
            if file.is_file() and file.name != ".env":
                assert key.encode() not in file.read_bytes(), file
    dump = emdsl("query", "SELECT * FROM e", "--format", "jsonl", cwd=tmp_path).stdout
    assert FROM_ENVIRONMENT not in dump
    assert FROM_FILE not in dump
