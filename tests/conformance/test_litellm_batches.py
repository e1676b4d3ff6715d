"""A LiteLLM proxy passes files and batches on to the simulator, for its default provider and for a named model."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from conformance.test_conformance import BIN, HERE, KEY, OFFLINE, free_port, wait_for
from openai import OpenAI
from speed import HANG_S
from support import clean_environment, simulator, stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHAT = "/v1/chat/completions"
BEHIND = "sk-behind-0123456789"


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of a proxy, and of the simulator behind it."""
    folder = tmp_path_factory.mktemp("proxy")
    for name in ("litellm_batches.yaml", "litellm_auth.py"):
        shutil.copy(HERE / name, folder)
    port, log = free_port(), folder / "log"
    call: list[str | Path] = [
        BIN / "litellm",
        "--config",
        "litellm_batches.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with simulator("--key", BEHIND, "--batch-seconds", "1") as url:
        env = clean_environment(OFFLINE | {"OPENAI_API_KEY": BEHIND, "OPENAI_BASE_URL": url})
        with log.open("wb") as out:
            process = subprocess.Popen(call, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, log)
            yield f"http://127.0.0.1:{port}/v1", url
        finally:
            process.terminate()
            process.wait(HANG_S)


@pytest.mark.parametrize("named", [False, True], ids=["default provider", "model"])
def test_a_batch_through_a_proxy(urls: tuple[str, str], named: bool) -> None:
    """Upload, create with metadata, list, retrieve, download, cancel and delete."""
    where: dict[str, Any] = {"extra_body": {"model": "gpt-4o"}} if named else {}
    listing: dict[str, Any] = {"extra_query": {"model": "gpt-4o"}} if named else {}
    ids = [f"{named:032x}{i:032x}" for i in range(3)]
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    lines = [{"custom_id": id_, "method": "POST", "url": CHAT, "body": body} for id_ in ids]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    before = stats(urls[1]).get("batches created", 0)
    with OpenAI(base_url=urls[0], api_key=KEY, max_retries=0) as client:
        file = client.files.create(file=("requests.jsonl", content), purpose="batch", **where)
        created = client.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"tag": str(named)}
        )
        assert (created.status, created.metadata) == ("validating", {"tag": str(named)})
        assert created.id in [batch.id for batch in client.batches.list(limit=1, **listing)]
        batch, end = created, time.monotonic() + HANG_S
        while batch.status != "completed" and time.monotonic() < end:
            time.sleep(0.2)
            batch = client.batches.retrieve(created.id)
        assert batch.request_counts is not None
        assert (batch.status, batch.request_counts.completed) == ("completed", 3)
        assert batch.output_file_id is not None
        rows = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
        assert sorted(row["custom_id"] for row in rows) == ids
        assert {row["response"]["body"]["choices"][0]["message"]["content"][:12] for row in rows} == {"[simulated: "}
        other = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        assert client.batches.cancel(other.id).status == "cancelling"
        assert client.files.delete(file.id).deleted
    assert stats(urls[1])["batches created"] == before + 2
