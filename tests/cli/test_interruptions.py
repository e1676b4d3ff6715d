"""kill -9, Ctrl-C, two processes at once: no acknowledged answer is lost, no stored one is asked again."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import clean_environment, communicated, emdsl, simulator, stats

from emdsl.outcomes.database import interruptible

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
import alignment from "std:judges@1"
experiment e {
  for q in 1..30
  samples = 12
  ask answer from "sim/subject" with "question {q}"
  judge aligned with alignment("{q}", answer) from "sim/judge"
  measure low = rate(aligned < 30)
}
"""
N = 721  # with the probe of the judge
JOBS = 8
KILLS = 5  # `make stress` kills a hundred times


def start(folder: Path, url: str, *args: str, file: str = "study.em") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "emdsl", "run", file, "-j", str(JOBS), "--display", "none", *args],
        cwd=folder,
        env=clean_environment({"EMDSL_SIM_URL": url}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears,  # noqa: PLW1509 - the tests have no threads of their own
    )


def hears() -> None:
    """Let a process be told that its terminal is closed: under `nohup` that is ignored, and it would be inherited."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def rows(folder: Path) -> list[Any]:
    sql = "SELECT q, sample, answer, aligned, answer_key, aligned_key FROM e ORDER BY ALL"
    found: list[Any] = json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)
    return found


def whole(folder: Path) -> int:
    """Return how many answers are stored, after the database has been found whole."""
    database = sqlite3.connect(folder / "cache" / "answers" / "cache.db")
    try:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(database.execute("SELECT count(*) FROM Cache").fetchone()[0])
    finally:
        database.close()


def test_kill_nine_loses_no_answer_and_repeats_none(tmp_path: Path) -> None:
    """Killed at random moments: at most what was in flight is asked again, and the outcomes are the same."""
    rng = random.Random(7)
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    with simulator("--latency", "0.02") as url:
        before = unkept = 0
        for _ in range(KILLS):
            process = start(tmp_path, url)
            more = rng.randint(2, 20)
            while stats(url).get("requests", 0) < before + more:
                assert process.poll() is None, "it is killed in mid-run, not after it"
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.03))
            process.kill()
            process.communicate()
            time.sleep(0.05)  # what the server still answers is nobody's any more
            sent, stored = stats(url)["requests"], whole(tmp_path)
            assert (sent - stored) - unkept <= JOBS, "only what was in flight is lost"
            before, unkept = sent, sent - stored
        emdsl("run", "study.em", cwd=tmp_path, env={"EMDSL_SIM_URL": url})
        total = stats(url)["requests"]
        assert total <= N + KILLS * JOBS
        assert whole(tmp_path) == N
        emdsl("run", "study.em", cwd=tmp_path, env={"EMDSL_SIM_URL": url})
        assert stats(url)["requests"] == total
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "study.em").write_text(STUDY, encoding="utf-8")
    (undisturbed / "pyproject.toml").touch()
    emdsl("run", "study.em", cwd=undisturbed)
    assert rows(tmp_path) == rows(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "a closed terminal"])
def test_the_first_interrupt_keeps_what_is_in_flight(number: signal.Signals, tmp_path: Path) -> None:
    """Every request that the server answered is stored; exit 3; the next run asks the rest."""
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    with simulator("--latency", "0.05") as url:
        process = start(tmp_path, url)
        while stats(url).get("requests", 0) < 20:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = communicated(process)
        assert process.returncode == 3, err
        assert "interrupted: all answers are kept" in out
        assert "Traceback" not in err
        kept = stats(url)["answered"]
        assert 20 <= kept < N
        plan = json.loads(emdsl("plan", "study.em", "--json", cwd=tmp_path).stdout)
        assert sum(s["cached"] for s in plan["experiments"][0]["steps"]) == kept - 1, "all but the probe"
        emdsl("run", "study.em", cwd=tmp_path, env={"EMDSL_SIM_URL": url})
        assert stats(url)["requests"] == N


def test_the_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    """Slow answers are not waited for."""
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    with simulator("--latency", str(2 * HANG_S)) as url:
        process = start(tmp_path, url)
        while stats(url).get("requests", 0) < JOBS:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = communicated(process)
        assert process.returncode == 3, out + err
        assert "Traceback" not in err


CALL = """
import atexit, click, os, signal, sys, threading
from emdsl.cli import main as module
def interrupt(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)
class AtTheEnd:
    __del__ = interrupt
def verb(**_):
    exec(VERB)
    return 0
