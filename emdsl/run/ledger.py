"""Budgets that several processes spend from: a process draws money into its purse, and spends from that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from decimal import Decimal


class Ledger(Protocol):
    """Budgets that several processes spend from. Amounts are US dollars.

    The spending and the money in purses together never exceed a budget. The purse of a process that dies counts as
    spent, so purses are small.
    """

    async def draw(self, budget: str, least: Decimal, wanted: Decimal) -> Decimal | None:
        """Move money from a budget to the purse of this process: between `least` and `wanted`.

        Returns 0 if others hold money that they may give back; None if less than `least` is left even then.
        """

    async def settle(self, budget: str, spent: Decimal, returned: Decimal) -> None:
        """Count money of the purse as spent, and give some back."""
