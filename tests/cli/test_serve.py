"""`run --serve`: servers start with a run, answer its requests, may die, and are gone with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import clean_environment, communicated, emdsl
from tiny_servers import alive, records, serve_variable

import emdsl as emdsl_package
from emdsl.errors import UsageError
from emdsl.study import running
from emdsl.study.project import open_project
from emdsl.study.servers import launcher_for

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
model q {
  use = "vllm/Qwen/Qwen3-8B", revision = "b968826d", temperature = 1, max_tokens = 50
  serve = { args: ["--latency", "0.02"], gpus: 0, replicas: 3 }
}
model cold from q { temperature = 0 }
experiment e {
  for m in [q, cold]
  for n in 1..10
  samples = 5
  # allow W734
  ask answer from m with "question {n}"
  ask again from m with "{answer}?"
}
"""
N = 200


def study(folder: Path, text: str = STUDY) -> Path:
    (folder / "study.em").write_text(text, encoding="utf-8")
    return folder


def answered(folder: Path) -> int:
    sql = "SELECT count(*) AS n FROM e WHERE again = upper('question ' || n || '?')"
    return int(json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)[0]["n"])


def test_a_run_serves_its_models(tmp_path: Path) -> None:
    """Two models with the same weights share three servers; run again, none starts."""
    study(tmp_path)
    env = serve_variable(tmp_path / "records") | {"VLLM_API_KEY": "sk-0123456789", "OPENAI_API_KEY": "sk-9876543210"}
    planned = emdsl("plan", "study.em", cwd=tmp_path, env=env).stdout
    assert "`vllm/Qwen/Qwen3-8B` needs 3 servers without a GPU: --serve starts them\n" in planned
    assert "\nRun: emdsl run study.em --serve " in planned
    assert json.loads(emdsl("plan", "study.em", "--json", cwd=tmp_path, env=env).stdout)["serve"] == [
        {"model": "vllm/Qwen/Qwen3-8B", "revision": "b968826d", "replicas": 3, "gpus": 0, "args": ["--latency", "0.02"]}
    ]
    without = emdsl("run", "study.em", cwd=tmp_path, env=env, code=1)
    assert "`q` (vllm/Qwen/Qwen3-8B): no server runs: add --serve, which starts 3 servers" in without.stderr
    assert not records(tmp_path / "records", "start")

    done = json.loads(emdsl("run", "study.em", "--serve", "--json", cwd=tmp_path, env=env).stdout)
    assert done["requests"] == N
    assert answered(tmp_path) == N // 2
    started, requests = records(tmp_path / "records", "start"), records(tmp_path / "records", "request")
    assert len(started) == 3
    assert len(requests) == N
    assert {r["model"] for r in requests} == {"Qwen/Qwen3-8B"}
    assert {r["key"] for r in requests} == {None}, "its own servers need no API key"
    assert not {"VLLM_API_KEY", "OPENAI_API_KEY", "EMDSL_SERVE_VLLM"} & set(started[0]["environment"])
    command = "Qwen/Qwen3-8B --revision b968826d --served-model-name Qwen/Qwen3-8B --latency 0.02 --host 127.0.0.1"
    assert started[0]["argv"][2:] == [*command.split(), "--port", str(started[0]["port"])]
    assert not alive(tmp_path / "records")
    assert len(list(tmp_path.glob("cache/serving/*/vllm-Qwen-Qwen3-8B-b968826d-*.log"))) == 3

    again = json.loads(emdsl("run", "study.em", "--serve", "--json", cwd=tmp_path, env=env).stdout)
    assert again["requests"] == 0
    assert len(records(tmp_path / "records", "start")) == 3


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.thorough(only="several processes"))])
def test_a_server_that_dies_loses_only_what_it_had_in_flight(tmp_path: Path, workers: int) -> None:
    """All is answered in the end, nothing else is sent twice, and nothing goes to the dead one."""
    study(tmp_path, STUDY.replace("1..10", "1..30"))
    folder, killed = tmp_path / "records", list[int]()

    def kill() -> None:
        while not killed:
            seen = Counter(r["pid"] for r in records(folder, "request"))
            busy = [pid for pid, n in seen.items() if n > 20]
            if len(seen) == 3 and busy:
                os.kill(busy[0], signal.SIGKILL)
                killed.append(busy[0])
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    call = ["run", "study.em", "--serve", "--json", "--max-retries", "0", "-j", "24", "--workers", str(workers)]
    done = json.loads(emdsl(*call, cwd=tmp_path, env=serve_variable(folder)).stdout)
    killer.join()
    assert (done["experiments"][0]["steps"][0]["failed"], answered(tmp_path)) == (0, 3 * N // 2)
    requests = records(folder, "request")
    assert 3 * N <= len(requests) <= 3 * N + 24
    assert not alive(folder)


@pytest.mark.thorough(only="each server that dies has a successor: seconds")
def test_a_request_that_kills_servers_is_given_up(tmp_path: Path) -> None:
    """After three of them; all others are answered, by those that took their place."""
    study(tmp_path, STUDY.replace("0.02", "0"))
    env = serve_variable(tmp_path / "records", "--die-on", "'question 7'")
    done = json.loads(
        emdsl("run", "study.em", "--serve", "--json", "--samples", "1", "-j", "1", cwd=tmp_path, env=env, code=3).stdout
    )
    (failure,) = done["failures"]
    assert failure["n"] == 2
    assert "(3 servers died under this request)" in failure["error"]
    assert answered(tmp_path) == 18
    assert not alive(tmp_path / "records")


@pytest.mark.thorough(only="the pauses before new starts take seconds")
def test_servers_that_do_not_start(tmp_path: Path) -> None:
    """The error shows the log, and nothing is sent."""
    study(tmp_path)
    env = serve_variable(tmp_path / "records", "--refuse", "'no GPU memory'")
    failed = emdsl("run", "study.em", "--serve", cwd=tmp_path, env=env, code=1)
    assert "error: server 1 of `vllm/Qwen/Qwen3-8B` ended with exit code 3, 3 times in a row. Its log" in failed.stderr
    assert "\n  error: no GPU memory\n" in failed.stderr
    missing = emdsl("run", "study.em", "--serve", cwd=tmp_path, env={"EMDSL_SERVE_VLLM": "no-such-vllm serve"}, code=1)
    assert "needs the program `no-such-vllm`. It is not installed" in missing.stderr
    assert "Traceback" not in failed.stderr + missing.stderr


@pytest.mark.thorough(only="five calls of the command line: seconds")
def test_where_no_server_is_needed(tmp_path: Path) -> None:
    """The simulator, a server that runs already, a study without `serve`; and a place that is none."""
    study(tmp_path)
    env = serve_variable(tmp_path / "records")
    emdsl("run", "study.em", "--serve", "--sim", cwd=tmp_path, env=env)
    running = emdsl(
        "run", "study.em", "--max-retries", "0", cwd=tmp_path, env=env | {"VLLM_BASE_URL": "http://127.0.0.1:9/v1"},
        code=3,
    )  # fmt: skip
    assert "--serve" not in running.stderr
    assert not records(tmp_path / "records", "start")
    plain = 'em 1\nexperiment e { ask answer from "openai/gpt-4o-2024-08-06" with "x" }\n'
    (tmp_path / "plain.em").write_text(plain, encoding="utf-8")
    wrong = emdsl("run", "plain.em", "--serve", cwd=tmp_path, env={"OPENAI_API_KEY": "sk-0123456789"}, code=2)
    assert "no model of this study has `serve`" in wrong.stderr
    wrong = emdsl("run", "study.em", "--on", "mars", cwd=tmp_path, env=env, code=2)
    assert "--on: `mars` is not a place for servers: use local, ray or ray://HEAD" in wrong.stderr


@pytest.mark.thorough(only="a process of its own takes a second")
def test_an_interrupt_while_servers_start(tmp_path: Path) -> None:
    """It ends the servers, and the run as any interrupted one."""
    study(tmp_path)
    run: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, "-m", "emdsl", "run", "study.em", "--serve"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=clean_environment(serve_variable(tmp_path / "records", "--slow-start", str(2 * HANG_S))),
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + HANG_S
    while time.monotonic() < end and len(records(tmp_path / "records", "start")) < 3:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    out, _ = communicated(run)
    assert run.returncode == 3
    assert "interrupted: all answers are kept" in out
    assert not alive(tmp_path / "records")


def test_a_run_is_stopped_while_its_servers_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `emdsl runs stop`, as by Ctrl-C; until then it is shown, and its settings cannot be changed."""
    study(tmp_path)
    for name, value in serve_variable(tmp_path / "records", "--slow-start", str(2 * HANG_S)).items():
        monkeypatch.setenv(name, value)
    opened = emdsl_package.open(tmp_path / "study.em")
    project = open_project(tmp_path / "study.em")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(opened.run, samples=1, serve=True, display="none")
        end = time.monotonic() + HANG_S
        while not (active := running.active_runs(project)) or active[0].state is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        state = active[0].state
        assert (state["answered"], state["total"], state["in_flight"], state["connections"]) == (0, 40, 0, 192)
        with pytest.raises(UsageError, match="has not begun to send: try again later"):
            running.set_run(project, None, connections=3, budget=None)
        stopped = running.stop_run(project, None, now=False)
        assert stopped.state is not None
        assert stopped.state["stopping"]
        done = run.result(HANG_S)
    assert (done.answered, done.complete) == (0, False)
    assert not alive(tmp_path / "records")


def test_logs_of_a_run_under_way_are_kept(tmp_path: Path) -> None:
    """Regardless of the number of later runs. Of the other runs, the last ones are kept."""
    project = open_project(study(tmp_path) / "study.em")
    project.answers.mkdir(parents=True)
    logs = project.cache / "serving"
    for i in range(25):
        (logs / f"run{i:02}").mkdir(parents=True)
        os.utime(logs / f"run{i:02}", (i, i))
    with closing(project.claims("run03")):
        launcher_for("local", project, "new", lambda _: None)
    assert sorted(p.name for p in logs.iterdir()) == ["run03", *(f"run{i:02}" for i in range(6, 25))]


def test_what_doctor_and_models_say(tmp_path: Path) -> None:
    """The program that a run would start, or how to get it; nothing is started."""
    study(tmp_path)
    env = serve_variable(tmp_path / "records")
    told = json.loads(emdsl("doctor", "study.em", "--json", cwd=tmp_path, env=env).stdout)["models"]
    assert [(m["answers"], m["note"]) for m in told] == [
        (None, f"`run --serve` starts 3 servers without a GPU by {sys.executable}")
    ]
    told = json.loads(
        emdsl("doctor", "study.em", "--json", cwd=tmp_path, env={"EMDSL_SERVE_VLLM": "no-such-vllm"}, code=1).stdout
    )["models"]
    assert "`no-such-vllm`. It is not installed" in told[0]["note"]
    described = json.loads(emdsl("models", "study.em", "--json", cwd=tmp_path, env=env).stdout)["models"][0]
    assert (described["url"], described["serve"]) == (None, "3 servers without a GPU: --latency 0.02")
    assert not records(tmp_path / "records", "start")


def test_a_run_that_python_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path)
    for name, value in serve_variable(tmp_path / "records").items():
        monkeypatch.setenv(name, value)
    done = emdsl_package.open(tmp_path / "study.em").run(samples=1, serve=True, display="none")
    assert (done.answered, done.complete) == (40, True)
    assert not alive(tmp_path / "records")


PREFIXES = """em 1
model q {
  use = "vllm/Qwen/Qwen3-8B", revision = "b968826d", temperature = 1, max_tokens = 50
  serve = { args: ["--latency", "0.05"], gpus: 0, replicas: 3 }
}
let demonstrations = "DEMONSTRATIONS"
experiment e {
  for set in 1..12
  for question in 1..10
  samples = 2
  ask answer from q with "SET {set} {demonstrations} {question}?"
}
"""


@pytest.mark.thorough(only="starts servers for some seconds")
@pytest.mark.parametrize("workers", [1, 2])
def test_prompts_that_begin_alike_go_to_one_server(workers: int, tmp_path: Path) -> None:
    """To few of three, while all have their share: by chance each set of demonstrations would be met by all."""
    study(tmp_path, PREFIXES.replace("DEMONSTRATIONS", "case " * 300))
    env = serve_variable(tmp_path / "records")
    emdsl("run", "study.em", "--serve", "--workers", str(workers), "-j", "24", cwd=tmp_path, env=env)
    requests = records(tmp_path / "records", "request")
    assert len(requests) == 240
    by_server = Counter(r["pid"] for r in requests)
    met = {(r["text"].split()[1], r["pid"]) for r in requests}
    assert min(by_server.values()) > 240 / 3 / 2
    assert len(met) < 12 * 2, f"of {12 * 3} pairs of a set and a server"
