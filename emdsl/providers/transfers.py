"""Files over HTTP in bounded memory: bodies that are streamed from a file, and replies that are read line by line."""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from emdsl.errors import Rejected, Unavailable
from emdsl.providers.address import is_encrypted, server_of
from emdsl.providers.compression import MAX_BODY, Unpacker
from emdsl.providers.http import SUCCESS, parse_json, read_body
from emdsl.providers.http_errors import OK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
    from io import BufferedReader
    from pathlib import Path

    from emdsl.providers.http import Http, Mask

STALL_S = 300.0  # without progress of an upload or a download; in between, a server may check a whole file
READ = 2**18  # bytes of a file at a time
MAX_LINE = MAX_BODY
HEAD = 2**16  # bytes that remain of a longer line: enough to find the id of its request
MAX_HOPS = 5  # redirects of a download
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBody:
    """A body that is streamed from a file of lines with line ends, between two texts."""

    file: Path
    before: bytes = b""
    after: bytes = b""
    listed: bool = False  # commas instead of line ends, and none after the last line


def form(fields: Mapping[str, str], file: Path, name: str) -> tuple[FileBody, str]:
    """Return a multipart form with a file of lines under a name, and its content type."""
    border = secrets.token_hex(16)
    start = "".join(
        f'--{border}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    )
    start += (
        f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    body = FileBody(file=file, before=start.encode(), after=f"\r\n--{border}--\r\n".encode())
    return body, f"multipart/form-data; boundary={border}"


def file_name(tag: str) -> str:
    """Return the name of the file of a batch.

    >>> file_name("emdsl 1/2")
    'emdsl_1_2.jsonl'
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", tag) + ".jsonl"


async def exchange(
    http: Http, method: str, url: str, headers: Mapping[str, str], *, mask: Mask, body: bytes | FileBody | None = None,
    timeout_s: float | None = None,
) -> tuple[Any, Mapping[str, str]]:  # fmt: skip
    """Return the JSON of a reply, None if it is empty, and its headers; raises ProviderError or Blocked.

    A body from a file takes as long as it needs while there is progress, and may raise OSError; `timeout_s` is for all
    others.
    """
    if isinstance(body, FileBody):
        return await _upload(http, method, url, headers, mask=mask, body=body)
    async with http.open(method, url, headers, mask=mask, body=body, timeout_s=timeout_s) as reply:
        raw = await read_body(reply)
        return parse_json(raw, reply, mask) if raw else None, reply.headers


async def _upload(
    http: Http, method: str, url: str, headers: Mapping[str, str], *, mask: Mask, body: FileBody
) -> tuple[Any, Mapping[str, str]]:
    with await asyncio.to_thread(body.file.open, "rb") as file:
        size = await asyncio.to_thread(lambda: body.file.stat().st_size) - body.listed  # without the last line end
        headers = {**headers, "Content-Length": str(len(body.before) + size + len(body.after))}
        try:
            async with asyncio.timeout(STALL_S) as limit:
                chunks = _chunks(body, file, size, limit)
                async with http.open(method, url, headers, mask=mask, body=chunks, stall_s=STALL_S) as reply:
                    raw = await read_body(reply)
                    return parse_json(raw, reply, mask) if raw else None, reply.headers
        except TimeoutError:
            raise Unavailable(f"no progress of an upload to {server_of(url)} within {STALL_S:g} s", paid=True) from None


async def _chunks(body: FileBody, file: BufferedReader, size: int, limit: asyncio.Timeout) -> AsyncIterator[bytes]:
    """Yield a body; each chunk that the server accepts moves the time limit."""
    yield body.before
    left = size
    while left > 0 and (chunk := await asyncio.to_thread(file.read, min(READ, left))):
        left -= len(chunk)
        if not limit.expired():
            limit.reschedule(asyncio.get_running_loop().time() + STALL_S)
        yield chunk.replace(b"\n", b",") if body.listed else chunk
    yield body.after


async def lines(http: Http, url: str, headers: Mapping[str, str], *, mask: Mask) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a JSONL body, without blank ones, in bounded memory; raises ProviderError or Blocked.

    Only the beginning of a line that is larger than MAX_LINE comes, which is not JSON. A redirect to another server is
    followed without the headers: they contain an API key.
    """
    for _ in range(MAX_HOPS):
        wanted = {**headers, "Accept": "*/*"}
        accepted = (*SUCCESS, *REDIRECTS)
        async with http.open("GET", url, wanted, mask=mask, stall_s=STALL_S, accepted=accepted) as reply:
            if reply.status not in REDIRECTS:
                async for line in _split(reply.content.iter_any(), reply.headers.get("Content-Encoding", "")):
                    yield line
                return
            target = urljoin(url, reply.headers.get("Location", ""))
        if is_encrypted(url) and not is_encrypted(target):
            raise Rejected(f"{server_of(url)} redirects a download to an unencrypted address", status=reply.status)
        headers = headers if server_of(target) == server_of(url) else {}
        url = target
    raise Rejected(f"{server_of(url)} redirects a download too often")


async def _split(chunks: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    unpacker, splitter = Unpacker(encoding), _Splitter()
    async for chunk in chunks:
        for piece in unpacker.feed(chunk):
            for line in splitter.feed(piece):
                if not line.isspace() and line:
                    yield line
    unpacker.end()
    rest = splitter.rest().strip()
    if rest and not rest.endswith(b"}"):  # a connection whose end is the end of the body may have been cut
        raise Unavailable("the results end within a line", status=OK)
    if rest:
        yield rest


class _Splitter:
    """Splits a stream at its line ends."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0  # of the current line

    def feed(self, piece: bytes) -> Iterator[bytes]:
        *whole, last = piece.split(b"\n")
        for part in whole:
            self._keep(part)
            yield self.rest()
            self._parts, self._size = [], 0
        self._keep(last)

    def rest(self) -> bytes:
        """Return the current line."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _keep(self, part: bytes) -> None:
        if self._size > MAX_LINE:
            return
        self._size += len(part)
        self._parts.append(part)
        if self._size > MAX_LINE:
            self._parts = [b"".join(self._parts)[:HEAD]]
