"""A fleet of simulated model servers with prefix caches, in simulated time: real runs, without sockets and waits.

A server reads one prompt after the other, at a constant speed, and leaves out the blocks that are in its cache: blocks
of 16 tokens, of which the least recently used are dropped, as in vLLM and SGLang. Then it writes the answer beside all
others.
"""

from __future__ import annotations

import asyncio
import math
import random
import selectors
from bisect import bisect
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from emdsl.errors import Unavailable
from emdsl.query import Response, Usage
from emdsl.run.executor import Executor
from emdsl.run.pacing import RateController
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Collection, Sequence

    from emdsl.experiment import Experiment
    from emdsl.prompt import Prompt
    from emdsl.query import Model, Query
    from emdsl.run.progress import Report
    from emdsl.run.requests import Request

REPLICAS = 8
BLOCK_CHARS = 64  # 16 tokens
TOKENS_PER_BLOCK = 16
READ_PER_S = 10_000.0  # tokens of prompts that a server reads in a second
WRITE_S = 1.0  # that an answer takes

STUDY = """
model m {{ use = "vllm/lab/m", revision = "1", serve = {{ replicas: 8 }} }}
dataset demonstrations {{ file = "demonstrations.csv" }}
prompt turns(shots, question) {{
  system "{system}"
  each s in shots {{
    user s.q
    assistant s.a
  }}
  user "{{question}}"
}}
prompt text(shots, question) {{
  user join(["{system}"] + ["Q: {{s.q}} A: {{s.a}}" for s in shots] + ["Q: {{question}} A:"], " ")
}}
experiment icl {{
  for k in [{ks}]
  for set in 1..{sets}
  for question in 1..{questions}
  samples = {samples}
  let shots = draw(demonstrations, k, seed: {seed})
  ask answer from m with {prompt}(shots, "What follows from case {{question}}?")
}}
"""


