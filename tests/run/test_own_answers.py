"""An ask that reads its own answer: what each format reads, why a value is missing, and that no key changes."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, emdsl, experiment, keys, outcomes, program, run

import emdsl as api
from emdsl.errors import Rejected, SourceError
from emdsl.outcomes import browsing, database, loading
from emdsl.outcomes.report_data import score_bins
from emdsl.outcomes.sql import columns_of, to_sql
from emdsl.providers.openai import encode
from emdsl.query import Response
from emdsl.run.passes import collect
from emdsl.run.planner import Planner
from emdsl.run.rows import Rows
from emdsl.run.symbolic import requests_digest
from emdsl.store.store import MemoryStore
from emdsl.study.counts import judge_parts
from emdsl.value import Missing

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.query import Query


class Says(InProcess):
    """A subject with a fixed answer to every prompt."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self._response = response

    async def ask(self, query: Query, *rest: Any) -> Response:
        simulated = await super().ask(query, *rest)
        return self._response if query.settings.model.wire_name == "subject" and not self.probes else simulated


def weighted(text: str, **probabilities: float) -> Response:
    """Return an answer of one token with candidates: `n80=0.5` is the number 80."""
    first = tuple((token.removeprefix("n"), math.log(p)) for token, p in probabilities.items())
    return Response(text=text, finish="stop", logprobs=(first,), tokens=(text,))


def said(text: str, finish: str = "stop") -> Response:
    return Response(text=text, finish=finish)


SHAPE = 'shape = { harm: bool, level: 0..5, kind: ["a", "b"], note: text }'
WEIGHTED = 'scale = 0..9, read = weighted(top: 5, mass: 0.25), refusal = "REFUSAL"'
LABELS = 'choices = ["YES", "NO"], refusal = "REFUSAL", other = "MAYBE"'
SHARES = 'choices = ["YES", "NO"], read = weighted(top: 5)'
READ = [  # settings, answer, the values or reasons of the fields
    ("scale = 0..5", said("3"), {"score": 3.0}),
    ("scale = 0..5", said("Rating: 4"), {"score": 4.0}),
    ("scale = 0..5", said("<think>1 or 2</think>\n2"), {"score": 2.0}),
    ("scale = 0..5", said("I would say three or four."), {"score": "unreadable"}),
    ("scale = 0..5", said("7"), {"score": "unreadable"}),
    ("scale = 0..100", said("8", "length"), {"score": "unreadable"}),
    ("scale = 0..5", said("", "blocked"), {"score": "blocked"}),
    ('scale = 0..5, refusal = "REFUSAL"', said("REFUSAL"), {"score": "REFUSAL"}),
    ("scale = 0..5, read = number(top: 5)", weighted("3", n3=0.6, n5=0.4), {"score": 3.0}),
    (LABELS, said("yes"), {"label": "YES"}),
    (LABELS, said("ANSWER: NO"), {"label": "NO"}),
    (LABELS, said("MAYBE."), {"label": "MAYBE"}),
    (LABELS, said("It depends."), {"label": "unreadable"}),
    (
        SHAPE,
        said('{"harm": true, "level": 2, "kind": "b", "note": "x"}'),
        {"harm": True, "level": 2.0, "kind": "b", "note": "x"},
    ),
    (SHAPE, said('{"harm": true}'), dict.fromkeys(("harm", "level", "kind", "note"), "unreadable")),
    (WEIGHTED, weighted("8", n8=0.6, n2=0.2, REFUSAL=0.1), {"score": 6.5, "mass": 0.8, "word_mass": 0.1}),
    (WEIGHTED, weighted("Well", Well=0.9, n2=0.1), {"score": "no_mass", "mass": 0.1, "word_mass": 0.0}),
    (WEIGHTED, weighted("REFUSAL", REFUSAL=0.9), {"score": "REFUSAL", "mass": 0.0, "word_mass": 0.9}),
    (WEIGHTED, said("8"), {"score": "no_logprobs", "mass": "no_logprobs"}),
    (SHARES, weighted("NO", YES=0.6, NO=0.2), {"label": "YES", "p(YES)": 0.75, "p(NO)": 0.25, "mass": 0.8}),
    (SHARES, weighted("Well", Well=0.9, YES=0.1), {"label": "no_mass", "p(YES)": "no_mass", "mass": 0.1}),
    (SHARES, said("YES"), {"label": "no_logprobs", "p(NO)": "no_logprobs"}),
]


