"""A budget is a hard cap: what is reserved and spent never exceeds it, and raising it goes on."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from priced import STUDY, Priced
from speed import HANG_S
from support import emdsl, program, run

from emdsl.errors import SourceError, Unavailable
from emdsl.query import Query, Response, Usage
from emdsl.run.executor import Executor
from emdsl.run.planner import planners
from emdsl.run.progress import INTERRUPT
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.run.progress import Report


def spend(cap: Decimal, store: MemoryStore, provider: Priced, *, of_run: bool = False) -> tuple[Priced, Report]:
    """Run the study under a cap, of its experiment or of the run."""
    text = STUDY.replace("  budget = $BUDGET\n", "") if of_run else STUDY.replace("BUDGET", str(cap))
    walks = [Rows(e) for e in program(text).experiments]

    async def main() -> Report:
        return await Executor(
            walks, store, provider, connections=16, retry_policy=RetryPolicy(max_wait_s=HANG_S), run="r",
            budget=cap if of_run else None,
        ).run()  # fmt: skip

    return provider, asyncio.run(asyncio.wait_for(main(), HANG_S))


@pytest.mark.parametrize("of_run", [False, True], ids=["experiment", "run"])
@pytest.mark.parametrize("first", range(0, 100, 10))
def test_the_cap_holds_and_a_raise_goes_on(first: int, of_run: bool) -> None:
    """In 200 random runs, spent plus what requests in flight can cost never exceeds the cap, whatever they do cost.

    That is the bound proved: with `max_tokens` honoured, at no time can more than the cap have been spent. What was
    answered is kept, and only the rest asked after a raise.
    """
    for seed in range(first, first + 10):
        rng = random.Random(seed)
        cap = Decimal(rng.randint(120, 2500)) / 100
        store = MemoryStore()
        provider = Priced(seed, fails=rng.choice((0.0, 0.2)))
        _, report = spend(cap, store, provider, of_run=of_run)
        assert provider.most <= cap
        assert provider.spent <= cap
        assert len(store.answers) == provider.n, "each that was paid for is kept"
        assert bool(report.over_budget) == (provider.n < 30)
        more, report = spend(Decimal(1000), store, Priced(seed), of_run=of_run)
        assert more.n == 30 - provider.n
        assert not report.over_budget


def test_a_provider_that_overruns_costs_no_more_than_that() -> None:
    """Where `max_tokens` is not honoured, the cap is exceeded by at most what those very answers cost too much."""
    exceeded = 0
    for seed in range(100):
        provider = Priced(seed, overruns=0.3)
        spend(Decimal(4), MemoryStore(), provider)
        assert provider.spent <= 4 + provider.overrun
        exceeded += provider.spent > 4
    assert exceeded, "or this proves nothing"


def test_replies_that_cannot_be_read_may_have_been_paid_for() -> None:
    """Each counts for what it can have cost at most; after three of them a request is given up."""

    class Unreadable(Priced):
        async def ask(self, _query: Query, *_: Any) -> Response:
            self.asked["m"] += 1
            raise Unavailable("the reply is not of the format", status=200)

    provider = Unreadable(1)
    _, report = spend(Decimal(100), MemoryStore(), provider)
    assert provider.n == 90, "thirty requests, three times each"
    assert len(report.failures) == 30
    provider = Unreadable(1)
    _, report = spend(Decimal("4.2"), MemoryStore(), provider)
    assert provider.n == 4, "of 1.02 dollars at most each"
    assert report.over_budget == {"e"}


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
    assert "cost at least $" in emdsl("plan", "s.em", cwd=tmp_path).stdout
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
            self.asked[query.settings.model.wire_name] += 1
            await asyncio.sleep(0.2)
            return Response(text="a", finish="stop", usage=Usage(input_tokens=1, output_tokens=1))

    provider = Slow(1)
    walks = [Rows(e) for e in program(STUDY.replace("BUDGET", "4.2")).experiments]

    async def main() -> None:
        executor = Executor(
            walks, store, provider, connections=16, retry_policy=RetryPolicy(max_wait_s=HANG_S), run="r"
        )
        asyncio.get_running_loop().call_later(0.1, executor.drain, INTERRUPT)
        await executor.run()

    asyncio.run(main())
    assert provider.n == len(store.answers) <= 4


def test_requests_that_experiments_share_cost_once() -> None:
    """What is spent, and the least that is left to spend, of a program is that of its requests."""
    text = STUDY.replace("  budget = $BUDGET\n", "")
    other = text[text.index("experiment e") :].replace("experiment e", "experiment other")
    compiled = program(text + other)
    walks, store = [Rows(e) for e in compiled.experiments], MemoryStore()
    provider = Priced(1)
    before = [p.plan(store) for p in planners(walks, budget=Decimal(1))]
    assert before[1].least_usd == 0
    run(compiled, store, provider)
    after = [p.plan(store) for p in planners(walks)]
    assert provider.n == 30
    assert sum(s.money.saved_usd for c in after for s in c.steps) == provider.spent


class Changing(Priced):
    """Changes the budget after some of its answers."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.executor: Executor
        self.after: dict[int, Decimal] = {}  # a budget to set, by the number of answers

    async def ask(self, query: Query, *_: Any) -> Response:
        response = await super().ask(query)
        if (usd := self.after.get(self.n)) is not None:
            self.executor.live.budget = usd
        return response


