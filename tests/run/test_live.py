"""Connections that change while a run is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import InProcess, program

from emdsl.run.executor import Executor
from emdsl.run.pacing import RateController
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from emdsl.query import Query, Response

STUDY = """
model a { use = "openai/gpt-4o" }
model b { use = "openai/gpt-4o-mini", parallel = 3 }
experiment e {
  for m in [a, b]
  for q in 1..100
  ask answer from m with "question {q}"
}
"""


class Counting(InProcess):
    """Notes how many requests of each model are in flight at once, before and after a change of the connections."""

    def __init__(self, after: int, connections: int) -> None:
        super().__init__()
        self.executor: Executor
        self.after, self.connections = after, connections
        self.flying = {"a": 0, "b": 0}
        self.most = {"a": 0, "b": 0, "both": 0}

    async def ask(self, query: Query, *_: Any) -> Response:
        name = query.settings.model.name
        self.flying[name] += 1
        self.most[name] = max(self.most[name], self.flying[name])
        self.most["both"] = max(self.most["both"], sum(self.flying.values()))
        await asyncio.sleep(0.001)
        self.flying[name] -= 1
        response = await super().ask(query)
        if self.n == self.after:
            self.before = dict(self.most)
            self.executor.live.connections = self.connections
        if self.n == self.after + 24:  # all that were in flight then have ended
            self.most = dict.fromkeys(self.most, 0)
        return response


@pytest.mark.parametrize(("first", "then"), [(4, 24), (24, 4)], ids=["raised", "lowered"])
def test_connections_follow(first: int, then: int) -> None:
    """At once, for requests that are not in flight; a model's `parallel` stays the bound of its requests."""
    provider = Counting(60, then)
    walks = [Rows(e) for e in program(STUDY).experiments]

    async def main() -> None:
        provider.executor = Executor(
            walks, MemoryStore(), provider, connections=first, retry_policy=RetryPolicy(max_wait_s=5), run="r"
        )
        await provider.executor.run()

    asyncio.run(asyncio.wait_for(main(), HANG_S))
    assert provider.n == 200
    assert (provider.before["both"], provider.most["both"]) == (first, then)
    assert (provider.before if first > then else provider.most)["b"] == 3, "as its `parallel`"
    assert max(provider.before["b"], provider.most["b"]) == 3


def test_an_account_grows_from_where_it_would_have_started() -> None:
    """One that was throttled keeps its pace, below any maximum."""
    pace = RateController(most=2)
    pace.resize(200)
    assert (pace.most, pace.limit) == (200, 16)
    pace.resize(5)
    assert pace.limit == 5
    ticket = pace.send(0)
    pace.throttled(ticket, 0)
    slow = pace.limit
    pace.resize(200)
    assert pace.limit == slow < 5