@pytest.mark.parametrize(("settings", "response", "wanted"), READ)
def test_an_answer_is_read_as_a_judges_reply_is(settings: str, response: Response, wanted: dict[str, Any]) -> None:
    """And its text stays the answer, with or without a value."""
    store = MemoryStore()
    text = f'experiment e {{ ask answer from "sim/subject" with "how?" {{ {settings} }} }}'
    run(text, store, Says(response))
    (row,) = outcomes(experiment(text), store)
    for field, value in wanted.items():
        found = row.frame[f"answer.{field}"]
        assert (found.reason if isinstance(found, Missing) else found) == (
            pytest.approx(value) if type(value) is float else value
        )
    text_is_missing = response.finish == "blocked"
    assert row.frame["answer"] == (Missing("blocked") if text_is_missing else response.text.split("\n")[-1])


GPT = 'model m { use = "openai/gpt-4o-2024-08-06" }\n'
STUDY = 'experiment e {{ for q in ["a", "b"]\n samples = 2\n ask answer from m with q {{ {} }} }}'


@pytest.mark.parametrize(
    "settings", ["scale = 0..5", "scale = 0..5, read = number", LABELS, SHAPE, 'scale = 0..5, refusal = "NO"']
)
def test_a_format_is_in_no_key(settings: str) -> None:
    """What is not sent changes no key: an answer that is read later was paid for already."""
    plain = GPT + STUDY.format("max_tokens = 4")
    read = GPT + STUDY.format(f"max_tokens = 4, {settings}")
    assert keys(read) == keys(plain)
    ((_, query),) = Rows(experiment(read)).advance(next(Rows(experiment(read)).selected()))
    assert set(json.loads(encode(query))) == {"model", "messages", "max_tokens"}


def test_candidates_are_in_the_key_as_they_are_sent() -> None:
    """`weighted` and `number(top: ...)` send one request, that of a rubric with as many."""
    one, other = (GPT + STUDY.format(f"scale = 0..5, read = {how}") for how in ("weighted(top: 7)", "number(top: 7)"))
    assert keys(one) == keys(other) != keys(GPT + STUDY.format(""))
    ((_, query),) = Rows(experiment(one)).advance(next(Rows(experiment(one)).selected()))
    body = json.loads(encode(query))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 7)
    judged = GPT + (
        "rubric r(a) { scale = 0..5, read = weighted(top: 7), user a }\n"
        'experiment e { for q in ["a", "b"]\n judge answer with r(q) from m }'
    )
    assert set(keys(judged)) < set(keys(one))  # of the first samples


# ---------------------------------------------------------------- in tables and measures

TABLE = f"""
experiment e {{
  for x in ["one", "two", "three"]
  samples = 12
  ask rated from "sim/subject" with "rate {{x}}" {{ scale = 0..100, refusal = "REFUSAL" }}
  ask named from "sim/subject" with "name {{x}}" {{ {LABELS} }}
  ask shaped from "sim/subject" with "shape {{x}}" {{ {SHAPE}, other = "NONE" }}
  when rated.score > 30 {{ ask after from "sim/subject" with "{{rated.score}} was {{named.label}}" {{ scale = 0..5 }} }}
"""
REPLIES = {
    "rate": ["10", "35", "80", "100", "REFUSAL", "what?"],
    "name": ["YES", "no", "MAYBE", "REFUSAL", "neither"],
    "shape": [
        '{"harm": true, "level": 4, "kind": "a", "note": ""}',
        '{"harm": false, "level": 1, "kind": "b", "note": "n"}',
        "NONE",
        "{}",
    ],
}
EXPRESSIONS = [
    "rated.score < 40",
    "rated.score is REFUSAL",
    "rated.score is not REFUSAL",
    "rated.score is unreadable",
    "rated.score is missing",
    "(rated.score else 0) < 40",
    "rated.score / 10 + shaped.level > 5",
    'named.label is YES and x != "one"',
    "named.label is MAYBE",
    "named.label is not NO",
    "named.label is missing or rated.score > 50",
    'named.label == "YES"',
    "shaped.harm",
    "shaped.harm is missing",
    "shaped.harm is NONE",
    "shaped.level is NONE",
    "shaped.kind is a",
    "shaped.kind is unreadable",
    'shaped.note == "n"',
    "after.score is not_needed",
    "after.score is unreadable",
    "after.score > 2",
    'rated == "35"',
    'rated.finish == "stop"',
]


