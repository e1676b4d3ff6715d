"""What is said of money: before a run, what it will cost; after it, what it did."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from emdsl.capability import longest_answer, unbounded
from emdsl.cli import console
from emdsl.errors import SourceError, UsageError
from emdsl.price import FREE, price_of
from emdsl.run.planner import beyond
from emdsl.source import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.run.planner import ExperimentCount, Money

MANY_USD = 100  # from which cents are not shown
CENT = Decimal("0.01")


def within(counts: list[ExperimentCount], budget: Decimal | None) -> None:
    """Raise where a budget cannot reach, or cannot be kept: before anything is sent."""
    too_dear = [(c.experiment.span, c.beyond_budget) for c in counts if c.beyond_budget]
    if too_dear:
        help_ = "raise the budget, or take a part: --samples, --only"
        raise SourceError([Diagnostic(code="E733", message=m, span=s, help=help_) for s, m in too_dear])
    if budget is None:
        return
    found = []
    for count in counts:
        for head, step in count.heads.values():
            said = unbounded(head.model, dict(head.params))
            if said is not None:
                code, message, note, help_ = said
                found.append(
                    Diagnostic(code=code, message=message, span=step.span, note=f"{note} (--budget)", help=help_)
                )
    if found:
        raise SourceError(found)
    least = sum((c.least_usd for c in counts), Decimal(0))
    if least > budget:
        raise UsageError(f"--budget: {beyond(least, budget)}")


def confirmed(counts: list[ExperimentCount], over: Decimal, budget: Decimal | None) -> bool:
    """Ask once before a run that is to cost more than `over`, or whose cost is not known; on a terminal only."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    caps = [c.experiment.budget for c in counts if c.at_most]
    cap = budget if budget is not None else None if None in caps else sum((Decimal(c or 0) for c in caps), Decimal(0))
    expected = total_usd(s.estimate.usd for c in counts for s in c.steps if s.at_most)
    if cap is not None and (expected is None or expected > cap):
        expected = cap
    unknown = expected is None and any(
        not m.service.self_hosted and not m.simulated for c in counts for m in c.models.values()
    )
    if not unknown and (expected is None or expected <= over):
        return True
    cost = "for a cost that is not known" if expected is None else f"for about {usd(expected)}"
    if expected == cap:
        cost = f"for up to {usd(cap)}, the budget"
    return click.confirm(f"Ask {sum(c.at_most for c in counts):,} requests {cost}?", default=False, err=True)


def usd(amount: Decimal | None) -> str:
    """Return an amount as people read it; ? for one that is not known."""
    if amount is None:
        return "?"
    if 0 < amount < CENT:
        return "<$0.01"
    return f"${amount:,.2f}" if amount < MANY_USD else f"${amount:,.0f}"


