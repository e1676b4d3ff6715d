"""A Ray cluster without Ray: the address of its client server, and whether its nodes have room for a process."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emdsl.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENT_PORT = 10001  # of Ray's client server, on the head
SHOWN = 8  # nodes in an error


def client_address(address: str) -> str:
    """Return the address of a cluster's client server, with its port; raises SetupError."""
    parts = urlsplit(address)
    with suppress(ValueError):  # a port that is not a number
        if parts.scheme == "ray" and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return f"ray://{host}:{parts.port or CLIENT_PORT}"
    raise SetupError(
        f"`{address}` is not the address of a Ray cluster: use `ray`, or `ray://HEAD` with the host of its head"
    )


def check_room(nodes: Sequence[dict[str, Any]], name: str, *, gpus: float, cpus: float, held: float) -> None:
    """Check that the nodes could hold a process if nothing else ran there.

    Args:
        nodes: The nodes of the cluster, as Ray describes them.
        name: The process, for people.
        gpus: GPUs of its own.
        cpus: CPUs of its own.
        held: GPUs of the other processes of the run.

    Raises:
        SetupError: No node has so many resources, or all nodes together have too few GPUs.
    """
    fits = any(n["Resources"].get("GPU", 0) >= gpus and n["Resources"].get("CPU", 0) >= cpus for n in nodes)
    if not fits:
        raise SetupError(f"no node of the Ray cluster has {needs(gpus, cpus)} for `{name}`; {described(nodes)}")
    if gpus and held + gpus > sum(n["Resources"].get("GPU", 0) for n in nodes):
        raise SetupError(
            f"the Ray cluster has too few GPUs for `{name}`: it needs {_number(gpus, 'GPU')}, and this run holds "
            f"{held:g} already; {described(nodes)}. Lower `replicas` or `gpus`, or add nodes"
        )


def needs(gpus: float, cpus: float) -> str:
    """Return the resources of a process in words."""
    return " and ".join(_number(n, kind) for n, kind in ((gpus, "GPU"), (cpus, "CPU")) if n)


def described(nodes: Sequence[dict[str, Any]]) -> str:
    """Return the resources of a cluster in words, node by node."""
    each = (
        f"{n['NodeManagerAddress']}: {_number(n['Resources'].get('GPU', 0), 'GPU')}, "
        f"{_number(n['Resources'].get('CPU', 0), 'CPU')}"
        for n in nodes[:SHOWN]
    )
    more = f"; and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
    return f"it has {_number(len(nodes), 'node')} ({'; '.join(each)}{more})"


def _number(n: float, kind: str) -> str:
    return f"{n:g} {kind}{'' if n == 1 else 's'}"
