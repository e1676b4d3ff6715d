"""Made-up draws with a judge of known errors, some of them annotated by a person at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special

from emdsl.experiment import Clusters
from emdsl.outcomes.annotated import Item
from emdsl.outcomes.corrected import Corrected, ppi, rogan_gladen

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVEL = 0.95
Floats = np.ndarray[Any, np.dtype[np.float64]]
PERSON, JUDGED = (1, 1, 0, 0), (1, 0, 1, 0)  # of the four kinds of draws
# annotated draws by the verdicts of person and judge (11, 10, 01, 00), then the others by that of the judge (1, 0)
Counts = tuple[int, int, int, int, int, int]
VERDICTS = ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, None), (0.0, None))  # judge, person


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One stratum: the persons' rate, the judge's sensitivity and specificity, and the number of annotated draws."""

    rate: float
    sensitivity: float
    specificity: float
    n: int

    @property
    def raw(self) -> float:
        """The expected rate of the judge's verdicts."""
        return self.rate * self.sensitivity + (1 - self.rate) * (1 - self.specificity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Arms of the same questions, and sets that cross with them if there is more than one.

    `draws` are those of a question with one set in each arm. `alike`, `judge_alike` and `set_alike` are the shares of
    questions and of sets in the variance of a probit: of the persons' verdicts, of the judge's errors, and of the
    former by sets. Without questions draws are independent.
    """

    arms: tuple[Arm, ...]
    questions: int
    draws: int
    alike: float = 0.3
    judge_alike: float = 0.2
    sets: int = 1
    set_alike: float = 0.0

    @property
    def truth(self) -> float:
        """The rate of persons' verdicts in all arms together."""
        return sum(arm.rate for arm in self.arms) / len(self.arms)

    @property
    def bias(self) -> float:
        """How far the judge's rate is expected to be from it."""
        return sum(arm.raw for arm in self.arms) / len(self.arms) - self.truth

    @property
    def clusters(self) -> Clusters:
        """The names of the clusters."""
        return Clusters(names=("question", "set")[: (self.questions > 1) + (self.sets > 1)])


def drawn(rng: np.random.Generator, design: Design) -> list[Item]:
    """Return the draws of one study, equal ones together."""
    shape = design.questions, design.sets
    question, of_set = rng.normal(size=(shape[0], 1)), rng.normal(size=(1, shape[1]))
    effect = design.alike**0.5 * question + design.set_alike**0.5 * of_set
    leniency = np.broadcast_to(design.judge_alike**0.5 * rng.normal(size=(shape[0], 1)), shape)
    items = []
    for i, arm in enumerate(design.arms):
        positive = _shifted(arm.rate, effect, 1 - design.alike - design.set_alike)
        hit = _shifted(arm.sensitivity, leniency, 1 - design.judge_alike)
        invented = _shifted(1 - arm.specificity, leniency, 1 - design.judge_alike)
        chances = np.stack(
            [positive * hit, positive * (1 - hit), (1 - positive) * invented, (1 - positive) * (1 - invented)], axis=-1
        )
        counts = rng.multinomial(design.draws, chances.reshape(-1, 4))
        items += _cells(rng, f"arm {i}", counts, arm.n, shape, len(design.clusters.names))
    return items


def _shifted(rate: float, effect: Floats, rest: float) -> Floats:
    """Return the rate of each cell whose probit has an effect; `rest` is the share of the variance that is left."""
    shifted: Floats = scipy.special.ndtr((scipy.special.ndtri(rate) + effect) / rest**0.5)
    return shifted


def _cells(
    rng: np.random.Generator, stratum: str, counts: Any, n: int, shape: tuple[int, int], n_clusters: int
) -> list[Item]:
    """Return draws by the counts of the four kinds in each cell of questions and sets; `n` of them are annotated."""
    annotated = rng.multivariate_hypergeometric(counts.ravel(), n).reshape(counts.shape)
    others = (counts - annotated).reshape(-1, 2, 2).sum(axis=1)  # by the judge's verdict alone
    names = [(f"q{i // shape[1]}", f"s{i % shape[1]}")[:n_clusters] for i in range(len(counts))]
    found = [
        Item(stratum, names[cell], float(JUDGED[kind]), float(PERSON[kind]), int(annotated[cell, kind]))
        for cell, kind in zip(*np.nonzero(annotated), strict=True)
    ]
    found += [
        Item(stratum, names[cell], float(1 - place), None, int(others[cell, place]))
        for cell, place in zip(*np.nonzero(others), strict=True)
    ]
    return found


def items_of(counts: Counts, stratum: str = "", clusters: tuple[str, ...] = ()) -> list[Item]:
    """Return the draws of one stratum and cluster by their counts."""
    return [
        Item(stratum, clusters, judged, person, n) for (judged, person), n in zip(VERDICTS, counts, strict=True) if n
    ]


def judged_alone(items: list[Item]) -> list[Item]:
    """Return the same draws with the judge's verdict in the person's place: their rate is the raw one."""
    times: dict[tuple[tuple[str, ...], float], int] = {}
    for item in items:
        key = item.clusters, item.judged
        times[key] = times.get(key, 0) + item.times
    return [Item("", place, judged, judged, n) for (place, judged), n in times.items()]


def corrections(design: Design, seed: list[int], studies: int) -> Iterator[tuple[Corrected, Corrected, Corrected]]:
    """Yield the raw rate, PPI++ and Rogan and Gladen's estimate of each study."""
    rng = np.random.default_rng(seed)
    for _ in range(studies):
        items = drawn(rng, design)
        yield (
            ppi(judged_alone(items), LEVEL, clusters=design.clusters), ppi(items, LEVEL, clusters=design.clusters),
            rogan_gladen(items, LEVEL, clusters=design.clusters),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The share of intervals that hold the truth, their mean width, and the share of studies with one of them."""

    covers: float
    width: float
    given: float


def coverage(design: Design, seed: list[int], studies: int) -> tuple[Coverage, Coverage, Coverage]:
    """Return how often the intervals of the raw rate, of PPI++ and of Rogan and Gladen hold the truth."""
    raw, by_ppi, by_errors = zip(*corrections(design, seed, studies), strict=True)
    return _covered(raw, design.truth), _covered(by_ppi, design.truth), _covered(by_errors, design.truth)


def _covered(found: tuple[Corrected, ...], truth: float) -> Coverage:
    ends = np.array([(c.low, c.high) for c in found if c.low is not None], dtype=float).reshape(-1, 2)
    holds = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    return Coverage(
        covers=float(holds.mean()), width=float((ends[:, 1] - ends[:, 0]).mean()), given=len(ends) / len(found)
    )