def total_usd(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Return a sum; None where one of the amounts is not known."""
    found = list(amounts)
    return None if None in found else sum((a for a in found if a is not None), Decimal(0))


def show_cost(count: ExperimentCount) -> None:
    """Print what is left to ask of one experiment will cost: low, expected, high; and what its budget is to that."""
    low, expected, high = costs([count])
    if any(s.at_most for s in count.steps) and high != 0:  # nothing costs nothing
        least = "" if low is None else f"at least {usd(low)}, "
        about = "not known" if expected is None else f"{usd(expected)} expected"
        console.say(f"  cost: {about}; {least}" + (f"at most {usd(high)}" if high is not None else "without an end"))
        for said in _unpriced(count):
            console.say(f"    {said}")
        discount = sum((s.estimate.discount_usd for s in count.steps), Decimal(0))
        if discount >= CENT:
            console.say(f"  of it, the provider's cache of prompt prefixes can save up to {usd(discount)}")
    budget = count.experiment.budget
    if budget is not None and not count.beyond_budget and count.at_most:
        console.say(f"  budget ${budget}: {verdict([count], Decimal(budget))}")


def show_budget(counts: list[ExperimentCount], budget: Decimal | None) -> None:
    """Print what the budget of a whole run is to what it will cost."""
    if budget is not None and any(c.at_most for c in counts):
        console.say(f"--budget ${budget:f}: {verdict(counts, budget)}\n")


def _unpriced(count: ExperimentCount) -> list[str]:
    """Return why there is no upper bound, by model."""
    found: dict[str, str] = {}
    for head, _ in count.heads.values():
        model = head.model
        if price_of(model) is None:
            found.setdefault(f"`{model.name}` has no known price", "")
        elif price_of(model) is not FREE and longest_answer(model, dict(head.params)) is None:
            found.setdefault(f"`{model.name}` has no `max_tokens`", "")
    return list(found)


def costs(counts: list[ExperimentCount]) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """Return what is left will cost: at least, as expected, at most; None where that is not known."""
    estimates = [s.estimate for c in counts for s in c.steps if s.at_most]
    low, expected, high = (total_usd(getattr(e, name) for e in estimates) for name in ("low_usd", "usd", "high_usd"))
    return low, expected, high


def verdict(counts: list[ExperimentCount], budget: Decimal) -> str:
    """Return what a budget is to what is left to ask."""
    _, expected, high = costs(counts)
    if high is not None and high <= budget:
        return "reaches for the most that this is estimated to cost"
    if expected is None:
        return "may not reach"
    return "reaches for what is expected" if expected <= budget else "will not reach: the run stops there, exit 3"


def reached(count: ExperimentCount, counts: list[ExperimentCount], budget: Decimal | None) -> float:
    """Return for which share of an experiment's samples the budgets are expected to reach; 1 where that is not known.

    Samples are asked in balanced order: what stops early is a smaller study.
    """
    shares = [1.0]
    own = count.experiment.budget
    for some, cap in (([count], Decimal(own) if own is not None else None), (counts, budget)):
        _, expected, _ = costs(some)
        if cap is not None and expected:
            shares.append(float(cap / expected))
    left, stored = sum(s.at_most for s in count.steps), sum(s.cached for s in count.steps)
    return (stored + min(shares) * left) / (stored + left) if left else 1.0


def budgets_json(counts: list[ExperimentCount], budget: Decimal | None) -> dict[str, Any]:
    """Return the budgets of experiments and of the run, with what each is to the cost."""
    found: dict[str, Any] = {
        c.experiment.name: {"usd": float(c.experiment.budget), "verdict": verdict([c], Decimal(c.experiment.budget))}
        for c in counts
        if c.experiment.budget is not None
    }
    if budget is not None:
        found["--budget"] = {"usd": float(budget), "verdict": verdict(counts, budget)}
    return {"budgets": found} if found else {}


def show_money(counts: list[ExperimentCount], *, ran: int) -> None:
    """Print what a run spent, and what it did not need to."""
    found = [s.money for c in counts for s in c.steps]
    spent, saved, prefix = _totals(found)
    unknown = sum(m.n_unknown for m in found)
    if ran and (spent or unknown):
        more = f" and the unknown cost of {unknown:,} answers" if unknown else ""
        console.say(f"spent {usd(spent)}{more}" + (f"; the store saved {usd(saved)}" if saved else ""))
    elif saved:
        console.say(f"the store saved {usd(saved)}")
    into, cached = sum(m.input_tokens for m in found), sum(m.cached_tokens for m in found)
    if cached:
        gain = f", which saved {usd(prefix)}" if prefix else ""
        console.say(f"{100 * cached / into:.0f} % of the input came from the providers' caches of prefixes{gain}")


def money_json(counts: list[ExperimentCount]) -> dict[str, Any]:
    """Return what a run spent; amounts that are not known are counted, not guessed."""
    found = [s.money for c in counts for s in c.steps]
    spent, saved, prefix = _totals(found)
    return {
        "spent_usd": float(round(spent, 6)),
        "of_unknown_cost": sum(m.n_unknown for m in found),
        "saved_by_store_usd": float(round(saved, 6)),
        "saved_by_prefixes_usd": float(round(prefix, 6)),
        "input_tokens": sum(m.input_tokens for m in found),
        "cached_tokens": sum(m.cached_tokens for m in found),
    }


def _totals(found: list[Money]) -> tuple[Decimal, Decimal, Decimal]:
    def total(name: str) -> Decimal:
        return sum((getattr(m, name) for m in found), Decimal(0))

    return total("spent_usd"), total("saved_usd"), total("prefix_usd")
