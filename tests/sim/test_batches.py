"""Batches of the simulator in any format: faults, draws, and a server that stays responsive."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import pytest
from batch_calls import CHAT, HI, Calls, asked, line, run
from support import simulator, stats

from emdsl.sim.server import Faults

KEY = "0123456789abcdef" * 4


def test_faults_of_batches() -> None:
    """Requests that expire or fail, results that are there twice, and batches whose creation nobody learns of."""

    async def test(calls: Calls) -> None:
        batch = await calls.ended(await calls.create([line(str(i)) for i in range(200)]))
        assert batch["status"] == "expired"
        assert batch["expired_at"] >= batch["created_at"]
        output, errors = await calls.lines(batch["output_file_id"]), await calls.lines(batch["error_file_id"])
        kinds = Counter(
            row["error"]["code"] if row["error"] else row["response"]["status_code"] for row in output + errors
        )
        assert {*kinds} == {200, 500, 429, "batch_expired"}
        assert len(output) == kinds[200], "only answers"
        assert all(25 < kinds[kind] < 110 for kind in (500, 429, "batch_expired"))
        rows = len(output) + len(errors)
        assert 210 < rows < 270
        assert len({row["custom_id"] for row in output + errors}) == 200
        counts = batch["request_counts"]
        assert (counts["total"], counts["completed"] + counts["failed"]) == (200, 200)

    faults = Faults(batch_expired=0.25, batch_failed=0.25, batch_throttled=0.25, batch_repeated=0.2)
    assert run(test, faults=faults)["batch duplicates"] == 0

    async def lost(calls: Calls) -> None:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await calls.create([line("a")], metadata={"tag": "t"})
        _, listed = await calls.call("GET", "/v1/batches")
        (batch,) = listed["data"]
        assert batch["metadata"] == {"tag": "t"}
        assert (await calls.ended(batch))["status"] == "completed"
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await calls.call("POST", "/v1/messages/batches", {"requests": [asked("a")]})

    counts = run(lost, faults=Faults(batch_lost=1.0))
    assert (counts["batches created"], counts["batches lost"], counts["batch duplicates"]) == (2, 2, 1)


def test_faults_of_requests_reach_batches() -> None:
    """Every call may be throttled or fail, as online."""

    async def test(calls: Calls) -> None:
        found = Counter([(await calls.call("GET", "/v1/messages/batches"))[0] for _ in range(60)])
        assert {*found} == {200, 429, 500}

    run(test, faults=Faults(throttled=0.3, failed=0.3))


def test_the_options_of_the_server() -> None:
    """Each option reaches the server."""
    options = ("--batch-seconds", "0", "--batch-expired", "0.2", "--batch-failed", "0.2", "--batch-throttled", "0.2",
               "--batch-repeated", "1", "--seed", "1")  # fmt: skip

    async def main(url: str) -> Counter[str | int]:
        async with aiohttp.ClientSession() as session:
            calls = Calls(url, session)
            batch = await calls.ended(await calls.create([line(str(i)) for i in range(100)]))
            rows = await calls.lines(batch["output_file_id"]) + await calls.lines(batch["error_file_id"])
            return Counter(row["error"]["code"] if row["error"] else row["response"]["status_code"] for row in rows)

    with simulator(*options) as url:
        kinds = asyncio.run(main(url))
        assert stats(url)["batches created"] == 1
    assert kinds.total() == 200
    assert all(20 < kinds[kind] < 70 for kind in ("batch_expired", 500, 429))


def test_batches_and_online_requests_are_independent_and_alike() -> None:
    """No answer of one is an answer of the other; kinds are drawn with the same probabilities."""

    async def test(calls: Calls) -> None:
        lines = [line(f"{i:064x}", body={"model": "subject", "messages": HI}) for i in range(400)]
        batch = await calls.ended(await calls.create(lines))
        by_batch = [r["response"]["body"] for r in await calls.lines(batch["output_file_id"])]
        online = [(await calls.call("POST", CHAT, lines[0]["body"]))[1] for _ in range(400)]
        texts = [[reply["choices"][0]["message"]["content"] for reply in replies] for replies in (by_batch, online)]
        assert len({*texts[0], *texts[1]}) == 800
        shares = [sum("[simulated: aligned " in text for text in each) / 400 for each in texts]
        assert all(abs(share - 0.90) < 0.06 for share in shares), "4 standard errors"

    run(test)


def test_a_request_that_is_submitted_again_is_drawn_again() -> None:
    """The second answer to one custom id and body is another one; the first is the same in every simulator."""
    found = []

    async def test(calls: Calls) -> None:
        for _ in range(2):
            batch = await calls.ended(await calls.create([line(KEY)]))
            ((row),) = await calls.lines(batch["output_file_id"])
            found.append(row["response"]["body"]["choices"][0]["message"]["content"])

    assert run(test)["batch duplicates"] == 1
    run(test)
    assert found[:2] == found[2:]
    assert found[0] != found[1]


def test_a_large_batch_never_blocks_the_server() -> None:
    """While 3,000 requests are validated and answered, other requests are answered at once."""

    async def test(calls: Calls) -> None:
        requests = [asked(f"{i:064x}") for i in range(3_000)]
        creation = asyncio.create_task(calls.call("POST", "/v1/messages/batches", {"requests": requests}))
        seen = Counter[str]()
        while not seen["ended"]:
            _, listed = await calls.call("GET", "/v1/messages/batches")
            seen[listed["data"][0]["processing_status"] if listed["data"] else "none"] += 1
        _, batch = await creation
        assert batch["request_counts"]["processing"] == 3_000
        assert seen["in_progress"] > 3

    assert run(test)["batch requests answered"] == 3_000
