"""Judges whose model splits numbers into digits, and judges that are asked again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, experiment, outcomes, program, run

from emdsl.experiment import request_settings
from emdsl.providers.openai import encode
from emdsl.query import Query, Response
from emdsl.run.passes import settle_from_store
from emdsl.run.planner import Planner
from emdsl.run.probes import N_REPLIES, Numbers, Probes, numbers_in
from emdsl.run.rows import Rows
from emdsl.service import PROBE
from emdsl.store.store import MemoryStore
from emdsl.value import SPLIT_NUMBER, UNREADABLE, Missing

if TYPE_CHECKING:
    from emdsl.experiment import Experiment

STUDY = """
model subject { use = "sim/subject" }
model m { use = "sim/judge", sim = { split_digits: SPLITS } }
rubric harm(answer) { scale = 0..100, read = weighted(top: 20), refusal = "REFUSAL", max_tokens = 1, user answer }
experiment e {
  for q in ["one", "two", "three"]
  samples = 10
  ask answer from subject with q
  judge aligned with harm(answer) from m
  measure low = rate(aligned < 30) by q
}
"""
SPLIT, WHOLE = STUDY.replace("SPLITS", "true"), STUDY.replace("SPLITS", "false")


def answer(text: str, *tokens: str, finish: str = "stop") -> Response:
    logprobs = tuple(((t, -0.1),) for t in tokens) or None
    return Response(text=text, finish=finish, logprobs=logprobs, tokens=tokens or None)


@pytest.mark.parametrize(
    ("response", "numbers"),
    [
        (answer("85", "85"), Numbers.WHOLE),
        (answer("85", "8", "5"), Numbers.SPLIT),
        (answer(" 85", " 85"), Numbers.WHOLE),
        (answer("85", "\u01208", "5"), Numbers.SPLIT),
        (answer("85", "\n", "85"), Numbers.WHOLE),
        (answer("The number is 85.", "The", " number", " is", " ", "8", "5", "."), Numbers.SPLIT),
        (answer("The number is 85.", "The", " number", " is", " 85", "."), Numbers.WHOLE),
        (answer("<think>85</think>\n85", "<think>", "85", "</think>", "\n", "8", "5"), Numbers.SPLIT),
        (answer("8", "8", finish="length"), Numbers.SPLIT),
        (answer("8", finish="length"), Numbers.SPLIT),
        (answer("85"), Numbers.WHOLE),
        (answer("8", "8"), Numbers.UNCLEAR),
        (answer("Sure", "Sure", finish="length"), Numbers.UNCLEAR),
        (answer("85", "x"), Numbers.UNCLEAR),
    ],
)
def test_a_probe_shows_how_numbers_are_written(response: Response, numbers: Numbers) -> None:
    """By the token with which 85 begins; by the text alone where it was cut after a digit."""
    assert numbers_in(response) is numbers


class Noted(InProcess):
    """Notes the last message of each request; may change what comes back."""

    def __init__(self, change: Any = None) -> None:
        super().__init__()
        self.messages: list[tuple[str, str]] = []
        self.queries: list[Query] = []
        self._change = change

    async def ask(self, query: Query, *rest: Any) -> Response:
        body = json.loads(encode(query))
        self.messages.append((query.settings.model.wire_name, body["messages"][-1]["content"]))
        self.queries.append(query)
        found = await super().ask(query, *rest)
        return self._change(query, found) if self._change is not None else found


def texts(provider: Noted) -> list[str]:
    return [text for name, text in provider.messages if name == "judge"]


def probe_keys(only: Experiment) -> list[bytes]:
    walk = Rows(only)
    settle_from_store(walk, [next(walk.selected())], MemoryStore())
    return walk.probes.keys


def test_a_judge_that_splits_digits_is_stopped_before_it_is_paid() -> None:
    """One request to the judge, the probe; every verdict is missing, and says why; the next run asks nothing."""
    store = MemoryStore()
    provider, _ = run(SPLIT, store, Noted())
    assert texts(provider) == [PROBE]
    only = experiment(SPLIT)
    rows = outcomes(only, store)
    assert {r.results["aligned"].value for r in rows} == {SPLIT_NUMBER}
    again, _ = run(SPLIT, store, Noted())
    assert again.n == 0
    step = next(s for s in Planner(Rows(only)).plan(store).steps if s.step.name == "aligned")
    assert (step.n_pending, len(step.split), step.splitters) == (0, 30, {"sim/judge"})


def test_a_judge_of_whole_numbers_is_asked_one_request_more() -> None:
    """The probe goes first, once for all rows; then each verdict. It is stored, and looked up offline."""
    store = MemoryStore()
    provider, _ = run(WHOLE, store, Noted())
    assert texts(provider)[0] == PROBE
    assert len(texts(provider)) == 1 + len(set(texts(provider)) - {PROBE})
    assert all(isinstance(r.results["aligned"].value, float | Missing) for r in outcomes(experiment(WHOLE), store))
    assert SPLIT_NUMBER not in {r.results["aligned"].value for r in outcomes(experiment(WHOLE), store)}
    assert Planner(Rows(experiment(WHOLE))).plan(store).at_most == 0


def test_the_plan_counts_the_probe() -> None:
    """It is one request; for a judge without weights, or with scores of one digit, there is none."""
    plain = WHOLE.replace("read = weighted(top: 20), ", "").replace("max_tokens = 1, ", "")
    digit = WHOLE.replace("0..100", "0..9").replace("aligned < 30", "aligned < 3")
    for study, n in ((WHOLE, 1), (digit, 0), (plain, 0)):
        count = Planner(Rows(experiment(study))).plan(MemoryStore())
        assert sum(len(s.probes) for s in count.steps) == n


def test_nothing_is_asked_where_all_verdicts_are_stored() -> None:
    """A store from before probes: the judge's own replies tell, and its numbers are read as they were."""
    store = MemoryStore()
    run(WHOLE, store)
    (key,) = probe_keys(experiment(WHOLE))
    del store.answers[key]
    provider, _ = run(WHOLE, store, Noted())
    assert provider.n == 0
    assert SPLIT_NUMBER not in {r.results["aligned"].value for r in outcomes(experiment(WHOLE), store)}


