"""How often intervals that correct a judge by people's verdicts hold the truth: `make stress`.

Made-up studies, given to the project's own functions. Exits 1 if a promise does not hold. Two numbers may be given: the
studies of each cell (2,000), and which part of the cells is simulated (1: all, 10 minutes of CPU time). `make stress`
gives 5: one rate of each line, another one in each.
"""

from __future__ import annotations

import sys
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from made_judges import LEVEL, Arm, Coverage, Design, coverage
from promises import report

from emdsl.experiment import Clusters
from emdsl.outcomes.annotated import Item
from emdsl.outcomes.corrected import ppi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ProcessPoolExecutor

    from promises import Line

STUDIES = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
EVERY = int(sys.argv[2]) if len(sys.argv) > 2 else 1
FEWER = STUDIES // 4  # of the cells beside those that the promise is about
SLACK = 0.01  # of their coverage, which is less certain
CROSSED_AT_MOST = 0.995  # at a rate of 10 % and 60 annotations, many intervals are exact ones, which cover more
COVERS, AT_MOST = 0.92, 0.98
RAW_COVERS, ERRS = 0.5, 0.072  # at most, for a judge whose rate is this far from the persons'
RATES, NUMBERS = (0.1, 0.2, 0.3, 0.4, 0.5), (60, 120, 240)
JUDGES = {"lenient": (0.95, 0.7), "strict": (0.55, 0.98)}  # sensitivity, specificity
SHAPES = {"48 questions x 20 draws": (48, 20), "24 questions x 40 draws": (24, 40), "960 draws": (1, 960)}
APART = 0.4  # of the mean of two arms' rates, in which each differs from it
HARD = {"that hardly errs": (0.98, 0.99), "that tells little": (0.65, 0.65)}
Cell = tuple[Design, int, list[int]]  # with the number of studies and the seed


def of_cell(cell: Cell) -> tuple[Coverage, Coverage, Coverage]:
    design, studies, seed = cell
    return coverage(design, seed, studies)


def shown(coverages: list[Coverage]) -> str:
    """Return coverages with the mean width of the widest, and the share of studies with an interval if not all."""
    covers = " ".join(f"{100 * c.covers:5.1f}" for c in coverages)
    least = min(c.given for c in coverages)
    return f"{covers} (width to {max(c.width for c in coverages):.2f}{f', {least:.0%} given' if least < 1 else ''})"


def lines(
    pool: ProcessPoolExecutor, cells: dict[str, list[Cell]], least: float = COVERS, most: float = AT_MOST
) -> Iterator[Line]:
    """Yield a line of each list of cells, with a promise of their coverage, and of the raw rates of judges that err."""
    cells = {name: group[i % EVERY :: EVERY] for i, (name, group) in enumerate(cells.items())}
    results = iter(pool.map(of_cell, [cell for group in cells.values() for cell in group], chunksize=2))
    for name, group in cells.items():
        raw, by_ppi, by_errors = ([*part] for part in zip(*(next(results) for _ in group), strict=True))
        wrong = [r.covers for (design, *_), r in zip(group, raw, strict=True) if abs(design.bias) >= ERRS]
        corrected = by_ppi + by_errors
        holds = all(least <= c.covers <= most for c in corrected)
        line = f"{name}: ppi {shown(by_ppi)}, rogan_gladen {shown(by_errors)}, raw {shown(raw)}"
        yield line, holds and all(covers < RAW_COVERS for covers in wrong)


