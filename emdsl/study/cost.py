"""Cost: expected before a run, spent after it, and what a budget covers."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.capability import max_answer_tokens, why_unbounded
from emdsl.errors import OverBudget, SourceError
from emdsl.price import FREE
from emdsl.price_list import price_of
from emdsl.run.count import beyond
from emdsl.source import Diagnostic
from emdsl.study.basis import assumes, basis_of
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.price import Price
    from emdsl.query import Model
    from emdsl.run.count import ExperimentCount
    from emdsl.run.spending import Money
    from emdsl.study.screen import Part

MANY_USD = 100  # from which cents are not shown
MARGIN = 2  # a cost that rests on assumed lengths can be this many times as high
CENT = Decimal("0.01")


def check_budgets(counts: list[ExperimentCount], budget: Decimal | None) -> None:
    """Raise before any request if a budget is smaller than the least cost, or cannot be enforced.

    Raises:
        SourceError: The budget of an experiment is too small, or a model's cost has no upper bound.
        OverBudget: The budget of the run is too small.
    """
    too_small = [(c.experiment.span, c.beyond_budget) for c in counts if c.beyond_budget]
    if too_small:
        help_ = "raise the budget, or run a part: --samples, --only"
        raise SourceError([Diagnostic(code="E733", message=m, span=s, help=help_) for s, m in too_small])
    if budget is None:
        return
    if reasons := list(unlimited(counts)):
        raise SourceError(reasons)
    least = sum((c.least_usd for c in counts), Decimal(0))
    if least > budget:
        raise OverBudget(beyond(least, budget), parameter="budget")


def unlimited(counts: list[ExperimentCount]) -> Iterator[Diagnostic]:
    """Yield why the cost of the pending requests has no upper limit: an error of each step, if they had a budget."""
    for count in counts:
        for head, step in count.heads.values():
            reason = why_unbounded(head.model, dict(head.params))
            if reason is not None:
                code, message, note, help_ = reason
                yield Diagnostic(code=code, message=message, span=step.span, note=f"{note} (--budget)", help=help_)


def question_of_cost(counts: list[ExperimentCount], over: Decimal | None, budget: Decimal | None) -> str:
    """Return the question to confirm before a run that costs more than `over`, or whose cost is unknown; else nothing.

    Requests to self-hosted and simulated models cost nothing. With `over` None there is no question. A cost that rests
    on assumed lengths counts twice, and the question says so.
    """
    if over is None:
        return ""
    caps = [c.experiment.budget for c in counts if c.at_most]
    cap = budget if budget is not None else None if None in caps else sum((Decimal(c or 0) for c in caps), Decimal(0))
    expected = total_usd(s.estimate.usd for c in counts for s in c.steps if s.at_most)
    if cap is not None and (expected is None or expected > cap):
        expected = cap
    unknown = expected is None and any(
        not m.service.self_hosted and not m.simulated for c in counts for m in c.models.values()
    )
    assumed = expected is not None and expected != cap and assumes(counts)
    if not unknown and (expected is None or expected * (MARGIN if assumed else 1) <= over):
        return ""
    cost = "at an unknown cost" if expected is None else f"for about {usd(expected)}"
    if expected == cap:
        cost = f"for at most {usd(cap)} (the budget)"
    elif assumed:
        high = costs(counts)[2]
        most = f", at most {usd(high)}" if high is not None else ", no upper limit"
        cost += f" ({basis_of(counts)}{most})"
    return f"Send {counted(sum(c.at_most for c in counts), 'request')} {cost}?"


def usd(amount: Decimal | None) -> str:
    """Return an amount as people read it; ? for an unknown one."""
    if amount is None:
        return "?"
    if 0 < amount < CENT:
        return "<$0.01"
    return f"${amount:,.2f}" if amount < MANY_USD else f"${amount:,.0f}"


def total_usd(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Return a sum; None if one of the amounts is unknown."""
    addends = list(amounts)
    return None if None in addends else sum((a for a in addends if a is not None), Decimal(0))


