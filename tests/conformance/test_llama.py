"""A whole study against llama.cpp behind the server of llama-cpp-python: a tiny random model, made here."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from conformance.test_conformance import BIN, HERE, KEY, free_port, rows, wait_for
from speed import HANG_S
from support import clean_environment, emdsl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTEXT = 512  # tokens


@contextmanager
def serving(folder: Path, *args: str) -> Iterator[dict[str, str]]:
    """Serve the model of a folder; yield the variables that a study needs."""
    port, log = free_port(), folder / "llama.log"
    call: list[str | Path] = [
        BIN / "python", "-m", "llama_cpp.server", "--model", "tiny.gguf", "--model_alias", "tiny", "--n_ctx",
        str(CONTEXT), "--n_threads", "1", "--verbose", "false", "--api_key", KEY, "--host", "127.0.0.1", "--port",
        str(port), *args,
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(call, cwd=folder, env=clean_environment(), stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/openapi.json", process, log)
        yield {"LLAMA_URL": f"http://127.0.0.1:{port}/v1", "LLAMA_API_KEY": KEY}
    finally:
        process.terminate()
        process.wait(HANG_S)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the model."""
    folder = tmp_path_factory.mktemp("llama")
    subprocess.run(
        [BIN / "python", HERE / "make_gguf.py", "tiny.gguf"], cwd=folder, env=clean_environment(), check=True
    )
    return folder


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[dict[str, str]]:
    """Serve the model with candidates of tokens."""
    with serving(model, "--logits_all", "true") as found:
        yield found


def failing(folder: Path, server: dict[str, str], question: str) -> tuple[int, list[str]]:
    """Run a study whose three requests fail; return how many were sent, and what was said."""
    text = (HERE / "failing.em").read_text(encoding="utf-8")
    text = text.replace("litellm/NAME", "llama-cpp/tiny").replace("PROXY_URL", "LLAMA_URL")
    (folder / "failing.em").write_text(text.replace("question {q}", question), encoding="utf-8")
    done = emdsl("run", "failing.em", "--json", "--max-wait", "1", cwd=folder, env=server, code=3)
    found = json.loads(done.stdout)
    assert found["experiments"][0]["steps"][0]["answered"] == 0
    assert server["LLAMA_API_KEY"] not in done.stdout + done.stderr
    return found["requests"], [failure["error"] for failure in found["failures"]]


def test_a_whole_study(server: dict[str, str], tmp_path: Path) -> None:
    """Checked, asked, weighed by the candidates of a token, stored: run again it asks nothing."""
    shutil.copy(HERE / "llama.em", tmp_path)
    told = json.loads(emdsl("doctor", "llama.em", "--json", cwd=tmp_path, env=server).stdout)["models"]
    assert all(m["answers"] for m in told)
    assert "available" in emdsl("models", "llama.em", "--server", cwd=tmp_path, env=server).stdout
    first = json.loads(emdsl("run", "llama.em", "--json", cwd=tmp_path, env=server).stdout)
    answer, rated = first["experiments"][0]["steps"]
    assert (answer["answered"], answer["failed"], answer["pending"]) == (12, 0, 0)
    assert (rated["failed"], rated["pending"], first["probes"]) == (0, 0, 1)
    found = rows(tmp_path, "SELECT * FROM whole")
    assert len(found) == 12
    for row in found:
        assert (row["answer_finish"], row["answer_output_tokens"], row["answer_reported"]) == ("length", 12, "tiny")
        assert 0 < row["answer_input_tokens"] < CONTEXT
        assert 0 < row["rated"] < 85, "other numbers are weighed beside the one that is replied"
        assert 0.5 < row["rated_mass"] <= 1
    assert len({row["answer"] for row in found}) > 1, "samples are drawn anew"
    again = json.loads(emdsl("run", "llama.em", "--json", cwd=tmp_path, env=server).stdout)
    assert again["requests"] == 0


def test_too_long_is_final(server: dict[str, str], tmp_path: Path) -> None:
    """A prompt past the context is sent once, and the server's words are shown."""
    sent, said = failing(tmp_path, server, "question {q} " * CONTEXT)
    assert sent <= 3
    assert said
    assert all(f"maximum context length is {CONTEXT} tokens" in text for text in said)


def test_a_wrong_key_is_final(server: dict[str, str], tmp_path: Path) -> None:
    """It is told to nobody."""
    sent, said = failing(tmp_path, server | {"LLAMA_API_KEY": "sk-wrong-0123456789"}, "question {q}")
    assert sent <= 3
    assert said
    assert all("401" in text for text in said)


def test_a_server_without_candidates(model: Path, tmp_path: Path) -> None:
    """It answers requests for candidates with status 500 and says why: the answers stay, the words are shown."""
    shutil.copy(HERE / "llama.em", tmp_path)
    with serving(model, "--logits_all", "false") as server:
        done = emdsl("run", "llama.em", "--json", "--max-wait", "1", cwd=tmp_path, env=server, code=3)
    found = json.loads(done.stdout)
    answer, rated = found["experiments"][0]["steps"]
    assert (answer["answered"], answer["failed"], rated["answered"]) == (12, 0, 0)
    assert all("logprobs is not supported" in failure["error"] for failure in found["failures"])
