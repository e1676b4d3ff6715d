"""NodeProcess: one process on a node of a cluster; an actor starts, follows and ends it by calls from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.serving import guard
from emdsl.serving.local import FORCE_S, find_program, free_port, search_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from emdsl.serving.launcher import ReplicaSpec

LEASE_S = 60.0  # without a call the process ends: nobody follows it any more
MAX_READ = 1 << 20  # bytes of output for each call
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
        process, self._process = self._process, None
        if process is not None:
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
        """End the process, if it has not ended, and all that this node does for it."""
        self._stopped.set()
        self.end()
        self._output.close()

    def _expire(self) -> None:
        while not self._stopped.wait(min(self._lease_s, _LOOK_S)):
            if time.monotonic() >= self._called_s + self._lease_s:
                self.stop()
                self._on_expiry()


def _exit() -> None:
    os._exit(1)  # Ray's own exit would wait for the call that never comes
