"""Rows side by side, from hand-made tables: what differs, states of both sides, and the paired difference."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats
from made_rows import made_table
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.stats.contingency_tables import mcnemar
from support import experiment

from emdsl.errors import UsageError
from emdsl.experiment import NO_CLUSTERS
from emdsl.outcomes import database, loading
from emdsl.outcomes.browsing import Filter
from emdsl.outcomes.conditions import condition_of, conditions_of
from emdsl.outcomes.paired_difference import paired_difference
from emdsl.outcomes.pairs import (
    NO_ROW,
    Pairs,
    Side,
    levels_alone,
    levels_side_by_side,
    strip_sql,
    versions_side_by_side,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.experiment import Experiment
    from emdsl.outcomes.database import Connection

STUDY = """em 1
rubric score(answer) from "sim/judge" { scale = 0..100, user "score {answer}" }
rubric kind(answer) from "sim/judge" { choices = { good: "fine", bad: "not" }, user "{answer}" }
experiment e {
  for arm in ["a", "b", "c"]
  for q in QUESTIONS
  samples = 2
  ask answer from "sim/subject" with "{arm} {q}"
  judge v with score(answer)
  judge said with kind(answer)
  measure low = rate(v < 30 given v < 90) by arm
  measure apart = contrast(rate(v < 30), arm is b, arm is a)
}
"""
# arm, q, sample, answer, v, why v is missing, said
ROWS = [
    ("a", "q0", 0, "same", 10, None, "good"), ("b", "q0", 0, "same", 80, None, "bad"),
    ("a", "q0", 1, "x", 10, None, "good"), ("b", "q0", 1, "y", 20, None, "good"),
    ("a", "q1", 0, "x", 50, None, "good"), ("b", "q1", 0, "y", 20, None, "good"),
    ("a", "q1", 1, "x", 50, None, "good"), ("b", "q1", 1, "y", None, "REFUSAL", "good"),
    ("a", "q2", 0, "x", 95, None, "good"), ("b", "q2", 0, "y", 20, None, "good"),
    ("a", "q2", 1, "x", 20, None, "good"), ("b", "q2", 1, None, None, "not_asked", None),
    ("a", "q3", 0, "x", 20, None, "good"),
    ("c", "q0", 0, "same", 10, None, "good"), ("c", "q3", 1, "z", 20, None, "good"),
]  # fmt: skip


def made(connection: Connection, text: str, rows: Sequence[tuple[object, ...]], schema: str = "s") -> Experiment:
    """Return an experiment whose table has some rows."""
    only = experiment(text)
    listed = ", ".join(
        "(" + ", ".join("NULL" if v is None else repr(v) for v in (i, *row)) + ")" for i, row in enumerate(rows)
    )
    made_table(connection, only, schema, (
        "SELECT * EXCLUDE (i), answer IS NOT NULL AND v_missing IS NULL AS simulated, "
        "CASE WHEN answer IS NULL THEN 'not_asked' END AS answer_missing, "
        "CASE WHEN said IS NULL THEN 'not_asked' END AS said_missing, 'key ' || i AS answer_key "
        f"FROM (VALUES {listed}) AS rows(i, arm, q, sample, answer, v, v_missing, said) ORDER BY i"
    ))  # fmt: skip
    return only


def of_levels(only: Experiment, condition: str, *positions: int, chosen: Filter | None = None) -> Pairs:
    found = condition_of(only, condition)
    return levels_side_by_side(only, f's."{only.name}"', found, "arm", positions, chosen or Filter())


def places(connection: Connection, pairs: Pairs, *states: str) -> list[tuple[int, ...]]:
    return connection.execute(pairs.different_sql(states)).fetchall()


def test_what_differs_between_levels() -> None:
    """Places of both sides, by a condition, a verdict or the text; nothing that is pending."""
    with database.in_memory() as connection:
        only = made(connection, STUDY.replace("QUESTIONS", '["q0", "q1", "q2", "q3"]'), ROWS)
        cases = [
            ("m.low", (), [(0, 1), (4, 5), (6, 7), (8, 9)]),  # a `given` that does not hold is no verdict
            ("t.v.60", (), [(0, 1), (6, 7), (8, 9)]),
            ("t.v.15", (), [(0, 1), (2, 3), (6, 7)]),
            ("l.said.good", (), [(0, 1)]),
            ("v.said", (), [(0, 1)]),
            ("v.v", (), [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]),
            ("text", (), [(2, 3), (4, 5), (6, 7), (8, 9)]),
            ("m.low", ("true", "false"), [(0, 1)]),
            ("m.low", ("true", "true"), [(2, 3)]),
            ("m.low", ("false", "REFUSAL"), [(6, 7)]),
            ("m.low", ("true", "not_asked"), [(10, 11)]),
            ("m.low", ("true", NO_ROW), [(12, -1)]),
        ]
        for condition, states, wanted in cases:
            assert places(connection, of_levels(only, condition, 0, 1), *states) == wanted, (condition, states)
        assert places(connection, of_levels(only, "m.low", 1, 0)) == [(1, 0), (5, 4), (7, 6), (9, 8)]
        assert places(connection, of_levels(only, "m.low", 0, 1, 2)) == [(0, 1, 13)]  # all three have it
        # a level restricts both sides, another condition needs to hold on one of them
        q = Filter(levels={"q": frozenset((0, 1)), "arm": frozenset((0,))})
        assert places(connection, of_levels(only, "m.low", 0, 1, chosen=q)) == [(0, 1), (4, 5), (6, 7)]
        high = Filter(where="v > 60")
        assert places(connection, of_levels(only, "m.low", 0, 1, chosen=high)) == [(0, 1), (8, 9)]
        table = connection.execute(of_levels(only, "m.low", 0, 1).table_sql()).fetchall()
        assert sorted(table) == sorted([
            ("true", "false", 1), ("true", "true", 1), ("false", "true", 1), ("false", "REFUSAL", 1),
            ("not_given", "true", 1), ("true", "not_asked", 1), ("true", NO_ROW, 1),
        ])  # fmt: skip
        strip = connection.execute(strip_sql(of_levels(only, "v.v", 0, 1).sides[0], (1, 1), range(10))).fetchall()
        assert strip == [(0, 20.0, None), (1, None, "REFUSAL")]


def test_conditions_of_a_study() -> None:
    """Yes/no conditions first, each once; any number is a threshold of a score; other names are errors."""
    only = experiment(STUDY.replace("QUESTIONS", '["q0"]'))
    assert [(c.id, c.text, c.rate is not None) for c in conditions_of(only)] == [
        ("m.low", "v < 30 given v < 90", True), ("m.apart", "v < 30", True), ("t.v.90", "v < 90", True),
        ("l.said.good", "said is good", True), ("l.said.bad", "said is bad", True),
        ("v.v", "v", False), ("v.said", "said", False), ("text", "text of the answer", False),
    ]  # fmt: skip
    assert condition_of(only, "t.v.12.5").text == "v < 12.5"
    assert condition_of(only, "").id == "m.low"
    for wrong in ("t.said.3", "t.v.nan", "t.v.1e999", "m.lo", "l.said.x"):
        with pytest.raises(UsageError, match="has no condition"):
            condition_of(only, wrong)


def test_a_paired_difference_is_that_of_a_contrast() -> None:
    """Of complete pairs it is a contrast of the study, by its clusters, and that of a clustered regression."""
    own = random.Random(3)
    questions = [f"q{i}" for i in range(14)]
    rows: list[tuple[object, ...]] = []
    for q in questions:
        lean = own.random()
        for sample in (0, 1):
            rows += [(arm, q, sample, "x", 10 if own.random() < lean * (1 + (arm == "b")) / 2 else 70, None, "good")
                     for arm in "ab"]  # fmt: skip
    text = STUDY.replace("QUESTIONS", str(questions).replace("'", '"'))
    with database.in_memory() as connection:
        only = made(connection, text, rows)
        loading._measures(connection, only, "s")
        contrast = database.select(connection, "FROM s.apart")
        row = dict(zip(contrast.columns, contrast.rows[0], strict=True))
        found = paired_difference(connection, of_levels(only, "m.apart", 0, 1))
    assert found is not None
    names = ("low", "high", "p", "clusters", "clustered_by")
    assert [getattr(found, n) for n in names] == pytest.approx([row[n] for n in names])
    assert (found.difference, found.first, found.second) == pytest.approx(
        (row["contrast"], row["second"], row["first"])
    )
    assert (found.clustered_by, found.clusters, found.n_first, found.n_second) == ("q", 14, 28, 28)
    y = np.array([float(r[4] == 10) for r in rows])
    x = np.array([(1.0, float(r[0] == "b")) for r in rows])
    groups = {"groups": np.array([questions.index(str(r[1])) for r in rows]), "use_correction": False}
    fit = GLM(y, x).fit(cov_type="cluster", cov_kwds=groups)
    half = scipy.stats.t(13).ppf(0.975) * float(fit.bse[1]) * (14 / 13) ** 0.5
    assert found.difference == pytest.approx(float(fit.params[1]))
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), rel=1e-6)


def test_a_paired_difference_leaves_incomplete_pairs_out() -> None:
    """Only rows with a verdict on both sides count; few independent pairs are tested exactly; no pair is no figure."""
    with database.in_memory() as connection:
        only = made(connection, STUDY.replace("QUESTIONS", '["q0", "q1", "q2", "q3"]'), ROWS)
        found = paired_difference(connection, of_levels(only, "t.v.30", 0, 1))
    assert found is not None  # q0: yes no, yes yes; q1: no yes; q2: no yes
    assert (found.first, found.second, found.difference, found.n_first) == (0.5, 0.75, 0.25, 4)
    error = (sum((d - 0.25) ** 2 for d in (-1, 0, 1, 1)) / 3 / 4) ** 0.5
    half = scipy.stats.t(3).ppf(0.975) * error
    assert (found.low, found.high) == pytest.approx((max(-1, 0.25 - half), min(1, 0.25 + half)))
    assert found.p == pytest.approx(mcnemar([[1, 1], [2, 0]], exact=True).pvalue)
    with database.in_memory() as connection:
        only = made(connection, STUDY.replace("QUESTIONS", '["q0", "q1", "q2", "q3"]'), ROWS[-3:-1])
        assert paired_difference(connection, of_levels(only, "t.v.30", 0, 1)) is None


def test_versions_by_the_names_of_levels() -> None:
    """A number is one level however it is stored; what one version has alone is not in the grid of the other."""
    first = STUDY.replace("QUESTIONS", "[0, 8]")
    second = STUDY.replace("QUESTIONS", "[4, 0.5, 8]").replace("v < 30 given", "v < 60 given").replace('"c"', '"d"')
    with database.in_memory() as connection:
        one = made(connection, first, [("a", 0, 0, "x", 10, None, "good"), ("a", 8, 0, "x", 50, None, "good"),
                                       ("c", 8, 1, "x", 50, None, "good")])  # fmt: skip
        two = made(
            connection, second, [("a", 8.0, 0, "y", 50, None, "good"), ("b", 4.0, 1, "y", 50, None, "good")], "t"
        )
        sides = [
            Side(experiment=e, table=f'{schema}."e"', condition=condition_of(e, "m.low"))
            for e, schema in ((one, "s"), (two, "t"))
        ]
        pairs = versions_side_by_side(sides[0], sides[1], Filter())
        assert isinstance(pairs, Pairs)
        assert places(connection, pairs) == [(1, 0)]
        assert sorted(connection.execute(pairs.table_sql()).fetchall()) == sorted([
            ("false", "true", 1), ("true", NO_ROW, 1), ("false", NO_ROW, 1), (NO_ROW, "true", 1),
        ])  # fmt: skip
        assert levels_alone(one, two) == [("arm", ["c"], ["d"], 1, 1), ("q", ["0"], ["4", "0.5"], 1, 2)]
        only_four = versions_side_by_side(sides[0], sides[1], Filter(levels={"q": frozenset((1,))}))
        assert isinstance(only_four, Pairs)
        assert len(connection.execute(only_four.table_sql()).fetchall()) == 2  # of 8 alone
        found = paired_difference(connection, pairs)
        assert found is not None
        assert (found.difference, found.n_first) == (1.0, 1)
    other = experiment(first.replace("for arm", 'for more in ["x", "y"]\n  for arm'))
    more = Side(experiment=other, table="u.e", condition=condition_of(other, "m.low"))
    reason = versions_side_by_side(sides[0], more, Filter())
    assert reason == "only the other version has the axis `more`: its rows cannot be matched"


@pytest.mark.parametrize("other", [False, True])
def test_versions_are_in_the_clusters_of_the_first(other: bool) -> None:
    """Its clusters hold for both: the second may lack the column, or have other values in it."""
    questions = [f"q{i:02}" for i in range(12)]
    text = STUDY.replace("QUESTIONS", str(questions).replace("'", '"')).replace("samples = 2", "samples = 1")
    was = [70] * 12
    now = [10, 10, 10, 10, 70, 70, 10, 70, 70, 10, 70, 70]  # of each two questions 2, 2, 0, 1, 1 and 0 turn
    with database.in_memory() as connection:
        sides = []
        for schema, scores in (("s", was), ("t", now)):
            rows = [("a", q, 0, f"{schema} {q}", v, None, "good") for q, v in zip(questions, scores, strict=True)]
            only = made(connection, text, rows, schema)
            if schema == "s" or other:
                connection.execute(f"ALTER TABLE {schema}.e ADD COLUMN two INT")
                connection.execute(f"UPDATE {schema}.e SET two = (q[2:]::INT + {int(schema == 't')}) // 2")
            if schema == "s":
                only = dataclasses.replace(only, clusters=dataclasses.replace(NO_CLUSTERS, names=("two",)))
            sides.append(Side(experiment=only, table=f"{schema}.e", condition=condition_of(only, "t.v.30")))
        pairs = versions_side_by_side(sides[0], sides[1], Filter())
        assert isinstance(pairs, Pairs)
        found = paired_difference(connection, pairs)
    assert found is not None
    assert (found.difference, found.clustered_by, found.clusters, found.n_first) == (0.5, "two", 6, 12)
    # the totals less their mean are 1, 1, -1, 0, 0 and -1
    half = float(scipy.stats.t(5).ppf(0.975)) * (6 / 5 * 4) ** 0.5 / 12
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_levels_of_numbers_and_texts_have_the_same_names() -> None:
    """An axis of numbers in one version that got a text in the other keeps its levels."""
    one, two = (experiment(STUDY.replace("QUESTIONS", x)) for x in ("[0, 8]", '[0, "many", 8, true]'))
    assert levels_alone(one, two) == [("q", [], ["many", "true"], 0, 2)]
