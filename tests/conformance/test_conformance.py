"""A whole study against real servers: `make conformance` starts them, and runs this."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import clean_environment, emdsl

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
BIN = Path(os.environ["CONFORMANCE_BIN"])
KEY = "sk-conformance-0123"
OFFLINE = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DISABLE_ADMIN_UI": "True",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True", "LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR",
}  # fmt: skip
START_S = 180


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not come up:\n{log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A tiny random model that transformers serve, and a LiteLLM proxy in front of it; yields their addresses."""
    folder = tmp_path_factory.mktemp("servers")
    tiny, proxy = free_port(), free_port()
    env = clean_environment(OFFLINE | {"TINY_URL": f"http://127.0.0.1:{tiny}/v1", "HF_HOME": str(folder / "hf")})
    subprocess.run([BIN / "python", HERE / "make_tiny.py", "tiny"], cwd=folder, env=env, check=True)
    for name in ("litellm.yaml", "litellm_auth.py"):
        shutil.copy(HERE / name, folder)
    calls: list[tuple[list[str | Path], str]] = [
        ([BIN / "transformers", "serve", "tiny", "--host", "127.0.0.1", "--port", str(tiny), "--device", "cpu"],
         f"http://127.0.0.1:{tiny}/health"),
        ([BIN / "litellm", "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(proxy)],
         f"http://127.0.0.1:{proxy}/health/liveliness"),
    ]  # fmt: skip
    started = []
    try:
        for i, (call, health) in enumerate(calls):
            log = folder / f"{i}.log"
            with log.open("wb") as out:
                started.append(subprocess.Popen(call, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT))
            wait_for(health, started[-1], log)
        yield {
            "TINY_URL": f"http://127.0.0.1:{tiny}/v1", "PROXY_URL": f"http://127.0.0.1:{proxy}/v1",
            "GEMINI_URL": f"http://127.0.0.1:{proxy}/v1beta", "LITELLM_API_KEY": KEY,
        }  # fmt: skip
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(HANG_S)


def rows(folder: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)
    return found


def test_a_whole_study(servers: dict[str, str], tmp_path: Path) -> None:
    """Planned, checked, asked, judged, loaded; run again it asks nothing; two more samples ask for those alone."""
    shutil.copy(HERE / "study.em", tmp_path)
    told = json.loads(emdsl("doctor", "study.em", "--json", cwd=tmp_path, env=servers).stdout)["models"]
    assert [m["answers"] for m in told] == [True] * 5
    assert (
        "available" in emdsl("models", "study.em", "--server", cwd=tmp_path, env=servers, code=None).stdout
    )  # one of them lists none
    first = json.loads(emdsl("run", "study.em", "--json", cwd=tmp_path, env=servers).stdout)
    answer, rated = first["experiments"][0]["steps"]
    assert (answer["answered"], answer["failed"], answer["pending"]) == (60, 0, 0)
    assert rated["failed"] == rated["pending"] == 0
    found = rows(
        tmp_path,
        "SELECT who, count(answer) AS n, count(*) FILTER (answer_input_tokens > 0) AS counted, "
        "list_sort(list(DISTINCT answer_finish)) AS finish, max(answer_output_tokens) AS longest "
        "FROM whole GROUP BY who",
    )
    assert {r["who"] for r in found} == {"direct", "proxied", "as_claude", "as_gemini", "mocked"}
    for row in found:
        assert row["n"] == row["counted"] == 12
        assert set(row["finish"]) <= {"stop", "length"}
        if row["who"] != "mocked":
            assert row["longest"] <= 12, "max_tokens is honoured in every format"
    again = json.loads(emdsl("run", "study.em", "--json", cwd=tmp_path, env=servers).stdout)
    assert again["requests"] == 0
    text = (tmp_path / "study.em").read_text(encoding="utf-8")
    (tmp_path / "study.em").write_text(text.replace("samples = 3", "samples = 5"), encoding="utf-8")
    more = json.loads(emdsl("run", "study.em", "--json", cwd=tmp_path, env=servers).stdout)
    assert more["experiments"][0]["steps"][0]["answered"] == 40


@pytest.mark.parametrize(
    ("name", "key", "said", "most_sent"),
    [
        ("mock-rate", KEY, "429", 12),
        ("mock-500", KEY, "500", 12),
        ("mock-context", KEY, "400", 3),
        ("no-such-model", KEY, "Invalid model name", 3),
        ("mock-ok", "sk-wrong-key-0123456", "401", 3),
    ],
)
def test_errors(servers: dict[str, str], tmp_path: Path, name: str, key: str, said: str, most_sent: int) -> None:
    """What may pass is asked again, what cannot is not; nothing of it is stored, and the key is told to nobody."""
    text = (HERE / "failing.em").read_text(encoding="utf-8").replace("NAME", name)
    (tmp_path / "failing.em").write_text(text, encoding="utf-8")
    env = servers | {"LITELLM_API_KEY": key}
    done = emdsl("run", "failing.em", "--json", "--max-wait", "1", cwd=tmp_path, env=env, code=3)
    found = json.loads(done.stdout)
    assert found["experiments"][0]["steps"][0]["answered"] == 0
    assert found["requests"] <= most_sent
    assert sum(f["n"] for f in found["failures"]) == 3
    assert all(said in f["error"] for f in found["failures"])
    assert key not in done.stdout + done.stderr
