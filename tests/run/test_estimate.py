"""What a plan says a run will cost is what it does cost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from support import InProcess, program, run

from emdsl.price import Price
from emdsl.price_list import cost_of, price_of
from emdsl.query import Model, Response, Usage
from emdsl.run.planner import Planner, plan_all, planners
from emdsl.run.rows import Rows, Selection
from emdsl.run.token_stats import Basis
from emdsl.service import SERVICES
from emdsl.store.disk import DiskStore
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emdsl.run.count import ExperimentCount
    from emdsl.run.estimate import Estimate

STUDY = """
import alignment from "std:judges@1"
model m {
  use = "openai-api/lab/subject", url = "http://127.0.0.1:1/v1", revision = "1", price = { input: $1, output: $4 }
  max_tokens = 1000, extra = { sim: { thinks: 200 } }
}
model plain from m { extra = none }
model judge {
  use = "openai-api/lab/judge", url = "http://127.0.0.1:1/v1", revision = "1", price = { input: $3, output: $12 }
}
prompt ask_with(style, words, q) {
  when style != "" { system style }
  user "{words} question {q}"
}
experiment e {
  for who in [m, plain]
  for style in { none: "", long: "Think step by step, and say all that you think of the matter." }
  for words in ["short", "WORDS"]
  for q in 1..10
  samples = 20
  ask answer from who with ask_with(style, words, q)
  judge aligned with alignment(words, answer) from judge
  when aligned < 50 { judge again with alignment("again", answer) from judge }
}
""".replace("WORDS", "a long story " * 40)


def totals(count: ExperimentCount) -> dict[str, Decimal | None]:
    """Return the sums of what a plan says, over all steps."""
    names = ("low_usd", "usd", "high_usd")
    found = {n: [getattr(s.estimate, n) for s in count.steps] for n in names}
    return {n: None if None in v else sum(v, Decimal(0)) for n, v in found.items()}


def spent(count: ExperimentCount) -> Decimal:
    """Return what all stored answers cost."""
    return sum((s.money.spent_usd + s.money.saved_usd for s in count.steps), Decimal(0))


def test_costs_are_met_once_a_twentieth_is_stored() -> None:
    """Models that reason and models that do not, long prompts and short, judgements under a condition: within 10 %."""
    (experiment,) = program(STUDY).experiments
    store = MemoryStore()
    run(STUDY, store, selection=Selection(samples=1))
    first = Planner(Rows(experiment)).plan(store)
    so_far, said = spent(first), totals(first)
    run(STUDY, store)
    last = Planner(Rows(experiment)).plan(store)
    real = spent(last) - so_far
    assert so_far * 25 > spent(last) > so_far * 15, "a twentieth was stored"
    assert said["usd"] is not None
    assert said["low_usd"] is not None
    assert said["high_usd"] is not None
    assert abs(said["usd"] - real) < real / 10
    assert said["low_usd"] < real < said["high_usd"]
    assert totals(last) == {"low_usd": 0, "usd": 0, "high_usd": 0}


def test_before_anything_is_stored_the_bounds_hold() -> None:
    """The least is below what it costs in the end, the most above; the judges' share is known before any answer."""
    (experiment,) = program(STUDY).experiments
    store = MemoryStore()
    said = totals(Planner(Rows(experiment)).plan(store))
    run(STUDY, store)
    real = spent(Planner(Rows(experiment)).plan(store))
    assert said["low_usd"] is not None
    assert said["high_usd"] is not None
    assert said["low_usd"] < real < said["high_usd"]


@pytest.mark.parametrize(
    ("change", "low", "usd", "high"),
    [
        (("price = { input: $1, output: $4 }", ""), False, False, False),
        (("max_tokens = 1000, ", ""), True, True, False),
    ],
    ids=["no price", "no max_tokens"],
)
def test_unknown_stays_unknown(change: tuple[str, str], low: bool, usd: bool, high: bool) -> None:
    """A price or a bound that is not known is never $0; without a bound, a length is assumed."""
    (experiment,) = program(STUDY.replace(*change)).experiments
    said = totals(Planner(Rows(experiment)).plan(MemoryStore()))
    assert {n: v is not None for n, v in said.items()} == {"low_usd": low, "usd": usd, "high_usd": high}


PRICE = Price(
    input=Decimal(2), output=Decimal(8), cached_input=Decimal("0.5"), cache_write=Decimal("2.5"),
    above=((1000, Price(input=Decimal(4), output=Decimal(16))),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "millionths"),
    [
        (Usage(input_tokens=100, output_tokens=10), 280),
        (Usage(input_tokens=100, output_tokens=10, cached_tokens=40), 220),
        (Usage(input_tokens=100, output_tokens=10, cached_tokens=40, written_tokens=60), 250),
        (Usage(input_tokens=100, output_tokens=10, cached_tokens=999), 130),
        (Usage(input_tokens=1001, output_tokens=10), 4164),
        (Usage(input_tokens=100), None),
    ],
)
def test_what_an_answer_cost(usage: Usage, millionths: int | None) -> None:
    """By its tokens: those that a cache read or wrote at their own price, all at another beyond a length."""
    found = cost_of(PRICE, usage)
    assert found == (Decimal(millionths) / 10**6 if millionths is not None else None)
    assert found is None or found <= PRICE.max_cost(usage.input_tokens or 0, usage.output_tokens or 0)


