"""The servers of a run as its workers use them: their addresses come from the process that has started them."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from emdsl.errors import Rejected
from emdsl.serving.fleet import LOOK_S
from emdsl.serving.health import Health, health_of
from emdsl.study.served import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.query import Model

TELL_S = 30.0  # between two messages that a server answers: by them the run knows that it does not hang


class ServerAddresses:
    """Servers that another process watches. See Servers.

    The state has an entry for each model with servers: `urls`, None for one that is down, and `failure`, why none comes
    back. It is JSON.
    """

    def __init__(
        self, state: Mapping[str, Any], on_lost: Callable[[str, int, str], None],
        on_answered: Callable[[str, int], None],
    ) -> None:  # fmt: skip
        """Begin with a state.

        Args:
            state: Of the servers.
            on_lost: Is told the model, the number and the URL of a server that is found down.
            on_answered: Is told the model and the number of a server that answers, from time to time.
        """
        self._state = state
        self._on_lost, self._on_answered = on_lost, on_answered
        self._told_at: dict[tuple[str, int, str], float] = {}  # that a server answers, by the monotonic clock

    def update(self, state: Mapping[str, Any]) -> None:
        """Replace the state."""
        self._state = state

    def replicas(self, model: Model) -> int:
        """See Servers."""
        return len(self._urls(model))

    def url(self, model: Model, account: int) -> str | None:
        """See Servers."""
        if failure := self._state[name_of(model)]["failure"]:
            raise Rejected(f"not sent: {failure}", for_all=True)
        return self._urls(model)[account]

    def answered(self, model: Model, account: int, url: str) -> None:
        """See Servers."""
        server, now = (name_of(model), account, url), time.monotonic()
        if now - self._told_at.get(server, -math.inf) > TELL_S:
            self._told_at[server] = now
            self._on_answered(name_of(model), account)

    async def lost(self, model: Model, account: int, url: str) -> bool:
        """See Servers."""
        if self._urls(model)[account] != url:
            return True
        if await health_of(url, LOOK_S) is not Health.DOWN:
            return False
        urls = self._urls(model)
        if urls[account] == url:
            urls[account] = None  # until the next state
            self._on_lost(name_of(model), account, url)
        return True

    def _urls(self, model: Model) -> list[str | None]:
        if model.serve is None or name_of(model) not in self._state:
            return []
        urls: list[str | None] = self._state[name_of(model)]["urls"]
        return urls
