"""Budgets of a team, which runs on all its machines spend together."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.source import near
from emdsl.study.cost import usd
from emdsl.study.options import NamedBudget
from emdsl.study.screen import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.store.postgres_budgets import TeamBudget
    from emdsl.study.project import Project
    from emdsl.study.screen import Part


def resolved(
    project: Project, budget: Decimal | NamedBudget | None, *, make: bool
) -> tuple[Decimal | None, NamedBudget | None]:
    """Return the US dollars that a run may spend now, and the team's budget that it spends, if it is one.

    Args:
        project: The project.
        budget: An amount, or a budget of the team.
        make: A budget that the team does not have is made, if its amount is given.

    Raises:
        UsageError: The project has no store of a team, or its budget of this name has another limit.
        StoreError: The server cannot be used.
    """
    if not isinstance(budget, NamedBudget):
        return budget, None
    from emdsl.store.postgres_budgets import add_budget

    url = _url(project, budget)
    if budget.usd is not None and make:
        project.store(create=True).close()  # its tables may not exist yet
        add_budget(url, budget.name, budget.usd)
    elif budget.usd is not None and all(b.name != budget.name for b in budgets_of(project)):
        return budget.usd, budget
    found = _found(project, budget.name)
    if budget.usd is not None and budget.usd != found.limit_usd:
        raise UsageError(
            f"the team's budget `{found.name}` is {usd(found.limit_usd)}, not {usd(budget.usd)}: leave out the amount, "
            f"or change it with `emdsl cache budget {found.name} {budget.usd:f}`",
            parameter="budget",
        )
    return max(found.left_usd, Decimal(0)), budget


def budgets_of(project: Project) -> list[TeamBudget]:
    """Return the budgets of the project's team; raises UsageError without a team, and StoreError."""
    from emdsl.store.postgres_budgets import budgets

    return budgets(_url(project))


def change_budget(project: Project, name: str, limit_usd: Decimal) -> TeamBudget:
    """Set the limit of a budget, and make it if its name is new; errors as of `budgets_of`."""
    from emdsl.store.postgres_budgets import add_budget, set_budget

    url = _url(project)
    project.store(create=True).close()  # its tables may not exist yet
    if not set_budget(url, name, limit_usd):
        add_budget(url, name, limit_usd)
    return _found(project, name)


def budget_table(found: list[TeamBudget]) -> Iterator[Part]:
    """Yield budgets as a table, and who holds money of them."""
    if not found:
        yield "the team has no budget: `emdsl run FILE --budget NAME=USD` makes one"
        return
    rows = [(b.name, usd(b.limit_usd), usd(b.spent_usd), usd(b.limit_usd - b.spent_usd - b.left_usd), usd(b.left_usd),
             b.made_by) for b in found]  # fmt: skip
    columns = ("budget", "limit", "spent", "held", "left", "made by")
    yield Table(columns, rows, numeric=columns[1:5])
    for budget in found:
        for held in budget.held:
            yield f"{budget.name}: {usd(held.usd)} held by {held.role} on {held.machine}, run {held.run[:8]}"


def budgets_json(found: list[TeamBudget]) -> list[dict[str, Any]]:
    """Return budgets as `--json` prints them."""
    return [
        {
            "name": b.name, "limit_usd": float(b.limit_usd), "spent_usd": float(b.spent_usd),
            "left_usd": float(b.left_usd), "made_by": b.made_by,
            "held": [{**h._asdict(), "usd": float(h.usd)} for h in b.held],
        }
        for b in found
    ]  # fmt: skip


def _url(project: Project, budget: NamedBudget | None = None) -> str:
    if project.team is None:
        wrong = f"`{budget}` is not an amount of US dollars, such as 40. " if budget is not None else ""
        raise UsageError(
            f"{wrong}A budget with a name is of a team: name its store with EMDSL_STORE or --store",
            parameter="budget" if budget is not None else None,
        )
    return project.team


def _found(project: Project, name: str) -> TeamBudget:
    found = budgets_of(project)
    for budget in found:
        if budget.name == name:
            return budget
    names = [b.name for b in found]
    hint = near(name, names) or f"`--budget {name}=40` makes one of $40"
    raise UsageError(f"the team has no budget `{name}`; {hint}", parameter="budget")
