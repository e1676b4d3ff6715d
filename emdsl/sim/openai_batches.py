"""OpenAI's batches, with their server's checks and error messages."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emdsl.sim.answering import Refused
from emdsl.sim.batch_http import Route, lines, page, read_json, whole
from emdsl.sim.batches import ENDED, HOURS, Batch, Engine, Entry, Fate, Requests, Result, Stage, Turns
from emdsl.sim.formats import FORMATS
from emdsl.sim.openai import wrong_type
from emdsl.sim.openai_files import listed, missing, wrong_number

if TYPE_CHECKING:
    from emdsl.sim.openai_files import File, Files

MAX_REQUESTS = 50_000
MAX_SIZE = 200 * 2**20  # bytes
MAX_PROBLEMS = 100  # that are shown
ENDPOINTS = {  # the format of each, its name, and the field of its prompt
    "/v1/chat/completions": (FORMATS["chat"], "Chat Completions", "messages"),
    "/v1/responses": (FORMATS["responses"], "Responses", "input"),
}
_FIELDS = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
_TIMES = {
    Stage.RUNNING: "in_progress_at", Stage.FINALIZING: "finalizing_at", Stage.COMPLETED: "completed_at",
    Stage.FAILED: "failed_at", Stage.EXPIRED: "expired_at", Stage.CANCELLED: "cancelled_at",
}  # fmt: skip
_LEFT_OUT = {
    Fate.EXPIRED: ("batch_expired", "This request could not be executed before the completion window expired."),
    Fate.CANCELLED: ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}


class OpenAIBatches:
    """The batches of all accounts, and their endpoints."""

    splits = True
    all_or_none = False

    def __init__(self, engine: Engine, files: Files) -> None:
        self._engine = engine
        self._files = files
        self._batches: dict[str, Batch] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        table = (
            ("POST", "/v1/batches", self._create),
            ("GET", "/v1/batches", self._list),
            ("GET", "/v1/batches/{id}", self._get),
            ("POST", "/v1/batches/{id}/cancel", self._cancel),
        )
        return [Route(method, path, handle, FORMATS["chat"]) for method, path, handle in table]

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await read_json(request)
        _check_body(body)
        file = self._files.get(body["input_file_id"])
        requests = Requests(file.path if file is not None else self._engine.new_path())
        details = {"file": file} | {name: body.get(name) for name in ("endpoint", "metadata", "input_file_id")}
        batch = self._engine.create(self, requests, details, self._validate, prefix="batch_")
        self._batches[batch.id] = batch
        self._engine.lose_reply()
        return web.json_response(self._shown(batch))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit = whole(request, "limit", 20, 100, wrong_number)
        ids, more = page([*self._batches][::-1], request.query.get("after"), limit)
        return web.json_response(listed([self._shown(self._batches[id_]) for id_ in ids], more=more))

    def _find(self, request: web.Request) -> Batch:
        batch = self._batches.get(request.match_info["id"])
        if batch is None:
            raise Refused(f"No batch found with id '{request.match_info['id']}'.", status=404)
        return batch

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._shown(self._find(request)))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        batch = self._find(request)
        if batch.stage in ENDED - {Stage.CANCELLED}:
            raise Refused(f"Cannot cancel a batch with status '{batch.stage.value}'.", status=409)
        batch.cancel()
        return web.json_response(self._shown(batch))

    def _shown(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as the server shows it."""
        ended, details, tokens = batch.stage in ENDED, batch.details, batch.tokens
        status = "in_progress" if batch.stage is Stage.RUNNING else batch.stage.value
        times = {name: int(batch.times[stage]) if stage in batch.times else None for stage, name in _TIMES.items()}
        answered = batch.fates[Fate.ANSWERED]
        return {
            "id": batch.id, "object": "batch", "endpoint": details["endpoint"], "model": details.get("model"),
            "errors": {"object": "list", "data": batch.problems} if batch.stage is Stage.FAILED else None,
            "input_file_id": details["input_file_id"], "completion_window": "24h",
            "status": status if batch.cancelled_at is None or ended else "cancelling",
            "output_file_id": self._result_file(batch, "output") if ended else None,
            "error_file_id": self._result_file(batch, "error") if ended else None,
            "created_at": int(batch.created_at), "expires_at": int(batch.created_at) + HOURS * 3_600, **times,
            "cancelling_at": int(batch.cancelled_at) if batch.cancelled_at is not None else None,
            "request_counts": {
                "total": len(batch.requests) if Stage.RUNNING in batch.times else 0, "completed": answered,
                "failed": batch.fates.total() - answered,
            },
            "usage": {
                "input_tokens": tokens["input"], "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": tokens["output"], "output_tokens_details": {"reasoning_tokens": tokens["reasoning"]},
                "total_tokens": tokens["input"] + tokens["output"],
            },
            "metadata": details["metadata"],
        }  # fmt: skip

    def _result_file(self, batch: Batch, kind: str) -> str | None:
        """Return the id of a file of results; None if it has no lines."""
        path = batch.output if kind == "output" else batch.errors
        if not path.exists() or not path.stat().st_size:
            return None
        if kind not in batch.details:
            batch.details[kind] = self._files.keep(path, f"{batch.id}_{kind}.jsonl", "batch_output").id
        id_: str = batch.details[kind]
        return id_

    async def _validate(self, batch: Batch) -> None:
        """Read the requests of a batch; what is wrong with them is a problem of the batch."""
        file: File | None = batch.details["file"]
        if file is None:
            message = f"Cannot find file {batch.details['input_file_id']}, or organization org-sim does not have access"
            batch.problems.append(_problem("invalid_request", f"{message} to it.", "file_id"))
        elif file.purpose != "batch":
            batch.problems.append(_problem("invalid_request", "The purpose of the file must be 'batch'.", "file_id"))
        elif file.size > MAX_SIZE:
            message = f"The batch input file is larger than the {MAX_SIZE} maximum. Please try again with a smaller"
            batch.problems.append(_problem("file_too_large", f"{message} batch.", None))
        else:
            await _read_lines(batch, file)

    def read(self, batch: Batch, line: bytes) -> Entry:
        """Read a line of the requests."""
        request = json.loads(line)
        return Entry(
            custom_id=request["custom_id"], format=ENDPOINTS[batch.details["endpoint"]][0], body=request["body"]
        )

    def write(self, _: Batch, result: Result) -> bytes:
        """Return a line of the results."""
        response, error = None, None
        if result.fate in _LEFT_OUT:
            code, message = _LEFT_OUT[result.fate]
            error = {"code": code, "message": message}
        else:
            response = {"status_code": result.status, "request_id": uuid.uuid4().hex, "body": result.body}
        line = {
            "id": f"batch_req_{uuid.uuid4().hex[:24]}", "custom_id": result.custom_id, "response": response,
            "error": error,
        }  # fmt: skip
        return json.dumps(line).encode() + b"\n"


