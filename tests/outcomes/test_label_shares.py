"""`judged.p(LABEL)`, `judged.mass` and `answer.cost` in a study: evaluated, in SQL, in conditions, with errors."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, emdsl, experiment, keys, outcomes, program, run

from emdsl.errors import SourceError
from emdsl.outcomes import database, loading
from emdsl.outcomes.sql import columns_of, name, to_sql
from emdsl.outcomes.table import fields_of
from emdsl.providers.openai import encode
from emdsl.query import Response, Usage
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import NOT_REPORTED, Missing

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.experiment import Experiment
    from emdsl.query import Query

RUBRIC = """
model paid { use = "sim/subject" }
rubric trait(answer) from "sim/judge" {
  choices = ["YES", "NO", "very unsure"], read = weighted(top: 20), refusal = "REFUSAL", max_tokens = 1
  user "trait {answer}"
}
"""
STUDY = (
    RUBRIC
    + """
experiment e {
  for x in ["one", "two"]
  samples = 12
  ask answer from paid with x
  judge v with trait(answer) { samples = 2 }
  when v.p(YES) > 0.5 { judge more with trait("more {answer}") }
"""
)
REPLIES: list[dict[str, float]] = [
    {"YES": 0.7, " yes": 0.1, "NO": 0.1, "very": 0.1},
    {"NO": 0.5, "YES": 0.3},
    {"very": 0.3, "YES": 0.2, "No": 0.1},
    {"REF": 0.8, "YES": 0.1},
    {"I": 0.9, "YES": 0.1},
    {"YES": 1.0},
    {},
]


class Judges(InProcess):
    """Judges whose candidates are those of REPLIES, by the key; subjects whose provider reports a cost, or none."""

    async def ask(self, query: Query, *_: Any) -> Response:
        pick = int.from_bytes(query.key[:4], "big")
        if query.settings.model.wire_name != "judge":
            cost = 0.001 * (pick % 5) if pick % 5 else None
            return Response(text=f"answer {pick}", finish="stop", usage=Usage(cost_usd=cost, output_tokens=pick % 7))
        candidates = REPLIES[pick % len(REPLIES)]
        logprobs = (tuple((t, math.log(p)) for t, p in candidates.items()),) if candidates else None
        return Response(text=next(iter(candidates), "YES"), finish="stop", logprobs=logprobs)


def loaded(tmp_path: Path, body: str) -> tuple[Experiment, list[Any]]:
    """Run and load a study; return its experiment and its rows in the order of the table."""
    only = experiment(STUDY + body + "\n}")
    store = MemoryStore()
    run(STUDY + body + "\n}", store, Judges())
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    assert loading.load(tmp_path, load, [(only, collect(Rows(only), store, {}))]) == []
    return only, outcomes(only, store)


EXPRESSIONS = [
    "v.p(YES)", "v.p(NO) + v.p(YES)", 'v.p("very unsure")', "v_2.p(YES) - v.p(YES)", "more.p(YES)", "v.p(YES) else 2",
    "v.p(YES) * v.mass", "v.mass", "v.word_mass", "answer.cost",
    "if v.p(YES) is no_mass then 2 else v.p(YES)", "answer.cost * 1000 + answer.tokens",
    "answer.cost else 7", "if v is YES then v.p(YES) else v.p(NO)",
]  # fmt: skip


def test_sql_agrees_with_the_evaluator_row_by_row(tmp_path: Path) -> None:
    """A probability is missing where its verdict is; masses are known there; both give the same for every row."""
    lets = "".join(f"  let e{i} = {e}\n  measure m{i} = mean({e})\n" for i, e in enumerate(EXPRESSIONS))
    only, rows = loaded(tmp_path, lets)
    columns = columns_of(only)
    with database.opened(tmp_path) as (connection, _):
        for i, expression in enumerate(EXPRESSIONS):
            value = only.measures[i].value
            assert value is not None
            sql = f"SELECT {to_sql(value, columns)}, e{i} FROM {name(only.name)} ORDER BY rowid"
            wanted = [None if isinstance(v := row.frame[f"e{i}"], Missing) else pytest.approx(float(v)) for row in rows]
            assert [r[0] for r in database.select(connection, sql).rows] == wanted, expression
            assert [r[1] for r in database.select(connection, sql).rows] == wanted, expression
            assert len({str(w) for w in wanted}) > 2, f"{expression} tests nothing"


def test_the_mean_of_a_probability_is_that_of_its_kept_rows(tmp_path: Path) -> None:
    """By hand from the candidates: P(YES) over that of all labels, without the rows that have a reason instead."""
    only, rows = loaded(tmp_path, "  measure m = mean(v.p(YES) given v.mass > 0.5)")
    by_hand: list[float] = []
    dropped: dict[str, int] = {}
    for row in rows:
        result = row.results["v"]
        assert result.query is not None
        candidates = REPLIES[int.from_bytes(result.query.key[:4], "big") % len(REPLIES)]
        yes = candidates.get("YES", 0) + candidates.get(" yes", 0)
        mass = yes + sum(candidates.get(t, 0) for t in ("NO", "No", "very"))
        reason = "no_logprobs" if not candidates else "REFUSAL" if "REF" in candidates else "no_mass"
        if candidates and mass > 0.5:
            by_hand.append(yes / mass)
        else:
            reason = "not_given" if candidates else reason
            dropped[reason] = dropped.get(reason, 0) + 1
    with database.opened(tmp_path) as (connection, study):
        assert study is not None
        result = database.measure_rows(connection, study, "m")
    assert result is not None
    shown = dict(zip(result.columns, result.rows[0], strict=True))
    assert (shown["mean"], shown["n"]) == (pytest.approx(sum(by_hand) / len(by_hand), abs=1e-12), len(by_hand))
    assert shown["dropped"] == dropped
    assert only.words == frozenset(["REFUSAL"])


OF_AN_ANSWER = """
experiment e {
  samples = 40
  ask answer from "sim/judge" with "one" { choices = ["YES", "NO"], read = weighted(top: 20) }
"""
OF_ANSWERS = [
    "answer.p(YES)", "answer.p(YES) else 2", "answer.p(NO) * answer.mass", "answer.mass",
    "if answer.p(YES) is no_mass then 1 else 0",
]  # fmt: skip


def test_probabilities_of_an_answer_are_missing_where_it_is_unread(tmp_path: Path) -> None:
    """Without mass on a label, or with too little of it: with that reason, in SQL too."""
    text = OF_AN_ANSWER + "".join(f"  let e{i} = {e}\n  measure m{i} = mean({e})\n" for i, e in enumerate(OF_ANSWERS))
    only, store = experiment(text + "}"), MemoryStore()
    run(text + "}", store, Judges())
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    assert loading.load(tmp_path, load, [(only, collect(Rows(only), store, {}))]) == []
    rows, columns = outcomes(only, store), columns_of(only)
    reasons = Counter(p.reason for row in rows if isinstance(p := row.frame["answer.p(YES)"], Missing))
    assert set(reasons) == {"no_mass", "no_logprobs"}
    with database.opened(tmp_path) as (connection, study):
        assert study is not None
        for i, expression in enumerate(OF_ANSWERS):
            value = only.measures[i].value
            assert value is not None
            sql = f"SELECT {to_sql(value, columns)}, e{i} FROM e ORDER BY rowid"
            wanted = [None if isinstance(v := row.frame[f"e{i}"], Missing) else pytest.approx(float(v)) for row in rows]
            assert [r[0] for r in database.select(connection, sql).rows] == wanted, expression
            assert [r[1] for r in database.select(connection, sql).rows] == wanted, expression
            assert len({str(w) for w in wanted}) > 1, f"{expression} tests nothing"
        result = database.measure_rows(connection, study, "m0")
    assert result is not None
    shown = dict(zip(result.columns, result.rows[0], strict=True))
    assert (shown["n"], shown["dropped"]) == (40 - reasons.total(), dict(reasons))


def test_an_answer_of_one_token_is_not_reported_as_truncated(tmp_path: Path) -> None:
    """Its first token is all that is read; that of an answer that is read as a text still is."""
    study = """em 1
model wordy { use = "sim/subject", sim = { refusal: 1, floor: 0, ceiling: 0, incoherent: 0 } }
experiment e {
  samples = 3
  ask first from wordy with "one" { choices = ["YES", "NO"], read = weighted(top: 20), max_tokens = 1 }
  ask second from wordy with "two" { max_tokens = 1 }
}
"""
    (tmp_path / "study.em").write_text(study, encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    for verb in ("run", "plan"):
        shown = emdsl(verb, "study.em", cwd=tmp_path)
        assert "answers of `first`" not in shown.stdout + shown.stderr
        assert "3 answers of `second`: 3 truncated" in shown.stdout + shown.stderr


def test_a_condition_on_a_probability_decides_what_is_asked() -> None:
    """`more` is requested for those rows whose P(YES) is above a half, and undecided where it is missing."""
    store = MemoryStore()
    provider, _ = run(STUDY + "\n}", store, Judges())
    rows = outcomes(experiment(STUDY + "\n}"), store)
    asked = {row.results["more"].query.key for row in rows if row.results["more"].query is not None}
    for row in rows:
        p, more = row.frame["v.p(YES)"], row.results["more"]
        if isinstance(p, Missing):
            assert more.value == Missing("undecided")
            assert p == row.frame["v"]
        else:
            assert (more.query is not None) is (p > 0.5)
    assert asked
    assert provider is not None


def test_each_label_has_a_column() -> None:
    """Beside the masses, for each draw of the judge, with the label in its comment."""
    fields = {f.name: f for f in fields_of(experiment(STUDY + "\n}"), "run")}
    assert [n for n in fields if n.startswith("v_p_")] == ["v_p_YES", "v_p_NO", "v_p_very unsure"]
    assert [n for n in fields if n.startswith("v_2_p_")] == ["v_2_p_YES", "v_2_p_NO", "v_2_p_very unsure"]
    assert fields["v_p_YES"].comment == "probability of `YES` among all labels"
    assert fields["v_mass"].comment == "probability that the first token begins a label"
    assert fields["v_p_YES"].sql == "DOUBLE"


def test_the_simulator_gives_candidates_for_all_labels() -> None:
    """A study with probabilities can be tried out; no probe is sent."""
    study = (
        STUDY.replace("when v.p(YES) > 0.5 { judge more", "judge more").replace('{answer}") }', '{answer}")') + "\n}"
    )
    store = MemoryStore()
    provider, _ = run(study, store)
    assert provider.probes == 0
    for row in outcomes(experiment(study), store):
        shares = [row.frame[f"v.p({label})"] for label in ("YES", "NO", "very unsure")]
        assert sum(shares) == pytest.approx(1)
        assert all(0 < p < 1 for p in shares)
        assert row.frame["v.mass"] == pytest.approx(0.99)


def test_candidates_are_requested_as_for_scores() -> None:
    """`top_logprobs` is sent and is part of the key; a rubric without `read` keeps its key."""
    said = 'experiment e { ask answer from "sim/subject" with "x"\n judge v with trait("{1}") }'
    as_text = RUBRIC.replace("read = weighted(top: 20), ", "")
    assert keys(RUBRIC + said.replace("{1}", "a")) != keys(as_text + said.replace("{1}", "a"))
    walk = Rows(experiment(RUBRIC + said.replace("{1}", "a")))
    (row,) = walk.selected()
    bodies = [json.loads(encode(query)) for _, query in walk.advance(row)]
    assert [(b.get("logprobs"), b.get("top_logprobs")) for b in bodies] == [(None, None), (True, 20)]


@pytest.mark.parametrize(
    ("expression", "code", "words"),
    [
        ("v.p(MAYBE)", "E210", "the labels are `NO`, `YES`, `very unsure`"),
        ("v.p(yes)", "E210", "the labels are"),
        ("v.p(YESS)", "E210", "did you mean `YES`"),
        ("v_2.p(MAYBE)", "E210", "the labels are"),
        ("v.p(YES) > 50", "E530", "50 is outside the scale 0..1"),
        ("v.p", "E215", "write `v.p(NO)`"),
        ("v.p()", "E215", "write `v.p(NO)`"),
        ("v.p(YES, NO)", "E215", "write `v.p(NO)`"),
        ("v.p(label: YES)", "E215", "write `v.p(NO)`"),
        ("v.p(1)", "E215", "write `v.p(NO)`"),
        ("v.p(x)", "E210", "the labels are"),
        ("said.p(YES)", "E215", "add `read = weighted(top: 20)`"),
        ("number.p(YES)", "E215", "use a rubric with `choices`"),
        ("answer.p(YES)", "E215", "add `choices` and `read = weighted(top: 20)` to `ask answer`"),
    ],
)
def test_labels_are_checked(expression: str, code: str, words: str) -> None:
    """An unknown label names those that exist, and a judge without probabilities says how to get them."""
    more = """
      judge said with plain(answer)
      judge number with scored(answer)
      let a = EXPRESSION
    }
    rubric plain(answer) from "sim/judge" { choices = ["YES", "NO"], user answer }
    rubric scored(answer) from "sim/judge" { scale = 0..100, user answer }
    """
    with pytest.raises(SourceError) as caught:
        program(STUDY + more.replace("EXPRESSION", expression))
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert words in found.render()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ('choices = ["NO", "NOT SURE"]', "E715"), ('choices = ["no", "NO."]', "E715"),
        ('choices = ["1", "10"]', "E715"),
        ('choices = ["YES", "NO"], other = "NO ANSWER"', "E715"), ("shape = { a: bool }", "E712"),
        ('choices = ["unsafe", "unsure"]', ""), ('choices = ["80", "85"], refusal = "REFUSAL"', ""),
    ],
)  # fmt: skip
def test_labels_of_one_token_differ(settings: str, code: str) -> None:
    """What is the beginning of another label or word is an error; a shared beginning is left to the run."""
    study = 'rubric r(a) from "sim/judge" { SETTINGS, read = weighted(top: 20), user a }'.replace("SETTINGS", settings)
    study += '\nexperiment e { ask answer from "sim/subject" with "x"\n judge v with r(answer) }'
    if not code:
        assert program(study)
        return
    with pytest.raises(SourceError) as caught:
        program(study)
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_a_programs_own_names_stay() -> None:
    """A map with a function `p` is called, and a label is no name, though an axis or a `let` has it."""
    study = (
        RUBRIC
        + """
    prompt greet(name) { user "hi {name}" }
    let told = { p: greet }
    experiment e {
      for YES in ["one", "two"]
      for q in ["a"]
      ask answer from paid with told.p(q)
      judge v with trait(answer)
      let share = v.p(YES)
      let NO = 1
      measure m = mean(v.p(NO) + NO)
    }
    """
    )
    only = experiment(study)
    assert only.measures[0].reads == ("v",)
    assert len(keys(study)) == 1
    assert program(study).experiments[0].axes[0].name == "YES"


def test_a_cost_is_that_of_its_answer() -> None:
    """The cost that its provider reports; without one and without a price it is not reported."""
    study = STUDY.replace('use = "sim/subject"', 'use = "vllm/m", url = "http://127.0.0.1:9/v1"')
    study += "  let spent = answer.cost\n}"
    store = MemoryStore()
    run(study, store, Judges())
    costs = set()
    for row in outcomes(experiment(study), store):
        response = row.results["answer"].response
        assert response is not None
        reported = response.usage.cost_usd
        assert row.frame["spent"] == (reported if reported is not None else NOT_REPORTED)
        costs.add(reported)
    assert None in costs
    assert len(costs) > 2


def test_the_story_of_a_row_names_the_probabilities(tmp_path: Path) -> None:
    """`show --row` prints them beside the verdict, and has them as data."""
    study = "em 1\n" + STUDY.replace("when v.p(YES) > 0.5 { judge more", "judge more").replace(
        '{answer}") }', '{answer}")'
    )
    (tmp_path / "study.em").write_text(study + "\n}\n", encoding="utf-8")
    emdsl("run", "study.em", "-q", cwd=tmp_path)
    shown = emdsl("show", "study.em", "--row", "sample = 0", cwd=tmp_path).stdout
    assert "(probability of labels 0.990, of declared words 0.000; YES 0." in shown
    told = json.loads(emdsl("show", "study.em", "--row", "sample = 0", "--json", cwd=tmp_path).stdout)
    step = next(s for story in told["stories"] for s in story["steps"] if s["step"] == "v")
    assert sum(step["p"].values()) == pytest.approx(1)
    assert list(step["p"]) == ["YES", "NO", "very unsure"]
