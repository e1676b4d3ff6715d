"""Serve: the servers that `run --serve` starts for a model, as the study declares them. No part of a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emdsl.value import Number

FIELDS = ("args", "gpus", "replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """The servers of one model, which differ in nothing but their address."""

    args: tuple[str, ...] = ()  # of the server's program, behind those that emdsl sets
    gpus: Number = 1  # of each replica: a whole number, or a share of one GPU
    replicas: int = 1

    @property
    def shown(self) -> str:
        """The servers in words, for plans: "4 servers with 1 GPU each"."""
        servers = "1 server" if self.replicas == 1 else f"{self.replicas:,} servers"
        gpus = "without a GPU" if not self.gpus else f"with {self.gpus} GPU{'s' if self.gpus > 1 else ''}"
        return f"{servers} {gpus}{' each' if self.gpus and self.replicas > 1 else ''}"
