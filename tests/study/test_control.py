"""The control socket of a run: whatever arrives there, the run goes on; where there can be none, it goes on too."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import InProcess, program

from emdsl.run import history
from emdsl.run.executor import Executor
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.study import control_socket
from emdsl.study.control_server import ControlServer, fitted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.query import Query, Response

RUN = "0123456789abcdef"
STUDY = 'experiment e {\n for q in 1..40\n ask answer from "openai/gpt-4o" with "question {q}"\n}'


class Held(InProcess):
    """Answers when it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()

    async def ask(self, query: Query, *_: Any) -> Response:
        await self.free.wait()
        return await super().ask(query)


def running(cache: Path, act: Callable[[], None], uncapped: tuple[str, ...] = ()) -> tuple[Held, Executor]:
    """Run a study of 40 requests with 2 connections; `act` is called in a thread while the first are in flight."""
    provider = Held()

    async def main() -> Executor:
        executor = Executor(
            [Rows(e) for e in program(STUDY).experiments], MemoryStore(), provider, connections=2,
            retry_policy=RetryPolicy(max_wait_s=5), run=RUN,
        )  # fmt: skip
        server = ControlServer(cache, RUN, total=lambda: 40, uncapped=uncapped, notice=lambda _: None)
        server.attach(executor, executor.live)
        serving, run = asyncio.create_task(server.serve(0)), asyncio.create_task(executor.run())
        await asyncio.sleep(0.02)
        try:
            await asyncio.to_thread(act)
        finally:
            provider.free.set()
            await run
            serving.cancel()
            await asyncio.wait([serving])
        assert serving.cancelled() or serving.exception() is None
        return executor

    return provider, asyncio.run(asyncio.wait_for(main(), HANG_S))


