"""Batches as a user meets them: against a simulator in a process of its own, at the formats of three providers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import emdsl, simulator, stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUDY = """em 1
model subject {
  use = "openai/gpt-x", batch = true, max_tokens = 50
  price = { input: $100, output: $1000 }
}
model claude { use = "anthropic/claude-sonnet-4-5-20250929", batch = true, max_tokens = 50 }
model gem { use = "google/gemini-2.0-flash-001", batch = true, max_tokens = 50 }

experiment e {
  for m in [subject, claude, gem]
  for q in ["one", "two"]
  samples = 4
  ask answer from m with q
  ask again from subject with "{q}: {answer}"
}
"""
KEYS = {
    "OPENAI_API_KEY": "sk-of-a-test-0001",
    "ANTHROPIC_API_KEY": "sk-ant-of-a-test",
    "GOOGLE_API_KEY": "AIza-of-test",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator("--batch-seconds", "0.2") as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "e.em").write_text(STUDY, encoding="utf-8")
    return tmp_path


def environment(url: str) -> dict[str, str]:
    google = url.replace("/v1", "/v1beta")
    return {"OPENAI_BASE_URL": url, "ANTHROPIC_BASE_URL": url, "GOOGLE_BASE_URL": google} | KEYS


def call(folder: Path, url: str, *args: str, code: int = 0) -> Any:
    return json.loads(emdsl(*args, "--json", cwd=folder, env=environment(url), code=code).stdout)


def rows(folder: Path) -> list[Any]:
    sql = "SELECT m, q, sample, answer, again, answer_cost_usd, again_cost_usd FROM e ORDER BY ALL"
    return queried(folder, sql)


def queried(folder: Path, sql: str) -> list[Any]:
    shown = emdsl("query", sql, "--format", "json", cwd=folder).stdout
    return [tuple(row.values()) for row in json.loads(shown)]


def test_half_by_batches_half_alone_then_offline(folder: Path, url: str) -> None:
    """One table, whatever way each answer came; an answer by a batch costs half."""
    before = stats(url)
    first = call(folder, url, "run", "e.em", "--samples", "2")
    assert (first["requests"], first["experiments"][0]["steps"][0]["answered"]) == (0, 12)
    call(folder, url, "run", "e.em", "--no-batch", "-y")
    after = stats(url)
    assert after["batch requests"] - before.get("batch requests", 0) == 24
    assert after["answered"] - before.get("answered", 0) == 24
    assert after.get("batch duplicates", 0) == 0
    table = rows(folder)
    assert (len(table), [r for r in table if None in r]) == (24, [])
    assert call(folder, url, "run", "e.em", "--offline")["experiments"][0]["steps"][0]["cached"] == 24
    assert rows(folder) == table
    usd = "answer_input_tokens * 1e-4 + answer_output_tokens * 1e-3"
    sql = f"SELECT sample < 2, round(answer_cost_usd / ({usd}), 6) FROM e WHERE m = 'subject' AND q = 'one'"
    assert sorted(queried(folder, sql)) == [(False, 1.0), (False, 1.0), (True, 0.5), (True, 0.5)]
    stories = call(folder, url, "show", "e.em", "--row", "q = 'one' AND m = 'subject'", "--limit", "4")["stories"]
    assert [("batch" in s["steps"][0]) for s in stories] == [s["sample"] < 2 for s in stories]
    kept = [p.read_bytes() for p in (folder / "cache").rglob("*") if p.is_file()]
    assert not any(key.encode() in content for content in kept for key in KEYS.values())


def test_leaving_and_collecting(folder: Path, url: str) -> None:
    (folder / "e.em").write_text(text := STUDY.replace('"one"', '"uno"'), encoding="utf-8")
    left = call(folder, url, "run", "e.em", "--detach", code=3)
    assert (left["in_batches"], len(left["batches"])) == (24, 3)
    assert call(folder, url, "plan", "e.em")["in_batches"] == dict.fromkeys(left["batches"], 8)
    listed = call(folder, url, "batch", "list")["batches"]
    assert {b["state"] for b in listed} == {"running"}
    assert {b["name"] for b in listed} == set(left["batches"])
    why = ("why", "e.em", "--only", "m=claude", "--step", "answer")
    assert call(folder, url, *why)["steps"][0]["in_batch"] in left["batches"]
    (folder / "e.em").write_text(text.replace('"uno"', '"tre"'), encoding="utf-8")  # the study changes meanwhile
    waited = call(folder, url, "batch", "wait")
    assert (waited["collected"], waited["answers"], waited["open"]) == (3, 24, [])
    (folder / "e.em").write_text(text, encoding="utf-8")
    whole = call(folder, url, "run", "e.em")
    assert [s["cached"] + s["answered"] for s in whole["experiments"][0]["steps"]] == [24, 24]
    assert "by a batch (msgbatch_" in emdsl(*why, cwd=folder, env=environment(url)).stdout
    assert call(folder, url, "batch", "list")["batches"] == []
    assert len(call(folder, url, "batch", "list", "--all")["batches"]) == 4


def test_cancelling_frees_the_requests(folder: Path, url: str) -> None:
    with simulator("--batch-seconds", "20") as slow:
        left = call(folder, slow, "run", "e.em", "--detach", "--only", "m=subject", code=3)
        (name,) = left["batches"]
        held = emdsl(
            "run", "e.em", "--no-batch", "-y", "--only", "m=subject", cwd=folder, env=environment(slow), code=3
        )
        assert "8 requests are in 1 open batch" in held.stdout
        assert stats(slow).get("answered", 0) == 0  # nothing is sent twice
        assert call(folder, slow, "batch", "cancel", name)["state"] == "cancelling"
        end = time.monotonic() + HANG_S
        while call(folder, slow, "batch", "wait", "--once", code=None)["open"] and time.monotonic() < end:  # type: ignore[arg-type]  # any code
            time.sleep(0.5)
        shown = call(folder, slow, "batch", "show", name)
        n_answered = shown["results"].get("answered", 0)  # before it was cancelled
        assert (shown["state"], shown["results"]["cancelled"]) == ("collected", 8 - n_answered)
        call(folder, slow, "run", "e.em", "--no-batch", "-y", "--only", "m=subject")
        assert stats(slow)["answered"] == 16 - n_answered


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("batch", "show", "x"), "no batch is called `x`; `emdsl batch list --all` lists them"),
        (("batch", "cancel", "x"), "no batch is called `x`"),
        (("batch", "wait", "x"), "no batch is called `x`"),
    ],
)
def test_batches_that_do_not_exist(folder: Path, args: tuple[str, ...], said: str) -> None:
    assert said in emdsl(*args, cwd=folder, code=2).stderr
