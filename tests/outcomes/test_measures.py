"""Measures: SQL against the evaluator row by row, and figures against a count by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import scipy.stats
from support import InProcess, experiment, outcomes, program, run

from emdsl.errors import OutcomesError, Rejected
from emdsl.outcomes import database, loading
from emdsl.outcomes.intervals import wald, wilson
from emdsl.outcomes.sql import columns_of, name, to_sql
from emdsl.query import Response
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import Missing

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.experiment import Experiment
    from emdsl.query import Query

HEAD = """
rubric score(answer) from "sim/judge" { scale = 0..100, refusal = "REFUSAL", other = "CODE"
  user "score {answer}" }
rubric label(answer) from "sim/judge" { choices = ["good", "bad"]
  user "label {answer}" }
let threshold = 40
experiment e {
  for x in { one: "1", two: "2", three: "3" }
  for k in [0, 1.5, 4]
  for flag in [true, false]
  samples = 6
  ask answer from "sim/subject" with "{x} {k} {flag}"
  judge aligned with score(answer)
  when flag { judge other with score("other {answer}") }
  judge role with label(answer)
  let low = aligned < threshold
"""
REPLIES = ["10", "35", "40", "80", "100", "REFUSAL", "CODE", "what?"]


class Varied(InProcess):
    """Judges that reply with all there is; some queries fail for good."""

    async def ask(self, query: Query, *_: Any) -> Response:
        pick = int.from_bytes(query.key[:4], "big")
        if pick % 23 == 0:
            raise Rejected("400 no", status=400)
        if query.settings.model.wire_name == "subject":
            return Response(text=f"answer {pick % 40}", finish="stop")
        label = query.prompt.messages[0].text.startswith("label")
        return Response(
            text=["good", "bad", "neither"][pick % 3] if label else REPLIES[pick % len(REPLIES)], finish="stop"
        )


def loaded(tmp_path: Path, body: str, *, full: bool = True) -> tuple[Experiment, list[Any]]:
    """Run a study, load it, and return its experiment and its rows in the order of the table."""
    found = program(HEAD + body + "\n}")
    store = MemoryStore()
    _, report = run(found, store, Varied())
    failures = report.failures if full else {}
    (only,) = found.experiments
    load = loading.Load(study="a/b c", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    loading.load(tmp_path, load, [(only, collect(Rows(only), store, failures))])
    return only, [row for rows in collect(Rows(only), store, failures) for row in rows]


EXPRESSIONS = [
    "aligned < 30",
    "aligned < threshold and other > 50",
    "aligned < 30 or other > 50",
    "not (aligned < 30)",
    "aligned is REFUSAL",
    "aligned is not CODE",
    "aligned is missing",
    "aligned is unreadable",
    "other is not_needed",
    "role is bad",
    "role is not bad",
    "role is missing or role is bad",
    "x is one",
    'x == "1"',
    "k > 1 and flag",
    "k in [0, 4]",
    "k not in [0, 4]",
    "(aligned else 0) < 30",
    "(if aligned is CODE then 0 else aligned) < 30",
    "(if flag then other else aligned) >= 40",
    "(aligned + other) / 2 < 50",
    "aligned * 2 - 10 > other",
    "-aligned < -50",
    "low and role is bad",
    "low is missing",
    'answer == "answer 7"',
    'answer.finish == "stop"',
    "answer.reasoning is missing",
    "aligned != other",
    "sample < 3 and low",
    "flag == true",
    "(k else 0) > 1",
]


def test_sql_agrees_with_the_evaluator_row_by_row(tmp_path: Path) -> None:
    """Strictly missing, label or value, exact or binary: both give the same for every row."""
    lets = "".join(f"  let v{i} = {e}\n  measure m{i} = count({e})\n" for i, e in enumerate(EXPRESSIONS))
    only, rows = loaded(tmp_path, lets)
    columns = columns_of(only)
    with database.opened(tmp_path) as (connection, study):
        assert study == "a/b c"
        for i, expression in enumerate(EXPRESSIONS):
            value = only.measures[i].value
            assert value is not None
            sql = f"SELECT {to_sql(value, columns)} FROM {name(only.name)} ORDER BY rowid"
            found = [r[0] for r in database.select(connection, sql).rows]
            wanted = [None if isinstance(v := row.frame[f"v{i}"], Missing) else v for row in rows]
            assert found == wanted, expression
            assert True in wanted or None in wanted, f"{expression} tests nothing"


def test_rates_by_hand(tmp_path: Path) -> None:
    """`p given q`: both true over q true and p there; all else is dropped, by reason; shared draws count once."""
    only, rows = loaded(tmp_path, "  measure m = rate(aligned < 30 given role is bad, interval: wald(0.9)) by x")
    z = 1.6448536269514722
    with database.opened(tmp_path) as (connection, study):
        assert study is not None
        result = database.measure_rows(connection, study, "m")
    assert result is not None
    by_level = {r[0]: dict(zip(result.columns, r, strict=True)) for r in result.rows}
    assert list(by_level) == ["one", "two", "three"]
    for position, level in enumerate(only.axes[0].levels):
        draws: dict[bytes, tuple[Any, Any]] = {}
        for row in rows:
            if row.cell[0] == position:
                draws[row.results["answer"].query.key] = (row.frame["aligned"], row.frame["role"])
        kept = [a < 30 for a, r in draws.values() if r == "bad" and not isinstance(a, Missing)]
        dropped: dict[str, int] = {}
        for a, r in draws.values():
            why = None
            if isinstance(r, Missing):
                why = a.reason if isinstance(a, Missing) else r.reason
            elif r != "bad":
                why = "not_given"
            elif isinstance(a, Missing):
                why = a.reason
            if why:
                dropped[why] = dropped.get(why, 0) + 1
        shown = by_level[level.shown]
        assert (shown["hits"], shown["n"], shown["n_planned"]) == (sum(kept), len(kept), len(draws))
        assert shown["dropped"] == dropped
        assert shown["rate"] == pytest.approx(sum(kept) / len(kept))
        assert (shown["low"], shown["high"]) == pytest.approx(tuple(wald(sum(kept), len(kept), z)))
        assert shown["complete"] == ("failed" not in str(draws) and "no_answer" not in str(draws))
        assert shown["simulated"] is True


def test_draws_shared_by_rows_count_once(tmp_path: Path) -> None:
    """Three datasets that share one answer at k = 0: n is the number of distinct answers."""
    text = """
    experiment e {
      for data in { a: "x", b: "y", c: "z" }
      for k in [0, 1]
      samples = 10
      let shown = if k == 0 then "" else data
      ask answer from "sim/subject" with "{shown} hi"
      measure long = rate(answer.finish == "stop") by k
    }
    """
    found = experiment(text)
    store = MemoryStore()
    run(text, store)
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    assert loading.load(tmp_path, load, [(found, collect(Rows(found), store, {}))]) == []
    with database.opened(tmp_path) as (connection, _):
        rows = database.select(connection, "SELECT k, n FROM long ORDER BY k").rows
    assert rows == [(0, 10), (1, 30)]


PAIRS = """
    rubric better(first, second) from "sim/judge" {
      choices = { FIRST: "the first", SECOND: "the second" }
      user "Which is better? {first} / {second} {choices}"
    }
    experiment e {
      for q in ["hi", "bye"]
      for order in ["ab", "ba"]
      samples = 10
      ask a from "sim/subject" with q
      ask b from "sim/subject" with "{q}!"
      judge winner with better(if order == "ab" then a else b, if order == "ab" then b else a)
      let a_won = (winner is FIRST) == (order == "ab")
      measure long = rate(a_won) by q
      measure split = rate(a_won) by order
    }
    """
LIMITS = """
    experiment e {
      for limit in [1, 1000]
      samples = 3
      ask answer from "sim/subject" with "hi"
      measure long = rate(answer.tokens < limit)
      measure split = rate(answer.tokens < limit) by limit
    }
    """


@pytest.mark.parametrize(
    ("text", "by", "joined"),
    [
        (
            PAIRS,
            "differ in `order`. There are two ways: write `by q, order` for a",
            "a `judge` for each level of `order`",
        ),
        (LIMITS, "differ in `limit`. There are two ways: write `by limit` for a", "a `let` for each level of `limit`"),
    ],
)
def test_shared_draws_with_unlike_values_are_told(tmp_path: Path, text: str, by: str, joined: str) -> None:
    """One answer under two thresholds is no two independent draws: the measure is left out, with two ways."""
    found = experiment(text)
    store = MemoryStore()
    run(text, store)
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    notices = loading.load(tmp_path, load, [(found, collect(Rows(found), store, {}))])
    assert len(notices) == 1
    assert "`long`" in notices[0]
    assert by in notices[0]
    assert joined in notices[0]
    with database.opened(tmp_path) as (connection, study):
        assert study is not None
        assert database.measure_rows(connection, study, "long") is None
        assert len(database.select(connection, "FROM split").rows) == 2


def test_means(tmp_path: Path) -> None:
    """A mean with Student's interval; nothing kept gives nothing, never 0."""
    only, rows = loaded(
        tmp_path, "  measure m = mean(aligned given flag) by k\n  measure empty = mean(aligned given aligned > 100)"
    )
    with database.opened(tmp_path) as (connection, _):
        shown = database.select(connection, "SELECT k, mean, low, high, n FROM m").rows
        empty = database.select(connection, "SELECT mean, low, high, n, n_planned FROM empty").rows
    for k, mean, low, high, n in shown:
        draws = {
            r.results["answer"].query.key: r.frame["aligned"]
            for r in rows
            if float(only.axes[1].levels[r.cell[1]].value) == k and r.frame["flag"]
        }
        kept = [v for v in draws.values() if not isinstance(v, Missing)]
        average = sum(kept) / len(kept)
        sd = math.sqrt(sum((v - average) ** 2 for v in kept) / (len(kept) - 1))
        half = float(scipy.stats.t.ppf(0.975, len(kept) - 1)) * sd / math.sqrt(len(kept))
        assert (mean, low, high, n) == pytest.approx((average, average - half, average + half, len(kept)))
    assert empty[0][:4] == (None, None, None, 0)
    assert empty[0][4] > 0


@pytest.mark.parametrize("n", [1, 2, 10, 50, 1000])
def test_intervals_in_sql_are_those_in_python(n: int) -> None:
    """One formula, in two languages."""
    import duckdb  # noqa: PLC0415 - a connection of the test's own

    from emdsl.outcomes.intervals import rate_sql  # noqa: PLC0415 - beside its one use

    for hits in range(0, n + 1, max(1, n // 10)):
        for method, ours in (("wilson", wilson), ("wald", wald)):
            low, high = rate_sql(method, 0.95, str(hits), str(n))
            found = duckdb.execute(f"SELECT {low}, {high}").fetchone()
            assert found == pytest.approx(tuple(ours(hits, n)), abs=1e-12)


def test_wilson_covers(tmp_path: Path) -> None:
    """95 % Wilson intervals cover 93-97 %, averaged over rates, for n of 50 and more: exactly, by the binomial."""
    for n in (50, 100, 480):
        intervals = [wilson(h, n) for h in range(n + 1)]
        rates = [0.02 + i * 0.01 for i in range(97)]
        covered = 0.0
        for p in rates:
            logs = [
                math.lgamma(n + 1)
                - math.lgamma(h + 1)
                - math.lgamma(n - h + 1)
                + h * math.log(p)
                + (n - h) * math.log1p(-p)
                for h in range(n + 1)
            ]
            covered += sum(math.exp(x) for x, i in zip(logs, intervals, strict=True) if i.low <= p <= i.high)
        assert 0.93 <= covered / len(rates) <= 0.97


def test_the_table_is_typed_and_described(tmp_path: Path) -> None:
    """Axes as their types, labels as an enumeration in their order, a comment on every column."""
    loaded(tmp_path, "")
    with database.opened(tmp_path) as (connection, _):
        described = database.select(
            connection,
            "SELECT column_name, data_type, comment FROM duckdb_columns() "
            "WHERE table_name = 'e' AND schema_name = 'a/b c'",
        ).rows
        studies = database.select(connection, "SELECT study, simulated FROM emdsl.studies").rows
    types = {n: t for n, t, _ in described}
    assert types["x"] == "ENUM('one', 'two', 'three')"
    assert (types["x_value"], types["k"], types["flag"], types["sample"]) == ("VARCHAR", "DOUBLE", "BOOLEAN", "BIGINT")
    assert (types["aligned"], types["role"], types["low"]) == ("DOUBLE", "VARCHAR", "BOOLEAN")
    assert all(comment for _, _, comment in described)
    assert studies == [("a/b c", True)]


def test_a_failed_load_leaves_the_last_whole_state(tmp_path: Path) -> None:
    """Readers see the earlier outcomes until the new ones are complete."""
    only, _ = loaded(tmp_path, "")

    def broken() -> Any:
        yield from collect(Rows(only), MemoryStore(), {})
        raise OSError("no space left")

    load = loading.Load(study="a/b c", file="f", program="p2", store_state=(0, 0, 0, 0, 0), run="r")
    with pytest.raises(OutcomesError, match="no space"):
        loading.load(tmp_path, load, [(only, broken())])
    with database.opened(tmp_path) as (connection, _):
        assert database.select(connection, "SELECT count(*) FROM e WHERE answer IS NOT NULL").rows[0][0] > 0
    assert [p.name for p in tmp_path.glob("*.new*")] == []


def test_lone_surrogates_do_not_end_a_load(tmp_path: Path) -> None:
    """The store keeps them; the database shows a replacement."""

    class Odd(InProcess):
        async def ask(self, _query: Query, *_: Any) -> Response:
            return Response(text="a\ud800b", finish="stop")

    text = 'experiment e {\n ask answer from "sim/subject" with "hi"\n}'
    store = MemoryStore()
    run(text, store, Odd())
    found = experiment(text)
    assert outcomes(found, store)[0].frame["answer"] == "a\ud800b"
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    loading.load(tmp_path, load, [(found, collect(Rows(found), store, {}))])
    with database.opened(tmp_path) as (connection, _):
        assert json.dumps(database.select(connection, "SELECT answer FROM e").rows) == '[["a?b"]]'


def test_a_broken_database_is_moved_aside_and_made_anew(tmp_path: Path) -> None:
    """Outcomes are derived: what cannot be opened is kept under another name, and said."""
    (tmp_path / "outcomes.duckdb").write_text("junk", encoding="utf-8")
    only = experiment('experiment e {\n ask answer from "sim/subject" with "hi"\n}')
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    (notice,) = loading.load(tmp_path, load, [(only, collect(Rows(only), MemoryStore(), {}))])
    assert "outcomes.duckdb.broken" in notice
    assert (tmp_path / "outcomes.duckdb.broken").read_text(encoding="utf-8") == "junk"
    with database.opened(tmp_path) as (connection, _):
        assert database.select(connection, "SELECT count(*) FROM e").rows == [(1,)]


def test_another_programs_unwritten_changes_survive_a_load(tmp_path: Path) -> None:
    """A writer that was killed leaves a log beside the file: it is taken along, not left to spoil the new one."""
    loaded(tmp_path, "")
    code = (
        "import duckdb, os, signal, sys\n"
        "d = duckdb.connect(sys.argv[1])\n"
        "d.execute('PRAGMA disable_checkpoint_on_shutdown')\n"
        "d.execute('CREATE TABLE main.mine AS SELECT 42 AS x')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "outcomes.duckdb"], check=False)
    assert (tmp_path / "outcomes.duckdb.wal").exists(), "the test has something to show"
    loaded(tmp_path, "")
    with database.opened(tmp_path) as (connection, _):
        assert database.select(connection, "SELECT x FROM main.mine").rows == [(42,)]
    assert not (tmp_path / "outcomes.duckdb.wal").exists()
