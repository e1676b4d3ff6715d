"""OpenAI's files and batches of the simulator: lifecycle, results, and the errors of the real server."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from batch_calls import CHAT, HI, RESPONSES, Calls, jsonl, line, run

from emdsl.sim import openai_batches

if TYPE_CHECKING:
    import pytest

DUPLICATE = (
    "The custom_id 'a' for this request is a duplicate of another request. The custom_id parameter must be unique for "
    "each request in a batch."
)
MISMATCH = (
    "The model 'gpt-5' for this request does not match the rest of the batch. Each batch must contain requests for a "
    "single model."
)


def test_a_batch_of_openai() -> None:
    """Its stages and counts; answers in one file, refused requests in the other; equal bodies get unequal answers."""

    async def test(calls: Calls) -> None:
        wrong = line("wrong", body={"model": "gpt-4o", "messages": HI, "temperature": 3})
        lines = [line(f"{i:064x}") for i in range(30)]
        batch = await calls.create([*lines, wrong], metadata={"tag": "a"})
        assert (batch["object"], batch["status"], batch["metadata"]) == ("batch", "validating", {"tag": "a"})
        assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
        assert batch["expires_at"] - batch["created_at"] == 86_400
        seen = Counter[str]()

        def is_completed(batch: Any) -> bool:
            seen[batch["status"]] += 1
            return bool(batch["status"] == "completed")

        batch = await calls.poll(f"/v1/batches/{batch['id']}", is_completed)
        stages = ("validating", "in_progress", "finalizing", "completed")
        assert [*seen] == [stage for stage in stages if seen[stage]], "in this order"
        assert seen["in_progress"]
        assert batch["request_counts"] == {"total": 31, "completed": 30, "failed": 1}
        assert (batch["model"], batch["errors"], batch["failed_at"]) == ("gpt-4o", None, None)
        assert batch["in_progress_at"] <= batch["finalizing_at"] <= batch["completed_at"]
        output, errors = await calls.lines(batch["output_file_id"]), await calls.lines(batch["error_file_id"])
        ids = [row["custom_id"] for row in output]
        assert sorted(ids) == [f"{i:064x}" for i in range(30)] != ids, "out of order"
        assert {(row["error"], row["response"]["status_code"]) for row in output} == {(None, 200)}
        texts = {row["response"]["body"]["choices"][0]["message"]["content"] for row in output}
        assert len(texts) == 30
        assert all(text.startswith("[simulated: ") for text in texts)
        tokens = [row["response"]["body"]["usage"]["total_tokens"] for row in output]
        assert batch["usage"]["total_tokens"] == sum(tokens)
        (row,) = errors
        assert (row["custom_id"], row["error"], row["response"]["status_code"]) == ("wrong", None, 400)
        assert row["response"]["body"]["error"]["code"] == "integer_above_max_value"
        status, file = await calls.call("GET", f"/v1/files/{batch['output_file_id']}")
        assert (status, file["purpose"]) == (200, "batch_output")
        assert file["bytes"] == len((await calls.call("GET", f"/v1/files/{file['id']}/content"))[1])
        assert await calls.call("DELETE", f"/v1/files/{file['id']}") == (
            200, {"id": file["id"], "object": "file", "deleted": True},
        )  # fmt: skip
        status, reply = await calls.call("GET", f"/v1/files/{file['id']}/content")
        assert (status, reply["error"]["message"]) == (404, f"No such File object: {file['id']}")

    counts = run(test, batch_s=0.3)
    assert (counts["batches created"], counts["batch requests"], counts["batch requests answered"]) == (1, 31, 30)
    assert (counts["batch requests refused"], counts["batch duplicates"], counts["answered"]) == (1, 0, 0)


PROBLEMS: list[tuple[str, bytes, list[tuple[str, int | None, str | None, str]]]] = [
    ("json", jsonl([line("a")]) + b"{x\n[1]\n", [
        ("invalid_json_line", 2, None, "This line is not parseable as valid JSON."),
        ("invalid_json_line", 3, None, "This line is not parseable as valid JSON."),
    ]),
    ("id", jsonl([line("a"), line("b"), line("a")]), [
        ("duplicate_custom_id", 3, "custom_id", DUPLICATE),
    ]),
    ("url", jsonl([line("a"), line("b", RESPONSES)]), [
        ("invalid_url", 2, "url", "The URL provided for this request does not match the batch endpoint."),
    ]),
    ("model", jsonl([line("a"), line("b", body={"model": "gpt-5", "messages": HI})]), [
        ("mismatched_model", 2, "body.model", MISMATCH),
    ]),
    ("unknown model", jsonl([line("a", body={"model": "no-such", "messages": HI})]), [
        ("model_not_found", 1, "body.model", "The provided model 'no-such' is not supported by the Batch API."),
    ]),
    ("stream", jsonl([line("a", body={"model": "m", "messages": HI, "stream": True})]), [
        ("streaming_unsupported", 1, "body.stream", "Chat Completions: Streaming is not supported in the Batch API."),
    ]),
    ("fields", jsonl([{"method": "POST"}, {"custom_id": "a"}, line("b", body=1), line("c", method="GET"),
                      line("d", body={"messages": HI}), line("e", body={"model": "m"})]), [
        ("missing_required_parameter", 1, "custom_id", "Missing required parameter: 'custom_id'."),
        ("missing_required_parameter", 2, "method", "Missing required parameter: 'method'."),
        ("invalid_type", 3, "body", "Invalid type for 'body': expected an object, but got an integer instead."),
        ("invalid_method", 4, "method", "Invalid method: only 'POST' is supported."),
        ("invalid_request", 5, "body.model", "Model parameter is required."),
        ("invalid_request", 6, "body.messages", "Messages parameter is required."),
    ]),
    ("empty", b"\n", [
        ("empty_file", None, None,
         "The input file is empty. Please ensure that your batch contains at least one request."),
    ]),
]  # fmt: skip


def test_a_batch_of_openai_fails_by_its_requests() -> None:
    """As a whole, with the line and the code of each error; its requests may be submitted again."""

    async def test(calls: Calls) -> None:
        for name, content, problems in PROBLEMS:
            batch = await calls.ended(await calls.create(content))
            assert (batch["status"], batch["output_file_id"], batch["error_file_id"]) == ("failed", None, None), name
            assert batch["failed_at"] >= batch["created_at"]
            found = [(p["code"], p["line"], p["param"], p["message"]) for p in batch["errors"]["data"]]
            assert (batch["errors"]["object"], found) == ("list", problems), name
            assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
        body = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
        batch = await calls.ended((await calls.call("POST", "/v1/batches", body))[1])
        assert [p["message"] for p in batch["errors"]["data"]] == [
            "Cannot find file file-x, or organization org-sim does not have access to it."
        ]

    assert run(test)["batch requests"] == 0


def test_limits_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests and of bytes."""
    content = jsonl(line(str(i)) for i in range(4))

    async def codes(calls: Calls) -> None:
        batch = await calls.ended(await calls.create(content))
        found.extend(p["code"] for p in batch["errors"]["data"])

    found: list[str] = []
    monkeypatch.setattr(openai_batches, "MAX_REQUESTS", 3)
    run(codes)
    monkeypatch.setattr(openai_batches, "MAX_SIZE", len(content) - 1)
    run(codes)
    assert found == ["too_many_tasks", "file_too_large"]


