"""Remotes at scale, over S3's wire and a web server: pushes, pulls, kills, one figure of ICL: `make stress`.

    remotes.py              100,000 answers: under a minute
    remotes.py --scale      1,000,000 answers, pulled in under 3 minutes

Exits 1 if an answer is lost, if pulling takes too long, or if the figure fetches 5 % of the bytes.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from speed import Bounds
from support import clean_environment, emdsl
from web_folder import served

from emdsl.digest import digest_bytes
from emdsl.query import Response, Usage
from emdsl.store.codec import encode_with
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.digest import Digest

SCALE = "--scale" in sys.argv
N = 1_000_000 if SCALE else 100_000  # answers of other studies
WANTED_S = 180 * N / 1_000_000  # of a pull, on the reference machine
MOST_SHARE = 0.05  # of the bytes, that one figure may fetch
FIGURE, SAMPLES = ("layouts", 10) if SCALE else ("nested", 2)  # an experiment of ICL, with its samples
WORDS = [f"{a}{b}" for a in ("mis", "re", "co", "un", "pre") for b in ("aligned", "ordered", "stored", "read", "sent")]
PARAMS = {"temperature": 1, "max_tokens": 512}
failed = list[str]()


def held(what: str, *, holds: bool) -> None:
    print(f"{'ok  ' if holds else 'FAIL'}  {what}", flush=True)
    if not holds:
        failed.append(what)


def answers(n: int) -> Iterator[tuple[Digest, bytes]]:
    """Yield answers of about 600 bytes."""
    rng = random.Random(7)
    for i in range(n):
        key = digest_bytes(i.to_bytes(8, "big"))
        of = {"model": "openai/gpt-4.1-mini", "params": PARAMS, "messages": key.hex(), "stream": 0, "sample": i % 10}
        response = Response(
            text=" ".join(rng.choices(WORDS, k=24)), finish="stop", model="gpt-4.1-mini-2025-04-14",
            fingerprint="fp_38647f5e19", request_id=key.hex()[:24], answered_at=1.8e9 + i, elapsed_s=1.25, run="0" * 16,
            usage=Usage(input_tokens=120, output_tokens=60),
        )  # fmt: skip
        yield key, encode_with(of, response)


@contextmanager
def s3() -> Iterator[dict[str, str]]:
    """Serve a bucket by a process of its own; yield the variables of a client."""
    code = (
        "import sys, time; from moto.server import ThreadedMotoServer as S; s = S(port=0, verbose=False); s.start(); "
        "print(s._server.port, flush=True); sys.stdin.read()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/lab", method="PUT")).close()
    try:
        yield {
            "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }  # fmt: skip
    finally:
        server.kill()
        server.wait()


def cache_verb(folder: Path, *args: str, env: dict[str, str] | None = None) -> tuple[dict[str, int], float, float]:
    """Return what a verb printed, and its seconds: by the clock, and of the processor."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "emdsl", "cache", *args, "--json"], cwd=folder, env=clean_environment(env), text=True,
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), time.monotonic() - start, cpu


def killed(folder: Path, *args: str, env: dict[str, str], after_s: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "emdsl", "cache", *args], cwd=folder, env=clean_environment(env),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def digest_of(folder: Path) -> bytes:
    """Return one digest of all entries of a store, in whatever order they were stored."""
    store = DiskStore(folder / "cache" / "answers", read_only=True)
    digests = sorted(digest_bytes(key + (entry or b"")) for key, entry in store.each())
    store.close()
    return digest_bytes(b"".join(digests))


def icl(folder: Path) -> Path:
    """Write the ICL study with simulated models and one of its figures; return the file."""
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    models = folder / "experiments" / "icl" / "models.em"
    text = re.sub(r'"openai/[^"]*"', '"sim/judge"', models.read_text(encoding="utf-8"))
    number = count(1)  # each model answers by itself
    text = re.sub(r'"openrouter/[^"]*"', lambda _: f'"sim/subject", seed = {next(number)}', text)
    models.write_text(text, encoding="utf-8")
    study = folder / "experiments" / "icl" / "ablations.em"
    head, *experiments = re.split(r"(?m)^(?=experiment )", study.read_text(encoding="utf-8"))
    (only,) = (e for e in experiments if e.startswith(f"experiment {FIGURE} "))
    figure = study.with_name("figure.em")
    figure.write_text(head + re.sub(r"samples = \d+", f"samples = {SAMPLES}", only), encoding="utf-8")
    return figure


