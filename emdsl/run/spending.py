"""The cost of stored answers, in US dollars."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.price import FREE
from emdsl.price_list import cost_of, price_of, saved_by_cache
from emdsl.query import Usage

if TYPE_CHECKING:
    from emdsl.price import Price
    from emdsl.query import Model, Response


@dataclass(slots=True)
class Sums:
    """The sum of the answers of one price."""

    price: Price | None
    n: int = 0
    n_unknown: int = 0  # of unknown cost: neither charged by the provider, nor with token counts and a price
    charged_usd: float = 0.0  # as the provider reports
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    all_input_tokens: int = 0  # charged or not
    all_cached_tokens: int = 0

    def add(self, usage: Usage, n: int = 1) -> None:
        """Add an answer, or the tokens of several."""
        self.n += n
        self.all_input_tokens += usage.input_tokens or 0
        self.all_cached_tokens += usage.cached_tokens or 0
        if usage.cost_usd is not None:
            self.charged_usd += usage.cost_usd
        elif self.price is None or (
            self.price is not FREE and (usage.input_tokens is None or usage.output_tokens is None)
        ):
            self.n_unknown += n
        else:
            self.input_tokens += usage.input_tokens or 0
            self.output_tokens += usage.output_tokens or 0
            self.cached_tokens += usage.cached_tokens or 0
            self.written_tokens += usage.written_tokens or 0

    @property
    def usage(self) -> Usage:
        """The tokens of the answers that the provider did not charge by itself, as of one answer."""
        return Usage(
            input_tokens=self.input_tokens, output_tokens=self.output_tokens, cached_tokens=self.cached_tokens,
            written_tokens=self.written_tokens,
        )  # fmt: skip

    @property
    def usd(self) -> Decimal:
        """The known part of their cost."""
        cost = cost_of(self.price.plain, self.usage) if self.price is not None else None
        return (cost or Decimal(0)) + Decimal(repr(self.charged_usd))


@dataclass(slots=True)
class Money:
    """The cost of stored answers, of this run and of others: summed by price, and priced once."""

    _sums: dict[tuple[int, bool], Sums] = field(default_factory=dict)
    _models: dict[tuple[int, bool], tuple[Model, Price | None]] = field(
        default_factory=dict
    )  # kept, because they are found by identity

    def add(self, model: Model, response: Response, *, fresh: bool) -> None:
        """Add an answer; it is `fresh` if this run requested it."""
        self._at(model, response.usage, batch=response.batch is not None, fresh=fresh).add(response.usage)

    def add_sums(self, model: Model, usage: Usage, *, n: int, batch: bool, fresh: bool) -> None:
        """Add the tokens of `n` answers at one price."""
        self._at(model, usage, batch=batch, fresh=fresh).add(usage, n)

    def _at(self, model: Model, usage: Usage, *, batch: bool, fresh: bool) -> Sums:
        known = self._models.get((id(model), batch))
        if known is None:
            known = self._models[id(model), batch] = model, price_of(model, batch=batch)
        price = known[1]
        if price is not None and price.above:
            price = price.at(usage.input_tokens or 0)
        sums = self._sums.get((id(price), fresh))
        if sums is None:
            sums = self._sums[id(price), fresh] = Sums(price)
        return sums

    def _of(self, *, fresh: bool) -> list[Sums]:
        return [s for (_, f), s in self._sums.items() if f is fresh]

    @property
    def spent_usd(self) -> Decimal:
        """Cost of the answers of this run."""
        return sum((s.usd for s in self._of(fresh=True)), Decimal(0))

    @property
    def saved_usd(self) -> Decimal:
        """Cost of all other answers, which this run did not need to pay."""
        return sum((s.usd for s in self._of(fresh=False)), Decimal(0))

    @property
    def prefix_usd(self) -> Decimal:
        """Savings of this run by the providers' caches of prompt prefixes."""
        return sum(
            (saved_by_cache(s.price.plain, s.usage) for s in self._of(fresh=True) if s.price is not None), Decimal(0)
        )

    @property
    def n_unknown(self) -> int:
        """Answers of this run of unknown cost."""
        return sum(s.n_unknown for s in self._of(fresh=True))

    @property
    def n_unpriced(self) -> int:
        """Answers of this run whose model has no price, and whose provider reported no cost."""
        return sum(s.n_unknown for s in self._of(fresh=True) if s.price is None)

    @property
    def input_tokens(self) -> int:
        """Input tokens of this run."""
        return sum(s.all_input_tokens for s in self._of(fresh=True))

    @property
    def cached_tokens(self) -> int:
        """Input tokens of this run that a provider's cache of prefixes served."""
        return sum(s.all_cached_tokens for s in self._of(fresh=True))
