"""What moves in the viewer: the stream of a run's state, failures by cause, searches that go on, and maps of axes."""

from __future__ import annotations

import asyncio
import json
import os
from shutil import copytree
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession
from speed import HANG_S, within
from viewed import STATUS, STUDY, made
from viewing import queried, use

from emdsl.outcomes import browsing
from emdsl.study.running import ActiveRun
from emdsl.view import searching
from emdsl.view.pace import AGAIN_S, IDLE_SHARE, LEAST_ROWS, ROW_S, SHARE, START_S, LoadPace
from emdsl.view.server import HEADERS
from emdsl.view.session import N_ALONE

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientResponse
    from viewing import Client

ENDLESS = "(SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range % 7 = 3) > 0"


async def event(reply: ClientResponse) -> tuple[str, Any]:
    """Return the next event of a stream."""
    kind = ""
    while True:
        line = (await asyncio.wait_for(reply.content.readline(), HANG_S)).decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            return kind, json.loads(line.removeprefix("data: "))


def test_the_state_is_streamed(folder: Path) -> None:
    """At once, and with each change; only to the page with the cookie. The server ends although a page listens."""

    async def act(client: Client) -> None:
        url = f"{client.root}/api/events"
        async with ClientSession() as stranger, stranger.get(url) as reply:
            assert (reply.status, reply.headers["Content-Security-Policy"][:18]) == (401, "default-src 'none'")
        for header in ({"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with client.http.get(url, headers=header) as reply:
                assert reply.status == 403
        reply = await client.http.get(url)
        assert reply.headers["Content-Type"] == "text/event-stream"
        assert {k: reply.headers[k] for k in HEADERS} == HEADERS
        state = await client.get("state")
        assert await event(reply) == ("state", state)
        client.session.runs = [ActiveRun(run="0123", pid=1, state=STATUS)]
        await client.session._move()
        kind, moved = await event(reply)
        assert (kind, moved["generation"]) == ("state", state["generation"])
        assert moved["runs"] == [{"run": "0123", "pid": 1, "file": None, "started_at": None, "reachable": True,
                                  "changes": [], **STATUS}]  # fmt: skip
        client.session.runs = []
        with within(10):  # with the 60 s that aiohttp waits by default, it would be more
            await client.viewer.stop()

    use(folder, act)


def test_loads_take_a_share_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its CPU time since it was seen, as many rows as fit; where it takes little, of the time."""
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace, total = LoadPace(), 50_000

    def rows(cpu_s: float, *, started: bool = False) -> int:
        pace.see([ActiveRun(run="a", pid=1, state={"cpu_s": cpu_s})])
        return pace.rows(total, started=started)

    assert pace.rows(total, started=False) == total  # nothing runs, and nothing was loaded
    least_s = (START_S + LEAST_ROWS * ROW_S) / SHARE
    assert rows(500.0) == 0  # a run that was under way before the page was opened
    assert rows(500.0 + least_s - 1) == 0
    assert LEAST_ROWS <= rows(500.0 + least_s + 1) < 2 * LEAST_ROWS
    assert rows(500.0 + least_s + 1, started=True) > 2 * LEAST_ROWS
    assert rows(500.0 + 10 * least_s) == total
    spent_s = 0.0
    with pace.loading(20_000, lambda: spent_s, started=True):
        spent_s = AGAIN_S + 20_000 * 2 * ROW_S
    assert rows(500.0 + spent_s / SHARE + 1, started=True) == 0
    next_s = (2 * spent_s) / SHARE
    assert rows(500.0 + next_s - 2, started=True) == 0  # as many rows as before, or none
    assert rows(500.0 + next_s + 2, started=True) == pytest.approx(20_000, rel=0.05)
    assert rows(510.0) == 0
    now += (START_S + total * 2 * ROW_S) / IDLE_SHARE + 100
    assert rows(510.0) == total  # it waits for its servers
    pace.see([])
    assert pace.rows(total, started=False) == total


def test_some_rows_are_loaded_beside_a_run(folder: Path, tmp_path: Path) -> None:
    """Those that a run sends first; the page is told how many, and all are there when the run has ended."""
    folder = copytree(folder, tmp_path / "copy")
    (folder / "study.em").write_text(STUDY.replace("samples = 8", "samples = 9"), encoding="utf-8")

    async def act(client: Client) -> None:
        session = client.session
        session.runs = [ActiveRun(run="0123", pid=1)]
        await session.refresh(40)
        assert session.problem == ""
        overview = await client.get("overview")
        assert (overview["part"], overview["experiments"][0]["rows"]) == ([40], 40)
        assert (await client.get("count"))["n"] == 40
        session.runs = []
        session._pace._loaded_at = float("-inf")
        for _ in range(N_ALONE):
            assert (await client.get("overview"))["part"] == [40]
            await session._look()
        overview = await client.get("overview")
        assert (overview["part"], overview["experiments"][0]["rows"]) == (None, 108)

    use(folder, act)


def test_failures_are_counted_by_cause(tmp_path: Path) -> None:
    """Requests and rows of each step that failed and has no answer; their condition finds these rows."""
    study = """em 1
model gone { use = "openai/gpt-4o-2024-08-06", url = "http://127.0.0.1:1/v1", max_tokens = 900 }
model well { use = "sim/subject" }
experiment page {
  for m in [gone, well]
  for q in ["one", "two"]
  samples = 2
  ask answer from m with q
  measure n = count(answer.tokens > 0) by m
}
"""
    folder = made(tmp_path, study, "--max-wait", "0.1", code=3, env={"OPENAI_API_KEY": "sk-0123456789"})

    async def act(client: Client) -> None:
        found = await client.get("failures")
        (part,) = found["experiments"]
        (cause,) = part["failures"]
        assert (cause["step"], cause["requests"], cause["rows"]) == ("answer", 4, 4)
        assert "127.0.0.1" in cause["cause"]
        for where, n in ((cause["where"], 4), (cause["where"].replace("127", "128"), 0)):
            assert (await client.get("count", ("m.answer", "failed"), ("where", where)))["n"] == n
        assert (found["file"], found["last_run"]["failed"], found["last_run"]["end"]) == ("study.em", 4, "done")

    use(folder, act)


# ---------------------------------------------------------------- searches


@pytest.mark.parametrize("rows", [5, 1000])
def test_a_search_has_the_rows_of_sql(folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """In ranges of a few rows or in one: its pages fit together, in order, sorted or not, and its count is right."""
    monkeypatch.setattr(searching, "FIRST_ROWS", rows)
    monkeypatch.setattr(searching, "MOST_ROWS", rows)
    sql = "SELECT k, sample, aligned FROM page WHERE answer ILIKE '%misaligned%' OR said_reply ILIKE '%misaligned%'"
    plain = queried(folder, f"{sql} ORDER BY rowid")
    by_score = queried(folder, f"{sql} ORDER BY aligned DESC NULLS LAST, rowid")
    assert 5 < len(plain) < 90

    async def act(client: Client) -> None:
        names = [c["name"] for c in (await client.get("study"))["experiments"][0]["columns"]]
        places = [names.index(n) for n in ("k", "sample", "aligned")]

        async def read(*pairs: tuple[str, object]) -> tuple[list[list[Any]], bool]:
            page = await client.get("rows", ("q", "misaligned"), ("in", "answer,reply"), *pairs)
            return [[r["cells"][p] for p in places] for r in page["rows"]], page["whole"]

        for pairs, expected in (([], plain), ([("sort", "-aligned")], by_score)):
            shown: list[list[Any]] = []
            for offset in range(0, len(plain) + 4, 4):
                part, whole = await read(("offset", offset), ("limit", 4), *pairs)
                assert whole
                shown += part
            assert shown == [[r["k"], r["sample"], r["aligned"]] for r in expected]
        count = await client.get("count", ("q", "misaligned"), ("in", "answer,reply"))
        assert (count["n"], count["searched"]) == (len(plain), 1.0)
        assert (await client.get("count", ("q", "nowhere at all")))["n"] == 0
        assert (await client.get("rows", ("q", "nowhere at all")))["rows"] == []
        assert "400" not in (await client.get("rows", ("q", "a"), ("where", "no such"), status=400))["error"]

    use(folder, act)


def test_another_search_stops_the_one_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows so far are told; the server's CPU is free as soon as nobody waits, and the hits so far are kept."""
    monkeypatch.setattr(searching, "FIRST_ROWS", 10)
    monkeypatch.setattr(searching, "MOST_ROWS", 10)
    monkeypatch.setattr(searching, "AT_ONCE", 1)
    real = browsing.hits_sql

    def hits_sql(experiment: Any, schema: str, chosen: browsing.Filter, first: int, end: int) -> str:
        endless = chosen.where and first >= 30
        return f"SELECT 1 WHERE {ENDLESS}" if endless else real(experiment, schema, chosen, first, end)

    monkeypatch.setattr(browsing, "hits_sql", hits_sql)
    search = [("q", "a"), ("in", "answer"), ("where", "TRUE")]

    async def act(client: Client) -> None:
        count = await client.get("count", *search)
        assert (count["n"], count["searched"]) == (30, pytest.approx(30 / 96))
        page = await client.get("rows", *search, ("limit", 50))
        assert (len(page["rows"]), page["whole"]) == (30, False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("rows", *search, ("limit", 50), ("have", 30)), 0.3)
        assert (await client.get("count", ("q", "a"), ("in", "answer")))["searched"] == 1.0
        for _ in range(100):
            if not client.session._readers:
                break
            await asyncio.sleep(0.02)
        before = sum(os.times()[:2])
        await asyncio.sleep(0.5)
        assert sum(os.times()[:2]) - before < 0.1

    use(folder, act)


def test_a_search_begins_again_with_a_new_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row numbers of two loads are never mixed."""
    monkeypatch.setattr(searching, "FIRST_ROWS", 10)
    monkeypatch.setattr(searching, "MOST_ROWS", 10)
    real, firsts = browsing.hits_sql, list[int]()

    async def act(client: Client) -> None:
        def hits_sql(experiment: Any, schema: str, chosen: browsing.Filter, first: int, end: int) -> str:
            if end and len(firsts) == 4:
                client.session.generation += 1
            firsts.extend([first] if end else [])
            return real(experiment, schema, chosen, first, end)

        monkeypatch.setattr(browsing, "hits_sql", hits_sql)
        assert (await client.get("count", ("q", "a"), ("in", "answer")))["n"] > 0
        assert firsts.count(0) == 2
        page = await client.get("rows", ("q", "a"), ("in", "answer"), ("limit", 500))
        assert len({r["id"] for r in page["rows"]}) == len(page["rows"])

    use(folder, act)


# ---------------------------------------------------------------- grids


def test_a_map_by_several_axes(folder: Path) -> None:
    """Each cell has the mean, the number of values and the number of rows of SQL, under the page's filter."""
    sql = (
        "SELECT k, q, arm, avg(aligned) AS v, count(aligned) AS n, count(*) AS rows FROM page WHERE k > 0 GROUP BY ALL"
    )
    expected = {
        (str(r["k"]), r["arm"], r["q"][:3]): (pytest.approx(r["v"]), r["n"], r["rows"]) for r in queried(folder, sql)
    }

    async def act(client: Client) -> None:
        levels = {x["id"]: x["text"][:3] for x in (await client.get("study"))["experiments"][0]["axes"][2]["levels"]}
        pairs = [("x", "k"), ("y", "arm"), ("by", "q"), ("by", "q"), ("of", "aligned"), ("a.k", 2), ("a.k", 8)]
        found = await client.get("grid", *pairs)
        assert found["axes"] == ["k", "arm", "q"]
        shown = {
            (k, arm, levels[q]): (c["value"], c["n"], c["rows"]) for c in found["cells"] for k, arm, q in [c["at"]]
        }
        assert len(found["cells"]) == 8
        assert shown == expected

    use(folder, act)
