"""The budgets of a run in several processes: each draws from them by a ledger, and they are one for all."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.run.budget import WHOLE_RUN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.run.budget import Budgets
    from emdsl.run.ledger import Ledger

SHARE = 4  # a purse gets at most this part of the remaining money, unless one request needs more


class Treasury:
    """Lends the money of budgets to processes, which are known by their numbers. See Ledger."""

    def __init__(self, budgets: Budgets, upstream: Ledger | None = None) -> None:
        """Lend from the budgets of a run, whose own budget comes from another ledger if `upstream` is one."""
        self._budgets, self._upstream = budgets, upstream
        self._held: defaultdict[str, defaultdict[int, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        self._unsettled: set[int] = set()  # processes that have not reported their requests in flight yet
        self._settled = asyncio.Event()
        self._settled.set()

    def of(self, worker: int) -> Ledger:
        """Return the ledger of a process."""
        return _Account(self, worker)

    async def draw(self, worker: int, budget: str, least: Decimal, wanted: Decimal) -> Decimal | None:
        """See Ledger."""
        await self._settled.wait()
        source = self._budgets.named(budget)
        if source is None:  # the budget was never set: nothing limits it
            return wanted
        held = self._held[budget]
        others = sum(held.values(), Decimal(0)) - held[worker]
        if self._upstream is not None and budget == WHOLE_RUN:
            drawn = await self._upstream.draw(budget, least, wanted)
            if drawn is None and others:  # of this run, which the other ledger takes for one process
                return Decimal(0)
        else:
            left = source.left_usd
            if left < least:
                return Decimal(0) if left + others >= least else None
            drawn = min(wanted, max(least, left / SHARE))
        if drawn:
            source.lend(drawn)
            held[worker] += drawn
        return drawn

    async def settle(self, worker: int, budget: str, spent: Decimal, returned: Decimal) -> None:
        """See Ledger."""
        held, source = self._held[budget], self._budgets.named(budget)
        taken = min(held[worker], spent + returned)
        held[worker] -= taken
        if source is not None:
            source.settle_lent(taken, spent)
        if self._upstream is not None and budget == WHOLE_RUN:
            await self._upstream.settle(budget, spent, returned)

    def change(self, usd: Decimal, workers: Iterable[int]) -> None:
        """Set the budget of the run. A first one lends nothing before all processes report their requests in flight."""
        first = self._budgets.named(WHOLE_RUN) is None
        self._budgets.change_whole(usd, ())
        if first:
            self._unsettled |= set(workers)
            self._check_settled()

    def hold(self, worker: int, usd: Decimal) -> None:
        """Lend to a process the maximum cost of its requests in flight, even beyond the budget."""
        source = self._budgets.named(WHOLE_RUN)
        if source is not None:
            source.lend(usd)
            self._held[WHOLE_RUN][worker] += usd
        self._unsettled.discard(worker)
        self._check_settled()

    async def leave(self, worker: int) -> None:
        """Take a process out that has ended: money that it has not given back counts as spent."""
        for budget, held in list(self._held.items()):  # others may draw from one more meanwhile
            if held[worker]:
                await self.settle(worker, budget, held[worker], Decimal(0))
        self._unsettled.discard(worker)
        self._check_settled()

    def _check_settled(self) -> None:
        if self._unsettled:
            self._settled.clear()
        else:
            self._settled.set()


class _Account:
    def __init__(self, treasury: Treasury, worker: int) -> None:
        self._treasury, self._worker = treasury, worker

    async def draw(self, budget: str, least: Decimal, wanted: Decimal) -> Decimal | None:
        """See Ledger."""
        return await self._treasury.draw(self._worker, budget, least, wanted)

    async def settle(self, budget: str, spent: Decimal, returned: Decimal) -> None:
        """See Ledger."""
        await self._treasury.settle(self._worker, budget, spent, returned)