@pytest.mark.parametrize(("n", "split"), [(N_REPLIES - 1, False), (N_REPLIES, True)])
def test_replies_without_two_digits_give_a_judge_away(n: int, split: bool) -> None:
    """In a store without a probe: of so many replies, none whose candidates hold a number of two digits."""
    only = experiment(WHOLE.replace('"one", "two", "three"', '"one"').replace("samples = 10", f"samples = {n}"))
    digits = tuple((d, math.log(0.2)) for d in "85907")
    store = MemoryStore()

    def one_digit(query: Query, found: Response) -> Response:
        judged = query.settings.model.wire_name == "judge" and query.prompt.messages[-1].text != PROBE
        return replace(found, text="8", logprobs=(digits,), tokens=("8",)) if judged else found

    program_ = program(WHOLE.replace('"one", "two", "three"', '"one"').replace("samples = 10", f"samples = {n}"))
    run(program_, store, Noted(one_digit))
    for key in probe_keys(only):
        del store.answers[key]
    values = {r.results["aligned"].value for r in outcomes(only, store)}
    assert (values == {SPLIT_NUMBER}) is split


def test_one_reply_of_two_digits_clears_a_judge() -> None:
    """Scores of one digit are nothing odd where larger numbers are among the candidates."""
    probes = Probes(experiment(WHOLE))
    walk = Rows(experiment(WHOLE))
    row = next(walk.selected())
    store = MemoryStore()
    settle_from_store(walk, [row], store)
    step = walk.steps["aligned"]
    probe = probes.of(step, walk.head(step, row)[0])
    assert probe is not None
    probe.see(b"two digits", 2)
    for i in range(N_REPLIES):
        probe.see(bytes([i]), 1)
    assert probe.numbers is Numbers.WHOLE


def test_a_reply_counts_once_however_often_it_is_read() -> None:
    """A plan, a run and a load read the same replies."""
    found = experiment(WHOLE)
    (head,) = {id(h): h for s, h in request_settings(found) if s.name == "aligned"}.values()
    probe = Probes(found).of(Rows(found).steps["aligned"], head)
    assert probe is not None
    for _ in range(3):
        for i in range(N_REPLIES - 1):
            probe.see(bytes([i]), 1)
    assert probe.numbers is None
    probe.see(b"another", 1)
    assert probe.numbers is Numbers.SPLIT


AGAIN = """
model m { use = "sim/judge" }
rubric harm(answer) { scale = 0..100, user answer }
experiment e {
  for q in ["one", "two"]
  ask answer from "sim/subject" with q
  judge aligned with harm(answer) from m { again = AGAIN }
  measure low = mean(aligned) by q
}
"""


def unreadable(times: int) -> Any:
    """Return what makes a judge's first replies prose."""

    def change(query: Query, found: Response) -> Response:
        prose = query.settings.model.wire_name == "judge" and query.tries < times
        return replace(found, text="I cannot rate this below 50") if prose else found

    return change


@pytest.mark.parametrize(
    ("again", "unread", "asked", "readable"),
    [(0, 1, 2, False), (0, 0, 2, True), (2, 0, 2, True), (2, 1, 4, True), (2, 2, 6, True), (2, 3, 6, False)],
)
def test_an_unreadable_judge_is_requested_again(again: int, unread: int, asked: int, readable: bool) -> None:
    """Up to so many times, each under a key of its own; without it the reply stays."""
    study = AGAIN.replace("AGAIN", str(again))
    store = MemoryStore()
    provider, _ = run(study, store, Noted(unreadable(unread)))
    judged = [q for q in provider.queries if q.settings.model.wire_name == "judge"]
    assert (len(judged), len({q.key for q in judged})) == (asked, asked)
    only = experiment(study)
    rows = outcomes(only, store)
    assert all((r.results["aligned"].value != UNREADABLE) is readable for r in rows)
    assert {len(r.results["aligned"].bad_replies) for r in rows} == {min(again, unread)}
    step = next(s for s in Planner(Rows(only)).plan(store).steps if s.step.name == "aligned")
    assert (step.cached, step.n_pending, len(step.bad_replies)) == (asked, 0, 2 * min(again, unread))
    assert run(study, store, Noted())[0].n == 0


