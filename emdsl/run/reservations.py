"""A hard cap on the cost of one run: reserve before sending, settle with the cost."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.price_list import cost_usd

if TYPE_CHECKING:
    from emdsl.query import Query, Response
    from emdsl.value import Number


class Fits(enum.Enum):
    """Whether a request fits into a budget."""

    NOW = "now"
    LATER = "later"  # requests in flight may cost less than was reserved for them
    NEVER = "never"


class Budget:
    """US dollars that one run may spend: reservations and spending together never exceed them.

    If a provider charges for more than `max_tokens`, it is exceeded by no more than that.
    """

    def __init__(self, limit_usd: Number) -> None:
        self.limit_usd = Decimal(limit_usd)
        self.spent_usd = Decimal(0)
        self._reserved_usd = Decimal(0)
        self._n_reserved = 0

    def fits(self, most_usd: Decimal) -> Fits:
        """Return whether a request of this maximum cost fits."""
        if most_usd <= self.left_usd:
            return Fits.NOW
        return Fits.LATER if self._n_reserved and self.spent_usd + most_usd <= self.limit_usd else Fits.NEVER

    def reserve(self, most_usd: Decimal) -> None:
        """Reserve the maximum cost of a request, or of a batch."""
        self._reserved_usd += most_usd
        self._n_reserved += 1

    def settle(
        self, reserved_usd: Decimal, query: Query, response: Response | None, *, maybe_billed: bool = False
    ) -> None:
        """Give the reservation back, and count the cost of the answer.

        An answer of unknown cost counts in full, and so does a request without an answer that may be billed.
        """
        cost = reserved_usd if maybe_billed or response is not None else None
        if response is not None:
            known = cost_usd(query.settings.model, response)
            cost = known if known is not None else cost
        self.settle_usd(reserved_usd, cost)

    def settle_usd(self, reserved_usd: Decimal, cost: Decimal | None) -> None:
        """Give a reservation back, and count a cost; None if there was no answer."""
        self._n_reserved -= 1
        self._reserved_usd = self._reserved_usd - reserved_usd if self._n_reserved else Decimal(0)
        self.spent_usd += cost or 0

    @property
    def left_usd(self) -> Decimal:
        """US dollars that are neither spent nor reserved; negative if more was spent than the limit allows."""
        return self.limit_usd - self.spent_usd - self._reserved_usd

    def lend(self, usd: Decimal) -> None:
        """Let another process of the run spend so much."""
        self._reserved_usd += usd

    def settle_lent(self, returned: Decimal, spent: Decimal) -> None:
        """Take back money that was lent, and count the part that was spent."""
        self._reserved_usd -= returned
        self.spent_usd += spent

    def change(self, usd: Decimal) -> None:
        """Set the limit."""
        self.limit_usd = usd

    def hold(self, usd: Decimal) -> None:
        """Hold the cost of requests in flight when the budget is made: it is reserved already."""

    async def give_back(self) -> None:
        """Give money back to other processes: none, since no other one spends from this budget."""
