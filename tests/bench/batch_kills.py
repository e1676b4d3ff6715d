"""`kill -9` at 20 points of a run by batches, at OpenAI's, Anthropic's and Google's formats: `make stress`.

    batch_kills.py [TIMES]      each point so many times, 3 by default; the moment at which it is met is random

Nothing may be lost, and no request submitted twice. Exits 1 at the first promise that does not hold.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from speed import HANG_S
from support import clean_environment, emdsl, simulator, stats

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES, LAST = 3, 4  # a point is met for the first to the LAST time
POINTS = [
    (name, when)
    for name in (
        "Shard.add", "Shard.close", "Journal.plan", "Journal.note", "Journal.settle", "Journal.end", "DiskStore.adopt",
        "BatchAccount.send", "BatchAccount.delete", "Batching._take",
    )
    for when in ("before", "after")
]  # fmt: skip
MODELS = {
    "openai": "openai/gpt-4o-2024-08-06", "anthropic": "anthropic/claude-sonnet-4-5-20250929",
    "google": "google/gemini-2.0-flash-001",
}  # fmt: skip
STUDY = """em 1
model subject {{ use = "{use}", max_tokens = 50, batch = true }}
experiment e {{
  for q in ["trial {trial} one", "trial {trial} two"]
  samples = 3
  ask answer from subject with q
  ask again from subject with "what of {{answer}}"
}}
"""
N = 12  # requests of one trial


def main(times: int) -> None:
    """Kill runs at each point, and let the next run end the study."""
    rng, killed, start = random.Random(20), 0, time.monotonic()
    faults = ("--batch-lost", "0.2", "--batch-repeated", "0.1")
    with tempfile.TemporaryDirectory() as folder, simulator("--batch-seconds", "0.4", *faults) as url:
        for trial, (point, when) in enumerate(POINTS * times):
            provider = list(MODELS)[trial % len(MODELS)]
            place = Path(folder) / str(trial)
            place.mkdir()
            (place / "e.em").write_text(STUDY.format(use=MODELS[provider], trial=trial), encoding="utf-8")
            environment = served(url)
            killed += run_child(place, environment, point, when, rng.randint(1, LAST)) == -signal.SIGKILL
            run_until_whole(place, environment)
            assert stats(url).get("batch duplicates", 0) == 0, (trial, point, when, provider, stats(url))
    n = len(POINTS) * times
    assert killed > n // 3, f"only {killed} of {n} runs met their point"
    took_s = time.monotonic() - start
    print(
        f"batches: {killed} of {n} runs killed at {len(POINTS)} points; all whole, none submitted twice; {took_s:.0f} s"
    )


def served(url: str) -> dict[str, str]:
    """Return the environment in which a simulator answers for all providers."""
    return {
        "OPENAI_BASE_URL": url, "ANTHROPIC_BASE_URL": url, "GOOGLE_BASE_URL": url.replace("/v1", "/v1beta"),
        "OPENAI_API_KEY": "sk-of-a-test-0001", "ANTHROPIC_API_KEY": "sk-ant-of-a-test", "GOOGLE_API_KEY": "AIza-a-test",
    }  # fmt: skip


def run_child(folder: Path, environment: dict[str, str], point: str = "", when: str = "", nth: int = 0) -> int:
    """Run the study in a process that may kill itself; return its exit code."""
    call = [sys.executable, __file__, "--child", point, when, str(nth)]
    return subprocess.run(
        call, cwd=folder, env=clean_environment(environment), check=False, capture_output=True, timeout=HANG_S
    ).returncode  # fmt: skip


def run_until_whole(folder: Path, environment: dict[str, str]) -> None:
    """Run the study until nothing is pending, at most three times."""
    codes = []
    for _ in range(3):
        codes.append(run_child(folder, environment))
        if codes[-1] == 0:
            break
    assert codes[-1] == 0, codes
    shown: Any = json.loads(emdsl("plan", "e.em", "--json", cwd=folder, env=environment).stdout)
    steps = shown["experiments"][0]["steps"]
    assert sum(s["cached"] for s in steps) == N, steps
    emdsl("batch", "wait", cwd=folder, env=environment)  # one may be open whose answers were all stored
    left = list((folder / "cache" / "answers" / "batches").glob("*.jsonl"))
    assert not left, left


def child(point: str, when: str, nth: int) -> None:
    """Run the study; die at a point when it is met for the nth time."""
    from emdsl.cli.main import main as run_main  # noqa: PLC0415 - in the child only
    from emdsl.providers.batch_account import BatchAccount  # noqa: PLC0415 - in the child only
    from emdsl.run import batching, shards  # noqa: PLC0415 - in the child only
    from emdsl.store.disk import DiskStore  # noqa: PLC0415 - in the child only
    from emdsl.store.journal import Journal  # noqa: PLC0415 - in the child only
    from emdsl.study import batch_run  # noqa: PLC0415 - in the child only

    owners: dict[str, Any] = {
        "Shard": shards.Shard, "Journal": Journal, "DiskStore": DiskStore, "BatchAccount": BatchAccount,
        "Batching": batching.Batching,
    }  # fmt: skip
    if point:
        owner, _, name = point.partition(".")
        setattr(owners[owner], name, dying(getattr(owners[owner], name), when, nth))
    batching.FIRST_POLL_S, batching.LAST_POLL_S = 0.05, 0.2
    setattr(batch_run, "Batching", functools.partial(batching.Batching, settle_s=0.3))  # noqa: B010 - for mypy it is a class
    sys.argv = ["emdsl", "run", "e.em", "-y", "--display", "none"]
    run_main()


def dying(method: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    """Return a method that kills this process before or after one of its calls."""
    met = 0

    def meet(now: str) -> None:
        nonlocal met
        met += now == when
        if now == when and met == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        meet("before")
        done = method(*given, **named)
        meet("after")
        return done

    @functools.wraps(method)
    async def wait(*given: Any, **named: Any) -> Any:
        meet("before")
        done = await method(*given, **named)
        meet("after")
        return done

    import inspect  # noqa: PLC0415 - in the child only

    return wait if inspect.iscoroutinefunction(method) else call


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else TIMES)
