"""Prefix affinity: requests with one prompt prefix go to a replica that has it in its cache, as long as it has room.

Replicas of a served model each keep the beginnings of prompts that they have read lately. A replica's cache is not
visible. Its model is a list of the blocks that were sent to the replica, without the oldest. As in consistent
hashing with bounded loads, a replica takes at most `SLACK` times its share of the requests in flight; further requests
go to another one, whose cache then has the prefix too. Before a request leaves the replica that has
its prefix, those behind it in the line are looked at: prefixes take turns, and each stays where its cache is.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Collection, Sequence

    from emdsl.prompt import Prompt
    from emdsl.run.requests import Blocks, Request

BLOCK = 512  # characters of the shortest block; blocks grow with the length of the prompt before them
GROWTH = 16  # a block is at least 1/16 of the text before it: a prompt of 1 MB has about 100
MIN_SHARE = 0.3  # of a prompt in a cache, from which on its replica is preferred
NEAR = 0.95  # of the longest match: replicas with so much are as good
SLACK = 1.5  # times the mean of requests in flight that a replica takes at most
LOOK_AHEAD = 256  # requests in line from which one is chosen
MAX_BLOCKS = 50_000  # remembered of each replica


def blocks_of(prompt: Prompt) -> Blocks:
    """Return the beginnings of a prompt that end with a block; prompts that begin alike have the same first ones."""
    names: list[int] = []
    ends: list[int] = []
    name, end, last = 0, 0, 0
    for role, text in prompt.messages:
        size = len(text)
        if size <= BLOCK:  # as demonstrations in chats: the hash of a text is kept with the text
            name = hash((name, role, text))
            end += size
            if end - last >= max(BLOCK, last // GROWTH):
                names.append(name)
                ends.append(end)
                last = end
            continue
        name, at = hash((name, role)), 0
        while at < size:
            step = max(BLOCK, last // GROWTH) - (end - last)
            part = text[at : at + step] if step > 0 else ""
            name = hash((name, part))
            at, end = at + len(part), end + len(part)
            if step > len(part):
                break
            names.append(name)
            ends.append(end)
            last = end
    return tuple(names), tuple(ends)


class Affinity:
    """Chooses the replica of each request of one served model."""

    def __init__(self, n: int) -> None:
        """Prepare `n` replicas with empty caches."""
        self._warm: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(n)]  # blocks, the oldest first
        self._placed = [0] * n  # characters that each had to read again
        self._last: tuple[Prompt | None, Blocks] = (None, ((), ()))

    def choose(
        self, line: deque[Request], ready: Sequence[int], in_flight: Sequence[int], n_up: int
    ) -> tuple[int, int]:
        """Return the place in line of the request that is sent next, and its replica.

        Args:
            line: requests that wait.
            ready: replicas that may send one now; one at least.
            in_flight: requests in flight by replica.
            n_up: number of replicas that are up.
        """
        most = math.ceil(SLACK * (sum(in_flight) + 1) / n_up)
        free = {i for i in ready if in_flight[i] < most} or set(ready)
        least, shortest = math.inf, 0
        for place, request in enumerate(islice(line, LOOK_AHEAD)):
            homes = request.homes
            if homes is None:
                homes = request.homes = self._homes(request, range(len(self._warm)))
            if not homes:
                return place, self._least(free, in_flight)
            if not free.isdisjoint(homes):
                return place, self._least(free.intersection(homes), in_flight)
            if request.chars < least:
                least, shortest = request.chars, place
        homes = self._homes(line[shortest], sorted(free))  # replicas that have got its prefix since
        return shortest, self._least(homes or free, in_flight)

    def placed(self, request: Request, replica: int) -> None:
        """Note that a request is sent to a replica, which has its prompt in its cache from now on."""
        names, ends = self._blocks(request)
        warm = self._warm[replica]
        n = self._matched(names, replica)
        self._placed[replica] += request.chars - (ends[n - 1] if n else 0)
        for name in reversed(names):  # the longest beginning is the oldest: a cache drops it first
            warm[name] = None
            warm.move_to_end(name)
        while len(warm) > MAX_BLOCKS:
            warm.popitem(last=False)

    def forget(self, replica: int, waiting: Collection[Request]) -> None:
        """Forget a replica whose server is down: its cache is lost."""
        self._warm[replica].clear()
        self._placed[replica] = min(self._placed)
        for request in waiting:
            if request.homes and replica in request.homes:
                request.homes = None

    def _least(self, replicas: Collection[int], in_flight: Sequence[int]) -> int:
        """Return the replica with the fewest requests in flight; of these, the one that had to read least."""
        return min([(in_flight[i], self._placed[i], i) for i in replicas])[2]

    def _homes(self, request: Request, replicas: Sequence[int]) -> list[int]:
        """Return the replicas that have enough of a prompt in their caches."""
        names, ends = self._blocks(request)
        if not names:
            return []
        first = names[0]
        matched = [self._matched(names, i) if first in self._warm[i] else 0 for i in replicas]
        longest = max(matched)
        if not longest or ends[longest - 1] < MIN_SHARE * request.chars:
            return []
        least = NEAR * ends[longest - 1]
        return [i for i, n in zip(replicas, matched, strict=True) if n and ends[n - 1] >= least]

    def _matched(self, names: tuple[int, ...], replica: int) -> int:
        """Return the number of leading blocks of a prompt in the cache of a replica.

        A cache that has a block has all blocks before it.
        """
        warm = self._warm[replica]
        return bisect_left(names, True, key=lambda name: name not in warm)

    def _blocks(self, request: Request) -> Blocks:
        """Return the blocks of a prompt; the samples of a cell come one after the other, and share them."""
        if request.blocks is None:
            prompt = request.query.prompt
            if prompt is not self._last[0]:
                self._last = prompt, blocks_of(prompt)
            request.blocks = self._last[1]
        return request.blocks
