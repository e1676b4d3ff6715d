"""What takes too long for the suite: `make stress`. 100 x `kill -9` with two processes; 200,000 entries of 4 KB.

Exits 1 at the first promise that does not hold.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import clean_environment, emdsl, simulator, stats

from emdsl.prompt import Message, Prompt
from emdsl.query import Model, Query, RequestSettings, Response
from emdsl.service import SERVICES
from emdsl.store.disk import DiskStore

KILLS, JOBS = 100, 8
N_ENTRIES, SIZE = 200_000, 4_096
STUDY = """em 1
import alignment from "std:judges@1"
experiment NAME {
  for q in FIRST..LAST
  samples = 20
  ask answer from "sim/subject" with "question {q}"
  judge aligned with alignment("{q}", answer) from "sim/judge"
  measure low = rate(aligned < 30)
}
"""


def start(folder: Path, url: str, file: str) -> subprocess.Popen[bytes]:
    """Start a run that will be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "emdsl", "run", file, "-j", str(JOBS), "--display", "none"],
        cwd=folder, env=clean_environment({"EMDSL_SIM_URL": url}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def kills(folder: Path) -> str:
    """Two runs of overlapping studies, one or both killed at a random moment, 100 times; return what came of it."""
    for name, first, last in (("one", 1, 90), ("two", 45, 135)):
        text = STUDY.replace("NAME", name).replace("FIRST", str(first)).replace("LAST", str(last))
        (folder / f"{name}.em").write_text(text, encoding="utf-8")
    rng, n_killed, seen = random.Random(7), 0, set[str]()
    with simulator("--latency", "0.25") as url:
        running = {name: start(folder, url, f"{name}.em") for name in ("one", "two")}
        while n_killed < KILLS:
            time.sleep(rng.uniform(0.4, 1.2))
            for name in rng.choice([["one"], ["two"], ["one", "two"]]):
                running[name].send_signal(signal.SIGKILL)
                running[name].wait()
                n_killed += 1
            verified: Any = json.loads(emdsl("cache", "verify", "--json", cwd=folder, code=None).stdout or "{}")
            assert verified.get("damaged", []) == [], verified
            stored = _keys(folder)
            assert seen <= stored, "an answer that was stored is gone"
            seen = stored
            running |= {n: start(folder, url, f"{n}.em") for n, p in running.items() if p.poll() is not None}
        for name, process in running.items():
            process.wait()
            emdsl("run", f"{name}.em", "-j", "64", cwd=folder, env={"EMDSL_SIM_URL": url}, timeout=600)
        repeated = stats(url)["requests"] - len(_keys(folder))
    assert len(_keys(folder)) == 135 * 20 * 2 + 1, len(_keys(folder))  # answers, verdicts, and the judge's probe
    assert repeated <= n_killed * JOBS, repeated
    return f"{n_killed} kills: {repeated} requests repeated of at most {n_killed * JOBS} in flight; none lost"


def _keys(folder: Path) -> set[str]:
    store = DiskStore(folder / "cache" / "answers", read_only=True)
    try:
        return {key.hex() for key, _ in store.each()}
    finally:
        store.close()


def entries(folder: Path) -> str:
    """Store 200,000 answers of 4 KB that do not compress; each must be there."""
    head = RequestSettings(Model(name="m", use="sim/m", service=SERVICES["sim"], wire_name="m"), ())
    prompt = Prompt((Message("user", "hi"),))
    state = head.key_state().add(prompt.messages).close()
    store = DiskStore(folder / "answers")
    rng = random.Random(3)

    async def fill() -> None:
        for first in range(0, N_ENTRIES, 2_000):
            part = [
                store.put(
                    Query(head, prompt, i, state.key(0, i)),
                    Response(text=rng.randbytes(SIZE // 2).hex(), finish="stop"),
                )
                for i in range(first, first + 2_000)
            ]
            await asyncio.gather(*part)

    begin = time.perf_counter()
    asyncio.run(fill())
    wall_s = time.perf_counter() - begin
    there = sum(len(store.get_many(state.key(0, i) for i in range(j, j + 2_000))) for j in range(0, N_ENTRIES, 2_000))
    size = sum(f.stat().st_size for f in (folder / "answers").iterdir() if f.is_file())
    store.close()
    assert there == N_ENTRIES, there
    return f"{N_ENTRIES:,} entries in {wall_s:.0f} s, {size / 2**20:,.0f} MiB, {N_ENTRIES - there} evicted"


if __name__ == "__main__":
    os.chdir(ROOT)
    for what in (kills, entries):
        with tempfile.TemporaryDirectory() as name:
            print(what(Path(name)), flush=True)