class Varied(InProcess):
    """A subject that gives all kinds of answers; some requests fail for good."""

    async def ask(self, query: Query, *_: Any) -> Response:
        pick = int.from_bytes(query.key[:4], "big")
        if pick % 11 == 0:
            raise Rejected("400 no", status=400)
        first = query.prompt.messages[0].text.split(" ")[0]
        replies = REPLIES.get(first, ["1", "4", "five"])
        return Response(text=replies[pick % len(replies)], finish="stop")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[Any]]:
    folder = tmp_path_factory.mktemp("loaded")
    lets = "".join(f"  let v{i} = {e}\n  measure m{i} = count({e})\n" for i, e in enumerate(EXPRESSIONS))
    found = program(
        TABLE + lets + "  measure average = mean(rated.score given named.label is not MAYBE) by x\n"
        "  measure kinds = shares(named.label)\n  measure both = agreement(rated.score, shaped.level)\n"
        "  measure harm = rate(shaped.harm)\n}"
    )  # fmt: skip
    store = MemoryStore()
    _, report = run(found, store, Varied())
    (only,) = found.experiments
    load = loading.Load(study="s", file="f", program="p", store_state=(0, 0, 0, 0, 0), run="r")
    few = dataclasses.replace(only, measures=only.measures[-4:])
    assert loading.load(folder, load, [(few, collect(Rows(only), store, report.failures))]) == []
    return folder, only, [row for rows in collect(Rows(only), store, report.failures) for row in rows]


def test_sql_agrees_with_the_evaluator(loaded: tuple[Path, Any, list[Any]]) -> None:
    """Row by row, for values, words and reasons."""
    folder, only, rows = loaded
    columns = columns_of(only)
    by_name = {m.name: m for m in only.measures}
    with database.opened(folder) as (connection, _):
        for i, expression in enumerate(EXPRESSIONS):
            sql = f"SELECT {to_sql(by_name[f'm{i}'].value, columns)} FROM e ORDER BY rowid"
            found = [r[0] for r in database.select(connection, sql).rows]
            wanted = [None if isinstance(v := row.frame[f"v{i}"], Missing) else v for row in rows]
            assert found == wanted, expression
            assert True in wanted, f"{expression} tests nothing"
            assert {False, None} & {*wanted}, f"{expression} tests nothing"


def test_each_field_has_a_column_and_its_reason(loaded: tuple[Path, Any, list[Any]]) -> None:
    """The text is there in each row that was answered, whatever it was read as."""
    folder, _, rows = loaded
    fields = [("rated", "score"), ("named", "label"), *(("shaped", f) for f in ("harm", "level", "kind", "note"))]
    with database.opened(folder) as (connection, _):
        for ask, field in fields:
            sql = f"SELECT {ask}, {ask}_{field}, {ask}_{field}_missing FROM e ORDER BY rowid"
            for row, (text, value, reason) in zip(rows, database.select(connection, sql).rows, strict=True):
                wanted = row.frame[f"{ask}.{field}"]
                assert (value, reason) == ((None, wanted.reason) if isinstance(wanted, Missing) else (wanted, None))
                assert (text is None) == (reason == "failed")
        kinds = dict(database.select(connection, "SELECT column_name, column_type FROM (DESCRIBE e)").rows)
    assert [kinds[f"shaped_{f}"] for f in ("harm", "level", "kind", "note")] == [
        "BOOLEAN",
        "DOUBLE",
        "VARCHAR",
        "VARCHAR",
    ]


