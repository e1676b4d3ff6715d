"""The Unix socket by which a run under way is seen and changed: `cache/control/RUN`, for the same user alone.

A message is one JSON object in one line, and so is its reply.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.files import PRIVATE, PRIVATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTROL = "control"  # the folder inside a cache
MAX_PATH = 100  # bytes of a socket's path: Linux allows 107, macOS 103
MAX_BYTES = 16 * 2**10  # of a message, and of a reply
TIMEOUT_S = 5.0  # for a message and its reply


def has_sockets() -> bool:
    """Whether this system has Unix sockets: Windows has none."""
    return hasattr(socket, "AF_UNIX")


def bound(cache: Path, run: str) -> socket.socket:
    """Return a socket of a run, bound and not listening yet; raises OSError, on file systems without sockets too."""
    path = cache / CONTROL / run
    path.parent.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
    path.parent.chmod(PRIVATE_FOLDER)  # it may have been there before
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            server.bind(name)
        path.chmod(PRIVATE)  # nobody can connect before it listens
    except OSError:
        server.close()
        raise
    return server


def send(cache: Path, run: str, message: dict[str, Any]) -> dict[str, Any]:
    """Send a message to a run, and return the reply; raises OSError, or ValueError if the reply is not readable."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, _short(cache / CONTROL / run) as name:
        client.settimeout(TIMEOUT_S)
        client.connect(name)
        client.sendall(json.dumps(message).encode() + b"\n")
        with client.makefile("rb") as file:
            reply: Any = json.loads(file.readline(MAX_BYTES))
    if not isinstance(reply, dict):
        raise ValueError("the reply is not an object")
    return reply


def remove(cache: Path, run: str) -> None:
    """Remove the socket of a run that has ended; raises OSError."""
    (cache / CONTROL / run).unlink(missing_ok=True)


def runs_with_socket(cache: Path) -> set[str]:
    """Return the runs that have a socket, those too that were killed."""
    folder = cache / CONTROL
    return {p.name for p in folder.iterdir()} if folder.is_dir() else set()


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of a socket that is short enough: if its path is too long, by a link in a private folder."""
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - few paths are that long

    with TemporaryDirectory(prefix="emdsl-") as folder:
        link = Path(folder, "c")
        link.symlink_to(path.parent, target_is_directory=True)
        yield str(link / path.name)