def _check_body(body: dict[str, Any]) -> None:
    """Check a request to create a batch; raises Refused."""
    for name in ("input_file_id", "endpoint", "completion_window"):
        if name not in body:
            raise missing(name)
        if not isinstance(body[name], str):
            raise wrong_type(name, "a string", body[name])
    for name in body:
        if name not in _FIELDS:
            raise Refused(f"Unknown parameter: '{name}'.", kind="unknown_parameter", param=name)
    endpoint, window, metadata = body["endpoint"], body["completion_window"], body.get("metadata")
    if endpoint not in ENDPOINTS:
        message = f"Invalid value: '{endpoint}'. Supported values are: {' and '.join(map(repr, ENDPOINTS))}."
        raise Refused(message, kind="invalid_value", param="endpoint")
    if window != "24h":
        message = f"Invalid value: '{window}'. Value must be '24h'."
        raise Refused(message, kind="invalid_value", param="completion_window")
    if metadata is not None:
        _check_metadata(metadata)


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict):
        raise wrong_type("metadata", "an object", metadata)
    if len(metadata) > 16:
        message = "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an "
        message += f"object with {len(metadata)} properties instead."
        raise Refused(message, kind="object_above_max_properties", param="metadata")
    for name, value in metadata.items():
        if len(name) > 64:
            message = f"Invalid property name in 'metadata': '{name}' is too long. Expected a string with maximum "
            message += f"length 64, but got a string with length {len(name)} instead."
            raise Refused(message, kind="property_name_above_max_length", param=f"metadata.{name}")
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{name}", "a string", value)
        if len(value) > 512:
            message = f"Invalid 'metadata.{name}': string too long. Expected a string with maximum length 512, but "
            message += f"got a string with length {len(value)} instead."
            raise Refused(message, kind="string_above_max_length", param=f"metadata.{name}")