def cost_parts(count: ExperimentCount) -> Iterator[Part]:
    """Yield the cost of one experiment's pending requests (likely, minimum, maximum) and what its budget covers."""
    low, expected, high = costs([count])
    if any(s.at_most for s in count.steps) and high != 0:  # nothing costs nothing
        about = "unknown" if expected is None else f"about {usd(expected)} likely"
        least = "" if low is None else f", at least {usd(low)}"
        yield f"  cost: {about}{least}, " + (f"at most {usd(high)}" if high is not None else "no upper limit")
        if expected is not None:
            yield f"    ({basis_of([count])})"
        yield from (f"    {reason}" for reason in _unpriced(count))
        yield from _way_parts(count)
        discount = sum((s.estimate.discount_usd for s in count.steps), Decimal(0))
        if discount >= CENT:
            yield f"  the provider's prefix cache can save up to {usd(discount)} of it"
            if (axis := count.experiment.clusters.crossed) and expected is not None:
                yield (
                    f"  sets of demonstrations: shared by all levels of `{axis}` (crossed) "
                    f"about {usd(expected - discount)}, a set for each (nested) about {usd(expected)}"
                )
    budget = count.experiment.budget
    if budget is not None and not count.beyond_budget and count.at_most:
        yield f"  budget ${budget}: {coverage([count], Decimal(budget))}"


def _way_parts(count: ExperimentCount) -> Iterator[Part]:
    """Yield the cost of both ways, if some of the models have a batch API, and which was chosen."""
    ways = [way for way in count.ways if way.online_usd or way.batch_usd]
    if not ways:
        return
    with_batches = {way.model.way for way in ways}

    def total(*, batch: bool) -> Decimal | None:
        def price(model: Model) -> Price | None:
            return price_of(model, batch=batch and model.way in with_batches)

        return total_usd(s.estimate.usd_at(price) for s in count.steps)

    by_batch = [f"`{way.model.name}`" for way in ways if way.by_batch]
    chosen = "batch" if len(by_batch) == len(count.models) else f"batch for {', '.join(by_batch)}"
    chosen = chosen if by_batch else "online (`--batch` chooses batch)"
    hours = max(way.model.service.batch_hours for way in ways)
    yield f"  online {usd(total(batch=False))} - batch {usd(total(batch=True))} (within {hours} h): {chosen}"
    for way in ways:
        if way.why:
            hits = f": about {usd(way.online_usd)} online" if way.hit_rate else ""
            yield f"    `{way.model.name}`: {'batch' if way.by_batch else 'online'}, {way.why}{hits}"


def budget_parts(counts: list[ExperimentCount], budget: Decimal | None) -> Iterator[Part]:
    """Yield what the budget of a whole run covers."""
    if budget is not None and any(c.at_most for c in counts):
        yield f"--budget ${budget.normalize():f}: {coverage(counts, budget)}\n"  # the rest of a team's has many zeros


def _unpriced(count: ExperimentCount) -> list[str]:
    """Return why there is no upper limit, by model."""
    reasons: dict[str, None] = {}
    for head, _ in count.heads.values():
        model = head.model
        if price_of(model) is None:
            reasons[f"the price of `{model.name}` is unknown"] = None
        elif price_of(model) is not FREE and max_answer_tokens(model, dict(head.params)) is None:
            reasons[f"`{model.name}` has no `max_tokens`"] = None
    return list(reasons)


def costs(counts: list[ExperimentCount]) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """Return the cost of the pending requests: minimum, expected, maximum; None if unknown."""
    estimates = [s.estimate for c in counts for s in c.steps if s.at_most]
    low, expected, high = (total_usd(getattr(e, name) for e in estimates) for name in ("low_usd", "usd", "high_usd"))
    return low, expected, high


