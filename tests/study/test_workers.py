"""`run --workers`: what is sent and what comes of it is that of one process, whatever dies on the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from counted import CountedServer, counted_server
from speed import HANG_S
from support import ROOT, clean_environment, communicated, emdsl, experiment, until

import emdsl as emdsl_package
from emdsl.experiment import request_settings
from emdsl.study import server_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it finds workers in /proc")
JOBS = 6
STUDY = """em 1
model asked { use = "openai/gpt-4o-2024-08-06", max_tokens = 50, price = { input: $1, output: $10 } }
model judging { use = "openai/gpt-4o-mini-2024-07-18", max_tokens = 8, temperature = 0 }
rubric rating(answer) from judging {
  scale = 0..100
  read = number
  user "JUDGE Rate 0 to 100: {answer}"
}
experiment e {
  for q in 1..QUESTIONS
  for style in ["brief", "long"]
  samples = 3
  ask answer from asked with "question {q}, {style}"
  judge rated with rating(answer)
  measure high = rate(rated > 50) by style
}
experiment again {
  for q in 1..QUESTIONS
  samples = 2
  ask answer from asked with "question {q}, brief"
  measure long = rate(answer.tokens > 2)
}
"""


@pytest.fixture
def server() -> Iterator[CountedServer]:
    with counted_server() as found:
        yield found
    while Run.started:  # none outlives its test
        process = Run.started.pop().process
        process.kill()
        process.communicate()


def environment(server: CountedServer) -> dict[str, str]:
    return {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-none-0123456789"}


def workers_of(pid: int) -> list[int]:
    """Return the ids of the workers of a process that are there now."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                ours = parent == pid and b"emdsl.study.worker" in (folder / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if ours:
                found.append(int(folder.name))
    return found


class Run:
    """A run in a process of its own, and its workers."""

    started: ClassVar[list[Run]] = []

    def __init__(self, folder: Path, server: CountedServer, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "emdsl", "run", "s.em", "-y", "-j", str(JOBS), "--display", "none", *args],
            cwd=folder, env=clean_environment(environment(server)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.started.append(self)

    def workers(self) -> list[int]:
        """Return the ids of its workers that are there now."""
        return workers_of(self.process.pid)

    def end(self, code: int = 0) -> str:
        out, err = communicated(self.process)
        assert self.process.returncode == code, out + err
        return out + err


def write(folder: Path, questions: int, text: str = STUDY) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").touch()
    (folder / "s.em").write_text(text.replace("QUESTIONS", str(questions)), encoding="utf-8")


def rows(folder: Path) -> list[Any]:
    sql = "SELECT q, style, sample, answer, rated, answer_key, rated_key, answer_error FROM e ORDER BY ALL"
    others = "SELECT q, sample, answer, answer_key FROM again ORDER BY ALL"
    return [json.loads(emdsl("query", s, "--format", "json", cwd=folder).stdout) for s in (sql, others)]


def check_equals_one_process(folder: Path, server: CountedServer, kills: int) -> None:
    """Compare with a run by one process, which another server of the same answers counts."""
    with counted_server(0.0) as other:
        alone = folder.parent / "alone"
        write(alone, 0)
        (alone / "s.em").write_text((folder / "s.em").read_text())
        other.rejects = server.rejects
        emdsl(
            "run", "s.em", "-y", "--workers", "1", cwd=alone, env=environment(other),
            code=3 if server.rejects != b"\0" else 0,
        )  # fmt: skip
    assert rows(folder) == rows(alone)
    assert not other.received - server.received, "each sample is asked, of one body each"
    assert (server.received - other.received).total() <= kills * JOBS, "what was in flight, and nothing else"
    assert server.most <= JOBS + kills * JOBS, "a killed worker's requests are still at the server"


@LINUX
def test_a_worker_that_is_killed_is_replaced_and_repeats_what_it_had_in_flight(
    tmp_path: Path, server: CountedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "many"
    write(folder, 10)
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    server.rejects = b"question 7, long"  # failures are known to who goes on
    study = emdsl_package.open(folder / "s.em")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: study.run(workers=2, connections=JOBS, display="none"))
        until(lambda: server.answered.total() > 20)
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)
        run = running.result(HANG_S)
    assert run.failed == 3
    check_equals_one_process(folder, server, 1)


