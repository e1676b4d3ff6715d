"""Google's files and batches of the simulator: lifecycle, results, and the errors of the real server."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from batch_calls import GEMINI, Calls, generated, jsonl, rows, run

from emdsl.sim import google_batches
from emdsl.sim.server import Faults

if TYPE_CHECKING:
    import pytest


async def start_upload(calls: Calls, size: int, **headers: str) -> str:
    """Start the upload of a file; return the path for its chunks."""
    given = {
        "X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": str(size), "X-Goog-Upload-Header-Content-Type": "application/jsonl",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }  # fmt: skip
    async with calls.session.post(
        f"{calls.url}/upload/v1beta/files", json={"file": {"display_name": "d"}}, headers=given
    ) as reply:
        assert (reply.status, reply.headers["X-Goog-Upload-Status"]) == (200, "active")
        return str(reply.headers["X-Goog-Upload-URL"]).removeprefix(calls.url)


async def google_upload(calls: Calls, content: bytes, chunk: int = 2**20) -> Any:
    """Upload a file in chunks; return it as the last reply shows it."""
    path = await start_upload(calls, len(content))
    reply: Any = None
    for offset in range(0, len(content), chunk):
        last = offset + chunk >= len(content)
        status, reply = await calls.call(
            "POST", path, content[offset : offset + chunk], X_Goog_Upload_Offset=str(offset),
            X_Goog_Upload_Command="upload, finalize" if last else "upload",
        )  # fmt: skip
        assert status == 200, reply
    return reply["file"]


def test_a_batch_of_google_from_a_file() -> None:
    """Uploaded in chunks, created with either spelling, its results are a file of lines with their keys."""

    async def test(calls: Calls) -> None:
        lines = [generated(f"{i:064x}") for i in range(20)] + [generated("wrong", generationConfig={"temperature": 3})]
        file = await google_upload(calls, jsonl(lines), chunk=1_000)
        assert (file["displayName"], file["state"], file["mimeType"]) == ("d", "ACTIVE", "application/jsonl")
        assert int(file["sizeBytes"]) == len(jsonl(lines))
        assert (await calls.call("GET", f"/v1beta/{file['name']}"))[1] == file
        status, reply = await calls.call("GET", f"/v1beta/{file['name']}:download?alt=media")
        assert (status, reply["error"]["status"]) == (400, "INVALID_ARGUMENT")
        body = {"batch": {"display_name": "a batch", "input_config": {"file_name": file["name"]}}}
        status, batch = await calls.call("POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent", body)
        assert (status, batch["metadata"]["state"]) == (200, "BATCH_STATE_PENDING")
        assert await calls.call("DELETE", f"/v1beta/{file['name']}") == (200, {})
        seen = Counter[str]()

        def is_done(batch: Any) -> bool:
            seen[batch["metadata"]["state"]] += 1
            return bool(batch.get("done"))

        batch = await calls.poll(f"/v1beta/{batch['name']}", is_done)
        states = ("BATCH_STATE_PENDING", "BATCH_STATE_RUNNING", "BATCH_STATE_SUCCEEDED")
        assert [*seen] == [state for state in states if seen[state]], "in this order"
        assert seen["BATCH_STATE_RUNNING"]
        metadata = batch["metadata"]
        assert metadata["batchStats"] == {
            "requestCount": "21", "successfulRequestCount": "20", "failedRequestCount": "1",
        }  # fmt: skip
        assert (metadata["model"], metadata["displayName"]) == ("models/gemini-2.5-flash", "a batch")
        assert metadata["inputConfig"] == {"fileName": file["name"]}
        name = batch["response"]["responsesFile"]
        assert metadata["output"] == {"responsesFile": name}
        status, content = await calls.call("GET", f"/download/v1beta/{name}:download?alt=media")
        assert status == 200
        assert (await calls.call("GET", f"/v1beta/{name}:download?alt=media"))[1] == content
        found = {row["key"]: row for row in rows(content)}
        error = found.pop("wrong")["error"]
        assert (error["code"], "temperature must be up to 2" in error["message"]) == (3, True)
        texts = {row["response"]["candidates"][0]["content"]["parts"][0]["text"] for row in found.values()}
        assert len(texts) == 20

    run(test, batch_s=0.2)


def test_a_batch_of_google_with_inline_requests() -> None:
    """Its results are in the batch, in the order of the requests, with what was sent beside each."""

    async def test(calls: Calls) -> None:
        requests = [
            {"request": GEMINI | {"model": "models/gemini-2.5-flash"}, "metadata": {"key": f"k{i}", "a": "b"}}
            for i in range(5)
        ]
        requests.append({"request": {"contents": []}})
        body = {"batch": {"displayName": "d", "inputConfig": {"requests": {"requests": requests}}}}
        _, batch = await calls.call("POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent", body)
        batch = await calls.poll(f"/v1beta/{batch['name']}", lambda b: b.get("done"))
        *found, wrong = batch["response"]["inlinedResponses"]["inlinedResponses"]
        assert [each["metadata"] for each in found] == [{"key": f"k{i}", "a": "b"} for i in range(5)]
        assert all(each["response"]["candidates"] for each in found)
        assert (wrong["error"]["code"], "metadata" in wrong) == (3, False)
        assert batch["metadata"]["output"]["inlinedResponses"] == batch["response"]["inlinedResponses"]
        assert await calls.call("DELETE", f"/v1beta/{batch['name']}") == (200, {})
        assert (await calls.call("GET", f"/v1beta/{batch['name']}"))[1]["error"]["status"] == "NOT_FOUND"

    run(test, faults=Faults(batch_repeated=1.0))


def test_a_batch_of_google_that_ends_without_results() -> None:
    """Cancelled, expired or unreadable as a whole: its requests may be submitted again."""
    create = "/v1beta/models/gemini-2.5-flash:batchGenerateContent"

    async def start(calls: Calls, content: bytes) -> str:
        file = await google_upload(calls, content)
        body = {"batch": {"displayName": "d", "inputConfig": {"fileName": file["name"]}}}
        return str((await calls.call("POST", create, body))[1]["name"])

    async def cancelled(calls: Calls) -> None:
        name = await start(calls, jsonl([generated(str(i)) for i in range(20)]))
        await asyncio.sleep(0.5)
        assert await calls.call("POST", f"/v1beta/{name}:cancel") == (200, {})
        batch = await calls.poll(f"/v1beta/{name}", lambda b: b.get("done"))
        assert (batch["metadata"]["state"], batch["error"]["code"]) == ("BATCH_STATE_CANCELLED", 1)
        assert (await calls.call("POST", f"/v1beta/{name}:cancel"))[0] == 400
        name = await start(calls, jsonl([generated(str(i)) for i in range(20)]))
        await calls.poll(f"/v1beta/{name}", lambda b: b["metadata"]["state"] == "BATCH_STATE_RUNNING")

    counts = run(cancelled, batch_s=2.0)
    assert (counts["batch requests"], counts["batch duplicates"]) == (40, 0)

    async def expired(calls: Calls) -> None:
        name = await start(calls, jsonl([generated("a")]))
        batch = await calls.poll(f"/v1beta/{name}", lambda b: b.get("done"))
        assert (batch["metadata"]["state"], "response" in batch) == ("BATCH_STATE_EXPIRED", False)

    run(expired, faults=Faults(batch_expired=1.0))

    async def unreadable(calls: Calls) -> None:
        for content, message in (
            (jsonl([generated("a")]) + b"{x\n", "line 2 is not a JSON object with a `request`."),
            (b"\n", "The input file has no requests."),
        ):
            batch = await calls.poll(f"/v1beta/{await start(calls, content)}", lambda b: b.get("done"))
            assert batch["metadata"]["state"] == "BATCH_STATE_FAILED"
            assert message in batch["error"]["message"]

    run(unreadable)


def test_what_google_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown fields, models, files and batches; pages have tokens."""
    monkeypatch.setattr(google_batches, "MAX_SIZE", 1_000)
    create = "/v1beta/models/gemini-2.5-flash:batchGenerateContent"

    def of(**source: Any) -> dict[str, Any]:
        return {"batch": {"displayName": "d", "inputConfig": source}}

    async def test(calls: Calls) -> None:
        for path, body, status, kind, message in (
            (create, {"x": 1}, 400, "INVALID_ARGUMENT", 'Unknown name "x"'),
            (create, {"batch": {"x": 1}}, 400, "INVALID_ARGUMENT", 'Unknown name "x"'),
            (create, of(), 400, "INVALID_ARGUMENT", "one of file_name and requests is required"),
            (create, of(requests={"requests": []}), 400, "INVALID_ARGUMENT", "requests is empty"),
            (create, of(fileName="files/f"), 403, "PERMISSION_DENIED", "You do not have permission to access the File"),
            (create.replace("gemini", "no"), of(fileName="f"), 404, "NOT_FOUND", "is not found for API version"),
            (create, b" " * 1_001, 400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 1000 bytes."),
            ("/upload/v1beta/files", {}, 400, "INVALID_ARGUMENT", "resumable upload protocol only"),
            ("/upload/v1beta/files?upload_id=x", {}, 404, "NOT_FOUND", "does not exist or has ended"),
            ("/v1beta/batches/b:cancel", None, 404, "NOT_FOUND", "Requested entity was not found"),
        ):
            found, reply = await calls.call("POST", path, body)
            assert (found, reply["error"]["code"], reply["error"]["status"]) == (status, status, kind)
            assert message in reply["error"]["message"]
        item = {"request": GEMINI}
        names = [(await calls.call("POST", create, of(requests={"requests": [item]})))[1]["name"] for _ in range(3)]
        _, first = await calls.call("GET", "/v1beta/batches?pageSize=2")
        assert [each["name"] for each in first["operations"]] == names[:0:-1]
        _, second = await calls.call("GET", f"/v1beta/batches?pageSize=2&pageToken={first['nextPageToken']}")
        assert ([each["name"] for each in second["operations"]], "nextPageToken" in second) == (names[:1], False)

    run(test)


def test_uploads_of_google() -> None:
    """Chunks follow each other, and are as many as announced; a client may ask how far it is."""

    async def test(calls: Calls) -> None:
        path = await start_upload(calls, 6)
        chunk = {"X_Goog_Upload_Command": "upload", "X_Goog_Upload_Offset": "0"}
        assert await calls.call("POST", path, b"{}\n", **chunk) == (200, {})
        status, reply = await calls.call("POST", path, b"{}\n", **chunk)
        assert (status, reply["error"]["message"]) == (400, "The upload offset must be 3.")
        async with calls.session.post(calls.url + path, headers={"X-Goog-Upload-Command": "query"}) as sent:
            assert sent.headers["X-Goog-Upload-Size-Received"] == "3"
        status, reply = await calls.call("POST", path, X_Goog_Upload_Command="finalize")
        assert (status, reply["error"]["message"]) == (400, "The upload has 3 bytes, but 6 were announced.")
        status, reply = await calls.call("POST", path, X_Goog_Upload_Command="stop")
        assert (status, reply["error"]["message"]) == (400, "Invalid X-Goog-Upload-Command header.")
        files = [await google_upload(calls, b"{}\n") for _ in range(3)]
        _, listed = await calls.call("GET", "/v1beta/files?pageSize=2")
        assert listed["files"] == files[:0:-1]
        _, listed = await calls.call("GET", f"/v1beta/files?pageSize=2&pageToken={listed['nextPageToken']}")
        assert (listed["files"], "nextPageToken" in listed) == (files[:1], False)
        status, reply = await calls.call("GET", "/v1beta/files?pageSize=101")
        assert (status, reply["error"]["message"]) == (400, "pageSize must be at most 100")

    run(test)


def test_keys_of_google() -> None:
    """Each call needs one, but a chunk of an upload, whose URL is known to its client alone."""

    async def test(calls: Calls) -> None:
        status, reply = await calls.call("GET", "/v1beta/batches")
        assert (status, reply["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert reply["error"]["details"][0]["reason"] == "API_KEY_INVALID"
        path = await start_upload(calls, 0, X_Goog_Api_Key="k")
        status, reply = await calls.call("POST", path, X_Goog_Upload_Command="finalize")
        assert (status, reply["file"]["sizeBytes"]) == (200, "0")

    run(test, keys=frozenset("k"))
