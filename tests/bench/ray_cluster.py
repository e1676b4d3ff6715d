"""Runs on a Ray cluster of three nodes, which are killed one after the other: `make stress`. Exits 1 on failure.

    ray_cluster.py [PART...]    kills, head, away; all of them by default

Each node is a raylet of this machine with an address of its own, so that nothing is shared but PostgreSQL: nodes get
the files of the study, and have stores of their own. Model servers are `tests/tiny_server.py`, which counts requests.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import duckdb  # noqa: E402 - found by the path that is set above
import pg  # noqa: E402 - found by the path that is set above
from speed import HANG_S  # noqa: E402 - found by the path that is set above
from support import clean_environment  # noqa: E402 - found by the path that is set above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK = "RAY_CLUSTER_TEST"  # a variable of all processes of this test
N, SAMPLES, CONNECTIONS = 40, 5, 6
N_REQUESTS = 2 * N * SAMPLES
LATENCY_S = 0.1
STUDY = f"""em 1
model q {{ use = "vllm/tiny", revision = "1", temperature = 1, serve = {{ replicas: 2, gpus: 1 }} }}
dataset rows {{ file = "rows.csv", columns = {{ topic: "topic" }} }}
experiment e {{
  for row in rows
  samples = {SAMPLES}
  ask answer from q with "tell me of {{row.topic}}"
  ask again from q with "what of {{answer}}, and {{row.topic}}?"
  measure n = count() by row
}}
"""
RAY = {
    MARK: str(os.getpid()), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_initial_delay_ms": "0", "RAY_health_check_period_ms": "1000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_health_check_timeout_ms": "1000",
}  # fmt: skip


class Study:
    """A project of its own, with a database of its own."""

    def __init__(self, folder: Path, name: str, store: str | None) -> None:
        self.folder = folder / name
        self.records = folder / f"{name}-records"
        for new in (self.folder, self.records):
            new.mkdir()
        (self.folder / "pyproject.toml").touch()
        (self.folder / "s.em").write_text(STUDY)
        (self.folder / "rows.csv").write_text("topic\n" + "".join(f"topic {i}\n" for i in range(N)))
        server = f"{sys.executable} {ROOT / 'tests' / 'tiny_server.py'} --record {self.records} --latency {LATENCY_S}"
        self.variables = clean_environment(RAY | {"EMDSL_SERVE_VLLM": server})
        self.variables |= {"EMDSL_STORE": store} if store is not None else {}

    def run(self, cluster: Any, *options: str) -> subprocess.Popen[str]:
        """Start a run on a cluster."""
        return subprocess.Popen(
            [sys.executable, "-m", "emdsl", "run", "s.em", "--on", "ray", "--yes", "--max-connections",
             str(CONNECTIONS), *options],
            cwd=self.folder, env=self.variables | {"RAY_ADDRESS": cluster.address}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return what the servers have written."""
        lines = [line for file in self.records.glob("*.jsonl") for line in file.read_text().splitlines()]
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def tables(self) -> dict[str, list[Any]]:
        """Return all tables, without what differs from run to run by nature."""
        with duckdb.connect(str(self.folder / "cache" / "outcomes.duckdb"), read_only=True) as database:
            tables = {}
            for (name,) in database.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 's' ORDER BY 1"
            ).fetchall():
                done = database.execute(f'SELECT * FROM s."{name}"')
                compared = [not c[0].endswith(("_answered_at", "_cached")) for c in done.description]
                tables[name] = sorted(repr([*itertools.compress(row, compared)]) for row in done.fetchall())
            return tables


def ended(run: subprocess.Popen[str], timeout_s: float = HANG_S) -> tuple[int, str]:
    """Wait for a run; return its exit code and its output."""
    try:
        output, _ = run.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        run.kill()
        output, _ = run.communicate()
        raise AssertionError(f"the run did not end within {timeout_s} s:\n{output}") from None
    return run.returncode, output


def whole(run: subprocess.Popen[str]) -> str:
    """Wait for a run that must end whole; return its output."""
    code, output = ended(run)
    assert code == 0, f"exit code {code}:\n{output}"
    return output


@contextmanager
def cluster_of(n_nodes: int) -> Iterator[Any]:
    """Start the raylets of a cluster: each has an address, two GPUs by name and a small object store."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - after the variables that Ray reads at its import

    cluster: Any = Cluster()
    try:
        for i in range(n_nodes):
            # a driver looks for the raylet at the address of its machine: that of the head
            special = {"node_ip_address": f"127.0.0.{i + 1}"} if i else {"include_dashboard": False}
            cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=80 << 20, **special)
        yield cluster
    finally:
        with suppress(Exception):  # a head that was killed
            cluster.shutdown()


def kill_node(node: Any) -> None:
    """Kill all processes of a node at once, as if its power had failed."""
    for processes in node.all_processes.values():
        for info in processes:
            kill_tree(info.process.pid)


def kill_tree(pid: int) -> None:
    """Kill a process with its descendants, who otherwise notice and end by themselves."""
    children = [child for child, parent in parents().items() if parent == pid]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(child)


def parents() -> dict[int, int]:
    """Return the parent of each process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    return found


