"""A million settled outcomes into DuckDB, a measure by four axes over them, and a clustered bootstrap of every cell.

Rows are made without a store: what is measured is the load. Beside it stands the raw limit, the same values as Arrow
in one piece.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from scale import answer

from emdsl.cli.main import GC_THRESHOLDS
from emdsl.compiler.compile import compile_file
from emdsl.outcomes import database, loading
from emdsl.reasoning import split
from emdsl.run.passes import chunks
from emdsl.run.rows import Rows, settle_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from emdsl.experiment import Experiment
    from emdsl.outcome import Outcome

STUDY = """em 1
rubric rating(answer) from "sim/judge" {
  scale = 0..100
  user "JUDGE Rate 0 to 100: {answer}"
}
experiment load {
  for a in ["one", "two", "three", "four"]
  for b in [0, 1, 2, 3, 4]
  for c in ["x", "y"]
  for d in 1..5
  for q in 1..QUESTIONS
  samples = 50
  ask answer from "sim/subject" with "{a} {b} {c} {d} question {q}"
  let long = answer.tokens > 100
  measure rate_long = rate(long) by a, b, c, d
  measure boot = rate(long, interval: bootstrap(0.95, cluster: q)) by a, b, c, d
}
"""


def rows(experiment: Experiment) -> Iterator[list[Outcome]]:
    """Yield every row, answered."""
    walk = Rows(experiment)
    for some in chunks(walk.selected()):
        for row in some:
            for step, query in walk.advance(row):
                reply = answer(query)
                settle_answer(row, step, reply, split(reply))
        yield some


def main(n: int) -> None:
    """Load n outcomes, and print seconds and megabytes."""
    gc.set_threshold(*GC_THRESHOLDS)  # as the command does
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = folder / "load.em"
        file.write_text(STUDY.replace("QUESTIONS", str(n // 10_000)), encoding="utf-8")
        (experiment,) = compile_file(file, {}).experiments
        made = time.perf_counter()
        for some in rows(experiment):
            del some
        made = time.perf_counter() - made  # what making the rows takes, which is not the load
        study = loading.Load(study="load", file="load.em", program="", store_state=(0, 0, 0, 0, 0), run="")
        start = time.perf_counter()
        without_boot = [m for m in experiment.measures if m.name != "boot"]
        object.__setattr__(experiment, "measures", tuple(without_boot))
        loading.load(folder, study, [(experiment, rows(experiment))])
        load_s = time.perf_counter() - start - made
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        with duckdb.connect(str(folder / database.FILE), read_only=True) as other:
            start = time.perf_counter()
            groups = len(other.sql("SELECT * FROM load.rate_long").fetchall())
            measure_s = time.perf_counter() - start
            raw = other.sql("SELECT * FROM load.load").to_arrow_table()
        start = time.perf_counter()
        _raw(folder / "raw.duckdb", raw)
        raw_s = time.perf_counter() - start
        (again,) = compile_file(file, {}).experiments
        (boot,) = [m for m in again.measures if m.name == "boot"]
        with duckdb.connect(str(folder / database.FILE)) as own:
            start = time.perf_counter()
            object.__setattr__(again, "measures", (boot,))
            loading._measures(own, again, "load")
            boot_s = time.perf_counter() - start
        size = (folder / database.FILE).stat().st_size / 1e6
    found = {
        "outcomes": n, "made_s": round(made, 1), "load_s": round(load_s, 1), "raw_arrow_s": round(raw_s, 1),
        "peak_mb": round(peak), "file_mb": round(size), "groups": groups, "measure_s": round(measure_s, 2),
        "bootstrap_s": round(boot_s, 1),
    }  # fmt: skip
    print(json.dumps(found))


def _raw(path: Path, table: pa.Table) -> None:
    with duckdb.connect(str(path)) as other:
        other.register("found", table)
        other.execute("CREATE TABLE raw AS SELECT * FROM found")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
