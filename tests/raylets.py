"""Ray clusters whose nodes are raylets of this machine, and processes that are killed.

Each node has an address of its own, so that nodes share nothing but the files of this machine.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed import HANG_S
from support import ROOT, communicated, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

MARK = "RAY_CLUSTER_TEST"  # a variable of all processes of a test
VARIABLES = {
    MARK: str(os.getpid()), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_initial_delay_ms": "0", "RAY_health_check_period_ms": "1000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_health_check_timeout_ms": "1000",
    "RAY_worker_niceness": "0",  # else it is 15, and a machine with other work starves the servers
}  # fmt: skip


@contextmanager
def marked() -> Iterator[None]:
    """Mark all processes that are started; at the end none may run, and after an error all are killed."""
    before, left = {name: os.environ.get(name) for name in VARIABLES}, dict[int, str]()
    os.environ.update(VARIABLES)
    try:
        yield
        with suppress(AssertionError):
            until(lambda: not ours())  # servers without a head end when nobody has called for a minute
        left = {pid: command_line(pid) for pid in ours()}
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        while pids := ours():  # a process may just have started another one
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
    assert not left, f"processes were left: {left}"


@contextmanager
def cluster_of(n_nodes: int, **head: Any) -> Iterator[Any]:
    """Start the raylets of a cluster: each has an address, two GPUs by name and a small object store.

    `head` has further arguments of the head.
    """
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - after the variables that Ray reads at its import

    cluster: Any = Cluster()
    try:
        for i in range(n_nodes):
            # a driver looks for the raylet at the address of its machine: that of the head
            special = {"node_ip_address": f"127.0.0.{i + 1}"} if i else {"include_dashboard": False, **head}
            cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=80 << 20, **special)
        yield cluster
    finally:
        with suppress(Exception):  # a head that was killed
            cluster.shutdown()


def kill_node(node: Any) -> None:
    """Kill all processes of a node at once, as if its power had failed."""
    for pid in _processes_of(node):
        kill_tree(pid)


def on_node(pids: list[int], node: Any) -> list[int]:
    """Return those of some processes that run on a node."""
    processes = _processes_of(node)
    return [pid for pid in pids if processes & ancestors(pid)]


def _processes_of(node: Any) -> set[int]:
    """Return the processes of Ray that make up a node."""
    return {info.process.pid for processes in node.all_processes.values() for info in processes}


def kill_tree(pid: int) -> None:
    """Kill a process with its descendants, who otherwise notice and end by themselves."""
    children = [child for child, parent in parents().items() if parent == pid]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(child)


def ancestors(pid: int) -> set[int]:
    """Return the processes that have started a process, one through the other."""
    parent_of, above = parents(), set[int]()
    while (pid := parent_of.get(pid, 0)) > 0:
        above.add(pid)
    return above


def parents() -> dict[int, int]:
    """Return the parent of each process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    return found


def ours(text: str = "") -> list[int]:
    """Return the processes of this test, but itself, with a text in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mark = f"{MARK}={os.getpid()}".encode() in (process / "environ").read_bytes().split(b"\0")
            if mark and text in command_line(int(process.name)):
                found.append(int(process.name))
    return [pid for pid in found if pid != os.getpid()]


def command_line(pid: int) -> str:
    """Return the words of a process, with blanks between them; empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def workers() -> list[int]:
    """Return the processes of workers."""
    return ours("emdsl.study.worker")


def ended(run: subprocess.Popen[str], timeout_s: float = HANG_S) -> tuple[int, str]:
    """Wait for a run; return its exit code and its output."""
    output, _ = communicated(run, timeout_s)
    return run.returncode, output


def whole(run: subprocess.Popen[str], timeout_s: float = HANG_S) -> str:
    """Wait for a run that must end whole; return its output."""
    code, output = ended(run, timeout_s)
    assert code == 0, f"exit code {code}:\n{output}"
    return output