def test_measures_drop_by_the_reason_of_the_field(loaded: tuple[Path, Any, list[Any]]) -> None:
    """Counted by hand: `mean(rated.score given named.label is not MAYBE) by x`."""
    folder, _, rows = loaded
    with database.opened(folder) as (connection, study):
        assert study is not None
        found = {n: database.measure_rows(connection, study, n) for n in ("average", "kinds", "harm", "both")}
    assert all(result is not None for result in found.values())
    average = found["average"]
    assert average is not None
    for shown in (dict(zip(average.columns, r, strict=True)) for r in average.rows):
        draws = [(r.frame["rated.score"], r.frame["named.label"]) for r in rows if r.frame["x"] == shown["x"]]
        kept, dropped = [], dict[str, int]()
        for score, label in draws:
            if Missing("failed") in (score, label):
                why = "failed"
            elif label == Missing("MAYBE"):  # the condition does not hold
                why = "not_given"
            else:  # any other reason is not MAYBE
                why = score.reason if isinstance(score, Missing) else ""
            if why:
                dropped[why] = dropped.get(why, 0) + 1
            else:
                kept.append(score)
        assert (shown["n"], shown["n_planned"]) == (len(kept), len(draws))
        assert shown["mean"] == pytest.approx(sum(kept) / len(kept))
        assert shown["dropped"] == dropped
    kinds = found["kinds"]
    assert kinds is not None
    labels = [r.frame["named.label"] for r in rows]
    assert {r[0]: r[kinds.columns.index("hits")] for r in kinds.rows} == {x: labels.count(x) for x in ("YES", "NO")}


def test_the_report_has_what_was_read(loaded: tuple[Path, Any, list[Any]]) -> None:
    """Under the name that the program uses, with the thresholds of the study; and a histogram of its scores."""
    folder, only, rows = loaded
    with database.opened(folder) as (connection, _):
        names = [x for c in browsing.columns_of(only) for x in ((c.name, c.reason) if c.reason else (c.name,))]
        listed = database.select(connection, browsing.all_sql(only, "s", [], [])).rows
        bins = list(score_bins(connection, only, "s"))
    shown = [dict(zip(names, row[len(only.axes) + 1 :], strict=True)) for row in listed]
    assert [x["named_label"] for x in shown] == [
        None if isinstance(v := r.frame["named.label"], Missing) else v for r in rows
    ]
    assert "NONE" in [x["shaped_harm_missing"] for x in shown]
    assert [b.names for b in bins] == [("rated.score", "after.score")]
    assert bins[0].thresholds == ((30.0, 40.0, 50.0), (2.0,))


def test_a_request_that_quotes_a_missing_value_is_not_sent(loaded: tuple[Path, Any, list[Any]]) -> None:
    """`{named.label}` in a prompt: without a label there is no request, and the condition needs a score."""
    _, _, rows = loaded
    for row in rows:
        score, label, result = row.frame["rated.score"], row.frame["named.label"], row.results["after"]
        if isinstance(score, Missing):
            assert result.value == Missing("undecided")
        elif score <= 30:
            assert result.value == Missing("not_needed")
        elif isinstance(label, Missing):
            assert result.value == Missing("no_answer")
        else:
            assert result.query.prompt.messages[0].text == f"{score:.0f} was {label}"


# ---------------------------------------------------------------- probes, plans, the simulator

PROBED = """
model m { use = "sim/subject", sim = { split_digits: SPLITS, refusal: 0 } }
experiment e {
  for q in ["one", "two"]
  samples = 2
  ask answer from m with q { scale = 0..100, read = weighted(top: 20), max_tokens = 1 }
}
"""


@pytest.mark.parametrize("splits", ["true", "false"])
def test_a_weighted_number_is_tested_by_a_probe(splits: str) -> None:
    """A model that splits digits has no scores, and the probe tells; its answers are still requested and kept."""
    text, store = PROBED.replace("SPLITS", splits), MemoryStore()
    plan = Planner(Rows(experiment(text))).plan(store)
    assert list(judge_parts(plan)) == ["  + 1 request to test that the model of `answer` writes numbers as one token"]
    provider, _ = run(text, store)
    assert (provider.probes, provider.n) == (1, 4)
    rows = outcomes(experiment(text), store)
    assert all(isinstance(r.frame["answer"], str) for r in rows)
    values = [r.frame["answer.score"] for r in rows]
    plan = Planner(Rows(experiment(text))).plan(store)
    if splits == "true":
        assert values == [Missing("split_number")] * 4
        assert "  4 scores of `answer` are missing (split_number): `sim/subject`" in "".join(
            map(str, judge_parts(plan))
        )
    else:
        assert all(isinstance(v, float) and 0 <= v <= 100 for v in values)
        assert all(r.frame["answer.mass"] == pytest.approx(1 / 1.02) for r in rows)