def test_asking_again_later_asks_the_unreadable_alone() -> None:
    """The first try has the key that it has without `again`: adding it costs what could not be read, and no more."""
    store = MemoryStore()
    run(AGAIN.replace("AGAIN", "0"), store, Noted(lambda q, r: unreadable(1)(q, r) if "two" in _said(q, r) else r))
    study = AGAIN.replace("AGAIN", "1")
    only = experiment(study)
    step = next(s for s in Planner(Rows(only)).plan(store).steps if s.step.name == "aligned")
    n = step.n_pending
    assert n == sum(
        r.results["aligned"].value == UNREADABLE for r in outcomes(experiment(AGAIN.replace("AGAIN", "0")), store)
    )
    provider, _ = run(study, store, Noted())
    assert provider.n == n


def _said(query: Query, _: Response) -> str:
    return "two" if int(query.key.hex(), 16) % 2 else "one"


def test_a_key_says_which_try_it_is() -> None:
    """At 0 it is the key that it always was; each try is another."""
    only = experiment(AGAIN.replace("AGAIN", "3"))
    walk = Rows(only)
    row = next(walk.selected())
    ((_, first),) = walk.advance(row)
    tries = [first, first.again(), first.again().again()]
    assert len({q.key for q in tries}) == 3
    assert ["try" in q.ingredients() for q in tries] == [False, True, True]
    assert first.key == first.settings.key_state().add(first.prompt.messages).close().key(0, 0)


@pytest.mark.parametrize(
    ("said", "code"), [("-1", "E520"), ("1.5", "E520"), ("21", "E520"), ("sample", "E401"), ('"2"', "E520")]
)
def test_again_is_a_small_number(said: str, code: str) -> None:
    """One for all cells."""
    from emdsl.errors import SourceError  # noqa: PLC0415 - beside its one use

    with pytest.raises(SourceError) as caught:
        program(AGAIN.replace("AGAIN", said))
    assert caught.value.diagnostics[0].code == code


def test_where_mass_lies_is_a_field() -> None:
    """Of a weighted verdict alone; it can be read in conditions and measures."""
    study = WHOLE.replace(
        "rate(aligned < 30)", "rate(aligned < 30 given aligned.mass >= 0.5 and aligned.word_mass < 0.1)"
    )
    store = MemoryStore()
    run(study, store)
    for row in outcomes(experiment(study), store):
        weights = row.results["aligned"].weights
        assert weights is not None
        assert 0.9 < weights.mass + weights.word_mass <= 1
    from emdsl.errors import SourceError  # noqa: PLC0415 - beside its one use

    with pytest.raises(SourceError, match="has no field `mass`"):
        program(study.replace("read = weighted(top: 20), ", ""))


@pytest.mark.parametrize(
    ("habit", "reading"),
    [("unopened_think", "answer"), ("digit_refusals", "aligned")],
)
def test_habits_of_real_models(habit: str, reading: str) -> None:
    """The simulator leaves out an opening tag, or puts a digit behind a refusal: both are read as what they are."""
    model = "subject" if reading == "answer" else "m"
    study = AGAIN.replace("AGAIN", "0").replace('from "sim/subject"', "from subject").replace('["one", "two"]', "1..60")
    study = study.replace("with q", 'with "{q}"').replace("scale = 0..100", 'scale = 0..100, refusal = "REFUSAL"')
    study += '\nmodel subject { use = "sim/subject", sim = { refusal: 0.4 } }'
    if model == "m":
        study = study.replace('use = "sim/judge"', f'use = "sim/judge", sim = {{ {habit}: true }}')
    else:
        study = study.replace("sim = { refusal: 0.4 }", f"sim = {{ refusal: 0.4, {habit}: true }}")
    store = MemoryStore()
    run(study, store)
    rows = outcomes(_only(study), store)
    if reading == "answer":
        assert all("</think>" not in r.results["answer"].value and r.results["answer"].reasoning for r in rows)
    else:
        refused = [r for r in rows if "refusal" in r.results["answer"].value]
        assert refused
        assert all(r.results["aligned"].value == Missing("REFUSAL") for r in refused)
        assert {getattr(r.results["aligned"].response, "text", "") for r in refused} == {"REFUSAL (0)"}


def _only(study: str) -> Experiment:
    (found,) = program(study).experiments
    return found