async def _read_lines(batch: Batch, file: File) -> None:
    """Add the lines of a file to a batch, and what is wrong with each to its problems."""
    seen: set[str] = set()
    turns = Turns()
    for number, start, line in lines(file.path):
        await turns.take()
        custom_id, problem = _check_line(line, batch, seen)
        batch.requests.add(custom_id, start)
        if problem is not None:
            batch.problems.append(problem | {"line": number})
        if len(batch.problems) == MAX_PROBLEMS or len(batch.requests) > MAX_REQUESTS:
            break
    if not len(batch.requests):
        message = "The input file is empty. Please ensure that your batch contains at least one request."
        batch.problems.append(_problem("empty_file", message, None))
    if len(batch.requests) > MAX_REQUESTS:
        message = f"The batch input file has more than the maximum of {MAX_REQUESTS} requests."
        batch.problems.append(_problem("too_many_tasks", message, None))


def _check_line(line: bytes, batch: Batch, seen: set[str]) -> tuple[str | None, dict[str, Any] | None]:
    """Return the id of a line, and what is wrong with it."""
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        return None, _problem("invalid_json_line", "This line is not parseable as valid JSON.", None)
    for name in ("custom_id", "method", "url", "body"):
        if name not in request:
            return None, _problem("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
        type_, expected = (dict, "an object") if name == "body" else (str, "a string")
        if not isinstance(request[name], type_):
            return None, _problem("invalid_type", str(wrong_type(name, expected, request[name])), name)
    custom_id: str = request["custom_id"]
    if custom_id in seen:
        message = f"The custom_id '{custom_id}' for this request is a duplicate of another request. The custom_id "
        message += "parameter must be unique for each request in a batch."
        return None, _problem("duplicate_custom_id", message, "custom_id")
    seen.add(custom_id)
    if request["method"] != "POST":
        return None, _problem("invalid_method", "Invalid method: only 'POST' is supported.", "method")
    if request["url"] != batch.details["endpoint"]:
        message = "The URL provided for this request does not match the batch endpoint."
        return None, _problem("invalid_url", message, "url")
    return custom_id, _check_request(request["body"], batch)


def _check_request(body: dict[str, Any], batch: Batch) -> dict[str, Any] | None:
    """Return what is wrong with the body of a line; what remains is an error of the request alone."""
    _, api, prompt = ENDPOINTS[batch.details["endpoint"]]
    for name in ("model", prompt):
        if name not in body:
            return _problem("invalid_request", f"{name.capitalize()} parameter is required.", f"body.{name}")
    model = body["model"]
    if not isinstance(model, str) or model.startswith("no-"):
        message = f"The provided model '{model}' is not supported by the Batch API."
        return _problem("model_not_found", message, "body.model")
    if batch.details.setdefault("model", model) != model:
        message = f"The model '{model}' for this request does not match the rest of the batch. Each batch must contain "
        return _problem("mismatched_model", f"{message}requests for a single model.", "body.model")
    if body.get("stream"):
        message = f"{api}: Streaming is not supported in the Batch API."
        return _problem("streaming_unsupported", message, "body.stream")
    return None


def _problem(code: str, message: str, param: str | None) -> dict[str, Any]:
    return {"code": code, "line": None, "message": message, "param": param}
