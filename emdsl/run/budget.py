"""The budgets of a run and of its experiments, and how much a request costs at most and at least."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.capability import max_answer_tokens
from emdsl.price import MILLION
from emdsl.price_list import price_of
from emdsl.run.reservations import Budget, Fits
from emdsl.run.spending import Money

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from emdsl.query import Query, Response
    from emdsl.run.ledger import Ledger
    from emdsl.value import Number

OVERHEAD_TOKENS = 16  # of a message, beside its text
SCHEMA_TOKENS = 1_000  # of the instructions that a provider adds to a JSON schema
MAX_TOKEN_BYTES = 32  # bytes


Reserved = tuple[tuple[Budget, Decimal], ...]  # the amount reserved from each budget
NEVER: Reserved = ((Budget(0), Decimal(0)),)  # no budget is enough
WHOLE_RUN = ""  # whose budget `--budget` is


class Budgets:
    """The budgets of a run and of its experiments; `exhausted` names those that were not enough."""

    def __init__(
        self, budgets: Mapping[str, Number | None], whole: Number | None, ledger: Ledger | None = None,
        drawn: Collection[str] = (WHOLE_RUN,),
    ) -> None:  # fmt: skip
        """Make the budgets.

        Args:
            budgets: of the experiments, in US dollars; None for one without.
            whole: of the whole run; None without.
            ledger: of those that other processes spend too; `watch` comes before the first reservation then.
            drawn: the names of these.
        """
        self.ledger, self._drawn = ledger, drawn
        self._on_money: Callable[[], None] = _nothing
        self._on_error: Callable[[BaseException], None] = _nothing
        self._budgets = {name: self._budget(name, usd) for name, usd in budgets.items() if usd is not None}
        self._n_experiments = len(budgets)
        self._whole = self._budget(WHOLE_RUN, whole) if whole is not None else None
        self._paid = Money()  # without a budget of the run: what it has spent all the same
        self._unsure_usd = Decimal(0)  # maximum cost of what may have cost something unknown, and cost by batches
        self._n_unpriced = 0  # answers of other processes of this run, whose model has no price
        self.exhausted: set[str] = set()

    def watch(self, on_money: Callable[[], None], on_error: Callable[[BaseException], None]) -> None:
        """Set the functions to call when money was drawn from the ledger, and for an error of the ledger."""
        self._on_money, self._on_error = on_money, on_error

    async def give_back(self) -> None:
        """Report spending to the ledger, and give the rest back: nothing is in flight. Raises the ledger's errors."""
        for budget in (*self._budgets.values(), self._whole):
            if budget is not None:
                await budget.give_back()

    def _budget(self, name: str, usd: Number) -> Budget:
        if self.ledger is None or name not in self._drawn:
            return Budget(usd)
        from emdsl.run.purse import Purse  # noqa: PLC0415 - a plan counts money too, without an event loop

        return Purse(name, usd, self.ledger, self._tell_money, self._tell_error)

    def _tell_money(self) -> None:
        self._on_money()

    def _tell_error(self, error: BaseException) -> None:
        self._on_error(error)

    @property
    def limited(self) -> bool:
        """Whether there is any budget."""
        return bool(self._budgets) or self._whole is not None

    @property
    def whole_usd(self) -> Decimal | None:
        """The budget of the whole run; None without one."""
        return self._whole.limit_usd if self._whole is not None else None

    @property
    def limit_usd(self) -> Decimal | None:
        """What the run may spend in all: its own budget, or those of all its experiments; None without."""
        if self._whole is not None:
            return self._whole.limit_usd
        all_limited = bool(self._budgets) and len(self._budgets) == self._n_experiments
        return sum((b.limit_usd for b in self._budgets.values()), Decimal(0)) if all_limited else None

    @property
    def spent_usd(self) -> Decimal:
        """US dollars that the run has spent; an answer without a count of its tokens counts in full."""
        return self._whole.spent_usd if self._whole is not None else self.unlimited_usd

    @property
    def unlimited_usd(self) -> Decimal:
        """US dollars that the run has spent while it had no budget of its own."""
        return self._paid.spent_usd + self._unsure_usd

    @property
    def n_unpriced(self) -> int:
        """Answers that `spent_usd` lacks, because their model has no price."""
        return self._paid.n_unpriced + self._n_unpriced

    def count_elsewhere(self, usd: Decimal, n_unpriced: int) -> None:
        """Count spending of another process of this run, without a budget of the run."""
        self._n_unpriced += n_unpriced
        if self._whole is not None:
            self._whole.spent_usd += usd
        else:
            self._unsure_usd += usd

    def named(self, name: str) -> Budget | None:
        """Return the budget of an experiment, or of the whole run; None without one."""
        return self._whole if name == WHOLE_RUN else self._budgets.get(name)

    def change_whole(self, usd: Decimal, in_flight: Iterable[Query]) -> Decimal:
        """Set the budget of the whole run; `in_flight` are the queries of all requests in flight.

        Requests that were given up stay so. Those that do not fit any more are given up, as if the money were spent.
        Returns the amount that the first budget of the run has reserved for those in flight.
        """
        if self._whole is not None:
            self._whole.change(usd)
            return Decimal(0)
        self._whole = self._budget(WHOLE_RUN, usd)
        if self.ledger is None:  # a ledger knows the earlier spending
            self._whole.spent_usd = self.unlimited_usd
        held = Decimal(0)
        for query in in_flight:
            most = worst_usd(query)
            held += most
            self._whole.reserve(most)
        self._whole.hold(held)
        return held

    def settle(self, reserved: Reserved, query: Query, response: Response | None, *, maybe_billed: bool) -> None:
        """Give the reservations of a request back, and count the cost of its answer, as `Budget.settle`."""
        for budget, most_usd in reserved:
            budget.settle(most_usd, query, response, maybe_billed=maybe_billed)
        if self._whole is None:
            self._count(query, response, maybe_billed=maybe_billed)
        elif all(budget is not self._whole for budget, _ in reserved):  # it was in flight when the budget was set
            self._whole.settle(worst_usd(query), query, response, maybe_billed=maybe_billed)

    def settle_batched(self, cost: Decimal, reserved: Reserved) -> None:
        """Count the cost of an answer by a batch for the whole run, unless its budget was among the reservations."""
        if self._whole is None:
            self._unsure_usd += cost
        elif all(budget is not self._whole for budget, _ in reserved):  # it was submitted before the budget was set
            self._whole.spent_usd += cost

    def _count(self, query: Query, response: Response | None, *, maybe_billed: bool) -> None:
        model = query.settings.model
        if response is not None:
            self._paid.add(model, response, fresh=True)
            usage = response.usage
            maybe_billed = usage.cost_usd is None and None in (usage.input_tokens, usage.output_tokens)
        if maybe_billed and price_of(model) is not None:
            self._unsure_usd += worst_usd(query)

    def reserve(self, query: Query, payers: Iterable[str]) -> Reserved | None:
        """Reserve the maximum cost of a request from the run and from an experiment that waits for it.

        Returns NEVER if no budget is enough, None if that depends on the requests in flight.
        """
        return self.reserve_usd(worst_usd(query), payers) if self.limited else ()

    def reserve_usd(self, most: Decimal, payers: Iterable[str]) -> Reserved | None:
        """Reserve an amount; see `reserve`."""
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

    def hold(self, most: Decimal, payer: str) -> Reserved:
        """Reserve an amount that was reserved by an earlier run, whether it fits or not."""
        budgets = [b for b in (self._budgets.get(payer), self._whole) if b is not None]
        for budget in budgets:
            budget.reserve(most)
        return tuple((b, most) for b in budgets)


