"""What tokens cost: prices as the program gives them, or as `genai-prices` lists them. The door to genai-prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emdsl.query import Model, Usage
    from emdsl.value import Number

MILLION = Decimal(10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens; None where the plain price of input holds.

    `above` are prices that hold for a whole request whose input is longer than so many tokens.
    """

    input: Number
    output: Number
    cached_input: Number | None = None
    cache_write: Number | None = None
    above: tuple[tuple[int, Price], ...] = ()

    def at(self, input_tokens: float) -> Price:
        """Return the price that holds for a request with so many tokens of input."""
        found = self
        for start, price in self.above:
            if input_tokens > start:
                found = price
        return found

    @property
    def plain(self) -> Price:
        """The price without those of longer requests: of sums over many requests, each at this price."""
        return replace(self, above=()) if self.above else self

    def cost(self, usage: Usage) -> Decimal | None:
        """Return what an answer cost by its tokens, in US dollars; None where they were not counted."""
        if self is FREE:
            return Decimal(0)
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        price = self.at(usage.input_tokens)
        cached = min(usage.cached_tokens or 0, usage.input_tokens)
        written = min(usage.written_tokens or 0, usage.input_tokens - cached)
        plain = usage.input_tokens - cached - written
        total = Decimal(price.input) * plain + Decimal(price.output) * usage.output_tokens
        total += Decimal(price.input if price.cached_input is None else price.cached_input) * cached
        total += Decimal(price.input if price.cache_write is None else price.cache_write) * written
        return total / MILLION

    def most(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return the most that so many tokens can cost, whatever of them a cache keeps."""
        prices = [self, *(p for start, p in self.above if input_tokens > start)]
        into = max(max(Decimal(p.input), Decimal(p.cache_write or 0)) for p in prices)
        return (into * input_tokens + max(Decimal(p.output) for p in prices) * output_tokens) / MILLION

    def saved(self, usage: Usage) -> Decimal:
        """Return what a provider's cache of prefixes has saved on an answer."""
        if usage.input_tokens is None or not usage.cached_tokens:
            return Decimal(0)
        price = self.at(usage.input_tokens)
        if price.cached_input is None:
            return Decimal(0)
        return (Decimal(price.input) - Decimal(price.cached_input)) * usage.cached_tokens / MILLION


FREE = Price(input=0, output=0)


def price_of(model: Model) -> Price | None:
    """Return a model's price: as declared, else as listed; None where neither is known. What is simulated is free."""
    if model.simulated:
        return FREE
    if model.price is not None:
        return model.price
    return _listed(model.service.prices, model.wire_name) if model.service.prices is not None else None


def cost_usd(model: Model, usage: Usage) -> Decimal | None:
    """Return what an answer of a model cost: as its provider says, or by its tokens; None where neither is known."""
    if usage.cost_usd is not None:
        return Decimal(repr(usage.cost_usd))
    price = price_of(model)
    return price.cost(usage) if price is not None else None


@cache
def _listed(provider: str, name: str) -> Price | None:
    """Return the price of today by the table that came with the package: nothing is looked up on a network."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 0.2 s that few programs need

    now = datetime.now(UTC)
    try:
        _, found = get_snapshot().find_provider_model(name, None, provider, None)
        prices = found.get_prices(now)
    except LookupError:
        return None
    return _price(prices)


def _price(prices: Any) -> Price | None:
    """Return a price of the table as ours; None where it lacks one of the two that are always paid."""
    kinds = {
        "input": prices.input_mtok,
        "output": prices.output_mtok,
        "cached_input": prices.cache_read_mtok,
        "cache_write": prices.cache_write_mtok,
    }
    starts = sorted({t.start for kind in kinds.values() for t in getattr(kind, "tiers", ())})
    found = {start: {name: _at(kind, start) for name, kind in kinds.items()} for start in (0, *starts)}
    if any(at["input"] is None or at["output"] is None for at in found.values()):
        return None
    tiers = {start: Price(**at) for start, at in found.items()}  # type: ignore[arg-type]  # two of four are never None
    base = tiers.pop(0)
    return Price(
        input=base.input, output=base.output, cached_input=base.cached_input, cache_write=base.cache_write,
        above=tuple(tiers.items()),
    )  # fmt: skip


def _at(kind: Any, start: int) -> Decimal | None:
    if kind is None or isinstance(kind, Decimal):
        return kind
    found: Decimal = kind.base
    for tier in kind.tiers:
        if tier.start <= start:
            found = tier.price
    return found
