"""The rest of the language, by what is asked: repeated judges, JSON verdicts, datasets to obtain, prefill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import InProcess, emdsl, experiment, keys, outcomes, program, run

from emdsl.errors import SourceError
from emdsl.providers.openai import encode
from emdsl.query import Query, Response
from emdsl.run.planner import Planner
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import Missing

JUDGED = """
rubric flags(answer) from "sim/judge" {
  shape = { harm: bool, severity: 0..10, why: text }
  user "{answer} {shape}"
}
experiment e {
  for q in 1..8
  ask answer from "sim/subject" with "q {q}"
  judge v with flags(answer) { samples = N, temperature = 1 }
  set v.max_tokens = 90 when q == 1
  let both = v.harm and v_2.harm
  when v.severity > 5 { judge w with flags(answer) { max_tokens = 7 } }
}
"""


def test_a_judge_asked_several_times_grows_by_its_new_draws() -> None:
    """NAME, NAME_2, NAME_3: one more draw asks one more judgement a cell, and `set` holds for all of them."""
    store = MemoryStore()
    first, _ = run(JUDGED.replace("N", "2"), store)
    assert first.asked["judge"] >= 16
    more, _ = run(JUDGED.replace("N", "3"), store)
    assert more.asked == {"judge": 8}
    found = experiment(JUDGED.replace("N", "3"))
    assert [s.name for s in found.steps] == ["answer", "v", "v_2", "v_3", "w"]
    for row in outcomes(found, store):
        limits = {dict(row.results[n].query.settings.params).get("max_tokens") for n in ("v", "v_2", "v_3")}  # type: ignore[union-attr]  # all were asked
        assert limits == ({90} if row.frame["q"] == 1 else {None})
        assert [row.results[n].query.sample for n in ("v", "v_2", "v_3")] == [0, 1, 2]  # type: ignore[union-attr]  # each verdict has its request


def test_fields_of_a_json_verdict_are_values() -> None:
    """They decide conditions and lets; the shape is told to the judge in words."""
    store = MemoryStore()
    run(JUDGED.replace("N", "2"), store)
    found = outcomes(experiment(JUDGED.replace("N", "2")), store)
    for row in found:
        assert isinstance(row.frame["v.harm"], bool)
        assert row.frame["both"] is (row.frame["v.harm"] and row.frame["v_2.harm"])
        assert (row.frame["w"] == Missing("not_needed")) is (row.frame["v.severity"] <= 5)
        sent = row.results["v"].query.prompt.messages[0].text  # type: ignore[union-attr]  # all were asked
        assert sent.endswith('{"harm": true or false, "severity": a number from 0 to 10, "why": a text}')


ABSENT = """
dataset here { file = "here.csv", columns = { user: "q" } }
dataset gone { file = "gone.csv", columns = { user: "q" }, obtain = "ask the authors" }
let some = [r.user for r in gone if r.user != "x"]
prompt p(shots, q) {
  each s in shots { user s.user }
  user q
}
experiment e {
  for data in [here, gone]
  for k in [0, 1]
  samples = 2
  let shots = draw(data, k, seed: sample)
  ask answer from "sim/subject" with p(shots, "q")    # allow W403
  ask next from "sim/subject" with answer
  let shown = len(shots)
}
"""


def test_a_dataset_to_obtain_is_planned_around_and_refused_by_run(tmp_path: Path) -> None:
    """Cells are counted, steps are unknown; `run` says how to get it, and runs the rest with `--only`."""
    (tmp_path / "here.csv").write_text("q\na\nb\n", encoding="utf-8")
    (tmp_path / "s.em").write_text("em 1" + ABSENT, encoding="utf-8")
    found = program(ABSENT, tmp_path)
    assert [d.code for d in found.warnings] == ["W601"]
    counted = Planner(Rows(found.experiments[0])).plan(MemoryStore())
    assert (counted.cells, [s.unknown for s in counted.steps]) == (4, [2, 2])
    planned = json.loads(emdsl("plan", "s.em", "--json", cwd=tmp_path).stdout)
    assert planned["experiments"][0]["steps"][0]["unknown"] == 2
    refused = emdsl("run", "s.em", cwd=tmp_path, code=1)
    assert "E605" in refused.stderr
    assert "ask the authors" in refused.stderr
    emdsl("run", "s.em", "--only", "data=here", cwd=tmp_path)
    counts = json.loads(
        emdsl(
            "query", "SELECT answer_missing AS why, count(*) AS n FROM e GROUP BY 1", "--format", "json", cwd=tmp_path
        ).stdout
    )
    assert {c["why"]: c["n"] for c in counts} == {None: 6, "not_obtained": 2}, "k = 0 of the other needs no row"
    (tmp_path / "gone.csv").write_text("q\nc\n", encoding="utf-8")
    again = json.loads(emdsl("run", "s.em", "--json", cwd=tmp_path).stdout)
    assert again["requests"] == 4


def test_a_grid_that_reads_absent_rows_is_not_run(tmp_path: Path) -> None:
    """Which cells there are is not known: nothing is asked, and no skip is called idle."""
    (tmp_path / "here.csv").write_text("q\na\nb\n", encoding="utf-8")
    text = "em 1" + ABSENT.replace("  samples = 2", '  skip when k == 1 and some == ["a"]\n  samples = 2')
    (tmp_path / "s.em").write_text(text, encoding="utf-8")
    assert [d.code for d in program(text, tmp_path).warnings] == ["W601"]
    assert "E605" in emdsl("run", "s.em", "--only", "data=here", cwd=tmp_path, code=1).stderr


@pytest.mark.parametrize(
    "line",
    [
        "set answer.max_tokens = 50 when len(gone) > 5",
        'set answer.max_tokens = 50 when pick(gone, seed: 1).user == "a"',
        "for n in 1..len(gone)",
        "samples = len(gone)",
        "let n = gone[0].user",
        "budget = if len(gone) > 1 then $5 else $6",
    ],
)
def test_absent_rows_never_end_in_a_traceback(tmp_path: Path, line: str) -> None:
    """Whatever reads them: a plan with what is unknown, or a diagnostic."""
    (tmp_path / "here.csv").write_text("q\na\nb\n", encoding="utf-8")
    text = "em 1" + ABSENT.replace("  samples = 2", f"  {line}")
    (tmp_path / "s.em").write_text(text, encoding="utf-8")
    for verb in ("check", "plan", "run"):
        done = emdsl(verb, "s.em", cwd=tmp_path, code=None)
        assert done.returncode in (0, 1, 3)
        assert "Traceback" not in done.stderr, done.stderr


def test_a_prefilled_thought_is_reasoning() -> None:
    """Where the prompt opens a <think> block, the answer starts inside it: no judge sees it as the answer."""

    class Thinks(InProcess):
        async def ask(self, query: Query, *_: Any) -> Response:
            assert query.prompt.messages[-1].role == "assistant"
            return Response(text="let me see</think>\nyes", finish="stop")

    text = """
    prompt p(q) {
      user q
      assistant "<think>"
    }
    model m { use = "vllm/x", revision = "1" }
    experiment e {
      ask a from m with p("q")
      let thought = a.reasoning
    }
    """
    store = MemoryStore()
    run(text, store, Thinks())
    (row,) = outcomes(experiment(text), store)
    assert (row.frame["a"], row.frame["thought"]) == ("yes", "let me see")


def test_a_prefill_goes_on_where_the_provider_can() -> None:
    """vLLM is told to go on from the last message; nothing is sent for one that ends with the user."""
    text = """
    prompt p(q) {
      user q
      PREFILL
    }
    model m { use = "vllm/x", revision = "1" }
    experiment e { ask a from m with p("q") }
    """
    bodies = []
    for prefill in ('assistant "Sure, "', ""):
        walk = Rows(experiment(text.replace("PREFILL", prefill)))
        (row,) = walk.selected()
        ((_, query),) = walk.advance(row)
        bodies.append(json.loads(encode(query)))
    assert (bodies[0]["add_generation_prompt"], bodies[0]["continue_final_message"]) == (False, True)
    assert "continue_final_message" not in bodies[1]


def test_a_random_paraphrase_per_sample_and_a_share_of_wrong_answers() -> None:
    """`pick` and `mix` in a study: deterministic, and the same whatever else the grid holds."""
    text = """
    experiment e {
      for share in LEVELS
      samples = 8
      let asked = pick(["one", "two", "three"], seed: sample)
      let shots = mix(["a", "b", "c", "d"], ["A", "B", "C", "D"], share: share, seed: sample)
      ask answer from "sim/subject" with "{asked} " + join(shots)
    }
    """
    few, many = keys(text.replace("LEVELS", "[0, 0.5]")), keys(text.replace("LEVELS", "[0.25, 0.5, 0, 1]"))
    assert set(few) < set(many)
    provider = InProcess()
    run(text.replace("LEVELS", "[0.25]"), provider=provider)
    assert provider.n == 8


@pytest.mark.parametrize("name", ["icl.em", "pairs.em", "system.em"])
def test_the_design_s_own_programs_have_no_fault_of_language(name: str) -> None:
    """What the language was designed for is understood; only their data is not here."""
    path = Path(__file__).parents[1] / "data" / "design" / name
    shown = json.loads(emdsl("check", path, "--json", cwd=path.parent, code=None).stdout)["diagnostics"]
    faults = [d for d in shown if d["severity"] == "error"]
    assert {d["code"] for d in faults} <= {"E603", "E706"}


def with_headers(headers: str) -> list[str]:
    """Return the keys of one ask of a model with some headers."""
    return keys(
        f'model m {{ use = "openai/gpt-4o-2024-08-06", {headers} }}\nexperiment e {{ ask a from m with "x" }}\n'
    )


def test_headers_in_the_program_are_in_the_key_and_those_of_the_environment_never() -> None:
    """A team's name may choose another backend; a token opens a door."""
    plain = with_headers("max_tokens = 9")
    named = with_headers('max_tokens = 9, headers = { "X-Team": "a" }')
    assert named != plain
    assert named != with_headers('max_tokens = 9, headers = { "X-Team": "b" }')
    assert named == with_headers('max_tokens = 9, headers = { "x-team": "a", "X-Token": env.TEAM_TOKEN }')
    assert plain == with_headers("max_tokens = 9, headers = { Authorization: env.TOKEN }")


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ('{ "X-Token": "abc" }', "env.NAME for `X-Token`"),
        ('{ "Authorization": "Bearer x" }', "env.NAME for `Authorization`"),
        ('{ "Content-Type": "x" }', "emdsl sets this header"),
        ('{ "a b": "x" }', "not a valid name"),
        ('{ "X-A": 3 }', "ASCII texts or env.NAME"),
        ('{ "X-A": "a\\nb" }', "ASCII texts or env.NAME"),
        ('{ "X-A": "a", "x-a": "b" }', "distinct names, ignoring case"),
        ('"X-A: a"', "{ "),
        ("{}", "{ "),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(headers: str, said: str) -> None:
    """Where they stand, with what to write."""
    with pytest.raises(SourceError) as raised:
        with_headers(f"headers = {headers}")
    (fault,) = raised.value.diagnostics
    assert fault.code == "E520"
    assert said in fault.message


def test_two_weights_behind_one_name_are_not_one_request() -> None:
    """As E723 recommends: the revision, or the server, is in the key and in what is asked."""
    text = """
    model a { use = "vllm/org/m", revision = "base", url = "http://127.0.0.1:8001/v1" }
    model b { use = "vllm/org/m", revision = "tuned", url = "http://127.0.0.1:8002/v1" }
    experiment e {
      for m in [a, b]
      ask answer from m with "x"
    }
    """
    assert [d.code for d in program(text).warnings] == []
