"""Seeded demonstrations: nested, and independent of order and names."""

from __future__ import annotations

from emdsl.compiler.shots import By, draw, mix, pick
from emdsl.frame import Frame
from emdsl.value import Row

ROWS = tuple(Row("d", i, {"user": f"q{i}", "assistant": f"a{i % 7}"}) for i in range(50))


def names(rows: tuple[Row, ...]) -> list[str]:
    return [r.columns["user"] for r in rows]


def test_fewer_are_the_first_of_more() -> None:
    """2 shots are the first 2 of 4 of 16."""
    most = names(draw(ROWS, ROWS, 16, 7, None))
    assert len(set(most)) == 16
    for k in (0, 1, 2, 4, 8):
        assert names(draw(ROWS, ROWS, k, 7, None)) == most[:k]


def test_seeds_choose_differently() -> None:
    """Another seed, another choice; the same seed, the same."""
    assert names(draw(ROWS, ROWS, 8, 1, None)) != names(draw(ROWS, ROWS, 8, 2, None))
    assert names(draw(ROWS, ROWS, 8, (1, 2), None)) != names(draw(ROWS, ROWS, 8, (12,), None))


def test_the_order_of_rows_and_the_names_of_columns_do_not_matter() -> None:
    """A reordered file, or renamed columns, show the same demonstrations."""
    turned = tuple(reversed(ROWS))
    renamed = tuple(Row("x", i, {"b": r.columns["user"], "a": r.columns["assistant"]}) for i, r in enumerate(turned))
    wanted = names(draw(ROWS, ROWS, 8, 3, None))
    assert names(draw(turned, turned, 8, 3, None)) == wanted
    assert [r.columns["b"] for r in draw(renamed, renamed, 8, 3, None)] == wanted


def test_a_new_row_moves_at_most_itself_in() -> None:
    """One row more changes a draw by that row alone."""
    more = (*ROWS, Row("d", 50, {"user": "new", "assistant": "x"}))
    before, after = names(draw(ROWS, ROWS, 8, 5, None)), names(draw(more, more, 8, 5, None))
    assert [n for n in after if n != "new"] == before[: len(after) - ("new" in after)]


def test_equal_rows_are_drawn_apart() -> None:
    """Rows of equal content are told apart by their number: each can be drawn once."""
    twins = tuple(Row("d", i, {"user": "same"}) for i in range(3))
    assert sorted(r.position for r in draw(twins, twins, 3, 1, None)) == [0, 1, 2]


def test_by_gives_matched_sets() -> None:
    """Sets that share what `by` reads are drawn at the same places."""
    right = tuple(Row("d", i, {"q": f"q{i}", "a": "right"}) for i in range(20))
    wrong = tuple(Row("d", i, {"q": f"q{i}", "a": "wrong"}) for i in range(20))
    for alone in (True, False):
        by = By(lambda frame: frame["s"].columns["q"], Frame({}, {}), alone)
        chosen = [[r.columns["q"] for r in draw(s, s, 5, 1, by)] for s in (right, wrong)]
        assert chosen[0] == chosen[1]
        other = By(lambda frame: frame["s"].columns["a"] + frame["s"].columns["q"], Frame({}, {}), alone)
        assert [r.columns["q"] for r in draw(right, right, 5, 1, other)] != chosen[0]  # remembered by the function too


def test_a_pick_is_stable() -> None:
    """One more in the list changes only what it wins; names and order change nothing."""
    five = tuple("abcde")
    before = [pick(five, i) for i in range(200)]
    assert set(before) == set(five)
    assert [pick(tuple(reversed(five)), i) for i in range(200)] == before
    after = [pick((*five, "f"), i) for i in range(200)]
    assert all(a in (b, "f") for a, b in zip(after, before, strict=True))
    assert 10 < sum(a == "f" for a in after) < 60


def test_a_mix_replaces_a_share_place_for_place() -> None:
    """Exactly so many, at the same places, and the places of fewer are among those of more."""
    first, second = tuple(range(16)), tuple(range(100, 116))
    places = []
    for n in (0, 2, 4, 16):
        found = mix(first, second, n, 3)
        changed = {i for i, x in enumerate(found) if x == second[i]}
        assert all(x in (first[i], second[i]) for i, x in enumerate(found))
        assert len(changed) == n
        places.append(changed)
    assert places[0] <= places[1] <= places[2] <= places[3]
    assert mix(first, second, 4, 3) != mix(first, second, 4, 4)
