"""Anthropic's message batches, with their server's checks and error messages."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.sim.answering import Refused
from emdsl.sim.batch_http import Route, download, page, read_body, whole
from emdsl.sim.batches import ENDED, HOURS, Batch, Engine, Entry, Fate, Requests, Result, Turns
from emdsl.sim.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_REQUESTS = 100_000
MAX_SIZE = 256 * 2**20  # bytes
_ID = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_TYPES = {
    Fate.ANSWERED: "succeeded", Fate.ERRORED: "errored", Fate.EXPIRED: "expired", Fate.CANCELLED: "canceled",
}  # fmt: skip


class AnthropicBatches:
    """The message batches of all accounts, and their endpoints."""

    splits = False
    all_or_none = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._batches: dict[str, Batch] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        table = (
            ("POST", "/v1/messages/batches", self._create),
            ("GET", "/v1/messages/batches", self._list),
            ("GET", "/v1/messages/batches/{id}", self._get),
            ("DELETE", "/v1/messages/batches/{id}", self._delete),
            ("GET", "/v1/messages/batches/{id}/results", self._results),
            ("POST", "/v1/messages/batches/{id}/cancel", self._cancel),
        )
        return [Route(method, path, handle, FORMATS["anthropic"]) for method, path, handle in table]

    async def _create(self, request: web.Request) -> web.StreamResponse:
        too_large = Refused("Request exceeds the maximum size", status=413)
        requests = await self._read_requests(await read_body(request, MAX_SIZE, too_large))
        details = {"url": f"{request.scheme}://{request.host}"}
        batch = self._engine.create(self, requests, details, prefix="msgbatch_")
        self._batches[batch.id] = batch
        self._engine.lose_reply()
        return web.json_response(_shown(batch))

    async def _read_requests(self, raw: bytes) -> Requests:
        """Check the ids of a body's requests and write them to a file; raises Refused."""
        requests = Requests(self._engine.new_path())
        seen: set[str] = set()
        turns = Turns()
        start = 0
        with requests.path.open("wb") as file:
            for i, item in enumerate(_items(raw)):
                await turns.take()
                custom_id = _check_item(item, i)
                if custom_id in seen:
                    raise Refused(f"requests.{i}.custom_id: Duplicate custom_id: {custom_id}")
                seen.add(custom_id)
                requests.add(custom_id, start)
                start += file.write(json.dumps(item).encode() + b"\n")
        if len(requests) > MAX_REQUESTS:
            raise Refused(
                f"requests: List should have at most {MAX_REQUESTS} items after validation, not {len(requests)}"
            )
        if not len(requests):
            raise Refused("requests: List should have at least 1 item after validation, not 0")
        return requests

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit, before = whole(request, "limit", 20, 1_000, _wrong_number), request.query.get("before_id")
        if before is not None and "after_id" in request.query:
            raise Refused("Only one of `before_id` and `after_id` may be set")
        ids = [*self._batches][::-1]
        if before is not None:  # the page that ends there
            newer, more = page([*self._batches], before, limit)
            ids = [*newer][::-1]
        else:
            newer, more = page(ids, request.query.get("after_id"), limit)
            ids = [*newer]
        first, last = (ids[0], ids[-1]) if ids else (None, None)
        shown = [_shown(self._batches[id_]) for id_ in ids]
        return web.json_response({"data": shown, "has_more": more, "first_id": first, "last_id": last})

    def _find(self, request: web.Request) -> Batch:
        batch = self._batches.get(request.match_info["id"])
        if batch is None:
            raise Refused(f"Message batch {request.match_info['id']} not found.", status=404)
        return batch

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(_shown(self._find(request)))

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        batch = self._find(request)
        if batch.stage not in ENDED:
            raise Refused(f"Message batch {batch.id} cannot be deleted while it is being processed. Cancel it first.")
        del self._batches[batch.id]
        return web.json_response({"id": batch.id, "type": "message_batch_deleted"})

    async def _results(self, request: web.Request) -> web.StreamResponse:
        batch = self._find(request)
        if batch.stage not in ENDED:
            raise Refused(f"Message batch {batch.id} has no available results: it is being processed.", status=404)
        return download(batch.output, "application/x-jsonl")

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        batch = self._find(request)
        if batch.stage not in ENDED:
            batch.cancel()
        return web.json_response(_shown(batch))

    def read(self, _: Batch, line: bytes) -> Entry:
        """Read a line of the requests."""
        request = json.loads(line)
        return Entry(custom_id=request["custom_id"], format=FORMATS["anthropic"], body=request["params"])

    def write(self, _: Batch, result: Result) -> bytes:
        """Return a line of the results."""
        outcome: dict[str, Any] = {"type": _TYPES[result.fate]}
        if result.fate is Fate.ANSWERED:
            outcome["message"] = result.body
        elif result.fate is Fate.ERRORED:
            outcome["error"] = result.body
        return json.dumps({"custom_id": result.custom_id, "result": outcome}).encode() + b"\n"


