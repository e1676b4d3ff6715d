"""What the batch endpoints of all providers share over HTTP: routes, bodies, numbers, pages and downloads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.sim.answering import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from emdsl.sim.formats import Format

CHUNK = 2**18  # bytes


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint; its handler raises Refused, in the words of the format."""

    method: str
    path: str
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]]
    format: Format
    ticket: str | None = None  # a field of the query with which a request needs no API key


async def read_body(request: web.Request, limit: int, refused: Refused) -> bytes:
    """Return the body of a request; raises `refused` if it has more bytes than the limit."""
    if (request.content_length or 0) > limit:
        raise refused
    parts, size = [], 0
    async for part in request.content.iter_chunked(CHUNK):
        size += len(part)
        if size > limit:
            raise refused
        parts.append(part)
    return b"".join(parts)


async def read_json(request: web.Request, limit: int = 2**20) -> dict[str, Any]:
    """Return the body of a request as a JSON object; raises Refused."""
    raw = await read_body(request, limit, Refused("Request body too large", status=413))
    return json_object(raw)


def json_object(raw: bytes) -> dict[str, Any]:
    """Return a body as a JSON object; raises Refused."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refused(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(body, dict):
        raise Refused("We could not parse the JSON body of your request: an object is expected")
    return body


def whole(
    request: web.Request, name: str, default: int, maximum: int, refused: Callable[[str, int, int | None], Refused]
) -> int:
    """Return a number of the query from 1 to a maximum; `refused` makes the error of a name, a bound and the number."""
    text = request.query.get(name)
    if text is None:
        return default
    if not text.lstrip("-").isdecimal():
        raise refused(name, maximum, None)
    number = int(text)
    if not 1 <= number <= maximum:
        raise refused(name, maximum if number > maximum else 1, number)
    return number


def page(ids: Sequence[str], cursor: str | None, limit: int) -> tuple[Sequence[str], bool]:
    """Return the ids after an id, and whether there are more than the limit; none follow an unknown id."""
    start = 0 if cursor is None else ids.index(cursor) + 1 if cursor in ids else len(ids)
    return ids[start : start + limit], start + limit < len(ids)


def download(path: Path, content_type: str) -> web.StreamResponse:
    """Return a file as a response, in bounded memory."""
    return web.FileResponse(path, chunk_size=CHUNK, headers={"Content-Type": content_type})


def lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield the lines of a file that are not blank: their number from 1, the byte where they start, and they."""
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, start, line
            start += len(line)
