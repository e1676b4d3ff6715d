"""Anthropic's message batches of the simulator: lifecycle, results, and the errors of the real server."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from batch_calls import CLAUDE, VERSION, Calls, asked, rows, run

from emdsl.sim import anthropic_batches
from emdsl.sim.server import Faults

NO_TEXT = "The request body is not valid JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"


def test_a_batch_of_anthropic() -> None:
    """Its status and counts, and results of each type."""

    async def test(calls: Calls) -> None:
        requests = [asked(f"{i:064x}") for i in range(20)] + [asked("wrong", temperature=2)]
        status, batch = await calls.call("POST", "/v1/messages/batches", {"requests": requests})
        assert (status, batch["type"], batch["processing_status"]) == (200, "message_batch", "in_progress")
        assert batch["request_counts"] == {"processing": 21, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        assert (batch["results_url"], batch["ended_at"]) == (None, None)
        path = f"/v1/messages/batches/{batch['id']}"
        status, reply = await calls.call("GET", f"{path}/results")
        assert (status, reply["error"]["type"]) == (404, "not_found_error")
        status, reply = await calls.call("DELETE", path)
        assert (status, reply["error"]["type"]) == (400, "invalid_request_error")
        batch = await calls.poll(path, lambda b: b["processing_status"] == "ended")
        assert batch["request_counts"] == {"processing": 0, "succeeded": 20, "errored": 1, "canceled": 0, "expired": 0}
        assert batch["results_url"] == f"{calls.url}{path}/results"
        async with calls.session.get(batch["results_url"], headers=VERSION) as reply:
            assert reply.content_type == "application/x-jsonl"
            found = {row["custom_id"]: row["result"] for row in rows(await reply.read())}
        assert found.pop("wrong")["error"]["error"] == {
            "type": "invalid_request_error", "message": "temperature: Input should be less than or equal to 1",
        }  # fmt: skip
        assert {*found} == {f"{i:064x}" for i in range(20)}
        assert len({result["message"]["content"][0]["text"] for result in found.values()}) == 20
        assert await calls.call("DELETE", path) == (200, {"id": batch["id"], "type": "message_batch_deleted"})
        assert (await calls.call("GET", path))[0] == 404

    run(test, batch_s=0.5)


def test_a_cancelled_batch_of_anthropic() -> None:
    """Some requests succeeded, the others were canceled; expired ones are told, too."""

    async def test(calls: Calls) -> None:
        requests = [asked(str(i)) for i in range(60)]
        _, batch = await calls.call("POST", "/v1/messages/batches", {"requests": requests})
        path = f"/v1/messages/batches/{batch['id']}"
        await asyncio.sleep(0.7)
        status, batch = await calls.call("POST", f"{path}/cancel")
        assert (status, batch["processing_status"]) == (200, "canceling")
        assert batch["cancel_initiated_at"] >= batch["created_at"]
        batch = await calls.poll(path, lambda b: b["processing_status"] == "ended")
        counts = batch["request_counts"]
        found = Counter(row["result"]["type"] for row in rows((await calls.call("GET", f"{path}/results"))[1]))
        assert found == {kind: n for kind, n in counts.items() if n}
        assert min(counts["succeeded"], counts["canceled"], counts["expired"]) > 0
        assert (await calls.call("POST", f"{path}/cancel"))[1] == batch, "it has ended"

    run(test, batch_s=2.0, faults=Faults(batch_expired=0.5))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "requests: Field required"),
        ({"requests": []}, "requests: List should have at least 1 item after validation, not 0"),
        ({"requests": 1}, "requests: Input should be a valid array"),
        ({"requests": [1]}, "requests.0: Input should be a valid dictionary"),
        ({"requests": [asked("a")], "x": 1}, "x: Extra inputs are not permitted"),
        ({"requests": [asked("a"), {"params": CLAUDE}]}, "requests.1.custom_id: Field required"),
        ({"requests": [{"custom_id": "a"}]}, "requests.0.params: Field required"),
        ({"requests": [asked("a") | {"x": 1}]}, "requests.0.x: Extra inputs are not permitted"),
        ({"requests": [asked("a" * 65)]}, "requests.0.custom_id: String should have at most 64 characters"),
        ({"requests": [asked("a b")]}, "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        ({"requests": [asked("a\n")]}, "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        ({"requests": [asked("")]}, "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        ({"requests": [asked("a"), asked("b"), asked("a")]}, "requests.2.custom_id: Duplicate custom_id: a"),
        (b'{"requests": [{}', "requests.0.custom_id: Field required"),
        (b'{"requests": [', "The request body is not valid JSON: Expecting value: line 1 column 15 (char 14)"),
        (b'{"requests": [],}', "The request body is not valid JSON: expected a value at character 16"),
        (b'{"requests": []} x', "The request body is not valid JSON: extra data"),
        (b"\xff", NO_TEXT),
        (b"[]", "The request body is not valid JSON: expected `{` at character 0"),
    ],
)  # fmt: skip
def test_what_anthropic_refuses(body: Any, message: str) -> None:
    """A batch whose ids or JSON are wrong is never created."""

    async def test(calls: Calls) -> None:
        status, reply = await calls.call("POST", "/v1/messages/batches", body)
        assert (status, reply["error"]) == (400, {"type": "invalid_request_error", "message": message})

    assert run(test)["batches created"] == 0


def test_limits_and_headers_of_anthropic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests and bytes; the version and the key are required."""

    async def test(calls: Calls) -> None:
        body = {"requests": [asked(str(i)) for i in range(3)]}
        headers = {"x_api_key": "k"}
        status, reply = await calls.call("POST", "/v1/messages/batches", body, **headers)
        message = "requests: List should have at most 2 items after validation, not 3"
        assert (status, reply["error"]["message"]) == (400, message)
        monkeypatch.setattr(anthropic_batches, "MAX_SIZE", 100)
        status, reply = await calls.call("POST", "/v1/messages/batches", body, **headers)
        assert (status, reply["error"]["type"]) == (413, "request_too_large")
        status, reply = await calls.call("GET", "/v1/messages/batches")
        assert (status, reply["error"]["type"]) == (401, "authentication_error")
        async with calls.session.get(f"{calls.url}/v1/messages/batches", headers={"x-api-key": "k"}) as sent:
            assert (await sent.json())["error"]["message"] == "anthropic-version: header is required"
        status, reply = await calls.call("GET", "/v1/messages/batches?limit=0", **headers)
        message = "limit: Input should be greater than or equal to 1"
        assert (status, reply["error"]["message"]) == (400, message)

    monkeypatch.setattr(anthropic_batches, "MAX_REQUESTS", 2)
    run(test, keys=frozenset("k"))


def test_pages_of_anthropic() -> None:
    """After an id and before one: the page that is next to it."""

    async def test(calls: Calls) -> None:
        ids: list[str] = []
        for i in range(5):
            _, batch = await calls.call("POST", "/v1/messages/batches", {"requests": [asked(str(i))]})
            ids.insert(0, batch["id"])
        for query, expected, more in (
            ("", ids, False), ("limit=2", ids[:2], True), (f"limit=2&after_id={ids[1]}", ids[2:4], True),
            (f"limit=2&after_id={ids[3]}", ids[4:], False), (f"limit=2&before_id={ids[4]}", ids[2:4], True),
            (f"limit=2&before_id={ids[2]}", ids[:2], False), (f"before_id={ids[0]}", [], False),
        ):  # fmt: skip
            _, found = await calls.call("GET", f"/v1/messages/batches?{query}")
            assert ([b["id"] for b in found["data"]], found["has_more"]) == (expected, more), query
            ends = (expected[0], expected[-1]) if expected else (None, None)
            assert (found["first_id"], found["last_id"]) == ends

    run(test)