def _nothing(*_: object) -> None:
    pass


def sent_tokens(query: Query) -> int:
    """Return the maximum tokens of a request: one for each byte that is sent."""
    sent = sum([len(m.text.encode("utf-8", "surrogatepass")) + OVERHEAD_TOKENS for m in query.prompt.messages])
    params = query.params
    if "json_schema" in params:
        sent += len(str(params["json_schema"]).encode("utf-8", "surrogatepass")) + SCHEMA_TOKENS
    return sent + len(str(params.get("extra", "")).encode("utf-8", "surrogatepass"))


def worst_usd(query: Query, *, batch: bool = False) -> Decimal:
    """Return the maximum cost of a request: a token for each byte that is sent, and the longest answer."""
    model = query.settings.model
    price = price_of(model, batch=batch)
    assert price is not None  # checked before the run
    if model.simulated:
        return Decimal(0)
    return price.max_cost(sent_tokens(query), max_answer_tokens(model, query.params) or 0)


def least_usd(query: Query) -> Decimal:
    """Return the minimum cost of a request: no token is longer than 32 bytes; 0 if the price is unknown."""
    price = price_of(query.settings.model)
    if price is None:
        return Decimal(0)
    sent = sum([len(m.text.encode("utf-8", "surrogatepass")) for m in query.prompt.messages])
    least = min(Decimal(p) for p in (price.input, price.cached_input) if p is not None)
    return least * (sent // MAX_TOKEN_BYTES) / MILLION