def test_what_openai_refuses_at_once() -> None:
    """Files that are no JSONL, fields, metadata, ids, and a cancellation after the end."""
    good = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
    many, long = {str(i): "a" for i in range(17)}, "a" * 65
    bodies: list[tuple[dict[str, Any], str, str, str]] = [
        ({"endpoint": CHAT}, "missing_required_parameter", "input_file_id", "Missing required parameter"),
        (good | {"completion_window": "1h"}, "invalid_value", "completion_window", "Value must be '24h'."),
        (good | {"endpoint": "/v1/audio"}, "invalid_value", "endpoint", "Supported values are: '/v1/chat/completions'"),
        (good | {"x": 1}, "unknown_parameter", "x", "Unknown parameter: 'x'."),
        (good | {"metadata": many}, "object_above_max_properties", "metadata", "at most 16 properties"),
        (good | {"metadata": {long: "a"}}, "property_name_above_max_length", f"metadata.{long}", "maximum length 64"),
        (good | {"metadata": {"a": "a" * 513}}, "string_above_max_length", "metadata.a", "maximum length 512"),
        (good | {"metadata": {"a": ["b"]}}, "invalid_type", "metadata.a", "expected a string, but got an array"),
        (good | {"metadata": "a"}, "invalid_type", "metadata", "expected an object, but got a string"),
    ]

    async def test(calls: Calls) -> None:
        for body, code, param, message in bodies:
            status, reply = await calls.call("POST", "/v1/batches", body)
            error = reply["error"]
            assert (status, error["code"], error["param"], error["type"]) == (400, code, param, "invalid_request_error")
            assert message in error["message"]
        for content, name, purpose, message in (
            (b"", "a.jsonl", "batch", "Invalid file format for Batch API. Must be .jsonl"),
            (b"{x", "a.jsonl", "batch", "Invalid file format for Batch API. Must be .jsonl"),
            (b"{}", "a.txt", "batch", "Invalid file format for Batch API. Must be .jsonl"),
            (b"{}", "a.jsonl", "other", "'other' is not one of ["),
        ):
            status, reply = await calls.upload(content, name, purpose)
            assert status == 400
            assert reply["error"]["message"].startswith(message)
        for method, path, message in (
            ("GET", "/v1/batches/b", "No batch found with id 'b'."), ("GET", "/v1/files/f", "No such File object: f"),
            ("POST", "/v1/batches/b/cancel", "No batch found with id 'b'."),
        ):  # fmt: skip
            status, reply = await calls.call(method, path)
            assert (status, reply["error"]["message"], reply["error"]["code"]) == (404, message, None)
        status, reply = await calls.call("GET", "/v1/batches?limit=101")
        assert (status, reply["error"]["param"]) == (400, "limit")
        batch = await calls.ended(await calls.create([line("a")]))
        assert await calls.call("POST", f"/v1/batches/{batch['id']}/cancel") == (409, {"error": {
            "message": "Cannot cancel a batch with status 'completed'.", "type": "invalid_request_error",
            "param": None, "code": None,
        }})  # fmt: skip

    assert run(test)["batches created"] == 1


