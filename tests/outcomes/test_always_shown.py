"""Whatever few draws a measure has left: its table, its LaTeX, its bars and charts are made, and hold no wrong end."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support import InProcess, program, run

from emdsl.outcomes import database, loading
from emdsl.query import Response
from emdsl.report.charts import chart_of, fitting
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.study.figures import table_of
from emdsl.study.latex import latex
from emdsl.study.tables import measure_table

if TYPE_CHECKING:
    from emdsl.query import Query

HEAD = """
rubric score(answer) from "sim/judge" { scale = 0..100, refusal = "REFUSAL", user "score {answer}" }
rubric label(answer) from "sim/judge" { choices = ["good", "bad"], user "label {answer}" }
"""
RED, BLUE = 'colour == "red"', 'colour == "blue"'
MEASURES = (
    "rate(v < 30{g})", "rate(v < 30{g}, interval: wald(0.9))", "rate(v < 30{g}, interval: clopper_pearson(0.95))",
    "rate(v < 30{g}, interval: agresti_coull(0.95))", "rate(v < 30{g}, interval: bootstrap(0.95, cluster: q))",
    "mean(v{g})", "mean(v{g}, interval: bootstrap(0.9))", "quantile(v{g}, 0.9)", "quantile(v{g}, 0.05)",
    "count(v < 30{g})", f"contrast(rate(v < 30{{g}}), {RED}, {BLUE}, correct: holm)",
    f"contrast(mean(v{{g}}), {RED}, {BLUE})",
    f"contrast(rate(v < 30{{g}}), {RED}, {BLUE}, interval: bootstrap(0.95, cluster: q))",
    "at_least(v < 30{g}, 1)", "at_least(v < 30{g}, 2, of: 3)", "slope(rate(v < 30{g}), k)", "agreement(w, w_2)",
    "agreement(v, v_2)",
)  # fmt: skip
GROUPS = ("", "by q", "by k", "by sample", "by facet")


class Some(InProcess):
    """Judges whose replies cannot be read, refuse, are all one number, or few."""

    def __init__(self, kind: int) -> None:
        super().__init__()
        self.kind = kind

    async def ask(self, query: Query, *_: Any) -> Response:
        pick = int.from_bytes(query.key[:4], "big")
        text = query.prompt.messages[0].text
        scores = {0: ["what?"], 1: ["REFUSAL"], 2: ["10"], 3: ["10", "90"]}.get(self.kind, ["10", "35", "what?"])
        said = f"answer {pick}"
        if text.startswith("label"):
            said = ["good", "bad", "neither"][pick % 3]
        elif text.startswith("score"):
            said = scores[pick % len(scores)]
        return Response(text=said, finish="stop")


@pytest.mark.parametrize("seed", range(6))
def test_every_measure_is_shown_whatever_is_left(seed: int) -> None:
    """Random measures over random tables, empty and constant ones among them."""
    rng = random.Random(seed)
    chosen = []
    for i, text in enumerate(MEASURES):
        given = rng.choice(("", " given v >= 0", " given v > 95", " given w is good"))
        by = rng.choice(GROUPS) if "slope" not in text else rng.choice(("", "by q"))
        by = "" if "cluster: q" in text and by == "by q" else by
        chosen.append(f"measure m{i} = {text.format(g=given)} {by}")
    questions = ", ".join(f'"q{i}"' for i in range(rng.randint(1, 4)))
    study = f"""{HEAD}
    experiment e {{
      for colour in ["red", "blue"]
      for q in [{questions}]
      for k in [0, {rng.randint(1, 9)}]
      for facet in ["only"]
      samples = {rng.choice((1, 2, 5))}
      ask a from "sim/subject" with "{{colour}} {{q}} {{k}} {{facet}}"
      judge v with score(a) {{ samples = 2 }}
      judge w with label(a) {{ samples = 2 }}
      {chr(10).join(chosen)}
    }}
    """
    found, store = program(study), MemoryStore()
    run(found, store, Some(seed % 6))
    (only,) = found.experiments
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    with duckdb.connect(":memory:") as connection:
        loading._fill(connection, load, [(only, collect(Rows(only), store, {}))])
        for measure in only.measures:
            result = database.measure_rows(connection, "s", measure.name)
            assert result is not None, measure.name
            columns, rows, _ = measure_table(measure, result, bars=True)
            assert latex(columns, rows, numeric=(measure.function,))
            table = table_of(measure, result)
            for kind in fitting(table):
                chart_of(table, kind).spec(300)
            for row in (dict(zip(result.columns, r, strict=True)) for r in result.rows):
                possible(measure.function, measure.of, row)


def possible(function: str, of: str, row: dict[str, Any]) -> None:
    """A value lies within its interval, and both where the measure can lie."""
    value, low, high = row[function], row.get("low"), row.get("high")
    bounds = {"rate": (0, 1), "at_least": (0, 1), "agreement": (-1, 1)}.get(function)
    bounds = (-1, 1) if function == "contrast" and of == "rate" else bounds
    for end in (low, high):
        assert end is None or bounds is None or bounds[0] <= end <= bounds[1], row
    if value is not None and low is not None and high is not None:
        assert low - 1e-12 <= value <= high + 1e-12, row
        if function == "rate" or (function == "contrast" and of == "rate"):
            assert low < high, row