def _model(use: str, price: Price | None = None) -> Model:
    service, _, name = use.partition("/")
    return Model(name="m", use=use, service=SERVICES[service], wire_name=name, price=price)


def test_prices_are_as_declared_else_as_listed() -> None:
    """Listed models of today have a price, with what a cache saves; what is not listed has none."""
    listed = price_of(_model("openai/gpt-4o-2024-08-06"))
    assert listed is not None
    assert listed.cached_input is not None
    assert 0 < listed.cached_input < listed.input < listed.output
    assert price_of(_model("openai/gpt-4o-2024-08-06", PRICE)) is PRICE
    assert price_of(_model("openai/no-such-model")) is None
    assert price_of(_model("vllm/any")) is None
    for use in (
        "anthropic/claude-sonnet-4-5", "google/gemini-2.5-pro", "openrouter/google/gemini-2.5-pro",
        "groq/llama-3.3-70b-versatile", "deepseek/deepseek-chat", "mistral/mistral-large-latest", "xai/grok-4",
    ):  # fmt: skip
        assert price_of(_model(use)), use


def test_what_is_simulated_is_free() -> None:
    """Whatever price a program gives to it."""
    text = 'model m { use = "sim/subject", price = { input: $5, output: $5 } }\nexperiment e { ask a from m with "x" }'
    (experiment,) = program(text).experiments
    store = MemoryStore()
    assert totals(Planner(Rows(experiment)).plan(store)) == {"low_usd": 0, "usd": 0, "high_usd": 0}
    run(text, store, InProcess())
    assert spent(Planner(Rows(experiment)).plan(store)) == 0


BASES = """
model a { use = "openai-api/lab/a", SETTINGS }
model b { use = "openai-api/lab/b", SETTINGS }
model c { use = "openai-api/lab/c", SETTINGS, reasoning_effort = "high" }
experiment e {
  for who in [a, b, c]
  for k in [0, 1]
  for q in 1..20
  ask first from who with "{q} {k}?"
  ask second from a with "{q} of {k}"
}
experiment f {
  for q in 1..20
  ask third from b with "other {q}"
}
""".replace(
    "SETTINGS",
    'url = "http://127.0.0.1:1/v1", revision = "1", price = { input: $1, output: $10 }, max_tokens = 5000',
)


def planned(answers: dict[tuple[str, str], Sequence[int]]) -> dict[str, Estimate]:
    """Plan the study with some answers of a step by a model, of these tokens; return the estimates by step."""
    found, store = program(BASES), MemoryStore()
    for walk in [Rows(e) for e in found.experiments]:
        left = {key: list(tokens) for key, tokens in answers.items()}
        for row in walk.selected():
            for step, query in walk.advance(row):
                tokens = left.get((step.name, query.settings.model.name))
                if tokens:
                    out = tokens.pop(0)
                    store.answers[query.key] = Response(
                        text="x", finish="stop", usage=Usage(input_tokens=3, output_tokens=out)
                    )
    counts = plan_all(planners([Rows(e) for e in found.experiments]), store)
    return {s.step.name: s.estimate for c in counts for s in c.steps}


def test_the_source_of_lengths() -> None:
    """Answers of the step and model, else of the model elsewhere, else of the step by models that reason as much."""
    nothing = planned({})
    assert {n: e.basis for n, e in nothing.items()} == dict.fromkeys(nothing, Basis.ASSUMED)
    assert all(e.assumed for e in nothing.values())
    of_third = nothing["third"]
    assert of_third.output_tokens == pytest.approx(6000)
    assert of_third.input_tokens == pytest.approx(20 * 2.2, rel=0.3), "`other 7`"

    some = planned({("first", "a"): [40] * 10})
    lengths = {(t.model.name, t.basis, round(t.output.expected or 0)) for t in some["first"].tokens}
    assert lengths == {("a", Basis.ANSWERS, 40), ("b", Basis.SIMILAR, 40), ("c", Basis.ASSUMED, 1763)}
    assert some["first"].basis is Basis.ASSUMED
    assert {(t.basis, t.output.expected) for t in some["second"].tokens} == {(Basis.MODEL, 40)}
    assert some["third"].basis is Basis.ASSUMED, "neither its model nor its step has an answer"
    assert (some["second"].as_json()["est_basis"], some["second"].as_json()["est_basis_answers"]) == ("model", 10)

    other = planned({("third", "b"): [70] * 6})
    assert {(t.model.name, t.basis) for t in other["first"].tokens} == {
        ("a", Basis.ASSUMED), ("b", Basis.MODEL), ("c", Basis.ASSUMED),
    }  # fmt: skip
    few = planned({("first", "a"): [40] * 4})
    assert few["second"].basis is Basis.ASSUMED, "four answers of another step are too few"
    assert few["first"].tokens[0].basis is Basis.ANSWERS, "of the same step one is enough"