def main() -> None:
    with tempfile.TemporaryDirectory() as name, s3() as env:
        lab, machine, reviewer, packs = (Path(name, n) for n in ("lab", "machine", "reviewer", "packs"))
        for folder in (lab, machine, reviewer):
            folder.mkdir()
            (folder / "pyproject.toml").touch()
        file = str(icl(lab).relative_to(lab))
        icl(reviewer)
        start = time.monotonic()
        store = DiskStore(lab / "cache" / "answers")
        entries = answers(N)
        store.adopt(next(entries) for _ in range(N // 2))
        sent = json.loads(emdsl("run", file, "--json", "--display", "none", "--yes", cwd=lab, timeout=600).stdout)
        of_figure = sum(s["answered"] for e in sent["experiments"] for s in e["steps"])
        store.adopt(entries)
        store.close()
        print(f"      {N:,} answers and {of_figure:,} of one figure made in {time.monotonic() - start:.0f} s")

        for i in range(3):
            killed(lab, "push", "s3://lab/emdsl", env=env, after_s=1.5 + i)
        pushed, wall, cpu = cache_verb(lab, "push", "s3://lab/emdsl", env=env)
        total = pushed["new"] + pushed["known"]
        print(f"      pushed in {wall:.1f} s ({cpu:.1f} s of the processor), after 3 kills: {pushed}")
        held(f"all answers of the lab are in the bucket: {total:,}", holds=total >= N + of_figure)

        bounds = Bounds()
        pulled, wall, cpu = cache_verb(machine, "pull", "s3://lab/emdsl", env=env)
        print(f"      pulled in {wall:.1f} s ({cpu:.1f} s of the processor), {pulled['new'] / wall:,.0f} answers/s")
        in_time = bounds.hold(WANTED_S, cpu_s=cpu, wall_s=wall)
        held(f"pulled in time (wanted: {WANTED_S:.0f} s of the reference machine)", holds=in_time)
        held("every answer arrived, as it was", holds=digest_of(machine) == digest_of(lab))
        again, wall, _ = cache_verb(machine, "pull", "s3://lab/emdsl", env=env)
        held(f"pulling again fetches nothing ({wall:.1f} s)", holds=again["new"] == 0)
        shutil.rmtree(machine / "cache")
        for i in range(3):
            killed(machine, "pull", "s3://lab/emdsl", env=env, after_s=1.5 + i)
        cache_verb(machine, "pull", "s3://lab/emdsl", env=env)
        held("every answer arrived after 3 kills", holds=digest_of(machine) == digest_of(lab))
        shutil.rmtree(machine)

        cache_verb(lab, "push", str(packs))
        size = sum(path.stat().st_size for path in packs.rglob("*") if path.is_file())
        with served(packs) as web:
            cache_verb(reviewer, "add", web.url)
            of_indexes, start = web.sent, time.monotonic()
            run = json.loads(emdsl("run", file, "--json", "--display", "none", cwd=reviewer, timeout=600).stdout)
            wall = time.monotonic() - start
            print(
                f"      the figure: {web.sent / 2**20:.1f} of {size / 2**20:.0f} MiB, {of_indexes / 2**20:.1f} of them "
                f"indexes; {web.requests} requests, {wall:.1f} s"
            )
            sent_again = sum(s["answered"] for e in run["experiments"] for s in e["steps"])
            held("the figure is replayed, and nothing is sent", holds=sent_again == 0 and run["wall_s"] > 0)
            held(f"it fetches {web.sent / size:.1%} of the bytes", holds=web.sent < MOST_SHARE * size)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
