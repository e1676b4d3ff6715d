"""A study on servers that the run starts: a tiny random model by `transformers serve`, one of two killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from speed import HANG_S
from support import clean_environment, emdsl

HERE = Path(__file__).parent
BIN = Path(os.environ["CONFORMANCE_BIN"])
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
STUDY = """em 1
model tiny {
  use = "transformers/tiny", revision = "0", temperature = 1, max_tokens = 12
  serve = { args: ["--device", "cpu", "--log-level", "info"], gpus: 0, replicas: 2 }
}
experiment e {
  for q in ["what is a question?", "an answer to it", "日本語で 🎉"]
  samples = 20
  ask answer from tiny with q
}
"""
N = 60


def processes(folder: Path) -> dict[int, str]:
    """Return the servers of a study: process and port."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                here = (entry / "cwd").resolve() == folder.resolve()
            except OSError:  # it has just ended
                continue
            if here and "tiny@0" in words and "guard.py" not in words[2]:
                found[int(entry.name)] = words[words.index("--port") + 1]
    return found


def test_a_study_on_its_own_servers(tmp_path: Path) -> None:
    """Every request is answered by one of two servers, though one is killed when it has answered some."""
    env = OFFLINE | {"HF_HOME": str(tmp_path / "hf"), "EMDSL_SERVE_TRANSFORMERS": f"{BIN}/transformers serve"}
    subprocess.run(
        [BIN / "python", HERE / "make_tiny.py", "tiny"], cwd=tmp_path, env=clean_environment(env), check=True
    )
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    killed = list[int]()

    def kill() -> None:
        end = time.monotonic() + 2 * HANG_S
        while not killed and time.monotonic() < end:
            time.sleep(0.05)
            logs = [log.read_text(errors="replace") for log in tmp_path.glob("cache/serving/*/*.log")]
            if len(logs) == 2 and all("Request received" in text for text in logs):
                killed.append(next(iter(processes(tmp_path))))
                os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    done = emdsl("run", "study.em", "--serve", "--json", "-j", "8", cwd=tmp_path, env=env, timeout=400)
    killer.join()
    assert killed
    told = json.loads(done.stdout)
    assert told["experiments"][0]["steps"][0]["answered"] == N
    assert N <= told["requests"] <= N + 8
    sql = "SELECT answer_finish AS finish, answer_output_tokens AS n, answer_reported AS model FROM e"
    rows = json.loads(emdsl("query", sql, "--format", "json", cwd=tmp_path).stdout)
    assert len(rows) == N
    assert max(r["n"] for r in rows) <= 12
    assert set(Counter(r["finish"] for r in rows)) <= {"stop", "length"}
    assert {r["model"] for r in rows} == {"tiny@0"}
    assert not processes(tmp_path)