def test_pages_of_openai() -> None:
    """The last batch is the first; each page follows an id. Files may be listed by purpose, and the other way round."""

    async def test(calls: Calls) -> None:
        ids = [(await calls.create([line(str(i))]))["id"] for i in range(3)][::-1]
        status, first = await calls.call("GET", "/v1/batches?limit=2")
        assert (status, [b["id"] for b in first["data"]], first["has_more"]) == (200, ids[:2], True)
        assert (first["first_id"], first["last_id"]) == (ids[0], ids[1])
        _, second = await calls.call("GET", f"/v1/batches?limit=2&after={ids[1]}")
        assert ([b["id"] for b in second["data"]], second["has_more"]) == (ids[2:], False)
        await calls.upload(b"{}", purpose="user_data")
        _, files = await calls.call("GET", "/v1/files?purpose=batch&order=asc")
        assert [f["purpose"] for f in files["data"]] == ["batch"] * 3
        assert files["data"][0]["created_at"] <= files["data"][2]["created_at"]
        assert files["data"][0]["expires_at"] - files["data"][0]["created_at"] == 30 * 86_400

    run(test)


def test_responses_in_a_batch() -> None:
    """The other endpoint of OpenAI's has its own replies."""

    async def test(calls: Calls) -> None:
        batch = await calls.ended(await calls.create([line("a", RESPONSES)], RESPONSES))
        ((row),) = await calls.lines(batch["output_file_id"])
        assert row["response"]["body"]["object"] == "response"

    run(test)


def test_a_cancelled_batch_of_openai() -> None:
    """Some requests are answered, the others are in the file of errors, and may be submitted again."""

    async def test(calls: Calls) -> None:
        lines = [line(str(i)) for i in range(100)]
        batch = await calls.create(lines)
        path = f"/v1/batches/{batch['id']}"
        await calls.poll(path, lambda b: b["request_counts"]["completed"] > 5)
        status, reply = await calls.call("POST", f"{path}/cancel")
        assert (status, reply["status"]) == (200, "cancelling")
        batch = await calls.ended(batch)
        assert batch["status"] == "cancelled"
        assert batch["cancelling_at"] <= batch["cancelled_at"]
        output, errors = await calls.lines(batch["output_file_id"]), await calls.lines(batch["error_file_id"])
        assert 5 < len(output) < 95
        assert len(output) + len(errors) == 100
        assert {(row["response"], row["error"]["code"]) for row in errors} == {(None, "batch_cancelled")}
        assert (await calls.call("POST", f"{path}/cancel"))[0] == 200, "again"
        done = {row["custom_id"] for row in output}
        for again, duplicates in ((False, 0), (True, len(done))):
            other = await calls.create([each for each in lines if (each["custom_id"] in done) is again])
            await calls.poll(f"/v1/batches/{other['id']}", lambda b: b["status"] == "in_progress")
            assert calls.counts["batch duplicates"] == duplicates

    run(test, batch_s=2.0)
