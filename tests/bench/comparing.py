"""Comparisons of `emdsl view` over 1,000,000 rows with answers of 500 characters: part of `make stress`, half a minute.

Prints JSON: the seconds of each list of rows that differ, of the table of flips, of the paired difference, of a page of
the list, and of the samples of a cell; and fails if one takes much longer than
wanted: 5 s for a list, 0.5 s for a page, on the reference machine.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
WANTED_LIST_S, WANTED_PAGE_S = 5.0, 0.5  # of the reference machine


def pairs_of(only: Experiment, condition: str, table: str) -> Pairs:
    return levels_side_by_side(only, table, condition_of(only, condition), "arm", (0, 1), Filter())


class Took(NamedTuple):
    """Seconds of a call."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[..., Any], *arguments: object) -> tuple[Took, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work(*arguments)
    return Took(time.perf_counter() - wall, time.process_time() - cpu), result


def main() -> None:
    only = experiment(STUDY)
    seconds: dict[str, Took] = {}
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
    print(json.dumps({name: round(took.wall_s, 3) for name, took in seconds.items()}))
    for name, took in seconds.items():
        if name != "difference":
            wanted_s = WANTED_PAGE_S if name.startswith(("page", "samples")) else WANTED_LIST_S
            bounds.check(name, wanted_s, cpu_s=took.cpu_s, wall_s=took.wall_s)


if __name__ == "__main__":
    main()
