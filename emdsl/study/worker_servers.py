"""The servers of a run, as its workers know them: the run tells their addresses over the link."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from emdsl.errors import Rejected
from emdsl.study.link import LinkLost
from emdsl.study.served import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Model
    from emdsl.study.link import Link, Message


class LinkServers:
    """The servers that the run of a worker has started. See Servers."""

    def __init__(self, link: Link, state: Mapping[str, Message]) -> None:
        """Take the state of the servers at the start; see `Served.state`."""
        self._link = link
        self._state = state
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[bool]] = {}

    def take(self, state: Mapping[str, Message]) -> None:
        """Take the state of the servers as it is from now on."""
        self._state = state

    def replicas(self, model: Model) -> int:
        """See Servers."""
        return len(self._state[name_of(model)]["urls"]) if name_of(model) in self._state else 0

    def url(self, model: Model, account: int) -> str | None:
        """See Servers."""
        servers = self._state[name_of(model)]
        if servers["failure"]:
            raise Rejected(servers["failure"], for_all=True)
        url: str | None = servers["urls"][account]
        return url

    async def lost(self, model: Model, account: int, url: str) -> bool:
        """See Servers; the run looks at the server, once for all workers."""
        number = next(self._numbers)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._link.send({"lost": number, "model": name_of(model), "account": account, "url": url})
        return await answer

    def found(self, number: int, *, lost: bool) -> None:
        """Take the reply to a question whether a server has died."""
        self._waiting.pop(number).set_result(lost)

    def lose(self) -> None:
        """Fail those that wait for a reply: the run has gone."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LinkLost())
        self._waiting.clear()
