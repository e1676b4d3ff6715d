"""The speed-up of a second worker, over that of a second bare loop, in one run: `make bench`.

    python tests/bench/workers.py [ROUNDS] [SAMPLES]

Needs a C compiler for the mock server, and two cores that nothing else uses. Exits with 1 if the ratio is under 0.85.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import CELLS, HERE, STUDY, _asking, emdsl, mock

REACH = 0.85
CONCURRENCY = 256


def loops(n: int, url: str, samples: int) -> float:
    """Return how many requests a second some bare loops send together, each its part of the cells."""
    command = [
        sys.executable, HERE / "limit.py", "--url", url, "--concurrency", CONCURRENCY // n, "--cells", CELLS // n,
        "--samples", samples,
    ]  # fmt: skip
    running = [subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) for _ in range(n)]
    figures = [json.loads(process.communicate()[0]) for process in running]
    return float(sum(f["requests"] for f in figures) / max(f["wall_s"] for f in figures))


def workers(n: int, url: str, samples: int, folder: Path) -> tuple[float, float]:
    """Return how many requests a second some workers send, from the first to the last, and in all."""
    folder.mkdir()
    text = STUDY.replace("URL", url).replace("TEXT", "Give your reasons. " * 12).replace("250", str(samples))
    (folder / "bench.em").write_text(text, encoding="utf-8")
    run = emdsl("run", "bench.em", "-j", str(CONCURRENCY), "--workers", str(n), cwd=folder)
    first, last = _asking(folder)
    sent = run.json()["requests"]
    return sent / (last - first), sent / run.wall_s


def main(rounds: int, samples: int) -> None:
    """Measure, print, compare."""
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, mock(Path(name)) as url:
        for i in range(rounds):
            for n in (1, 2):
                figures.setdefault(f"{n} bare loops", []).append(loops(n, url, samples))
                asking, whole = workers(n, url, samples, Path(name, f"{i}-{n}"))
                figures.setdefault(f"{n} workers, sending", []).append(asking)
                figures.setdefault(f"{n} workers, whole run", []).append(whole)
                time.sleep(0.2)
    medians = {what: statistics.median(values) for what, values in figures.items()}
    for what, values in figures.items():
        print(f"{what:24} {medians[what]:8,.0f} requests/s   ({min(values):,.0f} - {max(values):,.0f})")
    bare = statistics.median([b / a for a, b in zip(figures["1 bare loops"], figures["2 bare loops"], strict=True)])
    ours = statistics.median(
        [b / a for a, b in zip(figures["1 workers, sending"], figures["2 workers, sending"], strict=True)]
    )
    print(f"speed-up of bare loops {bare:.2f}, of workers {ours:.2f}: ratio {ours / bare:.2f}, to reach {REACH}")
    sys.exit(ours / bare < REACH)


if __name__ == "__main__":
    given = [int(a) for a in sys.argv[1:]]
    main(given[0] if given else 3, given[1] if len(given) > 1 else 250)
