"""100,000 requests by batches: CPU and memory of submitting and of collecting them: `make stress`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from speed import Bounds
from support import clean_environment, simulator, stats

if TYPE_CHECKING:
    import resource

N = 100_000
WANTED_CPU_S, MAX_MIB = 60.0, 300.0  # the seconds of the reference machine
STUDY = f"""em 1
model subject {{ use = "openai/gpt-4o-2024-08-06", max_tokens = 50, batch = true }}
experiment e {{
  for q in 1..{N // 100}
  samples = 100
  ask answer from subject with "question {{q}}: what would you do with an hour of free time and a small sum of money?"
}}
"""


def main() -> None:
    """Submit, wait at the side of the server, collect; print both runs."""
    with tempfile.TemporaryDirectory() as name, simulator("--batch-seconds", "1") as url:
        folder = Path(name)
        (folder / "e.em").write_text(STUDY, encoding="utf-8")
        environment = clean_environment({"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-of-a-test-0001"})
        bounds = Bounds()
        submitted = measured(folder, environment, "run", "e.em", "-y", "--detach", "--json")
        assert submitted["json"]["in_batches"] == N, submitted["json"]
        while stats(url)["batch requests answered"] < N:
            time.sleep(1)
        collected = measured(folder, environment, "batch", "wait", "--json")
        assert collected["json"]["answers"] == N, collected["json"]
        assert stats(url).get("batch duplicates", 0) == 0
    cpu_s = submitted["cpu_s"] + collected["cpu_s"]
    most = max(submitted["mib"], collected["mib"])
    print(
        f"{N:,} requests by batches: submitted in {submitted['cpu_s']:.1f} s of CPU ({submitted['mib']:.0f} MiB), "
        f"collected in {collected['cpu_s']:.1f} s ({collected['mib']:.0f} MiB)"
    )
    bounds.check("submitting and collecting", WANTED_CPU_S, cpu_s=cpu_s)
    assert most < MAX_MIB, most


def measured(folder: Path, environment: dict[str, str], *call: str) -> dict[str, Any]:
    """Run a command; return its JSON, its CPU seconds and its largest memory in MiB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "emdsl", *call, "--display", "none"], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    shown = process.stdout.read()
    process.stdout.close()
    _, _, usage = os.wait4(process.pid, 0)
    return {"json": json.loads(shown), "cpu_s": usage.ru_utime + usage.ru_stime, "mib": _mib(usage)}


def _mib(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
