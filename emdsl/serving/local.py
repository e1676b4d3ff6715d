"""Servers on this machine: each with its own port, GPUs, log and guard."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from emdsl.errors import SetupError
from emdsl.files import PRIVATE_FOLDER, private
from emdsl.serving import guard
from emdsl.serving.command import command_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.serving.launcher import ReplicaSpec

HOST = "127.0.0.1"
VISIBLE = "CUDA_VISIBLE_DEVICES"  # PyTorch for ROCm reads it too
TAIL_BYTES = 64 * 2**10  # of a log, for its last lines
FORCE_S = 5.0  # beyond the grace of the guard, until the guard itself is killed
_ROUNDING = 1e-9  # three servers of a third fill a GPU
_DEVICE = re.compile(r"nvidia\d+")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class LocalLauncher:
    """Starts servers on this machine. See Launcher."""

    def __init__(self, logs: Path, folder: Path, machine: Mapping[str, str] = os.environ) -> None:
        """Prepare; nothing is started.

        Args:
            logs: The folder of the logs; it is made.
            folder: The working folder of the servers: a path of weights is relative to it.
            machine: The variables of this machine.
        """
        self._logs = logs
        self._folder = folder
        self._machine = machine
        self._free = dict.fromkeys(gpus_of(machine), 1.0)  # the share of each GPU that no server has

    async def start(self, spec: ReplicaSpec) -> LocalHandle:
        """See Launcher."""
        variables = spec.variables(self._machine)
        variables["PATH"] = search_path(self._machine)
        program = find_program(spec.command[0], spec.model, self._machine)
        gpus = self._take(spec)
        variables[VISIBLE] = ",".join(gpus)
        log = self._logs / f"{spec.name}.log"
        try:
            port = free_port(HOST)
            argv = [sys.executable, "-I", str(Path(guard.__file__)), program, *spec.argv(HOST, port)[1:]]
            with _opened(log) as output:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output, cwd=self._folder,
                    env=variables, start_new_session=True,  # Ctrl-C is the run's
                )  # fmt: skip
        except OSError as error:
            self._give_back(spec, gpus)
            raise SetupError(f"cannot start a server of `{spec.model}`: {error}") from error
        return LocalHandle(f"http://{HOST}:{port}/v1", log, process, lambda: self._give_back(spec, gpus))

    async def close(self) -> None:
        """See Launcher."""

    def _take(self, spec: ReplicaSpec) -> list[str]:
        """Return the GPUs of a server; raises SetupError if too few are free."""
        if not spec.gpus:
            return []
        share = min(spec.gpus, 1.0)
        fitting = [gpu for gpu, free in self._free.items() if free + _ROUNDING >= share]
        n = max(int(spec.gpus), 1)
        if len(fitting) < n:
            raise SetupError(
                f"`{spec.model}` needs {n} more GPU{'s' if n > 1 else ''} for its server {spec.index + 1}, and "
                f"{len(fitting)} of the {len(self._free)} on this machine are free: declare fewer `replicas` or "
                f"`gpus`, run one model at a time with --only, or name the devices in `{VISIBLE}`"
            )
        taken = sorted(fitting, key=self._free.__getitem__)[:n]  # servers with a share fill a GPU before the next one
        for gpu in taken:
            self._free[gpu] -= share
        return taken

    def _give_back(self, spec: ReplicaSpec, gpus: list[str]) -> None:
        for gpu in gpus:
            self._free[gpu] += min(spec.gpus, 1.0)


class LocalHandle:
    """A server on this machine. See Handle."""

    def __init__(self, url: str, log: Path, process: asyncio.subprocess.Process, on_end: Callable[[], None]) -> None:
        self.url = url
        self.log = str(log)
        self._path = log
        self._process = process
        self._ended = asyncio.ensure_future(self._end(on_end))

    async def wait(self) -> int:
        """See Handle."""
        return await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """See Handle."""
        if self._process.stdin is not None:
            self._process.stdin.close()  # the guard ends the server, and itself
        try:
            await asyncio.wait_for(self.wait(), guard.GRACE_S + FORCE_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self.wait()

    async def tail(self, n_lines: int) -> list[str]:
        """See Handle."""
        return last_lines(self._path, n_lines)

    async def _end(self, on_end: Callable[[], None]) -> int:
        try:
            return await self._process.wait()
        finally:
            on_end()


def gpus_of(machine: Mapping[str, str]) -> list[str]:
    """Return the GPUs of this machine, as `CUDA_VISIBLE_DEVICES` names them or else by their number."""
    named = machine.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    with suppress(OSError):
        return [
            str(i) for i in range(sum(_DEVICE.fullmatch(device.name) is not None for device in Path("/dev").iterdir()))
        ]
    return []


def search_path(machine: Mapping[str, str]) -> str:
    """Return the folders of programs: those of the machine, then that of this Python, which may not be activated."""
    return os.pathsep.join([*filter(None, [machine.get("PATH")]), str(Path(sys.executable).parent)])


def find_program(program: str, model: str, machine: Mapping[str, str]) -> str:
    """Return the path of a program that serves a `provider/model`; raises SetupError if it is not installed."""
    path = shutil.which(program, path=search_path(machine))
    if path is None:
        service = model.partition("/")[0]
        raise SetupError(
            f"`{model}` needs the program `{program}`. It is not installed: install it "
            f"(`pip install {service}`), or set `{command_variable(service)}` to its command line"
        )
    return path


def last_lines(log: Path, n_lines: int) -> list[str]:
    """Return the last lines of a log without colors; empty if it cannot be read."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        text = _ESCAPES.sub("", file.read().decode("utf-8", "replace"))
        lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
        return [line for line in lines if line][-n_lines:]
    return []


def _opened(log: Path) -> IO[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    return open(log, "ab", opener=private)  # a log may quote prompts


def free_port(host: str) -> int:
    """Return a free port; a server that finds it taken nevertheless ends, and is started again with another one."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
        return port
