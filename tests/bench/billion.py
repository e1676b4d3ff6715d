"""To 10^9 requests: constants measured at some ten thousand, predictions, and a larger study that checks them.

    python tests/bench/billion.py            constants at 10,000 to 40,000 requests, checked at 100,000
    python tests/bench/billion.py --scale    checked at 1,000,000 too: half an hour, 1 GB of disk

Times are seconds of work of a processor, divided by those of a loop that is always the same, now and then: other
programs, which share its caches, disturb them less. Exits 1 if a prediction is more than 20 % off. Needs a C compiler
for the server that answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(HERE)]

import scale
from bench import mock
from scale_model import LOAD_MB, MB, SETTINGS, Costs, Line, fitted, tables

SMALL, LARGE, HUGE = (10_000, 20_000, 40_000), 100_000, 1_000_000
PARTS = (160_000, 240_000)  # for the prediction of HUGE
N_WIRE = 1_000  # requests of which the bytes are counted
SAMPLES = 250  # of each cell; a row has an ask and a judge
TOLERANCE = 0.2
EVERY_S = 2.0  # between two loops
CONNECTIONS = "500"
TICKS = os.sysconf("SC_CLK_TCK")
MODELS = """model asked { use = "openai-api/mock/mock-1", url = "URL", temperature = 1, seed = 0 }
model judge_int { use = "openai-api/mock/judge-int", url = "URL", temperature = 0 }
"""

Figures = dict[str, float]


_loops: list[float] = []  # how long the loop has taken


def loop_s() -> float:
    """Return how long work that is always the same takes now: 0.2 s on a quiet machine."""
    start = time.process_time()
    keys = {i.to_bytes(32, "big"): str(i) for i in range(150_000)}
    sum([len(keys[i.to_bytes(32, "big")]) for i in range(0, 150_000, 2)])
    _loops.append(time.process_time() - start)
    return _loops[-1]


class Process:
    """A process that has ended: its own work, that with its children, both in loops, and its largest memory."""

    def __init__(self, *command: str | Path, cwd: Path) -> None:
        loops = [loop_s()]
        last = time.monotonic()
        env = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        running = subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        own_s = self.mb = 0.0
        while True:
            done, status, used = os.wait4(running.pid, os.WNOHANG)
            if done:
                break
            stat = Path(f"/proc/{running.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            own_s = max(own_s, (int(stat[11]) + int(stat[12])) / TICKS)
            self.mb = max(self.mb, int(stat[21]) * os.sysconf("SC_PAGESIZE") / MB)
            time.sleep(0.02)
            if time.monotonic() - last > EVERY_S:
                loops.append(loop_s())
                last = time.monotonic()
        running.returncode = os.waitstatus_to_exitcode(status)
        self.loop_s = mean([*loops, loop_s()])
        self.own, self.all = own_s / self.loop_s, (used.ru_utime + used.ru_stime) / self.loop_s
        assert running.stdout is not None
        assert running.stderr is not None
        with running.stdout as out, running.stderr as errors:  # both are short
            self.out = out.read().decode()
            if running.returncode:
                sys.exit(f"{command}\n{self.out}{errors.read().decode()}")


def emdsl(verb: str, *args: str | Path, cwd: Path) -> Process:
    """Run a verb."""
    return Process("-m", "emdsl", verb, *args, "-q", cwd=cwd)


def size_mb(*files: Path) -> float:
    """Return the size of files and folders."""
    return sum(f.stat().st_size for file in files for f in (file, *file.rglob("*")) if f.is_file()) / MB


def measure(n: int, url: str) -> Figures:
    """Measure every stage of a study of n requests, each in a process of its own; work in loops."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = scale.write(folder, n // (2 * SAMPLES), SAMPLES)
        plans = [emdsl("plan", file, cwd=folder) for _ in range(3)]  # they are short
        stored = Process(HERE / "scale.py", folder, str(n // (2 * SAMPLES)), str(SAMPLES), cwd=folder)
        n_stored, store_s = map(float, stored.out.split())
        assert n_stored == n
        answers = size_mb(folder / "cache" / "answers")
        again = emdsl("plan", file, cwd=folder)
        load = emdsl("run", file, "--display", "none", cwd=folder)
        tables = size_mb(*(folder / "cache").glob("outcomes.*"))
    return {
        "plan_s": median([p.all for p in plans]), "plan_mb": median([p.mb for p in plans]), "merge_s": merged(n),
        "send_s": sent(n, url).own,
        "store_s": store_s / stored.loop_s,
        "store_mb": answers, "again_s": again.all, "again_mb": again.mb, "load_s": load.all, "load_mb": load.mb,
        "tables_mb": tables,
    }  # fmt: skip


def merged(n: int) -> float:
    """Return the work of taking n keys from the bytes that another process writes, in loops."""
    keys, times = os.urandom(32 * n), []
    for _ in range(5):  # it is short
        known, before_s = set[bytes](), loop_s()
        start = time.process_time()
        known.update([keys[i : i + 32] for i in range(0, len(keys), 32)])
        done_s = time.process_time() - start
        times.append(done_s * 2 / (before_s + loop_s()))
    return median(times)


def wire_mb(url: str) -> float:
    """Return the megabytes of a request and its answer on the wire, as a proxy counts them."""
    n_bytes, host, port = 0, "127.0.0.1", int(url.split(":")[2].split("/", maxsplit=1)[0])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_bytes
        while part := await reader.read(65_536):
            n_bytes += len(part)
            writer.write(part)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(host, port)
        await asyncio.gather(pump(reader, downstream), pump(upstream, writer))

    async def main() -> None:
        async with await asyncio.start_server(connected, host) as server:
            proxy = f"http://{host}:{server.sockets[0].getsockname()[1]}/v1"
            await asyncio.to_thread(sent, N_WIRE, proxy)

    asyncio.run(main())
    return n_bytes / N_WIRE / MB


def sent(n: int, url: str) -> Process:
    """Send n requests to a server that answers after 50 ms."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = scale.write(folder, n // (2 * SAMPLES), SAMPLES)
        text = file.read_text(encoding="utf-8").replace("em 1\n", "em 1\n" + MODELS.replace("URL", url), 1)
        file.write_text(text.replace('"sim/subject"', "asked").replace('"sim/judge"', "judge_int"), encoding="utf-8")
        done = emdsl("run", file, "-j", CONNECTIONS, "--display", "none", "--json", cwd=folder)
        assert json.loads(done.out)["requests"] == n
        return done


def in_seconds(figures: Figures) -> Figures:
    """Return figures whose work is in seconds of a quiet machine, as far as this one was."""
    return {name: value * min(_loops) if name.endswith("_s") else value for name, value in figures.items()}


def costs_of(measured: dict[int, Figures], wire_mb: float, *, below: int) -> Costs:
    """Return the constants that all figures of smaller studies give."""
    sizes = [n for n in measured if n < below]
    lines = {name: fitted([(n, measured[n][name]) for n in sizes]) for name in measured[LARGE]}
    return Costs(**lines | {"load_mb": LOAD_MB}, wire_mb=Line(0.0, wire_mb))


def check(costs: Costs, n: int, measured: Figures) -> list[str]:
    """Print predictions beside what is measured; return those that are too far off."""
    wrong = []
    for name, value in measured.items():
        predicted = getattr(costs, name).at(n)
        print(f"{n:9,} {name:9} predicted {predicted:9.2f}   measured {value:9.2f}   ratio {predicted / value:5.2f}")
        if abs(predicted / value - 1) > TOLERANCE:
            wrong.append(f"{name} at {n:,} requests: predicted {predicted:.2f}, measured {value:.2f}")
    return wrong


def main(*, with_scale: bool) -> int:
    """Measure, predict, compare; return the exit code."""
    with tempfile.TemporaryDirectory() as name, mock(Path(name)) as url:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # on one core, all verbs use one process
        each_mb = wire_mb(url)
        loops = {}
        for n in (*SMALL, LARGE, *((*PARTS, HUGE) if with_scale else ())):
            loops[n] = measure(n, url)
            shown = ", ".join(f"{name} {value:.1f}" for name, value in in_seconds(loops[n]).items())
            print(f"{n:,} requests: {shown}", flush=True)
    figures = {n: in_seconds(found) for n, found in loops.items()}
    print(f"work is slowed down by others {max(_loops) / min(_loops):.2f} times at most")
    wrong = []
    for n in (LARGE, HUGE) if with_scale else (LARGE,):
        costs = costs_of(figures, each_mb, below=n)
        wrong += check(costs, n, figures[n])
    print(f"MEASURED = {costs}")
    for setting in SETTINGS:
        print("", tables(costs, setting), sep="\n")
    for line in wrong:
        print(f"FAILED {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(with_scale="--scale" in sys.argv[1:]))