def arms(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """Coverage of 95 % intervals in an arm, at rates of 10, 20, 30, 40 and 50 %."""
    cells: dict[str, list[Cell]] = {}
    for i, (shape, judge, n) in enumerate(product(SHAPES, JUDGES, NUMBERS)):
        found = [_one(rate, JUDGES[judge], n, SHAPES[shape]) for rate in RATES]
        cells[f"{shape}, {judge} judge, {n} annotated"] = [
            (design, STUDIES, [1, i, j]) for j, design in enumerate(found)
        ]
    yield from lines(pool, cells)


def _one(rate: float, judge: tuple[float, float], n: int, shape: tuple[int, int]) -> Design:
    independent = shape[0] == 1
    return Design(
        arms=(Arm(rate=rate, sensitivity=judge[0], specificity=judge[1], n=n),), questions=shape[0], draws=shape[1],
        alike=0.0 if independent else 0.3, judge_alike=0.0 if independent else 0.2,
    )  # fmt: skip


def together(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """Two arms as strata of one rate, the judge lenient in one and strict in the other."""
    cells: dict[str, list[Cell]] = {}
    for i, (lenient, strict) in enumerate([(30, 30), (60, 60), (120, 120), (60, 180)]):
        found = [_two(rate, lenient, strict) for rate in RATES]
        name = f"48 questions x 20 draws, {lenient} and {strict} annotated"
        cells[name] = [(design, STUDIES, [2, i, j]) for j, design in enumerate(found)]
    yield from lines(pool, cells)


def _two(rate: float, lenient: int, strict: int) -> Design:
    signs = {"lenient": (1 + APART, lenient), "strict": (1 - APART, strict)}
    return Design(
        arms=tuple(
            Arm(rate=rate * part, sensitivity=JUDGES[judge][0], specificity=JUDGES[judge][1], n=n)
            for judge, (part, n) in signs.items()
        ),
        questions=48, draws=20,
    )  # fmt: skip


def crossed(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """48 questions that cross with 12 sets of demonstrations, a draw of each: clustered by both."""
    cells: dict[str, list[Cell]] = {}
    for i, (judge, n) in enumerate(product(JUDGES, NUMBERS)):
        sensitivity, specificity = JUDGES[judge]
        found = [
            Design(
                arms=(Arm(rate=rate, sensitivity=sensitivity, specificity=specificity, n=n),), questions=48, draws=1,
                sets=12, alike=0.2, set_alike=0.1,
            )
            for rate in RATES
        ]  # fmt: skip
        cells[f"{judge} judge, {n} annotated"] = [(design, FEWER, [3, i, j]) for j, design in enumerate(found)]
    yield from lines(pool, cells, COVERS - SLACK, CROSSED_AT_MOST)


def hard(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """Judges that hardly err, or tell little: intervals may cover more than they say, never less."""
    cells: dict[str, list[Cell]] = {}
    for i, (shape, judge, n) in enumerate(product(SHAPES, HARD, NUMBERS)):
        found = [_one(rate, HARD[judge], n, SHAPES[shape]) for rate in RATES]
        cells[f"{shape}, a judge {judge}, {n} annotated"] = [
            (design, FEWER, [4, i, j]) for j, design in enumerate(found)
        ]
    yield from lines(pool, cells, COVERS - SLACK, 1.0)


def of_scores(given: tuple[int, int]) -> float:
    """Return the coverage of the mean of persons' scores; the judge's are higher, and less certain."""
    questions, n = given
    rng, draws = np.random.default_rng([5, questions, n]), 960 // questions
    clusters, held = Clusters(names=("question",)), 0
    for _ in range(STUDIES):
        effect = rng.normal(size=(questions, 1)) * 0.3**0.5
        persons = 50 + 20 * (effect + rng.normal(size=(questions, draws)) * 0.7**0.5)
        judged = 15 + 0.8 * persons + 10 * rng.normal(size=persons.shape) + 5 * rng.normal(size=(questions, 1))
        annotated = np.zeros(persons.size, dtype=bool)
        annotated[rng.choice(persons.size, n, replace=False)] = True
        rows = zip(np.repeat(np.arange(questions), draws), judged.ravel(), persons.ravel(), annotated, strict=True)
        items = [Item("", (f"q{q}",), float(f), float(y) if kept else None) for q, f, y, kept in rows]
        found = ppi(items, LEVEL, rate=False, clusters=clusters)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 50 <= found.high
    return held / STUDIES


def scores(pool: ProcessPoolExecutor) -> Iterator[Line]:
    """Means of scores by PPI++, 24 and 48 questions, 960 draws."""
    cells = list(product((24, 48), NUMBERS))[::EVERY]
    for (questions, n), covers in zip(cells, pool.map(of_scores, cells), strict=True):
        yield f"{questions} questions, {n} annotated: {covers:.1%}", COVERS <= covers <= AT_MOST


if __name__ == "__main__":
    sys.exit(report(arms, together, crossed, hard, scores))
