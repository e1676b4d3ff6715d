"""The purse of a process: money that it has drawn from a budget which other processes spend too."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.run.reservations import Budget, Fits

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.run.ledger import Ledger
    from emdsl.value import Number

AHEAD = 16  # requests that one draw pays for, beside the one that needs it
REPORT_S = 0.1  # between two reports of spending
FIRST_WAIT_S, MAX_WAIT_S = 0.02, 0.5  # for money that others may give back


class Purse(Budget):
    """The money that this process has drawn from a budget, and may spend; see Ledger.

    `limit_usd` is the budget of all processes, `spent_usd` the spending of this one.
    """

    def __init__(
        self, name: str, limit_usd: Number, ledger: Ledger, on_money: Callable[[], None],
        on_error: Callable[[BaseException], None],
    ) -> None:  # fmt: skip
        """Make an empty purse.

        Args:
            name: of the budget in the ledger.
            limit_usd: the whole budget.
            ledger: of the budget.
            on_money: is called when a request that did not fit may fit now, or never.
            on_error: gets an error of the ledger.
        """
        super().__init__(limit_usd)
        self._name, self._ledger = name, ledger
        self._on_money, self._on_error = on_money, on_error
        self._held = Decimal(0)  # in the purse, as the ledger knows
        self._reported = Decimal(0)  # spent, as the ledger knows
        self._refused: Decimal | None = None  # the least amount that the ledger does not have
        self._usual = Decimal(0)  # maximum cost of the last request that was drawn for
        self._drawing: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    @property
    def free_usd(self) -> Decimal:
        """Money in the purse that is neither spent nor reserved; negative if a provider charged more than reserved."""
        return self._held - (self.spent_usd - self._reported) - self._reserved_usd

    def fits(self, most_usd: Decimal) -> Fits:
        """Return whether a request of this maximum cost fits; LATER draws money for it."""
        least = most_usd - self.free_usd
        if least <= 0:
            return Fits.NOW
        if self._refused is not None and least >= self._refused:
            return Fits.LATER if self._n_reserved else Fits.NEVER
        if self._drawing is None and not self._closing.is_set():
            self._usual = most_usd
            self._drawing = asyncio.get_running_loop().create_task(self._draw(most_usd))
        return Fits.LATER

    def settle_usd(self, reserved_usd: Decimal, cost: Decimal | None) -> None:
        """Give a reservation back, and count a cost; the ledger hears of it a little later."""
        super().settle_usd(reserved_usd, cost)
        if self._reporting is None and not self._closing.is_set():
            self._reporting = asyncio.get_running_loop().create_task(self._report_later())

    def change(self, usd: Decimal) -> None:
        """Set the whole budget, whose ledger knows the new one already."""
        self.limit_usd, self._refused = usd, None

    def hold(self, usd: Decimal) -> None:
        """Hold the cost of requests in flight when the budget is made; its maker reports it to the ledger."""
        self._held += usd

    async def give_back(self) -> None:
        """Report spending to the ledger, and give the rest back: nothing is in flight."""
        self._closing.set()
        try:
            for task in (self._drawing, self._reporting):
                if task is not None:
                    await task
            await self._report(keep=Decimal(0))
        finally:
            self._closing.clear()

    async def _draw(self, most_usd: Decimal) -> None:
        try:
            await self._draw_for(most_usd)
        except Exception as error:  # noqa: BLE001 - it ends the run, which would wait for the money
            self._on_error(error)
        finally:
            self._drawing = None
        self._on_money()

    async def _draw_for(self, most_usd: Decimal) -> None:
        """Draw until a request fits, or never will."""
        wait_s = FIRST_WAIT_S
        while not self._closing.is_set() and (least := most_usd - self.free_usd) > 0:
            drawn = await self._ledger.draw(self._name, least, least + AHEAD * most_usd)
            if drawn is None:
                self._refused = least
                return
            self._held += drawn
            if drawn:
                return
            await self._report(keep=Decimal(0))  # others may wait for money that this process does not use
            await self._pause(wait_s)
            wait_s = min(2 * wait_s, MAX_WAIT_S)

    async def _report_later(self) -> None:
        try:
            await self._pause(REPORT_S)
            await self._report(keep=AHEAD * self._usual if self._n_reserved else Decimal(0))
        except Exception as error:  # noqa: BLE001 - it ends the run: money that nobody counts is not spent
            self._on_error(error)
        finally:
            self._reporting = None

    async def _report(self, *, keep: Decimal) -> None:
        """Report spending since the last report, and give back free money beyond `keep`."""
        spent, returned = self.spent_usd - self._reported, max(self.free_usd - keep, Decimal(0))
        if not spent and not returned:
            return
        self._reported += spent
        self._held = max(self._held - spent - returned, Decimal(0))
        if self._refused is not None:
            self._refused += returned
        await self._ledger.settle(self._name, spent, returned)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass
