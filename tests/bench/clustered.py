"""A measure with the intervals of clusters, over 1,000,000 rows in 500 groups: part of `make bench`.

Prints JSON: the seconds that each measure takes, the groups and the clusters that it has, and the process's memory.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from made_rows import made_table
from support import experiment

from emdsl.outcomes import loading
from emdsl.outcomes.database import WRITTEN, connected

N_QUESTIONS, SAMPLES = 48, 42
STUDY = """
rubric score(answer) from "sim/judge" {{ scale = 0..100, user "score {{answer}}" }}
experiment large {{
  for model in ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"]
  for k in 0..49
  for q in [{questions}]
  samples = {samples}
  ask answer from "sim/subject" with "{{model}} {{k}} {{q}}"
  judge aligned with score(answer)
  judge coherent with score("{{answer}} {{sample}}")
  measure m = {measure}
}}
"""
MEASURES = {
    "rate": "rate(aligned < 30 given coherent > 50) by model, k",
    "mean": "mean(aligned) by model, k",
    "contrast": "contrast(rate(aligned < 30), k, versus: 0) by model",
}
ROWS = f"""
  SELECT 'm' || m AS model, k, 'question ' || q AS q, s AS sample, FALSE AS simulated,
    sha256(concat_ws(' ', m, k, q, s)) AS answer_key,
    (hash(m, k, q, s) % 1_000 / 10.0 + q) % 101 AS aligned, hash(q, s, k, m) % 101 AS coherent
  FROM range(10) AS models(m), range(50) AS ks(k), range({N_QUESTIONS}) AS questions(q), range({SAMPLES}) AS samples(s)
"""


def measured(folder: Path, measure: str) -> dict[str, Any]:
    """Return the seconds that one measure takes, and its groups and clusters."""
    questions = ", ".join(f'"question {i}"' for i in range(N_QUESTIONS))
    found = experiment(STUDY.format(questions=questions, samples=SAMPLES, measure=measure))
    with connected(folder / "results.duckdb", WRITTEN) as connection:
        made_table(connection, found, "s", ROWS)
        start = time.perf_counter()
        notices = loading._measures(connection, found, "s")
        took = time.perf_counter() - start
        assert not notices, notices
        groups, clusters = connection.execute("SELECT count(*), min(clusters) FROM s.m").fetchone() or (0, 0)
    return {"s": took, "groups": groups, "clusters": clusters}


def main() -> None:
    figures: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = measured(Path(folder), measure)
    print(json.dumps(figures | {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
