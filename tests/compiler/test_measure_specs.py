"""The table of measures is true: each relation has the columns that its spec names, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
from support import program, run

from emdsl.compiler.measure_specs import COMMON_COLUMNS, MEASURES
from emdsl.outcomes import loading
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """
rubric score(answer) from "sim/judge" { scale = 0..100, user "score {answer}" }
rubric label(answer) from "sim/judge" { choices = { good: "g", bad: "b" }, user "label {answer}" }
experiment e {
  for k in ["one", "two"]
  for d in [1, 2, 3]
  samples = 2
  ask a from "sim/subject" with "{k} {d}"
  judge v with score(a) { samples = 2 }
  judge w with label(a)
  measure m_rate = rate(v < 40) by k
  measure m_mean = mean(v) by k
  measure m_at_least = at_least(v < 40, 1) by k
  measure m_count = count(v < 40) by k
  measure m_quantile = quantile(v, 0.5) by k
  measure m_contrast = contrast(rate(v < 40), k is one, k is two, correct: holm) by d
  measure m_slope = slope(mean(v), d) by k
  measure m_agreement = agreement(v, v_2) by k
  measure m_sd = sd(v) by k
  measure m_correlation = correlation(v, v_2) by k
  measure m_shares = shares(w) by k
  measure m_components = components(rate(v < 40), [d, sample]) by k
  measure m_dose = dose(rate(v < 40), d) by k
}
"""
ONLY_WITH = {"p_bh", "p_equivalent"}  # of a contrast that asks for them


def test_relations_have_the_columns_of_their_specs(tmp_path: Path) -> None:
    """So an axis cannot be called like one of them: E846."""
    compiled, store = program(STUDY), MemoryStore()
    run(compiled, store)
    (experiment,) = compiled.experiments
    load = loading.Load(study="s", file="s.em", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    loading.load(tmp_path, load, [(experiment, collect(Rows(experiment), store, {}))])
    with duckdb.connect(str(tmp_path / "outcomes.duckdb")) as connection:
        for name, spec in MEASURES.items():
            rows = connection.execute(f"DESCRIBE s.m_{name}").fetchall()
            columns = {row[0] for row in rows} - {"k", "d"}
            assert columns == {*COMMON_COLUMNS, *spec.columns} - ONLY_WITH, name