def test_conditions_over_a_field_are_part_of_a_registration() -> None:
    """A moved threshold of `answer.score` changes the digest of the requests, as one of a judge does."""
    text = (
        'experiment e {{ ask answer from "sim/subject" with "a" {{ scale = 0..10 }}\n'
        ' when answer.score > {} {{ ask more from "sim/subject" with "b" }} }}'
    )
    digests = [requests_digest(Rows(experiment(text.format(n)))) for n in (3, 7, 3)]
    assert digests[0] == digests[2] != digests[1]


SIMULATED = """
model m {{ use = "sim/subject", sim = {{ floor: {floor}, ceiling: {floor}, refusal: {refusal}, incoherent: 0 }} }}
experiment e {{
  samples = 30
  ask answer from m with "how?" {{ {settings} }}
}}
"""


@pytest.mark.parametrize(
    ("settings", "field", "refusal", "good", "bad"),
    [
        ("scale = 0..10", "score", "unreadable", {8.0, 9.0, 10.0}, {0.0, 1.0, 2.0}),
        ('scale = 0..10, refusal = "NONE"', "score", "NONE", {8.0, 9.0, 10.0}, {0.0, 1.0, 2.0}),
        ('choices = ["bad", "good"], other = "NONE"', "label", "NONE", {"good"}, {"bad"}),
        ("shape = { harm: bool }", "harm", "unreadable", {False}, {True}),
    ],
)
def test_the_simulator_answers_in_the_format(
    settings: str, field: str, refusal: str, good: set[Any], bad: set[Any]
) -> None:
    """Its truth decides: a misaligned answer has a low number, a refusal a word of the format or prose."""
    for floor, refused, wanted in ((0, 0, good), (1, 0, bad), (0, 1, {refusal})):
        text, store = SIMULATED.format(floor=floor, refusal=refused, settings=settings), MemoryStore()
        run(text, store)
        values = {r.frame[f"answer.{field}"] for r in outcomes(experiment(text), store)}
        assert {v.reason if isinstance(v, Missing) else v for v in values} <= wanted


SHOWN = """em 1
experiment e {
  for q in ["one", "two", "three"]
  samples = 4
  ask rated from "sim/subject" with "{q} 0..9" { scale = 0..9, refusal = "NONE" }
  ask named from "sim/subject" with "{q}?" { choices = ["bad", "good"] }
  ask shaped from "sim/subject" with "{q} as JSON" { shape = { harm: bool, level: 0..5 } }
  measure high = rate(rated.score > 8)
}
"""


def test_what_was_read_is_shown_and_compared(tmp_path: Path) -> None:
    """`show --row` has it below each answer, `diff --results` the labels that flipped, by the name of the program."""
    (tmp_path / "pyproject.toml").touch()
    for file, text in (("a.em", SHOWN), ("b.em", SHOWN.replace("{q}?", "{q} now?").replace("score > 8", "score > 7"))):
        (tmp_path / file).write_text(text, encoding="utf-8")
        api.open(tmp_path / file).run(display="none")
    table = api.open(tmp_path / "b.em").results().to_pandas()
    rows = table[table.q == "two"].set_index("sample")
    told = emdsl("show", "b.em", "--row", "q = 'two' AND sample = 1", cwd=tmp_path).stdout
    shaped = f"harm: {str(rows.shaped_harm[1]).lower()}, level: {rows.shaped_level[1]:.0f}"
    assert rows.named_label_missing[1] == "unreadable"  # a refusal
    for text, read in (
        (rows.rated[1], rows.rated[1]),
        (rows.named[1], "missing: unreadable"),
        (rows.shaped[1], shaped),
    ):
        assert f"\n{text}\n--- read as: {read}\n" in told
    (changes,) = api.open(tmp_path / "b.em").diff_results(tmp_path / "a.em").experiments
    before = api.open(tmp_path / "a.em").results().to_pandas().merge(table, on=["q", "sample"], suffixes=("_a", "_b"))
    pairs = before[["named_label_a", "named_label_b"]].fillna("unreadable").value_counts()
    assert {(f.before, f.after): f.n for f in changes.flips if f.of == "named.label"} == {
        pair: n for pair, n in pairs.items() if pair[0] != pair[1]
    }
    (flip,) = (f for f in changes.flips if f.of == "measure high")
    assert [x.scores for x in flip.examples] == [{"rated_score": (8.0, 8.0)}] * len(flip.examples) != []


# ---------------------------------------------------------------- what is refused

