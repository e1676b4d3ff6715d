"""A hard cap on what one run may spend: reserve before sending, settle with what it cost."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emdsl.query import Query, Response
    from emdsl.value import Number

OVERHEAD_TOKENS = 16  # of a message, beside its text
LONGEST_TOKEN = 32  # bytes
MILLION = Decimal(10**6)


class Budget:
    """US dollars that one experiment may spend in one run; what is reserved and what is spent never exceed them."""

    def __init__(self, limit_usd: Number) -> None:
        self.limit_usd = Decimal(limit_usd)
        self.spent_usd = Decimal(0)
        self._reserved_usd = Decimal(0)
        self._n_reserved = 0
        self._settled = asyncio.Event()

    async def reserve(self, query: Query) -> Decimal | None:
        """Return what a request may cost at most, set aside; None where it does not fit, whatever else comes back.

        Waits as long as requests in flight may turn out cheaper than what was set aside for them.
        """
        most = worst_usd(query)
        while self.spent_usd + self._reserved_usd + most > self.limit_usd:
            if not self._n_reserved:
                return None
            self._settled.clear()
            await self._settled.wait()
        self._reserved_usd += most
        self._n_reserved += 1
        return most

    def settle(self, reserved_usd: Decimal, query: Query, response: Response | None) -> None:
        """Give back what was set aside, and count what an answer cost; one of unknown cost counts in full."""
        self._n_reserved -= 1
        self._reserved_usd = self._reserved_usd - reserved_usd if self._n_reserved else Decimal(0)
        if response is not None:
            cost = cost_usd(query, response)
            self.spent_usd += cost if cost is not None else reserved_usd
        self._settled.set()


def worst_usd(query: Query) -> Decimal:
    """Return the most that a request can cost: a token for each byte that is sent, and the longest answer."""
    model, params = query.head.model, dict(query.head.params)
    if model.simulated:
        return Decimal(0)
    assert model.price is not None  # the compiler has seen to both
    sent = sum(len(m.text.encode("utf-8", "surrogatepass")) + OVERHEAD_TOKENS for m in query.prompt.messages)
    sent += len(str(params.get("extra", "")).encode("utf-8", "surrogatepass"))
    return (Decimal(model.price.input) * sent + Decimal(model.price.output) * int(params["max_tokens"])) / MILLION


def least_usd(query: Query) -> Decimal:
    """Return the least that a request can cost: no token is longer than 32 bytes; an unknown price is nothing."""
    price = query.head.model.price
    if price is None or query.head.model.simulated:
        return Decimal(0)
    sent = sum(len(m.text.encode("utf-8", "surrogatepass")) for m in query.prompt.messages)
    return Decimal(price.input) * (sent // LONGEST_TOKEN) / MILLION


def cost_usd(query: Query, response: Response) -> Decimal | None:
    """Return what an answer cost: as the provider says, or by its tokens; None where neither is known."""
    usage, price = response.usage, query.head.model.price
    if query.head.model.simulated:
        return Decimal(0)
    if usage.cost_usd is not None:
        return Decimal(repr(usage.cost_usd))
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return (Decimal(price.input) * usage.input_tokens + Decimal(price.output) * usage.output_tokens) / MILLION
