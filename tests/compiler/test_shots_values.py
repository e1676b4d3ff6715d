"""Which demonstrations a seed chooses, to the row; what is remembered of a draw, and what is told of it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from emdsl.compiler import shots
from emdsl.compiler.shots import By, draw, mix, pick, pools
from emdsl.digest import digest
from emdsl.frame import Frame
from emdsl.value import Row

ROWS = tuple(Row("d", i, {"user": f"q{i}", "assistant": f"a{i % 7}"}) for i in range(50))
TWINS = tuple(Row("d", i, {"user": f"q{i % 4}"}) for i in range(12))  # each three times


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shots, "_orders", OrderedDict())
    monkeypatch.setattr(shots, "_contents", OrderedDict())


def user(frame: Frame) -> Any:
    return frame["s"].columns["user"]


@pytest.mark.parametrize(
    ("rows", "k", "seed", "by", "wanted"),
    [
        (ROWS, 4, 7, None, [3, 28, 37, 27]),
        (ROWS, 4, 7, By(user, Frame(), alone=True), [49, 32, 2, 1]),
        (TWINS, 12, 1, None, [7, 5, 4, 6, 10, 0, 8, 1, 3, 11, 2, 9]),
    ],
    ids=["rows", "by a value", "equal rows"],
)
def test_golden_draws(rows: tuple[Row, ...], k: int, seed: int, by: By | None, wanted: list[int]) -> None:
    """A seed chooses the same rows in every version: others would be new requests."""
    assert [r.position for r in draw(rows, rows, k, seed, by)] == wanted


def test_golden_picks() -> None:
    """A seed picks the same value in every version."""
    assert "".join(pick(tuple("abcde"), i) for i in range(20)) == "daacbadbabadcadaeced"


def test_a_golden_mix() -> None:
    """A seed replaces the same places in every version."""
    assert "".join(mix(tuple("aaaaaaaa"), tuple("bbbbbbbb"), 3, 3)) == "abbabaaa"


def test_what_reads_more_than_the_row_is_computed_in_each_cell() -> None:
    """A value to choose by that reads an axis chooses other rows at another level: no order is remembered."""

    def by_axis(frame: Frame) -> Any:
        return frame["axis"] + user(frame)

    first, second = (draw(ROWS, ROWS, 5, 1, By(by_axis, Frame().child("axis", x), alone=False)) for x in "ab")
    assert first != second


def test_a_value_to_choose_by_is_computed_once_a_row() -> None:
    """The order of the same rows, function and seed is remembered, for any number of shots."""
    read: list[Frame] = []

    def counted(frame: Frame) -> Any:
        read.append(frame)
        return user(frame)

    by = By(counted, Frame(), alone=True)
    assert draw(ROWS, ROWS, 4, 1, by)[:2] == draw(ROWS, ROWS, 2, 1, by)
    assert len(read) == len(ROWS)


def test_the_oldest_orders_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than so many orders are kept: the latest."""
    monkeypatch.setattr(shots, "_KEPT", 2)
    for seed in range(4):
        draw(ROWS, ROWS, 1, seed, None)
    assert [seed for _, _, seed in shots._orders] == [digest("seed", 2), digest("seed", 3)]


def test_pools_are_those_of_the_draws_within_the_block() -> None:
    """The rows that each draw chooses from are gathered within the block, and no longer after it."""
    with pools() as found:
        draw(ROWS, ROWS, 2, 1, None)
    draw(TWINS, TWINS, 3, 1, None)
    assert found == [ROWS]
