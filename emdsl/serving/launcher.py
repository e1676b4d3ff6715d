"""Launcher, the protocol of starting model servers; ReplicaSpec: one server to start; Handle: one that runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


# Variables that no server gets from its machine: secrets, and those of emdsl, whose store may have a password.
_WITHHELD = re.compile(r"API_KEY|(?:ACCESS|ACCOUNT|SAS)_KEY|_TOKEN$|SECRET|PASSWORD|PASSPHRASE|CREDENTIAL|^EMDSL_")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSpec:
    """One of the servers of a model. It can be pickled: the launcher may start it on another machine."""

    model: str  # for people: "vllm/Qwen/Qwen3-8B"
    name: str  # of its log: letters, digits, "-" and "_", unique within a run
    index: int  # among the replicas of its model, from 0
    command: tuple[str, ...]  # the program and its arguments, without the address
    gpus: float = 0  # of its own; below 1: it shares one
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # over the variables of the machine

    def argv(self, host: str, port: int) -> list[str]:
        """Return the whole command line of a server that listens at an address."""
        return [*self.command, "--host", host, "--port", str(port)]

    def variables(self, machine: Mapping[str, str]) -> dict[str, str]:
        """Return all variables of the server, by those of the machine that it starts on: without their secrets."""
        return {n: v for n, v in machine.items() if not _WITHHELD.search(n.upper())} | dict(self.environment)


class Handle(Protocol):
    """A server that was started; it may not listen yet."""

    @property
    def url(self) -> str:
        """The base URL of its API, as the run reaches it: "http://127.0.0.1:40123/v1"."""

    @property
    def log(self) -> str:
        """Where its output is, for people: a path, after "HOST:" if it is on another machine."""

    async def wait(self) -> int:
        """Return its exit code once it has ended; a lost machine counts as -9. May be called several times."""

    async def stop(self) -> None:
        """End the server with all its processes, and return when they are gone; nothing if it has ended."""

    async def tail(self, n_lines: int) -> list[str]:
        """Return the last lines of its output; empty if they cannot be read any more."""


class Launcher(Protocol):
    """Starts servers."""

    async def start(self, spec: ReplicaSpec) -> Handle:
        """Start a server without waiting until it listens.

        Raises:
            SetupError: The program is missing, or the machines can never give it so many GPUs.
        """

    async def close(self) -> None:
        """Free the resources of the launcher; its servers have been stopped."""
