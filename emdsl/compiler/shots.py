"""Seeded choice of demonstrations: nested, and independent of row order and of all names."""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest
from emdsl.value import Row, Value, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emdsl.frame import Fn, Frame

_KEPT = 4096  # orders remembered; one is 8 bytes a row and holds for every k
_Remembered = OrderedDict[tuple[int, int, bytes], tuple[object, object, Any]]
_orders: _Remembered = OrderedDict()
_contents: _Remembered = OrderedDict()
_pools: ContextVar[list[tuple[Row, ...]] | None] = ContextVar("pools", default=None)


@dataclass(frozen=True, slots=True, eq=False)
class By:
    """The key that rows are chosen by, a function of the row in a frame; `alone` if it reads nothing but the row."""

    value: Fn
    frame: Frame
    alone: bool

    def content(self, row: Row) -> bytes:
        """Return the digest of what a row is chosen by."""
        return digest("value", plain(self.value(self.frame.child("s", row))))


def chosen_by(value: Fn, *, alone: bool) -> Callable[[Frame], By]:
    """Return the function that makes the key of a frame; see By."""
    return lambda frame: By(value, frame, alone)


def draw(owner: object, rows: tuple[Row, ...], k: int, seed: Any, by: By | None) -> tuple[Row, ...]:
    """Return the `k` rows of smallest digest(seed, content), in that order.

    2 rows are the first 2 of 4, whatever the order of the rows in the file; equal rows are ordered by
    their number. `by` gives another value to choose by (equal ones give matched sets). Raises TypeError
    for a seed or a value without content. `owner` stays alive as long as its order is remembered.
    """
    if (watched := _pools.get()) is not None:
        watched.append(rows)
    if by is not None and not by.alone:
        return tuple(rows[i] for i in _order([by.content(r) for r in rows], seed)[:k])
    value = by.value if by is not None else None

    def contents() -> list[bytes]:
        if by is None:
            return [r.content for r in rows]
        digests: list[bytes] = _remembered(_contents, owner, value, b"", lambda: [by.content(r) for r in rows])
        return digests

    order = _remembered(_orders, owner, value, digest("seed", seed), lambda: _order(contents(), seed))
    return tuple(rows[i] for i in order[:k])


@contextmanager
def pools() -> Iterator[list[tuple[Row, ...]]]:
    """Gather the rows that each `draw` within the block chooses from."""
    drawn: list[tuple[Row, ...]] = []
    token = _pools.set(drawn)
    try:
        yield drawn
    finally:
        _pools.reset(token)


def _remembered(kept: _Remembered, owner: object, value: object, seed: bytes, make: Callable[[], Any]) -> Any:
    """Return what was made before of the same rows, function and seed, else make it; they stay alive as long."""
    place = (id(owner), id(value), seed)
    known = kept.get(place)
    if known is None or known[0] is not owner or known[1] is not value:
        known = kept[place] = (owner, value, make())
        if len(kept) > _KEPT:
            kept.popitem(last=False)
    return known[2]


def pick(values: tuple[Value, ...], seed: Any) -> Value:
    """Return one of some values; one more in the list changes only the picks that it wins.

    Raises TypeError for a seed or a value without content.
    """
    return values[_order([digest("value", plain(v)) for v in values], ("pick", seed))[0]]


def shuffle(values: tuple[Value, ...], seed: Any) -> tuple[Value, ...]:
    """Return some values in an order chosen by the seed, whatever their order in the list.

    Raises TypeError for a seed or a value without content.
    """
    return tuple(values[i] for i in _order([digest("value", plain(v)) for v in values], ("shuffle", seed)))


def mix(first: tuple[Value, ...], second: tuple[Value, ...], n: int, seed: Any) -> tuple[Value, ...]:
    """Return the first values with `n` of them replaced by those at the same places of the second.

    The places of fewer are among those of more.
    """
    places = sorted(range(len(first)), key=lambda i: digest("mix", seed, i))[:n]
    return tuple(second[i] if i in places else value for i, value in enumerate(first))


def _order(contents: list[bytes], seed: Any) -> list[int]:
    """Return positions by digest: of the seed, the content, and how often the content came before."""
    seen: Counter[bytes] = Counter()
    ranks = []
    for position, content in enumerate(contents):
        ranks.append((digest("draw", seed, content, seen[content]), position))
        seen[content] += 1
    return [position for _, position in sorted(ranks)]
