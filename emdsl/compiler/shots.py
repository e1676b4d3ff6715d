"""Seeded choice of demonstrations: nested, and independent of row order and of all names."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest
from emdsl.value import Row, Value, plain

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT = 4096  # orders remembered; one is 8 bytes a row and holds for every k
_orders: OrderedDict[tuple[int, bytes], tuple[object, list[int]]] = OrderedDict()


def draw(owner: object, rows: tuple[Row, ...], k: int, seed: Any, by: Callable[[Row], Value] | None) -> tuple[Row, ...]:
    """Return the `k` rows of smallest digest(seed, content), in that order.

    2 rows are the first 2 of 4, whatever the order of the rows in the file; equal rows are told apart by
    their number. `by` gives another value to choose by (equal ones give matched sets). Raises TypeError
    for a seed or a value without content. `owner` stays alive as long as its order is remembered.
    """
    if by is not None:
        return tuple(rows[i] for i in _order([digest("value", plain(by(r))) for r in rows], seed)[:k])
    remembered = (id(owner), digest("seed", seed))
    if (known := _orders.get(remembered)) is None or known[0] is not owner:
        known = (owner, _order([r.content for r in rows], seed))
        _orders[remembered] = known
        if len(_orders) > _KEPT:
            _orders.popitem(last=False)
    return tuple(rows[i] for i in known[1][:k])


def pick(values: tuple[Value, ...], seed: Any) -> Value:
    """Return one of some values; one more in the list changes only the picks that it wins.

    Raises TypeError for a seed or a value without content.
    """
    return values[_order([digest("value", plain(v)) for v in values], ("pick", seed))[0]]


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
