"""Processes that spend from one budget by a ledger: never more than there is, and all that can be spent."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from priced import STUDY, Priced
from speed import HANG_S
from support import THOROUGH, program

from emdsl.errors import StoreError
from emdsl.run.budget import WHOLE_RUN, Budgets
from emdsl.run.executor import Executor
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows, Selection
from emdsl.run.treasury import Treasury
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from emdsl.run.ledger import Ledger
    from emdsl.run.progress import Report


class Till:
    """One budget of several processes, as a server would keep it."""

    def __init__(self, limit: Decimal, n: int, rng: random.Random) -> None:
        self.limit, self.spent, self.rng = limit, Decimal(0), rng
        self.names = ("e", WHOLE_RUN)
        self.held = [Decimal(0)] * n

    def of(self, owner: int) -> _Ledger:
        """Return the ledger of one process."""
        return _Ledger(self, owner)


class _Ledger:
    def __init__(self, till: Till, owner: int) -> None:
        self._till, self._owner = till, owner

    async def draw(self, budget: str, least: Decimal, wanted: Decimal) -> Decimal | None:
        till, own = self._till, self._owner
        assert budget in till.names
        assert 0 < least <= wanted
        await asyncio.sleep(till.rng.random() / 500)
        left = till.limit - till.spent - sum(till.held)
        if left < least:
            return None if till.limit - till.spent - till.held[own] < least else Decimal(0)
        drawn = min(wanted, max(least, left / 4))
        till.held[own] += drawn
        return drawn

    async def settle(self, budget: str, spent: Decimal, returned: Decimal) -> None:
        till, own = self._till, self._owner
        assert budget in till.names
        assert spent >= 0
        assert returned >= 0
        till.spent += spent
        till.held[own] = max(till.held[own] - spent - returned, Decimal(0))
        await asyncio.sleep(till.rng.random() / 500)


class _Gone(_Ledger):
    async def draw(self, budget: str, least: Decimal, wanted: Decimal) -> Decimal | None:
        assert await super().draw(budget, least, wanted)
        raise StoreError("the server of the budget is away")


def walks(n: int, text: str) -> list[list[Rows]]:
    """Return the rows of n processes: each question goes to one of them."""
    (experiment,) = program(text).experiments
    shares = [frozenset(range(i, 30, n)) for i in range(n)]
    return [[Rows(experiment, Selection(only={0: share}))] for share in shares]


async def spend(
    ledgers: list[Ledger], limit: Decimal, provider: Priced, store: MemoryStore, *, of_run: bool
) -> list[Report]:
    """Run the study in several processes, which share a budget of the run or of its experiment."""
    text = STUDY.replace("$BUDGET", "$1") if not of_run else STUDY.replace("  budget = $BUDGET\n", "")
    budgets, whole = {"e": None if of_run else limit}, limit if of_run else None
    executors = [
        Executor(
            rows, store, provider, connections=4, retry_policy=RetryPolicy(max_wait_s=5), run="r",
            budgets=Budgets(budgets, whole, ledger, ("e", WHOLE_RUN)),
        )
        for ledger, rows in zip(ledgers, walks(len(ledgers), text), strict=True)
    ]  # fmt: skip
    return await asyncio.gather(*(e.run() for e in executors))


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(100 if THOROUGH else 5))
def test_the_sum_never_exceeds_the_budget_and_nothing_that_fits_is_left(seed: int) -> None:
    rng = random.Random(seed)
    n, of_run = rng.randint(1, 5), rng.random() < 0.5
    till = Till(Decimal(rng.choice([0, 1, 2, 5, 10, 30, 60])), n, rng)
    provider, store = Priced(seed, fails=rng.choice([0.0, 0.2])), MemoryStore()
    reports = asyncio.run(
        asyncio.wait_for(spend([till.of(i) for i in range(n)], till.limit, provider, store, of_run=of_run), HANG_S)
    )
    assert provider.most <= till.limit
    assert till.spent == provider.spent
    assert till.held == [Decimal(0)] * n
    answered = len(store.answers)
    exhausted = set[str]().union(*(r.over_budget for r in reports))
    assert exhausted <= {WHOLE_RUN if of_run else "e"}
    assert bool(exhausted) is (answered < 30)
    if answered < 30:  # the cheapest request costs 1.1 dollars at most
        assert till.limit - till.spent < Decimal("1.2")


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(60 if THOROUGH else 4))
def test_the_workers_of_a_run_share_its_budget_and_that_of_a_team(seed: int) -> None:
    """The run lends from its own budget, or from another ledger, which other runs spend from too."""
    rng = random.Random(seed)
    n, of_team, limit = rng.randint(2, 5), seed % 2 == 1, Decimal(rng.choice([1, 5, 10, 60]))
    till = Till(limit, 1, rng)
    provider, store = Priced(seed, fails=rng.choice([0.0, 0.2])), MemoryStore()

    async def main() -> Budgets:
        upstream = till.of(0) if of_team else None
        budgets = Budgets({"e": None}, limit, upstream)
        treasury = Treasury(budgets, upstream)
        await spend([treasury.of(i) for i in range(n)], limit, provider, store, of_run=True)
        for i in range(n):
            await treasury.leave(i)
        return budgets

    budgets = asyncio.run(asyncio.wait_for(main(), HANG_S))
    assert provider.most <= limit
    assert budgets.spent_usd == provider.spent
    if of_team:
        assert till.spent == provider.spent
        assert till.held == [0]
    if len(store.answers) < 30:
        assert limit - provider.spent < Decimal("1.2")


def test_the_purse_of_a_worker_that_dies_counts_as_spent() -> None:
    async def main() -> Decimal:
        budgets = Budgets({"e": None}, Decimal(10))
        treasury = Treasury(budgets)
        assert await treasury.of(0).draw(WHOLE_RUN, Decimal(2), Decimal(3)) == Decimal("2.5")
        assert await treasury.of(1).draw(WHOLE_RUN, Decimal(9), Decimal(9)) == 0
        await treasury.of(0).settle(WHOLE_RUN, Decimal(1), Decimal(1))
        await treasury.leave(0)
        assert await treasury.of(1).draw(WHOLE_RUN, Decimal("8.6"), Decimal(9)) is None
        return budgets.spent_usd

    assert asyncio.run(main()) == Decimal("1.5")


def test_a_worker_that_dies_while_others_draw_gives_up_every_purse() -> None:
    """While its money of the team is settled on the server, another worker draws from one more budget."""

    async def main() -> Decimal:
        till = Till(Decimal(10), 1, random.Random(0))
        budgets = Budgets({"e": Decimal(4), "f": Decimal(4)}, Decimal(10), till.of(0))
        treasury = Treasury(budgets, till.of(0))
        assert await treasury.of(0).draw(WHOLE_RUN, Decimal(2), Decimal(2)) == 2
        assert await treasury.of(0).draw("e", Decimal(1), Decimal(1)) == 1
        leaving = asyncio.create_task(treasury.leave(0))
        await asyncio.sleep(0)
        assert await treasury.of(1).draw("f", Decimal(1), Decimal(1)) == 1
        await leaving
        return till.spent

    assert asyncio.run(main()) == 2


def test_a_first_budget_lends_nothing_before_all_tell_what_they_have_in_flight() -> None:
    async def main() -> None:
        budgets = Budgets({"e": None}, None)
        treasury = Treasury(budgets)
        budgets.count_elsewhere(Decimal(4), 0)
        treasury.change(Decimal(10), [0, 1])
        drawing = asyncio.create_task(treasury.of(0).draw(WHOLE_RUN, Decimal(2), Decimal(2)))
        treasury.hold(0, Decimal(3))
        await asyncio.sleep(0.01)
        assert not drawing.done()
        treasury.hold(1, Decimal(2))
        assert await drawing == 0, "4 are spent, 5 in flight: 1 is left, and 2 of the other may come back"

    asyncio.run(main())


def test_a_ledger_that_is_away_ends_the_run_with_its_error() -> None:
    (rows,) = walks(1, STUDY.replace("  budget = $BUDGET\n", ""))
    budgets = Budgets({"e": None}, Decimal(5), _Gone(Till(Decimal(5), 1, random.Random(0)), 0))
    provider = Priced(0)
    executor = Executor(
        rows, MemoryStore(), provider, connections=4, retry_policy=RetryPolicy(), run="r", budgets=budgets
    )
    with pytest.raises(StoreError, match="the server of the budget is away"):
        asyncio.run(asyncio.wait_for(executor.run(), HANG_S))
    assert provider.spent == 0


def test_a_raised_budget_goes_on() -> None:
    till = Till(Decimal(3), 2, random.Random(1))
    provider, store = Priced(1), MemoryStore()

    async def main() -> None:
        text = STUDY.replace("  budget = $BUDGET\n", "")
        budgets = [Budgets({"e": None}, till.limit, till.of(i)) for i in range(2)]
        executors = [
            Executor(w, store, provider, connections=4, retry_policy=RetryPolicy(), run="r", budgets=b)
            for w, b in zip(walks(2, text), budgets, strict=True)
        ]
        running = asyncio.gather(*(e.run() for e in executors))
        await asyncio.sleep(0)
        till.limit = Decimal(100)
        for executor in executors:
            executor.live.budget = till.limit
        await running

    asyncio.run(asyncio.wait_for(main(), HANG_S))
    assert len(store.answers) == 30
    assert till.spent == provider.spent
