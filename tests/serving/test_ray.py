"""Servers on the nodes of a Ray cluster, without Ray: the process that an actor holds, resources and addresses."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import urllib.request
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import ROOT, until

from emdsl.errors import SetupError
from emdsl.serving import guard
from emdsl.serving import ray as rays
from emdsl.serving.cluster import check_room, client_address
from emdsl.serving.launcher import ReplicaSpec
from emdsl.serving.node_process import LOST, NodeProcess, Polled, RemoteProcess
from emdsl.serving.ray import RayCluster

if TYPE_CHECKING:
    from pathlib import Path

SERVER = (sys.executable, str(ROOT / "tests" / "tiny_server.py"))
NODE = {"Alive": True, "NodeManagerAddress": "10.0.0.5", "Resources": {"CPU": 8.0, "GPU": 2.0}}


def loopback() -> str:
    return "127.0.0.1"


def spec(*command: str, **variables: str) -> ReplicaSpec:
    return ReplicaSpec(model="vllm/m", name="m-1", index=0, command=command, environment=variables)


def listening(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/models", timeout=5):
        return True
    return False


def test_a_server_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens at the address of its node, without the secrets of that machine, and stops whole."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    node = NodeProcess(loopback)
    url = node.serve(spec(*SERVER, "--record", str(tmp_path), "m", HF_TOKEN="hf_own"), tmp_path / "elsewhere")
    until(lambda: listening(url))
    assert node.poll(0).code is None
    record = next(tmp_path.glob("*.jsonl")).read_text()
    assert "hf_own" in record
    assert "sk-secret" not in record
    node.stop()
    assert not listening(url)


def test_output_and_exit_code(tmp_path: Path) -> None:
    """All output is read before the exit code is told."""
    node = NodeProcess(loopback)
    node.serve(spec(*SERVER, "--refuse", "no memory", "m"), tmp_path)
    until(lambda: node.poll(0).code is not None)
    assert node.poll(0).output == b"loading m\nerror: no memory\n"
    assert node.poll(10).output == b"error: no memory\n"
    assert node.poll(0).code == 3
    node.stop()


def test_a_line_of_standard_input() -> None:
    """It is written at once, and the input ends with the process of the actor."""
    node = NodeProcess(loopback)
    program = "import sys; print(sys.stdin.readline().upper(), flush=True); sys.stdin.read(); print('end')"
    node.run([sys.executable, "-c", program], os.environ, line="task")
    until(lambda: node.poll(0).output == b"TASK\n\n")
    assert node.poll(0).code is None
    node.stop()


def test_a_server_that_nobody_follows_ends(tmp_path: Path) -> None:
    """As when the head of a cluster has died: nobody is left to stop it."""
    ended = threading.Event()
    node = NodeProcess(loopback, ended.set, lease_s=1.0)
    url = node.serve(spec(*SERVER, "m"), tmp_path)
    until(lambda: listening(url))
    assert ended.wait(HANG_S)
    assert not listening(url)


def test_a_process_that_was_stopped_has_no_lease() -> None:
    """Nothing ends the actor, or a program that uses it, some time later."""
    ended = threading.Event()
    node = NodeProcess(loopback, ended.set, lease_s=1.0)
    node.stop()
    assert not ended.wait(1.5)


def test_a_node_without_the_program(tmp_path: Path) -> None:
    node = NodeProcess(loopback)
    with pytest.raises(SetupError, match="`vllm/m` needs the program `no-such-program`"):
        node.serve(spec("no-such-program", "m"), tmp_path)
    node.stop()


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """The process is followed to its end, and the user hears once that logs are incomplete."""
    notices = list[str]()
    (tmp_path / "logs").touch()  # no folder
    outputs = [Polled(b"one\n", None), Polled(b"two\n", None), Polled(b"", 7)]

    async def call(_: str, *__: Any) -> Any:
        return outputs.pop(0)

    async def run() -> int:
        cluster = RayCluster(None, notices.append)
        return await RemoteProcess(cluster, None, call, tmp_path / "logs" / "m-1.log", "10.0.0.5").wait()

    assert asyncio.run(asyncio.wait_for(run(), HANG_S)) == 7
    assert notices == [
        f"{tmp_path / 'logs' / 'm-1.log'} cannot be written: File exists. The run goes on, with incomplete logs"
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ray://head", "ray://head:10001"),
        ("ray://head:2000", "ray://head:2000"),
        ("ray://10.0.0.1/", "ray://10.0.0.1:10001"),
        ("ray://[fe80::1]", "ray://[fe80::1]:10001"),
        ("ray://[fe80::1]:2000", "ray://[fe80::1]:2000"),
    ],
)
def test_the_address_of_a_head(address: str, expected: str) -> None:
    assert client_address(address) == expected


@pytest.mark.parametrize("address", ["ray://", "ray://head:port", "head:6379", "ray://:10001"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(SetupError, match="is not the address of a Ray cluster"):
        client_address(address)


def test_too_few_resources() -> None:
    """An error that names what the cluster has, in place of a wait without end."""
    check_room([NODE], "vllm/m (replica 1)", gpus=2, cpus=0, held=0)
    with pytest.raises(SetupError) as error:
        check_room([NODE], "vllm/m (replica 1)", gpus=4, cpus=0, held=0)
    assert str(error.value) == (
        "no node of the Ray cluster has 4 GPUs for `vllm/m (replica 1)`; it has 1 node (10.0.0.5: 2 GPUs, 8 CPUs)"
    )


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SetupError, match=r"pip install 'emdsl\[ray\]'"):
        asyncio.run(RayCluster(None).connect())


class Cluster(RayCluster):
    """A cluster whose actors are objects of this process."""

    def __init__(self) -> None:
        super().__init__(None)
        self.freed: list[Any] = []

    def free(self, actor: Any) -> None:
        self.freed.append(actor)


class Node(NodeProcess):
    """An actor that counts what it does, and may be lost."""

    def __init__(self) -> None:
        super().__init__(loopback)
        self.done: list[str] = []
        self.lost = False

    async def call(self, method: str, *arguments: Any) -> Any:
        if self.lost:
            raise ConnectionError("the actor died")
        if method != "poll":
            self.done.append(method)
        return await asyncio.to_thread(getattr(self, method), *arguments)


@pytest.mark.parametrize("program", ["print('bye')", "import time; print('bye', flush=True); time.sleep(60)"])
@pytest.mark.parametrize("lost", [False, True])
def test_the_end_of_a_process(program: str, lost: bool, tmp_path: Path) -> None:
    """Whatever a process leaves on its node is fetched once it has ended, before anything is removed or freed."""
    node, cluster = Node(), Cluster()
    argv = [sys.executable, "-I", str(guard.__file__), sys.executable, "-c", program]

    async def main() -> None:
        async def on_end() -> None:
            assert not cluster.freed
            with suppress(ConnectionError):
                node.done.append(await node.call("address"))

        node.run(argv, os.environ)
        process = RemoteProcess(cluster, "actor", node.call, tmp_path / "log", "n")
        process.on_end = on_end
        while not node.poll(0).output:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        if "sleep" not in program:
            assert await process.wait() == 0
        node.lost = lost
        await asyncio.gather(process.stop(), process.stop())
        assert await process.wait() == (LOST if "sleep" in program else 0)
        await process.stop()

    asyncio.run(main())
    assert cluster.freed == ["actor"]
    if lost:
        assert not node.done
        node.stop()
    else:
        assert node.done == ["end", "address", "127.0.0.1", "stop"]
        assert (tmp_path / "log").read_bytes() == b"bye\n"


@pytest.mark.parametrize(
    ("error", "connected", "expected"),
    [
        ("Ray Client is not connected", False, "the head of the Ray cluster does not answer any more"),
        ("no\nroom", True, "cannot list the nodes of the Ray cluster: no$"),
    ],
)
def test_a_cluster_that_fails(
    error: str, connected: bool, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each error of Ray is one of a launcher, so that whoever waits for a server hears of it."""

    def nodes() -> None:
        ray.is_initialized = lambda: connected
        raise RuntimeError(error)

    context = SimpleNamespace(gcs_address="127.0.0.1:1")
    ray = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context, nodes=nodes)
    monkeypatch.setattr(rays, "_ray", lambda: ray)
    cluster = RayCluster(None)

    async def main() -> None:
        try:
            await cluster.start("m", tmp_path / "log", lambda call, _: call("address"))
        finally:
            await cluster.close()

    with pytest.raises(SetupError, match=expected):
        asyncio.run(main())
