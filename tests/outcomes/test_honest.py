"""Numbers where normal theory fails: no hits, units that do not differ, few draws, rows that nobody has labelled."""

from __future__ import annotations

import json
import math
import random
import statistics
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import scipy.stats
from support import InProcess, emdsl, program, run

from emdsl.outcomes import database, loading
from emdsl.outcomes.distributions import fisher, t_power, t_tails
from emdsl.outcomes.intervals import t_sql, wald, wilson
from emdsl.query import Response
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.study.tables import interval_of, measure_table

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.query import Query

STUDY = """
rubric score(answer) from "sim/judge" {{ scale = 0..100, user "score {{answer}}" }}
experiment e {{
  for arm in ["none", "all", "some"]
  samples = 20
  ask a from "sim/subject" with "{{arm}}"
  judge v with score("{{arm}} {{sample}} {{a}}")
  {measures}
}}
"""


class Arms(InProcess):
    """An arm without hits, one with hits only, one with five of twenty."""

    async def ask(self, query: Query, *_: Any) -> Response:
        text = query.prompt.messages[0].text
        if not text.startswith("score"):
            return Response(text="none" if text.startswith("label") else "x", finish="stop")
        arm, sample = text.split()[1:3]
        hit = arm == "all" or (arm == "some" and int(sample) < 5)
        return Response(text="10" if hit else "90", finish="stop")


def measured(
    measures: str, text: str = STUDY, folder: Path | None = None
) -> tuple[Any, dict[str, list[dict[str, Any]]]]:
    """Return an experiment, and the rows of its measures."""
    found, store = program(text.format(measures=measures), folder), MemoryStore()
    run(found, store, Arms())
    (only,) = found.experiments
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    with duckdb.connect(":memory:") as connection:
        loading._fill(connection, load, [(only, collect(Rows(only), store, {}))])
        rows = {}
        for measure in only.measures:
            result = database.measure_rows(connection, "s", measure.name)
            assert result is not None
            rows[measure.name] = [dict(zip(result.columns, r, strict=True)) for r in result.rows]
    return only, rows


def test_wald_without_a_hit_is_wilson() -> None:
    """`0.000 - 0.000` says that a rate is certain; in SQL, in Python, in the macro."""
    _, rows = measured("measure m = rate(v < 30, interval: wald(0.95)) by arm")
    found = {r["arm"]: (r["low"], r["high"]) for r in rows["m"]}
    assert found["none"] == pytest.approx(tuple(wilson(0, 20)))
    assert found["all"] == pytest.approx(tuple(wilson(20, 20)))
    assert found["some"] == pytest.approx(tuple(wald(5, 20)))
    assert wald(0, 20) == wilson(0, 20)


def test_contrasts_whose_units_do_not_differ_are_tested_exactly() -> None:
    """0 of 20 against 0 of 20 is p = 1, and counts; 20 of 20 against 0 of 20 is the smallest; none is left out."""
    pairs = (("none", "none"), ("all", "none"), ("some", "none"))
    text = STUDY.replace(
        'for arm in ["none", "all", "some"]', 'for arm in ["none", "all", "some"]\n  for side in [1, 2]'
    )
    text = text.replace('"{{arm}} {{sample}} {{a}}"', '"{{shown}} {{sample}} {{a}}"').replace(
        "  {measures}", '  let shown = if side == 1 then arm else "none"\n  {measures}'
    )
    text = text.replace('with "{{arm}}"', 'with "{{arm}} {{side}}"')
    _, rows = measured("measure m = contrast(rate(v < 30), side == 1, side == 2, correct: holm) by arm", text)
    found = {r["arm"]: r for r in rows["m"]}
    assert found["none"]["p"] == 1
    assert found["all"]["p"] == pytest.approx(scipy.stats.binomtest(0, 20).pvalue), "McNemar's exact test"
    assert found["some"]["p"] == pytest.approx(scipy.stats.binomtest(0, 5).pvalue)
    assert found["all"]["p"] == min(r["p"] for r in found.values())
    assert [found[a]["p_holm"] for a, _ in pairs] == pytest.approx([1, 3 * found["all"]["p"], 2 * found["some"]["p"]])
    for arm in ("none", "all"):
        assert found[arm]["se"] == 0
        assert -1 <= found[arm]["low"] < found[arm]["high"] <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 10, 61, 62, 200, 5000])
def test_students_quantile_in_sql(n: int) -> None:
    """Listed where it is far from the normal one, an expansion beyond."""
    for level in (0.8, 0.95, 0.999):
        ((found,),) = duckdb.execute(f"SELECT {t_sql(level, str(n))}").fetchall()
        assert found == pytest.approx(scipy.stats.t.ppf(0.5 + level / 2, n), rel=1e-7)
    assert duckdb.execute(f"SELECT {t_sql(0.95, '0')}").fetchall() == [(None,)]


