"""Fleets of real servers on this machine: slow ones, dead ones, deaf ones, and a run that is killed itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import clean_environment
from tiny_servers import SERVER, alive, records

from emdsl.errors import SetupError
from emdsl.serving import fleet as fleets
from emdsl.serving.fleet import Fleet
from emdsl.serving.health import Health, health_of
from emdsl.serving.launcher import ReplicaSpec
from emdsl.serving.local import LocalLauncher, gpus_of, last_lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def specs(folder: Path, n: int, *options: str, gpus: float = 0) -> list[ReplicaSpec]:
    command = (*SERVER, "--record", str(folder), "m", *options)
    return [ReplicaSpec(model="vllm/m", name=f"m-{i}", index=i, command=command, gpus=gpus) for i in range(n)]


def with_fleet(
    folder: Path, replicas: list[ReplicaSpec], act: Callable[[Fleet], Awaitable[None]], **settings: Any
) -> list[str]:
    """Start servers, act, and stop them; return the notices. No server is left."""
    notices: list[str] = []

    async def main() -> None:
        launcher = LocalLauncher(folder / "logs", folder, os.environ | {"CUDA_VISIBLE_DEVICES": "0,1"})
        fleet = Fleet(launcher, {"m": replicas}, notices.append, **settings)
        try:
            await fleet.start()
            await act(fleet)
        finally:
            await fleet.close()

    try:
        asyncio.run(asyncio.wait_for(main(), HANG_S))
    finally:
        assert not alive(folder)
    return notices


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "PAUSE_S", 0.01)
    monkeypatch.setattr(fleets, "STARTING_POLL_S", 0.03)


def test_servers_that_die_come_back(tmp_path: Path) -> None:
    """A killed server is down at once for who asks, the other one stays, and its successor has another address."""

    async def act(fleet: Fleet) -> None:
        first, second = fleet.models["m"]
        await until(lambda: bool(first.url and second.url))
        assert first.url is not None
        assert not await fleet.lost("m", 0, first.url)
        victim = next(r["pid"] for r in records(tmp_path, "start") if f":{r['port']}/" in first.url)
        before, other = first.url, second.url
        os.kill(victim, signal.SIGKILL)
        assert await fleet.lost("m", 0, before)
        assert first.url is None
        await until(lambda: first.url is not None)
        assert first.url != before
        assert second.url == other
        assert not fleet.failure("m")
        assert await fleet.lost("m", 0, before), "requests to the old address are lost, whatever runs now"

    notices = with_fleet(tmp_path, specs(tmp_path, 2), act)
    assert notices == ["server 1 of `vllm/m` was ended by signal 9: it is started again"]
    assert len(records(tmp_path, "start")) == 3


def test_a_server_that_hangs_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections and answers nothing. One that still answers requests goes on."""
    for name, seconds in {"WATCH_S": 0.02, "LOOK_S": 0.1, "SILENT_S": 2.0}.items():
        monkeypatch.setattr(fleets, name, seconds)

    hanging = tmp_path / "hanging"

    async def act(fleet: Fleet) -> None:
        (server,) = fleet.models["m"]
        first = server.url
        hanging.touch()
        end = time.monotonic() + 1.5 * fleets.SILENT_S
        while time.monotonic() < end:
            fleet.answered("m", 0)
            await asyncio.sleep(0.1)
            assert server.url == first
        await until(lambda: server.url is None)
        hanging.unlink()
        await until(lambda: server.url is not None)

    notices = with_fleet(tmp_path, specs(tmp_path, 1, "--hang-with", str(hanging)), act)
    assert notices == ["server 1 of `vllm/m` has accepted requests and answered none for 2 s: it is started again"]


def test_idle_servers_are_stopped_until_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "WATCH_S", 0.05)

    async def act(fleet: Fleet) -> None:
        (replica,) = fleet.models["m"]
        for _ in range(4):
            fleet.use("m")
            await asyncio.sleep(0.1)
            assert replica.url is not None, "it is in use"
        await until(lambda: replica.url is None)
        await until(lambda: not alive(tmp_path))
        fleet.use("m")
        await until(lambda: replica.url is not None)
        assert len(records(tmp_path, "start")) == 2

    assert with_fleet(tmp_path, specs(tmp_path, 1), act, idle_s=0.3) == []