@pytest.mark.thorough(only="starts so many processes")
@pytest.mark.parametrize("study", ["quickstart", "system_prompts"])
def test_what_a_run_prints_is_that_of_one_process(tmp_path: Path, study: str) -> None:
    """Probes of judges, which decide whether a score can be read, among it."""
    printed = []
    for workers in ("1", "3"):
        folder = tmp_path / workers
        shutil.copytree(ROOT / "experiments", folder / "experiments")
        (folder / "pyproject.toml").touch()
        args = ["--sim", "--samples", "2", "-j", "12", "--json", "--workers", workers]
        shown = json.loads(emdsl("run", f"experiments/{study}.em", "-y", *args, cwd=folder).stdout)
        assert shown["probes"] == 1
        printed.append(shown | {"wall_s": 0})
    assert printed[0] == printed[1]


@LINUX
@pytest.mark.thorough(only="kills for minutes")
@pytest.mark.parametrize("seed", range(3))
def test_random_kills(tmp_path: Path, server: CountedServer, seed: int) -> None:
    rng = random.Random(seed)
    write(tmp_path / "many", 40)
    run = Run(tmp_path / "many", server, "--workers", str(rng.randint(2, 4)))
    kills = 0
    while run.process.poll() is None:
        time.sleep(rng.uniform(0.1, 0.8))
        claims = tmp_path / "many/cache/answers/claims"
        busy = [p for p in run.workers() for c in claims.glob(f"{p}-*") if c.stat().st_size]
        if busy and kills < 6:
            time.sleep(rng.uniform(0.05, 0.4))  # an answer comes between
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(rng.choice(busy), signal.SIGKILL)
                kills += 1
    assert kills
    run.end()
    check_equals_one_process(tmp_path / "many", server, kills)


@LINUX
@pytest.mark.thorough(only="starts so many processes")
def test_nothing_outlives_a_run_that_is_killed_and_the_next_one_goes_on(tmp_path: Path, server: CountedServer) -> None:
    write(tmp_path / "many", 40)
    run = Run(tmp_path / "many", server, "--workers", "3")
    until(lambda: server.answered.total() > 30)
    pids = run.workers()
    assert len(pids) == 3
    run.process.kill()
    run.process.communicate()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    Run(tmp_path / "many", server, "--workers", "2").end()
    check_equals_one_process(tmp_path / "many", server, 1)


@LINUX
@pytest.mark.thorough(only="starts so many processes")
@pytest.mark.parametrize("edit", ["# a comment\n", "broken\n"])
def test_a_study_that_is_edited_ends_no_worker_that_has_started(
    tmp_path: Path, server: CountedServer, edit: str
) -> None:
    """One that dies cannot be replaced; the others send all of their parts."""
    folder = tmp_path / "many"
    write(folder, 40)
    before = (folder / "s.em").read_text()
    run = Run(folder, server, "--workers", "2")
    until(lambda: server.answered.total() > 30)
    (folder / "s.em").write_text(before + edit)
    os.kill(run.workers()[0], signal.SIGKILL)
    out = run.end(2)
    assert "error: the study was edited after the run had started: run again" in out
    assert ("unknown statement `broken`" in out) == (edit == "broken\n")
    asks = sum(n for body, n in server.answered.items() if b"JUDGE" not in body)
    assert asks > 100, "about half of 240"
    (folder / "s.em").write_text(before)
    Run(folder, server, "--workers", "2").end()
    check_equals_one_process(folder, server, 1)


@LINUX
@pytest.mark.thorough(only="starts so many processes")
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_drains_all_workers_and_a_second_one_stops_them(
    tmp_path: Path, server: CountedServer, times: int
) -> None:
    server.latency_s = 0.5
    write(tmp_path / "many", 40)
    run = Run(tmp_path / "many", server, "--workers", "2")
    until(lambda: server.answered.total() > 10)
    for _ in range(times):
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert "interrupted: all answers are kept" in run.end(3)
    answered = server.answered.total()
    if times == 1:
        assert server.received.total() == answered, "what was in flight is finished"
    server.latency_s = 0.0
    Run(tmp_path / "many", server, "--workers", "2").end()
    check_equals_one_process(tmp_path / "many", server, times - 1)


