"""A process on a node of a cluster: NodeProcess holds it in an actor there, RemoteProcess follows it from the run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from emdsl.files import PRIVATE_FOLDER, private
from emdsl.serving import guard
from emdsl.serving.local import FORCE_S, find_program, free_port, search_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from emdsl.serving.launcher import ReplicaSpec

Call = Callable[..., Coroutine[Any, Any, Any]]  # of a method of an actor, by its name and arguments

LEASE_S = 60.0  # without a call the process ends: nobody follows it any more
MAX_READ = 1 << 20  # bytes of output for each call
POLL_S = 0.5  # between calls to a process that runs
STOP_S = guard.GRACE_S + FORCE_S + 5.0  # for a process to end
LOST = -9  # the exit code of a process whose node is lost
_LOOK_S = 1.0  # between two looks at the lease


@dataclass(frozen=True, slots=True)
class Polled:
    """The output of a process from an offset on, and its exit code once it has ended and all output is read."""

    output: bytes
    code: int | None


class NodeProcess:
    """A process on this node, with its output in a file without a name: it may quote prompts, and nothing of it stays.

    Without a call for `lease_s` seconds it ends: neither a lost network nor a dead head of the cluster leaves a
    server behind.

    Args:
        address: Returns the address of this node that other nodes reach.
        on_expiry: Is called when the process has ended for want of calls.
        lease_s: How long it lives without a call, in seconds.
    """

    def __init__(
        self, address: Callable[[], str], on_expiry: Callable[[], None] | None = None, lease_s: float = LEASE_S
    ) -> None:
        self._address = address
        self._on_expiry = on_expiry if on_expiry is not None else _exit
        self._lease_s = lease_s
        self._called_s = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - it is open for as long as this actor lives
        threading.Thread(target=self._expire, daemon=True).start()

    def address(self) -> str:
        """Return the address of this node."""
        self._called_s = time.monotonic()
        return self._address()

    def serve(self, spec: ReplicaSpec, folder: Path) -> str:
        """Start a server on a free port of this node.

        Args:
            spec: The server.
            folder: Its working folder, if this node has it: a path of weights may be relative to it.

        Returns:
            The base URL of its API.

        Raises:
            SetupError: This node does not have its program.
            OSError: It cannot be started.
        """
        host = self._address()
        port = free_port(host)
        variables = spec.variables(os.environ)
        variables["PATH"] = search_path(os.environ)
        program = find_program(spec.command[0], spec.model, os.environ)
        argv = [sys.executable, "-I", guard.__file__, program, *spec.argv(host, port)[1:]]
        self.run(argv, variables, folder=folder if folder.is_dir() else None)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"

    def run(
        self, argv: Sequence[str], variables: Mapping[str, str], *, line: str | None = None, folder: Path | None = None
    ) -> None:
        """Start a program whose standard input is a line, then open for as long as this actor lives; raises OSError."""
        self._called_s = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - the command line is ours, and no shell reads it
            argv, env=dict(variables), cwd=folder, stdin=subprocess.PIPE, stdout=self._output,
            stderr=subprocess.STDOUT, start_new_session=True,  # signals to this actor are not for it
        )  # fmt: skip
        if line is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended: `poll` returns how
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()

    def poll(self, offset: int) -> Polled:
        """Return the output of the process from an offset on, in bytes, and its exit code."""
        self._called_s = time.monotonic()
        code = self._process.poll() if self._process is not None else None
        output = os.pread(self._output.fileno(), MAX_READ, offset)  # the process shares its own offset with this file
        return Polled(output, code if len(output) < MAX_READ else None)

    def end(self) -> None:
        """End the process with all that it started; its output can still be read."""
        self._called_s = time.monotonic()
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(guard.GRACE_S + FORCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._called_s = time.monotonic()

    def stop(self) -> None:
        """End the process, if it has not ended, and its lease; its output is gone."""
        self._stopped.set()
        self.end()
        self._output.close()

    def _expire(self) -> None:
        while not self._stopped.wait(min(self._lease_s, _LOOK_S)):
            if time.monotonic() >= self._called_s + self._lease_s:
                with suppress(Exception):  # whatever it is, nobody else ends this actor
                    self.stop()
                self._on_expiry()


class Cluster(Protocol):
    """The cluster of an actor. See RayCluster."""

    @property
    def lost(self) -> bool:
        """Whether its head does not answer any more."""

    def free(self, actor: Any) -> None:
        """Give the resources of an actor back."""

    def notice_unwritten(self, log: Path, error: OSError) -> None:
        """Tell the user once that logs cannot be written."""


class RemoteProcess:
    """A process in an actor on some node; its output is copied into a file of this machine.

    Args:
        cluster: The cluster, which the resources of the actor go back to.
        actor: The actor.
        call: Calls a method of the actor.
        log: The file.
        node: The address of the node.
    """

    def __init__(self, cluster: Cluster, actor: Any, call: Call, log: Path, node: str) -> None:
        self.log = log
        self.node = node
        self.call = call  # of a method of its actor
        self.lost = False  # with its node
        self.on_end: Callable[[], Awaitable[None]] | None = None  # takes answers from the folder of the ended process
        self._cluster = cluster
        self._actor = actor
        self._offset = 0
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stopping: asyncio.Task[None] | None = None
        self._write(b"")
        self._following = asyncio.create_task(self._follow())

    async def wait(self) -> int:
        """Return the exit code once the process has ended; LOST if its node is lost."""
        return await asyncio.shield(self._code)

    async def stop(self) -> None:
        """End the process with all that it started, and free the resources of its actor.

        Whoever ends it, `on_end` comes before its folder is removed.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        self._following.cancel()
        with suppress(Exception):  # the actor is lost, and its process ends by itself
            async with asyncio.timeout(0 if self._cluster.lost else STOP_S):
                await self.call("end")
                while output := (await self.call("poll", self._offset)).output:
                    self._write(output)
        try:
            if self.on_end is not None:
                await self.on_end()
            with suppress(Exception):  # the actor is lost, and its folder stays
                async with asyncio.timeout(0 if self._cluster.lost else STOP_S):
                    await self.call("stop")
        finally:
            self._end(LOST)
            self._cluster.free(self._actor)

    async def _follow(self) -> None:
        silent_s = 0.0
        while not self._code.done():
            try:
                polled = await self.call("poll", self._offset)
            except Exception as error:  # noqa: BLE001 - Ray has many classes of errors for a lost actor
                # An unavailable actor may come back until its lease is over, which ends its process.
                if self._cluster.lost or type(error).__name__ != "ActorUnavailableError" or silent_s > LEASE_S:
                    self._write(f"\nemdsl: {self.node} is lost: {first_line(error)}\n".encode())
                    self.lost = True
                    self._end(LOST)
                    self._cluster.free(self._actor)
                    return
                silent_s += POLL_S
            else:
                silent_s = 0.0
                self._write(polled.output)
                if polled.code is not None:
                    self._end(polled.code)  # `stop` ends the actor, with its folder
                    return
            await asyncio.sleep(POLL_S)

    def _write(self, output: bytes) -> None:
        self._offset += len(output)  # of a log that cannot be written too: the process must be followed to its end
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            with open(self.log, "ab", opener=private) as log:  # it may quote prompts
                log.write(output)
        except OSError as error:
            self._cluster.notice_unwritten(self.log, error)

    def _end(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)

    def lose(self) -> None:
        """Count the process as lost with its cluster."""
        self.lost = True
        self._following.cancel()
        self._end(LOST)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that is not empty, or the name of its class."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _exit() -> None:
    os._exit(1)  # Ray's own exit would wait for the call that never comes
