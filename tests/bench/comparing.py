"""Comparisons of `emdsl view` over 1,000,000 rows with answers of 500 characters: part of `make stress`, half a minute.

Prints JSON: the seconds of each list of rows that differ, of the table of flips, of the paired difference, of a page of
the list, and of the samples of a cell; and fails if a list takes 5 s, or a page 0.5 s, of the reference machine.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from made_rows import made_table
from speed import Bounds
from support import experiment

from emdsl.outcomes import database
from emdsl.outcomes.browsing import Filter
from emdsl.outcomes.conditions import condition_of
from emdsl.outcomes.locked import Locked, fetch, fetch_numbers
from emdsl.outcomes.paired_difference import paired_difference
from emdsl.outcomes.pairs import Pairs, levels_side_by_side, listed_sql, strip_sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.experiment import Experiment

N_QUESTIONS, SAMPLES = 48, 1_000
STUDY = f"""
rubric score(answer) from "sim/judge" {{ scale = 0..100, user "score {{answer}}" }}
experiment large {{
  for arm in ["first", "second"]
  for k in 0..10
  for q in [{", ".join(f'"question {i}"' for i in range(N_QUESTIONS))}]
  samples = {SAMPLES}
  ask answer from "sim/subject" with "{{arm}} {{k}} {{q}}"
  judge aligned with score(answer)
  measure low = rate(aligned < 30)
}}
"""
ROWS = f"""
  SELECT ['first', 'second'][a + 1] AS arm, k, 'question ' || q AS q, s AS sample, FALSE AS simulated,
    sha256(concat_ws(' ', a, k, q, s)) AS answer_key,
    array_to_string([md5(concat_ws(' ', a, k, q, s, i)) FOR i IN range(15)], ' ') AS answer,
    (hash(a, k, q, s) % 1_000 / 10.0 + q) % 101 AS aligned
  FROM range({SAMPLES}) AS samples(s), range(2) AS arms(a), range(11) AS ks(k), range({N_QUESTIONS}) AS questions(q)
"""
MAX_LIST_S, MAX_PAGE_S = 5.0, 0.5  # of the reference machine


def pairs_of(only: Experiment, condition: str, table: str) -> Pairs:
    return levels_side_by_side(only, table, condition_of(only, condition), "arm", (0, 1), Filter())


def timed(work: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work(*arguments)
    return round(time.perf_counter() - start, 3), result


def main() -> None:
    only = experiment(STUDY)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.duckdb"
        with database.connected(path, database.WRITTEN) as connection:
            made_table(connection, only, "s", ROWS)
        bounds, results = Bounds(), Locked(path)
        cursor = results.cursor()
        for condition in ("m.low", "v.aligned", "text"):
            pairs = pairs_of(only, condition, "s.large")
            seconds[condition], places = timed(fetch_numbers, cursor, pairs.different_sql())
            page = listed_sql(pairs.sides[0], places[0][1000:1100])
            seconds[f"page of {condition}"], found = timed(fetch, cursor, page)
            assert len(found.rows) == 100
        flips = pairs_of(only, "m.low", "s.large")
        seconds["flips"], _ = timed(fetch, cursor, flips.table_sql())
        strip = strip_sql(flips.sides[0], (0, 0, 0), range(2_000))
        seconds["samples"], found = timed(fetch, cursor, strip)
        assert len(found.rows) == SAMPLES
        with database.attached({"this": path}) as connection:
            seconds["difference"], difference = timed(
                paired_difference, connection, pairs_of(only, "m.low", "this.s.large")
            )
        assert difference is not None
        assert difference.clusters == N_QUESTIONS
        results.close()
    print(json.dumps(seconds))
    for name, wall_s in seconds.items():
        if name != "difference":
            limit_s = MAX_PAGE_S if name.startswith(("page", "samples")) else MAX_LIST_S
            bounds.check(name, limit_s, wall_s=wall_s)


if __name__ == "__main__":
    main()
