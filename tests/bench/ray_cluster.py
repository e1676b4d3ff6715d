"""Runs on a Ray cluster of three nodes, which are killed one after the other: `make stress`. Exits 1 on failure.

    ray_cluster.py [PART...]    kills, head, client, away; all of them by default

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
from pathlib import Path
from typing import Any

import duckdb

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import pg
from raylets import (
    MARK,
    VARIABLES,
    cluster_of,
    ended,
    kill_node,
    marked,
    on_node,
    whole,
    workers,
)
from support import clean_environment, until

from emdsl.serving.local import free_port

N, SAMPLES, CONNECTIONS = 40, 5, 6
N_REQUESTS = 2 * N * SAMPLES
LATENCY_S = 0.1
HEADLESS = "the head of the Ray cluster does not answer any more"
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
        self.variables = clean_environment(VARIABLES | {"EMDSL_SERVE_VLLM": server})
        self.variables |= {"EMDSL_STORE": store} if store is not None else {}

    def run(self, cluster: Any, *options: str, on: str = "ray") -> subprocess.Popen[str]:
        """Start a run on a cluster."""
        return subprocess.Popen(
            [sys.executable, "-m", "emdsl", "run", "s.em", "--on", on, "--yes", "--max-connections",
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
        node = max(cluster.worker_nodes, key=lambda node: node.node_ip_address)
        other = next(pid for pid in workers() if not on_node([pid], node))  # else two kills may count as one
        os.kill(other, signal.SIGKILL)
        until(lambda: len(killed.events("answer")) > N_REQUESTS // 5)
        kill_node(node)
        output = whole(run)
        assert "was killed by SIGKILL: another one goes on with its requests" in output, output
        assert "127.0.0.3" not in output or "was lost with its node 127.0.0.3" in output, output
        assert "raylet" not in output, output
        repeated = check(killed, expected, 4)
        print(f"a replica, a worker and a node killed: whole, {repeated} requests sent again", flush=True)


def head_killed(study: Study, run: subprocess.Popen[str], cluster: Any) -> tuple[int, str]:
    """Kill the head of a cluster under a run; return the exit code of the run and its output, which tells why."""
    until(lambda: len(study.events("answer")) > N_REQUESTS // 10)
    start = time.monotonic()
    kill_node(cluster.head_node)
    code, output = ended(run)
    answered = len(study.events("answer"))
    assert HEADLESS in output, output
    print(f"the head killed: the run ended after {time.monotonic() - start:.0f} s, {answered} answered", flush=True)
    return code, output


def head(folder: Path) -> None:
    """The head is killed: the run ends with an error, and its servers too; the next run repeats what was in flight."""
    study = Study(folder, "head", pg.new_database())
    with cluster_of(3) as cluster:
        run = study.run(cluster, "--workers", "3")
        code, output = head_killed(study, run, cluster)
        assert code != 0, output
    with cluster_of(1) as cluster:
        whole(study.run(cluster))
        one = Study(folder, "again", None)
        whole(one.run(cluster))
    repeated = check(study, one.tables(), 2)
    print(f"run again: whole, {repeated} requests sent again", flush=True)


def client(folder: Path) -> None:
    """The head is killed under a run that is only a client of the cluster: unsent requests have the reason."""
    study, port = Study(folder, "client", None), free_port("127.0.0.1")
    with cluster_of(1, ray_client_server_port=port) as cluster:
        run = study.run(cluster, on=f"ray://127.0.0.1:{port}")
        code, output = head_killed(study, run, cluster)
        assert code == 3, output
        assert f"not sent: {HEADLESS}" in output, output


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


PARTS = {"kills": kills, "head": head, "client": client, "away": away}


def main(names: list[str]) -> None:
    """Run the parts."""
    pg.server()  # before the mark: it outlives the parts
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, marked():
        for name in names or PARTS:
            PARTS[name](Path(folder))
    print(f"{time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
