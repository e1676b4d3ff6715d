"""`emdsl runs`: real runs are seen, changed and stopped from another process."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import clean_environment, communicated, emdsl, simulator, stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[[Path, str], subprocess.Popen[str]]

STUDY = """em 1
model m { use = "openai/gpt-4o-2024-08-06", max_tokens = 100, price = { input: $1000, output: $10_000 } }
experiment e {
  for q in 1..2000
  ask answer from m with "question {q}"
}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator("--latency", "0.3") as found:
        yield found


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    """Start a run of a study in a folder; none outlives its test."""
    started = []

    def run(folder: Path, file: str) -> subprocess.Popen[str]:
        (folder / file).write_text(STUDY, encoding="utf-8")
        (folder / "pyproject.toml").touch()
        environment = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-none-0123456789"}
        process = subprocess.Popen(
            [sys.executable, "-m", "emdsl", "run", file, "-j", "2", "--display", "plain"], cwd=folder,
            env=clean_environment(environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def listed(folder: Path, *args: str) -> Any:
    return json.loads(emdsl("runs", "--json", *args, cwd=folder).stdout)


def once(folder: Path, holds: Callable[[list[Any]], bool]) -> list[Any]:
    """Return the runs as soon as a condition holds for them."""
    end = time.monotonic() + HANG_S
    while time.monotonic() < end:
        runs: list[Any] = listed(folder)["runs"]
        if holds(runs):
            return runs
        time.sleep(0.05)
    raise AssertionError(runs)


def test_a_run_is_watched_changed_and_stopped(tmp_path: Path, url: str, start: Start) -> None:
    """In a folder whose path is too long for a socket, from its project's folders; its record has each change."""
    folder = tmp_path / ("deep" * 30)
    inner = folder / "experiments"
    inner.mkdir(parents=True)
    process = start(folder, "study.em")
    (run,) = once(folder, lambda runs: bool(runs) and runs[0]["reachable"] and runs[0]["answered"] > 0)
    assert (run["file"], run["pid"], run["connections"], run["total"]) == ("study.em", process.pid, 2, 2000)
    assert run["in_flight"] <= 2
    (step,) = run["steps"]
    assert (step["step"], step["total"], step["failed"]) == ("answer", 2000, 0)
    assert 0 < step["answered"] <= run["answered"]
    assert (run["retried"], run["failures"]) == (0, [])
    assert run["eta_s"] is None or run["eta_s"] > 100, "2,000 requests, two at once, 0.3 s each"
    assert re.search(r"answer +\d+/2,000", emdsl("runs", cwd=inner).stdout)
    assert 0 < run["spent_usd"] < 1.1 * run["answered"]
    path = folder / "cache" / "control" / run["run"]
    assert [p.stat().st_mode & 0o777 for p in (path.parent, path)] == [0o700, 0o600]

    assert "has no budget" in emdsl("runs", "set", "--budget", "+5", cwd=inner, code=2).stderr
    shown = emdsl("runs", "set", run["run"][:6], "-j", "30", "--budget", "$300", cwd=inner).stdout
    assert f"{run['run'][:8]} of study.em: connections 2 -> 30" in shown
    raised = json.loads(emdsl("runs", "set", "../study.em", "--budget", "+$20.5", "--json", cwd=inner).stdout)
    assert (raised["connections"], raised["budget_usd"], raised["recorded"]) == (30, 320.5, True)
    once(folder, lambda _: stats(url)["requests"] - stats(url)["answered"] > 10)  # at the server

    stopped = emdsl("runs", "stop", cwd=folder).stdout
    assert "in flight will be finished and stored" in stopped
    out, err = communicated(process)
    assert process.returncode == 3, out + err
    assert "emdsl runs: connections 2 -> 30" in err
    assert "interrupted: all answers are kept" in out
    assert "--budget 320.5" in out
    assert not path.exists()
    found = listed(folder, "--all")
    (ended,) = found["ended"]
    assert found["runs"] == []
    assert (ended["end"], ended["failed"]) == ("interrupted", 0)
    assert [(c["what"], c["old"], c["new"]) for c in ended["changes"]] == [
        ("budget", None, 300), ("connections", 2, 30), ("budget", 300, 320.5), ("stop", None, None)
    ]  # fmt: skip
    assert "budget $300 -> $320.5 at 20" in emdsl("runs", "--all", cwd=folder).stdout


def test_two_runs_are_told_apart_and_a_killed_one_leaves_no_socket(tmp_path: Path, url: str, start: Start) -> None:
    """The next call removes the socket of a run that was killed; `--now` waits for no answer."""
    processes = [start(tmp_path, file) for file in ("one.em", "two.em")]
    runs = once(tmp_path, lambda runs: [r["reachable"] for r in runs] == [True, True])
    refused = emdsl("runs", "stop", cwd=tmp_path, code=2).stderr
    assert all(r["run"][:8] in refused for r in runs)
    processes[0].kill()
    processes[0].communicate()
    folder = tmp_path / "cache" / "control"
    assert {p.name for p in folder.iterdir()} == {r["run"] for r in runs}
    (left,) = listed(tmp_path)["runs"]
    assert left["file"] == "two.em"
    assert [p.name for p in folder.iterdir()] == [left["run"]]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / left["run"]))
        client.sendall(b"\x00" * 100_000)
    before = stats(url)["requests"]
    assert "stop now" in emdsl("runs", "stop", "two.em", "--now", cwd=tmp_path).stdout
    out, err = communicated(processes[1])
    assert (processes[1].returncode, "Traceback" in err) == (3, False), out + err
    assert stats(url)["requests"] - before <= 2
    ended = {r["file"]: r["end"] for r in listed(tmp_path, "--all")["ended"]}
    assert ended == {"one.em": "killed", "two.em": "interrupted"}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["set"], "choose a change: -j N, --budget USD"),
        (["set", "--budget", "+0"], "leave out the `$`"),
        (["set", "--budget", "ten"], "is not an amount"),
        (["set", "--budget", "+-5"], "'+-5' is not an amount"),
        (["set", "-j", "0"], "0 is not in the range"),
        (["set", "--budget", "-5"], "no run is under way"),
        (["stop"], "no run is under way"),
        (["stop", "abc"], "no run abc is under way"),
        (["set", "study.em", "-j", "3"], "no run of study.em is under way"),
        (["--sim", "stop"], "unexpected extra argument (stop)"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_calls_that_change_nothing(tmp_path: Path, call: list[str], said: str) -> None:
    """Each names what to do."""
    assert said in emdsl("runs", *call, cwd=tmp_path, code=2).stderr


def test_nothing_is_under_way(tmp_path: Path) -> None:
    """That is no error, and makes no folder."""
    assert emdsl("runs", cwd=tmp_path).stdout == "no run is under way\n"
    assert listed(tmp_path, "--sim", "--all") == {"runs": [], "ended": []}
    assert not (tmp_path / "cache").exists()
