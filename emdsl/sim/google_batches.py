"""Google's batch mode of generateContent, with its server's checks and error messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.sim.answering import Refused, check_fields
from emdsl.sim.batch_http import Route, json_object, lines, page, read_body, whole
from emdsl.sim.batches import ENDED, Batch, Engine, Entry, Fate, Requests, Result, Stage, Turns
from emdsl.sim.formats import FORMATS
from emdsl.sim.google import UNKNOWN, camel
from emdsl.sim.google_files import no_file, utc, wrong_number

if TYPE_CHECKING:
    from emdsl.sim.google_files import Files

MAX_SIZE = 20 * 2**20  # bytes of a request to create a batch
TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_BATCH = frozenset(("displayName", "inputConfig", "priority", "model", "name"))
_INPUT = frozenset(("fileName", "requests"))
_REQUEST = frozenset(("request", "metadata"))
_STATES = {
    Stage.VALIDATING: "PENDING", Stage.RUNNING: "RUNNING", Stage.FINALIZING: "RUNNING", Stage.COMPLETED: "SUCCEEDED",
    Stage.FAILED: "FAILED", Stage.CANCELLED: "CANCELLED", Stage.EXPIRED: "EXPIRED",
}  # fmt: skip
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14}  # of gRPC, by status


class GoogleBatches:
    """The batches of all accounts, and their endpoints."""

    splits = False
    all_or_none = True

    def __init__(self, engine: Engine, files: Files) -> None:
        self._engine = engine
        self._files = files
        self._batches: dict[str, Batch] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        table = (
            ("POST", "/v1beta/models/{model:[^:]+}:batchGenerateContent", self._create),
            ("GET", "/v1beta/batches", self._list),
            ("GET", "/v1beta/batches/{id:[^/:]+}", self._get),
            ("DELETE", "/v1beta/batches/{id:[^/:]+}", self._delete),
            ("POST", "/v1beta/batches/{id:[^/:]+}:cancel", self._cancel),
        )
        return [Route(method, path, handle, FORMATS["google"]) for method, path, handle in table]

    async def _create(self, request: web.Request) -> web.StreamResponse:
        too_large = Refused(f"Request payload size exceeds the limit: {MAX_SIZE} bytes.")
        body = _fields(json_object(await read_body(request, MAX_SIZE, too_large)), frozenset(("batch",)))
        given = _fields(body.get("batch") or {}, _BATCH)
        source = _fields(given.get("inputConfig") or {}, _INPUT)
        model = request.match_info["model"]
        if model.startswith("no-"):
            raise Refused(
                f"models/{model} is not found for API version v1beta, or is not supported for batchGenerateContent.",
                status=404,
            )
        if len(source) != 1:
            raise Refused("* BatchGenerateContentRequest.batch.input_config: one of file_name and requests is required")
        host = f"{request.scheme}://{request.host}"
        details = {"model": model, "name": given.get("displayName"), "host": host, "input": None}
        if "fileName" in source:
            file = self._files.get(source["fileName"])
            if file is None:
                raise no_file(str(source["fileName"]).removeprefix("files/"))
            details["input"] = source["fileName"]
            batch = self._engine.create(self, Requests(file.path), details, _read_lines)
        else:
            requests = self._write_requests(source["requests"])
            batch = self._engine.create(self, requests, details, shuffled=False)
        self._batches[batch.id] = batch
        self._engine.lose_reply()
        return web.json_response(self._shown(batch))

    def _write_requests(self, given: Any) -> Requests:
        """Write the inline requests of a batch as lines of a file; raises Refused."""
        items = _fields(given, frozenset(("requests",))).get("requests")
        if not isinstance(items, list) or not items:
            raise Refused("* BatchGenerateContentRequest.batch.input_config.requests: requests is empty")
        requests = Requests(self._engine.new_path())
        start = 0
        with requests.path.open("wb") as file:
            for item in items:
                fields = _fields(item, _REQUEST)
                metadata = fields.get("metadata") or {}
                line = {"key": metadata.get("key"), "request": fields.get("request"), "metadata": metadata}
                requests.add(_key(line), start)
                start += file.write(json.dumps(line).encode() + b"\n")
        return requests

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit = whole(request, "pageSize", 10, 100, wrong_number)
        ids, more = page([*self._batches][::-1], request.query.get("pageToken"), limit)
        shown: dict[str, Any] = {"operations": [self._shown(self._batches[id_]) for id_ in ids]} if ids else {}
        return web.json_response(shown | ({"nextPageToken": ids[-1]} if more else {}))

    def _find(self, request: web.Request) -> Batch:
        batch = self._batches.get(request.match_info["id"])
        if batch is None:
            raise Refused(f"Requested entity was not found: batches/{request.match_info['id']}", status=404)
        return batch

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._shown(self._find(request)))

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        del self._batches[self._find(request).id]
        return web.json_response({})

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        batch = self._find(request)
        if batch.stage in ENDED:
            raise Refused(f"Batch batches/{batch.id} has ended and cannot be cancelled.")
        batch.cancel()
        return web.json_response({})

    def _shown(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as the server shows it: an operation."""
        name, details, fates = f"batches/{batch.id}", batch.details, batch.fates
        left = len(batch.requests) - fates.total()
        counts = {
            "requestCount": len(batch.requests), "successfulRequestCount": fates[Fate.ANSWERED],
            "failedRequestCount": fates.total() - fates[Fate.ANSWERED], "pendingRequestCount": left,
        }  # fmt: skip
        metadata = {
            "@type": TYPE, "model": f"models/{details['model']}", "name": name,
            "createTime": utc(batch.created_at), "updateTime": utc(batch.updated_at),
            "batchStats": {count: str(n) for count, n in counts.items() if n},
            "state": f"BATCH_STATE_{_STATES[batch.stage]}",
        }  # fmt: skip
        if details["name"] is not None:
            metadata["displayName"] = details["name"]
        if details["input"] is not None:
            metadata["inputConfig"] = {"fileName": details["input"]}
        shown: dict[str, Any] = {"name": name, "metadata": metadata}
        if batch.stage not in ENDED:
            return shown
        metadata["endTime"] = utc(batch.times[batch.stage])
        if batch.stage is Stage.COMPLETED:
            output = self._output(batch)
            metadata["output"] = output
            return shown | {"done": True, "response": {"@type": f"{TYPE}Output", **output}}
        errors = {
            Stage.CANCELLED: {"code": 1, "message": "The batch was cancelled."},
            Stage.EXPIRED: {"code": 4, "message": "The batch expired before it was completed."},
        }  # fmt: skip
        return shown | {"done": True, "error": errors[batch.stage] if batch.stage in errors else batch.problems[0]}

    def _output(self, batch: Batch) -> dict[str, Any]:
        """Return where the results are, or the results of inline requests."""
        if batch.details["input"] is None:
            items = []
            for (_, _, line), (_, _, asked) in zip(lines(batch.output), lines(batch.requests.path), strict=True):
                metadata = json.loads(asked)["metadata"]
                items.append(json.loads(line) | ({"metadata": metadata} if metadata else {}))
            return {"inlinedResponses": {"inlinedResponses": items}}
        name = f"files/batch-{batch.id}"
        if "added" not in batch.details:  # once: a deleted file stays deleted
            self._files.add_results(batch.output, batch.id, batch.details["host"])
            batch.details["added"] = True
        return {"responsesFile": name}

    def read(self, batch: Batch, line: bytes) -> Entry:
        """Read a line of the requests."""
        given = json.loads(line)
        request = given.get("request")
        if isinstance(request, dict):  # an online request has the model in its path
            request = {name: value for name, value in request.items() if name != "model"}
        return Entry(custom_id=_key(given), format=FORMATS["google"], body=request, names=(batch.details["model"],))

    def write(self, batch: Batch, result: Result) -> bytes:
        """Return a line of the results; those of inline requests are shown in the batch."""
        line: dict[str, Any] = {}
        if result.fate is Fate.ANSWERED:
            line["response"] = result.body
        elif result.fate is Fate.ERRORED:
            line["error"] = {"code": _CODES.get(result.status, 2), "message": result.body["error"]["message"]}
        if batch.details["input"] is not None and result.custom_id is not None:
            line["key"] = result.custom_id
        return json.dumps(line).encode() + b"\n"


async def _read_lines(batch: Batch) -> None:
    """Add the lines of the file to a batch."""
    turns = Turns()
    for number, start, line in lines(batch.requests.path):
        await turns.take()
        try:
            given = json.loads(line)
        except ValueError:
            given = None
        if not isinstance(given, dict) or not isinstance(given.get("request"), dict):
            message = f"Failed to parse the input file: line {number} is not a JSON object with a `request`."
            batch.problems.append({"code": 3, "message": message})
            return
        batch.requests.add(_key(given), start)
    if not len(batch.requests):
        batch.problems.append({"code": 3, "message": "The input file has no requests."})


def _key(line: dict[str, Any]) -> str | None:
    """Return the id of a request; None without one."""
    key = line.get("key")
    return key if isinstance(key, str) else None


def _fields(given: Any, known: frozenset[str]) -> dict[str, Any]:
    """Return an object in camel case; raises Refused for unknown fields."""
    return check_fields(camel(given, known), dict.fromkeys(known), UNKNOWN)
