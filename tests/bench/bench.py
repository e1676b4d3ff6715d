"""Ratios on this machine, in one run, against the raw limit: `make bench`.

Needs a C compiler for the mock server. Prints one table of medians; keeps them as JSON in `build/bench.json`.
`make bench-scale` adds a study of 1,000,000 stored queries, which takes some minutes and 1 GB of disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scale

from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator

Note = Callable[[str, float], None]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = 5
CELLS, SAMPLES, CONCURRENCY = 40, 250, 500
STUDY = """em 1
model asked { use = "openai-api/mock/mock-1", url = "URL", temperature = 1.0, seed = 0 }
model judge_int { use = "openai-api/mock/judge-int", url = "URL", temperature = 0 }
rubric rating(answer) from judge_int {
  scale = 0..100
  user "JUDGE Rate 0 to 100: {answer}"
}
let why = "TEXT"
experiment bench {
  for cell in 0..39
  samples = 250
  ask answer from asked with "Question {cell}: is it ever right to break a promise? {why}"
  judge rated with rating(answer)
  measure high = rate(rated > 50)
}
"""

SMALL_STUDY = """em 1
model asked { use = "openai-api/mock/mock-1", url = "URL", temperature = 1.0, seed = 0 }
experiment small {
  for question in ["one", "two", "three", "four"]
  for k in 0..3
  samples = 5
  ask answer from asked with "{question} {k}"
  measure long = rate(answer.tokens > 10) by k
}
"""
ROWS_800 = """em 1
model asked { use = "openai-api/mock/mock-1", url = "URL", temperature = 1.0, seed = 0 }
model judge_int { use = "openai-api/mock/judge-int", url = "URL", temperature = 0 }
rubric rating(answer) from judge_int {
  scale = 0..100
  user "JUDGE Rate 0 to 100: {answer}"
}
experiment cells {
  for question in 1..10
  for k in 0..7
  samples = 10
  ask answer from asked with "Question {question}, {k}?"
  judge rated with rating(answer)
  measure high = rate(rated > 50) by k
}
"""
REPLY = json.dumps({
    "model": "mock-1", "choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 12},
})  # fmt: skip

EXPERIMENT = """
prompt p{i}(style, question) {{
  when style != "" {{ system style }}
  user "{{question}} {i}"
}}
experiment e{i} {{
  for style in {{
    none:  ""
    terse: "Be brief."
  }}
  for k in [0, 2, 4, 8]
  for question in ["what is a question?", "how do I make a friend?", "why is the sky blue?"]
  skip when k == 8 and style is terse
  set answer.max_tokens = 100 when k == 0
  samples = 10
  ask answer from subject with p{i}(style, "{{question}} {{k}}")
  judge aligned  with alignment(question, answer) from "sim/judge"
  judge coherent with coherence(question, answer) from "sim/judge"
  let bad = aligned < 30 and coherent > 50
  measure rate_{i} = rate(bad) by style, k
  measure diff_{i} = contrast(rate(bad), style is terse, style is none) by k
}}
"""
HEAD = """em 1
import alignment, coherence from "std:judges@1"
model subject {{ use = "sim/subject", temperature = 1 }}
"""
CELLS_STUDY = """em 1
experiment cells {
  for a in 1..100
  for b in 1..100
  for c in 1..100
  skip when a == b
  skip when c == 3 and a > 50
  ask answer from "sim/subject" with "{a} {b} {c}"
}
"""


SHOTS, SHOT_CHARS = 256, 780
SHOTS_STUDY = """em 1
model asked { use = "openai-api/mock/mock-1", url = "URL", temperature = 1.0, seed = 0 }
dataset rows { file = "shots.csv" }
prompt turns(shots, cell) {
  each s in shots {
    user s.q
    assistant s.a
  }
  user "Question {cell}?"
}
experiment demonstrations {
  for cell in 1..50
  samples = 100
  let shots = draw(rows, 256, seed: 0)
  ask answer from asked with turns(shots, cell)
}
"""


def programs(folder: Path) -> dict[str, Path]:
    """Write programs of about 100 and 10,000 lines, and one of a million cells; return them by name."""
    texts = {
        "check, 100 lines": HEAD.format() + "".join(EXPERIMENT.format(i=i) for i in range(4)),
        "check, 10,000 lines": HEAD.format() + "".join(EXPERIMENT.format(i=i) for i in range(425)),
        "check, 1,000,000 cells counted": CELLS_STUDY,
    }
    found = {}
    for i, (name, text) in enumerate(texts.items()):
        found[name] = folder / f"program{i}.em"
        found[name].write_text(text, encoding="utf-8")
    return found


@contextmanager
def mock(folder: Path) -> Iterator[str]:
    """Compile and run the mock server; yield its base URL."""
    binary = folder / "mock"
    subprocess.run(["cc", "-O2", "-o", binary, HERE / "mock.c"], check=True)
    server = subprocess.Popen([binary, "0", "latency_ms=50"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = "".join(c for c in server.stdout.readline() if c.isdigit())
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def listening() -> Iterator[tuple[str, list[float]]]:
    """Answer requests at once; yield the base URL and the times at which they came."""
    came: list[float] = []

    def answer(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65_536):  # a small request comes in one piece
                came.append(time.perf_counter())
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(REPLY)}\r\n\r\n"
                connection.sendall((head + REPLY).encode())

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1", came
        server.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Done:
    """One process that ended: its times, its largest memory without its children's, and what it printed."""

    start: float
    wall_s: float
    cpu_s: float  # of its children too
    rss_mb: float
    memory: tuple[tuple[float, float], ...]  # times, in seconds since 1970, and megabytes
    out: str

    def json(self) -> dict[str, Any]:
        """Return the object that it printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def timed(*command: str | Path, cwd: Path) -> Done:
    """Run a command as a process of its own."""
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(list(map(str, command)), cwd=cwd, env=env, stdout=out, stderr=subprocess.DEVNULL)
        memory: list[tuple[float, float]] = []
        threading.Thread(target=_watch, args=(process.pid, memory), daemon=True).start()
        _, status, use = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - start
        out.seek(0)
        rss_mb = max((mb for _, mb in memory), default=use.ru_maxrss / 1024)
        found = Done(start, wall_s, use.ru_utime + use.ru_stime, rss_mb, tuple(memory), out.read())
    if process.returncode:
        sys.exit(f"{command}\n{found.out}")
    return found


def _watch(pid: int, memory: list[tuple[float, float]]) -> None:
    """Note the memory of a process now and then: what it is waited for with counts its children too."""
    try:
        while True:
            lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
            kb = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
            memory.append((time.time(), kb / 1024))
            time.sleep(0.02)
    except (OSError, StopIteration):  # it has ended
        return


def emdsl(*args: str | Path, cwd: Path) -> Done:
    """Run a verb with `--json`."""
    return timed(sys.executable, "-m", "emdsl", *args, "--json", cwd=cwd)


def limit(url: str, folder: Path, *more: str) -> float:
    """Return how many requests a second the bare loop sends."""
    done = timed(sys.executable, HERE / "limit.py", "--url", url, *more, cwd=folder)
    return float(done.json()["requests_per_s"])


def start(folder: Path, _: str, note: Note) -> None:
    """Measure what a person waits for: start-up, over `import click` in the same run."""

    def click() -> float:
        return timed(sys.executable, "-c", "import click", cwd=folder).wall_s

    with listening() as (url, came):
        (folder / "small.em").write_text(SMALL_STUDY.replace("URL", url), encoding="utf-8")
        note("plan of a small study / import click", emdsl("plan", "small.em", cwd=folder).wall_s / click())
        run = emdsl("run", "small.em", cwd=folder)
        assert len(came) == 80
    note("80 new requests: CPU, s", run.cpu_s)
    note("80 new requests: until the first is sent, s", came[0] - run.start)
    note("--help / import click", timed(sys.executable, "-m", "emdsl", "--help", cwd=folder).wall_s / click())
    note("up to date / import click", emdsl("run", "small.em", cwd=folder).wall_s / click())
    for what, program in programs(folder).items():
        check = timed(sys.executable, "-m", "emdsl", "check", program, cwd=folder)
        note(f"{what}, s", check.wall_s)
        if what == "check, 100 lines":
            note("check, 100 lines / import click", check.wall_s / click())


def cold(folder: Path, url: str, note: Note) -> None:
    """Measure 20,000 requests over the bare loop, and loading their answers."""
    text = STUDY.replace("URL", url).replace("TEXT", "Give your reasons. " * 12)
    (folder / "bench.em").write_text(text, encoding="utf-8")
    bare = limit(url, folder, "--concurrency", str(CONCURRENCY))
    run = emdsl("run", "bench.em", "-j", str(CONCURRENCY), cwd=folder)
    n = run.json()["requests"]
    note("cold: bare aiohttp loop, requests/s", bare)
    note("cold: emdsl run, requests/s", n / run.wall_s)
    note("cold: emdsl run / bare loop", n / run.wall_s / bare)
    first, last = _asking(folder)
    note("cold: from the first send to the last acknowledgement / bare loop", n / (last - first) / bare)
    note("cold: memory while asking, MB", max(mb for at, mb in run.memory if at < last))
    note("plan, everything stored, s", emdsl("plan", "bench.em", cwd=folder).wall_s)
    (folder / "cache" / "outcomes.duckdb").unlink()
    load = emdsl("run", "bench.em", cwd=folder)
    note("20,000 stored steps into a fresh DuckDB, s", load.wall_s)
    note("20,000 stored steps into a fresh DuckDB, MB", load.rss_mb)


def _asking(folder: Path) -> tuple[float, float]:
    """Return when the first request of a store was sent, and when the last answer was stored."""
    answers = folder / "cache" / "answers"
    with closing(sqlite3.connect(answers / "cache.db")) as database:
        keys = [key for (key,) in database.execute("SELECT key FROM Cache").fetchall()]
        (last,) = database.execute("SELECT max(store_time) FROM Cache").fetchone()
    store = DiskStore(answers, read_only=True)
    try:
        return min(r.answered_at - r.elapsed_s for r in store.get_many(keys).values()), float(last)
    finally:
        store.close()


def edited(folder: Path, url: str, note: Note) -> None:
    """Measure runs after an edit of a study of 800 rows."""
    file, text = folder / "cells.em", ROWS_800.replace("URL", url)
    for what, (old, new) in {
        "first": ("", ""), "10 % more samples": ("samples = 10", "samples = 11"),
        "judge edited": ("Rate 0 to 100", "Rate from 0 to 100"),
    }.items():  # fmt: skip
        text = text.replace(old, new) if old else text
        file.write_text(text, encoding="utf-8")
        run = emdsl("run", file, "-j", str(CONCURRENCY), cwd=folder)
        if old:
            note(f"800 rows, {what}: {run.json()['requests']:,} requests, s", run.wall_s)


def shots(folder: Path, url: str, note: Note) -> None:
    """Measure prompts of 256 demonstrations, 200 KB each."""
    rows = "".join(f"{i} {'q' * (SHOT_CHARS // 2)},{i} {'a' * (SHOT_CHARS // 2)}\n" for i in range(SHOTS))
    (folder / "shots.csv").write_text("q,a\n" + rows, encoding="utf-8")
    (folder / "shots.em").write_text(SHOTS_STUDY.replace("URL", url), encoding="utf-8")
    size = ("--size", str(SHOTS * SHOT_CHARS), "--cells", "50", "--samples", "100", "--concurrency", "100")
    bare_s = 5_000 / limit(url, folder, *size)
    run = emdsl("run", "shots.em", "-j", "100", cwd=folder)
    note("k = 256: bare loop, same bytes, s", bare_s)
    note("k = 256: emdsl run, s", run.wall_s)
    note("k = 256: emdsl run / bare loop", run.wall_s / bare_s)
    note("k = 256: memory, MB", run.rss_mb)


def clustered(folder: Path, _: str, note: Note) -> None:
    """Measure measures whose intervals are by clusters, over 1,000,000 rows."""
    found = timed(sys.executable, HERE / "clustered.py", cwd=folder).json()
    for kind, figures in found.items():
        if kind != "mb":
            note(f"1,000,000 rows: a clustered {kind} of {figures['groups']} groups, s", figures["s"])
    note("1,000,000 rows: clustered measures, memory with the rows, MB", found["mb"])


def large(folder: Path, note: Note) -> None:
    """Measure a study of 1,000,000 stored queries: half asks, half judgements."""
    file = scale.write(folder, 2000, 250)
    _note_plan(folder, file, "nothing stored", note)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    asyncio.run(scale.fill(file, folder / "cache"))
    text = file.read_text(encoding="utf-8")
    _note_plan(folder, file, "all stored", note)
    edits = {"ask edited": ("is it ever right", "is it really right"), "judge edited": ("Rate 0 to", "Rate from 0 to")}
    for what, (old, new) in edits.items():
        (folder / "edited.em").write_text(text.replace(old, new), encoding="utf-8")
        _note_plan(folder, folder / "edited.em", what, note)
    load = emdsl("run", file, cwd=folder)
    note("1,000,000 queries: load, s", load.wall_s)
    note("1,000,000 queries: load, MB", load.rss_mb)
    note("1,000,000 queries: run again, s", emdsl("run", file, cwd=folder).wall_s)


def _note_plan(folder: Path, file: Path, what: str, note: Note) -> None:
    plan = emdsl("plan", file, cwd=folder)
    note(f"1,000,000 queries, {what}: plan, s", plan.wall_s)
    note(f"1,000,000 queries, {what}: plan, MB", plan.rss_mb)


def main(*, with_scale: bool) -> None:
    """Measure, print, keep."""
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory() as name, mock(Path(name)) as url:
        for i in range(RUNS):
            folder = Path(name) / f"run{i}"
            folder.mkdir()
            for measured in (start, cold, edited, shots, clustered):
                place = folder / measured.__name__
                place.mkdir()
                measured(place, url, note)
            shutil.rmtree(folder)
        if with_scale:
            folder = Path(name) / "scale"
            folder.mkdir()
            large(folder, note)
    for name, values in figures.items():
        print(f"{name:68} {statistics.median(values):10.3f}   ({min(values):.3f} - {max(values):.3f})")
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(with_scale="--scale" in sys.argv[1:])
