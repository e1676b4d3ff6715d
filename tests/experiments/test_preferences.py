"""experiments/field/preferences.em over choices written by hand, against its formulas worked out without our code."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import scipy.stats
from by_hand import filled, study

if TYPE_CHECKING:
    from collections.abc import Mapping

ITEMS = ("walk", "cook", "paint", "chess", "nap")
# Of each pair: the replies with the first one shown first, and with the second one shown first; then who wins in each
# of both orders, by reading them. Of one pair the second choice cannot be read.
CHOICES = {
    ("walk", "cook"): ("A", "B", "walk", "walk"),
    ("walk", "paint"): ("A.", "A", "walk", "paint"),
    ("walk", "chess"): ("A", "Answer: B", "walk", "walk"),
    ("walk", "nap"): ("B", "(A)", "nap", "nap"),
    ("cook", "paint"): ("A", "A", "cook", "paint"),
    ("cook", "chess"): ("A", "B", "cook", "cook"),
    ("cook", "nap"): ("A", "**A**", "cook", "nap"),
    ("paint", "chess"): ("B", "B", "chess", "paint"),
    ("paint", "nap"): ("B", "A", "nap", "nap"),
    ("chess", "nap"): ("A", "I like both of them.", "chess", None),
}
Row = dict[str, Any]


@cache
def measures() -> dict[str, list[Row]]:
    def written(step: str, labels: Mapping[str, str]) -> str:
        item, other = labels["item"], labels["other"]
        first, second = (item, other) if step == "shown_first" else (other, item)
        return CHOICES[first, second][0] if (first, second) in CHOICES else CHOICES[second, first][1]

    return filled(study("field/preferences.em"), written).measures


def share(item: str, other: str) -> float | None:
    """Return the share of both orders in which an item wins against another; None if an order has no choice."""
    winners = CHOICES.get((item, other), CHOICES.get((other, item), ()))[2:]
    return None if None in winners else winners.count(item) / 2


def wilson(hits: int, n: int) -> list[float]:
    """Return both ends of the score interval (Wilson 1927): the rates that a test of 5 % does not reject."""
    z2, p = float(scipy.stats.norm.ppf(0.975)) ** 2, hits / n
    root = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n**2)))
    return [(p + z2 / (2 * n) + sign * root) / (1 + z2 / n) for sign in (-1, 1)]


def test_a_preference_is_the_share_of_both_orders() -> None:
    """One for each pair and side, and those of both sides sum to 1."""
    shares = {(row["item"], row["other"]): row["preference"] for row in rows_of("preference")}
    wanted = {(a, b): share(a, b) for a in ITEMS for b in ITEMS if a != b}
    assert list(shares) == list(wanted)
    assert shares == wanted
    assert all(shares[b, a] == 1 - x for (a, b), x in shares.items() if x is not None)


def rows_of(measure: str) -> list[Row]:
    """Return the rows of a measure, with its figure under the name of the measure."""
    return [{**row, measure: row.get("mean", row.get("rate"))} for row in measures()[measure]]


@pytest.mark.parametrize("item", ITEMS)
def test_a_win_share_is_the_mean_over_opponents(item: str) -> None:
    """David (1988): the score of an item in a round robin over its comparisons; with Student's interval."""
    shares = [x for other in ITEMS if other != item and (x := share(item, other)) is not None]
    n, mean = len(shares), math.fsum(shares) / len(shares)
    sd = math.sqrt(math.fsum((x - mean) ** 2 for x in shares) / (n - 1))
    half = float(scipy.stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    (row,) = (r for r in rows_of("win_share") if r["item"] == item)
    found = [row[c] for c in ("win_share", "low", "high", "sd")]
    assert found == pytest.approx([mean, mean - half, mean + half, sd], abs=1e-9)
    assert (row["n"], row["n_dropped"]) == (n, 4 - n)


def test_win_shares_rank_items_as_bradley_and_terry_do() -> None:
    """Their model by maximum likelihood, with the algorithm of Hunter (2004); an unread pair counts as a draw here."""
    won = {(a, b): 0.5 if (x := share(a, b)) is None else x for a in ITEMS for b in ITEMS if a != b}
    wins = {a: math.fsum(won[a, b] for b in ITEMS if a != b) for a in ITEMS}
    strength = dict.fromkeys(ITEMS, 1.0)
    for _ in range(200):
        strength = {
            a: wins[a] / math.fsum(1 / (strength[a] + strength[b]) for b in ITEMS if a != b) for a in ITEMS
        }  # fmt: skip
    assert sorted(ITEMS, key=strength.__getitem__) == sorted(ITEMS, key=wins.__getitem__)


@pytest.mark.parametrize(
    ("measure", "choices"),
    [  # whether the first place wins, in each order that was read; whether one item wins in both
        ("first_place", [w == pair[i] for pair, c in CHOICES.items() for i, w in enumerate(c[2:]) if w]),
        ("consistent", [c[2] == c[3] for c in CHOICES.values() if c[3]]),
    ],
)
def test_rates_of_orders_have_wilsons_interval(measure: str, choices: list[bool]) -> None:
    """Each request counts once, and so does each pair."""
    hits, n = sum(choices), len(choices)
    (row,) = rows_of(measure)
    assert (row["hits"], row["n"]) == (hits, n)
    found = [row[c] for c in (measure, "low", "high")]
    assert found == pytest.approx([hits / n, *wilson(hits, n)], abs=1e-9)
