"""What a plan says a run will cost is what it does cost."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from support import InProcess, program, run

from emdsl.price import Price
from emdsl.price_list import cost_of, price_of
from emdsl.query import Model, Usage
from emdsl.run.planner import Planner
from emdsl.run.rows import Rows, Selection
from emdsl.service import SERVICES
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from emdsl.run.count import ExperimentCount

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
        (("max_tokens = 1000, ", ""), True, False, False),
    ],
    ids=["no price", "no max_tokens"],
)
def test_unknown_stays_unknown(change: tuple[str, str], low: bool, usd: bool, high: bool) -> None:
    """A price or a bound that is not known is never $0."""
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