def _shown(batch: Batch) -> dict[str, Any]:
    """Return a batch as the server shows it."""
    ended = batch.stage in ENDED
    counts = {name: batch.fates[fate] if ended else 0 for fate, name in _TYPES.items()}
    active = "in_progress" if batch.cancelled_at is None else "canceling"
    return {
        "id": batch.id, "type": "message_batch", "processing_status": "ended" if ended else active,
        "request_counts": {"processing": 0 if ended else len(batch.requests), **counts},
        "created_at": _time(batch.created_at), "expires_at": _time(batch.created_at + HOURS * 3_600),
        "ended_at": _time(batch.times[batch.stage]) if ended else None, "archived_at": None,
        "cancel_initiated_at": _time(batch.cancelled_at) if batch.cancelled_at is not None else None,
        "results_url": f"{batch.details['url']}/v1/messages/batches/{batch.id}/results" if ended else None,
    }  # fmt: skip


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _items(raw: bytes) -> Iterator[Any]:
    """Yield the requests of a body one by one, so that a large one never blocks the server; raises Refused."""
    try:
        text = raw.decode()
        at = _expect(text, 0, "{")
        given = False
        while text[at : at + 1] != "}":
            name, at = _DECODER.raw_decode(text, at)
            at = _expect(text, at, ":")
            if name != "requests":
                raise Refused(f"{name}: Extra inputs are not permitted")
            given = True
            if text[at : at + 1] != "[":
                raise Refused("requests: Input should be a valid array")
            at = _expect(text, at, "[")
            while text[at : at + 1] != "]":
                item, at = _DECODER.raw_decode(text, at)
                yield item
                at = _separated(text, at, "]")
            at = _separated(text, _expect(text, at, "]"), "}")
        if _expect(text, at, "}") != len(text):
            raise ValueError("extra data")  # noqa: TRY301 - the one place that words errors of syntax is below
    except ValueError as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"The request body is not valid JSON: {error}") from error
    if not given:
        raise Refused("requests: Field required")


def _expect(text: str, at: int, sign: str) -> int:
    """Return where the next value starts after a sign that must be here, with blanks around it."""
    at = _blanks(text, at)
    if not text.startswith(sign, at):
        raise ValueError(f"expected `{sign}` at character {at}")
    return _blanks(text, at + 1)


def _separated(text: str, at: int, end: str) -> int:
    """Return where the next item starts after a comma, or where the end is."""
    at = _blanks(text, at)
    if text.startswith(end, at):
        return at
    at = _expect(text, at, ",")
    if text.startswith(end, at):
        raise ValueError(f"expected a value at character {at}")
    return at


def _blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match is not None else at


def _check_item(item: Any, i: int) -> str:
    """Return the id of a request; raises Refused. Errors in `params` are results."""
    where = f"requests.{i}"
    if not isinstance(item, dict):
        raise Refused(f"{where}: Input should be a valid dictionary")
    for name in ("custom_id", "params"):
        if name not in item:
            raise Refused(f"{where}.{name}: Field required")
    for name in item:
        if name not in ("custom_id", "params"):
            raise Refused(f"{where}.{name}: Extra inputs are not permitted")
    custom_id = item["custom_id"]
    if not isinstance(custom_id, str):
        raise Refused(f"{where}.custom_id: Input should be a valid string")
    if len(custom_id) > 64:
        raise Refused(f"{where}.custom_id: String should have at most 64 characters")
    if not _ID.fullmatch(custom_id):
        raise Refused(f"{where}.custom_id: String should match pattern '{_ID.pattern}'")
    if not isinstance(item["params"], dict):
        raise Refused(f"{where}.params: Input should be a valid dictionary")
    return custom_id


def _wrong_number(name: str, bound: int, number: int | None) -> Refused:
    if number is None:
        return Refused(f"{name}: Input should be a valid integer, unable to parse string as an integer")
    return Refused(f"{name}: Input should be {'greater' if number < bound else 'less'} than or equal to {bound}")
