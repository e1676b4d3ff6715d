"""100,000 requests as files: how long writing them and importing their answers takes, and in how much memory.

One prompt in ten is long. `vllm run-batch` is a loop here that answers each line.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from speed import Bounds

N_PROMPTS, SAMPLES = 1_000, 100
MAX_MB, WANTED_S = 300, 60.0  # the seconds of the reference machine
STUDY = f"""em 1
model qwen {{ use = "vllm/Qwen/Qwen3-8B", revision = "mine", temperature = 1, max_tokens = 600 }}
dataset data {{ file = "q.csv", columns = {{ user: "q" }} }}
experiment e {{
  for row in data
  samples = {SAMPLES}
  ask answer from qwen with row.user
}}
"""


def timed(*args: str, folder: Path) -> float:
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "emdsl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def answer(folder: Path) -> None:
    for path in folder.glob("requests/*.jsonl"):
        with path.open(encoding="utf-8") as requests, (folder / "answers" / path.name).open("w") as out:
            for request in map(json.loads, requests):
                choice = {"index": 0, "message": {"content": request["custom_id"] * 20}, "finish_reason": "stop"}
                body = {"id": "chatcmpl-1", "model": request["body"]["model"], "choices": [choice]}
                response = {"status_code": 200, "request_id": "vllm-batch-1", "body": body}
                line = {"id": "vllm-1", "custom_id": request["custom_id"], "response": response, "error": None}
                out.write(json.dumps(line) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.em").write_text(STUDY, encoding="utf-8")
        rows = (f"{i} " + "word " * (4_000 if i % 10 == 0 else 60) for i in range(N_PROMPTS))
        (folder / "q.csv").write_text("q\n" + "\n".join(rows), encoding="utf-8")
        bounds = Bounds()
        written_s = timed("plan", "study.em", "--requests", "gpu", folder=folder)
        size = sum(p.stat().st_size for p in (folder / "gpu").rglob("*"))
        answer(folder / "gpu")
        imported_s = timed("cache", "import", "gpu", "--from", "batch", folder=folder)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak_mb, cpu_s = used.ru_maxrss / 1024, used.ru_utime + used.ru_stime
    n = N_PROMPTS * SAMPLES
    print(f"{n:,} requests, {size / 1e6:,.0f} MB: written in {written_s:.1f} s, imported in {imported_s:.1f} s")
    print(f"peak of a process: {peak_mb:.0f} MB")
    assert peak_mb < MAX_MB
    bounds.check("writing and importing", WANTED_S, cpu_s=cpu_s, wall_s=written_s + imported_s)


if __name__ == "__main__":
    main()