def test_a_server_that_cannot_start(tmp_path: Path) -> None:
    """It is tried three times, and the error ends with its log."""
    with pytest.raises(SetupError) as caught:
        with_fleet(tmp_path, specs(tmp_path, 1, "--refuse", "out of memory"), lambda _: until(lambda: False))
    log = tmp_path / "logs" / "m-0.log"
    assert str(caught.value).splitlines()[0] == (
        f"server 1 of `vllm/m` ended with exit code 3, 3 times in a row. Its log {log} ends with:"
    )
    assert str(caught.value).splitlines()[1:] == ["  loading m", "  error: out of memory"] * 3
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_server_that_comes_up_and_dies_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it has answered a request between."""
    monkeypatch.setattr(fleets, "MAX_VAIN", 2)

    async def act(fleet: Fleet) -> None:
        (server,) = fleet.models["m"]
        for answers in (False, True, False):
            await until(lambda: server.url is not None)
            if answers:
                fleet.answered("m", 0)
            last = max(records(tmp_path, "start"), key=lambda r: r["at"])
            os.kill(last["pid"], signal.SIGKILL)
            await until(lambda: server.url is None)
        await until(lambda: bool(fleet.failure("m")))

    notices = with_fleet(tmp_path, specs(tmp_path, 1), act)
    assert "was ended by signal 9, 2 times without an answer between. Its log" in notices[-1]
    assert len(records(tmp_path, "start")) == 3


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"server 1 of `vllm/m` did not answer within 0\.3 s"):
        with_fleet(tmp_path, specs(tmp_path, 1, "--slow-start", "60"), lambda _: until(lambda: False), start_s=0.3)


def test_a_missing_program(tmp_path: Path) -> None:
    spec = ReplicaSpec(model="vllm/m", name="m-1", index=0, command=("no-such-vllm", "serve"))
    with pytest.raises(SetupError, match=r"program `no-such-vllm`\. It is not installed: .*`EMDSL_SERVE_VLLM`"):
        with_fleet(tmp_path, [spec], lambda _: until(lambda: False))


def test_the_gpus_of_servers(tmp_path: Path) -> None:
    """Servers with half a GPU share one; those of other sizes have their own, and a server too many is an error."""

    async def act(fleet: Fleet) -> None:
        await until(lambda: all(r.url for r in fleet.models["m"]))

    with_fleet(tmp_path, [*specs(tmp_path, 2, gpus=0.5), *specs(tmp_path, 1, gpus=1), *specs(tmp_path, 1)], act)
    seen = [r["environment"]["CUDA_VISIBLE_DEVICES"] for r in records(tmp_path, "start")]
    assert sorted(seen) in (["", "0", "0", "1"], ["", "0", "1", "1"])
    with pytest.raises(SetupError, match="needs 3 more GPUs for its server 1, and 2 of the 2 on this machine are free"):
        with_fleet(tmp_path, specs(tmp_path, 1, gpus=3), act)
    with pytest.raises(SetupError, match="needs 1 more GPU for its server 3, and 0 of the 2 on this machine are free"):
        with_fleet(tmp_path, specs(tmp_path, 3, gpus=1), act)


def test_the_gpus_of_a_machine() -> None:
    """As the environment names them: numbers, and parts of a GPU by their name."""
    assert gpus_of({"CUDA_VISIBLE_DEVICES": "3, MIG-7f"}) == ["3", "MIG-7f"]
    assert gpus_of({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    """Without colors, and of a progress bar only what it showed last."""
    log = tmp_path / "x.log"
    log.write_bytes(b"a\n\x1b[31mred\x1b[0m\n\n10 %\r50 %\rdone\r\n\xff\n")
    assert last_lines(log, 3) == ["red", "done", "�"]
    assert last_lines(tmp_path / "none.log", 3) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Health.UP), (b"HTTP/1.1 503 Busy\r\n\r\n", Health.FAILING),
        (b"HTTP/1.1 404 No\r\n\r\n", Health.FAILING), (b"SSH-2.0\r\n", Health.DOWN), (b"", Health.DOWN),
        (b"x" * 100_000, Health.DOWN), (None, Health.BUSY),
    ],
    ids=["up", "starting", "another server", "no HTTP", "closed", "a line without an end", "silent"],
)  # fmt: skip
def test_health(answer: bytes | None, expected: Health) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await reader.read()  # until the other side is tired of waiting
            else:
                writer.write(answer)
            writer.close()
            done.set()

        server = await asyncio.start_server(reply, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await health_of(f"http://127.0.0.1:{port}/v1", 0.1) is expected
        await done.wait()
        server.close()

    asyncio.run(main())


RUN = """
import asyncio, os, pathlib, sys
from emdsl.serving.fleet import Fleet
from emdsl.serving.launcher import ReplicaSpec
from emdsl.serving.local import LocalLauncher

async def main(folder, command):
    specs = [ReplicaSpec(model="vllm/m", name=f"m-{i}", index=i, command=tuple(command)) for i in range(2)]
    fleet = Fleet(LocalLauncher(folder, folder, os.environ), {"m": specs}, print)
    await fleet.start()
    while not all(r.url for r in fleet.models["m"]):
        await asyncio.sleep(0.02)
    (folder / "up").touch()
    await asyncio.sleep(60)

asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2:]))
"""


OTHERS = [pytest.param(n, marks=pytest.mark.thorough(only="a second each")) for n in (signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.parametrize("number", [signal.SIGKILL, *OTHERS])
def test_servers_end_with_a_run_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    """No signal and no cleaning up reaches them: their guards notice."""
    command = specs(tmp_path, 1)[0].command
    run = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), *command], env=clean_environment())
    try:
        end = time.monotonic() + HANG_S
        while time.monotonic() < end and not (tmp_path / "up").exists():
            time.sleep(0.02)
        run.send_signal(number)
        run.wait()
        while time.monotonic() < end and alive(tmp_path):
            time.sleep(0.02)
        assert len(records(tmp_path, "start")) == 2
        assert not alive(tmp_path)
    finally:
        run.kill()
        run.wait()


def test_a_bug_of_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives the server up, in place of a wait without end."""

    async def start(*_: Any) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(LocalLauncher, "start", start)
    expected = r"server 1 of `vllm/m` cannot be watched: ZeroDivisionError: by zero"
    with pytest.raises(SetupError, match=expected):
        with_fleet(tmp_path, specs(tmp_path, 1), lambda _: until(lambda: False))
