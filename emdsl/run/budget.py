"""A hard cap on what one run may spend: reserve before sending, settle with what it cost."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.capability import longest_answer
from emdsl.price import MILLION, cost_usd, price_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.query import Query, Response
    from emdsl.value import Number

OVERHEAD_TOKENS = 16  # of a message, beside its text
LONGEST_TOKEN = 32  # bytes


class Fits(enum.Enum):
    """Whether a request fits into a budget."""

    NOW = "now"
    LATER = "later"  # requests in flight may turn out cheaper than what was set aside for them
    NEVER = "never"  # whatever else comes back


class Budget:
    """US dollars that one run may spend; what is reserved and what is spent never exceed them.

    Where a provider charges for more than was allowed (`max_tokens`), by no more than what those answers overran.
    """

    def __init__(self, limit_usd: Number) -> None:
        self.limit_usd = Decimal(limit_usd)
        self.spent_usd = Decimal(0)
        self._reserved_usd = Decimal(0)
        self._n_reserved = 0

    def fits(self, most_usd: Decimal) -> Fits:
        """Return whether a request that may cost so much fits."""
        if self.spent_usd + self._reserved_usd + most_usd <= self.limit_usd:
            return Fits.NOW
        return Fits.LATER if self._n_reserved and self.spent_usd + most_usd <= self.limit_usd else Fits.NEVER

    def reserve(self, most_usd: Decimal) -> None:
        """Set aside what a request may cost at most."""
        self._reserved_usd += most_usd
        self._n_reserved += 1

    def settle(self, reserved_usd: Decimal, query: Query, response: Response | None, *, lost: bool = False) -> None:
        """Give back what was set aside, and count what an answer cost.

        One of unknown cost counts in full, and so does a reply that was `lost`: it came, and could not be read.
        """
        self._n_reserved -= 1
        self._reserved_usd = self._reserved_usd - reserved_usd if self._n_reserved else Decimal(0)
        if response is not None:
            cost = cost_usd(query.head.model, response.usage)
            self.spent_usd += cost if cost is not None else reserved_usd
        elif lost:
            self.spent_usd += reserved_usd


Reserved = tuple[tuple[Budget, Decimal], ...]  # what was set aside of which budgets
NEVER: Reserved = ((Budget(0), Decimal(0)),)  # no budget reaches
WHOLE_RUN = ""  # whose budget `--budget` is


class Purse:
    """The budgets of a run's experiments, and of the run; `over` are those that did not reach for all."""

    def __init__(self, budgets: Mapping[str, Number | None], whole: Number | None) -> None:
        self._budgets = {name: Budget(usd) for name, usd in budgets.items() if usd is not None}
        self._whole = Budget(whole) if whole is not None else None
        self.over: set[str] = set()

    def reserve(self, query: Query, payers: Iterable[str]) -> Reserved | None:
        """Set aside what a request may cost, on the account of an experiment that waits for it, and of the run.

        Returns NEVER where no account reaches, None where that depends on what is in flight.
        """
        if not self._budgets and self._whole is None:
            return ()
        most = worst_usd(query)
        later, over = False, set[str]()
        for payer in dict.fromkeys(payers):
            own = self._budgets.get(payer)
            budgets = [b for b in (own, self._whole) if b is not None]
            found = [b.fits(most) for b in budgets]
            if Fits.NEVER in found:
                over.add(payer if own is not None and found[0] is Fits.NEVER else WHOLE_RUN)
            elif Fits.LATER in found:
                later = True
            else:
                for budget in budgets:
                    budget.reserve(most)
                return tuple((b, most) for b in budgets)
        if later:
            return None
        self.over |= over
        return NEVER


def sent_tokens(query: Query) -> int:
    """Return the most tokens that a request can be: one for each byte that is sent."""
    sent = sum([len(m.text.encode("utf-8", "surrogatepass")) + OVERHEAD_TOKENS for m in query.prompt.messages])
    return sent + len(str(query.params.get("extra", "")).encode("utf-8", "surrogatepass"))


def worst_usd(query: Query) -> Decimal:
    """Return the most that a request can cost: a token for each byte that is sent, and the longest answer."""
    price = price_of(query.head.model)
    assert price is not None  # it was seen to before the run
    return (
        price.most(sent_tokens(query), longest_answer(query.head.model, query.params) or 0)
        if not query.head.model.simulated
        else Decimal(0)
    )


def least_usd(query: Query) -> Decimal:
    """Return the least that a request can cost: no token is longer than 32 bytes; an unknown price is nothing."""
    price = price_of(query.head.model)
    if price is None:
        return Decimal(0)
    sent = sum([len(m.text.encode("utf-8", "surrogatepass")) for m in query.prompt.messages])
    least = min(Decimal(p) for p in (price.input, price.cached_input) if p is not None)
    return least * (sent // LONGEST_TOKEN) / MILLION
