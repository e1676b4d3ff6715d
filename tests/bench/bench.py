"""Ratios on this machine, in one run, against the raw limit: `make bench`.

Needs a C compiler for the mock server. Prints one table of medians; keeps them as JSON in `build/bench.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = 3
CELLS, SAMPLES, CONCURRENCY = 40, 250, 100
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


def programs(folder: Path) -> dict[str, Path]:
    """Write programs of about 100 and 10,000 lines, and one of a million cells; return them by name."""
    texts = {
        "check, 100 lines, s": HEAD.format() + "".join(EXPERIMENT.format(i=i) for i in range(4)),
        "check, 10,000 lines, s": HEAD.format() + "".join(EXPERIMENT.format(i=i) for i in range(425)),
        "check, 1,000,000 cells counted, s": CELLS_STUDY,
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
        server.wait(10)


def timed(*command: str | Path, cwd: Path) -> tuple[float, str]:
    """Run a command; return its wall time in seconds, and what it printed."""
    start = time.perf_counter()
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - start, done.stdout


def emdsl(*args: str, cwd: Path) -> tuple[float, dict[str, Any]]:
    """Run a verb with `--json`; return its wall time and its object."""
    wall_s, out = timed(sys.executable, "-m", "emdsl", *args, "--json", cwd=cwd)
    return wall_s, json.loads(out)


def main() -> None:
    """Measure, print, keep."""
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory() as name, mock(Path(name)) as url:
        for i in range(RUNS):
            folder = Path(name) / f"run{i}"
            folder.mkdir()
            text = STUDY.replace("URL", url).replace("TEXT", "Give your reasons. " * 12)
            (folder / "bench.em").write_text(text, encoding="utf-8")
            limit = timed(
                sys.executable, HERE / "limit.py", "--url", url, "--concurrency", str(CONCURRENCY), cwd=folder
            )[1]
            bare = json.loads(limit)["requests_per_s"]
            wall_s, found = emdsl("run", "bench.em", "-j", str(CONCURRENCY), cwd=folder)
            note("bare aiohttp loop, requests/s", bare)
            note("emdsl run, requests/s", found["requests"] / wall_s)
            note("emdsl run / bare loop", found["requests"] / wall_s / bare)
            note("run again, nothing to ask, s", emdsl("run", "bench.em", cwd=folder)[0])
            note("plan, everything stored, s", emdsl("plan", "bench.em", cwd=folder)[0])
            for what, program in programs(folder).items():
                note(what, timed(sys.executable, "-m", "emdsl", "check", program, cwd=folder)[0])
            note("import click, s", timed(sys.executable, "-c", "import click", cwd=folder)[0])
            shutil.rmtree(folder)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    for name, value in medians.items():
        low, high = min(figures[name]), max(figures[name])
        print(f"{name:34} {value:10.3f}   ({low:.3f} - {high:.3f})")
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
