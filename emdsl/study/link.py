"""The channel between a run and its workers: a stream, one JSON object a line.

It is a Unix socket in a private folder, or TCP for workers on other machines. A worker first sends the token that it
got when it was started. All messages of one turn of the event loop are written at once.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from emdsl.study.control_socket import has_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_LINE = 64 * 2**20  # bytes
HELLO_S = 30.0  # for the first line of a worker
LOOPBACK = "127.0.0.1"

Message = dict[str, Any]


class LinkLost(Exception):
    """The other side has gone."""


class Link:
    """One end of a channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._unsent: list[bytes] = []

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; it is dropped if the other side has gone."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._write)
        self._unsent.append(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def receive(self) -> Message | None:
        """Return the next message; None when the other side has gone."""
        try:
            line = await self._reader.readline()
            message: Any = json.loads(line) if line else None
        except (OSError, ValueError):  # it was killed in the middle of a line
            return None
        return message if isinstance(message, dict) else None

    async def finish(self) -> None:
        """Close the channel when all was sent."""
        self.close()
        with suppress(OSError):  # the other side has gone
            await self._writer.wait_closed()

    def close(self) -> None:
        """Close the channel after all that was sent."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and not self._writer.is_closing():
            self._writer.write(b"".join(unsent))


class LinkServer:
    """Waits for the workers of a run; used as an asynchronous context.

    `place` is the address for a worker, as JSON. It contains the token: it goes through pipes, never into a file.
    """

    def __init__(self, on_link: Callable[[int, Link], None], *, host: str | None = None) -> None:
        """Prepare to listen.

        Args:
            on_link: Gets the number that a worker was started with, and its channel.
            host: The address that workers on other machines reach this one by; None for workers on this machine.
        """
        self.place: Message = {}
        self._on_link, self._host = on_link, host
        self._token = secrets.token_hex(32)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen; raises OSError."""
        if self._host is None and has_sockets():
            self._folder = tempfile.TemporaryDirectory(prefix="emdsl-")
            path = str(Path(self._folder.name, "link"))
            self._server = await asyncio.start_unix_server(self._connected, path, limit=MAX_LINE)
            self.place = {"path": path, "token": self._token}
            return self
        host = self._host or LOOPBACK
        self._server = await asyncio.start_server(self._connected, host, 0, limit=MAX_LINE)
        self.place = {"host": host, "port": self._server.sockets[0].getsockname()[1], "token": self._token}
        return self

    async def __aexit__(self, *_: object) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link, hello = Link(reader, writer), None
        with suppress(TimeoutError):
            async with asyncio.timeout(HELLO_S):
                hello = await link.receive()
        match hello:
            case {"token": str(token), "worker": int(worker)} if self._admits(token):
                self._on_link(worker, link)
            case _:
                link.close()

    def _admits(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(errors="replace"), self._token.encode())


async def connect(place: Mapping[str, Any], worker: int) -> Link:
    """Return the channel of a worker to its run; raises OSError."""
    if "path" in place:
        reader, writer = await asyncio.open_unix_connection(place["path"], limit=MAX_LINE)
    else:
        reader, writer = await asyncio.open_connection(place["host"], place["port"], limit=MAX_LINE)
    link = Link(reader, writer)
    link.send({"token": place["token"], "worker": worker})
    return link