def coverage(counts: list[ExperimentCount], budget: Decimal) -> str:
    """Return what a budget covers of the pending requests."""
    low, expected, high = costs(counts)
    if high is not None and high <= budget:
        return "covers the maximum estimated cost"
    if expected is None:
        return "may be too small: the cost is unknown"
    if assumes(counts) and (low is None or low <= budget):
        covers = "covers the likely cost, not measured yet"
        return covers if expected <= budget else "likely too small: the run may stop early (exit code 3)"
    return "covers the likely cost" if expected <= budget else "too small: the run will stop early (exit code 3)"


def affordable_share(count: ExperimentCount, counts: list[ExperimentCount], budget: Decimal | None) -> float:
    """Return the share of an experiment's samples that the budgets are expected to pay for; 1 if that is unknown.

    Samples are requested in balanced order: a run that stops early is a smaller study.
    """
    shares = [1.0]
    own = count.experiment.budget
    for some, cap in (([count], Decimal(own) if own is not None else None), (counts, budget)):
        _, expected, _ = costs(some)
        if cap is not None and expected:
            shares.append(float(cap / expected))
    pending, cached = sum(s.at_most for s in count.steps), sum(s.cached for s in count.steps)
    return (cached + min(shares) * pending) / (cached + pending) if pending else 1.0


def budgets_json(counts: list[ExperimentCount], budget: Decimal | None) -> dict[str, Any]:
    """Return the budgets of the experiments and of the run, with what each covers."""
    budgets: dict[str, Any] = {
        c.experiment.name: {"usd": float(c.experiment.budget), "verdict": coverage([c], Decimal(c.experiment.budget))}
        for c in counts
        if c.experiment.budget is not None
    }
    if budget is not None:
        budgets["--budget"] = {"usd": float(budget), "verdict": coverage(counts, budget)}
    return {"budgets": budgets} if budgets else {}


def spent_parts(counts: list[ExperimentCount], *, answered: int, again: bool = False) -> Iterator[Part]:
    """Yield what a run spent, and what the store and prefix caches saved; `again` as if all had been cached."""
    monies = [s.money for c in counts for s in c.steps]
    spent, saved, prefix = _totals(monies)
    if again:
        if spent + saved:
            yield f"the store saved {usd(spent + saved)}"
        return
    n_unknown = sum(m.n_unknown for m in monies)
    if answered and (spent or n_unknown):
        more = f" and the unknown cost of {n_unknown:,} answers" if n_unknown else ""
        yield f"spent {usd(spent)}{more}" + (f"; the store saved {usd(saved)}" if saved else "")
    elif saved:
        yield f"the store saved {usd(saved)}"
    sent, cached = sum(m.input_tokens for m in monies), sum(m.cached_tokens for m in monies)
    if cached:
        gain = f", which saved {usd(prefix)}" if prefix else ""
        yield f"{100 * cached / sent:.0f} % of the input tokens came from the providers' prefix caches{gain}"


def spent_json(counts: list[ExperimentCount], *, again: bool = False) -> dict[str, Any]:
    """Return what a run spent; unknown amounts are counted, not guessed. `again` as if all had been cached."""
    monies = [s.money for c in counts for s in c.steps]
    spent, saved, prefix = _totals(monies)
    if again:
        spent, saved, prefix, monies = Decimal(0), spent + saved, Decimal(0), []
    return {
        "spent_usd": float(round(spent, 6)),
        "of_unknown_cost": sum(m.n_unknown for m in monies),
        "saved_by_store_usd": float(round(saved, 6)),
        "saved_by_prefixes_usd": float(round(prefix, 6)),
        "input_tokens": sum(m.input_tokens for m in monies),
        "cached_tokens": sum(m.cached_tokens for m in monies),
    }


def _totals(monies: list[Money]) -> tuple[Decimal, Decimal, Decimal]:
    def total(name: str) -> Decimal:
        return sum((getattr(m, name) for m in monies), Decimal(0))

    return total("spent_usd"), total("saved_usd"), total("prefix_usd")