@LINUX
@pytest.mark.thorough(only="starts so many processes")
def test_a_worker_that_dies_again_and_again_ends_the_run(tmp_path: Path, server: CountedServer) -> None:
    server.latency_s = 30.0
    write(tmp_path / "many", 40)
    run = Run(tmp_path / "many", server, "--workers", "2")
    until(lambda: server.in_flight > 0)
    stopped = threading.Event()

    def kill() -> None:
        while not stopped.wait(0.1):
            for pid in run.workers():
                os.kill(pid, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        out = run.end(1)
    finally:
        stopped.set()
        killing.join()
    assert "was killed by SIGKILL, as 2 before it, without an answer between" in out


@LINUX
@pytest.mark.thorough(only="starts so many processes")
def test_runs_shows_and_changes_a_run_with_workers(tmp_path: Path, server: CountedServer) -> None:
    server.latency_s = 0.2
    folder = tmp_path / "many"
    write(folder, 200)
    run = Run(folder, server, "--workers", "3")
    until(lambda: server.answered.total() > 20)
    until(lambda: json.loads(emdsl("runs", "--json", cwd=folder).stdout)["runs"][0]["answered"] > 5)
    (shown,) = json.loads(emdsl("runs", "--json", cwd=folder).stdout)["runs"]
    assert shown["workers"] == 3
    assert shown["pid"] == run.process.pid
    assert "3 workers" in emdsl("runs", cwd=folder).stdout
    emdsl("runs", "set", "-j", "1", cwd=folder)
    time.sleep(1)  # what was in flight ends
    server.most = 0
    time.sleep(1)
    assert server.most == 1
    emdsl("runs", "set", "-j", "60", cwd=folder)
    until(lambda: server.in_flight > 20)
    emdsl("runs", "set", "--budget", "0.000001", cwd=folder)
    out = run.end(3)
    assert "--budget $0.000001 is spent" in out
    (ended,) = json.loads(emdsl("runs", "--all", "--json", cwd=folder).stdout)["ended"]
    assert ended["workers"] == 3
    assert [c["what"] for c in ended["changes"]] == ["connections", "connections", "budget"]


@LINUX
@pytest.mark.thorough(only="starts so many processes")
@pytest.mark.parametrize("kill", [False, True])
def test_a_budget_is_one_for_all_workers(tmp_path: Path, server: CountedServer, kill: bool) -> None:
    """The server charges 20 + 5 tokens: $0.00007 of an ask; `judging` costs less."""
    folder = tmp_path / "many"
    write(folder, 100)
    run = Run(folder, server, "--workers", "3", "--budget", "0.02")
    if kill:
        until(lambda: server.answered.total() > 40)
        os.kill(run.workers()[0], signal.SIGKILL)
    assert "--budget $0.02 is spent" in run.end(3)
    asks = sum(n for body, n in server.received.items() if b"JUDGE" not in body)
    assert asks * 0.00007 <= 0.02
    assert asks * 0.00007 > (0.005 if kill else 0.01), "most of it is used"


def test_a_run_hears_from_time_to_time_that_a_server_answers_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would take a busy server for one that hangs."""
    told, now = list[tuple[str, int]](), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    served = experiment(
        'model q { use = "vllm/m", revision = "1", serve = { gpus: 0, replicas: 2 } }\n'
        'experiment e { ask answer from q with "x" }'
    )
    ((_, settings),) = request_settings(served)
    servers = server_addresses.ServerAddresses({}, lambda *_: None, lambda *server: told.append(server))
    for seconds, account in ((0, 0), (1, 0), (1, 1), (29, 0), (31, 0)):
        now = 100.0 + seconds
        servers.answered(settings.model, account, f"http://127.0.0.1:{account}/v1")
    assert [account for _, account in told] == [0, 1, 0]
