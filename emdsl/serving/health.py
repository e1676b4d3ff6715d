"""Whether a server answers: by one request over a connection of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto
from urllib.parse import urlsplit

PATHS = ("/health", "/v1/models")  # the second for servers without the first
NOT_FOUND = 404
OK = range(200, 300)


class Health(Enum):
    """The state of a server."""

    UP = auto()
    BUSY = auto()  # it accepts connections, but has not answered in time
    FAILING = auto()  # it answers with an error: it is starting, or broken
    DOWN = auto()  # nothing listens


async def health_of(url: str, timeout_s: float) -> Health:
    """Return the state of the server at a base URL, within a time."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    try:
        for path in PATHS:
            status = await asyncio.wait_for(_status(host, port, path), timeout_s)
            if status != NOT_FOUND:
                return Health.UP if status in OK else Health.FAILING
    except TimeoutError:
        return Health.BUSY
    except (OSError, EOFError, ValueError):
        return Health.DOWN
    return Health.FAILING


async def _status(host: str, port: int, path: str) -> int:
    """Return the status of a GET request; raises OSError, EOFError, or ValueError for a reply that is not HTTP."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        name = f"[{host}]" if ":" in host else host
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readuntil(b"\r\n")
        return int(line.split()[1])
    except (IndexError, asyncio.LimitOverrunError):
        raise ValueError("no HTTP") from None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
