"""Studies with a known truth: hits of questions at doses, where the answers to one question are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import beta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DOSES = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0)
FLOOR, CEILING, HALF = 0.02, 0.40, 8.0


def hill(half: float = HALF, slope: float = 1.0) -> Callable[[float], float]:
    """Return a sigmoid in log k from FLOOR to CEILING; of slope 1 the law of the simulator."""
    return lambda k: FLOOR + (CEILING - FLOOR) * k**slope / (k**slope + half**slope)


def ranks(rng: np.random.Generator, n_questions: int) -> Any:
    """Return a uniform number for each question: the share of questions with a smaller rate."""
    return rng.random((n_questions, 1))


def dosed(
    rng: np.random.Generator, law: Callable[[float], float], doses: Sequence[float], samples: int, icc: float,
    questions: Any, names: str = "q",
) -> list[tuple[str, float, float, float]]:  # fmt: skip
    """Return rows of question, dose, hits and n.

    The rates of questions have a beta distribution at each dose, with the law as its mean and `icc` as the correlation
    of two answers to one question. A question keeps its rank over all doses.
    """
    p = np.array([law(k) for k in doses])
    if icc:
        p = beta.ppf(questions, p * (1 / icc - 1), (1 - p) * (1 / icc - 1))
    hits = rng.binomial(samples, np.broadcast_to(p, (len(questions), len(doses))))
    return [
        (f"{names}{i}", dose, float(hits[i, j]), float(samples))
        for i in range(len(questions))
        for j, dose in enumerate(doses)
    ]