@pytest.mark.parametrize("df", [1, 2, 3, 9, 40])
def test_the_power_of_a_t_test_is_that_of_scipy(df: int) -> None:
    """By the t distribution that is not central."""
    t = scipy.stats.t.ppf(0.975, df)
    for shift in (0.5, 3.0):
        wanted = scipy.stats.nct.sf(t, df, shift) + scipy.stats.nct.cdf(-t, df, shift)
        assert t_power(shift, df, 0.05) == pytest.approx(wanted, abs=1e-4)


def test_tails_and_exact_tables() -> None:
    """Against scipy."""
    rng = random.Random(1)
    for _ in range(50):
        t, df = rng.uniform(-6, 6), rng.randint(1, 90)
        assert t_tails(t, df) == pytest.approx(2 * scipy.stats.t.sf(abs(t), df), rel=1e-9)
        n, m = rng.randint(1, 30), rng.randint(1, 30)
        a, b = rng.randint(0, n), rng.randint(0, m)
        assert fisher(a, n, b, m) == pytest.approx(scipy.stats.fisher_exact([[a, n - a], [b, m - b]])[1], rel=1e-9)


def test_a_mean_of_three_covers() -> None:
    """With the normal quantile it covered 81 of 100; with Student's it covers 95."""
    rng, covered = random.Random(2), 0
    ((quantile,),) = duckdb.execute(f"SELECT {t_sql(0.95, '2')}").fetchall()
    for _ in range(4000):
        values = [rng.gauss(0, 1) for _ in range(3)]
        half = quantile * statistics.stdev(values) / math.sqrt(3)
        covered += abs(statistics.fmean(values)) <= half
    assert 0.94 < covered / 4000 < 0.96


LABELLED = """
dataset d {{ file = "d.jsonl" }}
rubric label(answer) from "sim/judge" {{ choices = ["none", "all"], user "label {{answer}}" }}
experiment e {{
  for q in d
  ask a from "sim/subject" with "{{q.t}}"
  judge w with label(a)
  {measures}
}}
"""


def test_a_row_without_a_label_is_no_disagreement(tmp_path: Path) -> None:
    """Neither `null` nor an empty text is a label: the row is counted out as `unlabelled`."""
    rows = [{"id": i, "t": f"t{i}", "human": h} for i, h in enumerate(["none", "all", None, "", "none"])]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")

    _, found = measured("measure m = agreement(w, q.human)", LABELLED, tmp_path)
    (row,) = found["m"]
    assert row["n"] + sum(row["dropped"].values()) == 5
    assert row["dropped"].get("unlabelled") == 2


def test_what_is_not_given_is_not_dropped() -> None:
    """It has a column of its own; an agreement of numbers claims no interval."""
    only, rows = measured("measure m = rate(v < 30 given v < 50) by arm\n  measure n = agreement(v, v_2)",
                          STUDY.replace('{{a}}")', '{{a}}") {{ samples = 2 }}'))  # fmt: skip
    m, n = only.measures
    columns, shown, _ = measure_table(
        m, database.SqlResult(tuple(rows["m"][0]), [tuple(r.values()) for r in rows["m"]])
    )
    place = columns.index("not given")
    assert [r[place] for r in shown] == [20, 0, 15]
    assert {r[columns.index("dropped")] for r in shown} == {""}
    assert (interval_of(m, rows["m"]), interval_of(n, rows["n"])) == ("95 % wilson", "")
    clustered: list[dict[str, Any]] = [
        {"low": 0.1, "high": 0.2, "clustered_by": "q"},
        {"low": None, "high": None, "clustered_by": None},
    ]
    assert interval_of(m, clustered) == "95 % wilson, clustered by q"  # a group without a value has no interval


def test_groups_may_be_samples() -> None:
    """`by sample`: each draw of all cells."""
    _, rows = measured("measure m = rate(v < 30) by sample")
    assert [(r["sample"], r["n"]) for r in rows["m"]] == [(i, 3) for i in range(20)]


def test_a_restricted_run_prints_the_selected_groups(tmp_path: Path) -> None:
    """`--only` chooses what is asked, and what is shown."""
    (tmp_path / "pyproject.toml").touch()
    text = 'em 1\nexperiment e {\n for k in [0, 2, 16]\n for m in { a: "1", b: "2" }\n'
    text += ' ask x from "sim/subject" with "{k} {m}"\n measure r = rate(x.finish == "stop") by m, k\n}\n'
    (tmp_path / "s.em").write_text(text, encoding="utf-8")
    emdsl("run", "s.em", cwd=tmp_path)
    shown = emdsl("run", "s.em", "--only", "m=a", "--only", "k=0,16", cwd=tmp_path).stdout
    lines = [x.split()[:2] for x in shown.splitlines() if "simulated" in x and x[0] in "ab"]
    assert lines == [["a", "0"], ["a", "16"]]
