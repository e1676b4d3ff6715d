"""Price: what the tokens of a model cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emdsl.value import Number

MILLION = Decimal(10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens. A cache price of None means that the input price applies.

    `above` holds the prices of long requests: each applies to a whole request with more input tokens than its number.
    """

    input: Number
    output: Number
    cached_input: Number | None = None
    cache_write: Number | None = None
    above: tuple[tuple[int, Price], ...] = ()

    def at(self, input_tokens: float) -> Price:
        """Return the price of a request with this number of input tokens."""
        price = self
        for start, long_price in self.above:
            if input_tokens > start:
                price = long_price
        return price

    @property
    def halved(self) -> Price:
        """Half of the price."""

        def half(usd: Number | None) -> Number | None:
            return None if usd is None else Decimal(usd) / 2

        return Price(
            input=Decimal(self.input) / 2, output=Decimal(self.output) / 2, cached_input=half(self.cached_input),
            cache_write=half(self.cache_write), above=tuple((start, price.halved) for start, price in self.above),
        )  # fmt: skip

    @property
    def plain(self) -> Price:
        """The price without those of long requests: for sums over many requests, each at this price."""
        return replace(self, above=()) if self.above else self

    def max_cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return the maximum cost of these tokens, whatever a cache reads or writes."""
        prices = [self, *(p for start, p in self.above if input_tokens > start)]
        into = max(max(Decimal(p.input), Decimal(p.cache_write or 0)) for p in prices)
        return (into * input_tokens + max(Decimal(p.output) for p in prices) * output_tokens) / MILLION


FREE = Price(input=0, output=0)