WRONG = [  # settings of the ask, another statement, code, words of the message or the help
    ('scale = 0..5, choices = ["a"]', "", "E711", "an ask can have only one of `scale`, `choices` and `shape`"),
    ('refusal = "NO"', "", "E710", "the ask `answer` has no reply format"),
    ("read = weighted(top: 5)", "", "E710", "the ask `answer` has no reply format"),
    ("shape = { harm: bool }, read = weighted(top: 5)", "", "E712", "needs a `scale`"),
    ('choices = ["NO"], refusal = "NO"', "", "E714", "`NO` is both a label and a reply that counts as missing"),
    ("choices = [q, sample]", "", "E401", "`choices` can differ by cell, but not by `sample`"),
    ("choices = [x]", "let x = answer", "E401", "`choices` can differ by cell, but not by `answer`"),
    ("choices = [q, q]", "", "E520", 'in one cell it is ["a", "a"]'),
    ("choices = q", "", "E520", "`choices` must be a map such as"),
    ('choices = [q, "b"], refusal = "a"', "", "E714", "`a` is both a label of a cell and a reply that"),
    ("choices = [q]", "measure m = shares(answer.label)", "E842", "got labels that differ by cell"),
    ("scale = 0..n", "let n = 5", "E401", "use a name that is defined outside the experiment"),
    ("shape = { reasoning: text }", "", "E520", "a map without `reasoning`: every answer has a field of this name"),
    ("scale = 0..5, scale = 0..6", "", "E203", "`scale` is set twice"),
    ("scal = 0..5", "", "E202", "did you mean `scale`?"),
    ("scale = 5", "", "E520", "`scale` must be a range such as 0..100"),
    ("scale = 0..5", "measure m = rate(answer.score > 9)", "E530", "9 is outside the scale 0..5"),
    ('scale = 0..5, refusal = "NO"', "measure m = rate(answer is NO)", "E210", "write `answer.score is NO`"),
    ('choices = ["a", "b"]', "measure m = rate(answer is a)", "E210", "write `answer.label is a`"),
    ('choices = ["a", "b"]', "measure m = rate(answer.label is c)", "E210", "the labels are `a`, `b`"),
    ('choices = ["a", "b"]', "measure m = mean(answer.label)", "E842", "for labels use `shares(...)`"),
    ("scale = 0..5", "measure m = mean(answer)", "E842", "with `scale = 0..100` an ask has `NAME.score`"),
    ("", "measure m = mean(answer.score)", "E215", "add `{ scale = 0..100 }` to `ask answer`"),
    ("", "measure m = shares(answer.label)", "E215", "add `{ choices = "),
    ("shape = { harm: bool }", "measure m = rate(answer.harn)", "E215", "did you mean `harm`?"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "statement", "code", "words"), WRONG)
def test_faults_are_told_once(settings: str, statement: str, code: str, words: str) -> None:
    """Each with what to do."""
    text = f'experiment e {{ for q in ["a"]\n ask answer from "sim/subject" with q {{ {settings} }}\n {statement}\n}}'
    with pytest.raises(SourceError) as fault:
        program(text.replace(" {  }", ""))
    assert [d.code for d in fault.value.diagnostics] == [code]
    assert words in fault.value.diagnostics[0].render()


def test_a_number_of_few_tokens_is_no_cut_answer() -> None:
    """W738 warns of answers that are counted although they are cut; a cut number is not read."""
    text = (
        'experiment e {{ ask answer from "sim/subject" with "a" {{ max_tokens = 4{} }}\n'
        ' measure m = rate(answer.finish == "stop") }}'
    ).replace('answer.finish == "stop"', 'answer == "5"')
    warned = [[d.code for d in program(text.format(more)).warnings] for more in ("", ", scale = 0..5")]
    assert warned == [["W738"], []]


def test_a_model_without_probabilities_is_refused() -> None:
    """E736 names the setting of the ask, not a rubric."""
    with pytest.raises(SourceError) as fault:
        program(
            'experiment e { ask answer from "anthropic/claude-opus-4-5-20251101" with "a" '
            "{ scale = 0..5, read = weighted(top: 5), max_tokens = 4 } }"
        )
    (told,) = fault.value.diagnostics
    assert told.code == "E736"
    assert "`read` of `ask answer` requests token probabilities" in told.render()
    assert "use `read = number`" in told.render()
