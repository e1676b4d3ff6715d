"""A study on a Ray cluster of three nodes with `transformers serve`: a replica, a worker and a node are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pg
from raylets import cluster_of, kill_node, marked, on_node, ours, whole, workers
from speed import HANG_S
from support import clean_environment, emdsl, until

BIN = Path(os.environ["CONFORMANCE_BIN"])
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as Ray gives each server
STUDY = """em 1
model tiny {
  use = "transformers/tiny", revision = "0", temperature = 0, max_tokens = 12
  serve = { args: ["--device", "cpu", "--log-level", "info"], gpus: 0, replicas: REPLICAS }
}
experiment e {
  for n in 1..60
  ask answer from tiny with "what is a question about {n}?"
  ask again from tiny with "an answer to {answer} about {n}"
}
"""
N = 60
N_REQUESTS = 2 * N
CONNECTIONS = 6
KILLS_S = HANG_S  # until the answers for a kill have arrived: servers start in the meantime


def project(folder: Path, replicas: int) -> Path:
    """Make the folder of a study; its cache is its own, the weights are those of all."""
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "tiny").symlink_to("../tiny")
    (folder / "study.em").write_text(STUDY.replace("REPLICAS", str(replicas)), encoding="utf-8")
    return folder


def answers(folder: Path, env: dict[str, str]) -> list[tuple[str, str]]:
    """Return the answers of all rows."""
    rows = json.loads(emdsl("query", "SELECT * FROM e ORDER BY n", "--format", "json", cwd=folder, env=env).stdout)
    assert [int(r["n"]) for r in rows] == [*range(1, N + 1)]
    for row in rows:
        for step in ("answer", "again"):
            assert row[f"{step}_finish"] in {"stop", "length"}, row
            assert row[f"{step}_output_tokens"] >= 1, row
            assert row[f"{step}_reported"] == "tiny@0", row
    return [(r["answer"], r["again"]) for r in rows]


def servers() -> list[int]:
    """Return the processes of `transformers serve`, without their guards."""
    return sorted(set(ours("tiny@0")) - set(ours("guard.py")))


def n_answered(folder: Path) -> int:
    """Return how many requests the servers have answered, by their logs."""
    logs = (log.read_text(errors="replace") for log in folder.glob("cache/serving/*/transformers-*.log"))
    return sum(len(re.findall(r'"POST /v1/chat/completions HTTP/1.1" 200', log)) for log in logs)


@pg.NEEDED
def test_kills_on_a_cluster(tmp_path: Path) -> None:
    """The study ends whole, with the answers of a run on this machine, and the next run sends nothing."""
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    program = {"EMDSL_SERVE_TRANSFORMERS": f"{BIN}/transformers serve"}
    env = offline | program | ONE_THREAD | {"HF_HOME": str(tmp_path / "hf")}
    make_tiny = Path(__file__).parent / "make_tiny.py"
    subprocess.run([BIN / "python", make_tiny, "tiny"], cwd=tmp_path, env=clean_environment(env), check=True)

    start = time.monotonic()
    local = project(tmp_path / "local", 1)
    emdsl("run", "study.em", "--serve", "--yes", "-j", "2", cwd=local, env=env)
    expected = answers(local, env)
    assert len(set(expected)) > N // 2
    print(f"on this machine: {time.monotonic() - start:.0f} s")

    start = time.monotonic()
    on_ray = project(tmp_path / "ray", 3)
    shared = env | {"EMDSL_STORE": pg.new_database()}
    with marked(), cluster_of(3) as cluster:
        shared["RAY_ADDRESS"] = cluster.address
        run = subprocess.Popen(
            [sys.executable, "-m", "emdsl", "run", "study.em", "--on", "ray", "--workers", "3", "--yes",
             "--max-connections", str(CONNECTIONS)],
            cwd=on_ray, env=clean_environment(shared), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        until(lambda: len(servers()) == 3 and n_answered(on_ray) > N_REQUESTS // 20, KILLS_S)
        os.kill(servers()[0], signal.SIGKILL)
        until(lambda: n_answered(on_ray) > N_REQUESTS // 8, KILLS_S)
        node = next(node for node in cluster.worker_nodes if on_node(servers(), node))
        other = next(pid for pid in workers() if not on_node([pid], node))  # else two kills may count as one
        os.kill(other, signal.SIGKILL)
        until(lambda: n_answered(on_ray) > N_REQUESTS // 4, KILLS_S)
        kill_node(node)
        output = whole(run, KILLS_S)
        print(output)
        assert "was ended by signal 9: it is started again" in output, output
        assert "was killed by SIGKILL: another one goes on with its requests" in output, output
        assert answers(on_ray, shared) == expected
        assert n_answered(on_ray) <= N_REQUESTS + 3 * CONNECTIONS  # the last lines of a lost node are not among them
        again = emdsl("run", "study.em", "--on", "ray", "--json", cwd=on_ray, env=shared)
        assert json.loads(again.stdout)["requests"] == 0
        assert len([*on_ray.glob("cache/serving/*")]) == 1, "a server was started for nothing"
    print(f"on a cluster: {time.monotonic() - start:.0f} s")
