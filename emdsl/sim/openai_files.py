"""OpenAI's files, with their server's checks and error messages."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, web

from emdsl.sim.answering import Refused
from emdsl.sim.batch_http import CHUNK, Route, download, lines, page, whole
from emdsl.sim.formats import FORMATS
from emdsl.sim.openai import out_of_bounds, wrong_type

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.sim.batches import Engine

MAX_SIZE = 512 * 2**20  # bytes
DAYS = 30  # until a file of batches expires
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file; `size` is in bytes."""

    path: Path
    name: str
    purpose: str
    size: int
    id: str = field(default_factory=lambda: f"file-{uuid.uuid4().hex[:22]}")
    created_at: float = field(default_factory=time.time)

    def shown(self) -> dict[str, Any]:
        """Return the file as the server shows it."""
        expires_at = int(self.created_at) + DAYS * 86_400 if self.purpose.startswith("batch") else None
        return {
            "id": self.id, "object": "file", "bytes": self.size, "created_at": int(self.created_at),
            "expires_at": expires_at, "filename": self.name, "purpose": self.purpose, "status": "processed",
            "status_details": None,
        }  # fmt: skip


class Files:
    """The files of all accounts, and their endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._files: dict[str, File] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        table = (
            ("POST", "/v1/files", self._upload),
            ("GET", "/v1/files", self._list),
            ("GET", "/v1/files/{id}", self._get),
            ("DELETE", "/v1/files/{id}", self._delete),
            ("GET", "/v1/files/{id}/content", self._content),
        )
        return [Route(method, path, handle, FORMATS["chat"]) for method, path, handle in table]

    def get(self, file: str) -> File | None:
        """Return a file by its id; None if it is unknown."""
        return self._files.get(file)

    def keep(self, path: Path, name: str, purpose: str) -> File:
        """Add a file, and return it."""
        file = File(path=path, name=name, purpose=purpose, size=path.stat().st_size)
        self._files[file.id] = file
        return file

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if not request.content_type.startswith("multipart/"):
            raise missing("file")
        fields: dict[str, str] = {}
        path, name = self._engine.new_path(), None
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)  # forms are not nested
            if part.name == "file":
                name = part.filename or "upload"
                await _receive(part, path)
            else:
                fields[part.name or ""] = await part.text()
        if name is None:
            raise missing("file")
        if "purpose" not in fields:
            raise missing("purpose")
        purpose = fields["purpose"]
        if purpose not in PURPOSES:
            raise Refused(f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
        if purpose == "batch" and not (name.endswith(".jsonl") and _starts_with_json(path)):
            raise Refused("Invalid file format for Batch API. Must be .jsonl")
        return web.json_response(self.keep(path, name, purpose).shown())

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit = whole(request, "limit", 10_000, 10_000, wrong_number)
        purpose, order = request.query.get("purpose"), request.query.get("order", "desc")
        ids = [f.id for f in self._files.values() if purpose in (None, f.purpose)]
        shown, more = page(ids[::-1] if order == "desc" else ids, request.query.get("after"), limit)
        return web.json_response(listed([self._files[id_].shown() for id_ in shown], more=more))

    def _find(self, request: web.Request) -> File:
        file = self._files.get(request.match_info["id"])
        if file is None:
            raise Refused(f"No such File object: {request.match_info['id']}", status=404, param="id")
        return file

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._find(request).shown())

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        file = self._find(request)
        del self._files[file.id]  # the content stays: a batch may read it
        return web.json_response({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        return download(self._find(request).path, "application/octet-stream")


async def _receive(part: BodyPartReader, path: Path) -> None:
    """Write a part of a form to a file."""
    size = 0
    with path.open("wb") as file:
        while chunk := await part.read_chunk(CHUNK):
            size += file.write(chunk)
            if size > MAX_SIZE:
                raise Refused(f"Maximum content size limit ({MAX_SIZE}) exceeded", status=413)


def _starts_with_json(path: Path) -> bool:
    """Return whether the first line is a JSON object, or there are blank lines only."""
    for _, _, line in lines(path):
        try:
            return isinstance(json.loads(line), dict)
        except ValueError:
            return False
    return path.stat().st_size > 0


def listed(shown: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Return a page as OpenAI shows it."""
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, **ends, "has_more": more}


def missing(name: str) -> Refused:
    """Return OpenAI's error of a missing field."""
    return Refused(f"Missing required parameter: '{name}'.", kind="missing_required_parameter", param=name)


def wrong_number(name: str, bound: int, number: int | None) -> Refused:
    """Return OpenAI's error of a number of the query."""
    if number is None:
        return wrong_type(name, "an integer", "")
    return out_of_bounds(name, number, bound, number < bound)