def spend_changing(provider: Changing, budget: Decimal | None) -> Report:
    """Run the study with 4 connections."""
    walks = [Rows(e) for e in program(STUDY.replace("  budget = $BUDGET\n", "")).experiments]

    async def main() -> Report:
        provider.executor = Executor(
            walks, MemoryStore(), provider, connections=4, retry_policy=RetryPolicy(max_wait_s=HANG_S), run="r",
            budget=budget,
        )  # fmt: skip
        return await provider.executor.run()

    return asyncio.run(asyncio.wait_for(main(), HANG_S))


@pytest.mark.parametrize("first", [None, Decimal(1000)], ids=["none before", "a large one before"])
def test_a_budget_that_is_set_on_the_way_holds(first: Decimal | None) -> None:
    """What was spent before counts, and so does what was in flight, at the most that it can cost."""
    for seed in range(10):
        provider = Changing(seed)
        provider.after = {5: Decimal(8)}  # spent and in flight are at most 9 x 1.02 dollars
        report = spend_changing(provider, first)
        assert 5 <= provider.n < 30
        assert provider.spent <= max(Decimal(8), 9 * Decimal("1.03"))
        assert provider.executor.live.spent_usd == provider.spent
        assert (report.over_budget, report.budget) == ({""}, Decimal(8))


def test_a_budget_that_is_raised_in_time_is_no_limit_any_more() -> None:
    """A raise before it is spent goes on; requests that were given up before are pending, not sent."""
    for seed in range(10):
        provider = Changing(seed)
        provider.after = {2: Decimal(1000)}
        report = spend_changing(provider, Decimal(5))
        assert (provider.n, report.over_budget, report.budget) == (30, set(), Decimal(1000))
    provider = Changing(1)
    provider.after = {1: Decimal(0), 4: Decimal(1000)}  # three more are in flight when it falls to nothing
    report = spend_changing(provider, Decimal(100))
    assert provider.n == 4, "the others were given up while nothing was left"
    assert report.over_budget == {""}


def test_an_unlimited_run_knows_its_cost() -> None:
    """Without token counts an answer counts in full; a budget that is set later counts it so."""

    class Uncounted(Changing):
        async def ask(self, query: Query, *_: Any) -> Response:
            await super().ask(query)
            return Response(text="a", finish="stop")

    provider = Uncounted(1)
    spend_changing(provider, None)
    assert Decimal(30) < provider.executor.live.spent_usd < 31
    provider = Uncounted(1)
    provider.after = {10: Decimal(20)}
    spend_changing(provider, None)
    assert provider.n == 19, "of at most 1.03 dollars each"
