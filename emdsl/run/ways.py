"""The way of a model's requests: each sent alone, or by batches. What each way costs, and which is cheaper."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.price_list import price_of
from emdsl.run.count import Way
from emdsl.run.token_stats import CacheUse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.query import Model
    from emdsl.run.count import ExperimentCount
    from emdsl.run.estimate import Tokens

MIN_SHARED = 10  # answers that share a prefix with the one before, from which their hits are evidence
AUTO = "auto"


def of_model(model: Model, counts: Iterable[ExperimentCount], wanted: bool | str) -> Way:
    """Return the way of a model that has a batch API.

    Args:
        model: as declared.
        counts: of all experiments, planned.
        wanted: whether by batches, or `auto`.
    """
    tokens, use = _tokens_of(model, counts)
    online, together = _sum_usd(tokens, model, batch=False), _sum_usd(tokens, model, batch=True)
    discount = sum((t.discount_usd(price_of(model)) for t in tokens), Decimal(0))
    if wanted != AUTO:
        return Way(model=model, by_batch=bool(wanted), online_usd=online, batch_usd=together)
    rate, written = (use.hit_rate, use.write_rate) if use.n >= MIN_SHARED else (None, None)
    if online is None or together is None:
        return Way(model=model, by_batch=True, online_usd=None, batch_usd=None, why="its price is unknown, and halved")
    if online - discount >= together:
        shared = " even if its prefix cache served all shared prefixes" if discount else ""
        return Way(model=model, by_batch=True, online_usd=online, batch_usd=together, why=f"cheaper{shared}")
    if rate is None or written is None:
        why = "no answers yet show whether its prefix cache would save more; `emdsl run --pilot` measures it"
        return Way(model=model, by_batch=True, online_usd=online, batch_usd=together, why=why)
    writing = sum((t.writing_usd(price_of(model)) for t in tokens), Decimal(0))
    online += writing * Decimal(written) - discount * Decimal(rate)
    why = f"its prefix cache served {100 * rate:.0f} % of the shared prefixes of {use.n:,} answers"
    return Way(
        model=model, by_batch=online >= together, online_usd=online, batch_usd=together, why=why, hit_rate=rate
    )  # fmt: skip


def _tokens_of(model: Model, counts: Iterable[ExperimentCount]) -> tuple[list[Tokens], CacheUse]:
    """Return the pending tokens of a model, and the use of its prefix cache by answers that were sent alone."""
    tokens: list[Tokens] = []
    total, seen = CacheUse(), set[int]()
    for count in counts:
        for step in count.steps:
            tokens += [t for t in step.estimate.tokens if t.model.way == model.way]
        use = count.tokens.cache_use.get((model.use, False))
        if use is not None and id(use) not in seen:
            seen.add(id(use))
            total.n += use.n
            total.prefix_tokens += use.prefix_tokens
            total.cached_tokens += use.cached_tokens
            total.written_tokens += use.written_tokens
    return tokens, total


def _sum_usd(tokens: Iterable[Tokens], model: Model, *, batch: bool) -> Decimal | None:
    parts = [t.usd(price_of(model, batch=batch)) for t in tokens]
    return None if None in parts else sum((p for p in parts if p is not None), Decimal(0))


def apply_ways(counts: Iterable[ExperimentCount], ways: Iterable[Way]) -> None:
    """Price the pending requests of some models by their ways."""
    chosen = {way.model.way for way in ways if way.by_batch}
    for count in counts:
        count.ways = tuple(ways)
        for step in count.steps:
            step.estimate.price_by(lambda model: model.way in chosen)
