"""Google's files: resumable uploads, and downloads of results."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.sim.answering import Refused
from emdsl.sim.batch_http import CHUNK, Route, download, json_object, page, read_body, whole
from emdsl.sim.formats import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.sim.batches import Engine

MAX_SIZE = 2 * 2**30  # bytes
GRANULARITY = 256 * 2**10  # bytes of which each chunk but the last is a multiple
HOURS = 48  # until a file expires


@dataclass(slots=True, kw_only=True)
class File:
    """A file, or an upload of one."""

    path: Path
    host: str
    mime_type: str
    announced: int | None = None  # bytes; None if it is not said
    shown_name: str | None = None
    generated: bool = False  # by a batch: such files alone can be downloaded
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    created_at: float = field(default_factory=time.time)
    size: int = 0  # bytes received

    def shown(self) -> dict[str, Any]:
        """Return the file as the server shows it."""
        created, expires = utc(self.created_at), utc(self.created_at + HOURS * 3_600)
        uri = f"{self.host}/v1beta/files/{self.id}"
        return {
            "name": f"files/{self.id}", "mimeType": self.mime_type, "sizeBytes": str(self.size), "createTime": created,
            "updateTime": created, "expirationTime": expires, "uri": uri, "state": "ACTIVE",
            "source": "GENERATED" if self.generated else "UPLOADED",
            **({"displayName": self.shown_name} if self.shown_name is not None else {}),
            **({"downloadUri": f"{uri}:download?alt=media"} if self.generated else {}),
        }  # fmt: skip


class Files:
    """The files of all accounts, and their endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._files: dict[str, File] = {}
        self._uploads: dict[str, File] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        format_ = FORMATS["google"]
        return [
            Route("POST", "/upload/v1beta/files", self._upload, format_, ticket="upload_id"),
            Route("GET", "/v1beta/files", self._list, format_),
            Route("GET", "/v1beta/files/{id:[^/:]+}", self._get, format_),
            Route("DELETE", "/v1beta/files/{id:[^/:]+}", self._delete, format_),
            Route("GET", "/v1beta/files/{id:[^/:]+}:download", self._download, format_),
            Route("GET", "/download/v1beta/files/{id:[^/:]+}:download", self._download, format_),
        ]

    def get(self, name: str) -> File | None:
        """Return a file by its name, `files/ID`; None if it is unknown."""
        return self._files.get(name.removeprefix("files/"))

    def add_results(self, path: Path, batch: str, host: str) -> None:
        """Add the results of a batch, as `files/batch-ID`."""
        file = File(path=path, host=host, mime_type="application/jsonl", generated=True, id=f"batch-{batch}",
                    size=path.stat().st_size)  # fmt: skip
        self._files[file.id] = file

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        commands = {c.strip() for c in request.headers.get("X-Goog-Upload-Command", "").split(",")}
        if "upload_id" not in request.query:
            return await self._start(request, commands)
        file = self._uploads.get(request.query["upload_id"])
        if file is None:
            raise Refused("The upload does not exist or has ended.", status=404)
        if commands == {"query"}:
            return _progress(file)
        if not commands or not commands <= {"upload", "finalize"}:
            raise Refused("Invalid X-Goog-Upload-Command header.")
        if "upload" in commands:
            await _receive(request, file)
        if "finalize" not in commands:
            return _progress(file)
        if file.announced not in (None, file.size):
            raise Refused(f"The upload has {file.size} bytes, but {file.announced} were announced.")
        del self._uploads[request.query["upload_id"]]
        self._files[file.id] = file
        return web.json_response({"file": file.shown()}, headers={"X-Goog-Upload-Status": "final"})

    async def _start(self, request: web.Request, commands: set[str]) -> web.StreamResponse:
        """Start an upload; its URL is in the headers of the reply."""
        if request.headers.get("X-Goog-Upload-Protocol") != "resumable" or commands != {"start"}:
            raise Refused("The simulator supports the resumable upload protocol only.")
        raw = await read_body(request, 2**20, Refused("Request payload size exceeds the limit: 1048576 bytes."))
        given = json_object(raw).get("file") or {} if raw else {}
        announced = request.headers.get("X-Goog-Upload-Header-Content-Length", "")
        if announced.isdecimal() and int(announced) > MAX_SIZE:
            raise Refused(f"File size exceeds the limit: {MAX_SIZE} bytes.")
        file = File(
            path=self._engine.new_path(), host=f"{request.scheme}://{request.host}",
            mime_type=request.headers.get("X-Goog-Upload-Header-Content-Type") or given.get("mimeType") or "text/plain",
            announced=int(announced) if announced.isdecimal() else None,
            shown_name=given.get("displayName", given.get("display_name")),
        )  # fmt: skip
        file.path.touch()
        upload = uuid.uuid4().hex
        self._uploads[upload] = file
        url = f"{file.host}/upload/v1beta/files?upload_id={upload}&upload_protocol=resumable"
        headers = {
            "X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active",
            "X-Goog-Upload-Chunk-Granularity": str(GRANULARITY),
        }  # fmt: skip
        return web.json_response({}, headers=headers)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit = whole(request, "pageSize", 10, 100, wrong_number)
        ids, more = page([*self._files][::-1], request.query.get("pageToken"), limit)
        shown: dict[str, Any] = {"files": [self._files[id_].shown() for id_ in ids]} if ids else {}
        return web.json_response(shown | ({"nextPageToken": ids[-1]} if more else {}))

    def _find(self, request: web.Request) -> File:
        file = self._files.get(request.match_info["id"])
        if file is None:
            raise no_file(request.match_info["id"])
        return file

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._find(request).shown())

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        del self._files[self._find(request).id]  # the content stays: a batch may read it
        return web.json_response({})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        file = self._find(request)
        if request.query.get("alt") != "media" or not file.generated:
            raise Refused(f"The file files/{file.id} cannot be downloaded.")
        return download(file.path, "application/jsonl")


def no_file(id_: str) -> Refused:
    """Return the error of an unknown file."""
    message = f"You do not have permission to access the File {id_} or it may not exist."
    return Refused(message, status=403)


def wrong_number(name: str, bound: int, number: int | None) -> Refused:
    """Return the error of a number of the query."""
    if number is None:
        return Refused(f"Invalid value at '{name}' (TYPE_INT32)")
    return Refused(f"{name} must be {'at least' if number < bound else 'at most'} {bound}")


def utc(seconds: float) -> str:
    """Return a time as the server shows it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _progress(file: File) -> web.Response:
    """Return the reply to a part of an upload."""
    headers = {"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": str(file.size)}
    return web.json_response({}, headers=headers)


async def _receive(request: web.Request, file: File) -> None:
    """Append a chunk to a file."""
    if request.headers.get("X-Goog-Upload-Offset") != str(file.size):
        raise Refused(f"The upload offset must be {file.size}.")
    with file.path.open("ab") as content:
        async for part in request.content.iter_chunked(CHUNK):
            file.size += content.write(part)
            if file.size > MAX_SIZE:
                raise Refused(f"File size exceeds the limit: {MAX_SIZE} bytes.")
