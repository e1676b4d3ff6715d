"""A budget is a hard cap: what is reserved and spent never exceeds it, and raising it goes on."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, emdsl, program, run

from emdsl.errors import SourceError
from emdsl.query import Query, Response, Usage
from emdsl.run.budget import worst_usd
from emdsl.run.executor import Executor
from emdsl.run.pacing import Patience
from emdsl.run.walk import Walk
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.run.executor import Report

STUDY = """
model m { use = "openai/gpt-4o-2024-08-06", max_tokens = 100, price = { input: $1000, output: $10_000 } }
experiment e {
  for q in 1..30
  budget = $BUDGET
  ask answer from m with "question {q}"
}
"""


class Priced(InProcess):
    """Answers with random usage, never more than was allowed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.spent = Decimal(0)
        self.flying = Decimal(0)
        self.most = Decimal(0)

    async def ask(self, query: Query, *_: Any) -> Response:
        self.asked["m"] += 1
        self.flying += worst_usd(query)
        self.most = max(self.most, self.spent + self.flying)
        await asyncio.sleep(self.rng.random() / 1000)
        self.flying -= worst_usd(query)
        sent, said = self.rng.randint(1, 11), self.rng.randint(0, 100)
        self.spent += (1000 * sent + Decimal(10_000) * said) / 10**6
        return Response(text="a", finish="stop", usage=Usage(input_tokens=sent, output_tokens=said))


def spend(budget: str, store: MemoryStore, seed: int) -> tuple[Priced, Report]:
    return run(STUDY.replace("BUDGET", budget), store, Priced(seed))


@pytest.mark.parametrize("seed", range(20))
def test_the_cap_holds_and_a_raise_goes_on(seed: int) -> None:
    """Spent and in flight together stay under the cap; what was answered is kept, and only the rest asked later."""
    store = MemoryStore()
    provider, report = spend("5", store, seed)
    assert provider.most <= 5
    assert report.over_budget == {"e"}
    assert 4 <= provider.n < 30
    assert len(store.answers) == provider.n, "each that was paid for is kept"
    more, report = spend("1000", store, seed)
    assert more.n == 30 - provider.n
    assert not report.over_budget


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ('"openai-api/lab/m", url = "https://l/v1", revision = "1", max_tokens = 5', "E731"),
        ('"x/y", price = { input: $1, output: $1 }', "E732"),
    ],
)
def test_a_budget_needs_a_price_and_an_end(model: str, code: str) -> None:
    """Unknown is never $0: a model without a price, or without a longest answer, is told before anything is sent."""
    text = f'model m {{ use = {model} }}\nexperiment e {{ budget = $1\n ask a from m with "q" }}'.replace(
        "x/y", "openai/gpt-4o-2024-08-06"
    )
    with pytest.raises(SourceError) as caught:
        program(text)
    assert {d.code for d in caught.value.diagnostics} == {code}


def test_a_budget_that_cannot_reach_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    """The input alone costs more: `plan` says so, `run` refuses, and a part that fits is planned."""
    text = STUDY.replace("BUDGET", "0.01").replace("question {q}", "question {q} " + "and so on " * 40)
    (tmp_path / "s.em").write_text("em 1" + text, encoding="utf-8")
    assert "costs at least $" in emdsl("plan", "s.em", cwd=tmp_path).stdout
    refused = emdsl("run", "s.em", cwd=tmp_path, code=1, env={"OPENAI_API_KEY": "sk-none-0123456789"})
    assert "E733" in refused.stderr


def test_a_budget_stops_its_own_experiment_only() -> None:
    """A request that another experiment waits for too is asked on the other's account."""
    text = STUDY.replace("BUDGET", "2.5")
    other = (
        text[text.index("experiment e") :].replace("experiment e", "experiment other").replace("  budget = $2.5\n", "")
    )
    provider, report = run(text + other, MemoryStore(), Priced(1))
    assert provider.n == 30
    assert report.over_budget <= {"e"}


def test_ctrl_c_sends_nothing_more_to_a_budget() -> None:
    """What waits for its turn under a cap is not sent once the run drains."""
    store = MemoryStore()

    class Slow(Priced):
        async def ask(self, query: Query, *_: Any) -> Response:
            self.asked[query.head.model.wire_name] += 1
            await asyncio.sleep(0.2)
            return Response(text="a", finish="stop", usage=Usage(input_tokens=1, output_tokens=1))

    provider = Slow(1)
    walks = [Walk(e) for e in program(STUDY.replace("BUDGET", "4.2")).experiments]

    async def main() -> None:
        executor = Executor(walks, store, provider, connections=16, patience=Patience(max_wait_s=5), run="r")
        asyncio.get_running_loop().call_later(0.1, executor.drain)
        await executor.run()

    asyncio.run(main())
    assert provider.n == len(store.answers) <= 4
