"""The price of a model, declared or listed by `genai-prices`, and the cost of an answer. The door to genai-prices."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from emdsl.price import FREE, MILLION, Price

if TYPE_CHECKING:
    from emdsl.query import Model, Response, Usage


def price_of(model: Model, *, batch: bool = False) -> Price | None:
    """Return a model's price: the declared one, else the listed one, else None. Simulated models are free.

    `batch`: of an answer by a batch. Where only the other price is known, it is half of that, as every provider with
    a batch API publishes.
    """
    if model.simulated:
        return FREE
    if model.price is not None:
        return _halved(model.price) if batch else model.price
    return _listed(model.service.prices, model.wire_name, batch) if model.service.prices is not None else None


def cost_usd(model: Model, response: Response) -> Decimal | None:
    """Return the cost of an answer: the one its provider reports, else by its tokens; None if neither is known."""
    usage = response.usage
    if usage.cost_usd is not None:
        return Decimal(repr(usage.cost_usd))
    price = price_of(model, batch=response.batch is not None)
    return cost_of(price, usage) if price is not None else None


def stored_usd(model: str, response: Response, price: tuple[float, float] | None) -> float | None:
    """Return the cost of a stored answer in US dollars; None if it is unknown.

    Args:
        model: The model by its name in a study.
        response: The answer.
        price: Of its model when it was paid for, in US dollars per million tokens of input and of output.
    """
    usage = response.usage
    cost = 0.0 if model.startswith("sim/") else usage.cost_usd
    if cost is not None or price is None or usage.input_tokens is None or usage.output_tokens is None:
        return cost
    cost = (usage.input_tokens * price[0] + usage.output_tokens * price[1]) / 1e6
    return cost / 2 if response.batch is not None else cost


def cost_of(price: Price, usage: Usage) -> Decimal | None:
    """Return the cost of an answer by its tokens, in US dollars; None if the provider did not count them."""
    if price is FREE:
        return Decimal(0)
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    price = price.at(usage.input_tokens)
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    written = min(usage.written_tokens or 0, usage.input_tokens - cached)
    plain = usage.input_tokens - cached - written
    total = Decimal(price.input) * plain + Decimal(price.output) * usage.output_tokens
    total += Decimal(price.input if price.cached_input is None else price.cached_input) * cached
    total += Decimal(price.input if price.cache_write is None else price.cache_write) * written
    return total / MILLION


def saved_by_cache(price: Price, usage: Usage) -> Decimal:
    """Return how much a provider's prefix cache saved on an answer, in US dollars."""
    if usage.input_tokens is None or not usage.cached_tokens:
        return Decimal(0)
    price = price.at(usage.input_tokens)
    if price.cached_input is None:
        return Decimal(0)
    return (Decimal(price.input) - Decimal(price.cached_input)) * usage.cached_tokens / MILLION


@cache
def _halved(price: Price) -> Price:
    return price.halved


@cache
def _listed(provider: str, name: str, batch: bool) -> Price | None:
    """Return today's price from the table inside the package: no network access."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 0.2 s that few studies need

    now = datetime.now(UTC)
    try:
        _, model = get_snapshot().find_provider_model(name, None, provider, None)
        alone = _price(model.get_prices(now))
        together = _price(model.get_prices(now, {"processing": "batch"})) if batch else None
    except LookupError:
        return None
    if not batch or alone is None:
        return alone
    return together if together != alone else _halved(alone)


def _price(prices: Any) -> Price | None:
    """Convert a price of the table; None if it lacks input or output, which are always paid."""
    kinds = {
        "input": prices.input_mtok,
        "output": prices.output_mtok,
        "cached_input": prices.cache_read_mtok,
        "cache_write": prices.cache_write_mtok,
    }
    starts = sorted({t.start for kind in kinds.values() for t in getattr(kind, "tiers", ())})
    by_start = {start: {name: _at(kind, start) for name, kind in kinds.items()} for start in (0, *starts)}
    if any(at["input"] is None or at["output"] is None for at in by_start.values()):
        return None
    tiers = {start: Price(**at) for start, at in by_start.items()}  # type: ignore[arg-type]  # two of four are never None
    base = tiers.pop(0)
    return Price(
        input=base.input, output=base.output, cached_input=base.cached_input, cache_write=base.cache_write,
        above=tuple(tiers.items()),
    )  # fmt: skip


def _at(kind: Any, start: int) -> Decimal | None:
    if kind is None or isinstance(kind, Decimal):
        return kind
    price: Decimal = kind.base
    for tier in kind.tiers:
        if tier.start <= start:
            price = tier.price
    return price
