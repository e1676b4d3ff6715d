"""Model servers on the nodes of a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.serving.local import last_lines
from emdsl.serving.ray import RayCluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.serving.launcher import ReplicaSpec
    from emdsl.serving.node_process import RemoteProcess


class RayReplica:
    """The handle of a server on a Ray cluster."""

    def __init__(self, process: RemoteProcess, url: str) -> None:
        self._process = process
        self.url = url
        self.log = str(process.log)

    async def wait(self) -> int:
        """Return the exit code of the server."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End the server with all its processes."""
        await self._process.stop()

    async def tail(self, n_lines: int) -> list[str]:
        """Return the last lines of its output."""
        return last_lines(self._process.log, n_lines)


class RayLauncher:
    """Starts model servers on the nodes of a Ray cluster.

    Args:
        address: The address of the cluster; see RayCluster.
        logs: The folder of this machine that the output of servers is copied into.
        folder: The working folder of the servers, on nodes that have it.
        notice: Gets messages for the user.
    """

    def __init__(self, address: str | None, logs: Path, folder: Path, notice: Callable[[str], None]) -> None:
        self._cluster = RayCluster(address, notice)
        self._logs = logs
        self._folder = folder

    async def start(self, spec: ReplicaSpec) -> RayReplica:
        """Start a server without waiting until it listens; raises SetupError."""
        process, url = await self._cluster.start(
            f"{spec.model} (replica {spec.index + 1})", self._logs / f"{spec.name}.log",
            lambda call, _: call("serve", spec, self._folder),
            gpus=spec.gpus, cpus=0 if spec.gpus else 1,  # as many servers as a node has GPUs, however few its cores
        )  # fmt: skip
        return RayReplica(process, url)

    async def close(self) -> None:
        """Stop all servers, and leave the cluster."""
        await self._cluster.close()
