"""Plans and tables of a large study by all cores: how much faster than by one, against busy loops.

    python tests/bench/planning.py [REQUESTS]

Rounds of one and two busy loops, plans and loads by one and two processes, all in one run; prints medians. Exits with 1
if a speed-up is below 0.85 of that of the busy loops, or if anything differs between one process and two.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import scale

sys.path.insert(0, str(Path(__file__).parents[1]))
import windowed

from emdsl.study import row_processes
from emdsl.study.compiled import Compiled, compile_study
from emdsl.study.plan import make_plan
from emdsl.study.project import open_project
from emdsl.study.refresh import load_if_stale

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTS, ROUNDS, SAMPLES = 1_000_000, 3, 100
REACH = 0.85  # of the speed-up of busy loops
LOOP = "x = 0\nfor i in range(N): x += i"


def busy(n: int, turns: int) -> float:
    """Return the seconds that each of n busy loops takes, side by side."""
    code = LOOP.replace("N", str(turns))
    start = time.perf_counter()
    for loop in [subprocess.Popen([sys.executable, "-c", code]) for _ in range(n)]:
        loop.wait()
    return time.perf_counter() - start


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long something takes, and what it returns."""
    gc.collect()
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def study_of(folder: Path, requests: int, *, filled: bool) -> Compiled:
    """Write a study of so many requests, with all answers or none."""
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    file = scale.write(folder, max(requests // 2 // SAMPLES, 1), SAMPLES)
    if filled:
        (folder / "cache").mkdir()
        asyncio.run(scale.fill(file, folder / "cache"))
    return compile_study(open_project(file), file)


def planned(study: Compiled, n: int) -> tuple[float, Any]:
    """Plan by n processes."""
    seconds, plan = timed(lambda: make_plan(study, workers=n))
    return seconds, windowed.told(plan.counts)


def loaded(study: Compiled, n: int) -> tuple[float, Any]:
    """Load the tables by n processes; return the rows of the study in their order, as one digest."""
    (study.project.cache / "outcomes.duckdb").unlink(missing_ok=True)
    row_processes.MAX_PROCESSES = n
    seconds, _ = timed(lambda: load_if_stale(study))
    with duckdb.connect(study.project.cache / "outcomes.duckdb", read_only=True) as connection:
        connection.execute("SET threads = 1")  # several read a large table in no order
        (table,) = [e.name for e in study.program.experiments]
        rows = connection.execute(f'SELECT md5(string_agg(t::VARCHAR, chr(10))) FROM "scale"."{table}" AS t').fetchone()
    return seconds, rows


def speed_up(times: dict[int, list[float]]) -> float:
    """Return how much more two processes do than one in the same time."""
    return statistics.median(times[1]) / statistics.median(times[2])


def main() -> int:
    """Measure, print, and return the exit code."""
    gc.set_threshold(100_000)  # as in `cli/main.py`
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    with tempfile.TemporaryDirectory() as folder:
        pending = study_of(Path(folder) / "pending", requests, filled=False)
        stored = study_of(Path(folder) / "stored", requests // 4, filled=True)
        works: dict[str, Callable[[int], tuple[float, Any]]] = {
            "plan, all pending": lambda n: planned(pending, n),
            "plan, all stored": lambda n: planned(stored, n),
            "load": lambda n: loaded(stored, n),
        }
        turns = int(25 * max(requests, 200_000))
        loops: dict[int, list[float]] = {1: [], 2: []}
        times: dict[str, dict[int, list[float]]] = {name: {1: [], 2: []} for name in works}
        failed = False
        row_processes.LARGE = 1
        for _ in range(ROUNDS):
            for n in (1, 2):
                loops[n].append(busy(n, turns))
            for name, work in works.items():
                found = []
                for n in (1, 2):
                    seconds, made = work(n)
                    times[name][n].append(seconds)
                    found.append(made)
                if found[0] != found[1]:
                    print(f"{name}: two processes differ from one")
                    failed = True
    limit = 2 * speed_up(loops)
    print(f"{requests:,} requests, {os.cpu_count()} cores; two busy loops: {limit:.2f} x one")
    for name, of in times.items():
        reached = speed_up(of)
        print(
            f"{name}: {statistics.median(of[1]):.2f} s by one, {statistics.median(of[2]):.2f} s by two: "
            f"{reached:.2f} x, {reached / limit:.2f} of the busy loops"
        )
        failed = failed or reached < REACH * limit
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
