"""`emdsl cache budgets` and `budget`: the money that the runs of a team spend together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from emdsl.cli import console
from emdsl.cli.cache_options import CACHE_SIM, open_cache
from emdsl.cli.options import USD
from emdsl.errors import UsageError
from emdsl.study import team_budgets
from emdsl.study.options import BUDGET_NAME

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path


@click.command("budgets")
@CACHE_SIM
def budgets(cache: Path | None, simulate: bool, as_json: bool) -> int:
    """List the budgets of the team: limits, money spent and left, and the runs that hold some.

    The money of a run that was killed counts as spent.

    \b
    Example:
      emdsl cache budgets
    """
    found = team_budgets.budgets_of(open_cache(cache, simulate=simulate, as_json=as_json))
    if as_json:
        console.show_json({"budgets": team_budgets.budgets_json(found)})
    else:
        console.show(team_budgets.budget_table(found))
    return 0


@click.command("budget")
@click.argument("name")
@click.argument("usd", type=USD)
@CACHE_SIM
def budget(name: str, usd: Decimal, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Set the limit of the team's budget NAME to USD. It is made if the team has none of this name.

    \b
    Example:
      emdsl cache budget pilot 60
    """
    if not BUDGET_NAME.fullmatch(name):
        raise UsageError(f"`{name}` is not the name of a budget: use a letter, then letters, digits, `.`, `_` or `-`")
    changed = team_budgets.change_budget(open_cache(cache, simulate=simulate, as_json=as_json), name, usd)
    if as_json:
        console.show_json({"budgets": team_budgets.budgets_json([changed])})
    else:
        console.show(team_budgets.budget_table([changed]))
    return 0