def sent(cache: Path, raw: bytes) -> bytes:
    """Send bytes as they are; return all that comes back."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(cache / "control" / RUN))
        with suppress(OSError):  # it may have refused the rest
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError), client.makefile("rb") as file:
            return file.read()
    return b""


REFUSED = {
    b"": "Expecting value",
    b"no JSON\n": "Expecting value",
    b"\xff\xfe\n": "decode",
    b"[" * 10_000 + b"\n": "recursion",
    b"[]\n": "not understood",
    b'"status"\n': "not understood",
    b'{"do": "explode"}\n': "not understood",
    b'{"do": "set", "connections": 0}\n': "from 1 to 10,000",
    b'{"do": "set", "connections": true}\n': "from 1 to 10,000",
    b'{"do": "set", "connections": 1e3}\n': "from 1 to 10,000",
    b'{"do": "set", "connections": ' + b"9" * 9_000 + b"}\n": "limit",
    b'{"do": "set", "budget": 5}\n': "an amount of US dollars",
    b'{"do": "set", "budget": "NaN"}\n': "an amount of US dollars",
    b'{"do": "set", "budget": "1e9"}\n': "an amount of US dollars",
    b'{"do": "set", "budget": "+5"}\n': "has no budget to change",
    b'{"do": "set", "connections": 9, "budget": "+5"}\n': "has no budget to change",
}


def test_what_is_not_understood_changes_nothing(tmp_path: Path) -> None:
    """Nor does a line without an end, one that is too long, or a client that says nothing; the run is complete."""
    replies: dict[bytes, Any] = {}

    def act() -> None:
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(str(tmp_path / "control" / RUN))
        for raw in REFUSED:
            replies[raw] = json.loads(sent(tmp_path, raw))
        assert sent(tmp_path, b"x" * 2**20) == b""
        state = control_socket.send(tmp_path, RUN, {"do": "status"})
        assert (state["connections"], state["budget_usd"], state["in_flight"], state["total"]) == (2, None, 2, 40)
        silent.close()

    provider, executor = running(tmp_path, act)
    for raw, part in REFUSED.items():
        assert part in replies[raw]["error"], raw[:60]
    assert (provider.n, executor.report.failures, executor.report.interrupted) == (40, {}, False)
    assert not (tmp_path / "control" / RUN).exists()


def test_a_reply_is_never_too_long() -> None:
    """Of many steps those under way are kept, and the most frequent causes; the rest is counted."""
    steps = [{"step": f"experiment_{i}.answer", "total": 9, "answered": 9 * (i < 300), "failed": 0} for i in range(900)]
    steps[700]["answered"] = 4
    causes = [{"cause": "評" * 200, "n": 10 - i} for i in range(10)]
    state = {"answered": 2704, "steps": steps, "failures": causes}
    line = fitted(state)
    assert control_socket.MAX_BYTES - 200 < len(line) <= control_socket.MAX_BYTES
    reply = json.loads(line)
    assert (reply["answered"], reply["failures"]) == (2704, causes[:1])
    kept = reply["steps"]
    assert kept == [*steps[300 : 300 + len(kept) - 1], steps[700]]
    assert reply["more_steps"] == 900 - len(kept)
    short = {"steps": steps[:3], "failures": causes[:1]}
    assert json.loads(fitted(short)) == short
    assert json.loads(fitted({"steps": [steps[0] | {"step": "x" * 20_000}]})) == {"steps": [], "more_steps": 1}


def test_a_budget_needs_prices(tmp_path: Path) -> None:
    """As `--budget` does; all of a message or nothing is changed."""

    def act() -> None:
        message = {"do": "set", "connections": 9, "budget": "50"}
        assert "no budget can be set: no price" in control_socket.send(tmp_path, RUN, message)["error"]
        assert control_socket.send(tmp_path, RUN, {"do": "status"})["connections"] == 2

    running(tmp_path, act, ("no price",))


def test_changes_are_made_and_recorded(tmp_path: Path) -> None:
    """The end of the run keeps them; without a record they are made all the same."""
    record = history.Record(run=RUN, study="s", file="s.em", program="", started_at=1.5)
    replies: list[dict[str, Any]] = []

    def act() -> None:
        messages: list[dict[str, Any]] = [
            {"do": "set", "connections": 7}, {"do": "set", "budget": "50"}, {"do": "set", "budget": "-5.5"},
            {"do": "set", "connections": 7}, {"do": "stop"}, {"do": "stop"}, {"do": "set", "connections": 9},
        ]  # fmt: skip
        replies.append(control_socket.send(tmp_path, RUN, messages[0]))
        history.begin(tmp_path, tmp_path, record, {})
        replies.extend(control_socket.send(tmp_path, RUN, m) for m in messages[1:])

    provider, executor = running(tmp_path, act)
    assert [r.get("recorded") for r in replies] == [False, True, True, True, True, True, None]
    assert replies[-1] == {"error": "the run is stopping"}
    assert executor.report.interrupted
    assert provider.n == 7, "those in flight were finished"
    history.end(tmp_path, record, sent=7, failed=0, interrupted=True)
    (ended,) = history.records(tmp_path)
    assert [(c.what, c.old, c.new) for c in ended.changes] == [
        ("budget", None, 50.0), ("budget", 50.0, 44.5), ("stop", None, None)
    ]  # fmt: skip
    assert (ended.sent, ended.interrupted) == (7, True)
    assert [c.text for c in ended.changes] == ["budget none -> $50", "budget $50 -> $44.5", "stop"]


@pytest.mark.parametrize("how", ["a file is in the way", "no Unix sockets", "no temporary folder"])
def test_a_run_goes_on_without_a_socket(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system or a file system that has none."""
    cache = tmp_path
    if how == "a file is in the way":
        (tmp_path / "control").write_text("")
    elif how == "no Unix sockets":
        monkeypatch.setattr(control_socket, "socket", SimpleNamespace())
    else:
        cache = tmp_path / ("deep" * 30)
        cache.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    provider, _ = running(cache, lambda: None)
    assert provider.n == 40


def test_only_this_user_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder and the socket are private, whatever the mask of the process and the folder were before."""
    folder = tmp_path / "control"
    folder.mkdir(mode=0o755)

    def act() -> None:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / RUN).stat().st_mode & 0o777 == 0o600
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert sent(tmp_path, b'{"do": "stop"}\n') == b""
        monkeypatch.undo()

    before = os.umask(0)
    try:
        _, executor = running(tmp_path, act)
    finally:
        os.umask(before)
    assert not executor.report.interrupted