echo = click.echo
BEFORE
module.cli.main = verb
module.main()
"""


@pytest.mark.parametrize(
    ("verb", "before", "code"),
    [
        ("interrupt()", "", 3),  # within `exec`, as of dataclasses: Python would end itself by the signal
        ("interrupt()", "click.echo = lambda *a, **o: (setattr(click, 'echo', echo), interrupt())", 3),
        ("interrupt()", "thread = threading.Thread(target=lambda: (main.join(), interrupt()))", 3),
        ("interrupt()", "atexit.register(interrupt)", 3),
        ("interrupt()", "kept = AtTheEnd()", 3),
        ("0", "atexit.register(interrupt)", 0),
        ("0", "kept = AtTheEnd()", 0),
    ],
    ids=[
        "once",
        "while it is told",
        "while threads end",
        "while functions end",
        "at the end",
        "late",
        "at the very end",
    ],
)
def test_ctrl_c_exits_alike_whenever_it_comes(verb: str, before: str, code: int) -> None:
    """A second Ctrl-C within milliseconds, too: with the code and the sentence of one, and never by a signal."""
    if "thread" in before:
        before = f"main = threading.main_thread()\n{before}\nthread.start()"
    call = CALL.replace("VERB", repr(verb)).replace("BEFORE", before)
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False, timeout=HANG_S)
    told = "interrupted: all answers are kept\n" if code else ""
    assert (done.returncode, done.stderr) == (code, told)


def test_faults_at_every_rate_lose_nothing(tmp_path: Path) -> None:
    """429 with Retry-After, 500, cut connections, broken JSON, slow answers: all queries end answered.

    A reply that cannot be read may have been paid for: after three to one request, the next run asks again.
    """
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    faults = ["--throttled", "0.1", "--retry-after", "0.05", "--failed", "0.05", "--cut", "0.05", "--malformed", "0.05"]
    with simulator(*faults, "--slow", "0.02", "--slow-by", "0.2") as url:
        call = ("run", "study.em", "--json")
        runs = [json.loads(emdsl(*call, cwd=tmp_path, env={"EMDSL_SIM_URL": url}, code=None).stdout) for _ in range(3)]
        counts = stats(url)
    assert all("the reply is not JSON" in f["error"] for found in runs for f in found.get("failures", ()))
    assert [s["failed"] for s in runs[-1]["experiments"][0]["steps"]] == [0, 0]
    assert counts["answered"] == N
    assert sum(found["requests"] for found in runs) == counts["requests"]
    assert min(counts[f] for f in ("throttled", "failed", "cut", "malformed", "slow")) > 0


OVERLAPPING = STUDY.replace("1..30", "10..40").replace("experiment e", "experiment f")
N_BOTH = (N - 1) * 40 // 30 + 1  # questions 1 to 40


def test_two_runs_at_once_send_no_request_twice(tmp_path: Path) -> None:
    """Overlapping studies, one cache, two processes: each request is paid for once; both end complete."""
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    (tmp_path / "other.em").write_text(OVERLAPPING, encoding="utf-8")
    with simulator("--latency", "0.01") as url:
        both = [start(tmp_path, url), start(tmp_path, url, file="other.em"), start(tmp_path, url)]
        for process in both:
            out, err = communicated(process)
            assert process.returncode == 0, out + err
        assert stats(url)["requests"] == N_BOTH
        emdsl("run", "study.em", cwd=tmp_path, env={"EMDSL_SIM_URL": url})
        assert len(rows(tmp_path)) == 360
        assert stats(url)["requests"] == N_BOTH
    assert whole(tmp_path) == N_BOTH


def test_the_other_takes_over_what_a_killed_one_was_asking(tmp_path: Path) -> None:
    """Two processes, one killed with -9 in mid-flight, again and again: the other ends, and repeats what flew only."""
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    rng, kills = random.Random(11), 3
    with simulator("--latency", "0.05") as url:
        survivor = start(tmp_path, url)
        for _ in range(kills):
            victim = start(tmp_path, url)
            time.sleep(rng.uniform(0.6, 1.2))
            victim.send_signal(signal.SIGKILL)
            victim.communicate()
            if survivor.poll() is not None:
                break
        out, err = communicated(survivor)
        assert survivor.returncode == 0, out + err
        assert 0 <= stats(url)["requests"] - N <= kills * JOBS
    assert whole(tmp_path) == N
    verified = json.loads(emdsl("cache", "verify", "--json", cwd=tmp_path).stdout)
    assert verified == {
        "entries": N, "database": "ok", "empty_aborts": 0, "damaged": [], "damaged_hook_values": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("said", "raised"), [("Query interrupted", KeyboardInterrupt), ("other", RuntimeError)])
def test_an_interrupt_during_a_query_is_an_interrupt(said: str, raised: type[BaseException]) -> None:
    """DuckDB raises an error of its own there, which ended in a traceback."""
    with pytest.raises(raised), interruptible():
        raise RuntimeError(said)
