"""What budgets say of single requests, and what those cost at most and at least."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from emdsl.price import Price
from emdsl.prompt import Message, Prompt
from emdsl.query import Model, Query, RequestSettings, Response, Usage
from emdsl.run.budget import NEVER, WHOLE_RUN, Budgets, least_usd, sent_tokens, worst_usd
from emdsl.run.reservations import Budget, Fits
from emdsl.service import SERVICES, SIM, openai_api

if TYPE_CHECKING:
    from emdsl.value import Number

PRICE = Price(input=1_000, output=10_000)  # 0.001 and 0.01 dollars a token


def query(*texts: str, price: Price | None = PRICE, simulated: bool = False, **params: Any) -> Query:
    service = SERVICES[SIM] if simulated else openai_api("lab")
    model = Model(name="m", use=f"{service.name}/m", service=service, wire_name="m", price=price)
    settings = {"max_tokens": 100} | params
    return Query(
        RequestSettings(model, tuple(settings.items())), Prompt(tuple(Message("user", t) for t in texts)), 0, b""
    )


SMALL, BIG = query("hi"), query("x" * 5_000)  # 1.018 and 6.016 dollars at most
ANSWER = Response(text="a", finish="stop", usage=Usage(input_tokens=10, output_tokens=10))  # 0.11 dollars
UNCOUNTED = Response(text="a", finish="stop")


def fitting(budget: Budget, *most_usd: str) -> list[Fits]:
    return [budget.fits(Decimal(usd)) for usd in most_usd]


def test_a_request_fits_up_to_the_limit() -> None:
    """The limit itself fits; over it nothing ever will."""
    assert fitting(Budget(Decimal("2.5")), "2.5", "2.6") == [Fits.NOW, Fits.NEVER]


def test_what_is_set_aside_may_come_back() -> None:
    """What would fit without the requests in flight waits for them, and fits once they are settled."""
    budget = Budget(Decimal("2.5"))
    budget.reserve(Decimal(1))
    assert fitting(budget, "1.5", "2", "2.5", "2.6") == [Fits.NOW, Fits.LATER, Fits.LATER, Fits.NEVER]
    budget.settle(Decimal(1), SMALL, None)
    assert fitting(budget, "2.5", "2.6") == [Fits.NOW, Fits.NEVER]
    budget.reserve(Decimal(1))
    budget.reserve(Decimal("0.5"))
    budget.settle(Decimal(1), SMALL, None)
    assert fitting(budget, "2", "2.1") == [Fits.NOW, Fits.LATER]


def test_nothing_in_flight_is_nothing_set_aside() -> None:
    """Sums of unlike size are rounded; no rest of that stays set aside."""
    budget, sums = Budget(1), [Decimal(10) ** 27, Decimal(2) / 3]
    for usd in sums:
        budget.reserve(usd)
    for usd in sums:
        budget.settle(usd, SMALL, None)
    assert fitting(budget, "1") == [Fits.NOW]


@pytest.mark.parametrize(
    ("response", "lost", "spent"),
    [(None, False, "0"), (ANSWER, False, "0.11"), (UNCOUNTED, False, "1"), (None, True, "1")],
    ids=["no answer", "answer", "answer of unknown cost", "lost reply"],
)
def test_what_is_settled_counts(response: Response | None, lost: bool, spent: str) -> None:
    """An answer counts by its tokens; one of unknown cost, and a reply that was lost, count in full."""
    budget = Budget(9)
    budget.reserve(Decimal(1))
    budget.settle(Decimal(1), SMALL, response, maybe_billed=lost)
    assert budget.spent_usd == Decimal(spent)


def test_without_a_budget_no_price_is_needed() -> None:
    """Nothing is set aside, so that a model without a price may be asked."""
    assert Budgets({"a": None}, None).reserve(query("hi", price=None), ["a"]) == ()


def test_money_is_reserved_from_the_experiment_and_from_the_run() -> None:
    """The first account that reaches pays, and the run's with it; an experiment without a budget pays of the run's."""
    budgets = Budgets({"a": 1, "b": 2, "c": None}, 4)
    for payers, limits in ((["a", "b"], [2, 4]), (["c"], [4])):
        reserved = budgets.reserve(SMALL, payers)
        assert reserved
        assert [(int(budget.limit_usd), usd) for budget, usd in reserved] == [(n, Decimal("1.018")) for n in limits]
    assert budgets.reserve(SMALL, ["a", "b"]) is None, "of `b`, that depends on the request in flight"
    assert budgets.exhausted == set()


@pytest.mark.parametrize(
    ("budgets", "whole", "asked", "over"),
    [
        ({"e": 1}, 4, SMALL, "e"),
        ({"e": 1}, 1, SMALL, "e"),
        ({"e": 20}, 4, BIG, WHOLE_RUN),
        ({"e": None}, 4, BIG, WHOLE_RUN),
    ],
    ids=["of the experiment", "both", "of the run", "the only one"],
)
def test_the_budget_that_does_not_reach_is_named(
    budgets: dict[str, Number | None], whole: Number, asked: Query, over: str
) -> None:
    """It is the experiment's own wherever that does not reach, else the run's."""
    all_budgets = Budgets(budgets, whole)
    assert all_budgets.reserve(asked, ["e"]) is NEVER
    assert all_budgets.exhausted == {over}


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        (query(""), 16),
        (query("\u00e9\u00e9\u00e9", "ab", extra="\u00e9"), 6 + 16 + 2 + 16 + 2),
        (query("\ud800", extra="\ud800"), 3 + 16 + 3),
    ],
    ids=["empty", "two messages", "surrogates"],
)
def test_a_request_is_no_more_tokens_than_bytes(asked: Query, tokens: int) -> None:
    """A token for each byte of UTF-8 of the messages and of `extra`, and 16 for each message."""
    assert sent_tokens(asked) == tokens


@pytest.mark.parametrize(
    ("asked", "usd"),
    [(query("\u00e9\u00e9\u00e9", "ab"), "1.04"), (query("a", simulated=True), "0")],
    ids=["priced", "simulated"],
)
def test_the_most_that_a_request_can_cost(asked: Query, usd: str) -> None:
    """All that is sent, and the longest answer; what is simulated is free."""
    assert worst_usd(asked) == Decimal(usd)


@pytest.mark.parametrize(
    ("asked", "usd"),
    [
        (query("a" * 33, "\u00e9" * 16), "0.002"),
        (query("\ud800" * 11), "0.001"),
        (query("a" * 64, price=Price(input=1_000, output=10_000, cached_input=100)), "0.0002"),
        (query("a" * 64, price=None), "0"),
    ],
    ids=["two messages", "surrogates", "from a cache", "no price"],
)
def test_the_least_that_a_request_can_cost(asked: Query, usd: str) -> None:
    """A token for every 32 whole bytes of the texts, at the lower of both prices of input; of no price, nothing."""
    assert least_usd(asked) == Decimal(usd)
