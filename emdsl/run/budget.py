"""A hard cap on what one run may spend: reserve before sending, settle with what it cost."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.capability import max_answer_tokens
from emdsl.price import MILLION
from emdsl.price_list import cost_usd, price_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.query import Query, Response
    from emdsl.value import Number

OVERHEAD_TOKENS = 16  # of a message, beside its text
MAX_TOKEN_BYTES = 32  # bytes


class Fits(enum.Enum):
    """Whether a request fits into a budget."""

    NOW = "now"
    LATER = "later"  # requests in flight may cost less than was reserved for them
    NEVER = "never"


class Budget:
    """US dollars that one run may spend: the sum of what is reserved and spent never exceeds them.

    If a provider charges for more than `max_tokens`, it is exceeded by no more than that.
    """

    def __init__(self, limit_usd: Number) -> None:
        self.limit_usd = Decimal(limit_usd)
        self.spent_usd = Decimal(0)
        self._reserved_usd = Decimal(0)
        self._n_reserved = 0

    def fits(self, most_usd: Decimal) -> Fits:
        """Return whether a request of this maximum cost fits."""
        if self.spent_usd + self._reserved_usd + most_usd <= self.limit_usd:
            return Fits.NOW
        return Fits.LATER if self._n_reserved and self.spent_usd + most_usd <= self.limit_usd else Fits.NEVER

    def reserve(self, most_usd: Decimal) -> None:
        """Reserve the maximum cost of a request."""
        self._reserved_usd += most_usd
        self._n_reserved += 1

    def settle(
        self, reserved_usd: Decimal, query: Query, response: Response | None, *, maybe_billed: bool = False
    ) -> None:
        """Give the reservation back, and count the cost of the answer.

        An answer of unknown cost counts in full, and so does a request without an answer that may be billed.
        """
        self._n_reserved -= 1
        self._reserved_usd = self._reserved_usd - reserved_usd if self._n_reserved else Decimal(0)
        if response is not None:
            cost = cost_usd(query.settings.model, response.usage)
            self.spent_usd += cost if cost is not None else reserved_usd
        elif maybe_billed:
            self.spent_usd += reserved_usd


Reserved = tuple[tuple[Budget, Decimal], ...]  # the amount reserved from each budget
NEVER: Reserved = ((Budget(0), Decimal(0)),)  # no budget is enough
WHOLE_RUN = ""  # whose budget `--budget` is


class Budgets:
    """The budgets of a run and of its experiments; `exhausted` names those that were not enough."""

    def __init__(self, budgets: Mapping[str, Number | None], whole: Number | None) -> None:
        self._budgets = {name: Budget(usd) for name, usd in budgets.items() if usd is not None}
        self._whole = Budget(whole) if whole is not None else None
        self.exhausted: set[str] = set()

    @property
    def limited(self) -> bool:
        """Whether there is any budget."""
        return bool(self._budgets) or self._whole is not None

    def reserve(self, query: Query, payers: Iterable[str]) -> Reserved | None:
        """Reserve the maximum cost of a request from the run and from an experiment that waits for it.

        Returns NEVER if no budget is enough, None if that depends on the requests in flight.
        """
        if not self.limited:
            return ()
        most = worst_usd(query)
        later, exhausted = False, set[str]()
        for payer in dict.fromkeys(payers):
            own = self._budgets.get(payer)
            budgets = [b for b in (own, self._whole) if b is not None]
            fits = [b.fits(most) for b in budgets]
            if Fits.NEVER in fits:
                exhausted.add(payer if own is not None and fits[0] is Fits.NEVER else WHOLE_RUN)
            elif Fits.LATER in fits:
                later = True
            else:
                for budget in budgets:
                    budget.reserve(most)
                return tuple((b, most) for b in budgets)
        if later:
            return None
        self.exhausted |= exhausted
        return NEVER


def sent_tokens(query: Query) -> int:
    """Return the maximum tokens of a request: one for each byte that is sent."""
    sent = sum([len(m.text.encode("utf-8", "surrogatepass")) + OVERHEAD_TOKENS for m in query.prompt.messages])
    return sent + len(str(query.params.get("extra", "")).encode("utf-8", "surrogatepass"))


def worst_usd(query: Query) -> Decimal:
    """Return the maximum cost of a request: a token for each byte that is sent, and the longest answer."""
    price = price_of(query.settings.model)
    assert price is not None  # checked before the run
    return (
        price.max_cost(sent_tokens(query), max_answer_tokens(query.settings.model, query.params) or 0)
        if not query.settings.model.simulated
        else Decimal(0)
    )


def least_usd(query: Query) -> Decimal:
    """Return the minimum cost of a request: no token is longer than 32 bytes; 0 if the price is unknown."""
    price = price_of(query.settings.model)
    if price is None:
        return Decimal(0)
    sent = sum([len(m.text.encode("utf-8", "surrogatepass")) for m in query.prompt.messages])
    least = min(Decimal(p) for p in (price.input, price.cached_input) if p is not None)
    return least * (sent // MAX_TOKEN_BYTES) / MILLION