def ours(text: str = "") -> list[int]:
    """Return the processes of this test, but itself, with a text in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            marked = f"{MARK}={os.getpid()}".encode() in (process / "environ").read_bytes().split(b"\0")
            if marked and text.encode() in (process / "cmdline").read_bytes().replace(b"\0", b" "):
                found.append(int(process.name))
    return [pid for pid in found if pid != os.getpid()]


def until(condition: Callable[[], Any], timeout_s: float = HANG_S) -> Any:
    """Wait until a condition holds; return its value."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


def check(study: Study, expected: dict[str, list[Any]], n_kills: int) -> int:
    """Check the tables of a study, and that only what was in flight at a kill was sent again; return how much that is.

    Each kill may cost what one server had in flight, or all if it ended the run.
    """
    tables = study.tables()
    assert tables.keys() == expected.keys(), tables.keys()
    for name, rows in expected.items():
        assert tables[name] == rows, f"the table {name} differs"
    sent = Counter(event["text"] for event in study.events("request"))
    assert all(n >= SAMPLES for n in sent.values()), "an answer without a request"
    repeated = sum(sent.values()) - N_REQUESTS
    assert 0 <= repeated <= n_kills * CONNECTIONS, f"{repeated} requests were sent again"
    return repeated


def kills(folder: Path) -> None:
    """One node equals three, and a replica, a worker and a node that are killed cost what they had in flight."""
    with cluster_of(1) as cluster:
        one = Study(folder, "one", None)
        whole(one.run(cluster))
        expected = one.tables()
        assert sum(len(rows) for rows in expected.values()) >= N * SAMPLES
        check(one, expected, 0)
        print(f"one node: {N_REQUESTS} requests", flush=True)
    with cluster_of(3) as cluster:
        refused = Study(folder, "refused", None)
        code, output = ended(refused.run(cluster, "--workers", "3"))
        assert code == 1, output
        assert "need a store that all of them reach: set EMDSL_STORE" in output, output
        three = Study(folder, "three", pg.new_database())
        whole(three.run(cluster, "--workers", "3"))
        check(three, expected, 0)
        print("three nodes, three workers: the same tables, no request twice", flush=True)
        killed = Study(folder, "killed", pg.new_database())
        run = killed.run(cluster, "--workers", "3")
        until(lambda: len(killed.events("answer")) > N_REQUESTS // 20)
        os.kill(killed.events("start")[0]["pid"], signal.SIGKILL)
        until(lambda: len(killed.events("answer")) > N_REQUESTS // 10)
        os.kill(workers()[0], signal.SIGKILL)
        until(lambda: len(killed.events("answer")) > N_REQUESTS // 5)
        kill_node(max(cluster.worker_nodes, key=lambda node: node.node_ip_address))
        output = whole(run)
        assert "was killed by SIGKILL: another one goes on with its requests" in output, output
        assert "127.0.0.3" not in output or "was lost with its node 127.0.0.3" in output, output
        assert "raylet" not in output, output
        repeated = check(killed, expected, 4)
        print(f"a replica, a worker and a node killed: whole, {repeated} requests sent again", flush=True)


def head(folder: Path) -> None:
    """The head is killed: the run ends with an error, and its servers too; the next run repeats what was in flight."""
    study = Study(folder, "head", pg.new_database())
    with cluster_of(3) as cluster:
        run = study.run(cluster, "--workers", "3")
        until(lambda: len(study.events("answer")) > N_REQUESTS // 10)
        start = time.monotonic()
        kill_node(cluster.head_node)
        code, output = ended(run)
        answered = len(study.events("answer"))
        assert code != 0, output
        assert "the head of the Ray cluster does not answer any more" in output, output
        print(f"the head killed: the run ended after {time.monotonic() - start:.0f} s, {answered} answered", flush=True)
    with cluster_of(1) as cluster:
        whole(study.run(cluster))
        one = Study(folder, "again", None)
        whole(one.run(cluster))
    repeated = check(study, one.tables(), 2)
    print(f"run again: whole, {repeated} requests sent again", flush=True)


def away(folder: Path) -> None:
    """The server of the store is killed: answers that only nodes have come to this machine, and are not paid again."""
    study = Study(folder, "away", pg.new_database())
    with cluster_of(3) as cluster:
        run = study.run(cluster, "--workers", "3")
        until(lambda: len(study.events("answer")) > N_REQUESTS // 5)
        pg.server().kill()
        try:
            code, output = ended(run)
        finally:
            mark = os.environ.pop(MARK)  # it outlives the parts
            pg.server().start()
            os.environ[MARK] = mark
        assert code == 3, output
        assert "kept on this machine" in output, output
        print(f"the store killed: the run ended, {len(study.events('answer'))} answered", flush=True)
        whole(study.run(cluster))
        one = Study(folder, "straight", None)
        whole(one.run(cluster))
    check(study, one.tables(), 0)
    print("run again: whole, no request twice", flush=True)


def workers() -> list[int]:
    """Return the processes of workers."""
    return ours("emdsl.study.worker")


PARTS = {"kills": kills, "head": head, "away": away}


def main(names: list[str]) -> None:
    """Run the parts."""
    pg.server()  # before the mark: it outlives the parts
    os.environ.update(RAY)
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in names or PARTS:
                PARTS[name](Path(folder))
            until(lambda: not ours())  # servers without a head end when nobody has called for a minute
    finally:
        left = ours()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert not left, f"processes were left: {left}"
    print(f"{time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
