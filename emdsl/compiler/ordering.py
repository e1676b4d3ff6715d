"""Topological order that keeps the written order where it can."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

K = TypeVar("K")


def in_order(needs: Mapping[K, Collection[K]]) -> list[K]:
    """Return keys so that each comes after those it needs, and otherwise in their own order.

    Raises CycleError if they need each other.

    >>> in_order({"c": ["a"], "b": [], "a": []})
    ['b', 'a', 'c']
    """
    keys = list(needs)
    rank = {key: i for i, key in enumerate(keys)}
    sorter = TopologicalSorter({i: {rank[k] for k in needs[key] if k in rank} for key, i in rank.items()})
    sorter.prepare()
    ordered: list[K] = []
    ready: list[int] = []
    while sorter.is_active():
        for i in sorter.get_ready():
            heappush(ready, i)
        first = heappop(ready)
        ordered.append(keys[first])
        sorter.done(first)
    return ordered


def circle(needs: Mapping[K, Collection[K]]) -> list[K]:
    """Return keys that need each other, in their own order; none if there is no circle."""
    try:
        TopologicalSorter({key: {k for k in some if k in needs} for key, some in needs.items()}).prepare()
    except CycleError as error:
        members = set(error.args[1])
        return [key for key in needs if key in members]
    return []
