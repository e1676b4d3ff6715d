"""Seeded demonstrations: nested, and independent of order and names."""

from __future__ import annotations

from emdsl.compiler.shots import draw
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
    chosen = [[r.columns["q"] for r in draw(s, s, 5, 1, lambda r: r.columns["q"])] for s in (right, wrong)]
    assert chosen[0] == chosen[1]