class SimulatedTime(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer whenever nothing else is left to do."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: SimulatedTime) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing is left that could go on"
        self.loop.now += max(timeout, 0.0)
        return super().select(0)


@dataclass(slots=True)
class Server:
    """One server with its cache."""

    capacity: int  # blocks
    cache: OrderedDict[int, None] = field(default_factory=OrderedDict)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    up: bool = True
    flying: set[asyncio.Task[Any]] = field(default_factory=set)
    busy_s: float = 0.0
    answered: int = 0

    async def answer(self, blocks: list[int]) -> int:
        """Return the number of blocks that were in the cache, once the answer is written."""
        async with self.reading:
            hits = 0
            for block in blocks:
                if block not in self.cache:
                    break
                hits += 1
            read_s = (len(blocks) - hits) * TOKENS_PER_BLOCK / READ_PER_S
            self.busy_s += read_s
            await asyncio.sleep(read_s)
            for block in reversed(blocks):  # the end of a prompt is dropped before its beginning
                self.cache[block] = None
                self.cache.move_to_end(block)
            while len(self.cache) > self.capacity:
                self.cache.popitem(last=False)
        await asyncio.sleep(WRITE_S)
        self.answered += 1
        return hits


class Fleet:
    """A provider of one served model."""

    def __init__(self, capacity: int, n: int = REPLICAS) -> None:
        self.servers = [Server(capacity) for _ in range(n)]
        self.hits = self.blocks = self.lost = self.refused = 0
        self._blocks: dict[int, tuple[Prompt, list[int]]] = {}  # by identity of the prompt

    def accounts(self, _: Model) -> int:
        return len(self.servers)

    def usable(self, _: Model, account: int) -> bool:
        return self.servers[account].up

    async def ask(self, query: Query, account: int, _: Callable[..., None]) -> Response:
        server = self.servers[account]
        if not server.up:
            self.refused += 1
            raise Unavailable("connection refused")
        blocks = self.blocks_of(query.prompt)
        task = asyncio.ensure_future(server.answer(blocks))
        server.flying.add(task)
        try:
            hits = await task
        except asyncio.CancelledError:
            self.lost += 1
            raise Unavailable("connection lost") from None
        finally:
            server.flying.discard(task)
        self.hits += hits
        self.blocks += len(blocks)
        tokens = len(blocks) * TOKENS_PER_BLOCK
        return Response(text="yes", finish="stop", usage=Usage(input_tokens=tokens, output_tokens=1))

    def blocks_of(self, prompt: Prompt) -> list[int]:
        if (known := self._blocks.get(id(prompt))) is not None:
            return known[1]
        text = "".join(f"<{role}>{content}" for role, content in prompt.messages)
        name, blocks = 0, []
        for at in range(0, len(text) - BLOCK_CHARS + 1, BLOCK_CHARS):
            name = hash((name, text[at : at + BLOCK_CHARS]))
            blocks.append(name)
        self._blocks[id(prompt)] = prompt, blocks
        return blocks

    def kill(self, account: int) -> None:
        """Let a server die: what it had in flight and in its cache is lost."""
        server = self.servers[account]
        server.up = False
        server.cache.clear()
        for task in list(server.flying):
            task.cancel()

    def start(self, account: int) -> None:
        """Start a server again."""
        self.servers[account].up = True

    @property
    def hit_rate(self) -> float:
        """The share of tokens of prompts that were read from caches."""
        return self.hits / self.blocks


class Policy:
    """Another choice of replicas, in place of Affinity: see there."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.rng = random.Random(7)

    def choose(
        self, line: deque[Request], ready: Sequence[int], in_flight: Sequence[int], n_up: int
    ) -> tuple[int, int]:
        """Return the place in line of the next request, which is always the first, and its replica."""
        return 0, self.replica(line[0], ready, in_flight, math.ceil(1.25 * (sum(in_flight) + 1) / n_up))

    def replica(self, request: Request, ready: Sequence[int], in_flight: Sequence[int], most: int) -> int:
        """Return the replica of a request; `most` bounds its requests in flight, if a policy has bounds."""
        raise NotImplementedError  # abstract: a policy is this choice, and the rest is optional

    def placed(self, request: Request, replica: int) -> None:
        """Learn nothing."""

    def forget(self, replica: int, waiting: Collection[Request]) -> None:
        """Forget nothing."""


class Random(Policy):
    """Any replica that has room."""

    def replica(self, _: Request, ready: Sequence[int], __: Sequence[int], ___: int) -> int:
        return self.rng.choice(ready)


class RoundRobin(Policy):
    """One replica after the other."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.last = -1

    def replica(self, _: Request, ready: Sequence[int], __: Sequence[int], ___: int) -> int:
        self.last = min(ready, key=lambda i: (i - self.last - 1) % self.n)
        return self.last


class LeastLoaded(Policy):
    """The replica with the fewest requests in flight."""

    def replica(self, _: Request, ready: Sequence[int], in_flight: Sequence[int], __: int) -> int:
        return min(ready, key=lambda i: (in_flight[i], self.rng.random()))


class FirstKilobyte(Policy):
    """Consistent hashing of the first 1 KB with bounded loads, 100 points of each replica on the ring."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.ring = sorted((self.rng.random(), i) for i in range(n) for _ in range(100))

    def replica(self, request: Request, ready: Sequence[int], in_flight: Sequence[int], most: int) -> int:
        text = "".join(m.text for m in request.query.prompt.messages)[:1_024]
        at = bisect(self.ring, (random.Random(text).random(), 0))
        around = (i for _, i in self.ring[at:] + self.ring[:at] if i in ready and in_flight[i] < most)
        return next(around, ready[0])


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run on a fleet has done."""

    fleet: Fleet
    report: Report
    store: MemoryStore
    seconds: float  # of simulated time


def serve(
    experiment: Experiment,
    fleet: Fleet,
    policy: type[Policy] | None = None,
    *,
    connections: int,
    events: Sequence[tuple[float, Callable[[], None]]] = (),
) -> Measured:
    """Run an experiment on a fleet in simulated time.

    Args:
        experiment: asks one served model.
        fleet: answers.
        policy: chooses replicas; None: the run's own.
        connections: maximum requests in flight.
        events: seconds of simulated time, and what happens then.
    """
    loop, store = SimulatedTime(), MemoryStore()
    rows = [Rows(experiment)]

    async def main() -> Report:
        for at, act in events:
            loop.call_later(at, act)
        executor = Executor(rows, store, fleet, connections=connections, retry_policy=RetryPolicy(), run="r")
        return await executor.run()

    with ExitStack() as patches:
        patches.callback(loop.close)
        patches.enter_context(mock.patch("emdsl.run.dispatcher.time", SimpleNamespace(monotonic=loop.time)))
        patches.enter_context(
            mock.patch("emdsl.run.dispatcher.RateController", partial(RateController, clock=loop.time))
        )
        if policy is not None:
            patches.enter_context(mock.patch("emdsl.run.dispatcher.Affinity", policy))
        report = loop.run_until_complete(main())
    return Measured(fleet, report, store, loop.now)


def demonstrations(n: int, chars: int) -> str:
    """Return a table of n demonstrations with about as many characters each."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnop", k=7)) for _ in range(500)]

    def text(size: int) -> str:
        return " ".join(rng.choices(words, k=max(size // 8, 1)))

    return "q,a\n" + "".join(f"{i} {text(chars // 2)},{text(chars // 2)}\n" for i in range(n))


def study(
    *, ks: Sequence[int], sets: int, questions: int, samples: int, prompt: str = "turns", seed: str = "set",
    system: str = "Answer with yes or no.",
) -> str:  # fmt: skip
    """Return an ICL grid: numbers of demonstrations, sets of them, questions and samples."""
    listed = ", ".join(map(str, ks))
    return STUDY.format(
        ks=listed, sets=sets, questions=questions, samples=samples, prompt=prompt, seed=seed, system=system
    )