def test_cells_that_differ_have_their_own_means() -> None:
    """Answers at k = 1 are five times as long, and most of the stored ones are at k = 0."""
    (experiment,) = program(BASES[: BASES.index("experiment f")]).experiments
    walk, store = Rows(experiment), MemoryStore()
    for row in walk.selected():
        q, k = row.cell[2], row.cell[1]
        for _, query in walk.advance(row):
            if q < (15 if k == 0 else 5):
                usage = Usage(input_tokens=5 + 5 * k, output_tokens=20 + 80 * k)
                store.answers[query.key] = Response(text="x", finish="stop", usage=usage)
    first = Planner(Rows(experiment)).plan(store).steps[0].estimate
    assert first.n_answers == 60
    lengths = Counter((round(t.output.expected or 0), (t.input.expected or 0) > 7) for t in first.tokens)
    assert lengths == {(23, False): 15, (78, True): 45}, "drawn to the mean of 40 by three answers"


def test_other_prices_for_the_same_tokens() -> None:
    """A batch at half the price costs half; an unknown price makes the sum unknown."""
    estimate = planned({})["first"]
    assert estimate.usd is not None
    half = Price(input=Decimal("0.5"), output=Decimal(5))
    at_half = estimate.usd_at(lambda _: half)
    assert at_half is not None
    assert float(at_half) == pytest.approx(float(estimate.usd) / 2)
    assert estimate.usd_at(lambda _: None) is None


@pytest.mark.parametrize(
    ("settings", "basis", "tokens"),
    [("max_tokens = 5000", Basis.STORE, 70), ("max_tokens = 900", Basis.ASSUMED, 285)],
    ids=["same parameters", "others"],
)
def test_answers_of_other_studies(tmp_path: Path, settings: str, basis: Basis, tokens: int) -> None:
    """Of the same model and parameters; short ones are taken for verdicts. A damaged entry is left out."""
    model = 'model b { use = "openai-api/lab/b", url = "http://127.0.0.1:1/v1", revision = "1", SETTINGS }\n'.replace(
        "SETTINGS", "price = { input: $1, output: $10 }, " + settings
    )
    other = program(BASES).experiments[1]
    lengths = [*[70] * 8, *[3] * 12]

    async def fill(store: DiskStore) -> None:
        walk = Rows(other)
        for row, out in zip(walk.selected(), lengths, strict=True):
            for _, query in walk.advance(row):
                usage = Usage(input_tokens=9, output_tokens=out)
                await store.put(query, Response(text="x", finish="stop", usage=usage))

    store = DiskStore(tmp_path)
    asyncio.run(fill(store))
    assert len(store.sample(100)) == 20
    assert len(store.sample(7)) == 7
    (experiment,) = program(model + 'experiment g { for q in 1..5\n ask answer from b with "new {q}" }').experiments
    (step,) = Planner(Rows(experiment)).plan(store).steps
    assert step.estimate.basis is basis
    assert round((step.estimate.output_tokens or 0) / 5) == tokens
    with closing(sqlite3.connect(tmp_path / "cache.db")) as database:
        database.execute("UPDATE Cache SET value = x'00' WHERE rowid % 2 = 0")
        database.commit()
    assert len(store.sample(100)) == 10
    store.close()


def test_the_hits_of_a_cache_of_prefixes() -> None:
    """By the tokens that a long prompt shares with the one before; those of batches apart."""
    text = BASES[: BASES.index("experiment e")] + (
        'experiment e { for q in 1..21\n ask first from a with "{why} {q}" }'
    )
    text = f'let why = "{"many words " * 1000}"\n' + text
    (experiment,) = program(text).experiments
    walk, store = Rows(experiment), MemoryStore()
    for row in walk.selected():
        for _, query in walk.advance(row):
            n = row.cell[0]
            usage = Usage(input_tokens=2000, output_tokens=5, cached_tokens=1000 if 0 < n < 11 else 0)
            if n < 16:
                store.answers[query.key] = Response(text="x", finish="stop", usage=usage, batch="b" if n > 10 else None)
    count = Planner(Rows(experiment)).plan(store)
    assert count.tokens.hit_rate("openai-api/lab/a") == pytest.approx(0.5, rel=0.01)
    assert count.tokens.hit_rate("openai-api/lab/a", batch=True) == 0
    assert count.tokens.hit_rate("openai-api/lab/b") is None
    estimate = count.steps[0].estimate
    assert estimate.prefix_tokens == pytest.approx(4 * 2000, rel=0.01), "of five pending requests, all but the first"
    assert estimate.input_tokens == pytest.approx(5 * 2000, rel=0.01)
