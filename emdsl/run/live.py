"""The settings of a run that can change while it is under way: its connections and its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from emdsl.errors import UsageError
from emdsl.run.budget import WHOLE_RUN
from emdsl.run.requests import State

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping
    from decimal import Decimal

    from emdsl.digest import Digest
    from emdsl.run.budget import Budgets
    from emdsl.run.dispatcher import Dispatcher
    from emdsl.run.requests import Request

_NOT_SENDING = "the run starts its servers or looks for its batches, and has not begun to send: try again later"


class Settings(Protocol):
    """The settings that can change while a run is under way, and its spending; amounts are in US dollars."""

    @property
    def connections(self) -> int:
        """Maximum of requests in flight."""

    @connections.setter
    def connections(self, most: int) -> None: ...

    @property
    def budget(self) -> Decimal | None:
        """Budget of the whole run; None without one."""

    @budget.setter
    def budget(self, usd: Decimal) -> None: ...

    @property
    def spent_usd(self) -> Decimal:
        """Spent so far."""

    @property
    def n_unpriced(self) -> int:
        """Answers whose cost is unknown."""

    @property
    def over_budget(self) -> bool:
        """Whether the budget of the run has already been too small for some request, which was given up."""


class Spending:
    """The spending of a run; see Settings."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    @property
    def spent_usd(self) -> Decimal:
        """US dollars spent so far."""
        return self._budgets.spent_usd

    @property
    def n_unpriced(self) -> int:
        """Answers whose cost is unknown."""
        return self._budgets.n_unpriced

    @property
    def over_budget(self) -> bool:
        """Whether the budget of the run has already been too small for some request, which was given up."""
        return WHOLE_RUN in self._budgets.exhausted


class LiveSettings(Spending):
    """Connections and budget of an executor; both are changed in its event loop."""

    def __init__(
        self, dispatcher: Dispatcher, budgets: Budgets, requests: Mapping[Digest, Request], need_rows: asyncio.Event
    ) -> None:
        """Take over what changes act on.

        Args:
            dispatcher: sends within the connections and the budgets.
            budgets: of the run.
            requests: that are neither answered, failed nor dropped.
            need_rows: is set when more rows may be made.
        """
        super().__init__(budgets)
        self._dispatcher = dispatcher
        self._requests = requests
        self._need_rows = need_rows

    @property
    def connections(self) -> int:
        """Maximum of requests in flight."""
        return self._dispatcher.connections

    @connections.setter
    def connections(self, most: int) -> None:
        """Change the maximum: requests in flight are finished, and a model's own `parallel` stays its bound."""
        self._dispatcher.resize(most)
        self._need_rows.set()

    @property
    def budget(self) -> Decimal | None:
        """Budget of the whole run in US dollars; None without one."""
        return self._budgets.whole_usd

    @budget.setter
    def budget(self, usd: Decimal) -> None:
        """Change the budget. Requests that the old one could not pay were given up, and stay pending."""
        self.change_budget(usd)

    def change_budget(self, usd: Decimal) -> Decimal:
        """Change the budget; return the amount that a first one has reserved for requests in flight."""
        in_flight = [r.query for r in self._requests.values() if r.state is State.IN_FLIGHT]
        held = self._budgets.change_whole(usd, in_flight)
        self._dispatcher.retry_budgets()
        self._dispatcher.dispatch()
        return held


class PlannedSettings(Spending):
    """Settings of a run that has not begun to send: they can be read, and raise UsageError if changed."""

    def __init__(self, connections: int, budgets: Budgets) -> None:
        super().__init__(budgets)
        self._connections = connections

    @property
    def connections(self) -> int:
        """Maximum of requests in flight."""
        return self._connections

    @connections.setter
    def connections(self, _: int) -> None:
        raise UsageError(_NOT_SENDING)

    @property
    def budget(self) -> Decimal | None:
        """Budget of the whole run in US dollars; None without one."""
        return self._budgets.whole_usd

    @budget.setter
    def budget(self, _: Decimal) -> None:
        raise UsageError(_NOT_SENDING)
